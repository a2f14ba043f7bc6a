//! How a model is made of prepared rows: who is fitted to what, and how their votes are joined. Where its thresholds stand is
//! decided in `operating`.
//!
//! A schema whose models keep a scale is fitted twice. First to the training rows, the network until the later part of
//! them is no longer told better: that gives the model which is calibrated, measured and judged on the hold-out. Then to
//! everything, hold-out included, with the same voters and as many epochs: what attackers began to do yesterday must not
//! wait for a fifth of the memory to pass before it is learnt. Calibration and thresholds are those of the measured model.
//! `compat-6` is fitted once, through every epoch, and calibrated by nobody.

use std::sync::atomic::AtomicBool;

use super::super::artifact::{ModelArtifact, TrainingSummary, Trial};
use super::super::calibration::Calibration;
use super::super::class_weight::ClassWeight;
use super::super::crossing;
use super::super::dataset::{Dataset, Prepared, Row};
use super::super::drift::{Reference, Seen};
use super::super::ensemble::{Ensemble, Learner, Voter};
use super::super::evaluation::{self, Evaluation, Scored};
use super::super::explanation::background;
use super::super::forest::{Forest, ForestError, ForestOptions};
use super::super::labels::Label;
use super::super::logistic::{Logistic, LogisticError};
use super::super::scaling::Scaling;
use super::super::standardizer::Standardizer;
use super::super::threshold::Thresholds;
use super::super::training::{self, Progress, TrainingError};
use super::operating::set_thresholds;
use super::{RunError, RunOptions, Tuning, Voters};
use crate::detection::features::FeatureSchema;
use crate::numeric;

/// Rows from which on a second opinion is worth its time.
const ENSEMBLE_ROWS_MIN: usize = 10_000;
/// A joint vote is taken only where it lowers the log-loss on the hold-out by this share: less is chance.
const ENSEMBLE_GAIN_MIN: f64 = 0.02;
/// Weight of a row in a forest, at most: a leaf may hold as few as five rows, and one person's word must not fill it.
const FOREST_WEIGHT_MAX: f64 = 3.0;
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
        let scaling = Scaling::of(self.schema, &self.options.training);
        let columns = scaling.columns(rows, self.schema.len());
        let scaled = |rows: &Dataset| scaling.apply(rows, columns.as_ref());
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
                    if let Some(columns) = &columns {
                        training::silence_constants(&mut fitted.network, &rows);
                        if scaling == Scaling::TakenIn {
                            fitted.network.take_in(columns);
                        }
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
        learnt.standardizer = columns.filter(|_| scaling == Scaling::Stored);
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
        let seen: Vec<Seen<'_>> = rows
            .iter()
            .zip(&snapshots)
            .map(|(row, values)| Seen { values, weight: row.represents, harmless: row.label == Label::Legit })
            .collect();
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
