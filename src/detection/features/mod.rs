//! What the model sees: the ordered list of features and how each is computed and scaled.
//!
//! A snapshot is computed once per attempt, before the attempt itself is counted and before its outcome is known. The
//! schema is fixed-width: its fingerprint stands in every snapshot, sample and model. Behind the features of the profile
//! stand the blocks of the additional ones, in the order of the fleet's list. That list only grows at its end, so an older
//! schema is a beginning of a newer one, and what belongs to either can be used with the other: [`FeatureSchema::align`]
//! cuts or fills up with "missing". Nothing else is ever mixed.
//!
//! Two profiles: [`FeatureSchema::compat6`], and [`FeatureSchema::ext`] with what slow and distributed attacks show.

mod blocks;
mod compat6;
mod ext;

use std::fmt;

use sha2::{Digest, Sha256};

use super::activity::Activity;
use super::additional::{FeatureList, Given, Kind, Slot};
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
    /// ln(1 + x) of what happened on the account from anywhere: two such counts add up.
    pub account: Vec<usize>,
    /// 1 where the password is an old one of the user that has failed here.
    pub outdated: usize,
    /// What an attempt has of the place that it is made from.
    pub place: Vec<usize>,
    /// ln(1 + x) of what failed on the account from the address, and at the address.
    pub visit: Vec<usize>,
    /// ln(1 + x) of the guesses at the account from the address, this one included; one of `visit`.
    pub guesses: usize,
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

    /// The same profile with the blocks of `list` behind it, and no others.
    pub fn with_additional(&self, list: &FeatureList) -> Self {
        let mut schema = self.clone();
        let (mut fingerprint, width) = self.prefixes[0];
        schema.names.truncate(width);
        schema.groups.truncate(width);
        schema.prefixes.truncate(1);
        for slot in list.slots() {
            schema.names.extend(blocks::names(slot));
            schema.groups.resize(schema.names.len(), Group::Protocol);
            fingerprint = extended(fingerprint, slot);
            schema.prefixes.push((fingerprint, schema.names.len()));
        }
        schema.additional = list.clone();
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

    /// Whether `width` values of the schema `fingerprint` are this schema or a beginning of it.
    pub fn accepts(&self, fingerprint: u64, width: usize) -> bool {
        self.prefixes.contains(&(fingerprint, width))
    }

    /// Brings values of a beginning of this schema to `width`, the width of another beginning: cut, or filled up with
    /// blocks that say "missing", as the blocks of removed features do. `None` when either is no beginning of it.
    pub fn align(&self, fingerprint: u64, values: &[f32], width: usize) -> Option<Vec<f32>> {
        let have = self.prefixes.iter().position(|prefix| *prefix == (fingerprint, values.len()))?;
        let want = self.prefixes.iter().position(|prefix| prefix.1 == width)?;
        let mut aligned = values[..self.prefixes[0].1].to_vec();
        for (place, slot) in self.additional.slots().iter().enumerate().take(want) {
            if place < have && !slot.removed {
                aligned.extend_from_slice(&values[self.prefixes[place].1..self.prefixes[place + 1].1]);
            } else {
                blocks::push_missing(&mut aligned, slot.kind);
            }
        }
        Some(aligned)
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

    /// What tells an attack on an account from the devices of its user; `None` where nothing does.
    pub fn crossing(&self) -> Option<Crossing> {
        let Formulas::Ext(_) = self.formulas else { return None };
        let all = |names: &[&str]| names.iter().map(|name| self.index_of(name)).collect::<Option<Vec<_>>>();
        Some(Crossing {
            familiar: self.index_of(ext::FAMILIAR_ADDRESS)?,
            account: all(&ext::COUNTED_OF_ACCOUNT)?,
            outdated: self.index_of(ext::OUTDATED)?,
            place: all(&ext::OF_PLACE)?,
            visit: all(&ext::COUNTED_OF_VISIT)?,
            guesses: self.index_of(ext::GUESSES_OF_VISIT)?,
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

/// The fingerprint of a schema with one more block: of the one before (u64), the length of the name (u32), the name, and
/// the kind: 0 number, 1 bool, 2 one-hot, 3 embedding. Whether it was removed makes no difference.
fn extended(before: u64, slot: &Slot) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"nauthilus-neural/additional-feature/1\0");
    hash.update(before.to_le_bytes());
    hash.update((slot.name.len() as u32).to_le_bytes());
    hash.update(slot.name.as_bytes());
    hash.update([match slot.kind {
        Kind::Number => 0,
        Kind::Bool => 1,
        Kind::OneHot => 2,
        Kind::Embedding => 3,
    }]);
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(*digest.first_chunk().expect("8 of 32 bytes"))
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
    use super::super::additional::{Kind as AdditionalKind, Proposal};
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

    fn list(names: &[(&str, AdditionalKind)]) -> FeatureList {
        let proposals: Vec<_> =
            names.iter().map(|(name, kind)| Proposal { name: (*name).into(), kind: *kind }).collect();
        FeatureList::default().with(&proposals, 16, 0)
    }

    const NUMBER: (&str, AdditionalKind) = ("risk", AdditionalKind::Number);
    const TEXT: (&str, AdditionalKind) = ("realm", AdditionalKind::OneHot);
    const RATE: (&str, AdditionalKind) = ("device", AdditionalKind::Embedding);

    #[test]
    fn d17_blocks_stand_behind_and_leave_the_standard_features_what_they_are() {
        let longer = FeatureSchema::compat6().with_additional(&list(&[NUMBER, TEXT, RATE]));

        assert_eq!((longer.len(), longer.groups().len()), (6 + 2 + 17 + 3, 6 + 2 + 17 + 3));
        assert_eq!(longer.standard_names(), FeatureSchema::compat6().names());
        assert_eq!(longer.with_additional(&FeatureList::default()), FeatureSchema::compat6());
        for other in [[NUMBER, RATE, TEXT], [NUMBER, TEXT, ("device", AdditionalKind::OneHot)], [TEXT, NUMBER, RATE]] {
            let other = FeatureSchema::compat6().with_additional(&list(&other));
            assert_ne!(other.fingerprint(), longer.fingerprint());
        }
        let removed = longer.additional().without(&["realm".into()]).0;
        assert_eq!(FeatureSchema::compat6().with_additional(&removed).fingerprint(), longer.fingerprint());
    }

    #[test]
    fn an_older_schema_is_a_beginning_and_a_foreign_one_is_not() {
        let (short, long) = (list(&[NUMBER]), list(&[NUMBER, TEXT, RATE]));
        let short = FeatureSchema::ext().with_additional(&short);
        let long = FeatureSchema::ext().with_additional(&long);

        for known in [&FeatureSchema::ext(), &short, &long] {
            assert!(long.accepts(known.fingerprint(), known.len()));
        }
        assert!(!short.accepts(long.fingerprint(), long.len()), "it was longer");
        assert!(!long.accepts(short.fingerprint(), short.len() + 1));
        assert!(!long.accepts(COMPAT6_FINGERPRINT, 6));
    }

    #[test]
    fn old_values_are_filled_up_with_missing_and_new_ones_cut() {
        let short = FeatureSchema::compat6().with_additional(&list(&[NUMBER]));
        let long = FeatureSchema::compat6().with_additional(&list(&[NUMBER, TEXT, RATE]));
        let attempt = crate::detection::record::AttemptRecord {
            client_ip: Some("192.0.2.1".into()),
            username: Some("alice".into()),
            ..Default::default()
        };
        let now = crate::detection::attempt::Timestamp::from_millis(1_700_000_000_000);
        let key = crate::detection::pseudonym::Pseudonymizer::new([7; 32]);
        let attempt = attempt.check(Some(now), now, &key, || "r".into()).unwrap().attempt;
        let context = FeatureContext::default();
        let nothing_given = |schema: &FeatureSchema| schema.snapshot(&Activity::default(), &attempt, &context);
        let (old, new) = (nothing_given(&short), nothing_given(&long));

        assert_eq!(long.align(old.fingerprint, &old.values, long.len()), Some(new.values.clone()));
        assert_eq!(long.align(new.fingerprint, &new.values, short.len()), Some(old.values.clone()));
        let mut told = new.values.clone();
        told[6] = 0.5;
        let removed = long.with_additional(&long.additional().without(&["risk".into()]).0);
        assert_eq!(long.align(new.fingerprint, &told, long.len()), Some(told.clone()));
        assert_eq!(
            removed.align(new.fingerprint, &told, long.len()),
            Some(new.values.clone()),
            "what was is forgotten"
        );
        assert_eq!(long.align(old.fingerprint, &old.values, 6).map(|values| values.len()), Some(6));
        assert_eq!(short.align(new.fingerprint, &new.values, 6), None, "of a schema that is not known here");
        assert_eq!(long.align(new.fingerprint, &new.values, 7), None, "no schema ends there");
        assert_eq!(long.align(new.fingerprint, &new.values[..6], 6), None, "cut short");
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
