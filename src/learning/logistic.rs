//! Logistic regression: a straight-line model as the yardstick that the network has to beat.
//!
//! smartcore fits it; the coefficients are lifted into a plain struct right away, so that scoring is our own arithmetic
//! and no smartcore type is stored or sent. It does not honour weights and cannot be cancelled, and it uses the
//! mathematics library of the platform: the coefficients are not promised to be the same to the last bit on every
//! machine. Features are expected on a common scale.

use serde::{Deserialize, Serialize};
use smartcore::linalg::basic::arrays::Array;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::logistic_regression::{LogisticRegression, LogisticRegressionParameters};

use super::training::TrainingRow;
use crate::numeric;

/// A weighted sum of the features as the logit of an attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    /// One weight for each feature.
    pub weights: Vec<f64>,
    /// The logit where all features are zero.
    pub bias: f64,
}

/// Why there is no logistic regression.
#[derive(Debug, thiserror::Error)]
pub enum LogisticError {
    /// All rows have the same label, or there are none.
    #[error("cannot fit a logistic regression without both attacks and legitimate attempts")]
    OneClass,
    /// Rows of different length or without values.
    #[error("cannot fit a logistic regression to rows of different length or without values")]
    Shape,
    /// A value, the penalty or a coefficient is infinite or NaN, or the penalty is negative.
    #[error("logistic regression met a number out of range")]
    NonFinite,
    /// smartcore gave up.
    #[error("cannot fit a logistic regression")]
    Solver(#[source] smartcore::error::Failed),
}

impl Logistic {
    /// Fits to `rows`, whose weights are ignored.
    ///
    /// `l2` is the λ of ½λ|w|² beside the mean loss, as in training of the network; the bias is free. Above zero it
    /// keeps the weights finite where the classes are separable.
    ///
    /// # Errors
    /// See [`LogisticError`].
    pub fn fit(rows: &[TrainingRow<'_>], l2: f64) -> Result<Self, LogisticError> {
        let attacks = rows.iter().filter(|row| row.attack).count();
        if attacks == 0 || attacks == rows.len() {
            return Err(LogisticError::OneClass);
        }
        let inputs = rows[0].values.len();
        if inputs == 0 || rows.iter().any(|row| row.values.len() != inputs) {
            return Err(LogisticError::Shape);
        }
        let values: Vec<f64> = rows.iter().flat_map(|row| row.values).copied().collect();
        if !(l2.is_finite() && l2 >= 0.0 && values.iter().all(|value| value.is_finite())) {
            return Err(LogisticError::NonFinite);
        }

        let matrix = DenseMatrix::new(rows.len(), inputs, values, false).map_err(LogisticError::Solver)?;
        // Classes are numbered by size of their label, and the fitted sum is the logit of number 1: attacks.
        let labels: Vec<u32> = rows.iter().map(|row| u32::from(row.attack)).collect();
        // smartcore adds up the losses where we average them.
        let parameters = LogisticRegressionParameters::default().with_alpha(l2 * rows.len() as f64);
        let fitted = LogisticRegression::fit(&matrix, &labels, parameters).map_err(LogisticError::Solver)?;

        let logistic = Self {
            weights: fitted.coefficients().iterator(0).copied().collect(),
            bias: *fitted.intercept().get((0, 0)),
        };
        if !(logistic.bias.is_finite() && logistic.weights.iter().all(|weight| weight.is_finite())) {
            return Err(LogisticError::NonFinite);
        }
        Ok(logistic)
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

#[cfg(test)]
mod tests {
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
            let theirs = LogisticRegression::fit(&matrix, &labels, parameters).unwrap().predict(&matrix).unwrap();

            for (row, answer) in rows.iter().zip(&theirs) {
                assert_eq!(ours.logit(row.values) > 0.0, *answer == 1);
                assert_eq!(ours.probability(row.values) > 0.5, *answer == 1);
            }
            assert!(theirs.contains(&0) && theirs.contains(&1));
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
        let both = [row(&good, true), row(&good, false)];
        assert!(matches!(Logistic::fit(&both, -1.0), Err(LogisticError::NonFinite)));
    }
}
