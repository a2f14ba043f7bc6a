//! The command channel: what another tool can do with nothing but `PUBLISH`, and what it cannot.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

const REPLIES: &str = "another-tool";

/// Another tool: publishes commands and listens for their results.
struct Tool {
    connection: redis::aio::MultiplexedConnection,
    replies: redis::aio::PubSub,
}

impl Tool {
    async fn on(server: &RedisServer) -> Self {
        let client = redis::Client::open(server.url()).expect("the address is good");
        let mut replies = client.get_async_pubsub().await.expect("the server answers");
        replies.subscribe(REPLIES).await.expect("subscribed");
        Self { connection: server.connection().await, replies }
    }

    async fn publish(&mut self, message: &str) {
        let heard: u64 = self.connection.publish("nt:{neural}:commands", message).await.expect("published");
        assert_eq!(heard, 3, "every node listens");
    }

    /// The next result of the command `id`. A repetition, or a node that is late, may send a result more than once.
    async fn reply(&mut self, id: &str) -> Value {
        loop {
            let message = tokio::time::timeout(SOON, self.replies.on_message().next()).await.expect("a reply in time");
            let payload = message.expect("an open subscription");
            let reply: Value = serde_json::from_slice(payload.get_payload_bytes()).expect("JSON");
            if reply["id"] == id {
                return reply;
            }
        }
    }

    /// Publishes a command with an id and returns its result, which must lie under the id as well.
    async fn ask(&mut self, id: &str, mut command: Value) -> Value {
        command["id"] = id.into();
        command["reply_to"] = REPLIES.into();
        self.publish(&command.to_string()).await;
        let reply = self.reply(id).await;
        assert_eq!(reply["command"], command["command"], "{reply}");
        let kept: String = self.connection.get(format!("nt:{{neural}}:results:{id}")).await.expect("a kept result");
        assert_eq!(serde_json::from_str::<Value>(&kept).expect("JSON")["command"], command["command"]);
        reply
    }
}

async fn each(fleet: &[Daemon], path: &str) -> Vec<Value> {
    let mut values = Vec::new();
    for daemon in fleet {
        let status = daemon.status().await;
        values.push(status.pointer(path).cloned().unwrap_or(Value::Null));
    }
    values
}

async fn all(fleet: &[Daemon], path: &str, wanted: Value) {
    eventually(&format!("{path} is {wanted} on all nodes"), SOON, || async {
        let values = each(fleet, path).await;
        if values.iter().all(|value| *value == wanted) { Ok(()) } else { Err(format!("{values:?}")) }
    })
    .await;
}

async fn writes(fleet: &[Daemon]) -> u64 {
    each(fleet, "/registry_writes").await.iter().filter_map(Value::as_u64).sum()
}

#[tokio::test]
async fn d21_a_published_command_takes_effect_once_in_the_fleet_and_leaves_its_result() {
    let server = RedisServer::start();
    let fleet = Daemon::fleet(&server, ["a", "b", "c"]).await;
    let mut tool = Tool::on(&server).await;
    fleet[0].ingest(traffic::history()).await;

    tool.publish(r#"{"command":"train","samples":5000,"epochs":20}"#).await;
    all(&fleet, "/model/generation", json!(1)).await;
    assert_eq!(writes(&fleet).await, 1);

    let trained = tool.ask("train-1", json!({ "command": "train", "epochs": 30 })).await;
    assert_eq!((&trained["ok"], &trained["result"]["outcome"]), (&true.into(), &"promoted".into()), "{trained}");
    let (node, repeated) = (&trained["node"], tool.ask("train-1", json!({ "command": "train", "epochs": 30 })).await);
    assert_eq!(repeated, trained, "the same id is the same command; {node} carried it out");
    all(&fleet, "/model/generation", json!(2)).await;
    assert_eq!(writes(&fleet).await, 2, "not trained again");

    let late = json!({ "command": "train", "epochs": 30, "expires_at": "2020-01-01T00:00:00Z" });
    assert_eq!(tool.ask("train-1", late).await, trained, "nor does a late repetition take the result away");

    tool.ask("back-1", json!({ "command": "rollback", "generation": 1, "issued_by": "night shift" })).await;
    all(&fleet, "/model/generation", json!(3)).await;
    assert_eq!(writes(&fleet).await, 3);

    for enabled in [true, false] {
        let switch = json!({ "command": "learning_mode", "enabled": enabled });
        let switched = tool.ask(&format!("mode-{enabled}"), switch).await;
        assert_eq!(switched["result"]["learning_mode"], enabled, "{switched}");
        all(&fleet, "/learning_mode", enabled.into()).await;
    }

    let attempt = traffic::attempt(1, "203.0.113.66", "alice");
    traffic::login(&fleet[1].http, &attempt, false).await;
    let mut word = traffic::feedback(&attempt, true);
    word["command"] = "feedback".into();
    let given = tool.ask("word-1", word).await;
    assert_eq!((&given["result"]["status"], &given["result"]["pending"]), (&"recorded".into(), &1.into()), "{given}");
    assert_eq!(given["result"]["id"], "word-1", "{given}");
    all(&fleet, "/feedback/pending", json!(1)).await;

    for (id, command) in [("reload-1", "reload_model"), ("status-1", "status")] {
        let mut nodes = BTreeSet::from([tool.ask(id, json!({ "command": command })).await["node"].to_string()]);
        for _ in 1..fleet.len() {
            nodes.insert(tool.reply(id).await["node"].to_string());
        }
        assert_eq!(nodes.len(), fleet.len(), "each node answers for itself: {nodes:?}");
    }

    let reset = tool.ask("reset-1", json!({ "command": "reset" })).await;
    assert_eq!((&reset["ok"], &reset["result"]["model"]), (&true.into(), &Value::Null), "{reset}");
    all(&fleet, "/model", Value::Null).await;
    assert_eq!(writes(&fleet).await, 4);
    let ttl: u64 =
        redis::cmd("TTL").arg("nt:{neural}:results:reset-1").query_async(&mut tool.connection).await.unwrap();
    assert!((3500..=3600).contains(&ttl), "kept for an hour: {ttl}");
}

#[tokio::test]
async fn a_command_that_is_malformed_expired_oversized_or_unknown_is_counted_and_changes_nothing() {
    let server = RedisServer::start();
    let fleet = Daemon::fleet(&server, ["a", "b", "c"]).await;
    let mut tool = Tool::on(&server).await;
    let secret = "hunter2";
    let oversized = json!({ "command": "reset", "issued_by": secret.repeat(800) }).to_string();
    let history: Vec<Value> = each(&fleet, "/registry_writes").await;

    for (message, command, outcome) in [
        (format!("{secret} is not JSON"), "unknown", "malformed"),
        (json!([secret]).to_string(), "unknown", "malformed"),
        (json!({ "command": secret }).to_string(), "unknown", "malformed"),
        (json!({ "command": "reset", secret: 1 }).to_string(), "unknown", "malformed"),
        (json!({ "command": "learning_mode", "enabled": secret }).to_string(), "unknown", "malformed"),
        (json!({ "command": "train", "epochs": 0 }).to_string(), "unknown", "malformed"),
        (json!({ "command": "train", "expires_at": secret }).to_string(), "unknown", "malformed"),
        (json!({ "command": "reset", "expires_at": "2020-01-01T00:00:00Z" }).to_string(), "reset", "expired"),
        (oversized, "unknown", "oversized"),
    ] {
        let name = format!("commands_total{{command={command:?},outcome={outcome:?}}}");
        let mut before = Vec::new();
        for daemon in &fleet {
            before.push(daemon.metric(&name).await);
        }
        tool.publish(&message).await;
        for (daemon, before) in fleet.iter().zip(before) {
            eventually(&format!("{message:.60} is counted as {outcome}"), SOON, || async {
                let counted = daemon.metric(&name).await;
                if counted == before + 1 { Ok(()) } else { Err(format!("{counted} after {before}")) }
            })
            .await;
        }
    }
    for (reason, id, message) in [
        ("expired", "late-1", json!({ "command": "reset", "expires_at": "2020-01-01T00:00:00Z" })),
        ("command", "bad-1", json!({ "command": "explode" })),
    ] {
        let reply = tool.ask(id, message).await;
        assert_eq!(reply["ok"], false, "{reply}");
        assert!(reply["error"].as_str().is_some_and(|error| error.contains(reason)), "{reply}");
    }

    assert_eq!(each(&fleet, "/registry_writes").await, history, "nothing was reset");
    for daemon in &fleet {
        assert!(!daemon.log().contains(secret), "no payload in the log: {}", daemon.log());
    }
}

#[tokio::test]
async fn an_operators_rollback_holds_until_an_operator_trains_and_a_reset_leaves_static_results() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    daemon.ingest(traffic::history()).await;
    let mut models = Vec::new();
    for epochs in [20, 30] {
        let trained = daemon.http.post("/v1/train", &json!({ "epochs": epochs })).await;
        assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
        models.push(trained.body["model"]["sha256"].clone());
    }
    assert_ne!(models[0], models[1]);
    let rolled_back = daemon.http.post("/v1/rollback", &json!({})).await;
    assert_eq!(rolled_back.body["model"]["sha256"], models[0], "{rolled_back:?}");
    let newest = async || daemon.http.get("/v1/models").await.body[0].clone();
    let ended = async |trigger: &str, outcome: &str| {
        eventually("the training ends", SOON, || async {
            let last = newest().await;
            if last["trigger"] == trigger && last["outcome"] == outcome { Ok(last) } else { Err(last.to_string()) }
        })
        .await
    };

    traffic::ten_words(&daemon.http, 100).await;
    let refused = ended("feedback", "refused").await;
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("pinned")), "{refused}");
    assert_eq!(daemon.status().await["model"]["sha256"], models[0], "pinned");
    eventually("an operator may train", SOON, || async {
        let trained = daemon.http.post("/v1/train", &json!({})).await;
        if trained.body["outcome"] == "promoted" { Ok(()) } else { Err(format!("{trained:?}")) }
    })
    .await;
    traffic::ten_words(&daemon.http, 200).await;
    ended("feedback", "promoted").await;

    let reset = daemon.http.post("/v1/reset", &json!({})).await;
    assert_eq!((reset.status, &reset.body["model"]), (200, &Value::Null), "{reset:?}");
    let mode = daemon.http.get("/v1/learning-mode").await.body;
    assert_eq!(mode, json!({ "learning_mode": true, "enabled": true, "trained": false, "dry_run": false }));
    for (number, triggered, verdict) in [(1, false, "allow"), (2, true, "block")] {
        let mut attempt = traffic::attempt(number, "198.51.100.7", "alice");
        attempt["static_rule_triggered"] = triggered.into();
        let scored = daemon.http.post("/v1/score", &attempt).await.body;
        assert_eq!((&scored["verdict"], &scored["model"]), (&verdict.into(), &Value::Null), "{scored}");
        assert!(scored["probability"].is_f64() && scored["threshold"].is_null(), "the prior watches: {scored}");
    }
}
