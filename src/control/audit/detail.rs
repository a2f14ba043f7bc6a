//! What an entry of the audit trail says about a command beside its name: what was asked for, and of whom or what.
//!
//! Accounts stand there under their pseudonyms, networks only in the store. Reasons that people give are not kept here: they
//! may name somebody.

use serde_json::{Map, Value, json};

use crate::control::overrides::{OverrideCommand, OverridePair};
use crate::control::{AttackCommand, Command, Simulation, TrainCommand};
use crate::detection::attacks::AccountId;
use crate::detection::overrides::{OverrideId, parse_network};
use crate::detection::pseudonym::Pseudonymizer;

/// Longest text, in characters.
const TEXT_MAX: usize = 128;
/// Longest list of names, in bytes; of the rest only the number is kept.
const NAMES_MAX: usize = 512;
/// What may stand in the log as well: nothing that a client or a mail user could have written or be known by.
const LOGGED: [&str; 17] = [
    "enabled",
    "is_brute_force",
    "samples",
    "epochs",
    "tune",
    "wait",
    "generation",
    "discard",
    "until",
    "duration",
    "num_ips",
    "records",
    "outcome",
    "model_generation",
    "test_result",
    "taken",
    "override",
];

/// What was asked for.
pub(super) fn asked(command: &Command, pseudonymizer: &Pseudonymizer) -> Value {
    let account = |username: &str| AccountId::from(pseudonymizer.name(username)).to_string();
    let pair = |username: &str, network: &str| {
        let account = pseudonymizer.name(username);
        let network = parse_network(network).ok();
        let id = network.map(|network| OverrideId::of(account, network));
        json!({ "account": hex::encode(&account.0[..8]), "network": network, "override": id })
    };
    let played = |Simulation { username, num_ips, country_code }: &Simulation| json!({ "account": account(username), "num_ips": num_ips, "country_code": country_code });
    let mut asked = match command {
        Command::Train(TrainCommand { samples, epochs, tune, wait, id }) => {
            json!({ "samples": samples, "epochs": epochs, "tune": tune, "wait": wait, "id": id })
        }
        Command::Rollback { generation } => json!({ "generation": generation }),
        Command::Approve { id, discard } => json!({ "training_id": id, "discard": discard }),
        Command::LearningMode { enabled } => json!({ "enabled": enabled }),
        Command::Feedback(feedback) => json!({
            "is_brute_force": feedback.is_brute_force, "request_id": feedback.request_id,
            "author": feedback.author, "id": feedback.id,
        }),
        Command::RemoveFeatures { names } => listed(names),
        Command::Import(batch) => json!({ "records": batch.records.len() }),
        Command::Attacks(AttackCommand::ResetAccount { username }) => json!({ "account": account(username) }),
        Command::Attacks(AttackCommand::Simulate(simulation) | AttackCommand::Test(simulation)) => played(simulation),
        Command::Override(OverrideCommand::Put(order)) => {
            let mut asked = pair(&order.username, &order.network);
            asked["until"] = json!(order.until);
            asked["duration"] = json!(order.duration);
            asked
        }
        Command::Override(OverrideCommand::Remove(OverridePair { id: Some(id), .. })) => json!({ "override": id }),
        Command::Override(OverrideCommand::Remove(OverridePair { username, network, .. })) => {
            pair(username.as_deref().unwrap_or_default(), network.as_deref().unwrap_or_default())
        }
        _ => Value::Null,
    };
    tidy(&mut asked);
    asked
}

/// The same with what the answer adds to it.
pub(super) fn with_answer(mut detail: Value, answer: &Value) -> Value {
    let found = json!({
        "outcome": answer["outcome"], "model_generation": answer["model"]["generation"],
        "candidate": answer["candidate"], "taken": answer["taken"], "test_result": answer["test_result"],
        "id": answer["id"], "until": answer["until"],
    });
    if detail.is_null() {
        detail = Value::Object(Map::new());
    }
    if let (Value::Object(detail), Value::Object(found)) = (&mut detail, found) {
        // An id of its own is what an override answers; it stands there as `override`.
        let known = if detail.contains_key("override") { "id" } else { "" };
        detail.extend(found.into_iter().filter(|(name, value)| !value.is_null() && name != known));
    }
    tidy(&mut detail);
    detail
}

/// The part that the log may have; empty where there is none.
pub(super) fn logged(detail: &Value) -> String {
    let fields = detail.as_object().into_iter().flatten().filter(|(name, _)| LOGGED.contains(&name.as_str()));
    fields.map(|(name, value)| format!(", {name} {value}")).collect()
}

fn listed(names: &[String]) -> Value {
    let (mut room, mut kept) = (NAMES_MAX, Vec::new());
    for name in names {
        let Some(left) = room.checked_sub(name.len()) else { break };
        room = left;
        kept.push(name);
    }
    let more = (kept.len() < names.len()).then_some(names.len() - kept.len());
    json!({ "names": kept, "more": more })
}

/// Drops what is not there, and keeps texts short and in one line; nothing at all is `null`.
fn tidy(detail: &mut Value) {
    if let Value::Object(fields) = detail {
        fields.retain(|_, value| !value.is_null());
        for value in fields.values_mut() {
            if let Value::String(text) = value {
                *text = super::one_line(text, TEXT_MAX);
            }
        }
        if fields.is_empty() {
            *detail = Value::Null;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::command::FeedbackCommand;
    use crate::control::overrides::OverrideOrder;
    use crate::detection::overrides::OverrideKind;

    fn of(command: &Command) -> Value {
        asked(command, &Pseudonymizer::new([7; 32]))
    }

    #[test]
    fn an_entry_says_what_was_set_and_for_which_request() {
        let feedback = FeedbackCommand {
            is_brute_force: true,
            request_id: format!("r\n1{}", "x".repeat(1000)),
            client_ip: "198.51.100.7".to_owned(),
            username: "alice".to_owned(),
            author: None,
            id: None,
        };

        assert_eq!(of(&Command::LearningMode { enabled: false }), json!({ "enabled": false }));
        assert_eq!(of(&Command::Rollback { generation: None }), Value::Null);
        let detail = of(&Command::Feedback(feedback));
        assert_eq!(detail["is_brute_force"], true);
        assert_eq!(detail["request_id"].as_str().map(|id| (&id[..3], id.len())), Some(("r1x", TEXT_MAX)));
        assert!(!detail.to_string().contains("alice") && !detail.to_string().contains("198.51"), "{detail}");
    }

    #[test]
    fn an_order_for_a_pair_has_its_network_in_the_store_and_no_name_anywhere() {
        let order = OverrideOrder {
            kind: OverrideKind::Block,
            username: "alice".to_owned(),
            network: "198.51.100.7".to_owned(),
            until: None,
            duration: Some("2h".to_owned()),
            reason: "alice is away".to_owned(),
        };
        let put = of(&Command::Override(OverrideCommand::Put(order)));
        let pair =
            OverridePair { id: None, username: Some("Alice".to_owned()), network: Some("198.51.100.0/24".to_owned()) };
        let removed = of(&Command::Override(OverrideCommand::Remove(pair)));

        assert_eq!((&put["network"], &put["duration"]), (&json!("198.51.100.0/24"), &json!("2h")));
        assert_eq!((&removed["override"], &removed["account"]), (&put["override"], &put["account"]));
        assert!(!put.to_string().contains("alice"), "{put}");
        let log = logged(&put);
        assert!(log.contains("duration \"2h\"") && !log.contains("198.51"), "{log}");
    }

    #[test]
    fn a_long_list_of_names_is_cut_and_counted() {
        let detail = of(&Command::RemoveFeatures { names: vec!["x".repeat(100); 32] });

        assert_eq!((detail["names"].as_array().map(Vec::len), &detail["more"]), (Some(5), &json!(27)));
        assert!(detail.to_string().len() < 1024);
    }

    #[test]
    fn the_answer_adds_what_came_of_it() {
        let answer = json!({ "outcome": "promoted", "model": { "generation": 3 }, "reason": "x" });

        let detail = with_answer(json!({ "samples": 10 }), &answer);

        assert_eq!(detail, json!({ "samples": 10, "outcome": "promoted", "model_generation": 3 }));
        assert_eq!(with_answer(Value::Null, &json!({ "model": Value::Null })), Value::Null);
        assert_eq!(with_answer(json!({ "override": "a" }), &json!({ "id": "b" })), json!({ "override": "a" }));
    }
}
