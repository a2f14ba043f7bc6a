//! What one node tells the others about an attempt, and its stored binary form.
//!
//! An event carries the whole attempt, the feature snapshot that was scored, and the outcome as far as it is known.
//! Applying the same event twice, or two events of one request in any order, gives the same counters: see
//! [`Tracker`](crate::detection::tracker::Tracker). The stored form is versioned and has a fixed upper size.

use super::attempt::{Attempt, Outcome};
use super::verdict::Verdict;

/// 128 random bits drawn at each start of a node: the identity behind leases, origins and de-duplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub [u8; 16]);

/// The feature vector of one attempt, computed once, before the outcome was known.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Fingerprint of the feature schema that the values belong to.
    pub fingerprint: u64,
    /// One value per feature, in schema order. `f32`, so that what was scored is what is stored.
    pub values: Vec<f32>,
}

/// What the model said about an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Probability of attack; `None` when no model served.
    pub probability: Option<f32>,
    pub verdict: Verdict,
}

/// One entry of the `attempts` stream.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEvent {
    /// The node (by start) that appended this event, and its running number there, from 1 without gaps.
    pub origin: BootId,
    pub seq: u64,
    pub attempt: Attempt,
    /// `None` while the outcome is open (the attempt counts; nothing else does).
    pub outcome: Option<Outcome>,
    pub snapshot: Option<Snapshot>,
    pub decision: Option<Decision>,
    /// Older than the longest window when it was ingested: trains, but never touches the live counters.
    pub historical: bool,
}
