//! On which scale a network is fitted, and where that scale is afterwards.
//!
//! What a column's mean and deviation are is computed in `standardizer`.

use super::dataset::Dataset;
use super::optimizer::Optimizer;
use super::standardizer::Standardizer;
use super::training::TrainingOptions;
use crate::detection::features::FeatureSchema;

/// Smallest deviation of a column whose scale goes into a network: values of such columns lie between 0 and 1, nothing is
/// cut off, and a flag that one row in thousands has must not decide alone.
const DEVIATION_MIN: f64 = 1.0 / 32.0;

/// What is done to the values before a fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    /// Nothing. The original's own training: what decides lies within a tenth of the range of its features, where steps of
    /// one size for all hardly get anywhere.
    AsIs,
    /// Brought to mean 0 and deviation 1, cut off far outside, with numbers that the model keeps.
    Stored,
    /// Brought to one scale, which the first layer takes in: a model of `compat-6` stays one that takes its features as they
    /// are.
    TakenIn,
}

impl Scaling {
    /// The one for models of `schema` that are fitted with `options`.
    pub fn of(schema: &FeatureSchema, options: &TrainingOptions) -> Self {
        match options.optimizer {
            _ if schema.is_unscaled() => Self::Stored,
            Optimizer::Adam { .. } => Self::TakenIn,
            Optimizer::Sgd { .. } => Self::AsIs,
        }
    }

    /// The scale of `rows`, all of `width` values, where there is one.
    pub fn columns(self, rows: &Dataset, width: usize) -> Option<Standardizer> {
        match self {
            Self::AsIs => None,
            Self::Stored => Some(rows.standardizer(width)),
            Self::TakenIn => Some(rows.standardizer(width).with_deviations_of_at_least(DEVIATION_MIN)),
        }
    }

    /// `rows` on the scale that [`columns`](Self::columns) gave.
    pub fn apply(self, rows: &Dataset, columns: Option<&Standardizer>) -> Dataset {
        match (self, columns) {
            (Self::Stored, Some(columns)) => rows.standardised(columns),
            (Self::TakenIn, Some(columns)) => rows.centred(columns),
            _ => rows.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::attempt::{RequestKey, Timestamp};
    use crate::learning::dataset::Row;
    use crate::learning::labels::Label;

    fn rows(columns: &[[f64; 2]]) -> Dataset {
        let row = |values: &[f64; 2]| Row {
            ts: Timestamp::from_millis(0),
            request: RequestKey::of("row"),
            values: values.to_vec(),
            label: Label::Legit,
            weight: 1.0,
            represents: 1.0,
            word: None,
            failed: false,
            group: 0,
        };
        Dataset { rows: columns.iter().map(row).collect() }
    }

    #[test]
    fn only_the_original_is_fitted_to_values_as_they_are() {
        let adam = TrainingOptions::default();
        let sgd = adam.clone().plain_descent(0.01);
        let of = |schema: FeatureSchema| [Scaling::of(&schema, &adam), Scaling::of(&schema, &sgd)];

        assert_eq!(of(FeatureSchema::compat6()), [Scaling::TakenIn, Scaling::AsIs]);
        assert_eq!(of(FeatureSchema::ext()), [Scaling::Stored; 2]);
    }

    #[test]
    fn a_scale_that_is_taken_in_neither_cuts_off_nor_blows_up() {
        let rare: Vec<[f64; 2]> =
            (0..4000).map(|number| [f64::from(number % 2), f64::from(u8::from(number == 7))]).collect();
        let rows = rows(&rare);
        let scaled = |scaling: Scaling| scaling.apply(&rows, scaling.columns(&rows, 2).as_ref()).rows[7].values.clone();

        assert_eq!(scaled(Scaling::AsIs), [1.0, 1.0]);
        assert!(scaled(Scaling::Stored)[1] <= 8.0);
        let taken_in = scaled(Scaling::TakenIn);
        assert!((taken_in[0] - 1.0).abs() < 1e-3, "{taken_in:?}");
        assert!((31.0..=32.0).contains(&taken_in[1]), "{taken_in:?}");
    }
}
