//! Says why a request was scored as it was: finds what was scored then, on whichever node, and explains it with the model
//! that serves now.

use std::sync::Arc;

use serde_json::Value;

use super::command::of_field;
use super::{ControlError, ControlHandle};
use crate::detection::attempt::RequestKey;
use crate::detection::record::check_request_id;
use crate::learning::explanation::ExplanationError;
use crate::serving::explain::{self, ExplainAnswer};
use crate::serving::prior::Current;

impl ControlHandle {
    pub(super) async fn explain(&self, request_id: String) -> Result<Value, ControlError> {
        let request_id = check_request_id(request_id).map_err(of_field)?;
        if self.slot.id().is_none() && self.scorer.prior().is_none() {
            return Err(ControlError::Conflict("no model serves: there is nothing to explain".into()));
        }
        let remembered = self.recall(RequestKey::of(&request_id)).await?;
        let Some(snapshot) = remembered.snapshot else {
            return Err(ControlError::NotFound("this request was recorded without its features".into()));
        };
        // Loaded after the wait for the stream: it may have been exchanged meanwhile.
        let (model, prior) = (self.slot.load(), self.scorer.prior());
        if model.is_none() && prior.is_none() {
            return Err(ControlError::Conflict("no model serves any more: there is nothing to explain".into()));
        }
        let (config, scorer) = (self.config.load_full(), Arc::clone(&self.scorer));
        let explained = tokio::task::spawn_blocking(move || {
            let own = model.as_deref().map(Current::from);
            let current = own.or(prior.as_deref().map(Current::prior)).ok_or(ExplanationError::NoBackground)?;
            let explanation = explain::explain(&config, &scorer.schema(), current, &snapshot)?;
            Ok(ExplainAnswer { request_id, explanation, model: current.id, prior: current.id.is_none() })
        });
        let explained =
            explained.await.map_err(|_| ControlError::Failed("the explanation ended unexpectedly".into()))?;
        let answer = explained.map_err(|error: ExplanationError| ControlError::Conflict(error.to_string()))?;
        serde_json::to_value(answer).map_err(|error| ControlError::Failed(error.to_string()))
    }
}
