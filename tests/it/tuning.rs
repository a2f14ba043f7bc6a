//! `train --tune` on a running daemon: what it tells, what it leaves behind for later trainings, and how it ends early.

use std::sync::OnceLock;
use std::time::Duration;

use nauthilus_neural::traffic::TrafficOptions;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// A signal reaches its end, whatever is being done.
const DRAINED: Duration = Duration::from_secs(10);

/// Enough of both classes in every stretch of time.
fn history() -> &'static str {
    static LINES: OnceLock<String> = OnceLock::new();
    LINES.get_or_init(|| {
        traffic::generated(&TrafficOptions {
            seed: 11,
            days: 3.0,
            users: 60,
            attack_share: 0.25,
            ..traffic::under_attack()
        })
    })
}

fn newest(history: &Value) -> &Value {
    &history.as_array().expect("a list")[0]
}

#[tokio::test]
async fn a_tuned_training_tells_its_table_and_later_trainings_of_any_node_keep_the_winner() {
    let server = RedisServer::start();
    let setup = |name| Setup::on(&server, name).set("training.epochs", "3");
    let (a, b) = (Daemon::start(setup("a")).await, Daemon::start(setup("b")).await);
    a.ingest(history()).await;

    let tuned = a.http.post("/v1/train", &json!({ "tune": true, "samples": 800 })).await.body;
    let table = &tuned["tuning"];
    assert_eq!(table["tried"].as_array().map(Vec::len), Some(27), "{tuned}");
    for measure in ["log_loss", "pr_auc", "recall"] {
        assert!(table["tried"][0][measure]["mean"].is_number() && table["tried"][0][measure]["spread"].is_number());
    }
    assert_eq!(tuned["outcome"], "promoted", "{}", tuned["reason"]);
    let history = a.http.get("/v1/models").await.body;
    assert_eq!(&newest(&history)["tuning"], table);
    assert!(a.log().contains("tuned: "), "{}", a.log());

    let generation = |daemon: Value| daemon.pointer("/model/generation").cloned();
    eventually("the other node follows", SOON, || async {
        let status = b.status().await;
        if generation(status.clone()) == Some(json!(1)) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let later = b.http.post("/v1/train", &json!({ "samples": 800 })).await.body;
    assert_eq!((&later["outcome"], &later["tuning"]), (&json!("promoted"), &Value::Null), "{later}");
    assert!(b.log().contains("trains with what an earlier search found"), "{}", b.log());

    a.http.post("/v1/reset", &json!({})).await;
    let fresh = a.http.post("/v1/train", &json!({ "samples": 800 })).await.body;
    assert_eq!(fresh["outcome"], "promoted", "{fresh}");
    assert!(!a.log().contains("trains with what an earlier search found"), "a reset forgets: {}", a.log());
}

#[tokio::test]
async fn too_little_to_tune_with_is_said_and_nothing_is_trained() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let few: Vec<&str> = history().lines().take(400).collect();
    daemon.ingest(&few.join("\n")).await;

    let refused = daemon.http.post("/v1/train", &json!({ "tune": true })).await.body;

    assert_eq!((&refused["outcome"], &refused["tuning"]), (&json!("not_enough_data"), &Value::Null), "{refused}");
    assert_eq!(daemon.status().await["model"], Value::Null);
}

#[tokio::test]
async fn a_running_search_shows_how_far_it_is_and_ends_with_the_daemon() {
    let mut daemon = Daemon::start(Setup::new("alone").set("training.epochs", "10000")).await;
    daemon.ingest(history()).await;
    let asked = daemon.http.post("/v1/train", &json!({ "tune": true, "wait": false })).await;
    assert_eq!(asked.status, 202, "{asked:?}");

    eventually("the search tells how far it is", SOON, || async {
        let progress = daemon.status().await["training"]["progress"].clone();
        let tuning = progress["stage"] == "tuning" && progress["done"].as_u64() >= Some(1);
        if tuning && progress["of"] == 117 { Ok(()) } else { Err(progress.to_string()) }
    })
    .await;
    daemon.signal("TERM");

    assert!(daemon.ended(DRAINED).await.success());
    assert!(!daemon.log().contains("stopped without waiting"), "{}", daemon.log());
}
