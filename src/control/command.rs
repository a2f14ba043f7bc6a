//! What can be asked of a node. Arguments are bounded here, once, for every way in.
//!
//! How a request is read is a matter of each way in; that of the command channel is in `message.rs`.

use std::fmt::Display;
use std::net::IpAddr;

use serde::Deserialize;

use super::ControlError;
use super::attacks::AttackCommand;
use super::import::ImportState;
use super::overrides::OverrideCommand;
use crate::detection::additional::SLOTS_MAX;
use crate::detection::record::RecordError;
use crate::store::upstream::training::Batch;

/// Most training rows one command may ask for: the largest store of samples.
pub const SAMPLES_MAX: usize = 10_000_000;
/// Most epochs: far beyond any use, short of for ever.
pub const EPOCHS_MAX: u32 = 10_000_000;
/// Most entries of the audit trail in one answer: each has at most a KiB.
pub const AUDIT_SHOWN_MAX: usize = 1000;
/// Longest id, author and reply channel.
const WORD_MAX: usize = 128;

/// One request to the node.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Train a model now, and publish it if it passes the gate.
    Train(TrainCommand),
    /// Leave the fleet without a model.
    Reset,
    /// Make an earlier model current again and pin it.
    Rollback {
        /// The generation, from 1; `None` = the one before the current content.
        generation: Option<u64>,
    },
    /// Publish the candidate that waits for a person, or take it away.
    Approve {
        /// The candidate, as history and status name it; `None` = whichever waits.
        id: Option<String>,
        /// Take it away instead.
        discard: bool,
    },
    /// Let this node read the registry and follow it now.
    ReloadModel,
    /// Switch learning mode for the fleet; refused by a node in dry run, unless the fleet was asked by the channel.
    LearningMode {
        /// On: models score and have no say.
        enabled: bool,
    },
    /// Say whether this node is in learning mode, and why.
    ReadLearningMode,
    /// Take a person's word on one request.
    Feedback(FeedbackCommand),
    /// Say why a request was scored as it was.
    Explain {
        /// The request as it was scored; one that no node remembers is refused.
        request_id: String,
    },
    /// Show this node.
    Status,
    /// List the standard features and the additional ones.
    Features,
    /// Remove additional features, and the model that has learnt from them.
    RemoveFeatures {
        /// 1 to 32 names as requests give them.
        names: Vec<String>,
    },
    /// Let requests bring in names again that were removed.
    AllowFeatures {
        /// 1 to 32 names as requests give them.
        names: Vec<String>,
    },
    /// Take in training records of Nauthilus 1.7, which were read and bounded before.
    Import(Batch),
    /// Take over model, additional features and learning mode of Nauthilus 1.7.
    ImportState(Box<ImportState>),
    /// Show the serving model in the form of Nauthilus 1.7.
    Export,
    /// List past trainings, resets and rollbacks, newest first.
    History,
    /// About distributed attacks.
    Attacks(AttackCommand),
    /// About single pairs of an account and a network.
    Override(OverrideCommand),
    /// Show who said what about which request, newest first.
    FeedbackList {
        /// Most items, 1 to [`AUDIT_SHOWN_MAX`].
        limit: usize,
    },
    /// Show who had what done, newest first.
    Audit {
        /// Most entries, 1 to [`AUDIT_SHOWN_MAX`].
        limit: usize,
    },
}

/// How to train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainCommand {
    /// Most samples trained on, 1 to [`SAMPLES_MAX`]; `None` = `training.samples`. Feedback comes on top.
    pub samples: Option<usize>,
    /// Epochs, 1 to [`EPOCHS_MAX`]; `None` = `training.epochs`.
    pub epochs: Option<u32>,
    /// Search for width, learning rate and weight decay first.
    pub tune: bool,
    /// Whether the answer comes after the training; else it comes at once and names the id.
    pub wait: bool,
    /// Names the training: the same id trains once. `None` = a random one.
    pub id: Option<String>,
}

/// A person's word on one request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackCommand {
    /// The person says that it was an attack; `false`: that it was legitimate.
    pub is_brute_force: bool,
    /// The request as it was scored; one that no node remembers is refused.
    pub request_id: String,
    /// Address of the request, in any spelling; must be the one that was scored.
    pub client_ip: String,
    /// Name or account of the request, folded before it is compared; must be one of the two scored.
    pub username: String,
    /// Whose word it is, at most 128 bytes; `None` = the caller. The latest word of an author counts.
    #[serde(default)]
    pub author: Option<String>,
    /// Idempotency id, at most 128 bytes; the same id is recorded once. `None` = one made of request, word, author and
    /// the minute.
    #[serde(default)]
    pub id: Option<String>,
}

/// The way in that reaches all nodes: a command is meant for the fleet, not for the node that carries it out.
pub const CHANNEL: &str = "channel";

/// Who asks, and by which way.
#[derive(Debug, Clone)]
pub struct Caller {
    /// A role or the issuer that a message names, for history and audit; never a secret.
    pub who: String,
    /// The way in: `http`, `cli`, `hook`, `channel`, [`Caller::BRIDGE`], or whatever runs the node within its own process.
    pub origin: &'static str,
    /// The address of the connection; `None` where there is none. Stands in the audit trail; the log has only whether it is
    /// this machine's.
    pub peer: Option<IpAddr>,
}

impl Caller {
    /// The way in of whatever was heard from nodes of Nauthilus 1.7.
    pub const BRIDGE: &'static str = "bridge";
}

impl Command {
    /// The name on the channel, in metrics and in the audit trail.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Train(_) => "train",
            Self::Reset => "reset",
            Self::Rollback { .. } => "rollback",
            Self::Approve { .. } => "approve",
            Self::ReloadModel => "reload_model",
            Self::LearningMode { .. } => "learning_mode",
            Self::ReadLearningMode => "read_learning_mode",
            Self::Feedback(_) => "feedback",
            Self::Explain { .. } => "explain",
            Self::Import(_) => "import",
            Self::ImportState(_) => "import_state",
            Self::Export => "export",
            Self::Status => "status",
            Self::History => "history",
            Self::FeedbackList { .. } => "feedback_list",
            Self::Audit { .. } => "audit",
            Self::Attacks(command) => command.name(),
            Self::Override(command) => command.name(),
            Self::Features => "features",
            Self::RemoveFeatures { .. } => "remove_features",
            Self::AllowFeatures { .. } => "allow_features",
        }
    }

    /// Whether the command is audited.
    pub fn changes_something(&self) -> bool {
        match self {
            Self::Attacks(command) => return command.changes_something(),
            Self::Override(command) => return command.changes_something(),
            Self::ImportState(state) => return !state.check,
            _ => {}
        }
        !matches!(
            self,
            Self::ReadLearningMode
                | Self::Explain { .. }
                | Self::Export
                | Self::Status
                | Self::History
                | Self::FeedbackList { .. }
                | Self::Audit { .. }
                | Self::Features
        )
    }

    /// Where a caller sees whether it was done, if nobody could tell him; stands after "nobody knows yet whether".
    pub(super) fn where_to_look(&self) -> &'static str {
        match self {
            Self::LearningMode { .. } => "see `learning-mode` before you repeat it",
            Self::Override(_) => "see `override list` before you repeat it",
            Self::RemoveFeatures { .. } => "see `features list` before you repeat it",
            Self::Feedback(_) => "`status` counts what is recorded; given again with the same `id`, it counts once",
            Self::Train(_) | Self::Reset | Self::Rollback { .. } | Self::Approve { .. } => {
                "see `history` before you repeat it"
            }
            _ => "see `status` before you repeat it",
        }
    }

    /// Whether the effect is the fleet's, so that one node must carry it out, not each that hears of it.
    pub fn is_fleet_wide(&self) -> bool {
        !matches!(self, Self::ReloadModel | Self::Explain { .. } | Self::Export | Self::Status)
    }

    /// Checks the bounds of the arguments.
    ///
    /// # Errors
    /// The first argument out of bounds.
    pub fn check(self) -> Result<Self, ControlError> {
        match &self {
            Self::Train(TrainCommand { samples, epochs, id, .. }) => {
                within("samples", *samples, SAMPLES_MAX)?;
                within("epochs", *epochs, EPOCHS_MAX)?;
                word("id", id.as_deref())?;
            }
            Self::Feedback(feedback) => {
                word("author", feedback.author.as_deref())?;
                word("id", feedback.id.as_deref())?;
            }
            Self::Audit { limit } | Self::FeedbackList { limit } => within("limit", Some(*limit), AUDIT_SHOWN_MAX)?,
            Self::Approve { id, .. } => word("training_id", id.as_deref())?,
            Self::Rollback { generation: Some(0) } => {
                return Err(invalid("generation", "must be at least 1"));
            }
            Self::RemoveFeatures { names } | Self::AllowFeatures { names } => {
                if names.is_empty() || names.len() > SLOTS_MAX {
                    return Err(invalid("names", format!("must be 1 to {SLOTS_MAX} names")));
                }
                names.iter().try_for_each(|name| word("names", Some(name)))?;
            }
            Self::ImportState(state) => state.check()?,
            Self::Attacks(command) => command.check()?,
            Self::Override(command) => command.check()?,
            _ => {}
        }
        Ok(self)
    }
}

/// Whether JSON is an object: serde would take a list of values in the order of a struct's fields as well.
pub fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// A problem with one field that attempts have too.
pub(super) fn of_field(error: RecordError) -> ControlError {
    invalid(error.field, error.error)
}

/// A problem with one field.
pub fn invalid(field: &'static str, error: impl Into<String>) -> ControlError {
    ControlError::Invalid { field, error: error.into() }
}

fn within<T: From<u8> + PartialOrd + Copy + Display>(
    field: &'static str,
    value: Option<T>,
    max: T,
) -> Result<(), ControlError> {
    match value {
        Some(value) if value < T::from(1) => Err(invalid(field, "must be at least 1")),
        Some(value) if value > max => Err(invalid(field, format!("must be at most {max}"))),
        _ => Ok(()),
    }
}

pub(super) fn word(field: &'static str, value: Option<&str>) -> Result<(), ControlError> {
    match value {
        Some("") => Err(invalid(field, "is empty")),
        Some(value) if value.len() > WORD_MAX => Err(invalid(field, format!("is longer than {WORD_MAX} bytes"))),
        Some(value) if value.chars().any(char::is_control) => Err(invalid(field, "has control characters")),
        _ => Ok(()),
    }
}
