//! The audit trail: each command that is to change something, with who, from where, when, what exactly and what became of it.
//!
//! It follows the command and never decides about it. What cannot be recorded now waits, and what can never be is counted and
//! logged. The log has who ordered it and by which way, but no address, and nothing about the mail user that it was about;
//! those stand in the store alone.

mod detail;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Caller, Command, ControlError, ControlHandle};
use crate::clock;
use crate::detection::attempt::Timestamp;
use crate::random;
use crate::store::AuditEntry;
use crate::supervisor::{TaskError, TaskStatus};
use crate::tasks::jittered;

pub(crate) use waiting::Waiting;

/// How long the answer to a command waits for its entry.
const WRITE_LIMIT: Duration = Duration::from_secs(1);
/// How often entries that wait are offered to the store.
const RETRY: Duration = Duration::from_secs(1);
/// Longest outcome that is kept, in characters: an error is one sentence.
const OUTCOME_MAX: usize = 300;
/// Longest name of a caller in the log, in characters.
const WHO_MAX: usize = 128;

impl ControlHandle {
    /// What an entry about `command` says of it.
    pub(super) fn audited_detail(&self, command: &Command) -> Value {
        detail::asked(command, &self.scorer.pseudonymizer())
    }

    /// Records one command that has ended, in the log and in the store. `asked` is its detail.
    pub(super) async fn audit(
        &self,
        command: &'static str,
        asked: Value,
        caller: &Caller,
        result: &Result<Value, ControlError>,
    ) {
        let outcome = outcome(command, result);
        let detail = match result {
            Ok(answer) => detail::with_answer(asked, answer),
            Err(_) => asked,
        };
        let (who, from) = (one_line(&caller.who, WHO_MAX), from(caller));
        info!(
            command,
            who,
            origin = from,
            "command {command}: {outcome}, by {who} ({from}){}",
            detail::logged(&detail)
        );
        let entry = AuditEntry {
            id: random::id(),
            at_ms: clock::now().millis(),
            node: self.identity.name.clone(),
            who: AuditEntry::caller(&caller.who, caller.origin, caller.peer),
            command: command.to_owned(),
            outcome,
            detail,
        };
        if !self.waiting_audit.push(entry) {
            let problem = format!("the store is away, and {} entries wait for it already", waiting::WAITING_MAX);
            return waiting::missing(command, &problem, &self.metrics);
        }
        let problem = match tokio::time::timeout(WRITE_LIMIT, self.write_waiting_audit()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store does not answer".to_owned(),
        };
        warn!(command, "the entry of the {command} command waits for the audit trail: {problem}");
        self.waiting_audit.left.notify_one();
    }

    async fn write_waiting_audit(&self) -> Result<(), crate::store::StoreError> {
        self.waiting_audit.write(self.store.as_ref(), &self.metrics).await
    }

    /// Writes what waits as soon as the store takes it, until `stop`.
    ///
    /// # Errors
    /// None; a store that is away is waited for.
    pub(crate) async fn keep_audit(
        self: Arc<Self>,
        status: TaskStatus,
        stop: CancellationToken,
    ) -> Result<(), TaskError> {
        loop {
            while self.waiting_audit.len() > 0 {
                match self.write_waiting_audit().await {
                    Ok(()) => status.finished("written", ""),
                    Err(error) => status.waiting(error.to_string()),
                }
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(jittered(RETRY)) => {}
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.waiting_audit.left.notified() => {}
            }
        }
    }

    /// The last try of a node that stops.
    pub(crate) async fn finish_audit(&self) {
        if self.waiting_audit.len() == 0 {
            return;
        }
        if !matches!(tokio::time::timeout(WRITE_LIMIT, self.write_waiting_audit()).await, Ok(Ok(()))) {
            let lost = self.waiting_audit.len();
            warn!(lost, "the store does not take the last {lost} entries of the audit trail; only the log has them");
        }
    }

    /// The newest entries as they are answered.
    pub(super) async fn audit_trail(&self, limit: usize) -> Result<Value, ControlError> {
        let entries = self.store.audit(limit).await?;
        Ok(entries.iter().map(shown).collect())
    }
}

/// A text of the caller's as one line of a log or table: without what ends a line or turns its direction.
fn one_line(text: &str, max: usize) -> String {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| !c.is_control() && !turns(*c)).take(max).collect()
}

/// The way in, and whether it came from this machine.
fn from(caller: &Caller) -> String {
    match caller.peer {
        Some(peer) if peer.is_loopback() => format!("{}, loopback", caller.origin),
        Some(_) => format!("{}, elsewhere", caller.origin),
        None => caller.origin.to_owned(),
    }
}

/// `ok` where what was ordered was done; else what became of it.
fn outcome(command: &str, result: &Result<Value, ControlError>) -> String {
    let said = match result {
        Err(error @ ControlError::Unknown { .. }) => format!("unknown: {error}"),
        Err(error) => error.to_string(),
        Ok(answer) => match (answer["outcome"].as_str(), answer["reason"].as_str()) {
            (Some(other), reason) if !matches!(other, "promoted" | "discarded") => {
                format!("{other}: {}", reason.unwrap_or_default())
            }
            // A training that nobody waits for: its end is an entry of its own.
            (None, _) if command == "train" => "ordered".to_owned(),
            _ => return "ok".to_owned(),
        },
    };
    one_line(&said, OUTCOME_MAX)
}

fn shown(entry: &AuditEntry) -> Value {
    let (who, origin, peer) = entry.caller_parts();
    json!({
        "at": Timestamp::from_millis(entry.at_ms).to_string(), "node": entry.node, "who": who, "origin": origin,
        "peer": peer, "command": entry.command, "outcome": entry.outcome, "detail": entry.detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_one_short_line() {
        let error = ControlError::Conflict(format!("two\nlines{}", "x".repeat(1000)));

        let said = outcome("reset", &Err(error));

        assert!(said.starts_with("twolines") && said.chars().count() == OUTCOME_MAX, "{said}");
        assert_eq!(outcome("reset", &Ok(Value::Null)), "ok");
    }

    #[test]
    fn a_training_is_ok_only_when_its_model_serves() {
        let ended = |outcome: &str| Ok(json!({ "outcome": outcome, "reason": "because" }));

        assert_eq!(outcome("train", &ended("promoted")), "ok");
        for other in ["refused", "not_enough_data", "candidate"] {
            assert_eq!(outcome("train", &ended(other)), format!("{other}: because"));
        }
        assert_eq!(outcome("train", &Ok(json!({ "id": "t1" }))), "ordered");
        assert_eq!(outcome("approve", &ended("discarded")), "ok");
    }

    #[test]
    fn what_is_not_known_is_not_called_a_failure() {
        let open = ControlError::Unknown { what: "no answer".to_owned(), look: "see `history`" };

        assert_eq!(outcome("reset", &Err(open)), "unknown: no answer; see `history`");
    }

    #[test]
    fn the_log_has_the_way_in_without_an_address() {
        let caller = |peer: Option<&str>| Caller {
            who: "alice".to_owned(),
            origin: "http",
            peer: peer.map(|peer| peer.parse().expect("an address")),
        };

        let ways = [Some("127.0.0.1"), Some("192.0.2.7"), None].map(|peer| from(&caller(peer)));

        assert_eq!(ways, ["http, loopback", "http, elsewhere", "http"]);
        assert_eq!(one_line("al\nice\u{202e}\u{1b}[2J", 7), "alice[2");
    }

    #[test]
    fn an_entry_is_shown_with_its_parts() {
        let who = AuditEntry::caller("alice (helpdesk)", "http", "192.0.2.7".parse().ok());
        let (command, outcome) = ("reset".to_owned(), "ok".to_owned());
        let detail = json!({ "generation": 3 });
        let (id, node) = (String::new(), "a".to_owned());
        let entry = AuditEntry { id, at_ms: 0, node, who, command, outcome, detail };

        let expected = json!({
            "at": "1970-01-01T00:00:00.000Z", "node": "a", "who": "alice (helpdesk)", "origin": "http",
            "peer": "192.0.2.7", "command": "reset", "outcome": "ok", "detail": { "generation": 3 },
        });
        assert_eq!(shown(&entry), expected);
    }

    #[test]
    fn an_entry_of_an_earlier_version_is_read() {
        let stored = r#"{"at_ms":1,"node":"a","who":"admin","command":"reset","outcome":"ok"}"#;

        let entry: AuditEntry = serde_json::from_str(stored).expect("readable");

        assert_eq!(entry.detail, Value::Null);
        assert_eq!(serde_json::to_string(&entry).expect("JSON"), stored);
    }
}
