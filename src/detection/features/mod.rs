//! What the model sees: the ordered list of features and how each is computed and scaled.
//!
//! A snapshot is computed once per attempt, before the attempt itself is counted and before its outcome is known. The
//! schema is fixed-width: its fingerprint stands in every snapshot, sample and model, and nothing of another fingerprint
//! is ever mixed with it.
//!
//! Two profiles: [`FeatureSchema::compat6`], and [`FeatureSchema::ext`] with what slow and distributed attacks show.

mod compat6;
mod ext;

use std::fmt;

use sha2::{Digest, Sha256};

use super::activity::Activity;
use super::attempt::Attempt;
use super::event::Snapshot;

/// What the caller knows about the circumstances of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureContext {
    /// The client network is on a configured list or a cached blocklist answer. The caller's own flag need not be
    /// repeated here: it stands in the attempt.
    pub suspicious: bool,
    /// Hour of the event in the configured time zone, 0–23.
    pub hour: u8,
}

impl FeatureContext {
    /// Whether anybody has something against the client network.
    fn suspects(&self, attempt: &Attempt) -> bool {
        self.suspicious || attempt.suspicious_network == Some(true)
    }
}

/// What a feature is about, for explanations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// What the client address has been doing.
    Source,
    /// What the client network has been doing, or is known for.
    Network,
    /// Whether the user is known, and known from here.
    Familiarity,
    /// What has been tried on the user.
    AccountUnderAttack,
    /// Which passwords have been tried.
    Password,
    /// What is going on at the site.
    Global,
    /// The protocol of the login.
    Protocol,
    /// When it happened.
    Time,
}

impl Group {
    /// In one word, as it appears in explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Network => "network",
            Self::Familiarity => "familiarity",
            Self::AccountUnderAttack => "account_under_attack",
            Self::Password => "password",
            Self::Global => "global",
            Self::Protocol => "protocol",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the values of a profile are computed.
#[derive(Debug, Clone, PartialEq)]
enum Formulas {
    Compat6(&'static [compat6::Feature]),
    Ext(&'static [ext::Feature]),
}

/// The ordered features of one profile.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSchema {
    profile: &'static str,
    formulas: Formulas,
    names: Vec<String>,
    groups: Vec<Group>,
    fingerprint: u64,
}

impl FeatureSchema {
    /// The six features of the original, in its order.
    pub fn compat6() -> Self {
        let described = compat6::FEATURES.iter().map(|feature| (feature.name, feature.group, feature.definition()));
        Self::of("compat-6", Formulas::Compat6(&compat6::FEATURES), described)
    }

    /// Everything that the counters tell, counts in logarithms: for a model that standardises its input.
    pub fn ext() -> Self {
        let described = ext::FEATURES.iter().map(|feature| (feature.name, feature.group, feature.definition()));
        Self::of("ext-mlp16", Formulas::Ext(&ext::FEATURES), described)
    }

    fn of(
        profile: &'static str,
        formulas: Formulas,
        described: impl Iterator<Item = (&'static str, Group, Vec<u8>)>,
    ) -> Self {
        let mut schema = Self { profile, formulas, names: Vec::new(), groups: Vec::new(), fingerprint: 0 };
        let mut definitions = Vec::new();
        for (name, group, definition) in described {
            schema.names.push(name.to_owned());
            schema.groups.push(group);
            definitions.push((name, definition));
        }
        schema.fingerprint = fingerprint(&definitions);
        schema
    }

    /// The schema of a profile by its name; `None` for a name that no profile has.
    pub fn of_profile(name: &str) -> Option<Self> {
        [Self::compat6(), Self::ext()].into_iter().find(|schema| schema.profile() == name)
    }

    /// Whether the values still need to be brought to one scale before a network sees them.
    pub fn is_unscaled(&self) -> bool {
        self.profile != Self::compat6().profile
    }

    /// Name of the profile, as the configuration spells it.
    pub fn profile(&self) -> &'static str {
        self.profile
    }

    /// Names in the order of the values.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What each value is about, in the order of the values.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// What `value` of the feature in this place stands for, before it was scaled: counts and seconds rounded to whole ones,
    /// shares to four digits. What was cut off at the top of a scale stays cut off.
    pub fn raw(&self, feature: usize, value: f32) -> f64 {
        match self.formulas {
            Formulas::Compat6(features) => features.get(feature).map_or(0.0, |feature| feature.raw(value)),
            Formulas::Ext(features) => features.get(feature).map_or(0.0, |feature| feature.raw(value)),
        }
    }

    /// Place of the feature `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// How many values a snapshot has.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no features at all.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Eight bytes of a SHA-256 over names and definitions in order: another order, name or scale is another schema.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The features of `attempt`, all finite; in compat-6 each 0–1. `activity` must not contain the attempt yet; what it
    /// holds of later times is not looked at.
    pub fn snapshot(&self, activity: &Activity, attempt: &Attempt, context: &FeatureContext) -> Snapshot {
        let values = match self.formulas {
            Formulas::Compat6(features) => {
                features.iter().map(|feature| feature.value(activity, attempt, context)).collect()
            }
            Formulas::Ext(features) => ext::values(features, activity, attempt, context),
        };
        Snapshot { fingerprint: self.fingerprint, values }
    }
}

/// Canonical encoding: per feature the length of its name (u32), its name, its definition. A definition begins with the
/// number of its kind, which no two profiles share and which tells its length.
fn fingerprint(features: &[(&str, Vec<u8>)]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"nauthilus-neural/features/1\0");
    for (name, definition) in features {
        hash.update((name.len() as u32).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(definition);
    }
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(*digest.first_chunk().expect("8 of 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::compat6::{Feature, Kind};
    use super::*;

    /// Nodes and stored models know the six features by this number.
    const COMPAT6_FINGERPRINT: u64 = 0x5782_bff7_fe1e_cc11;

    #[test]
    fn the_fingerprint_names_exactly_this_schema() {
        let of = |features: [(&str, Kind, f64); 2]| {
            let described =
                |(name, kind, scale)| (name, Feature { name: "", group: Group::Time, kind, scale }.definition());
            fingerprint(&features.map(described))
        };
        let one = of([("A", Kind::TimeOfDay, 24.0), ("B", Kind::SuspiciousNetwork, 1.0)]);

        assert_ne!(one, of([("B", Kind::SuspiciousNetwork, 1.0), ("A", Kind::TimeOfDay, 24.0)]));
        assert_ne!(one, of([("A", Kind::TimeOfDay, 23.0), ("B", Kind::SuspiciousNetwork, 1.0)]));
        assert_ne!(one, of([("AB", Kind::TimeOfDay, 24.0), ("", Kind::SuspiciousNetwork, 1.0)]));
    }

    #[test]
    fn the_six_of_the_original_stay_what_they_are() {
        let schema = FeatureSchema::compat6();

        assert_eq!((schema.len(), schema.profile()), (6, "compat-6"));
        assert_eq!(schema.fingerprint(), COMPAT6_FINGERPRINT);
        assert_eq!(schema.groups().len(), 6);
    }

    #[test]
    fn a_scaled_value_tells_the_raw_one() {
        let (compat6, ext) = (FeatureSchema::compat6(), FeatureSchema::ext());
        let raw = |schema: &FeatureSchema, name: &str, value: f64| {
            schema.raw(schema.index_of(name).expect("a feature"), value as f32)
        };

        assert_eq!(raw(&compat6, "FailedAttemptsLastHour", 0.41), 41.0);
        assert_eq!(raw(&compat6, "TimeBetweenAttempts", 7.0 / 3600.0), 7.0);
        for count in [0.0, 1.0, 41.0, 5000.0, 86_400.0] {
            assert_eq!(raw(&ext, "network_failed_users_24h", crate::numeric::ln_1p(count)), count);
        }
        assert_eq!(raw(&ext, "source_failure_share_24h", 0.35), 0.35);
        assert_eq!(raw(&ext, "site_failure_excess", -0.25), -0.25);
        assert!(raw(&ext, "source_gap_s", 1e30).is_finite(), "whatever another node sends");
    }

    #[test]
    fn the_profiles_cannot_be_taken_for_each_other() {
        let schema = FeatureSchema::ext();

        assert_eq!(schema.profile(), "ext-mlp16");
        assert_ne!(schema.fingerprint(), COMPAT6_FINGERPRINT);
        assert_eq!(schema.fingerprint(), FeatureSchema::ext().fingerprint());
    }
}
