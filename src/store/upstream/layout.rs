//! Where the original keeps what: three namings of keys, of which each version of it knows one.
//!
//! The training data have one name in all of them. Nothing here talks to Redis.

use std::fmt;

use crate::config::{UpstreamConfig, UpstreamLayout};

/// Longest instance name (the original's own bound).
pub const INSTANCE_MAX: usize = 255;

/// The naming of model, flags and times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// Releases 1.7.0 to 1.7.19: one model for each instance.
    Released {
        /// `server.instance_name` there; `nauthilus` by default.
        instance: String,
    },
    /// The last state before its removal: one model for all.
    Common,
    /// The branch that was to become 1.7.20.
    Global,
}

impl Layout {
    /// The word in configuration and on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Released { .. } => "released",
            Self::Common => "common",
            Self::Global => "global",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released { instance } => write!(f, "released ({instance})"),
            Self::Common | Self::Global => f.write_str(self.name()),
        }
    }
}

impl From<&UpstreamConfig> for Layout {
    fn from(config: &UpstreamConfig) -> Self {
        match config.layout {
            UpstreamLayout::Released => Self::Released { instance: config.instance.clone() },
            UpstreamLayout::Common => Self::Common,
            UpstreamLayout::Global => Self::Global,
        }
    }
}

/// The names of one deployment. The prefix is a plain text, no separator follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names behind `prefix` (`server.redis.prefix` of the original, `nt:` by default).
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The list of training records, newest first.
    pub fn training_data(&self) -> String {
        format!("{}ml:training:data", self.prefix)
    }

    /// The model as JSON.
    pub fn model(&self, layout: &Layout) -> String {
        format!("{}model", self.root(layout))
    }

    /// The encodings that belong to the model.
    pub fn encodings(&self, layout: &Layout) -> String {
        format!("{}model_encodings", self.root(layout))
    }

    /// The set of names of additional features that the branch of 1.7.20 kept.
    pub fn feature_names(&self) -> String {
        format!("{}ml:common:additional_features:list", self.prefix)
    }

    /// The hash with `trained` and `dry_run`.
    pub fn flags(&self, layout: &Layout) -> String {
        format!("{}MODEL_TRAINED", self.root(layout))
    }

    /// When it was last trained, in seconds since the epoch.
    pub fn last_training_time(&self, layout: &Layout) -> String {
        format!("{}last:training:time", self.root(layout))
    }

    /// The channels on which a new model is announced: all versions but the releases before 1.7.19 listen to the first.
    pub fn model_updates(&self, layout: &Layout) -> Vec<String> {
        let mut channels = vec![format!("{}ml:common:model:updates", self.prefix)];
        if matches!(layout, Layout::Released { .. }) {
            channels.push(format!("{}model:updates", self.root(layout)));
        }
        channels
    }

    /// The channel on which learning mode is announced.
    pub fn learning_mode_updates(&self) -> String {
        format!("{}ml:common:learning_mode:updates", self.prefix)
    }

    /// A pattern for the flags and models of all instances of [`Layout::Released`].
    pub fn of_any_instance(&self) -> String {
        let mut escaped = String::new();
        for character in self.prefix.chars() {
            if "*?[]\\^".contains(character) {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        format!("{escaped}ml:*:trained:*")
    }

    /// The instance whose key this is; `None` for the common one, and for what is no key of an instance.
    pub fn instance_of(&self, key: &str) -> Option<String> {
        let inner = key.strip_prefix(&self.prefix)?.strip_prefix("ml:")?;
        let (instance, rest) = inner.split_once(":trained:")?;
        let sound = !instance.is_empty()
            && instance.len() <= INSTANCE_MAX
            && instance.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        let known = matches!(rest, "model" | "model_encodings" | "MODEL_TRAINED" | "last:training:time");
        (sound && known && instance != "common").then(|| instance.to_owned())
    }

    fn root(&self, layout: &Layout) -> String {
        match layout {
            Layout::Released { instance } => format!("{}ml:{instance}:trained:", self.prefix),
            Layout::Common => format!("{}ml:common:trained:", self.prefix),
            Layout::Global => format!("{}ml:global:", self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_each_version_names_them() {
        let names = Names::new("nt:");
        let released = Layout::Released { instance: "mx1".to_owned() };

        assert_eq!(names.training_data(), "nt:ml:training:data");
        assert_eq!(names.model(&released), "nt:ml:mx1:trained:model");
        assert_eq!(names.encodings(&Layout::Common), "nt:ml:common:trained:model_encodings");
        assert_eq!(names.flags(&Layout::Common), "nt:ml:common:trained:MODEL_TRAINED");
        assert_eq!(names.last_training_time(&Layout::Global), "nt:ml:global:last:training:time");
        assert_eq!(names.feature_names(), "nt:ml:common:additional_features:list");
        let (common, own) = ("nt:ml:common:model:updates", "nt:ml:mx1:trained:model:updates");
        assert_eq!(names.model_updates(&Layout::Common), [common]);
        assert_eq!(names.model_updates(&released), [common, own]);
        assert_eq!(Names::new("nt_").learning_mode_updates(), "nt_ml:common:learning_mode:updates");
    }

    #[test]
    fn an_instance_is_read_from_its_keys_and_from_no_others() {
        let names = Names::new("n[t]:");

        assert_eq!(names.of_any_instance(), "n\\[t\\]:ml:*:trained:*");
        assert_eq!(names.instance_of("n[t]:ml:mx1:trained:model").as_deref(), Some("mx1"));
        assert_eq!(names.instance_of("n[t]:ml:a:b:trained:MODEL_TRAINED").as_deref(), Some("a:b"));
        for other in ["n[t]:ml:common:trained:model", "n[t]:ml:mx1:trained:training:lock", "nt:ml:mx1:trained:model"] {
            assert_eq!(names.instance_of(other), None, "{other}");
        }
        assert_eq!(names.instance_of(&format!("n[t]:ml:{}:trained:model", "x".repeat(256))), None);
    }
}
