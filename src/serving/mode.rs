//! Learning mode as this node knows it: the fleet's switch, as last read from the store.
//!
//! Whether a node acts also depends on `dry_run` (local) and on whether a model serves; [`effective`] joins the three.

use std::sync::atomic::{AtomicBool, Ordering};

/// The fleet's learning-mode switch; off until an operator switches it on.
#[derive(Debug, Default)]
pub struct LearningMode {
    switched_on: AtomicBool,
}

impl LearningMode {
    /// Whether an operator switched learning mode on.
    pub fn switched_on(&self) -> bool {
        self.switched_on.load(Ordering::Relaxed)
    }

    /// Takes over what the store says.
    pub fn set(&self, on: bool) {
        self.switched_on.store(on, Ordering::Relaxed);
    }
}

/// Learning mode as it is answered to callers: not trained, switched on, or dry run.
pub fn effective(switched_on: bool, trained: bool, dry_run: bool) -> bool {
    dry_run || switched_on || !trained
}

#[cfg(test)]
mod tests {
    use super::effective;

    #[test]
    fn a_trained_node_that_nobody_holds_back_leaves_learning_mode() {
        assert!(!effective(false, true, false));
    }

    #[test]
    fn each_of_the_three_reasons_alone_means_learning_mode() {
        assert!(effective(true, true, false));
        assert!(effective(false, false, false));
        assert!(effective(false, true, true));
    }
}
