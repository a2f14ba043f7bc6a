//! One user from one client address.

use super::{DAY_MS, QUARTER_MS, QUARTERS_KEPT, Span, day_before};
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::counter::{Counter, Counts};
use crate::detection::activity::distinct::Distinct;
use crate::detection::activity::table::{Entry, Worth};
use crate::detection::activity::{KNOWN_PAIR_MS, KNOWN_SOURCE_MS};
use crate::detection::attempt::{Attempt, PasswordTag, Timestamp};

/// Failing passwords of a visit told apart: somebody who has forgotten a password tries a dozen, and whoever guesses at a
/// colleague's account from the office's address can only be told by trying far more (with 16 a slow one was not).
const FAILING_KEPT: usize = 32;

/// How a user gets on from one address. An attempt alone is not noted: most visits are one success after another.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Visit {
    successes: Span,
    failures: Counter<QUARTER_MS, QUARTERS_KEPT>,
    failing: Distinct<FAILING_KEPT>,
}

stored!(Visit {
    successes: Span,
    failures: Counter<QUARTER_MS, QUARTERS_KEPT>,
    failing: Distinct<FAILING_KEPT>,
});

impl Visit {
    pub fn success(&mut self, attempt: &Attempt) {
        self.successes.add(attempt.ts);
    }

    pub fn failure(&mut self, attempt: &Attempt) {
        self.failures.add(attempt.ts, Counts::FAILURE);
        if let Some(tag) = attempt.password {
            self.failing.add(attempt.ts, tag.0);
        }
    }

    /// Failures up to a day, to the quarter of an hour.
    pub fn failures(&self, ts: Timestamp, window_ms: i64) -> u32 {
        self.failures.sum(ts, window_ms).failures
    }

    pub fn other_tags(&self, ts: Timestamp, present: Option<PasswordTag>) -> usize {
        self.failing.seen(ts, DAY_MS).filter(|&tag| Some(PasswordTag(tag)) != present).count()
    }

    /// Whether this password failed here in the last day.
    pub fn failed_with(&self, ts: Timestamp, tag: PasswordTag) -> bool {
        self.failing.seen(ts, DAY_MS).any(|known| known == tag.0)
    }

    /// Whether the user had logged in from here by `ts`.
    pub fn familiar(&self, ts: Timestamp) -> bool {
        self.successes.known(ts, KNOWN_PAIR_MS)
    }

    /// The same within the last week.
    pub fn lately_familiar(&self, ts: Timestamp) -> bool {
        self.successes.known(ts, KNOWN_SOURCE_MS)
    }
}

impl Entry for Visit {
    fn heap_bytes(&self) -> usize {
        self.failures.heap_bytes() + self.failing.heap_bytes()
    }

    fn worth(&self) -> Worth {
        if self.successes.is_empty() { Worth::Evidence } else { Worth::Familiarity }
    }

    fn last_active(&self) -> Timestamp {
        self.failures.newest().map_or(self.successes.last, |newest| newest.max(self.successes.last))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        let oldest = day_before(now);
        self.failures.trim(oldest);
        self.failing.trim(oldest);
        !self.failures.is_empty() || self.successes.last >= now.plus_millis(-KNOWN_PAIR_MS)
    }
}
