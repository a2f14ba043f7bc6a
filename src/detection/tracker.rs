//! What one node has seen: the counters, and an index of the latest requests by which nothing is counted twice.
//!
//! The rule: an event counts its attempt at most once per request, and its outcome at most once; the first definite
//! outcome wins, and *unknown* may still become one. So events may be repeated and reordered, and nodes that saw the same
//! events agree. Own attempts apply at once; what other nodes append is applied from the stream, of which nothing with a
//! sequence number not above the last one of its origin is counted.
//!
//! Historical events go to counters of their own, with the time of the newest of them as their clock. They never touch
//! the live ones, but their requests are indexed like all others, so that feedback can name them.
//!
//! A request that the index has forgotten is a new one: the index must be longer than events are late.

mod checkpoint;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ipnet::IpNet;

use super::activity::{Activity, ActivityLimits, HOUR_MS};
use super::attempt::{Attempt, Outcome, RequestKey, Timestamp};
use super::event::{AttemptEvent, BootId, Decision, Snapshot};
use super::verdict::Verdict;
pub use checkpoint::TrackerError;

/// Most origins whose last sequence number is kept: every start of a node is one. The one heard of longest ago goes.
pub const ORIGINS_MAX: usize = 1024;
/// How often the history is pruned, in its own time.
const HISTORY_PRUNE_MS: i64 = 6 * HOUR_MS;

/// How much a tracker may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerLimits {
    /// Caps of the live counters, and once more of the history.
    pub activity: ActivityLimits,
    /// Most requests in the index (`attempts.snapshots_max`).
    pub snapshots_max: usize,
}

impl Default for TrackerLimits {
    fn default() -> Self {
        Self { activity: ActivityLimits::default(), snapshots_max: 200_000 }
    }
}

/// What is remembered of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Indexed {
    /// As it was first told.
    pub attempt: Attempt,
    /// What was scored.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What the model said.
    pub decision: Option<Decision>,
    /// `None` while nobody has said anything about it.
    pub outcome: Option<Outcome>,
    /// Whether the attempt stands in the counters.
    pub counted: bool,
    /// Whether these are the counters of the history.
    pub historical: bool,
    serial: u64,
    precious: bool,
}

impl Indexed {
    /// What is told of this attempt: to the fleet, and in a checkpoint. Whoever appends it sets origin and number.
    pub fn event(&self) -> AttemptEvent {
        AttemptEvent {
            origin: BootId([0; 16]),
            seq: 0,
            attempt: self.attempt.clone(),
            outcome: self.outcome,
            snapshot: self.snapshot.as_deref().cloned(),
            decision: self.decision,
            historical: self.historical,
        }
    }
}

/// What an event changed in the counters, or in the index where they held it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Its attempt was counted, or indexed, now.
    pub attempt: bool,
    /// Its definite outcome was recorded now.
    pub outcome: bool,
}

/// What came of a new attempt.
#[derive(Debug, PartialEq)]
pub enum Begin<'a> {
    /// It is counted and indexed.
    New,
    /// It is known: the same request with the same content.
    Same(&'a Indexed),
    /// The request id belongs to an attempt with other content.
    Conflict,
}

/// What came of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complete {
    /// It is recorded and counted.
    Recorded,
    /// Nothing new: the same or a more definite outcome is known.
    AlreadyKnown,
    /// Another definite outcome is recorded, or the attempt has other content.
    Conflict,
    /// The request is not in the index.
    NeverScored,
}

/// How full a tracker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackerStats {
    /// Requests in the index.
    pub indexed: usize,
    /// Requests that had to leave the index, since the start.
    pub evicted: u64,
    /// Origins whose sequence numbers are kept.
    pub origins: usize,
}

/// The state of one node.
#[derive(Debug)]
pub struct Tracker {
    limits: TrackerLimits,
    live: Activity,
    history: Activity,
    history_newest: Option<Timestamp>,
    history_pruned: Option<Timestamp>,
    /// Boxed, so that a growing map moves pointers while a login waits, not whole entries.
    index: HashMap<RequestKey, Box<Indexed>>,
    /// Requests in the order of arrival, with their serials: an item whose request has moved on is skipped.
    ordinary: VecDeque<(RequestKey, u64)>,
    /// The ones evicted last: verdicts other than allow, and failures.
    precious: VecDeque<(RequestKey, u64)>,
    origins: HashMap<BootId, Origin>,
    /// Runs up with every insertion and every origin heard of.
    serial: u64,
    evicted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Origin {
    seq: u64,
    heard: u64,
}

impl Tracker {
    /// A node that has seen nothing.
    pub fn new(limits: TrackerLimits) -> Self {
        Self {
            limits,
            live: Activity::new(limits.activity),
            history: Activity::new(limits.activity),
            history_newest: None,
            history_pruned: None,
            index: HashMap::new(),
            ordinary: VecDeque::new(),
            precious: VecDeque::new(),
            origins: HashMap::new(),
            serial: 0,
            evicted: 0,
        }
    }

    /// Says which addresses stand for many people; see [`Activity::set_shared`].
    pub fn set_shared(&mut self, networks: &[IpNet]) {
        self.live.set_shared(networks);
        self.history.set_shared(networks);
    }

    /// Changes the caps; what is over them leaves with the next insertions.
    pub fn set_limits(&mut self, limits: TrackerLimits) {
        self.limits = limits;
        self.live.set_limits(limits.activity);
        self.history.set_limits(limits.activity);
    }

    /// The live counters.
    pub fn activity(&self) -> &Activity {
        &self.live
    }

    /// The counters of historical events.
    pub fn history(&self) -> &Activity {
        &self.history
    }

    /// The counters from which an attempt takes its features.
    pub fn activity_for(&self, historical: bool) -> &Activity {
        if historical { &self.history } else { &self.live }
    }

    /// What is known of a request.
    pub fn lookup(&self, request: RequestKey) -> Option<&Indexed> {
        self.index.get(&request).map(Box::as_ref)
    }

    /// How full it is.
    pub fn stats(&self) -> TrackerStats {
        TrackerStats { indexed: self.index.len(), evicted: self.evicted, origins: self.origins.len() }
    }

    /// A live attempt of this node was scored: counts and indexes it, unless its request is known. The snapshot must have
    /// been computed before.
    pub fn begin(
        &mut self,
        attempt: &Attempt,
        snapshot: Option<Arc<Snapshot>>,
        decision: Option<Decision>,
    ) -> Begin<'_> {
        if self.index.contains_key(&attempt.request) {
            let known = &self.index[&attempt.request];
            return if known.attempt.same_content(attempt) { Begin::Same(known) } else { Begin::Conflict };
        }
        self.live.apply_attempt(attempt);
        self.insert(attempt.clone(), snapshot, decision, false);
        Begin::New
    }

    /// The outcome of a request became known to this node, or is taken for unknown. Where the caller told the attempt
    /// once more, `attempt` must be the same.
    pub fn complete(&mut self, request: RequestKey, attempt: Option<&Attempt>, outcome: Outcome) -> Complete {
        let Some(known) = self.index.get(&request) else { return Complete::NeverScored };
        if attempt.is_some_and(|attempt| !known.attempt.same_content(attempt)) {
            return Complete::Conflict;
        }
        self.settle(request, outcome, true)
    }

    /// Applies an event to the counters that it belongs to, as far as it tells anything new.
    pub fn apply(&mut self, event: &AttemptEvent) -> Applied {
        self.take(event, true)
    }

    /// Applies an event from the stream: one of another node, and above the last sequence number of its origin. What is
    /// not above it is counted already, but after a restart it may be missing in the index: a checkpoint holds events of
    /// its own node that the stream tells only after the checkpoint's position.
    pub fn apply_remote(&mut self, event: &AttemptEvent, own: BootId) -> Applied {
        if event.origin == own {
            return Applied::default();
        }
        if self.counted(event) {
            self.remember(event);
            return Applied::default();
        }
        self.heard(event.origin, event.seq);
        self.apply(event)
    }

    /// Whether the counters hold an event of another start of a node already, by its number.
    pub fn counted(&self, event: &AttemptEvent) -> bool {
        self.origins.get(&event.origin).is_some_and(|origin| event.seq <= origin.seq)
    }

    /// Whether another node has numbered events between the last one applied and this one, which were never seen.
    pub fn hole_before(&self, event: &AttemptEvent, own: BootId) -> bool {
        event.origin != own && event.seq > self.last_applied(event.origin).unwrap_or(0).saturating_add(1)
    }

    /// Notes that the counters hold this node's own events up to `seq`. A checkpoint then says so, and the node does not
    /// count them again after a restart, when it is another origin.
    pub fn own_applied(&mut self, own: BootId, seq: u64) {
        self.heard(own, seq);
    }

    /// Indexes an event that the counters hold already: what the stream tells from before the checkpoint's position. Returns
    /// what of it was news to the index.
    pub fn remember(&mut self, event: &AttemptEvent) -> Applied {
        self.take(event, false)
    }

    /// The last sequence number applied from `origin`.
    pub fn last_applied(&self, origin: BootId) -> Option<u64> {
        self.origins.get(&origin).map(|origin| origin.seq)
    }

    /// Forgets what is too old for the live counters at `now`. The history follows its own clock.
    pub fn prune(&mut self, now: Timestamp) {
        self.live.prune(now);
    }

    fn take(&mut self, event: &AttemptEvent, count: bool) -> Applied {
        let request = event.attempt.request;
        let mut applied = Applied::default();
        if let Some(known) = self.index.get_mut(&request) {
            if !known.attempt.same_content(&event.attempt) {
                return applied;
            }
            // What was scored is what counts, also when the outcome was heard of first.
            if known.decision.is_none() && (event.decision.is_some() || known.snapshot.is_none()) {
                known.decision = event.decision;
                if let Some(snapshot) = &event.snapshot {
                    known.snapshot = Some(Arc::new(snapshot.clone()));
                }
            }
            self.promote(request);
        } else {
            if count {
                self.counters(event.historical).apply_attempt(&event.attempt);
            }
            applied.attempt = true;
            if event.historical {
                self.advance_history(event.attempt.ts);
            }
            let snapshot = event.snapshot.clone().map(Arc::new);
            self.insert(event.attempt.clone(), snapshot, event.decision, event.historical);
        }
        if let Some(outcome) = event.outcome {
            let settled = self.settle(request, outcome, count);
            applied.outcome = outcome != Outcome::Unknown && settled == Complete::Recorded;
        }
        applied
    }

    fn counters(&mut self, historical: bool) -> &mut Activity {
        if historical { &mut self.history } else { &mut self.live }
    }

    /// Records an outcome of an indexed request.
    fn settle(&mut self, request: RequestKey, outcome: Outcome, count: bool) -> Complete {
        let Some(known) = self.index.get_mut(&request) else { return Complete::NeverScored };
        match known.outcome {
            Some(before) if before == outcome => return Complete::AlreadyKnown,
            Some(Outcome::Unknown) | None => {}
            Some(_) if outcome == Outcome::Unknown => return Complete::AlreadyKnown,
            Some(_) => return Complete::Conflict,
        }
        known.outcome = Some(outcome);
        if count {
            let counters = if known.historical { &mut self.history } else { &mut self.live };
            counters.apply_outcome(&known.attempt, outcome);
        }
        self.promote(request);
        Complete::Recorded
    }

    fn insert(
        &mut self,
        attempt: Attempt,
        snapshot: Option<Arc<Snapshot>>,
        decision: Option<Decision>,
        historical: bool,
    ) {
        if self.limits.snapshots_max == 0 {
            return;
        }
        while self.index.len() >= self.limits.snapshots_max {
            self.evict();
        }
        self.serial += 1;
        let (request, serial) = (attempt.request, self.serial);
        let entry =
            Indexed { attempt, snapshot, decision, outcome: None, counted: true, historical, serial, precious: false };
        self.index.insert(request, Box::new(entry));
        self.ordinary.push_back((request, serial));
        self.promote(request);
    }

    /// Moves a request to the ones evicted last, if it has become one of them.
    fn promote(&mut self, request: RequestKey) {
        let Some(known) = self.index.get_mut(&request) else { return };
        let suspicious = known.decision.is_some_and(|decision| decision.verdict != Verdict::Allow);
        if !known.precious && (suspicious || known.outcome == Some(Outcome::Failure)) {
            known.precious = true;
            self.precious.push_back((request, known.serial));
        }
    }

    /// Takes one request out of the index. Each call shortens a queue, and each insertion lengthens it by one, so items
    /// of requests that moved on cannot pile up.
    fn evict(&mut self) {
        while let Some((request, serial)) = self.ordinary.pop_front() {
            if self.index.get(&request).is_some_and(|known| known.serial == serial && !known.precious) {
                self.forget(request);
                return;
            }
        }
        while let Some((request, serial)) = self.precious.pop_front() {
            if self.index.get(&request).is_some_and(|known| known.serial == serial) {
                self.forget(request);
                return;
            }
        }
        // Every indexed request stands in one of the queues; should that ever fail, an empty index is the safe end.
        self.index.clear();
    }

    fn forget(&mut self, request: RequestKey) {
        self.index.remove(&request);
        self.evicted += 1;
    }

    fn heard(&mut self, origin: BootId, seq: u64) {
        self.serial += 1;
        let heard = self.serial;
        if !self.origins.contains_key(&origin) && self.origins.len() >= ORIGINS_MAX {
            let oldest = self.origins.iter().min_by_key(|(_, origin)| origin.heard).map(|(boot, _)| *boot);
            if let Some(oldest) = oldest {
                self.origins.remove(&oldest);
            }
        }
        let entry = self.origins.entry(origin).or_insert(Origin { seq, heard });
        *entry = Origin { seq: entry.seq.max(seq), heard };
    }

    fn advance_history(&mut self, ts: Timestamp) {
        let newest = self.history_newest.map_or(ts, |newest| newest.max(ts));
        self.history_newest = Some(newest);
        let pruned = *self.history_pruned.get_or_insert(newest);
        if newest >= pruned.plus_millis(HISTORY_PRUNE_MS) {
            self.history.prune(newest);
            self.history_pruned = Some(newest);
        }
    }
}

#[cfg(test)]
mod tests;
