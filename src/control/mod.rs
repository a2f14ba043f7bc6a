//! The one way in: HTTP, CLI and the command channel build the same [`Command`] and call [`ControlHandle::execute`].
//!
//! Scoring is not a command; it never waits for anything that is done here.

pub mod attacks;
mod audit;
pub mod command;
mod explain;
pub mod feedback;
mod feedback_list;
mod history;
pub mod import;
pub mod message;
mod modes;
pub mod overrides;
mod rehearsal;
pub mod status;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::clock;
use crate::config::Config;
use crate::detection::attempt::Timestamp;
use crate::detection::features::FeatureSchema;
use crate::random;
use crate::serving::mode::LearningMode;
use crate::serving::scorer::Scorer;
use crate::serving::slot::ModelSlot;
use crate::state::identity::Identity;
use crate::store::registry::{ModelId, RollbackReply, TriggerKey};
use crate::store::{Store, StoreError};
use crate::tasks::attack_monitor::AttackWatch;
use crate::tasks::features::Features;
use crate::tasks::overrides::OverrideWatch;
use crate::tasks::publisher::{PublishError, PublisherHandle};
use crate::tasks::replication::Replication;
use crate::tasks::trainer::{TrainError, TrainReport, TrainRequest, Trainer};
use crate::telemetry::metrics::Metrics;

pub use attacks::{AttackCommand, Simulation};
pub(crate) use audit::Waiting;
pub use command::{CHANNEL, Caller, Command, TrainCommand};
pub use import::ImportState;
pub use overrides::{OverrideCommand, OverrideOrder, OverridePage, OverridePair};
pub(crate) use rehearsal::Rehearsal;
pub use status::StatusView;

/// How many history entries are read at once.
const HISTORY_MAX: usize = 200;
/// How long a reset or rollback waits for this node to follow, so that the next score already shows it.
const FOLLOW_LIMIT: Duration = Duration::from_secs(2);

/// Why a command was not carried out. Each kind has one HTTP status and one exit code.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The request itself is wrong.
    #[error("{field}: {error}")]
    Invalid {
        /// The field as the caller writes it; `body` for the request as a whole.
        field: &'static str,
        /// What is wrong with it, without its content where that can be told apart.
        error: String,
    },
    /// What the command names does not exist (any more).
    #[error("{0}")]
    NotFound(String),
    /// The command contradicts the present state.
    #[error("{0}")]
    Conflict(String),
    /// The store is away; nothing was changed.
    #[error("{0}")]
    Unavailable(String),
    /// The store was asked and did not answer in time: it may have been done, or not.
    #[error("{what}; {look}")]
    Unknown {
        /// What is open, a sentence without its full stop.
        what: String,
        /// How the caller finds out.
        look: &'static str,
    },
    /// A person must act.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { .. } => Self::Unavailable(error.to_string()),
            StoreError::Unanswered { .. } => {
                Self::Unknown { what: error.to_string(), look: "see `status` before you repeat it" }
            }
            StoreError::Refused { .. } | StoreError::Corrupt { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl ControlError {
    /// The same, saying where its caller sees whether it was done.
    fn found_in(self, look: &'static str) -> Self {
        match self {
            Self::Unknown { what, .. } => Self::Unknown { what, look },
            other => other,
        }
    }
}

impl From<PublishError> for ControlError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Store(error) => error.into(),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// A training, or an approval, that has no outcome.
fn of_training(error: TrainError) -> ControlError {
    match error {
        TrainError::Store(error) => error.into(),
        TrainError::Publish(error) => error.into(),
        cancelled @ TrainError::Cancelled { .. } => ControlError::Unavailable(cancelled.to_string()),
        other => ControlError::Failed(other.to_string()),
    }
}

/// What a command needs from the node.
pub struct ControlHandle {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) slot: Arc<ModelSlot>,
    pub(crate) mode: Arc<LearningMode>,
    pub(crate) trainer: Arc<Trainer>,
    pub(crate) publisher: PublisherHandle,
    pub(crate) replication: Arc<Replication>,
    pub(crate) features: Features,
    pub(crate) attack_watch: AttackWatch,
    pub(crate) overrides: OverrideWatch,
    pub(crate) rehearsal: Rehearsal,
    pub(crate) waiting_audit: Waiting,
    pub(crate) registry_changed: Arc<Notify>,
    pub(crate) feedback_given: Arc<Notify>,
    pub(crate) status: Arc<StatusView>,
    pub(crate) metrics: Arc<Metrics>,
}

impl ControlHandle {
    /// Carries out one command and answers as `wire.md` says. Counted and, where it changes something, audited.
    ///
    /// # Errors
    /// See [`ControlError`]; nothing has changed then, but for [`ControlError::Unknown`].
    pub async fn execute(self: &Arc<Self>, command: Command, caller: &Caller) -> Result<Value, ControlError> {
        let name = command.name();
        let result = if command.changes_something() {
            // In a task of its own: a caller that hangs up leaves no command half recorded.
            let (control, by) = (Arc::clone(self), caller.clone());
            let (asked, look) = (self.audited_detail(&command), command.where_to_look());
            let detail = asked.clone();
            let done = tokio::spawn(async move {
                let result = control.dispatch(command, &by).await.map_err(|error| error.found_in(look));
                control.audit(name, detail, &by, &result).await;
                result
            });
            match done.await {
                Ok(result) => result,
                Err(_) => {
                    let result = Err(ControlError::Failed("the command ended unexpectedly".into()));
                    self.audit(name, asked, caller, &result).await;
                    result
                }
            }
        } else {
            self.dispatch(command, caller).await
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(ControlError::Unknown { .. }) => {
                // If it was done, this node is to show it as soon as the store answers.
                self.registry_changed.notify_one();
                "unknown"
            }
            Err(_) => "refused",
        };
        self.metrics.command(name, outcome);
        result
    }

    async fn dispatch(self: &Arc<Self>, command: Command, caller: &Caller) -> Result<Value, ControlError> {
        match command {
            Command::Train(train) => self.train(train, caller).await,
            Command::Reset => self.reset(caller).await,
            Command::Approve { id, discard } => self.approve(id, discard, caller).await,
            Command::Rollback { generation } => self.rollback(generation, caller).await,
            Command::ReloadModel => self.reload_model().await,
            Command::LearningMode { enabled } => {
                let reason = if caller.origin == Caller::BRIDGE { "switched on a node of Nauthilus 1.7" } else { "" };
                self.set_learning_mode(enabled, caller, reason, None).await
            }
            Command::ReadLearningMode => Ok(self.learning_mode()),
            Command::Feedback(feedback) => self.feedback(feedback, caller).await,
            Command::Explain { request_id } => self.explain(request_id).await,
            Command::Status => Ok(self.status.read().await),
            Command::History => self.history().await,
            Command::FeedbackList { limit } => self.feedback_list(limit).await,
            Command::Audit { limit } => self.audit_trail(limit).await,
            Command::Attacks(command) => self.attacks(command).await,
            Command::Override(command) => self.overridden(command, caller).await,
            Command::Features => Ok(self.list_features()),
            Command::Import(batch) => self.import(batch).await,
            Command::ImportState(state) => self.import_state(*state, caller).await,
            Command::Export => self.export(),
            Command::RemoveFeatures { names } => self.remove_features(names, caller).await,
            Command::AllowFeatures { names } => Ok(json!({ "allowed": self.features.allow(&names).await? })),
        }
    }

    async fn train(
        self: &Arc<Self>,
        TrainCommand { samples, epochs, tune, wait, id }: TrainCommand,
        caller: &Caller,
    ) -> Result<Value, ControlError> {
        let config = self.config.load();
        let id = id.unwrap_or_else(random::id);
        let request = TrainRequest {
            trigger: TriggerKey::Command { id: id.clone() },
            samples: samples.unwrap_or(usize::try_from(config.training.samples).unwrap_or(usize::MAX)),
            epochs: epochs.unwrap_or(config.training.epochs),
            tune,
            by_operator: true,
            by: caller.who.clone(),
        };
        drop(config);
        let ordered = Command::Train(TrainCommand { samples, epochs, tune, wait, id: Some(id.clone()) });
        if !wait && self.trainer.is_busy() {
            return Err(ControlError::Conflict("a training is running already on this node".into()));
        }
        // In a task of its own: a caller that hangs up does not end the training.
        let (control, id_of_result, caller) = (Arc::clone(self), id.clone(), caller.clone());
        let training = tokio::spawn(async move {
            let report = control.trainer.run_once(request).await;
            let result = control.trained(report).await.map_err(|error| error.found_in(ordered.where_to_look()));
            if !wait {
                control.keep_result(&id_of_result, "train", &result).await;
                // The trail has the order already; this is what became of it.
                control.audit("train", control.audited_detail(&ordered), &caller, &result).await;
            }
            result
        });
        if !wait {
            return Ok(json!({ "id": id }));
        }
        training.await.unwrap_or_else(|_| Err(ControlError::Failed("the training ended unexpectedly".into())))
    }

    /// Records the result of something that was answered before it was done.
    async fn keep_result(&self, id: &str, command: &'static str, result: &Result<Value, ControlError>) {
        let answer = message::answer(Some(id), command, &self.identity.name, result.as_ref());
        if let Err(error) = self.store.finish_command(id, answer.to_string().as_bytes(), None).await {
            warn!("cannot record the result of the {command} command: {error}");
        }
    }

    async fn trained(&self, report: Result<TrainReport, TrainError>) -> Result<Value, ControlError> {
        let report = report.map_err(of_training)?;
        let (outcome, reason) = (report.outcome(), report.reason());
        match report {
            TrainReport::Promoted { model, samples, epochs, evaluation, tuning, .. } => {
                self.followed(Some(model)).await;
                Ok(json!({
                    "outcome": outcome, "reason": reason, "model": model,
                    "samples": samples, "epochs": epochs, "evaluation": evaluation, "tuning": tuning,
                }))
            }
            TrainReport::Candidate { id, samples, epochs, evaluation, tuning, .. } => Ok(json!({
                "outcome": outcome, "reason": reason, "model": self.slot.id(), "candidate": id,
                "samples": samples, "epochs": epochs, "evaluation": evaluation, "tuning": tuning,
            })),
            TrainReport::Refused { samples, epochs, evaluation, tuning, .. } => Ok(json!({
                "outcome": outcome, "reason": reason, "model": self.slot.id(),
                "samples": samples, "epochs": epochs, "evaluation": evaluation, "tuning": tuning,
            })),
            TrainReport::NotEnoughData { .. } => Ok(json!({
                "outcome": outcome, "reason": reason, "model": self.slot.id(),
                "samples": 0, "epochs": 0, "evaluation": Value::Null, "tuning": Value::Null,
            })),
            TrainReport::Held { .. } | TrainReport::AlreadyDone | TrainReport::Busy => {
                Err(ControlError::Conflict(reason))
            }
        }
    }

    async fn reset(&self, caller: &Caller) -> Result<Value, ControlError> {
        self.publisher.reset(caller.who.clone()).await?;
        self.followed(None).await;
        Ok(json!({ "model": Value::Null }))
    }

    async fn rollback(&self, generation: Option<u64>, caller: &Caller) -> Result<Value, ControlError> {
        match self.publisher.rollback(generation, caller.who.clone()).await? {
            RollbackReply::RolledBack(model) => {
                self.followed(Some(model)).await;
                Ok(json!({ "model": model }))
            }
            RollbackReply::NotFound => Err(ControlError::NotFound(match generation {
                Some(generation) => format!("no model of generation {generation} is kept; see `history`"),
                None => "there is no earlier model to roll back to; see `history`".into(),
            })),
        }
    }

    async fn reload_model(&self) -> Result<Value, ControlError> {
        let current = self.store.registry().await?.current();
        self.registry_changed.notify_one();
        self.followed(current).await;
        Ok(json!({ "model": self.slot.id() }))
    }

    /// Waits, but not for long, until this node serves `wanted` like any other node would.
    async fn followed(&self, wanted: Option<ModelId>) {
        self.registry_changed.notify_one();
        let deadline = tokio::time::Instant::now() + FOLLOW_LIMIT;
        while self.slot.id() != wanted && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn history(&self) -> Result<Value, ControlError> {
        let entries = self.store.history(HISTORY_MAX).await?;
        let waiting = self.waiting_candidate().await;
        let entries = entries.iter().filter_map(|entry| serde_json::from_slice(entry).ok());
        Ok(entries.map(|entry| history::entry(entry, waiting.as_deref())).collect())
    }

    fn list_features(&self) -> Value {
        let schema = self.scorer.schema();
        let additional: Vec<_> = schema
            .additional()
            .live()
            .map(|slot| {
                json!({
                    "name": slot.name, "kind": slot.kind.name(), "encoding": slot.kind.encoding(),
                    "first_seen": Timestamp::from_millis(slot.first_seen_ms).to_string(),
                })
            })
            .collect();
        let refused = schema.additional().refused(clock::now().millis());
        let refused = refused.map(|refused| {
            let [since, until] =
                [refused.since_ms, refused.until_ms()].map(|ms| Timestamp::from_millis(ms).to_string());
            json!({ "name": refused.name, "since": since, "until": until })
        });
        json!({
            "standard": schema.standard_names(), "additional": additional, "refused": refused.collect::<Vec<_>>(),
            "fingerprint": format!("{:016x}", schema.fingerprint()),
        })
    }

    async fn remove_features(&self, names: Vec<String>, caller: &Caller) -> Result<Value, ControlError> {
        if names.iter().any(|name| FeatureSchema::is_standard(name)) {
            return Err(command::invalid("names", "has a standard feature; only additional ones can be removed"));
        }
        let unknown = self.features.remove(&names, &caller.who).await?;
        if names.iter().all(|name| unknown.contains(name)) {
            let none = "there is no additional feature with any of these names; see `features list`";
            return Err(ControlError::NotFound(none.into()));
        }
        self.followed(None).await;
        let removed: Vec<&String> = names.iter().filter(|name| !unknown.contains(name)).collect();
        let mut answer = json!({ "removed": removed, "model": Value::Null });
        if !unknown.is_empty() {
            info!("{} of {} features to remove are unknown; the others were removed", unknown.len(), names.len());
            answer["unknown"] = json!(unknown);
        }
        Ok(answer)
    }
}
