//! What a node still knows after its own end: model, counters, requests, and on the embedded store everything else.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::{RedisServer, RedisSetup};
use crate::support::traffic;

const ATTACKER: &str = "203.0.113.66";
/// Failures of the attacker: more than any user's.
const GUESSES: usize = 60;

/// What the model says about a first attempt of the attacker and of a stranger; `number` tells one pair from the next.
async fn probabilities(daemon: &Daemon, number: usize) -> (f64, f64) {
    let mut probabilities = [0.0; 2];
    for (place, (ip, name)) in [(ATTACKER, "victim"), ("192.0.2.99", "stranger")].into_iter().enumerate() {
        let attempt = traffic::attempt(1000 + 2 * number + place, ip, name);
        let scored = daemon.http.post("/v1/score", &attempt).await;
        let probability = scored.body["probability"].as_f64();
        probabilities[place] = probability.unwrap_or_else(|| panic!("no model: {scored:?}"));
    }
    (probabilities[0], probabilities[1])
}

/// Trains a daemon and lets it see an attacker; all of it is in the store when this returns.
async fn trained_under_attack(daemon: &Daemon) -> Value {
    daemon.ingest(traffic::history()).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    for number in 0..GUESSES {
        let guess = traffic::attempt(number, ATTACKER, &format!("user{number}"));
        traffic::login(&daemon.http, &guess, false).await;
    }
    eventually("everything is stored", SOON, || async {
        let queued = daemon.status().await["store"]["queued"].clone();
        if queued == 0 { Ok(()) } else { Err(queued.to_string()) }
    })
    .await;
    trained.body["model"].clone()
}

async fn word_on_a_guess(daemon: &Daemon, number: usize) -> Result<(), String> {
    let word = traffic::feedback(&traffic::attempt(number, ATTACKER, &format!("user{number}")), true);
    let given = daemon.http.post("/v1/feedback", &word).await;
    if given.status == 200 { Ok(()) } else { Err(format!("{given:?}")) }
}

/// Names and values of the registry, in an order that does not depend on how the server keeps them.
async fn registry(server: &RedisServer) -> Vec<String> {
    let printed = server.query(&["HGETALL", "nt:{neural}:meta"]).await;
    let mut parts: Vec<String> =
        printed.split(", ").map(|part| part.trim_start_matches("array([").trim_end_matches("])").to_owned()).collect();
    parts.sort();
    parts
}

#[tokio::test]
async fn d28_a_node_scores_with_its_last_model_and_its_counters_before_redis_is_back() {
    let mut server = RedisServer::start_with(RedisSetup { append_only: true, ..RedisSetup::default() });
    let mut daemon = Daemon::start(Setup::on(&server, "alone")).await;
    let model = trained_under_attack(&daemon).await;
    let (attacker, stranger) = probabilities(&daemon, 0).await;
    assert!(attacker > stranger + 0.2, "{attacker} and {stranger}");
    let before = registry(&server).await;
    assert!(before.iter().any(|part| part.contains("generation")), "{before:?}");

    daemon.stop().await;
    server.stop();
    daemon.start_again().await;

    let (again, stranger) = probabilities(&daemon, 1).await;
    assert!((again - attacker).abs() < 0.1 && again > stranger + 0.2, "{again} after {attacker}; stranger {stranger}");
    let status = daemon.status().await;
    assert_eq!((&status["model"], &status["store"]["connected"]), (&model, &false.into()), "{status}");
    server.restart();
    eventually("a request of before the restart can be named", SOON, || word_on_a_guess(&daemon, 7)).await;
    let status = daemon.status().await;
    assert_eq!((&status["model"], &status["swaps"]), (&model, &1.into()), "followed from its own file, not again");
    assert_eq!(status["registry_writes"], 0, "D28: a start writes no model over the one that is there");
    assert_eq!(registry(&server).await, before, "nor anything beside it");
}

#[tokio::test]
async fn a_node_that_was_killed_reads_counters_and_requests_back_from_the_stream() {
    let server = RedisServer::start();
    let mut daemon = Daemon::start(Setup::on(&server, "alone")).await;
    trained_under_attack(&daemon).await;
    let (attacker, stranger) = probabilities(&daemon, 0).await;

    daemon.kill().await;
    assert!(!daemon.state_dir().join("checkpoint.bin").exists(), "it had no time to write one");
    daemon.start_again().await;

    let told = (traffic::history().lines().count() + GUESSES) as u64;
    eventually("the stream is read", SOON, || async {
        let counted = daemon.metric("attempts_replicated_total").await;
        if counted >= told { Ok(()) } else { Err(format!("{counted} of {told}")) }
    })
    .await;
    let (again, _) = probabilities(&daemon, 1).await;
    assert!((again - attacker).abs() < 0.1, "{again} after {attacker}; stranger {stranger}");
    word_on_a_guess(&daemon, 7).await.expect("known");
}

#[tokio::test]
async fn a_second_restart_counts_nothing_twice() {
    let server = RedisServer::start();
    let mut daemon = Daemon::start(Setup::on(&server, "alone")).await;
    trained_under_attack(&daemon).await;
    for _ in 0..2 {
        daemon.stop().await;
        daemon.start_again().await;
        eventually("the index is refilled", SOON, || word_on_a_guess(&daemon, 7)).await;
        assert_eq!(daemon.metric("attempts_replicated_total").await, 0, "the checkpoint had counted them all");
    }
}

#[tokio::test]
async fn an_embedded_node_learns_from_feedback_alone_with_itself_and_a_power_cut_takes_nothing_acknowledged() {
    let mut daemon = Daemon::start(Setup::new("alone")).await;
    daemon.ingest(traffic::history()).await;
    traffic::ten_words(&daemon.http, 100).await;
    let model = eventually("feedback becomes a model", SOON, || async {
        let status = daemon.status().await;
        if status["model"].is_object() { Ok(status["model"].clone()) } else { Err(status.to_string()) }
    })
    .await;
    let guess = traffic::attempt(1, ATTACKER, "alice");
    let scored = traffic::login(&daemon.http, &guess, false).await;
    assert_eq!(scored["model"], model);
    assert!(["allow", "watch", "step_up", "block"].contains(&scored["would_be"].as_str().unwrap_or_default()));
    assert_eq!(scored["learning_mode"], false, "trained: it speaks");
    let switched = daemon.http.put("/v1/learning-mode", &json!({ "enabled": true })).await;
    assert_eq!(switched.body["learning_mode"], true, "{switched:?}");
    eventually("the guess is stored", SOON, || async {
        let queued = daemon.status().await["store"]["queued"].clone();
        if queued == 0 { Ok(()) } else { Err(queued.to_string()) }
    })
    .await;
    let given = daemon.http.post("/v1/feedback", &traffic::feedback(&guess, true)).await;
    assert_eq!((given.status, &given.body["pending"]), (200, &1.into()), "{given:?}");

    daemon.kill().await;
    daemon.start_again().await;

    let status = daemon.status().await;
    assert_eq!((&status["model"], &status["feedback"]["pending"]), (&model, &1.into()), "{status}");
    eventually("learning mode is still on", SOON, || async {
        let mode = daemon.http.get("/v1/learning-mode").await.body;
        if mode["learning_mode"] == true { Ok(()) } else { Err(mode.to_string()) }
    })
    .await;
    assert_eq!(daemon.http.get("/v1/models").await.body.as_array().map(Vec::len), Some(1));
    let again = daemon.http.post("/v1/feedback", &traffic::feedback(&guess, false)).await;
    assert_eq!(again.status, 200, "the request is known: {again:?}");
}

#[tokio::test]
async fn an_attempt_whose_outcome_is_open_reaches_the_fleet_before_its_node_stops() {
    let server = RedisServer::start();
    let mut daemon = Daemon::start(Setup::on(&server, "alone")).await;
    let attempt = traffic::attempt(1, ATTACKER, "victim");

    daemon.http.post("/v1/score", &attempt).await;
    daemon.stop().await;

    let told = server.query(&["XLEN", "nt:{neural}:attempts"]).await;
    assert!(told.contains('1'), "{told}");
}
