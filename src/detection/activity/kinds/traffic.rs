//! The site as a whole.

use super::{DAY_MS, MINUTE_MS, day_before};
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::counter::{Counter, Counts};
use crate::detection::attempt::Timestamp;

/// The recent window of the site's failure rate.
const TEN_MINUTES_MS: i64 = 10 * MINUTE_MS;
/// Ten minutes, and some for events that come in late.
const RECENT_KEPT: usize = 16;
/// A day of ten-minute stretches, and an hour more.
const BASE_KEPT: usize = 150;

/// Failures and successes of everybody, and how many addresses have begun to fail.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Traffic {
    recent: Counter<MINUTE_MS, RECENT_KEPT>,
    base: Counter<TEN_MINUTES_MS, BASE_KEPT>,
    /// Addresses from which nobody had logged in, each at its first failure.
    failing: Counter<TEN_MINUTES_MS, BASE_KEPT>,
}

stored!(Traffic {
    recent: Counter<MINUTE_MS, RECENT_KEPT>,
    base: Counter<TEN_MINUTES_MS, BASE_KEPT>,
    failing: Counter<TEN_MINUTES_MS, BASE_KEPT>,
});

impl Traffic {
    pub fn outcome(&mut self, ts: Timestamp, counts: Counts) {
        self.recent.add(ts, counts);
        self.base.add(ts, counts);
    }

    /// An address had begun to fail at `before`, as far as was known; now it is known to be at `after`.
    pub fn address(&mut self, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.failing.take(before, Counts::FAILURE);
        }
        if let Some(after) = after {
            self.failing.add(after, Counts::FAILURE);
        }
    }

    /// Addresses from which nobody had logged in that began to fail in the last `window_ms`, up to a day.
    pub fn failing_addresses(&self, ts: Timestamp, window_ms: i64) -> u32 {
        self.failing.sum(ts, window_ms).failures
    }

    /// Failures and successes of the last ten minutes.
    pub fn recent(&self, ts: Timestamp) -> Counts {
        self.recent.sum(ts, TEN_MINUTES_MS)
    }

    /// Failures and successes of the last day.
    pub fn base(&self, ts: Timestamp) -> Counts {
        self.base.sum(ts, DAY_MS)
    }

    pub fn trim(&mut self, now: Timestamp) {
        self.recent.trim(day_before(now));
        self.base.trim(day_before(now));
        self.failing.trim(day_before(now));
    }
}
