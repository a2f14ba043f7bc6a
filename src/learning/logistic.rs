//! Logistic regression: a straight-line model as the yardstick that the network has to beat.
//!
//! smartcore's minimiser (L-BFGS) works on our own loss, because smartcore's logistic regression takes no weights. Only
//! plain numbers come out, so that no smartcore type is stored or sent. Its line search uses the mathematics library of the
//! platform: the coefficients are not promised to be the same to the last bit on every machine. The minimiser knows no way
//! to end early, but it asks for each look at the rows: a cancelled fit answers that there is nothing left to gain.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use smartcore::optimization::FunctionOrder;
use smartcore::optimization::first_order::FirstOrderOptimizer;
use smartcore::optimization::first_order::lbfgs::LBFGS;
use smartcore::optimization::line_search::Backtracking;

use super::training::{Progress, Stage, TrainingRow};
use crate::numeric;

/// Steps of the minimiser at most. On well-behaved rows it needs some dozens.
const STEPS_MAX: usize = 300;

/// The fit ends where no slope of the mean loss is steeper than this.
const SLOPE_MAX: f64 = 1e-7;

/// The cancel flag is looked at after so many rows: well below a millisecond.
const ROWS_BETWEEN_LOOKS: usize = 4096;

/// A column that deviates from its mean by less than this share of it is constant, apart from rounding.
const CONSTANT: f64 = 1e-9;

/// Largest weight or bias that [`Logistic::check`] accepts.
const PARAMETER_MAX: f64 = 1e6;

/// A weighted sum of the features as the logit of an attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    /// One weight for each feature.
    pub weights: Vec<f64>,
    /// The logit where all features are zero.
    pub bias: f64,
}

/// Why there is no logistic regression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogisticError {
    /// All rows with a weight above zero have the same label, or there are none.
    #[error("cannot fit a logistic regression without both attacks and legitimate attempts")]
    OneClass,
    /// Rows of different length or without values.
    #[error("cannot fit a logistic regression to rows of different length or without values")]
    Shape,
    /// The cancel flag was set.
    #[error("the fit of a logistic regression was cancelled")]
    Cancelled,
    /// A value, a weight, the penalty or a coefficient is infinite or NaN, or a weight or the penalty is negative.
    #[error("logistic regression met a number out of range")]
    NonFinite,
}

impl Logistic {
    /// Fits to `rows` by their weights.
    ///
    /// `l2` is the λ of ½λ|w|² beside the weighted mean loss, as in training of the network; the bias is free. Above zero
    /// it keeps the weights finite where the classes are separable. Features may have any scale: the fit changes it for
    /// the time of the search, but the penalty is that of the weights given back.
    ///
    /// # Errors
    /// See [`LogisticError`].
    pub fn fit(rows: &[TrainingRow<'_>], l2: f64) -> Result<Self, LogisticError> {
        Self::fit_watched(rows, l2, &AtomicBool::new(false), &mut |_| {})
    }

    /// As [`fit`](Self::fit). `cancel` is looked at every few thousand rows; a step of `progress` is one look at all of them.
    ///
    /// # Errors
    /// See [`LogisticError`].
    pub fn fit_watched(
        rows: &[TrainingRow<'_>],
        l2: f64,
        cancel: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, LogisticError> {
        let counts = |attack| rows.iter().any(|row| row.attack == attack && row.weight > 0.0);
        if !(counts(true) && counts(false)) {
            return Err(LogisticError::OneClass);
        }
        let inputs = rows[0].values.len();
        if inputs == 0 || rows.iter().any(|row| row.values.len() != inputs) {
            return Err(LogisticError::Shape);
        }
        let usable = |number: f64| number.is_finite() && number >= 0.0;
        let finite = |row: &TrainingRow<'_>| usable(row.weight) && row.values.iter().all(|value| value.is_finite());
        if !(usable(l2) && rows.iter().all(finite)) {
            return Err(LogisticError::NonFinite);
        }

        let watch = Watch { cancel, progress: RefCell::new(progress), looks: Cell::new(0) };
        let objective = Objective::new(rows, inputs, l2, watch);
        let found = objective.minimise();
        if cancel.load(Ordering::Relaxed) {
            return Err(LogisticError::Cancelled);
        }
        let logistic = objective.in_original_scale(&found);
        let sound = logistic.bias.is_finite() && logistic.weights.iter().all(|weight| weight.is_finite());
        if sound { Ok(logistic) } else { Err(LogisticError::NonFinite) }
    }

    /// Whether this is a usable model for rows of `inputs` values: to be asked before a decoded one scores anything.
    pub fn check(&self, inputs: usize) -> bool {
        let usable = |number: &f64| number.abs() <= PARAMETER_MAX;
        self.weights.len() == inputs && self.weights.iter().all(usable) && usable(&self.bias)
    }

    /// The logit of an attack. The caller vouches for the length of the row; another length panics in debug builds.
    pub fn logit(&self, row: &[f64]) -> f64 {
        debug_assert_eq!(row.len(), self.weights.len(), "row of the wrong length");
        let mut logit = self.bias;
        for (weight, value) in self.weights.iter().zip(row) {
            logit += weight * value;
        }
        logit
    }

    /// Probability of an attack.
    pub fn probability(&self, row: &[f64]) -> f64 {
        numeric::sigmoid(self.logit(row))
    }
}

/// The penalised weighted mean loss, over columns brought to mean 0 and to about the same curvature.
///
/// Without that the minimiser creeps along the narrow valleys of features of different scale. The penalty is written
/// in the original weights, so the minimum is the same point.
struct Objective<'a> {
    /// Centred and scaled, one row after the other, without rows of weight zero.
    values: Vec<f64>,
    /// 1 for attacks and 0 otherwise, and the share of the whole weight.
    labels: Vec<(f64, f64)>,
    mean: Vec<f64>,
    /// What a weight in the scaled columns is multiplied with to get the original one; 0 silences a constant column.
    scale: Vec<f64>,
    l2: f64,
    /// The minimiser asks for loss and gradient one by one, and for the same point several times.
    last: RefCell<Evaluated>,
    watch: Watch<'a>,
}

/// Who wants to know, and to stop it.
struct Watch<'a> {
    cancel: &'a AtomicBool,
    progress: RefCell<&'a mut dyn FnMut(Progress)>,
    looks: Cell<u32>,
}

impl Watch<'_> {
    fn looked(&self, loss: f64) {
        const OF: u32 = STEPS_MAX as u32;
        self.looks.set((self.looks.get() + 1).min(OF));
        let progress = Progress { stage: Stage::Logistic, done: self.looks.get(), of: OF, loss: Some(loss) };
        (*self.progress.borrow_mut())(progress);
    }
}

/// Loss and gradient at a point: one coordinate for each column, the bias last.
struct Evaluated {
    point: Vec<f64>,
    loss: f64,
    gradient: Vec<f64>,
}

impl<'a> Objective<'a> {
    /// The caller has checked the rows.
    fn new(rows: &[TrainingRow<'_>], inputs: usize, l2: f64, watch: Watch<'a>) -> Self {
        let rows: Vec<_> = rows.iter().filter(|row| row.weight > 0.0).collect();
        let total: f64 = rows.iter().map(|row| row.weight).sum();
        let labels: Vec<_> = rows.iter().map(|row| (f64::from(u8::from(row.attack)), row.weight / total)).collect();
        let prior: f64 = labels.iter().map(|(label, share)| label * share).sum();

        let mut mean = vec![0.0; inputs];
        for (row, (_, share)) in rows.iter().zip(&labels) {
            for (mean, value) in mean.iter_mut().zip(row.values) {
                *mean += share * value;
            }
        }
        let mut variance = vec![0.0; inputs];
        for (row, (_, share)) in rows.iter().zip(&labels) {
            for ((variance, mean), value) in variance.iter_mut().zip(&mean).zip(row.values) {
                *variance += share * (value - mean) * (value - mean);
            }
        }
        let scale = |(variance, mean): (&f64, &f64)| {
            if variance.sqrt() <= CONSTANT * mean.abs() {
                return 0.0;
            }
            // The second derivative in this weight, where the model knows no more than the prior.
            let curvature = variance * prior * (1.0 - prior) + l2;
            1.0 / curvature.sqrt()
        };
        let scale: Vec<f64> = variance.iter().zip(&mean).map(scale).collect();

        let mut values = Vec::with_capacity(rows.len() * inputs);
        for row in rows {
            values
                .extend(row.values.iter().zip(&mean).zip(&scale).map(|((value, mean), scale)| (value - mean) * scale));
        }
        let last = RefCell::new(Evaluated { point: Vec::new(), loss: 0.0, gradient: Vec::new() });
        Self { values, labels, mean, scale, l2, last, watch }
    }

    fn minimise(&self) -> Vec<f64> {
        let loss = |point: &Vec<f64>| self.at(point, |evaluated| evaluated.loss);
        let gradient = |into: &mut Vec<f64>, point: &Vec<f64>| {
            self.at(point, |evaluated| into.copy_from_slice(&evaluated.gradient));
        };
        let minimiser = LBFGS { max_iter: STEPS_MAX, g_atol: SLOPE_MAX, ..LBFGS::default() };
        let line_search = Backtracking { order: FunctionOrder::THIRD, ..Backtracking::default() };
        minimiser.optimize(&loss, &gradient, &vec![0.0; self.scale.len() + 1], &line_search).x
    }

    fn at<T>(&self, point: &[f64], read: impl FnOnce(&Evaluated) -> T) -> T {
        let mut last = self.last.borrow_mut();
        if last.point != point {
            *last = self.evaluate(point);
        }
        read(&last)
    }

    fn evaluate(&self, point: &[f64]) -> Evaluated {
        let inputs = self.scale.len();
        let (weights, bias) = (&point[..inputs], point[inputs]);
        let mut loss = 0.0;
        let mut gradient = vec![0.0; inputs + 1];
        for (place, (row, (label, share))) in self.values.chunks_exact(inputs).zip(&self.labels).enumerate() {
            if place.is_multiple_of(ROWS_BETWEEN_LOOKS) && self.watch.cancel.load(Ordering::Relaxed) {
                // A loss that compares with nothing ends the line search, a flat gradient the descent.
                return Evaluated { point: point.to_vec(), loss: f64::NAN, gradient: vec![0.0; inputs + 1] };
            }
            let logit = bias + dot(weights, row);
            // Loss and probability from one exponential.
            let e = numeric::exp(-logit.abs());
            loss += share * (logit.max(0.0) + numeric::ln_1p(e) - label * logit);
            let probability = if logit >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
            let error = share * (probability - label);
            for (gradient, value) in gradient.iter_mut().zip(row) {
                *gradient += error * value;
            }
            gradient[inputs] += error;
        }
        for ((gradient, weight), scale) in gradient.iter_mut().zip(weights).zip(&self.scale) {
            let original = weight * scale;
            loss += 0.5 * self.l2 * original * original;
            *gradient += self.l2 * original * scale;
        }
        self.watch.looked(loss);
        Evaluated { point: point.to_vec(), loss, gradient }
    }

    fn in_original_scale(&self, point: &[f64]) -> Logistic {
        let weights: Vec<f64> = point.iter().zip(&self.scale).map(|(weight, scale)| weight * scale).collect();
        let bias = point[self.scale.len()] - dot(&weights, &self.mean);
        Logistic { weights, bias }
    }
}

/// Four sums side by side, in a fixed order: the processor need not wait for each addition.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (fours_a, fours_b) = (a.chunks_exact(4), b.chunks_exact(4));
    let mut rest = 0.0;
    for (a, b) in fours_a.remainder().iter().zip(fours_b.remainder()) {
        rest += a * b;
    }
    let mut sums = [0.0; 4];
    for (a, b) in fours_a.zip(fours_b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

#[cfg(test)]
mod tests {
    use smartcore::linalg::basic::arrays::Array;
    use smartcore::linalg::basic::matrix::DenseMatrix;
    use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};

    use super::*;
    use crate::numeric::Rng;

    /// Attacks are likely where the first value is high and the second is low; the third says nothing. `first` is the
    /// label that comes first, which must not matter for the numbering of the classes.
    fn points(n: usize, first: bool) -> Vec<(Vec<f64>, bool)> {
        let mut rng = Rng::new(21, "logistic test");
        let mut points: Vec<_> = (0..n)
            .map(|_| {
                let values = vec![rng.normal(), rng.normal(), rng.normal()];
                let attack = rng.uniform() < numeric::sigmoid(2.0 * values[0] - values[1] - 0.5);
                (values, attack)
            })
            .collect();
        let at = points.iter().position(|(_, attack)| *attack == first).unwrap();
        points.swap(0, at);
        points
    }

    fn rows(points: &[(Vec<f64>, bool)]) -> Vec<TrainingRow<'_>> {
        points.iter().map(|(values, attack)| TrainingRow { values, attack: *attack, weight: 1.0 }).collect()
    }

    #[test]
    fn our_score_and_the_answer_of_smartcore_agree_row_by_row() {
        for first in [true, false] {
            let points = points(300, first);
            let rows = rows(&points);
            let ours = Logistic::fit(&rows, 1e-3).unwrap();

            let values = points.iter().flat_map(|(values, _)| values.clone()).collect();
            let matrix = DenseMatrix::new(300, 3, values, false).unwrap();
            let labels: Vec<u32> = points.iter().map(|(_, attack)| u32::from(*attack)).collect();
            let parameters = LogisticRegressionParameters::default().with_alpha(0.3);
            let regression = LogisticRegression::fit(&matrix, &labels, parameters).unwrap();
            for (our_weight, their_weight) in ours.weights.iter().zip(regression.coefficients().iterator(0)) {
                assert!((our_weight - their_weight).abs() < 1e-4, "{ours:?}");
            }
            assert!((ours.bias - regression.intercept().get((0, 0))).abs() < 1e-4);
            let theirs = regression.predict(&matrix).unwrap();

            for (row, answer) in rows.iter().zip(&theirs) {
                assert_eq!(ours.logit(row.values) > 0.0, *answer == 1);
                assert_eq!(ours.probability(row.values) > 0.5, *answer == 1);
            }
            assert!(theirs.contains(&0) && theirs.contains(&1));
        }
    }

    #[test]
    fn a_fit_is_cancelled_at_the_next_look_at_the_rows() {
        let points = points(2_000, true);
        let cancel = AtomicBool::new(false);
        for after in [1, 2, 3, 5] {
            cancel.store(false, Ordering::Relaxed);
            let mut told = Vec::new();
            let cancelled = Logistic::fit_watched(&rows(&points), 1e-4, &cancel, &mut |progress| {
                told.push((progress.stage, progress.done));
                cancel.store(progress.done >= after, Ordering::Relaxed);
            });

            assert_eq!(cancelled, Err(LogisticError::Cancelled));
            assert_eq!(told.len() as u32, after, "no look at the rows after the flag was set");
            assert_eq!(told.last(), Some(&(Stage::Logistic, after)));
        }
    }

    #[test]
    fn the_law_behind_the_data_is_found() {
        let points = points(4_000, true);
        let fitted = Logistic::fit(&rows(&points), 0.0).unwrap();

        for (found, law) in fitted.weights.iter().chain([&fitted.bias]).zip([2.0, -1.0, 0.0, -0.5]) {
            assert!((found - law).abs() < 0.25, "{fitted:?}");
        }
    }

    #[test]
    fn the_fit_is_at_the_bottom_of_the_penalised_mean_loss() {
        let points = points(500, true);
        let l2 = 0.05;
        let fitted = Logistic::fit(&rows(&points), l2).unwrap();

        for feature in 0..3 {
            let slope: f64 = points
                .iter()
                .map(|(values, attack)| (fitted.probability(values) - f64::from(u8::from(*attack))) * values[feature])
                .sum::<f64>()
                / 500.0;
            assert!((slope + l2 * fitted.weights[feature]).abs() < 1e-4);
        }
    }

    #[test]
    fn a_row_of_weight_three_counts_like_three_rows_and_one_of_weight_zero_not_at_all() {
        let points = points(300, true);
        let mut weighted = rows(&points);
        let mut repeated = Vec::new();
        for (row, copies) in weighted.iter_mut().zip([1_u8, 3, 0].into_iter().cycle()) {
            repeated.extend(std::iter::repeat_n(*row, usize::from(copies)));
            row.weight = f64::from(copies);
        }

        let (weighted, repeated) = (Logistic::fit(&weighted, 1e-3).unwrap(), Logistic::fit(&repeated, 1e-3).unwrap());
        let all = Logistic::fit(&rows(&points), 1e-3).unwrap();
        for ((weighted, repeated), all) in weighted.weights.iter().zip(&repeated.weights).zip(&all.weights) {
            assert!((weighted - repeated).abs() < 1e-5, "{weighted} {repeated}");
            assert!((weighted - all).abs() > 1e-3, "{weighted} {all}");
        }
    }

    #[test]
    fn the_scale_of_a_feature_changes_its_weight_and_nothing_else() {
        let points = points(400, true);
        let stretched: Vec<_> = points
            .iter()
            .map(|(values, attack)| (vec![values[0] * 1e5 + 3e5, values[1] * 1e-4, values[2], 7.0], *attack))
            .collect();
        let plain = Logistic::fit(&rows(&points), 0.0).unwrap();
        let fitted = Logistic::fit(&rows(&stretched), 0.0).unwrap();

        assert_eq!(fitted.weights[3], 0.0, "a constant says nothing");
        for ((values, _), (original, _)) in stretched.iter().zip(&points) {
            assert!((fitted.logit(values) - plain.logit(original)).abs() < 1e-4);
        }
    }

    #[test]
    fn what_was_decoded_is_checked_for_length_and_range() {
        let good = Logistic { weights: vec![1.0, -2.0], bias: 0.5 };
        assert!(good.check(2));
        assert!(!good.check(3) && !good.check(0));
        assert!(!Logistic { weights: vec![1.0, f64::NAN], bias: 0.5 }.check(2));
        assert!(!Logistic { weights: vec![1.0, -1e7], bias: 0.5 }.check(2));
        assert!(!Logistic { bias: f64::INFINITY, ..good }.check(2));
    }

    #[test]
    fn separable_classes_end_with_finite_weights() {
        let points: Vec<_> = (0..100).map(|i| (vec![f64::from(i) / 100.0 - 0.5], i >= 50)).collect();
        for l2 in [0.0, 1e-4] {
            if let Ok(fitted) = Logistic::fit(&rows(&points), l2) {
                assert!(fitted.probability(&[0.5]) > 0.9 && fitted.probability(&[-0.5]) < 0.1);
            } else {
                assert_eq!(l2, 0.0, "a penalty makes the fit finite");
            }
        }
    }

    #[test]
    fn rows_that_cannot_be_fitted_are_refused() {
        let (good, short, bad) = ([0.0, 1.0], [0.0], [f64::NAN, 1.0]);
        let row = |values, attack| TrainingRow { values, attack, weight: 1.0 };
        let fit = |rows: &[TrainingRow<'_>]| Logistic::fit(rows, 1e-3).unwrap_err();

        assert!(matches!(fit(&[]), LogisticError::OneClass));
        assert!(matches!(fit(&[row(&good, true), row(&good, true)]), LogisticError::OneClass));
        assert!(matches!(fit(&[row(&good, false)]), LogisticError::OneClass));
        assert!(matches!(fit(&[row(&good, true), row(&short, false)]), LogisticError::Shape));
        assert!(matches!(fit(&[row(&[], true), row(&[], false)]), LogisticError::Shape));
        assert!(matches!(fit(&[row(&good, true), row(&bad, false)]), LogisticError::NonFinite));
        let weighted = |weight| TrainingRow { weight, ..row(&good, true) };
        assert!(matches!(fit(&[weighted(0.0), row(&good, false)]), LogisticError::OneClass));
        for weight in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(fit(&[weighted(weight), row(&good, true), row(&good, false)]), LogisticError::NonFinite));
        }
        let both = [row(&good, true), row(&good, false)];
        assert!(matches!(Logistic::fit(&both, -1.0), Err(LogisticError::NonFinite)));
    }
}
