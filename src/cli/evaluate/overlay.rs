//! `--overlay`: the attacks of a real recording, laid over the test.
//!
//! A recording is shifted, never scaled. Of one that is longer than the test its busiest stretch is taken: recordings
//! often begin with weeks in which nearly nothing happens, and a dozen attempts measure nothing. A share of its names is mapped to accounts of the test, because attackers elsewhere do not know the users of
//! this site; which ones, their pseudonyms say, so it is the same in every run. What the recording says about success is
//! not believed: a honeypot lets in whom it likes. An attempt without a name gets a stand-in, since such attempts are real.

mod fields;
mod measure;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::super::failure::Failure;
use super::super::input;
use crate::clock;
use crate::detection::attempt::{Outcome, Pseudonym, Timestamp};
use crate::detection::record::{AttemptRecord, CheckedRecord, TrueLabel};
pub use measure::{measure, show};

/// Share of the names that are mapped to accounts of the test.
const MAPPED: f64 = 0.3;
/// Stands for an empty name, which no daemon would take. It is never mapped to an account.
const UNNAMED: &str = "-";

/// The attacks of one recording.
pub struct Overlay {
    /// Name of the file, for tables and JSON.
    pub name: String,
    /// In the order of their time.
    records: Vec<CheckedRecord>,
    /// Records that are not attacks, or that cannot be used.
    skipped: usize,
    stand_in: Pseudonym,
}

/// Training and test records of one overlay run.
pub struct Laid {
    /// Without the fields that one side lacks.
    pub train: Vec<CheckedRecord>,
    /// Test and overlay in the order of time, without the fields that one side lacks.
    pub test: Vec<CheckedRecord>,
    /// Of each record of `test`: whether it is one of the overlay, and whether its name was mapped.
    origin: Vec<Origin>,
    dropped: Vec<&'static str>,
    /// Attempts that the test was too short for.
    cut: usize,
    skipped: usize,
    /// Attempts under the stand-in.
    unnamed: usize,
    /// When the stretch that was laid over began, by the clock of the recording.
    begin: Timestamp,
}

/// Where a record of an overlay run comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Test,
    Overlay { mapped: bool },
}

/// Reads the recordings, one overlay for each.
///
/// # Errors
/// When a file cannot be read or holds no attack.
pub fn read(files: &[PathBuf]) -> Result<Vec<Overlay>, Failure> {
    let mut names = BTreeSet::new();
    files
        .iter()
        .map(|file| {
            let base = file.file_name().map_or_else(|| file.display().to_string(), |name| name.display().to_string());
            let name = if names.insert(base.clone()) { base } else { file.display().to_string() };
            read_one(file, name)
        })
        .collect()
}

fn read_one(file: &Path, name: String) -> Result<Overlay, Failure> {
    let pseudonymizer = input::pseudonymizer();
    let now = clock::now();
    let (mut records, mut skipped) = (Vec::new(), 0);
    let unreadable = input::raw(&[file.to_owned()], |_, record| {
        let number = records.len() + skipped;
        match lenient(record).check(None, now, &pseudonymizer, || format!("overlay {name} {number}")) {
            Ok(mut checked) if checked.truth.label == Some(TrueLabel::Attack) => {
                checked.outcome = Some(Outcome::Failure);
                records.push(checked);
            }
            Ok(_) | Err(_) => skipped += 1,
        }
        Ok(())
    })?;
    if records.is_empty() {
        return Err(Failure::data(format!("{} holds no attempt that is labelled an attack", file.display())));
    }
    records.sort_by_key(|record: &CheckedRecord| record.attempt.ts);
    let stand_in = pseudonymizer.name(UNNAMED);
    Ok(Overlay { name, records, skipped: skipped + unreadable, stand_in })
}

/// The record as an overlay takes it: with a name, without an account or an id of the site that it comes from.
fn lenient(record: AttemptRecord) -> AttemptRecord {
    let username = record.username.map(|name| if name.trim().is_empty() { UNNAMED.to_owned() } else { name });
    AttemptRecord { username, account: None, request_id: None, blocked: None, no_auth: None, ..record }
}

impl Overlay {
    /// Lays the attacks over `test`, and drops from everything the fields that either side lacks.
    pub fn lay(&self, train: &[CheckedRecord], test: &[CheckedRecord]) -> Laid {
        let mapping = self.mapping(test);
        let dropped = fields::lacking(&self.records, test);
        let mut laid: Vec<(CheckedRecord, Origin)> =
            fields::without(test, &dropped).into_iter().map(|record| (record, Origin::Test)).collect();
        let (Some(first), Some(last)) = (test.first(), test.last()) else { unreachable!("input is never empty") };
        let stretch = busiest(&self.records, last.attempt.ts.millis() - first.attempt.ts.millis());
        let begin = stretch.first().map_or(first.attempt.ts, |record| record.attempt.ts);
        let shift = first.attempt.ts.millis() - begin.millis();
        let mut unnamed = 0;
        for mut record in fields::without(stretch, &dropped) {
            record.attempt.ts = record.attempt.ts.plus_millis(shift);
            unnamed += usize::from(record.attempt.user == self.stand_in);
            let account = mapping.get(&record.attempt.user);
            if let Some((name, user)) = account {
                (record.attempt.name, record.attempt.user) = (*name, *user);
                record.attempt.user_found = record.attempt.user_found.map(|_| true);
            }
            laid.push((record, Origin::Overlay { mapped: account.is_some() }));
        }
        laid.sort_by_key(|(record, origin)| (record.attempt.ts, *origin != Origin::Test));
        let (test, origin): (Vec<_>, Vec<_>) = laid.into_iter().unzip();
        Laid {
            cut: self.records.len() - origin.iter().filter(|origin| **origin != Origin::Test).count(),
            train: fields::without(train, &dropped),
            test,
            origin,
            dropped: dropped.into_iter().map(fields::Field::name).collect(),
            skipped: self.skipped,
            unnamed,
            begin,
        }
    }

    /// Which names become which accounts: names and accounts in the order of their pseudonyms, which says nothing about
    /// either, one to one as far as the accounts last.
    fn mapping(&self, test: &[CheckedRecord]) -> HashMap<Pseudonym, (Pseudonym, Pseudonym)> {
        let successes = test.iter().filter(|record| record.outcome == Some(Outcome::Success));
        let accounts: BTreeMap<Pseudonym, Pseudonym> =
            successes.map(|record| (record.attempt.user, record.attempt.name)).collect();
        let names: BTreeSet<Pseudonym> =
            self.records.iter().map(|record| record.attempt.user).filter(|name| *name != self.stand_in).collect();
        let mapped = (names.len() as f64 * MAPPED).round() as usize;
        let accounts = accounts.iter().map(|(user, name)| (*name, *user)).cycle();
        names.into_iter().take(mapped).zip(accounts).collect()
    }
}

/// The `length_ms` that hold most records, the earliest of several. `records` ascend in time.
fn busiest(records: &[CheckedRecord], length_ms: i64) -> &[CheckedRecord] {
    let mut end = 0;
    let stretches = (0..records.len()).map(|begin| {
        let last = records[begin].attempt.ts.plus_millis(length_ms);
        end += records[end..].partition_point(|record| record.attempt.ts <= last);
        &records[begin..end]
    });
    let mut best: &[CheckedRecord] = &[];
    for stretch in stretches {
        if stretch.len() > best.len() {
            best = stretch;
        }
    }
    best
}

#[cfg(test)]
pub mod tests;
