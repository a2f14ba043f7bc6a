//! What is tried, and who stays for the next round.

use serde::{Deserialize, Serialize};

use super::table::Tried;
use crate::learning::training::TrainingOptions;

const WIDTHS: [usize; 3] = [8, 16, 32];
const RATES: [f64; 3] = [1e-3, 3e-3, 1e-2];
const DECAYS: [f64; 3] = [1e-5, 1e-4, 1e-3];

/// What a search chooses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Number of hidden units.
    pub hidden: usize,
    /// First step size of the optimiser.
    pub learning_rate: f64,
    /// Weight decay, as [`TrainingOptions::l2`].
    pub l2: f64,
}

/// What a search may not change, and what tuned options do not replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fixed {
    /// Number of hidden units.
    pub hidden: bool,
    /// Step size.
    pub learning_rate: bool,
    /// Weight decay.
    pub l2: bool,
}

impl Candidate {
    /// What these options have.
    pub fn of(options: &TrainingOptions) -> Self {
        Self { hidden: options.hidden, learning_rate: options.optimizer.learning_rate(), l2: options.l2 }
    }

    /// These values instead of those of `options`.
    pub fn apply(self, options: &TrainingOptions) -> TrainingOptions {
        let optimizer = options.optimizer.with_learning_rate(self.learning_rate);
        TrainingOptions { hidden: self.hidden, optimizer, l2: self.l2, ..options.clone() }
    }

    /// These values, but what is `fixed` as in `options`.
    pub fn unless(self, fixed: Fixed, options: &TrainingOptions) -> Self {
        let own = Self::of(options);
        Self {
            hidden: if fixed.hidden { own.hidden } else { self.hidden },
            learning_rate: if fixed.learning_rate { own.learning_rate } else { self.learning_rate },
            l2: if fixed.l2 { own.l2 } else { self.l2 },
        }
    }
}

/// The grid around `base`, narrow networks first.
pub(super) fn candidates(base: &TrainingOptions, fixed: Fixed) -> Vec<Candidate> {
    let own = Candidate::of(base);
    let widths = if fixed.hidden { vec![own.hidden] } else { WIDTHS.to_vec() };
    let rates = if fixed.learning_rate { vec![own.learning_rate] } else { RATES.to_vec() };
    let decays = if fixed.l2 { vec![own.l2] } else { DECAYS.to_vec() };
    let mut grid = Vec::new();
    for hidden in widths {
        for learning_rate in rates.iter().copied() {
            grid.extend(decays.iter().map(|l2| Candidate { hidden, learning_rate, l2: *l2 }));
        }
    }
    grid
}

/// Who of `left` goes on after `round`: the best of each width and learning rate, then the best of each width.
pub(super) fn best_of_each(tried: &[Tried], left: &[Candidate], round: usize) -> Vec<Candidate> {
    let loss = |candidate: &Candidate| {
        let found = tried.iter().find(|tried| tried.candidate == *candidate);
        found.and_then(|tried| tried.log_loss).map_or(f64::INFINITY, |measure| measure.mean)
    };
    let alike = |a: &Candidate, b: &Candidate| {
        a.hidden == b.hidden && (round > 1 || a.learning_rate.to_bits() == b.learning_rate.to_bits())
    };
    // The grid is in order of width and rate, so those alike lie side by side.
    left.chunk_by(alike).filter_map(|alike| alike.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).copied()).collect()
}
