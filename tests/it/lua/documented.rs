//! Every Lua call that the documentation of Nauthilus 1.7 shows for `nauthilus_neural`, in scripts like those there.
//!
//! The scripts are written anew; the calls, their arguments and what is done with the results are those of the manual.

use serde_json::{Value, json};

use super::nauthilus::{Nauthilus, Version};
use super::{beside, broken, pair};
use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::traffic;

/// Runs a script that collects its lines with `say`; answers the lines.
fn said(nauthilus: &Nauthilus, script: &str) -> Vec<String> {
    let code =
        format!("local lines = {{}} local function say(line) lines[#lines + 1] = line end {script} return lines");
    let got = nauthilus.eval(&code).unwrap_or_else(|error| panic!("{script}: {error}"));
    serde_json::from_value(got[0].clone()).expect("a list of texts")
}

/// How the manual's scripts begin: in its newest form with `require` alone, before that with the loader. Nauthilus 1.8 has
/// it, later ones have one that does nothing, and where there is none only the newest form can run.
fn beginnings() -> Vec<(Version, &'static str)> {
    const REQUIRE: &str = "local nauthilus_neural = require('nauthilus_neural') ";
    const LOADER: &str = "dynamic_loader('nauthilus_neural') local nauthilus_neural = require('nauthilus_neural') ";
    let loaders = [Version::V1_8, Version::V1_11, Version::V2].map(|version| (version, LOADER));
    Version::ALL.map(|version| (version, REQUIRE)).into_iter().chain(loaders).collect()
}

/// Calls one function as the manual does. Returns the types of all results and the results.
fn typed(nauthilus: &Nauthilus, beginning: &str, call: &str) -> (String, Vec<Value>) {
    let code = format!(
        "{beginning}
         local function both(...)
             local types = {{}}
             for at = 1, select('#', ...) do types[at] = type((select(at, ...))) end
             return table.concat(types, ' '), ...
         end
         return both(nauthilus_neural.{call})"
    );
    let mut got = nauthilus.eval(&code).unwrap_or_else(|error| panic!("{call}: {error}"));
    let types = got.remove(0).as_str().expect("a text").to_owned();
    (types, got)
}

const TRAIN: &str = "
    local neural = require('nauthilus_neural')
    local trained, reason = neural.train_neural_network()
    if trained then say('trained') else say('not trained: ' .. reason) end
    local again, reason = neural.train_neural_network(10000, 100)
    say(again and 'again' or 'not again: ' .. reason)";

#[test]
fn features_with_and_without_an_encoding() {
    let nauthilus = Nauthilus::new(Version::V2, &[]);

    nauthilus
        .eval(
            "local request = { headers = { ['User-Agent'] = 'Thunderbird/128.3' } }
             local neural = require('nauthilus_neural')
             neural.add_additional_features({
                 user_agent = request.headers['User-Agent'], login_time = os.time(), device_type = 'mobile',
                 location = 'office',
             })
             neural.add_additional_features({
                 browser_info = request.headers['User-Agent'], referrer = request.headers['Referer'],
             }, 'embedding')",
        )
        .expect("both calls are taken");

    let got = nauthilus.eval("return require('nauthilus_neural').features()").expect("two tables");
    let (mut features, encoding) = (got[0].clone(), &got[1]);
    assert!(features["login_time"].as_i64().is_some_and(|time| time > 1_600_000_000), "{features}");
    features.as_object_mut().unwrap().remove("login_time");
    assert_eq!(
        features,
        json!({
            "user_agent": "Thunderbird/128.3", "device_type": "mobile", "location": "office",
            "browser_info": "Thunderbird/128.3",
        })
    );
    assert_eq!((&encoding["location"], &encoding["browser_info"]), (&json!("one-hot"), &json!("embedding")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_learning_mode_is_switched_and_read() {
    let (_daemon, nauthilus) = pair(Setup::new("a"), Version::V1_11).await;

    let lines = said(
        &nauthilus,
        "local neural = require('nauthilus_neural')
         local is_learning, error = neural.set_learning_mode(true)
         if error then say('failed: ' .. error) else say('now ' .. (is_learning and 'enabled' or 'disabled')) end
         local is_learning, error = neural.set_learning_mode(false)
         if not error then say('then ' .. (is_learning and 'enabled' or 'disabled')) end
         local is_learning = neural.get_learning_mode()
         if is_learning then say('collects') else say('predicts') end",
    );

    // There is no model yet, so switching learning mode off does not end it.
    assert_eq!(lines, ["now enabled", "then enabled", "collects"]);
}

#[test]
fn a_training_with_defaults_and_with_arguments_also_behind_the_loader() {
    let server = broken::Server::saying(200, r#"{"outcome":"promoted","reason":"not worse"}"#);
    for (version, beginning) in beginnings() {
        let nauthilus = Nauthilus::new(version, &[("NAUTHILUS_NEURAL_URL", &server.url())]);

        let lines = said(&nauthilus, &format!("{beginning} {TRAIN}"));

        assert_eq!(lines, ["trained", "again"], "{version:?}");
        let bodies: Vec<Value> =
            nauthilus.sent().into_iter().filter(|sent| sent.path == "/v1/train").map(|sent| sent.body).collect();
        assert_eq!(bodies, [json!({ "samples": 5000, "epochs": 50 }), json!({ "samples": 10000, "epochs": 100 })]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_training_without_data_a_reset_and_a_removal() {
    let (_daemon, nauthilus) = pair(Setup::new("a"), Version::V3).await;

    let lines = said(&nauthilus, TRAIN);
    assert!(lines[0].starts_with("not trained: not_enough_data"), "{lines:?}");
    let lines = said(
        &nauthilus,
        "local neural = require('nauthilus_neural')
         local success, error = neural.reset_neural_network()
         if not success then say('reset failed: ' .. error) else say('reset') end
         local success, error = neural.remove_features_from_redis({ 'unused_feature', 'noisy_feature' })
         if not success then say('removal failed: ' .. error) else say('removed') end",
    );

    assert_eq!(lines[0], "reset");
    assert!(lines[1].starts_with("removal failed: "), "nobody has these features: {lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn feedback_on_a_false_positive_and_on_a_false_negative() {
    let (daemon, nauthilus) = pair(Setup::new("a"), Version::V2).await;
    for (number, ip, name) in [(12345, "192.168.1.100", "john.doe"), (67890, "10.0.0.5", "admin")] {
        let mut attempt = traffic::attempt(number, ip, name);
        attempt["request_id"] = json!(format!("req-{number}"));
        traffic::login(&daemon.http, &attempt, false).await;
    }

    let lines = said(
        &nauthilus,
        "local neural = require('nauthilus_neural')
         local success, error = neural.provide_feedback(false, 'req-12345', '192.168.1.100', 'john.doe')
         if not success then say('failed: ' .. error) else say('recorded') end
         local success, error = neural.provide_feedback(true, 'req-67890', '10.0.0.5', 'admin')
         if not success then say('failed: ' .. error) else say('recorded') end",
    );

    assert_eq!(lines, ["recorded", "recorded"]);
    assert_eq!(daemon.status().await["feedback"]["pending"], 2);
}

const WORDS: [&str; 2] = [
    "provide_feedback(false, 'req-12345', '192.168.1.100', 'john.doe')",
    "provide_feedback(true, 'req-67890', '10.0.0.5', 'admin')",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_call_returns_what_the_manual_says_with_the_loader_present_stubbed_and_absent() {
    // No training comes in between.
    let daemon = Daemon::start(Setup::new("a").set("training.feedback_threshold", "10000")).await;
    daemon.ingest(traffic::history()).await;
    assert_eq!(daemon.http.post("/v1/train", &json!({ "epochs": 1 })).await.body["outcome"], "promoted");
    for (number, ip, name) in [(12345, "192.168.1.100", "john.doe"), (67890, "10.0.0.5", "admin")] {
        let mut attempt = traffic::attempt(number, ip, name);
        attempt["request_id"] = json!(format!("req-{number}"));
        traffic::login(&daemon.http, &attempt, false).await;
    }
    for (version, beginning) in beginnings() {
        let nauthilus = beside(&daemon, version);
        let call = |call: &str| typed(&nauthilus, beginning, call);
        for encoding in ["", ", 'one-hot'", ", 'embedding'"] {
            let added =
                call(&format!("add_additional_features({{ device_type = 'mobile', login_time = 7 }}{encoding})"));
            assert_eq!(added, (String::new(), vec![]), "{version:?}: it returns nothing");
        }
        for (enabled, mode) in [("true", true), ("false", false)] {
            let set = call(&format!("set_learning_mode({enabled})"));
            assert_eq!(set, ("boolean nil".into(), vec![json!(mode), Value::Null]), "{version:?}");
            assert_eq!(call("get_learning_mode()"), ("boolean".into(), vec![json!(mode)]), "{version:?}");
        }
        for word in WORDS {
            assert_eq!(call(word), ("boolean nil".into(), vec![json!(true), Value::Null]), "{version:?} {word}");
        }
    }
    for (version, beginning) in beginnings() {
        let nauthilus = beside(&daemon, version);
        let call = |call: &str| typed(&nauthilus, beginning, call);
        let done = ("boolean nil".into(), vec![json!(true), Value::Null]);
        assert_eq!(call("reset_neural_network()"), done, "{version:?}");
        // What the version before has removed.
        let names = json!({ "names": ["unused_feature", "noisy_feature", "redundant_feature"] });
        assert_eq!(daemon.http.post("/v1/features", &names).await.status, 200);
        let mut attempt = traffic::attempt(1, "198.51.100.7", "alice");
        attempt["request_id"] = json!(format!("{version:?} {}", beginning.len()));
        attempt["features"] = json!({ "unused_feature": 1, "noisy_feature": 2, "redundant_feature": 3 });
        traffic::login(&daemon.http, &attempt, true).await;
        eventually("the features are there", SOON, || async {
            let known = daemon.http.get("/v1/features").await.body["additional"].clone();
            if known.as_array().map(Vec::len) == Some(3) { Ok(()) } else { Err(known.to_string()) }
        })
        .await;
        let removed = call("remove_features_from_redis({ 'unused_feature', 'noisy_feature', 'redundant_feature' })");
        assert_eq!(removed, done, "{version:?}");
        assert_eq!(daemon.http.get("/v1/features").await.body["additional"], json!([]), "{version:?}");
    }
}

#[test]
fn a_call_that_fails_returns_false_and_a_sentence_with_the_loader_present_stubbed_and_absent() {
    for (version, beginning) in beginnings() {
        let nauthilus = Nauthilus::new(version, &[("NAUTHILUS_NEURAL_URL", &broken::nobody())]);
        let calls = ["train_neural_network()", "train_neural_network(10000, 100)", "set_learning_mode(true)"];
        let others = ["reset_neural_network()", "remove_features_from_redis({ 'unused_feature' })"];
        for call in calls.into_iter().chain(others).chain(WORDS) {
            let (types, results) = typed(&nauthilus, beginning, call);
            assert_eq!((types.as_str(), &results[0]), ("boolean string", &json!(false)), "{version:?} {call}");
        }
        assert_eq!(typed(&nauthilus, beginning, "get_learning_mode()"), ("boolean".into(), vec![json!(true)]));
    }
}
