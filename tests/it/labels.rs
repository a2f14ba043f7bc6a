//! What a daemon learns from: hindsight, not outcomes.

use std::collections::BTreeMap;

use nauthilus_neural::clock;
use nauthilus_neural::learning::hindsight::{FrozenLabel, HindsightRule};
use nauthilus_neural::learning::sample::Sample;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Setup, write_secret};
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// Samples by rule or reason at the last training of a daemon.
async fn labels(daemon: &Daemon) -> BTreeMap<String, u64> {
    let text = daemon.http.get("/metrics").await.text;
    let lines = text.lines().filter_map(|line| line.strip_prefix("nauthilus_neural_labels{rule=\""));
    let labels: Vec<_> = lines.filter_map(|line| line.split_once("\"} ")).collect();
    labels.into_iter().map(|(rule, samples)| (rule.to_owned(), samples.parse().expect("a number"))).collect()
}

async fn train(daemon: &Daemon) -> Value {
    let trained = daemon.http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.status, 200, "{trained:?}");
    trained.body
}

/// The labels that the samples of one class have in the store.
async fn stored(server: &RedisServer, class: &str) -> Vec<Sample> {
    let mut connection = server.connection().await;
    let mut command = redis::cmd("ZRANGE");
    command.arg(format!("nt:{{neural}}:samples:{class}")).arg(0).arg(-1);
    let samples: Vec<Vec<u8>> = command.query_async(&mut connection).await.expect("a sorted set");
    samples.iter().map(|bytes| Sample::decode(bytes).expect("a sample")).collect()
}

#[tokio::test]
async fn after_a_bulk_of_recorded_logins_a_slip_is_legitimate_and_labels_are_kept_with_the_samples() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "alone")).await;
    daemon.ingest(traffic::history()).await;

    assert_eq!(train(&daemon).await["outcome"], "promoted");

    let labels = labels(&daemon).await;
    let failures: u64 = HindsightRule::FOR_FAILURES.iter().map(|rule| labels[rule.name()]).sum();
    assert!(labels["succeeded_soon"] > 5 && labels["success"] > 100 && failures > 100, "{labels:?}");
    let stored = stored(&server, "failure").await;
    let soon = Some(FrozenLabel::Rule(HindsightRule::SucceededSoon));
    assert!(stored.iter().filter(|sample| sample.label == soon).count() > 5, "slips that have settled");
    let last = stored.iter().map(|sample| sample.ts).max().expect("samples");
    let young = |sample: &&Sample| sample.ts.plus_millis(20 * 3600 * 1000) > last;
    assert!(stored.iter().filter(young).all(|sample| sample.label.is_none()), "not for good yet");
}

#[tokio::test]
async fn attempts_of_before_a_restart_and_of_another_node_label_like_ones_own() {
    let server = RedisServer::start();
    let (first, second): (Vec<&str>, Vec<&str>) = {
        let lines: Vec<_> = traffic::history().lines().collect();
        let (first, second) = lines.split_at(lines.len() * 3 / 5);
        (first.to_vec(), second.to_vec())
    };
    // Of a crowded slice of time the smallest pseudonyms are kept: which these are depends on the key, so all have the same.
    let directory = tempfile::tempdir().expect("a directory");
    let key = directory.path().join("key");
    write_secret(&key, &"5a".repeat(32));
    let keyed = |setup: Setup| setup.set("node.pseudonym_key_file", format!("{:?}", key.display().to_string()));
    let undisturbed = Daemon::start(keyed(Setup::new("undisturbed"))).await;
    undisturbed.ingest(traffic::history()).await;
    train(&undisturbed).await;
    let expected = labels(&undisturbed).await;
    let mut telling = Daemon::start(keyed(Setup::on(&server, "telling"))).await;
    let listening = Daemon::start(keyed(Setup::on(&server, "listening"))).await;

    telling.ingest(&first.join("\n")).await;
    telling.stop().await;
    telling.start_again().await;
    telling.ingest(&second.join("\n")).await;

    for daemon in [&listening, &telling] {
        train(daemon).await;
        assert_eq!(labels(daemon).await, expected);
    }
}

#[tokio::test]
async fn d7_a_lone_failure_is_no_attack() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let start = clock::now().plus_millis(-6 * 24 * 3600 * 1000);
    let line = |minute: i64, user: i64, success: bool| {
        let ts = start.plus_millis(minute * 60_000).to_string();
        json!({ "ts": ts, "client_ip": format!("198.51.100.{user}"), "username": format!("u{user}"), "success": success })
            .to_string()
    };
    // Everybody mistypes once an hour and then gets it right, for four days.
    let mut lines = Vec::new();
    for hour in 0..96 {
        lines.push(line(hour * 60, hour % 7, false));
        lines.push(line(hour * 60 + 2, hour % 7, true));
    }
    daemon.ingest(&lines.join("\n")).await;

    let trained = train(&daemon).await;

    assert_eq!(trained["outcome"], "not_enough_data", "{trained}");
    let reason = trained["reason"].as_str().expect("a reason");
    assert!(reason.contains("are legitimate; both classes are needed"), "{reason}");
    let labels = labels(&daemon).await;
    assert!(labels["succeeded_soon"] >= 90 && labels["never_succeeded"] == 0, "{labels:?}");
}
