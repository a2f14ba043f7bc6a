//! The network that scores attempts: one hidden layer, one output, and its gradients.
//!
//! The output is a logit; its sigmoid is the probability that an attempt is an attack. Scoring allocates nothing.
//! Optimisers, schedules and the training loop are elsewhere, and so is the scaling of the inputs: the values given here
//! are the finished features.

mod gradient;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::standardizer::Standardizer;
use crate::numeric::{self, Rng};

pub use gradient::{Batch, Gradient, Loss, Scratch};

/// Slope of [`Activation::LeakyRelu`] left of zero.
pub const LEAKY_SLOPE: f64 = 0.01;

/// The prior given to [`Mlp::init`] is kept this far from 0 and 1, so that the first output bias stays within ±7.
const PRIOR_MARGIN: f64 = 1e-3;

/// Units whose sums are built side by side.
const AT_ONCE: usize = 8;

/// The curve of the hidden units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// max(0, x).
    Relu,
    /// x, or [`LEAKY_SLOPE`]·x if that is larger.
    LeakyRelu,
}

impl Activation {
    /// Every activation, in the order of the manual.
    pub const ALL: [Self; 4] = [Self::Sigmoid, Self::Tanh, Self::Relu, Self::LeakyRelu];

    /// The name in configuration, artifacts and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Relu => "relu",
            Self::LeakyRelu => "leaky_relu",
        }
    }

    fn apply(self, x: f64) -> f64 {
        match self {
            Self::Sigmoid => numeric::sigmoid(x),
            Self::Tanh => numeric::tanh(x),
            // A plain `max` would turn NaN into zero and hide a broken model.
            Self::Relu if x < 0.0 => 0.0,
            Self::LeakyRelu if x < 0.0 => LEAKY_SLOPE * x,
            Self::Relu | Self::LeakyRelu => x,
        }
    }

    /// The derivative, told from the value of the function; zero counts as the left side of both ramps.
    fn slope_at(self, value: f64) -> f64 {
        match self {
            Self::Sigmoid => value * (1.0 - value),
            Self::Tanh => 1.0 - value * value,
            Self::Relu | Self::LeakyRelu if value > 0.0 => 1.0,
            Self::Relu => 0.0,
            Self::LeakyRelu => LEAKY_SLOPE,
        }
    }

    /// Variance of the first weights: He for the ramps, Xavier for the curves that saturate.
    fn initial_variance(self, fan_in: usize, fan_out: usize) -> f64 {
        match self {
            Self::Relu | Self::LeakyRelu => 2.0 / fan_in as f64,
            Self::Sigmoid | Self::Tanh => 2.0 / (fan_in + fan_out) as f64,
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no activation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown activation {0:?}; sigmoid, tanh, relu and leaky_relu exist")]
pub struct UnknownActivation(pub String);

impl FromStr for Activation {
    type Err = UnknownActivation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|activation| activation.name() == name)
            .ok_or_else(|| UnknownActivation(name.to_owned()))
    }
}

/// A network of `inputs` features, `hidden` units and one logit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mlp {
    /// Number of features.
    pub inputs: usize,
    /// Number of hidden units.
    pub hidden: usize,
    /// Curve of the hidden units.
    pub activation: Activation,
    /// Weights of the hidden units, one row of `inputs` after the other.
    pub w1: Vec<f64>,
    /// Biases of the hidden units.
    pub b1: Vec<f64>,
    /// Weights of the output, one for each hidden unit.
    pub w2: Vec<f64>,
    /// Bias of the output.
    pub b2: f64,
}

impl Mlp {
    /// A network with random weights that starts out answering about `prior`, the share of attacks.
    ///
    /// Hidden weights are normal (He or Xavier), output weights half of that, hidden biases zero, the output bias is the
    /// logit of the prior. The same generator state gives the same network.
    pub fn init(inputs: usize, hidden: usize, activation: Activation, prior: f64, rng: &mut Rng) -> Self {
        let spread = activation.initial_variance(inputs.max(1), hidden).sqrt();
        let w1 = (0..inputs * hidden).map(|_| rng.normal() * spread).collect();
        let spread = 0.5 * activation.initial_variance(hidden.max(1), 1).sqrt();
        let w2 = (0..hidden).map(|_| rng.normal() * spread).collect();
        let prior = if prior.is_nan() { 0.5 } else { prior.clamp(PRIOR_MARGIN, 1.0 - PRIOR_MARGIN) };
        Self { inputs, hidden, activation, w1, b1: vec![0.0; hidden], w2, b2: numeric::ln(prior / (1.0 - prior)) }
    }

    /// The logit of an attack for one row of `inputs` values.
    ///
    /// The caller vouches for the length; a row of another length gives a meaningless number, and panics in debug builds.
    pub fn logit(&self, row: &[f64]) -> f64 {
        self.logit_of(row)
    }

    /// As [`Mlp::logit`], for values kept in single precision. The arithmetic is the same.
    pub fn logit_f32(&self, row: &[f32]) -> f64 {
        self.logit_of(row)
    }

    /// Probability of an attack: the sigmoid of [`Mlp::logit`].
    pub fn probability(&self, row: &[f64]) -> f64 {
        numeric::sigmoid(self.logit(row))
    }

    /// Makes a network that was fitted to values less their means by their deviations one for the values themselves: the
    /// first weights and biases take the scale in, and the output stays the same but for rounding.
    pub fn take_in(&mut self, scale: &Standardizer) {
        for (weights, bias) in self.w1.chunks_exact_mut(self.inputs).zip(&mut self.b1) {
            for (weight, (mean, sd)) in weights.iter_mut().zip(scale.mean().iter().zip(scale.sd())) {
                *weight /= sd;
                *bias -= *weight * mean;
            }
        }
    }

    /// Whether no parameter is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        self.parts().into_iter().flatten().all(|value| value.is_finite())
    }

    /// Whether every vector has the length that `inputs` and `hidden` promise, and neither is zero.
    ///
    /// A network from outside must pass this before it scores anything.
    pub fn check_shape(&self) -> bool {
        self.inputs > 0
            && self.hidden > 0
            && self.inputs.checked_mul(self.hidden) == Some(self.w1.len())
            && self.b1.len() == self.hidden
            && self.w2.len() == self.hidden
    }

    fn logit_of<T: Copy + Into<f64>>(&self, row: &[T]) -> f64 {
        debug_assert_eq!(row.len(), self.inputs, "row of the wrong length");
        let mut logit = self.b2;
        self.each_hidden(row, |unit, value| logit += self.w2[unit] * value);
        logit
    }

    /// Tells the value of each hidden unit, in order.
    pub(super) fn each_hidden<T: Copy + Into<f64>>(&self, row: &[T], mut tell: impl FnMut(usize, f64)) {
        let mut first = 0;
        while first + AT_ONCE <= self.hidden {
            for (place, sum) in self.unit_sums::<AT_ONCE, T>(first, row).into_iter().enumerate() {
                tell(first + place, self.activation.apply(sum));
            }
            first += AT_ONCE;
        }
        for unit in first..self.hidden {
            let [sum] = self.unit_sums::<1, T>(unit, row);
            tell(unit, self.activation.apply(sum));
        }
    }

    /// Weighted sums of `N` units from `first` on. Side by side, because each sum alone waits for its last addition; the
    /// order of additions within a sum, and so its last bit, is the same for every `N`.
    fn unit_sums<const N: usize, T: Copy + Into<f64>>(&self, first: usize, row: &[T]) -> [f64; N] {
        let weights: [&[f64]; N] =
            std::array::from_fn(|place| &self.w1[(first + place) * self.inputs..][..self.inputs.min(row.len())]);
        let mut sums: [f64; N] = std::array::from_fn(|place| self.b1[first + place]);
        for (input, value) in row.iter().take(self.inputs).enumerate() {
            let value: f64 = (*value).into();
            for place in 0..N {
                sums[place] += weights[place][input] * value;
            }
        }
        sums
    }

    /// All parameters, in the order that [`Gradient`] uses too.
    pub(super) fn parts(&self) -> [&[f64]; 4] {
        [&self.w1, &self.b1, &self.w2, std::slice::from_ref(&self.b2)]
    }

    /// As [`Mlp::parts`], to be changed in place.
    pub(super) fn parts_mut(&mut self) -> [&mut [f64]; 4] {
        [&mut self.w1, &mut self.b1, &mut self.w2, std::slice::from_mut(&mut self.b2)]
    }
}

#[cfg(test)]
pub(super) mod fixture;
#[cfg(test)]
mod tests;
