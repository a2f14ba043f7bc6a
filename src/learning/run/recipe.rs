//! How a model is made of prepared rows: who is fitted to what, how their votes are joined, and where the thresholds come
//! from.
//!
//! A schema that wants standardising is fitted twice. First to the training rows, the network until the later part of
//! them is no longer told better: that gives the model which is calibrated, measured and judged on the hold-out. Then to
//! everything, hold-out included, with the same voters and as many epochs: what attackers began to do yesterday must not
//! wait for a fifth of the memory to pass before it is learnt. Calibration and thresholds are those of the measured model.
//! `compat-6` is fitted once, through every epoch, and calibrated by nobody.

use std::sync::atomic::AtomicBool;

use super::super::artifact::{ModelArtifact, TrainingSummary, Trial};
use super::super::calibration::{Calibrates, Calibration};
use super::super::class_weight::ClassWeight;
use super::super::cost::{self, Supported, ThresholdFrom};
use super::super::crossing;
use super::super::dataset::{Dataset, Prepared, Row};
use super::super::drift::{Reference, Seen};
use super::super::ensemble::{Ensemble, Learner, Voter};
use super::super::evaluation::{self, Evaluation, Scored};
use super::super::explanation::background;
use super::super::forest::{Forest, ForestError, ForestOptions};
use super::super::labels::Label;
use super::super::logistic::{Logistic, LogisticError};
use super::super::standardizer::Standardizer;
use super::super::threshold::{self, Negative, Thresholds};
use super::super::training::{self, Progress, TrainingError};
use super::{RunError, RunOptions, Tuning, Voters};
use crate::detection::features::FeatureSchema;
use crate::numeric;

/// Rows from which on a second opinion is worth its time.
const ENSEMBLE_ROWS_MIN: usize = 10_000;
/// A joint vote is taken only where it lowers the log-loss on the hold-out by this share: less is chance.
const ENSEMBLE_GAIN_MIN: f64 = 0.02;
/// Weight of a row in a forest, at most: a leaf may hold as few as five rows, and one person's word must not fill it.
const FOREST_WEIGHT_MAX: f64 = 3.0;
/// Lowest block threshold on calibrated probabilities (the original decided by 0.7) …
const BLOCK_MIN: f64 = 0.8;
/// … and where no passwords are told apart. A device that repeats one looks like a guesser there, hindsight labels hardly
/// any of them, and so the held-out days know fewer hard cases than there are.
const BLIND_BLOCK_MIN: f64 = 0.85;
/// The block threshold stands at so many times the odds of the one that keeps to the budget on the hold-out: what comes is
/// harder than what was held out, and the model that serves has learnt the hold-out too. Without it some of the generated
/// sites realised twice the budget; with it the worst realise one and a half, for about a point of recall. Where no passwords are told
/// apart there is none: less of the budget is spent there instead.
const ODDS_MARGIN: f64 = 2.0;
/// The weight decay of the logistic regression: the network's own.
const LOGISTIC_L2: f64 = 1e-4;

/// What a fit gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Never saw the hold-out: this one is measured and judged.
    pub measured: ModelArtifact,
    /// Saw everything: this one serves. The same as `measured` where nothing is fitted twice.
    pub serving: ModelArtifact,
}

/// Fits what `options` ask for.
///
/// # Errors
/// When `cancel` is raised or the numbers stop being finite.
pub fn fit(
    prepared: &Prepared,
    schema: &FeatureSchema,
    options: &RunOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fitted, RunError> {
    let mut kitchen = Kitchen { schema, options, prepared, cancel, progress };
    if !schema.is_unscaled() {
        let fit = kitchen.learn(&prepared.train, &Dataset::default(), options.training.epochs, &[Kind::Network])?;
        let mut measured = kitchen.artifact(fit.into_ensemble(schema.len()), None);
        set_thresholds(&mut measured, prepared, options);
        return Ok(Fitted { serving: measured.clone(), measured });
    }
    let kinds = options.voters.kinds(prepared.train.rows.len());
    let (core, validation) = prepared.train.split_last();
    let first = if core.rows.is_empty() {
        kitchen.learn(&prepared.train, &Dataset::default(), options.training.epochs, kinds)?
    } else {
        kitchen.learn(&core, &validation, options.training.epochs, kinds)?
    };
    let (epochs, standardizer) = (first.epochs, first.standardizer.clone());
    let (ensemble, chosen) = join(first.learners, standardizer.as_ref(), &prepared.hold_out);
    let mut measured = kitchen.artifact(ensemble, standardizer);
    set_thresholds(&mut measured, prepared, options);

    let everything = prepared.everything(options.samples_max, options.training.seed);
    let last = kitchen.learn(&everything, &Dataset::default(), epochs, &chosen)?;
    let mut model = measured.model.clone();
    for (voter, learner) in model.voters.iter_mut().zip(last.learners) {
        voter.learner = learner;
    }
    let mut serving = kitchen.artifact(model, last.standardizer);
    serving.thresholds = measured.thresholds;
    serving.training.false_positive_budget = measured.training.false_positive_budget;
    serving.evaluation = measured.evaluation.clone();
    serving.trial = Some(Trial { model: measured.model.clone(), standardizer: measured.standardizer.clone() });
    Ok(Fitted { measured, serving })
}

impl Voters {
    fn kinds(self, rows: usize) -> &'static [Kind] {
        match self {
            Self::Best if rows >= ENSEMBLE_ROWS_MIN => &[Kind::Network, Kind::Logistic, Kind::Forest],
            Self::Best | Self::Network => &[Kind::Network],
            Self::Logistic => &[Kind::Logistic],
            Self::Forest => &[Kind::Forest],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network,
    Logistic,
    Forest,
}

/// Learners of one fit, in the order of the kinds asked for.
struct Learnt {
    learners: Vec<Learner>,
    standardizer: Option<Standardizer>,
    epochs: u32,
}

impl Learnt {
    fn into_ensemble(self, inputs: usize) -> Ensemble {
        let voter = |learner| Voter { learner, calibration: Calibration::default() };
        Ensemble::new(inputs, self.learners.into_iter().map(voter).collect())
    }
}

struct Kitchen<'a> {
    schema: &'a FeatureSchema,
    options: &'a RunOptions,
    prepared: &'a Prepared,
    cancel: &'a AtomicBool,
    progress: &'a mut dyn FnMut(Progress),
}

impl Kitchen<'_> {
    fn learn(&mut self, rows: &Dataset, validation: &Dataset, last: u32, kinds: &[Kind]) -> Result<Learnt, RunError> {
        let standardizer = self.schema.is_unscaled().then(|| rows.standardizer(self.schema.len()));
        let scaled = |rows: &Dataset| match &standardizer {
            Some(standardizer) => rows.standardised(standardizer),
            None => rows.clone(),
        };
        let crossed = crossing::crossed(rows, self.schema, self.options.training.seed);
        let (mut rows, validation) = (scaled(rows), scaled(validation));
        rows.rows.extend(scaled(&crossed).rows);
        let (mut rows, mut validation) = (rows.training_rows(), validation.training_rows());
        let class_weight = ClassWeight::of(&rows);
        let mut raised = rows.clone();
        class_weight.apply(&mut raised);
        class_weight.apply(&mut validation);
        let options = &self.options.training;
        let mut learnt = Learnt { learners: Vec::with_capacity(kinds.len()), standardizer: None, epochs: last };
        for kind in kinds {
            learnt.learners.push(match kind {
                Kind::Network => {
                    let mut fitted =
                        training::fit_until(&raised, &validation, options, last, self.cancel, self.progress)
                            .map_err(RunError::from_training)?;
                    class_weight.correct_network(&mut fitted.network);
                    if standardizer.is_some() {
                        training::silence_constants(&mut fitted.network, &rows);
                    }
                    learnt.epochs = fitted.epochs;
                    Learner::Network(fitted.network)
                }
                Kind::Logistic => {
                    let mut logistic = Logistic::fit_watched(&raised, LOGISTIC_L2, self.cancel, self.progress)
                        .map_err(RunError::from_logistic)?;
                    class_weight.correct_logistic(&mut logistic);
                    Learner::Logistic(logistic)
                }
                Kind::Forest => {
                    for row in &mut rows {
                        row.weight = row.weight.min(FOREST_WEIGHT_MAX);
                    }
                    let options = ForestOptions { seed: options.seed, ..ForestOptions::default() };
                    let forest = Forest::fit_watched(&rows, &options, self.cancel, self.progress);
                    Learner::Forest(forest.map_err(RunError::from_forest)?)
                }
            });
        }
        learnt.standardizer = standardizer;
        Ok(learnt)
    }

    fn artifact(&self, model: Ensemble, standardizer: Option<Standardizer>) -> ModelArtifact {
        let training = TrainingSummary {
            counts: self.prepared.counts,
            options: self.options.training.clone(),
            false_positive_budget: self.options.false_positive_budget,
            tuned: self.options.tuning != Tuning::None,
        };
        let mut artifact = ModelArtifact::new(
            &self.options.profile,
            self.schema,
            model,
            Thresholds::default(),
            Evaluation::default(),
            training,
        );
        artifact.standardizer = standardizer;
        artifact.background = background::choose(&self.prepared.train.rows, self.schema.len());
        artifact.reference = self.reference(&artifact);
        artifact
    }

    /// What traffic looked like of late, to tell at the next training how far it has moved. Of the latest part only: for
    /// weeks after the start the counters of days have still been filling up, and everything has moved since.
    fn reference(&self, artifact: &ModelArtifact) -> Option<Reference> {
        let rows: Vec<&Row> = self.prepared.hold_out.rows.iter().chain(&self.prepared.fresh.rows).collect();
        let snapshots: Vec<Vec<f32>> = rows.iter().map(|row| row.snapshot()).collect();
        let seen: Vec<Seen<'_>> =
            rows.iter().zip(&snapshots).map(|(row, values)| Seen { values, weight: row.represents }).collect();
        let probability = |values: &[f32]| artifact.probability(values);
        (!seen.is_empty()).then(|| Reference::new(self.schema, &seen, LOOKS_LEGITIMATE, probability))
    }
}

/// Attempts that a model gives less than this are those that it calls legitimate.
const LOOKS_LEGITIMATE: f64 = 0.5;

/// Joins the learners that together say most about the hold-out. The first alone stays unless others help.
fn join(learners: Vec<Learner>, standardizer: Option<&Standardizer>, hold_out: &Dataset) -> (Ensemble, Vec<Kind>) {
    let scaled = standardizer.map(|standardizer| hold_out.standardised(standardizer));
    let rows = &scaled.as_ref().unwrap_or(hold_out).rows;
    let inputs = match &learners[0] {
        Learner::Network(network) => network.inputs,
        Learner::Logistic(logistic) => logistic.weights.len(),
        Learner::Forest(forest) => forest.inputs(),
    };
    let calibrated = |logit: &dyn Fn(&[f64]) -> f64| {
        let told: Vec<(f64, bool, f64)> =
            rows.iter().map(|row| (logit(&row.values), row.label == Label::Attack, row.represents)).collect();
        Calibration::fit(&told)
    };
    let voters: Vec<Voter> = learners
        .into_iter()
        .map(|learner| Voter { calibration: calibrated(&|row| learner.logit(row)), learner })
        .collect();
    let mut best: Option<(f64, Ensemble)> = None;
    for chosen in subsets(&voters) {
        let mut ensemble = Ensemble::new(inputs, chosen);
        ensemble.calibration = calibrated(&|row| ensemble.mean(row));
        let loss = log_loss(&ensemble, rows);
        let enough = best.as_ref().is_none_or(|(least, _)| loss < least * (1.0 - ENSEMBLE_GAIN_MIN));
        if enough {
            best = Some((loss, ensemble));
        }
    }
    let (_, ensemble) = best.expect("the first learner alone is a candidate");
    let kinds = ensemble.voters.iter().map(|voter| match voter.learner {
        Learner::Network(_) => Kind::Network,
        Learner::Logistic(_) => Kind::Logistic,
        Learner::Forest(_) => Kind::Forest,
    });
    let kinds = kinds.collect();
    (ensemble, kinds)
}

/// The first alone, then all sets that hold it.
fn subsets(voters: &[Voter]) -> Vec<Vec<Voter>> {
    let (first, others) = voters.split_first().expect("somebody was fitted");
    (0..1usize << others.len())
        .map(|set| {
            let joined = others.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1).map(|(_, voter)| voter);
            std::iter::once(first).chain(joined).cloned().collect()
        })
        .collect()
}

fn log_loss(ensemble: &Ensemble, rows: &[Row]) -> f64 {
    let scored: Vec<Scored> = rows
        .iter()
        .map(|row| Scored {
            score: numeric::sigmoid(ensemble.logit(&row.values)),
            attack: row.label == Label::Attack,
            weight: row.represents,
        })
        .collect();
    evaluation::log_loss(&scored).unwrap_or(f64::MAX)
}

pub(super) fn set_thresholds(model: &mut ModelArtifact, prepared: &Prepared, options: &RunOptions) {
    let rows = &prepared.hold_out.rows;
    let blind = without_password(model, rows);
    let lowest = BLOCK_MIN + (BLIND_BLOCK_MIN - BLOCK_MIN) * blind;
    model.thresholds = match options.threshold_from {
        ThresholdFrom::Budget => {
            let negatives = prepared.hold_out.negatives(|row| model.probability(&row.snapshot()));
            let kept = threshold::thresholds(&negatives, options.false_positive_budget, blind);
            // Where probabilities are no odds, ties are frequent, and a margin could mean all or nothing.
            let honest = model.standardizer.is_some();
            Thresholds { block: kept.block.map(|block| if honest { with_margin(block, blind) } else { block }), ..kept }
        }
        ThresholdFrom::Cost(costs) => {
            let told: Vec<(bool, Negative)> = rows
                .iter()
                .map(|row| {
                    let score = model.probability(&row.snapshot());
                    (row.label == Label::Attack, Negative { score, represents: row.represents, group: row.group })
                })
                .collect();
            let honest = model.standardizer.is_some() && prepared.hold_out.calibrates() == Calibrates::Line;
            let supported = if honest { cost::thresholds(&told, costs, lowest) } else { Supported::default() };
            // What the gate holds the realised rate against, and later challengers are compared at.
            model.training.false_positive_budget = supported.implied_rate.unwrap_or(options.false_positive_budget);
            supported.thresholds
        }
    };
    if model.standardizer.is_some() {
        // Its probabilities are calibrated: what is more likely honest than not is never blocked, even where the held-out
        // days had so few hard cases that the budget would allow it.
        model.thresholds.block = model.thresholds.block.map(|block| block.max(lowest));
    }
    model.evaluation = super::measure(model, &prepared.hold_out);
}

/// The probability at [`ODDS_MARGIN`] times the odds, or where a share `blind` of the attempts has no password, at less.
fn with_margin(probability: f64, blind: f64) -> f64 {
    let odds = (1.0 + (ODDS_MARGIN - 1.0) * (1.0 - blind)) * probability;
    odds / (odds + 1.0 - probability)
}

/// Share of the attempts without a password, by what the rows stand for; 0 where the schema does not tell.
fn without_password(model: &ModelArtifact, rows: &[Row]) -> f64 {
    let Some(place) = model.schema.names.iter().position(|name| name == "password_missing") else { return 0.0 };
    let (mut missing, mut all) = (0.0, 0.0);
    for row in rows {
        missing += row.represents * row.values[place].clamp(0.0, 1.0);
        all += row.represents;
    }
    if all > 0.0 { missing / all } else { 0.0 }
}

impl RunError {
    fn from_training(error: TrainingError) -> Self {
        match error {
            TrainingError::Cancelled => Self::Cancelled,
            other => Self::Training(other),
        }
    }

    fn from_logistic(error: LogisticError) -> Self {
        match error {
            LogisticError::Cancelled => Self::Cancelled,
            other => Self::Voter(Box::new(other)),
        }
    }

    fn from_forest(error: ForestError) -> Self {
        match error {
            ForestError::Cancelled => Self::Cancelled,
            other => Self::Voter(Box::new(other)),
        }
    }
}

#[cfg(test)]
mod tests;
