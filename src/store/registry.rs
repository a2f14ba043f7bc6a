//! The rules of the model registry: who may train, who may publish, which trigger is already served.
//!
//! Pure functions over the registry's state. The embedded store calls them inside a write transaction; the Lua scripts
//! of the Redis store do the same steps, and a differential test compares the two. Order of checks is part of the rule.

mod decide;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::Position;
use super::candidate::Candidate;
use super::mode::EndOfLearning;
use crate::detection::event::BootId;

pub use decide::{
    COMMANDS_MAX, CommandKey, Decided, HeldLease, KEPT_MAX, Kept, NUMBER_MAX, State, decide_lease, decide_publish,
    decide_refusal, decide_release, decide_renewal, decide_reset, decide_restore, decide_rollback,
};

/// Which model: random 128-bit lineage, running number in it, content hash. All three make the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelId {
    /// Drawn when a registry gets its first model or reset; tells apart registries that count from 1 again.
    #[serde(with = "hex_bytes")]
    pub lineage: [u8; 16],
    /// Rises with each publish, reset and rollback, from 1.
    pub generation: u64,
    /// Of the artifact's payload.
    #[serde(with = "hex_bytes")]
    pub sha256: [u8; 32],
}

/// Fixed-width bytes as lower-case hex, the form in which people and other tools see identities.
mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(from)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(&text, &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}

/// Highest numbers that a node ever saw, so that they never run backwards after the store lost data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HighWater {
    /// The highest fencing token, whatever came of its lease.
    pub fence: u64,
    /// The highest generation, in whatever lineage.
    pub generation: u64,
}

/// What a training was for. A trigger that is served once is never served again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TriggerKey {
    /// A schedule by its name, and the slot it fired for (milliseconds since the epoch).
    Schedule {
        /// Of the schedule: its expression as it stands in the configuration.
        name: String,
        /// The slot: no earlier one of the same name is served afterwards.
        slot_ms: i64,
    },
    /// Feedback up to and including this entry.
    Feedback {
        /// The newest entry that was seen when the training was asked for.
        upto: Position,
    },
    /// A command by its id.
    Command {
        /// As its sender wrote it, or random.
        id: String,
    },
}

/// A right to train, until the store's clock passes its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The node, by this start of it.
    pub holder: BootId,
    /// Fencing token: larger than that of every earlier lease.
    pub fence: u64,
}

/// The registry's state.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Registry {
    /// Present since the first publish or reset.
    pub lineage: Option<[u8; 16]>,
    /// Of the last publish, reset or rollback.
    pub generation: u64,
    /// Content hash of the current model; `None` after a reset.
    pub sha256: Option<[u8; 32]>,
    /// The highest fencing token ever handed out.
    pub fence: u64,
    /// Fence of the last accepted publish or refusal.
    pub published_fence: u64,
    /// Feedback up to here is in a published model.
    pub watermark: Position,
    /// Feedback up to here was seen by a training that published nothing.
    pub considered: Position,
    /// Last slot served, by schedule name.
    pub slots: std::collections::BTreeMap<String, i64>,
    /// Store time (ms) of the last training that ended, whatever its outcome; `None` before the first.
    pub trained_at_ms: Option<i64>,
    /// Store time (ms) of the last training triggered by feedback.
    pub feedback_trained_at_ms: Option<i64>,
    /// A rollback pins the model: automatic trainings do not publish until an operator trains.
    pub pinned: bool,
    /// Highest artifact format ever published; older daemons must not overwrite it with a lower one.
    pub format: u16,
    /// Store time (ms) when this was read.
    pub now_ms: i64,
}

impl Registry {
    /// The identity that the registry points at, if it has a model.
    pub fn current(&self) -> Option<ModelId> {
        Some(ModelId { lineage: self.lineage?, generation: self.generation, sha256: self.sha256? })
    }
}

/// What a publish asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// The lease under which the model was trained (it may have lapsed meanwhile: the fence decides).
    pub lease: Lease,
    /// Served from now on, if the publish is accepted.
    pub trigger: TriggerKey,
    /// The (generation, sha256) that the challenger was compared with.
    pub parent: Parent,
    /// Identity of the new model; `lineage` must be the registry's, or any when the registry is empty.
    pub model: ModelId,
    /// Artifact format of the new model.
    pub format: u16,
    /// Feedback captured by the dataset; moves the watermark, only forward.
    pub watermark: Position,
    /// Started by an operator: allowed while pinned, and unpins.
    pub by_operator: bool,
    /// JSON for the history.
    pub history: Vec<u8>,
    /// Name of the publishing node, for the announcement's `origin`.
    pub origin: String,
    /// Learning mode ends with this publish; `None`: it stays.
    pub ends_learning: Option<EndOfLearning>,
}

/// The state of the registry that a challenger was built against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parent {
    /// Of the registry when the lease was given; 0 for one that never had a model.
    pub generation: u64,
    /// Content of the current model then; `None` when there was none.
    pub sha256: Option<[u8; 32]>,
}

/// What a refusal records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalRequest {
    /// The lease of the training (it may have lapsed meanwhile: the fence decides).
    pub lease: Lease,
    /// Served from now on, if the refusal is accepted.
    pub trigger: TriggerKey,
    /// Feedback captured by the dataset; moves `considered`, only forward.
    pub considered: Position,
    /// JSON for the history.
    pub history: Vec<u8>,
    /// What the training left for a person to approve; `None`: nothing, and what waits already goes on waiting.
    pub candidate: Option<Candidate>,
}

/// Answer to a lease request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseReply {
    /// The caller may train. `registry` is the state at that moment.
    Acquired {
        /// The right, from now for the time asked for.
        lease: Lease,
        /// Read in the same step.
        registry: Box<Registry>,
    },
    /// Somebody trains; ask again when `remaining` has passed.
    Held {
        /// What is left of the lease unless it is renewed, by the store's clock.
        remaining: std::time::Duration,
    },
    /// The trigger is served already.
    AlreadyDone,
}

/// Answer to a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishReply {
    /// It is the current model now.
    Published,
    /// This very model is current already under this fence: the first answer was lost.
    AlreadyPublished,
    /// A training with a later lease has ended since.
    StaleFence,
    /// The current model is not the one the challenger was compared with.
    ParentChanged,
    /// The generation is not the next one, or the lineage is another.
    WrongIdentity,
    /// A rollback pinned the current model.
    Pinned,
    /// The registry has seen a newer artifact format: upgrade this node.
    OldFormat,
}

impl PublishReply {
    /// Why, for history and operators.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Published | Self::AlreadyPublished => "published",
            Self::StaleFence => "a training with a later lease has ended meanwhile",
            Self::ParentChanged => "the current model changed while this one was trained",
            Self::WrongIdentity => "another model of this generation was published meanwhile",
            Self::Pinned => "a rollback pinned the current model; train by hand to unpin it",
            Self::OldFormat => "the registry holds a newer artifact format; upgrade this node",
        }
    }
}

/// Answer to a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReply {
    /// It stands in the history, now or since the same request before.
    Recorded,
    /// A training with a later lease has ended since; nothing was recorded.
    StaleFence,
}

/// Answer to a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetReply {
    /// The registry's, new if it had none.
    pub lineage: [u8; 16],
    /// Of the empty state: the next model's is higher.
    pub generation: u64,
}

/// Answer to a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackReply {
    /// The earlier content is current again, under a new generation.
    RolledBack(ModelId),
    /// No published model of that generation is kept.
    NotFound,
}
