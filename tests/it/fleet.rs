//! Several daemons on one Redis: what one learns, all serve, and only one of them writes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nauthilus_neural::clock;
use nauthilus_neural::config::Config;
use nauthilus_neural::control::{Caller, Command, TrainCommand};
use nauthilus_neural::detection::record::AttemptRecord;
use nauthilus_neural::node::Node;
use nauthilus_neural::store::embedded::EmbeddedStore;
use nauthilus_neural::store::{Limits, Store};
use serde_json::Value;

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// A doorbell that is heard: from the first node on the model to the last.
const HEARD: Duration = Duration::from_secs(1);
/// A doorbell that nobody heard: the slowest poll, and something for the machine.
const UNHEARD: Duration = Duration::from_secs(20);

/// The model of each node, once all of them serve the same one. `Err` tells what they serve until then.
async fn same_model(fleet: &[Daemon]) -> Result<String, String> {
    let mut models = Vec::new();
    for daemon in fleet {
        models.push(daemon.sha256().await);
    }
    match &models[0] {
        Some(first) if models.iter().all(|model| model.as_ref() == Some(first)) => Ok(first.clone()),
        _ => Err(format!("{models:?}")),
    }
}

async fn numbers(fleet: &[Daemon], name: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    for daemon in fleet {
        numbers.push(daemon.status().await[name].as_u64().expect("a number"));
    }
    numbers
}

#[tokio::test]
async fn d20_d32_ten_feedback_items_become_one_training_one_write_one_announcement_and_one_model_on_all_nodes() {
    let server = RedisServer::start();
    let fleet = Daemon::fleet(&server, ["a", "b", "c"]).await;
    let answer = fleet[0].ingest(traffic::history()).await;
    assert_eq!((answer.status, &answer.body["queued"]), (200, &Value::Bool(false)));

    // Scored on one node; the words come in on all of them.
    let attempts = traffic::ten(0);
    for (attempt, attack) in &attempts {
        traffic::login(&fleet[0].http, attempt, !attack).await;
    }
    for (number, (attempt, attack)) in attempts.iter().enumerate() {
        let node = &fleet[number % fleet.len()];
        let given = node.http.post("/v1/feedback", &traffic::feedback(attempt, *attack)).await;
        assert_eq!(given.status, 200, "{given:?}");
        assert_eq!((&given.body["status"], given.body["needed"].as_u64()), (&"recorded".into(), Some(10)));
    }
    eventually("one node serves a model", SOON, || async {
        let served = numbers(&fleet, "swaps").await;
        if served.iter().any(|swaps| *swaps > 0) { Ok(()) } else { Err(format!("{served:?}")) }
    })
    .await;
    eventually("all serve the same", HEARD, || same_model(&fleet)).await;

    let pending = || async {
        let mut left = Vec::new();
        for daemon in &fleet {
            left.push(daemon.status().await["feedback"]["pending"].as_u64());
        }
        if left.iter().all(|pending| *pending == Some(0)) { Ok(()) } else { Err(format!("{left:?}")) }
    };
    eventually("all the feedback is used", SOON, pending).await;
    let writes = numbers(&fleet, "registry_writes").await;
    assert_eq!(writes.iter().sum::<u64>(), 1, "one write, receivers write nothing: {writes:?}");
    assert_eq!(numbers(&fleet, "announcements_sent").await, writes, "the writer announced, once");
    assert_eq!(numbers(&fleet, "swaps").await, [1, 1, 1]);
    let history = fleet[2].http.get("/v1/models").await.body;
    assert_eq!(history.as_array().map(Vec::len), Some(1), "one training: {history}");
    assert_eq!((&history[0]["outcome"], &history[0]["trigger"]), (&"promoted".into(), &"feedback".into()));
}

/// D24: nodes told their own messages by the instance name, which was the same everywhere, and so heard nobody. D26: where
/// names differed, each had a model, a lock and a training of its own.
#[tokio::test]
async fn d24_d26_nodes_share_one_model_whether_or_not_they_have_one_name() {
    for names in [["nauthilus", "nauthilus"], ["mx1", "mx2"]] {
        let server = RedisServer::start();
        let fleet = Daemon::fleet(&server, names).await;
        fleet[0].ingest(traffic::history()).await;

        let trained = fleet[1].http.post("/v1/train", &serde_json::json!({})).await;

        assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
        eventually("both serve it", HEARD, || same_model(&fleet)).await;
        assert_eq!(fleet[0].metric("announcements_received_total").await, 1, "{names:?}");
        let mut keys = redis::cmd("KEYS");
        keys.arg("*:model:*");
        let models: Vec<String> = keys.query_async(&mut server.connection().await).await.expect("a list");
        assert_eq!(models.len(), 1, "{names:?}: {models:?}");
    }
}

#[tokio::test]
async fn d27_a_node_that_may_not_listen_has_the_model_within_twenty_seconds() {
    let server = RedisServer::start();
    let hearing = Daemon::start(Setup::on(&server, "hearing")).await;
    hearing.ingest(traffic::history()).await;
    let deaf = Daemon::deaf(&server).await;

    let trained = hearing.http.post("/v1/train", &serde_json::json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    let published = Instant::now();
    assert_eq!(deaf.sha256().await, None, "it cannot have heard");
    let fleet = [hearing, deaf];
    eventually("it polls", UNHEARD, || same_model(&fleet)).await;
    assert!(published.elapsed() <= UNHEARD);
    assert_eq!(fleet[1].metric("announcements_received_total").await, 0);
    assert_eq!(numbers(&fleet, "registry_writes").await, [1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d18_every_score_during_fifty_swaps_has_a_model() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut config = Config::default();
    config.node.state_dir = directory.path().join("state");
    config.training.schedule.clear();
    config.limits.models_kept = 50;
    let store: Arc<dyn Store> = Arc::new(
        EmbeddedStore::open(directory.path().join("store.redb"), Limits::from(&config), "alone").expect("a new store"),
    );
    let node = Node::start(config, store).await.expect("a new node");
    let now = clock::now();
    for line in traffic::history().lines() {
        let record = AttemptRecord::parse(line.as_bytes()).expect("generated");
        let checked = node.app.scorer.check(record, now).expect("generated");
        node.app.scorer.ingest(checked, now).expect("new");
    }
    eventually("everything is stored", SOON, || async {
        if node.app.log.queued() == 0 { Ok(()) } else { Err(node.app.log.queued().to_string()) }
    })
    .await;
    let caller = Caller { who: "test".into(), origin: "test", peer: None };
    for epochs in [5, 10] {
        let train = TrainCommand { samples: None, epochs: Some(epochs), tune: false, wait: true, id: None };
        let train = Command::Train(train);
        let trained = node.app.control.execute(train, &caller).await.expect("trained");
        assert_eq!(trained["outcome"], "promoted", "{trained}");
    }

    let done = Arc::new(AtomicBool::new(false));
    let (scorer, ended) = (node.app.scorer.clone(), done.clone());
    let scoring = std::thread::spawn(move || {
        let mut generations = std::collections::BTreeSet::new();
        for number in 0.. {
            let attempt = traffic::attempt(number, "198.51.100.7", "alice").to_string();
            let record = AttemptRecord::parse(attempt.as_bytes()).expect("sound");
            let answer = scorer.score(record, clock::now(), clock::monotonic_ms()).expect("scored");
            assert!(answer.probability.is_some_and(|p| (0.0..=1.0).contains(&p)), "{answer:?}");
            generations.insert(answer.model.expect("a model").generation);
            if ended.load(Ordering::Relaxed) {
                break;
            }
        }
        generations
    });
    for swap in 0..50 {
        let rollback = Command::Rollback { generation: Some(1 + swap % 2) };
        node.app.control.execute(rollback, &caller).await.expect("kept");
    }
    done.store(true, Ordering::Relaxed);

    let seen = scoring.join().expect("no score without a model");
    assert!(seen.len() > 10, "scores fell between swaps: {seen:?}");
    assert_eq!(node.shutdown(SOON).await, Vec::<&str>::new());
}
