//! How far the training of this node is: for `status`, and a few lines in the log.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tracing::info;

use crate::learning::training::{Progress, Stage};

/// What a training has told last; shared by the one who trains and those who ask.
#[derive(Debug, Clone, Default)]
pub struct LastProgress(Arc<ArcSwapOption<Progress>>);

impl LastProgress {
    /// The last step of the training that runs or ran.
    pub fn get(&self) -> Option<Progress> {
        self.0.load().as_deref().copied()
    }

    /// Before a training: nothing is done yet.
    pub fn clear(&self) {
        self.0.store(None);
    }

    /// Takes a step. The quarters of a search are logged, because it takes the longest and says nothing else meanwhile.
    pub fn told(&self, progress: Progress) {
        let Progress { stage, done, of, .. } = progress;
        let quarter = |done: u32| u64::from(done) * 4 / u64::from(of.max(1));
        if stage == Stage::Tuning && quarter(done) > quarter(done.saturating_sub(1)) {
            info!(done, of, "tuning: {done} of {of} fits are done");
        }
        self.0.store(Some(Arc::new(progress)));
    }
}
