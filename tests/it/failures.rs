//! What must go on when something is lost: a node in the middle of a training, Redis, a sound model, enough data.

use std::time::{Duration, Instant};

use nauthilus_neural::clock;
use nauthilus_neural::learning::artifact::{Expectation, ModelArtifact};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup, now};
use crate::support::eventually::eventually;
use crate::support::redis::{RedisServer, RedisSetup};
use crate::support::traffic;

/// The shortest lease that a configuration may have.
const LEASE: Duration = Duration::from_secs(5);
/// How long Redis stays away.
const OUTAGE: Duration = Duration::from_secs(3);
/// By then everything is as if it had never been away.
const RECOVERED: Duration = Duration::from_secs(20);
/// No score may take longer, on a busy machine with everything else failing.
const SCORE_LIMIT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_trainer_that_dies_is_replaced_within_a_lease_and_every_word_counts_once() {
    let server = RedisServer::start();
    let lease = format!("\"{}s\"", LEASE.as_secs());
    let setup = |name| Setup::on(&server, name).set("training.lease", &lease);
    let mut victim = Daemon::start(setup("victim").set("training.feedback_epochs", "10000")).await;
    victim.ingest(traffic::history()).await;
    traffic::ten_words(&victim.http, 0).await;
    eventually("the training runs", SOON, || async {
        let training = victim.status().await["training"].clone();
        if training["running"] == true { Ok(()) } else { Err(training.to_string()) }
    })
    .await;
    let heir = Daemon::start(setup("heir")).await;
    eventually("the heir waits for the lease", SOON, || async {
        let task = task(&heir.status().await, "feedback_watcher");
        if task["last"]["reason"] == "another node is training" { Ok(()) } else { Err(task.to_string()) }
    })
    .await;
    assert_eq!(victim.status().await["training"]["running"], true, "still training");

    victim.kill().await;

    eventually("the heir trains", LEASE + Duration::from_secs(1), || async {
        let status = heir.status().await;
        let training = &status["training"];
        if training["running"] == true || !training["last"].is_null() { Ok(()) } else { Err(training.to_string()) }
    })
    .await;
    let sha256 = eventually("the heir serves a model", SOON, || async { heir.sha256().await.ok_or(heir.log()) }).await;
    let bytes: Vec<u8> = read(&server, "GET", &format!("nt:{{neural}}:model:{sha256}")).await;
    let (_, artifact) = ModelArtifact::decode(&bytes, &Expectation::default()).expect("sound");
    assert_eq!(artifact.training.counts.feedback, 10, "every word is in the model, once");
    let words: u64 = read(&server, "XLEN", "nt:{neural}:feedback").await;
    assert_eq!(words, 10);
    assert_eq!(heir.http.get("/v1/models").await.body.as_array().map(Vec::len), Some(1));
    victim.start_again().await;
    eventually("the dead node is back on the heir's model", SOON, || async {
        let status = victim.status().await;
        let settled = status["model"]["sha256"] == sha256.as_str() && status["feedback"]["pending"] == 0;
        if settled { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    assert_eq!(victim.status().await["registry_writes"], 0);
}

#[tokio::test]
async fn scores_go_on_without_redis_and_nothing_is_missing_after_its_return() {
    let mut server = RedisServer::start_with(RedisSetup { append_only: true, ..RedisSetup::default() });
    let fleet = Daemon::fleet(&server, ["a", "b", "idle"]).await;
    fleet[0].ingest(traffic::history()).await;
    let trained = fleet[0].http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    eventually("all serve it", SOON, || same(&fleet)).await;

    server.stop();
    let (began, mut number) = (Instant::now(), 0);
    while began.elapsed() < OUTAGE {
        for daemon in &fleet[..2] {
            let attempt = traffic::attempt(number, "198.51.100.7", "alice");
            number += 1;
            let asked = Instant::now();
            let scored = traffic::login(&daemon.http, &attempt, true).await;
            assert!(scored["probability"].is_number(), "{scored}");
            assert!(asked.elapsed() < SCORE_LIMIT, "{:?}", asked.elapsed());
        }
    }
    let record = |number: usize| {
        json!({ "ts": now(), "client_ip": "203.0.113.9", "username": "bob", "success": false,
            "request_id": format!("bulk-{number}") })
        .to_string()
    };
    let lines: Vec<_> = (0..50).map(record).collect();
    let taken = fleet[0].ingest(&lines.join("\n")).await;
    assert_eq!((taken.status, &taken.body["queued"]), (202, &Value::Bool(true)));
    let word = traffic::feedback(&traffic::attempt(0, "198.51.100.7", "alice"), false);
    assert_eq!(fleet[0].http.post("/v1/feedback", &word).await.status, 503);
    assert_eq!(fleet[0].http.put("/v1/learning-mode", &json!({ "enabled": true })).await.status, 503);
    for (daemon, queued) in [(&fleet[0], number / 2 + 50), (&fleet[1], number / 2), (&fleet[2], 0)] {
        let store = daemon.status().await["store"].clone();
        assert_eq!((&store["connected"], &store["dropped"]), (&false.into(), &0.into()), "{store}");
        assert_eq!(store["queued"].as_u64(), Some(queued as u64), "{store}");
    }
    server.restart();

    let told = traffic::history().lines().count() + 50 + number;
    eventually("every queued attempt is counted on the idle node", RECOVERED, || async {
        let counted = fleet[2].metric("attempts_replicated_total").await;
        if counted == told as u64 { Ok(()) } else { Err(format!("{counted} of {told}")) }
    })
    .await;
    eventually("the queues are empty", RECOVERED, || async {
        for daemon in &fleet {
            let store = daemon.status().await["store"].clone();
            if store["connected"] != true || store["queued"] != 0 {
                return Err(store.to_string());
            }
        }
        Ok(())
    })
    .await;
    let before = fleet[2].metric("announcements_received_total").await;
    let trained = fleet[0].http.post("/v1/train", &json!({ "epochs": 30 })).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    eventually("all serve the next model", RECOVERED, || same(&fleet)).await;
    assert!(fleet[2].metric("announcements_received_total").await > before, "the idle subscriber listens again");
}

#[tokio::test]
async fn d22_an_artifact_that_cannot_be_used_leaves_the_old_model_serving() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "alone")).await;
    daemon.ingest(traffic::history()).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await;
    let sound = trained.body["model"]["sha256"].as_str().expect("a model").to_owned();
    let bytes: Vec<u8> = read(&server, "GET", &format!("nt:{{neural}}:model:{sound}")).await;
    let mut flipped = bytes.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    let mut newer = bytes.clone();
    newer[4] += 1;

    for (number, (reason, planted)) in [
        ("truncated", Some(bytes[..bytes.len() / 2].to_vec())),
        ("oversized", Some([&bytes[..], b"more"].concat())),
        ("hash_mismatch", Some(flipped)),
        ("newer_format", Some(newer)),
        ("foreign", Some(b"not a model at all".to_vec())),
        ("missing", None),
    ]
    .into_iter()
    .enumerate()
    {
        let sha256 = hex::encode([number as u8; 32]);
        plant(&server, &sha256, planted, 2 + number as u64).await;

        eventually(reason, SOON, || async {
            let refused = daemon.metric(&format!("artifacts_rejected_total{{reason={reason:?}}}")).await;
            if refused == 1 { Ok(()) } else { Err(daemon.log()) }
        })
        .await;
        let scored = daemon.http.post("/v1/score", &traffic::attempt(number, "198.51.100.7", "alice")).await;
        assert_eq!(scored.body["model"]["sha256"], sound.as_str(), "{reason}: {scored:?}");
        assert!(scored.body["probability"].is_number(), "{reason}: {scored:?}");
        assert_eq!(task(&daemon.status().await, "subscriber")["last"]["outcome"], "kept");
    }
    plant(&server, &sound, Some(bytes), 20).await;
    eventually("the sound one is followed again", SOON, || async {
        let model = daemon.status().await["model"].clone();
        if model["generation"] == 20 { Ok(()) } else { Err(model.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_training_without_enough_data_publishes_nothing_and_says_why() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let train = async || daemon.http.post("/v1/train", &json!({})).await.body;

    let nothing = train().await;
    let success = |number: i64, ts: String| {
        json!({ "ts": ts, "client_ip": format!("198.51.100.{}", number + 1), "username": format!("u{number}"),
            "success": true })
        .to_string()
    };
    let live: Vec<_> = (0..150).map(|number| success(number, now())).collect();
    daemon.ingest(&live.join("\n")).await;
    let too_new = train().await;
    let three_days_ago = clock::now().plus_millis(-3 * 24 * 3600 * 1000);
    let recorded: Vec<_> =
        (0..150).map(|number| success(number, three_days_ago.plus_millis(number * 300_000).to_string())).collect();
    daemon.ingest(&recorded.join("\n")).await;
    let one_class = train().await;

    for (answer, reason, lacking) in [
        (&nothing, "100 are needed", "no failed attempt was recorded yet"),
        (&too_new, "100 are needed", "lack seen traffic before or after them: 150"),
        (&one_class, "both classes are needed", "no failed attempt was recorded yet"),
    ] {
        assert_eq!((&answer["outcome"], &answer["model"]), (&"not_enough_data".into(), &Value::Null), "{answer}");
        let text = answer["reason"].as_str().expect("a reason");
        assert!(text.contains(reason) && text.contains(lacking), "{answer}");
    }
    let status = daemon.status().await;
    assert_eq!((&status["trained"], &status["swaps"]), (&false.into(), &0.into()), "{status}");
    let history = daemon.http.get("/v1/models").await.body;
    let reasons: Vec<_> = history.as_array().expect("a list").iter().map(|entry| &entry["reason"]).collect();
    let expected = [&one_class["reason"], &too_new["reason"], &nothing["reason"]];
    assert_eq!(reasons, expected, "newest first: {history}");
}

fn task(status: &Value, name: &str) -> Value {
    let tasks = status["tasks"].as_array().expect("a list");
    tasks.iter().find(|task| task["name"] == name).expect("a known task").clone()
}

async fn same(fleet: &[Daemon]) -> Result<(), String> {
    let first = fleet[0].sha256().await;
    for daemon in fleet {
        let sha256 = daemon.sha256().await;
        if sha256.is_none() || sha256 != first {
            return Err(format!("{sha256:?}"));
        }
    }
    Ok(())
}

/// Puts `artifact` behind `sha256`, makes that the current model, and rings.
async fn plant(server: &RedisServer, sha256: &str, artifact: Option<Vec<u8>>, generation: u64) {
    let mut pipe = redis::pipe();
    if let Some(artifact) = artifact {
        pipe.set(format!("nt:{{neural}}:model:{sha256}"), artifact).ignore();
    }
    pipe.hset("nt:{neural}:meta", "sha256", sha256).ignore();
    pipe.hset("nt:{neural}:meta", "generation", generation).ignore();
    pipe.publish("nt:{neural}:announcements", "{}").ignore();
    let planted: Result<(), _> = pipe.query_async(&mut server.connection().await).await;
    planted.expect("the commands work");
}

async fn read<T: redis::FromRedisValue>(server: &RedisServer, command: &str, key: &str) -> T {
    let mut connection = server.connection().await;
    redis::cmd(command).arg(key).query_async(&mut connection).await.expect("the command works")
}
