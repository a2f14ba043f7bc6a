//! Canaries: the same attacks and the same honest mistakes every time, as snapshots for whoever judges models.
//!
//! Two small sites from fixed seeds, in the hard profile. One has people and attacks; its attack attempts are the attack
//! half. The other has people only; their mistakes, more than usual by the choice of the seed, are the legitimate half.
//! Everything is played through counters of its own, and the first day only fills them; and once more as if nobody told
//! passwords, because what counts as a guess is not the same there. Nothing is scored here.

use std::collections::BTreeMap;

use super::{Habit, Profile, Scenario, TrafficOptions, generate};
use crate::detection::activity::{Activity, ActivityLimits, DAY_MS};
use crate::detection::attempt::{Outcome, Timestamp};
use crate::detection::features::{FeatureContext, FeatureSchema};
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::{AttemptRecord, CheckedRecord, TrueLabel};
use crate::learning::gate::Canary;

/// Attack scenarios that are played.
const ATTACKS: [Scenario; 7] = [
    Scenario::Burst,
    Scenario::Dictionary,
    Scenario::Spray,
    Scenario::Stuffing,
    Scenario::BotnetOne,
    Scenario::SlowSpray24,
    Scenario::NatInsider,
];
/// Legitimate habits that are played.
const HABITS: [Habit; 5] = [Habit::StaleClient, Habit::Forgotten, Habit::Typo, Habit::MistypedName, Habit::NatOffice];

/// People of each site, and days; the first day is warm-up.
const USERS: u32 = 60;
const DAYS: f64 = 4.0;
const WARM_UP_MS: i64 = DAY_MS;
/// Attack attempts per legitimate one: about 1400 in all.
const ATTACK_SHARE: f64 = 0.4;
/// Seeds that were chosen because every scenario has at least twenty attempts after the warm-up.
const ATTACK_SEED: u64 = 1;
const LEGIT_SEED: u64 = 98;
/// Room for the counters: plenty for sixty people and their attackers.
const COUNTER_BYTES: usize = 8 << 20;

/// All canaries for a schema: attacks first, each half in the order of its list. The same for every call.
pub fn canaries(schema: &FeatureSchema) -> Vec<Canary> {
    let attacks = play(schema, ATTACK_SEED, ATTACK_SHARE, TrueLabel::Attack);
    let legit = play(schema, LEGIT_SEED, 0.0, TrueLabel::Legit);
    let mut canaries = named(attacks, &ATTACKS.map(Scenario::name), true);
    canaries.extend(named(legit, &HABITS.map(Habit::name), false));
    canaries
}

/// Snapshots by scenario.
type Played = BTreeMap<String, Vec<Vec<f32>>>;

fn named([mut told, mut untold]: [Played; 2], names: &[&str], attack: bool) -> Vec<Canary> {
    let canary = |name: &&str| Canary {
        name: (*name).to_owned(),
        attack,
        snapshots: told.remove(*name).unwrap_or_default(),
        without_passwords: untold.remove(*name).unwrap_or_default(),
    };
    names.iter().map(canary).collect()
}

/// Snapshots of one site after its first day, as far as their attempts have this label; and of one that tells no passwords.
fn play(schema: &FeatureSchema, seed: u64, attack_share: f64, label: TrueLabel) -> [Played; 2] {
    let options = TrafficOptions {
        seed,
        days: DAYS,
        users: USERS,
        attack_share,
        scenarios: ATTACKS.to_vec(),
        profile: Profile::Hard,
        ..TrafficOptions::default()
    };
    let records = generate(&options);
    let untold = records.iter().map(|record| AttemptRecord { password_hash: None, ..record.clone() }).collect();
    [records, untold].map(|records| play_records(schema, records, options.start, label))
}

fn play_records(schema: &FeatureSchema, records: Vec<AttemptRecord>, start: Timestamp, label: TrueLabel) -> Played {
    let warm = start.plus_millis(WARM_UP_MS);
    let pseudonymizer = Pseudonymizer::new([0; 32]);
    let mut activity = Activity::new(ActivityLimits::of_total(COUNTER_BYTES));
    let mut found = Played::new();
    for record in records {
        let CheckedRecord { attempt, outcome, truth, .. } = checked(record, &pseudonymizer);
        let wanted = attempt.ts >= warm && truth.label == Some(label);
        if let Some(scenario) = truth.scenario.filter(|_| wanted) {
            let context = FeatureContext { suspicious: false, hour: hour(attempt.ts) };
            let snapshot = schema.snapshot(&activity, &attempt, &context);
            found.entry(scenario).or_default().push(snapshot.values);
        }
        activity.apply_attempt(&attempt);
        activity.apply_outcome(&attempt, outcome.unwrap_or(Outcome::Unknown));
    }
    found
}

fn checked(record: AttemptRecord, pseudonymizer: &Pseudonymizer) -> CheckedRecord {
    // The record's own time is "now": nothing of it lies in the future.
    let now = record.ts.as_deref().and_then(Timestamp::parse).expect("generated records have a time");
    record.check(None, now, pseudonymizer, String::new).expect("generated records are valid")
}

/// The hour on the clocks of the site, which keep UTC.
fn hour(ts: Timestamp) -> u8 {
    u8::try_from(ts.millis().rem_euclid(DAY_MS) / (DAY_MS / 24)).expect("an hour is below 24")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_attempts_enough_in_every_schema() {
        for schema in [FeatureSchema::compat6(), FeatureSchema::ext()] {
            let canaries = canaries(&schema);

            let names: Vec<&str> = canaries.iter().map(|canary| canary.name.as_str()).collect();
            let expected: Vec<&str> =
                ATTACKS.iter().map(|attack| attack.name()).chain(HABITS.iter().map(|habit| habit.name())).collect();
            assert_eq!(names, expected);
            for (place, canary) in canaries.iter().enumerate() {
                assert_eq!(canary.attack, place < ATTACKS.len());
                let attempts = canary.snapshots.len();
                assert!((20..1000).contains(&attempts), "{}: {attempts} attempts", canary.name);
                assert!(canary.snapshots.iter().all(|values| values.len() == schema.len()));
                assert!(canary.snapshots.iter().flatten().all(|value| value.is_finite()));
                assert_eq!(canary.without_passwords.len(), attempts, "{}", canary.name);
            }
        }
    }

    #[test]
    fn the_same_attempts_are_played_with_passwords_and_without() {
        let schema = FeatureSchema::ext();
        let place = |name| schema.index_of(name).expect("ext has it");
        let (missing, guesses, gap) = (place("password_missing"), place("user_guesses_24h"), place("source_gap_s"));
        let canaries = canaries(&schema);
        let stale = canaries.iter().find(|canary| canary.name == "stale_client").expect("it is played");

        for (told, untold) in stale.snapshots.iter().zip(&stale.without_passwords) {
            assert_eq!((told[missing], untold[missing], told[gap]), (0.0, 1.0, untold[gap]));
        }
        let mean = |rows: &[Vec<f32>]| rows.iter().map(|row| row[guesses]).sum::<f32>() / rows.len() as f32;
        let (told, untold) = (mean(&stale.snapshots), mean(&stale.without_passwords));
        assert!((untold - told).abs() > 1.0, "other things are guesses there: {told} {untold}");
    }

    #[test]
    fn the_same_canaries_come_every_time() {
        let schema = FeatureSchema::ext();

        assert!(canaries(&schema) == canaries(&schema));
    }

    #[test]
    fn people_are_known_by_the_time_that_their_mistakes_are_played() {
        let schema = FeatureSchema::ext();
        let stranger = schema.index_of("user_without_history").expect("ext knows strangers");
        let canaries = canaries(&schema);
        let stale = canaries.iter().find(|canary| canary.name == "stale_client").expect("it is played");

        let strangers = stale.snapshots.iter().filter(|values| values[stranger] > 0.5).count();
        assert!(strangers * 2 < stale.snapshots.len(), "{strangers} of {}", stale.snapshots.len());
    }
}
