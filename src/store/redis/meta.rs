//! The registry as fields of one Redis hash, and triggers as script arguments.
//!
//! A field that is missing has its first value; a field that does not parse is foreign, and nothing is guessed.

use std::collections::HashMap;

use crate::store::Position;
use crate::store::registry::{CommandKey, Registry, TriggerKey};

/// The hash as Redis gives it.
pub(super) type Fields = HashMap<String, String>;

/// Reads the registry; errs with the name of the field that is not ours.
pub(super) fn registry_of(fields: &Fields, now_ms: i64) -> Result<Registry, String> {
    let mut registry = Registry {
        lineage: hex_field(fields, "lineage")?,
        generation: field(fields, "generation")?.unwrap_or(0),
        sha256: hex_field(fields, "sha256")?,
        fence: field(fields, "fence")?.unwrap_or(0),
        published_fence: field(fields, "published_fence")?.unwrap_or(0),
        watermark: position(fields, "watermark")?,
        considered: position(fields, "considered")?,
        trained_at_ms: field(fields, "trained_at_ms")?,
        feedback_trained_at_ms: field(fields, "feedback_trained_at_ms")?,
        pinned: fields.get("pinned").is_some_and(|value| value == "1"),
        format: field(fields, "format")?.unwrap_or(0),
        now_ms,
        ..Registry::default()
    };
    for (name, value) in fields {
        if let Some(schedule) = name.strip_prefix("slot:") {
            let slot = value.parse().map_err(|_| format!("meta field {name:?}"))?;
            registry.slots.insert(schedule.to_owned(), slot);
        }
    }
    Ok(registry)
}

/// The content hashes that the registry keeps, newest first, each once.
pub(super) fn kept_of(fields: &Fields) -> Result<Vec<[u8; 32]>, String> {
    let mut hashes = Vec::new();
    for entry in fields.get("kept").map_or("", String::as_str).split(',').filter(|entry| !entry.is_empty()) {
        let mut hash = [0; 32];
        let text = entry.split_once(':').map_or("", |(_, text)| text);
        hex::decode_to_slice(text, &mut hash).map_err(|_| "meta field \"kept\"".to_owned())?;
        if !hashes.contains(&hash) {
            hashes.push(hash);
        }
    }
    Ok(hashes)
}

/// A trigger as the three arguments (kind, name, value) that the scripts take.
pub(super) fn trigger_arguments(trigger: &TriggerKey) -> [String; 3] {
    match trigger {
        TriggerKey::Schedule { name, slot_ms } => ["schedule".to_owned(), name.clone(), slot_ms.to_string()],
        TriggerKey::Feedback { upto } => ["feedback".to_owned(), String::new(), upto.to_string()],
        TriggerKey::Command { id } => ["command".to_owned(), hex::encode(CommandKey::of(id).0), String::new()],
    }
}

fn field<T: std::str::FromStr>(fields: &Fields, name: &str) -> Result<Option<T>, String> {
    match fields.get(name) {
        Some(text) => text.parse().map(Some).map_err(|_| format!("meta field {name:?}")),
        None => Ok(None),
    }
}

fn hex_field<const N: usize>(fields: &Fields, name: &str) -> Result<Option<[u8; N]>, String> {
    let Some(text) = fields.get(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| format!("meta field {name:?}"))?;
    Ok(Some(bytes))
}

fn position(fields: &Fields, name: &str) -> Result<Position, String> {
    match fields.get(name) {
        Some(text) => Position::parse(text).ok_or_else(|| format!("meta field {name:?}")),
        None => Ok(Position::START),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_hash_is_the_empty_registry() {
        assert_eq!(registry_of(&Fields::new(), 0), Ok(Registry::default()));
    }

    #[test]
    fn a_foreign_field_is_named_and_not_guessed() {
        for (name, value) in [
            ("lineage", "zz"),
            ("generation", "-1"),
            ("sha256", "00"),
            ("watermark", "7"),
            ("format", "70000"),
            ("slot:nightly", "soon"),
        ] {
            let fields = Fields::from([(name.to_owned(), value.to_owned())]);

            let error = registry_of(&fields, 0).unwrap_err();

            assert!(error.contains(name), "{error}");
        }
    }
}
