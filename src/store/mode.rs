//! Learning mode of the fleet as it is stored: whether it is on, since when, and who or what set it for which reason.
//!
//! Stored is one line: `0` or `1`, the store's time (ms), the position of the last feedback at that moment, and a JSON object
//! with the rest. A bare `0` or `1` is read too: then nothing is known but the switch itself. Who may switch it when is
//! decided elsewhere.

use serde::{Deserialize, Serialize};

use super::{Position, StoreError};

/// Longest reason and name that are stored; longer ones are cut.
const TEXT_MAX: usize = 512;

/// Who or what set the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeCause {
    /// A person or a tool, by command.
    Operator,
    /// A training that was fed by enough feedback.
    Feedback,
    /// The circuit breaker.
    Breaker,
}

impl ModeCause {
    /// The word that the outside sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Feedback => "feedback",
            Self::Breaker => "breaker",
        }
    }
}

/// The part of the stored form that a node writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeOrigin {
    /// Who or what.
    pub cause: ModeCause,
    /// The person, role or node behind it.
    pub by: String,
    /// Why, for people: no names, no addresses; may be empty.
    pub reason: String,
}

impl ModeOrigin {
    /// An origin whose texts fit into the store.
    pub fn new(cause: ModeCause, by: &str, reason: &str) -> Self {
        let cut = |text: &str| text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
        Self { cause, by: cut(by), reason: cut(reason) }
    }

    /// One line of JSON.
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("strings always serialise")
    }
}

/// When and why the mode was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeSet {
    /// Store time in milliseconds since the epoch.
    pub since_ms: i64,
    /// The last feedback that had arrived by then; [`Position::START`] if none.
    pub feedback: Position,
    /// Who or what, and why.
    pub origin: ModeOrigin,
}

/// Learning mode of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetMode {
    /// Models score and have no say.
    pub on: bool,
    /// `None` for a mode that was set by a version that did not say.
    pub set: Option<ModeSet>,
}

/// Names one setting of the mode, so that a change can say which one it means. `None` in its place: nobody ever set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModeStamp(String);

/// What stands for a mode that was never set.
const NEVER: &str = "never";

impl ModeStamp {
    /// The stamp of what was read.
    pub fn of(mode: Option<&FleetMode>) -> Self {
        let Some(mode) = mode else { return Self(NEVER.to_owned()) };
        let flag = u8::from(mode.on);
        Self(mode.set.as_ref().map_or_else(|| flag.to_string(), |set| format!("{flag} {}", set.since_ms)))
    }

    /// As the scripts compare it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FleetMode {
    /// Reads the stored line; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let on = match parts.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        let Some(since) = parts.next() else { return Some(Self { on, set: None }) };
        let since_ms = since.parse().ok()?;
        let feedback = Position::parse(parts.next()?)?;
        let origin = serde_json::from_str(parts.next()?).ok()?;
        Some(Self { on, set: Some(ModeSet { since_ms, feedback, origin }) })
    }

    /// The stored line.
    pub fn encode(&self) -> String {
        let flag = u8::from(self.on);
        match &self.set {
            None => flag.to_string(),
            Some(set) => format!("{flag} {} {} {}", set.since_ms, set.feedback, set.origin.encode()),
        }
    }
}

/// A change of the fleet's mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    /// The mode afterwards.
    pub on: bool,
    /// Who or what changes it.
    pub origin: ModeOrigin,
    /// The setting that it replaces; another one is left alone. `None`: whatever stands there.
    pub expected: Option<ModeStamp>,
    /// JSON for the history; `None`: no entry.
    pub history: Option<Vec<u8>>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeReply {
    /// It is done: this stands there now.
    Set(FleetMode),
    /// Another setting than the expected one stands there: read it and decide again.
    Conflict,
}

/// The end of learning mode that comes with a publish, if the mode still is what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndOfLearning {
    /// The setting that ends.
    pub expected: ModeStamp,
    /// What ends it.
    pub origin: ModeOrigin,
}

/// A stored line, read; one that does not parse is not ours.
pub(super) fn read(operation: &'static str, what: &str, text: &str) -> Result<FleetMode, StoreError> {
    FleetMode::parse(text).ok_or_else(|| StoreError::Corrupt { operation, what: what.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(on: bool, since_ms: i64) -> FleetMode {
        let origin = ModeOrigin::new(ModeCause::Breaker, "mx1", "31 of 240 \"known\" logins");
        FleetMode { on, set: Some(ModeSet { since_ms, feedback: Position { major: 7, minor: 1 }, origin }) }
    }

    #[test]
    fn the_stored_line_reads_back() {
        for mode in [mode(true, 5), mode(false, 1_700_000_000_000), FleetMode { on: true, set: None }] {
            assert_eq!(FleetMode::parse(&mode.encode()), Some(mode));
        }
        assert!(mode(true, 5).encode().starts_with("1 5 7-1 {"), "{}", mode(true, 5).encode());
    }

    #[test]
    fn a_bare_flag_is_read_and_anything_else_is_foreign() {
        assert_eq!(FleetMode::parse("0"), Some(FleetMode { on: false, set: None }));
        assert_eq!(FleetMode::parse("1"), Some(FleetMode { on: true, set: None }));
        for foreign in ["", "2", "on", "1 ", "1 x 0-0 {}", "1 5 0-0 {}", "1 5", "1 5 nowhere {}"] {
            assert_eq!(FleetMode::parse(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn each_setting_has_a_stamp_of_its_own() {
        let modes = [None, Some(mode(true, 5)), Some(mode(false, 5)), Some(mode(true, 6))];
        let bare = [Some(FleetMode { on: true, set: None }), Some(FleetMode { on: false, set: None })];
        let stamps: std::collections::BTreeSet<_> =
            modes.iter().chain(&bare).map(|mode| ModeStamp::of(mode.as_ref()).as_str().to_owned()).collect();

        assert_eq!(stamps.len(), 6, "{stamps:?}");
    }

    #[test]
    fn long_texts_and_control_characters_do_not_enter_the_store() {
        let origin = ModeOrigin::new(ModeCause::Operator, "a\nb", &"ü".repeat(2000));

        assert_eq!(origin.by, "ab");
        assert_eq!(origin.reason.chars().count(), TEXT_MAX);
        assert!(!origin.encode().contains('\n'));
    }
}
