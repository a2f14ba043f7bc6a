//! One autonomous system: a provider, a hosting company.

use super::{DAY_MS, HOUR_MS, HOURS_KEPT, day_before};
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::counter::{Counter, Counts};
use crate::detection::activity::table::{Entry, Worth};
use crate::detection::attempt::Timestamp;

/// What became of the attempts from one autonomous system. Attempts alone are not noted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct System {
    hours: Counter<HOUR_MS, HOURS_KEPT>,
}

stored!(System { hours: Counter<HOUR_MS, HOURS_KEPT> });

impl System {
    pub fn outcome(&mut self, ts: Timestamp, counts: Counts) {
        self.hours.add(ts, counts);
    }

    /// Failures and successes of a day, to the hour.
    pub fn outcomes(&self, ts: Timestamp) -> Counts {
        self.hours.sum(ts, DAY_MS)
    }
}

impl Entry for System {
    fn heap_bytes(&self) -> usize {
        self.hours.heap_bytes()
    }

    fn worth(&self) -> Worth {
        if self.hours.any_success() { Worth::Familiarity } else { Worth::Evidence }
    }

    fn last_active(&self) -> Timestamp {
        self.hours.newest().unwrap_or(Timestamp::from_millis(i64::MIN))
    }

    fn trim(&mut self, now: Timestamp) -> bool {
        self.hours.trim(day_before(now));
        !self.hours.is_empty()
    }
}
