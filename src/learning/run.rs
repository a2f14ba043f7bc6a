//! One training from samples to a judged model: build, search for options if that is asked for, fit, set thresholds, measure, judge.
//!
//! It neither reads nor writes anything; `tasks::trainer` brings the data and publishes the result.

mod examination;
mod given;
mod heeding;
mod operating;
mod recipe;
mod site_canaries;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;

pub use self::given::{Examined, examine_given};
pub use self::operating::support;
pub use self::recipe::{Fitted, fit};

use self::examination::{Evidence, Latest, examine};
use self::heeding::{Heeded, fit_heeding, fit_unrefused};
use super::artifact::ModelArtifact;
use super::cost::ThresholdFrom;
use super::dataset;
use super::evaluation::{self, Evaluation};
use super::feedback::Told;
use super::gate::{Canary, GateOptions, Judgement, LIVE_MAX, Verdict};
use super::labels::{Label, LabelPolicy};
use super::sample::{Feedback, Sample};
use super::scaling::Scaling;
use super::training::{Progress, TrainingError, TrainingOptions};
use super::tuning::{self, Fixed, Question, SearchError, Table, TooLittle};
use crate::detection::attempt::{Outcome, client_network};
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
    /// Whether that or the costs of errors give the thresholds.
    pub threshold_from: ThresholdFrom,
    /// Name that the artifact carries.
    pub profile: String,
    /// How strict the gate is.
    pub gate: GateOptions,
    /// Who learns; of a schema that scales itself only the network.
    pub voters: Voters,
    /// Where width, learning rate and weight decay come from.
    pub tuning: Tuning,
}

/// Where width, learning rate and weight decay of a training come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tuning {
    /// From the configuration, or by default.
    #[default]
    None,
    /// From an earlier search; later trainings go on with them.
    Kept,
    /// From a search before the fit.
    Search(Fixed),
}

/// What is worth telling about a training besides its model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Notes {
    /// What a search found; `None` without one.
    pub tuning: Option<Table>,
    /// What became of the words of people.
    pub feedback: Told,
    /// Whose words were set aside, in the order of their names.
    pub unheeded: Vec<String>,
}

/// Who learns and votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Voters {
    /// The network, joined by logistic regression and forest where that is measurably better.
    #[default]
    Best,
    /// The network alone.
    Network,
    /// Logistic regression alone.
    Logistic,
    /// The forest alone.
    Forest,
}

/// What it learns from, and what it is judged with besides.
#[derive(Debug, Default)]
pub struct Material {
    /// Samples with their inclusion weight.
    pub samples: Vec<(f64, Sample)>,
    /// Every item in the order in which it was given; which of them count is decided here.
    pub feedback: Vec<Feedback>,
    /// Scenarios that are always the same, in the schema of the training; may be empty.
    pub canaries: Vec<Canary>,
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
    /// The gate's, with every criterion.
    pub judgement: Judgement,
    /// What else there is to tell.
    pub notes: Notes,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RunOutcome {
    /// Passed the gate.
    Promoted(Box<Trained>),
    /// Trained and measured, but the gate keeps the champion, for good or until a person has approved.
    Refused {
        /// The gate's, for people.
        reason: String,
        /// Rows really trained on.
        samples: usize,
        /// Of the challenger, on the held-out rows.
        evaluation: Box<Evaluation>,
        /// With every criterion; its verdict tells a refusal from a model that waits for an approval.
        judgement: Box<Judgement>,
        /// The challenger itself, for whoever wants to see what it would have done.
        challenger: Box<ModelArtifact>,
        /// What else there is to tell.
        notes: Notes,
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
    /// Another voter could not be fitted.
    #[error("a voter beside the network could not be trained; the model in use is unchanged")]
    Voter(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    let Material { samples, feedback, canaries } = material;
    let live = latest(&samples, policy, schema);
    let built = dataset::build(samples, feedback, policy, schema, options.samples_max, options.training.seed);
    let prepared = match built {
        Ok(prepared) => prepared,
        Err(reason) => return Ok(RunOutcome::NotEnoughData { reason: reason.to_string() }),
    };
    let (options, tuning) = match tuned(&prepared, schema, options, cancel, progress)? {
        Ok(found) => found,
        Err(reason) => return Ok(RunOutcome::NotEnoughData { reason: reason.to_string() }),
    };
    let canaries = site_canaries::of_site(canaries, schema, &prepared.hold_out, options.training.seed);
    let heeded = fit_heeding(prepared, schema, &options, &canaries, cancel, progress)?;
    let champion = champion.filter(|champion| schema.accepts(champion.schema.fingerprint, champion.model.inputs()));
    let evidence = Evidence { canaries: &canaries, live: &live };
    let judge = |fitted: &Fitted, trained_on: &dataset::Dataset, prepared: &dataset::Prepared| {
        examine(fitted, champion, prepared, &measure(&fitted.measured, trained_on), &evidence, options.gate)
    };
    let (heeded, judgement) = fit_unrefused(heeded, schema, &options, cancel, progress, &judge)?;
    let Heeded { prepared, fitted, set_aside, unheeded } = heeded;
    let notes = Notes { tuning, feedback: prepared.told, unheeded };
    let samples = prepared.counts.train;
    let judgement = Judgement { support: support(&prepared, &options), ..judgement };
    let reason = [Some(judgement.reason()), set_aside].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let Fitted { measured, serving } = fitted;
    Ok(match judgement.verdict {
        Verdict::Promote => {
            RunOutcome::Promoted(Box::new(Trained { artifact: serving, samples, reason, judgement, notes }))
        }
        Verdict::Hold | Verdict::Refuse => {
            let evaluation = Box::new(measured.evaluation);
            let (judgement, challenger) = (Box::new(judgement), Box::new(serving));
            RunOutcome::Refused { reason, samples, evaluation, judgement, challenger, notes }
        }
    })
}

/// The options of the fit, and what a search found if one was asked for. It sees nothing that is held out.
///
/// # Errors
/// When `cancel` is raised or no candidate can be fitted; the inner error when the rows cannot be cut into folds.
pub fn tuned(
    prepared: &dataset::Prepared,
    schema: &FeatureSchema,
    options: &RunOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Result<(RunOptions, Option<Table>), TooLittle>, RunError> {
    let Tuning::Search(fixed) = options.tuning else { return Ok(Ok((options.clone(), None))) };
    let question = Question {
        base: &options.training,
        fixed,
        scaling: Scaling::of(schema, &options.training),
        budget: options.false_positive_budget,
    };
    match tuning::search(&prepared.train, &question, cancel, progress) {
        Ok(table) => {
            let training = table.winner.apply(&options.training);
            Ok(Ok((RunOptions { training, ..options.clone() }, Some(table))))
        }
        Err(SearchError::TooLittle(reason)) => Ok(Err(reason)),
        Err(SearchError::Cancelled) => Err(RunError::Cancelled),
        Err(SearchError::Training(error)) => Err(RunError::Training(error)),
    }
}

/// Share of the latest attempts that may be failures, and that may be failures of one network: a flood of them would
/// otherwise leave nobody whom a false model could be seen to harm, and nothing that drift could be measured on. On
/// generated sites with campaigns of all kinds, half were failures at most, and an eighth of one network.
const LIVE_FAILURES: f64 = 0.75;
const LIVE_OF_NETWORK: f64 = 0.2;

/// The latest attempts, oldest first: what would change for them, and how far traffic has moved. Of failures no more than
/// their share.
fn latest(samples: &[(f64, Sample)], policy: &dyn LabelPolicy, schema: &FeatureSchema) -> Vec<Latest> {
    let mut by_time: Vec<&Sample> = samples.iter().map(|(_, sample)| sample).collect();
    by_time.sort_by_key(|sample| (sample.ts, sample.request));
    let failures_max = (LIVE_FAILURES * LIVE_MAX as f64) as usize;
    let of_network_max = (LIVE_OF_NETWORK * LIVE_MAX as f64) as usize;
    let (mut failures, mut by_network) = (0, BTreeMap::<IpAddr, usize>::new());
    let has_room = |sample: &&&Sample| {
        if sample.is_success() {
            return true;
        }
        let of_network = by_network.entry(client_network(sample.client_ip)).or_default();
        let room = failures < failures_max && *of_network < of_network_max;
        failures += usize::from(room);
        *of_network += usize::from(room);
        room
    };
    let mut latest: Vec<&Sample> = by_time.iter().rev().filter(has_room).take(LIVE_MAX).copied().collect();
    latest.reverse();
    let latest = latest.into_iter().filter_map(|sample| {
        let values = schema.align(sample.fingerprint, &sample.values, schema.len())?;
        let label = policy.label(sample, schema).map(|labelled| labelled.label);
        let harmless = is_harmless(sample.outcome, label, schema, &values);
        Some(Latest { values, harmless })
    });
    latest.collect()
}

/// Whether to block an attempt would harm somebody, as far as is known: its label says so, or, before it has one, its
/// success or a range of addresses that the user logs in from. A failure elsewhere without a label harms nobody that could be
/// named, and in the hours after a new campaign began it is mostly that campaign: to hold it against the first
/// challenger that knows it would keep that one out. Of a schema that cannot tell, every one counts.
fn is_harmless(outcome: Outcome, label: Option<Label>, schema: &FeatureSchema, values: &[f32]) -> bool {
    match label {
        Some(label) => label == Label::Legit,
        None => outcome == Outcome::Success || schema.tells_stranger(values) != Some(true),
    }
}

fn measure(artifact: &ModelArtifact, rows: &dataset::Dataset) -> Evaluation {
    evaluation::evaluate(&rows.scored(|row| artifact.probability(&row.snapshot())), artifact.thresholds.block)
}

#[cfg(test)]
mod tests {
    use super::super::gate::Status;
    use super::super::labels::OutcomeLabels;
    use super::super::sample::tests::{feedback, sample};
    use super::*;

    fn schema() -> FeatureSchema {
        FeatureSchema::compat6()
    }

    /// Failures with many names from one source, successes with one: what any learner must tell apart.
    pub(super) fn samples(count: u64) -> Vec<(f64, Sample)> {
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

    pub(super) fn options() -> RunOptions {
        RunOptions {
            samples_max: 5000,
            training: TrainingOptions { hidden: 8, epochs: 30, ..TrainingOptions::default() },
            false_positive_budget: 0.01,
            threshold_from: ThresholdFrom::Budget,
            profile: "compat-6".into(),
            gate: GateOptions::default(),
            voters: Voters::default(),
            tuning: Tuning::None,
        }
    }

    fn trained(champion: Option<&ModelArtifact>, cancel: bool) -> Result<RunOutcome, RunError> {
        let material = Material { samples: samples(2000), ..Material::default() };
        run(material, &OutcomeLabels, &schema(), &options(), champion, &AtomicBool::new(cancel), &mut |_| {})
    }

    #[test]
    fn d1_attacks_score_higher_than_legitimate_attempts() {
        let Ok(RunOutcome::Promoted(trained)) = trained(None, false) else { panic!("not promoted") };

        let evaluation = &trained.artifact.evaluation;
        assert!(evaluation.mean_score_attack > evaluation.mean_score_legit, "{evaluation:?}");
        assert!(evaluation.roc_auc > Some(0.99), "{evaluation:?}");
    }

    #[test]
    fn a_model_carries_legitimate_rows_to_compare_with() {
        let Ok(RunOutcome::Promoted(trained)) = trained(None, false) else { panic!("not promoted") };

        let background = &trained.artifact.background;
        assert!((2..=crate::learning::explanation::background::ROWS).contains(&background.len()), "{background:?}");
        assert!(background.iter().all(|row| row[0] > 0.5), "attacks come faster: {background:?}");
    }

    #[test]
    fn the_same_data_and_seed_give_the_same_bytes() {
        let (Ok(first), Ok(second)) = (trained(None, false), trained(None, false)) else { panic!("not trained") };

        assert_eq!(first, second);
    }

    #[test]
    fn no_data_publishes_nothing_and_says_why() {
        let material = Material { samples: samples(50), ..Material::default() };
        let outcome = run(material, &OutcomeLabels, &schema(), &options(), None, &AtomicBool::new(false), &mut |_| {});

        assert!(matches!(outcome, Ok(RunOutcome::NotEnoughData { reason }) if reason.contains("100")));
    }

    #[test]
    fn features_that_say_nothing_give_a_model_that_is_refused() {
        let same = |(weight, sample): (f64, Sample)| (weight, Sample { values: vec![0.5; schema().len()], ..sample });
        let material = Material { samples: samples(2000).into_iter().map(same).collect(), ..Material::default() };
        let outcome = run(material, &OutcomeLabels, &schema(), &options(), None, &AtomicBool::new(false), &mut |_| {});

        let Ok(RunOutcome::Refused { reason, .. }) = &outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("attacks score"), "{reason}");
    }

    #[test]
    fn one_author_alone_trains_nothing_however_much_is_said() {
        let said = |number: u64| Feedback {
            fingerprint: schema().fingerprint(),
            ..feedback(number, number.is_multiple_of(2), "a")
        };
        let material = Material { feedback: (0..5000).map(said).collect(), ..Material::default() };
        let outcome = run(material, &OutcomeLabels, &schema(), &options(), None, &AtomicBool::new(false), &mut |_| {});

        assert!(matches!(outcome, Ok(RunOutcome::NotEnoughData { reason }) if reason.starts_with("10 labelled")));
    }

    #[test]
    fn a_raised_flag_cancels() {
        assert!(matches!(trained(None, true), Err(RunError::Cancelled)));
    }

    #[test]
    fn a_flood_of_failures_leaves_room_for_those_whom_a_model_may_harm() {
        let flood = |networks: u64| {
            let mut samples: Vec<(f64, Sample)> = (0..8000).map(|number| (1.0, sample(number, true))).collect();
            samples.extend((8000..40_000).map(|number| {
                let network = (number % networks) as u8;
                (1.0, Sample { client_ip: [192, 0, network, 1].into(), ..sample(number, false) })
            }));
            samples.iter_mut().for_each(|(_, sample)| sample.fingerprint = schema().fingerprint());
            latest(&samples, &OutcomeLabels, &schema())
        };
        let harmless = |latest: &[Latest]| latest.iter().filter(|latest| latest.harmless).count();

        let of_one = flood(1);
        assert_eq!((of_one.len(), harmless(&of_one)), (10_000, 8000), "two thousand of one network");
        let of_many = flood(100);
        assert_eq!((of_many.len(), harmless(&of_many)), (10_000, 2500), "and 7500 of all");
    }

    #[test]
    fn traffic_with_many_attacks_is_looked_at_as_it_is() {
        let mut samples = samples(12_000);
        samples.iter_mut().for_each(|(_, sample)| sample.client_ip = [10, 0, sample.user.0[0], 1].into());
        let latest = latest(&samples, &OutcomeLabels, &schema());

        let newest = samples[2000..].iter().map(|(_, sample)| &sample.values);
        assert!(latest.iter().map(|latest| &latest.values).eq(newest));
    }

    #[test]
    fn an_unlabelled_failure_harms_somebody_unless_it_comes_from_where_the_user_never_was() {
        let schema = FeatureSchema::ext();
        let values = |stranger: &str| {
            let mut values = vec![0.0; schema.len()];
            if let Some(place) = schema.index_of(stranger) {
                values[place] = 1.0;
            }
            values
        };
        let harmless = |outcome, label, stranger| is_harmless(outcome, label, &schema, &values(stranger));

        assert!(harmless(Outcome::Failure, None, "at home"));
        for stranger in ["user_new_range", "user_without_history"] {
            assert!(!harmless(Outcome::Failure, None, stranger), "{stranger}");
            assert!(harmless(Outcome::Success, None, stranger), "{stranger}");
            assert!(harmless(Outcome::Failure, Some(Label::Legit), stranger), "{stranger}");
        }
        assert!(!harmless(Outcome::Success, Some(Label::Attack), "at home"));
        assert!(is_harmless(Outcome::Failure, None, &FeatureSchema::compat6(), &[1.0; 6]), "compat-6 cannot tell");
    }

    #[test]
    fn few_negatives_make_a_watch_only_model_not_a_refusal() {
        let strict = RunOptions { false_positive_budget: 0.0001, ..options() };
        let material = Material { samples: samples(2000), ..Material::default() };
        let outcome = run(material, &OutcomeLabels, &schema(), &strict, None, &AtomicBool::new(false), &mut |_| {});

        let Ok(RunOutcome::Promoted(trained)) = outcome else { panic!("not promoted") };
        assert_eq!(trained.artifact.thresholds.block, None);
        assert!(trained.reason.contains("watch only"), "{}", trained.reason);
        let support = trained.judgement.support.expect("the budget gives the threshold");
        assert!(support.held_out > 0 && support.held_out < support.needed, "{support}");
    }

    #[test]
    fn canaries_tell_passwords_where_the_site_does() {
        let schema = FeatureSchema::ext();
        let missing = schema.index_of("password_missing").unwrap();
        let canaries_played = |untold: f32| {
            let mut samples = samples(2000);
            for (_, sample) in &mut samples {
                let mut values = vec![0.0; schema.len()];
                values[..6].copy_from_slice(&sample.values);
                values[missing] = untold;
                (sample.values, sample.fingerprint) = (values, schema.fingerprint());
            }
            let without_passwords = vec![samples[0].1.values.clone(); 30];
            let canary = Canary { attack: true, without_passwords, ..Canary::default() };
            let material = Material { samples, canaries: vec![canary], ..Material::default() };
            let never = AtomicBool::new(false);
            let outcome = run(material, &OutcomeLabels, &schema, &options(), None, &never, &mut |_| {});
            let criteria = match outcome {
                Ok(RunOutcome::Promoted(trained)) => trained.judgement.criteria,
                Ok(RunOutcome::Refused { judgement, .. }) => judgement.criteria,
                _ => panic!("nothing was judged"),
            };
            let mut attacks = criteria.iter().filter(|criterion| criterion.name == "canary_attacks");
            attacks.next().expect("it is always asked").status != Status::NotMeasured
        };

        assert!(canaries_played(1.0) && !canaries_played(0.0), "this canary has attempts without passwords only");
    }
}
