//! What operators have ordered for single pairs, as the nodes share it: reading it anew only when it has changed, and the
//! steps that change it.
//!
//! Each change leaves another random revision, so a node needs to ask only for that. What an order means stands in
//! [`crate::detection::overrides`]; when one is asked for does not stand here.

use super::StoreError;
use super::entry::check_size;
use crate::detection::overrides::{DOCUMENT_MAX, OVERRIDES_MAX, Override, OverrideId};
use crate::random;

/// All orders, and the name of this state of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredOverrides {
    /// Changes with every change; `None` while nobody has ever ordered anything, or after the store has lost it.
    pub revision: Option<String>,
    /// At most [`OVERRIDES_MAX`], also ended ones, in no particular order. What does not read is left out.
    pub orders: Vec<Override>,
}

/// A change of the orders. Each is announced but the removal of what has ended anyway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverridesChange {
    /// Adds an order, or puts it in the place of the earlier one for the same pair.
    Put(Override),
    /// Takes the order for a pair away.
    Remove(OverrideId),
    /// Takes away what has ended by the store's clock.
    Prune,
    /// Puts orders back that the store has lost; does nothing where anything stands.
    Restore(Vec<Override>),
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverridesReply {
    /// So many orders were added or taken away. 0: nothing has changed.
    Done(u64),
    /// [`OVERRIDES_MAX`] are in force; nothing has changed.
    Full,
}

/// Longest revision that is read.
const REVISION_MAX: usize = 64;

/// A new revision: random, so that two that differ never have the same name, whatever the store has lost between them.
pub(super) fn new_revision() -> String {
    hex::encode(random::bytes::<8>())
}

/// A revision as it was stored; what was not written by us is none.
pub(super) fn revision(stored: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(stored).ok().filter(|text| (1..=REVISION_MAX).contains(&text.len()))?;
    Some(text.to_owned())
}

impl OverridesChange {
    /// Checks the bounds that both stores keep.
    pub(super) fn check(&self, operation: &'static str) -> Result<(), StoreError> {
        let orders = match self {
            Self::Put(order) => std::slice::from_ref(order),
            Self::Restore(orders) => orders.as_slice(),
            Self::Remove(_) | Self::Prune => &[],
        };
        if orders.len() > OVERRIDES_MAX {
            let remedy = format!("there may be at most {OVERRIDES_MAX} overrides");
            return Err(StoreError::Refused { operation, remedy, source: None });
        }
        orders.iter().try_for_each(|order| check_size(operation, "an order", order.encode().len(), DOCUMENT_MAX))
    }
}
