//! Reads attempt records from files, with a bound on how many bad lines are tolerated silently: none are silent.

use std::path::PathBuf;

use super::failure::Failure;
use crate::clock;
use crate::daemon::chain;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::{AttemptRecord, CheckedRecord};
use crate::exit;
use crate::records::RecordReader;

/// Bad lines that are named one by one.
const NAMED_MAX: usize = 5;

/// What was read from some files.
pub struct Input {
    /// In the order of their time, earlier files first where times are equal.
    pub records: Vec<CheckedRecord>,
    /// Lines that were not taken.
    pub rejected: usize,
}

/// All records of some files, as written.
pub fn raw(files: &[PathBuf], mut take: impl FnMut(AttemptRecord) -> Result<(), Failure>) -> Result<usize, Failure> {
    let mut rejected = 0;
    for file in files {
        let reader = RecordReader::open(file).map_err(|error| Failure::from_error(exit::DATA, &error))?;
        for line in reader {
            match line {
                Ok((_, record)) => take(record)?,
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

/// All usable records of some files, checked and sorted. Lines that cannot be used are counted, the first few named.
pub fn checked(files: &[PathBuf]) -> Result<Input, Failure> {
    let (records, rejected) = checked_with(files, |_| ())?;
    Ok(Input { records: records.into_iter().map(|(record, ())| record).collect(), rejected })
}

/// As [`checked`], with something that a checked record no longer tells beside each; and the number of lines not taken.
pub fn checked_with<T>(
    files: &[PathBuf],
    keep: impl Fn(&AttemptRecord) -> T,
) -> Result<(Vec<(CheckedRecord, T)>, usize), Failure> {
    let pseudonymizer = pseudonymizer();
    let now = clock::now();
    let mut records = Vec::new();
    let mut unusable = 0;
    let mut number = 0;
    let rejected = raw(files, |record| {
        // Not random: the order of attempts of one instant follows from it, and so does what is learned from them.
        number += 1;
        let kept = keep(&record);
        match record.check(None, now, &pseudonymizer, || format!("record {number}")) {
            Ok(checked) => records.push((checked, kept)),
            Err(error) => reject(&mut unusable, &error.to_string()),
        }
        Ok(())
    })?;
    if records.is_empty() {
        return Err(Failure::data("there is not one usable attempt in the input"));
    }
    records.sort_by_key(|(record, _): &(CheckedRecord, T)| record.attempt.ts);
    Ok((records, rejected + unusable))
}

fn reject(rejected: &mut usize, reason: &str) {
    *rejected += 1;
    match *rejected {
        count if count <= NAMED_MAX => eprintln!("skipped: {reason}"),
        count if count == NAMED_MAX + 1 => eprintln!("more lines are skipped without being named"),
        _ => {}
    }
}
