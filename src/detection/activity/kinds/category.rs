//! One value of an additional feature.

use super::{DAY_MS, DAYS_KEPT};
use crate::detection::activity::KNOWN_SOURCE_MS;
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::counter::{Counter, Counts};
use crate::detection::activity::table::{Entry, Worth};
use crate::detection::attempt::Timestamp;

/// What became of the attempts with one value, for a week.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Category {
    days: Counter<DAY_MS, DAYS_KEPT>,
}

stored!(Category { days: Counter<DAY_MS, DAYS_KEPT> });

impl Category {
    pub fn outcome(&mut self, ts: Timestamp, counts: Counts) {
        self.days.add(ts, counts);
    }

    /// Failures and successes of a week, to the day.
    pub fn outcomes(&self, ts: Timestamp) -> Counts {
        self.days.sum(ts, KNOWN_SOURCE_MS)
    }
}

impl Entry for Category {
    fn heap_bytes(&self) -> usize {
        self.days.heap_bytes()
    }

    fn worth(&self) -> Worth {
        if self.days.any_success() { Worth::Familiarity } else { Worth::Little }
    }

    fn last_active(&self) -> Timestamp {
        self.days.newest().unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        self.days.trim(now.plus_millis(-KNOWN_SOURCE_MS));
        !self.days.is_empty()
    }
}
