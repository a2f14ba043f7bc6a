//! What the circuit breaker asks the scorer.

use super::Scorer;
use crate::detection::attempt::Timestamp;
use crate::learning::breaker::BlockCounts;

impl Scorer {
    /// What this node's models would have blocked of users at home.
    pub fn block_counts(&self, now: Timestamp) -> BlockCounts {
        self.lock().blocks.counts(now)
    }

    /// The breaker's window begins anew: somebody looked at what was counted so far.
    pub fn restart_block_counts(&self, now: Timestamp) {
        self.lock().blocks.restart(now);
    }
}
