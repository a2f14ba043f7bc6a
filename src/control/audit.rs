//! The audit trail: each command that is to change something, with who, from where, when and what became of it.
//!
//! It follows the command and never decides about it: what cannot be recorded is counted and logged. The log has neither
//! the name nor the address of the caller; those stand in the store alone.

use std::time::Duration;

use serde_json::{Value, json};
use tracing::{info, warn};

use super::{Caller, ControlError, ControlHandle};
use crate::clock;
use crate::detection::attempt::Timestamp;
use crate::store::AuditEntry;

/// How long the answer to a command waits for its entry.
const WRITE_LIMIT: Duration = Duration::from_secs(1);
/// Longest outcome that is kept, in characters: an error is one sentence.
const OUTCOME_MAX: usize = 300;

impl ControlHandle {
    /// Records one command that has ended, in the log and in the store.
    pub(super) async fn audit(&self, command: &'static str, caller: &Caller, result: &Result<Value, ControlError>) {
        let outcome = outcome(result);
        info!(command, origin = caller.origin, "command {command}: {outcome}");
        let entry = AuditEntry {
            at_ms: clock::now().millis(),
            node: self.identity.name.clone(),
            who: AuditEntry::caller(&caller.who, caller.origin, caller.peer),
            command: command.to_owned(),
            outcome,
        };
        let problem = match tokio::time::timeout(WRITE_LIMIT, self.store.append_audit(&entry)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store does not answer".to_owned(),
        };
        self.metrics.store_error("append_audit");
        warn!(command, "the {command} command is missing in the audit trail: {problem}");
    }

    /// The newest entries as they are answered.
    pub(super) async fn audit_trail(&self, limit: usize) -> Result<Value, ControlError> {
        let entries = self.store.audit(limit).await?;
        Ok(entries.iter().map(shown).collect())
    }
}

fn outcome(result: &Result<Value, ControlError>) -> String {
    let said = match result {
        Ok(_) => return "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    said.chars().filter(|c| !c.is_control()).take(OUTCOME_MAX).collect()
}

fn shown(entry: &AuditEntry) -> Value {
    let (who, origin, peer) = entry.caller_parts();
    json!({
        "at": Timestamp::from_millis(entry.at_ms).to_string(), "node": entry.node, "who": who, "origin": origin,
        "peer": peer, "command": entry.command, "outcome": entry.outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_one_short_line() {
        let error = ControlError::Conflict(format!("two\nlines{}", "x".repeat(1000)));

        let said = outcome(&Err(error));

        assert!(said.starts_with("twolines") && said.chars().count() == OUTCOME_MAX, "{said}");
        assert_eq!(outcome(&Ok(Value::Null)), "ok");
    }

    #[test]
    fn an_entry_is_shown_with_its_parts() {
        let who = AuditEntry::caller("alice (helpdesk)", "http", "192.0.2.7".parse().ok());
        let (command, outcome) = ("reset".to_owned(), "ok".to_owned());
        let entry = AuditEntry { at_ms: 0, node: "a".to_owned(), who, command, outcome };

        let expected = json!({
            "at": "1970-01-01T00:00:00.000Z", "node": "a", "who": "alice (helpdesk)", "origin": "http",
            "peer": "192.0.2.7", "command": "reset", "outcome": "ok",
        });
        assert_eq!(shown(&entry), expected);
    }
}
