//! The one task of a node that writes models to the registry: publishes, resets, rollbacks, and putting back a model
//! that the store lost.
//!
//! It serialises a model into its envelope and hands it to the store, whose single step checks fence and parent, stores,
//! and rings the announcement; resets and rollbacks are announced the same way. When an answer is lost the same request
//! is sent again: the store recognises it. It never decides whether a model is good; that was the gate's work.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::jittered;
use crate::clock;
use crate::detection::attempt::Timestamp;
use crate::learning::artifact::{ArtifactHeader, FORMAT, ModelArtifact};
use crate::learning::evaluation::Evaluation;
use crate::learning::feedback::Told;
use crate::learning::tuning::Table;
use crate::random;
use crate::serving::slot::ModelSlot;
use crate::state::high_water::HighWaterFile;
use crate::state::identity::Identity;
use crate::state::state_dir::StateDir;
use crate::store::mode::EndOfLearning;
use crate::store::registry::{
    Lease, ModelId, Parent, PublishReply, PublishRequest, Registry, ResetReply, RollbackReply, TriggerKey,
};
use crate::store::{Position, Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// Jobs that may wait; each waits for its answer, so more than a handful never queue.
const JOBS_WAITING_MAX: usize = 8;
/// How often the registry is checked for a model that was lost with the store's data.
const RESTORE_PERIOD: Duration = Duration::from_secs(10);
/// Tries for one publish whose answer was lost, and the wait between them.
const PUBLISH_TRIES: u32 = 5;
const PUBLISH_RETRY: Duration = Duration::from_secs(1);

/// A trained model on its way into the registry.
#[derive(Debug, Clone)]
pub struct PublishJob {
    pub(crate) artifact: ModelArtifact,
    /// The registry that the challenger was compared with.
    pub(crate) registry: Registry,
    pub(crate) lease: Lease,
    pub(crate) trigger: TriggerKey,
    pub(crate) watermark: Position,
    pub(crate) by_operator: bool,
    pub(crate) history: HistoryNote,
    /// Learning mode ends with it; `None`: it stays.
    pub(crate) ends_learning: Option<EndOfLearning>,
}

/// What the history says about a training (`wire.md`: `GET /v1/models`).
#[derive(Debug, Clone)]
pub struct HistoryNote {
    pub(crate) trained_at: Timestamp,
    pub(crate) trigger: String,
    pub(crate) by: String,
    pub(crate) node: String,
    pub(crate) samples: usize,
    pub(crate) epochs: u32,
    pub(crate) evaluation: Option<Evaluation>,
    /// The gate's judgement as JSON.
    pub(crate) gate: Option<Value>,
    /// Under which it waits for a person, or was approved.
    pub(crate) candidate: Option<String>,
    /// What a search tried and found.
    pub(crate) tuning: Option<Table>,
    /// What became of the words of people.
    pub(crate) feedback: Option<Told>,
    /// Whose words were set aside.
    pub(crate) unheeded: Vec<String>,
    pub(crate) reason: String,
}

impl HistoryNote {
    /// The history entry as JSON. `outcome` is `promoted`, `candidate`, `refused` or `not_enough_data`.
    pub fn to_json(&self, model: Option<ModelId>, outcome: &str) -> Vec<u8> {
        let mut entry = json!({
            "model": model,
            "trained_at": self.trained_at.to_string(),
            "trigger": self.trigger,
            "by": self.by,
            "node": self.node,
            "samples": self.samples,
            "epochs": self.epochs,
            "evaluation": self.evaluation,
            "gate": self.gate,
            "tuning": self.tuning,
            "feedback": self.feedback,
            "outcome": outcome,
            "reason": self.reason,
        });
        if !self.unheeded.is_empty() {
            entry["feedback"]["set_aside_authors"] = self.unheeded.clone().into();
        }
        if let Some(candidate) = &self.candidate {
            entry["candidate"] = candidate.as_str().into();
        }
        entry.to_string().into_bytes()
    }
}

enum Job {
    Publish(Box<PublishJob>, oneshot::Sender<Result<(PublishReply, ModelId), PublishError>>),
    Reset(String, oneshot::Sender<Result<ResetReply, StoreError>>),
    Rollback(Option<u64>, String, oneshot::Sender<Result<RollbackReply, StoreError>>),
}

/// Why a publish did not reach the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot encode the model artifact: {0}")]
    Encode(#[from] crate::learning::artifact::ArtifactError),
    #[error("the publisher is not running")]
    Stopped,
}

/// Sends jobs to the publisher and waits for their answers.
#[derive(Clone)]
pub struct PublisherHandle {
    jobs: mpsc::Sender<Job>,
}

/// The receiving end, shared between restarts of the task.
pub struct Jobs(Mutex<mpsc::Receiver<Job>>);

/// A handle and the queue that the publisher reads.
pub fn queue() -> (PublisherHandle, Arc<Jobs>) {
    let (jobs, waiting) = mpsc::channel(JOBS_WAITING_MAX);
    (PublisherHandle { jobs }, Arc::new(Jobs(Mutex::new(waiting))))
}

impl PublisherHandle {
    /// Publishes a trained model.
    ///
    /// # Errors
    /// When the store stayed away for all tries, or the model cannot be encoded.
    pub(crate) async fn publish(&self, job: PublishJob) -> Result<(PublishReply, ModelId), PublishError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.jobs.send(Job::Publish(Box::new(job), answer)).await;
        sent.map_err(|_| PublishError::Stopped)?;
        answered.await.map_err(|_| PublishError::Stopped)?
    }

    /// Leaves the fleet without a model.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn reset(&self, by: String) -> Result<ResetReply, PublishError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Reset(by, answer)).await.map_err(|_| PublishError::Stopped)?;
        Ok(answered.await.map_err(|_| PublishError::Stopped)??)
    }

    /// Makes an earlier model current again.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub(crate) async fn rollback(&self, generation: Option<u64>, by: String) -> Result<RollbackReply, PublishError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Rollback(generation, by, answer)).await.map_err(|_| PublishError::Stopped)?;
        Ok(answered.await.map_err(|_| PublishError::Stopped)??)
    }
}

/// See the module documentation.
#[derive(Clone)]
pub struct Publisher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) slot: Arc<ModelSlot>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) high_water: Arc<HighWaterFile>,
    pub(crate) state_dir: Arc<StateDir>,
    pub(crate) metrics: Arc<Metrics>,
    /// Rung after a write, so that this node follows it at once like any other.
    pub(crate) registry_changed: Arc<tokio::sync::Notify>,
    pub(crate) status: TaskStatus,
}

impl Publisher {
    /// Serves jobs until `stop`.
    ///
    /// # Errors
    /// When every handle is gone.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let queue = Arc::clone(&self.jobs);
        let mut jobs = queue.0.lock().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                job = jobs.recv() => self.serve(job.ok_or("every publisher handle is gone")?).await,
                () = tokio::time::sleep(jittered(RESTORE_PERIOD)) => {
                    match self.restore_once().await {
                        Ok(true) => self.status.finished("restored", "the store had lost the model"),
                        Ok(false) => self.status.finished("nothing_to_publish", ""),
                        Err(error) => self.status.waiting(error.to_string()),
                    }
                }
            }
        }
    }

    async fn serve(&self, job: Job) {
        self.status.running();
        match job {
            Job::Publish(job, answer) => {
                let published = self.publish(*job).await;
                match &published {
                    Ok((reply, _)) => self.status.finished("answered", reply.reason()),
                    Err(error) => self.status.finished("failed", error.to_string()),
                }
                let _ = answer.send(published);
            }
            Job::Reset(by, answer) => {
                let reset = self.store.reset(&by, random::bytes()).await;
                if reset.is_ok() {
                    self.wrote();
                }
                self.ended("reset", reset.as_ref().err());
                let _ = answer.send(reset);
            }
            Job::Rollback(generation, by, answer) => {
                let rolled_back = self.store.rollback(generation, &by).await;
                if matches!(rolled_back, Ok(RollbackReply::RolledBack(_))) {
                    self.wrote();
                }
                self.ended("rolled_back", rolled_back.as_ref().err());
                let _ = answer.send(rolled_back);
            }
        }
        self.registry_changed.notify_one();
    }

    fn ended(&self, done: &str, error: Option<&impl std::error::Error>) {
        match error {
            None => self.status.finished(done, ""),
            Some(error) => self.status.finished("failed", error.to_string()),
        }
    }

    async fn publish(&self, job: PublishJob) -> Result<(PublishReply, ModelId), PublishError> {
        let registry = &job.registry;
        let lineage = registry.lineage.unwrap_or_else(random::bytes);
        let generation = registry.generation.max(self.high_water.get().generation) + 1;
        let header = ArtifactHeader {
            lineage,
            generation,
            trained_at_ms: job.history.trained_at.millis(),
            node: self.identity.name.clone(),
        };
        let encoded = job.artifact.encode(&header)?;
        let model = ModelId { lineage, generation, sha256: encoded.sha256 };
        let request = PublishRequest {
            lease: job.lease,
            trigger: job.trigger.clone(),
            parent: Parent { generation: registry.generation, sha256: registry.sha256 },
            model,
            format: FORMAT,
            watermark: job.watermark,
            by_operator: job.by_operator,
            history: job.history.to_json(Some(model), "promoted"),
            origin: self.identity.name.clone(),
            ends_learning: job.ends_learning,
        };
        let reply = self.publish_until_answered(&request, &encoded.bytes).await?;
        if matches!(reply, PublishReply::Published | PublishReply::AlreadyPublished) {
            self.wrote();
            self.high_water.observe_generation(generation);
            self.state_dir.save_model(model, &encoded.bytes);
            info!(generation, "published model generation {generation}");
        } else {
            warn!(generation, ?reply, "the registry refused model generation {generation}");
        }
        Ok((reply, model))
    }

    async fn publish_until_answered(
        &self,
        request: &PublishRequest,
        artifact: &[u8],
    ) -> Result<PublishReply, StoreError> {
        let mut failed = None;
        for again in 0..PUBLISH_TRIES {
            if again > 0 {
                self.metrics.store_error("publish");
                tokio::time::sleep(PUBLISH_RETRY).await;
            }
            match self.store.publish(request, artifact).await {
                Err(error @ (StoreError::Unavailable { .. } | StoreError::Unanswered { .. })) => {
                    // That a later try was not even sent says nothing about an earlier one.
                    failed = failed.filter(|failed| matches!(failed, StoreError::Unanswered { .. })).or(Some(error));
                }
                answer => return answer,
            }
        }
        Err(failed.unwrap_or(StoreError::Unavailable { operation: "publish a model", source: None }))
    }

    /// Puts the served model back where the store has lost it. Running it again does nothing.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn restore_once(&self) -> Result<bool, StoreError> {
        let Some(serving) = self.slot.load() else { return Ok(false) };
        let registry = self.store.registry().await?;
        let lost = match registry.current() {
            Some(current) if current.sha256 == serving.id.sha256 => self.store.model(current.sha256).await?.is_none(),
            Some(_) => false,
            None => registry.lineage.is_none(),
        };
        if !lost {
            return Ok(false);
        }
        let header = ArtifactHeader {
            lineage: serving.id.lineage,
            generation: serving.id.generation,
            trained_at_ms: clock::now().millis(),
            node: self.identity.name.clone(),
        };
        let Ok(encoded) = serving.artifact.encode(&header) else { return Ok(false) };
        let restored = self.store.restore(serving.id, &encoded.bytes).await?;
        if restored {
            self.wrote();
            warn!(
                generation = serving.id.generation,
                "the store had lost model generation {}; put it back", serving.id.generation
            );
        }
        Ok(restored)
    }

    fn wrote(&self) {
        self.metrics.status().registry_written();
        self.metrics.status().announcement_sent();
    }
}
