//! One password tag, for a day.

use super::{DAY_MS, DISTINCT_KEPT, day_before};
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::distinct::Distinct;
use crate::detection::activity::table::{Entry, Worth};
use crate::detection::attempt::{Attempt, Pseudonym, Timestamp};

/// On whom a password was tried. How often is not kept: "always the same password" must not become an excuse.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tag {
    users: Distinct<DISTINCT_KEPT>,
}

stored!(Tag { users: Distinct<DISTINCT_KEPT> });

impl Tag {
    pub fn attempt(&mut self, attempt: &Attempt) {
        self.users.add(attempt.ts, attempt.user.short());
    }

    pub fn other_users(&self, ts: Timestamp, present: Pseudonym) -> usize {
        self.users(ts).filter(|&user| user != present.short()).count()
    }

    /// The users on whom it was tried in the last day, by their short pseudonyms.
    pub fn users(&self, ts: Timestamp) -> impl Iterator<Item = u64> {
        self.users.seen(ts, DAY_MS)
    }
}

impl Entry for Tag {
    fn heap_bytes(&self) -> usize {
        self.users.heap_bytes()
    }

    fn worth(&self) -> Worth {
        if self.users.len() > 1 { Worth::Evidence } else { Worth::Little }
    }

    fn last_active(&self) -> Timestamp {
        self.users.newest().unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        self.users.trim(day_before(now));
        !self.users.is_empty()
    }
}
