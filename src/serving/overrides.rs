//! What operators have ordered for single pairs, as this node last heard of it; a score reads nothing else of them.
//!
//! The orders are exchanged as a whole. The names of their accounts are known only as far as somebody has told them to this
//! node; they are shown to people and stored nowhere. Where the orders come from does not stand here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use crate::detection::attempt::{Attempt, Pseudonym};
use crate::detection::overrides::{OVERRIDES_MAX, Ordered, Overrides};

/// What is in force, and the store's name for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// As the store said; `None` while it has said nothing, or holds nothing.
    pub revision: Option<String>,
    /// The orders themselves.
    pub overrides: Overrides,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct OverrideSlot {
    orders: ArcSwap<Orders>,
    names: Mutex<BTreeMap<Pseudonym, String>>,
}

impl OverrideSlot {
    /// What is in force.
    pub fn orders(&self) -> Arc<Orders> {
        self.orders.load_full()
    }

    /// Puts orders in force, and forgets the names of accounts without one.
    pub fn follow(&self, orders: Orders) {
        self.names().retain(|account, _| orders.overrides.concerns(*account));
        self.orders.store(Arc::new(orders));
    }

    /// The order for an attempt at its time.
    pub fn find(&self, attempt: &Attempt) -> Option<Ordered> {
        self.orders.load().overrides.find(attempt)
    }

    /// Whether there is any order, so that names are worth looking at.
    pub fn wants_names(&self) -> bool {
        !self.orders.load().overrides.is_empty()
    }

    /// Remembers how people call an account, if there is an order for it.
    pub fn learn_name(&self, account: Pseudonym, name: &str) {
        if !self.orders.load().overrides.concerns(account) {
            return;
        }
        let mut names = self.names();
        if names.len() < OVERRIDES_MAX && !names.contains_key(&account) {
            names.insert(account, name.trim().to_owned());
        }
    }

    /// How people call an account: its name where this node has heard it, else its first 16 hexadecimal digits.
    pub fn shown(&self, account: Pseudonym) -> String {
        self.names().get(&account).cloned().unwrap_or_else(|| Self::unnamed(account))
    }

    /// The first 16 hexadecimal digits of an account, for where no name may stand.
    pub fn unnamed(account: Pseudonym) -> String {
        hex::encode(&account.0[..8])
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<Pseudonym, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::attempt::Timestamp;
    use crate::detection::overrides::{Override, OverrideKind, parse_network};

    fn order(user: u8) -> Override {
        Override {
            account: Pseudonym([user; 16]),
            network: parse_network("198.51.100.7").expect("an address"),
            kind: OverrideKind::Block,
            since: Timestamp::from_millis(0),
            until: Timestamp::from_millis(1),
            by: String::new(),
            reason: String::new(),
        }
    }

    #[test]
    fn names_are_known_only_of_accounts_with_an_order_and_as_long_as_it_stands() {
        let slot = OverrideSlot::default();
        let [alice, bob] = [1, 2].map(|user| Pseudonym([user; 16]));
        slot.learn_name(alice, "alice");
        assert!(!slot.wants_names());
        assert_eq!(slot.shown(alice), "0101010101010101", "nobody asked for it");

        slot.follow(Orders { revision: None, overrides: Overrides::new([order(1)]) });
        slot.learn_name(alice, " Alice@example.org ");
        slot.learn_name(bob, "bob");
        assert!(slot.wants_names());
        assert_eq!([alice, bob].map(|account| slot.shown(account)), ["Alice@example.org", "0202020202020202"]);

        slot.follow(Orders::default());
        assert_eq!(slot.shown(alice), "0101010101010101", "forgotten with the order");
    }
}
