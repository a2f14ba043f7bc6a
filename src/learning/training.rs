//! Fits a network to labelled rows: shuffled mini-batches, a decaying step size, and a stop where later rows are no longer
//! told better.
//!
//! The same rows in the same order, the same options and the same seed give the same network bit by bit, on every
//! machine. Whether the result is any good is not judged here, nor are rows chosen, scaled or weighed.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::mlp::{Activation, Gradient, Loss, Mlp, Scratch};
use super::optimizer::Optimizer;
use crate::numeric::{self, Rng};

/// Fewest rows in a batch: below this the gradient is mostly noise.
const SMALLEST_BATCH: usize = 16;

/// A small set is cut into this many batches, so that an epoch is more than one or two steps.
const BATCHES_OF_SMALL_SETS: usize = 16;

/// No training stops earlier than this, and no earlier network is the best one. While the steps are large the loss on the
/// validation rows goes up and down by more than it falls, and by chance the first epoch would be the best (measured).
const EPOCHS_MIN: u32 = 20;

/// Share of the learning rate that is left at the last step.
const FINAL_RATE: f64 = 0.05;

/// One labelled attempt as training sees it.
#[derive(Clone, Copy, Debug)]
pub struct TrainingRow<'a> {
    /// Finished feature values, the same number in every row.
    pub values: &'a [f64],
    /// Whether this was an attack.
    pub attack: bool,
    /// Importance; finite and not negative. 1 is an ordinary row.
    pub weight: f64,
}

/// Everything that shapes a training run besides the rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainingOptions {
    /// Number of hidden units.
    pub hidden: usize,
    /// Curve of the hidden units.
    pub activation: Activation,
    /// Passes over all rows.
    pub epochs: u32,
    /// Most rows between two steps. Sets below 16 × this many rows use a 16th of their rows instead, but at least 16.
    pub batch: usize,
    /// Optimiser and first learning rate; the rate falls along a cosine to 5 %.
    pub optimizer: Optimizer,
    /// Weight decay λ of ½λ|w|², on weights and not on biases.
    pub l2: f64,
    /// Longest gradient, over all parameters together.
    pub grad_clip: f64,
    /// Seed of first weights and shuffling.
    pub seed: u64,
    /// What is made small.
    pub loss: Loss,
    /// Epochs without a smaller loss on the validation rows after which training stops; at least 1.
    pub patience: u32,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            hidden: 8,
            activation: Activation::Sigmoid,
            epochs: 50,
            batch: 256,
            optimizer: Optimizer::default(),
            l2: 1e-4,
            grad_clip: 5.0,
            seed: 1,
            loss: Loss::BceFromLogits,
            patience: 10,
        }
    }
}

impl TrainingOptions {
    /// The original's way: plain descent on half the squared error, a step after every row, always the same step size,
    /// no weight decay, no early end.
    pub fn plain_descent(self, learning_rate: f64) -> Self {
        Self {
            optimizer: Optimizer::Sgd { learning_rate },
            loss: Loss::MseOnOutput,
            batch: 1,
            l2: 0.0,
            grad_clip: f64::MAX,
            patience: u32::MAX,
            ..self
        }
    }

    /// Rows between two steps for a set of `rows` rows.
    fn batch_for(&self, rows: usize) -> usize {
        (rows / BATCHES_OF_SMALL_SETS).max(SMALLEST_BATCH).min(self.batch).max(1)
    }
}

/// What a training is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Trying options; a step is one fit of one candidate to one fold.
    Tuning,
    /// Fitting the network; a step is an epoch.
    Network,
    /// Fitting the logistic regression; a step is one look at all rows. It mostly ends before the last.
    Logistic,
    /// Growing the forest; a step is a tree.
    Forest,
}

/// Reported after each step. A training may go through a stage more than once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is done now.
    pub stage: Stage,
    /// Steps of the stage that are done, from 1 on.
    pub done: u32,
    /// Its steps in all, or at most.
    pub of: u32,
    /// Weighted mean loss, where the stage has one. Network: over the epoch, each row at the moment it was used; without the
    /// weight decay.
    pub loss: Option<f64>,
}

/// Why there is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainingError {
    /// The cancel flag was set.
    #[error("training was cancelled")]
    Cancelled,
    /// A loss, gradient or parameter became infinite or NaN. Epoch 0: a value or weight was so already, or a weight was negative.
    #[error("training met a number out of range in epoch {epoch}")]
    NonFinite {
        /// The epoch, from 1 on; 0 for the rows themselves.
        epoch: u32,
    },
    /// No rows, or none with a weight above zero.
    #[error("cannot train without rows")]
    NoRows,
    /// Rows of different length or without values, or no hidden units.
    #[error("cannot train on rows of different length or without values, or without hidden units")]
    Shape,
}

/// A network, and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The network of the best epoch.
    pub network: Mlp,
    /// That epoch, from 1 on: whoever fits once more to more rows stops there.
    pub epochs: u32,
}

/// Trains a network on `rows`, which the caller has put into a reproducible order, through every epoch.
///
/// `cancel` is looked at before every batch. The starting point answers with the weighted share of attacks.
///
/// # Errors
/// See [`TrainingError`]; no partly trained network is given out.
pub fn fit(
    rows: &[TrainingRow<'_>],
    options: &TrainingOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Mlp, TrainingError> {
    fit_until(rows, &[], options, options.epochs, cancel, progress).map(|fitted| fitted.network)
}

/// As [`fit`], but at most through the epoch `last`, and with `validation` rows (none: every epoch) no further than
/// [`TrainingOptions::patience`] epochs beyond the one with the smallest mean loss on them, which is the one given out.
/// The step size falls as if all epochs were done.
///
/// # Errors
/// As [`fit`].
pub fn fit_until(
    rows: &[TrainingRow<'_>],
    validation: &[TrainingRow<'_>],
    options: &TrainingOptions,
    last: u32,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fitted, TrainingError> {
    let Checked { inputs, prior } = check(rows, options)?;
    if validation.iter().any(|row| row.values.len() != inputs) {
        return Err(TrainingError::Shape);
    }
    let mut mlp =
        Mlp::init(inputs, options.hidden, options.activation, prior, &mut Rng::new(options.seed, "training: init"));
    let mut shuffle = Rng::new(options.seed, "training: shuffle");
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut stepper = options.optimizer.stepper(&mlp);
    let mut gradient = Gradient::zero(&mlp);
    let mut scratch = Scratch::new(options.hidden);
    let mut best: Option<(f64, Fitted)> = None;

    let batch = options.batch_for(rows.len());
    let mut schedule = Schedule::new(options, rows.len().div_ceil(batch));
    for epoch in 1..=last.min(options.epochs) {
        shuffle.shuffle(&mut order);
        let (mut epoch_loss, mut epoch_weight) = (0.0, 0.0);
        for indices in order.chunks(batch) {
            if cancel.load(Ordering::Relaxed) {
                return Err(TrainingError::Cancelled);
            }
            let rate = schedule.next();
            gradient.clear();
            let (mut loss, mut weight) = (0.0, 0.0);
            for &index in indices {
                let row = &rows[index];
                let label = f64::from(u8::from(row.attack));
                loss += mlp.accumulate(row.values, label, row.weight, options.loss, &mut scratch, &mut gradient);
                weight += row.weight;
            }
            epoch_loss += loss;
            epoch_weight += weight;
            if weight > 0.0 {
                gradient.scale(1.0 / weight);
                gradient.add_decay(&mlp, options.l2);
                if !gradient.clip(options.grad_clip).is_finite() {
                    return Err(TrainingError::NonFinite { epoch });
                }
                stepper.step(&mut mlp, &gradient, rate);
            }
        }
        let loss = epoch_loss / epoch_weight;
        if !loss.is_finite() || !mlp.is_finite() {
            return Err(TrainingError::NonFinite { epoch });
        }
        progress(Progress { stage: Stage::Network, done: epoch, of: options.epochs, loss: Some(loss) });
        if let Some(loss) = mean_loss(&mlp, validation).filter(|_| epoch >= EPOCHS_MIN.min(last)) {
            match &best {
                Some((least, fitted)) if loss >= *least => {
                    if epoch - fitted.epochs >= options.patience {
                        break;
                    }
                }
                _ => best = Some((loss, Fitted { network: mlp.clone(), epochs: epoch })),
            }
        }
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(TrainingError::Cancelled);
    }
    Ok(best.map_or(Fitted { network: mlp, epochs: last.min(options.epochs) }, |(_, fitted)| fitted))
}

/// Takes the weights from features that never varied in training: they are still the random ones of the start, and would
/// speak up with the first value that differs. For rows that were brought to mean 0, where a constant is 0.
pub fn silence_constants(network: &mut Mlp, rows: &[TrainingRow<'_>]) {
    for input in 0..network.inputs {
        if rows.iter().all(|row| row.values[input] == 0.0) {
            network.w1.iter_mut().skip(input).step_by(network.inputs).for_each(|weight| *weight = 0.0);
        }
    }
}

/// Weighted mean loss on rows that are not trained on; `None` where they have no weight or the loss is not finite.
fn mean_loss(mlp: &Mlp, rows: &[TrainingRow<'_>]) -> Option<f64> {
    let (mut loss, mut weight) = (0.0, 0.0);
    for row in rows {
        let label = f64::from(u8::from(row.attack));
        loss += row.weight * Loss::BceFromLogits.value_and_slope(mlp.logit(row.values), label).0;
        weight += row.weight;
    }
    let mean = loss / weight;
    mean.is_finite().then_some(mean)
}

/// What the rows agree on.
struct Checked {
    inputs: usize,
    /// Weighted share of attacks.
    prior: f64,
}

fn check(rows: &[TrainingRow<'_>], options: &TrainingOptions) -> Result<Checked, TrainingError> {
    let inputs = rows.first().ok_or(TrainingError::NoRows)?.values.len();
    if inputs == 0 || options.hidden == 0 || rows.iter().any(|row| row.values.len() != inputs) {
        return Err(TrainingError::Shape);
    }
    let usable = |row: &TrainingRow<'_>| {
        row.weight.is_finite() && row.weight >= 0.0 && row.values.iter().all(|value| value.is_finite())
    };
    if !rows.iter().all(usable) {
        return Err(TrainingError::NonFinite { epoch: 0 });
    }
    let (mut attacks, mut all) = (0.0, 0.0);
    for row in rows {
        all += row.weight;
        attacks += if row.attack { row.weight } else { 0.0 };
    }
    if all == 0.0 {
        return Err(TrainingError::NoRows);
    }
    Ok(Checked { inputs, prior: attacks / all })
}

/// Learning rate of each step: half a cosine from the full rate down to [`FINAL_RATE`] of it.
struct Schedule {
    rate: f64,
    step: u64,
    last: u64,
}

impl Schedule {
    fn new(options: &TrainingOptions, steps_per_epoch: usize) -> Self {
        if let Optimizer::Sgd { learning_rate } = options.optimizer {
            return Self { rate: learning_rate, step: 0, last: u64::MAX };
        }
        let steps = u64::from(options.epochs) * steps_per_epoch as u64;
        Self { rate: options.optimizer.learning_rate(), step: 0, last: steps.saturating_sub(1).max(1) }
    }

    fn next(&mut self) -> f64 {
        let done = self.step as f64 / self.last as f64;
        self.step += 1;
        self.rate * (FINAL_RATE + (1.0 - FINAL_RATE) * 0.5 * (1.0 + numeric::cos_pi(done)))
    }
}

#[cfg(test)]
mod tests;
