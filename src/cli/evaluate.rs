//! `evaluate`: trains on some recorded attempts, measures on others, beside simpler models and a rule.
//!
//! The threshold is fixed on the last fifth of the training time; the test records never influence it. True labels are
//! read to measure, and to train only with `--labels oracle`.

mod baselines;
mod console;
pub(super) mod measure;
pub(super) mod overlay;
pub(super) mod prequential;
mod report;
mod sentences;
pub(super) mod weak_labels;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::failure::Failure;
use super::input::Input;
use super::offline::Player;
use super::{Common, input, progress, render};
use crate::config::{Config, Profile, ThresholdSource};
use crate::control::command::EPOCHS_MAX;
use crate::daemon::chain;
use crate::detection::additional::{FeatureList, Proposal};
use crate::detection::event::{AttemptEvent, BootId, Snapshot};
use crate::detection::features::FeatureSchema;
use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::artifact::ModelArtifact;
use crate::learning::dataset::{self, Prepared};
use crate::learning::gate::GateOptions;
use crate::learning::hindsight::HindsightLabels;
use crate::learning::labels::{KnownLabels, Label, LabelPolicy, OutcomeLabels};
use crate::learning::run::{self, RunOptions, Tuning, Voters};
use crate::learning::sample::Sample;
use crate::learning::tuning::Table;
use crate::tasks::trainer::training_options;
use crate::tasks::training_options;
use measure::{Lived, Measured, TestRow};
use weak_labels::WeakLabels;

/// What can be measured: the profiles of a daemon, and the single voters of `ext-mlp16`.
const PROFILES: [&str; 4] = ["compat-6", "ext-mlp16", "ext-logit", "ext-forest"];

/// Where training labels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Labels {
    /// What later training records say about each attempt; what they leave open is not trained on
    Hindsight,
    /// The true labels of the records
    Oracle,
    /// The outcome of each attempt
    Outcome,
}

/// Arguments of `evaluate`.
#[derive(Debug, Clone, Args)]
pub struct EvaluateArgs {
    /// Files to train on
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    train: Vec<PathBuf>,
    /// Files to measure on; they should be later than the training files
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    test: Vec<PathBuf>,
    /// Where training labels come from
    #[arg(long, value_enum, default_value = "hindsight")]
    labels: Labels,
    /// Features and model
    #[arg(long, default_value = "ext-mlp16", value_parser = PROFILES)]
    profile: String,
    /// Share of legitimate attempts that may be blocked [default: ml.false_positive_budget]
    #[arg(long, value_name = "X")]
    false_positive_budget: Option<f64>,
    /// Replay the test as a daemon would live it, with a training every PERIOD (12h, 1d …; at least 1m)
    #[arg(long, value_name = "PERIOD", value_parser = prequential::period)]
    prequential: Option<std::time::Duration>,
    /// Recordings of real attacks, each laid over the test in a run of its own
    #[arg(long, num_args = 1.., value_name = "FILE")]
    overlay: Vec<PathBuf>,
    /// Write report.md, report.html and plots into this directory
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Most samples trained on at once [default: training.samples with --prequential, else all]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Passes over the samples, at least one [default: training.epochs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(EPOCHS_MAX)))]
    epochs: Option<u32>,
    /// Do not measure simpler models beside this one
    #[arg(long)]
    no_baselines: bool,
    /// Search for width, learning rate and weight decay first, and train with what is found
    #[arg(long)]
    tune: bool,
    /// What gives the block threshold: `budget` or `cost` [default: ml.threshold_from]
    #[arg(long, value_name = "WHAT", value_parser = ["budget", "cost"])]
    threshold_from: Option<String>,
}

/// Carries out `evaluate`.
pub fn run(common: &Common, args: &EvaluateArgs) -> Result<(), Failure> {
    let mut config = Config::load(common.config_file().as_deref(), std::env::vars())
        .map_err(|error| Failure::config(chain(&error)))?;
    let budget = args.false_positive_budget.unwrap_or(config.ml.false_positive_budget);
    if !(budget > 0.0 && budget < 1.0) {
        return Err(Failure::usage("--false-positive-budget must lie between 0 and 1"));
    }
    if let Some(source) = &args.threshold_from {
        config.ml.threshold_from = if source == "cost" { ThresholdSource::Cost } else { ThresholdSource::Budget };
    }
    config.ml.profile = if args.profile == "compat-6" { Profile::Compat6 } else { Profile::ExtMlp16 };
    let (standard, voters) = match args.profile.as_str() {
        "compat-6" => (FeatureSchema::compat6(), Voters::Network),
        "ext-logit" => (FeatureSchema::ext(), Voters::Logistic),
        "ext-forest" => (FeatureSchema::ext(), Voters::Forest),
        _ => (FeatureSchema::ext(), Voters::Best),
    };
    let train = input::checked(&config, &args.train)?;
    let test = input::checked(&config, &args.test)?;
    if let Some(warning) = too_early(&train.records, &test.records) {
        eprintln!("{warning}");
    }
    let options = RunOptions {
        samples_max: args.samples.unwrap_or(if args.prequential.is_some() {
            usize::try_from(config.training.samples).unwrap_or(usize::MAX)
        } else {
            usize::MAX
        }),
        training: training_options(&config, args.epochs.unwrap_or(config.training.epochs)),
        false_positive_budget: budget,
        profile: args.profile.clone(),
        gate: GateOptions::default(),
        voters,
        threshold_from: training_options::threshold_from(&config),
        tuning: if args.tune { Tuning::Search(training_options::fixed(&config)) } else { Tuning::None },
    };
    let schema = standard.with_additional(&additional(&train, config.ml.additional_features_max));
    let overlays = overlay::read(&args.overlay)?;
    let setting = Setting {
        config: &config,
        schema: &schema,
        options: &options,
        labels: args.labels,
        period_ms: args.prequential.map(|period| period.as_millis() as i64),
    };
    let mut ran = match setting.period_ms {
        Some(period_ms) => live(&setting, period_ms, &train, &test)?,
        None => once(&setting, &train, &test)?,
    };
    let report = &mut ran.report;
    report["profile"] = json!(args.profile);
    report["labels"] = json!(args.labels.to_possible_value().map(|value| value.get_name().to_owned()));
    report["additional_features"] = schema.additional().live().map(|slot| slot.name.as_str()).collect();
    report["baselines"] = if args.no_baselines {
        json!({})
    } else {
        baselines::measure_all(&setting, &train.records, &test.records, report.get("baseline").cloned())
    };
    report["overlay"] = json!({});
    for overlay in &overlays {
        let laid = overlay.lay(&train.records, &test.records);
        // A recording has no additional features: where they are missing would tell which side an attempt is of.
        let setting = Setting { schema: &standard, ..setting };
        let (lived, _) = lived(&setting, &laid.train, &laid.test)?;
        report["overlay"][&overlay.name] = overlay::measure(&laid, &lived);
    }
    if let Some(directory) = &args.report {
        report::write(directory, &test.records, &ran.lived, &ran.report)?;
    }
    if common.json {
        return render::json(&ran.report);
    }
    if let Some(weak) = &ran.weak {
        weak.show();
    }
    console::show(&ran.report);
    baselines::show(&ran.report);
    overlay::show(&ran.report["overlay"]);
    Ok(())
}

/// What is wrong with a test that begins before the training ends: attempts of one time tell of each other, and a model
/// that was trained on what came later is not the one that would have served.
fn too_early(train: &[CheckedRecord], test: &[CheckedRecord]) -> Option<String> {
    let (last, first) = (train.last()?.attempt.ts, test.first()?.attempt.ts);
    (first < last).then(|| {
        format!(
            "warning: the test begins at {first}, before the last training record at {last}: figures may be too good or too \
             bad; split the records by time, the earlier ones for --train"
        )
    })
}

/// The additional features of the training files, as a daemon takes them in: first come, first served. What only the test
/// has stays unknown.
fn additional(train: &Input, live_max: usize) -> FeatureList {
    let mut list = FeatureList::default();
    for record in &train.records {
        let new = record.given.features.iter().filter(|given| !FeatureSchema::is_standard(&given.name));
        let proposals: Vec<_> = new.map(|given| Proposal { name: given.name.clone(), kind: given.kind }).collect();
        list = list.with(&proposals, live_max, record.attempt.ts.millis());
    }
    list
}

/// What all runs of one `evaluate` have in common.
struct Setting<'a> {
    config: &'a Config,
    schema: &'a FeatureSchema,
    options: &'a RunOptions,
    labels: Labels,
    /// Time between trainings with `--prequential`.
    period_ms: Option<i64>,
}

/// The run on the test as it is.
struct Ran {
    /// For `--json`.
    report: Value,
    /// What was said of each test record.
    lived: Vec<Lived>,
    weak: Option<WeakLabels>,
}

fn live(setting: &Setting<'_>, period_ms: i64, train: &Input, test: &Input) -> Result<Ran, Failure> {
    let life = prequential_life(setting, period_ms, &train.records, &test.records)?;
    let threshold = life.trainings.last().and_then(|training| training.threshold);
    let mut report = measure::measure_at(&life.rows, &life.lived, threshold).to_json();
    report["trainings"] = json!(life.promoted);
    report["refused"] = json!(life.refused);
    report["periods"] = prequential::periods(&life, &test.records);
    report["support"] = json!(life.trainings.last().and_then(|training| training.support));
    Ok(Ran { report, lived: life.lived, weak: None })
}

fn prequential_life(
    setting: &Setting<'_>,
    period_ms: i64,
    train: &[CheckedRecord],
    test: &[CheckedRecord],
) -> Result<prequential::Life, Failure> {
    let truth = known_labels(&[train, test].concat());
    let Setting { schema, options, labels, .. } = *setting;
    let player = Player::new(setting.config, schema.clone());
    let canaries = crate::traffic::canaries(schema);
    let lived = prequential::Setting { schema, options, period_ms, labels, canaries: &canaries, truth: &truth };
    prequential::live(player, train, test, &lived)
}

fn once(setting: &Setting<'_>, train: &Input, test: &Input) -> Result<Ran, Failure> {
    let (samples, rows) = play(setting, &train.records, &test.records);
    let index = weak_labels::index(&train.records);
    let hindsight = weak_labels::labels(&index);
    let weak = (setting.labels == Labels::Hindsight).then(|| WeakLabels::measure(&hindsight, &train.records));
    let Learnt { prepared, network, tuning } = fitted(setting, samples, &train.records, hindsight)?;
    let threshold = network.thresholds.block;
    let lived = measure::score(&rows, threshold, |values| network.probability(values));
    let mut report = measure::measure_at(&rows, &lived, threshold).to_json();
    report["training"] = json!({
        "samples": prepared.counts.train,
        "hold_out": prepared.counts.hold_out,
        "epochs": setting.options.training.epochs,
        "rejected_lines": train.rejected + test.rejected,
    });
    report["support"] = json!(run::support(&prepared, setting.options));
    report["tuning"] = json!(tuning);
    report["weak_labels"] = weak.as_ref().map_or(Value::Null, WeakLabels::to_json);
    let baseline = baselines::logistic(setting, &prepared, &rows);
    report["baseline"] = baseline.as_ref().map_or(Value::Null, Measured::summary);
    Ok(Ran { report, lived, weak })
}

/// What is said of each test record, with the block threshold of the model that said it last, and nothing else.
fn lived(
    setting: &Setting<'_>,
    train: &[CheckedRecord],
    test: &[CheckedRecord],
) -> Result<(Vec<Lived>, Option<f64>), Failure> {
    if let Some(period_ms) = setting.period_ms {
        let life = prequential_life(setting, period_ms, train, test)?;
        return Ok((life.lived, life.trainings.last().and_then(|training| training.threshold)));
    }
    let (samples, rows) = play(setting, train, test);
    let index = weak_labels::index(train);
    let network = fitted(setting, samples, train, weak_labels::labels(&index))?.network;
    let threshold = network.thresholds.block;
    Ok((measure::score(&rows, threshold, |values| network.probability(values)), threshold))
}

type Samples = Vec<(f64, Sample)>;

/// Training samples and test rows; the counters run on from one to the other.
fn play(setting: &Setting<'_>, train: &[CheckedRecord], test: &[CheckedRecord]) -> (Samples, Vec<TestRow>) {
    let mut player = Player::new(setting.config, setting.schema.clone());
    let samples = train.iter().filter_map(|record| sample(record, player.play(record))).collect();
    let rows = test.iter().map(|record| TestRow::new(record, player.play(record).values)).collect();
    (samples, rows)
}

/// What came of a training.
struct Learnt {
    prepared: Prepared,
    network: ModelArtifact,
    /// What `--tune` found.
    tuning: Option<Table>,
}

/// Searches if that is asked for, and fits.
fn fitted(
    setting: &Setting<'_>,
    samples: Samples,
    train: &[CheckedRecord],
    hindsight: HindsightLabels<'_>,
) -> Result<Learnt, Failure> {
    let Setting { schema, options, .. } = *setting;
    let policy: Box<dyn LabelPolicy + '_> = match setting.labels {
        Labels::Hindsight => Box::new(hindsight),
        Labels::Oracle => Box::new(known_labels(train)),
        Labels::Outcome => Box::new(OutcomeLabels),
    };
    let prepared =
        dataset::build(samples, Vec::new(), policy.as_ref(), schema, options.samples_max, options.training.seed)
            .map_err(|error| Failure::data(format!("cannot train: {error}")))?;
    let bar = progress::bar();
    let cancel = AtomicBool::new(false);
    let mut told = |step| progress::show(&bar, step);
    let searched = run::tuned(&prepared, schema, options, &cancel, &mut told);
    let fitted = searched.and_then(|searched| match searched {
        Ok((options, tuning)) => Ok(Ok((run::fit(&prepared, schema, &options, &cancel, &mut told)?.serving, tuning))),
        Err(too_little) => Ok(Err(too_little)),
    });
    bar.finish_and_clear();
    match fitted.map_err(|error| Failure::data(chain(&error)))? {
        Ok((network, tuning)) => Ok(Learnt { prepared, network, tuning }),
        Err(too_little) => Err(Failure::data(too_little.to_string())),
    }
}

/// What is trained on of a record, with a weight of 1; `None` where it teaches nothing.
pub(super) fn sample(record: &CheckedRecord, snapshot: Snapshot) -> Option<(f64, Sample)> {
    let event = AttemptEvent {
        origin: BootId([0; 16]),
        seq: 0,
        attempt: record.attempt.clone(),
        outcome: record.outcome,
        snapshot: Some(snapshot),
        decision: None,
        historical: true,
    };
    Sample::from_event(&event, 0.0).map(|sample| (1.0, sample))
}

/// The true labels of some records.
pub(super) fn known_labels(records: &[CheckedRecord]) -> KnownLabels {
    let labels = records.iter().filter_map(|record| {
        let label = match record.truth.label? {
            TrueLabel::Attack => Label::Attack,
            TrueLabel::Legit => Label::Legit,
            TrueLabel::Unknown => return None,
        };
        Some((record.attempt.request, label))
    });
    KnownLabels(labels.collect::<HashMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::overlay::tests::record;
    use super::*;

    #[test]
    fn a_test_that_begins_before_the_training_ends_is_warned_of() {
        let at = |hour: u32| record(&json!({ "ts": format!("2026-01-05T{hour:02}:00:00.000Z") }).to_string());

        let warning = too_early(&[at(1), at(5)], &[at(4), at(9)]).expect("an hour too early");
        assert!(warning.contains("2026-01-05T04:00:00") && warning.contains("2026-01-05T05:00:00"), "{warning}");
        assert_eq!(too_early(&[at(1), at(5)], &[at(5), at(9)]), None, "one instant may be cut in two");
    }
}
