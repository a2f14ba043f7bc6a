//! Loss of a network on labelled rows and its exact derivative by every parameter.

use serde::{Deserialize, Serialize};

use super::Mlp;
use crate::numeric;

/// What a wrong answer costs. z is the logit, p its sigmoid, y the label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Binary cross-entropy max(z, 0) − zy + ln(1 + e^−|z|); finite for every finite logit.
    BceFromLogits,
    /// Half the squared error of the probability, ½(p − y)².
    MseOnOutput,
}

impl Loss {
    /// Loss of one row and its derivative by the logit.
    pub(in crate::learning) fn value_and_slope(self, logit: f64, label: f64) -> (f64, f64) {
        let p = numeric::sigmoid(logit);
        match self {
            Self::BceFromLogits => {
                // Like softplus(z) − zy, but the large parts cancel before the small one is added.
                let tail = numeric::softplus(-logit.abs());
                (logit.max(0.0) - logit * label + tail, p - label)
            }
            Self::MseOnOutput => (0.5 * (p - label) * (p - label), (p - label) * p * (1.0 - p)),
        }
    }
}

/// Labelled rows; the three slices have the same length.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Feature values, each as long as the network has inputs.
    pub rows: &'a [&'a [f64]],
    /// 1 for attacks, 0 for legitimate attempts.
    pub labels: &'a [f64],
    /// Importance of each row, not negative.
    pub weights: &'a [f64],
}

/// Derivative of a loss by every parameter of an [`Mlp`], laid out like it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// By the hidden weights, one row of inputs after the other.
    pub w1: Vec<f64>,
    /// By the hidden biases.
    pub b1: Vec<f64>,
    /// By the output weights.
    pub w2: Vec<f64>,
    /// By the output bias.
    pub b2: f64,
}

/// Memory that one pass over rows needs and the next can use again.
#[derive(Clone, Debug)]
pub struct Scratch {
    hidden: Vec<f64>,
}

impl Scratch {
    /// Room for a network with this many hidden units.
    pub fn new(hidden: usize) -> Self {
        Self { hidden: vec![0.0; hidden] }
    }
}

impl Gradient {
    /// All zero, in the layout of `mlp`.
    pub fn zero(mlp: &Mlp) -> Self {
        Self { w1: vec![0.0; mlp.w1.len()], b1: vec![0.0; mlp.b1.len()], w2: vec![0.0; mlp.w2.len()], b2: 0.0 }
    }

    /// Sets everything to zero and keeps the memory.
    pub fn clear(&mut self) {
        for part in self.parts_mut() {
            part.fill(0.0);
        }
    }

    /// Multiplies everything by `factor`.
    pub fn scale(&mut self, factor: f64) {
        for value in self.parts_mut().into_iter().flatten() {
            *value *= factor;
        }
    }

    /// Euclidean length over all parameters.
    pub fn norm(&self) -> f64 {
        self.parts().into_iter().flatten().map(|value| value * value).sum::<f64>().sqrt()
    }

    /// Adds the derivative of ½·`l2`·|w|²: weights only, since a bias says nothing about complexity.
    pub fn add_decay(&mut self, mlp: &Mlp, l2: f64) {
        for (slope, weight) in self.w1.iter_mut().zip(&mlp.w1) {
            *slope += l2 * weight;
        }
        for (slope, weight) in self.w2.iter_mut().zip(&mlp.w2) {
            *slope += l2 * weight;
        }
    }

    /// Shortens the gradient to length `limit` if it is longer; the direction stays. Gives the length before.
    ///
    /// A length that is not finite means that the run is lost: scaling by it would quietly leave zeros or NaN.
    pub fn clip(&mut self, limit: f64) -> f64 {
        let norm = self.norm();
        if norm > limit && norm.is_finite() {
            self.scale(limit / norm);
        }
        norm
    }

    pub(in crate::learning) fn parts(&self) -> [&[f64]; 4] {
        [&self.w1, &self.b1, &self.w2, std::slice::from_ref(&self.b2)]
    }

    pub(in crate::learning) fn parts_mut(&mut self) -> [&mut [f64]; 4] {
        [&mut self.w1, &mut self.b1, &mut self.w2, std::slice::from_mut(&mut self.b2)]
    }
}

impl Mlp {
    /// Mean loss over the batch, weighted, and its gradient. Both are sums divided by the sum of the weights; zero if
    /// that is zero.
    pub fn loss_and_gradient(&self, batch: Batch<'_>, loss: Loss) -> (f64, Gradient) {
        debug_assert_eq!(batch.rows.len(), batch.labels.len());
        debug_assert_eq!(batch.rows.len(), batch.weights.len());
        let mut gradient = Gradient::zero(self);
        let mut scratch = Scratch::new(self.hidden);
        let (mut total, mut weights) = (0.0, 0.0);
        for ((row, &label), &weight) in batch.rows.iter().zip(batch.labels).zip(batch.weights) {
            total += self.accumulate(row, label, weight, loss, &mut scratch, &mut gradient);
            weights += weight;
        }
        if weights == 0.0 {
            return (0.0, gradient);
        }
        gradient.scale(1.0 / weights);
        (total / weights, gradient)
    }

    /// Adds weight × derivative of one row to `gradient` and gives weight × loss. Allocates nothing; dividing by the sum
    /// of the weights is left to the caller.
    pub fn accumulate(
        &self,
        row: &[f64],
        label: f64,
        weight: f64,
        loss: Loss,
        scratch: &mut Scratch,
        gradient: &mut Gradient,
    ) -> f64 {
        debug_assert_eq!(row.len(), self.inputs, "row of the wrong length");
        let mut logit = self.b2;
        self.each_hidden(row, |unit, value| {
            scratch.hidden[unit] = value;
            logit += self.w2[unit] * value;
        });
        let (value, slope) = loss.value_and_slope(logit, label);
        let slope = weight * slope;

        gradient.b2 += slope;
        for (unit, &hidden) in scratch.hidden.iter().enumerate() {
            gradient.w2[unit] += slope * hidden;
            let back = slope * self.w2[unit] * self.activation.slope_at(hidden);
            if back == 0.0 {
                // Half of the ramps are at rest at any time.
                continue;
            }
            gradient.b1[unit] += back;
            let by_weights = &mut gradient.w1[unit * self.inputs..(unit + 1) * self.inputs];
            for (sum, &input) in by_weights.iter_mut().zip(row) {
                *sum += back * input;
            }
        }
        weight * value
    }
}
