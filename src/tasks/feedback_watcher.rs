//! Retrains when enough new feedback has come together.
//!
//! "New" is derived, never counted on the side: entries newer than both the watermark (in a published model) and
//! `considered` (seen by a training that published nothing). When another node holds the lease, this one waits for it to
//! lapse, so that a trainer that dies is replaced within one lease time.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::jittered;
use super::trainer::{TrainError, TrainReport, TrainRequest, Trainer};
use crate::config::Config;
use crate::learning::policy::{Ledger, RetrainDecision, RetrainPolicy};
use crate::store::registry::{Registry, TriggerKey};
use crate::store::{Position, Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};

/// How often the ledger is read when nobody rings: feedback given on a node that died is found by the others.
const POLL: Duration = Duration::from_secs(5);
/// How long after a lapsed lease to ask again, and the shortest wait.
const LEASE_GRACE: Duration = Duration::from_millis(50);

/// See the module documentation.
#[derive(Clone)]
pub struct FeedbackWatcher {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) trainer: Arc<Trainer>,
    pub(crate) feedback_given: Arc<Notify>,
    pub(crate) status: TaskStatus,
}

/// What one pass found.
#[derive(Debug)]
pub(crate) enum Watched {
    /// Not enough new feedback.
    Waiting {
        pending: u64,
        needed: u64,
    },
    /// Enough, but the last training of this kind was too recent.
    TooSoon {
        remaining: Duration,
    },
    Trained(TrainReport),
}

impl FeedbackWatcher {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When a training failed for another reason than an absent store; the supervisor waits and starts again.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                watched = self.reconcile_once() => self.settle(watched)?,
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.feedback_given.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn settle(&self, watched: Result<Watched, TrainError>) -> Result<Duration, TrainError> {
        match watched {
            Ok(Watched::Waiting { pending, needed }) => {
                self.status.finished("waiting_for_feedback", format!("{pending} new, {needed} needed"));
                Ok(jittered(POLL))
            }
            Ok(Watched::TooSoon { remaining }) => {
                self.status.waiting(format!("the next feedback training is due in {} s", remaining.as_secs() + 1));
                Ok(remaining.clamp(LEASE_GRACE, POLL))
            }
            Ok(Watched::Trained(TrainReport::Held { remaining })) => {
                self.status.waiting("another node is training");
                Ok((remaining + LEASE_GRACE).min(POLL))
            }
            Ok(Watched::Trained(report)) => {
                self.status.finished(report.outcome(), report.reason());
                Ok(Duration::from_millis(500))
            }
            Err(TrainError::Store(error)) => {
                self.status.waiting(error.to_string());
                Ok(jittered(Duration::from_secs(1)))
            }
            Err(TrainError::Cancelled { reason }) => {
                self.status.waiting(reason);
                Ok(jittered(Duration::from_secs(1)))
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the ledger and trains if it says so. Without new feedback a second run does nothing.
    ///
    /// # Errors
    /// When the store cannot be read or the training failed.
    pub(crate) async fn reconcile_once(&self) -> Result<Watched, TrainError> {
        let config = self.config.load_full();
        let policy = RetrainPolicy {
            threshold: config.training.feedback_threshold,
            min_interval: config.training.feedback_min_interval,
        };
        let registry = self.store.registry().await?;
        let (ledger, upto) = self.ledger(&registry).await?;
        match policy.decide(&ledger, registry.now_ms) {
            RetrainDecision::Wait { needed } => Ok(Watched::Waiting { pending: ledger.pending, needed }),
            RetrainDecision::TooSoon { remaining } => Ok(Watched::TooSoon { remaining }),
            RetrainDecision::Train => {
                let request = TrainRequest {
                    trigger: TriggerKey::Feedback { upto },
                    samples: usize::try_from(config.training.samples).unwrap_or(usize::MAX),
                    epochs: config.training.feedback_epochs,
                    tune: false,
                    by_operator: false,
                    by: "feedback_watcher".into(),
                };
                Ok(Watched::Trained(self.trainer.run_once(request).await?))
            }
        }
    }

    /// The new feedback, and the position of the last of it.
    async fn ledger(&self, registry: &Registry) -> Result<(Ledger, Position), StoreError> {
        let base = registry.watermark.max(registry.considered);
        // As many as the decision asks for are enough; the training reads everything itself.
        let enough = usize::try_from(self.config.load().training.feedback_threshold).unwrap_or(usize::MAX).max(1);
        let entries = self.store.read_feedback(base, enough).await?;
        let upto = entries.last().map_or(base, |(position, _)| *position);
        let ledger =
            Ledger { pending: entries.len() as u64, last_feedback_training_ms: registry.feedback_trained_at_ms };
        Ok((ledger, upto))
    }
}
