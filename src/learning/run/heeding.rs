//! Whether the words of people are heeded in a training: not where they cost more attacks than seeds of one training do.
//!
//! A wrong word looks like a right one. What it does shows on the held-out rows, if nothing else differs: the same rows are
//! fitted with the words and without. Words that cost too much are left out of this training, told, and tried again in the
//! next; the training itself goes on, so that nobody can stop the learning of a site by wrong words. Which words count at
//! all, and for how much, is decided before, in `feedback`.

use std::sync::atomic::AtomicBool;

use super::super::artifact::ModelArtifact;
use super::super::dataset::{Dataset, Prepared};
use super::super::evaluation;
use super::super::training::Progress;
use super::{Fitted, RunError, RunOptions, fit};
use crate::detection::features::FeatureSchema;

/// Share of the held-out attacks that words may cost, found at the same share of false positives. Held-out rows are those
/// that labels could be given to, the easier ones: on two generated sites wrong words that cost .8 and 1.4 points of these
/// cost 2.5 and 8.7 points of all attacks, and right ones at most .3 points of these.
const COST_MAX: f64 = 0.005;

/// What came of fitting with and without words.
pub(super) struct Heeded {
    /// The rows that were fitted: without the words where these are set aside.
    pub(super) prepared: Prepared,
    /// The models.
    pub(super) fitted: Fitted,
    /// For the history; `None` where the words count, or there are none.
    pub(super) set_aside: Option<String>,
}

/// Fits what `options` ask for, with the words of people unless they cost too much.
///
/// # Errors
/// When `cancel` is raised or the numbers stop being finite.
pub(super) fn fit_heeding(
    prepared: Prepared,
    schema: &FeatureSchema,
    options: &RunOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Heeded, RunError> {
    let fitted = fit(&prepared, schema, options, cancel, progress)?;
    let Some(with) = recall(&fitted.measured, &prepared.hold_out, options.false_positive_budget) else {
        return Ok(Heeded { prepared, fitted, set_aside: None });
    };
    let Some(mut unheeded) = prepared.without_words() else {
        return Ok(Heeded { prepared, fitted, set_aside: None });
    };
    let control = fit(&unheeded, schema, options, cancel, progress)?;
    let without = recall(&control.measured, &prepared.hold_out, options.false_positive_budget);
    let cost = without.map_or(0.0, |without| without - with);
    if cost <= COST_MAX {
        return Ok(Heeded { prepared, fitted, set_aside: None });
    }
    let items = prepared.counts.feedback;
    unheeded.told.set_aside = items;
    unheeded.told.counted = 0;
    let set_aside = format!(
        "{items} feedback items are set aside: with them the model finds {:.1} points less of the held-out attacks, and \
         {:.1} is allowed; look through the latest ones",
        cost * 100.0,
        COST_MAX * 100.0
    );
    Ok(Heeded { prepared: unheeded, fitted: control, set_aside: Some(set_aside) })
}

/// Share of the attacks found on rows that nobody spoke of, at `budget` false positives. `None` where too few of these rows
/// are legitimate, or none is an attack.
fn recall(model: &ModelArtifact, hold_out: &Dataset, budget: f64) -> Option<f64> {
    let rows = Dataset { rows: hold_out.rows.iter().filter(|row| !row.from_feedback).cloned().collect() };
    let scored = rows.scored(|row| model.logit(&row.snapshot()));
    let negatives = scored.iter().filter(|row| !row.attack).count();
    // A rate that not even one false positive would reach cannot be measured.
    if (negatives as f64) * budget < 1.0 { None } else { evaluation::tpr_at_fpr(&scored, budget) }
}

#[cfg(test)]
mod tests;
