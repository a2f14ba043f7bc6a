//! Which width, learning rate and weight decay suit a site: tried on its own rows, later stretches judging earlier ones.
//!
//! Every candidate of a grid is fitted for a few epochs, the better ones for more, the best of each width through all of
//! them (successive halving: K. Jamieson and A. Talwalkar, 2016). Early rounds keep the best of each learning rate, because
//! few epochs flatter large steps. Then the narrowest network that is not clearly worse than the best one wins. Only
//! networks are compared, before calibration and without other voters. The rows that the gate holds out take no part.
//!
//! Reading order: `grid` (what is tried), `folds` (on what), this file (how long), `table` (what came of it).

mod folds;
mod grid;
mod table;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

pub use folds::TooLittle;
pub use grid::{Candidate, Fixed};
pub use table::{Measure, Table, Tried};

use super::dataset::Dataset;
use super::scaling::Scaling;
use super::training::{Progress, Stage, TrainingError, TrainingOptions};
use folds::{Fold, Said};

/// Most rows that a search looks at; with these it took 2 to 45 s of one core (measured).
pub const ROWS_MAX: usize = 15_000;
/// Epochs of the early rounds.
const EARLY_EPOCHS: [u32; 2] = [4, 12];
/// Epochs of the last round, at most.
const LAST_EPOCHS: u32 = 30;

/// Why a search has no winner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The rows cannot be cut into folds.
    #[error(transparent)]
    TooLittle(#[from] TooLittle),
    /// The cancel flag was set.
    #[error("the search was cancelled")]
    Cancelled,
    /// No candidate could be fitted.
    #[error("no candidate could be fitted")]
    Training(#[source] TrainingError),
}

/// What a search is asked.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// Everything but what is searched for, and what of that is fixed.
    pub base: &'a TrainingOptions,
    /// What may not be changed.
    pub fixed: Fixed,
    /// What a training does to the values.
    pub scaling: Scaling,
    /// False-positive rate at which the recall is told, between 0 and 1.
    pub budget: f64,
}

/// Tries the grid on `rows`, the ones that a training would learn from; at most [`ROWS_MAX`] of them are drawn.
///
/// The same rows, question and seed give the same table. `cancel` is looked at before every batch; a step of `progress` is
/// one fit to one fold.
///
/// # Errors
/// See [`SearchError`].
pub fn search(
    rows: &Dataset,
    question: &Question<'_>,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Table, SearchError> {
    let rows = rows.drawn(ROWS_MAX, question.base.seed);
    let folds = folds::cut(&rows, question.scaling)?;
    let grid = grid::candidates(question.base, question.fixed);
    let mut search = Search { folds: &folds, question, cancel, progress, done: 0, of: steps(&grid, folds.len()) };
    let mut tried: Vec<Tried> = Vec::new();
    let mut left: Vec<Candidate> = grid;
    let mut last: Vec<(Candidate, Vec<Said>)> = Vec::new();
    let lasting = LAST_EPOCHS.min(question.base.epochs);
    let rounds = EARLY_EPOCHS.into_iter().map(|epochs| epochs.min(lasting)).chain([lasting]);
    for (round, epochs) in (1..).zip(rounds) {
        last.clear();
        for candidate in &left {
            let said = search.fit(*candidate, epochs)?;
            let measured = table::measured(*candidate, round, epochs, &folds, &said, question.budget);
            tried.retain(|earlier| earlier.candidate != *candidate);
            tried.push(measured);
            last.push((*candidate, said));
        }
        if round <= EARLY_EPOCHS.len() {
            left = grid::best_of_each(&tried, &left, round);
        }
    }
    let winner = table::winner(&folds, &last).ok_or(SearchError::Training(TrainingError::NonFinite { epoch: 1 }))?;
    Ok(Table::new(tried, winner, rows.rows.len(), folds.len()))
}

/// How many fits there will be.
fn steps(grid: &[Candidate], folds: usize) -> u32 {
    let widths: BTreeSet<usize> = grid.iter().map(|candidate| candidate.hidden).collect();
    let rates: BTreeSet<u64> = grid.iter().map(|candidate| candidate.learning_rate.to_bits()).collect();
    let fits = grid.len() + widths.len() * rates.len() + widths.len();
    u32::try_from(fits * folds).unwrap_or(u32::MAX)
}

struct Search<'a> {
    folds: &'a [Fold],
    question: &'a Question<'a>,
    cancel: &'a AtomicBool,
    progress: &'a mut dyn FnMut(Progress),
    done: u32,
    of: u32,
}

impl Search<'_> {
    /// What a candidate says of the validation rows of every fold.
    fn fit(&mut self, candidate: Candidate, epochs: u32) -> Result<Vec<Said>, SearchError> {
        let options = TrainingOptions { epochs, ..candidate.apply(self.question.base) };
        let mut said = Vec::with_capacity(self.folds.len());
        for fold in self.folds {
            said.push(match fold.fit(&options, self.cancel) {
                Ok(said) => said,
                Err(TrainingError::Cancelled) => return Err(SearchError::Cancelled),
                // Steps that are too large for these rows: no reason to end the search.
                Err(TrainingError::NonFinite { epoch }) if epoch > 0 => Said::default(),
                Err(other) => return Err(SearchError::Training(other)),
            });
            self.done += 1;
            let loss = said.last().and_then(|said| said.log_loss(fold));
            (self.progress)(Progress { stage: Stage::Tuning, done: self.done, of: self.of, loss });
        }
        Ok(said)
    }
}

#[cfg(test)]
mod tests;
