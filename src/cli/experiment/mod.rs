//! `experiment`: what feedback does to a model, how soon a new kind of attack is learnt, and the prior that is shipped, all on
//! generated traffic.
//!
//! Everything goes the way that it goes in a daemon: the same features, labels, recipe and gate, on made-up logins of which
//! the truth is known. Nothing here says what a real site would see.

mod feedback;
mod new_kind;
mod prior;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::evaluate::{Labels, prequential};
use super::failure::Failure;
use super::{Common, input, render};
use crate::config::{Config, Profile};
use crate::daemon::chain;
use crate::detection::attempt::Timestamp;
use crate::detection::features::FeatureSchema;
use crate::detection::record::CheckedRecord;
use crate::learning::gate::GateOptions;
use crate::learning::run::{RunOptions, Tuning, Voters};
use crate::tasks::trainer::training_options;
use crate::tasks::training_options;
use crate::traffic::{self, Scenario, TrafficOptions};

/// Share of the days that is there before the experiment begins: nine of fourteen.
const BEFORE: f64 = 9.0 / 14.0;

/// What can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Experiment {
    /// Ten items of feedback, right and wrong ones, on a model that has never seen some honest habits
    Feedback,
    /// A kind of attack that no model has seen begins while the daemon lives
    NewKind,
    /// Train the model that comes with the program; takes no options but --out
    Prior,
}

/// Arguments of `experiment`.
#[derive(Debug, Clone, Args)]
pub struct ExperimentArgs {
    /// What to try
    #[arg(value_enum)]
    experiment: Experiment,
    /// Where prior writes the model
    #[arg(long, value_name = "FILE", required_if_eq("experiment", "prior"))]
    out: Option<PathBuf>,
    /// Seeds of the traffic; each is an experiment of its own
    #[arg(long, num_args = 1.., value_delimiter = ',', default_value = "1")]
    seed: Vec<u64>,
    /// Accounts of people
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    users: u32,
    /// Length of the traffic in days, of which nine fourteenths come before the experiment
    #[arg(long, default_value_t = 14.0)]
    days: f64,
    /// Where training labels come from
    #[arg(long, value_enum, default_value = "hindsight")]
    labels: Labels,
    /// Kinds of attack for new-kind; all of them when none is named
    #[arg(long, value_name = "S", num_args = 1.., value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Time between two trainings for new-kind, at least 1m
    #[arg(long, value_name = "PERIOD", value_parser = prequential::period, default_value = "12h")]
    period: std::time::Duration,
}

/// Carries out `experiment`.
pub fn run(common: &Common, args: &ExperimentArgs) -> Result<(), Failure> {
    if let (Experiment::Prior, Some(out)) = (args.experiment, &args.out) {
        return prior::run(out, common.json);
    }
    if !(args.days > 0.0 && args.days <= traffic::DAYS_MAX) {
        return Err(Failure::usage(format!("--days must be above 0 and at most {}", traffic::DAYS_MAX)));
    }
    let mut config = Config::load(common.config_file().as_deref(), std::env::vars())
        .map_err(|error| Failure::config(chain(&error)))?;
    config.ml.profile = Profile::ExtMlp16;
    let schema = FeatureSchema::ext();
    let setting = Setting { config: &config, schema: &schema, args };
    let mut report = Vec::new();
    for seed in &args.seed {
        let traffic = Traffic::new(args, *seed)?;
        let mut result = match args.experiment {
            Experiment::Feedback => feedback::run(&setting, &traffic, *seed)?,
            Experiment::NewKind => new_kind::run(&setting, &traffic, *seed)?,
            Experiment::Prior => return Err(Failure::usage("prior needs --out")),
        };
        if !common.json {
            out!("seed {seed}");
            match args.experiment {
                Experiment::Feedback => feedback::show(&result),
                Experiment::NewKind => new_kind::show(&result),
                Experiment::Prior => {}
            }
        }
        result["seed"] = json!(seed);
        report.push(result);
    }
    if common.json { render::json(&Value::Array(report)) } else { Ok(()) }
}

/// What all parts of an experiment have in common.
struct Setting<'a> {
    config: &'a Config,
    schema: &'a FeatureSchema,
    args: &'a ExperimentArgs,
}

impl Setting<'_> {
    /// As the daemon trains.
    fn options(&self, epochs: u32) -> RunOptions {
        RunOptions {
            samples_max: usize::try_from(self.config.training.samples).unwrap_or(usize::MAX),
            training: training_options(self.config, epochs),
            false_positive_budget: self.config.ml.false_positive_budget,
            profile: self.schema.profile().to_owned(),
            gate: GateOptions::default(),
            voters: Voters::default(),
            threshold_from: training_options::threshold_from(self.config),
            tuning: Tuning::None,
        }
    }
}

/// Logins of a made-up site, oldest first.
struct Traffic {
    /// What happened before the experiment.
    before: Vec<CheckedRecord>,
    /// What happens while it lasts.
    after: Vec<CheckedRecord>,
}

impl Traffic {
    fn new(args: &ExperimentArgs, seed: u64) -> Result<Self, Failure> {
        let options = TrafficOptions { seed, users: args.users, days: args.days, ..TrafficOptions::default() };
        let begin = options.start.plus_millis((args.days * BEFORE * 86_400_000.0) as i64);
        let mut before = generated(&options)?;
        let after = before.split_off(before.partition_point(|record| record.attempt.ts < begin));
        if before.is_empty() || after.is_empty() {
            return Err(Failure::data("so few people and days make no traffic"));
        }
        Ok(Self { before, after })
    }

    /// When the experiment begins.
    fn begin(&self) -> Timestamp {
        self.after[0].attempt.ts
    }
}

/// The records of made-up traffic, checked like any others.
pub(super) fn generated(options: &TrafficOptions) -> Result<Vec<CheckedRecord>, Failure> {
    let end = options.start.plus_millis((options.days * 86_400_000.0) as i64 + 1);
    let pseudonymizer = input::pseudonymizer();
    let records = traffic::generate(options).into_iter();
    let checked: Result<Vec<_>, _> =
        records.map(|record| record.check(None, end, &pseudonymizer, String::new)).collect();
    checked.map_err(|error| Failure::data(chain(&error)))
}
