//! What the model sees: the ordered list of features and how each is computed and scaled.
//!
//! A snapshot is computed once per attempt, before the attempt itself is counted and before its outcome is known. The
//! schema is fixed-width: its fingerprint stands in every snapshot, sample and model. Behind the features of the profile
//! stand the blocks of the additional ones, in the order of the fleet's list. That list grows at its end, so an older schema
//! is a beginning of a newer one; where the list has closed up, its earlier generations are known too. What belongs to one
//! of these can be used with another: [`FeatureSchema::align_to`] finds each feature's block in either, and says "missing"
//! where there is none. Nothing else is ever mixed.
//!
//! Two profiles: [`FeatureSchema::compat6`], and [`FeatureSchema::ext`] with what slow and distributed attacks show.

mod blocks;
mod compat6;
mod ext;
mod layout;

use std::fmt;

use layout::Layout;
pub use layout::{Part, Told};
use sha2::{Digest, Sha256};

use super::activity::Activity;
use super::additional::{FeatureList, Given};
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

/// What a feature is about, for explanations. No profile uses more than eight of them: what explains a score takes twice
/// as long with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// What the client address has been doing.
    Source,
    /// What the client network has been doing, or is known for.
    Network,
    /// Which provider and country the client address belongs to.
    Geo,
    /// Whether the user is known, and known from here.
    Familiarity,
    /// What has been tried on the user.
    AccountUnderAttack,
    /// Which passwords have been tried.
    Password,
    /// What is going on at the site.
    Global,
    /// The protocol of the login, and the program that speaks it.
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
            Self::Geo => "geo",
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

/// Places of the features by which attacks and visits of users can be laid over each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// 1 where the user logged in from the address within the last days.
    pub familiar: usize,
    /// 1 where the user is known, and not to have logged in from the address in the last days.
    pub moved: usize,
    /// The same of the network.
    pub moved_network: usize,
    /// 1 in one of them where the user was not known by this place at all.
    pub strangers: Vec<usize>,
    /// ln(1 + x) of what happened on the account from anywhere: two such counts add up.
    pub account: Vec<usize>,
    /// 1 where the password is an old one of the user that has failed here.
    pub outdated: usize,
    /// 1 where the password is no guess: repeated at home, or with a name that slipped.
    pub repeated: usize,
    /// What an attempt has of the place that it is made from.
    pub place: Vec<usize>,
    /// ln(1 + x) of what failed on the account from the address, and at the address.
    pub visit: Vec<usize>,
    /// ln(1 + x) of the failures on the account from the address; one of `visit`.
    pub failures: usize,
    /// ln(1 + x) of the guesses at the account from the address, this one included; one of `visit`.
    pub guesses: usize,
    /// What others at an address, in a network, on an account and on the whole site do to an attempt.
    pub surroundings: Vec<usize>,
}

/// The ordered features of one profile.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSchema {
    profile: &'static str,
    formulas: Formulas,
    names: Vec<String>,
    groups: Vec<Group>,
    additional: FeatureList,
    /// Fingerprint and width after the profile's features and after each block, ascending.
    prefixes: Vec<(u64, usize)>,
    /// The same of the earlier generations of the list, the latest first.
    former: Vec<Layout>,
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
        let mut schema = Self {
            profile,
            formulas,
            names: Vec::new(),
            groups: Vec::new(),
            additional: FeatureList::default(),
            prefixes: Vec::new(),
            former: Vec::new(),
        };
        let mut definitions = Vec::new();
        for (name, group, definition) in described {
            schema.names.push(name.to_owned());
            schema.groups.push(group);
            definitions.push((name, definition));
        }
        schema.prefixes.push((fingerprint(&definitions), schema.names.len()));
        schema
    }

    /// The additional features behind those of the profile.
    pub fn additional(&self) -> &FeatureList {
        &self.additional
    }

    /// The features of the profile alone.
    pub fn standard_names(&self) -> &[String] {
        &self.names[..self.prefixes[0].1]
    }

    /// The schema of a profile by its name; `None` for a name that no profile has.
    pub fn of_profile(name: &str) -> Option<Self> {
        [Self::compat6(), Self::ext()].into_iter().find(|schema| schema.profile() == name)
    }

    /// Whether any profile has a feature of that name: no additional feature may take it.
    pub fn is_standard(name: &str) -> bool {
        let known = compat6::FEATURES.iter().map(|feature| feature.name);
        known.chain(ext::FEATURES.iter().map(|feature| feature.name)).any(|known| known == name)
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
    /// shares to four digits, additional numbers to five significant ones. What was cut off at the top of a scale stays cut
    /// off.
    pub fn raw(&self, feature: usize, value: f32) -> f64 {
        if let Some(told) = self.additional_at(feature) {
            return blocks::raw(told.slot.kind, told.part, value);
        }
        match self.formulas {
            Formulas::Compat6(features) => features.get(feature).map_or(0.0, |feature| feature.raw(value)),
            Formulas::Ext(features) => features.get(feature).map_or(0.0, |feature| feature.raw(value)),
        }
    }

    /// Place of the feature `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// What tells an attack on an account from the devices of its user; `None` where nothing does.
    pub fn crossing(&self) -> Option<Crossing> {
        let Formulas::Ext(_) = self.formulas else { return None };
        let all = |names: &[&str]| names.iter().map(|name| self.index_of(name)).collect::<Option<Vec<_>>>();
        Some(Crossing {
            familiar: self.index_of(ext::FAMILIAR_ADDRESS)?,
            moved: self.index_of(ext::NEW_ADDRESS)?,
            moved_network: self.index_of(ext::NEW_NETWORK)?,
            strangers: all(&ext::OF_STRANGERS)?,
            account: all(&ext::COUNTED_OF_ACCOUNT)?,
            outdated: self.index_of(ext::OUTDATED)?,
            repeated: self.index_of(ext::REPEATED)?,
            place: all(&ext::OF_PLACE)?,
            visit: all(&ext::COUNTED_OF_VISIT)?,
            failures: self.index_of(ext::FAILURES_OF_VISIT)?,
            guesses: self.index_of(ext::GUESSES_OF_VISIT)?,
            surroundings: all(&ext::OF_SURROUNDINGS)?,
        })
    }

    /// Whether a snapshot of this schema is of somebody whom the user was not known by: a user without history, or a
    /// range of addresses that the user never logged in from. `None` where no feature tells.
    pub fn tells_stranger(&self, values: &[f32]) -> Option<bool> {
        let Formulas::Ext(_) = self.formulas else { return None };
        let mut stranger = false;
        for name in ext::OF_STRANGERS {
            stranger |= *values.get(self.index_of(name)?)? >= 0.5;
        }
        Some(stranger)
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
        self.prefixes.last().map_or(0, |prefix| prefix.0)
    }

    /// As [`snapshot_with`](Self::snapshot_with), for a request that gives no additional features.
    pub fn snapshot(&self, activity: &Activity, attempt: &Attempt, context: &FeatureContext) -> Snapshot {
        self.snapshot_with(activity, attempt, context, &Given::default())
    }

    /// The features of `attempt`, all finite; in compat-6 each 0–1, additional ones −1 to 1. `activity` must not contain the attempt yet; what it
    /// holds of later times is not looked at.
    pub fn snapshot_with(
        &self,
        activity: &Activity,
        attempt: &Attempt,
        context: &FeatureContext,
        given: &Given,
    ) -> Snapshot {
        let mut values: Vec<f32> = match self.formulas {
            Formulas::Compat6(features) => {
                features.iter().map(|feature| feature.value(activity, attempt, context)).collect()
            }
            Formulas::Ext(features) => ext::values(features, activity, attempt, context),
        };
        for slot in self.additional.slots() {
            blocks::push(&mut values, slot.kind, given.value(slot), activity, attempt.ts);
        }
        Snapshot { fingerprint: self.fingerprint(), values }
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
        assert_eq!(raw(&ext, "site_failing_addresses_excess", -0.25), -0.25);
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
