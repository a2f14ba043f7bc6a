//! Every Lua call that the documentation of Nauthilus 1.7 shows for `nauthilus_neural`, in scripts like those there.
//!
//! The scripts are written anew; the calls, their arguments and what is done with the results are those of the manual.

use serde_json::{Value, json};

use super::nauthilus::{Nauthilus, Version};
use super::{broken, pair};
use crate::support::daemon::Setup;
use crate::support::traffic;

/// Runs a script that collects its lines with `say`; answers the lines.
fn said(nauthilus: &Nauthilus, script: &str) -> Vec<String> {
    let code =
        format!("local lines = {{}} local function say(line) lines[#lines + 1] = line end {script} return lines");
    let got = nauthilus.eval(&code).unwrap_or_else(|error| panic!("{script}: {error}"));
    serde_json::from_value(got[0].clone()).expect("a list of texts")
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
    for version in [Version::V1_8, Version::V1_11] {
        let nauthilus = Nauthilus::new(version, &[("NAUTHILUS_NEURAL_URL", &server.url())]);

        let lines = said(&nauthilus, &format!("dynamic_loader('nauthilus_neural') {TRAIN}"));

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
