//! Keeps this node on the fleet's list of additional features, and asks the fleet to take in names that requests brought.
//!
//! The list in the store is right; each change of it is one exchange that fails if somebody else was quicker, and is then
//! decided again. Following happens with each pass of the subscriber. Nothing here waits in the way of a request.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::config::Config;
use crate::detection::additional::{FeatureList, LIST_BYTES_MAX, Proposal};
use crate::random;
use crate::serving::schema::SchemaSlot;
use crate::state::state_dir::StateDir;
use crate::store::{FeaturesChange, FeaturesReply, Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// File of the state directory with the list as it was last heard: for a start without the store.
const FILE: &str = "features.json";
/// How often a change is decided again because another node was quicker.
const TRIES: usize = 8;

/// See the module documentation.
#[derive(Clone)]
pub struct Features {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) schema: Arc<SchemaSlot>,
    pub(crate) state_dir: Arc<StateDir>,
    pub(crate) metrics: Arc<Metrics>,
    /// Held from reading the list until it is taken over, so that what was read earlier is not taken over later.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
}

/// The list that this node last heard of; an empty one if there is none or it cannot be read.
pub(crate) fn last_heard(state_dir: &StateDir) -> FeatureList {
    let Some(bytes) = state_dir.read(FILE, LIST_BYTES_MAX as u64) else { return FeatureList::default() };
    FeatureList::decode(&bytes).unwrap_or_else(|_| {
        state_dir.set_aside(FILE);
        FeatureList::default()
    })
}

impl Features {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// None; what cannot be asked now is asked again when a request brings the name again.
    pub async fn run(self, status: TaskStatus, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.schema.proposed() => {}
            }
            match self.propose_once().await {
                Ok(0) => status.finished("up_to_date", ""),
                Ok(taken) => status.finished("taken_in", format!("{taken} new")),
                Err(error) => status.waiting(error.to_string()),
            }
        }
    }

    /// Asks the fleet to take in the names that wait. Returns how many it took.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub(crate) async fn propose_once(&self) -> Result<usize, StoreError> {
        let proposals: Vec<Proposal> = self.schema.take_proposals();
        let live_max = self.config.load().ml.additional_features_max;
        let before = self.schema.load().additional().live().count();
        let list = self.take_in(&proposals).await?;
        let taken = list.live().count().saturating_sub(before);
        if taken > 0 && !list.has_room(live_max) {
            warn!(
                "the list of additional features is full; further ones are not looked at. See ml.additional_features_max, \
                 or remove some with `features remove`"
            );
        }
        Ok(taken)
    }

    /// Takes in names that come from elsewhere, first come first served, as far as there is room. Returns the list then.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub(crate) async fn take_in(&self, proposals: &[Proposal]) -> Result<FeatureList, StoreError> {
        let live_max = self.config.load().ml.additional_features_max;
        let changed =
            self.change(None, |list| Ok::<_, String>(list.with(proposals, live_max, clock::now().millis()))).await?;
        // A list without a refusal is never an error: `with` takes what fits.
        Ok(changed.unwrap_or_default())
    }

    /// Removes those of the features that the list has, and with them the model: it has learnt from them. Returns the names
    /// that it did not have; all of them, and nothing has changed.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub(crate) async fn remove(&self, names: &[String], by: &str) -> Result<Vec<String>, StoreError> {
        let missing = Mutex::new(Vec::new());
        let removed = self.change(Some(by), |list| {
            let (next, unknown) = list.without(names, clock::now().millis());
            *missing.lock().unwrap_or_else(PoisonError::into_inner) = unknown;
            if next == *list { Err(()) } else { Ok(next) }
        });
        removed.await?.ok();
        Ok(missing.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets requests bring in names again that were removed. Returns those that were refused.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub(crate) async fn allow(&self, names: &[String]) -> Result<Vec<String>, StoreError> {
        let now_ms = clock::now().millis();
        let (_, list) = self.read().await?;
        let list = list.unwrap_or_default();
        let refused = names.iter().filter(|name| list.refuses(name, now_ms)).cloned().collect();
        // Without a refusal it is never an error.
        let _ = self.change(None, |list| Ok::<_, String>(list.allowing(names))).await?;
        Ok(refused)
    }

    /// Reads the list and follows it; puts it back where the store has lost it.
    ///
    /// # Errors
    /// When the store cannot be used, or what lies there is no list.
    pub(crate) async fn follow(&self) -> Result<(), StoreError> {
        self.change(None, |list| Ok::<_, String>(list.clone())).await.map(|_| ())
    }

    async fn read(&self) -> Result<(Option<Vec<u8>>, Option<FeatureList>), StoreError> {
        let stored = self.store.features().await?;
        let list = stored.as_deref().map(FeatureList::decode).transpose().map_err(|error| StoreError::Corrupt {
            operation: "read the additional features",
            what: error.to_string(),
        })?;
        Ok((stored, list))
    }

    fn take_over(&self, list: &FeatureList) {
        if self.schema.follow(list) {
            self.state_dir.save(FILE, &list.encode());
            let live = list.live().count();
            self.metrics.additional_features(live);
            info!(features = live, "the fleet has {live} additional features");
        }
    }

    /// Exchanges the list for what `decide` makes of it, and follows the result. `reset_by`: the model goes with it.
    ///
    /// A list that the store has lost is decided on as this node knows it, and put back: else whoever brings the next name
    /// would begin a list of that name alone, and the fleet would forget the others.
    async fn change<E>(
        &self,
        reset_by: Option<&str>,
        decide: impl Fn(&FeatureList) -> Result<FeatureList, E>,
    ) -> Result<Result<FeatureList, E>, StoreError> {
        const OPERATION: &str = "change the additional features";
        let _turn = self.turn.lock().await;
        for _ in 0..TRIES {
            let (before, list) = self.read().await?;
            let lost = list.is_none();
            let list = list.unwrap_or_else(|| self.schema.load().additional().clone());
            let lost = lost && list != FeatureList::default();
            let next = match decide(&list) {
                Ok(next) => next,
                Err(error) => return Ok(Err(error)),
            };
            if next == list && !lost {
                self.take_over(&list);
                return Ok(Ok(list));
            }
            let reset = reset_by.map(|by| (by.to_owned(), random::bytes()));
            let change = FeaturesChange { before, after: next.encode(), reset };
            if self.store.change_features(&change).await? == FeaturesReply::Changed {
                self.metrics.status().registry_written();
                self.metrics.status().announcement_sent();
                if lost {
                    warn!("the store had lost the list of additional features; it was put back");
                }
                self.take_over(&next);
                return Ok(Ok(next));
            }
        }
        // Somebody changes it as fast as we read.
        Err(StoreError::Unavailable { operation: OPERATION, source: None })
    }
}
