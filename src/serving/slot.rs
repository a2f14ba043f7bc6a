//! The model that serves, and how it is exchanged without a gap.
//!
//! The slot does not judge models: what is put here was decoded, verified and accepted before.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::learning::artifact::ModelArtifact;
use crate::store::registry::ModelId;

/// A verified model with its identity in the registry.
#[derive(Debug)]
pub struct ServedModel {
    /// As the registry names it.
    pub id: ModelId,
    /// The content, verified.
    pub artifact: ModelArtifact,
}

/// Holds the current model; readers never block and never see none between two models.
#[derive(Debug, Default)]
pub struct ModelSlot {
    current: ArcSwapOption<ServedModel>,
}

impl ModelSlot {
    /// An empty slot: nothing serves until the first swap.
    pub fn new() -> Self {
        Self::default()
    }

    /// The model that serves now.
    pub fn load(&self) -> Option<Arc<ServedModel>> {
        self.current.load_full()
    }

    /// The identity of the model that serves now.
    pub fn id(&self) -> Option<ModelId> {
        self.current.load().as_ref().map(|model| model.id)
    }

    /// Puts `model` in place for every request that starts after this call. Returns what served before.
    pub fn swap(&self, model: Option<Arc<ServedModel>>) -> Option<Arc<ServedModel>> {
        self.current.swap(model)
    }
}
