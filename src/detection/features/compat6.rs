//! The six features of the original: what one address does, and little else. Kept for what was built on them.
//!
//! Each is divided by the value that becomes 1 and cut off there.

use super::super::activity::{Activity, HOUR_MS};
use super::super::attempt::Attempt;
use super::{FeatureContext, Group};

/// How a feature is computed. The numbers are part of the fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
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

/// The raw value of `TimeBetweenAttempts` when there was no earlier attempt, in seconds.
const NO_EARLIER_ATTEMPT_S: f64 = 3600.0;

/// One of the six.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Feature {
    pub(super) name: &'static str,
    pub(super) group: Group,
    pub(super) kind: Kind,
    /// The raw value that becomes 1; what is above is cut off.
    pub(super) scale: f64,
}

/// In the order of the original.
pub(super) const FEATURES: [Feature; 6] = [
    feature("TimeBetweenAttempts", Group::Source, Kind::TimeBetweenAttempts, NO_EARLIER_ATTEMPT_S),
    feature("FailedAttemptsLastHour", Group::Source, Kind::FailedAttemptsLastHour, 100.0),
    feature("DifferentUsernames", Group::Source, Kind::DifferentUsernames, 20.0),
    feature("DifferentPasswords", Group::Password, Kind::DifferentPasswords, 20.0),
    feature("TimeOfDay", Group::Time, Kind::TimeOfDay, 24.0),
    feature("SuspiciousNetwork", Group::Network, Kind::SuspiciousNetwork, 1.0),
];

const fn feature(name: &'static str, group: Group, kind: Kind, scale: f64) -> Feature {
    Feature { name, group, kind, scale }
}

impl Feature {
    /// What goes into the fingerprint behind the name: its kind (u8), the bits of its scale (f64).
    pub(super) fn definition(&self) -> Vec<u8> {
        let mut definition = vec![self.kind as u8];
        definition.extend_from_slice(&self.scale.to_bits().to_le_bytes());
        definition
    }

    pub(super) fn value(&self, activity: &Activity, attempt: &Attempt, context: &FeatureContext) -> f32 {
        let raw = raw_value(self.kind, activity, attempt, context);
        (raw / self.scale).clamp(0.0, 1.0) as f32
    }

    /// The way back from [`Feature::value`], to whole counts and seconds.
    pub(super) fn raw(&self, value: f32) -> f64 {
        (f64::from(value.clamp(0.0, 1.0)) * self.scale).round()
    }
}

fn raw_value(kind: Kind, activity: &Activity, attempt: &Attempt, context: &FeatureContext) -> f64 {
    let (ip, ts) = (attempt.client_ip, attempt.ts);
    match kind {
        Kind::TimeBetweenAttempts => activity
            .previous_attempt(ip, ts, Some(attempt.request))
            .map_or(NO_EARLIER_ATTEMPT_S, |previous| ts.seconds_since(previous)),
        Kind::FailedAttemptsLastHour => f64::from(activity.source_counts(ip, ts, HOUR_MS).failures),
        Kind::DifferentUsernames => activity.distinct_names(ip, ts, attempt.user) as f64,
        Kind::DifferentPasswords => activity.distinct_tags(attempt.user, ts, attempt.password) as f64,
        Kind::TimeOfDay => f64::from(context.hour.min(23)),
        Kind::SuspiciousNetwork => f64::from(u8::from(context.suspects(attempt))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::detection::attempt::{Outcome, PasswordTag, Protocol, Pseudonym, RequestKey, Timestamp};
    use crate::detection::features::FeatureSchema;

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
            client: crate::detection::client::ClientDetails::default(),
            categories: Vec::new(),
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
    fn d4_a_burst_of_failures_shows_in_every_counter() {
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
}
