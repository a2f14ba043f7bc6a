//! Commands about Nauthilus 1.7: taking in what it recorded, and showing the serving model in its form.

use serde_json::{Value, json};

use super::{ControlError, ControlHandle};
use crate::config::Profile;
use crate::store::StoreError;
use crate::store::upstream::export::export;
use crate::store::upstream::training::Batch;
use crate::tasks::upstream_import::take_in;

impl ControlHandle {
    /// Takes in records; a profile that could not learn from them refuses them all.
    pub(super) async fn import(&self, batch: Batch) -> Result<Value, ControlError> {
        if self.scorer.schema().profile() != Profile::Compat6.name() {
            return Err(ControlError::Conflict(
                "records of Nauthilus 1.7 have the six features of compat-6 only: set ml.profile = \"compat-6\", restart, and import again".into(),
            ));
        }
        let taken = take_in(self.store.as_ref(), &batch.records).await.map_err(|error| match error {
            StoreError::Unavailable { .. } => ControlError::Unavailable(format!(
                "{error}; import again when it is back: what is there already stays, once"
            )),
            error => error.into(),
        })?;
        Ok(json!({
            "taken": taken.legitimate + taken.attacks, "legitimate": taken.legitimate, "attacks": taken.attacks,
            "skipped": batch.skipped_by_name(),
        }))
    }

    /// The serving model as Nauthilus 1.7 stores one.
    pub(super) fn export(&self) -> Result<Value, ControlError> {
        let serving = self
            .slot
            .load()
            .ok_or_else(|| ControlError::Conflict("no model of this site serves yet; train one".into()))?;
        let exported = export(&serving.artifact).map_err(|error| ControlError::Conflict(error.to_string()))?;
        Ok(json!({ "format": "nauthilus-1.7", "model": serving.id, "document": exported }))
    }
}
