//! Single pairs released or blocked by operators: by every way in, obeyed on every node, until they end.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use nauthilus_neural::clock;
use nauthilus_neural::detection::attempt::Pseudonym;
use nauthilus_neural::detection::overrides::{OVERRIDES_MAX, Override, OverrideKind, parse_network};
use nauthilus_neural::store::overrides::OverridesChange;
use nauthilus_neural::store::redis::{RedisOptions, RedisStore};
use nauthilus_neural::store::{Limits, Store};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::{RedisServer, RedisSetup};
use crate::support::traffic;

const PATH: &str = "/v1/overrides";
const NAME: &str = "Victim-of-the-test";
const PLACE: &str = "198.51.100.7";
/// The slowest poll, and something for the machine.
const UNHEARD: Duration = Duration::from_secs(25);

fn order(kind: &str) -> Value {
    json!({ "kind": kind, "username": NAME, "network": PLACE, "reason": "ticket 4711" })
}

async fn put(daemon: &Daemon, body: &Value) -> Value {
    let answer = daemon.http.put(PATH, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

async fn remove(daemon: &Daemon, body: Value) -> u16 {
    daemon.http.send("DELETE", PATH, body.to_string().into_bytes()).await.status
}

async fn list(daemon: &Daemon) -> Vec<Value> {
    let answer = daemon.http.get(PATH).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let listed = answer.body["overrides"].as_array().expect("a list").clone();
    assert_eq!((&answer.body["total"], &answer.body["next"]), (&json!(listed.len()), &Value::Null), "all on one page");
    listed
}

/// A number for a request of its own.
fn number() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(50_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn score(daemon: &Daemon, ip: &str, username: &str) -> Value {
    let answer = daemon.http.post("/v1/score", &traffic::attempt(number(), ip, username)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Scores the pair until the answer has this verdict.
async fn answered(daemon: &Daemon, verdict: &str, soon: Duration) -> Value {
    eventually(&format!("the pair is answered {verdict}"), soon, || async {
        let answer = score(daemon, PLACE, NAME).await;
        if answer["verdict"] == verdict { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await
}

/// A node whose model blocks whatever it is asked about.
fn severe(setup: Setup) -> Setup {
    setup.set("ml.threshold", "0.000000001")
}

async fn trained(daemon: &Daemon) {
    daemon.ingest(traffic::history()).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await.body;
    assert_eq!(trained["outcome"], "promoted", "{trained}");
}

#[tokio::test]
async fn a_release_on_one_node_is_obeyed_on_the_other_until_it_is_taken_back() {
    let server = RedisServer::start();
    let fleet =
        [Daemon::start(severe(Setup::on(&server, "a"))).await, Daemon::start(severe(Setup::on(&server, "b"))).await];
    trained(&fleet[0]).await;
    for daemon in &fleet {
        answered(daemon, "block", SOON).await;
    }

    let given = put(&fleet[0], &order("release")).await;

    assert_eq!((&given["network"], &given["kind"]), (&json!("198.51.100.0/24"), &json!("release")));
    for daemon in &fleet {
        let released = answered(daemon, "allow", SOON).await;
        assert_eq!((&released["would_be"], &released["override_id"]), (&json!("allow"), &given["id"]), "{released}");
        assert!(released["reason"].as_str().is_some_and(|reason| reason.contains("operator has released")));
        for (ip, username) in [("198.51.101.7", NAME), (PLACE, "somebody-else")] {
            let other = score(daemon, ip, username).await;
            assert_eq!((&other["verdict"], other.get("override_id")), (&json!("block"), None), "{other}");
        }
        assert_eq!(score(daemon, "198.51.100.250", &NAME.to_uppercase()).await["verdict"], "allow", "in any spelling");
        let mut ruled = traffic::attempt(number(), PLACE, NAME);
        ruled["static_rule_triggered"] = true.into();
        let ruled = daemon.http.post("/v1/score", &ruled).await.body;
        assert_eq!(ruled["verdict"], "block", "a release lifts no rule: {ruled}");
        assert_eq!(daemon.metric("overrides{kind=\"release\"}").await, 1);
        assert!(daemon.metric("override_verdicts_total{kind=\"release\"}").await >= 2);
    }
    let listed = list(&fleet[1]).await;
    assert_eq!(listed.len(), 1);
    let facts = ["id", "kind", "network", "by", "reason"].map(|name| listed[0][name].as_str().unwrap_or("").to_owned());
    assert_eq!(facts[0], given["id"].as_str().unwrap_or_default());
    assert_eq!(facts[1..], ["release", "198.51.100.0/24", "admin token", "ticket 4711"]);
    assert!(
        listed[0]["account"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(NAME)),
        "it was heard: {listed:?}"
    );

    assert_eq!(remove(&fleet[1], json!({ "username": NAME, "network": "198.51.100.0/24" })).await, 200);

    for daemon in &fleet {
        answered(daemon, "block", SOON).await;
        assert!(list(daemon).await.is_empty());
    }
    assert_eq!(remove(&fleet[1], json!({ "id": given["id"] })).await, 404, "once");
    let audit = fleet[0].http.get("/v1/audit").await.body;
    let commands: Vec<_> = audit.as_array().into_iter().flatten().map(|entry| &entry["command"]).collect();
    assert_eq!(commands[..3], ["override_remove", "override_remove", "override_release"], "{audit}");
    let facts = ["who", "origin", "peer", "node", "outcome"].map(|name| audit[2][name].as_str().unwrap_or_default());
    assert_eq!(facts, ["admin token", "http", "127.0.0.1", "a", "ok"]);
    for daemon in &fleet {
        let log = daemon.log().to_lowercase();
        for secret in [&NAME.to_lowercase()[..], "198.51.100", "ticket 4711"] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
    }
    let stored = server.query(&["HGETALL", "nt:{neural}:overrides"]).await.to_lowercase();
    assert!(!stored.contains(&NAME.to_lowercase()), "{stored}");
}

#[tokio::test]
async fn a_block_is_obeyed_without_a_model_and_in_learning_mode_and_shows_in_would_be_of_a_dry_run() {
    let server = RedisServer::start();
    let acting = Daemon::start(Setup::on(&server, "acting")).await;
    let dry = Daemon::start(Setup::on(&server, "dry").set("ml.dry_run", "true")).await;
    let trusting = Setup::on(&server, "trusting").set("lists.trusted_networks", "[\"198.51.100.0/24\"]");
    let trusting = Daemon::start(trusting).await;
    let given = put(&acting, &order("block")).await;

    for daemon in [&acting, &trusting] {
        let blocked = answered(daemon, "block", SOON).await;
        assert_eq!((&blocked["would_be"], &blocked["override_id"]), (&json!("block"), &given["id"]), "{blocked}");
        assert!(blocked["reason"].as_str().is_some_and(|reason| reason.contains("operator has blocked")), "{blocked}");
    }
    trained(&acting).await;
    assert_eq!(acting.http.put("/v1/learning-mode", &json!({ "enabled": true })).await.status, 200);
    let learning = answered(&acting, "block", SOON).await;
    assert_eq!(learning["learning_mode"], true, "{learning}");

    eventually("the dry node knows of it", SOON, || async {
        let answer = score(&dry, PLACE, NAME).await;
        if answer["would_be"] == "block" && answer["override_id"] == given["id"] {
            assert_eq!(answer["verdict"], "allow", "{answer}");
            return Ok(());
        }
        Err(answer.to_string())
    })
    .await;
    assert_eq!(dry.metric("override_verdicts_total{kind=\"block\"}").await, 0, "it decided nothing there");

    // The newer order for the same pair is the one that counts.
    put(&dry, &order("release")).await;
    answered(&acting, "allow", SOON).await;
    assert_eq!(list(&acting).await.len(), 1);
}

#[tokio::test]
async fn an_order_ends_by_itself_and_is_swept_out() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    // Put there as another node would, because a person cannot order anything so short.
    let options = RedisOptions { url: server.url(), origin: "b".to_owned(), ..RedisOptions::default() };
    let store: Arc<RedisStore> = RedisStore::connect(&options, Limits::default()).expect("sound options");
    put(&daemon, &order("block")).await;
    let mut held = store.overrides(None).await.expect("read").expect("an order").orders;
    let short = Override { until: clock::now().plus_millis(3000), ..held.remove(0) };
    store.change_overrides(&OverridesChange::Put(short.clone())).await.expect("stored");

    answered(&daemon, "allow", SOON).await;

    assert!(clock::now() >= short.until, "not before its time");
    assert!(list(&daemon).await.is_empty(), "an ended order is not shown");
    let long_ended = Override { until: clock::now().plus_millis(-120_000), ..short };
    store.change_overrides(&OverridesChange::Put(long_ended)).await.expect("stored");
    eventually("it is swept out", UNHEARD, || async {
        let held = server.query(&["HLEN", "nt:{neural}:overrides"]).await;
        if held.contains("int(1)") { Ok(()) } else { Err(held) }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_obeyed_is_refused_and_changes_nothing() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    for (field, value) in [
        ("kind", json!("burn")),
        ("username", json!("")),
        ("network", json!("198.51.100.0/33")),
        ("network", json!("0.0.0.0/0")),
        ("reason", json!("x".repeat(501))),
        ("reason", json!("")),
        ("until", json!("2020-01-01T00:00:00Z")),
        ("until", json!("2999-01-01T00:00:00Z")),
        ("duration", json!("59s")),
        ("duration", json!("2y")),
        ("colour", json!("red")),
    ] {
        let mut body = order("block");
        body[field] = value.clone();
        let answer = daemon.http.put(PATH, &body).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some(field)), "{value}: {answer:?}");
        assert!(!answer.text.contains(NAME), "{answer:?}");
    }
    assert_eq!(remove(&daemon, json!({ "id": "0011223344556677" })).await, 404);
    assert_eq!(remove(&daemon, json!({ "username": NAME })).await, 400);
    for client in [daemon.stranger(), daemon.stranger().with_token("wrong")] {
        for method in ["GET", "PUT", "DELETE"] {
            let status = client.send(method, PATH, order("block").to_string().into_bytes()).await.status;
            assert!([401, 403].contains(&status), "{method}: {status}");
        }
    }
    assert!(list(&daemon).await.is_empty());

    let options = RedisOptions { url: server.url(), origin: "b".to_owned(), ..RedisOptions::default() };
    let store: Arc<RedisStore> = RedisStore::connect(&options, Limits::default()).expect("sound options");
    store.change_overrides(&OverridesChange::Restore(blocks(OVERRIDES_MAX as u64))).await.expect("stored");
    let full = daemon.http.put(PATH, &order("block")).await;
    assert_eq!(full.status, 409, "{full:?}");
    assert!(full.body["detail"].as_str().is_some_and(|detail| detail.contains("10000")), "{full:?}");
    eventually("all of them count", SOON, || async {
        let count = daemon.metric("overrides{kind=\"block\"}").await;
        if count == OVERRIDES_MAX as u64 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    assert_eq!(score(&daemon, PLACE, NAME).await["verdict"], "allow");
    assert_eq!(daemon.status().await["overrides"], json!({ "release": 0, "block": OVERRIDES_MAX }));
}

/// Blocks for so many accounts, as another node gives them: each newer than the one before.
fn blocks(count: u64) -> Vec<Override> {
    let now = clock::now();
    let order = |number: u64| Override {
        account: Pseudonym([number.to_be_bytes(), [1; 8]].concat().try_into().expect("sixteen bytes")),
        network: parse_network(PLACE).expect("an address"),
        kind: OverrideKind::Block,
        since: now.plus_millis(number.cast_signed() - 20_000),
        until: now.plus_millis(3_600_000),
        by: "alice".to_owned(),
        reason: "many".to_owned(),
    };
    (0..count).map(order).collect()
}

#[tokio::test]
async fn a_long_list_is_shown_in_pages_that_miss_nothing_by_http_by_channel_and_on_the_command_line() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    assert_eq!(daemon.status().await["overrides"], json!({ "release": 0, "block": 0 }));
    let options = RedisOptions { url: server.url(), origin: "b".to_owned(), ..RedisOptions::default() };
    let store: Arc<RedisStore> = RedisStore::connect(&options, Limits::default()).expect("sound options");
    store.change_overrides(&OverridesChange::Restore(blocks(450))).await.expect("stored");
    put(&daemon, &order("release")).await;

    let page = |query: &'static str| {
        let daemon = &daemon;
        async move { daemon.http.get(&format!("{PATH}{query}")).await.body }
    };
    let (mut ids, mut offset) = (Vec::new(), 0);
    for (length, next) in [(200, json!(200)), (200, json!(400)), (51, Value::Null)] {
        let shown = daemon.http.get(&format!("{PATH}?offset={offset}")).await.body;
        assert_eq!((&shown["total"], &shown["next"]), (&json!(451), &next));
        let orders = shown["overrides"].as_array().expect("a list");
        assert_eq!(orders.len(), length);
        ids.extend(orders.iter().map(|order| order["id"].as_str().expect("an id").to_owned()));
        offset = next.as_u64().unwrap_or_default();
    }
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 451, "each once");
    let newest = page("?limit=1").await;
    assert_eq!(newest["overrides"][0]["kind"], "release", "newest first: {newest}");
    assert_eq!(page("?offset=450&limit=7").await["overrides"][0]["id"], json!(ids[450]));
    assert_eq!(page("?offset=451").await, json!({ "total": 451, "overrides": [], "next": null }));
    for (query, field) in [
        ("?limit=0", "limit"),
        ("?limit=201", "limit"),
        ("?offset=10001", "offset"),
        ("?offset=-1", "offset"),
        ("?page=2", "offset"),
    ] {
        let refused = daemon.http.get(&format!("{PATH}{query}")).await;
        assert_eq!((refused.status, refused.body["field"].as_str()), (400, Some(field)), "{query}: {refused:?}");
    }

    let listed: Value = serde_json::from_str(&printed(&run(&daemon, &["--json", "override", "list"]))).expect("JSON");
    let listed: Vec<_> = listed.as_array().into_iter().flatten().filter_map(|order| order["id"].as_str()).collect();
    assert_eq!(listed, ids, "the command line turns the pages");
    let status = printed(&run(&daemon, &["status"]));
    assert!(status.contains("overrides: 1 release, 450 block"), "{status}");

    let command = json!({ "command": "override_list", "offset": 0, "limit": 2, "id": "l1" }).to_string();
    server.order(&command).await;
    let result = eventually("the page is kept", SOON, || async {
        let result = server.query(&["GET", "nt:{neural}:results:l1"]).await;
        if result.contains("override_list") { Ok(result) } else { Err(result) }
    })
    .await;
    assert!(result.contains(&ids[0]) && result.contains(&ids[1]) && !result.contains(&ids[2]), "{result}");
    assert!(result.contains("451") && result.contains("ticket 4711"), "{result}");
    assert!(!result.to_lowercase().contains(&NAME.to_lowercase()), "results lie in the store: {result}");
    let trail = daemon.http.get("/v1/audit").await.body;
    assert!(!trail.to_string().contains("override_list"), "reading is not audited: {trail}");
}

#[tokio::test]
async fn orders_survive_a_restart_without_the_store_and_a_store_that_lost_everything() {
    let mut server = RedisServer::start_with(RedisSetup::default());
    let mut daemon = Daemon::start(Setup::on(&server, "a")).await;
    let given = put(&daemon, &order("block")).await;
    server.kill();
    answered(&daemon, "block", SOON).await;
    let refused = daemon.http.put(PATH, &order("release")).await;
    assert_eq!(refused.status, 503, "an order that nobody can keep is none: {refused:?}");
    assert_eq!(list(&daemon).await.len(), 1, "what was last known");

    daemon.stop().await;
    daemon.start_again().await;
    answered(&daemon, "block", SOON).await;

    // It comes back empty: the node puts the order back, and a new node learns of it.
    server.restart();
    eventually("the order is put back", UNHEARD, || async {
        let held = server.query(&["HLEN", "nt:{neural}:overrides"]).await;
        if held.contains("int(2)") { Ok(()) } else { Err(held) }
    })
    .await;
    let other = Daemon::start(Setup::on(&server, "b")).await;
    assert_eq!(answered(&other, "block", SOON).await["override_id"], given["id"]);
}

#[tokio::test]
async fn a_node_that_may_not_listen_obeys_within_twenty_seconds() {
    let server = RedisServer::start();
    let hearing = Daemon::start(Setup::on(&server, "hearing")).await;
    let deaf = Daemon::deaf(&server).await;

    put(&hearing, &order("block")).await;

    answered(&deaf, "block", UNHEARD).await;
    assert_eq!(deaf.metric("announcements_received_total").await, 0);
}

fn run(daemon: &Daemon, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
    command.arg("--url").arg(format!("http://{}", daemon.http.address()));
    command.arg("--token-file").arg(daemon.state_dir().join("admin.token"));
    command.args(arguments).output().expect("the program runs")
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[tokio::test]
async fn the_command_line_orders_shows_and_takes_back() {
    let daemon = Daemon::start(Setup::new("alone")).await;

    let blocked = run(&daemon, &["override", "block", NAME, PLACE, "--reason", "ticket 4711", "--for", "2h"]);
    assert!(printed(&blocked).starts_with("blocked from 198.51.100.0/24 until "), "{blocked:?}");
    // Before anybody tries to log in: the name is known from the order.
    let shown = printed(&run(&daemon, &["override", "list"]));
    assert!(
        ["block", NAME, "198.51.100.0/24", "admin token", "ticket 4711"].iter().all(|word| shown.contains(word)),
        "{shown}"
    );
    assert_eq!(score(&daemon, PLACE, NAME).await["verdict"], "block");
    let released = run(&daemon, &["--json", "override", "release", NAME, PLACE, "--reason", "it is fine"]);
    let released: Value = serde_json::from_str(&printed(&released)).expect("JSON");
    assert_eq!(score(&daemon, PLACE, NAME).await["override_id"], released["id"]);

    assert!(run(&daemon, &["override", "remove", NAME, PLACE]).status.success());
    assert!(list(&daemon).await.is_empty());
    assert_eq!(run(&daemon, &["override", "remove", released["id"].as_str().expect("an id")]).status.code(), Some(65));
    let both = ["override", "block", NAME, PLACE, "--reason", "r", "--for", "2h", "--until", "2030-01-01T00:00:00Z"];
    assert_eq!(run(&daemon, &both).status.code(), Some(64));
    assert_eq!(run(&daemon, &["override", "block", NAME, PLACE]).status.code(), Some(64), "a reason is needed");
}

#[tokio::test]
async fn the_channel_orders_and_takes_back_and_its_results_hold_no_name() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    let send = |command: Value| {
        let command = command.to_string();
        let server = &server;
        async move { server.order(&command).await }
    };
    send(json!({ "command": "override_block", "username": NAME, "network": PLACE, "reason": "ticket 4711",
        "duration": "10m", "id": "o1", "issued_by": "cron job" }))
    .await;
    answered(&daemon, "block", SOON).await;
    assert_eq!(list(&daemon).await[0]["by"], "cron job");
    let result = eventually("the result is kept", SOON, || async {
        let result = server.query(&["GET", "nt:{neural}:results:o1"]).await;
        if result.contains("block") { Ok(result) } else { Err(result) }
    })
    .await;
    assert!(!result.to_lowercase().contains(&NAME.to_lowercase()), "{result}");

    send(json!({ "command": "override_remove", "username": NAME, "network": PLACE, "id": "o2" })).await;

    answered(&daemon, "allow", SOON).await;
    let audit = daemon.http.get("/v1/audit").await.body;
    assert_eq!((&audit[1]["command"], &audit[1]["who"]), (&json!("override_block"), &json!("cron job")), "{audit}");
    assert_eq!((&audit[0]["command"], &audit[0]["origin"]), (&json!("override_remove"), &json!("channel")), "{audit}");
}
