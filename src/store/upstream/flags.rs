//! The small values of the original: its two flags, the time of its last training, and the messages of its channels.

use serde::{Deserialize, Serialize};

use super::{FormatError, parse, wrong};

/// Longest message; an instance name has at most 255 bytes.
pub const MESSAGE_MAX: usize = 4096;
/// Longest flag or time.
pub const VALUE_MAX: usize = 64;

/// Whether a model was trained, and whether learning mode was asked for. What is missing is `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Flags {
    /// A model is trained.
    pub trained: bool,
    /// The switch of learning mode; not the configuration's key of the same name.
    pub dry_run: bool,
}

impl Flags {
    /// Reads the two fields of the hash.
    ///
    /// # Errors
    /// For anything but `"0"` and `"1"`.
    pub fn decode(trained: Option<&[u8]>, dry_run: Option<&[u8]>) -> Result<Self, FormatError> {
        let flag = |field: &'static str, value: Option<&[u8]>| match value {
            None | Some(b"0") => Ok(false),
            Some(b"1") => Ok(true),
            Some(_) => Err(wrong(field, "is neither 0 nor 1")),
        };
        Ok(Self { trained: flag("trained", trained)?, dry_run: flag("dry_run", dry_run)? })
    }

    /// Whether a node with these flags learns without having a say.
    pub fn learning_mode(self) -> bool {
        !self.trained || self.dry_run
    }
}

/// Reads the time of the last training in seconds since the epoch.
///
/// # Errors
/// For anything but a decimal number that a clock may show before the year 10000.
pub fn decode_time(bytes: &[u8]) -> Result<i64, FormatError> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= VALUE_MAX);
    let seconds = text.and_then(|text| text.parse::<i64>().ok());
    seconds.filter(|seconds| (0..253_402_300_800).contains(seconds)).ok_or(wrong("time", "is not one in seconds"))
}

/// What is announced when another model is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUpdate {
    /// Who announces; its own messages a node ignores.
    pub instance_name: Option<String>,
    /// Seconds since the epoch.
    pub timestamp: Option<i64>,
}

/// What is announced when learning mode is switched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearningModeUpdate {
    /// Who announces.
    pub instance_name: Option<String>,
    /// On or off. Required.
    pub learning_mode: bool,
    /// Seconds since the epoch.
    pub timestamp: Option<i64>,
}

impl ModelUpdate {
    /// Reads a message.
    ///
    /// # Errors
    /// For anything that the original would not take either, and for what is too large.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        parse(bytes, MESSAGE_MAX)
    }

    /// The message as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings always serialise")
    }
}

impl LearningModeUpdate {
    /// Reads a message.
    ///
    /// # Errors
    /// As [`ModelUpdate::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        parse(bytes, MESSAGE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_what_is_missing_is_off() {
        let flags = |trained: Option<&str>, dry_run: Option<&str>| {
            Flags::decode(trained.map(str::as_bytes), dry_run.map(str::as_bytes))
        };
        assert_eq!(flags(None, None), Ok(Flags::default()));
        assert_eq!(flags(Some("1"), Some("0")), Ok(Flags { trained: true, dry_run: false }));
        assert!(flags(Some("true"), None).is_err() && flags(None, Some("")).is_err());
        let learning = |trained, dry_run| Flags { trained, dry_run }.learning_mode();
        assert!(learning(false, false) && learning(true, true) && !learning(true, false));
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(decode_time(b"1752849811"), Ok(1_752_849_811));
        for bad in [&b"-1"[..], b"1e9", b"", b"9999999999999", b"\xff"] {
            assert!(decode_time(bad).is_err());
        }
    }

    #[test]
    fn messages_are_read_as_the_original_sends_them() {
        let model = include_bytes!("../../../tests/fixtures/upstream/model-update.json");
        let mode = include_bytes!("../../../tests/fixtures/upstream/learning-mode-update.json");

        let update = ModelUpdate::decode(model).expect("a message");
        assert_eq!((update.instance_name.as_deref(), update.timestamp), (Some("mx1"), Some(1_752_849_811)));
        assert_eq!(update.encode(), model);
        assert!(LearningModeUpdate::decode(mode).is_ok_and(|update| update.learning_mode));
        for bad in [&b"{}"[..], b"{\"learning_mode\":\"true\"}", b"{\"learning_mode\":1}", b"x"] {
            assert!(LearningModeUpdate::decode(bad).is_err());
        }
        assert!(ModelUpdate::decode(&vec![b' '; MESSAGE_MAX + 1]).is_err());
    }
}
