//! Every key and channel that this program uses in Redis, in one place.
//!
//! All names share one hash tag, so that a script may touch any of them on a cluster too. Nothing here talks to Redis.

use super::SampleClass;

pub use crate::config::check::PREFIX_MAX;

/// Longest command id. It becomes part of a key; a UUID has 36 bytes.
pub const COMMAND_ID_MAX: usize = 128;

/// What stands before the hash tag: separates deployments that share one Redis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPrefix(String);

/// Why a text is no key prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyPrefixError {
    /// Longer than [`PREFIX_MAX`].
    #[error("a key prefix has at most {PREFIX_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A brace would make another hash tag, a space or a control character cannot be typed on a command line.
    #[error("a key prefix consists of printable ASCII without spaces and braces, this one contains {0:?}")]
    Character(char),
}

impl KeyPrefix {
    /// Checks a prefix; it may be empty.
    ///
    /// # Errors
    /// When it is longer than [`PREFIX_MAX`] or has a character other than printable ASCII without spaces and braces.
    pub fn new(text: &str) -> Result<Self, KeyPrefixError> {
        if text.len() > PREFIX_MAX {
            return Err(KeyPrefixError::TooLong(text.len()));
        }
        match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '{' | '}')) {
            Some(character) => Err(KeyPrefixError::Character(character)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The prefix as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("nt:".to_owned())
    }
}

/// The names of one deployment.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Prefix and hash tag, with the colon that follows.
    base: String,
}

impl Keys {
    /// The names under `prefix`.
    pub fn new(prefix: &KeyPrefix) -> Self {
        Self { base: format!("{}{{neural}}:", prefix.0) }
    }

    fn name(&self, rest: &str) -> String {
        format!("{}{rest}", self.base)
    }

    /// Hash: the registry's state, the fence included.
    pub fn meta(&self) -> String {
        self.name("meta")
    }

    /// String: the artifact with this content hash.
    pub fn model(&self, sha256: &[u8; 32]) -> String {
        format!("{}{}", self.model_stem(), hex::encode(sha256))
    }

    /// What every model key begins with; the rest is the hash in hex.
    pub fn model_stem(&self) -> String {
        self.name("model:")
    }

    /// Stream: what became of each training, reset and rollback.
    pub fn history(&self) -> String {
        self.name("history")
    }

    /// String: the description of the candidate that waits for an approval.
    pub fn candidate(&self) -> String {
        self.name("candidate")
    }

    /// String: the artifact of that candidate.
    pub fn candidate_model(&self) -> String {
        self.name("candidate:model")
    }

    /// String with a time to live: `holder:fence` of the training lease.
    pub fn lease(&self) -> String {
        self.name("lease")
    }

    /// Stream: login attempts.
    pub fn attempts(&self) -> String {
        self.name("attempts")
    }

    /// Sorted set: the sample reservoir of a class.
    pub fn samples(&self, class: SampleClass) -> String {
        self.name(match class {
            SampleClass::Success => "samples:success",
            SampleClass::Failure => "samples:failure",
        })
    }

    /// Stream: what people said.
    pub fn feedback(&self) -> String {
        self.name("feedback")
    }

    /// Hash: idempotency id of each feedback entry to its position.
    pub fn feedback_ids(&self) -> String {
        self.name("feedback:ids")
    }

    /// String: the list of additional features.
    pub fn features(&self) -> String {
        self.name("features")
    }

    /// String: learning mode, in the form of [`FleetMode`](super::mode::FleetMode).
    pub fn mode(&self) -> String {
        self.name("mode")
    }

    /// Hash: what operators have ordered for single pairs, by id, and `revision`.
    pub fn overrides(&self) -> String {
        self.name("overrides")
    }

    /// String: the pseudonym key that the fleet agreed on, hex.
    pub fn pseudonym_key(&self) -> String {
        self.name("pseudonym-key")
    }

    /// Hash: boot id to the last report of a node.
    pub fn nodes(&self) -> String {
        self.name("nodes")
    }

    /// String with a time to live: the measures against attacks that nodes share.
    pub fn protection(&self) -> String {
        self.name("protection")
    }

    /// Stream: the audit trail.
    pub fn audit(&self) -> String {
        self.name("audit")
    }

    /// String with a time to live: who executes this command.
    pub fn claim(&self, id: &str) -> String {
        self.name(&format!("claims:{id}"))
    }

    /// String with a time to live: the result of this command.
    pub fn result(&self, id: &str) -> String {
        self.name(&format!("results:{id}"))
    }

    /// Channel: doorbells.
    pub fn announcements(&self) -> String {
        self.name("announcements")
    }

    /// Channel: commands of other tools.
    pub fn commands(&self) -> String {
        self.name("commands")
    }
}

/// Whether a command id may become part of a key.
pub fn is_command_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= COMMAND_ID_MAX && id.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_lies_under_the_one_hash_tag() {
        let keys = Keys::new(&KeyPrefix::new("nt:").unwrap());
        let names = [
            keys.meta(),
            keys.model(&[0xab; 32]),
            keys.history(),
            keys.lease(),
            keys.attempts(),
            keys.samples(SampleClass::Success),
            keys.samples(SampleClass::Failure),
            keys.feedback(),
            keys.feedback_ids(),
            keys.mode(),
            keys.candidate(),
            keys.candidate_model(),
            keys.overrides(),
            keys.pseudonym_key(),
            keys.nodes(),
            keys.protection(),
            keys.audit(),
            keys.claim("{x}"),
            keys.result("{x}"),
            keys.announcements(),
            keys.commands(),
        ];

        for name in &names {
            assert!(name.starts_with("nt:{neural}:"), "{name}");
        }
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn a_prefix_is_checked() {
        let long = "x".repeat(PREFIX_MAX + 1);
        let cases: [(&str, bool); 8] = [
            ("", true),
            ("nt:", true),
            (&long[1..], true),
            (&long, false),
            ("a{b", false),
            ("a}b", false),
            ("a b", false),
            ("ä", false),
        ];

        for (text, good) in cases {
            assert_eq!(KeyPrefix::new(text).is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn a_command_id_is_printable_and_short() {
        assert!(is_command_id("3f2b-1"));
        for bad in ["", "a b", "a\nb", "ü", &"x".repeat(COMMAND_ID_MAX + 1)] {
            assert!(!is_command_id(bad), "{bad:?}");
        }
    }
}
