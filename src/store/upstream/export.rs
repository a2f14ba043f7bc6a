//! A model of `compat-6` in the original's form, so that nodes of 1.7 can score with it.
//!
//! The output is the probability of attack: that is how the original reads it, although it trains the opposite. Only what can
//! be said exactly is said: a network of six inputs whose calibration is a line. Encodings are never written; reading
//! them breaks the original.

use super::model::UpstreamModel;
use crate::detection::features::FeatureSchema;
use crate::learning::artifact::ModelArtifact;
use crate::learning::ensemble::Learner;
use crate::learning::mlp::Activation;
use crate::learning::standardizer::CLIP;

/// The original's own step size; it trains with it what it loads.
const LEARNING_RATE: f64 = 0.01;

/// Why a model cannot be said in the original's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Other features than the six.
    #[error(
        "only a model of the six features can be exported; train one with ml.profile = \"compat-6\" and without additional features"
    )]
    OtherFeatures,
    /// Several learners vote.
    #[error("more than a network votes in this model, which Nauthilus 1.7 cannot say")]
    SeveralVoters,
    /// The original has one curve for both layers, and an output that is a probability needs a sigmoid.
    #[error("its hidden neurons are {0}; train with ml.activation_function = \"sigmoid\" or \"tanh\"")]
    Activation(&'static str),
    /// The scaling of a feature cuts off within its range.
    #[error("its features are scaled in a way that Nauthilus 1.7 cannot say")]
    Scaling,
}

/// The model as the original stores it.
///
/// # Errors
/// When it cannot be said exactly.
pub fn export(artifact: &ModelArtifact) -> Result<UpstreamModel, ExportError> {
    let schema = FeatureSchema::compat6();
    if artifact.schema.fingerprint != schema.fingerprint() || artifact.model.inputs() != schema.len() {
        return Err(ExportError::OtherFeatures);
    }
    let [voter] = artifact.model.voters.as_slice() else { return Err(ExportError::SeveralVoters) };
    let Learner::Network(network) = &voter.learner else { return Err(ExportError::SeveralVoters) };
    let mut network = network.clone();
    if let Some(standardizer) = &artifact.standardizer {
        // Values lie between 0 and 1: within that the cut must not be reached.
        let cut = |(mean, sd): (&f64, &f64)| (mean.abs() / sd).max((1.0 - mean).abs() / sd) > CLIP;
        if standardizer.mean().iter().zip(standardizer.sd()).any(cut) {
            return Err(ExportError::Scaling);
        }
        network.take_in(standardizer);
    }
    match network.activation {
        Activation::Sigmoid => {}
        // tanh(x) = 2·sigmoid(2x) − 1
        Activation::Tanh => {
            network.b2 -= network.w2.iter().sum::<f64>();
            network.w1.iter_mut().chain(&mut network.b1).chain(&mut network.w2).for_each(|number| *number *= 2.0);
        }
        other => return Err(ExportError::Activation(other.name())),
    }
    // Lines of lines of the logit are a line of the logit.
    for line in [voter.calibration, artifact.model.calibration] {
        network.w2.iter_mut().for_each(|weight| *weight *= line.slope);
        network.b2 = line.slope * network.b2 + line.offset;
    }
    let mut weights = network.w1;
    weights.extend(&network.w2);
    Ok(UpstreamModel {
        input_size: network.inputs,
        hidden_size: network.hidden,
        output_size: 1,
        weights,
        hidden_bias: network.b1,
        output_bias: vec![network.b2],
        learning_rate: LEARNING_RATE,
        activation_function: Activation::Sigmoid.name().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::artifact::tests::artifact;
    use crate::learning::calibration::Calibration;
    use crate::learning::ensemble::{Ensemble, Voter};
    use crate::learning::mlp::Mlp;
    use crate::learning::standardizer::Standardizer;
    use crate::numeric::Rng;

    fn network(activation: Activation) -> Mlp {
        let mut rng = Rng::new(3, "export test");
        let mut network = Mlp::init(6, 8, activation, 0.1, &mut rng);
        network.b1.iter_mut().for_each(|bias| *bias = rng.normal());
        network
    }

    /// The formula of the contract, written anew: sums, then 1 / (1 + e^-x) on both layers.
    #[allow(clippy::disallowed_methods)] // An independent computation must not use our own.
    fn forward(json: &serde_json::Value, row: &[f64]) -> f64 {
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let (inputs, hidden) =
            (json["input_size"].as_u64().unwrap() as usize, json["hidden_size"].as_u64().unwrap() as usize);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut output = number(&json["output_bias"][0]);
        for h in 0..hidden {
            let mut sum = number(&json["hidden_bias"][h]);
            for (i, value) in row.iter().enumerate() {
                sum += number(&json["weights"][h * inputs + i]) * value;
            }
            output += number(&json["weights"][inputs * hidden + h]) * sigmoid(sum);
        }
        sigmoid(output)
    }

    fn same(artifact: &ModelArtifact) {
        let json: serde_json::Value = serde_json::from_slice(&export(artifact).expect("exact").encode()).expect("JSON");
        let mut rng = Rng::new(9, "export rows");
        for _ in 0..500 {
            let row: Vec<f32> = (0..6).map(|_| rng.uniform() as f32).collect();
            let wide: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
            let (ours, theirs) = (artifact.probability(&row), forward(&json, &wide));
            assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
            assert_eq!(UpstreamModel::decode(json.to_string().as_bytes()).map(|m| m.output(&wide).is_some()), Ok(true));
        }
    }

    #[test]
    fn an_exported_model_gives_the_same_probability_to_nine_digits() {
        for activation in [Activation::Sigmoid, Activation::Tanh] {
            let plain = ModelArtifact { model: network(activation).into(), ..artifact(1) };
            same(&plain);
            let calibration = Calibration { slope: 0.6, offset: -0.7 };
            let voter = Voter { learner: Learner::Network(network(activation)), calibration };
            let mut model = Ensemble::new(6, vec![voter]);
            model.calibration = Calibration { slope: 1.7, offset: 0.3 };
            let standardizer =
                Standardizer::new(vec![0.4, 0.1, 0.2, 0.3, 0.5, 0.05], vec![0.3, 0.2, 0.15, 0.4, 0.3, 0.2]);
            same(&ModelArtifact { model, standardizer: standardizer.ok(), ..artifact(1) });
        }
    }

    #[test]
    fn a_high_output_means_attack_and_no_encodings_are_written() {
        let mut attack = network(Activation::Sigmoid);
        attack.w2 = vec![0.0; 8];
        attack.b2 = 4.0;
        let exported = export(&ModelArtifact { model: attack.into(), ..artifact(1) }).expect("exact");

        assert!(exported.output(&[0.5; 6]).is_some_and(|output| output > 0.9));
        assert_eq!((exported.input_size, exported.activation_function.as_str()), (6, "sigmoid"));
        assert!(!String::from_utf8_lossy(&exported.encode()).contains("encoding"));
    }

    #[test]
    fn what_the_original_cannot_say_is_refused() {
        let relu = ModelArtifact { model: network(Activation::Relu).into(), ..artifact(1) };
        assert_eq!(export(&relu), Err(ExportError::Activation("relu")));

        let mut other = artifact(1);
        other.schema.fingerprint += 1;
        assert_eq!(export(&other), Err(ExportError::OtherFeatures));

        let voter =
            || Voter { learner: Learner::Network(network(Activation::Sigmoid)), calibration: Calibration::default() };
        let several = ModelArtifact { model: Ensemble::new(6, vec![voter(), voter()]), ..artifact(1) };
        assert_eq!(export(&several), Err(ExportError::SeveralVoters));

        let narrow = Standardizer::new(vec![0.0; 6], vec![0.01; 6]).ok();
        let cut = ModelArtifact { standardizer: narrow, ..artifact(1) };
        assert_eq!(export(&cut), Err(ExportError::Scaling));
    }
}
