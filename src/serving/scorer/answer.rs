//! What a scorer answers, and why it does not take an attempt.

use std::sync::Arc;

use serde::Serialize;

use crate::detection::attempt::{Attempt, Outcome};
use crate::detection::event::{Decision, Snapshot};
use crate::detection::overrides::OverrideId;
use crate::detection::record::RecordError;
use crate::detection::verdict::Verdict;
use crate::learning::explanation::Explanation;
use crate::store::registry::ModelId;

/// Why an attempt was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// A field is missing or out of bounds.
    #[error(transparent)]
    Invalid(#[from] RecordError),
    /// The request id was used for another attempt.
    #[error("this request_id was used for an attempt with other content; send a new one")]
    Conflict,
}

/// Answer to a score request (`wire.md`: `POST /v1/score`).
#[derive(Debug, Clone, Serialize)]
pub struct ScoreAnswer {
    /// The caller's, or a random one: outcome and feedback name the attempt by it.
    pub request_id: String,
    /// What the caller should do.
    pub verdict: Verdict,
    /// What model and attack protection would have said, whether or not they have a say.
    pub would_be: Verdict,
    /// Of an attack, 0–1; `None` when neither a model nor the prior serves.
    pub probability: Option<f64>,
    /// Probability above which the model says `block`; `None` when it may only watch.
    pub threshold: Option<f64>,
    /// The model has no say: none serves, the fleet learns, or this node runs dry.
    pub learning_mode: bool,
    /// Why this verdict, in a few words for people.
    pub reason: String,
    /// The order of an operator for this account and network, in dry run as well; `None` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_id: Option<OverrideId>,
    /// Seconds that the client should wait before its next try, where attack protection slows it down; else `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Which model gave the probability; `None` when none serves, and when the prior gave it.
    pub model: Option<ModelId>,
    /// What made the probability; only if the caller asked for it, a model serves and has something to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// Answer to an outcome report.
#[derive(Debug, Clone, Serialize)]
pub struct OutcomeAnswer {
    /// As the caller wrote it.
    pub request_id: String,
    /// The outcome is known now, or was before; `false` for a look-up (`no_auth`), which has none.
    pub recorded: bool,
}

/// What is known of a request that somebody names later (feedback, explanation).
#[derive(Debug, Clone)]
pub struct Remembered {
    /// As it was first told.
    pub attempt: Attempt,
    /// `None` while nobody has said anything about it.
    pub outcome: Option<Outcome>,
    /// What was scored; `None` when the event that told of it had none.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What the caller was told; `None` for an attempt that was never scored.
    pub decision: Option<Decision>,
}
