//! Keeps all nodes on one pseudonym key: without the same key the nodes would not know each other's users again.
//!
//! Where the operator gave the key by file there is nothing to do. Otherwise the key in the store wins, and a store without
//! one (new, or emptied) is offered this node's. A key that changes makes strangers of the names counted under the old
//! one; the counters themselves stay.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::detection::pseudonym::Pseudonymizer;
use crate::serving::scorer::Scorer;
use crate::state::secrets::{self, PseudonymKey};
use crate::state::state_dir::StateDir;
use crate::store::{Store, StoreError};

/// See the module documentation.
pub struct Pseudonyms {
    store: Arc<dyn Store>,
    scorer: Arc<Scorer>,
    state_dir: Arc<StateDir>,
    key: Mutex<PseudonymKey>,
}

impl Pseudonyms {
    /// Keeps `scorer` on the fleet's key, beginning with `key`.
    pub fn new(store: Arc<dyn Store>, scorer: Arc<Scorer>, state_dir: Arc<StateDir>, key: PseudonymKey) -> Self {
        Self { store, scorer, state_dir, key: Mutex::new(key) }
    }

    /// Asks the store for the fleet's key and takes it over. Running it again does nothing.
    ///
    /// # Errors
    /// When the store cannot be used; this node's key stays in force then.
    pub async fn reconcile_once(&self) -> Result<(), StoreError> {
        let own = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if own.fixed {
            return Ok(());
        }
        let shared = self.store.shared_key(own.key).await?;
        if shared == own.key {
            return Ok(());
        }
        self.key.lock().unwrap_or_else(PoisonError::into_inner).key = shared;
        self.scorer.set_pseudonymizer(Pseudonymizer::new(shared));
        if let Err(error) = secrets::keep_pseudonym_key(&self.state_dir, &shared) {
            warn!("cannot keep the fleet's pseudonym key: {error}");
        }
        info!("took over the pseudonym key of the fleet");
        Ok(())
    }
}
