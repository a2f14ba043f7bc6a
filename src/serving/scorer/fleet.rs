//! Between this node and the others: what it tells them, what it hears of them, and what it remembers of both.

use super::{Remembered, Scorer, State};
use crate::detection::activity::DAY_MS;
use crate::detection::attempt::{Outcome, RequestKey, Timestamp};
use crate::detection::event::{AttemptEvent, BootId};
use crate::detection::tracker::{Applied, Indexed};
use crate::serving::attempt_log::Crowd;
use crate::serving::hindsight::News;
use crate::store::Limits;

/// An attempt whose outcome has not come within this time is told to the fleet without it, so that peers count it.
/// Half a second: longer than most password checks, and feedback on another node finds the attempt within a second.
const ANNOUNCE_AFTER_MS: u64 = 500;

/// One client network may take about one in so many of the places for failures a day, and so many places at least.
const NETWORK_PART: u64 = 100;
const NETWORK_MIN: u64 = 20;

impl Scorer {
    /// Counts an event of another node; `own` events are skipped.
    pub fn apply_remote(&self, event: &AttemptEvent, own: BootId) -> Applied {
        let mut state = self.lock();
        if state.tracker.hole_before(event, own)
            && let Some((from, to)) = state.heard.hole_before(event)
        {
            state.inbox.put(News::Missed { from, to });
        }
        if event.origin != own && state.tracker.counted(event) {
            state.heard.heard(event);
            drop(state);
            self.remember(event);
            return Applied::default();
        }
        let at_home = event.outcome.is_some() && state.at_home(&event.attempt);
        let applied = state.tracker.apply_remote(event, own);
        if event.origin != own {
            state.heard.heard(event);
        }
        if let Some(outcome) = event.outcome.filter(|_| applied.outcome) {
            state.happened(&event.attempt, outcome);
        }
        if event.outcome.is_some() && (applied.attempt || applied.outcome) {
            state.pending.remove(event.attempt.request);
        }
        drop(state);
        self.watch(event, applied, at_home);
        applied
    }

    /// Takes an event that the counters hold already, from before the checkpoint's position, into the index without counting
    /// it again. The watch for attacks counts it: what it has seen is in no checkpoint.
    pub fn remember(&self, event: &AttemptEvent) {
        let mut state = self.lock();
        let known = state.tracker.remember(event);
        let at_home = known.outcome && state.was_at_home(&event.attempt);
        drop(state);
        self.watch(event, known, at_home);
    }

    /// Has the watch for attacks count what was new of an event.
    fn watch(&self, event: &AttemptEvent, new: Applied, at_home: bool) {
        if !event.historical && !self.site.load().trusts(&event.attempt) {
            let outcome = event.outcome.filter(|_| new.outcome).map(|outcome| (outcome, at_home));
            self.attacks.note(&event.attempt, new.attempt, outcome);
        }
    }

    /// Has the watch for attacks count the attempts whose outcome was open at a checkpoint: the index knows them, so that
    /// the stream brings no news of them but their outcomes.
    pub(super) fn watch_open(&self, open: &[AttemptEvent]) {
        open.iter().for_each(|event| self.watch(event, Applied { attempt: true, outcome: false }, false));
    }

    /// What is known of a request, if it is among the retained ones.
    pub fn remembered(&self, request: RequestKey) -> Option<Remembered> {
        let state = self.lock();
        state.tracker.lookup(request).map(|known| Remembered {
            attempt: known.attempt.clone(),
            outcome: known.outcome,
            snapshot: known.snapshot.clone(),
            decision: known.decision,
        })
    }

    /// Tells the fleet about attempts that wait for their outcome, and gives up waiting where `timeout_ms` has passed.
    pub fn sweep(&self, now: Timestamp, monotonic_ms: u64, timeout_ms: u64) {
        let mut state = self.lock();
        self.announce(&mut state, now, monotonic_ms, ANNOUNCE_AFTER_MS);
        let expired = state.pending.expire_due(monotonic_ms, timeout_ms);
        for request in &expired {
            state.tracker.complete(*request, None, Outcome::Unknown);
        }
        drop(state);
        for _ in expired {
            self.metrics.outcome("unknown");
        }
    }

    /// Tells the fleet about every attempt that still waits for its outcome: this node stops, others may hear the outcome.
    pub fn announce_all(&self, now: Timestamp, monotonic_ms: u64) {
        self.announce(&mut self.lock(), now, monotonic_ms, 0);
    }

    fn announce(&self, state: &mut State, now: Timestamp, monotonic_ms: u64, after_ms: u64) {
        let due = state.pending.announce_due(monotonic_ms, after_ms);
        let events: Vec<_> =
            due.into_iter().filter_map(|request| state.tracker.lookup(request).map(Indexed::event)).collect();
        for event in events {
            self.tell(state, event, now);
        }
    }

    /// Forgets what no window looks at any more.
    pub fn prune(&self, now: Timestamp) {
        let mut state = self.lock();
        state.tracker.prune(now);
        let now_evicted = state.tracker.activity().stats().evictions();
        let news = std::mem::replace(&mut state.evicted, now_evicted);
        drop(state);
        for ((table, now_evicted), (_, before)) in now_evicted.into_iter().zip(news) {
            self.metrics.activity_evicted(table, now_evicted.saturating_sub(before));
        }
    }

    /// How many failures the network of an event has had within a day, as this node has heard.
    fn crowd(&self, state: &State, event: &AttemptEvent) -> Crowd {
        let half = Limits::from(&**self.config.load()).samples_per_class;
        let free = (half / NETWORK_PART).max(NETWORK_MIN);
        if event.outcome != Some(Outcome::Failure) {
            return Crowd { failures: 0, free };
        }
        let view = state.tracker.activity_for(event.historical).view(&event.attempt);
        Crowd { failures: view.network_counts(DAY_MS).failures.into(), free }
    }

    /// Queues an event for the fleet. Under the lock of the counters, so that a checkpoint never holds an event without
    /// its number.
    pub(super) fn tell(&self, state: &mut State, event: AttemptEvent, now: Timestamp) -> Option<u64> {
        let teaches = (!self.site.load().trusts(&event.attempt)).then(|| self.crowd(state, &event));
        let seq = self.log.push(event, now, teaches)?;
        state.tracker.own_applied(self.log.boot(), seq);
        Some(seq)
    }
}
