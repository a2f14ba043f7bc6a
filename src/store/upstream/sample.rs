//! From a training record of the original to a sample of `compat-6`.
//!
//! A record has neither a user nor an address, so hindsight can never ask about it: its label is given here, for good, and
//! weighs less than that of a login that was watched. Of whom it was nobody knows; as rows of one campaign must not count
//! as independent evidence, all records of one hour share one made-up client network.

use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest, Sha256};

use super::training::TrainingRecord;
use crate::detection::activity::{DAY_MS, HOUR_MS};
use crate::detection::attempt::{Outcome, Pseudonym, RequestKey};
use crate::detection::features::FeatureSchema;
use crate::learning::hindsight::{FrozenLabel, HindsightRule};
use crate::learning::sample::{Sample, reservoir_key};
use crate::store::{SampleClass, SampleEntry};

/// The original divides by these and cuts off at 0 and 1; so does `compat-6`.
const SCALES: [f64; 6] = [3600.0, 100.0, 20.0, 20.0, 1.0, 1.0];
/// User names, passwords and failures of one client within an hour from which a failure is guessing: those of the rules
/// of hindsight that ask the same.
const GUESSING_NAMES: f64 = 5.0;
const GUESSING_PASSWORDS: f64 = 6.0;
const GUESSING_FAILURES: f64 = 20.0;

impl TrainingRecord {
    /// The features as `compat-6` has them.
    pub fn values(&self) -> Vec<f32> {
        self.features.iter().zip(SCALES).map(|(raw, scale)| (raw / scale).clamp(0.0, 1.0) as f32).collect()
    }

    /// What the record teaches, and why. The original's label was 1 for a login that succeeded; here the positive class
    /// is the attack, so a success is legitimate.
    pub fn rule(&self) -> HindsightRule {
        let [_, failures, names, passwords, ..] = self.features;
        if self.success {
            HindsightRule::ImportedSuccess
        } else if names >= GUESSING_NAMES || passwords >= GUESSING_PASSWORDS || failures > GUESSING_FAILURES {
            HindsightRule::ImportedGuessing
        } else {
            HindsightRule::ImportedFailure
        }
    }

    /// Names the record: the same one has the same key, whoever imports it and however often.
    pub fn request(&self) -> RequestKey {
        let mut hash = Sha256::new();
        hash.update(b"nauthilus 1.7 training record\0");
        hash.update([u8::from(self.success)]);
        hash.update(self.written_time.as_bytes());
        for value in self.values() {
            hash.update(value.to_le_bytes());
        }
        RequestKey(hash.finalize()[..16].try_into().expect("sixteen of thirty-two bytes"))
    }

    /// The sample, with its label.
    pub fn sample(&self) -> Sample {
        let request = self.request();
        let hour = u32::try_from(self.time.millis().div_euclid(HOUR_MS)).unwrap_or(0);
        let [high, low] = [(hour >> 16) as u16, hour as u16];
        Sample {
            ts: self.time,
            request,
            // 2001:db8::/32 is for documentation (RFC 3849): no client ever has it. One /64 for each hour.
            client_ip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, high, low, 0, 0, 0, 1)),
            user: Pseudonym(request.0),
            outcome: if self.success { Outcome::Success } else { Outcome::Failure },
            // As if it had been taken in when it happened: it is as old as it is, and importing it again changes nothing.
            ingested_day: self.time.millis() as f64 / DAY_MS as f64,
            historical: true,
            label: Some(FrozenLabel::Rule(self.rule())),
            fingerprint: FeatureSchema::compat6().fingerprint(),
            values: self.values(),
        }
    }

    /// The sample as the store takes it.
    pub fn entry(&self) -> SampleEntry {
        let sample = self.sample();
        SampleEntry {
            class: if self.success { SampleClass::Success } else { SampleClass::Failure },
            key: reservoir_key(sample.request, sample.ingested_day),
            bytes: sample.encode(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::attempt::{Timestamp, client_network};
    use crate::learning::labels::Label;

    const LOGIN: &str = include_str!("../../../tests/fixtures/upstream/login.json");
    const ATTACK: &str = include_str!("../../../tests/fixtures/upstream/attack.json");

    fn record(text: &str) -> TrainingRecord {
        let now = Timestamp::from_millis(1_760_000_000_000);
        TrainingRecord::decode(text.as_bytes(), now).expect("a record").expect("it teaches")
    }

    fn label(record: &TrainingRecord) -> (Label, f64) {
        let labelled = record.rule().labelled();
        (labelled.label, labelled.weight)
    }

    #[test]
    fn d1_a_login_that_succeeded_is_legitimate_and_the_positive_class_is_the_attack() {
        let (login, attack) = (record(LOGIN), record(ATTACK));

        assert_eq!(label(&login).0, Label::Legit);
        assert_eq!(label(&attack).0, Label::Attack);
        assert_eq!(login.sample().label.and_then(FrozenLabel::labelled).map(|l| l.label), Some(Label::Legit));
        assert_eq!(attack.entry().class, SampleClass::Failure);
        let typo = TrainingRecord { success: false, ..login };
        assert!(label(&typo).1 < label(&attack).1, "a lone failure is mostly a typo");
    }

    #[test]
    fn values_are_those_of_compat_6() {
        assert_eq!(record(ATTACK).values(), [(0.31 / 3600.0) as f32, 0.0, 0.7, 0.45, 0.125, 0.0]);
        let absurd = TrainingRecord { features: [-5.0, 1e300, 21.0, -0.0, 7.0, 1.0], ..record(ATTACK) };
        assert_eq!(absurd.values(), [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn the_same_record_is_the_same_sample_and_another_is_not() {
        let login = record(LOGIN);

        assert_eq!(login.entry(), record(LOGIN).entry());
        let later = LOGIN.replace("27.418273915+", "27.418273916+");
        assert_ne!(login.request(), record(&later).request(), "a nanosecond later");
        assert_eq!(Sample::decode(&login.entry().bytes), Ok(login.sample()));
    }

    #[test]
    fn records_of_one_hour_are_one_piece_of_evidence() {
        let network = |text: &str| client_network(record(text).sample().client_ip);

        assert_eq!(network(LOGIN), network(&LOGIN.replace("14:03:27", "14:59:59")));
        assert_ne!(network(LOGIN), network(&LOGIN.replace("14:03:27", "15:00:00")));
        assert_ne!(network(LOGIN), network(ATTACK));
    }
}
