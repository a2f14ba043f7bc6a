//! The network against reference numbers: outputs, gradients, first weights.

use super::fixture::{close, load};
use super::*;

#[test]
fn logits_and_probabilities_agree_with_the_fixture() {
    for network in load().networks {
        let mlp = network.mlp();
        assert!(mlp.check_shape() && mlp.is_finite());

        let logits: Vec<f64> = network.rows.iter().map(|row| mlp.logit(row)).collect();
        let probabilities: Vec<f64> = network.rows.iter().map(|row| mlp.probability(row)).collect();

        close("logit", &logits, &network.logits);
        close("probability", &probabilities, &network.probabilities);
    }
}

#[test]
fn a_network_that_takes_a_scale_in_says_of_values_what_it_said_of_scaled_ones() {
    for network in load().networks {
        let mlp = network.mlp();
        let mean: Vec<f64> = (0..mlp.inputs).map(|input| input as f64 * 0.3 - 0.4).collect();
        let sd: Vec<f64> = (0..mlp.inputs).map(|input| 0.01 + input as f64).collect();
        let mut folded = mlp.clone();
        folded.take_in(&Standardizer::new(mean.clone(), sd.clone()).expect("usable"));

        for row in &network.rows {
            let values: Vec<f64> =
                row.iter().zip(mean.iter().zip(&sd)).map(|(value, (mean, sd))| value * sd + mean).collect();
            assert!((folded.logit(&values) - mlp.logit(row)).abs() < 1e-9);
        }
    }
}

#[test]
fn losses_and_gradients_agree_with_the_fixture() {
    for network in load().networks {
        let rows = network.rows();
        let batch = Batch { rows: &rows, labels: &network.labels, weights: &network.weights };

        let (loss, gradient) = network.mlp().loss_and_gradient(batch, network.loss());

        close("loss", [&loss], [&network.loss_value]);
        let expected = network.gradient.gradient();
        for (part, (ours, theirs)) in gradient.parts().into_iter().zip(expected.parts()).enumerate() {
            close(&format!("gradient part {part}"), ours, theirs);
        }
    }
}

#[test]
fn extreme_logits_neither_overflow_nor_lose_the_loss() {
    for edge in load().edges {
        let attack = Loss::BceFromLogits.value_and_slope(edge.logit, 1.0);
        let legit = Loss::BceFromLogits.value_and_slope(edge.logit, 0.0);

        // Relative, since some of these are 4e-18.
        for (ours, theirs) in
            [(numeric::sigmoid(edge.logit), edge.sigmoid), (attack.0, edge.bce_attack), (legit.0, edge.bce_legit)]
        {
            assert!((ours - theirs).abs() <= 1e-12 * theirs.abs(), "logit {}: {ours} instead of {theirs}", edge.logit);
        }
        assert!((-1.0..=0.0).contains(&attack.1) && (0.0..=1.0).contains(&legit.1));
    }
}

/// D8: the output had the activation of the hidden units, so that a "probability" could be -1 or 7.
#[test]
fn d8_whatever_the_activation_an_answer_is_a_probability() {
    let mut rng = Rng::new(8, "test/d8");
    for activation in Activation::ALL {
        let mut network = Mlp::init(3, 8, activation, 0.1, &mut rng);
        for weights in [&mut network.w1, &mut network.w2] {
            weights.iter_mut().for_each(|weight| *weight *= 10.0);
        }
        let rows: Vec<[f64; 3]> = (0..500).map(|_| [rng.normal(), rng.normal(), rng.normal()]).collect();
        let answers: Vec<f64> = rows.iter().map(|row| network.probability(row)).collect();

        assert!(answers.iter().all(|answer| (0.0..=1.0).contains(answer)), "{activation:?}");
        assert!(rows.iter().any(|row| network.logit(row).abs() > 1.0), "{activation:?} reaches beyond one");
        let (low, high) = answers.iter().fold((1.0_f64, 0.0_f64), |(low, high), p| (low.min(*p), high.max(*p)));
        assert!(high - low > 0.01, "{activation:?} is not dead: {low} to {high}");
    }
}

#[test]
fn the_weight_of_a_row_counts_like_repeating_it() {
    let network = &load().networks[2];
    let mlp = network.mlp();
    let (a, b) = (network.rows[0].as_slice(), network.rows[1].as_slice());

    let weighted = Batch { rows: &[a, b], labels: &[1.0, 0.0], weights: &[3.0, 1.0] };
    let repeated = Batch { rows: &[a, a, a, b], labels: &[1.0, 1.0, 1.0, 0.0], weights: &[1.0; 4] };

    let (loss, gradient) = mlp.loss_and_gradient(weighted, Loss::BceFromLogits);
    let (expected_loss, expected) = mlp.loss_and_gradient(repeated, Loss::BceFromLogits);
    close("loss", [&loss], [&expected_loss]);
    close("gradient", gradient.parts().into_iter().flatten(), expected.parts().into_iter().flatten());
}

#[test]
fn a_batch_without_weight_has_no_gradient() {
    let network = &load().networks[0];
    let mlp = network.mlp();
    let rows = network.rows();
    let batch = Batch { rows: &rows, labels: &network.labels, weights: &[0.0; 5] };

    let (loss, gradient) = mlp.loss_and_gradient(batch, Loss::BceFromLogits);

    assert_eq!(loss, 0.0);
    assert_eq!(gradient, Gradient::zero(&mlp));
    assert_eq!(mlp.loss_and_gradient(Batch { rows: &[], labels: &[], weights: &[] }, Loss::MseOnOutput).0, 0.0);
}

#[test]
fn single_precision_rows_score_within_the_parity_bound() {
    for network in load().networks {
        let mlp = network.mlp();
        for row in &network.rows {
            let narrow: Vec<f32> = row.iter().map(|&value| value as f32).collect();
            assert!((mlp.logit_f32(&narrow) - mlp.logit(row)).abs() <= 1e-4);
        }
    }
}

#[test]
fn a_new_network_answers_about_the_prior() {
    for activation in Activation::ALL {
        let mlp = Mlp::init(6, 8, activation, 0.2, &mut Rng::new(5, "init"));
        let again = Mlp::init(6, 8, activation, 0.2, &mut Rng::new(5, "init"));
        let other = Mlp::init(6, 8, activation, 0.2, &mut Rng::new(6, "init"));

        assert_eq!(mlp, again);
        assert_ne!(mlp, other);
        assert!(mlp.check_shape() && mlp.is_finite());
        assert!((numeric::sigmoid(mlp.b2) - 0.2).abs() < 1e-12);
    }
    for (prior, bounded) in [(0.0, 1e-3), (1.0, 1.0 - 1e-3), (-4.0, 1e-3), (f64::NAN, 0.5)] {
        let mlp = Mlp::init(2, 2, Activation::Relu, prior, &mut Rng::new(5, "init"));
        assert!((numeric::sigmoid(mlp.b2) - bounded).abs() < 1e-12);
    }
}

#[test]
fn first_weights_have_the_spread_of_he_and_xavier() {
    for (activation, variance) in [(Activation::Relu, 2.0 / 50.0), (Activation::Tanh, 2.0 / 250.0)] {
        let mlp = Mlp::init(50, 200, activation, 0.5, &mut Rng::new(9, "init"));
        let measured = mlp.w1.iter().map(|w| w * w).sum::<f64>() / mlp.w1.len() as f64;
        assert!((measured / variance - 1.0).abs() < 0.07, "{activation}: {measured} instead of {variance}");
    }
}

#[test]
fn a_network_from_outside_with_wrong_lengths_is_recognised() {
    let good = Mlp::init(3, 4, Activation::Tanh, 0.5, &mut Rng::new(1, "init"));
    let broken: [fn(&mut Mlp); 6] = [
        |mlp| mlp.inputs = 0,
        |mlp| mlp.hidden = 5,
        |mlp| mlp.inputs = usize::MAX,
        |mlp| mlp.w1.truncate(11),
        |mlp| mlp.b1.push(0.0),
        |mlp| mlp.w2.clear(),
    ];
    for damage in broken {
        let mut mlp = good.clone();
        damage(&mut mlp);
        assert!(!mlp.check_shape(), "{mlp:?}");
    }
    let mut mlp = good;
    mlp.b1[2] = f64::NAN;
    assert!(!mlp.is_finite());
}

#[test]
fn a_broken_parameter_shows_in_the_logit() {
    for activation in Activation::ALL {
        let mut mlp = Mlp::init(2, 2, activation, 0.5, &mut Rng::new(1, "init"));
        mlp.w1[0] = f64::NAN;
        assert!(mlp.logit(&[1.0, 1.0]).is_nan(), "{activation}");
    }
}

#[test]
fn activations_are_written_and_read_by_name() {
    for activation in Activation::ALL {
        assert_eq!(activation.to_string().parse(), Ok(activation));
        assert_eq!(serde_json::to_string(&activation).unwrap(), format!("\"{activation}\""));
    }
    assert_eq!("swish".parse::<Activation>(), Err(UnknownActivation("swish".to_owned())));
}
