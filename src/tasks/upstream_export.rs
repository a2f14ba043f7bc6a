//! Gives nodes of Nauthilus 1.7 each model that serves here, in their form and under their keys (`[upstream] export`).
//!
//! It follows what serves on this node, so it does the same after a promotion, a rollback and a restart; of several nodes
//! that do it at once, one writes. A model that the original cannot say is left out, with the reason in the status. The
//! original's own trainings write there too: an hour later the model stands there again.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::jittered;
use crate::clock;
use crate::serving::slot::ModelSlot;
use crate::store::registry::ModelId;
use crate::store::upstream::export::export;
use crate::store::upstream::layout::Layout;
use crate::store::upstream::source::{ReadError, Source, SourceOptions};
use crate::supervisor::{TaskError, TaskStatus};

/// Between two looks at what serves.
const POLL: Duration = Duration::from_secs(1);
/// After this a model is written again if it has gone.
const REPEAT: Duration = Duration::from_secs(3600);
/// After an error.
const RETRY: Duration = Duration::from_secs(10);

/// See the module documentation.
#[derive(Clone)]
pub struct UpstreamExport {
    pub(crate) options: SourceOptions,
    pub(crate) layout: Layout,
    /// As whom it announces; none of the old nodes may be called so.
    pub(crate) instance: String,
    pub(crate) slot: Arc<ModelSlot>,
    pub(crate) status: TaskStatus,
}

/// What one pass did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exported {
    /// Nothing serves.
    Nothing,
    /// It stands there and was announced.
    Written(ModelId),
    /// It stood there already.
    Unchanged(ModelId),
    /// The original cannot say it.
    Impossible(ModelId, String),
}

impl UpstreamExport {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// None: an absent Redis is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut done: Option<(ModelId, tokio::time::Instant)> = None;
        loop {
            let due = match (self.slot.id(), &done) {
                (None, _) => false,
                (Some(id), Some((exported, at))) => id != *exported || at.elapsed() > REPEAT,
                (Some(_), None) => true,
            };
            let mut pause = POLL;
            if due {
                let exported = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    exported = self.reconcile_once() => exported,
                };
                match exported {
                    Ok(Exported::Nothing) => self.status.idle(),
                    Ok(Exported::Written(id)) => {
                        info!(generation = id.generation, "gave the model to the nodes of Nauthilus 1.7");
                        self.status.finished("exported", format!("generation {}", id.generation));
                        done = Some((id, tokio::time::Instant::now()));
                    }
                    Ok(Exported::Unchanged(id)) => {
                        self.status.finished("unchanged", format!("generation {}", id.generation));
                        done = Some((id, tokio::time::Instant::now()));
                    }
                    Ok(Exported::Impossible(id, reason)) => {
                        self.status.finished("not_exported", reason);
                        done = Some((id, tokio::time::Instant::now()));
                    }
                    Err(error) => {
                        self.status.waiting(error.to_string());
                        pause = jittered(RETRY);
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Writes what serves now. Running it again without another model changes nothing.
    ///
    /// # Errors
    /// When the old Redis does not answer or refuses.
    pub(crate) async fn reconcile_once(&self) -> Result<Exported, ReadError> {
        let Some(serving) = self.slot.load() else { return Ok(Exported::Nothing) };
        let model = match export(&serving.artifact) {
            Ok(model) => model,
            Err(error) => return Ok(Exported::Impossible(serving.id, error.to_string())),
        };
        let source = Source::open(&self.options).await?;
        let written = source.put_model(&self.layout, &model, &self.instance, clock::now()).await?;
        Ok(if written { Exported::Written(serving.id) } else { Exported::Unchanged(serving.id) })
    }
}
