//! The kinds of things that are watched, and what is kept about each.
//!
//! A new kind is a struct here with its `Entry` and `Stored` forms, a table in [`Activity`](super::Activity) and a line
//! in its checkpoint. Everything in it must commute.

use super::counter::{Counter, Counts};
use super::distinct::Distinct;
use super::table::{Entry, vec_bytes};
use super::{DAY_MS, HOUR_MS, KNOWN_PAIR_MS};
use crate::detection::attempt::{Attempt, PasswordTag, Pseudonym, RequestKey, Timestamp};

/// The newest attempts of a source: some more than one, because nodes hear of each other's attempts a little late.
const RECENT_KEPT: usize = 4;
/// Distinct things told apart. Features saturate at 20.
const DISTINCT_KEPT: usize = 64;
/// An hour of minutes, and some for events that come in late.
const MINUTES_KEPT: usize = 64;
/// A day of hours, and some for events that come in late.
const HOURS_KEPT: usize = 26;
/// Failing passwords of a pair told apart: two are guessing already.
const FAILING_KEPT: usize = 4;

/// Eight bytes of a request id, enough to tell the newest few requests of one entry apart.
fn short(request: RequestKey) -> u64 {
    u64::from_le_bytes(*request.0.first_chunk().expect("eight of sixteen bytes"))
}

fn day_before(now: Timestamp) -> Timestamp {
    now.plus_millis(-DAY_MS)
}

/// One client address.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Source {
    pub(super) recent: Distinct<RECENT_KEPT>,
    pub(super) minutes: Counter<60_000, MINUTES_KEPT>,
    pub(super) names: Distinct<DISTINCT_KEPT>,
}

impl Source {
    pub fn attempt(&mut self, attempt: &Attempt) {
        self.recent.add(attempt.ts, short(attempt.request));
        self.minutes.add(attempt.ts, Counts::ATTEMPT);
        self.names.add(attempt.ts, attempt.name.short());
    }

    pub fn failure(&mut self, attempt: &Attempt) {
        self.minutes.add(attempt.ts, Counts::FAILURE);
    }

    pub fn previous_attempt(&self, ts: Timestamp, except: Option<RequestKey>) -> Option<Timestamp> {
        // When all recent ones are later, the buckets still know the minute.
        self.recent.last_until(ts, except.map(short)).or_else(|| self.minutes.last_before(ts))
    }

    pub fn counts(&self, ts: Timestamp, window_ms: i64) -> Counts {
        self.minutes.sum(ts, window_ms)
    }

    pub fn other_names(&self, ts: Timestamp, present: Pseudonym) -> usize {
        self.names.seen(ts, HOUR_MS).filter(|&name| name != present.short()).count()
    }
}

impl Entry for Source {
    fn heap_bytes(&self) -> usize {
        vec_bytes::<(i64, u64)>(self.recent.len())
            + vec_bytes::<(i64, Counts)>(self.minutes.len())
            + vec_bytes::<(i64, u64)>(self.names.len())
    }

    fn worth_keeping(&self) -> bool {
        self.minutes.any_failure()
    }

    fn last_active(&self) -> Timestamp {
        self.recent.newest().or_else(|| self.minutes.newest()).unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        let oldest = day_before(now);
        self.recent.trim(oldest);
        self.minutes.trim(oldest);
        self.names.trim(oldest);
        !self.minutes.is_empty()
    }
}

/// One user (the account, where the name was an alias).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct User {
    pub(super) hours: Counter<HOUR_MS, HOURS_KEPT>,
    pub(super) tags: Distinct<DISTINCT_KEPT>,
}

impl User {
    pub fn attempt(&mut self, attempt: &Attempt) {
        self.hours.add(attempt.ts, Counts::ATTEMPT);
        if let Some(tag) = attempt.password {
            self.tags.add(attempt.ts, tag.0);
        }
    }

    pub fn failure(&mut self, attempt: &Attempt) {
        self.hours.add(attempt.ts, Counts::FAILURE);
    }

    pub fn counts(&self, ts: Timestamp, window_ms: i64) -> Counts {
        self.hours.sum(ts, window_ms)
    }

    pub fn other_tags(&self, ts: Timestamp, present: Option<PasswordTag>) -> usize {
        self.tags.seen(ts, DAY_MS).filter(|&tag| Some(PasswordTag(tag)) != present).count()
    }
}

impl Entry for User {
    fn heap_bytes(&self) -> usize {
        vec_bytes::<(i64, Counts)>(self.hours.len()) + vec_bytes::<(i64, u64)>(self.tags.len())
    }

    fn worth_keeping(&self) -> bool {
        self.hours.any_failure()
    }

    fn last_active(&self) -> Timestamp {
        self.hours.newest().unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        let oldest = day_before(now);
        self.hours.trim(oldest);
        self.tags.trim(oldest);
        !self.hours.is_empty()
    }
}

/// One user from one client network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pair {
    /// The first success; the newest few are in `successes`.
    pub(super) first_success: Option<Timestamp>,
    pub(super) successes: Distinct<RECENT_KEPT>,
    /// Failing password tags; a failure without a tag stands for itself.
    pub(super) failing: Distinct<FAILING_KEPT>,
    /// When guessing was last found while its password tags had to be forgotten.
    pub(super) guessed: Option<Timestamp>,
}

impl Pair {
    pub fn success(&mut self, attempt: &Attempt) {
        self.first_success = Some(self.first_success.map_or(attempt.ts, |first| first.min(attempt.ts)));
        self.successes.add(attempt.ts, short(attempt.request));
    }

    pub fn failure(&mut self, attempt: &Attempt) {
        let what = attempt.password.map_or_else(|| short(attempt.request), |tag| tag.0);
        self.failing.add(attempt.ts, what);
    }

    pub fn known_good(&self, ts: Timestamp) -> bool {
        let old_enough = self.first_success.is_some_and(|first| first <= ts.plus_millis(-DAY_MS));
        let Some(latest) = self.successes.last_until(ts, None) else { return false };
        old_enough && latest > ts.plus_millis(-KNOWN_PAIR_MS) && !self.guessing(latest, ts)
    }

    fn guessing(&self, since: Timestamp, ts: Timestamp) -> bool {
        self.guessed.is_some_and(|guessed| guessed > since) || self.failing.since(since, ts).nth(1).is_some()
    }
}

impl Entry for Pair {
    fn heap_bytes(&self) -> usize {
        vec_bytes::<(i64, u64)>(self.successes.len()) + vec_bytes::<(i64, u64)>(self.failing.len())
    }

    /// Here the rare thing is the success: an attack can make pairs with failures at will.
    fn worth_keeping(&self) -> bool {
        self.first_success.is_some()
    }

    fn last_active(&self) -> Timestamp {
        let newest = self.successes.newest().max(self.failing.newest()).max(self.guessed);
        newest.unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        let latest = self.successes.newest().unwrap_or(Timestamp::from_millis(i64::MIN));
        if self.failing.since(latest, Timestamp::from_millis(i64::MAX)).nth(1).is_some() {
            self.guessed = self.guessed.max(self.failing.newest());
        }
        self.failing.trim(day_before(now));
        let known = self.first_success.is_some() || !self.failing.is_empty();
        known && self.last_active() >= now.plus_millis(-KNOWN_PAIR_MS)
    }
}
