//! The first question to any learner: does it know which side is which?
//!
//! No champion is needed, and no threshold: attacks must score higher on average than legitimate attempts, on the rows
//! that it was trained on and on those that it was not.

use std::cmp::Ordering;

use super::{Challenge, Criterion, HeldOut, failed_if};

/// Means that differ by less are equal: a model that says the same of everybody gets two means that differ by rounding.
const APART_MIN: f64 = 1e-6;

/// The criteria on both kinds of rows. If neither can be measured, the first fails: a model of which nothing at all is
/// known must not serve.
pub(super) fn judge(challenge: &Challenge<'_>) -> [Criterion; 2] {
    let training = challenge.training;
    let mut on_training =
        sides("sides_training", "training rows", training.mean_score_attack, training.mean_score_legit);
    let rows = challenge.hold_out;
    let broken = rows.iter().filter(|row| !row.challenger.is_finite()).count();
    let on_hold_out = if broken > 0 {
        let sentence = format!("{broken} of {} held-out rows get no finite score", rows.len());
        Criterion::measured("sides_hold_out", failed_if(true), broken as f64, 0.0, sentence)
    } else {
        sides("sides_hold_out", "held-out rows", mean(rows, true), mean(rows, false))
    };
    if on_training.value.is_none() && on_hold_out.value.is_none() {
        on_training.status = failed_if(true);
        "no rows show that it tells attacks from legitimate attempts".clone_into(&mut on_training.sentence);
    }
    [on_training, on_hold_out]
}

fn sides(name: &'static str, rows: &str, attack: Option<f64>, legit: Option<f64>) -> Criterion {
    let (Some(attack), Some(legit)) = (attack, legit) else {
        return Criterion::not_measured(name, format!("the {rows} do not have both classes"));
    };
    let sentence = format!("on the {rows} attacks score {attack:.3} and legitimate attempts {legit:.3}");
    // What is not a number is not higher either.
    let higher = (attack - legit).partial_cmp(&APART_MIN) == Some(Ordering::Greater);
    Criterion::measured(name, failed_if(!higher), attack - legit, APART_MIN, sentence)
}

fn mean(rows: &[HeldOut], attack: bool) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0.0);
    for row in rows.iter().filter(|row| row.attack == attack) {
        sum += row.weight * row.probability();
        total += row.weight;
    }
    (total > 0.0).then(|| sum / total)
}
