//! One training: lease, data and its labels, fit on a blocking thread, gate, publish or record why not.
//!
//! Whoever wants a training (watcher, schedule, operator) calls `Trainer::run_once`; it is at most one at a time on
//! this node and, by the lease, in the fleet. The lease only saves work: whether the result counts is decided by the
//! publish step. Of a network that came from elsewhere everything but the fit is the same (`given`). A lost lease or a stopping node cancels the fit within milliseconds. What becomes of a trained model stands in
//! `conclusion`, what a person says about one that waits in `approval`.

mod approval;
mod conclusion;
mod given;
mod report;

pub(crate) use self::approval::Approved;
pub use self::report::{LastTraining, TrainRequest, trigger_name};
pub(crate) use self::report::{TrainError, TrainReport};

use self::conclusion::Ended;
use self::given::Outcome;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::jittered;
use super::labeller::{LabelledSamples, Labeller};
use super::publisher::PublisherHandle;
use super::replication::Replication;
use super::training_options::run_options;
use super::training_progress::LastProgress;
use crate::clock;
use crate::config::{ActivationFunction, Config, Optimizer, Profile};
use crate::learning::artifact::ModelArtifact;
use crate::learning::hindsight::{FrozenLabels, LabelCounts};
use crate::learning::mlp::{Activation, Mlp};
use crate::learning::run::{self, Material, RunError, RunOptions, RunOutcome, Tuning};
use crate::learning::sample::Feedback;
use crate::learning::training::TrainingOptions;
use crate::learning::tuning::Candidate;
use crate::serving::schema::SchemaSlot;
use crate::serving::slot::ModelSlot;
use crate::state::high_water::HighWaterFile;
use crate::state::identity::Identity;
use crate::state::state_dir::StateDir;
use crate::store::mode::FleetMode;
use crate::store::registry::{Lease, LeaseReply, Registry, TriggerKey};
use crate::store::{Position, Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::traffic;

/// Feedback is read in pages of this size.
const FEEDBACK_PAGE: usize = 1000;
/// How long a training waits until this node has heard of what the samples came from.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(15);
/// How long the end of a training waits for the store to take the lease back.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);

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
    /// How far it is.
    pub(crate) progress: LastProgress,
    /// The lease of the training that runs now, to be given back when the node stops in the middle of it.
    pub(crate) held: Mutex<Option<Lease>>,
    pub(crate) last: ArcSwapOption<LastTraining>,
}

/// Everything a fit needs, read under the lease.
struct Gathered {
    material: Material,
    labels: LabelCounts,
    seen: Seen,
    champion: Option<ModelArtifact>,
}

/// What a training has seen of feedback.
struct Seen {
    /// The last item.
    watermark: Position,
    /// The fleet's learning mode when the items were read.
    mode: Option<FleetMode>,
    /// Requests on which somebody gave feedback since that mode was set.
    fresh: u64,
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
        self.run(request, None).await
    }

    /// Trains, or examines a network that is `given`.
    async fn run(&self, request: TrainRequest, given: Option<Mlp>) -> Result<TrainReport, TrainError> {
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
        self.progress.clear();
        self.metrics.training_started();
        info!(trigger = %trigger_name(&request.trigger), "training started");
        let cancel = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancel));
        let fitted = tokio::select! {
            fitted = self.learn_or_examine(given, &request, &registry, &cancel) => fitted,
            () = self.keep_lease(lease, ttl) => Err(TrainError::Cancelled { reason: "the lease was lost" }),
            () = self.stop.cancelled() => Err(TrainError::Cancelled { reason: "the node is stopping" }),
        };
        drop(guard);
        // From here on nothing is cancelled: a result may be offered after the lease, and the store decides.
        let ended = match fitted {
            Ok((outcome, seen)) => {
                let ended = Ended { request: &request, lease, registry: &registry, seen: &seen };
                match outcome {
                    Outcome::Trained(outcome) => self.conclude(ended, outcome).await,
                    Outcome::Examined(examined) => self.conclude_examined(ended, *examined).await,
                }
            }
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

    async fn learn_or_examine(
        &self,
        given: Option<Mlp>,
        request: &TrainRequest,
        registry: &Registry,
        cancel: &Arc<AtomicBool>,
    ) -> Result<(Outcome, Seen), TrainError> {
        let Some(network) = given else {
            let (outcome, seen) = self.learn(request, registry, cancel).await?;
            return Ok((Outcome::Trained(outcome), seen));
        };
        let (examined, seen) = self.examined(network, request, registry).await?;
        Ok((Outcome::Examined(Box::new(examined)), seen))
    }

    /// Reads what there is and fits it. Returns the outcome and what it has seen of feedback.
    async fn learn(
        &self,
        request: &TrainRequest,
        registry: &Registry,
        cancel: &Arc<AtomicBool>,
    ) -> Result<(RunOutcome, Seen), TrainError> {
        let Gathered { material, labels, seen, champion } = self.gather(registry).await?;
        let options = run_options(&self.config.load(), self.schema.load().profile(), request, champion.as_ref());
        if options.tuning == Tuning::Kept {
            let Candidate { hidden, learning_rate, l2 } = Candidate::of(&options.training);
            info!(hidden, learning_rate, l2, "this one trains with what an earlier search found");
        }
        let mut outcome = self.fit(material, champion, options, Arc::clone(cancel)).await?;
        if let (RunOutcome::NotEnoughData { reason }, Some(shortage)) = (&mut outcome, labels.shortage()) {
            *reason = format!("{reason}; {shortage}");
        }
        Ok((outcome, seen))
    }

    async fn gather(&self, registry: &Registry) -> Result<Gathered, StoreError> {
        // A label needs what happened around its attempt; without the store there is no training anyway.
        self.replication.catch_up(CATCH_UP_LIMIT).await;
        let LabelledSamples { samples, counts, .. } = self.labeller.samples().await?;
        let mode = match self.store.learning_mode().await {
            // Whatever stands there, no training ends it.
            Err(StoreError::Corrupt { .. }) => None,
            read => read?,
        };
        let mode_set_at = mode.as_ref().and_then(|mode| Some(mode.set.as_ref()?.feedback));
        let mut fresh = BTreeSet::new();
        let mut feedback = Vec::new();
        let mut watermark = Position::START;
        loop {
            let page = self.store.read_feedback(watermark, FEEDBACK_PAGE).await?;
            let full = page.len() == FEEDBACK_PAGE;
            for (position, bytes) in page {
                watermark = position;
                match Feedback::decode(&bytes) {
                    Ok(item) => {
                        if mode_set_at.is_some_and(|set_at| position > set_at) {
                            fresh.insert(item.request);
                        }
                        feedback.push(item);
                    }
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
            seen: Seen { watermark, mode, fresh: fresh.len() as u64 },
            champion,
        })
    }

    async fn fit(
        &self,
        material: Material,
        champion: Option<ModelArtifact>,
        options: RunOptions,
        cancel: Arc<AtomicBool>,
    ) -> Result<RunOutcome, TrainError> {
        let (schema, progress, metrics) = (self.schema.load(), self.progress.clone(), Arc::clone(&self.metrics));
        let fitted = tokio::task::spawn_blocking(move || {
            let mut told = |step| {
                metrics.training_step(&step);
                progress.told(step);
            };
            run::run(material, &FrozenLabels, &schema, &options, champion.as_ref(), &cancel, &mut told)
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

/// Step size of plain descent where nobody says another: the original's.
const SGD_LEARNING_RATE: f64 = 0.01;

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
        Optimizer::Sgd => options.plain_descent(config.ml.learning_rate.unwrap_or(SGD_LEARNING_RATE)),
    }
}
