//! Every request to a hook that the manual of Nauthilus 1.7 shows, and its answer: field for field, type for type, over HTTP
//! and through the hook scripts of each version.
//!
//! Answers are compared with the JSON of the manual by shape; fixed sentences and repeated parameters also by value. Fields
//! that are not in the manual are named here one by one.

use nauthilus_neural::clock;
use nauthilus_neural::detection::attacks::Protection;
use nauthilus_neural::detection::client::Region;
use nauthilus_neural::store::redis::{RedisOptions, RedisStore};
use nauthilus_neural::store::{Limits, Store};
use serde_json::{Value, json};

use super::beside;
use super::nauthilus::Version;
use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// What 1.7 itself put into every answer of a hook, although the manual does not show it.
const OF_NAUTHILUS: [&str; 3] = ["level", "caller", "session"];
/// What this daemon says beyond the manual: whether an attack is one of the test.
const OWN: [&str; 1] = ["simulated"];

/// Checks that `got` has the fields of `documented` with values of the same types, and no others.
fn same_shape(got: &Value, documented: &Value, place: &str) {
    match (got, documented) {
        // Names of accounts, whichever they are.
        (Value::Object(got), Value::Object(documented)) if place.ends_with(".attacked_accounts") => {
            let example = documented.values().next().expect("the manual shows one");
            got.values().for_each(|value| same_shape(value, example, "an attacked account"));
        }
        (Value::Object(got), Value::Object(documented)) => {
            for (name, value) in documented {
                let found = got.get(name).unwrap_or_else(|| panic!("{place}.{name} is missing: {got:?}"));
                same_shape(found, value, &format!("{place}.{name}"));
            }
            let known = |name: &str| documented.contains_key(name) || OWN.contains(&name);
            for name in got.keys() {
                let added = place.is_empty() && OF_NAUTHILUS.contains(&name.as_str());
                assert!(known(name) || added, "{place}.{name} is in no manual: {got:?}");
            }
        }
        (Value::Array(got), Value::Array(documented)) => {
            got.iter().for_each(|value| same_shape(value, &documented[0], &format!("{place}[]")));
        }
        (Value::String(_), Value::String(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_)) => {}
        _ => panic!("{place} is {got} and not of the type of {documented}"),
    }
}

/// Checks the shape of an answer, and that the fields that cannot differ are those of the manual.
fn as_documented(got: &Value, documented: &Value) {
    same_shape(got, documented, "");
    for name in ["status", "message", "is_brute_force", "request_id", "client_ip", "username", "epochs", "samples"] {
        assert_eq!(got.get(name), documented.get(name), "{name}: {got}");
    }
    for name in ["num_ips", "country_code", "test_result", "test_message"] {
        assert_eq!(got.get(name), documented.get(name), "{name}: {got}");
    }
}

/// Calls a hook over HTTP.
async fn by_http(daemon: &Daemon, hook: &str, query: &[(&str, &str)]) -> Value {
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let question = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let answer = daemon.http.get(&format!("/api/v1/custom/{hook}{question}")).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"), "{answer:?}");
    answer.body
}

/// Calls a hook over HTTP and through its script in each version. `check` sees each answer.
async fn every_way(daemon: &Daemon, hook: &str, query: &[(&str, &str)], check: impl Fn(&Value)) {
    check(&by_http(daemon, hook, query).await);
    for version in Version::ALL {
        check(&beside(daemon, version).hook(hook, query));
    }
}

fn trained(epochs: u32, samples: u32) -> Value {
    json!({
        "status": "success", "message": "Neural network training completed successfully", "epochs": epochs,
        "samples": samples,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_training_is_answered_as_the_manual_shows() {
    let daemon = Daemon::start(Setup::new("a")).await;
    let asked = [("epochs", "100"), ("samples", "10000")];
    let failed = json!({
        "status": "error", "message": "Neural network training failed", "error": "what went wrong", "epochs": 100,
        "samples": 10000,
    });
    every_way(&daemon, "train-neural-network", &asked, |got| as_documented(got, &failed)).await;

    daemon.ingest(traffic::history()).await;
    as_documented(&by_http(&daemon, "train-neural-network", &asked).await, &trained(100, 10_000));
    // Without parameters the documented defaults hold.
    as_documented(&beside(&daemon, Version::V1_8).hook("train-neural-network", &[]), &trained(50, 5000));
    for version in [Version::V1_11, Version::V2, Version::V3] {
        // One round makes no model that is not worse than the last one, but it may be the first.
        assert_eq!(daemon.http.post("/v1/reset", &json!({})).await.status, 200);
        let quick = [("epochs", "1"), ("samples", "10000")];
        as_documented(&beside(&daemon, version).hook("train-neural-network", &quick), &trained(1, 10_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feedback_is_answered_as_the_manual_shows_for_each_of_its_words() {
    // No training comes in between.
    let daemon = Daemon::start(Setup::new("a").set("training.feedback_threshold", "10000")).await;
    let answer = |status: &str, message: &str, is_brute_force: bool| {
        json!({
            "status": status, "message": message, "is_brute_force": is_brute_force, "request_id": "req-12345",
            "client_ip": "192.168.1.100", "username": "john.doe",
        })
    };
    let words = [("true", true), ("1", true), ("yes", true), ("false", false), ("0", false), ("no", false)];
    let query = |word| {
        [
            ("is_brute_force", word),
            ("request_id", "req-12345"),
            ("client_ip", "192.168.1.100"),
            ("username", "john.doe"),
        ]
    };
    for (word, meaning) in words {
        let mut failed = answer("error", "Failed to record feedback", meaning);
        failed["error"] = json!("what went wrong");
        every_way(&daemon, "neural-feedback", &query(word), |got| as_documented(got, &failed)).await;
    }

    let mut attempt = traffic::attempt(1, "192.168.1.100", "john.doe");
    attempt["request_id"] = json!("req-12345");
    traffic::login(&daemon.http, &attempt, false).await;

    for (word, meaning) in words {
        let recorded = answer("success", "Feedback recorded successfully", meaning);
        every_way(&daemon, "neural-feedback", &query(word), |got| as_documented(got, &recorded)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn learning_mode_is_answered_as_the_manual_shows() {
    let daemon = Daemon::start(Setup::new("a")).await;
    daemon.ingest(traffic::history()).await;
    by_http(&daemon, "train-neural-network", &[("epochs", "1")]).await;
    for (word, mode) in [("true", true), ("1", true), ("false", false), ("0", false)] {
        let set = json!({ "status": "success", "message": "Learning mode set successfully", "learning_mode": mode });
        every_way(&daemon, "learning-mode", &[("enabled", word)], |got| {
            as_documented(got, &set);
            assert_eq!(got["learning_mode"], mode, "{got}");
        })
        .await;
    }
    let failed = json!({
        "status": "error", "message": "Failed to set learning mode", "error": "what went wrong", "learning_mode": false,
    });
    every_way(&daemon, "learning-mode", &[("enabled", "perhaps")], |got| as_documented(got, &failed)).await;
}

/// What the manual shows of one account.
fn detection() -> Value {
    json!({
        "threat_level": 0.8, "account_under_attack": true, "attack_score": 20, "captcha_enabled": true,
        "rate_limit_enabled": true, "monitoring_mode": true, "is_captcha_account": false, "attack_detected": true,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_test_of_the_detection_is_answered_as_the_manual_shows() {
    const HOOK: &str = "distributed-brute-force-test";
    let daemon = Daemon::start(Setup::new("a")).await;
    let query = |action| [("action", action), ("username", "testuser"), ("num_ips", "20"), ("country_code", "DE")];

    let simulated = json!({
        "status": "success", "message": "Distributed brute force attack simulated successfully", "username": "testuser",
        "num_ips": 20, "country_code": "DE",
    });
    every_way(&daemon, HOOK, &query("simulate_attack"), |got| as_documented(got, &simulated)).await;
    // Beyond the manual: a part of a country, as among the blocked regions.
    let mut of_a_part = simulated.clone();
    of_a_part["country_code"] = json!("DE-BY");
    let mut part = query("simulate_attack");
    part[3].1 = "de-by";
    every_way(&daemon, HOOK, &part, |got| as_documented(got, &of_a_part)).await;

    let checked = json!({
        "status": "success", "message": "Detection check completed", "username": "testuser",
        "detection_result": detection(),
    });
    every_way(&daemon, HOOK, &[("action", "check_detection"), ("username", "testuser")], |got| {
        as_documented(got, &checked);
        let found = &got["detection_result"];
        assert_eq!((&found["attack_detected"], &found["account_under_attack"]), (&json!(true), &json!(true)), "{got}");
    })
    .await;

    let tested = json!({
        "status": "success", "message": "Test completed", "username": "testuser", "num_ips": 20, "country_code": "DE",
        "detection_result": detection(), "test_result": "PASS",
        "test_message": "Distributed brute force attack was successfully detected",
    });
    every_way(&daemon, HOOK, &query("run_test"), |got| {
        as_documented(got, &tested);
        assert_eq!(got["detection_result"]["attack_score"], 20, "{got}");
    })
    .await;
}

/// Another node of the fleet, under a severe attack, has blocked these regions just now.
async fn blocked_by_another_node(server: &RedisServer, regions: [&str; 3]) {
    let options = RedisOptions { url: server.url(), origin: "other".to_owned(), ..RedisOptions::default() };
    let store = RedisStore::connect(&options, Limits::default()).expect("sound options");
    let mut protection = Protection::default();
    for region in regions {
        protection.block_region(Region::from_code(region).expect("a region"), clock::now());
    }
    let written = serde_json::to_vec(&protection).expect("plain data");
    assert!(store.save_protection(None, &written).await.expect("stored"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_administration_is_answered_as_the_manual_shows() {
    const HOOK: &str = "distributed-brute-force-admin";
    let server = RedisServer::start();
    blocked_by_another_node(&server, ["CN", "RU", "DE-BY"]).await;
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    eventually("the measures of the other node hold here too", SOON, || async {
        let count = daemon.metric("attack_measures{measure=\"regions\"}").await;
        if count == 3 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    // An attack on one account, and one password over many, so that the lists hold something.
    for number in 0..60 {
        let mut attempt = traffic::attempt(number, &format!("198.18.{number}.1"), "user1");
        attempt["password_hash"] = json!(format!("{number:08x}"));
        traffic::login(&daemon.http, &attempt, false).await;
        let network = format!("198.19.{}.1", number % 30);
        let mut attempt = traffic::attempt(1000 + number, &network, &format!("name{number}"));
        attempt["password_hash"] = json!("5bf1a2c0");
        traffic::login(&daemon.http, &attempt, false).await;
    }

    let metrics = json!({
        "status": "success", "message": "Metrics retrieved successfully",
        "metrics": {
            "threat_level": 0.8, "attempts": 1250, "unique_ips": 500, "unique_users": 25, "ips_per_user": 20,
            "attacked_accounts": { "user1": 20, "user2": 15 }, "blocked_regions": ["CN", "DE-BY", "RU"],
            "rate_limited_ips": ["192.168.1.1", "10.0.0.1"], "captcha_accounts": ["user1", "user3"],
            "settings": {
                "captcha_enabled": "true", "rate_limit_enabled": "true", "monitoring_mode": "true",
                "ml_threshold": "0.5",
            },
        },
    });
    for query in [vec![], vec![("action", "get_metrics")]] {
        every_way(&daemon, HOOK, &query, |got| {
            as_documented(got, &metrics);
            let shown = &got["metrics"];
            assert!(shown["attacked_accounts"]["user1"].as_f64() >= Some(50.0), "{shown}");
            assert_eq!(shown["captcha_accounts"], json!(["user1"]), "{shown}");
            // As the manual shows them, and a part of a country beside them.
            assert_eq!(shown["blocked_regions"], metrics["metrics"]["blocked_regions"], "{shown}");
            assert!(shown["rate_limited_ips"].as_array().is_some_and(|list| !list.is_empty()), "{shown}");
            assert_eq!((&shown["attempts"], &shown["unique_users"]), (&json!(120), &json!(61)), "{shown}");
        })
        .await;
    }

    let reset = json!({ "status": "success", "message": "Account reset successfully", "username": "testuser" });
    every_way(&daemon, HOOK, &[("action", "reset_account"), ("username", "testuser")], |got| {
        as_documented(got, &reset);
    })
    .await;
    let reset = json!({ "status": "success", "message": "Protection measures reset successfully" });
    every_way(&daemon, HOOK, &[("action", "reset_protection")], |got| as_documented(got, &reset)).await;
    let after = by_http(&daemon, HOOK, &[]).await;
    assert_eq!(after["metrics"]["blocked_regions"], json!([]), "{after}");
}
