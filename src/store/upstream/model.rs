//! The model JSON of the original, and what such a model computes.
//!
//! Its output was trained to mean "succeeded"; what becomes of that stands in `convert`. Reading it checks what the original
//! never did: that the weights are as many as the sizes say.

use serde::{Deserialize, Serialize};

use super::{FormatError, parse, wrong};
use crate::numeric;

/// Longest model: 1024 neurons on 200 inputs.
pub const MODEL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most inputs and neurons (the original allows 1024 neurons; its inputs grew without end).
const INPUTS_MAX: usize = 4096;
const HIDDEN_MAX: usize = 1024;
/// Slope of `leaky_relu` below zero.
const LEAKY_SLOPE: f64 = 0.01;

/// A model as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamModel {
    /// Inputs.
    pub input_size: usize,
    /// Neurons of the hidden layer.
    pub hidden_size: usize,
    /// Outputs, always 1.
    pub output_size: usize,
    /// Input i to neuron h at h·inputs + i; behind them neuron h to the output.
    pub weights: Vec<f64>,
    /// One for each neuron.
    pub hidden_bias: Vec<f64>,
    /// One.
    pub output_bias: Vec<f64>,
    /// Step size of the training.
    pub learning_rate: f64,
    /// Curve of both layers; an unknown name means `sigmoid`.
    pub activation_function: String,
}

impl UpstreamModel {
    /// Reads a model.
    ///
    /// # Errors
    /// For anything but a model whose sizes fit together and whose numbers are finite.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let model: Self = parse(bytes, MODEL_BYTES_MAX)?;
        model.check().map(|()| model)
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings always serialise")
    }

    /// The output for normalised inputs, in the original's own sense: for a model that it trained itself, that the login
    /// *succeeds*; for an exported one, that it is an attack. `None` for a row of another width.
    pub fn output(&self, inputs: &[f64]) -> Option<f64> {
        if inputs.len() != self.input_size {
            return None;
        }
        let (hidden, output) = self.weights.split_at(self.input_size * self.hidden_size);
        let mut sum = self.output_bias[0];
        for (unit, weight) in output.iter().enumerate() {
            let row = &hidden[unit * self.input_size..][..self.input_size];
            let inner: f64 = row.iter().zip(inputs).map(|(weight, input)| weight * input).sum();
            sum += weight * self.activate(inner + self.hidden_bias[unit]);
        }
        Some(self.activate(sum))
    }

    fn activate(&self, x: f64) -> f64 {
        match self.activation_function.as_str() {
            "tanh" => numeric::tanh(x),
            "relu" => x.max(0.0),
            "leaky_relu" if x < 0.0 => LEAKY_SLOPE * x,
            "leaky_relu" => x,
            _ => numeric::sigmoid(x),
        }
    }

    /// Whether its sizes fit together and its numbers are finite.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), FormatError> {
        let within = |size: usize, max: usize| (1..=max).contains(&size);
        if !within(self.input_size, INPUTS_MAX) {
            return Err(wrong("input_size", "is out of range"));
        }
        if !within(self.hidden_size, HIDDEN_MAX) {
            return Err(wrong("hidden_size", "is out of range"));
        }
        if self.output_size != 1 {
            return Err(wrong("output_size", "is not 1"));
        }
        if self.weights.len() != self.hidden_size * (self.input_size + 1) {
            return Err(wrong("weights", "are not as many as its sizes say"));
        }
        if self.hidden_bias.len() != self.hidden_size || self.output_bias.len() != 1 {
            return Err(wrong("biases", "are not as many as its sizes say"));
        }
        let mut numbers = self.weights.iter().chain(&self.hidden_bias).chain(&self.output_bias);
        if !numbers.all(|number| number.is_finite()) || !self.learning_rate.is_finite() {
            return Err(wrong("numbers", "are not all finite"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = include_str!("../../../tests/fixtures/upstream/model.json");

    fn model() -> UpstreamModel {
        UpstreamModel::decode(MODEL.as_bytes()).expect("a model")
    }

    #[test]
    fn a_model_is_read_and_written_in_the_original_form() {
        assert_eq!(String::from_utf8(model().encode()).expect("UTF-8"), MODEL.trim());
    }

    #[test]
    fn it_computes_what_the_original_computes() {
        let mut model = model();
        // By hand: two neurons on a zero row are sigmoid of their biases.
        let sigmoid = |x: f64| numeric::sigmoid(x);
        let expected = sigmoid(0.3312 + 0.5127 * sigmoid(0.0214) - 0.4873 * sigmoid(-0.0156));
        let close = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-12);
        assert!(close(model.output(&[0.0; 6]), expected));
        assert_eq!(model.output(&[0.0; 7]), None);

        for (name, expected) in [
            ("relu", 0.3312 + 0.5127 * 0.0214),
            ("leaky_relu", 0.3312 + 0.5127 * 0.0214 + 0.4873 * 0.0156 * 0.01),
            ("no such curve", sigmoid(0.3312 + 0.5127 * sigmoid(0.0214) - 0.4873 * sigmoid(-0.0156))),
        ] {
            model.activation_function = name.to_owned();
            assert!(close(model.output(&[0.0; 6]), expected), "{name}");
        }
    }

    #[test]
    fn d12_a_model_whose_weights_do_not_fit_its_sizes_is_refused() {
        for (from, to, says) in [
            ("\"input_size\":6", "\"input_size\":7", "weights are not as many"),
            ("\"hidden_size\":2", "\"hidden_size\":3", "weights are not as many"),
            ("\"input_size\":6", "\"input_size\":0", "input_size is out of range"),
            ("\"input_size\":6", "\"input_size\":18446744073709551615", "input_size is out of range"),
            ("\"input_size\":6", "\"input_size\":-1", "not JSON"),
            ("\"hidden_size\":2", "\"hidden_size\":1025", "hidden_size is out of range"),
            ("\"output_size\":1", "\"output_size\":2", "output_size is not 1"),
            ("[0.3312]", "[]", "biases are not as many"),
            ("[0.3312]", "[1e999]", "not JSON"),
            ("-0.0312", "NaN", "not JSON"),
            ("-0.0312", "null", "not JSON"),
        ] {
            let text = MODEL.replacen(from, to, 1);
            assert_ne!(text, MODEL);
            let error = UpstreamModel::decode(text.as_bytes()).expect_err(to).to_string();
            assert!(error.contains(says), "{to}: {error}");
        }
        let large = vec![b' '; MODEL_BYTES_MAX + 1];
        assert!(matches!(UpstreamModel::decode(&large), Err(FormatError::TooLarge { .. })));
    }
}
