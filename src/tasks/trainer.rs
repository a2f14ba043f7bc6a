//! One training: lease, data and its labels, fit on a blocking thread, gate, publish or record why not.
//!
//! Whoever wants a training (watcher, schedule, operator) calls `Trainer::run_once`; it is at most one at a time on
//! this node and, by the lease, in the fleet. The lease only saves work: whether the result counts is decided by the
//! publish step. A lost lease or a stopping node cancels the fit within milliseconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::jittered;
use super::labeller::{LabelledSamples, Labeller};
use super::publisher::{HistoryNote, PublishError, PublishJob, PublisherHandle};
use super::replication::Replication;
use crate::clock;
use crate::config::{ActivationFunction, Config, Optimizer, Profile};
use crate::learning::artifact::{ArtifactHeader, ModelArtifact};
use crate::learning::evaluation::Evaluation;
use crate::learning::gate::GateOptions;
use crate::learning::hindsight::{FrozenLabels, LabelCounts};
use crate::learning::mlp::Activation;
use crate::learning::run::{self, Material, RunError, RunOptions, RunOutcome, Voters};
use crate::learning::sample::Feedback;
use crate::learning::training::TrainingOptions;
use crate::serving::schema::SchemaSlot;
use crate::serving::slot::ModelSlot;
use crate::state::high_water::HighWaterFile;
use crate::state::identity::Identity;
use crate::state::state_dir::StateDir;
use crate::store::registry::{
    Lease, LeaseReply, ModelId, PublishReply, RefusalReply, RefusalRequest, Registry, TriggerKey,
};
use crate::store::{Position, Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::traffic;

/// Feedback is read in pages of this size.
const FEEDBACK_PAGE: usize = 1000;
/// How long a training waits until this node has heard of what the samples came from.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(15);
/// How long the end of a training waits for the store to take the lease back.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);

/// What to train for, and with how much.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    pub(crate) trigger: TriggerKey,
    /// Most training rows (feedback comes on top).
    pub(crate) samples: usize,
    pub(crate) epochs: u32,
    /// An operator asked: allowed on a pinned registry, and unpins it.
    pub(crate) by_operator: bool,
    /// Who asked, for history and audit.
    pub(crate) by: String,
}

/// How a training ended.
#[derive(Debug, Clone)]
pub(crate) enum TrainReport {
    Promoted {
        model: ModelId,
        reason: String,
        samples: usize,
        epochs: u32,
        evaluation: Box<Evaluation>,
    },
    Refused {
        reason: String,
        samples: usize,
        epochs: u32,
        evaluation: Option<Box<Evaluation>>,
    },
    NotEnoughData {
        reason: String,
    },
    /// Another node holds the lease for at most this long.
    Held {
        remaining: Duration,
    },
    /// The trigger was served before.
    AlreadyDone,
    /// This node is training already.
    Busy,
}

/// Why a training ended without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainError {
    #[error("cannot train: {0}")]
    Store(#[from] StoreError),
    #[error("cannot train: {0}")]
    Publish(#[from] PublishError),
    #[error("cannot train: {0}")]
    Run(#[from] RunError),
    #[error("the training was cancelled: {reason}")]
    Cancelled { reason: &'static str },
    #[error("the training thread panicked; the model in use is unchanged")]
    Panicked,
}

/// The last training of this node, for `status`.
#[derive(Debug, Clone, Serialize)]
pub struct LastTraining {
    pub(crate) at: String,
    pub(crate) trigger: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
}

/// See the module documentation.
pub struct Trainer {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) slot: Arc<ModelSlot>,
    pub(crate) schema: Arc<SchemaSlot>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) high_water: Arc<HighWaterFile>,
    pub(crate) state_dir: Arc<StateDir>,
    pub(crate) publisher: PublisherHandle,
    pub(crate) replication: Arc<Replication>,
    pub(crate) labeller: Arc<Labeller>,
    pub(crate) metrics: Arc<Metrics>,
    /// Cancelled when the node stops.
    pub(crate) stop: CancellationToken,
    /// One training at a time on this node.
    pub(crate) busy: AtomicBool,
    /// The lease of the training that runs now, to be given back when the node stops in the middle of it.
    pub(crate) held: Mutex<Option<Lease>>,
    pub(crate) last: ArcSwapOption<LastTraining>,
}

/// Everything a fit needs, read under the lease.
struct Gathered {
    material: Material,
    labels: LabelCounts,
    watermark: Position,
    champion: Option<ModelArtifact>,
}

/// Sets the flag that a running fit polls, also when the future that waits for it is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lowers a flag at the end, however that comes.
struct LowerOnDrop<'a>(&'a AtomicBool);

impl Drop for LowerOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Trainer {
    /// Whether a training runs on this node now.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Runs one training from lease to release. See the module documentation.
    ///
    /// # Errors
    /// When the store fails, the numbers are not finite, or the training was cancelled. Nothing was published then.
    pub(crate) async fn run_once(&self, request: TrainRequest) -> Result<TrainReport, TrainError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Ok(TrainReport::Busy);
        }
        let _busy = LowerOnDrop(&self.busy);
        let ttl = self.config.load().training.lease;
        let high_water = self.high_water.get();
        let (lease, registry) =
            match self.store.acquire_lease(&request.trigger, self.identity.boot, ttl, high_water).await? {
                LeaseReply::Acquired { lease, registry } => (lease, *registry),
                LeaseReply::Held { remaining } => return Ok(TrainReport::Held { remaining }),
                LeaseReply::AlreadyDone => return Ok(TrainReport::AlreadyDone),
            };
        self.high_water.observe(&registry);
        self.high_water.observe_fence(lease.fence);
        *self.held() = Some(lease);
        let started = Instant::now();
        info!(trigger = %trigger_name(&request.trigger), "training started");
        let cancel = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancel));
        let fitted = tokio::select! {
            fitted = self.learn(&request, &registry, &cancel) => fitted,
            () = self.keep_lease(lease, ttl) => Err(TrainError::Cancelled { reason: "the lease was lost" }),
            () = self.stop.cancelled() => Err(TrainError::Cancelled { reason: "the node is stopping" }),
        };
        drop(guard);
        // From here on nothing is cancelled: a result may be offered after the lease, and the store decides.
        let ended = match fitted {
            Ok((outcome, watermark)) => self.conclude(&request, lease, &registry, outcome, watermark).await,
            Err(error) => Err(error),
        };
        self.give_back().await;
        self.report(&request.trigger, &ended, started.elapsed());
        ended
    }

    /// For a node that stops: waits, but not for long, until the running training has noticed, and gives back the lease of
    /// one that was dropped before it could.
    pub(crate) async fn wind_up(&self) {
        let end = async {
            while self.is_busy() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.give_back().await;
        };
        let _ = tokio::time::timeout(RELEASE_LIMIT, end).await;
    }

    /// Best effort: an unreleased lease lapses by itself. May be dropped and called again.
    async fn give_back(&self) {
        let held = *self.held();
        if let Some(lease) = held {
            let _ = tokio::time::timeout(RELEASE_LIMIT, self.store.release_lease(lease)).await;
            *self.held() = None;
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what there is and fits it. Returns the outcome and the feedback that it has seen.
    async fn learn(
        &self,
        request: &TrainRequest,
        registry: &Registry,
        cancel: &Arc<AtomicBool>,
    ) -> Result<(RunOutcome, Position), TrainError> {
        let gathered = self.gather(registry).await?;
        let (watermark, labels) = (gathered.watermark, gathered.labels.clone());
        let mut outcome = self.fit(gathered, self.options(request), Arc::clone(cancel)).await?;
        if let (RunOutcome::NotEnoughData { reason }, Some(shortage)) = (&mut outcome, labels.shortage()) {
            *reason = format!("{reason}; {shortage}");
        }
        Ok((outcome, watermark))
    }

    /// Publishes the outcome or records why not.
    async fn conclude(
        &self,
        request: &TrainRequest,
        lease: Lease,
        registry: &Registry,
        outcome: RunOutcome,
        watermark: Position,
    ) -> Result<TrainReport, TrainError> {
        let mut note = self.note(request);
        match outcome {
            RunOutcome::Promoted(trained) => {
                note.samples = trained.samples;
                note.evaluation = Some(trained.artifact.evaluation.clone());
                note.gate = Some(trained.judgement);
                note.reason.clone_from(&trained.reason);
                let evaluation = Box::new(trained.artifact.evaluation.clone());
                let job = PublishJob {
                    artifact: trained.artifact,
                    registry: registry.clone(),
                    lease,
                    trigger: request.trigger.clone(),
                    watermark,
                    by_operator: request.by_operator,
                    history: note.clone(),
                };
                let (reply, model) = self.publisher.publish(job).await?;
                let (samples, epochs) = (note.samples, note.epochs);
                match reply {
                    PublishReply::Published | PublishReply::AlreadyPublished => {
                        Ok(TrainReport::Promoted { model, reason: note.reason, samples, epochs, evaluation })
                    }
                    refused => {
                        note.reason = refused.reason().into();
                        self.refuse(request, lease, watermark, &note, "refused").await?;
                        Ok(TrainReport::Refused { reason: note.reason, samples, epochs, evaluation: Some(evaluation) })
                    }
                }
            }
            RunOutcome::Refused { reason, samples, evaluation, judgement, challenger } => {
                self.keep_challenger(&challenger, registry, &note);
                note.samples = samples;
                note.evaluation = Some(Evaluation::clone(&evaluation));
                note.gate = Some(*judgement);
                note.reason.clone_from(&reason);
                self.refuse(request, lease, watermark, &note, "refused").await?;
                let evaluation = Some(evaluation);
                Ok(TrainReport::Refused { reason, samples, epochs: request.epochs, evaluation })
            }
            RunOutcome::NotEnoughData { reason } => {
                note.reason.clone_from(&reason);
                self.refuse(request, lease, watermark, &note, "not_enough_data").await?;
                Ok(TrainReport::NotEnoughData { reason })
            }
        }
    }

    /// Keeps a refused challenger, so that an operator can look at what it would have done (`replay --against-current`).
    fn keep_challenger(&self, challenger: &ModelArtifact, registry: &Registry, note: &HistoryNote) {
        let header = ArtifactHeader {
            lineage: registry.lineage.unwrap_or_default(),
            // It never got one.
            generation: 0,
            trained_at_ms: note.trained_at.millis(),
            node: note.node.clone(),
        };
        match challenger.encode(&header) {
            Ok(encoded) => self.state_dir.save_challenger(&encoded.bytes),
            Err(error) => warn!("the refused challenger is not kept: {error}"),
        }
    }

    async fn refuse(
        &self,
        request: &TrainRequest,
        lease: Lease,
        considered: Position,
        note: &HistoryNote,
        outcome: &str,
    ) -> Result<(), StoreError> {
        let refusal = RefusalRequest {
            lease,
            trigger: request.trigger.clone(),
            considered,
            history: note.to_json(None, outcome),
        };
        match self.store.record_refusal(&refusal).await? {
            RefusalReply::Recorded => self.metrics.status().registry_written(),
            RefusalReply::StaleFence => warn!("a later training has ended meanwhile; this refusal was not recorded"),
        }
        Ok(())
    }

    fn note(&self, request: &TrainRequest) -> HistoryNote {
        HistoryNote {
            trained_at: clock::now(),
            trigger: trigger_name(&request.trigger).to_owned(),
            by: request.by.clone(),
            node: self.identity.name.clone(),
            samples: 0,
            epochs: request.epochs,
            evaluation: None,
            gate: None,
            reason: String::new(),
        }
    }

    async fn gather(&self, registry: &Registry) -> Result<Gathered, StoreError> {
        // A label needs what happened around its attempt; without the store there is no training anyway.
        self.replication.catch_up(CATCH_UP_LIMIT).await;
        let LabelledSamples { samples, counts, .. } = self.labeller.samples().await?;
        let mut feedback = Vec::new();
        let mut watermark = Position::START;
        loop {
            let page = self.store.read_feedback(watermark, FEEDBACK_PAGE).await?;
            let full = page.len() == FEEDBACK_PAGE;
            for (position, bytes) in page {
                watermark = position;
                match Feedback::decode(&bytes) {
                    Ok(item) => feedback.push(item),
                    Err(error) => warn!("skipping feedback at {position} that cannot be read: {error}"),
                }
            }
            if !full {
                break;
            }
        }
        let champion = match (registry.current(), self.slot.load()) {
            (Some(current), Some(serving)) if serving.id.sha256 == current.sha256 => Some(serving.artifact.clone()),
            (Some(current), _) => {
                let bytes = self.store.model(current.sha256).await?;
                bytes.and_then(|bytes| ModelArtifact::decode(&bytes, &Default::default()).ok()).map(|(_, model)| model)
            }
            (None, _) => None,
        };
        Ok(Gathered {
            material: Material { samples, feedback, canaries: traffic::canaries(&self.schema.load()) },
            labels: counts,
            watermark,
            champion,
        })
    }

    fn options(&self, request: &TrainRequest) -> RunOptions {
        let config = self.config.load();
        RunOptions {
            samples_max: request.samples,
            training: training_options(&config, request.epochs),
            false_positive_budget: config.ml.false_positive_budget,
            profile: self.schema.load().profile().to_owned(),
            gate: GateOptions {
                approved: matches!(request.trigger, TriggerKey::Command { .. }),
                ..GateOptions::default()
            },
            voters: Voters::default(),
        }
    }

    async fn fit(
        &self,
        gathered: Gathered,
        options: RunOptions,
        cancel: Arc<AtomicBool>,
    ) -> Result<RunOutcome, TrainError> {
        let schema = self.schema.load();
        let fitted = tokio::task::spawn_blocking(move || {
            let Gathered { material, champion, .. } = gathered;
            run::run(material, &FrozenLabels, &schema, &options, champion.as_ref(), &cancel, &mut |_| {})
        });
        match fitted.await {
            Ok(Err(RunError::Cancelled)) => Err(TrainError::Cancelled { reason: "the lease was lost" }),
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(TrainError::Panicked),
        }
    }

    /// Renews the lease; returns when it must be taken for lost.
    ///
    /// Asked for after a third of its life and then until it is granted, but no longer than two thirds of its life since
    /// the last time, on the monotonic clock: this node gives up before the store's clock lets somebody else in.
    async fn keep_lease(&self, lease: Lease, ttl: Duration) {
        let mut renewed = tokio::time::Instant::now();
        loop {
            let renewal = async {
                tokio::time::sleep(jittered(ttl / 3)).await;
                loop {
                    match self.store.renew_lease(lease, ttl).await {
                        Ok(renewed) => return renewed,
                        Err(_) => self.metrics.store_error("renew_lease"),
                    }
                    tokio::time::sleep(ttl / 20).await;
                }
            };
            match tokio::time::timeout_at(renewed + ttl * 2 / 3, renewal).await {
                Ok(true) => renewed = tokio::time::Instant::now(),
                Ok(false) | Err(_) => return,
            }
        }
    }

    fn report(&self, trigger: &TriggerKey, ended: &Result<TrainReport, TrainError>, took: Duration) {
        let (outcome, reason) = match ended {
            Ok(report) => (report.outcome(), report.reason()),
            Err(error) => ("failed", error.to_string()),
        };
        let trigger = trigger_name(trigger);
        self.metrics.trained(outcome, trigger, took);
        info!(trigger, outcome, seconds = took.as_secs_f64(), "training ended: {outcome} {reason}");
        self.last.store(Some(Arc::new(LastTraining {
            at: clock::now().to_string(),
            trigger: trigger.to_owned(),
            outcome: outcome.to_owned(),
            reason,
        })));
    }
}

impl TrainReport {
    /// The outcome in one word, as it stands in history, status and metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Promoted { .. } => "promoted",
            Self::Refused { .. } => "refused",
            Self::NotEnoughData { .. } => "not_enough_data",
            Self::Held { .. } => "held",
            Self::AlreadyDone => "already_done",
            Self::Busy => "busy",
        }
    }

    /// Why, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Promoted { reason, .. } | Self::Refused { reason, .. } | Self::NotEnoughData { reason } => {
                reason.clone()
            }
            Self::Held { remaining } => {
                format!("another node is training; its lease lasts {} s at most", remaining.as_secs() + 1)
            }
            Self::AlreadyDone => "this trigger was served before".into(),
            Self::Busy => "this node is training already".into(),
        }
    }
}

/// The training options of a configuration.
pub fn training_options(config: &Config, epochs: u32) -> TrainingOptions {
    let (hidden, activation) = match config.ml.profile {
        Profile::ExtMlp16 => (16, ActivationFunction::Relu),
        Profile::Compat6 => (8, ActivationFunction::Sigmoid),
    };
    let activation = match config.ml.activation_function.unwrap_or(activation) {
        ActivationFunction::Sigmoid => Activation::Sigmoid,
        ActivationFunction::Tanh => Activation::Tanh,
        ActivationFunction::Relu => Activation::Relu,
        ActivationFunction::LeakyRelu => Activation::LeakyRelu,
    };
    let options = TrainingOptions {
        hidden: config.ml.hidden_neurons.unwrap_or(hidden),
        activation,
        epochs,
        seed: config.training.seed,
        ..TrainingOptions::default()
    };
    match config.ml.optimizer {
        Optimizer::Adam => options,
        Optimizer::Sgd => options.plain_descent(config.ml.learning_rate),
    }
}

/// The kind of a trigger: a word without identity, fit for metrics and history.
pub fn trigger_name(trigger: &TriggerKey) -> &'static str {
    match trigger {
        TriggerKey::Schedule { .. } => "schedule",
        TriggerKey::Feedback { .. } => "feedback",
        TriggerKey::Command { .. } => "command",
    }
}
