//! What a node begins with: the model and the counters that it kept in its state directory.
//!
//! Nothing here asks the store, and nothing that cannot be read keeps a node from starting.

use std::sync::Arc;

use tracing::{info, warn};

use crate::clock;
use crate::detection::features::FeatureSchema;
use crate::learning::artifact::{Expectation, ModelArtifact};
use crate::serving::scorer::Scorer;
use crate::serving::slot::{ModelSlot, ServedModel};
use crate::state::state_dir::StateDir;
use crate::store::Position;
use crate::telemetry::metrics::Metrics;

/// Serves the last good model, if there is one that fits `schema`. One that cannot be used is set aside.
pub(super) fn load_last_good_model(state_dir: &StateDir, slot: &ModelSlot, schema: &FeatureSchema, metrics: &Metrics) {
    let Some((id, bytes)) = state_dir.load_model() else { return };
    let expectation = Expectation { fingerprint: None, sha256: Some(id.sha256) };
    let decoded = ModelArtifact::decode(&bytes, &expectation);
    match decoded.and_then(|(header, artifact)| artifact.accepted_by(schema).map(|artifact| (header, artifact))) {
        Ok((_, artifact)) => {
            slot.swap(Some(Arc::new(ServedModel { id, artifact })));
            metrics.swapped(Some(id.generation));
            info!(generation = id.generation, "serving the last good model, generation {}", id.generation);
        }
        Err(error) => {
            metrics.artifact_rejected(error.kind());
            warn!("the saved model cannot be used: {error}");
            state_dir.set_model_aside();
        }
    }
}

/// Restores the counters of `scorer`. Returns from where on attempts have to be counted again.
pub(super) fn load_checkpoint(state_dir: &StateDir, scorer: &Scorer) -> Position {
    let Some((position, checkpoint)) = state_dir.load_checkpoint() else { return Position::START };
    let restored = scorer.restore(&checkpoint, clock::now());
    if restored.counters && !restored.memory {
        info!("the checkpoint has no usable memory for labels: what came before now gets none from this node");
    }
    if restored.counters { position } else { Position::START }
}
