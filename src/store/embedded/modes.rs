//! The steps on learning mode, on the candidate that waits for an approval and on the measures against attacks, inside a
//! transaction.

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::file::{CANDIDATE, CANDIDATE_MODEL, META, MODE, PROTECTION};
use super::registry_steps::{announce, record, state};
use super::streams::last_feedback;
use super::writer::Answered;
use crate::store::candidate::Candidate;
use crate::store::entry::AnnouncementKind;
use crate::store::mode::{self, EndOfLearning, FleetMode, ModeChange, ModeOrigin, ModeReply, ModeSet, ModeStamp};
use crate::store::{Limits, PROTECTION_TTL, StoreError};

type Stepped<T> = Result<Answered<T>, redb::Error>;
type Read<T> = Result<Result<T, StoreError>, redb::Error>;

/// The mode as it is stored; the inner error says that it does not read.
pub(super) fn read(
    operation: &'static str,
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Read<Option<FleetMode>> {
    let Some(stored) = meta.get(MODE)? else { return Ok(Ok(None)) };
    let mode = match stored.value() {
        [0] => Ok(FleetMode { on: false, set: None }),
        [1] => Ok(FleetMode { on: true, set: None }),
        line => mode::read(operation, "the learning mode", &String::from_utf8_lossy(line)),
    };
    Ok(mode.map(Some))
}

/// Writes the mode and what belongs to it.
fn write(transaction: &WriteTransaction, on: bool, origin: &ModeOrigin, now_ms: i64) -> Result<FleetMode, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let set = ModeSet { since_ms: now_ms, feedback: last_feedback(&meta)?, origin: origin.clone() };
    let mode = FleetMode { on, set: Some(set) };
    meta.insert(MODE, mode.encode().as_bytes())?;
    Ok(mode)
}

/// Whether the stored mode is the one that is meant. One that does not read is none.
fn stands(operation: &'static str, transaction: &WriteTransaction, expected: &ModeStamp) -> Result<bool, redb::Error> {
    let stored = read(operation, &transaction.open_table(META)?)?;
    Ok(stored.is_ok_and(|stored| ModeStamp::of(stored.as_ref()) == *expected))
}

/// Switches learning mode.
pub(super) fn set(
    operation: &'static str,
    transaction: &WriteTransaction,
    change: &ModeChange,
    origin: &str,
    limits: &Limits,
    now_ms: i64,
) -> Stepped<ModeReply> {
    if let Some(expected) = &change.expected
        && !stands(operation, transaction, expected)?
    {
        return Ok(Answered { answer: Ok(ModeReply::Conflict), announcement: None });
    }
    let state = match state(operation, &transaction.open_table(META)?)? {
        Ok(state) => state,
        Err(error) => return Ok(Answered { answer: Err(error), announcement: None }),
    };
    let mode = write(transaction, change.on, &change.origin, now_ms)?;
    if let Some(document) = &change.history {
        record(transaction, "learning_mode", document, &state.registry, limits, now_ms)?;
    }
    let announcement = Some(announce(AnnouncementKind::Mode, &state.registry, origin));
    Ok(Answered { answer: Ok(ModeReply::Set(mode)), announcement })
}

/// Ends learning mode with a publish, if it still is the one that is meant. Returns whether it was.
pub(super) fn end_learning(
    transaction: &WriteTransaction,
    end: &EndOfLearning,
    now_ms: i64,
) -> Result<bool, redb::Error> {
    let ends = stands("publish a model", transaction, &end.expected)?;
    if ends {
        write(transaction, false, &end.origin, now_ms)?;
    }
    Ok(ends)
}

/// Keeps a candidate in the place of the one that waits.
pub(super) fn keep_candidate(transaction: &WriteTransaction, candidate: &Candidate) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(CANDIDATE, candidate.note.as_slice())?;
    meta.insert(CANDIDATE_MODEL, candidate.artifact.as_slice())?;
    Ok(())
}

/// Takes a waiting candidate away.
pub(super) fn forget_candidate(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.remove(CANDIDATE)?;
    meta.remove(CANDIDATE_MODEL)?;
    Ok(())
}

/// Takes the candidate with this description away.
pub(super) fn discard(
    operation: &'static str,
    transaction: &WriteTransaction,
    note: &[u8],
    deed: &[u8],
    limits: &Limits,
    now_ms: i64,
) -> Stepped<bool> {
    let waits = transaction.open_table(META)?.get(CANDIDATE)?.is_some_and(|stored| stored.value() == note);
    if !waits {
        return Ok(Answered { answer: Ok(false), announcement: None });
    }
    let state = match state(operation, &transaction.open_table(META)?)? {
        Ok(state) => state,
        Err(error) => return Ok(Answered { answer: Err(error), announcement: None }),
    };
    forget_candidate(transaction)?;
    record(transaction, "discarded", deed, &state.registry, limits, now_ms)?;
    Ok(Answered { answer: Ok(true), announcement: None })
}

/// One of the two values of the candidate.
pub(super) fn blob(transaction: &ReadTransaction, name: &str) -> Read<Option<Vec<u8>>> {
    Ok(Ok(transaction.open_table(META)?.get(name)?.map(|value| value.value().to_vec())))
}

/// The measures against attacks that are still kept at `now_ms`.
pub(super) fn protection(transaction: &ReadTransaction, now_ms: i64) -> Result<Option<Vec<u8>>, redb::Error> {
    let stored = transaction.open_table(META)?.get(PROTECTION)?.map(|stored| stored.value().to_vec());
    Ok(stored.and_then(|stored| kept(&stored, now_ms).map(<[u8]>::to_vec)))
}

/// Stores measures if those that were merged into them still stand there. Returns whether they did.
pub(super) fn save_protection(
    transaction: &WriteTransaction,
    merged: Option<&[u8]>,
    protection: &[u8],
    now_ms: i64,
) -> Result<bool, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let stands = meta.get(PROTECTION)?.map(|stored| stored.value().to_vec());
    if stands.as_deref().and_then(|stored| kept(stored, now_ms)) != merged {
        return Ok(false);
    }
    let until = now_ms.saturating_add_unsigned(PROTECTION_TTL.as_millis() as u64);
    let mut stored = until.to_le_bytes().to_vec();
    stored.extend_from_slice(protection);
    meta.insert(PROTECTION, stored.as_slice())?;
    Ok(true)
}

fn kept(stored: &[u8], now_ms: i64) -> Option<&[u8]> {
    let (until, protection) = stored.split_first_chunk()?;
    (i64::from_le_bytes(*until) > now_ms).then_some(protection)
}
