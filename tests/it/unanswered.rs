//! Commands while the store is frozen, slow, mute or away: what is answered, what is recorded, and that both are true.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;
use crate::support::wire::Wire;

const MODE: &str = "/v1/learning-mode";
const ADMIN: &str = "/api/v1/custom/distributed-brute-force-admin";
/// Stands in the request that switches learning mode for a person, and in no other.
const OPERATOR: &str = "\"cause\":\"operator\"";
/// Most entries of the audit trail that wait for the store.
const WAITING_MAX: usize = 256;

fn order(number: usize) -> Value {
    json!({ "kind": "block", "username": format!("victim-{number}"), "network": "198.51.100.7", "reason": "r" })
}

fn feedback_hook(number: usize) -> String {
    format!(
        "/api/v1/custom/neural-feedback?is_brute_force=true&client_ip=198.51.100.7&username=bob&request_id=request-{number}"
    )
}

/// A node on a server that knows the scripts: the mode is off, one order stands, one word is given, and three entries tell so.
async fn used(setup: Setup) -> Daemon {
    let daemon = Daemon::start(setup).await;
    for number in 0..3 {
        traffic::login(&daemon.http, &traffic::attempt(number, "198.51.100.7", "bob"), false).await;
    }
    assert_eq!(daemon.http.put(MODE, &json!({ "enabled": false })).await.status, 200);
    assert_eq!(daemon.http.put("/v1/overrides", &order(0)).await.status, 200);
    assert_eq!(daemon.http.get(&feedback_hook(0)).await.body["status"], "success");
    daemon
}

/// The trail, oldest first, as soon as it has `length` entries.
async fn trail(daemon: &Daemon, length: usize) -> Vec<Value> {
    eventually("the trail is complete", SOON, || async {
        let answer = daemon.http.get("/v1/audit?limit=1000").await;
        let entries: Vec<_> = answer.body.as_array().into_iter().flatten().rev().cloned().collect();
        if entries.len() >= length { Ok(entries) } else { Err(format!("{answer:?}")) }
    })
    .await
}

/// What [`used`] has left behind still stands, in the store and on the node, and nothing was added.
async fn nothing_changed(server: &RedisServer, daemon: &Daemon) {
    let mode = server.query(&["GET", "nt:{neural}:mode"]).await;
    assert!(mode.contains("'\"0 "), "{mode}");
    assert_eq!(daemon.status().await["mode"]["switched_on"], false);
    assert_eq!(daemon.http.get("/v1/overrides").await.body["total"], 1);
    assert_eq!(server.query(&["XLEN", "nt:{neural}:feedback"]).await, "int(1)");
}

#[tokio::test]
async fn a_command_that_a_frozen_store_was_not_given_has_no_effect_when_it_goes_on() {
    let server = RedisServer::start();
    let daemon = used(Setup::on(&server, "a")).await;

    server.freeze();
    let (on, pair, call) = (json!({ "enabled": true }), order(1), feedback_hook(1));
    let (mode, put, hook) =
        tokio::join!(daemon.http.put(MODE, &on), daemon.http.put("/v1/overrides", &pair), daemon.http.get(&call));
    server.thaw();

    assert_eq!((mode.status, put.status), (503, 503), "{mode:?} {put:?}");
    assert_eq!(hook.body["message"], "Failed to record feedback", "{hook:?}");
    let trail = trail(&daemon, 6).await;
    for entry in &trail[3..] {
        assert!(entry["outcome"].as_str().is_some_and(|said| said.ends_with("the store is unavailable")), "{entry}");
    }
    nothing_changed(&server, &daemon).await;
}

#[tokio::test]
async fn a_command_that_reaches_the_store_after_its_deadline_is_unknown_and_has_no_effect() {
    let server = RedisServer::start();
    let wire = Wire::to(server.port()).await;
    let daemon = used(Setup::on(&server, "a").set("redis.url", format!("{:?}", wire.url()))).await;

    wire.hold(OPERATOR);
    let answer = daemon.http.put(MODE, &json!({ "enabled": true })).await;
    wire.let_go();

    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(answer.detail().contains("nobody knows yet"), "{answer:?}");
    eventually("the store has said that it is late", SOON, || async {
        if wire.heard("-LATE ") { Ok(()) } else { Err(daemon.log()) }
    })
    .await;
    let trail = trail(&daemon, 4).await;
    assert!(trail[3]["outcome"].as_str().is_some_and(|said| said.starts_with("unknown: ")), "{trail:?}");
    nothing_changed(&server, &daemon).await;
}

#[tokio::test]
async fn a_command_without_an_answer_is_called_unknown_on_every_way_in() {
    let server = RedisServer::start();
    let wire = Wire::to(server.port()).await;
    let daemon = used(Setup::on(&server, "a").set("redis.url", format!("{:?}", wire.url()))).await;
    let connected = async || {
        eventually("connected", SOON, || async {
            let audit = daemon.http.get("/v1/audit").await;
            if audit.status == 200 { Ok(()) } else { Err(format!("{audit:?}")) }
        })
        .await;
    };

    wire.cut_behind("because-of-4711");
    let mut reasoned = order(1);
    reasoned["reason"] = "because-of-4711".into();
    let put = daemon.http.put("/v1/overrides", &reasoned).await;
    assert_eq!(put.status, 504, "{put:?}");
    assert!(put.detail().contains("`override list`"), "{put:?}");

    connected().await;
    wire.cut_behind("feedback:ids");
    let hook = daemon.http.get(&feedback_hook(1)).await.body;
    assert_eq!((&hook["status"], &hook["message"]), (&json!("error"), &json!("The outcome is unknown")));

    connected().await;
    wire.cut_behind(OPERATOR);
    let hook = daemon.http.get("/api/v1/custom/learning-mode?enabled=true").await.body;
    assert_eq!((&hook["message"], &hook["learning_mode"]), (&json!("The outcome is unknown"), &Value::Null), "{hook}");

    connected().await;
    wire.cut_behind(OPERATOR);
    let mut cli = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
    cli.arg("--url").arg(format!("http://{}", daemon.http.address()));
    cli.arg("--token-file").arg(daemon.state_dir().join("admin.token")).args(["learning-mode", "off"]);
    let run = tokio::task::spawn_blocking(move || cli.output());
    let output = run.await.expect("no panic").expect("the program runs");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not know whether it was done"), "{output:?}");

    connected().await;
    wire.cut_behind(OPERATOR);
    let command = json!({ "command": "learning_mode", "enabled": true, "id": "m1", "issued_by": "cron" }).to_string();
    server.order(&command).await;
    eventually("the channel has its result", SOON, || async {
        let result = server.query(&["GET", "nt:{neural}:results:m1"]).await;
        if result.contains("unknown") && result.contains(":true") { Ok(()) } else { Err(result) }
    })
    .await;

    let trail = trail(&daemon, 8).await;
    let origins: Vec<_> = trail[3..].iter().map(|entry| entry["origin"].as_str().unwrap_or_default()).collect();
    assert_eq!(origins, ["http", "hook", "hook", "cli", "channel"], "each once: {trail:?}");
    for entry in &trail[3..] {
        assert!(entry["outcome"].as_str().is_some_and(|said| said.starts_with("unknown: ")), "{entry}");
    }
    assert_eq!(daemon.metric("commands_total{command=\"learning_mode\",outcome=\"unknown\"}").await, 3);
    assert!(!daemon.log().contains("missing in the audit trail"), "nothing is: {}", daemon.log());
}

#[tokio::test]
async fn a_node_whose_answer_got_lost_shows_soon_what_became_of_its_command() {
    let server = RedisServer::start();
    let wire = Wire::to(server.port()).await;
    let daemon = Daemon::start(Setup::on(&server, "a").set("redis.url", format!("{:?}", wire.url()))).await;
    assert_eq!(daemon.http.put(MODE, &json!({ "enabled": true })).await.status, 200);

    wire.cut_behind(OPERATOR);
    let answer = daemon.http.put(MODE, &json!({ "enabled": false })).await;

    assert_eq!(answer.status, 504, "{answer:?}");
    eventually("the node shows it", SOON, || async {
        let mode = daemon.status().await["mode"].clone();
        if mode["switched_on"] == false { Ok(()) } else { Err(mode.to_string()) }
    })
    .await;
    let trail = trail(&daemon, 2).await;
    assert_eq!((trail.len(), &trail[1]["detail"]), (2, &json!({ "enabled": false })), "{trail:?}");
    assert!(trail[1]["outcome"].as_str().is_some_and(|said| said.starts_with("unknown: ")), "{trail:?}");
}

#[tokio::test]
async fn what_is_done_without_the_store_is_recorded_when_it_is_back() {
    let mut server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    server.stop();
    eventually("the node has noticed", SOON, || async {
        let store = daemon.status().await["store"].clone();
        if store["connected"] == false { Ok(()) } else { Err(store.to_string()) }
    })
    .await;

    for number in 0..WAITING_MAX + 2 {
        let query = if number == 1 { "reset_account&username=victim-of-the-test" } else { "reset_protection" };
        let answer = daemon.http.get(&format!("{ADMIN}?action={query}")).await;
        assert_eq!(answer.body["status"], "success", "{answer:?}");
    }
    let log = daemon.log();
    assert_eq!(log.matches("is missing in the audit trail").count(), 2, "as many as there was no room for");
    assert!(log.contains("the entry of the reset_account command waits for the audit trail"), "{log}");
    assert_eq!(daemon.metric("store_errors_total{operation=\"append_audit\"}").await, 2);
    server.restart();

    let trail = trail(&daemon, WAITING_MAX).await;
    assert_eq!(trail.len(), WAITING_MAX);
    let names: Vec<_> = trail.iter().map(|entry| entry["command"].as_str().unwrap_or_default()).collect();
    assert_eq!(names[..3], ["reset_protection", "reset_account", "reset_protection"], "in their order");
    let account = trail[1]["detail"]["account"].as_str().unwrap_or_default();
    assert!(account.len() == 16 && !trail[1].to_string().contains("victim"), "{}", trail[1]);
    assert!(trail.iter().all(|entry| entry["outcome"] == "ok" && entry["origin"] == "hook"));
    assert!(!daemon.log().contains("victim-of-the-test"));
}
