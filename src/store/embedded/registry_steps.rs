//! The registry's steps inside a write transaction: read the state, decide, write all of what follows.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::file::{FEATURES, HISTORY, META, MODELS, STATE};
use super::modes;
use super::writer::Answered;
use crate::store::entry::{Announcement, AnnouncementKind, HistoryFacts, deed, history_document};
use crate::store::registry::{
    Decided, ModelId, PublishReply, PublishRequest, RefusalReply, RefusalRequest, Registry, ResetReply, RollbackReply,
    State, decide_publish, decide_refusal, decide_reset, decide_restore, decide_rollback,
};
use crate::store::{FeaturesChange, FeaturesReply, Limits, Signal, StoreError};

type Stepped<T> = Result<Answered<T>, redb::Error>;

/// The state as it is stored; the inner error says that it does not read.
pub(super) fn state(
    operation: &'static str,
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Result<State, StoreError>, redb::Error> {
    let Some(stored) = meta.get(STATE)? else {
        return Ok(Ok(State::default()));
    };
    let read = serde_json::from_slice(stored.value());
    Ok(read.map_err(|error| StoreError::Corrupt { operation, what: format!("the registry ({error})") }))
}

/// The announcement of what the registry holds now.
pub(super) fn announce(kind: AnnouncementKind, registry: &Registry, origin: &str) -> Signal {
    Signal::Announcement(Announcement::of(kind, registry, origin).encode())
}

/// A step that changes nothing but the state.
pub(super) fn apply<T>(
    operation: &'static str,
    transaction: &WriteTransaction,
    decide: impl FnOnce(&State) -> Decided<T>,
) -> Stepped<T> {
    with_state(operation, transaction, |state| Ok((decide(state), None)))
}

/// Reads the state, lets `decide` look at it, and writes the next state and drops blobs if it says so.
fn with_state<T>(
    operation: &'static str,
    transaction: &WriteTransaction,
    decide: impl FnOnce(&State) -> Result<(Decided<T>, Option<Signal>), redb::Error>,
) -> Stepped<T> {
    let before = match state(operation, &transaction.open_table(META)?)? {
        Ok(before) => before,
        Err(error) => return Ok(Answered { answer: Err(error), announcement: None }),
    };
    let (decided, announcement) = decide(&before)?;
    if let Some(next) = &decided.next {
        let bytes = serde_json::to_vec(next).map_err(|error| redb::Error::Corrupted(error.to_string()))?;
        transaction.open_table(META)?.insert(STATE, bytes.as_slice())?;
    }
    let mut models = transaction.open_table(MODELS)?;
    for sha256 in &decided.dropped {
        models.remove(sha256)?;
    }
    Ok(Answered { answer: Ok(decided.reply), announcement })
}

pub(super) fn publish(
    operation: &'static str,
    transaction: &WriteTransaction,
    request: &PublishRequest,
    artifact: &[u8],
    limits: &Limits,
    now_ms: i64,
) -> Stepped<PublishReply> {
    with_state(operation, transaction, |state| {
        let decided = decide_publish(state, request, limits.models_kept, now_ms);
        let Some(next) = &decided.next else { return Ok((decided, None)) };
        transaction.open_table(MODELS)?.insert(request.model.sha256, artifact)?;
        modes::forget_candidate(transaction)?;
        let ended = match &request.ends_learning {
            Some(end) => modes::end_learning(transaction, end, now_ms)?,
            None => false,
        };
        record_with(transaction, "published", &request.history, &next.registry, ended, limits, now_ms)?;
        let bell = announce(AnnouncementKind::Model, &next.registry, &request.origin);
        Ok((decided, Some(bell)))
    })
}

pub(super) fn refuse(
    operation: &'static str,
    transaction: &WriteTransaction,
    request: &RefusalRequest,
    limits: &Limits,
    now_ms: i64,
) -> Stepped<RefusalReply> {
    with_state(operation, transaction, |state| {
        let decided = decide_refusal(state, request, now_ms);
        if let Some(next) = &decided.next {
            if let Some(candidate) = &request.candidate {
                modes::keep_candidate(transaction, candidate)?;
            }
            record(transaction, "refused", &request.history, &next.registry, limits, now_ms)?;
        }
        Ok((decided, None))
    })
}

pub(super) fn reset(
    operation: &'static str,
    transaction: &WriteTransaction,
    lineage_if_new: [u8; 16],
    deed: &[u8],
    origin: &str,
    limits: &Limits,
    now_ms: i64,
) -> Stepped<ResetReply> {
    with_state(operation, transaction, |state| {
        let decided = decide_reset(state, lineage_if_new);
        let Some(next) = &decided.next else { return Ok((decided, None)) };
        record(transaction, "reset", deed, &next.registry, limits, now_ms)?;
        let bell = announce(AnnouncementKind::Reset, &next.registry, origin);
        Ok((decided, Some(bell)))
    })
}

/// Exchanges the list of additional features, and takes the model away with it where that is asked for.
pub(super) fn change_features(
    operation: &'static str,
    transaction: &WriteTransaction,
    change: &FeaturesChange,
    origin: &str,
    limits: &Limits,
    now_ms: i64,
) -> Stepped<FeaturesReply> {
    let stored = transaction.open_table(META)?.get(FEATURES)?.map(|list| list.value().to_vec());
    if stored != change.before {
        return Ok(Answered { answer: Ok(FeaturesReply::Conflict), announcement: None });
    }
    with_state(operation, transaction, |state| {
        let next = change.reset.as_ref().and_then(|(_, lineage_if_new)| decide_reset(state, *lineage_if_new).next);
        let registry = next.as_ref().map_or(&state.registry, |next| &next.registry);
        if let Some((by, _)) = &change.reset {
            record(transaction, "reset", &deed(by), registry, limits, now_ms)?;
        }
        transaction.open_table(META)?.insert(FEATURES, change.after.as_slice())?;
        let bell = announce(AnnouncementKind::Features, registry, origin);
        Ok((Decided { reply: FeaturesReply::Changed, next, dropped: Vec::new() }, Some(bell)))
    })
}

pub(super) fn roll_back(
    operation: &'static str,
    transaction: &WriteTransaction,
    generation: Option<u64>,
    deed: &[u8],
    origin: &str,
    limits: &Limits,
    now_ms: i64,
) -> Stepped<RollbackReply> {
    with_state(operation, transaction, |state| {
        let kept: Vec<[u8; 32]> = {
            let models = transaction.open_table(MODELS)?;
            let mut kept = Vec::new();
            for entry in &state.kept {
                if models.get(entry.sha256)?.is_some() {
                    kept.push(entry.sha256);
                }
            }
            kept
        };
        let decided = decide_rollback(state, generation, limits.models_kept, |sha256| kept.contains(&sha256));
        let Some(next) = &decided.next else { return Ok((decided, None)) };
        record(transaction, "rolled_back", deed, &next.registry, limits, now_ms)?;
        let bell = announce(AnnouncementKind::Model, &next.registry, origin);
        Ok((decided, Some(bell)))
    })
}

pub(super) fn restore(
    operation: &'static str,
    transaction: &WriteTransaction,
    model: ModelId,
    artifact: &[u8],
    origin: &str,
    limits: &Limits,
    now_ms: i64,
) -> Stepped<bool> {
    with_state(operation, transaction, |state| {
        let present = transaction.open_table(MODELS)?.get(model.sha256)?.is_some();
        let decided = decide_restore(state, model, present, limits.models_kept);
        let Some(next) = &decided.next else { return Ok((decided, None)) };
        transaction.open_table(MODELS)?.insert(model.sha256, artifact)?;
        record(transaction, "restored", &crate::store::entry::deed(origin), &next.registry, limits, now_ms)?;
        let bell = announce(AnnouncementKind::Model, &next.registry, origin);
        Ok((decided, Some(bell)))
    })
}

pub(super) fn record(
    transaction: &WriteTransaction,
    outcome: &str,
    given: &[u8],
    registry: &Registry,
    limits: &Limits,
    now_ms: i64,
) -> Result<(), redb::Error> {
    record_with(transaction, outcome, given, registry, false, limits, now_ms)
}

fn record_with(
    transaction: &WriteTransaction,
    outcome: &str,
    given: &[u8],
    registry: &Registry,
    ended_learning: bool,
    limits: &Limits,
    now_ms: i64,
) -> Result<(), redb::Error> {
    let facts = HistoryFacts {
        outcome: outcome.to_owned(),
        lineage: registry.lineage.map(hex::encode),
        generation: registry.generation,
        sha256: registry.sha256.map(hex::encode),
        at_ms: now_ms,
        ended_learning,
    };
    let mut history = transaction.open_table(HISTORY)?;
    let number = history.last()?.map_or(0, |(number, _)| number.value() + 1);
    history.insert(number, history_document(given, &facts).as_slice())?;
    // The last one stays, so that numbers never start again.
    while history.len()? > limits.history_max.max(1) {
        history.pop_first()?;
    }
    Ok(())
}
