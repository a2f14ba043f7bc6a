//! Turns a gradient into a change of the parameters: plain gradient descent and Adam.
//!
//! Schedules, clipping and weight decay belong to the training loop.

use serde::{Deserialize, Serialize};

use super::mlp::{Gradient, Mlp};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
/// Keeps Adam from dividing by zero where the gradient has always been zero.
const EPSILON: f64 = 1e-8;

/// Which optimiser trains, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam (Kingma and Ba, 2015) with β₁ 0.9, β₂ 0.999 and ε 10⁻⁸.
    Adam {
        /// Size of the first steps, for each parameter.
        learning_rate: f64,
    },
    /// Steps against the gradient.
    Sgd {
        /// Factor on the gradient.
        learning_rate: f64,
    },
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Adam { learning_rate: 3e-3 }
    }
}

impl Optimizer {
    /// The rate before any schedule.
    pub fn learning_rate(self) -> f64 {
        match self {
            Self::Adam { learning_rate } | Self::Sgd { learning_rate } => learning_rate,
        }
    }

    /// The same kind with another first rate.
    pub fn with_learning_rate(self, learning_rate: f64) -> Self {
        match self {
            Self::Adam { .. } => Self::Adam { learning_rate },
            Self::Sgd { .. } => Self::Sgd { learning_rate },
        }
    }

    /// A fresh stepper for networks in the layout of `mlp`.
    pub fn stepper(self, mlp: &Mlp) -> Stepper {
        match self {
            Self::Adam { .. } => Stepper::Adam(Adam::new(mlp)),
            Self::Sgd { .. } => Stepper::Sgd,
        }
    }
}

/// An optimiser in the middle of a training run.
#[derive(Clone, Debug)]
pub enum Stepper {
    /// Adam with its running moments.
    Adam(Adam),
    /// Gradient descent remembers nothing.
    Sgd,
}

impl Stepper {
    /// One step of size `learning_rate` against `gradient`.
    pub fn step(&mut self, mlp: &mut Mlp, gradient: &Gradient, learning_rate: f64) {
        match self {
            Self::Adam(adam) => adam.step(mlp, gradient, learning_rate),
            Self::Sgd => sgd_step(mlp, gradient, learning_rate),
        }
    }
}

/// Moves every parameter by −`learning_rate` × its derivative.
pub fn sgd_step(mlp: &mut Mlp, gradient: &Gradient, learning_rate: f64) {
    for (values, slopes) in mlp.parts_mut().into_iter().zip(gradient.parts()) {
        for (value, slope) in values.iter_mut().zip(slopes) {
            *value -= learning_rate * slope;
        }
    }
}

/// Running moments of the gradient.
#[derive(Clone, Debug)]
pub struct Adam {
    mean: Gradient,
    square: Gradient,
    /// β₁ᵗ and β₂ᵗ, kept as products so that no power function is needed.
    decay_1: f64,
    decay_2: f64,
}

impl Adam {
    /// Before the first step, for networks in the layout of `mlp`.
    pub fn new(mlp: &Mlp) -> Self {
        Self { mean: Gradient::zero(mlp), square: Gradient::zero(mlp), decay_1: 1.0, decay_2: 1.0 }
    }

    /// One step of size `learning_rate`.
    pub fn step(&mut self, mlp: &mut Mlp, gradient: &Gradient, learning_rate: f64) {
        self.decay_1 *= BETA_1;
        self.decay_2 *= BETA_2;
        let (unbias_1, unbias_2) = (1.0 / (1.0 - self.decay_1), 1.0 / (1.0 - self.decay_2));

        let moments = self.mean.parts_mut().into_iter().zip(self.square.parts_mut());
        for ((values, slopes), (means, squares)) in mlp.parts_mut().into_iter().zip(gradient.parts()).zip(moments) {
            for ((value, slope), (mean, square)) in values.iter_mut().zip(slopes).zip(means.iter_mut().zip(squares)) {
                *mean = BETA_1 * *mean + (1.0 - BETA_1) * slope;
                *square = BETA_2 * *square + (1.0 - BETA_2) * slope * slope;
                *value -= learning_rate * (*mean * unbias_1) / ((*square * unbias_2).sqrt() + EPSILON);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::mlp::Batch;
    use crate::learning::mlp::fixture::{close, load};

    #[test]
    fn a_step_of_gradient_descent_agrees_with_the_fixture() {
        for network in load().networks {
            let mut mlp = network.mlp();
            let rows = network.rows();
            let first = Batch { rows: &rows[..1], labels: &network.labels[..1], weights: &network.weights[..1] };

            let (_, gradient) = mlp.loss_and_gradient(first, network.loss());
            Optimizer::Sgd { learning_rate: 0.01 }.stepper(&mlp).step(&mut mlp, &gradient, 0.01);

            let expected = network.with(&network.after_sgd);
            close("parameter", mlp.parts().into_iter().flatten(), expected.parts().into_iter().flatten());
        }
    }

    #[test]
    fn the_first_step_of_adam_agrees_with_the_fixture() {
        for network in load().networks {
            let mut mlp = network.mlp();
            let rows = network.rows();
            let batch = Batch { rows: &rows, labels: &network.labels, weights: &network.weights };

            let (_, gradient) = mlp.loss_and_gradient(batch, network.loss());
            Optimizer::default().stepper(&mlp).step(&mut mlp, &gradient, 1e-3);

            let expected = network.with(&network.after_adam);
            close("parameter", mlp.parts().into_iter().flatten(), expected.parts().into_iter().flatten());
        }
    }

    #[test]
    fn adam_does_not_move_without_a_gradient() {
        let mut mlp = load().networks[0].mlp();
        let before = mlp.clone();

        Adam::new(&before).step(&mut mlp, &Gradient::zero(&before), 1.0);

        assert_eq!(mlp, before);
    }

    #[test]
    fn the_setting_reads_like_its_documentation() {
        let read: Optimizer = serde_json::from_str(r#"{"sgd":{"learning_rate":0.5}}"#).unwrap();
        assert_eq!(read, Optimizer::Sgd { learning_rate: 0.5 });
        assert_eq!(Optimizer::default().learning_rate(), 3e-3);
    }
}
