//! One user (the account, where the name was an alias) as the aim of attempts.

use super::{DAY_MS, DISTINCT_KEPT, HOUR_MS, HOURS_KEPT, MINUTE_MS, MINUTES_KEPT, day_before, place};
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::counter::{Counter, Counts};
use crate::detection::activity::distinct::Distinct;
use crate::detection::activity::table::{Entry, Worth};
use crate::detection::attempt::{Attempt, PasswordTag, Timestamp, client_network};

/// What has been tried on one user. What the user is known by is in [`Account`](super::Account): a name need not exist to
/// be tried.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct User {
    hours: Counter<HOUR_MS, HOURS_KEPT>,
    tags: Distinct<DISTINCT_KEPT>,
    /// Failures only.
    minutes: Counter<MINUTE_MS, MINUTES_KEPT>,
    failing_addresses: Distinct<DISTINCT_KEPT>,
    failing_networks: Distinct<DISTINCT_KEPT>,
}

stored!(User {
    hours: Counter<HOUR_MS, HOURS_KEPT>,
    tags: Distinct<DISTINCT_KEPT>,
    minutes: Counter<MINUTE_MS, MINUTES_KEPT>,
    failing_addresses: Distinct<DISTINCT_KEPT>,
    failing_networks: Distinct<DISTINCT_KEPT>,
});

impl User {
    pub fn attempt(&mut self, attempt: &Attempt) {
        self.hours.add(attempt.ts, Counts::ATTEMPT);
        if let Some(tag) = attempt.password {
            self.tags.add(attempt.ts, tag.0);
        }
    }

    pub fn failure(&mut self, attempt: &Attempt) {
        self.hours.add(attempt.ts, Counts::FAILURE);
        self.minutes.add(attempt.ts, Counts::FAILURE);
        self.failing_addresses.add(attempt.ts, place(attempt.client_ip));
        self.failing_networks.add(attempt.ts, place(client_network(attempt.client_ip)));
    }

    /// Attempts and failures up to a day, to the hour.
    pub fn counts(&self, ts: Timestamp, window_ms: i64) -> Counts {
        self.hours.sum(ts, window_ms)
    }

    /// Failures up to an hour, to the minute.
    pub fn failures(&self, ts: Timestamp, window_ms: i64) -> u32 {
        self.minutes.sum(ts, window_ms).failures
    }

    pub fn other_tags(&self, ts: Timestamp, present: Option<PasswordTag>) -> usize {
        self.tags.seen(ts, DAY_MS).filter(|&tag| Some(PasswordTag(tag)) != present).count()
    }

    pub fn tried(&self, ts: Timestamp, tag: PasswordTag) -> bool {
        self.tags.seen(ts, DAY_MS).any(|known| known == tag.0)
    }

    pub fn failing_addresses(&self, ts: Timestamp) -> usize {
        self.failing_addresses.seen(ts, DAY_MS).count()
    }

    pub fn failing_networks(&self, ts: Timestamp) -> usize {
        self.failing_networks.seen(ts, DAY_MS).count()
    }
}

impl Entry for User {
    fn heap_bytes(&self) -> usize {
        self.hours.heap_bytes()
            + self.tags.heap_bytes()
            + self.minutes.heap_bytes()
            + self.failing_addresses.heap_bytes()
            + self.failing_networks.heap_bytes()
    }

    fn worth(&self) -> Worth {
        if self.hours.any_failure() { Worth::Evidence } else { Worth::Little }
    }

    fn last_active(&self) -> Timestamp {
        self.hours.newest().unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        let oldest = day_before(now);
        self.hours.trim(oldest);
        self.tags.trim(oldest);
        self.minutes.trim(oldest);
        self.failing_addresses.trim(oldest);
        self.failing_networks.trim(oldest);
        !self.hours.is_empty()
    }
}
