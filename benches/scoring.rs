//! How long a score takes: in memory, and over loopback HTTP with keep-alive as Nauthilus would ask.
//!
//! `cargo bench --bench scoring` prints the percentiles of the HTTP round trip first; criterion measures the rest.

#[path = "support/http.rs"]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use criterion::Criterion;
use nauthilus_neural::clock;
use nauthilus_neural::config::Config;
use nauthilus_neural::control::{Caller, Command, TrainCommand};
use nauthilus_neural::detection::record::AttemptRecord;
use nauthilus_neural::learning::mlp::{Activation, Mlp};
use nauthilus_neural::learning::training::{self, TrainingOptions, TrainingRow};
use nauthilus_neural::node::Node;
use nauthilus_neural::numeric::Rng;
use nauthilus_neural::store::Limits;
use nauthilus_neural::store::embedded::EmbeddedStore;
use nauthilus_neural::traffic::{self, TrafficOptions};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let root = tempfile::tempdir().expect("a temporary directory");
    let node = runtime.block_on(warm_node(root.path()));
    runtime.block_on(http(&node));
    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(3)).configure_from_args();
    in_memory(&mut criterion, &node);
    learning(&mut criterion);
    criterion.final_summary();
    runtime.block_on(node.shutdown(Duration::from_secs(2)));
}

/// A node with a day of counters and a trained model.
async fn warm_node(root: &std::path::Path) -> Node {
    let mut config = Config::default();
    config.node.name = Some("bench".to_owned());
    config.node.state_dir = root.to_owned();
    let store = EmbeddedStore::open(root.join("store.redb"), Limits::from(&config), "bench").expect("a new store");
    let node = Node::start(config, Arc::new(store)).await.expect("a node");
    let records = traffic::generate(&TrafficOptions { users: 1000, days: 1.0, ..TrafficOptions::default() });
    for record in records {
        let now = record.ts.as_deref().and_then(nauthilus_neural::detection::attempt::Timestamp::parse);
        let now = now.expect("generated records have a time");
        let checked = node.app.scorer.check(record, now).expect("generated records are valid");
        node.app.scorer.ingest(checked, now).expect("generated request ids are unique");
    }
    while node.app.log.queued() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let caller = Caller { who: "bench".to_owned(), origin: "bench", peer: None };
    let train = TrainCommand { samples: None, epochs: None, tune: false, wait: true, id: None };
    let trained = node.app.control.execute(Command::Train(train), &caller).await.expect("a training");
    assert_eq!(trained["outcome"], "promoted", "{trained}");
    node
}

async fn http(node: &Node) {
    let body = |number: usize| {
        format!(
            r#"{{"client_ip":"10.{}.{}.7","username":"user{:04}@example.org","protocol":"imap","password_hash":"{:016x}"}}"#,
            number % 200,
            number % 250,
            number % 1000,
            number % 997,
        )
    };
    support::scores("warm node", node, body).await;
}

fn in_memory(criterion: &mut Criterion, node: &Node) {
    let mut number = 0u64;
    criterion.bench_function("score in memory", |bencher| {
        bencher.iter(|| {
            number += 1;
            let record = AttemptRecord {
                client_ip: Some(format!("10.{}.{}.9", number % 200, number % 250)),
                username: Some(format!("user{:04}@example.org", number % 1000)),
                protocol: Some("imap".to_owned()),
                ..AttemptRecord::default()
            };
            black_box(node.app.scorer.score(record, clock::now(), clock::monotonic_ms())).expect("a valid record")
        });
    });
}

fn learning(criterion: &mut Criterion) {
    let mut rng = Rng::new(1, "bench");
    let values: Vec<Vec<f64>> = (0..5000).map(|_| (0..6).map(|_| rng.uniform()).collect()).collect();
    let rows: Vec<TrainingRow<'_>> =
        values.iter().map(|values| TrainingRow { values, attack: values[1] + values[2] > 1.0, weight: 1.0 }).collect();
    criterion.bench_function("train 5000 samples, 50 epochs, 6-8-1", |bencher| {
        bencher.iter(|| {
            training::fit(&rows, &TrainingOptions::default(), &AtomicBool::new(false), &mut |_| {}).expect("finite")
        });
    });
    let values: Vec<Vec<f64>> = (0..50_000).map(|_| (0..40).map(|_| rng.uniform() - 0.5).collect()).collect();
    let rows: Vec<TrainingRow<'_>> =
        values.iter().map(|values| TrainingRow { values, attack: values[1] + values[2] > 0.5, weight: 1.0 }).collect();
    let options =
        TrainingOptions { hidden: 16, activation: Activation::Relu, epochs: 30, ..TrainingOptions::default() };
    // Once is enough of what takes seconds.
    let begun = Instant::now();
    training::fit(&rows, &options, &AtomicBool::new(false), &mut |_| {}).expect("finite");
    println!("train 50000 samples of 40 features, 30 epochs, 40-16-1: {:?}", begun.elapsed());
    let network = Mlp::init(6, 8, Activation::Sigmoid, 0.5, &mut rng);
    criterion.bench_function("one forward pass, 6-8-1", |bencher| {
        bencher.iter(|| black_box(network.probability(black_box(&[0.4; 6]))));
    });
}
