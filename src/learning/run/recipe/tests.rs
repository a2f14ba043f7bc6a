//! What a recipe promises about probabilities and thresholds where attacks are rare or errors have a price.

use std::collections::BTreeMap;

use super::super::operating::{BLIND_BLOCK_MIN, BLOCK_MIN};
use super::*;
use crate::detection::attempt::{RequestKey, Timestamp};
use crate::learning::calibration::Calibrates;
use crate::learning::cost::{Costs, ThresholdFrom};
use crate::learning::dataset::{Counts, Words};
use crate::learning::feedback::Told;
use crate::learning::threshold;
use crate::learning::training::TrainingOptions;
use crate::learning::tuning::Fixed;
use crate::numeric::Rng;

/// Rows in the width of the extended schema, the last fifth held out. A share of `attacks` are attacks, which have more of
/// the first three values: the logit of the truth rises by `strength` with each.
fn prepared(count: usize, attacks: f64, strength: f64) -> Prepared {
    let mut rng = Rng::new(6, "recipe test");
    let width = FeatureSchema::ext().len();
    let rows: Vec<Row> = (0..count)
        .map(|number| {
            let attack = rng.uniform() < attacks;
            let shift = if attack { strength } else { 0.0 };
            Row {
                ts: Timestamp::from_millis(number as i64 * 1000),
                request: RequestKey::of(&format!("recipe-{number}")),
                values: (0..width).map(|place| if place < 3 { shift + rng.normal() } else { 0.0 }).collect(),
                label: if attack { Label::Attack } else { Label::Legit },
                weight: 1.0,
                represents: 1.0,
                word: None,
                failed: attack,
                group: number as u64,
            }
        })
        .collect();
    let (train, hold_out) = rows.split_at(count * 4 / 5);
    let counts = Counts { train: train.len(), hold_out: hold_out.len(), ..Counts::default() };
    let of = |rows: &[Row]| Dataset { rows: rows.to_vec() };
    let words = Words { said: BTreeMap::new(), sample_weight: count as f64, now: Timestamp::from_millis(0) };
    let told = Told::default();
    Prepared { train: of(train), hold_out: of(hold_out), fresh: Dataset::default(), counts, told, words }
}

fn options(voters: Voters) -> RunOptions {
    let training = TrainingOptions { hidden: 4, epochs: 6, ..TrainingOptions::default() };
    let profile = "ext-mlp16".into();
    RunOptions { samples_max: usize::MAX, training, profile, voters, ..super::super::tests::options() }
}

fn fitted(prepared: &Prepared, options: &RunOptions) -> Fitted {
    fit(prepared, &FeatureSchema::ext(), options, &AtomicBool::new(false), &mut |_| {}).unwrap()
}

#[test]
fn three_attacks_in_a_thousand_leave_probabilities_honest() {
    let rare = prepared(12_000, 0.003, 1.0);
    assert!(rare.hold_out.calibrates() == Calibrates::Nothing, "nothing but the correction makes it honest");
    for voters in [Voters::Logistic, Voters::Network] {
        let Fitted { measured, serving } = fitted(&rare, &options(voters));
        for model in [measured, serving] {
            let rows = &rare.hold_out.rows;
            let said: f64 = rows.iter().map(|row| model.probability(&row.snapshot())).sum::<f64>() / rows.len() as f64;
            assert!((0.0015..0.006).contains(&said), "{voters:?} says {said}");
            assert!(model.evaluation.ece < Some(0.004), "{voters:?}: {:?}", model.evaluation.ece);
        }
    }
}

#[test]
fn the_block_threshold_keeps_twice_the_odds_and_more_where_less_is_told() {
    let told = prepared(10_000, 0.3, 1.0);
    let without = |flags: &[&str]| {
        let mut untold = told.clone();
        for flag in flags {
            let missing = FeatureSchema::ext().index_of(flag).unwrap();
            for row in untold.train.rows.iter_mut().chain(&mut untold.hold_out.rows) {
                row.values[missing] = 1.0;
            }
        }
        untold
    };
    let odds = |probability: f64| probability / (1.0 - probability);
    for (untold, without_password, lowest, margin) in [
        (without(&[]), 0.0, 0.8, 2.0),
        (without(&["user_found_missing"]), 0.0, 0.8, 4.0),
        (without(&["password_missing"]), 1.0, 0.85, 4.0),
        (without(&["password_missing", "user_found_missing"]), 1.0, 0.85, 4.0),
    ] {
        let Fitted { measured, serving } = fitted(&untold, &options(Voters::Logistic));
        let negatives = untold.hold_out.negatives(|row| measured.probability(&row.snapshot()));
        let kept = threshold::thresholds(&negatives, 0.01, without_password);
        let (kept_block, block) = (kept.block.unwrap(), measured.thresholds.block.unwrap());
        assert!(kept_block > lowest, "else the margin would not show: {kept_block}");
        assert!((odds(block) / odds(kept_block) - margin).abs() < 1e-9, "{block} for {kept_block}");
        assert_eq!((serving.thresholds, measured.thresholds.watch), (measured.thresholds, kept.watch));
    }
}

#[test]
fn a_price_is_the_threshold_and_implies_a_rate() {
    let common = prepared(10_000, 0.3, 2.0);
    let costs = Costs { false_positive: 10.0, false_negative: 1.0 };
    let priced = RunOptions { threshold_from: ThresholdFrom::Cost(costs), ..options(Voters::Logistic) };
    let Fitted { measured, serving } = fitted(&common, &priced);

    assert_eq!(measured.thresholds.block, Some(10.0 / 11.0));
    assert_eq!((serving.thresholds, serving.training), (measured.thresholds, measured.training.clone()));
    let implied = measured.training.false_positive_budget;
    assert!(implied > 0.01 && implied < 0.5, "{implied}");
    // About as many as are worth it, and the rate that came of it is told.
    let realised = measured.evaluation.false_positive_rate.unwrap_or(1.0);
    assert!(realised < implied, "{realised} {implied}");

    let cheap = Costs { false_positive: 1.0, false_negative: 9.0 };
    let cheap = RunOptions { threshold_from: ThresholdFrom::Cost(cheap), ..options(Voters::Logistic) };
    assert_eq!(fitted(&common, &cheap).measured.thresholds.block, Some(BLOCK_MIN), "rather honest than not");
    let missing = FeatureSchema::ext().index_of("password_missing").expect("it is one of ours");
    let mut blind = common;
    for row in blind.hold_out.rows.iter_mut().chain(&mut blind.train.rows) {
        row.values[missing] = 1.0;
    }
    assert_eq!(fitted(&blind, &cheap).measured.thresholds.block, Some(BLIND_BLOCK_MIN), "and surer without passwords");
}

#[test]
fn a_price_needs_a_hold_out_that_can_calibrate() {
    let costs = Costs { false_positive: 10.0, false_negative: 1.0 };
    let priced = RunOptions { threshold_from: ThresholdFrom::Cost(costs), ..options(Voters::Logistic) };
    let few = fitted(&prepared(2_500, 0.3, 2.0), &priced).measured;

    assert_eq!(few.thresholds, Thresholds::default());
    assert_eq!(few.training.false_positive_budget, 0.01);
}

#[test]
fn a_search_changes_the_options_of_the_fit_and_the_model_says_so() {
    let searching = RunOptions {
        tuning: Tuning::Search(Fixed { hidden: true, learning_rate: false, l2: true }),
        training: TrainingOptions { epochs: 1, hidden: 2, ..TrainingOptions::default() },
        ..options(Voters::Network)
    };
    let prepared = prepared(1_500, 0.3, 2.0);
    let cancel = AtomicBool::new(false);
    let schema = FeatureSchema::ext();
    let (found, table) = super::super::tuned(&prepared, &schema, &searching, &cancel, &mut |_| {}).unwrap().unwrap();

    let winner = table.expect("asked for").winner;
    let model = fitted(&prepared, &found).serving;
    assert_eq!(model.training.options.optimizer.learning_rate(), winner.learning_rate);
    assert!(model.training.tuned);
    assert!(!fitted(&prepared, &options(Voters::Logistic)).serving.training.tuned);
}

/// Rows of the six features, where attacks have a little more of one that hardly varies, as failures in an hour do.
fn small_differences() -> Prepared {
    let mut prepared = prepared(4000, 0.2, 0.0);
    let mut rng = Rng::new(7, "small differences");
    for row in prepared.train.rows.iter_mut().chain(&mut prepared.hold_out.rows) {
        let failures = if row.label == Label::Attack { 0.05 } else { 0.02 };
        row.values = vec![rng.uniform(), failures + 0.005 * rng.normal(), 0.25, 0.5, rng.uniform(), 1.0];
    }
    prepared
}

/// A flag that hardly any row has would be a hundred deviations away from the others.
#[test]
fn a_flag_of_two_rows_in_thousands_does_not_decide_alone() {
    let mut prepared = small_differences();
    for row in &mut prepared.train.rows {
        row.values[5] = 0.0;
    }
    for place in [10, 20] {
        prepared.train.rows[place].values[5] = 1.0;
    }
    let mut options = RunOptions { profile: "compat-6".into(), ..options(Voters::Network) };
    options.training.epochs = 50;
    let fitted = fit(&prepared, &FeatureSchema::compat6(), &options, &AtomicBool::new(false), &mut |_| {});
    let model = fitted.expect("enough rows").serving;

    for row in prepared.hold_out.rows.iter_mut().take(50) {
        row.values[5] = 0.0;
        let without = model.logit(&row.snapshot());
        row.values[5] = 1.0;
        let moved = (model.logit(&row.snapshot()) - without).abs();
        assert!(moved < 8.0, "{moved}");
    }
}

#[test]
fn the_six_features_are_learnt_in_the_tenth_of_their_range_where_they_differ() {
    let prepared = small_differences();
    let schema = FeatureSchema::compat6();
    let of = |options: &RunOptions| {
        let fitted = fit(&prepared, &schema, options, &AtomicBool::new(false), &mut |_| {}).expect("enough rows");
        assert!(fitted.serving.standardizer.is_none(), "the model takes the features as they are");
        let said = |row: &Row| fitted.serving.probability(&row.snapshot());
        let right =
            prepared.hold_out.rows.iter().filter(|row| (said(row) > 0.5) == (row.label == Label::Attack)).count();
        // A feature that never varied says nothing when it does.
        let mut odd = prepared.hold_out.rows[0].clone();
        let before = said(&odd);
        odd.values[3] = 0.0;
        (right as f64 / prepared.hold_out.rows.len() as f64, (said(&odd) - before).abs() < 1e-9)
    };
    let mut options = RunOptions { profile: "compat-6".into(), ..options(Voters::Network) };
    options.training.epochs = 50;

    let (right, silent) = of(&options);
    assert!(right > 0.95 && silent, "{right} {silent}");
    options.training = options.training.plain_descent(0.01);
    assert!(of(&options).0 < 0.9, "the original's training stays the original's");
}
