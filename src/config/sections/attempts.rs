//! `[attempts]`: how attempts are paired with their outcomes, remembered and queued. Applies at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The `[attempts]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttemptsConfig {
    /// How long a scored attempt waits for its outcome, 1 s to 1 h, before the outcome counts as unknown. Default: 30 s,
    /// longer than any authentication backend should take.
    #[serde(with = "humantime_serde")]
    pub outcome_timeout: Duration,
    /// Requests whose features are remembered for feedback and explanations, 1000 to 10000000. Default: 200000, about
    /// 100 MB of memory at most.
    pub snapshots_max: usize,
    /// Attempts kept in the store, 1000 to 100000000. Default: 1000000, at most 160 MB in Redis.
    pub stream_max: u64,
    /// Attempts queued in memory while the store is away, 1000 to 10000000; more are dropped and counted. Default: 100000,
    /// an hour of 27 attempts per second.
    pub queue_max: usize,
}

impl Default for AttemptsConfig {
    fn default() -> Self {
        Self {
            outcome_timeout: Duration::from_secs(30),
            snapshots_max: 200_000,
            stream_max: 1_000_000,
            queue_max: 100_000,
        }
    }
}
