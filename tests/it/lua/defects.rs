//! Defects of the neural network of Nauthilus 1.7 that scripts had or could bring back; each test says which.

use serde_json::{Value, json};

use super::broken::Server;
use super::login::login;
use super::nauthilus::{Nauthilus, Version};
use super::pair;
use crate::support::daemon::Setup;
use crate::support::traffic;

const SCRIPT: &str = "lua-plugins.d/neural.lua";

/// The result and the message of one feedback.
fn feedback(nauthilus: &Nauthilus, arguments: &str) -> (Value, String) {
    let code = format!("return require('nauthilus_neural').provide_feedback({arguments})");
    let got = nauthilus.eval(&code).unwrap_or_else(|error| panic!("{arguments}: {error}"));
    (got[0].clone(), got.get(1).and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// D29: a script that ran at each login reset the model each time.
#[test]
fn d29_no_script_that_runs_at_logins_commands_anything() {
    for version in Version::ALL {
        let server = Server::saying(200, r#"{"verdict":"allow"}"#);
        let nauthilus = Nauthilus::new(version, &[("NAUTHILUS_NEURAL_URL", &server.url())]);
        for number in 0..3 {
            nauthilus.next_request();
            nauthilus.load(SCRIPT);
            let request = login(&format!("s-{number}"));
            nauthilus.before(&request);
            nauthilus.after(&request);
        }

        let paths: Vec<String> = nauthilus.sent().into_iter().map(|sent| sent.path).collect();
        assert_eq!(paths, ["/v1/score", "/v1/outcome"].repeat(3), "{version:?}");
    }
}

/// D31: feedback was stored with zeros for all features, whatever the request had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d31_feedback_is_about_a_request_that_was_scored_or_it_is_refused() {
    let (daemon, nauthilus) = pair(Setup::new("a"), Version::V2).await;
    nauthilus.load(SCRIPT);
    nauthilus.before(&login("s-1"));

    for (arguments, reason) in [
        ("true, 'never-seen', '198.51.100.7', 'alice@example.org'", "unknown"),
        ("true, 's-1', '198.51.100.8', 'alice@example.org'", "client_ip"),
        ("true, 's-1', '198.51.100.7', 'mallory'", "username"),
    ] {
        let (result, message) = feedback(&nauthilus, arguments);
        assert!(result == false && message.contains(reason), "{arguments}: {message}");
    }
    assert_eq!(daemon.status().await["feedback"]["pending"], 0);

    assert_eq!(feedback(&nauthilus, "true, 's-1', '198.51.100.7', 'alice@example.org'").0, true);
    assert_eq!(daemon.status().await["feedback"]["pending"], 1);
}

/// D33: a missing or garbled `is_brute_force` was stored as "legitimate".
#[test]
fn d33_a_garbled_word_is_never_made_a_legitimate_one() {
    for word in ["", "maybe", "TRUE ", "2"] {
        let server = Server::saying(200, r#"{"status":"error","error":"is_brute_force"}"#);
        let nauthilus = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &server.url())]);

        nauthilus.hook("neural-feedback", &[("is_brute_force", word), ("request_id", "r-1")]);

        let line = server.requests().remove(0);
        assert!(!line.contains("false"), "{line}");
        assert_eq!(line.contains("is_brute_force="), !word.is_empty(), "{line}");
        let away = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &super::broken::nobody())]);
        let failure = away.hook("neural-feedback", &[("is_brute_force", word), ("request_id", "r-1")]);
        assert_eq!((&failure["status"], failure.get("is_brute_force")), (&json!("error"), None), "{failure}");
    }
}

/// D34: with machine learning off, feedback was reported as recorded and stored nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn d34_feedback_that_is_not_stored_is_not_reported_as_recorded() {
    let (daemon, nauthilus) = pair(Setup::new("a").set("ml.enabled", "false"), Version::V2).await;
    traffic::login(&daemon.http, &traffic::attempt(1, "198.51.100.7", "alice"), false).await;

    let (result, message) = feedback(&nauthilus, "true, 'request-1', '198.51.100.7', 'alice'");

    assert!(result == false && message.contains("disabled"), "{message}");
    assert_eq!(daemon.status().await["feedback"]["pending"], 0);
    let other = Server::saying(200, r#"{"status":"ignored"}"#);
    let nauthilus = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &other.url())]);
    assert_eq!(feedback(&nauthilus, "true, 'request-1', '198.51.100.7', 'alice'").0, false);
}

/// D39: the module existed in features only, so that every hook failed; and a hook that failed to load ran the function
/// that another one had left behind.
#[test]
fn d39_hooks_find_the_module_and_never_run_the_function_of_another_one() {
    for version in Version::ALL {
        let server = Server::saying(200, r#"{"status":"success"}"#);
        let nauthilus = Nauthilus::new(version, &[("NAUTHILUS_NEURAL_URL", &server.url())]);
        let found = nauthilus.eval("return type(require('nauthilus_neural').train_neural_network)");
        assert_eq!(found, Ok(vec![json!("function")]), "{version:?}");

        nauthilus.hook("train-neural-network", &[]);
        // The next script loads although its modules are gone, and fails as itself.
        nauthilus
            .eval(
                "package.path = '' for _, name in ipairs({ 'nauthilus_neural_hook', 'nauthilus_neural_client' }) do
                 package.loaded[name] = nil end",
            )
            .expect("forgotten");
        nauthilus.load("lua-plugins.d/hooks/learning-mode.lua");
        let failed = nauthilus.eval("return nauthilus_run_hook({}, 's')");

        assert!(failed.is_err_and(|error| error.contains("nauthilus_neural_hook")), "{version:?}");
        assert_eq!(server.requests().len(), 1, "nothing was trained a second time");
    }
}

/// D41: a simulation with more than ten addresses ended in a raised error. D42: so did a check without settings.
#[test]
fn d41_d42_no_number_of_addresses_and_no_missing_field_ends_a_hook_in_an_error() {
    let answer = json!({ "status": "success", "message": "Detection check completed", "username": "u",
                         "detection_result": { "threat_level": 0, "attack_detected": false } });
    let server = Server::saying(200, answer.to_string());
    let nauthilus = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &server.url())]);
    for (action, number) in [("simulate_attack", "11"), ("simulate_attack", "1000000"), ("check_detection", "")] {
        let got = nauthilus
            .hook("distributed-brute-force-test", &[("action", action), ("username", "u"), ("num_ips", number)]);

        assert_eq!(got["detection_result"], answer["detection_result"], "{action} {number}");
    }
}

/// D52: a login waited up to ten seconds for a foreign list, twice, and a failure there switched the network off.
#[test]
fn d52_a_login_waits_once_and_for_the_daemon_only() {
    let server = Server::saying(200, r#"{"verdict":"allow"}"#);
    let nauthilus = Nauthilus::new(Version::V1_8, &[("NAUTHILUS_NEURAL_URL", &server.url())]);
    nauthilus.load(SCRIPT);

    nauthilus.before(&login("s-1"));

    let limits: Vec<u128> = nauthilus.sent().iter().map(|sent| sent.timeout.as_millis()).collect();
    assert_eq!(limits, [140]);
}
