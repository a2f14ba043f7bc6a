//! The hooks of the original: its calls, with its names, sentences and types, on a daemon that does what it says.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::{raw, traffic};

const TRAIN: &str = "/api/v1/custom/train-neural-network";
const FEEDBACK: &str = "/api/v1/custom/neural-feedback";
const MODE: &str = "/api/v1/custom/learning-mode";

async fn hook(daemon: &Daemon, call: &str) -> Value {
    let answer = daemon.http.get(call).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"), "{answer:?}");
    answer.body
}

#[tokio::test]
async fn training_answers_when_it_has_ended_with_what_was_asked_for() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    daemon.ingest(traffic::history()).await;

    let trained = hook(&daemon, &format!("{TRAIN}?epochs=20&samples=10000")).await;

    let expected = json!({
        "status": "success", "message": "Neural network training completed successfully",
        "epochs": 20, "samples": 10000,
    });
    assert_eq!(trained, expected);
    assert_eq!(daemon.status().await["model"]["generation"], 1);
}

#[tokio::test]
async fn a_training_that_comes_to_nothing_is_no_success() {
    let daemon = Daemon::start(Setup::new("alone")).await;

    let nothing = hook(&daemon, TRAIN).await;

    assert_eq!((&nothing["status"], &nothing["message"]), (&json!("error"), &json!("Neural network training failed")));
    assert_eq!((&nothing["epochs"], &nothing["samples"]), (&json!(50), &json!(5000)), "the defaults: {nothing}");
    assert!(nothing["error"].as_str().is_some_and(|error| error.starts_with("not enough data: ")), "{nothing}");
    for wrong in ["epochs=0", "samples=-5", "epochs=1e9", "samples=many", "epochs=5&epochs=6", "samples=99999999999"] {
        let refused = hook(&daemon, &format!("{TRAIN}?{wrong}")).await;
        assert_eq!(refused["status"], "error", "{wrong}: {refused}");
        assert!(refused["error"].is_string() && refused["epochs"].is_number() && refused["samples"].is_number());
    }
    let history = daemon.http.get("/v1/models").await.body;
    assert_eq!(history.as_array().map(Vec::len), Some(1), "only the first call ordered a training: {history}");
}

#[tokio::test]
async fn a_training_that_outlasts_the_wait_goes_on_and_says_so() {
    // Without an early end, which would make it short.
    let setup = Setup::new("alone").set("ml.profile", "\"compat-6\"").set("http.train_wait_max", "\"1s\"");
    let daemon = Daemon::start(setup).await;
    daemon.ingest(traffic::history()).await;

    let waited = hook(&daemon, &format!("{TRAIN}?epochs=100000")).await;
    assert!(waited["error"].as_str().is_some_and(|error| error.contains("http.train_wait_max")), "{waited}");
    // On a busy machine it may not even have got to its first stage.
    eventually("it still runs", SOON, || async {
        let progress = daemon.status().await["training"]["progress"].clone();
        if progress["stage"].is_string() { Ok(()) } else { Err(progress.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn feedback_is_recorded_once_and_answered_with_its_parameters() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let attempt = traffic::attempt(1, "192.168.1.100", "john.doe");
    traffic::login(&daemon.http, &attempt, false).await;

    let call = "is_brute_force=true&request_id=request-1&client_ip=192.168.1.100&username=john.doe";
    let recorded = hook(&daemon, &format!("{FEEDBACK}?{call}")).await;

    let expected = json!({
        "status": "success", "message": "Feedback recorded successfully", "is_brute_force": true,
        "request_id": "request-1", "client_ip": "192.168.1.100", "username": "john.doe",
    });
    assert_eq!(recorded, expected);
    assert_eq!(daemon.status().await["feedback"]["pending"], 1);
    let other = json!({
        "is_brute_force": false, "request_id": "request-1", "client_ip": "192.168.1.100", "username": "john.doe",
    });
    let posted = daemon.http.post(FEEDBACK, &other).await.body;
    assert_eq!((&posted["status"], &posted["is_brute_force"]), (&json!("success"), &json!(false)), "{posted}");
}

/// D31, D34: success was reported for words that were never stored.
#[tokio::test]
async fn d31_feedback_on_an_unknown_request_is_an_error_with_its_parameters() {
    let daemon = Daemon::start(Setup::new("alone")).await;

    let call = "is_brute_force=1&request_id=req-12345&client_ip=192.168.1.100&username=john.doe";
    let refused = hook(&daemon, &format!("{FEEDBACK}?{call}")).await;

    assert_eq!((&refused["status"], &refused["message"]), (&json!("error"), &json!("Failed to record feedback")));
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("unknown or expired")), "{refused}");
    assert_eq!((&refused["is_brute_force"], &refused["request_id"]), (&json!(true), &json!("req-12345")));
    assert_eq!(daemon.status().await["feedback"]["pending"], 0);
}

/// D33: a missing or garbled `is_brute_force` was stored as "legitimate".
#[tokio::test]
async fn d33_feedback_without_a_word_is_an_error_and_never_legitimate() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let attempt = traffic::attempt(1, "192.168.1.100", "john.doe");
    traffic::login(&daemon.http, &attempt, false).await;
    let who = "request_id=request-1&client_ip=192.168.1.100&username=john.doe";

    for word in
        ["", "is_brute_force=&", "is_brute_force=maybe&", "is_brute_force=TRUE&", "is_brute_force=1&is_brute_force=0&"]
    {
        let refused = hook(&daemon, &format!("{FEEDBACK}?{word}{who}")).await;
        assert_eq!(refused["status"], "error", "{word}: {refused}");
        assert!(refused.get("is_brute_force").is_none(), "{refused}");
    }
    for missing in ["request_id", "client_ip", "username"] {
        let rest: Vec<&str> = who.split('&').filter(|part| !part.starts_with(missing)).collect();
        let refused = hook(&daemon, &format!("{FEEDBACK}?is_brute_force=true&{}", rest.join("&"))).await;
        assert_eq!(refused["error"], json!(format!("Missing required parameter: {missing}")));
    }
    assert_eq!(daemon.status().await["feedback"]["pending"], 0);
}

#[tokio::test]
async fn learning_mode_is_read_switched_and_refused_with_the_original_s_sentences() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    daemon.ingest(traffic::history()).await;
    hook(&daemon, TRAIN).await;

    let set = |enabled: &str| format!("{MODE}?enabled={enabled}");
    let said = |message: &str, mode: bool| json!({ "status": "success", "message": message, "learning_mode": mode });
    assert_eq!(hook(&daemon, &set("true")).await, said("Learning mode set successfully", true));
    assert_eq!(hook(&daemon, MODE).await, said("Retrieved current learning mode", true));
    assert_eq!(hook(&daemon, &set("0")).await, said("Learning mode set successfully", false));
    let refused = hook(&daemon, &set("on")).await;
    assert_eq!(refused["error"], "Invalid enabled parameter: must be 'true', 'false', '1', or '0'");
    assert_eq!((&refused["status"], &refused["learning_mode"]), (&json!("error"), &json!(false)));

    let dry = Daemon::start(Setup::new("dry").set("ml.dry_run", "true")).await;
    let refused = hook(&dry, &set("false")).await;
    assert_eq!(refused["message"], "Failed to set learning mode");
    assert_eq!(refused["error"], "Cannot change learning mode when Dry-Run is activated in configuration");
}

/// The original's hooks were open to everybody unless its JWTs were fully configured.
#[tokio::test]
async fn who_may_not_is_refused_the_original_s_way_and_nothing_changes() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let anybody = daemon.http.without_token();

    for call in [TRAIN.to_owned(), format!("{MODE}?enabled=true"), format!("{FEEDBACK}?is_brute_force=1")] {
        let refused = anybody.get(&call).await;
        assert_eq!(refused.status, 403, "{call}");
        assert_eq!(refused.body, json!({ "error": "Insufficient permissions" }));
    }
    assert_eq!(anybody.with_token("a-guess-of-16-bytes").get(TRAIN).await.status, 401);
    assert_eq!(daemon.http.get("/v1/models").await.body, json!([]));
}

/// Every hook, with parameters that are right.
const RIGHT: [(&str, &str); 5] = [
    ("train-neural-network", "epochs=5&samples=1000"),
    ("neural-feedback", "is_brute_force=true&request_id=request-1&client_ip=192.168.1.100&username=john.doe"),
    ("learning-mode", "enabled=true"),
    ("distributed-brute-force-test", "action=run_test&username=bob&num_ips=20&country_code=DE"),
    ("distributed-brute-force-admin", "action=reset_account&username=bob"),
];

#[tokio::test]
async fn repeated_empty_overlong_and_wrong_parameters_are_refused_by_name_and_change_nothing() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    traffic::login(&daemon.http, &traffic::attempt(1, "192.168.1.100", "john.doe"), false).await;
    let long = "x".repeat(1025);
    let mut calls = Vec::new();
    for (hook, query) in RIGHT {
        let first = query.split('=').next().expect("a name");
        calls.push((hook, format!("{query}&{first}=1"), first));
        calls.push((hook, query.replacen('=', &format!("={long}"), 1), "longer than 1024"));
        calls.push((hook, format!("{query}&{long}=1"), "name"));
        calls.push((hook, format!("{query}{}", (0..16).map(|n| format!("&p{n}=1")).collect::<String>()), "16"));
    }
    for wrong in ["1e9", "-1", "0", "1.5", "twenty", "99999999999999999999", "0x10"] {
        calls.push(("train-neural-network", format!("epochs={wrong}"), "epochs"));
        calls.push(("train-neural-network", format!("samples={wrong}"), "samples"));
        calls.push(("distributed-brute-force-test", format!("action=run_test&username=b&num_ips={wrong}"), "num_ips"));
    }
    for (hook, query, name) in [
        ("neural-feedback", "is_brute_force=&request_id=r&client_ip=192.0.2.1&username=u", "is_brute_force"),
        ("neural-feedback", "is_brute_force=1&request_id=&client_ip=192.0.2.1&username=u", "request_id"),
        ("neural-feedback", "is_brute_force=1&request_id=r&client_ip=&username=u", "client_ip"),
        ("neural-feedback", "is_brute_force=1&request_id=r&client_ip=192.0.2.1&username=", "username"),
        ("distributed-brute-force-test", "action=&username=bob", "action"),
        ("distributed-brute-force-test", "action=simulate_attack&username=", "username"),
        ("distributed-brute-force-admin", "action=reset_account&username=", "username"),
    ] {
        calls.push((hook, query.to_owned(), name));
    }
    let status = daemon.status().await;
    for (hook_name, query, name) in &calls {
        let answer = hook(&daemon, &format!("/api/v1/custom/{hook_name}?{query}")).await;
        let shown = query.chars().take(80).collect::<String>();
        assert_eq!(answer["status"], "error", "{hook_name}?{shown}: {answer}");
        let said = format!("{} {}", answer["message"], answer["error"]);
        assert!(said.contains(name), "{hook_name}?{shown}: {name} is not in {said}");
        assert!(said.len() < 400, "what was sent is not repeated at length");
    }

    assert_eq!(daemon.http.get("/v1/audit").await.body, json!([]), "no command was carried out");
    assert_eq!(daemon.http.get("/v1/models").await.body, json!([]));
    let after = daemon.status().await;
    for field in ["mode", "feedback", "registry_writes"] {
        assert_eq!(after[field], status[field], "{field}");
    }
    // With right parameters each of them does something.
    for (hook_name, query) in RIGHT {
        hook(&daemon, &format!("/api/v1/custom/{hook_name}?{query}")).await;
    }
    assert_eq!(daemon.http.get("/v1/audit").await.body.as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn a_parameter_that_a_hook_does_not_know_is_refused_by_name_and_changes_nothing() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    daemon.ingest(traffic::history()).await;
    traffic::login(&daemon.http, &traffic::attempt(1, "192.168.1.100", "john.doe"), false).await;

    for (hook_name, query) in RIGHT {
        for more in ["enable=true", "epoch=3", "_=1"] {
            let unknown = more.split('=').next().expect("a name");
            let answer = hook(&daemon, &format!("/api/v1/custom/{hook_name}?{query}&{more}")).await;
            let said = format!("{} {}", answer["message"], answer["error"]);
            assert!(answer["status"] == "error" && said.contains(&format!("Unknown parameter: {unknown};")), "{said}");
        }
    }
    let typo = hook(&daemon, &format!("{MODE}?enable=true")).await;
    assert_eq!((&typo["status"], &typo["message"]), (&json!("error"), &json!("Failed to set learning mode")), "{typo}");
    let twice = daemon.http.send("POST", MODE, br#"{"enabled":"false","enabled":"true"}"#.to_vec()).await.body;
    assert!(twice["error"].as_str().is_some_and(|error| error.contains("enabled: given twice")), "{twice}");

    assert_eq!(daemon.http.get("/v1/audit").await.body, json!([]), "no command was carried out");
}

/// A POST as `curl -d` sends it, with this content type or none.
async fn post_as(daemon: &Daemon, content_type: Option<&str>, body: &str) -> Value {
    let token = std::fs::read_to_string(daemon.state_dir().join("admin.token")).expect("a token");
    let kind = content_type.map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
    let (address, token, length) = (daemon.http.address(), token.trim(), body.len());
    let request = format!(
        "POST {MODE} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    );
    let answer = raw::rest(&mut raw::connect(address, &request).await).await;
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_else(|| panic!("no answer: {answer}"));
    serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"))
}

#[tokio::test]
async fn json_that_a_client_calls_a_form_is_obeyed_and_never_taken_for_nothing() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let form = Some("application/x-www-form-urlencoded");
    for (kind, body, on) in [
        (form, r#"{"enabled":"true"}"#, true),
        (None, " {\"enabled\":false}", false),
        (Some("text/plain"), r#"{"enabled":1}"#, true),
        (form, "enabled=false", false),
    ] {
        let answer = post_as(&daemon, kind, body).await;
        assert_eq!(answer["message"], "Learning mode set successfully", "{kind:?} {body}: {answer}");
        assert_eq!(daemon.status().await["mode"]["switched_on"], on, "{kind:?} {body}");
    }
    let broken = post_as(&daemon, form, r#"{"enabled":"true""#).await;
    assert_eq!(broken["error"], "The body is not a JSON object");
}

#[tokio::test]
async fn a_head_request_carries_nothing_out() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let token = std::fs::read_to_string(daemon.state_dir().join("admin.token")).expect("a token");
    let headers = [format!("Host: {}", daemon.http.address()), format!("Authorization: Bearer {}", token.trim())];
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();

    for (hook_name, query) in RIGHT {
        let line = format!("HEAD /api/v1/custom/{hook_name}?{query}");
        let (status, answer) = raw::request(daemon.http.address(), &line, &headers).await;
        assert!(status == 405 && answer.to_lowercase().contains("allow: get, post\r\n"), "{hook_name}: {answer}");
    }
    assert_eq!(daemon.http.get("/v1/audit").await.body, json!([]), "no command was carried out");
    assert!(daemon.status().await["mode"].is_null());
}
