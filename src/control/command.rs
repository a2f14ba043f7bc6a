//! What can be asked of a node, and how a message from the command channel becomes such a request.
//!
//! Arguments are bounded here, once, for every way in. Unknown fields are refused: a typo in a command must not change
//! its meaning.

use std::fmt::Display;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ControlError;
use super::attacks::AttackCommand;
use super::import::ImportState;
use super::overrides::{OverrideCommand, OverrideOrder, OverridePage, OverridePair};
use crate::detection::additional::SLOTS_MAX;
use crate::detection::attempt::Timestamp;
use crate::detection::overrides::OverrideKind;
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

/// A command from the channel, with what belongs to the message rather than to the command.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub(crate) command: Command,
    /// The same id is carried out once an hour and its result kept as long; `None`: once in a few seconds.
    pub(crate) id: Option<String>,
    /// Channel for the result.
    pub(crate) reply_to: Option<String>,
    pub(crate) issued_by: Option<String>,
    /// After this the command is refused.
    pub(crate) expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    command: String,
    id: Option<String>,
    reply_to: Option<String>,
    issued_by: Option<String>,
    expires_at: Option<String>,
    samples: Option<usize>,
    epochs: Option<u32>,
    generation: Option<u64>,
    enabled: Option<bool>,
    is_brute_force: Option<bool>,
    request_id: Option<String>,
    client_ip: Option<String>,
    username: Option<String>,
    author: Option<String>,
    wait: Option<bool>,
    tune: Option<bool>,
    names: Option<Vec<String>>,
    training_id: Option<String>,
    discard: Option<bool>,
    network: Option<String>,
    until: Option<String>,
    duration: Option<String>,
    reason: Option<String>,
    override_id: Option<String>,
    offset: Option<usize>,
    limit: Option<usize>,
}

/// Every field that a message may have.
const FIELDS: [&str; 26] = [
    "command",
    "id",
    "reply_to",
    "issued_by",
    "expires_at",
    "samples",
    "epochs",
    "generation",
    "enabled",
    "is_brute_force",
    "request_id",
    "client_ip",
    "username",
    "author",
    "wait",
    "tune",
    "names",
    "training_id",
    "discard",
    "network",
    "until",
    "duration",
    "reason",
    "override_id",
    "offset",
    "limit",
];

impl Message {
    /// Reads a message from the command channel.
    ///
    /// # Errors
    /// Naming the field that is missing, unknown, out of bounds or foreign to the command. The payload is not repeated.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlError> {
        let fields: Fields = serde_json::from_slice(bytes).map_err(|error| parse_error(bytes, &error))?;
        if !is_object(bytes) {
            return Err(invalid("body", "is not a JSON object"));
        }
        word("id", fields.id.as_deref())?;
        word("reply_to", fields.reply_to.as_deref())?;
        word("issued_by", fields.issued_by.as_deref())?;
        let expires_at = match &fields.expires_at {
            None => None,
            Some(text) => Some(Timestamp::parse(text).ok_or_else(|| invalid("expires_at", "is not an RFC 3339 time"))?),
        };
        let command = command(&fields)?.check()?;
        Ok(Self { command, id: fields.id, reply_to: fields.reply_to, issued_by: fields.issued_by, expires_at })
    }
}

/// The result of a command as it is recorded and sent (`wire.md`: the command channel).
pub fn answer(id: Option<&str>, command: &str, node: &str, result: Result<&Value, &ControlError>) -> Value {
    let mut answer = json!({ "id": id, "command": command, "ok": result.is_ok(), "node": node });
    match result {
        Ok(result) => answer["result"] = result.clone(),
        Err(error) => answer["error"] = Value::String(error.to_string()),
    }
    if matches!(result, Err(ControlError::Unknown { .. })) {
        answer["unknown"] = true.into();
    }
    answer
}

fn command(fields: &Fields) -> Result<Command, ControlError> {
    let given = [
        ("samples", fields.samples.is_some()),
        ("epochs", fields.epochs.is_some()),
        ("wait", fields.wait.is_some()),
        ("tune", fields.tune.is_some()),
        ("generation", fields.generation.is_some()),
        ("enabled", fields.enabled.is_some()),
        ("is_brute_force", fields.is_brute_force.is_some()),
        ("request_id", fields.request_id.is_some()),
        ("client_ip", fields.client_ip.is_some()),
        ("username", fields.username.is_some()),
        ("author", fields.author.is_some()),
        ("names", fields.names.is_some()),
        ("training_id", fields.training_id.is_some()),
        ("discard", fields.discard.is_some()),
        ("network", fields.network.is_some()),
        ("until", fields.until.is_some()),
        ("duration", fields.duration.is_some()),
        ("reason", fields.reason.is_some()),
        ("override_id", fields.override_id.is_some()),
        ("offset", fields.offset.is_some()),
        ("limit", fields.limit.is_some()),
    ];
    let only = |allowed: &[&str]| match given.iter().find(|(name, given)| *given && !allowed.contains(name)) {
        Some((name, _)) => Err(invalid(name, "does not belong to this command")),
        None => Ok(()),
    };
    let text = |name, value: &Option<String>| value.clone().ok_or_else(|| invalid(name, "is missing"));
    match fields.command.as_str() {
        "train" => {
            only(&["samples", "epochs", "wait", "tune"])?;
            Ok(Command::Train(TrainCommand {
                samples: fields.samples,
                epochs: fields.epochs,
                tune: fields.tune.unwrap_or(false),
                wait: fields.wait.unwrap_or(true),
                id: fields.id.clone(),
            }))
        }
        "reset" => only(&[]).map(|()| Command::Reset),
        "rollback" => {
            only(&["generation"])?;
            Ok(Command::Rollback { generation: fields.generation })
        }
        "approve" => {
            only(&["training_id", "discard"])?;
            Ok(Command::Approve { id: fields.training_id.clone(), discard: fields.discard.unwrap_or(false) })
        }
        "reload_model" => only(&[]).map(|()| Command::ReloadModel),
        "status" => only(&[]).map(|()| Command::Status),
        "learning_mode" => {
            only(&["enabled"])?;
            Ok(Command::LearningMode { enabled: fields.enabled.ok_or_else(|| invalid("enabled", "is missing"))? })
        }
        "feedback" => {
            only(&["is_brute_force", "request_id", "client_ip", "username", "author"])?;
            Ok(Command::Feedback(FeedbackCommand {
                is_brute_force: fields.is_brute_force.ok_or_else(|| invalid("is_brute_force", "is missing"))?,
                request_id: text("request_id", &fields.request_id)?,
                client_ip: text("client_ip", &fields.client_ip)?,
                username: text("username", &fields.username)?,
                author: fields.author.clone().or_else(|| fields.issued_by.clone()),
                id: fields.id.clone(),
            }))
        }
        order @ ("remove_features" | "allow_features") => {
            only(&["names"])?;
            let names = fields.names.clone().ok_or_else(|| invalid("names", "is missing"))?;
            let removes = order == "remove_features";
            Ok(if removes { Command::RemoveFeatures { names } } else { Command::AllowFeatures { names } })
        }
        order @ ("override_release" | "override_block") => {
            only(&["username", "network", "until", "duration", "reason"])?;
            Ok(Command::Override(OverrideCommand::Put(OverrideOrder {
                kind: if order == "override_block" { OverrideKind::Block } else { OverrideKind::Release },
                username: text("username", &fields.username)?,
                network: text("network", &fields.network)?,
                until: fields.until.clone(),
                duration: fields.duration.clone(),
                reason: text("reason", &fields.reason)?,
            })))
        }
        "override_list" => {
            only(&["offset", "limit"])?;
            let page = OverridePage::new(fields.offset, fields.limit);
            Ok(Command::Override(OverrideCommand::List(page)))
        }
        "override_remove" => {
            only(&["override_id", "username", "network"])?;
            let (username, network) = (fields.username.clone(), fields.network.clone());
            let pair = OverridePair { id: fields.override_id.clone(), username, network };
            Ok(Command::Override(OverrideCommand::Remove(pair)))
        }
        _ => Err(invalid("command", "is unknown")),
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

/// What is wrong with JSON that is no message, without repeating what was sent: only names of ours are named.
fn parse_error(bytes: &[u8], error: &serde_json::Error) -> ControlError {
    if !error.is_data() {
        let place = format!("is not JSON (line {}, column {})", error.line(), error.column());
        return invalid("body", place);
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(bytes) else {
        return invalid("body", "has a field twice, or is not a JSON object");
    };
    if !fields.contains_key("command") {
        return invalid("command", "is missing");
    }
    let wrong = FIELDS.iter().find(|name| {
        fields.get(**name).is_some_and(|value| {
            let alone = Map::from_iter([("command".to_owned(), json!("")), ((**name).to_owned(), value.clone())]);
            serde_json::from_value::<Fields>(Value::Object(alone)).is_err()
        })
    });
    match wrong {
        Some(name) => invalid(name, "has the wrong type"),
        None => invalid("body", format!("has a field that is not one of {}", FIELDS.join(", "))),
    }
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

fn word(field: &'static str, value: Option<&str>) -> Result<(), ControlError> {
    match value {
        Some("") => Err(invalid(field, "is empty")),
        Some(value) if value.len() > WORD_MAX => Err(invalid(field, format!("is longer than {WORD_MAX} bytes"))),
        Some(value) if value.chars().any(char::is_control) => Err(invalid(field, "has control characters")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, String> {
        Message::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_training_command_works_as_it_stands() {
        let message = parse(r#"{"command":"train","samples":5000,"epochs":50}"#).expect("documented");

        let train = TrainCommand { samples: Some(5000), epochs: Some(50), tune: false, wait: true, id: None };
        assert_eq!(message.command, Command::Train(train.clone()));
        let tuned = parse(r#"{"command":"train","samples":5000,"epochs":50,"tune":true}"#).expect("documented");
        assert_eq!(tuned.command, Command::Train(TrainCommand { tune: true, ..train }));
    }

    #[test]
    fn a_command_refuses_what_it_does_not_know() {
        for (text, field) in [
            (r#"{"command":"train","epoch":50}"#, "epochs"),
            (r#"{"command":"train","samples":"many"}"#, "samples: has the wrong type"),
            (r#"{"samples":5}"#, "command: is missing"),
            (r#"{"command":"reset","enabled":true}"#, "enabled"),
            (r#"{"command":"reset","tune":true}"#, "tune"),
            (r#"{"command":"explode"}"#, "command"),
            (r#"{"command":"remove_features"}"#, "names"),
            (r#"{"command":"allow_features","names":[]}"#, "names"),
            (r#"{"command":"remove_features","names":[]}"#, "names"),
            (r#"{"command":"remove_features","names":["a\nb"]}"#, "names"),
            (r#"{"command":"learning_mode"}"#, "enabled"),
            (r#"{"command":"override_block","username":"alice","network":"192.0.2.1"}"#, "reason"),
            (r#"{"command":"override_block","username":"a","network":"192.0.2.1/40","reason":"r"}"#, "network"),
            (r#"{"command":"override_release","network":"192.0.2.1","reason":"r"}"#, "username"),
            (
                r#"{"command":"override_release","username":"a","network":"192.0.2.1","reason":"r","enabled":true}"#,
                "enabled",
            ),
            (r#"{"command":"override_remove","username":"alice"}"#, "id"),
            (r#"{"command":"reset","network":"192.0.2.1"}"#, "network"),
            (r#"{"command":"train","epochs":0}"#, "epochs"),
            (r#"{"command":"train","samples":99999999999}"#, "samples"),
            (r#"{"command":"rollback","generation":0}"#, "generation"),
            (r#"{"command":"reset","expires_at":"tomorrow"}"#, "expires_at"),
            (r#"{"command":"feedback","request_id":"r","client_ip":"192.0.2.1","username":"u"}"#, "is_brute_force"),
            (r#"{"command":"reset""#, "body"),
            (
                r#"["reset",null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null,null]"#,
                "object",
            ),
            ("not json", "body"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(field), "{text} → {error}");
        }
    }

    #[test]
    fn an_error_repeats_nothing_of_what_was_sent() {
        for text in [
            "hunter2",
            r#"["hunter2"]"#,
            r#"{"command":"hunter2"}"#,
            r#"{"command":"reset","hunter2":1}"#,
            r#"{"command":"learning_mode","enabled":"expected hunter2"}"#,
            r#"{"command":"train","expires_at":"hunter2"}"#,
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn pairs_are_ordered_for_and_released_by_message() {
        let text =
            r#"{"command":"override_block","username":"alice","network":"192.0.2.1","duration":"2h","reason":"r"}"#;
        let Command::Override(OverrideCommand::Put(order)) = parse(text).expect("complete").command else { panic!() };
        assert_eq!((order.kind, order.duration.as_deref()), (OverrideKind::Block, Some("2h")));

        let released = parse(&text.replace("block", "release")).expect("complete").command;
        assert_eq!((released.name(), released.is_fleet_wide()), ("override_release", true));
        let text = r#"{"command":"override_remove","override_id":"0011223344556677","id":"r1"}"#;
        let removed = parse(text).expect("complete");
        assert_eq!((removed.command.name(), removed.id.as_deref()), ("override_remove", Some("r1")));
    }

    #[test]
    fn a_page_of_the_orders_is_asked_for_by_message() {
        let list = |text: &str| match parse(text).expect(text).command {
            Command::Override(OverrideCommand::List(page)) => (page.offset, page.limit),
            other => panic!("{other:?}"),
        };

        assert_eq!(list(r#"{"command":"override_list"}"#), (0, 200));
        assert_eq!(list(r#"{"command":"override_list","offset":400,"limit":50}"#), (400, 50));
        for (text, field) in [
            (r#"{"command":"override_list","limit":201}"#, "limit"),
            (r#"{"command":"override_list","offset":-1}"#, "offset"),
            (r#"{"command":"override_list","username":"alice"}"#, "username"),
            (r#"{"command":"reset","offset":1}"#, "offset"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(field), "{text}: {error}");
        }
    }

    #[test]
    fn the_issuer_of_a_feedback_message_is_its_author() {
        let text = r#"{"command":"feedback","is_brute_force":true,"request_id":"r","client_ip":"192.0.2.1",
            "username":"u","issued_by":"helpdesk"}"#;

        let Command::Feedback(feedback) = parse(text).expect("complete").command else { panic!("not feedback") };

        assert_eq!(feedback.author.as_deref(), Some("helpdesk"));
    }
}
