//! What a search promises: the order of time, bounds, an end when asked for, and the rule by which one wins.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::detection::attempt::{RequestKey, Timestamp};
use crate::learning::dataset::Row;
use crate::learning::labels::Label;
use crate::learning::optimizer::Optimizer;
use crate::numeric::{self, Rng};

/// Rows in the order of time; an attack is likely where two values are high together.
fn rows(count: usize, attacks: impl Fn(usize) -> bool) -> Dataset {
    let mut rng = Rng::new(4, "tuning test");
    let row = |number: usize| {
        let attack = attacks(number);
        let shift = if attack { 1.2 } else { 0.0 };
        Row {
            ts: Timestamp::from_millis(number as i64 * 1000),
            request: RequestKey::of(&format!("tuning-{number}")),
            values: vec![shift + rng.normal(), shift + rng.normal(), rng.normal()],
            label: if attack { Label::Attack } else { Label::Legit },
            weight: 1.0,
            represents: 1.0,
            word: None,
            failed: attack,
            group: number as u64 / 5,
        }
    };
    Dataset { rows: (0..count).map(row).collect() }
}

fn quick() -> TrainingOptions {
    TrainingOptions { epochs: 2, ..TrainingOptions::default() }
}

fn asked(rows: &Dataset, base: &TrainingOptions, fixed: Fixed) -> Result<Table, SearchError> {
    let question = Question { base, fixed, scaling: Scaling::Stored, budget: 0.01 };
    search(rows, &question, &AtomicBool::new(false), &mut |_| {})
}

fn fourth(number: usize) -> bool {
    number.is_multiple_of(4)
}

#[test]
fn each_fold_is_validated_on_rows_that_are_later_than_all_it_was_trained_on() {
    let folds = folds::cut(&rows(1000, fourth), Scaling::AsIs).unwrap();

    let mut validated = Vec::new();
    for fold in &folds {
        let (train, validation) = fold.sides();
        assert!(train.iter().all(|row| row.ts < validation[0].ts));
        assert!(train.len() >= 400);
        validated.extend(validation.iter().map(|row| row.ts));
    }
    assert_eq!(folds.len(), 3);
    let expected: Vec<_> = (400..1000).map(|number| Timestamp::from_millis(number * 1000)).collect();
    assert_eq!(validated, expected, "one stretch after the other, none twice");
}

#[test]
fn every_candidate_is_measured_and_the_best_of_each_width_through_all_epochs() {
    let mut steps = Vec::new();
    let (rows, base) = (rows(1200, fourth), quick());
    let question = Question { base: &base, fixed: Fixed::default(), scaling: Scaling::Stored, budget: 0.01 };
    let table = search(&rows, &question, &AtomicBool::new(false), &mut |step| steps.push(step)).unwrap();

    assert_eq!((table.tried.len(), table.folds, table.rows), (27, 3, 1200));
    let finalists: Vec<_> = table.tried.iter().filter(|tried| tried.round == 3).collect();
    let mut widths: Vec<_> = finalists.iter().map(|tried| tried.candidate.hidden).collect();
    widths.sort_unstable();
    assert_eq!(widths, [8, 16, 32]);
    assert!(finalists.iter().any(|tried| tried.candidate == table.winner));
    assert!(table.tried.iter().all(|tried| tried.log_loss.is_some_and(|loss| loss.mean < 0.7)), "{table:?}");
    assert!(table.tried.iter().all(|tried| tried.recall.is_some() && tried.pr_auc.is_some()));
    assert!(steps.iter().all(|step| step.stage == Stage::Tuning && step.of == 117));
    assert_eq!(steps.iter().map(|step| step.done).collect::<Vec<_>>(), (1..=117).collect::<Vec<_>>());
}

#[test]
fn the_same_rows_give_the_same_table() {
    let fixed = Fixed { hidden: true, ..Fixed::default() };
    let again = || asked(&rows(800, fourth), &quick(), fixed);
    assert_eq!(again(), again());
}

#[test]
fn what_is_fixed_is_not_searched_for() {
    let base = TrainingOptions { hidden: 5, l2: 0.5, ..quick() };
    let table = asked(&rows(800, fourth), &base, Fixed { hidden: true, l2: true, learning_rate: false }).unwrap();

    assert_eq!(table.tried.len(), 3);
    assert!(table.tried.iter().all(|tried| (tried.candidate.hidden, tried.candidate.l2) == (5, 0.5)));
    let table = asked(&rows(800, fourth), &base, Fixed { hidden: true, l2: true, learning_rate: true }).unwrap();
    assert_eq!((table.tried.len(), table.winner), (1, Candidate::of(&base)));
}

#[test]
fn too_little_to_cut_into_folds_is_said_plainly() {
    let few = asked(&rows(499, fourth), &quick(), Fixed::default());
    assert_eq!(few, Err(SearchError::TooLittle(TooLittle::Rows { have: 499 })));
    let late = asked(&rows(1000, |number| number > 900), &quick(), Fixed::default());
    assert_eq!(late, Err(SearchError::TooLittle(TooLittle::Class { which: "attacks", have: 0 })));
    assert!(late.unwrap_err().to_string().contains("train without it"));
}

#[test]
fn a_search_ends_when_it_is_cancelled() {
    let (cancel, base) = (AtomicBool::new(false), quick());
    let mut steps = 0;
    let rows = rows(800, fourth);
    let question = Question { base: &base, fixed: Fixed::default(), scaling: Scaling::Stored, budget: 0.01 };
    let ended = search(&rows, &question, &cancel, &mut |_| {
        steps += 1;
        cancel.store(steps == 5, Ordering::Relaxed);
    });

    assert_eq!((ended, steps), (Err(SearchError::Cancelled), 5));
}

#[test]
fn at_most_fifteen_thousand_rows_are_looked_at() {
    let fixed = Fixed { hidden: true, learning_rate: true, l2: true };
    let table = asked(&rows(20_000, fourth), &TrainingOptions { epochs: 1, ..quick() }, fixed).unwrap();
    assert_eq!(table.rows, ROWS_MAX);
}

#[test]
fn steps_that_are_too_large_win_nothing() {
    let base = TrainingOptions { optimizer: Optimizer::Adam { learning_rate: 1e300 }, ..quick() };
    let fixed = Fixed { learning_rate: true, ..Fixed::default() };
    let none = asked(&rows(800, fourth), &base, fixed);
    assert!(matches!(none, Err(SearchError::Training(TrainingError::NonFinite { .. }))), "{none:?}");
}

/// What candidates of 8, 16 and 32 neurons say, each row's logit a little nearer to the truth the wider they are.
fn finalists(folds: &[Fold], gain: impl Fn(usize, &Row) -> f64) -> Vec<(Candidate, Vec<Said>)> {
    let said = |hidden: usize, fold: &Fold| {
        let (_, validation) = fold.sides();
        let probability = |row: &Row| {
            let side = if row.label == Label::Attack { 1.0 } else { -1.0 };
            numeric::sigmoid(side * (1.0 + gain(hidden, row)))
        };
        Said(validation.iter().map(probability).collect())
    };
    let of = |hidden| {
        let candidate = Candidate { hidden, learning_rate: 1e-3, l2: 1e-4 };
        (candidate, folds.iter().map(|fold| said(hidden, fold)).collect())
    };
    [8, 16, 32].map(of).to_vec()
}

#[test]
fn the_narrowest_within_one_standard_error_of_the_best_wins() {
    let folds = folds::cut(&rows(1000, fourth), Scaling::AsIs).unwrap();
    let winner = |gain: &dyn Fn(usize, &Row) -> f64| {
        table::winner(&folds, &finalists(&folds, gain)).map(|candidate| candidate.hidden)
    };

    assert_eq!(winner(&|_, _| 0.0), Some(8), "no difference");
    assert_eq!(winner(&|hidden, _| hidden as f64 / 64.0), Some(32), "better on every row");
    // Better by twice as much on a few groups and worse on others: chance.
    let by_luck = |hidden: usize, row: &Row| {
        let luck = if row.group.is_multiple_of(7) { 8.0 } else { -0.9 };
        if hidden == 8 { 0.0 } else { luck * 0.1 }
    };
    assert_eq!(winner(&by_luck), Some(8));
    // One campaign, however many rows it has, is one piece of evidence.
    let one_group = |hidden: usize, row: &Row| match row.group {
        199 if hidden == 32 => 1.0,
        198 if hidden == 32 => -0.1,
        _ => 0.0,
    };
    assert_eq!(winner(&one_group), Some(8));
}

#[test]
fn nobody_wins_where_nobody_could_be_fitted() {
    let folds = folds::cut(&rows(1000, fourth), Scaling::AsIs).unwrap();
    let mut all = finalists(&folds, |_, _| 0.0);
    all[0].1[1] = Said::default();
    assert_eq!(table::winner(&folds, &all).map(|candidate| candidate.hidden), Some(16), "half a fit is none");
    assert_eq!(table::winner(&folds, &[]), None);
}

#[test]
fn found_values_replace_those_of_the_options_unless_they_are_fixed() {
    let found = Candidate { hidden: 32, learning_rate: 0.5, l2: 0.25 };
    let options = TrainingOptions::default();
    let applied = found.apply(&options);

    assert_eq!(Candidate::of(&applied), found);
    assert_eq!((applied.epochs, applied.activation, applied.seed), (options.epochs, options.activation, options.seed));
    let fixed = Fixed { learning_rate: true, ..Fixed::default() };
    assert_eq!(found.unless(fixed, &options), Candidate { learning_rate: 3e-3, ..found });
}
