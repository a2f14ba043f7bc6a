//! What the model is compared with, on the same test: a logistic regression, the two ways to train six features, and a rule.
//!
//! All that learns is trained on the same records with the same labels, and gets its threshold by the same rule. The original
//! gets as many samples as it allowed itself. Nothing here bears on the main model.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value};

use super::super::failure::Failure;
use super::super::render;
use super::Setting;
use super::measure::{self, Lived, Measured, TestRow};
use crate::config::{Config, Optimizer, Profile};
use crate::daemon::chain;
use crate::detection::attempt::Outcome;
use crate::detection::features::FeatureSchema;
use crate::detection::record::CheckedRecord;
use crate::learning::dataset::Prepared;
use crate::learning::logistic::Logistic;
use crate::learning::run::{self, RunOptions, Voters};
use crate::learning::threshold;
use crate::tasks::trainer::training_options;

/// The logistic regression on the features of the main model.
pub const LOGISTIC: &str = "logistic";
/// Six features, trained as `compat-6` is.
const COMPAT6: &str = "compat-6";
/// Six features, trained as the original did.
const ORIGINAL: &str = "original";
/// Failures of the address of late.
const RULE: &str = "rule-5-in-600s";

/// Most samples of the original.
const SAMPLES: usize = 5000;
/// Passes over the samples, of the original and of `compat-6`.
const EPOCHS: u32 = 50;
/// Step size of the original.
const LEARNING_RATE: f64 = 0.01;

/// The rule flags whoever has failed this often …
const FAILURES: usize = 5;
/// … within this time.
const WINDOW_MS: i64 = 600_000;

/// The overall measures of every baseline by name; `null` for one that could not be trained. `logistic`: measured already.
pub fn measure_all(
    setting: &Setting<'_>,
    train: &[CheckedRecord],
    test: &[CheckedRecord],
    logistic: Option<Value>,
) -> Value {
    let schema = FeatureSchema::compat6();
    let mut measured = Map::new();
    // The rows only tell labels here: what a model sees of them it has seen in a run of its own.
    let rows: Vec<TestRow> = test.iter().map(|record| TestRow::new(record, Vec::new())).collect();
    let mut add = |name: &str, lived: Result<(Vec<Lived>, Option<f64>), Failure>| {
        let summary = lived.map(|(lived, threshold)| measure::measure_at(&rows, &lived, threshold).summary());
        let summary = summary.unwrap_or_else(|failure| {
            eprintln!("no baseline {name}: {}", failure.message());
            Value::Null
        });
        measured.insert(name.to_owned(), summary);
    };
    if logistic.is_none() && setting.schema.is_unscaled() {
        let options = RunOptions { voters: Voters::Logistic, ..setting.options.clone() };
        add(LOGISTIC, super::lived(&Setting { options: &options, ..*setting }, train, test));
    }
    for (name, optimizer) in [(COMPAT6, Optimizer::Adam), (ORIGINAL, Optimizer::Sgd)] {
        let config = six_features(setting.config, optimizer);
        let samples_max = match optimizer {
            Optimizer::Adam => setting.options.samples_max,
            Optimizer::Sgd => SAMPLES,
        };
        let options = RunOptions {
            samples_max,
            training: training_options(&config, EPOCHS),
            profile: COMPAT6.to_owned(),
            voters: Voters::Network,
            ..setting.options.clone()
        };
        let setting = Setting { config: &config, schema: &schema, options: &options, ..*setting };
        add(name, super::lived(&setting, train, test));
    }
    if let Some(logistic) = logistic {
        measured.insert(LOGISTIC.to_owned(), logistic);
    }
    measured.insert(RULE.to_owned(), rule(train, test, &rows));
    Value::Object(measured)
}

fn six_features(config: &Config, optimizer: Optimizer) -> Config {
    let mut config = config.clone();
    config.ml.profile = Profile::Compat6;
    config.ml.optimizer = optimizer;
    config.ml.learning_rate = match optimizer {
        Optimizer::Adam => None,
        Optimizer::Sgd => Some(LEARNING_RATE),
    };
    config.ml.hidden_neurons = None;
    config.ml.activation_function = None;
    config
}

/// A logistic regression on the rows of the main model, made as that one is where its schema has one: with crossed rows,
/// calibration and margins, and fitted to the latest days at last. A plain fit told of these more than of straight lines.
pub fn logistic(setting: &Setting<'_>, prepared: &Prepared, rows: &[TestRow]) -> Option<Measured> {
    if !setting.schema.is_unscaled() {
        return plain(prepared, rows, setting.options.false_positive_budget);
    }
    let options = RunOptions { voters: Voters::Logistic, ..setting.options.clone() };
    let fitted = run::fit(prepared, setting.schema, &options, &AtomicBool::new(false), &mut |_| {});
    let model = fitted.inspect_err(|error| eprintln!("no baseline {LOGISTIC}: {}", chain(error))).ok()?.serving;
    Some(measure::measure(rows, model.thresholds.block, |values| model.probability(values)))
}

/// For six features, whose profile has only the network: fitted once, on standardised values.
fn plain(prepared: &Prepared, rows: &[TestRow], budget: f64) -> Option<Measured> {
    /// The network's own weight decay.
    const L2: f64 = 1e-4;
    let width = prepared.train.rows.first()?.values.len();
    // Without that the weight decay would fall on whatever is measured in large units.
    let standardizer = prepared.train.standardizer(width);
    let logistic = Logistic::fit(&prepared.train.standardised(&standardizer).training_rows(), L2)
        .inspect_err(|error| eprintln!("no baseline {LOGISTIC}: {}", chain(error)))
        .ok()?;
    let probability = |values: &[f32]| {
        let mut standard = vec![0.0; width];
        standardizer.apply(values, &mut standard);
        logistic.probability(&standard)
    };
    let negatives = prepared.hold_out.negatives(|row| probability(&row.snapshot()));
    Some(measure::measure(rows, threshold::from_budget(&negatives, budget), probability))
}

/// Flags an attempt whose address has failed five times in the ten minutes before; its score is the number of failures.
fn rule(train: &[CheckedRecord], test: &[CheckedRecord], rows: &[TestRow]) -> Value {
    let mut failures = Failures::default();
    for record in train {
        failures.count(record);
    }
    let lived: Vec<Lived> = test
        .iter()
        .map(|record| {
            let count = failures.before(record);
            failures.count(record);
            Lived { score: count as f64, flagged: Some(count >= FAILURES) }
        })
        .collect();
    // The threshold of a score is what it exceeds.
    let mut summary = measure::measure_at(rows, &lived, Some(FAILURES as f64 - 1.0)).summary();
    // A count orders attempts, but it is no probability.
    for key in ["brier", "ece", "mean_score_attack", "mean_score_legit"] {
        summary[key] = Value::Null;
    }
    summary
}

/// When each address failed of late.
#[derive(Default)]
struct Failures(HashMap<IpAddr, VecDeque<i64>>);

impl Failures {
    /// Failures of the address in the window that ends with this attempt, without itself.
    fn before(&mut self, record: &CheckedRecord) -> usize {
        let Some(times) = self.0.get_mut(&record.attempt.client_ip) else { return 0 };
        let begin = record.attempt.ts.millis() - WINDOW_MS;
        while times.front().is_some_and(|time| *time < begin) {
            times.pop_front();
        }
        times.len()
    }

    fn count(&mut self, record: &CheckedRecord) {
        if record.outcome == Some(Outcome::Failure) {
            // Keeps the list short for addresses that are never asked about.
            self.before(record);
            self.0.entry(record.attempt.client_ip).or_default().push_back(record.attempt.ts.millis());
        }
    }
}

/// Prints the model beside its baselines.
pub fn show(report: &Value) {
    let Some(rows) = rows(report) else { return };
    let mut table = render::table(&HEADING);
    for (name, values) in rows {
        table.add_row(std::iter::once(name).chain(values.iter().map(render::text)).collect::<Vec<_>>());
    }
    out!("{table}");
}

/// The columns of the comparison.
pub const HEADING: [&str; 6] =
    ["model", "ROC AUC", "PR AUC", "recall at 0.1 % FPR", "recall as deployed", "FPR as deployed"];

/// One row for the model and each baseline, with the columns after its name; `None` without baselines.
pub fn rows(report: &Value) -> Option<Vec<(String, [Value; 5])>> {
    let baselines = report["baselines"].as_object().filter(|baselines| !baselines.is_empty())?;
    let row = |name: &str, of: &Value| {
        let at = |key: &str| of[key].clone();
        let values =
            [at("roc_auc"), at("pr_auc"), of["recall_at_fpr"]["0.001"].clone(), at("recall"), at("realised_fpr")];
        (name.to_owned(), values)
    };
    let own = row(render::text(&report["profile"]).as_str(), report);
    let own = (format!("{} (this run)", own.0), own.1);
    Some(std::iter::once(own).chain(baselines.iter().map(|(name, of)| row(name, of))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::overlay::tests::record;
    use super::super::{Input, Labels, Ran, once};
    use super::*;
    use crate::cli::experiment::generated;
    use crate::learning::cost::ThresholdFrom;
    use crate::learning::gate::GateOptions;
    use crate::learning::run::Tuning;
    use crate::traffic::TrafficOptions;

    /// The run of `voters` on three days of a small site.
    fn measured(voters: Voters) -> Ran {
        let config = Config::default();
        let options = RunOptions {
            samples_max: usize::MAX,
            training: training_options(&config, 1),
            false_positive_budget: 0.01,
            threshold_from: ThresholdFrom::Budget,
            profile: "ext-mlp16".into(),
            gate: GateOptions::default(),
            voters,
            tuning: Tuning::None,
        };
        let schema = FeatureSchema::ext();
        let labels = Labels::Oracle;
        let setting = Setting { config: &config, schema: &schema, options: &options, labels, period_ms: None };
        let traffic = TrafficOptions { users: 80, days: 3.0, ..TrafficOptions::default() };
        let mut train = generated(&traffic).expect("sound records");
        let test = train.split_off(train.len() * 2 / 3);
        let input = |records| Input { records, rejected: 0 };
        once(&setting, &input(train), &input(test)).expect("a model")
    }

    #[test]
    fn the_logistic_regression_beside_a_model_is_the_one_that_can_be_asked_for_alone() {
        let beside = measured(Voters::Network).report["baseline"].clone();
        let alone = measured(Voters::Logistic).report;

        assert!(alone["roc_auc"].is_number(), "{alone}");
        for key in ["roc_auc", "pr_auc", "threshold", "recall", "realised_fpr", "brier"] {
            assert_eq!(beside[key], alone[key], "{key}");
        }
    }

    fn attempt(seconds: u32, address: &str, success: bool, attack: bool) -> CheckedRecord {
        let fields = json!({
            "ts": format!("2026-01-05T00:{:02}:{:02}.000Z", seconds / 60, seconds % 60), "client_ip": address,
            "username": "alice", "success": success, "label": if attack { "attack" } else { "legit" },
        });
        record(&fields.to_string())
    }

    fn flagged(train: &[CheckedRecord], test: &[CheckedRecord]) -> Value {
        let rows: Vec<TestRow> = test.iter().map(|record| TestRow::new(record, Vec::new())).collect();
        rule(train, test, &rows)
    }

    #[test]
    fn the_rule_flags_the_sixth_attempt_after_five_failures_in_the_ten_minutes_before() {
        let train: Vec<_> = (0..4).map(|n| attempt(n, "192.0.2.1", false, true)).collect();
        let test = [
            attempt(10, "192.0.2.1", false, true),
            attempt(11, "192.0.2.1", false, true),
            attempt(12, "192.0.2.2", false, false),
            attempt(13, "192.0.2.1", true, false),
            // All but one of the failures are too long ago by now.
            attempt(611, "192.0.2.1", false, true),
        ];

        let summary = flagged(&train, &test);

        assert_eq!(summary["recall"], json!(1.0 / 3.0));
        assert_eq!(summary["realised_fpr"], json!(0.5), "whoever shares the address suffers");
        assert_eq!((&summary["attempts"], &summary["ece"]), (&json!(5), &Value::Null));
        assert_eq!(summary["threshold"], json!(4.0), "what flags is more than that");
    }

    #[test]
    fn a_success_is_no_failure() {
        let test: Vec<_> = (0..9).map(|n| attempt(n, "192.0.2.1", true, false)).collect();

        assert_eq!(flagged(&[], &test)["realised_fpr"], json!(0.0));
    }

    #[test]
    fn the_comparison_begins_with_the_model_itself() {
        let summary = |auc: f64| json!({ "roc_auc": auc, "recall_at_fpr": { "0.001": 0.5 }, "recall": null });
        let mut report = summary(0.9);
        report["profile"] = json!("ext-mlp16");
        assert!(rows(&report).is_none());
        report["baselines"] = json!({ ORIGINAL: summary(0.6), COMPAT6: null });

        let rows = rows(&report).expect("baselines are there");

        let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ext-mlp16 (this run)", "compat-6", "original"]);
        assert_eq!(rows[2].1, [json!(0.6), Value::Null, json!(0.5), Value::Null, Value::Null]);
        assert_eq!(rows[1].1, [Value::Null, Value::Null, Value::Null, Value::Null, Value::Null]);
    }
}
