//! Vectors from elsewhere, traffic that stays, traffic that changes, and an attack that is no alarm.

use super::*;
use crate::numeric::{self, Rng};

/// Snapshots of compat-6: mostly small values; a share `attacks` has many failures.
fn traffic(seed: u64, count: usize, attacks: f64, shift: f64) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(seed, "drift test");
    (0..count)
        .map(|_| {
            let attack = rng.uniform() < attacks;
            let height = if attack { 0.7 } else { shift };
            let mut values: Vec<f32> = (0..6).map(|_| (height + 0.3 * rng.uniform()) as f32).collect();
            // A flag that 5 % of the rows have.
            values[5] = f32::from(u8::from(rng.uniform() < 0.05));
            values
        })
        .collect()
}

fn seen(rows: &[Vec<f32>]) -> Vec<Seen<'_>> {
    rows.iter().map(|values| Seen { values, weight: 1.0, harmless: true }).collect()
}

/// A model: many failures are an attack, and the flag matters a little.
fn score(values: &[f32]) -> f64 {
    if values[1] > 0.65 { 0.9 } else { 0.05 + 0.01 * f64::from(values[5]) }
}

fn reference(rows: &[Vec<f32>]) -> Reference {
    Reference::new(&FeatureSchema::compat6(), &seen(rows), 0.5, score)
}

fn compared(before: &[Vec<f32>], now: &[Vec<f32>]) -> Drift {
    reference(before).compare(&seen(now), score)
}

#[test]
fn the_index_is_that_of_the_vector() {
    let reference = [0.1; 10];
    let current = [0.085, 0.07375, 0.07125, 0.075, 0.08625, 0.0975, 0.0775, 0.0925, 0.13625, 0.205];

    assert!((psi(&reference, &current) - 0.122_371_275_798_902_6).abs() < 1e-12);
}

#[test]
fn an_empty_bin_counts_much_but_not_infinitely() {
    let index = psi(&[0.5, 0.5, 0.0], &[0.5, 0.0, 0.5]);

    assert!(index > 8.0 && index < 9.0, "{index}");
    assert_eq!(psi(&[0.3, 0.7], &[0.3, 0.7]), 0.0);
}

#[test]
fn the_same_traffic_is_stable() {
    let drift = compared(&traffic(1, 5000, 0.1, 0.0), &traffic(2, 2000, 0.1, 0.0));

    assert_eq!(drift.level(), Level::Stable, "{}", drift.sentence());
    assert_eq!(drift.all.as_ref().map(|shift| (shift.rows, shift.features.len())), Some((2000, 6)));
}

#[test]
fn legitimate_traffic_that_changes_is_an_alarm_and_is_named() {
    let drift = compared(&traffic(1, 5000, 0.1, 0.0), &traffic(2, 2000, 0.1, 0.1));

    assert_eq!(drift.level(), Level::Alarm);
    assert!(drift.largest().is_some_and(|largest| largest.legit && largest.feature.is_some()), "{drift:?}");
}

#[test]
fn one_feature_that_is_nothing_like_before_is_an_alarm_if_the_model_leans_on_it() {
    // Two features of many are no quarter of them, and the score does not move, because they make up for each other.
    let schema = FeatureSchema::ext();
    let at = |name: &str| schema.index_of(name).expect("a feature of the schema");
    let (moved, other) = (at("source_failures_1h"), at("source_failures_5m"));
    let rows = |seed: u64, shift: f32| -> Vec<Vec<f32>> {
        let mut rng = Rng::new(seed, "strong drift");
        let mut row = || {
            let mut values = vec![0.0; schema.len()];
            values[moved] = rng.uniform() as f32 + shift;
            values[other] = -values[moved];
            values
        };
        (0..3000).map(|_| row()).collect()
    };
    let level = |shift: f32, leans: f64| {
        let score = |values: &[f32]| {
            let logit = leans * f64::from(values[moved] + values[other]) - 4.0;
            1.0 / (1.0 + numeric::exp(-logit))
        };
        let drift = Reference::new(&schema, &seen(&rows(1, 0.0)), 0.5, score).compare(&seen(&rows(2, shift)), score);
        let shift = drift.legit.as_ref().expect("enough rows");
        assert!(shift.score < Drift::ALARM, "{}", shift.score);
        (drift.level(), shift.features[moved].psi > Drift::STRONG)
    };

    assert_eq!(level(0.6, 2.0), (Level::Alarm, true));
    assert_eq!(level(0.6, 0.01), (Level::Warning, true), "the model does not look at it");
    assert_eq!(level(0.1, 2.0), (Level::Warning, false), "it has moved, but not so far");
}

#[test]
fn an_attack_moves_all_rows_and_is_no_alarm() {
    let drift = compared(&traffic(1, 5000, 0.05, 0.0), &traffic(2, 4000, 0.6, 0.0));

    let all = drift.all.as_ref().expect("enough rows").largest(false);
    assert!(all.psi > Drift::ALARM, "{all:?}");
    assert_eq!(drift.level(), Level::Warning, "{}", drift.sentence());
}

#[test]
fn fewer_than_a_thousand_rows_on_either_side_say_nothing() {
    let (many, few) = (traffic(1, 1000, 0.0, 0.0), traffic(2, 999, 0.0, 0.3));

    for drift in [compared(&many, &few), compared(&few, &many)] {
        assert_eq!((&drift.all, &drift.legit), (&None, &None));
        assert_eq!((drift.level(), drift.largest()), (Level::Stable, None));
    }
    let just_enough = compared(&many, &many);
    assert!(just_enough.all.is_some());
}

#[test]
fn what_tells_the_hour_alone_is_reported_and_raises_no_alarm() {
    let schema = FeatureSchema::compat6();
    let clock = schema.groups().iter().position(|group| *group == Group::Time).expect("compat-6 knows the time");
    let before = traffic(1, 3000, 0.0, 0.0);
    let mut now = traffic(2, 3000, 0.0, 0.0);
    for values in &mut now {
        values[clock] = 0.9;
    }

    let drift = compared(&before, &now);

    let feature = &drift.legit.as_ref().expect("enough rows").features[clock];
    assert!(feature.psi > 1.0 && !feature.telling, "{feature:?}");
    assert_eq!(drift.level(), Level::Stable, "{}", drift.sentence());
}

#[test]
fn a_score_that_only_the_hour_has_moved_raises_no_alarm() {
    let schema = FeatureSchema::compat6();
    let clock = schema.groups().iter().position(|group| *group == Group::Time).expect("compat-6 knows the time");
    let at = |seed, hour: f32| -> Vec<Vec<f32>> {
        let mut rows = traffic(seed, 3000, 0.0, 0.0);
        rows.iter_mut().for_each(|values| values[clock] = hour);
        rows
    };
    let by = |feature: usize| {
        let score = move |values: &[f32]| 0.1 * f64::from(values[feature]);
        Reference::new(&schema, &seen(&at(1, 0.2)), 0.5, score).compare(&seen(&at(2, 0.9)), score)
    };

    assert_eq!(by(clock).level(), Level::Stable, "{}", by(clock).sentence());
    let mut moved = at(2, 0.2);
    moved.iter_mut().for_each(|values| values[0] += 0.1);
    let score = |values: &[f32]| 0.1 * f64::from(values[0]);
    let drift = Reference::new(&schema, &seen(&at(1, 0.2)), 0.5, score).compare(&seen(&moved), score);
    assert_eq!(drift.level(), Level::Alarm, "one feature that tells can move the score: {}", drift.sentence());
}

#[test]
fn flags_and_constants_are_told_from_what_they_were() {
    let flags = |share: f64| -> Vec<Vec<f32>> {
        let mut rng = Rng::new(4, "drift flags");
        (0..2000).map(|_| vec![f32::from(u8::from(rng.uniform() < share)); 6]).collect()
    };
    let index = |before: f64, now: f64| {
        let flat = |_: &[f32]| 0.1;
        let before = Reference::new(&FeatureSchema::compat6(), &seen(&flags(before)), 0.5, flat);
        before.compare(&seen(&flags(now)), flat).legit.expect("enough rows").features[0].psi
    };

    for (before, now) in [(0.05, 0.3), (0.95, 0.6), (1.0, 0.7), (0.0, 0.3)] {
        assert!(index(before, now) > Drift::ALARM, "{before} to {now}: {}", index(before, now));
    }
    assert!(index(0.95, 0.95) < 1e-9);
}

#[test]
fn weights_count_like_rows_and_a_reference_survives_json() {
    let rows = traffic(1, 2000, 0.2, 0.0);
    let twice: Vec<_> = rows.iter().chain(&rows).cloned().collect();
    let mut weighted = seen(&rows);
    weighted.iter_mut().for_each(|row| row.weight = 2.0);
    let schema = FeatureSchema::compat6();

    let by_weight = Reference::new(&schema, &weighted, 0.5, score);
    let by_rows = Reference::new(&schema, &seen(&twice), 0.5, score);

    assert_eq!(by_weight.all.features, by_rows.all.features);
    let json = serde_json::to_string(&by_weight).expect("plain data");
    let back: Reference = serde_json::from_str(&json).expect("its own words");
    assert_eq!((back.names, back.all.rows, back.legit.rows), (by_weight.names, 2000, by_weight.legit.rows));
}

/// A campaign that the model has not learnt yet looks legitimate to it, but is known by now.
#[test]
fn what_is_known_as_an_attack_is_no_drift_of_legitimate_traffic_however_it_looks() {
    let reference = reference(&traffic(1, 5000, 0.1, 0.0));
    let (ordinary, campaign) = (traffic(2, 2000, 0.1, 0.0), traffic(3, 2000, 0.0, 0.3));
    let level = |harmless| {
        let campaign = campaign.iter().map(|values| Seen { values, weight: 1.0, harmless });
        let rows: Vec<Seen<'_>> = seen(&ordinary).into_iter().chain(campaign).collect();
        let drift = reference.compare(&rows, score);
        (drift.level(), drift.legit.map_or(0, |shift| shift.rows) < 2000)
    };

    assert_eq!(level(true), (Level::Alarm, false));
    let (known, only_the_ordinary) = level(false);
    assert!(known != Level::Alarm && only_the_ordinary, "{known:?}");
}
