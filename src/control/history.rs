//! History entries as they are answered: trainings tell their own story, resets and rollbacks get the same shape.

use serde_json::{Value, json};

use crate::detection::attempt::Timestamp;

/// One entry with every field of `wire.md` (`GET /v1/models`), whatever wrote it. `waiting` is the candidate that waits now.
pub(super) fn entry(mut entry: Value, waiting: Option<&str>) -> Value {
    let facts = entry["store"].take();
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("store");
    }
    let model = if facts["sha256"].is_null() {
        Value::Null
    } else {
        json!({ "lineage": facts["lineage"], "generation": facts["generation"], "sha256": facts["sha256"] })
    };
    // The store's word for what happened, where no training tells it better.
    let event = facts["outcome"].as_str().unwrap_or("unknown").to_owned();
    let at = facts["at_ms"].as_i64().map(|at| Timestamp::from_millis(at).to_string());
    let by = entry["by"].as_str().unwrap_or("").to_owned();
    let defaults = [
        ("model", model),
        ("trained_at", json!(at)),
        ("trigger", json!(event)),
        ("samples", json!(0)),
        ("evaluation", Value::Null),
        ("outcome", json!(event)),
        ("reason", json!(format!("by {by}"))),
    ];
    if let Some(fields) = entry.as_object_mut() {
        for (name, value) in defaults {
            fields.entry(name).or_insert(value);
        }
        if facts["ended_learning"] == true {
            fields.insert("ended_learning_mode".to_owned(), true.into());
        }
        if fields["outcome"] == "candidate" {
            let waits = waiting.is_some() && fields.get("candidate").and_then(Value::as_str) == waiting;
            fields.insert("waiting".to_owned(), waits.into());
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_told_in_the_shape_of_a_training() {
        let stored = json!({ "by": "helpdesk", "store": { "outcome": "reset", "lineage": "ab", "generation": 4,
            "sha256": null, "at_ms": 0 } });

        let entry = entry(stored, None);

        assert_eq!(entry["outcome"], "reset");
        assert_eq!(entry["model"], Value::Null);
        assert_eq!(entry["trained_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(entry["reason"], "by helpdesk");
    }

    #[test]
    fn a_training_keeps_its_own_words() {
        let stored = json!({ "outcome": "promoted", "trigger": "feedback", "model": { "generation": 3 },
            "store": { "outcome": "published", "generation": 3, "sha256": "cd", "lineage": "ab", "at_ms": 5 } });

        let entry = entry(stored, None);

        assert_eq!((entry["outcome"].as_str(), entry["trigger"].as_str()), (Some("promoted"), Some("feedback")));
        assert_eq!(entry["model"], json!({ "generation": 3 }));
        assert!(entry.get("store").is_none());
    }

    #[test]
    fn only_the_candidate_that_waits_is_said_to_wait() {
        let stored =
            json!({ "outcome": "candidate", "candidate": "ab12", "store": { "outcome": "refused", "at_ms": 5 } });

        for (waiting, waits) in [(Some("ab12"), true), (Some("cd34"), false), (None, false)] {
            assert_eq!(entry(stored.clone(), waiting)["waiting"], waits, "{waiting:?}");
        }
        assert!(entry(json!({ "outcome": "promoted", "store": {} }), Some("ab12")).get("waiting").is_none());
    }

    #[test]
    fn the_end_of_learning_mode_stands_with_the_training_that_brought_it() {
        let stored = |ended: bool| json!({ "outcome": "promoted", "store": { "at_ms": 5, "ended_learning": ended } });

        assert_eq!(entry(stored(true), None)["ended_learning_mode"], true);
        assert!(entry(stored(false), None).get("ended_learning_mode").is_none());
    }
}
