//! Reads attempt records from files, with a bound on how many bad lines are tolerated silently: none are silent.

use std::fmt;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::clock;
use crate::config::Config;
use crate::daemon::chain;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::{AttemptRecord, CheckedRecord, RecordError};
use crate::exit;
use crate::records::RecordReader;
use crate::serving::site::Site;

/// Bad lines that are named one by one.
const NAMED_MAX: usize = 5;

/// What was read from some files.
pub struct Input {
    /// In the order of their time, earlier files first where times are equal.
    pub records: Vec<CheckedRecord>,
    /// Lines that were not taken.
    pub rejected: usize,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    file: &'a Path,
    line: u64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {}", self.line, self.file.display())
    }
}

/// All records of some files, as written, with their places.
pub fn raw(
    files: &[PathBuf],
    mut take: impl FnMut(Place<'_>, AttemptRecord) -> Result<(), Failure>,
) -> Result<usize, Failure> {
    let mut rejected = 0;
    for file in files {
        let reader = RecordReader::open(file).map_err(|error| Failure::from_error(exit::DATA, &error))?;
        for line in reader {
            match line {
                Ok((line, record)) => take(Place { file, line }, record)?,
                Err(error) => {
                    reject(&mut rejected, &chain(&error));
                    if error.problem.is_final() {
                        return Err(Failure::from_error(exit::DATA, &error));
                    }
                }
            }
        }
    }
    Ok(rejected)
}

/// The pseudonyms of an offline run: nothing is compared with what a daemon stores, so no secret is needed.
pub fn pseudonymizer() -> Pseudonymizer {
    Pseudonymizer::new([0; 32])
}

/// All usable records of some files, checked and sorted, each with the address that a daemon of this configuration would
/// score. Lines that cannot be used are counted, the first few named.
pub fn checked(config: &Config, files: &[PathBuf]) -> Result<Input, Failure> {
    checked_by(config, files, &pseudonymizer())
}

/// As [`checked`], with a key that the records are compared by with what a daemon knows.
pub fn checked_by(config: &Config, files: &[PathBuf], pseudonymizer: &Pseudonymizer) -> Result<Input, Failure> {
    let (records, rejected) = checked_with(config, files, pseudonymizer, |_| ())?;
    Ok(Input { records: records.into_iter().map(|(record, ())| record).collect(), rejected })
}

/// As [`checked_by`], with something that a checked record no longer tells beside each; and the number of lines not taken.
pub fn checked_with<T>(
    config: &Config,
    files: &[PathBuf],
    pseudonymizer: &Pseudonymizer,
    keep: impl Fn(&AttemptRecord) -> T,
) -> Result<(Vec<(CheckedRecord, T)>, usize), Failure> {
    let site = Site::new(config, pseudonymizer);
    let now = clock::now();
    let mut records = Vec::new();
    let mut unusable = 0;
    let mut number = 0;
    let rejected = raw(files, |place, record| {
        // Not random: the order of attempts of one instant follows from it, and so does what is learned from them.
        number += 1;
        let kept = keep(&record);
        match record.check(None, now, pseudonymizer, || format!("record {number}")) {
            Ok(mut checked) => {
                site.resolve(&mut checked);
                records.push((checked, kept));
            }
            Err(error) => reject(&mut unusable, &unusable_at(place, &error)),
        }
        Ok(())
    })?;
    if records.is_empty() {
        return Err(Failure::data("there is not one usable attempt in the input"));
    }
    records.sort_by_key(|(record, _): &(CheckedRecord, T)| record.attempt.ts);
    Ok((records, rejected + unusable))
}

/// As an unreadable line is named.
fn unusable_at(place: Place<'_>, error: &RecordError) -> String {
    format!("cannot use {place}: {}", chain(error))
}

fn reject(rejected: &mut usize, reason: &str) {
    *rejected += 1;
    match *rejected {
        count if count <= NAMED_MAX => eprintln!("skipped: {reason}"),
        count if count == NAMED_MAX + 1 => eprintln!("more lines are skipped without being named"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use arc_swap::ArcSwap;
    use serde_json::json;

    use super::*;
    use crate::detection::event::BootId;
    use crate::detection::features::FeatureSchema;
    use crate::serving::attempt_log::AttemptLog;
    use crate::serving::geo::GeoDatabases;
    use crate::serving::schema::SchemaSlot;
    use crate::serving::scorer::{Scorer, ScorerParts};
    use crate::serving::slot::ModelSlot;
    use crate::telemetry::metrics::Metrics;

    const LINES: [(&str, Option<&str>); 5] = [
        ("192.0.2.10", Some("198.51.100.7")),
        ("192.0.2.11", Some("2001:db8::7")),
        ("192.0.2.12", None),
        ("203.0.113.1", Some("198.51.100.7")),
        ("203.0.113.2", None),
    ];

    fn line((ip, forwarded): (&str, Option<&str>)) -> serde_json::Value {
        json!({ "ts": "2026-01-05T08:00:00Z", "client_ip": ip, "forwarded_ip": forwarded, "username": "u", "success": true })
    }

    /// The addresses that a daemon of this configuration scores.
    fn live(config: &Config) -> Vec<IpAddr> {
        let metrics = Arc::new(Metrics::new(""));
        let scorer = Scorer::new(ScorerParts {
            config: Arc::new(ArcSwap::from_pointee(config.clone())),
            schema: Arc::new(SchemaSlot::new(FeatureSchema::compat6())),
            geo: GeoDatabases::default(),
            slot: Arc::new(ModelSlot::new()),
            mode: Arc::default(),
            pseudonymizer: pseudonymizer(),
            log: Arc::new(AttemptLog::new(BootId([0; 16]), 0, metrics.status().clone())),
            metrics,
        });
        let check = |one| {
            AttemptRecord::parse(line(one).to_string().as_bytes()).map(|record| scorer.check(record, clock::now()))
        };
        LINES.map(|one| check(one).expect("a record").expect("sound").attempt.client_ip).to_vec()
    }

    #[test]
    fn a_record_that_cannot_be_used_is_named_by_file_and_line() {
        let file = tempfile::NamedTempFile::with_suffix(".jsonl").expect("a file");
        let sound = line(LINES[0]);
        let mut bad = sound.clone();
        bad["ts"] = json!("yesterday");
        std::fs::write(file.path(), format!("{sound}\n\n{bad}\n")).expect("writable");

        let mut said = Vec::new();
        let read = raw(&[file.path().to_owned()], |place, record| {
            if let Err(error) = record.check(None, clock::now(), &pseudonymizer(), String::new) {
                said.push(unusable_at(place, &error));
            }
            Ok(())
        });

        assert_eq!(read.expect("readable"), 0);
        let [said] = said.as_slice() else { panic!("{said:?}") };
        assert!(said.starts_with(&format!("cannot use line 3 of {}: ts", file.path().display())), "{said}");
    }

    #[test]
    fn offline_runs_see_the_addresses_that_the_daemon_scores_with_the_trusted_networks_that_it_has() {
        let file = tempfile::NamedTempFile::with_suffix(".jsonl").expect("a file");
        std::fs::write(file.path(), LINES.map(|one| line(one).to_string()).join("\n")).expect("writable");
        let trusting = |network: &str| {
            let mut config = Config::default();
            config.lists.trusted_networks = vec![network.parse().expect("a network")];
            config
        };
        let client = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (config, first) in [
            (Config::default(), client("192.0.2.10")),
            (trusting("192.0.2.0/24"), client("198.51.100.7")),
            (trusting("198.51.100.0/24"), client("192.0.2.10")),
        ] {
            let input = checked(&config, &[file.path().to_owned()]).expect("records");

            let seen: Vec<IpAddr> = input.records.iter().map(|record| record.attempt.client_ip).collect();
            assert_eq!((seen[0], &seen), (first, &live(&config)));
            assert_eq!(seen[3], client("203.0.113.1"), "a stranger is not believed");
        }
    }
}
