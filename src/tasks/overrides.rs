//! Keeps this node on what operators have ordered for single pairs, and carries their orders to the fleet.
//!
//! The store is right. Following happens with each pass of the subscriber (an announcement, a new subscription, a poll) and
//! after each order that came in on this node. What has ended counts no more by itself; here it is also swept out. Orders
//! that the store has lost are put back. What an order does to a verdict is decided elsewhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

use crate::clock;
use crate::detection::attempt::Timestamp;
use crate::detection::overrides::{DOCUMENT_MAX, OVERRIDES_MAX, Override, OverrideKind, Overrides};
use crate::serving::overrides::{Orders, OverrideSlot};
use crate::state::state_dir::StateDir;
use crate::store::overrides::{OverridesChange, OverridesReply, StoredOverrides};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// File of the state directory with the orders as they were last heard: for a start without the store.
const FILE: &str = "overrides.json";
/// Longest such file.
const FILE_MAX: u64 = ((OVERRIDES_MAX + 1) * (DOCUMENT_MAX + 2)) as u64;
/// What ended so long ago is swept out: by then the store's clock says so too, unless it is wrong.
const SWEEP_AFTER_MS: i64 = 60_000;

/// See the module documentation.
#[derive(Clone)]
pub struct OverrideWatch {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) slot: Arc<OverrideSlot>,
    pub(crate) state_dir: Arc<StateDir>,
    pub(crate) metrics: Arc<Metrics>,
    /// Held while the store is read and followed: an older reading must not come after a newer one.
    pub(crate) following: Arc<Mutex<()>>,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    v: u32,
    revision: Option<String>,
    orders: Vec<Override>,
}

/// Puts the orders in force that this node last heard of.
pub(crate) fn restore(state_dir: &StateDir, slot: &OverrideSlot) {
    let Some(bytes) = state_dir.read(FILE, FILE_MAX) else { return };
    match serde_json::from_slice::<Kept>(&bytes) {
        Ok(Kept { v: 1, revision, orders }) => {
            // Through the bounds of the stored form: a file is foreign, too.
            let orders = orders.iter().filter_map(|order| Override::decode(&order.encode()));
            slot.follow(Orders { revision, overrides: Overrides::new(orders) });
        }
        _ => state_dir.set_aside(FILE),
    }
}

impl OverrideWatch {
    /// Carries a change to the fleet and follows it here.
    ///
    /// # Errors
    /// When the store cannot be used; nothing is known to have changed then.
    pub(crate) async fn change(&self, change: &OverridesChange) -> Result<OverridesReply, StoreError> {
        let reply = self.store.change_overrides(change).await?;
        if matches!(reply, OverridesReply::Done(1..)) {
            self.metrics.status().announcement_sent();
            if let Err(error) = self.follow().await {
                debug!("this node follows its own order later: {error}");
            }
        }
        Ok(reply)
    }

    /// Reads what has changed and follows it, puts back what the store has lost, sweeps out what has ended.
    ///
    /// # Errors
    /// When the store cannot be used, or what lies there is not ours.
    pub(crate) async fn follow(&self) -> Result<(), StoreError> {
        let _following = self.following.lock().await;
        let now = clock::now();
        self.show(now);
        let mut heard = self.slot.orders();
        if let Some(stored) = self.store.overrides(heard.revision.as_deref()).await? {
            if stored.revision.is_none() && self.put_back(&heard, now).await? {
                return Ok(());
            }
            self.take_over(stored);
            self.show(now);
            heard = self.slot.orders();
        }
        let swept = heard.overrides.iter().any(|order| !order.active(now.plus_millis(-SWEEP_AFTER_MS)));
        if swept
            && matches!(self.store.change_overrides(&OverridesChange::Prune).await?, OverridesReply::Done(1..))
            && let Some(stored) = self.store.overrides(heard.revision.as_deref()).await?
        {
            self.take_over(stored);
        }
        Ok(())
    }

    /// Puts orders back into a store that knows of none. Returns whether there was anything to put back: the next reading
    /// tells under which revision.
    async fn put_back(&self, heard: &Orders, now: Timestamp) -> Result<bool, StoreError> {
        let orders: Vec<_> = heard.overrides.iter().filter(|order| order.active(now)).cloned().collect();
        if orders.is_empty() {
            return Ok(false);
        }
        let restored = self.store.change_overrides(&OverridesChange::Restore(orders)).await?;
        if matches!(restored, OverridesReply::Done(1..)) {
            self.metrics.status().announcement_sent();
            warn!("the store had lost the orders for single pairs; they were put back");
        }
        if let Some(stored) = self.store.overrides(heard.revision.as_deref()).await? {
            self.take_over(stored);
            self.show(now);
        }
        Ok(true)
    }

    fn take_over(&self, stored: StoredOverrides) {
        let StoredOverrides { revision, orders } = stored;
        let overrides = Overrides::new(orders);
        let kept = Kept { v: 1, revision: revision.clone(), orders: overrides.iter().cloned().collect() };
        self.state_dir.save(FILE, &serde_json::to_vec(&kept).expect("strings and numbers always serialise"));
        info!(overrides = overrides.len(), "the fleet has {} orders for single pairs", overrides.len());
        self.slot.follow(Orders { revision, overrides });
    }

    fn show(&self, now: Timestamp) {
        let heard = self.slot.orders();
        for kind in OverrideKind::ALL {
            self.metrics.overrides(kind, heard.overrides.active(kind, now));
        }
    }
}
