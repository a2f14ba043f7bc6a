//! Explains what the model that serves says of a snapshot.
//!
//! It does not find the snapshot, takes no lock and changes nothing. An explanation takes some thousand forward passes, far
//! more than a score: callers keep it off the threads that others wait for.

use serde::Serialize;

use super::slot::ServedModel;
use crate::config::Config;
use crate::detection::event::Snapshot;
use crate::detection::features::FeatureSchema;
use crate::learning::explanation::{self, Explanation, ExplanationError};
use crate::store::registry::ModelId;

/// Answer to the question why a request was scored as it was (`wire.md`: `GET /v1/explain/{request_id}`).
#[derive(Debug, Clone, Serialize)]
pub struct ExplainAnswer {
    /// The request as the caller named it.
    pub request_id: String,
    /// What the model that serves now says of it, which may be another than scored it then.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// The model that serves now.
    pub model: ModelId,
}

/// Explains `snapshot` with `model`. The block threshold is the one that a score would be judged by now.
///
/// # Errors
/// When the snapshot has other features than the model, or the model nothing to compare with.
pub fn explain(
    config: &Config,
    schema: &FeatureSchema,
    model: &ServedModel,
    snapshot: &Snapshot,
) -> Result<Explanation, ExplanationError> {
    let block_threshold = config.ml.threshold.or(model.artifact.thresholds.block);
    explanation::explain(&model.artifact, schema, snapshot, block_threshold)
}
