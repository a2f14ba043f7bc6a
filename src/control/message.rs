//! How a message from the command channel becomes a command, and what is answered there.
//!
//! Unknown fields are refused: a typo in a command must not change its meaning. Bounds of arguments are those of
//! `command.rs`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ControlError;
use super::command::{Command, FeedbackCommand, TrainCommand, invalid, is_object, word};
use super::overrides::{OverrideCommand, OverrideOrder, OverridePage, OverridePair};
use crate::detection::attempt::Timestamp;
use crate::detection::overrides::OverrideKind;

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
