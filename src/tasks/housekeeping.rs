//! The small regular duties of a node: announcing open attempts, giving up on lost outcomes, remembering what came in,
//! pruning, checkpoints.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Config;
use crate::serving::scorer::Scorer;
use crate::state::state_dir::StateDir;
use crate::supervisor::{TaskError, TaskStatus};
use crate::tasks::replication::Replication;

/// How often open attempts are looked at: a quarter of the time after which they are announced.
const SWEEP: Duration = Duration::from_millis(250);
/// How often counters are pruned and written to the state directory.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// See the module documentation.
#[derive(Clone)]
pub struct Housekeeping {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) replication: Arc<Replication>,
    pub(crate) state_dir: Arc<StateDir>,
    pub(crate) status: TaskStatus,
}

impl Housekeeping {
    /// Runs until `stop`; the last checkpoint is the node's own last act.
    ///
    /// # Errors
    /// None: a state directory that cannot be written is reported by [`StateDir`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut checkpoint = tokio::time::interval_at(tokio::time::Instant::now() + CHECKPOINT, CHECKPOINT);
        checkpoint.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = sweep.tick() => {
                    let timeout = self.config.load().attempts.outcome_timeout;
                    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                    self.scorer.sweep(clock::now(), clock::monotonic_ms(), timeout_ms);
                    self.off_the_runtime(Scorer::digest).await;
                }
                _ = checkpoint.tick() => {
                    self.scorer.prune(clock::now());
                    self.off_the_runtime(|scorer| scorer.prune_memory(clock::now())).await;
                    self.checkpoint().await;
                    self.status.finished("checkpoint", "");
                }
            }
        }
    }

    /// Has something done that may walk over everything that is remembered.
    async fn off_the_runtime(&self, work: impl FnOnce(&Scorer) + Send + 'static) {
        let scorer = Arc::clone(&self.scorer);
        // A panic in there has been logged; the next round tries again.
        let _ = tokio::task::spawn_blocking(move || work(&scorer)).await;
    }

    async fn checkpoint(&self) {
        checkpoint(&self.replication, &self.state_dir).await;
    }
}

/// Writes the counters, with the position that they were read up to, into the state directory.
pub async fn checkpoint(replication: &Replication, state_dir: &Arc<StateDir>) {
    let Some((position, counters)) = replication.checkpoint().await else { return };
    let state_dir = Arc::clone(state_dir);
    // A full table is some tens of megabytes; writing them must not hold up a runtime thread.
    let _ = tokio::task::spawn_blocking(move || state_dir.save_checkpoint(position, &counters)).await;
}
