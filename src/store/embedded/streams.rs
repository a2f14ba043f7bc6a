//! The steps on streams and sets: attempts, samples, feedback, claims, audit. Each trims what it grows.

use std::time::Duration;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use sha2::{Digest, Sha256};

use super::file::{
    ATTEMPTS, ATTEMPTS_LAST, AUDIT, CLAIMS, FEEDBACK, FEEDBACK_IDS, FEEDBACK_LAST, META, PositionKey, RESULTS,
    SAMPLES_FAILURE, SAMPLES_SUCCESS, SampleKey, next_position, ordered, unordered,
};
use crate::store::entry::{AUDIT_AGAIN, AUDIT_AGE, AUDIT_MAX, RESULT_TTL};
use crate::store::{AttemptEntry, Claim, FeedbackAppended, Limits, Position, Relabel, SampleClass, SampleEntry};

type Entries = Vec<(Position, Vec<u8>)>;

/// Appends a batch and offers its samples.
pub(super) fn append_attempts(
    transaction: &WriteTransaction,
    batch: &[AttemptEntry],
    limits: &Limits,
    now_ms: i64,
) -> Result<Position, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let mut attempts = transaction.open_table(ATTEMPTS)?;
    let mut last = last_position(&meta, ATTEMPTS_LAST)?;
    for attempt in batch {
        last = next_position(last, now_ms);
        attempts.insert(key(last), attempt.event.as_slice())?;
    }
    meta.insert(ATTEMPTS_LAST, last.to_string().as_bytes())?;

    let oldest = before(now_ms, limits.attempts_age);
    while attempts.len()? > limits.attempts_max
        || attempts.first()?.is_some_and(|(position, _)| position.value().0 < oldest)
    {
        attempts.pop_first()?;
    }

    let samples: Vec<_> = batch.iter().filter_map(|attempt| attempt.sample.as_ref()).collect();
    offer(transaction, &samples, limits)?;
    Ok(last)
}

/// Offers samples that belong to no attempt.
pub(super) fn add_samples(
    transaction: &WriteTransaction,
    samples: &[SampleEntry],
    limits: &Limits,
) -> Result<(), redb::Error> {
    offer(transaction, &samples.iter().collect::<Vec<_>>(), limits)
}

/// Puts samples into their classes, of which each keeps those with the smallest keys.
fn offer(transaction: &WriteTransaction, offered: &[&SampleEntry], limits: &Limits) -> Result<(), redb::Error> {
    for class in [SampleClass::Success, SampleClass::Failure] {
        let mut samples = transaction.open_table(samples_of(class))?;
        for sample in offered.iter().filter(|sample| sample.class == class) {
            samples.insert(place(sample.key, &sample.bytes), sample.bytes.as_slice())?;
        }
        while samples.len()? > limits.samples_per_class {
            samples.pop_last()?;
        }
    }
    Ok(())
}

/// Attempts after a position.
pub(super) fn read_attempts(
    transaction: &ReadTransaction,
    after: Position,
    max: usize,
) -> Result<Entries, redb::Error> {
    let attempts = transaction.open_table(ATTEMPTS)?;
    let mut found = Vec::new();
    for entry in attempts.range((std::ops::Bound::Excluded(key(after)), std::ops::Bound::Unbounded))?.take(max) {
        let (position, bytes) = entry?;
        found.push((position_of(position.value()), bytes.value().to_vec()));
    }
    Ok(found)
}

/// The newest attempt's position.
pub(super) fn attempts_end(transaction: &ReadTransaction) -> Result<Position, redb::Error> {
    let attempts = transaction.open_table(ATTEMPTS)?;
    Ok(attempts.last()?.map_or(Position::START, |(position, _)| position_of(position.value())))
}

/// The samples of a class in ascending order of their keys.
pub(super) fn read_samples(
    transaction: &ReadTransaction,
    class: SampleClass,
    most: u64,
) -> Result<Vec<(f64, Vec<u8>)>, redb::Error> {
    let samples = transaction.open_table(samples_of(class))?;
    let mut found = Vec::new();
    for entry in samples.iter()?.take(usize::try_from(most).unwrap_or(usize::MAX)) {
        let (place, bytes) = entry?;
        found.push((unordered(place.value().0), bytes.value().to_vec()));
    }
    Ok(found)
}

/// Replaces samples whose old form is there; how many.
pub(super) fn relabel_samples(transaction: &WriteTransaction, changes: &[Relabel]) -> Result<u64, redb::Error> {
    let mut replaced = 0;
    for class in [SampleClass::Success, SampleClass::Failure] {
        let mut samples = transaction.open_table(samples_of(class))?;
        for change in changes.iter().filter(|change| change.class == class) {
            let was_there = samples.remove(place(change.key, &change.old))?.is_some();
            if was_there {
                samples.insert(place(change.key, &change.new), change.new.as_slice())?;
                replaced += 1;
            }
        }
    }
    Ok(replaced)
}

/// Records feedback under its id, once.
pub(super) fn append_feedback(
    transaction: &WriteTransaction,
    id: &str,
    bytes: &[u8],
    limits: &Limits,
    now_ms: i64,
) -> Result<FeedbackAppended, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let mut feedback = transaction.open_table(FEEDBACK)?;
    let mut ids = transaction.open_table(FEEDBACK_IDS)?;
    let oldest = before(now_ms, limits.feedback_age);
    while feedback.first()?.is_some_and(|(position, _)| position.value().0 < oldest) {
        if let Some((_, entry)) = feedback.pop_first()? {
            ids.remove(entry.value().0)?;
        }
    }

    if let Some(known) = ids.get(id)? {
        return Ok(FeedbackAppended::Known(position_of(known.value())));
    }
    if feedback.len()? >= limits.feedback_max {
        return Ok(FeedbackAppended::Full);
    }
    let position = next_position(last_position(&meta, FEEDBACK_LAST)?, now_ms);
    feedback.insert(key(position), (id, bytes))?;
    ids.insert(id, key(position))?;
    meta.insert(FEEDBACK_LAST, position.to_string().as_bytes())?;
    Ok(FeedbackAppended::Recorded(position))
}

/// Feedback after a position.
pub(super) fn read_feedback(
    transaction: &ReadTransaction,
    after: Position,
    max: usize,
) -> Result<Entries, redb::Error> {
    let feedback = transaction.open_table(FEEDBACK)?;
    let mut found = Vec::new();
    for entry in feedback.range((std::ops::Bound::Excluded(key(after)), std::ops::Bound::Unbounded))?.take(max) {
        let (position, stored) = entry?;
        found.push((position_of(position.value()), stored.value().1.to_vec()));
    }
    Ok(found)
}

/// How many feedback entries lie after a position, counted up to `limit`.
pub(super) fn count_feedback(transaction: &ReadTransaction, after: Position, limit: u64) -> Result<u64, redb::Error> {
    let feedback = transaction.open_table(FEEDBACK)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut count = 0;
    for entry in feedback.range((std::ops::Bound::Excluded(key(after)), std::ops::Bound::Unbounded))?.take(limit) {
        entry?;
        count += 1;
    }
    Ok(count)
}

/// Who executes a command.
pub(super) fn claim(
    transaction: &WriteTransaction,
    id: &str,
    ttl: Duration,
    now_ms: i64,
) -> Result<Claim, redb::Error> {
    let mut claims = transaction.open_table(CLAIMS)?;
    let mut results = transaction.open_table(RESULTS)?;
    results.retain(|_, (until, _)| now_ms < until)?;
    claims.retain(|_, (since, until)| since <= now_ms && now_ms < until)?;
    if let Some(result) = results.get(id)? {
        return Ok(Claim::Done(result.value().1.to_vec()));
    }
    if claims.get(id)?.is_some() {
        return Ok(Claim::Lost);
    }
    claims.insert(id, (now_ms, later(now_ms, ttl)))?;
    Ok(Claim::Won)
}

/// Records the result of a command.
pub(super) fn finish(transaction: &WriteTransaction, id: &str, result: &[u8], now_ms: i64) -> Result<(), redb::Error> {
    transaction.open_table(RESULTS)?.insert(id, (later(now_ms, RESULT_TTL), result))?;
    transaction.open_table(CLAIMS)?.remove(id)?;
    Ok(())
}

/// Appends to the audit trail.
pub(super) fn audit(transaction: &WriteTransaction, document: &[u8], now_ms: i64) -> Result<(), redb::Error> {
    let mut audit = transaction.open_table(AUDIT)?;
    let number = audit.last()?.map_or(0, |(number, _)| number.value() + 1);
    for newest in audit.iter()?.rev().take(AUDIT_AGAIN) {
        if newest?.1.value().1 == document {
            return Ok(());
        }
    }
    audit.insert(number, (now_ms, document))?;
    let oldest = now_ms.saturating_sub(i64::try_from(AUDIT_AGE.as_millis()).unwrap_or(i64::MAX));
    while audit.len()? > AUDIT_MAX || audit.first()?.is_some_and(|(_, entry)| entry.value().0 < oldest) {
        audit.pop_first()?;
    }
    Ok(())
}

/// Where a sample stands: by its key, then by its content.
fn place(key: f64, bytes: &[u8]) -> SampleKey {
    let digest = Sha256::digest(bytes);
    (ordered(key), digest[..16].iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
}

fn samples_of(class: SampleClass) -> TableDefinition<'static, SampleKey, &'static [u8]> {
    match class {
        SampleClass::Success => SAMPLES_SUCCESS,
        SampleClass::Failure => SAMPLES_FAILURE,
    }
}

/// The position of the last feedback that ever arrived.
pub(super) fn last_feedback(meta: &Table<'_, &'static str, &'static [u8]>) -> Result<Position, redb::Error> {
    last_position(meta, FEEDBACK_LAST)
}

fn last_position(meta: &Table<'_, &'static str, &'static [u8]>, name: &str) -> Result<Position, redb::Error> {
    let stored = meta.get(name)?;
    let read = stored.as_ref().and_then(|bytes| Position::parse(std::str::from_utf8(bytes.value()).ok()?));
    match (stored.is_some(), read) {
        (_, Some(position)) => Ok(position),
        (false, None) => Ok(Position::START),
        (true, None) => Err(redb::Error::Corrupted(format!("{name} is no position"))),
    }
}

fn key(position: Position) -> PositionKey {
    (position.major, position.minor)
}

fn position_of((major, minor): PositionKey) -> Position {
    Position { major, minor }
}

fn before(now_ms: i64, age: Duration) -> u64 {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    u64::try_from(now_ms.saturating_sub(age)).unwrap_or(0)
}

fn later(now_ms: i64, after: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
}
