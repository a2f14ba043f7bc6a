//! Learning mode as this node knows it: the fleet's switch, as last read from the store.
//!
//! Whether a node acts also depends on `dry_run` (local) and on whether a model serves; [`effective`] joins the three.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use crate::store::mode::{FleetMode, ModeStamp};

/// The fleet's learning-mode switch; off until somebody or something switches it on.
#[derive(Debug, Default)]
pub struct LearningMode {
    /// Read by each score.
    switched_on: AtomicBool,
    /// What the store said last.
    read: ArcSwapOption<FleetMode>,
}

impl LearningMode {
    /// Whether learning mode is switched on.
    pub fn switched_on(&self) -> bool {
        self.switched_on.load(Ordering::Relaxed)
    }

    /// What the store said last; `None` while it never said anything, or nobody ever set the mode.
    pub fn read(&self) -> Option<Arc<FleetMode>> {
        self.read.load_full()
    }

    /// Names the setting that [`Self::read`] answers.
    pub fn stamp(&self) -> ModeStamp {
        ModeStamp::of(self.read.load().as_deref())
    }

    /// Takes over what the store says. Returns whether it is another setting than before.
    pub fn set(&self, mode: FleetMode) -> bool {
        self.switched_on.store(mode.on, Ordering::Relaxed);
        let stamp = ModeStamp::of(Some(&mode));
        let before = self.read.swap(Some(Arc::new(mode)));
        ModeStamp::of(before.as_deref()) != stamp
    }

    /// Switches it on for this node until the store says otherwise.
    pub fn hold(&self) {
        self.switched_on.store(true, Ordering::Relaxed);
    }
}

/// Learning mode as it is answered to callers: not trained, switched on, or dry run.
pub fn effective(switched_on: bool, trained: bool, dry_run: bool) -> bool {
    dry_run || switched_on || !trained
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_same_setting_read_twice_is_no_news() {
        let mode = LearningMode::default();
        let on = FleetMode::parse("1 5 0-0 {\"cause\":\"operator\",\"by\":\"\",\"reason\":\"\"}").expect("a mode");

        assert!(mode.set(on.clone()) && mode.switched_on());
        assert!(!mode.set(on.clone()));
        assert!(mode.set(FleetMode { on: false, ..on }) && !mode.switched_on());
    }

    #[test]
    fn a_node_that_holds_goes_on_when_the_store_says_so() {
        let mode = LearningMode::default();
        mode.hold();
        assert!(mode.switched_on() && mode.read().is_none());

        mode.set(FleetMode { on: false, set: None });
        assert!(!mode.switched_on());
    }
}
