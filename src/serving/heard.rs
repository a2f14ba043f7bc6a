//! Up to when this node has heard of the others' attempts, and where it must have missed some.
//!
//! Each node numbers its events without gaps, also those that it had to drop. So a hole in the numbers tells that events
//! were dropped, or trimmed from the stream before they were read. What a node never told anybody (it was killed with a
//! full queue, or stood still while logins went on) shows nowhere, apart from the own one's.

use std::collections::BTreeMap;

use super::hindsight::LAG_MS;
use crate::detection::attempt::Timestamp;
use crate::detection::codec::{Fault, Reader, put_count};
use crate::detection::event::{AttemptEvent, BootId};
use crate::detection::tracker::ORIGINS_MAX;

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heard {
    /// When the last reading began that came to the end of the stream.
    upto: Option<Timestamp>,
    /// When the reading began that goes on now, or the last one.
    reading: Option<Timestamp>,
    /// The latest live event of each origin.
    origins: BTreeMap<BootId, Timestamp>,
}

impl Heard {
    /// A reading of the stream begins.
    pub fn begin(&mut self, now: Timestamp) {
        self.reading = Some(now);
    }

    /// The reading came to the end of the stream.
    pub fn end(&mut self) {
        self.upto = self.reading;
    }

    /// Up to when the events of all nodes have been read; `None` before the first reading.
    pub fn upto(&self) -> Option<Timestamp> {
        self.upto
    }

    /// Notes an event of another node.
    pub fn heard(&mut self, event: &AttemptEvent) {
        if event.historical {
            return;
        }
        let ts = event.attempt.ts;
        let latest = self.origins.entry(event.origin).or_insert(ts);
        *latest = ts.max(*latest);
        if self.origins.len() > ORIGINS_MAX {
            let oldest = self.origins.iter().min_by_key(|(_, ts)| **ts).map(|(origin, _)| *origin);
            oldest.map(|oldest| self.origins.remove(&oldest));
        }
    }

    /// When the events happened that are missing before `event`. `None` for a node that has never read to the end: it
    /// knows nothing of the time before the first event anyway.
    pub fn hole_before(&self, event: &AttemptEvent) -> Option<(Timestamp, Timestamp)> {
        let upto = self.upto?;
        let from = self.origins.get(&event.origin).map_or(upto, |latest| upto.min(*latest));
        let live = (!event.historical).then_some(event.attempt.ts);
        let to = self.reading.max(live).unwrap_or(upto);
        Some((from.plus_millis(-LAG_MS), to))
    }

    /// Appends the stored form.
    pub fn put(&self, out: &mut Vec<u8>) {
        let upto = self.upto.map_or(i64::MIN, Timestamp::millis);
        out.extend_from_slice(&upto.to_le_bytes());
        put_count(out, self.origins.len());
        for (origin, ts) in &self.origins {
            out.extend_from_slice(&origin.0);
            out.extend_from_slice(&ts.millis().to_le_bytes());
        }
    }

    /// Reads the stored form.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let upto = Some(reader.i64()?).filter(|upto| *upto != i64::MIN).map(Timestamp::from_millis);
        let count = reader.count(24)?;
        if count > ORIGINS_MAX {
            return Err(Fault::Value);
        }
        let mut origins = BTreeMap::new();
        for _ in 0..count {
            origins.insert(BootId(reader.array()?), Timestamp::from_millis(reader.i64()?));
        }
        Ok(Self { upto, reading: upto, origins })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const ORIGIN: BootId = BootId([1; 16]);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn event(seconds: i64, historical: bool) -> AttemptEvent {
        let attempt =
            crate::detection::attempt::testing::plain(at(seconds), "request", IpAddr::from([192, 0, 2, 1]), 1);
        AttemptEvent { origin: ORIGIN, seq: 5, attempt, outcome: None, snapshot: None, decision: None, historical }
    }

    #[test]
    fn a_hole_lasts_from_what_was_last_heard_of_its_node_to_the_present() {
        let mut heard = Heard::default();
        heard.begin(at(0));
        assert_eq!(heard.hole_before(&event(1, false)), None, "a first reading knows nothing of earlier anyway");
        heard.heard(&event(-500, false));
        heard.end();
        heard.begin(at(1000));

        let early = |seconds: i64| at(seconds).plus_millis(-LAG_MS);
        assert_eq!(heard.hole_before(&event(990, false)), Some((early(-500), at(1000))));
        assert_eq!(heard.hole_before(&event(-90_000, true)), Some((early(-500), at(1000))));
        let stranger = AttemptEvent { origin: BootId([2; 16]), ..event(990, false) };
        assert_eq!(heard.hole_before(&stranger), Some((early(0), at(1000))), "since the last reading to the end");
    }

    #[test]
    fn it_comes_back_and_takes_no_more_origins_than_it_may_have() {
        let mut heard = Heard::default();
        heard.begin(at(7));
        heard.end();
        for number in 0..=ORIGINS_MAX {
            let origin = BootId((number as u128).to_le_bytes());
            heard.heard(&AttemptEvent { origin, ..event(number as i64, false) });
        }
        let mut bytes = Vec::new();
        heard.put(&mut bytes);

        let back = Heard::read(&mut Reader::new(&bytes));

        assert_eq!(back, Ok(heard.clone()));
        assert_eq!(heard.origins.len(), ORIGINS_MAX);
        assert!(!heard.origins.contains_key(&BootId([0; 16])), "the one heard of longest ago went");
        assert!((0..bytes.len()).all(|end| Heard::read(&mut Reader::new(&bytes[..end])).is_err()));
    }
}
