//! `replay --against-current`: who would newly be blocked or released by another model, before it is promoted.
//!
//! Both models see the same recorded attempts on counters of their own; nothing is sent and nothing is changed. Names and
//! addresses are shown as they stand in the files: it is the operator's own terminal.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::offline::Player;
use super::super::{Common, input, render};
use super::{SiteKey, decide, last_good_model};
use crate::config::Config;
use crate::daemon::chain;
use crate::detection::attempt::{Timestamp, client_network};
use crate::detection::features::FeatureSchema;
use crate::detection::record::{AttemptRecord, CheckedRecord, TrueLabel};
use crate::detection::verdict::Verdict;
use crate::learning::artifact::{ArtifactError, ArtifactHeader, Expectation, ModelArtifact};
use crate::state::state_dir::StateDir;
use crate::store::MODEL_MAX;
use crate::tasks::features::last_heard;

/// Rows of the table for people; `--json` has all of them.
const ROWS_MAX: usize = 40;
/// What stands before the artifact in a `model.bin`.
const MODEL_BIN_HEADER: usize = 56;

/// Carries out `replay --against-current`.
pub fn run(common: &Common, files: &[PathBuf], model: Option<&Path>) -> Result<(), Failure> {
    let config = Config::load(common.config_file().as_deref(), std::env::vars())
        .map_err(|error| Failure::config(chain(&error)))?;
    let (schema, current) = last_good_model(&config)?;
    let (header, candidate) = candidate(&config, model)?;
    let candidate_schema = candidate_schema(&config, &candidate)?;
    let sites = [&schema, &candidate_schema].map(|schema| SiteKey::find(&config, schema));
    let key = &sites[0].pseudonymizer;
    let name = |record: &AttemptRecord| record.username.clone().unwrap_or_default();
    let (records, rejected) = input::checked_with(&config, files, key, name)?;
    let mut players = [(&current, schema), (&candidate, candidate_schema)]
        .map(|(model, schema)| (model, Player::keyed(&config, schema, key)));
    let mut changes = Changes::default();
    for (record, username) in &records {
        let [before, after] = players.each_mut().map(|(model, player)| {
            let known_good = player.known_good(record);
            let probability = model.probability(&player.play(record).values);
            decide(&config, model, record, probability, known_good).verdict == Verdict::Block
        });
        changes.count(record, username, before, after);
    }
    let mut report = changes.to_json();
    report["attempts"] = json!(records.len());
    report["rejected"] = json!(rejected);
    report["additional_features"] = json!(sites[0].features);
    report["candidate"] = json!({
        "additional_features": sites[1].features,
        "trained_at": Timestamp::from_millis(header.trained_at_ms).to_string(),
        "node": header.node,
        "profile": candidate.profile,
        "threshold": config.ml.threshold.or(candidate.thresholds.block),
    });
    if common.json {
        return render::json(&report);
    }
    show(&report);
    Ok(())
}

/// The artifact of a file, or the last challenger that was refused on this node.
fn candidate(config: &Config, file: Option<&Path>) -> Result<(ArtifactHeader, ModelArtifact), Failure> {
    let directory = config.node.state_dir.display();
    let (bytes, name) = match file {
        Some(path) => {
            let unreadable = |error| Failure::data(format!("cannot read {}: {error}", path.display()));
            let size = fs::metadata(path).map_err(unreadable)?.len();
            if size > (MODEL_MAX + MODEL_BIN_HEADER) as u64 {
                return Err(Failure::data(format!("{} is larger than a model may be", path.display())));
            }
            (fs::read(path).map_err(unreadable)?, path.display().to_string())
        }
        None => {
            let nothing = || {
                let text = "no training of this node was refused; name a model with --model FILE";
                Failure::data(format!("there is no challenger in {directory}: {text}"))
            };
            let state_dir = StateDir::open(&config.node.state_dir).map_err(|_| nothing())?;
            (state_dir.load_challenger().ok_or_else(nothing)?, format!("the challenger in {directory}"))
        }
    };
    decoded(&bytes).map_err(|error| Failure::data(format!("{name} cannot be used: {error}")))
}

/// An artifact, with or without the header of a `model.bin` before it.
fn decoded(bytes: &[u8]) -> Result<(ArtifactHeader, ModelArtifact), ArtifactError> {
    match ModelArtifact::decode(bytes, &Expectation::default()) {
        Err(ArtifactError::Foreign) => {
            let inner = bytes.get(MODEL_BIN_HEADER..).ok_or(ArtifactError::Foreign)?;
            ModelArtifact::decode(inner, &Expectation::default())
        }
        other => other,
    }
}

/// The schema that the candidate was trained for: that of its profile, with additional features known here.
fn candidate_schema(config: &Config, candidate: &ModelArtifact) -> Result<FeatureSchema, Failure> {
    let other =
        || Failure::data("the other model cannot be used: it was trained for other features than are known here");
    let state_dir = StateDir::open(&config.node.state_dir).map_err(|_| other())?;
    let schema = FeatureSchema::of_profile(&candidate.profile).ok_or_else(other)?;
    let schema = schema.with_additional(&last_heard(&state_dir));
    schema.read_as(candidate.schema.fingerprint, candidate.model.inputs()).ok_or_else(other)
}

/// Attempts of one account from one network whose verdict changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pair {
    attempts: u64,
    /// With the attempts of each address.
    addresses: BTreeMap<IpAddr, u64>,
}

/// Everything whose verdict changes in one direction.
#[derive(Debug, Default)]
struct Direction {
    attempts: u64,
    attacks: u64,
    legit: u64,
    pairs: BTreeMap<(IpAddr, String), Pair>,
}

#[derive(Debug, Default)]
struct Changes {
    agree: u64,
    newly_blocked: Direction,
    released: Direction,
}

impl Changes {
    fn count(&mut self, record: &CheckedRecord, username: &str, before: bool, after: bool) {
        let direction = match (before, after) {
            (false, true) => &mut self.newly_blocked,
            (true, false) => &mut self.released,
            _ => {
                self.agree += 1;
                return;
            }
        };
        let ip = record.attempt.client_ip;
        direction.attempts += 1;
        direction.attacks += u64::from(record.truth.label == Some(TrueLabel::Attack));
        direction.legit += u64::from(record.truth.label == Some(TrueLabel::Legit));
        let pair = direction.pairs.entry((client_network(ip), username.to_owned())).or_default();
        pair.attempts += 1;
        *pair.addresses.entry(ip).or_default() += 1;
    }

    fn to_json(&self) -> Value {
        json!({
            "agree": self.agree,
            "newly_blocked": self.newly_blocked.to_json(),
            "released": self.released.to_json(),
        })
    }
}

impl Direction {
    /// Most attempts first, then by network and name.
    fn to_json(&self) -> Value {
        let mut pairs: Vec<_> = self.pairs.iter().collect();
        pairs.sort_by_key(|(_, pair)| std::cmp::Reverse(pair.attempts));
        let rows = pairs.into_iter().map(|((network, username), pair)| {
            let prefix = if network.is_ipv4() { 24 } else { 64 };
            json!({
                "network": format!("{network}/{prefix}"),
                "username": username,
                "attempts": pair.attempts,
                "addresses": pair.addresses.iter().map(|(ip, count)| (ip.to_string(), json!(count)))
                    .collect::<serde_json::Map<_, _>>(),
            })
        });
        json!({
            "attempts": self.attempts,
            "attacks": self.attacks,
            "legit": self.legit,
            "pairs": rows.collect::<Vec<_>>(),
        })
    }
}

fn show(report: &Value) {
    let candidate = &report["candidate"];
    out!(
        "candidate of {} ({}), trained {}",
        render::text(&candidate["node"]),
        render::text(&candidate["profile"]),
        render::text(&candidate["trained_at"])
    );
    out!("{} attempts, the models agree on {}", render::text(&report["attempts"]), render::text(&report["agree"]));
    for (key, name) in [("newly_blocked", "newly blocked"), ("released", "released")] {
        let direction = &report[key];
        let labels = match (direction["attacks"].as_u64(), direction["legit"].as_u64()) {
            (Some(0), Some(0)) => String::new(),
            (attacks, legit) => {
                format!(", {} of them attacks and {} legitimate", attacks.unwrap_or(0), legit.unwrap_or(0))
            }
        };
        out!("{name}: {} attempts{labels}", render::text(&direction["attempts"]));
        let Some(pairs) = direction["pairs"].as_array().filter(|pairs| !pairs.is_empty()) else { continue };
        let mut table = render::table(&["client network", "client_ip", "username", "attempts"]);
        for pair in pairs.iter().take(ROWS_MAX) {
            let addresses = pair["addresses"].as_object();
            let address = match addresses.map_or(0, serde_json::Map::len) {
                1 => addresses.and_then(|addresses| addresses.keys().next()).cloned().unwrap_or_default(),
                many => format!("{many} addresses"),
            };
            let [network, username, attempts] = ["network", "username", "attempts"].map(|key| render::text(&pair[key]));
            table.add_row(vec![network, address, username, attempts]);
        }
        out!("{table}");
        if pairs.len() > ROWS_MAX {
            out!("… and {} more; --json lists all", pairs.len() - ROWS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(ip: &str, label: Option<&str>) -> CheckedRecord {
        let record = AttemptRecord {
            client_ip: Some(ip.into()),
            username: Some("anna".into()),
            label: label.map(str::to_owned),
            ..AttemptRecord::default()
        };
        let now = Timestamp::from_millis(1_800_000_000_000);
        record.check(Some(now), now, &input::pseudonymizer(), || "r".into()).expect("valid")
    }

    #[test]
    fn changes_are_counted_by_network_and_name_with_the_most_first() {
        let mut changes = Changes::default();
        for (ip, name, before, after) in [
            ("198.51.100.1", "anna", false, true),
            ("198.51.100.2", "anna", false, true),
            ("198.51.100.2", "ben", false, true),
            ("203.0.113.9", "anna", true, false),
            ("203.0.113.9", "anna", true, true),
            ("203.0.113.9", "anna", false, false),
        ] {
            changes.count(&record(ip, Some("legit")), name, before, after);
        }

        let report = changes.to_json();

        assert_eq!(report["agree"], 2);
        let blocked = &report["newly_blocked"];
        assert_eq!((&blocked["attempts"], &blocked["legit"], &blocked["attacks"]), (&json!(3), &json!(3), &json!(0)));
        let first = json!({ "network": "198.51.100.0/24", "username": "anna", "attempts": 2,
            "addresses": { "198.51.100.1": 1, "198.51.100.2": 1 } });
        assert_eq!((&blocked["pairs"][0], blocked["pairs"].as_array().map(Vec::len)), (&first, Some(2)));
        assert_eq!(report["released"]["attempts"], 1);
    }

    #[test]
    fn what_is_no_model_is_refused_whatever_its_length() {
        for length in [0, 3, MODEL_BIN_HEADER, MODEL_BIN_HEADER + 4, 500] {
            assert!(decoded(&vec![b'x'; length]).is_err(), "{length}");
        }
    }
}
