//! What later events say about earlier attempts: an index of who failed and succeeded where, and the rules that make
//! labels of it.
//!
//! "The login failed" is not "it was an attack". Whether it was, the next hours tell: the owner succeeds a minute later,
//! or the address goes on to forty other names. Labels look ahead up to [`LOOK_AHEAD_MS`]; nothing in here ever feeds a
//! feature. The index is fed with *all* attempts (of every node, once each, in any order) and knows nothing of samples.
//!
//! It holds keyed pseudonyms only. Password tags stay in it for as long as it looks back, and it is the only place where
//! the tag of a request can be looked up: a sample never holds one.
//!
//! Reading order: `answer` and `rules` (the labels), `surge`, this file (the index), `tables` (what is counted), `tally`,
//! `coverage`, `checkpoint` (the stored form of the index), `frozen` (the stored form of a label).

mod answer;
mod checkpoint;
mod coverage;
mod frozen;
mod labels;
mod rules;
mod surge;
mod tables;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod traffic_tests;

pub use answer::{Case, HindsightAnswer, HindsightRule, Reason};
pub use checkpoint::HindsightError;
pub use frozen::{FrozenLabel, FrozenLabels, LabelCounts};
pub use labels::HindsightLabels;
pub use rules::LOOK_AHEAD_MS;

use std::sync::OnceLock;

use self::coverage::Coverage;
use self::surge::Newcomers;
use self::tables::{Failures, Memory, Successes};
use self::tally::Window;
use crate::detection::activity::{DAY_MS, HOUR_MS};
use crate::detection::attempt::{Attempt, Outcome, Timestamp};

/// How long a success of a pair speaks for its later failures, and hence is remembered beyond the ordinary time.
pub const PAIR_MEMORY_MS: i64 = 7 * DAY_MS;
/// How long it is remembered that a user or a source has ever succeeded: people are away for three weeks (assumed).
pub const EVER_MEMORY_MS: i64 = 30 * DAY_MS;
/// One eviction forgets at least this much: each costs a pass over everything.
const EVICTION_STEP_MS: i64 = HOUR_MS;

/// How much the index may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HindsightLimits {
    /// How far back single hours are known. A sample has a complete answer from its settling until
    /// `keep_ms` − [`LOOK_AHEAD_MS`] after its time, so whoever keeps 50 hours has two hours to ask.
    pub keep_ms: i64,
    /// Bytes of everything together (estimated).
    pub bytes_max: usize,
}

impl HindsightLimits {
    /// A whole recording at once: nothing is forgotten for its age.
    pub const RECORDING: Self = Self { keep_ms: i64::MAX / 4, bytes_max: 2 << 30 };

    const fn is_recording(&self) -> bool {
        self.keep_ms == Self::RECORDING.keep_ms
    }
}

impl Default for HindsightLimits {
    fn default() -> Self {
        // 48 hours are what a settling sample needs (24 back, 24 ahead); two more are for whoever asks a little late.
        // 96 MiB hold some 200 000 failures that have nothing in common, and far more of the ordinary kind.
        Self { keep_ms: 50 * HOUR_MS, bytes_max: 96 << 20 }
    }
}

/// How full an index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HindsightStats {
    /// Estimated bytes.
    pub bytes: usize,
    /// How often the oldest hours had to go for want of room.
    pub evictions: u64,
    /// Events that came in after their time had been forgotten.
    pub too_late: u64,
}

/// The index. Equality is equality of contents.
#[derive(Debug, Clone)]
pub struct HindsightIndex {
    limits: HindsightLimits,
    failures: Failures,
    successes: Successes,
    coverage: Coverage,
    newest: Option<Timestamp>,
    evictions: u64,
    too_late: u64,
    /// Counted when it is asked for; whatever changes the rest takes it away.
    newcomers: OnceLock<Newcomers>,
}

impl PartialEq for HindsightIndex {
    fn eq(&self, other: &Self) -> bool {
        self.failures == other.failures
            && self.successes == other.successes
            && self.coverage == other.coverage
            && self.newest == other.newest
    }
}

impl HindsightIndex {
    /// An index that has seen nothing.
    pub fn new(limits: HindsightLimits) -> Self {
        Self {
            limits,
            failures: Failures::default(),
            successes: Successes::default(),
            coverage: Coverage::default(),
            newest: None,
            evictions: 0,
            too_late: 0,
            newcomers: OnceLock::new(),
        }
    }

    /// Takes one attempt in. The caller makes sure that each is told once; adding commutes as long as nothing has to go
    /// for its age or for want of room.
    ///
    /// Look-ups without a password do not count at all. What was blocked or has no known outcome is neither a failure
    /// nor a success.
    pub fn record(&mut self, attempt: &Attempt, outcome: Outcome) {
        if attempt.no_auth {
            return;
        }
        let ts = attempt.ts;
        let newest = self.newest.map_or(ts, |newest| newest.max(ts));
        if ts < newest.plus_millis(self.limits.keep_ms.saturating_neg()) || self.is_forgotten(ts) {
            self.too_late += 1;
            return;
        }
        self.newcomers.take();
        self.newest = Some(newest);
        self.coverage.saw(ts);
        match outcome {
            Outcome::Failure => self.failures.add(attempt),
            Outcome::Success => self.successes.add(attempt),
            Outcome::Blocked | Outcome::Unknown => {}
        }
        self.fit();
    }

    /// Changes the limits; what is over them leaves at once.
    pub fn set_limits(&mut self, limits: HindsightLimits) {
        self.limits = limits;
        self.fit();
    }

    /// Events of this time were missed (an outage, a trimmed stream): answers that would need them are unknown.
    pub fn missed(&mut self, from: Timestamp, to: Timestamp) {
        self.coverage.miss(Window { from, to });
    }

    /// Forgets what is too old at `now`.
    pub fn prune(&mut self, now: Timestamp) {
        self.forget_before(now.plus_millis(self.limits.keep_ms.saturating_neg()), now);
    }

    /// Since when the index knows what happened; `None` before the first event.
    pub fn since(&self) -> Option<Timestamp> {
        self.coverage.since()
    }

    /// The time of the latest event.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// How full it is.
    pub fn stats(&self) -> HindsightStats {
        HindsightStats { bytes: self.bytes(), evictions: self.evictions, too_late: self.too_late }
    }

    fn bytes(&self) -> usize {
        self.failures.bytes() + self.successes.bytes()
    }

    fn is_forgotten(&self, ts: Timestamp) -> bool {
        self.coverage.forgotten().is_some_and(|forgotten| ts < forgotten)
    }

    fn newcomers(&self) -> &Newcomers {
        self.newcomers.get_or_init(|| Newcomers::of(&self.failures, &self.successes))
    }

    fn forget_before(&mut self, oldest: Timestamp, now: Timestamp) {
        self.newcomers.take();
        self.failures.trim(oldest);
        self.successes.trim(&Memory {
            recent: oldest,
            pairs: oldest.plus_millis(-PAIR_MEMORY_MS),
            ever: now.plus_millis(-EVER_MEMORY_MS).min(oldest),
        });
        self.coverage.forget_before(oldest);
    }

    fn fit(&mut self) {
        if self.bytes() > self.limits.bytes_max {
            self.evict(self.newest.or(self.since()).unwrap_or(Timestamp::from_millis(i64::MAX)));
        }
    }

    /// Forgets the oldest hours until an eighth is free; the coverage shrinks with them. If hours are not enough because
    /// successes of long ago take the room, these go too, and with them everything.
    fn evict(&mut self, newest: Timestamp) {
        let enough = self.limits.bytes_max / 8 * 7;
        let since = self.coverage.since().unwrap_or(newest);
        // As many steps as hours of the last days, whatever the times of single events were.
        let span = newest.millis().saturating_sub(since.millis()).max(0);
        let step = (span / 64).max(EVICTION_STEP_MS);
        let mut oldest = since;
        while self.bytes() > enough && oldest <= newest {
            oldest = oldest.plus_millis(step);
            self.forget_before(oldest, newest);
        }
        if self.bytes() > enough {
            self.newcomers.take();
            self.failures = Failures::default();
            self.successes = Successes::default();
            self.coverage.forget_before(newest.plus_millis(1));
        }
        self.evictions += 1;
    }
}
