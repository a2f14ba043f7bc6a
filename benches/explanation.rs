//! How long an explanation takes, at its worst: no background row shares a value with the attempt, so that every coalition of
//! the groups has to be scored with every row.
//!
//! The aim is 3 ms for 8 groups, 16 rows and 40 features on a network of 16 units; `ext-mlp16` has 7 groups.

use std::hint::black_box;

use criterion::Criterion;
use nauthilus_neural::detection::event::Snapshot;
use nauthilus_neural::detection::features::FeatureSchema;
use nauthilus_neural::learning::artifact::{ModelArtifact, TrainingSummary};
use nauthilus_neural::learning::dataset::Counts;
use nauthilus_neural::learning::evaluation::Evaluation;
use nauthilus_neural::learning::explanation::{self, shapley};
use nauthilus_neural::learning::mlp::{Activation, Mlp};
use nauthilus_neural::learning::standardizer::Standardizer;
use nauthilus_neural::learning::threshold::Thresholds;
use nauthilus_neural::learning::training::TrainingOptions;
use nauthilus_neural::numeric::Rng;

const FEATURES: usize = 40;
const GROUPS: usize = 8;
const ROWS: usize = 16;
const UNITS: usize = 16;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut rng = Rng::new(1, "bench");
    for activation in [Activation::Relu, Activation::Sigmoid, Activation::Tanh] {
        let network = Mlp::init(FEATURES, UNITS, activation, 0.2, &mut rng);
        let row = standardised(FEATURES, &mut rng);
        let background: Vec<Vec<f64>> = (0..ROWS).map(|_| standardised(FEATURES, &mut rng)).collect();
        let groups: Vec<usize> = (0..FEATURES).map(|feature| feature % GROUPS).collect();
        criterion.bench_function(&format!("attribute, 8 groups, 16 rows, 40-16-1 {activation}"), |bencher| {
            bencher.iter(|| {
                shapley::attribute(black_box(&row), &background, &groups, |row| network.logit(row)).expect("sound")
            });
        });
    }
    for activation in [Activation::Relu, Activation::Sigmoid] {
        whole(&mut criterion, activation, &mut rng);
    }
    criterion.final_summary();
}

/// A model of the extended profile as it is served, from the snapshot to the sentences.
fn whole(criterion: &mut Criterion, activation: Activation, rng: &mut Rng) {
    let schema = FeatureSchema::ext();
    let network = Mlp::init(schema.len(), UNITS, activation, 0.2, rng);
    let summary = TrainingSummary {
        counts: Counts::default(),
        options: TrainingOptions::default(),
        false_positive_budget: 0.001,
        tuned: false,
    };
    let thresholds = Thresholds { block: Some(0.9), watch: Some(0.5) };
    let mut artifact =
        ModelArtifact::new(schema.profile(), &schema, network.into(), thresholds, Evaluation::default(), summary);
    artifact.standardizer = Some(Standardizer::identity(schema.len()));
    artifact.background = (0..ROWS).map(|_| values(schema.len(), rng)).collect();
    let snapshot = Snapshot { fingerprint: schema.fingerprint(), values: values(schema.len(), rng) };
    criterion.bench_function(&format!("explain, ext-mlp16 {activation}"), |bencher| {
        bencher.iter(|| explanation::explain(&artifact, &schema, black_box(&snapshot), Some(0.9)).expect("one kind"));
    });
}

/// As a network sees the features.
fn standardised(width: usize, rng: &mut Rng) -> Vec<f64> {
    (0..width).map(|_| rng.normal()).collect()
}

/// A snapshot.
fn values(width: usize, rng: &mut Rng) -> Vec<f32> {
    (0..width).map(|_| rng.uniform() as f32).collect()
}
