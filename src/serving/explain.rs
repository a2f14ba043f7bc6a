//! Explains what the model that serves says of a snapshot.
//!
//! It does not find the snapshot, takes no lock and changes nothing. An explanation takes some thousand forward passes, far
//! more than a score: callers keep it off the threads that others wait for.

use serde::Serialize;

use super::prior::Current;
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
    /// The model that serves now; `None` when it is the prior.
    pub model: Option<ModelId>,
    /// The prior says it: the site has no model of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prior: bool,
}

/// Explains `snapshot` with `model`. The block threshold is the one that a score would be judged by now.
///
/// # Errors
/// When the snapshot has other features than the model, or the model nothing to compare with.
pub fn explain(
    config: &Config,
    schema: &FeatureSchema,
    model: Current<'_>,
    snapshot: &Snapshot,
) -> Result<Explanation, ExplanationError> {
    explanation::explain(model.artifact, schema, snapshot, model.block_threshold(config))
}
