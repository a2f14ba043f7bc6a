//! One client address.

use super::{DAY_MS, DISTINCT_KEPT, HOUR_MS, HOURS_KEPT, MINUTE_MS, MINUTES_KEPT, RECENT_KEPT, day_before, short};
use crate::detection::activity::KNOWN_SOURCE_MS;
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::counter::{Counter, Counts};
use crate::detection::activity::distinct::Distinct;
use crate::detection::activity::table::{Entry, Worth};
use crate::detection::attempt::{Attempt, Pseudonym, RequestKey, Timestamp};

/// What one client address has been doing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Source {
    recent: Distinct<RECENT_KEPT>,
    minutes: Counter<MINUTE_MS, MINUTES_KEPT>,
    names: Distinct<DISTINCT_KEPT>,
    /// Since when the address is remembered.
    first_attempt: Option<Timestamp>,
    /// Failures and successes; attempts are in the minutes.
    hours: Counter<HOUR_MS, HOURS_KEPT>,
    failed_names: Distinct<DISTINCT_KEPT>,
    /// Users who logged in.
    users_in: Distinct<DISTINCT_KEPT>,
    /// The first of the failures and of the successes that are remembered.
    first_failure: Option<Timestamp>,
    first_success: Option<Timestamp>,
}

stored!(Source {
    recent: Distinct<RECENT_KEPT>,
    minutes: Counter<MINUTE_MS, MINUTES_KEPT>,
    names: Distinct<DISTINCT_KEPT>,
    first_attempt: Option<Timestamp>,
    hours: Counter<HOUR_MS, HOURS_KEPT>,
    failed_names: Distinct<DISTINCT_KEPT>,
    users_in: Distinct<DISTINCT_KEPT>,
    first_failure: Option<Timestamp>,
    first_success: Option<Timestamp>,
});

impl Source {
    pub fn attempt(&mut self, attempt: &Attempt) {
        self.recent.add(attempt.ts, short(attempt.request));
        self.minutes.add(attempt.ts, Counts::ATTEMPT);
        self.names.add(attempt.ts, attempt.user.short());
        self.first_attempt = Some(self.first_attempt.map_or(attempt.ts, |first| first.min(attempt.ts)));
    }

    pub fn failure(&mut self, attempt: &Attempt) {
        self.minutes.add(attempt.ts, Counts::FAILURE);
        self.hours.add(attempt.ts, Counts::FAILURE);
        self.failed_names.add(attempt.ts, attempt.user.short());
        self.first_failure = Some(self.first_failure.map_or(attempt.ts, |first| first.min(attempt.ts)));
    }

    pub fn success(&mut self, attempt: &Attempt) {
        self.hours.add(attempt.ts, Counts::SUCCESS);
        self.users_in.add(attempt.ts, attempt.user.short());
        self.first_success = Some(self.first_success.map_or(attempt.ts, |first| first.min(attempt.ts)));
    }

    pub fn previous_attempt(&self, ts: Timestamp, except: Option<RequestKey>) -> Option<Timestamp> {
        // When all recent ones are later, the buckets still know the minute.
        self.recent.last_until(ts, except.map(short)).or_else(|| self.minutes.last_before(ts))
    }

    /// Attempts and failures, up to an hour.
    pub fn counts(&self, ts: Timestamp, window_ms: i64) -> Counts {
        self.minutes.sum(ts, window_ms)
    }

    /// Failures and successes of a day, to the hour.
    pub fn outcomes(&self, ts: Timestamp) -> Counts {
        self.hours.sum(ts, DAY_MS)
    }

    pub fn other_names(&self, ts: Timestamp, present: Pseudonym) -> usize {
        self.names.seen(ts, HOUR_MS).filter(|&name| name != present.short()).count()
    }

    pub fn failed_names(&self, ts: Timestamp) -> usize {
        self.failed_names.seen(ts, DAY_MS).count()
    }

    /// The users who logged in in the last week, by their short pseudonyms.
    pub fn users_in(&self, ts: Timestamp) -> impl Iterator<Item = u64> {
        self.users_in.seen(ts, KNOWN_SOURCE_MS)
    }

    /// When the address began with a failure, before anybody had logged in from there; `None` if it did not. What happens
    /// later changes nothing.
    pub fn fails_since(&self) -> Option<Timestamp> {
        self.first_failure.filter(|failure| self.first_success.is_none_or(|success| success > *failure))
    }

    pub fn first_attempt(&self, ts: Timestamp) -> Option<Timestamp> {
        self.first_attempt.filter(|first| *first <= ts)
    }
}

impl Entry for Source {
    fn heap_bytes(&self) -> usize {
        self.recent.heap_bytes()
            + self.minutes.heap_bytes()
            + self.names.heap_bytes()
            + self.hours.heap_bytes()
            + self.failed_names.heap_bytes()
            + self.users_in.heap_bytes()
    }

    fn worth(&self) -> Worth {
        if !self.users_in.is_empty() {
            Worth::Familiarity
        } else if self.minutes.any_failure() || self.hours.any_failure() {
            Worth::Evidence
        } else {
            Worth::Little
        }
    }

    fn last_active(&self) -> Timestamp {
        let newest = self.recent.newest().max(self.minutes.newest()).max(self.users_in.newest());
        newest.unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        let oldest = day_before(now);
        self.recent.trim(oldest);
        self.minutes.trim(oldest);
        self.names.trim(oldest);
        self.hours.trim(oldest);
        self.failed_names.trim(oldest);
        self.users_in.trim(now.plus_millis(-KNOWN_SOURCE_MS));
        if !self.minutes.any_failure() && !self.hours.any_failure() {
            self.first_failure = None;
        }
        if self.users_in.is_empty() {
            self.first_success = None;
        }
        !self.minutes.is_empty() || !self.users_in.is_empty()
    }
}
