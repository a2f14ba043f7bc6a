//! The other functions of `nauthilus_neural` against a live daemon: arguments, results, raised errors.

use serde_json::{Value, json};

use super::nauthilus::{Nauthilus, Version};
use super::{beside, broken, pair};
use crate::support::daemon::{Daemon, Setup};
use crate::support::traffic;

const LOAD: &str = "local neural = require('nauthilus_neural') ";

/// The first two results of a call.
fn call(nauthilus: &Nauthilus, code: &str) -> (Value, String) {
    let got = nauthilus.eval(&format!("{LOAD} return neural.{code}")).unwrap_or_else(|error| panic!("{code}: {error}"));
    let text = got.get(1).and_then(Value::as_str).unwrap_or_default().to_owned();
    (got.first().cloned().unwrap_or_default(), text)
}

/// Every function that can fail, called rightly.
const CALLS: [&str; 6] = [
    "train_neural_network()",
    "set_learning_mode(true)",
    "set_learning_mode(false)",
    "reset_neural_network()",
    "remove_features_from_redis({ 'device' })",
    "provide_feedback(true, 'request-1', '198.51.100.7', 'alice')",
];

const NOTHING: (Value, String) = (Value::Bool(true), String::new());

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn training_reset_and_removal_do_what_they_say() {
    let (daemon, nauthilus) = pair(Setup::new("a"), Version::V1_8).await;
    let early = call(&nauthilus, "train_neural_network(1000, 5)");
    assert!(early.0 == false && early.1.starts_with("not_enough_data: "), "{early:?}");
    daemon.ingest(traffic::history()).await;
    let mut attempt = traffic::attempt(1, "198.51.100.7", "alice");
    attempt["features"] = json!({ "device": "phone" });
    traffic::login(&daemon.http, &attempt, true).await;

    assert_eq!(call(&nauthilus, "train_neural_network(1000.9, 5)"), NOTHING);

    assert!(daemon.sha256().await.is_some());
    let unknown = call(&nauthilus, "remove_features_from_redis({ 'nobody_knows_it' })");
    assert!(unknown.0 == false && !unknown.1.is_empty(), "{unknown:?}");
    assert!(daemon.sha256().await.is_some(), "a refused removal changes nothing");
    assert_eq!(call(&nauthilus, "remove_features_from_redis({ 'device' })"), NOTHING);
    assert_eq!(daemon.sha256().await, None, "the model that has learnt from it is gone");
    assert_eq!(call(&nauthilus, "reset_neural_network()"), NOTHING);
}

#[test]
fn samples_and_epochs_have_the_defaults_of_old_and_are_cut_to_whole_numbers() {
    for (code, samples, epochs) in [
        ("train_neural_network()", 5000, 50),
        ("train_neural_network(10000)", 10000, 50),
        ("train_neural_network(nil, 100)", 5000, 100),
        ("train_neural_network(3000.9, 15.5)", 3000, 15),
        ("train_neural_network('many', {})", 5000, 50),
    ] {
        let server = broken::Server::saying(200, r#"{"outcome":"promoted","reason":"the first model"}"#);
        let nauthilus = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &server.url())]);

        assert_eq!(call(&nauthilus, code), NOTHING);

        let sent = nauthilus.sent().pop().expect("a request");
        assert_eq!(sent.body, json!({ "samples": samples, "epochs": epochs }), "{code}");
        assert_eq!(sent.timeout.as_secs(), 110, "less than Nauthilus lets a script run");
    }
}

#[test]
fn each_function_is_one_command_after_the_question_whether_machine_learning_is_enabled() {
    let commands = [
        "POST /v1/train",
        "PUT /v1/learning-mode",
        "PUT /v1/learning-mode",
        "POST /v1/reset",
        "DELETE /v1/features",
        "POST /v1/feedback",
    ];
    for (code, command) in CALLS.iter().zip(commands) {
        let server = broken::Server::saying(200, r#"{"learning_mode":true,"enabled":true}"#);
        let nauthilus = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &server.url())]);

        call(&nauthilus, code);

        let sent: Vec<String> = nauthilus.sent().iter().map(|sent| format!("{} {}", sent.method, sent.path)).collect();
        assert_eq!(sent, ["GET /v1/learning-mode", command], "{code}");
    }
}

#[test]
fn whether_machine_learning_is_enabled_is_read_from_the_field_that_says_so_and_from_no_sentence() {
    const DISABLED: &str = "machine learning is disabled in nauthilus-neural (ml.enabled = false)";
    for (answer, disabled) in [
        (json!({ "learning_mode": false, "enabled": true, "reason": "machine learning is disabled: …" }), false),
        (json!({ "learning_mode": false, "enabled": false, "reason": "anything else" }), true),
        // A daemon that does not say is one from before the field.
        (json!({ "learning_mode": false }), false),
    ] {
        let server = broken::Server::saying(200, answer.to_string());
        let nauthilus = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &server.url())]);

        let (_, message) = call(&nauthilus, "set_learning_mode(false)");
        let commands = nauthilus.sent().iter().filter(|sent| sent.method == "PUT").count();

        assert_eq!((message == DISABLED, commands), (disabled, usize::from(!disabled)), "{answer}");
        assert_eq!(call(&nauthilus, "get_learning_mode()").0, disabled, "{answer}");
        assert_eq!(nauthilus.sent().last().map(|sent| sent.path.clone()).as_deref(), Some("/v1/learning-mode"));
    }
}

#[test]
fn only_a_model_that_was_kept_is_a_success_of_a_training() {
    for (outcome, success) in
        [("promoted", true), ("candidate", true), ("refused", false), ("not_enough_data", false), ("new_word", false)]
    {
        let answer = json!({ "outcome": outcome, "reason": "because" }).to_string();
        let server = broken::Server::saying(200, answer);
        let nauthilus = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &server.url())]);

        let (result, message) = call(&nauthilus, "train_neural_network()");

        assert_eq!(result, success, "{outcome}");
        assert_eq!(message, if success { String::new() } else { format!("{outcome}: because") });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn learning_mode_is_told_as_it_is_also_without_a_model() {
    let (daemon, nauthilus) = pair(Setup::new("a"), Version::V2).await;
    assert_eq!(call(&nauthilus, "get_learning_mode()").0, true);
    // Without a model rules decide, whatever the switch says.
    assert_eq!(call(&nauthilus, "set_learning_mode(false)"), NOTHING);

    daemon.ingest(traffic::history()).await;
    assert_eq!(call(&nauthilus, "train_neural_network(1000, 5)"), NOTHING);

    assert_eq!(call(&nauthilus, "get_learning_mode()").0, false);
    for (argument, mode) in [("true", true), ("false", false), ("'off'", true), ("nil", false), ("0", true)] {
        assert_eq!(call(&nauthilus, &format!("set_learning_mode({argument})")), (json!(mode), String::new()));
        assert_eq!(call(&nauthilus, "get_learning_mode()").0, mode, "{argument}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dry_run_refuses_a_change_of_the_mode_in_the_words_of_old() {
    const REFUSAL: &str = "Cannot change learning mode when Dry-Run is activated in configuration";
    let (_daemon, nauthilus) = pair(Setup::new("a").set("ml.dry_run", "true"), Version::V3).await;

    for argument in ["true", "false"] {
        assert_eq!(call(&nauthilus, &format!("set_learning_mode({argument})")), (json!(false), REFUSAL.into()));
    }
    assert_eq!(call(&nauthilus, "get_learning_mode()").0, true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn with_machine_learning_disabled_nothing_reports_a_success() {
    let (daemon, nauthilus) = pair(Setup::new("a").set("ml.enabled", "false"), Version::V2).await;
    daemon.ingest(traffic::history()).await;
    traffic::login(&daemon.http, &traffic::attempt(1, "198.51.100.7", "alice"), false).await;

    for code in CALLS {
        let (result, message) = call(&nauthilus, code);
        assert_eq!(result, false, "{code}");
        assert_eq!(message, "machine learning is disabled in nauthilus-neural (ml.enabled = false)", "{code}");
    }

    assert_eq!(call(&nauthilus, "get_learning_mode()").0, true);
    assert_eq!(daemon.http.get("/v1/learning-mode").await.body["enabled"], false);
    let status = daemon.status().await;
    assert_eq!((&status["feedback"]["pending"], &status["mode"]), (&json!(0), &Value::Null));
}

#[test]
fn without_the_daemon_each_function_answers_false_and_a_message_that_names_it() {
    for version in Version::ALL {
        let nauthilus = Nauthilus::new(version, &[("NAUTHILUS_NEURAL_URL", &broken::nobody())]);
        for code in CALLS {
            let (result, message) = call(&nauthilus, code);
            assert_eq!(result, false, "{code}");
            assert!(message.starts_with("cannot reach nauthilus-neural: "), "{code}: {message}");
        }
        assert_eq!(call(&nauthilus, "get_learning_mode()").0, true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_token_commands_are_refused_and_nothing_changes() {
    let daemon = Daemon::start(Setup::new("a")).await;
    let url = format!("http://{}", daemon.http.address());
    let missing = daemon.directory().join("missing").display().to_string();
    let bare = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &url)]);
    let unreadable = [("NAUTHILUS_NEURAL_URL", url.as_str()), ("NAUTHILUS_NEURAL_ADMIN_TOKEN_FILE", &missing)];
    let unreadable = Nauthilus::new(Version::V2, &unreadable);

    for code in CALLS {
        let (result, message) = call(&bare, code);
        assert!(result == false && message.contains("role"), "{code}: {message}");
        let (result, message) = call(&unreadable, code);
        assert!(result == false && message.starts_with("cannot read the token file "), "{code}: {message}");
    }
    assert_eq!(daemon.status().await["mode"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_token_of_logins_and_that_of_commands_are_kept_apart() {
    let daemon = Daemon::start(Setup::new("a")).await;
    let nauthilus = beside(&daemon, Version::V2);

    call(&nauthilus, "get_learning_mode()");
    call(&nauthilus, "set_learning_mode(true)");

    let tokens: Vec<bool> = nauthilus.sent().iter().map(|sent| sent.authorization.is_some()).collect();
    assert_eq!(tokens, [false, true, true], "the mode is read as anybody may, the switch is an administrator's");
}

#[test]
fn wrong_calls_raise_as_they_always_did() {
    let nauthilus = Nauthilus::new(Version::V2, &[("NAUTHILUS_NEURAL_URL", &broken::nobody())]);
    for (code, message) in [
        ("train_neural_network(0)", "maxSamples must be greater than 0"),
        ("train_neural_network(-5)", "maxSamples must be greater than 0"),
        ("train_neural_network(0.5)", "maxSamples must be greater than 0"),
        ("train_neural_network(0/0)", "maxSamples must be greater than 0"),
        ("train_neural_network(1/0)", "maxSamples must be greater than 0"),
        ("train_neural_network(10, 0)", "epochs must be greater than 0"),
        ("set_learning_mode()", "missing required parameter: enabled"),
        ("remove_features_from_redis()", "table expected, got nil"),
        ("remove_features_from_redis({})", "no feature names provided"),
        ("remove_features_from_redis({ 1, true })", "no feature names provided"),
        ("provide_feedback()", "missing required parameters: isBruteForce, requestId, clientIP, username"),
        ("provide_feedback(true, 'r', '192.0.2.1')", "missing required parameters"),
        ("provide_feedback(true, '', '192.0.2.1', 'u')", "requestId cannot be empty"),
        ("provide_feedback(true, 'r', '', 'u')", "clientIP cannot be empty"),
        ("provide_feedback(true, 'r', '192.0.2.1', '')", "username cannot be empty"),
        ("provide_feedback(true, 'r', '192.0.2.1', nil)", "username cannot be empty"),
    ] {
        let raised = nauthilus.eval(&format!("{LOAD} return neural.{code}"));
        assert!(raised.as_ref().is_err_and(|text| text.contains(message)), "{code}: {raised:?}");
    }
    assert!(nauthilus.sent().is_empty(), "nobody was asked");
}
