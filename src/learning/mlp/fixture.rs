//! Networks with known logits, losses, gradients and steps, computed by other software (`tests/fixtures/mlp.json`).

use serde::Deserialize;

use super::{Activation, Gradient, Loss, Mlp};

#[derive(Deserialize)]
pub struct Fixture {
    pub networks: Vec<Network>,
    pub edges: Vec<Edge>,
}

#[derive(Deserialize)]
pub struct Network {
    activation: Activation,
    loss: String,
    inputs: usize,
    hidden: usize,
    params: Params,
    pub rows: Vec<Vec<f64>>,
    pub labels: Vec<f64>,
    pub weights: Vec<f64>,
    pub logits: Vec<f64>,
    pub probabilities: Vec<f64>,
    pub loss_value: f64,
    pub gradient: Params,
    pub after_sgd: Params,
    pub after_adam: Params,
}

#[derive(Clone, Deserialize)]
pub struct Params {
    w1: Vec<f64>,
    b1: Vec<f64>,
    w2: Vec<f64>,
    b2: f64,
}

#[derive(Deserialize)]
pub struct Edge {
    pub logit: f64,
    pub sigmoid: f64,
    pub bce_attack: f64,
    pub bce_legit: f64,
}

pub fn load() -> Fixture {
    serde_json::from_str(include_str!("../../../tests/fixtures/mlp.json"))
        .expect("the fixture is part of the repository")
}

impl Network {
    pub fn mlp(&self) -> Mlp {
        self.with(&self.params)
    }

    /// A network of the same shape with other parameters.
    pub fn with(&self, params: &Params) -> Mlp {
        let Params { w1, b1, w2, b2 } = params.clone();
        Mlp { inputs: self.inputs, hidden: self.hidden, activation: self.activation, w1, b1, w2, b2 }
    }

    pub fn loss(&self) -> Loss {
        match self.loss.as_str() {
            "bce" => Loss::BceFromLogits,
            "mse" => Loss::MseOnOutput,
            other => panic!("unknown loss {other}"),
        }
    }

    pub fn rows(&self) -> Vec<&[f64]> {
        self.rows.iter().map(Vec::as_slice).collect()
    }
}

impl Params {
    pub fn gradient(&self) -> Gradient {
        let Self { w1, b1, w2, b2 } = self.clone();
        Gradient { w1, b1, w2, b2 }
    }
}

/// Fails unless all numbers agree within 1e-9.
#[track_caller]
pub fn close<'a>(what: &str, ours: impl IntoIterator<Item = &'a f64>, theirs: impl IntoIterator<Item = &'a f64>) {
    let ours: Vec<f64> = ours.into_iter().copied().collect();
    let theirs: Vec<f64> = theirs.into_iter().copied().collect();
    assert_eq!(ours.len(), theirs.len(), "{what}: other length");
    for (index, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        assert!((a - b).abs() <= 1e-9, "{what}[{index}]: {a} instead of {b}");
    }
}
