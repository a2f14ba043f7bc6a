//! `experiment prior`: trains the model that comes with the program, from made-up logins alone.
//!
//! Everything is fixed, so that the same sources give the same bytes; the configuration is not read. Labels, features and
//! fit are those of a daemon. What only a site can give is taken away afterwards: the block threshold, the trial and the
//! reference for drift.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::super::evaluate::{self, weak_labels};
use super::super::failure::Failure;
use super::super::input;
use super::super::offline::Player;
use super::super::render;
use crate::config::{Config, Profile};
use crate::daemon::chain;
use crate::detection::attempt::RequestKey;
use crate::detection::features::FeatureSchema;
use crate::detection::record::{AttemptRecord, CheckedRecord};
use crate::learning::artifact::{ArtifactHeader, Encoded, ModelArtifact};
use crate::learning::gate::GateOptions;
use crate::learning::labels::{LabelPolicy, Labelled};
use crate::learning::run::{self, Material, RunOptions, RunOutcome, Tuning, Voters};
use crate::learning::sample::Sample;
use crate::tasks::trainer::training_options;
use crate::tasks::training_options;
use crate::traffic::{self, TrafficOptions};

/// One site for each way to leave out three parts of what callers may send.
const SITES: u64 = 8;
/// Seeds of the sites, one after the other.
const FIRST_SEED: u64 = 1001;
/// People and days of each: about 80 000 attempts in all.
const USERS: u32 = 120;
const DAYS: f64 = 7.0;
/// Rows of one fit, and most passes over them.
const SAMPLES: usize = 20_000;
const EPOCHS: u32 = 40;

/// What a site does not tell.
#[derive(Debug, Clone, Copy, Default)]
struct Missing {
    tags: bool,
    user_found: bool,
    country: bool,
}

impl Missing {
    /// Each of the eight ways for one of eight numbers; 0 leaves out nothing.
    const fn of(number: u64) -> Self {
        Self { tags: number & 1 != 0, user_found: number & 2 != 0, country: number & 4 != 0 }
    }

    fn from(self, mut record: AttemptRecord) -> AttemptRecord {
        if self.tags {
            record.password_hash = None;
        }
        if self.user_found {
            record.user_found = None;
        }
        if self.country {
            (record.country, record.asn) = (None, None);
        }
        record
    }
}

/// The hindsight of each site about its own attempts.
struct OwnLabels(HashMap<RequestKey, Labelled>);

impl LabelPolicy for OwnLabels {
    fn label(&self, sample: &Sample, _: &FeatureSchema) -> Option<Labelled> {
        self.0.get(&sample.request).copied()
    }
}

/// Trains the prior and writes it to `out`.
pub fn run(out: &Path, json: bool) -> Result<(), Failure> {
    let (artifact, encoded) = train()?;
    std::fs::write(out, &encoded.bytes)
        .map_err(|error| Failure::output(format!("cannot write {}: {error}", out.display())))?;
    let report = report(&artifact, &encoded);
    if json {
        return render::json(&report);
    }
    for name in ["bytes", "sha256", "trained_on", "held_out", "roc_auc", "watch_threshold"] {
        out!("{name}: {}", render::text(&report[name]));
    }
    Ok(())
}

fn report(artifact: &ModelArtifact, encoded: &Encoded) -> Value {
    json!({
        "bytes": encoded.bytes.len(),
        "sha256": hex::encode(encoded.sha256),
        "trained_on": artifact.training.counts.train,
        "held_out": artifact.training.counts.hold_out,
        "roc_auc": artifact.evaluation.roc_auc,
        "watch_threshold": artifact.thresholds.watch,
    })
}

/// The prior as it is shipped.
fn train() -> Result<(ModelArtifact, Encoded), Failure> {
    let mut config = Config::default();
    config.ml.profile = Profile::ExtMlp16;
    let schema = FeatureSchema::ext();
    let (mut samples, mut labels) = (Vec::new(), HashMap::new());
    for number in 0..SITES {
        let options =
            TrafficOptions { seed: FIRST_SEED + number, users: USERS, days: DAYS, ..TrafficOptions::default() };
        let records = records(&options, Missing::of(number))?;
        let index = weak_labels::index(&records);
        let hindsight = weak_labels::labels(&index);
        for (weight, sample) in play(&config, &schema, &records) {
            if let Some(label) = hindsight.label(&sample, &schema) {
                labels.insert(sample.request, label);
            }
            samples.push((weight, sample));
        }
    }
    let options = RunOptions {
        samples_max: SAMPLES,
        training: training_options(&config, EPOCHS),
        false_positive_budget: config.ml.false_positive_budget,
        profile: schema.profile().to_owned(),
        gate: GateOptions::default(),
        // Small, and the one whose numbers stay few.
        voters: Voters::Network,
        threshold_from: training_options::threshold_from(&config),
        tuning: Tuning::None,
    };
    let material = Material { samples, feedback: Vec::new(), canaries: traffic::canaries(&schema) };
    let never = AtomicBool::new(false);
    match run::run(material, &OwnLabels(labels), &schema, &options, None, &never, &mut |_| {}) {
        Ok(RunOutcome::Promoted(trained)) => shipped(trained.artifact),
        Ok(RunOutcome::Refused { reason, .. } | RunOutcome::NotEnoughData { reason }) => {
            Err(Failure::data(format!("the gate refuses the prior: {reason}")))
        }
        Err(error) => Err(Failure::data(chain(&error))),
    }
}

/// Without what only a site can give, in an envelope that names no site.
fn shipped(mut artifact: ModelArtifact) -> Result<(ModelArtifact, Encoded), Failure> {
    artifact.thresholds.block = None;
    artifact.trial = None;
    artifact.reference = None;
    let header = ArtifactHeader { lineage: [0; 16], generation: 0, trained_at_ms: 0, node: "shipped".to_owned() };
    let encoded = artifact.encode(&header).map_err(|error| Failure::data(chain(&error)))?;
    Ok((artifact, encoded))
}

/// Generated attempts without the missing parts, oldest first.
fn records(options: &TrafficOptions, missing: Missing) -> Result<Vec<CheckedRecord>, Failure> {
    let end = options.start.plus_millis((options.days * 86_400_000.0) as i64 + 1);
    let pseudonymizer = input::pseudonymizer();
    traffic::generate(options)
        .into_iter()
        .map(|record| missing.from(record).check(None, end, &pseudonymizer, String::new))
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::data(chain(&error)))
}

/// What a daemon would have recorded of them, from its first hour on.
fn play(config: &Config, schema: &FeatureSchema, records: &[CheckedRecord]) -> Vec<(f64, Sample)> {
    let mut player = Player::new(config, schema.clone());
    records.iter().filter_map(|record| evaluate::sample(record, player.play(record))).collect()
}

#[cfg(test)]
mod tests;
