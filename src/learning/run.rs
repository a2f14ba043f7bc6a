//! One training from samples to a judged model: build, fit, set thresholds, measure, judge.
//!
//! It neither reads nor writes anything; `tasks::trainer` brings the data and publishes the result.

use std::sync::atomic::AtomicBool;

use super::artifact::{ModelArtifact, TrainingSummary};
use super::dataset::{self, Dataset, Prepared};
use super::evaluation::{self, Evaluation};
use super::explanation::background;
use super::gate::{self, Judgement};
use super::labels::LabelPolicy;
use super::mlp::Mlp;
use super::sample::{Feedback, Sample};
use super::standardizer::Standardizer;
use super::threshold::{self, Thresholds};
use super::training::{self, Progress, TrainingError, TrainingOptions, TrainingRow};
use crate::detection::features::FeatureSchema;

/// What one training is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOptions {
    /// Most samples trained on.
    pub samples_max: usize,
    /// How the network is fitted; its seed also draws the samples.
    pub training: TrainingOptions,
    /// Share of legitimate attempts that may be blocked (`ml.false_positive_budget`).
    pub false_positive_budget: f64,
    /// Name that the artifact carries.
    pub profile: String,
}

/// What it learns from.
pub struct Material {
    /// Samples with their inclusion weight.
    pub samples: Vec<(f64, Sample)>,
    /// Every item in the order in which it was given; which of them count is decided here.
    pub feedback: Vec<Feedback>,
}

/// A model that passed the gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Ready to be published; its `evaluation` is the one that was judged.
    pub artifact: ModelArtifact,
    /// Rows really trained on.
    pub samples: usize,
    /// What the history says.
    pub reason: String,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunOutcome {
    /// Passed the gate.
    Promoted(Box<Trained>),
    /// Trained and measured, but the gate keeps the champion.
    Refused {
        /// The gate's, for people.
        reason: String,
        /// Rows really trained on.
        samples: usize,
        /// Of the challenger, on the held-out rows.
        evaluation: Box<Evaluation>,
    },
    /// Nothing was trained.
    NotEnoughData {
        /// What is missing, for people.
        reason: String,
    },
}

/// Why a training has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The flag was raised; nothing came of the fit.
    #[error("the training was cancelled")]
    Cancelled,
    /// The fit itself failed.
    #[error("the network could not be trained; the model in use is unchanged")]
    Training(#[source] TrainingError),
}

/// Trains a challenger and judges it against `champion` on the same held-out rows.
///
/// # Errors
/// When `cancel` is raised or the numbers stop being finite.
pub fn run(
    material: Material,
    policy: &dyn LabelPolicy,
    schema: &FeatureSchema,
    options: &RunOptions,
    champion: Option<&ModelArtifact>,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunOutcome, RunError> {
    let Material { samples, feedback } = material;
    let built = dataset::build(samples, feedback, policy, schema, options.samples_max, options.training.seed);
    let prepared = match built {
        Ok(prepared) => prepared,
        Err(reason) => return Ok(RunOutcome::NotEnoughData { reason: reason.to_string() }),
    };
    let artifact = fit(&prepared, schema, options, cancel, progress)?;
    let samples = prepared.counts.train;
    let training = measure(&artifact, &prepared.train);
    let champion = champion
        .filter(|champion| schema.accepts(champion.schema.fingerprint, champion.network.inputs))
        .map(|champion| measure(champion, &prepared.hold_out));
    let evaluation = artifact.evaluation.clone();
    match gate::judge(&evaluation, &training, champion.as_ref()) {
        Judgement::Promote => {
            let reason = reason(&artifact, champion.is_some());
            Ok(RunOutcome::Promoted(Box::new(Trained { artifact, samples, reason })))
        }
        Judgement::Refuse { reason } => Ok(RunOutcome::Refused { reason, samples, evaluation: Box::new(evaluation) }),
    }
}

/// Fits a network to prepared rows, sets its thresholds from the held-out legitimate rows, and measures it there.
///
/// A schema that wants standardising is fitted three times. First to the earlier part of the training rows, until the
/// later part is no longer told better: that gives the network which is calibrated, measured and judged on the hold-out,
/// and the number of epochs. Then to everything, hold-out included, for as many epochs: what attackers began to do
/// yesterday must not have to wait for a fifth of the memory to pass before it is learnt. Thresholds and calibration are
/// those of the measured network.
///
/// # Errors
/// As [`run`].
pub fn fit(
    prepared: &Prepared,
    schema: &FeatureSchema,
    options: &RunOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<ModelArtifact, RunError> {
    let training = TrainingSummary {
        counts: prepared.counts,
        options: options.training.clone(),
        false_positive_budget: options.false_positive_budget,
    };
    let artifact_of = |network: Mlp, standardizer: Option<Standardizer>| {
        let mut artifact = ModelArtifact::new(
            &options.profile,
            schema,
            network,
            Thresholds::default(),
            Evaluation::default(),
            training.clone(),
        );
        artifact.standardizer = standardizer;
        artifact.background = background::choose(&prepared.train.rows, schema.len());
        artifact
    };
    let mut fit_to =
        |rows: &Dataset, validation: &Dataset, last: u32| {
            let standardizer = schema.is_unscaled().then(|| rows.standardizer(schema.len()));
            let scaled = |rows: &Dataset| match &standardizer {
                Some(standardizer) => rows.standardised(standardizer),
                None => rows.clone(),
            };
            let (rows, validation) = (scaled(rows), scaled(validation));
            let (rows, validation) = (rows.training_rows(), validation.training_rows());
            let mut fitted = training::fit_until(&rows, &validation, &options.training, last, cancel, progress)
                .map_err(|error| match error {
                    TrainingError::Cancelled => RunError::Cancelled,
                    other => RunError::Training(other),
                })?;
            if standardizer.is_some() {
                silence_constants(&mut fitted.network, &rows);
            }
            Ok((artifact_of(fitted.network, standardizer), fitted.epochs))
        };

    let (core, validation) = if schema.is_unscaled() { prepared.train.split_last() } else { Default::default() };
    let (mut measured, epochs) = if core.rows.is_empty() {
        fit_to(&prepared.train, &Dataset::default(), options.training.epochs)?
    } else {
        fit_to(&core, &validation, options.training.epochs)?
    };
    let negatives = prepared.hold_out.negatives(|row| measured.probability(&row.snapshot()));
    measured.thresholds = threshold::thresholds(&negatives, options.false_positive_budget);
    measured.evaluation = measure(&measured, &prepared.hold_out);
    if core.rows.is_empty() {
        return Ok(measured);
    }
    let (mut artifact, _) = fit_to(&prepared.everything(), &Dataset::default(), epochs)?;
    artifact.thresholds = measured.thresholds;
    artifact.evaluation = measured.evaluation;
    Ok(artifact)
}

/// Takes the weights from features that never varied in training: they are still the random ones of the start, and would
/// speak up with the first value that differs.
fn silence_constants(network: &mut Mlp, rows: &[TrainingRow<'_>]) {
    for input in 0..network.inputs {
        if rows.iter().all(|row| row.values[input] == 0.0) {
            network.w1.iter_mut().skip(input).step_by(network.inputs).for_each(|weight| *weight = 0.0);
        }
    }
}

fn measure(artifact: &ModelArtifact, rows: &dataset::Dataset) -> Evaluation {
    evaluation::evaluate(&rows.scored(|row| artifact.probability(&row.snapshot())), artifact.thresholds.block)
}

fn reason(artifact: &ModelArtifact, had_champion: bool) -> String {
    let compared = if had_champion { "not worse than the current model" } else { "the first model" };
    match artifact.thresholds.block {
        Some(_) => compared.to_owned(),
        None => format!("{compared}; watch only, because the held-out data cannot support a block threshold"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::OutcomeLabels;
    use super::super::sample::tests::sample;
    use super::*;

    fn schema() -> FeatureSchema {
        FeatureSchema::compat6()
    }

    /// Failures with many names from one source, successes with one: what any learner must tell apart.
    fn samples(count: u64) -> Vec<(f64, Sample)> {
        (0..count)
            .map(|number| {
                let attack = number % 4 == 0;
                let mut sample = sample(number, !attack);
                sample.fingerprint = schema().fingerprint();
                let spread = (number % 7) as f32 / 70.0;
                sample.values = if attack {
                    vec![0.01 + spread, 0.3 + spread, 0.4, 0.1, 0.5, 0.0]
                } else {
                    vec![0.9 - spread, 0.0, 0.05, 0.05, 0.5, 0.0]
                };
                (1.0, sample)
            })
            .collect()
    }

    fn options() -> RunOptions {
        RunOptions {
            samples_max: 5000,
            training: TrainingOptions { hidden: 8, epochs: 30, ..TrainingOptions::default() },
            false_positive_budget: 0.01,
            profile: "compat-6".into(),
        }
    }

    fn trained(champion: Option<&ModelArtifact>, cancel: bool) -> Result<RunOutcome, RunError> {
        let material = Material { samples: samples(2000), feedback: Vec::new() };
        run(material, &OutcomeLabels, &schema(), &options(), champion, &AtomicBool::new(cancel), &mut |_| {})
    }

    #[test]
    fn attacks_score_higher_than_legitimate_attempts() {
        let Ok(RunOutcome::Promoted(trained)) = trained(None, false) else { panic!("not promoted") };

        let evaluation = &trained.artifact.evaluation;
        assert!(evaluation.mean_score_attack > evaluation.mean_score_legit, "{evaluation:?}");
        assert!(evaluation.roc_auc > Some(0.99), "{evaluation:?}");
    }

    #[test]
    fn a_model_carries_legitimate_rows_to_compare_with() {
        let Ok(RunOutcome::Promoted(trained)) = trained(None, false) else { panic!("not promoted") };

        let background = &trained.artifact.background;
        assert!((2..=background::ROWS).contains(&background.len()), "{background:?}");
        assert!(background.iter().all(|row| row[0] > 0.5), "attacks come faster: {background:?}");
    }

    #[test]
    fn the_same_data_and_seed_give_the_same_bytes() {
        let (Ok(first), Ok(second)) = (trained(None, false), trained(None, false)) else { panic!("not trained") };

        assert_eq!(first, second);
    }

    #[test]
    fn no_data_publishes_nothing_and_says_why() {
        let material = Material { samples: samples(50), feedback: Vec::new() };
        let outcome = run(material, &OutcomeLabels, &schema(), &options(), None, &AtomicBool::new(false), &mut |_| {});

        assert!(matches!(outcome, Ok(RunOutcome::NotEnoughData { reason }) if reason.contains("100")));
    }

    #[test]
    fn a_raised_flag_cancels() {
        assert!(matches!(trained(None, true), Err(RunError::Cancelled)));
    }

    #[test]
    fn few_negatives_make_a_watch_only_model_not_a_refusal() {
        let strict = RunOptions { false_positive_budget: 0.0001, ..options() };
        let material = Material { samples: samples(2000), feedback: Vec::new() };
        let outcome = run(material, &OutcomeLabels, &schema(), &strict, None, &AtomicBool::new(false), &mut |_| {});

        let Ok(RunOutcome::Promoted(trained)) = outcome else { panic!("not promoted") };
        assert_eq!(trained.artifact.thresholds.block, None);
        assert!(trained.reason.contains("watch only"), "{}", trained.reason);
    }
}
