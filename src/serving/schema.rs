//! The feature schema in force on this node, and the names that wait to become features.
//!
//! The request path reads the schema and leaves names here that it does not know; who asks the fleet about them, and who
//! follows its list, is not decided here. Waiting names are bounded, so a caller who sends ever new ones fills no memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::detection::additional::{FeatureList, GivenFeature, Kind, Proposal};
use crate::detection::features::FeatureSchema;

/// Names that may wait at once: more than a request is looked at for, and than the list has places.
const WAITING_MAX: usize = 64;

/// See the module documentation.
#[derive(Debug)]
pub struct SchemaSlot {
    current: ArcSwap<FeatureSchema>,
    waiting: Mutex<BTreeMap<String, Kind>>,
    wake: Notify,
}

impl SchemaSlot {
    /// The schema to begin with.
    pub fn new(schema: FeatureSchema) -> Self {
        Self { current: ArcSwap::from_pointee(schema), waiting: Mutex::default(), wake: Notify::new() }
    }

    /// The schema in force now.
    pub fn load(&self) -> Arc<FeatureSchema> {
        self.current.load_full()
    }

    /// Takes over the fleet's list. Returns whether it is another one than before.
    pub fn follow(&self, list: &FeatureList) -> bool {
        let before = self.load();
        let differs = before.additional() != list;
        if differs {
            self.current.store(Arc::new(before.with_additional(list)));
        }
        differs
    }

    /// Lets a name wait. `false` when too many wait already.
    pub fn propose(&self, feature: &GivenFeature) -> bool {
        let mut waiting = self.lock();
        if waiting.contains_key(&feature.name) {
            return true;
        }
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.insert(feature.name.clone(), feature.kind);
        drop(waiting);
        self.wake.notify_one();
        true
    }

    /// Takes the names that wait.
    pub fn take_proposals(&self) -> Vec<Proposal> {
        std::mem::take(&mut *self.lock()).into_iter().map(|(name, kind)| Proposal { name, kind }).collect()
    }

    /// Waits until a name was left since the last call.
    pub async fn proposed(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kind>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::additional::GivenValue;

    fn feature(number: u32) -> GivenFeature {
        GivenFeature { name: format!("f{number}"), value: GivenValue::Bool(true), kind: Kind::Bool }
    }

    #[test]
    fn a_flood_of_names_stays_bounded_and_each_waits_once() {
        let slot = SchemaSlot::new(FeatureSchema::compat6());

        let taken = (0..1000).filter(|number| slot.propose(&feature(number % 500))).count();

        assert_eq!((taken, slot.take_proposals().len()), (2 * WAITING_MAX, WAITING_MAX));
        assert!(slot.take_proposals().is_empty() && slot.propose(&feature(999)));
    }

    #[test]
    fn d30_following_the_same_list_again_changes_nothing() {
        let slot = SchemaSlot::new(FeatureSchema::compat6());
        let list = FeatureList::default().with(&[Proposal { name: "a".into(), kind: Kind::Bool }], 16, 0);

        assert!(slot.follow(&list) && !slot.follow(&list));
        assert_eq!(slot.load().len(), 8);
    }
}
