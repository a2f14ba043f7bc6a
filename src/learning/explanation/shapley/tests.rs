//! Attributions that other software has computed (`tests/fixtures/shapley.json`), and what must hold for all of them.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::learning::mlp::{Activation, Mlp};
use crate::numeric::Rng;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    groups: Vec<u8>,
    network: Option<Mlp>,
    linear: Option<Linear>,
    background: Vec<Vec<f64>>,
    explained: Vec<Explained>,
}

#[derive(Deserialize)]
struct Linear {
    weights: Vec<f64>,
    bias: f64,
}

#[derive(Deserialize)]
struct Explained {
    row: Vec<f64>,
    base: f64,
    logit: f64,
    parts: Vec<f64>,
}

impl Case {
    fn logit(&self, row: &[f64]) -> f64 {
        match (&self.network, &self.linear) {
            (Some(network), _) => network.logit(row),
            (None, Some(linear)) => linear.bias + linear.weights.iter().zip(row).map(|(w, x)| w * x).sum::<f64>(),
            (None, None) => panic!("{} has no model", self.name),
        }
    }
}

fn values<G>(attribution: &Attribution<G>) -> Vec<f64> {
    attribution.parts.iter().map(|(_, part)| *part).collect()
}

fn residual<G>(attribution: &Attribution<G>) -> f64 {
    attribution.base + values(attribution).iter().sum::<f64>() - attribution.score
}

/// A random network with random rows; the first of them is explained.
fn drawn(seed: u64, features: usize, rows: usize) -> (Mlp, Vec<f64>, Vec<Vec<f64>>) {
    let mut rng = Rng::new(seed, "shapley test");
    let mut network = Mlp::init(features, 8, Activation::ALL[(seed % 4) as usize], 0.2, &mut rng);
    network.w2.iter_mut().for_each(|weight| *weight *= 5.0);
    let mut background: Vec<Vec<f64>> =
        (0..=rows).map(|_| (0..features).map(|_| 3.0 * rng.normal()).collect()).collect();
    let row = background.remove(0);
    (network, row, background)
}

#[test]
fn attributions_agree_with_those_of_other_software() {
    let fixture: Fixture = serde_json::from_str(include_str!("../../../../tests/fixtures/shapley.json"))
        .expect("the fixture is part of the repository");
    for case in &fixture.cases {
        for explained in &case.explained {
            let ours = attribute(&explained.row, &case.background, &case.groups, |row| case.logit(row)).expect("sound");

            assert!((ours.base - explained.base).abs() <= 1e-9, "{}: base {}", case.name, ours.base);
            assert!((ours.score - explained.logit).abs() <= 1e-9, "{}: logit {}", case.name, ours.score);
            assert_eq!(ours.parts.len(), explained.parts.len(), "{}", case.name);
            for ((group, ours), theirs) in ours.parts.iter().zip(&explained.parts) {
                assert!((ours - theirs).abs() <= 1e-9, "{}, group {group}: {ours} instead of {theirs}", case.name);
            }
        }
    }
    assert_eq!(fixture.cases.len(), 4);
}

#[test]
fn a_linear_score_is_attributed_feature_by_feature() {
    let (_, row, background) = drawn(3, 4, 7);
    let weights = [2.0, -1.0, 0.5, 0.0];
    let linear = |row: &[f64]| 0.3 + row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();

    let parts = values(&attribute(&row, &background, &[0, 1, 2, 3], linear).expect("sound"));

    for feature in 0..4 {
        let mean = background.iter().map(|other| other[feature]).sum::<f64>() / 7.0;
        assert!((parts[feature] - weights[feature] * (row[feature] - mean)).abs() < 1e-12, "{parts:?}");
    }
}

#[test]
fn groups_that_play_the_same_part_get_the_same() {
    let both = |row: &[f64]| if row[0] > 0.5 && row[1] > 0.5 { 3.0 } else { 0.0 } + row[2];

    let parts = values(&attribute(&[1.0, 1.0, 5.0], &[vec![0.0; 3]], &["a", "b", "c"], both).expect("sound"));

    assert!((parts[0] - 1.5).abs() < 1e-12 && (parts[1] - 1.5).abs() < 1e-12, "{parts:?}");
    assert!((parts[2] - 5.0).abs() < 1e-12, "{parts:?}");
}

#[test]
fn groups_with_the_values_of_a_background_row_are_not_evaluated_with_it() {
    let (network, mut row, background) = drawn(5, 6, 3);
    row[..4].copy_from_slice(&background[0][..4]);
    let mut calls = 0;
    let counted = |row: &[f64]| {
        calls += 1;
        network.logit(row)
    };

    attribute(&row, &background, &[0, 1, 2, 3, 4, 5], counted).expect("sound");

    assert_eq!(calls, 1 + (1 << 2) + 2 * (1 << 6));
}

#[test]
fn what_cannot_be_attributed_is_named() {
    let score = |row: &[f64]| row[0];
    assert_eq!(attribute(&[1.0], &[], &[0], score), Err(AttributionError::NoBackground));
    assert_eq!(attribute(&[1.0], &[vec![1.0, 2.0]], &[0], score), Err(AttributionError::Width));
    assert_eq!(attribute(&[1.0], &[vec![1.0]], &[0, 1], score), Err(AttributionError::Width));
    let many: Vec<usize> = (0..13).collect();
    let refused = attribute(&[0.0; 13], &[vec![0.0; 13]], &many, score);
    assert_eq!(refused, Err(AttributionError::TooManyGroups(13)));
}

#[test]
fn a_group_taken_from_the_background_gives_the_mean_over_its_rows() {
    let product = |row: &[f64]| row[0] * row[1];

    let mean = mean_without(&[2.0, 3.0], &[vec![10.0, 0.0], vec![20.0, 0.0]], &[0], product);

    assert!((mean - 45.0).abs() < 1e-12, "{mean}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn base_and_parts_add_up_to_the_score(
        seed in any::<u64>(),
        groups in proptest::collection::vec(0u8..8, 1..20),
        rows in 1usize..8,
        shared in any::<u32>(),
    ) {
        let (network, mut row, background) = drawn(seed, groups.len(), rows);
        for feature in 0..groups.len() {
            if shared >> feature & 1 == 1 {
                row[feature] = background[0][feature];
            }
        }
        let attribution = attribute(&row, &background, &groups, |row| network.logit(row)).unwrap();

        prop_assert!(residual(&attribution).abs() <= 1e-9, "{attribution:?}");
    }

    #[test]
    fn a_group_that_the_score_does_not_look_at_gets_nothing(seed in any::<u64>(), features in 2usize..10) {
        let (mut network, row, background) = drawn(seed, features, 4);
        network.w1.iter_mut().step_by(features).for_each(|weight| *weight = 0.0);
        let groups: Vec<usize> = (0..features).collect();

        let attribution = attribute(&row, &background, &groups, |row| network.logit(row)).unwrap();

        prop_assert!(attribution.parts[0].1.abs() <= 1e-12, "{attribution:?}");
    }
}
