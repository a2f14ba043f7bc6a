//! What the model sees: the ordered list of features and how each is computed and scaled.
//!
//! A snapshot is computed once per attempt, before the attempt itself is counted and before its outcome is known. The
//! schema is fixed-width: its fingerprint stands in every snapshot, sample and model, and nothing of another fingerprint
//! is ever mixed with it.

use sha2::{Digest, Sha256};

use super::activity::{Activity, HOUR_MS};
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

/// How a feature is computed. The numbers are part of the fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// Seconds since the previous attempt from this address; an hour if there is none.
    TimeBetweenAttempts = 1,
    /// Failures from this address in the last hour.
    FailedAttemptsLastHour = 2,
    /// User names tried by this address in the last hour, this one included.
    DifferentUsernames = 3,
    /// Password tags tried for this user in the last day, this one included.
    DifferentPasswords = 4,
    /// Hour of the day.
    TimeOfDay = 5,
    /// Suspicious network or not.
    SuspiciousNetwork = 6,
}

#[derive(Debug, Clone, PartialEq)]
struct Feature {
    name: String,
    kind: Kind,
    /// The raw value that becomes 1; what is above is cut off.
    scale: f64,
}

/// The ordered features of one profile.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSchema {
    profile: &'static str,
    features: Vec<Feature>,
    names: Vec<String>,
    fingerprint: u64,
}

/// The raw value of `TimeBetweenAttempts` when there was no earlier attempt, in seconds.
const NO_EARLIER_ATTEMPT_S: f64 = 3600.0;

impl FeatureSchema {
    /// The six features of the original, in its order.
    pub fn compat6() -> Self {
        Self::of(
            "compat-6",
            &[
                ("TimeBetweenAttempts", Kind::TimeBetweenAttempts, NO_EARLIER_ATTEMPT_S),
                ("FailedAttemptsLastHour", Kind::FailedAttemptsLastHour, 100.0),
                ("DifferentUsernames", Kind::DifferentUsernames, 20.0),
                ("DifferentPasswords", Kind::DifferentPasswords, 20.0),
                ("TimeOfDay", Kind::TimeOfDay, 24.0),
                ("SuspiciousNetwork", Kind::SuspiciousNetwork, 1.0),
            ],
        )
    }

    fn of(profile: &'static str, features: &[(&str, Kind, f64)]) -> Self {
        let features: Vec<_> =
            features.iter().map(|&(name, kind, scale)| Feature { name: name.to_owned(), kind, scale }).collect();
        let names = features.iter().map(|feature| feature.name.clone()).collect();
        let fingerprint = fingerprint(&features);
        Self { profile, features, names, fingerprint }
    }

    /// Name of the profile, as the configuration spells it.
    pub fn profile(&self) -> &'static str {
        self.profile
    }

    /// Names in the order of the values.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Place of the feature `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// How many values a snapshot has.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether there are no features at all.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Eight bytes of a SHA-256 over names, kinds and scales in order: another order, name or scale is another schema.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The features of `attempt`, each 0–1. `activity` must not contain the attempt yet; what it holds of later times is
    /// not looked at.
    pub fn snapshot(&self, activity: &Activity, attempt: &Attempt, context: &FeatureContext) -> Snapshot {
        let values = self.features.iter().map(|feature| {
            let raw = raw_value(feature.kind, activity, attempt, context);
            (raw / feature.scale).clamp(0.0, 1.0) as f32
        });
        Snapshot { fingerprint: self.fingerprint, values: values.collect() }
    }
}

fn raw_value(kind: Kind, activity: &Activity, attempt: &Attempt, context: &FeatureContext) -> f64 {
    let (ip, ts) = (attempt.client_ip, attempt.ts);
    match kind {
        Kind::TimeBetweenAttempts => activity
            .previous_attempt(ip, ts, Some(attempt.request))
            .map_or(NO_EARLIER_ATTEMPT_S, |previous| ts.seconds_since(previous)),
        Kind::FailedAttemptsLastHour => f64::from(activity.source_counts(ip, ts, HOUR_MS).failures),
        Kind::DifferentUsernames => activity.distinct_names(ip, ts, attempt.name) as f64,
        Kind::DifferentPasswords => activity.distinct_tags(attempt.user, ts, attempt.password) as f64,
        Kind::TimeOfDay => f64::from(context.hour.min(23)),
        Kind::SuspiciousNetwork => {
            let suspicious = context.suspicious || attempt.suspicious_network == Some(true);
            if suspicious { 1.0 } else { 0.0 }
        }
    }
}

/// Canonical encoding: per feature the length of its name (u32), its name, its kind (u8), the bits of its scale (f64).
fn fingerprint(features: &[Feature]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"nauthilus-neural/features/1\0");
    for feature in features {
        hash.update((feature.name.len() as u32).to_le_bytes());
        hash.update(feature.name.as_bytes());
        hash.update([feature.kind as u8]);
        hash.update(feature.scale.to_bits().to_le_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(*digest.first_chunk().expect("8 of 32 bytes"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::detection::attempt::{Outcome, PasswordTag, Protocol, Pseudonym, RequestKey, Timestamp};

    const CONTEXT: FeatureContext = FeatureContext { suspicious: false, hour: 12 };

    fn attempt(number: u8, seconds: f64, name: u8, tag: Option<u64>) -> Attempt {
        Attempt {
            ts: Timestamp::from_millis(1_700_000_000_000 + (seconds * 1000.0) as i64),
            request: RequestKey([number; 16]),
            client_ip: IpAddr::from([192, 0, 2, 1]),
            name: Pseudonym([name; 16]),
            user: Pseudonym([name; 16]),
            password: tag.map(PasswordTag),
            protocol: Protocol::Imap,
            user_found: None,
            suspicious_network: None,
            no_auth: false,
            static_rule_triggered: false,
        }
    }

    fn fail(activity: &mut Activity, attempt: &Attempt) {
        activity.apply_attempt(attempt);
        activity.apply_outcome(attempt, Outcome::Failure);
    }

    fn value(activity: &Activity, attempt: &Attempt, name: &str) -> f32 {
        let schema = FeatureSchema::compat6();
        schema.snapshot(activity, attempt, &CONTEXT).values[schema.index_of(name).unwrap()]
    }

    #[test]
    fn the_first_attempt_ever() {
        let schema = FeatureSchema::compat6();

        let snapshot = schema.snapshot(&Activity::default(), &attempt(1, 0.0, 1, None), &CONTEXT);

        assert_eq!(snapshot.fingerprint, schema.fingerprint());
        assert_eq!(snapshot.values, [1.0, 0.0, 1.0 / 20.0, 0.0, 0.5, 0.0]);
    }

    #[test]
    fn a_burst_of_failures_shows_in_every_counter() {
        let mut activity = Activity::default();
        for number in 1..=10 {
            fail(&mut activity, &attempt(number, f64::from(number), number, Some(number.into())));
        }

        let next = attempt(11, 10.5, 11, Some(11));

        assert_eq!(value(&activity, &next, "TimeBetweenAttempts"), (0.5 / 3600.0) as f32);
        assert_eq!(value(&activity, &next, "FailedAttemptsLastHour"), 0.1);
        assert_eq!(value(&activity, &next, "DifferentUsernames"), 11.0 / 20.0);
        assert_eq!(value(&activity, &next, "DifferentPasswords"), 1.0 / 20.0);
    }

    #[test]
    fn passwords_are_counted_per_user_over_a_day_and_names_per_address_over_an_hour() {
        let mut activity = Activity::default();
        fail(&mut activity, &attempt(1, 0.0, 1, Some(1)));
        fail(&mut activity, &attempt(2, 10.0, 1, Some(2)));
        fail(&mut activity, &attempt(3, 20.0, 2, Some(3)));

        let soon = attempt(4, 30.0, 1, Some(1));
        let hours_later = attempt(5, 7200.0, 1, None);
        let days_later = attempt(6, 90_000.0, 1, None);

        assert_eq!(value(&activity, &soon, "DifferentPasswords"), 2.0 / 20.0);
        assert_eq!(value(&activity, &soon, "DifferentUsernames"), 2.0 / 20.0);
        assert_eq!(value(&activity, &hours_later, "DifferentPasswords"), 2.0 / 20.0);
        assert_eq!(value(&activity, &hours_later, "DifferentUsernames"), 1.0 / 20.0);
        assert_eq!(value(&activity, &hours_later, "FailedAttemptsLastHour"), 0.0);
        assert_eq!(value(&activity, &days_later, "DifferentPasswords"), 0.0);
    }

    #[test]
    fn what_happens_later_is_not_seen() {
        let mut activity = Activity::default();
        let schema = FeatureSchema::compat6();
        let early = attempt(1, 0.0, 1, Some(1));
        let before = schema.snapshot(&activity, &early, &CONTEXT);

        for number in 2..50 {
            fail(&mut activity, &attempt(number, 100.0 + f64::from(number), number, Some(number.into())));
        }

        assert_eq!(schema.snapshot(&activity, &early, &CONTEXT), before);
    }

    #[test]
    fn values_never_leave_zero_to_one() {
        let mut activity = Activity::default();
        for number in 1..=200 {
            fail(&mut activity, &attempt(number, 0.0, number, Some(number.into())));
        }
        let late = attempt(201, 9_000_000.0, 201, None);
        let now = attempt(201, 1.0, 201, None);
        for probe in [late, now] {
            let odd = FeatureContext { suspicious: true, hour: 255 };
            let values = FeatureSchema::compat6().snapshot(&activity, &probe, &odd).values;
            assert!(values.iter().all(|value| (0.0..=1.0).contains(value)), "{values:?}");
        }
    }

    #[test]
    fn either_opinion_makes_a_network_suspicious() {
        let mut flagged = attempt(1, 0.0, 1, None);
        assert_eq!(value(&Activity::default(), &flagged, "SuspiciousNetwork"), 0.0);

        flagged.suspicious_network = Some(true);

        assert_eq!(value(&Activity::default(), &flagged, "SuspiciousNetwork"), 1.0);
    }

    #[test]
    fn the_fingerprint_names_exactly_this_schema() {
        let schema = FeatureSchema::compat6();
        let of = |features: &[(&str, Kind, f64)]| FeatureSchema::of("test", features).fingerprint();
        let one = of(&[("A", Kind::TimeOfDay, 24.0), ("B", Kind::SuspiciousNetwork, 1.0)]);

        assert_eq!((schema.len(), schema.profile()), (6, "compat-6"));
        assert_eq!(schema.fingerprint(), FeatureSchema::compat6().fingerprint());
        assert_ne!(one, of(&[("B", Kind::SuspiciousNetwork, 1.0), ("A", Kind::TimeOfDay, 24.0)]));
        assert_ne!(one, of(&[("A", Kind::TimeOfDay, 23.0), ("B", Kind::SuspiciousNetwork, 1.0)]));
        assert_ne!(one, of(&[("AB", Kind::TimeOfDay, 24.0), ("", Kind::SuspiciousNetwork, 1.0)]));
    }
}
