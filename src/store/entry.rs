//! What is written into streams and channels beside the encoded events: announcements, history facts, and the bounds
//! that both stores check before they write anything.
//!
//! Events, samples and feedback encode themselves; a store only sees their bytes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::registry::Registry;
use super::{ANNOUNCEMENT_MAX, AttemptEntry, COMMAND_MAX, MODEL_MAX, Relabel, SampleEntry, Signal, StoreError};

/// Most attempts in one append: keeps one script under about 10 ms of a shared Redis.
pub const BATCH_MAX: usize = 1000;

/// Longest encoded event, sample or feedback. A full event takes some hundred bytes; this leaves room for the widest
/// schema and still bounds a batch to 32 MiB.
pub const ENTRY_MAX: usize = 16 * 1024;

/// Longest feedback id.
pub const FEEDBACK_ID_MAX: usize = 256;

/// Longest history JSON and longest command result: an evaluation with all its scenarios is some KiB.
pub const DOCUMENT_MAX: usize = 256 * 1024;

/// How long a command's result is kept.
pub(super) const RESULT_TTL: Duration = Duration::from_secs(3600);

/// Most entries of the audit trail, and its oldest.
pub(super) const AUDIT_MAX: u64 = 100_000;
pub(super) const AUDIT_AGE: Duration = Duration::from_secs(180 * 24 * 3600);

/// How far back an entry of the audit trail is looked for before it is written: what a node keeps while the store is away.
pub const AUDIT_AGAIN: usize = 300;

/// Longest name of a reply channel.
pub const CHANNEL_MAX: usize = 256;

/// Most entries fetched in one round trip, so that no single reply is huge.
pub const CHUNK: usize = 2000;

/// Signals that may wait for a subscriber. Doorbells are rare and coalesce; 256 is minutes of them.
pub const SIGNALS_MAX: usize = 256;

/// Longest node name in an announcement; longer ones are cut.
const ORIGIN_MAX: usize = 64;

/// What an announcement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnnouncementKind {
    /// Another model is current.
    Model,
    /// There is no model any longer.
    Reset,
    /// Learning mode was switched.
    Mode,
    /// The set of additional features changed.
    Features,
    /// An operator has ordered something for a pair, or takes an order back.
    Overrides,
}

impl AnnouncementKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Reset => "reset",
            Self::Mode => "mode",
            Self::Features => "features",
            Self::Overrides => "overrides",
        }
    }
}

/// A doorbell: says that something changed and who changed it. Receivers read the registry, they never trust this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Version of this shape, 1.
    pub v: u32,
    /// What changed.
    pub kind: AnnouncementKind,
    /// Hex; `None` before the first publish.
    #[serde(default)]
    pub lineage: Option<String>,
    /// Running number in the lineage; 0 before the first publish.
    #[serde(default)]
    pub generation: u64,
    /// Hex; `None` without a model.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Name of the node that caused it.
    #[serde(default)]
    pub origin: String,
}

impl Announcement {
    /// The announcement of what `registry` now holds.
    pub fn of(kind: AnnouncementKind, registry: &Registry, origin: &str) -> Self {
        Self {
            v: 1,
            kind,
            lineage: registry.lineage.map(hex::encode),
            generation: registry.generation,
            sha256: registry.sha256.map(hex::encode),
            origin: printable_origin(origin),
        }
    }

    /// JSON of at most [`ANNOUNCEMENT_MAX`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }

    /// Reads an announcement; unknown fields are ignored, anything that is no announcement is `None`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > ANNOUNCEMENT_MAX {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }
}

/// A node name that needs no escaping in JSON and keeps the announcement within its limit.
pub(super) fn printable_origin(origin: &str) -> String {
    let mut text = String::new();
    for character in origin.chars() {
        let shown = if character.is_control() || matches!(character, '"' | '\\') { '?' } else { character };
        if text.len() + shown.len_utf8() > ORIGIN_MAX {
            break;
        }
        text.push(shown);
    }
    text
}

/// The signal of a message on the announcement channel; one over its limit is not even copied.
pub(super) fn announcement_signal(payload: &[u8]) -> Signal {
    if payload.len() > ANNOUNCEMENT_MAX {
        return Signal::Oversized { channel: "announcements", bytes: payload.len() };
    }
    Signal::Announcement(payload.to_vec())
}

/// The signal of a message on the command channel; one over its limit is not even copied.
pub(super) fn command_signal(payload: &[u8]) -> Signal {
    if payload.len() > COMMAND_MAX {
        return Signal::Oversized { channel: "commands", bytes: payload.len() };
    }
    Signal::Command(payload.to_vec())
}

/// What the store itself knows about a history entry; it stands under `store` in the entry's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryFacts {
    /// `published`, `refused`, `reset`, `rolled_back`, `restored`, `discarded` or `learning_mode`.
    pub outcome: String,
    /// Hex; `None` before the first publish.
    pub lineage: Option<String>,
    /// Generation after this entry.
    pub generation: u64,
    /// Content hash (hex) that was current after this entry; `None` after a reset.
    pub sha256: Option<String>,
    /// Store time in milliseconds since the epoch.
    pub at_ms: i64,
    /// Learning mode ended in the same step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended_learning: bool,
}

/// The caller's JSON object with the store's facts added under `store`; what is no object goes under `entry`.
pub(super) fn history_document(given: &[u8], facts: &HistoryFacts) -> Vec<u8> {
    let mut document = match serde_json::from_slice(given) {
        Ok(Value::Object(map)) => map,
        Ok(other) => Map::from_iter([("entry".to_owned(), other)]),
        Err(_) => Map::from_iter([("entry".to_owned(), Value::String(String::from_utf8_lossy(given).into_owned()))]),
    };
    document.insert("store".to_owned(), serde_json::to_value(facts).expect("strings and numbers always serialise"));
    serde_json::to_vec(&document).expect("a JSON value always serialises")
}

/// The history JSON of what a person or a node did without a training.
pub(super) fn deed(by: &str) -> Vec<u8> {
    let shown: String = by.chars().take(CHANNEL_MAX).collect();
    serde_json::to_vec(&serde_json::json!({ "by": shown })).expect("a JSON value always serialises")
}

fn refused(operation: &'static str, remedy: String) -> StoreError {
    StoreError::Refused { operation, remedy, source: None }
}

/// Refuses a batch that is too long, an entry that is too large, or a reservoir key that orders nothing.
pub(super) fn check_batch(operation: &'static str, batch: &[AttemptEntry]) -> Result<(), StoreError> {
    if batch.len() > BATCH_MAX {
        return Err(refused(operation, format!("a batch has at most {BATCH_MAX} attempts, this one {}", batch.len())));
    }
    for entry in batch {
        check_size(operation, "an event", entry.event.len(), ENTRY_MAX)?;
        if let Some(sample) = &entry.sample {
            check_size(operation, "a sample", sample.bytes.len(), ENTRY_MAX)?;
            if !sample.key.is_finite() {
                return Err(refused(operation, "a reservoir key must be a finite number".to_owned()));
            }
        }
    }
    Ok(())
}

/// Refuses too many samples, too large ones, and keys that order nothing.
pub(super) fn check_samples(operation: &'static str, samples: &[SampleEntry]) -> Result<(), StoreError> {
    if samples.len() > BATCH_MAX {
        return Err(refused(operation, format!("at most {BATCH_MAX} samples at once, these are {}", samples.len())));
    }
    for sample in samples {
        check_size(operation, "a sample", sample.bytes.len(), ENTRY_MAX)?;
        if !sample.key.is_finite() {
            return Err(refused(operation, "a reservoir key must be a finite number".to_owned()));
        }
    }
    Ok(())
}

/// Refuses a relabelling of too many samples, to too large ones, or under a key that orders nothing.
pub(super) fn check_relabels(operation: &'static str, changes: &[Relabel]) -> Result<(), StoreError> {
    if changes.len() > BATCH_MAX {
        return Err(refused(operation, format!("at most {BATCH_MAX} samples at once, these are {}", changes.len())));
    }
    for change in changes {
        check_size(operation, "a sample", change.old.len().max(change.new.len()), ENTRY_MAX)?;
        if !change.key.is_finite() {
            return Err(refused(operation, "a reservoir key must be a finite number".to_owned()));
        }
    }
    Ok(())
}

/// Refuses `bytes` over `max`.
pub(super) fn check_size(
    operation: &'static str,
    what: &'static str,
    bytes: usize,
    max: usize,
) -> Result<(), StoreError> {
    if bytes > max {
        return Err(refused(operation, format!("{what} has at most {max} bytes, this one {bytes}")));
    }
    Ok(())
}

/// Refuses an artifact over [`MODEL_MAX`].
pub(super) fn check_artifact(operation: &'static str, artifact: &[u8]) -> Result<(), StoreError> {
    check_size(operation, "a model artifact", artifact.len(), MODEL_MAX)
}

/// Refuses an id that cannot be part of a key.
pub(super) fn check_command_id(operation: &'static str, id: &str) -> Result<(), StoreError> {
    if super::keys::is_command_id(id) {
        return Ok(());
    }
    let max = super::keys::COMMAND_ID_MAX;
    Err(refused(operation, format!("a command id consists of 1 to {max} printable ASCII characters without spaces")))
}

/// Refuses an id that no index could hold.
pub(super) fn check_feedback(operation: &'static str, id: &str, bytes: &[u8]) -> Result<(), StoreError> {
    if id.is_empty() || id.len() > FEEDBACK_ID_MAX {
        return Err(refused(operation, format!("a feedback id has 1 to {FEEDBACK_ID_MAX} bytes")));
    }
    check_size(operation, "a feedback", bytes.len(), ENTRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_announcement_keeps_the_limit_and_reads_back() {
        let registry = Registry {
            lineage: Some([0xff; 16]),
            generation: u64::MAX,
            sha256: Some([0xff; 32]),
            ..Registry::default()
        };
        for origin in ["\"\\\n".repeat(200), "ü".repeat(200), String::new()] {
            let announcement = Announcement::of(AnnouncementKind::Features, &registry, &origin);

            let bytes = announcement.encode();

            assert!(bytes.len() <= ANNOUNCEMENT_MAX, "{} bytes", bytes.len());
            assert_eq!(Announcement::decode(&bytes), Some(announcement));
        }
    }

    #[test]
    fn foreign_announcements_are_tolerated_or_ignored() {
        let sparse = br#"{"v":1,"kind":"model","later":[1,2]}"#;
        assert_eq!(Announcement::decode(sparse).map(|a| a.kind), Some(AnnouncementKind::Model));

        let long = vec![b' '; ANNOUNCEMENT_MAX + 1];
        for bad in [&b""[..], b"{}", b"[]", b"\xff", br#"{"v":1,"kind":"other"}"#, &long] {
            assert_eq!(Announcement::decode(bad), None);
        }
    }

    #[test]
    fn history_keeps_what_the_caller_wrote_beside_what_the_store_knows() {
        let facts = HistoryFacts {
            outcome: "published".to_owned(),
            lineage: None,
            generation: 3,
            sha256: None,
            at_ms: 5,
            ended_learning: false,
        };
        let read = |given: &[u8]| serde_json::from_slice::<Value>(&history_document(given, &facts)).unwrap();

        assert_eq!(read(br#"{"outcome":"mine"}"#)["outcome"], "mine");
        assert_eq!(read(br#"{"outcome":"mine"}"#)["store"]["outcome"], "published");
        assert_eq!(read(b"[1]")["entry"][0], 1);
        assert_eq!(read(b"not json")["entry"], "not json");
    }

    #[test]
    fn the_edges_of_a_batch_are_exact() {
        let entry = AttemptEntry { event: vec![0; ENTRY_MAX], sample: None };
        assert!(check_batch("append", &vec![entry.clone(); BATCH_MAX]).is_ok());
        assert!(check_batch("append", &vec![entry; BATCH_MAX + 1]).is_err());
        let large = AttemptEntry { event: vec![0; ENTRY_MAX + 1], sample: None };
        assert!(check_batch("append", &[large]).is_err());
    }
}
