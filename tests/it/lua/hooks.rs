//! The five hook scripts: parameters go to the daemon's hook of the same name, its JSON comes back, and where the daemon
//! gives none there is the documented failure.

use serde_json::{Value, json};

use super::broken::{Server, nobody};
use super::nauthilus::{Nauthilus, Version};
use super::pair;
use crate::support::daemon::Setup;

/// A Nauthilus that talks to `url`.
fn at(version: Version, url: &str) -> Nauthilus {
    Nauthilus::new(version, &[("NAUTHILUS_NEURAL_URL", url)])
}

/// A hook: its name, a full query as documented, the address that the daemon gets, and its documented failure.
type Hook = (&'static str, Vec<(&'static str, &'static str)>, &'static str, Value);

/// All five.
fn hooks() -> Vec<Hook> {
    vec![
        (
            "train-neural-network",
            vec![("epochs", "100"), ("samples", "10000")],
            "epochs=100&samples=10000",
            json!({ "message": "Neural network training failed", "epochs": 100, "samples": 10000 }),
        ),
        (
            "neural-feedback",
            vec![
                ("is_brute_force", "true"),
                ("request_id", "req-12345"),
                ("client_ip", "192.168.1.100"),
                ("username", "john.doe"),
            ],
            "is_brute_force=true&request_id=req-12345&client_ip=192.168.1.100&username=john.doe",
            json!({
                "message": "Failed to record feedback", "is_brute_force": true, "request_id": "req-12345",
                "client_ip": "192.168.1.100", "username": "john.doe",
            }),
        ),
        (
            "learning-mode",
            vec![("enabled", "true")],
            "enabled=true",
            json!({ "message": "Failed to set learning mode", "learning_mode": true }),
        ),
        (
            "distributed-brute-force-test",
            vec![("action", "run_test"), ("username", "testuser"), ("num_ips", "20"), ("country_code", "DE")],
            "action=run_test&username=testuser&num_ips=20&country_code=DE",
            json!({
                "message": "Distributed brute force test failed", "username": "testuser", "num_ips": 20,
                "country_code": "DE",
            }),
        ),
        (
            "distributed-brute-force-admin",
            vec![("action", "reset_account"), ("username", "testuser")],
            "action=reset_account&username=testuser",
            json!({ "message": "Distributed brute force administration failed", "username": "testuser" }),
        ),
    ]
}

#[test]
fn parameters_and_json_are_handed_through_in_each_version() {
    let answer = json!({
        "status": "success", "message": "as documented", "detection_result": { "threat_level": 0.8, "attack_score": 20 },
        "metrics": { "blocked_regions": ["CN", "RU"], "settings": { "captcha_enabled": "true" } }, "learning_mode": false,
    });
    for version in Version::ALL {
        for (name, query, address, _) in hooks() {
            let server = Server::saying(200, answer.to_string());

            let got = at(version, &server.url()).hook(name, &query);

            let mut expected = answer.clone();
            expected["level"] = json!("info");
            expected["caller"] = json!(format!("{name}.lua"));
            expected["session"] = json!("session-1");
            assert_eq!(got, expected, "{version:?} {name}");
            assert_eq!(server.requests(), [format!("GET /api/v1/custom/{name}?{address} HTTP/1.1")]);
        }
    }
}

#[test]
fn a_hook_that_is_called_by_post_calls_by_post() {
    let server = Server::saying(200, r#"{"status":"success"}"#);
    let nauthilus = at(Version::V2, &server.url());

    nauthilus.hook_by("POST", "learning-mode", &[]);
    nauthilus.hook_by("HEAD", "learning-mode", &[]);

    let lines = ["POST /api/v1/custom/learning-mode HTTP/1.1", "GET /api/v1/custom/learning-mode HTTP/1.1"];
    assert_eq!(server.requests(), lines);
}

#[test]
fn no_parameter_can_break_out_of_its_place() {
    let server = Server::saying(200, r#"{"status":"success"}"#);
    let nauthilus = at(Version::V2, &server.url());
    let name = "a&is_brute_force=true#?/ %\r\nX: y+ü";

    nauthilus.hook("neural-feedback", &[("username", name), ("is_brute_force", "false"), ("unknown", "1")]);

    let escaped = "a%26is_brute_force%3Dtrue%23%3F%2F%20%25%0D%0AX%3A%20y%2B%C3%BC";
    let line = format!("GET /api/v1/custom/neural-feedback?is_brute_force=false&username={escaped} HTTP/1.1");
    assert_eq!(server.requests(), [line]);
}

#[test]
fn without_the_daemon_each_hook_answers_its_documented_failure() {
    for version in Version::ALL {
        for (name, query, _, failure) in hooks() {
            let got = at(version, &nobody()).hook(name, &query);

            let error = got["error"].as_str().expect("a sentence").to_owned();
            assert!(error.starts_with("cannot reach nauthilus-neural: "), "{name}: {error}");
            let mut expected = failure;
            expected["error"] = json!(error);
            expected["status"] = json!("error");
            expected["level"] = json!("error");
            expected["caller"] = json!(format!("{name}.lua"));
            expected["session"] = json!("session-1");
            assert_eq!(got, expected, "{version:?} {name}");
        }
    }
}

#[test]
fn what_was_not_given_has_its_default_or_is_missing_in_a_failure() {
    let nauthilus = at(Version::V2, &nobody());

    let train = nauthilus.hook("train-neural-network", &[("epochs", "many"), ("samples", "")]);
    let mode = nauthilus.hook("learning-mode", &[]);
    let test = nauthilus.hook("distributed-brute-force-test", &[]);

    assert_eq!((&train["epochs"], &train["samples"]), (&json!("many"), &json!(5000)));
    assert_eq!(
        (&mode["message"], &mode["learning_mode"]),
        (&json!("Failed to retrieve current learning mode"), &json!(true))
    );
    assert!(test.get("num_ips").is_none() && test.get("username").is_none(), "{test}");
}

#[test]
fn an_error_of_the_daemons_hook_is_handed_through_whatever_its_http_status() {
    let refusal = json!({ "status": "error", "message": "Missing required parameter: action" });
    for status in [200, 400, 409, 500, 503] {
        let server = Server::saying(status, refusal.to_string());

        let got = at(Version::V3, &server.url()).hook("distributed-brute-force-test", &[]);

        assert_eq!((&got["message"], &got["level"]), (&refusal["message"], &json!("error")), "{status}");
        assert!(got.get("error").is_none(), "{status}: {got}");
    }
    // The one documented answer without a status.
    let answer =
        json!({ "level": "error", "error": "Invalid enabled parameter: must be 'true', 'false', '1', or '0'" });
    let server = Server::saying(200, answer.to_string());
    let got = at(Version::V3, &server.url()).hook("learning-mode", &[("enabled", "maybe")]);
    assert_eq!((&got["error"], &got["level"], got.get("status")), (&answer["error"], &json!("error"), None));
}

#[test]
fn what_is_no_answer_of_a_hook_becomes_the_documented_failure() {
    let problem = r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"this needs the role admin"}"#;
    for (status, body, error) in [
        (403, problem.to_owned(), "this needs the role admin"),
        (404, "404 page not found".to_owned(), "HTTP 404"),
        (500, String::new(), "HTTP 500"),
        (200, String::new(), "no JSON object"),
        (200, "<html>".to_owned(), "no JSON object"),
        (200, "[1,2]".to_owned(), "no answer of a hook"),
        (200, "{}".to_owned(), "no answer of a hook"),
        (200, problem.to_owned(), "no answer of a hook"),
        (200, format!(r#"{{"status":"{}"}}"#, "x".repeat(2_000_000)), "more than 1048576 bytes"),
    ] {
        let server = Server::saying(status, body);
        for (name, query, _, failure) in hooks() {
            let got = at(Version::V2, &server.url()).hook(name, &query);

            assert_eq!((&got["status"], &got["message"]), (&json!("error"), &failure["message"]), "{name}: {got}");
            assert!(got["error"].as_str().is_some_and(|text| text.contains(error)), "{status} {name}: {got}");
        }
    }
}

#[test]
fn a_hook_that_cannot_read_its_parameters_does_nothing() {
    let server = Server::saying(200, r#"{"status":"success"}"#);
    for broken in ["{}", "{ get_http_query_param = function() error('no request') end }"] {
        let nauthilus = at(Version::V2, &server.url());
        nauthilus.replace_http_request(broken);

        let got = nauthilus.hook("train-neural-network", &[("epochs", "1")]);

        assert_eq!(got["error"], "this Nauthilus does not tell hooks their parameters");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_hooks_come_to_a_live_daemon_as_an_administrator() {
    let (_daemon, nauthilus) = pair(Setup::new("a"), Version::V2).await;

    for (name, query, _, _) in hooks() {
        let got = nauthilus.hook(name, &query);

        assert!(got["status"] == "success" || got["status"] == "error", "{name}: {got}");
        let error = got["error"].as_str().unwrap_or_default();
        assert!(!error.contains("cannot reach") && !error.contains("role"), "{name}: {got}");
    }
    assert!(nauthilus.sent().iter().all(|sent| sent.authorization.is_some()));
}

#[test]
fn a_hook_that_trains_may_take_long_and_the_others_may_not() {
    let server = Server::saying(200, r#"{"status":"success"}"#);
    let nauthilus = at(Version::V2, &server.url());
    for (name, query, _, _) in hooks() {
        nauthilus.hook(name, &query);
        let limit = nauthilus.sent()[0].timeout.as_secs();
        assert_eq!(limit, if name == "train-neural-network" { 110 } else { 10 }, "{name}");
    }
}
