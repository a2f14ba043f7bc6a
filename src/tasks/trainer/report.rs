//! What a training is asked for, and how it ended.

use std::time::Duration;

use serde::Serialize;

use crate::learning::evaluation::Evaluation;
use crate::learning::run::RunError;
use crate::learning::tuning::Table;
use crate::store::StoreError;
use crate::store::registry::{ModelId, TriggerKey};
use crate::tasks::publisher::PublishError;

/// What to train for, and with how much.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    pub(crate) trigger: TriggerKey,
    /// Most training rows (feedback comes on top).
    pub(crate) samples: usize,
    pub(crate) epochs: u32,
    /// Search for width, learning rate and weight decay first.
    pub(crate) tune: bool,
    /// An operator asked: allowed on a pinned registry, and unpins it.
    pub(crate) by_operator: bool,
    /// Who asked, for history and audit.
    pub(crate) by: String,
}

/// How a training ended.
#[derive(Debug, Clone)]
pub(crate) enum TrainReport {
    Promoted {
        model: ModelId,
        reason: String,
        samples: usize,
        epochs: u32,
        evaluation: Box<Evaluation>,
        tuning: Option<Box<Table>>,
    },
    /// It waits for a person.
    Candidate {
        id: String,
        reason: String,
        samples: usize,
        epochs: u32,
        evaluation: Box<Evaluation>,
        tuning: Option<Box<Table>>,
    },
    Refused {
        reason: String,
        samples: usize,
        epochs: u32,
        evaluation: Option<Box<Evaluation>>,
        tuning: Option<Box<Table>>,
    },
    NotEnoughData {
        reason: String,
    },
    /// Another node holds the lease for at most this long.
    Held {
        remaining: Duration,
    },
    /// The trigger was served before.
    AlreadyDone,
    /// This node is training already.
    Busy,
}

/// Why a training ended without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainError {
    #[error("cannot train: {0}")]
    Store(#[from] StoreError),
    #[error("cannot train: {0}")]
    Publish(#[from] PublishError),
    #[error("cannot train: {0}")]
    Run(#[from] RunError),
    #[error("the training was cancelled: {reason}")]
    Cancelled { reason: &'static str },
    #[error("the training thread panicked; the model in use is unchanged")]
    Panicked,
}

/// The last training of this node, for `status`.
#[derive(Debug, Clone, Serialize)]
pub struct LastTraining {
    pub(crate) at: String,
    pub(crate) trigger: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
}

impl TrainReport {
    /// The outcome in one word, as it stands in history, status and metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Promoted { .. } => "promoted",
            Self::Candidate { .. } => "candidate",
            Self::Refused { .. } => "refused",
            Self::NotEnoughData { .. } => "not_enough_data",
            Self::Held { .. } => "held",
            Self::AlreadyDone => "already_done",
            Self::Busy => "busy",
        }
    }

    /// Why, for people.
    pub fn reason(&self) -> String {
        match self {
            Self::Promoted { reason, .. } | Self::Refused { reason, .. } | Self::NotEnoughData { reason } => {
                reason.clone()
            }
            Self::Candidate { id, reason, .. } => format!("{id} waits for `approve`: {reason}"),
            Self::Held { remaining } => {
                format!("another node is training; its lease lasts {} s at most", remaining.as_secs() + 1)
            }
            Self::AlreadyDone => "this trigger was served before".into(),
            Self::Busy => "this node is training already".into(),
        }
    }
}

/// The kind of a trigger: a word without identity, fit for metrics and history.
pub fn trigger_name(trigger: &TriggerKey) -> &'static str {
    match trigger {
        TriggerKey::Schedule { .. } => "schedule",
        TriggerKey::Feedback { .. } => "feedback",
        TriggerKey::Command { .. } => "command",
    }
}
