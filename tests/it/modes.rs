//! Who may act: learning mode that ends by itself, the circuit breaker, and models that wait for a person.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// A node whose models may block after little data.
fn daring(server: &RedisServer, name: &str) -> Setup {
    Setup::on(server, name).set("ml.false_positive_budget", "0.1")
}

/// The newest history entry, once it has this outcome.
async fn newest(daemon: &Daemon, outcome: &str) -> Value {
    eventually(&format!("the newest entry is {outcome}"), SOON, || async {
        let last = daemon.http.get("/v1/models").await.body[0].clone();
        if last["outcome"] == outcome { Ok(last) } else { Err(last.to_string()) }
    })
    .await
}

async fn all(fleet: &[Daemon], path: &str, wanted: Value) {
    eventually(&format!("{path} is {wanted} on all nodes"), SOON, || async {
        let mut found = Vec::new();
        for daemon in fleet {
            found.push(daemon.status().await.pointer(path).cloned().unwrap_or(Value::Null));
        }
        if found.iter().all(|value| *value == wanted) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

async fn switch(daemon: &Daemon, enabled: bool) -> Value {
    let switched = daemon.http.put("/v1/learning-mode", &json!({ "enabled": enabled })).await;
    assert_eq!(switched.status, 200, "{switched:?}");
    switched.body
}

#[tokio::test]
async fn enough_feedback_and_a_passed_gate_end_learning_mode_on_all_nodes() {
    let server = RedisServer::start();
    let fleet = [Daemon::start(daring(&server, "a")).await, Daemon::start(daring(&server, "b")).await];
    fleet[0].ingest(traffic::history()).await;
    // Words from before learning mode was switched on say nothing about what it is for.
    traffic::ten_words(&fleet[0].http, 0).await;
    newest(&fleet[0], "promoted").await;
    let on = switch(&fleet[1], true).await;
    assert_eq!((&on["learning_mode"], &on["cause"], &on["reason"]), (&json!(true), &json!("operator"), &Value::Null));
    assert!(on["since"].is_string(), "{on}");
    all(&fleet, "/mode/switched_on", json!(true)).await;
    let trained = fleet[0].http.post("/v1/train", &json!({})).await.body;
    assert_eq!(trained["outcome"], "promoted", "{trained}");
    assert!(trained["evaluation"]["threshold"].is_number(), "it may block: {trained}");
    all(&fleet, "/learning_mode", json!(true)).await;

    traffic::ten_words(&fleet[1].http, 100).await;

    all(&fleet, "/learning_mode", json!(false)).await;
    all(&fleet, "/mode/cause", json!("feedback")).await;
    let entry = newest(&fleet[1], "promoted").await;
    assert_eq!((&entry["trigger"], &entry["ended_learning_mode"]), (&json!("feedback"), &json!(true)), "{entry}");
    let history = fleet[0].http.get("/v1/models").await.body;
    let ended = history.as_array().into_iter().flatten().filter(|entry| entry["ended_learning_mode"] == true);
    assert_eq!(ended.count(), 1, "{history}");
    let logs = [fleet[0].log(), fleet[1].log()];
    for log in &logs {
        assert!(log.contains("learning mode of the fleet is off, set by feedback"), "{log}");
    }
    let mode = fleet[0].http.get("/v1/learning-mode").await.body;
    assert_eq!((&mode["learning_mode"], &mode["cause"]), (&json!(false), &json!("feedback")), "{mode}");
}

#[tokio::test]
async fn an_operator_may_keep_learning_mode_by_hand_and_a_watch_only_model_never_ends_it() {
    let server = RedisServer::start();
    for setup in [
        daring(&server, "kept").set("training.ends_learning_mode", "false"),
        // A budget that so few logins cannot support.
        Setup::new("watching").set("ml.false_positive_budget", "0.001"),
    ] {
        let daemon = Daemon::start(setup).await;
        daemon.ingest(traffic::history()).await;
        switch(&daemon, true).await;
        traffic::ten_words(&daemon.http, 0).await;

        let entry = newest(&daemon, "promoted").await;

        assert!(entry.get("ended_learning_mode").is_none(), "{entry}");
        let status = daemon.status().await;
        assert_eq!((&status["learning_mode"], &status["mode"]["cause"]), (&json!(true), &json!("operator")));
    }
}

#[tokio::test]
async fn dry_run_wins_over_the_end_of_learning_mode() {
    let daemon = Daemon::start(Setup::new("dry").set("ml.false_positive_budget", "0.1")).await;
    daemon.ingest(traffic::history()).await;
    switch(&daemon, true).await;
    let mut daemon = daemon;
    daemon.change("ml.dry_run", "true");
    daemon.signal("HUP");
    eventually("it runs dry", SOON, || async {
        let mode = daemon.http.get("/v1/learning-mode").await.body;
        if mode["dry_run"] == true { Ok(()) } else { Err(mode.to_string()) }
    })
    .await;
    traffic::ten_words(&daemon.http, 0).await;

    let entry = newest(&daemon, "promoted").await;

    assert!(entry.get("ended_learning_mode").is_none(), "{entry}");
    let mode = daemon.http.get("/v1/learning-mode").await.body;
    assert_eq!((&mode["learning_mode"], &mode["cause"]), (&json!(true), &json!("operator")), "{mode}");
}

/// The switch is the fleet's: which node hears of the command first must not matter.
#[tokio::test]
async fn a_mode_command_on_the_channel_is_for_the_fleet_whichever_node_runs_dry() {
    let server = RedisServer::start();
    let wet = Daemon::start(Setup::on(&server, "wet")).await;
    let dry = Daemon::start(Setup::on(&server, "dry").set("ml.dry_run", "true")).await;
    let by = |id: &str, enabled: bool| json!({ "command": "learning_mode", "enabled": enabled, "id": id }).to_string();
    let result = async |id: &str| {
        eventually("there is a result", SOON, || async {
            let key = format!("nt:{{neural}}:results:{id}");
            let mut connection = server.connection().await;
            let found: Option<String> =
                redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("a reply");
            let found = found.ok_or_else(|| "none".to_owned())?;
            serde_json::from_str::<Value>(&found).map_err(|error| error.to_string())
        })
        .await
    };
    for round in 0..6 {
        let (id, on) = (format!("t-{round}"), round % 2 == 0);
        server.order(&by(&id, on)).await;
        let told = result(&id).await;
        assert_eq!((&told["ok"], &told["result"]["dry_run"]), (&json!(true), &json!(false)), "{told}");
        eventually("the switch is set", SOON, || async {
            let mode = wet.status().await["mode"]["switched_on"].clone();
            if mode == json!(on) { Ok(()) } else { Err(mode.to_string()) }
        })
        .await;
    }
    // Whatever the fleet does, a dry run stays one; and who asks that node itself is refused.
    drop(wet);
    server.order(&by("t-7", false)).await;
    assert_eq!(result("t-7").await["node"], "dry", "alone it does the same");
    let mode = dry.http.get("/v1/learning-mode").await.body;
    assert_eq!((&mode["learning_mode"], &mode["dry_run"]), (&json!(true), &json!(true)), "{mode}");
    let refused = dry.http.put("/v1/learning-mode", &json!({ "enabled": true })).await;
    assert_eq!(refused.status, 409, "{refused:?}");
}

#[tokio::test]
async fn a_model_that_blocks_users_at_home_trips_the_breaker_of_the_fleet() {
    let server = RedisServer::start();
    let lenient = |name: &str| Setup::on(&server, name).set("ml.threshold", "0.999999999");
    let mut fleet = [Daemon::start(lenient("a")).await, Daemon::start(lenient("b")).await];
    fleet[0].ingest(traffic::history()).await;
    let trained = fleet[0].http.post("/v1/train", &json!({})).await.body;
    assert_eq!(trained["outcome"], "promoted", "{trained}");
    all(&fleet, "/learning_mode", json!(false)).await;
    let mut number = 0;
    let mut attempt = |user: usize| {
        number += 1;
        traffic::attempt(number, &format!("198.51.{user}.7"), &format!("person{user}"))
    };
    for user in 0..12 {
        traffic::login(&fleet[0].http, &attempt(user), true).await;
    }

    // The model has not changed, but where it begins to block has.
    fleet[0].change("ml.threshold", "0.000000001");
    fleet[0].signal("HUP");
    eventually("the new threshold applies", SOON, || async {
        let applied = fleet[0].metric("config_reloads_total{outcome=\"applied\"}").await;
        if applied == 1 { Ok(()) } else { Err(applied.to_string()) }
    })
    .await;
    for user in (0..12).chain(0..12) {
        let scored = fleet[0].http.post("/v1/score", &attempt(user)).await.body;
        assert_eq!(scored["would_be"], "block", "{scored}");
    }

    all(&fleet, "/learning_mode", json!(true)).await;
    all(&fleet, "/mode/cause", json!("breaker")).await;
    assert_eq!((fleet[0].metric("breaker_trips_total").await, fleet[1].metric("breaker_trips_total").await), (1, 0));
    let entry = newest(&fleet[1], "learning_mode").await;
    assert_eq!((&entry["trigger"], &entry["by"]), (&json!("breaker"), &json!("a")), "{entry}");
    assert!(entry["reason"].as_str().is_some_and(|reason| reason.contains("24 of 24")), "{entry}");
    let log = fleet[0].log();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("circuit breaker")), "{log}");
    assert!(!log.contains("person") && !log.contains("198.51."), "no names, no addresses: {log}");
    let scored = fleet[0].http.post("/v1/score", &attempt(3)).await.body;
    assert_eq!((&scored["verdict"], &scored["would_be"]), (&json!("allow"), &json!("block")), "{scored}");

    switch(&fleet[1], false).await;
    all(&fleet, "/learning_mode", json!(false)).await;
    eventually("the breaker watches on", SOON, || async {
        let status = fleet[0].status().await;
        let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
        let breaker = tasks.into_iter().find(|task| task["name"] == "breaker").unwrap_or_default();
        if breaker["last"]["outcome"] == "watching" { Ok(()) } else { Err(breaker.to_string()) }
    })
    .await;
    assert_eq!(fleet[0].metric("breaker_trips_total").await, 1, "what it has tripped on is over");
}

/// A node that waits for a person.
fn waiting(server: &RedisServer, name: &str) -> Setup {
    Setup::on(server, name).set("training.approval", "\"manual\"")
}

#[tokio::test]
async fn a_candidate_waits_in_the_store_until_a_person_approves_it_on_any_node() {
    let server = RedisServer::start();
    let mut fleet = [Daemon::start(waiting(&server, "a")).await, Daemon::start(waiting(&server, "b")).await];
    fleet[0].ingest(traffic::history()).await;
    let nothing = fleet[1].http.post("/v1/approve", &json!({})).await;
    assert_eq!(nothing.status, 404, "{nothing:?}");
    traffic::ten_words(&fleet[0].http, 0).await;

    let entry = newest(&fleet[1], "candidate").await;
    let id = entry["candidate"].clone();
    assert_eq!(
        (&entry["trigger"], &entry["waiting"], &entry["model"]),
        (&json!("feedback"), &json!(true), &Value::Null)
    );
    all(&fleet, "/candidate/id", id.clone()).await;
    all(&fleet, "/model", Value::Null).await;
    for daemon in &mut fleet {
        daemon.stop().await;
        daemon.start_again().await;
    }
    all(&fleet, "/candidate/id", id.clone()).await;
    let other = fleet[1].http.post("/v1/approve", &json!({ "training_id": "0123456789abcdef" })).await;
    assert_eq!(other.status, 409, "{other:?}");
    assert!(other.detail().contains(id.as_str().expect("a text")), "{other:?}");

    let approved = fleet[1].http.post("/v1/approve", &json!({ "training_id": id })).await;

    assert_eq!((approved.status, &approved.body["outcome"]), (200, &json!("promoted")), "{approved:?}");
    let sha256 = approved.body["model"]["sha256"].clone();
    assert!(sha256.as_str().is_some_and(|sha256| sha256.starts_with(id.as_str().unwrap_or("?"))), "{approved:?}");
    all(&fleet, "/model/sha256", sha256).await;
    all(&fleet, "/candidate", Value::Null).await;
    all(&fleet, "/feedback/pending", json!(0)).await;
    let history = fleet[0].http.get("/v1/models").await.body;
    assert_eq!((&history[0]["outcome"], &history[0]["candidate"]), (&json!("promoted"), &id), "{history}");
    assert_eq!((&history[0]["by"], &history[0]["trigger"]), (&json!("admin token"), &json!("feedback")), "{history}");
    assert_eq!((&history[1]["outcome"], &history[1]["waiting"]), (&json!("candidate"), &json!(false)), "{history}");
    assert_eq!(fleet[0].http.post("/v1/approve", &json!({})).await.status, 404, "once");
}

#[tokio::test]
async fn a_candidate_that_nobody_wants_goes_and_one_for_another_model_cannot_serve() {
    let server = RedisServer::start();
    let daemon = Daemon::start(waiting(&server, "a")).await;
    daemon.ingest(traffic::history()).await;
    traffic::ten_words(&daemon.http, 0).await;
    let first = newest(&daemon, "candidate").await["candidate"].clone();

    let discarded = daemon.http.post("/v1/approve", &json!({ "training_id": first, "discard": true })).await;
    assert_eq!((discarded.status, &discarded.body["outcome"]), (200, &json!("discarded")), "{discarded:?}");
    assert_eq!(daemon.status().await["candidate"], Value::Null);
    assert_eq!(newest(&daemon, "discarded").await["by"], "admin token");
    assert_eq!(daemon.http.post("/v1/approve", &json!({ "discard": true })).await.status, 404);

    // Whoever trains by hand has approved of it.
    for epochs in [20, 30] {
        let trained = daemon.http.post("/v1/train", &json!({ "epochs": epochs })).await.body;
        assert_eq!(trained["outcome"], "promoted", "{trained}");
    }
    traffic::ten_words(&daemon.http, 100).await;
    newest(&daemon, "candidate").await;
    let serving = daemon.http.post("/v1/rollback", &json!({})).await.body["model"].clone();
    let late = daemon.http.post("/v1/approve", &json!({})).await;
    assert_eq!(late.status, 409, "{late:?}");
    assert!(late.detail().contains("compared"), "{late:?}");
    let status = daemon.status().await;
    assert_eq!((&status["model"], &status["candidate"]), (&serving, &Value::Null), "{status}");
}

#[tokio::test]
async fn the_command_channel_may_approve_too() {
    let server = RedisServer::start();
    let daemon = Daemon::start(waiting(&server, "a")).await;
    daemon.ingest(traffic::history()).await;
    traffic::ten_words(&daemon.http, 0).await;
    let id = newest(&daemon, "candidate").await["candidate"].clone();

    let command = json!({ "command": "approve", "training_id": id, "id": "yes-1", "issued_by": "night shift" });
    server.order(&command.to_string()).await;

    let entry = newest(&daemon, "promoted").await;
    assert_eq!((&entry["candidate"], &entry["by"]), (&id, &json!("night shift")), "{entry}");
}
