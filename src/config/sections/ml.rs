//! `[ml]`: the model and what its opinion is worth.
//!
//! `hidden_neurons`, `activation_function`, `optimizer`, `learning_rate` and what the thresholds are made of are properties of
//! a model: a change waits for the next training. `profile` decides what is counted and recorded from the start on. Everything else applies at once.

use serde::{Deserialize, Serialize};

/// Which features and which kind of model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Profile {
    /// Features of address, network, provider, user, password and site; a network that others may join in the vote.
    #[default]
    #[serde(rename = "ext-mlp16")]
    ExtMlp16,
    /// The six standard features of the original and one hidden layer.
    #[serde(rename = "compat-6")]
    Compat6,
}

impl Profile {
    /// The name in the configuration, in schemas and in artifacts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExtMlp16 => "ext-mlp16",
            Self::Compat6 => "compat-6",
        }
    }
}

/// The function of the hidden layer. The output is always a sigmoid: it is a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationFunction {
    /// 1 / (1 + e^-x).
    #[default]
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// max(0, x).
    Relu,
    /// x, or 0.01 x below zero.
    LeakyRelu,
}

/// How weights are improved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam with its own step size; `learning_rate` is not used.
    #[default]
    Adam,
    /// Plain gradient descent with `learning_rate`.
    Sgd,
}

/// What gives the block threshold of a new model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdSource {
    /// `false_positive_budget`.
    #[default]
    Budget,
    /// `cost_false_positive` and `cost_false_negative`.
    Cost,
}

/// The `[ml]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlConfig {
    /// Whether the model has a say at all. Default: true. When false, answers are the static rule's and learning goes on.
    pub enabled: bool,
    /// Features and kind of model. Default: `"ext-mlp16"`.
    pub profile: Profile,
    /// Score with the model that comes with the program while the site has none of its own. Default: true. It only watches:
    /// answers are the static rule's. Only `ext-mlp16` has one.
    pub prior: bool,
    /// Score and log, but answer what the static rule says. Default: false. Local to this node, and stronger than the
    /// fleet's learning mode.
    pub dry_run: bool,
    /// Return the fleet to learning mode when the model would suddenly block many users in networks that they log in from.
    /// Default: true. Each node counts what it scores itself.
    pub breaker: bool,
    /// Let a confident model outvote a static rule (weighted sum of both). Default: false, because a model should only
    /// ever add suspicion.
    pub may_override_rules: bool,
    /// Probability from which the verdict is `block`, above 0 and below 1. Default: unset, the model's own threshold,
    /// chosen at training as `threshold_from` says.
    pub threshold: Option<f64>,
    /// `"budget"` or `"cost"`, which needs the calibrated probabilities of `ext-mlp16`. Default: `"budget"`, because a share
    /// of logins can be promised to a help desk, and a price has to be known first.
    pub threshold_from: ThresholdSource,
    /// Share of legitimate attempts that may be blocked, above 0 and at most 0.5. Default: 0.001, one in a thousand.
    pub false_positive_budget: f64,
    /// What blocking a legitimate attempt costs, in the unit of `cost_false_negative`, above 0 and at most 1000000. Default:
    /// 100; with 1 for the other, blocking begins at a probability of 0.990, the highest that some hundred held-out
    /// attacks can confirm.
    pub cost_false_positive: f64,
    /// What letting one attempt of an attack through costs, above 0 and at most 1000000. Default: 1.
    pub cost_false_negative: f64,
    /// Weight of the static rule, 0 to 1, used only with `may_override_rules`. Default: 0.4.
    pub static_weight: f64,
    /// Weight of the model, 0 to 1, used only with `may_override_rules`. Default: 0.6.
    pub ml_weight: f64,
    /// Neurons of the hidden layer, 1 to 256. Default: unset, which is what the last `train --tune` found, or 8 with
    /// `compat-6` and 16 with `ext-mlp16`.
    pub hidden_neurons: Option<usize>,
    /// `"sigmoid"`, `"tanh"`, `"relu"` or `"leaky_relu"` in the hidden layer. Default: unset, which is `"sigmoid"` with
    /// `compat-6` and `"relu"` with `ext-mlp16`.
    pub activation_function: Option<ActivationFunction>,
    /// `"adam"` or `"sgd"`. Default: `"adam"`, which reaches the same loss in far fewer epochs.
    pub optimizer: Optimizer,
    /// Step size of `optimizer = "sgd"`, above 0 and at most 1; not used by Adam. Default: unset, which is what the last
    /// `train --tune` found, or 0.01.
    pub learning_rate: Option<f64>,
    /// Most samples kept for training, half for each outcome. Default: 100000, a few weeks of a middling site.
    pub max_training_records: u64,
    /// Most additional features that requests may bring in, 0 to 32. Default: 16, of which each may take 17 values of a
    /// snapshot.
    pub additional_features_max: usize,
}

impl Default for MlConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            profile: Profile::default(),
            prior: true,
            dry_run: false,
            breaker: true,
            may_override_rules: false,
            threshold: None,
            threshold_from: ThresholdSource::default(),
            false_positive_budget: 0.001,
            cost_false_positive: 100.0,
            cost_false_negative: 1.0,
            static_weight: 0.4,
            ml_weight: 0.6,
            hidden_neurons: None,
            activation_function: None,
            optimizer: Optimizer::default(),
            learning_rate: None,
            max_training_records: 100_000,
            additional_features_max: 16,
        }
    }
}
