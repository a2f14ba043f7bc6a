//! One user from one client network.

use super::{DAY_MS, RECENT_KEPT, day_before, short};
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::distinct::Distinct;
use crate::detection::activity::table::{Entry, Worth};
use crate::detection::activity::{KNOWN_PAIR_MS, KNOWN_SOURCE_MS};
use crate::detection::attempt::{Attempt, Timestamp};

/// Failing passwords of a pair told apart: two are guessing already.
const FAILING_KEPT: usize = 4;

/// Whether a user is at home in a network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pair {
    /// The first success; the newest few are in `successes`.
    first_success: Option<Timestamp>,
    successes: Distinct<RECENT_KEPT>,
    /// Failing password tags; a failure without a tag stands for itself.
    failing: Distinct<FAILING_KEPT>,
    /// When guessing was last found while its password tags had to be forgotten.
    guessed: Option<Timestamp>,
}

stored!(Pair {
    first_success: Option<Timestamp>,
    successes: Distinct<RECENT_KEPT>,
    failing: Distinct<FAILING_KEPT>,
    guessed: Option<Timestamp>,
});

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

    /// Whether the user had logged in from here by `ts`, however shortly before.
    pub fn familiar(&self, ts: Timestamp) -> bool {
        let lately = self.successes.newest().is_some_and(|newest| newest > ts.plus_millis(-KNOWN_PAIR_MS));
        lately && self.first_success.is_some_and(|first| first <= ts)
    }

    /// Whether the user logged in from here within the week before `ts`.
    pub fn at_home(&self, ts: Timestamp) -> bool {
        self.successes.last_until(ts, None).is_some_and(|latest| latest > ts.plus_millis(-KNOWN_SOURCE_MS))
    }

    fn guessing(&self, since: Timestamp, ts: Timestamp) -> bool {
        self.guessed.is_some_and(|guessed| guessed > since) || self.failing.since(since, ts).nth(1).is_some()
    }
}

impl Entry for Pair {
    fn heap_bytes(&self) -> usize {
        self.successes.heap_bytes() + self.failing.heap_bytes()
    }

    /// Here the rare thing is the success: an attack can make pairs with failures at will.
    fn worth(&self) -> Worth {
        if self.first_success.is_some() { Worth::Familiarity } else { Worth::Little }
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
