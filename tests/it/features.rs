//! Additional features in a fleet: one request brings a name, all nodes follow, and a removal takes the model with it.

use std::sync::Arc;

use nauthilus_neural::clock;
use nauthilus_neural::config::Config;
use nauthilus_neural::control::{Caller, Command};
use nauthilus_neural::detection::record::AttemptRecord;
use nauthilus_neural::node::Node;
use nauthilus_neural::store::embedded::EmbeddedStore;
use nauthilus_neural::store::{Limits, Store};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

fn names(features: &Value) -> Vec<String> {
    let additional = features["additional"].as_array().expect("a list");
    additional.iter().map(|feature| feature["name"].as_str().expect("a name").to_owned()).collect()
}

/// An attempt with two additional features.
fn told(number: usize) -> Value {
    let mut attempt = traffic::attempt(number, "198.51.100.7", "alice");
    attempt["features"] = json!({ "risk": 3, "device": "phone", "client_ip": "198.51.100.7" });
    attempt["encoding"] = json!({ "device": "embedding" });
    attempt
}

async fn followed(fleet: &[Daemon], wanted: &[&str]) {
    eventually("all nodes follow the list", SOON, || async {
        let mut fingerprints = std::collections::BTreeSet::new();
        for daemon in fleet {
            let features = daemon.http.get("/v1/features").await.body;
            if names(&features) != wanted {
                return Err(features.to_string());
            }
            fingerprints.insert(features["fingerprint"].to_string());
        }
        if fingerprints.len() == 1 { Ok(()) } else { Err(format!("{fingerprints:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_name_becomes_a_feature_on_all_nodes_and_its_removal_resets_all_of_them() {
    let server = RedisServer::start();
    let mut fleet = Daemon::fleet(&server, ["a", "b"]).await;
    assert_eq!(fleet[0].ingest(traffic::history()).await.status, 200);
    let standard = fleet[0].http.get("/v1/features").await.body;
    assert_eq!((standard["standard"].as_array().map(Vec::len), names(&standard).len()), (Some(51), 0));
    let trained = fleet[0].http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");

    // The old model scores on when the list grows.
    traffic::login(&fleet[0].http, &told(1), true).await;
    followed(&fleet, &["device", "risk"]).await;
    let features = fleet[1].http.get("/v1/features").await.body;
    let device = &features["additional"][0];
    assert_eq!((&device["kind"], &device["encoding"]), (&json!("string"), &json!("embedding")));
    assert!(device["first_seen"].as_str().is_some_and(|text| text.ends_with('Z')), "{device}");
    assert_eq!(features["additional"][1]["encoding"], Value::Null);
    assert_ne!(features["fingerprint"], standard["fingerprint"]);
    let scored = traffic::login(&fleet[0].http, &told(2), true).await;
    assert!(scored["probability"].is_f64(), "{scored}");

    // A new one takes older samples, and the node that has just followed serves it.
    let trained = fleet[1].http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    eventually("the other node serves it too", SOON, || async {
        let models = [fleet[0].sha256().await, fleet[1].sha256().await];
        if models[0] == models[1] { Ok(()) } else { Err(format!("{models:?}")) }
    })
    .await;
    let scored = traffic::login(&fleet[0].http, &told(3), true).await;
    assert!(scored["probability"].is_f64(), "{scored}");

    // It survives a start without the list being asked for first.
    fleet[1].stop().await;
    fleet[1].start_again().await;
    followed(&fleet, &["device", "risk"]).await;
    let scored = traffic::login(&fleet[1].http, &told(4), true).await;
    assert!(scored["probability"].is_f64(), "{scored}");

    for (wrong, status) in [
        (json!({ "names": ["SuspiciousNetwork"] }), 400),
        (json!({ "names": ["source_gap_s"] }), 400),
        (json!({ "names": [] }), 400),
        (json!({ "names": ["neither", "never"] }), 404),
        (json!({ "name": "risk" }), 400),
    ] {
        let answer = fleet[0].http.send("DELETE", "/v1/features", wrong.to_string().into_bytes()).await;
        assert_eq!(answer.status, status, "{wrong}: {answer:?}");
    }
    assert!(fleet[1].sha256().await.is_some(), "nothing was reset so far");

    let removal = json!({ "names": ["device"] }).to_string().into_bytes();
    let removed = fleet[0].http.send("DELETE", "/v1/features", removal).await;
    assert_eq!((removed.status, removed.body), (200, json!({ "removed": ["device"], "model": null })));
    followed(&fleet, &["risk"]).await;
    eventually("no node has a model", SOON, || async {
        let models = [fleet[0].sha256().await, fleet[1].sha256().await];
        if models == [None, None] { Ok(()) } else { Err(format!("{models:?}")) }
    })
    .await;
    let trained = fleet[0].http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "the removed feature keeps its place: {trained:?}");
}

/// D19: a login with a new feature trained in the background, and loaded the model twice.
#[tokio::test]
async fn d19_logins_with_new_features_start_no_training_and_load_no_model() {
    let daemon = Daemon::start(Setup::new("a")).await;
    daemon.ingest(traffic::history()).await;
    assert_eq!(daemon.http.post("/v1/train", &json!({})).await.body["outcome"], "promoted");
    let before = daemon.status().await;

    for number in 0..40 {
        let mut attempt = traffic::attempt(number, "198.51.100.7", "alice");
        attempt["features"] = json!({ format!("name_{number}"): format!("value {number}") });
        traffic::login(&daemon.http, &attempt, true).await;
    }
    eventually("the list is full", SOON, || async {
        let features = daemon.http.get("/v1/features").await.body;
        if names(&features).len() >= 16 { Ok(()) } else { Err(features.to_string()) }
    })
    .await;

    let after = daemon.status().await;
    for field in ["model", "swaps"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(daemon.http.get("/v1/models").await.body.as_array().map(Vec::len), Some(1));
    assert_eq!(daemon.log().matches("training started").count(), 1);
}

#[tokio::test]
async fn what_is_there_is_removed_and_what_is_not_there_is_told() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    traffic::login(&daemon.http, &told(1), true).await;
    let fleet = [daemon];
    followed(&fleet, &["device", "risk"]).await;
    let remove = async |names: Value| {
        fleet[0].http.send("DELETE", "/v1/features", json!({ "names": names }).to_string().into_bytes()).await
    };

    let none = remove(json!(["nosuch", "neither"])).await;
    assert!(none.status == 404 && none.detail().contains("features list"), "{none:?}");
    followed(&fleet, &["device", "risk"]).await;
    let one = remove(json!(["nosuch", "device"])).await;
    assert_eq!((one.status, &one.body), (200, &json!({ "removed": ["device"], "unknown": ["nosuch"], "model": null })));
    followed(&fleet, &["risk"]).await;
}

#[tokio::test]
async fn a_command_on_the_channel_removes_features_too() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    traffic::login(&daemon.http, &told(1), true).await;
    let fleet = [daemon];
    followed(&fleet, &["device", "risk"]).await;

    let command = r#"{"command":"remove_features","names":["risk","device"],"id":"t-1"}"#;
    server.order(command).await;

    followed(&fleet, &[]).await;
    // What is sent again stays away until somebody allows it: then it is a new feature at a new place.
    traffic::login(&fleet[0].http, &told(2), true).await;
    let skipped = fleet[0].metric("additional_features_skipped_total{reason=\"removed\"}").await;
    assert_eq!((skipped, names(&fleet[0].http.get("/v1/features").await.body).len()), (2, 0));
    let command = r#"{"command":"allow_features","names":["risk"],"id":"t-2"}"#;
    server.order(command).await;
    eventually("the name is allowed", SOON, || async {
        let refused = fleet[0].http.get("/v1/features").await.body["refused"].clone();
        if refused.as_array().map(Vec::len) == Some(1) { Ok(()) } else { Err(refused.to_string()) }
    })
    .await;
    traffic::login(&fleet[0].http, &told(3), true).await;
    followed(&fleet, &["risk"]).await;
    let allowed = fleet[0].http.post("/v1/features", &json!({ "names": ["device", "risk"] })).await;
    assert_eq!((allowed.status, allowed.body), (200, json!({ "allowed": ["device"] })));
    traffic::login(&fleet[0].http, &told(4), true).await;
    followed(&fleet, &["risk", "device"]).await;
}

#[tokio::test]
async fn junk_that_is_removed_time_and_again_uses_no_place_up_and_samples_are_still_read() {
    let server = RedisServer::start();
    let fleet = Daemon::fleet(&server, ["a", "b"]).await;
    assert_eq!(fleet[0].ingest(traffic::history()).await.status, 200);
    traffic::login(&fleet[0].http, &told(1), true).await;
    followed(&fleet, &["device", "risk"]).await;

    for round in 0..4 {
        let mut attempt = traffic::attempt(10 + round, "198.51.100.7", "alice");
        let junk = (0..32).map(|number| (format!("junk_{round}_{number:02}"), json!(number)));
        attempt["features"] = junk.collect::<serde_json::Map<_, _>>().into();
        traffic::login(&fleet[0].http, &attempt, true).await;
        eventually("the list is full", SOON, || async {
            let listed = names(&fleet[0].http.get("/v1/features").await.body);
            if listed.len() == 16 { Ok(()) } else { Err(format!("round {round}: {listed:?}")) }
        })
        .await;
        let listed = names(&fleet[0].http.get("/v1/features").await.body);
        let junk: Vec<_> = listed.iter().filter(|name| name.starts_with("junk")).collect();
        let removal = json!({ "names": junk }).to_string().into_bytes();
        let removed = fleet[round % 2].http.send("DELETE", "/v1/features", removal).await;
        assert_eq!(removed.status, 200, "{removed:?}");
        followed(&fleet, &["device", "risk"]).await;
    }

    let mut attempt = told(20);
    attempt["features"]["tier"] = json!("gold");
    traffic::login(&fleet[1].http, &attempt, true).await;
    followed(&fleet, &["device", "risk", "tier"]).await;
    let trained = fleet[0].http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    assert!(trained.body["samples"].as_u64() > Some(200), "samples of the first list count: {trained:?}");
    eventually("both score with it", SOON, || async {
        let models = [fleet[0].sha256().await, fleet[1].sha256().await];
        if models[0].is_some() && models[0] == models[1] { Ok(()) } else { Err(format!("{models:?}")) }
    })
    .await;
    let scored = traffic::login(&fleet[1].http, &told(21), true).await;
    assert!(scored["probability"].is_f64(), "{scored}");
}

#[tokio::test]
async fn an_explanation_tells_additional_features_as_they_were_sent() {
    let daemon = Daemon::start(Setup::new("a")).await;
    daemon.ingest(traffic::history()).await;
    traffic::login(&daemon.http, &told(1), true).await;
    let fleet = [daemon];
    followed(&fleet, &["device", "risk"]).await;
    assert_eq!(fleet[0].http.post("/v1/train", &json!({})).await.body["outcome"], "promoted");
    let evidence = async |number: usize, features: Value| {
        let mut attempt = traffic::attempt(number, "198.51.100.7", "alice");
        attempt["features"] = features;
        attempt["explain"] = json!(true);
        let scored = fleet[0].http.post("/v1/score", &attempt).await.body;
        let parts = scored["explanation"]["contributions"].as_array().expect("explained").clone();
        parts.iter().find(|part| part["group"] == "protocol").expect("the group")["evidence"].clone()
    };

    let sent = evidence(2, json!({ "risk": 900, "device": "bot" })).await;
    assert_eq!((&sent["risk"], &sent["risk.missing"]), (&json!(900), &json!(0)), "{sent}");
    assert_eq!((&sent["device.novel"], &sent["device.missing"]), (&json!(1), &json!(0)), "{sent}");
    assert!(!sent.to_string().contains("bot"), "{sent}");
    let nothing = evidence(3, json!({})).await;
    assert_eq!((&nothing["risk"], &nothing["risk.missing"]), (&Value::Null, &json!(1)), "{nothing}");
    assert_eq!((&nothing["device.novel"], &nothing["device.missing"]), (&Value::Null, &json!(1)), "{nothing}");
}

#[tokio::test]
async fn a_list_that_the_store_lost_is_put_back_and_a_damaged_one_stops_no_model() {
    let server = RedisServer::start();
    let fleet = [Daemon::start(Setup::on(&server, "a")).await];
    assert_eq!(fleet[0].ingest(traffic::history()).await.status, 200);
    traffic::login(&fleet[0].http, &told(1), true).await;
    followed(&fleet, &["device", "risk"]).await;
    let ring = || server.query(&["PUBLISH", "nt:{neural}:announcements", "{}"]);

    server.query(&["DEL", "nt:{neural}:features"]).await;
    ring().await;
    eventually("the list is back", SOON, || async {
        let list = server.query(&["GET", "nt:{neural}:features"]).await;
        if list.contains("device") && list.contains("risk") { Ok(()) } else { Err(list) }
    })
    .await;
    let removal = json!({ "names": ["device"] }).to_string().into_bytes();
    assert_eq!(fleet[0].http.send("DELETE", "/v1/features", removal).await.status, 200);

    server.query(&["SET", "nt:{neural}:features", "damaged"]).await;
    let trained = fleet[0].http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    // Before the next login, which gives the removed name again.
    assert_eq!(names(&fleet[0].http.get("/v1/features").await.body), ["risk"], "what it knows goes on counting");
    let scored = traffic::login(&fleet[0].http, &told(2), true).await;
    assert!(scored["probability"].is_f64(), "{scored}");
}

#[tokio::test]
async fn a_new_name_after_the_store_lost_the_list_joins_the_names_of_before() {
    let server = RedisServer::start();
    let fleet = [Daemon::start(Setup::on(&server, "a")).await];
    traffic::login(&fleet[0].http, &told(1), true).await;
    followed(&fleet, &["device", "risk"]).await;
    server.query(&["DEL", "nt:{neural}:features"]).await;

    let mut brings_another = traffic::attempt(2, "198.51.100.7", "alice");
    brings_another["features"] = json!({ "office": true });
    traffic::login(&fleet[0].http, &brings_another, true).await;

    followed(&fleet, &["device", "risk", "office"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_one_embedded_store_agree_as_well() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = EmbeddedStore::open(directory.path().join("store.redb"), Limits::default(), "pair").expect("new");
    let mut nodes = Vec::new();
    for name in ["a", "b"] {
        let mut config = Config::default();
        config.node.state_dir = directory.path().join(name);
        config.training.schedule.clear();
        config.ml.additional_features_max = 2;
        let store: Arc<dyn Store> = Arc::new(store.clone());
        nodes.push(Node::start(config, store).await.expect("a new node"));
    }
    let caller = Caller { who: "test".into(), origin: "test", peer: None };
    let listed = |node: &Node| {
        let control = Arc::clone(&node.app.control);
        let caller = caller.clone();
        async move { names(&control.execute(Command::Features, &caller).await.expect("always")) }
    };
    let both = |wanted: Vec<String>| {
        let (listed, nodes) = (&listed, &nodes);
        async move {
            eventually("both follow", SOON, || async {
                let lists = [listed(&nodes[0]).await, listed(&nodes[1]).await];
                if lists.iter().all(|list| *list == wanted) { Ok(()) } else { Err(format!("{lists:?}")) }
            })
            .await;
        }
    };

    // Each node brings names of its own at the same time; there is room for two.
    for (number, node) in nodes.iter().enumerate() {
        for name in 0..4 {
            let mut attempt = traffic::attempt(10 * number + name, "198.51.100.7", "alice");
            attempt["features"] = json!({ format!("n{number}-{name}"): name });
            let record = AttemptRecord::parse(attempt.to_string().as_bytes()).expect("sound");
            node.app.scorer.score(record, clock::now(), clock::monotonic_ms()).expect("scored");
        }
    }
    eventually("the list is full", SOON, || async {
        let list = listed(&nodes[0]).await;
        if list.len() == 2 { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;
    let full = listed(&nodes[0]).await;
    both(full.clone()).await;

    let remove = Command::RemoveFeatures { names: vec![full[0].clone()] };
    nodes[1].app.control.execute(remove, &caller).await.expect("known");

    both(full[1..].to_vec()).await;
    for node in nodes {
        assert_eq!(node.shutdown(SOON).await, Vec::<&str>::new());
    }
}
