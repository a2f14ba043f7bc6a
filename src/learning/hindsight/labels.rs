//! Hindsight as a label policy: what a dataset asks.

use super::HindsightIndex;
use super::answer::{Case, HindsightAnswer};
use crate::detection::attempt::Timestamp;
use crate::detection::features::FeatureSchema;
use crate::learning::labels::{LabelPolicy, Labelled};
use crate::learning::sample::Sample;

/// Labels from an index. What is unknown teaches nothing.
#[derive(Debug, Clone, Copy)]
pub struct HindsightLabels<'a> {
    index: &'a HindsightIndex,
    now: Timestamp,
}

impl<'a> HindsightLabels<'a> {
    /// `now`: up to when all attempts have been recorded. It is *not* later than that merely because time has passed:
    /// what was not yet recorded may still change a label.
    pub const fn new(index: &'a HindsightIndex, now: Timestamp) -> Self {
        Self { index, now }
    }

    /// The label of an attempt with the rule behind it, or why there is none.
    pub fn answer(&self, case: &Case) -> HindsightAnswer {
        self.index.label(case, self.now)
    }
}

impl LabelPolicy for HindsightLabels<'_> {
    fn label(&self, sample: &Sample, _: &FeatureSchema) -> Option<Labelled> {
        match self.answer(&Case::from(sample)) {
            HindsightAnswer::Label(labelled, _) => Some(labelled),
            HindsightAnswer::Unknown(_) => None,
        }
    }
}
