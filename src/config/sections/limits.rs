//! `[limits]`: how much may be kept, and how long. Applies at once, to what is written later.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The `[limits]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Memory for the counters behind the features in bytes, at least 1 MiB. Default: 268435456 (256 MiB), about
    /// 80 000 addresses that tried once, beside 50 000 users and 70 000 accounts; beyond it what tells least is forgotten
    /// first, and counted.
    pub activity_bytes_max: u64,
    /// Memory for what labels look back at in bytes, at least 1 MiB, half of it for history. Default: 201326592 (192 MiB),
    /// some 400 000 failures that have nothing in common, and far more of the ordinary kind; beyond it the oldest hours
    /// are forgotten, counted, and what needs them gets no label.
    pub hindsight_bytes_max: u64,
    /// Oldest attempt in the store, 1 h to 30 d, counted from its arrival. Default: 24 h, the longest window of a feature.
    #[serde(with = "humantime_serde")]
    pub attempts_age: Duration,
    /// Feedback items kept, 100 to 1000000; more are refused, none is dropped for its number. Default: 50000.
    pub feedback_max: u64,
    /// Oldest feedback item, 1 d to 2 years. Default: 90 d; what was an attack then may be a customer now.
    #[serde(with = "humantime_serde")]
    pub feedback_age: Duration,
    /// Entries of the training history, 10 to 10000. Default: 200, three months of two trainings a day.
    pub history_max: u64,
    /// Earlier models kept for a rollback, 1 to 50. Default: 5.
    pub models_kept: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            activity_bytes_max: 256 * 1024 * 1024,
            hindsight_bytes_max: 192 * 1024 * 1024,
            attempts_age: DAY,
            feedback_max: 50_000,
            feedback_age: 90 * DAY,
            history_max: 200,
            models_kept: 5,
        }
    }
}
