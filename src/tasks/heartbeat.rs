//! Tells the fleet that this node lives and on which model, and keeps the node's picture of the fleet.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::jittered;
use crate::serving::slot::ModelSlot;
use crate::state::identity::Identity;
use crate::store::{NodeReport, Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};

/// 8 s ± 20 %: three reports fit into the time after which a node counts as gone.
const PERIOD: Duration = Duration::from_secs(8);

/// See the module documentation.
#[derive(Clone)]
pub struct Heartbeat {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) slot: Arc<ModelSlot>,
    pub(crate) swapped: Arc<Notify>,
    pub(crate) fleet: Arc<ArcSwap<Vec<NodeReport>>>,
    pub(crate) status: TaskStatus,
    /// A second live start under this node's id was reported already.
    pub(crate) twin_reported: bool,
}

impl Heartbeat {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// None; an absent store is waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), TaskError> {
        let swapped = Arc::clone(&self.swapped);
        loop {
            match self.reconcile_once().await {
                Ok(()) => self.status.finished("reported", ""),
                Err(error) => self.status.waiting(error.to_string()),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = swapped.notified() => {}
                () = tokio::time::sleep(jittered(PERIOD)) => {}
            }
        }
    }

    /// Reports this node and reads the others.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn reconcile_once(&mut self) -> Result<(), StoreError> {
        self.store.report_node(&self.identity.report(self.slot.id())).await?;
        let nodes = self.store.nodes().await?;
        let boot_id = self.identity.boot_hex();
        let twin = nodes.iter().any(|node| node.node_id == self.identity.node_id && node.boot_id != boot_id);
        if twin && !self.twin_reported {
            warn!(
                "another daemon reports the same node id: a state directory was copied, or this node has just restarted"
            );
        }
        self.twin_reported = twin;
        self.fleet.store(Arc::new(nodes));
        Ok(())
    }
}
