//! One user who has logged in. Only successes are told here.

use super::{RECENT_KEPT, Span, short};
use crate::detection::activity::KNOWN_PAIR_MS;
use crate::detection::activity::checkpoint::{Stored, stored};
use crate::detection::activity::distinct::Distinct;
use crate::detection::activity::known::{Known, Trait};
use crate::detection::activity::table::{Entry, Worth, make_room, vec_bytes};
use crate::detection::attempt::{Attempt, Protocol, Timestamp};
use crate::detection::codec::{Fault, Reader, put_count};

/// What a user is known by, other than the places: those are [`Pair`](super::Pair)s and [`Visit`](super::Visit)s, which
/// know since when.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Account {
    span: Span,
    recent: Distinct<RECENT_KEPT>,
    protocols: Protocols,
    known: Known,
}

stored!(Account { span: Span, recent: Distinct<RECENT_KEPT>, protocols: Protocols, known: Known });

/// When each protocol was used, ascending by the protocol's number; there are but seven that have a name or are "other".
#[derive(Debug, Clone, PartialEq, Default)]
struct Protocols(Vec<(u8, Span)>);

impl Account {
    pub fn success(&mut self, attempt: &Attempt) {
        self.span.add(attempt.ts);
        self.recent.add(attempt.ts, short(attempt.request));
        if attempt.protocol != Protocol::Unknown {
            self.protocols.entry(attempt.protocol).add(attempt.ts);
        }
        self.known.add(attempt);
    }

    /// When the user last logged in, as far as that is not longer ago than anything is remembered.
    pub fn last_success(&self, ts: Timestamp) -> Option<Timestamp> {
        let first = Some(self.span.first).filter(|first| *first <= ts);
        let last = self.recent.last_until(ts, None).or(first);
        last.filter(|last| *last > ts.plus_millis(-KNOWN_PAIR_MS))
    }

    pub fn knows_protocol(&self, ts: Timestamp, protocol: Protocol) -> bool {
        self.protocols.0.iter().any(|(byte, span)| *byte == protocol as u8 && span.known(ts, KNOWN_PAIR_MS))
    }

    /// Whether the user logged in with this; `None` when nothing of its sort was ever told.
    pub fn knows(&self, ts: Timestamp, what: Trait, hash: u64) -> Option<bool> {
        self.known.knows(ts, KNOWN_PAIR_MS, what, hash)
    }
}

impl Protocols {
    fn entry(&mut self, protocol: Protocol) -> &mut Span {
        let byte = protocol as u8;
        let place = match self.0.binary_search_by_key(&byte, |(byte, _)| *byte) {
            Ok(place) => place,
            Err(place) => {
                make_room(&mut self.0);
                self.0.insert(place, (byte, Span::default()));
                place
            }
        };
        &mut self.0[place].1
    }
}

impl Stored for Protocols {
    const BYTES_MIN: usize = 4;

    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.0.len());
        for (byte, span) in &self.0 {
            out.push(*byte);
            span.put(out);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut protocols: Vec<(u8, Span)> = Vec::new();
        for _ in 0..reader.count(1 + Span::BYTES_MIN)? {
            let (byte, span) = (reader.u8()?, Span::read(reader)?);
            let protocol = Protocol::from_byte(byte);
            let ascending = protocols.last().is_none_or(|(before, _)| *before < byte);
            if protocol as u8 != byte || protocol == Protocol::Unknown || !ascending || span.is_empty() {
                return Err(Fault::Value);
            }
            protocols.push((byte, span));
        }
        Ok(Self(protocols))
    }
}

impl Entry for Account {
    fn heap_bytes(&self) -> usize {
        self.recent.heap_bytes() + vec_bytes::<(u8, Span)>(self.protocols.0.len()) + self.known.heap_bytes()
    }

    fn worth(&self) -> Worth {
        Worth::Familiarity
    }

    fn last_active(&self) -> Timestamp {
        self.span.last
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        let oldest = now.plus_millis(-KNOWN_PAIR_MS);
        self.protocols.0.retain(|(_, span)| span.last >= oldest);
        self.known.trim(oldest);
        self.span.last >= oldest
    }
}
