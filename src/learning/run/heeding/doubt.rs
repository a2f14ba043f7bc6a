//! Asks for the price of words again where one seed cannot tell: two fits that differ in nothing but their seed differ as well.
//!
//! What a price is made of is decided in `price`, and what follows from it by the parent module.

use std::sync::atomic::AtomicBool;

use super::super::super::dataset::Prepared;
use super::super::super::gate::Canary;
use super::super::super::training::{Progress, TrainingOptions};
use super::super::{Fitted, RunError, RunOptions, fit};
use super::price::Found;
use crate::detection::features::FeatureSchema;

/// Above a price of 1 words are set aside, and below this it may be the seed: right words on a generated site came to 1.2, and
/// to .1 to 2.1 with seven others, five of them below 1. Wrong ones that cost much come to 3.5 and more.
const CLEAR: f64 = 3.0;
/// Seeds that are asked in doubt.
const SEEDS: usize = 5;

/// What is fitted to find out what words cost.
pub(super) struct Pricing<'a> {
    /// All rows; those that nobody spoke of are asked.
    pub(super) prepared: &'a Prepared,
    /// The rows without words.
    pub(super) silent: &'a Prepared,
    pub(super) schema: &'a FeatureSchema,
    pub(super) options: &'a RunOptions,
    pub(super) canaries: &'a [Canary],
    pub(super) cancel: &'a AtomicBool,
    /// What was found without words, by seed: so far with the first ones.
    pub(super) without: Vec<Found>,
}

/// What a fit with words found, and one without; the means of all seeds that were asked.
pub(super) struct Cost {
    with: Found,
    without: Found,
}

impl Pricing<'_> {
    /// What the words in `part` cost, to which `fitted` was fitted with the first seed. `None` where it cannot be measured.
    ///
    /// # Errors
    /// When `cancel` is raised or the numbers stop being finite.
    pub(super) fn of(
        &mut self,
        part: &Prepared,
        fitted: &Fitted,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<Cost>, RunError> {
        let (Some(first), Some(control)) = (self.found(fitted), self.without.first()) else { return Ok(None) };
        let mut with = vec![first];
        let price = with[0].price(control);
        if price > 1.0 && price < CLEAR {
            while with.len() < SEEDS {
                let Some(found) = self.found(&self.fit(part, with.len(), progress)?) else { return Ok(None) };
                if self.without.len() == with.len() {
                    let control = self.fit(self.silent, with.len(), progress)?;
                    let Some(found) = self.found(&control) else { return Ok(None) };
                    self.without.push(found);
                }
                with.push(found);
            }
        }
        let (with, without) = (Found::mean(&with), Found::mean(&self.without[..with.len()]));
        Ok(with.zip(without).map(|(with, without)| Cost { with, without }))
    }

    fn found(&self, fitted: &Fitted) -> Option<Found> {
        Found::on(&fitted.measured, self.prepared, self.options.false_positive_budget, self.canaries)
    }

    fn fit(&self, rows: &Prepared, nth: usize, progress: &mut dyn FnMut(Progress)) -> Result<Fitted, RunError> {
        let seed = self.options.training.seed.wrapping_add(nth as u64);
        let training = TrainingOptions { seed, ..self.options.training.clone() };
        fit(rows, self.schema, &RunOptions { training, ..self.options.clone() }, self.cancel, progress)
    }
}

impl Cost {
    /// In parts of what words may cost; above 1 is too much.
    pub(super) fn price(&self) -> f64 {
        self.with.price(&self.without)
    }

    /// For the history.
    pub(super) fn told(&self) -> String {
        self.with.told(&self.without)
    }
}
