//! What the model that scores looks like from inside, read when somebody asks: layers, the features of the attempt that was
//! scored last, and, where an operator wants them, activations and weights.
//!
//! Of several voters only the network is shown. Nothing here is kept, and nothing tells whose attempt it was.

use prometheus_client::registry::Registry;

use super::Levels;
use crate::detection::event::Snapshot;
use crate::detection::features::FeatureSchema;
use crate::learning::artifact::ModelArtifact;
use crate::learning::ensemble::Learner;
use crate::learning::mlp::Mlp;

/// Values of additional features that are shown; those of features that came later are not.
pub const ADDITIONAL_SERIES_MAX: usize = 64;

/// What scores now.
#[derive(Debug, Clone, Copy)]
pub struct Serving<'a> {
    /// Of all snapshots.
    pub schema: &'a FeatureSchema,
    /// The site's own model, or the prior.
    pub model: Option<&'a ModelArtifact>,
    /// Of the attempt that was scored last on this node.
    pub last: Option<&'a Snapshot>,
    /// Most series of activations and weights together; 0: none.
    pub series_max: usize,
}

/// Declares it all in a registry that lives as long as one answer.
pub(super) fn register(registry: &mut Registry, serving: &Serving<'_>) {
    let schema = serving.schema;
    let values = serving.last.and_then(|last| schema.align(last.fingerprint, &last.values, schema.len()));
    registry.register(
        "feature_values",
        "Features of the attempt that was scored last here",
        features(serving.schema, values.as_deref().unwrap_or_default()),
    );
    let Some(model) = serving.model else { return };
    let network = model.model.voters.iter().find_map(|voter| match &voter.learner {
        Learner::Network(network) => Some(network),
        Learner::Logistic(_) | Learner::Forest(_) => None,
    });
    let layers = Levels::default();
    let hidden = network.map_or(0, |network| network.hidden);
    for (layer, size) in [("input", model.model.inputs()), ("hidden", hidden), ("output", 1)] {
        layers.get_or_create(&vec![("layer", layer.to_owned())]).set(size as f64);
    }
    registry.register("network_structure", "Sizes of the layers of the model that scores", layers);
    let Some(network) = network else { return };
    let mut room = serving.series_max;
    let row = serving.last.filter(|_| room > 0).and_then(|last| row(serving.schema, last, model));
    registry.register(
        "neuron_activations",
        "Activations of the network for the attempt that was scored last here",
        row.map_or_else(Levels::default, |row| activations(network, &row, &mut room)),
    );
    registry.register("weight_values", "Weights of the network that scores", weights(network, room));
}

/// Counts and seconds as such, additional features as the model sees them.
fn features(schema: &FeatureSchema, values: &[f32]) -> Levels {
    let shown = Levels::default();
    let standard = schema.standard_names().len();
    for (place, (name, value)) in schema.names().iter().zip(values).enumerate().take(standard + ADDITIONAL_SERIES_MAX) {
        let (name, value) = if place < standard {
            (snake(name), schema.raw(place, *value))
        } else {
            (format!("additional_{name}"), f64::from(*value))
        };
        shown.get_or_create(&vec![("feature_name", name)]).set(value);
    }
    shown
}

/// The original's features are called `TimeOfDay` in requests and `time_of_day` in metrics.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The finished inputs of the voters; `None` if the model is not of this schema.
fn row(schema: &FeatureSchema, last: &Snapshot, model: &ModelArtifact) -> Option<Vec<f64>> {
    let width = model.model.inputs();
    let values = schema.align_to(last.fingerprint, &last.values, (model.schema.fingerprint, width))?;
    let Some(standardizer) = &model.standardizer else { return Some(values.iter().copied().map(f64::from).collect()) };
    let mut row = vec![0.0; width];
    standardizer.apply(&values, &mut row);
    Some(row)
}

/// The output first, then the hidden units in order, until there is no more room.
fn activations(network: &Mlp, row: &[f64], room: &mut usize) -> Levels {
    let shown = Levels::default();
    let output = std::iter::once_with(|| ("output", 0, network.probability(row)));
    let hidden = (0..network.hidden).map(|unit| ("hidden", unit, activation(network, unit, row)));
    for (layer, index, value) in output.chain(hidden).take(*room) {
        *room -= 1;
        shown.get_or_create(&vec![("layer", layer.to_owned()), ("neuron_index", index.to_string())]).set(value);
    }
    shown
}

/// The value of one hidden unit: the logit of a network that consists of it alone and passes it on as it is.
fn activation(network: &Mlp, unit: usize, row: &[f64]) -> f64 {
    let alone = Mlp {
        inputs: network.inputs,
        hidden: 1,
        activation: network.activation,
        w1: network.w1[unit * network.inputs..][..network.inputs].to_vec(),
        b1: vec![network.b1[unit]],
        w2: vec![1.0],
        b2: 0.0,
    };
    alone.logit(row)
}

/// Those of the output first, then unit by unit, until `room` is used up.
fn weights(network: &Mlp, room: usize) -> Levels {
    let output = std::iter::once((("bias", 0), ("output", 0), network.b2));
    let output = output.chain(network.w2.iter().enumerate().map(|(unit, w)| (("hidden", unit), ("output", 0), *w)));
    let hidden = (0..network.hidden).flat_map(|unit| {
        let inputs = network.w1[unit * network.inputs..][..network.inputs].iter().enumerate();
        let bias = std::iter::once((("bias", 0), ("hidden", unit), network.b1[unit]));
        bias.chain(inputs.map(move |(input, w)| (("input", input), ("hidden", unit), *w)))
    });
    let shown = Levels::default();
    for ((from_layer, from), (to_layer, to), weight) in output.chain(hidden).take(room) {
        let labels = vec![
            ("from_layer", from_layer.to_owned()),
            ("from_index", from.to_string()),
            ("to_layer", to_layer.to_owned()),
            ("to_index", to.to_string()),
        ];
        shown.get_or_create(&labels).set(weight);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::mlp::Activation;
    use crate::numeric::{self, Rng};

    #[test]
    fn the_features_of_the_original_have_its_names() {
        let names: Vec<String> = FeatureSchema::compat6().names().iter().map(|name| snake(name)).collect();

        assert_eq!(
            names,
            [
                "time_between_attempts",
                "failed_attempts_last_hour",
                "different_usernames",
                "different_passwords",
                "time_of_day",
                "suspicious_network",
            ]
        );
    }

    #[test]
    fn names_of_the_extended_profile_stay_as_they_are() {
        for name in FeatureSchema::ext().names() {
            assert_eq!(snake(name), *name);
        }
    }

    #[test]
    fn a_unit_alone_says_what_it_says_in_the_network() {
        for activation_function in Activation::ALL {
            let network = Mlp::init(5, 9, activation_function, 0.2, &mut Rng::new(3, "metrics test"));
            let row = [0.4, -1.5, 2.0, 0.0, -0.25];

            let sum = (0..9).fold(network.b2, |sum, unit| sum + network.w2[unit] * activation(&network, unit, &row));

            assert!((sum - network.logit(&row)).abs() < 1e-12);
            assert!((numeric::sigmoid(sum) - network.probability(&row)).abs() < 1e-12);
        }
    }
}
