//! A network of the original as one of `compat-6` that means the opposite: that a login is an attack.
//!
//! The inputs are the same six, scaled alike, and 1 − σ(x) is σ(−x): with the signs of the output layer turned round, our
//! probability is one minus the original's answer, exactly. What cannot be said exactly is not said. Whether such a network is
//! any good is decided elsewhere.

use super::model::UpstreamModel;
use crate::detection::features::FeatureSchema;
use crate::learning::ensemble::Ensemble;
use crate::learning::mlp::{Activation, Mlp};

/// Why a sound model of the original cannot be said here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Additional features are inputs of it; they were encoded in a way that nothing here repeats.
    #[error("it has {inputs} inputs; only those of the six features can be converted")]
    OtherFeatures {
        /// Its inputs.
        inputs: usize,
    },
    /// The original has one curve for both layers, and only that of the sigmoid ends in a probability.
    #[error("its output is a {0} and no probability; only sigmoid can be converted")]
    NoProbability(&'static str),
    /// Numbers that no training leads to.
    #[error("its numbers are no network that may score: {0}")]
    Unsound(&'static str),
}

/// The network.
///
/// # Errors
/// When it cannot be said exactly, or may not score.
pub fn convert(model: &UpstreamModel) -> Result<Mlp, ConvertError> {
    let inputs = model.input_size;
    if inputs != FeatureSchema::compat6().len() {
        return Err(ConvertError::OtherFeatures { inputs });
    }
    // An unknown name means sigmoid there.
    match model.activation_function.parse().unwrap_or(Activation::Sigmoid) {
        Activation::Sigmoid => {}
        other => return Err(ConvertError::NoProbability(other.name())),
    }
    let unsound = || ConvertError::Unsound("the shape contradicts itself");
    let (hidden, output) = model.weights.split_at_checked(inputs * model.hidden_size).ok_or_else(unsound)?;
    let network = Mlp {
        inputs,
        hidden: model.hidden_size,
        activation: Activation::Sigmoid,
        w1: hidden.to_vec(),
        b1: model.hidden_bias.clone(),
        w2: output.iter().map(|weight| -weight).collect(),
        b2: -model.output_bias.first().copied().ok_or_else(unsound)?,
    };
    Ensemble::from(network.clone()).check().map_err(ConvertError::Unsound)?;
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::attempt::Timestamp;
    use crate::learning::artifact::ModelArtifact;
    use crate::learning::artifact::tests::artifact;
    use crate::numeric::Rng;
    use crate::store::upstream::training::TrainingRecord;

    const SMALL: &str = include_str!("../../../tests/fixtures/upstream/model.json");
    const TRAINED: &str = include_str!("../../../tests/fixtures/upstream/model-trained.json");
    const LOGIN: &str = include_str!("../../../tests/fixtures/upstream/login.json");
    const ATTACK: &str = include_str!("../../../tests/fixtures/upstream/attack.json");

    fn model(text: &str) -> UpstreamModel {
        UpstreamModel::decode(text.as_bytes()).expect("a model")
    }

    fn values(record: &str) -> Vec<f32> {
        let record = TrainingRecord::decode(record.as_bytes(), Timestamp::from_millis(1_760_000_000_000));
        record.expect("a record").expect("it teaches").values()
    }

    /// The formula of the contract, written anew: features cut to 0..1, sums, then 1 / (1 + e^-x) on both layers.
    #[allow(clippy::disallowed_methods)] // An independent computation must not use our own.
    fn original(text: &str, row: &[f32]) -> f64 {
        let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let hidden = json["hidden_size"].as_u64().expect("a size") as usize;
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut output = number(&json["output_bias"][0]);
        for h in 0..hidden {
            let mut sum = number(&json["hidden_bias"][h]);
            for (i, value) in row.iter().enumerate() {
                sum += number(&json["weights"][h * 6 + i]) * f64::from(*value).clamp(0.0, 1.0);
            }
            output += number(&json["weights"][6 * hidden + h]) * sigmoid(sum);
        }
        sigmoid(output)
    }

    #[test]
    fn d1_a_converted_model_says_one_minus_what_the_original_says() {
        let mut rng = Rng::new(5, "conversion");
        let mut rows = vec![values(LOGIN), values(ATTACK), vec![0.0; 6], vec![1.0; 6]];
        rows.extend((0..500).map(|_| (0..6).map(|_| rng.uniform() as f32).collect()));
        for text in [SMALL, TRAINED] {
            let network = convert(&model(text)).expect("six features, sigmoid");
            let ours = ModelArtifact { model: network.into(), ..artifact(1) };
            for row in &rows {
                let (ours, theirs) = (ours.probability(row), original(text, row));
                assert!((ours - (1.0 - theirs)).abs() < 1e-9, "{ours} {theirs}");
            }
        }
    }

    #[test]
    fn what_is_exported_and_converted_back_means_the_opposite() {
        // Exported models mean attack already: whoever imports one of ours gets what the original would make of it.
        let network = convert(&model(TRAINED)).expect("converts");
        let exported = super::super::export::export(&ModelArtifact { model: network.clone().into(), ..artifact(1) });
        let back = convert(&exported.expect("exact")).expect("converts");
        assert_eq!(back.w2, network.w2.iter().map(|weight| -weight).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_said_exactly_is_refused() {
        for curve in ["tanh", "relu", "leaky_relu"] {
            let other = UpstreamModel { activation_function: curve.to_owned(), ..model(SMALL) };
            assert!(matches!(convert(&other), Err(ConvertError::NoProbability(name)) if name == curve));
        }
        let unknown = UpstreamModel { activation_function: "swish".to_owned(), ..model(SMALL) };
        assert!(convert(&unknown).is_ok(), "an unknown name means sigmoid there");

        let wide = UpstreamModel { input_size: 14, weights: vec![0.1; 2 * 15], ..model(SMALL) };
        assert_eq!(convert(&wide), Err(ConvertError::OtherFeatures { inputs: 14 }));
        for bad in [f64::NAN, f64::INFINITY, 1e7] {
            let mut huge = model(SMALL);
            huge.weights[3] = bad;
            assert!(matches!(convert(&huge), Err(ConvertError::Unsound(_))), "{bad}");
        }
        let short = UpstreamModel { weights: vec![0.1; 3], ..model(SMALL) };
        assert!(matches!(convert(&short), Err(ConvertError::Unsound(_))));
        let none = UpstreamModel { output_bias: Vec::new(), ..model(SMALL) };
        assert!(matches!(convert(&none), Err(ConvertError::Unsound(_))));
    }
}
