//! Takes outcomes: of attempts that were scored here, and of past ones that are told as a whole.

use std::sync::Arc;

use super::{OutcomeAnswer, ScoreError, Scorer};
use crate::detection::attempt::{Outcome, RequestKey, Timestamp};
use crate::detection::event::AttemptEvent;
use crate::detection::record::{AttemptRecord, CheckedRecord, RecordError};
use crate::detection::tracker::{Begin, Complete, Indexed};
use crate::learning::sample::HISTORY_AFTER_MS;

/// So many news for the memory make a bulk caller take them in at once.
const NEWS_OF_BULK: usize = 5_000;

impl Scorer {
    /// Takes the outcome of an attempt: of one that was scored here, or a whole one that was not.
    ///
    /// # Errors
    /// A missing `success`, a field out of bounds, missing attempt fields for an unknown request, or content that
    /// differs from what was scored under this request id.
    pub fn outcome(&self, record: AttemptRecord, now: Timestamp) -> Result<OutcomeAnswer, ScoreError> {
        let Some(request_id) = record.request_id.clone() else {
            return Err(RecordError::new("request_id", "is missing: it names the attempt that was scored").into());
        };
        record.contradiction()?;
        let blocked = record.blocked.unwrap_or(false);
        let outcome = match (blocked, record.success) {
            (true, _) => Outcome::Blocked,
            (false, Some(true)) => Outcome::Success,
            (false, Some(false)) => Outcome::Failure,
            (false, None) => return Err(RecordError::new("success", "is missing: true or false").into()),
        };
        let missing = if record.client_ip.is_none() { Some("client_ip") } else { None };
        let missing = missing.or(if record.username.is_none() { Some("username") } else { None });
        let told = if missing.is_none() { Some(self.check_live(record, now)?) } else { None };
        let request = RequestKey::of(&request_id);
        let site = self.site.load();

        let mut state = self.lock();
        let known = state.tracker.lookup(request).is_some();
        let told_attempt = if known {
            told.map(|told| told.attempt)
        } else {
            let Some(mut told) = told else {
                let field = missing.unwrap_or("client_ip");
                let error = "is missing: this request_id was not scored here, so the whole attempt is needed";
                return Err(RecordError::new(field, error).into());
            };
            if told.attempt.no_auth {
                return Ok(OutcomeAnswer { request_id, recorded: false });
            }
            let schema = self.schema.load();
            self.take_in(&schema, &mut told);
            let context = self.context(&site, &told.attempt, None);
            let activity = state.tracker.activity();
            let snapshot = Arc::new(schema.snapshot_with(activity, &told.attempt, &context, &told.given));
            let conflict = matches!(state.tracker.begin(&told.attempt, Some(snapshot), None), Begin::Conflict);
            if conflict {
                return Err(ScoreError::Conflict);
            }
            self.metrics.attempts_ingested(1);
            Some(told.attempt)
        };
        let mut happened = None;
        let at_home = state.tracker.lookup(request).is_some_and(|known| state.at_home(&known.attempt));
        match state.tracker.complete(request, told_attempt.as_ref(), outcome) {
            Complete::Recorded => {
                if let Some(event) = state.tracker.lookup(request).map(Indexed::event) {
                    state.happened(&event.attempt, outcome);
                    happened = Some(event.attempt.clone());
                    self.tell(&mut state, event, now);
                }
            }
            Complete::AlreadyKnown | Complete::NeverScored => {}
            Complete::Conflict => return Err(ScoreError::Conflict),
        }
        state.pending.remove(request);
        drop(state);
        if let Some(attempt) = happened.filter(|attempt| !site.trusts(attempt)) {
            self.attacks.note(&attempt, !known, Some((outcome, at_home)));
            self.passing.note(&attempt, !known, Some(outcome));
        }
        self.metrics.outcome(outcome_name(outcome));
        Ok(OutcomeAnswer { request_id, recorded: true })
    }

    /// Takes one past attempt with its outcome, in the order in which the caller tells them. Returns its number in the
    /// attempt log, or `None` when it was known already, counts nowhere, or the log is full.
    ///
    /// # Errors
    /// A request id that belongs to another attempt.
    pub fn ingest(&self, mut checked: CheckedRecord, now: Timestamp) -> Result<Option<u64>, ScoreError> {
        let schema = self.schema.load();
        self.take_in(&schema, &mut checked);
        let attempt = checked.attempt;
        if attempt.no_auth {
            return Ok(None);
        }
        let historical = now.millis().saturating_sub(attempt.ts.millis()) > HISTORY_AFTER_MS;
        let site = self.site.load();
        let context =
            if historical { Self::context_of_the_past(&site, &attempt) } else { self.context(&site, &attempt, None) };
        let outcome = checked.outcome.unwrap_or(Outcome::Unknown);

        let mut state = self.lock();
        if let Some(known) = state.tracker.lookup(attempt.request) {
            if !known.attempt.same_content(&attempt) {
                return Err(ScoreError::Conflict);
            }
            if known.outcome.is_some_and(|known| known != Outcome::Unknown) {
                return Ok(None);
            }
        }
        let activity = state.tracker.activity_for(historical);
        let snapshot = schema.snapshot_with(activity, &attempt, &context, &checked.given);
        let event = AttemptEvent {
            origin: self.log.boot(),
            seq: 0,
            attempt,
            outcome: Some(outcome),
            snapshot: Some(snapshot),
            decision: None,
            historical,
        };
        let at_home = state.at_home(&event.attempt);
        let applied = state.tracker.apply(&event);
        if applied.attempt {
            self.metrics.attempts_ingested(1);
        }
        if applied.outcome {
            state.happened(&event.attempt, outcome);
        }
        state.pending.remove(event.attempt.request);
        if !historical && !site.trusts(&event.attempt) {
            self.attacks.note(&event.attempt, applied.attempt, applied.outcome.then_some((outcome, at_home)));
            self.passing.note(&event.attempt, applied.attempt, applied.outcome.then_some(outcome));
        }
        let told = self.tell(&mut state, event, now);
        let much = state.inbox.waiting() >= NEWS_OF_BULK;
        drop(state);
        if much {
            self.digest();
        }
        Ok(told)
    }
}

/// The outcome in one word, for metrics.
fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unknown => "unknown",
        Outcome::Blocked => "blocked",
        Outcome::Failure => "failure",
        Outcome::Success => "success",
    }
}
