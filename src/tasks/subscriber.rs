//! Keeps this node on the model and the mode that the registry points at, and on the fleet's key, features and overrides.
//!
//! A doorbell, a new subscription and a jittered poll all lead to the same `reconcile_once`: read the pointer, fetch,
//! verify, swap. It writes nothing to the registry. Whatever is wrong with an artifact, the old model keeps serving.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::features::Features;
use super::jittered;
use super::overrides::OverrideWatch;
use super::pseudonyms::Pseudonyms;
use crate::learning::artifact::{Expectation, ModelArtifact};
use crate::serving::mode::LearningMode;
use crate::serving::slot::{ModelSlot, ServedModel};
use crate::state::high_water::HighWaterFile;
use crate::state::state_dir::StateDir;
use crate::store::mode::FleetMode;
use crate::store::registry::{ModelId, Registry};
use crate::store::{Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// Slowest way to learn of a change: 15 s ± 20 %, so that without any message a node is up to date within 18 s.
const POLL: Duration = Duration::from_secs(15);

/// See the module documentation.
#[derive(Clone)]
pub struct Subscriber {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) slot: Arc<ModelSlot>,
    pub(crate) mode: Arc<LearningMode>,
    pub(crate) state_dir: Arc<StateDir>,
    pub(crate) high_water: Arc<HighWaterFile>,
    pub(crate) pseudonyms: Arc<Pseudonyms>,
    pub(crate) features: Features,
    pub(crate) overrides: OverrideWatch,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry_changed: Arc<Notify>,
    pub(crate) swapped: Arc<Notify>,
    pub(crate) status: TaskStatus,
    /// The artifact that was refused last, so that the same one is reported once.
    pub(crate) refused: Option<[u8; 32]>,
}

/// What one pass did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reconciled {
    UpToDate,
    Swapped(ModelId),
    /// A reset: no model serves any more.
    Emptied,
    /// The old model keeps serving.
    Kept {
        reason: String,
    },
}

impl Subscriber {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// Never for a store that is away: that is an outcome of a pass, and the next pass tries again.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), TaskError> {
        let registry_changed = Arc::clone(&self.registry_changed);
        loop {
            self.pass().await;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = registry_changed.notified() => {}
                () = tokio::time::sleep(jittered(POLL)) => {}
            }
        }
    }

    async fn pass(&mut self) {
        self.status.running();
        match self.reconcile_once().await {
            Ok(Reconciled::UpToDate) => self.status.finished("up_to_date", ""),
            Ok(Reconciled::Swapped(id)) => self.status.finished("swapped", format!("generation {}", id.generation)),
            Ok(Reconciled::Emptied) => self.status.finished("emptied", "the model was reset"),
            Ok(Reconciled::Kept { reason }) => self.status.finished("kept", reason),
            Err(error) => self.status.waiting(error.to_string()),
        }
    }

    /// Reads the registry and follows it. Running it again without a change in the registry does nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn reconcile_once(&mut self) -> Result<Reconciled, StoreError> {
        // Before all that is kept under pseudonyms: a store that lost everything must have this fleet's key again before a
        // new node offers its own, or every name becomes a stranger and no order for a pair finds its pair.
        self.pseudonyms.reconcile_once().await?;
        // Before the model, so that a model of a newer list is not refused.
        match self.features.follow().await {
            // A damaged list must not keep this node from a new model; what it knows of the list goes on counting.
            Err(StoreError::Corrupt { .. }) => self.metrics.store_error("read_features"),
            followed => followed?,
        }
        match self.overrides.follow().await {
            // What this node knows of the orders goes on counting.
            Err(StoreError::Corrupt { .. }) => self.metrics.store_error("read_overrides"),
            followed => followed?,
        }
        let registry = self.store.registry().await?;
        match self.store.learning_mode().await {
            Ok(mode) => mode.into_iter().for_each(|mode| self.follow_mode(mode)),
            // The switch stays as it was; a new model must come all the same.
            Err(StoreError::Corrupt { .. }) => self.metrics.store_error("read_mode"),
            Err(error) => return Err(error),
        }
        self.high_water.observe(&registry);
        let serving = self.slot.id();
        match registry.current() {
            current if current == serving => Ok(Reconciled::UpToDate),
            Some(current) => self.follow(current, serving).await,
            None if registry.lineage.is_some() => Ok(self.empty(&registry)),
            // An empty registry says nothing: the store is new, or it lost its data and the publisher puts it back.
            None => Ok(Reconciled::Kept { reason: "the registry is empty".into() }),
        }
    }

    /// Takes over the fleet's learning mode, and says so when it was set anew.
    fn follow_mode(&self, mode: FleetMode) {
        let first = self.mode.read().is_none();
        let (on, set) = (mode.on, mode.set.clone());
        if !self.mode.set(mode) || (first && !on) {
            return;
        }
        let switched = if on { "on" } else { "off" };
        match set {
            Some(set) => {
                let (cause, reason) = (set.origin.cause.as_str(), set.origin.reason);
                info!(cause, "learning mode of the fleet is {switched}, set by {cause}: {reason}");
            }
            None => info!("learning mode of the fleet is {switched}"),
        }
    }

    async fn follow(&mut self, current: ModelId, serving: Option<ModelId>) -> Result<Reconciled, StoreError> {
        let same_content = self.slot.load().filter(|model| model.id.sha256 == current.sha256);
        let artifact = if let Some(model) = same_content {
            model.artifact.clone()
        } else {
            let Some(bytes) = self.store.model(current.sha256).await? else {
                return Ok(self.keep(current, "missing", "its artifact is not in the store".into()));
            };
            let expectation = Expectation { fingerprint: None, sha256: Some(current.sha256) };
            let schema = self.features.schema.load();
            let decoded = ModelArtifact::decode(&bytes, &expectation);
            match decoded
                .and_then(|(header, artifact)| artifact.accepted_by(&schema).map(|artifact| (header, artifact)))
            {
                Ok((_, artifact)) => {
                    self.state_dir.save_model(current, &bytes);
                    artifact
                }
                Err(error) => return Ok(self.keep(current, error.kind(), error.to_string())),
            }
        };
        if let Some(serving) = serving
            && serving.lineage == current.lineage
            && serving.generation > current.generation
        {
            self.metrics.generation_regressed();
            warn!(
                from = serving.generation,
                to = current.generation,
                "the registry went back from generation {} to {}: it lost data; following it",
                serving.generation,
                current.generation
            );
        }
        self.slot.swap(Some(Arc::new(ServedModel { id: current, artifact })));
        self.refused = None;
        self.metrics.swapped(Some(current.generation));
        self.swapped.notify_one();
        info!(generation = current.generation, "serving model generation {}", current.generation);
        Ok(Reconciled::Swapped(current))
    }

    fn keep(&mut self, refused: ModelId, kind: &'static str, reason: String) -> Reconciled {
        if self.refused != Some(refused.sha256) {
            self.refused = Some(refused.sha256);
            self.metrics.artifact_rejected(kind);
            warn!(
                generation = refused.generation,
                "refused model generation {}: {reason}; the old model keeps serving", refused.generation
            );
        }
        Reconciled::Kept { reason }
    }

    fn empty(&mut self, registry: &Registry) -> Reconciled {
        self.slot.swap(None);
        self.state_dir.forget_model();
        self.metrics.swapped(None);
        self.swapped.notify_one();
        info!(generation = registry.generation, "the model was reset; static results until one is trained");
        Reconciled::Emptied
    }
}
