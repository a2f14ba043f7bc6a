//! When feedback alone is reason enough to retrain: pure, from a ledger and the present.

use std::time::Duration;

/// The rule: so many new items, but not too soon after the last training of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrainPolicy {
    /// New items that start a training (`training.feedback_threshold`); 0 counts as 1.
    pub threshold: u64,
    /// Least store time between two trainings started by feedback (`training.feedback_min_interval`).
    pub min_interval: Duration,
}

/// What the registry and the feedback stream say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// Feedback newer than both the watermark and `considered`.
    pub pending: u64,
    /// Store time of the last training that feedback triggered.
    pub last_feedback_training_ms: Option<i64>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetrainDecision {
    /// Enough new items, and the last training of this kind is long enough ago.
    Train,
    /// Too few new items.
    Wait {
        /// So many are needed in all, at least 1.
        needed: u64,
    },
    /// Enough new items, but the interval has not passed.
    TooSoon {
        /// What is left of it: above zero, at most one interval.
        remaining: Duration,
    },
}

impl RetrainPolicy {
    /// Decides at store time `now_ms`. A last training in the future (a clock was set back) does not block for longer
    /// than one interval.
    pub fn decide(&self, ledger: &Ledger, now_ms: i64) -> RetrainDecision {
        if ledger.pending < self.threshold.max(1) {
            return RetrainDecision::Wait { needed: self.threshold.max(1) };
        }
        let Some(last) = ledger.last_feedback_training_ms else { return RetrainDecision::Train };
        let interval_ms = i64::try_from(self.min_interval.as_millis()).unwrap_or(i64::MAX);
        let remaining_ms = last.saturating_add(interval_ms).saturating_sub(now_ms).min(interval_ms);
        match u64::try_from(remaining_ms) {
            Ok(remaining) if remaining > 0 => RetrainDecision::TooSoon { remaining: Duration::from_millis(remaining) },
            _ => RetrainDecision::Train,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn ten_items_train_at_most_once_an_hour() {
        let policy = RetrainPolicy { threshold: 10, min_interval: Duration::from_secs(3600) };
        let too_soon = |minutes: u64| RetrainDecision::TooSoon { remaining: Duration::from_secs(minutes * 60) };
        for (pending, last_minutes_ago, expected) in [
            (0, None, RetrainDecision::Wait { needed: 10 }),
            (9, None, RetrainDecision::Wait { needed: 10 }),
            (10, None, RetrainDecision::Train),
            (11, Some(5), too_soon(55)),
            (10, Some(59), too_soon(1)),
            (10, Some(60), RetrainDecision::Train),
            (9, Some(600), RetrainDecision::Wait { needed: 10 }),
            (10, Some(-600), too_soon(60)),
        ] {
            let now = 1_000_000 * MINUTE;
            let last = last_minutes_ago.map(|minutes: i64| now - minutes * MINUTE);
            let ledger = Ledger { pending, last_feedback_training_ms: last };
            assert_eq!(policy.decide(&ledger, now), expected, "{pending} pending, last {last_minutes_ago:?} min ago");
        }
    }

    #[test]
    fn a_threshold_of_zero_still_wants_one_item() {
        let policy = RetrainPolicy { threshold: 0, min_interval: Duration::ZERO };
        let ledger = Ledger { pending: 0, last_feedback_training_ms: None };

        assert_eq!(policy.decide(&ledger, 0), RetrainDecision::Wait { needed: 1 });
    }
}
