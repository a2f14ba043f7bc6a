//! One client network: the /24 of an IPv4 address, the /64 of an IPv6 address.

use super::{DAY_MS, DAYS_KEPT, DISTINCT_KEPT, QUARTER_MS, QUARTERS_KEPT, day_before};
use crate::detection::activity::KNOWN_SOURCE_MS;
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::counter::{Counter, Counts};
use crate::detection::activity::distinct::Distinct;
use crate::detection::activity::table::{Entry, Worth};
use crate::detection::attempt::{Attempt, Timestamp};

/// What a network has been doing as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Network {
    /// Attempts and failures.
    quarters: Counter<QUARTER_MS, QUARTERS_KEPT>,
    failed_users: Distinct<DISTINCT_KEPT>,
    /// Successes.
    days: Counter<DAY_MS, DAYS_KEPT>,
}

stored!(Network {
    quarters: Counter<QUARTER_MS, QUARTERS_KEPT>,
    failed_users: Distinct<DISTINCT_KEPT>,
    days: Counter<DAY_MS, DAYS_KEPT>,
});

impl Network {
    pub fn attempt(&mut self, attempt: &Attempt) {
        self.quarters.add(attempt.ts, Counts::ATTEMPT);
    }

    pub fn failure(&mut self, attempt: &Attempt) {
        self.quarters.add(attempt.ts, Counts::FAILURE);
        self.failed_users.add(attempt.ts, attempt.user.short());
    }

    pub fn success(&mut self, attempt: &Attempt) {
        self.days.add(attempt.ts, Counts::SUCCESS);
    }

    /// Attempts and failures up to a day, to the quarter of an hour.
    pub fn counts(&self, ts: Timestamp, window_ms: i64) -> Counts {
        self.quarters.sum(ts, window_ms)
    }

    pub fn failed_users(&self, ts: Timestamp) -> usize {
        self.failed_users.seen(ts, DAY_MS).count()
    }

    /// Successes of a week, to the day.
    pub fn successes(&self, ts: Timestamp) -> u32 {
        self.days.sum(ts, KNOWN_SOURCE_MS).successes
    }
}

impl Entry for Network {
    fn heap_bytes(&self) -> usize {
        self.quarters.heap_bytes() + self.failed_users.heap_bytes() + self.days.heap_bytes()
    }

    fn worth(&self) -> Worth {
        if !self.days.is_empty() {
            Worth::Familiarity
        } else if self.quarters.any_failure() {
            Worth::Evidence
        } else {
            Worth::Little
        }
    }

    fn last_active(&self) -> Timestamp {
        self.quarters.newest().max(self.days.newest()).unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        let oldest = day_before(now);
        self.quarters.trim(oldest);
        self.failed_users.trim(oldest);
        self.days.trim(now.plus_millis(-KNOWN_SOURCE_MS));
        !self.quarters.is_empty() || !self.days.is_empty()
    }
}
