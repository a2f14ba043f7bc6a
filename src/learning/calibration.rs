//! Turns the logit of a voter into one that can be believed: where it says 80 %, four of five are attacks.
//!
//! Platt scaling: a straight line through the logit, fitted to rows that the voter was not trained on. The line always
//! rises, so the order of attempts stays what it was. Not here: the choice of rows, and thresholds.

use serde::{Deserialize, Serialize};

use crate::numeric;

/// Effective number of rows of either class below which nothing is fitted.
const ROWS_MIN: f64 = 50.0;

/// Effective number of rows of either class below which only the slope is fitted.
const PLATT_ROWS_MIN: f64 = 200.0;

/// A slope flatter than this, or a slope or offset beyond [`PARAMETER_MAX`], is no calibration.
const SLOPE_MIN: f64 = 1e-6;
const PARAMETER_MAX: f64 = 1e6;

/// Logits that deviate from their mean by less than this share of it are equal, apart from rounding.
const EQUAL: f64 = 1e-9;

/// Newton steps at most; some ten are usual.
const STEPS_MAX: usize = 100;
/// The fit ends where the mean loss falls by less than this for a unit of either parameter.
const GRADIENT_MAX: f64 = 1e-10;
/// Added to the second derivatives, so that they can be divided by.
const RIDGE: f64 = 1e-12;
/// A step must gain this share of what the slope promises (Armijo's rule), or it is halved …
const GAIN_MIN: f64 = 1e-4;
/// … as often as this.
const HALVINGS_MAX: usize = 40;

/// A straight line from a voter's logit to a calibrated one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Above zero. Below one for a voter that is too sure of itself.
    pub slope: f64,
    /// Added after the slope; negative where the voter sees too many attacks.
    pub offset: f64,
}

impl Default for Calibration {
    /// The identity: the logit is taken as it is.
    fn default() -> Self {
        Self { slope: 1.0, offset: 0.0 }
    }
}

/// What rows can calibrate, by the class of which there are fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Calibrates {
    /// Nothing: a logit is taken as it is.
    Nothing,
    /// The slope alone.
    Slope,
    /// Slope and offset.
    Line,
}

impl Calibrates {
    /// From whether it was an attack, and the weight, of each row; see [`Calibration::fit`].
    pub fn by(rows: &[(bool, f64)]) -> Self {
        let rows: Vec<_> = rows.iter().map(|(attack, weight)| (0.0, *attack, *weight)).collect();
        match effective_rows(&rows, true).min(effective_rows(&rows, false)) {
            enough if enough >= PLATT_ROWS_MIN => Self::Line,
            few if few >= ROWS_MIN => Self::Slope,
            _ => Self::Nothing,
        }
    }
}

impl Calibration {
    /// The calibrated logit.
    pub fn apply(&self, logit: f64) -> f64 {
        self.slope * logit + self.offset
    }

    /// Whether this is a rising line with numbers in range: to be asked before a decoded one is used.
    pub fn check(&self) -> bool {
        self.slope >= SLOPE_MIN && self.slope <= PARAMETER_MAX && self.offset.abs() <= PARAMETER_MAX
    }

    /// From (logit, whether it was an attack, weight) of rows the voter has not seen.
    ///
    /// Slope and offset where both classes have at least 200 rows, the slope alone where they have at least 50 (see
    /// [`temperature`](Self::temperature)), the identity with fewer. Rows of unequal weight count as fewer rows:
    /// (Σw)² / Σw² (Kish's effective sample size). The identity too where a number is not finite, a weight is negative,
    /// all logits are equal, or the line would not rise: then the voter is worthless, and turning it round would hide it.
    pub fn fit(rows: &[(f64, bool, f64)]) -> Self {
        Self::line(rows, true)
    }

    /// As [`fit`](Self::fit), but with the slope as the only parameter: a logit of zero stays zero.
    pub fn temperature(rows: &[(f64, bool, f64)]) -> Self {
        Self::line(rows, false)
    }

    fn line(rows: &[(f64, bool, f64)], with_offset: bool) -> Self {
        let fitted = Problem::new(rows).and_then(|problem| {
            let with_offset = with_offset && problem.rows >= PLATT_ROWS_MIN;
            (problem.rows >= ROWS_MIN).then(|| problem.solve(with_offset))?
        });
        fitted.filter(Self::check).unwrap_or_default()
    }
}

/// The mean loss of a line over all rows, with logits divided by their spread.
///
/// The targets are not 0 and 1 but what n rows of a class support, (n + 1)/(n + 2) and 1/(n + 2) (J. Platt,
/// "Probabilistic outputs for support vector machines", 1999): without this, separable rows would have no best line.
struct Problem {
    /// Scaled logit, target, share of the whole weight.
    rows_scaled: Vec<(f64, f64, f64)>,
    spread: f64,
    /// Effective number of rows of the smaller class.
    rows: f64,
}

impl Problem {
    fn new(rows: &[(f64, bool, f64)]) -> Option<Self> {
        let usable = |(logit, _, weight): &(f64, bool, f64)| logit.is_finite() && weight.is_finite() && *weight >= 0.0;
        if !rows.iter().all(usable) {
            return None;
        }
        let (attacks, legit) = (effective_rows(rows, true), effective_rows(rows, false));
        let total: f64 = rows.iter().map(|(_, _, weight)| weight).sum();
        let mean = rows.iter().map(|(logit, _, weight)| logit * weight / total).sum::<f64>();
        let square = rows.iter().map(|(logit, _, weight)| (logit - mean) * (logit - mean) * weight / total);
        let spread = square.sum::<f64>().sqrt();
        if !(total.is_finite() && spread.is_finite() && spread > EQUAL * mean.abs()) {
            return None;
        }
        let target = |attack| if attack { (attacks + 1.0) / (attacks + 2.0) } else { 1.0 / (legit + 2.0) };
        let scaled = |(logit, attack, weight): &(f64, bool, f64)| (logit / spread, target(*attack), weight / total);
        Some(Self { rows_scaled: rows.iter().map(scaled).collect(), spread, rows: attacks.min(legit) })
    }

    /// Newton's method with halved steps (Lin, Lin and Weng, "A note on Platt's probabilistic outputs for support vector
    /// machines", 2007). None if it does not arrive.
    fn solve(&self, with_offset: bool) -> Option<Calibration> {
        let mut line = (0.0, 0.0);
        for _ in 0..STEPS_MAX {
            let Local { loss, mut gradient, curvature: (aa, mut ab, bb) } = self.at(line);
            if !with_offset {
                (gradient.1, ab) = (0.0, 0.0);
            }
            if gradient.0.abs() < GRADIENT_MAX && gradient.1.abs() < GRADIENT_MAX {
                break;
            }
            let (aa, bb) = (aa + RIDGE, bb + RIDGE);
            let determinant = aa * bb - ab * ab;
            let step =
                ((ab * gradient.1 - bb * gradient.0) / determinant, (ab * gradient.0 - aa * gradient.1) / determinant);
            let promised = gradient.0 * step.0 + gradient.1 * step.1;
            let mut length = 1.0;
            let next = (0..HALVINGS_MAX).find_map(|_| {
                let next = (line.0 + length * step.0, line.1 + length * step.1);
                let enough = self.loss(next) <= loss + GAIN_MIN * length * promised;
                length *= 0.5;
                enough.then_some(next)
            });
            // Rounding hides any further gain: this is the bottom.
            let Some(next) = next else { break };
            line = next;
        }
        let (slope, offset) = (line.0 / self.spread, line.1);
        (slope.is_finite() && offset.is_finite()).then_some(Calibration { slope, offset })
    }

    fn loss(&self, (slope, offset): (f64, f64)) -> f64 {
        let loss = |(logit, target, share): &(f64, f64, f64)| {
            let answer = slope * logit + offset;
            share * (numeric::softplus(answer) - target * answer)
        };
        self.rows_scaled.iter().map(loss).sum()
    }

    fn at(&self, line: (f64, f64)) -> Local {
        let mut local = Local { loss: self.loss(line), gradient: (0.0, 0.0), curvature: (0.0, 0.0, 0.0) };
        for (logit, target, share) in &self.rows_scaled {
            let probability = numeric::sigmoid(line.0 * logit + line.1);
            let error = share * (probability - target);
            local.gradient.0 += error * logit;
            local.gradient.1 += error;
            let curvature = share * probability * (1.0 - probability);
            local.curvature.0 += curvature * logit * logit;
            local.curvature.1 += curvature * logit;
            local.curvature.2 += curvature;
        }
        local
    }
}

/// Value, first and second derivatives of the loss in slope and offset.
struct Local {
    loss: f64,
    gradient: (f64, f64),
    curvature: (f64, f64, f64),
}

/// How many rows of equal weight know as much (L. Kish, "Survey sampling", 1965); 0 without weight.
fn effective_rows(rows: &[(f64, bool, f64)], attack: bool) -> f64 {
    let weights = || rows.iter().filter(|row| row.1 == attack).map(|(_, _, weight)| weight);
    let sum: f64 = weights().sum();
    if sum > 0.0 { sum * sum / weights().map(|weight| weight * weight).sum::<f64>() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::evaluation::{Scored, ece};
    use crate::numeric::Rng;

    /// Rows whose truth follows `slope`·logit + `offset`.
    fn rows(n: usize, slope: f64, offset: f64) -> Vec<(f64, bool, f64)> {
        let mut rng = Rng::new(5, "calibration test");
        (0..n)
            .map(|_| {
                let logit = 3.0 * rng.normal();
                (logit, rng.uniform() < numeric::sigmoid(slope * logit + offset), 1.0)
            })
            .collect()
    }

    fn error(rows: &[(f64, bool, f64)], calibration: Calibration) -> f64 {
        let scored = |&(logit, attack, weight): &(f64, bool, f64)| Scored {
            score: numeric::sigmoid(calibration.apply(logit)),
            attack,
            weight,
        };
        ece(&rows.iter().map(scored).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn slope_and_offset_behind_the_data_are_found() {
        for (slope, offset) in [(1.0, 0.0), (0.4, -1.5), (2.5, 1.0)] {
            let found = Calibration::fit(&rows(40_000, slope, offset));
            assert!((found.slope / slope - 1.0).abs() < 0.05, "{found:?}");
            assert!((found.offset - offset).abs() < 0.08, "{found:?}");
        }
    }

    #[test]
    fn the_scale_of_the_logit_does_not_matter() {
        let plain = rows(5_000, 0.7, -1.0);
        let found = Calibration::fit(&plain);
        for scale in [1e-4, 1e3] {
            let stretched: Vec<_> =
                plain.iter().map(|&(logit, attack, weight)| (logit * scale, attack, weight)).collect();
            let stretched = Calibration::fit(&stretched);
            assert!((stretched.slope * scale / found.slope - 1.0).abs() < 1e-6);
            assert!((stretched.offset - found.offset).abs() < 1e-6);
        }
    }

    #[test]
    fn an_overconfident_voter_is_believed_less_and_its_error_falls() {
        let seen: Vec<_> = rows(6_000, 0.25, -0.8);
        let (fitted_on, measured_on) = seen.split_at(3_000);
        let calibration = Calibration::fit(fitted_on);

        let (before, after) = (error(measured_on, Calibration::default()), error(measured_on, calibration));
        assert!(before > 0.15 && after < 0.03, "{before} {after}");
    }

    #[test]
    fn the_order_of_attempts_stays_what_it_was() {
        let calibration = Calibration::fit(&rows(1_000, 0.3, 2.0));
        let logits: Vec<_> = (-50..50).map(|i| calibration.apply(f64::from(i) / 3.0)).collect();
        assert!(logits.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_voter_that_is_wrong_more_often_than_right_is_not_turned_round() {
        let upside_down = rows(5_000, -1.0, 0.0);
        assert_eq!(Calibration::fit(&upside_down), Calibration::default());
        assert_eq!(Calibration::temperature(&upside_down), Calibration::default());
    }

    #[test]
    fn separable_rows_end_with_finite_numbers() {
        let rows: Vec<_> = (0..1_000).map(|i| (f64::from(i) / 100.0 - 5.0, i >= 500, 1.0)).collect();
        for found in [Calibration::fit(&rows), Calibration::temperature(&rows)] {
            assert!(found.check() && found.slope > 1.0, "{found:?}");
        }
    }

    #[test]
    fn few_rows_get_a_slope_without_an_offset_and_fewer_get_nothing() {
        let mut of_class: [Vec<_>; 2] = [Vec::new(), Vec::new()];
        for row in rows(20_000, 0.5, 1.0) {
            of_class[usize::from(row.1)].push(row);
        }
        let [legit, attacks] = &of_class;
        let with = |attacks: &[_], legit: &[_]| Calibration::fit(&[attacks, legit].concat());

        assert!(with(&attacks[..200], &legit[..2_000]).offset != 0.0);
        for found in [with(&attacks[..199], legit), with(attacks, &legit[..50])] {
            assert!(found.offset == 0.0 && found != Calibration::default(), "{found:?}");
        }
        for found in [with(&attacks[..49], legit), with(attacks, &legit[..49]), with(attacks, &[]), with(&[], &[])] {
            assert_eq!(found, Calibration::default());
        }
        let by = |attacks, legit| Calibrates::by(&[vec![(true, 1.0); attacks], vec![(false, 1.0); legit]].concat());
        assert_eq!((by(200, 2_000), by(199, 2_000)), (Calibrates::Line, Calibrates::Slope));
        assert_eq!(
            (by(2_000, 50), by(49, 2_000), by(0, 9)),
            (Calibrates::Slope, Calibrates::Nothing, Calibrates::Nothing)
        );
        // A thousand rows of which one has nearly all the weight are no thousand rows.
        let mut lopsided = attacks[..1_000].to_vec();
        lopsided[0].2 = 1e6;
        assert_eq!(with(&lopsided, legit), Calibration::default());
    }

    #[test]
    fn a_row_of_weight_three_counts_like_three_rows() {
        let mut weighted = rows(3_000, 0.6, -0.3);
        let mut repeated = Vec::new();
        for row in &mut weighted {
            repeated.extend(std::iter::repeat_n(*row, if row.0 > 1.0 { 3 } else { 1 }));
            row.2 = if row.0 > 1.0 { 3.0 } else { 1.0 };
        }
        let (weighted, repeated) = (Calibration::fit(&weighted), Calibration::fit(&repeated));
        // Not the same to the last digit, because three equal rows support a target a little nearer to 1.
        assert!((weighted.slope - repeated.slope).abs() < 0.005, "{weighted:?} {repeated:?}");
        assert!((weighted.offset - repeated.offset).abs() < 0.005, "{weighted:?} {repeated:?}");
    }

    #[test]
    fn rows_that_cannot_be_fitted_give_the_identity() {
        let good = rows(1_000, 0.5, 0.5);
        let with = |row| Calibration::fit(&[good.as_slice(), &[row]].concat());
        for bad in [(f64::NAN, true, 1.0), (f64::INFINITY, true, 1.0), (0.0, true, f64::NAN), (0.0, true, -1.0)] {
            assert_eq!(with(bad), Calibration::default());
        }
        assert_ne!(with((0.0, true, 0.0)), Calibration::default());
        let equal: Vec<_> = good.iter().map(|&(_, attack, weight)| (1.5, attack, weight)).collect();
        assert_eq!(Calibration::fit(&equal), Calibration::default());
        let weightless: Vec<_> = good.iter().map(|&(logit, attack, _)| (logit, attack, 0.0)).collect();
        assert_eq!(Calibration::fit(&weightless), Calibration::default());
    }

    #[test]
    fn the_same_rows_give_the_same_bits() {
        let rows = rows(2_000, 0.8, -0.4);
        let (first, second) = (Calibration::fit(&rows), Calibration::fit(&rows));
        assert_eq!(first.slope.to_bits(), second.slope.to_bits());
        assert_eq!(first.offset.to_bits(), second.offset.to_bits());
    }

    #[test]
    fn what_was_decoded_is_checked_for_range() {
        assert!(Calibration::default().check());
        for slope in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e7] {
            assert!(!Calibration { slope, offset: 0.0 }.check());
        }
        for offset in [f64::NAN, f64::NEG_INFINITY, -1e7] {
            assert!(!Calibration { slope: 1.0, offset }.check());
        }
    }
}
