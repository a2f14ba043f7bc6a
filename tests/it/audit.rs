//! The audit trail: what it keeps on both stores, and that every way in leaves its mark.

use std::process::Command;
use std::sync::Arc;

use nauthilus_neural::store::embedded::EmbeddedStore;
use nauthilus_neural::store::redis::{RedisOptions, RedisStore};
use nauthilus_neural::store::{AuditEntry, Limits, Store};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup, write_secret};
use crate::support::eventually::eventually;
use crate::support::jwt::{Provider, SECRET, claims};
use crate::support::redis::RedisServer;
use crate::support::traffic;

fn entry(number: i64) -> AuditEntry {
    AuditEntry {
        id: String::new(),
        at_ms: number,
        node: "a".to_owned(),
        who: AuditEntry::caller("alice (desk)", "http", "192.0.2.7".parse().ok()),
        command: "reset".to_owned(),
        outcome: "ok".to_owned(),
        detail: json!({ "number": number }),
    }
}

async fn the_newest_entries_come_first(store: &dyn Store) {
    assert_eq!(store.audit(10).await.expect("an empty trail"), []);
    for number in 0..5 {
        store.append_audit(&entry(number)).await.expect("appended");
    }

    assert_eq!(store.audit(2).await.expect("read"), [entry(4), entry(3)]);
    assert_eq!(store.audit(0).await.expect("read"), []);
    let all = store.audit(1000).await.expect("read");
    assert_eq!(all, [4, 3, 2, 1, 0].map(entry));
    assert_eq!(all[0].caller_parts(), ("alice (desk)", Some("http"), Some("192.0.2.7")));
    let large = AuditEntry { outcome: "x".repeat(20_000), ..entry(9) };
    store.append_audit(&large).await.expect_err("an entry is bounded");
}

#[tokio::test]
async fn the_embedded_store_shows_its_audit_trail_newest_first() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("store.redb");
    let store = EmbeddedStore::open(file, Limits::default(), "a").expect("a new store");

    the_newest_entries_come_first(&store).await;
}

#[tokio::test]
async fn the_redis_store_shows_its_audit_trail_newest_first_and_passes_over_foreign_entries() {
    let server = RedisServer::start();
    let options = RedisOptions { url: server.url(), origin: "a".to_owned(), ..RedisOptions::default() };
    let store: Arc<RedisStore> = RedisStore::connect(&options, Limits::default()).expect("sound options");

    the_newest_entries_come_first(store.as_ref()).await;
    server.query(&["XADD", "nt:{neural}:audit", "*", "j", "{\"at_ms\":\"never\"}"]).await;
    server.query(&["XADD", "nt:{neural}:audit", "*", "x", "y"]).await;

    assert_eq!(store.audit(3).await.expect("read"), [entry(4)], "foreign ones count and are left out");
}

/// The trail as (command, who, origin, outcome), oldest first.
async fn trail(daemon: &Daemon) -> Vec<[String; 4]> {
    let answer = daemon.http.get("/v1/audit?limit=1000").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let entries = answer.body.as_array().expect("a list").iter().rev();
    entries.map(|entry| ["command", "who", "origin", "outcome"].map(|name| text(&entry[name]))).collect()
}

#[tokio::test]
async fn every_command_by_http_and_command_line_stands_in_the_trail_and_reading_does_not() {
    let secrets = tempfile::tempdir().expect("a temporary directory");
    write_secret(&secrets.path().join("secret"), SECRET);
    let setup = Setup::new("mx-1")
        .set("jwt.algorithm", "\"HS256\"")
        .set("jwt.key_file", format!("{:?}", secrets.path().join("secret").display().to_string()));
    let daemon = Daemon::start(setup).await;
    let mut who = claims("admin");
    who["sub"] = json!("alice\n@example.org");
    let alice = daemon.stranger().with_token(&Provider::new().sign("HS256", &who));
    let attempt = traffic::attempt(1, "198.51.100.7", "victim-of-the-test");
    traffic::login(&daemon.http, &attempt, false).await;

    alice.post("/v1/train", &json!({})).await;
    alice.post("/v1/reset", &json!({})).await;
    alice.post("/v1/rollback", &json!({ "generation": 7 })).await;
    alice.post("/v1/approve", &json!({})).await;
    alice.put("/v1/learning-mode", &json!({ "enabled": true })).await;
    alice.send("DELETE", "/v1/features", json!({ "names": ["never"] }).to_string().into_bytes()).await;
    alice.post("/v1/feedback", &traffic::feedback(&attempt, true)).await;
    for path in
        ["/v1/status", "/v1/models", "/v1/features", "/v1/learning-mode", "/v1/audit", "/v1/feedback", "/v1/explain/x"]
    {
        alice.get(path).await;
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
        command.arg("--url").arg(format!("http://{}", daemon.http.address()));
        command.arg("--token-file").arg(daemon.state_dir().join("admin.token"));
        let output = command.args(arguments).output().expect("the program runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    run(&["reset"]);

    let shown: Value = serde_json::from_str(&run(&["audit", "--limit", "1", "--json"])).expect("JSON");
    let newest = &shown[0];
    assert_eq!(shown.as_array().map(Vec::len), Some(1));
    let facts = ["command", "who", "origin", "peer", "node", "outcome"].map(|name| newest[name].as_str().unwrap_or(""));
    assert_eq!(facts, ["reset", "admin token", "cli", "127.0.0.1", "mx-1", "ok"]);
    assert!(run(&["audit"]).contains("alice@example.org"));

    let trail = trail(&daemon).await;
    let commands: Vec<_> = trail.iter().map(|entry| (entry[0].as_str(), entry[3].as_str())).collect();
    let (names, outcomes): (Vec<_>, Vec<_>) = commands.into_iter().unzip();
    let all = ["train", "reset", "rollback", "approve", "learning_mode", "remove_features", "feedback", "reset"];
    assert_eq!(names, all);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "ok").count(), 4, "{outcomes:?}");
    assert!(outcomes[0].starts_with("not_enough_data: "), "the training has no model to show: {outcomes:?}");
    let entries = daemon.http.get("/v1/audit").await.body;
    let details: Vec<_> = entries.as_array().into_iter().flatten().rev().map(|entry| &entry["detail"]).collect();
    let word = details[6]["id"].clone();
    let expected = [
        json!({ "outcome": "not_enough_data", "tune": false, "wait": true, "id": details[0]["id"] }),
        Value::Null,
        json!({ "generation": 7 }),
        json!({ "discard": false }),
        json!({ "enabled": true }),
        json!({ "names": ["never"] }),
        json!({ "is_brute_force": true, "request_id": "request-1", "id": word }),
        Value::Null,
    ];
    assert_eq!(details, expected.iter().collect::<Vec<_>>());
    assert!(outcomes[2].contains("generation 7"), "{outcomes:?}");
    assert!(trail[..7].iter().all(|entry| entry[1] == "alice@example.org" && entry[2] == "http"), "{trail:?}");
    let log = daemon.log();
    assert!(log.contains("command reset: ok, by alice@example.org (http, loopback)"), "{log}");
    assert!(log.contains("command learning_mode: ok, by alice@example.org (http, loopback), enabled true"), "{log}");
    for secret in ["127.0.0.1)", "request-1", "victim-of-the-test", "198.51.100.7", SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for wrong in ["0", "1001", "-1", "x"] {
        let answer = daemon.http.get(&format!("/v1/audit?limit={wrong}")).await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &"limit".into()), "{answer:?}");
    }
    assert_eq!(daemon.stranger().get("/v1/audit").await.status, 403);
}

#[tokio::test]
async fn a_command_of_the_channel_stands_in_the_trail_of_the_fleet() {
    let server = RedisServer::start();
    let fleet = Daemon::fleet(&server, ["a", "b"]).await;
    let command = json!({ "command": "reset", "id": "r1", "issued_by": "cron job" }).to_string();
    server.order(&command).await;
    let expected = ["reset", "cron job", "channel", "ok"].map(str::to_owned);

    for daemon in &fleet {
        eventually("the command is recorded once", SOON, || async {
            let trail = trail(daemon).await;
            if trail == [expected.clone()] { Ok(()) } else { Err(format!("{trail:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_training_that_nobody_waits_for_is_recorded_when_it_is_ordered_and_when_it_ends() {
    let daemon = Daemon::start(Setup::new("alone")).await;

    let answer = daemon.http.post("/v1/train", &json!({ "wait": false })).await;

    assert_eq!(answer.status, 202, "{answer:?}");
    eventually("both are recorded", SOON, || async {
        let trail = trail(&daemon).await;
        let outcomes: Vec<_> = trail.iter().map(|[command, _, _, outcome]| (&command[..], &outcome[..])).collect();
        match outcomes[..] {
            [("train", "ordered"), ("train", end)] if end.starts_with("not_enough_data: ") => Ok(()),
            _ => Err(format!("{outcomes:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_trail_that_cannot_be_written_is_said_and_counted_and_fails_no_command() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    server.query(&["SET", "nt:{neural}:audit", "not a stream"]).await;

    let answer = daemon.http.post("/v1/reset", &json!({})).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(daemon.metric("store_errors_total{operation=\"append_audit\"}").await, 1);
    assert!(daemon.log().contains("the reset command is missing in the audit trail"), "{}", daemon.log());
    assert!(daemon.http.get("/v1/audit").await.status >= 500, "and it does not look empty");
}
