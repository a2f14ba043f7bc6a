//! What a node shares with its fleet, in domain words.
//!
//! [`Store`] has two real implementations: `RedisStore` (one script per atomic step, all keys under one hash tag) and
//! `EmbeddedStore` (one redb file, for one host without Redis, for the demo and for tests). One contract suite runs on
//! both. The rules of the registry (who may publish, what a trigger is, when a lease is free) are not here but in
//! [`registry`], as pure functions; the embedded store calls them and a differential test holds the Lua scripts to them.
//!
//! Nothing in this trait is needed to score an attempt: every method may be slow or fail without stopping a login.

pub mod candidate;
pub mod embedded;
pub mod entry;
pub mod keys;
pub mod mode;
pub mod overrides;
pub mod redis;
pub mod registry;
pub mod upstream;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::detection::event::BootId;
use mode::{FleetMode, ModeChange, ModeReply};
use overrides::{OverridesChange, OverridesReply, StoredOverrides};
use registry::{
    Lease, LeaseReply, ModelId, PublishReply, PublishRequest, RefusalReply, RefusalRequest, Registry, ResetReply,
    RollbackReply, TriggerKey,
};

/// A boxed future, so that the trait can be used as `Arc<dyn Store>`.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A place in a stream. Positions only order entries; they are never time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Milliseconds of the store's clock at the append, or of an earlier append if the clock went back.
    pub major: u64,
    /// Running number within one `major`, from 0.
    pub minor: u64,
}

impl Position {
    /// Before the first entry of any stream.
    pub const START: Self = Self { major: 0, minor: 0 };

    /// Parses `major-minor`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('-')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.major, self.minor)
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a position is two numbers joined by '-'"))
    }
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or does not answer in time; trying later may help. Where a person asked for a change,
    /// nothing has changed and nothing will: what was sent and not answered is [`Unanswered`](Self::Unanswered).
    #[error("cannot {operation}: the store is unavailable")]
    Unavailable {
        /// What was asked, as a verb with its object: stands after "cannot".
        operation: &'static str,
        /// What the client or the file said; `None` when no connection stood, or it was given up while waiting.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It was sent, and no answer came in time: it may have been done, and where the store cannot tell late from in time it
    /// may still be done.
    #[error("the store did not answer in time when asked to {operation}: nobody knows yet whether that was done")]
    Unanswered {
        /// What was asked, as a verb with its object: stands after "asked to".
        operation: &'static str,
        /// What the client said; `None` when the connection was given up while waiting.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The store answered and will answer the same again: a person must act.
    #[error("cannot {operation}: {remedy}")]
    Refused {
        /// What was asked, as a verb with its object: stands after "cannot".
        operation: &'static str,
        /// What the operator should do about it.
        remedy: String,
        /// The refusal in the store's own words; `None` when it was found on this side.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// What lies in the store is not what this version writes.
    #[error("cannot {operation}: {what} in the store is damaged or foreign")]
    Corrupt {
        /// What was asked, as a verb with its object: stands after "cannot".
        operation: &'static str,
        /// What was found damaged, by its kind or key.
        what: String,
    },
}

/// One attempt on its way into the `attempts` stream and, when it can teach something, into the sample reservoir.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEntry {
    /// Encoded [`AttemptEvent`](crate::detection::event::AttemptEvent).
    pub event: Vec<u8>,
    /// `None` for what teaches nothing: no definite outcome, no snapshot.
    pub sample: Option<SampleEntry>,
}

/// One candidate for the sample reservoir.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleEntry {
    /// The stratum in which it competes for a place.
    pub class: SampleClass,
    /// Reservoir key: the store keeps the entries with the smallest keys of each class.
    pub key: f64,
    /// Encoded [`Sample`](crate::learning::sample::Sample).
    pub bytes: Vec<u8>,
}

/// A sample that is to stand in the reservoir in another form: the same one, with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Relabel {
    /// Where it stands.
    pub class: SampleClass,
    /// Its reservoir key; it keeps its place.
    pub key: f64,
    /// Its bytes as they were read.
    pub old: Vec<u8>,
    /// The bytes that replace them.
    pub new: Vec<u8>,
}

/// The strata of the reservoir. Each may fill half of `max_training_records`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SampleClass {
    /// Logins that succeeded.
    Success,
    /// Passwords that were wrong, and users that do not exist.
    Failure,
}

/// How much the streams may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries of the `attempts` stream.
    pub attempts_max: u64,
    /// Oldest entry of the `attempts` stream, counted from its ingestion.
    pub attempts_age: Duration,
    /// Most samples of one class.
    pub samples_per_class: u64,
    /// Most feedback entries; more are refused, none is trimmed by number.
    pub feedback_max: u64,
    /// Oldest feedback entry.
    pub feedback_age: Duration,
    /// Most entries of the history.
    pub history_max: u64,
    /// Models of other content kept for rollback beside the current one.
    pub models_kept: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            attempts_max: 1_000_000,
            attempts_age: Duration::from_secs(DAY),
            samples_per_class: 50_000,
            feedback_max: 50_000,
            feedback_age: Duration::from_secs(90 * DAY),
            // 200: about three months of two trainings a day, and a page that a person still reads.
            history_max: 200,
            // 5: rollback over more trainings than that has never been a rollback but a reset.
            models_kept: 5,
        }
    }
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            attempts_max: config.attempts.stream_max,
            attempts_age: config.limits.attempts_age,
            samples_per_class: (config.ml.max_training_records / 2).max(1),
            feedback_max: config.limits.feedback_max,
            feedback_age: config.limits.feedback_age,
            history_max: config.limits.history_max,
            models_kept: config.limits.models_kept,
        }
    }
}

/// What became of one feedback item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedbackAppended {
    /// It is new and lies here.
    Recorded(Position),
    /// The same id was recorded before, here.
    Known(Position),
    /// `feedback_max` is reached.
    Full,
}

/// One exchange of the list of additional features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeaturesChange {
    /// The stored list that `after` was made from; `None` for none.
    pub before: Option<Vec<u8>>,
    /// What stands there afterwards, at most [`LIST_BYTES_MAX`](crate::detection::additional::LIST_BYTES_MAX) bytes.
    pub after: Vec<u8>,
    /// Who takes the model away with it, for the history, and the lineage if there is none yet; `None`: it stays.
    pub reset: Option<(String, [u8; 16])>,
}

/// What became of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeaturesReply {
    /// It is done.
    Changed,
    /// Another list stands there by now: read it and decide again.
    Conflict,
}

/// Who may execute a command that reached several nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The caller executes it.
    Won,
    /// Another node is executing it.
    Lost,
    /// It was executed; this is the recorded result (JSON).
    Done(Vec<u8>),
}

/// What a node tells the others about itself; kept until [`NODE_TTL`] after the last report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// For people; not unique.
    pub name: String,
    /// Random id from the node's state directory, hex.
    pub node_id: String,
    /// Hex of the [`BootId`].
    pub boot_id: String,
    /// Of the program, as in its release.
    pub version: String,
    /// What it serves; `None` without a model.
    pub model: Option<ModelId>,
    /// Store time of the report in milliseconds since the epoch; the store sets it.
    #[serde(default)]
    pub seen_at_ms: i64,
}

/// Reports older than this are gone: three missed reports at the slowest rate (10 s).
pub const NODE_TTL: Duration = Duration::from_secs(35);

/// What arrives from a store without being asked for. Announcements and commands are hints and requests, never state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The subscription stands (again): whatever was missed must be read now.
    Subscribed,
    /// The subscription is gone; the store is trying to get it back.
    Lost,
    /// Bytes from the announcement channel, at most [`ANNOUNCEMENT_MAX`].
    Announcement(Vec<u8>),
    /// Bytes from the command channel, at most [`COMMAND_MAX`].
    Command(Vec<u8>),
    /// A message over its limit arrived; the payload was not kept.
    Oversized {
        /// `announcements` or `commands`.
        channel: &'static str,
        /// Length of the message.
        bytes: usize,
    },
}

/// Longest announcement: a doorbell carries an identity, nothing else.
pub const ANNOUNCEMENT_MAX: usize = 512;
/// Longest command: arguments are few and short.
pub const COMMAND_MAX: usize = 4096;
/// Longest description of the measures against attacks: 4096 networks, accounts and resets of accounts each, as JSON.
pub const PROTECTION_MAX: usize = 1024 * 1024;
/// How long the measures against attacks are kept: longer than any of them holds.
pub const PROTECTION_TTL: Duration = Duration::from_secs(2 * 24 * 3600);
/// Longest model artifact. A login model is tens of KiB; Redis is blocked for everybody while it copies a blob.
pub const MODEL_MAX: usize = 4 * 1024 * 1024;

/// One line of the audit trail (JSON in the store).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Tells it from another one of the same millisecond; random, empty in entries of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Clock of the node that carried it out, in milliseconds since the epoch.
    pub at_ms: i64,
    /// Name of that node.
    pub node: String,
    /// Who asked, and in brackets by which way and from which address; see [`AuditEntry::caller`].
    pub who: String,
    /// Its name, without arguments.
    pub command: String,
    /// `ok`; what became of it; why it was not carried out; or `unknown` and what is known.
    pub outcome: String,
    /// What was asked for and what it was asked about, as an object of at most a KiB or so; `null` in entries of earlier
    /// versions and where there is nothing to say.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl AuditEntry {
    /// `who` of an entry: `alice (http, 192.0.2.7)`, `alice (channel)`.
    pub fn caller(who: &str, origin: &str, peer: Option<IpAddr>) -> String {
        match peer {
            Some(peer) => format!("{who} ({origin}, {peer})"),
            None => format!("{who} ({origin})"),
        }
    }

    /// The parts of `who`: name, way in and address; what is not there is `None`.
    pub fn caller_parts(&self) -> (&str, Option<&str>, Option<&str>) {
        let parts = self.who.strip_suffix(')').and_then(|who| who.rsplit_once(" ("));
        let Some((who, from)) = parts else { return (&self.who, None, None) };
        match from.split_once(", ") {
            Some((origin, peer)) => (who, Some(origin), Some(peer)),
            None => (who, Some(from), None),
        }
    }
}

/// Everything that nodes share. See the module documentation for the two implementations.
///
/// Cancelling a future may leave the step done or not done, never half done. The steps that people order (feedback, model,
/// mode, features, orders for pairs) end in time or not at all, as far as the store's clock can tell: see
/// [`StoreError::Unanswered`].
pub trait Store: Send + Sync + 'static {
    /// `redis` or `embedded`, for people.
    fn backend(&self) -> &'static str;

    /// Whether the last exchange with the store succeeded. Never blocks.
    fn connected(&self) -> bool;

    /// One cheap round trip: errs when the store cannot be used.
    fn ping(&self) -> Answer<'_, ()>;

    /// Applies new limits to later appends.
    fn set_limits(&self, limits: Limits);

    // --- attempts -----------------------------------------------------------------------------------------------

    /// Appends a batch (at most [`entry::BATCH_MAX`]) in order and offers its samples to the reservoir, in one step.
    fn append_attempts<'a>(&'a self, batch: &'a [AttemptEntry]) -> Answer<'a, Position>;

    /// Up to `max` entries after `after`, oldest first.
    fn read_attempts(&self, after: Position, max: usize) -> Answer<'_, Vec<(Position, Vec<u8>)>>;

    /// The position of the newest entry; [`Position::START`] for an empty stream.
    fn attempts_end(&self) -> Answer<'_, Position>;

    /// All samples of a class as (reservoir key, bytes), at most `samples_per_class`, in ascending order of the key.
    fn read_samples(&self, class: SampleClass) -> Answer<'_, Vec<(f64, Vec<u8>)>>;

    /// Offers samples without an attempt (at most [`entry::BATCH_MAX`]) to the reservoir, in one step. One that is there
    /// already stays as it is.
    fn add_samples<'a>(&'a self, samples: &'a [SampleEntry]) -> Answer<'a, ()>;

    /// Replaces samples (at most [`entry::BATCH_MAX`]) by another form of themselves, in one step. One whose old form is
    /// gone is left alone: it has left the reservoir, or somebody else was faster. Returns how many were replaced.
    fn relabel_samples<'a>(&'a self, changes: &'a [Relabel]) -> Answer<'a, u64>;

    // --- feedback -----------------------------------------------------------------------------------------------

    /// Records one feedback item (encoded [`Feedback`](crate::learning::sample::Feedback)) under its idempotency id.
    fn append_feedback<'a>(&'a self, id: &'a str, bytes: &'a [u8]) -> Answer<'a, FeedbackAppended>;

    /// Up to `max` feedback entries after `after`, oldest first.
    fn read_feedback(&self, after: Position, max: usize) -> Answer<'_, Vec<(Position, Vec<u8>)>>;

    /// How many feedback entries lie after `after`, counting no further than `limit`.
    fn count_feedback(&self, after: Position, limit: u64) -> Answer<'_, u64>;

    // --- registry -----------------------------------------------------------------------------------------------

    /// The registry as it stands now (read from the master, never from a replica).
    fn registry(&self) -> Answer<'_, Registry>;

    /// The artifact with this content hash, at most [`MODEL_MAX`] bytes; `None` when it is gone.
    fn model(&self, sha256: [u8; 32]) -> Answer<'_, Option<Vec<u8>>>;

    /// Asks for the right to train for `trigger`. See [`registry::decide_lease`].
    fn acquire_lease<'a>(
        &'a self,
        trigger: &'a TriggerKey,
        holder: BootId,
        ttl: Duration,
        high_water: registry::HighWater,
    ) -> Answer<'a, LeaseReply>;

    /// Extends a lease; `false` when it is no longer the caller's.
    fn renew_lease(&self, lease: Lease, ttl: Duration) -> Answer<'_, bool>;

    /// Gives a lease back; a lease that is no longer the caller's is left alone.
    fn release_lease(&self, lease: Lease) -> Answer<'_, ()>;

    /// Publishes an artifact, moves the watermark, takes a waiting candidate away, ends learning mode where that is asked for
    /// and the mode still is what it was, writes history and rings the announcement, in one step.
    fn publish<'a>(&'a self, request: &'a PublishRequest, artifact: &'a [u8]) -> Answer<'a, PublishReply>;

    /// Records that a training published nothing, and why; its candidate, if there is one, replaces the one that waits.
    fn record_refusal<'a>(&'a self, request: &'a RefusalRequest) -> Answer<'a, RefusalReply>;

    /// Leaves the fleet without a model. `by` is a person or a node, for the history.
    fn reset<'a>(&'a self, by: &'a str, lineage_if_new: [u8; 16]) -> Answer<'a, ResetReply>;

    /// Makes an earlier model current again and pins it. `None` = the one before the current one.
    fn rollback<'a>(&'a self, generation: Option<u64>, by: &'a str) -> Answer<'a, RollbackReply>;

    /// Puts a model back that the store lost: only when the registry is empty or its blob is missing.
    fn restore<'a>(&'a self, model: ModelId, artifact: &'a [u8]) -> Answer<'a, bool>;

    /// The description of the candidate that waits for an approval; `None` while none does.
    fn candidate(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// The artifact of the candidate that waits, at most [`MODEL_MAX`] bytes.
    fn candidate_model(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// Takes the candidate with exactly this description away and writes the history; `false` when another one waits, or
    /// none. `by` is a person or a node.
    fn discard_candidate<'a>(&'a self, note: &'a [u8], by: &'a str) -> Answer<'a, bool>;

    /// The newest `max` history entries (JSON), newest first.
    fn history(&self, max: usize) -> Answer<'_, Vec<Vec<u8>>>;

    // --- additional features ------------------------------------------------------------------------------------

    /// The list of additional features as it was stored; `None` while there is none.
    fn features(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// Exchanges the list, if it still is what the caller saw, and announces that; with `reset` the model goes in the same
    /// step, as in [`reset`](Self::reset).
    fn change_features<'a>(&'a self, change: &'a FeaturesChange) -> Answer<'a, FeaturesReply>;

    // --- fleet --------------------------------------------------------------------------------------------------

    /// The fleet's learning mode; `None` while nobody ever set it.
    fn learning_mode(&self) -> Answer<'_, Option<FleetMode>>;

    /// Switches learning mode for the fleet, if it still is what the change expects, notes time and last feedback with it,
    /// and announces it. With `history` the entry is written in the same step.
    fn set_learning_mode<'a>(&'a self, change: &'a ModeChange) -> Answer<'a, ModeReply>;

    /// What operators have ordered for single pairs; `None` where its revision is the one that the caller knows.
    fn overrides<'a>(&'a self, known: Option<&'a str>) -> Answer<'a, Option<StoredOverrides>>;

    /// Changes what operators have ordered, in one step, and announces it; see [`OverridesChange`].
    fn change_overrides<'a>(&'a self, change: &'a OverridesChange) -> Answer<'a, OverridesReply>;

    /// The fleet's pseudonym key: the stored one, or `proposed`, which is stored if there was none.
    fn shared_key(&self, proposed: [u8; 32]) -> Answer<'_, [u8; 32]>;

    /// Reports this node and forgets the ones not heard of for [`NODE_TTL`].
    fn report_node<'a>(&'a self, report: &'a NodeReport) -> Answer<'a, ()>;

    /// The nodes heard of within [`NODE_TTL`], by name.
    fn nodes(&self) -> Answer<'_, Vec<NodeReport>>;

    /// The measures against attacks that the fleet shares, as they were stored, at most [`PROTECTION_MAX`] bytes; `None`
    /// while there are none.
    fn load_protection(&self) -> Answer<'_, Option<Vec<u8>>>;

    /// Stores measures, if what is there still is what the caller has merged into them (`merged`; `None` for nothing).
    /// `false`: somebody else was faster; load, merge and store again. What is stored goes [`PROTECTION_TTL`] after the last
    /// time.
    fn save_protection<'a>(&'a self, merged: Option<&'a [u8]>, protection: &'a [u8]) -> Answer<'a, bool>;

    /// Tries to become the one that executes command `id`; the claim lapses after `ttl`.
    fn claim_command<'a>(&'a self, id: &'a str, holder: BootId, ttl: Duration) -> Answer<'a, Claim>;

    /// Records the result of command `id` for an hour and, when asked, sends it to a channel.
    fn finish_command<'a>(&'a self, id: &'a str, result: &'a [u8], reply_to: Option<&'a str>) -> Answer<'a, ()>;

    /// Appends to the audit trail (kept 180 days, at most 100 000 entries). An entry that is among the newest
    /// [`entry::AUDIT_AGAIN`] already is not written twice: a lost answer can be made up for by asking again.
    fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> Answer<'a, ()>;

    /// The newest `max` entries of the audit trail, newest first; what another tool has put there is left out.
    fn audit(&self, max: usize) -> Answer<'_, Vec<AuditEntry>>;

    /// Subscribes to announcements and commands. The subscription lives as long as the receiver and repairs itself;
    /// each time it stands, [`Signal::Subscribed`] comes first. A receiver that lags loses messages, never signals of state.
    fn subscribe(&self) -> mpsc::Receiver<Signal>;

    /// Sends a command to the command channel, as another tool would (used by tests and the demo).
    fn send_command<'a>(&'a self, command: &'a [u8]) -> Answer<'a, ()>;
}
