//! Folds by time: each is trained on everything before a moment and validated on the stretch after it.

use std::sync::atomic::AtomicBool;

use crate::learning::class_weight::ClassWeight;
use crate::learning::dataset::{Dataset, Row};
use crate::learning::evaluation::{self, Scored};
use crate::learning::labels::Label;
use crate::learning::scaling::Scaling;
use crate::learning::training::{self, TrainingError, TrainingOptions, TrainingRow};
use crate::numeric;

/// Number of folds.
const FOLDS: usize = 3;
/// Share of the rows that the first fold is trained on, and that each fold is validated on.
const FIRST: f64 = 0.4;
const STRETCH: f64 = 0.2;
/// Fewest rows of a search.
const ROWS_MIN: usize = 500;
/// Fewest rows of either class on either side of a fold: with fewer, one campaign more or less decides.
const CLASS_MIN: usize = 20;

/// Why there are no folds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLittle {
    /// Fewer than 500 rows.
    #[error("tuning needs {ROWS_MIN} labelled samples besides those held out, {have} are there; train without it")]
    Rows {
        /// Rows there are.
        have: usize,
    },
    /// A stretch of time in which one class hardly occurs.
    #[error(
        "tuning cuts time into {FOLDS} stretches to validate on, each with {CLASS_MIN} {which} or more, before it as well; \
         one of them has {have}; train without it"
    )]
    Class {
        /// The class, in the plural: `attacks` or `legitimate attempts`.
        which: &'static str,
        /// How many there are.
        have: usize,
    },
}

/// Rows to train on and later ones to validate on, scaled by the former.
#[derive(Debug)]
pub(super) struct Fold {
    train: Dataset,
    pub(super) validation: Dataset,
    scaled: bool,
}

/// What one candidate says of the validation rows of one fold: their probabilities in order; empty if it could not be fitted.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Said(pub(super) Vec<f64>);

/// Cuts `rows`, which are in the order of time.
pub(super) fn cut(rows: &Dataset, scaling: Scaling) -> Result<Vec<Fold>, TooLittle> {
    let have = rows.rows.len();
    if have < ROWS_MIN {
        return Err(TooLittle::Rows { have });
    }
    let at = |place: usize| {
        let mut at = ((FIRST + STRETCH * place as f64) * have as f64) as usize;
        // Rows of one instant stay together.
        while at > 0 && at < have && rows.rows[at - 1].ts == rows.rows[at].ts {
            at += 1;
        }
        at.min(have)
    };
    (0..FOLDS)
        .map(|place| {
            let end = if place + 1 == FOLDS { have } else { at(place + 1) };
            let (train, validation) = (&rows.rows[..at(place)], &rows.rows[at(place)..end]);
            enough(train)?;
            enough(validation)?;
            Ok(Fold::new(train.to_vec(), validation.to_vec(), scaling))
        })
        .collect()
}

fn enough(rows: &[Row]) -> Result<(), TooLittle> {
    let attacks = rows.iter().filter(|row| row.label == Label::Attack).count();
    for (which, have) in [("attacks", attacks), ("legitimate attempts", rows.len() - attacks)] {
        if have < CLASS_MIN {
            return Err(TooLittle::Class { which, have });
        }
    }
    Ok(())
}

impl Fold {
    fn new(train: Vec<Row>, validation: Vec<Row>, scaling: Scaling) -> Self {
        let (train, validation) = (Dataset { rows: train }, Dataset { rows: validation });
        let columns = scaling.columns(&train, train.rows.first().map_or(0, |row| row.values.len()));
        let scaled = |rows: &Dataset| scaling.apply(rows, columns.as_ref());
        Self { train: scaled(&train), validation: scaled(&validation), scaled: columns.is_some() }
    }

    #[cfg(test)]
    pub(super) fn sides(&self) -> (&[Row], &[Row]) {
        (&self.train.rows, &self.validation.rows)
    }

    /// Fits as a training would, and lets the network speak.
    pub(super) fn fit(&self, options: &TrainingOptions, cancel: &AtomicBool) -> Result<Said, TrainingError> {
        let rows = self.train.training_rows();
        let class_weight = ClassWeight::of(&rows);
        let mut raised: Vec<TrainingRow<'_>> = rows.clone();
        class_weight.apply(&mut raised);
        let mut network = training::fit(&raised, options, cancel, &mut |_| {})?;
        class_weight.correct_network(&mut network);
        if self.scaled {
            training::silence_constants(&mut network, &rows);
        }
        Ok(Said(self.validation.rows.iter().map(|row| numeric::sigmoid(network.logit(&row.values))).collect()))
    }
}

impl Said {
    /// With labels and what the rows stand for; `None` if nothing was said.
    pub(super) fn scored(&self, fold: &Fold) -> Option<Vec<Scored>> {
        let rows = &fold.validation.rows;
        let scored = rows.iter().zip(&self.0).map(|(row, score)| Scored {
            score: *score,
            attack: row.label == Label::Attack,
            weight: row.represents,
        });
        (self.0.len() == rows.len()).then(|| scored.collect())
    }

    /// Mean log-loss; `None` if nothing was said.
    pub(super) fn log_loss(&self, fold: &Fold) -> Option<f64> {
        evaluation::log_loss(&self.scored(fold)?)
    }
}
