//! Commands about who acts: learning mode of the fleet, and the word on a candidate that waits.

use std::sync::Arc;

use serde_json::{Value, json};

use super::command::CHANNEL;
use super::{Caller, ControlError, ControlHandle};
use crate::detection::attempt::Timestamp;
use crate::serving::mode;
use crate::store::mode::{FleetMode, ModeCause, ModeChange, ModeOrigin, ModeReply, ModeStamp};
use crate::tasks::candidate::{self, CandidateNote};
use crate::tasks::trainer::Approved;

/// The original's sentence.
pub(super) const IN_DRY_RUN: &str = "Cannot change learning mode when Dry-Run is activated in configuration";

impl ControlHandle {
    /// Sets the fleet's switch; `reason` is for people, and `expected` the setting that it must still be, if that matters. Who
    /// asks this node is refused while it runs dry, since it would not follow. Who asks the fleet by the channel speaks to
    /// whichever node hears it first: there the switch is set whoever that is, and answered as it is for nodes that do not
    /// run dry.
    pub(super) async fn set_learning_mode(
        &self,
        enabled: bool,
        caller: &Caller,
        reason: &str,
        expected: Option<ModeStamp>,
    ) -> Result<Value, ControlError> {
        let asks_fleet = caller.origin == CHANNEL;
        if !asks_fleet && self.config.load().ml.dry_run {
            return Err(ControlError::Conflict(IN_DRY_RUN.into()));
        }
        let origin = ModeOrigin::new(ModeCause::Operator, &caller.who, reason);
        let change = ModeChange { on: enabled, origin, expected, history: None };
        match self.store.set_learning_mode(&change).await? {
            ModeReply::Set(mode) => self.mode.set(mode),
            ModeReply::Conflict => return Err(ControlError::Conflict("learning mode was set meanwhile".into())),
        };
        self.metrics.status().announcement_sent();
        Ok(if asks_fleet { self.mode_with(false) } else { self.learning_mode() })
    }

    pub(super) fn learning_mode(&self) -> Value {
        self.mode_with(self.config.load().ml.dry_run)
    }

    fn mode_with(&self, dry_run: bool) -> Value {
        let enabled = self.config.load().ml.enabled;
        let trained = self.scorer.trained();
        let mut answer = json!({
            "enabled": enabled,
            "learning_mode": mode::effective(self.mode.switched_on(), trained, dry_run),
            "trained": trained,
            "dry_run": dry_run,
        });
        if let (Some(answer), Some(mode)) = (answer.as_object_mut(), self.mode.read())
            && let Value::Object(details) = details(&mode)
            && !details.is_empty()
        {
            answer.extend(details);
            answer.insert("switched_on".into(), self.mode.switched_on().into());
        }
        answer
    }

    /// Publishes the candidate that waits, or takes it away.
    pub(super) async fn approve(
        self: &Arc<Self>,
        id: Option<String>,
        discard: bool,
        caller: &Caller,
    ) -> Result<Value, ControlError> {
        // In a task of its own: a caller that hangs up does not leave a lease behind.
        let (control, by) = (Arc::clone(self), caller.who.clone());
        let carried_out = tokio::spawn(async move {
            let id = id.as_deref();
            if discard { control.trainer.discard(id, &by).await } else { control.trainer.approve(id, &by).await }
        });
        let ended = carried_out.await.map_err(|_| ControlError::Failed("the approval ended unexpectedly".into()))?;
        match ended.map_err(super::of_training)? {
            Approved::Published { id, model, reason } => {
                self.followed(Some(model)).await;
                Ok(json!({ "id": id, "outcome": "promoted", "reason": reason, "model": model }))
            }
            Approved::Discarded { id } => Ok(json!({
                "id": id, "outcome": "discarded", "reason": "an operator discarded it", "model": self.slot.id(),
            })),
            Approved::Nothing => {
                Err(ControlError::NotFound("no candidate waits for an approval; see `history`".into()))
            }
            Approved::Other { waiting } => {
                Err(ControlError::Conflict(format!("another candidate waits: {waiting}; see `history`")))
            }
            Approved::Impossible { reason } => Err(ControlError::Conflict(reason)),
        }
    }

    /// The id of the candidate that waits; `None` also when the store does not tell.
    pub(super) async fn waiting_candidate(&self) -> Option<String> {
        let registry = self.store.registry().await.ok()?;
        let (_, note) = candidate::waiting(self.store.as_ref()).await.ok()??;
        note.is_current(&registry).then_some(note.id)
    }
}

/// When and why the mode was set, as far as it is known.
pub(super) fn details(mode: &FleetMode) -> Value {
    let Some(set) = &mode.set else { return json!({}) };
    let reason = Some(&set.origin.reason).filter(|reason| !reason.is_empty());
    json!({
        "since": Timestamp::from_millis(set.since_ms).to_string(),
        "cause": set.origin.cause.as_str(),
        "reason": reason,
    })
}

/// A candidate as `status` shows it.
pub(super) fn candidate_entry(note: &CandidateNote) -> Value {
    json!({
        "id": note.id,
        "trained_at": Timestamp::from_millis(note.trained_at_ms).to_string(),
        "trigger": note.trigger,
        "node": note.node,
        "samples": note.samples,
        "reason": note.reason,
        "evaluation": note.evaluation,
    })
}
