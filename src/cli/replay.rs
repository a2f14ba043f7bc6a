//! `replay`: feeds recorded attempts to a daemon, or (with `--verdicts`) shows what its model would have said.
//!
//! Feeding goes through `POST /v1/attempts`. With `--verdicts` nothing is sent: the attempts are played through counters of
//! their own, on their own clock, and scored with the last good model of the state directory. Additional features in the
//! files are read with the pseudonym key of that directory.

mod against;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::client::Client;
use super::failure::Failure;
use super::offline::Player;
use super::{Common, input, render};
use crate::config::Config;
use crate::config::secrets::Secrets;
use crate::daemon::chain;
use crate::detection::additional::{Kind, Slot};
use crate::detection::features::FeatureSchema;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::CheckedRecord;
use crate::detection::verdict::{self, Verdict, VerdictAnswer, VerdictInput};
use crate::learning::artifact::{ArtifactError, Expectation, ModelArtifact};
use crate::node::profile_schema;
use crate::state::secrets;
use crate::state::state_dir::StateDir;
use crate::tasks::features::last_heard;

/// Lines and bytes of one request to the daemon; both below what it takes.
const LINES_MAX: usize = 10_000;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Arguments of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Files of attempt records (.jsonl or .jsonl.gz)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Send nothing; write what the model of the state directory says about each attempt (JSON lines)
    #[arg(long, value_name = "OUT")]
    verdicts: Option<PathBuf>,
    /// Send nothing; list who would newly be blocked or released by another model than that of the state directory
    #[arg(long, conflicts_with = "verdicts")]
    against_current: bool,
    /// The other model: an artifact, or a copy of a model.bin [default: the last refused challenger of this node]
    #[arg(long, value_name = "FILE", requires = "against_current")]
    model: Option<PathBuf>,
}

/// Carries out `replay`.
pub fn run(common: &Common, args: &ReplayArgs) -> Result<(), Failure> {
    if args.against_current {
        return against::run(common, &args.files, args.model.as_deref());
    }
    match &args.verdicts {
        Some(out) => score(common, &args.files, out),
        None => feed(common, &args.files),
    }
}

#[derive(Default)]
struct Fed {
    accepted: u64,
    rejected: u64,
    queued: bool,
}

fn feed(common: &Common, files: &[PathBuf]) -> Result<(), Failure> {
    let client = Client::open(common)?;
    let mut fed = Fed::default();
    let mut lines = Vec::new();
    let mut count = 0;
    let unreadable = input::raw(files, |_, record| {
        let line = serde_json::to_vec(&record).map_err(|error| Failure::data(error.to_string()))?;
        lines.extend_from_slice(&line);
        lines.push(b'\n');
        count += 1;
        if count >= LINES_MAX || lines.len() >= BYTES_MAX {
            count = 0;
            return send(&client, std::mem::take(&mut lines), &mut fed);
        }
        Ok(())
    })?;
    if !lines.is_empty() {
        send(&client, lines, &mut fed)?;
    }
    let rejected = fed.rejected + unreadable as u64;
    if fed.accepted == 0 {
        return Err(Failure::data(format!("not one attempt was accepted, {rejected} were rejected")));
    }
    if common.json {
        return render::json(&json!({ "accepted": fed.accepted, "rejected": rejected, "queued": fed.queued }));
    }
    let queued = if fed.queued { "; the store is away, the daemon has queued some" } else { "" };
    out!("{} attempts accepted, {rejected} rejected{queued}", fed.accepted);
    Ok(())
}

fn send(client: &Client, lines: Vec<u8>, fed: &mut Fed) -> Result<(), Failure> {
    let lines_sent = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    let answer = client.post_lines("/v1/attempts", lines)?;
    let accepted = answer["accepted"].as_u64().unwrap_or(0);
    fed.accepted += accepted;
    fed.rejected += lines_sent.saturating_sub(accepted);
    fed.queued |= answer["queued"].as_bool().unwrap_or(false);
    for rejected in answer["rejected"].as_array().into_iter().flatten().take(3) {
        eprintln!("rejected: {} {}", render::text(&rejected["field"]), render::text(&rejected["error"]));
    }
    Ok(())
}

fn score(common: &Common, files: &[PathBuf], out: &Path) -> Result<(), Failure> {
    let config = Config::load(common.config_file().as_deref(), std::env::vars())
        .map_err(|error| Failure::config(chain(&error)))?;
    let (schema, model) = last_good_model(&config)?;
    let site = SiteKey::find(&config, &schema);
    let input = input::checked_by(&config, files, &site.pseudonymizer)?;
    let mut player = Player::keyed(&config, schema, &site.pseudonymizer);
    let cannot_write = |error: std::io::Error| Failure::output(format!("cannot write {}: {error}", out.display()));
    let mut file = BufWriter::new(File::create(out).map_err(cannot_write)?);
    let mut verdicts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for record in &input.records {
        let known_good = player.known_good(record);
        let snapshot = player.play(record);
        let probability = model.probability(&snapshot.values);
        let answer = decide(&config, &model, record, probability, known_good);
        *verdicts.entry(answer.verdict.as_str()).or_default() += 1;
        let line = line(record, answer.verdict, probability, answer.reason);
        writeln!(file, "{line}").map_err(cannot_write)?;
    }
    file.flush().map_err(cannot_write)?;
    if common.json {
        let attempts = input.records.len();
        return render::json(&json!({
            "attempts": attempts, "rejected": input.rejected, "verdicts": verdicts,
            "additional_features": site.features,
        }));
    }
    out!("{} attempts scored into {}", input.records.len(), out.display());
    for (verdict, count) in verdicts {
        out!("{verdict:>8}: {count}");
    }
    Ok(())
}

/// What the daemon would answer with this model, neither learning only nor overridden.
fn decide(
    config: &Config,
    model: &ModelArtifact,
    record: &CheckedRecord,
    probability: f64,
    known_good: bool,
) -> VerdictAnswer {
    verdict::decide(&VerdictInput {
        enabled: true,
        trained: true,
        static_rule_triggered: record.attempt.static_rule_triggered,
        probability: Some(probability),
        block_threshold: config.ml.threshold.or(model.thresholds.block),
        watch_threshold: model.thresholds.watch,
        known_good,
        ..VerdictInput::default()
    })
}

fn line(record: &CheckedRecord, verdict: Verdict, probability: f64, reason: &str) -> serde_json::Value {
    json!({
        "ts": record.attempt.ts.to_string(),
        "request_id": record.request_id,
        "verdict": verdict,
        "probability": probability,
        "reason": reason,
        "label": record.truth.label,
    })
}

/// What texts of additional features are hashed with, and which of these features the model knows.
struct SiteKey {
    pseudonymizer: Pseudonymizer,
    /// Names of the features that are read from the files.
    features: Vec<String>,
}

impl SiteKey {
    /// The site's key. Without one, texts would mean something else than what the model has learnt; that is said.
    fn find(config: &Config, schema: &FeatureSchema) -> Self {
        let state_dir = StateDir::open(&config.node.state_dir).ok();
        let configured = match &config.node.pseudonym_key_file {
            Some(_) => {
                let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
                Secrets::read(config, credentials.as_deref()).ok().and_then(|secrets| secrets.pseudonym_key)
            }
            None => state_dir.as_ref().and_then(secrets::stored_pseudonym_key),
        };
        let texts = |slot: &&Slot| matches!(slot.kind, Kind::OneHot | Kind::Embedding);
        let mut features: Vec<&Slot> = schema.additional().live().collect();
        if configured.is_none() && features.iter().any(texts) {
            let lost: Vec<&str> = features.iter().filter(|slot| texts(slot)).map(|slot| slot.name.as_str()).collect();
            eprintln!(
                "there is no readable pseudonym key in {}, so these additional features are not what the model knows: {}",
                config.node.state_dir.display(),
                lost.join(", ")
            );
            features.retain(|slot| !texts(slot));
        }
        let features = features.into_iter().map(|slot| slot.name.clone()).collect();
        Self { pseudonymizer: configured.map_or_else(input::pseudonymizer, Pseudonymizer::new), features }
    }
}

/// The model, and the schema that it was trained for.
fn last_good_model(config: &Config) -> Result<(FeatureSchema, ModelArtifact), Failure> {
    let directory = config.node.state_dir.display();
    let nothing = || Failure::data(format!("there is no model in {directory}; run `train` first, or give --config"));
    let state_dir = StateDir::open(&config.node.state_dir).map_err(|_| nothing())?;
    let (id, bytes) = state_dir.load_model().ok_or_else(nothing)?;
    let schema = profile_schema(config).with_additional(&last_heard(&state_dir));
    let expectation = Expectation { fingerprint: None, sha256: Some(id.sha256) };
    let unusable = |error| Failure::data(format!("the model in {directory} cannot be used: {error}"));
    let (_, model) = ModelArtifact::decode(&bytes, &expectation).map_err(unusable)?;
    let read_as = schema.read_as(model.schema.fingerprint, model.model.inputs());
    Ok((read_as.ok_or_else(|| unusable(ArtifactError::WrongSchema))?, model))
}
