//! The stored form of a [`Tracker`]: live counters, origins, and the requests whose outcome is still open.
//!
//! Without the open requests an outcome that comes after a restart would count its attempt twice. The rest of the index
//! is not stored: it can be read again from the stream with [`Tracker::remember`]. The history is not stored either: only
//! imports use it, and an import that is cut off by a restart goes on with features that have forgotten what came before.

use super::{ORIGINS_MAX, Tracker, TrackerLimits};
use crate::detection::activity::{Activity, ActivityError};
use crate::detection::attempt::Outcome;
use crate::detection::codec::{Fault, Reader, put_count};
use crate::detection::event::{AttemptEvent, BootId, EventError};

/// Version of the stored form; its first byte.
const VERSION: u8 = 1;
/// Most open requests stored, the newest: at 30 s of waiting that is 600 attempts a second.
const OPEN_MAX: usize = 20_000;

/// Why bytes are not the state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    /// Written by another version of this program.
    #[error("cannot decode tracker checkpoint: version {0} is not known")]
    Version(u8),
    /// Not what this version writes.
    #[error("cannot decode tracker checkpoint: it is cut short or damaged")]
    Damaged,
    /// The counters in it are not what this version writes.
    #[error("cannot decode the counters of the tracker checkpoint")]
    Activity(#[from] ActivityError),
    /// A request in it is not what this version writes.
    #[error("cannot decode an open request of the tracker checkpoint")]
    Event(#[from] EventError),
}

impl From<Fault> for TrackerError {
    fn from(_: Fault) -> Self {
        Self::Damaged
    }
}

impl Tracker {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_part(&mut out, &self.live.encode());

        let mut origins: Vec<_> = self.origins.iter().collect();
        origins.sort_unstable_by_key(|(_, origin)| origin.heard);
        put_count(&mut out, origins.len());
        for (boot, origin) in origins {
            out.extend_from_slice(&boot.0);
            out.extend_from_slice(&origin.seq.to_le_bytes());
        }

        let open = self.open_requests();
        put_count(&mut out, open.len());
        for event in &open {
            put_part(&mut out, &event.encode());
        }
        out
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8], limits: TrackerLimits) -> Result<Self, TrackerError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(TrackerError::Version(version));
        }
        let mut tracker = Self::new(limits);
        tracker.live = Activity::decode(read_part(&mut reader)?, limits.activity)?;

        let origins = reader.count(24)?;
        if origins > ORIGINS_MAX {
            return Err(TrackerError::Damaged);
        }
        for _ in 0..origins {
            let boot = BootId(reader.array()?);
            let seq = reader.u64()?;
            tracker.heard(boot, seq);
        }

        for _ in 0..reader.count(4)? {
            tracker.remember(&AttemptEvent::decode(read_part(&mut reader)?)?);
        }
        reader.end()?;
        Ok(tracker)
    }

    /// The live requests whose outcome may still come, oldest first, as events that nobody sent.
    pub fn open_requests(&self) -> Vec<AttemptEvent> {
        let open = |outcome| matches!(outcome, None | Some(Outcome::Unknown));
        let mut entries: Vec<_> =
            self.index.values().map(Box::as_ref).filter(|known| !known.historical && open(known.outcome)).collect();
        entries.sort_unstable_by_key(|known| known.serial);
        let newest = &entries[entries.len().saturating_sub(OPEN_MAX)..];
        newest.iter().map(|known| known.event()).collect()
    }
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    put_count(out, part.len());
    out.extend_from_slice(part);
}

fn read_part<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let length = reader.count(1)?;
    reader.bytes(length)
}
