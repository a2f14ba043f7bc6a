//! Whether a challenger may replace the champion: pure, from scores of both on what neither was trained on.
//!
//! Each criterion is one small function that answers with its numbers; [`judge`] asks them all, so that the history tells
//! everything and not only the first objection. What the data cannot tell is never held against a challenger. Nothing is
//! scored here, except canaries through a function of the caller; publishing is somebody else's work.
//!
//! Reading order: [`Challenge`] (the question), `judgement` (the answer), `sides` and `ranking` (does it know attacks from
//! users, as well as the champion), `rates` (block rate and honesty), `words` (feedback), `scenarios` (canaries), `live`.

pub(super) mod binomial;
mod bootstrap;
mod judgement;
mod live;
mod ranking;
mod rates;
mod scenarios;
mod sides;
mod words;

pub use judgement::{Criterion, Judgement, Status, Verdict};
pub use live::{Flips, LIVE_MAX};
pub(super) use scenarios::Cuts;
pub use scenarios::{Canary, CanaryResult};
pub use words::HeldOutFeedback;

use super::drift::Drift;
use super::evaluation::Evaluation;
use super::threshold::Thresholds;
use crate::numeric;

/// Expected calibration error above which a model is refused unless asked otherwise. Networks trained on clean labels
/// measured 0.004 to 0.007, on noisy ones 0.055: 0.03 lies between.
pub const ECE_LIMIT: f64 = 0.03;

/// What an operator may choose about the gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateOptions {
    /// Highest expected calibration error, 0 to 1.
    pub ece_limit: f64,
    /// Promotion without a person: what would want an approval is only noted, except an alarm of drift.
    pub automatic: bool,
    /// A person has asked for this very training and so approved of it: even an alarm of drift is only noted.
    pub approved: bool,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self { ece_limit: ECE_LIMIT, automatic: true, approved: false }
    }
}

/// One row on which neither model was trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOut {
    /// What it was.
    pub attack: bool,
    /// Importance; finite and not negative, 1 is an ordinary row.
    pub weight: f64,
    /// Attempts that it stands for, whatever their importance; finite and not negative.
    pub represents: f64,
    /// Rows of one group may depend on each other (`Row::group` of the data set); which number it has does not matter.
    pub group: u64,
    /// The challenger's logit.
    pub challenger: f64,
    /// The champion's logit; `None` without a champion, or with one of another schema.
    pub champion: Option<f64>,
}

/// Where a model works: its thresholds, and the share of legitimate attempts that they were to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatingPoint {
    /// On probabilities; a missing one was not supported by the data.
    pub thresholds: Thresholds,
    /// Target of the false-positive rate at the block threshold, between 0 and 1.
    pub budget: f64,
}

/// Everything that is known about a challenger when it is judged. Slices may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Challenge<'a> {
    /// Rows that neither model was trained on.
    pub hold_out: &'a [HeldOut],
    /// Measures of the challenger on the rows that it was trained on; only the mean scores matter.
    pub training: &'a Evaluation,
    /// Words of people that the challenger was not trained on.
    pub feedback: &'a [HeldOutFeedback],
    /// What both say about scenarios that are always the same.
    pub canaries: &'a [CanaryResult],
    /// What would change for the last live attempts.
    pub live: Option<Flips>,
    /// Where the challenger works.
    pub challenger: OperatingPoint,
    /// The challenger's probabilities were calibrated: there is no excuse for what is still wrong with them.
    pub calibrated: bool,
    /// Where the champion works; `None` without one.
    pub champion: Option<OperatingPoint>,
    /// How far today's traffic is from what the champion was trained on.
    pub drift: Option<&'a Drift>,
    /// What the operator chose.
    pub options: GateOptions,
    /// Draws the resamples.
    pub seed: u64,
}

/// Judges a challenger by every criterion.
pub fn judge(challenge: &Challenge<'_>) -> Judgement {
    let mut criteria = Vec::new();
    criteria.extend(sides::judge(challenge));
    criteria.extend(ranking::judge(challenge));
    criteria.push(rates::false_positives(challenge));
    criteria.push(rates::calibration(challenge));
    criteria.extend(words::judge(challenge));
    criteria.extend(scenarios::judge(challenge));
    criteria.push(live::flips(challenge));
    criteria.push(live::logit_shift(challenge));
    criteria.push(live::drift(challenge));
    Judgement::of(criteria, challenge.challenger.thresholds.block.is_none(), challenge.champion.is_some())
}

impl HeldOut {
    /// The challenger's probability of an attack.
    fn probability(&self) -> f64 {
        numeric::sigmoid(self.challenger)
    }
}

/// [`Status::Failed`] or [`Status::Passed`].
fn failed_if(failed: bool) -> Status {
    if failed { Status::Failed } else { Status::Passed }
}

#[cfg(test)]
mod tests;
