//! The site as a whole.

use super::{MINUTE_MS, day_before};
use crate::detection::activity::checkpoint::stored;
use crate::detection::activity::counter::{Counter, Counts};
use crate::detection::attempt::Timestamp;

const TEN_MINUTES_MS: i64 = 10 * MINUTE_MS;
/// A day of ten-minute stretches, and an hour more.
const KEPT: usize = 150;

/// How many addresses have begun to fail. Not which share of all logins fails: that tells the time of day before anything else
/// (measured on generated traffic: a model that had seen a campaign at night missed twice as much of the next one by day).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Traffic {
    /// Addresses from which nobody had logged in, each at its first failure.
    failing: Counter<TEN_MINUTES_MS, KEPT>,
}

stored!(Traffic { failing: Counter<TEN_MINUTES_MS, KEPT> });

impl Traffic {
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

    pub fn trim(&mut self, now: Timestamp) {
        self.failing.trim(day_before(now));
    }
}
