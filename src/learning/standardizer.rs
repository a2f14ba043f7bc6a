//! Brings every feature to mean 0 and standard deviation 1, with numbers that are stored beside the model.
//!
//! What was scored must be what was trained on, so the numbers come from the training rows once and never change with the
//! traffic. Values far outside of what was seen in training are cut off: one absurd count must not decide alone.

use serde::{Deserialize, Serialize};

/// In standard deviations. What lies further out says no more than this.
pub const CLIP: f64 = 8.0;
/// A column that varies less than this, relative to its mean, is constant: flags and logarithms of counts vary more.
const CONSTANT: f64 = 1e-9;

/// Mean and standard deviation of every feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Columns", into = "Columns")]
pub struct Standardizer {
    mean: Vec<f64>,
    sd: Vec<f64>,
}

/// Why numbers are no standardizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StandardizerError {
    /// Not one mean and one deviation for each feature.
    #[error("cannot read standardizer: it has {means} means and {deviations} standard deviations")]
    Width {
        /// How many means.
        means: usize,
        /// How many standard deviations.
        deviations: usize,
    },
    /// Not finite, or a deviation that is not above zero.
    #[error("cannot read standardizer: the numbers of feature {0} are not usable")]
    Value(usize),
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Columns {
    mean: Vec<f64>,
    sd: Vec<f64>,
}

impl TryFrom<Columns> for Standardizer {
    type Error = StandardizerError;

    fn try_from(columns: Columns) -> Result<Self, StandardizerError> {
        Self::new(columns.mean, columns.sd)
    }
}

impl From<Standardizer> for Columns {
    fn from(standardizer: Standardizer) -> Self {
        Self { mean: standardizer.mean, sd: standardizer.sd }
    }
}

impl Standardizer {
    /// With these numbers: one finite mean and one finite, positive standard deviation per feature.
    pub fn new(mean: Vec<f64>, sd: Vec<f64>) -> Result<Self, StandardizerError> {
        if mean.len() != sd.len() {
            return Err(StandardizerError::Width { means: mean.len(), deviations: sd.len() });
        }
        let unusable = |(mean, sd): (&f64, &f64)| !mean.is_finite() || !sd.is_finite() || *sd <= 0.0;
        match mean.iter().zip(&sd).position(unusable) {
            Some(feature) => Err(StandardizerError::Value(feature)),
            None => Ok(Self { mean, sd }),
        }
    }

    /// Leaves `width` features as they are, apart from cutting them off at [`CLIP`].
    pub fn identity(width: usize) -> Self {
        Self { mean: vec![0.0; width], sd: vec![1.0; width] }
    }

    /// The same with no deviation below `least`, which has to be positive.
    pub fn with_deviations_of_at_least(mut self, least: f64) -> Self {
        self.sd.iter_mut().for_each(|sd| *sd = sd.max(least));
        self
    }

    /// From rows with their weights, in one pass (West's updating formulas): equal rows in equal order give equal bits.
    /// Rows of another width, with values that are not finite or without a positive weight do not count; where none
    /// counts, it is the identity. A column that is constant gets a standard deviation of 1.
    pub fn fit<'a>(width: usize, rows: impl IntoIterator<Item = (&'a [f32], f64)>) -> Self {
        let mut total = 0.0;
        let mut mean = vec![0.0; width];
        let mut squares = vec![0.0; width];
        for (values, weight) in rows {
            let usable = values.len() == width && values.iter().all(|value| value.is_finite());
            if !usable || !weight.is_finite() || weight <= 0.0 {
                continue;
            }
            total += weight;
            // Exactly 1 for the first row, so that a constant column never leaves its value.
            let share = weight / total;
            for ((value, mean), squares) in values.iter().zip(&mut mean).zip(&mut squares) {
                let off = f64::from(*value) - *mean;
                *mean += off * share;
                *squares += weight * off * (f64::from(*value) - *mean);
            }
        }
        if total == 0.0 {
            return Self::identity(width);
        }
        let deviation = |(squares, mean): (&f64, &f64)| {
            let sd = (squares / total).max(0.0).sqrt();
            if sd > CONSTANT * mean.abs().max(1.0) { sd } else { 1.0 }
        };
        let sd = squares.iter().zip(&mean).map(deviation).collect();
        Self { mean, sd }
    }

    /// How many features it is for.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// The means.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The standard deviations, all above zero.
    pub fn sd(&self) -> &[f64] {
        &self.sd
    }

    /// Writes (x − mean) / sd into `out`, cut off at ±[`CLIP`]. What is not a number becomes the mean. All three must be
    /// of one width; the schema's fingerprint sees to that.
    pub fn apply(&self, values: &[f32], out: &mut [f64]) {
        debug_assert!(values.len() == self.width() && out.len() == self.width(), "snapshot of another schema");
        for (((value, mean), sd), out) in values.iter().zip(&self.mean).zip(&self.sd).zip(out) {
            let standard = (f64::from(*value) - mean) / sd;
            *out = if standard.is_nan() { 0.0 } else { standard.clamp(-CLIP, CLIP) };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(standardizer: &Standardizer, values: &[f32]) -> Vec<f64> {
        let mut out = vec![f64::NAN; values.len()];
        standardizer.apply(values, &mut out);
        out
    }

    fn fit(rows: &[([f32; 2], f64)]) -> Standardizer {
        Standardizer::fit(2, rows.iter().map(|(values, weight)| (values.as_slice(), *weight)))
    }

    #[test]
    fn the_rows_it_was_fitted_on_get_mean_zero_and_deviation_one() {
        let rows = [([1.0, 10.0], 1.0), ([3.0, 10.0], 1.0)];

        let standardizer = fit(&rows);

        assert_eq!(standardizer.mean(), [2.0, 10.0]);
        assert_eq!(standardizer.sd(), [1.0, 1.0], "the second column is constant");
        assert_eq!(applied(&standardizer, &[1.0, 10.0]), [-1.0, 0.0]);
        assert_eq!(applied(&standardizer, &[3.0, 11.0]), [1.0, 1.0]);
    }

    #[test]
    fn a_weight_counts_like_repetition() {
        let weighted = fit(&[([0.0, 1.0], 3.0), ([4.0, 1.0], 1.0)]);
        let repeated = fit(&[([0.0, 1.0], 1.0), ([0.0, 1.0], 1.0), ([0.0, 1.0], 1.0), ([4.0, 1.0], 1.0)]);

        assert_eq!(weighted.mean(), [1.0, 1.0]);
        assert!((weighted.sd()[0] - 3f64.sqrt()).abs() < 1e-12);
        assert!((weighted.sd()[0] - repeated.sd()[0]).abs() < 1e-12);
    }

    #[test]
    fn a_constant_column_stays_constant_whatever_the_weights() {
        let rows: Vec<_> = (1..1000).map(|row| ([0.1, 7.3], 0.1 * f64::from(row))).collect();

        let standardizer = fit(&rows);

        assert_eq!(standardizer.sd(), [1.0, 1.0]);
        assert_eq!(applied(&standardizer, &[0.1, 7.3]), [0.0, 0.0]);
    }

    #[test]
    fn rows_that_say_nothing_do_not_count() {
        let useless = [([f32::NAN, 1.0], 1.0), ([5.0, 5.0], 0.0), ([5.0, 5.0], -1.0), ([5.0, 5.0], f64::INFINITY)];

        assert_eq!(fit(&useless), Standardizer::identity(2));
        assert_eq!(Standardizer::fit(2, [([1.0f32].as_slice(), 1.0)]), Standardizer::identity(2));
    }

    #[test]
    fn absurd_values_are_cut_off() {
        let standardizer = Standardizer::identity(4);

        let out = applied(&standardizer, &[f32::MAX, f32::NEG_INFINITY, f32::NAN, -7.5]);

        assert_eq!(out, [CLIP, -CLIP, 0.0, -7.5]);
    }

    #[test]
    fn the_stored_form_comes_back_and_a_damaged_one_does_not() {
        let standardizer = fit(&[([1.0, 0.1], 1.0), ([2.5, 0.7], 2.0)]);
        let text = serde_json::to_string(&standardizer).unwrap();

        assert_eq!(serde_json::from_str::<Standardizer>(&text).unwrap(), standardizer);
        for damaged in [r#"{"mean":[0],"sd":[]}"#, r#"{"mean":[0],"sd":[0]}"#, r#"{"mean":[0],"sd":[-1]}"#] {
            assert!(serde_json::from_str::<Standardizer>(damaged).is_err(), "{damaged}");
        }
        assert_eq!(Standardizer::new(vec![f64::NAN], vec![1.0]), Err(StandardizerError::Value(0)));
        assert!(StandardizerError::Width { means: 1, deviations: 2 }.to_string().contains("1 means and 2"));
    }

    proptest! {
        #[test]
        fn whatever_it_was_fitted_on_it_can_be_stored_and_never_gives_more_than_the_clip(
            rows in proptest::collection::vec((any::<[f32; 3]>(), -1.0f64..10.0), 0..20), probe in any::<[f32; 3]>(),
        ) {
            let rows = rows.iter().map(|(values, weight)| (values.as_slice(), *weight));
            let standardizer = Standardizer::fit(3, rows);

            prop_assert!(Standardizer::new(standardizer.mean.clone(), standardizer.sd.clone()).is_ok());
            prop_assert!(applied(&standardizer, &probe).iter().all(|value| value.abs() <= CLIP));
        }
    }
}
