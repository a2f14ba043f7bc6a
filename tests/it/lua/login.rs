//! `neural.lua` in a login: what the daemon is asked and told, and what Nauthilus does with each verdict.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::broken::{Server, nobody};
use super::nauthilus::{Nauthilus, Version};
use super::pair;
use crate::support::daemon::Setup;

const SCRIPT: &str = "lua-plugins.d/neural.lua";

/// A login as Nauthilus shows it to scripts.
pub fn login(session: &str) -> Value {
    json!({
        "session": session, "username": "alice@example.org", "password": "correct horse", "client_ip": "198.51.100.7",
        "protocol": "imap", "service": "dovecot", "user_agent": "Thunderbird/128.3", "no_auth": false,
    })
}

/// A Nauthilus with the script, and settings beside the address.
pub fn beside(version: Version, url: &str, settings: &[(&str, &str)]) -> Nauthilus {
    let settings: Vec<_> = settings.iter().copied().chain([("NAUTHILUS_NEURAL_URL", url)]).collect();
    let nauthilus = Nauthilus::new(version, &settings);
    nauthilus.load(SCRIPT);
    nauthilus
}

/// A server that gives each score this verdict.
pub fn judge(verdict: &str) -> Server {
    Server::saying(200, json!({ "request_id": "s-1", "verdict": verdict, "probability": 0.9712 }).to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_login_is_asked_about_before_and_told_after_with_one_id_in_each_version() {
    for version in Version::ALL {
        let (daemon, nauthilus) = pair(Setup::new("a"), version).await;
        nauthilus.load(SCRIPT);
        let mut request = login("s-1");

        assert!(!nauthilus.before(&request), "{version:?}: {:?}", nauthilus.log());
        request["authenticated"] = json!(true);
        request["user_found"] = json!(true);
        request["account"] = json!("alice");
        nauthilus.after(&request);

        assert_eq!(nauthilus.log().get("neural_verdict").map(String::as_str), Some("allow"), "{version:?}");
        assert!(!nauthilus.log().contains_key("neural_error"), "{:?}", nauthilus.log());
        let sent = nauthilus.sent();
        assert_eq!(sent.iter().map(|sent| sent.path.as_str()).collect::<Vec<_>>(), ["/v1/score", "/v1/outcome"]);
        assert_eq!(
            sent[0].body,
            json!({
                "request_id": "s-1", "username": "alice@example.org", "client_ip": "198.51.100.7", "protocol": "imap",
                "user_agent": "Thunderbird/128.3", "password_hash": "000000ad",
                "features": { "identifier": "Thunderbird/128.3", "country_code": "unknown" },
                "encoding": { "country_code": "embedding" },
            })
        );
        assert_eq!((&sent[1].body["success"], &sent[1].body["user_found"]), (&json!(true), &json!(true)));
        assert_eq!(sent[1].body["request_id"], "s-1");
        assert!(sent.iter().all(|sent| sent.authorization.is_none()), "a login needs no secret on the same host");
        let again = daemon.http.post("/v1/outcome", &json!({ "request_id": "s-1", "success": false })).await;
        assert_eq!(again.status, 409, "{version:?}: the daemon knows how it ended: {again:?}");
    }
}

#[test]
fn each_verdict_becomes_what_nauthilus_understands() {
    for version in Version::ALL {
        for (verdict, refused) in [("allow", false), ("watch", false), ("step_up", false), ("block", true)] {
            let server = judge(verdict);
            let nauthilus = beside(version, &server.url(), &[]);

            assert_eq!(nauthilus.before(&login("s-1")), refused, "{version:?} {verdict}");

            assert_eq!(nauthilus.log()["neural_verdict"], verdict);
            assert_eq!(nauthilus.log()["ml_probability"], "0.97", "as 1.7 logged it");
            assert_eq!(nauthilus.context("nauthilus_neural_verdict"), verdict);
            assert_eq!(nauthilus.context("nauthilus_neural_probability"), 0.9712);
            assert_eq!(nauthilus.status_message().is_some(), refused);
            assert!(nauthilus.attributes().is_empty(), "policies hear nothing unless that was switched on");
        }
    }
}

#[test]
fn policies_of_nauthilus_3_hear_the_verdict_when_that_is_switched_on() {
    let server = judge("step_up");
    let nauthilus = beside(Version::V3, &server.url(), &[("NAUTHILUS_NEURAL_POLICY_ATTRIBUTES", "on")]);

    nauthilus.before(&login("s-1"));

    let told: Vec<_> = nauthilus.attributes().into_iter().collect();
    let probability = ("lua.plugin.neural.probability".to_owned(), json!(0.9712));
    assert_eq!(told, [probability, ("lua.plugin.neural.verdict".to_owned(), json!("step_up"))]);
}

#[test]
fn d13_the_outcome_says_who_refused_a_login() {
    for (fields, expected) in [
        (json!({ "authenticated": true }), json!({ "success": true })),
        (json!({ "authenticated": false }), json!({ "success": false })),
        (json!({ "brute_force_bucket": "b_1min" }), json!({ "blocked": true, "static_rule_triggered": true })),
        (json!({ "feature": "neural" }), json!({ "blocked": true })),
        (json!({ "environment": "neural" }), json!({ "blocked": true })),
        (json!({ "environment_rejected": true }), json!({ "blocked": true })),
        (json!({ "brute_force_bucket": "", "feature": "", "user_found": false }), json!({ "success": false })),
    ] {
        let nauthilus = beside(Version::V2, &judge("allow").url(), &[]);
        let mut request = login("s-1");
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());

        nauthilus.after(&request);

        let body = nauthilus.sent().remove(0).body;
        for field in ["success", "blocked", "static_rule_triggered"] {
            assert_eq!(body.get(field), expected.get(field), "{field} for {fields}");
        }
    }
}

#[test]
fn what_is_no_login_is_neither_asked_about_nor_told() {
    for fields in [json!({ "no_auth": true }), json!({ "client_ip": "" }), json!({ "username": "" })] {
        let nauthilus = beside(Version::V3, &judge("block").url(), &[]);
        let mut request = login("s-1");
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());

        assert!(!nauthilus.before(&request));
        nauthilus.after(&request);

        assert!(nauthilus.sent().is_empty(), "{fields}");
    }
}

#[test]
fn the_password_never_leaves_and_its_tag_only_if_wanted() {
    let quiet = beside(Version::V2, &judge("allow").url(), &[("NAUTHILUS_NEURAL_PASSWORD_TAG", "off")]);
    let developer = beside(Version::V2, &judge("allow").url(), &[]);
    // A developer's build of Nauthilus gives the password itself.
    developer
        .eval("package.loaded.nauthilus_password = { generate_password_hash = function(text) return text end }")
        .expect("replaced");

    for nauthilus in [quiet, developer] {
        for password in ["correct horse", "deadbeef"] {
            let mut request = login("s-1");
            request["password"] = json!(password);
            nauthilus.before(&request);
            nauthilus.after(&request);
            for sent in nauthilus.sent() {
                assert!(sent.body.get("password_hash").is_none(), "{:?}", sent.body);
                assert!(!sent.body.to_string().contains(password));
            }
        }
    }
}

#[test]
fn features_of_scripts_and_of_the_site_travel_with_the_score() {
    let site = tempfile::tempdir().expect("a directory");
    let file = "function nauthilus_call_neural_network(request)\n  require('nauthilus_neural')\
                .add_additional_features({ country_code = 'de', office = request.client_ip == '198.51.100.7' }, 'embedding')\nend\n";
    std::fs::write(site.path().join("nauthilus_neural_site.lua"), file).expect("writable");
    for version in Version::ALL {
        let nauthilus = beside(version, &judge("allow").url(), &[]);
        nauthilus.add_path(site.path());
        nauthilus.next_request();
        nauthilus.eval("require('nauthilus_neural').add_additional_features({ risk = 3 })").expect("taken");

        nauthilus.before(&login("s-1"));

        let body = nauthilus.sent().remove(0).body;
        let features = json!({ "country_code": "de", "office": true, "risk": 3, "identifier": "Thunderbird/128.3" });
        assert_eq!(body["features"], features, "{version:?}");
        assert_eq!((&body["encoding"], &body["country"]), (&json!({ "country_code": "embedding" }), &json!("DE")));
    }
}

#[test]
fn a_broken_script_of_the_site_costs_its_features_and_nothing_else() {
    for text in
        ["this is not Lua", "error('at load')", "function nauthilus_call_neural_network() error('in a login') end"]
    {
        let site = tempfile::tempdir().expect("a directory");
        std::fs::write(site.path().join("nauthilus_neural_site.lua"), text).expect("writable");
        let nauthilus = beside(Version::V2, &judge("block").url(), &[]);
        nauthilus.add_path(site.path());

        assert!(nauthilus.before(&login("s-1")), "{text}");

        assert!(nauthilus.log()["neural_error"].contains("site"), "{:?}", nauthilus.log());
    }
}

#[test]
fn the_country_is_that_of_the_client_and_not_the_past_of_the_account() {
    for (seen, country) in [(json!(["fr"]), json!("FR")), (json!(["FR", "US"]), Value::Null), (json!([7]), Value::Null)]
    {
        let nauthilus = beside(Version::V2, &judge("allow").url(), &[("NAUTHILUS_NEURAL_FEATURES", "off")]);
        nauthilus.set_context("geoippolicyd_iso_codes_seen", &seen);

        nauthilus.before(&login("s-1"));

        let body = nauthilus.sent().remove(0).body;
        assert_eq!(body.get("country").cloned().unwrap_or_default(), country, "{seen}");
        assert!(body.get("features").is_none() && body.get("encoding").is_none(), "an empty table would be a list");
    }
}

#[test]
fn a_daemon_that_never_answers_costs_a_login_150_ms_at_most() {
    for (setting, limit) in [("", 140), ("40", 40), ("5000", 140), ("-1", 140), ("soon", 140), ("0.5", 140)] {
        let server = Server::silent();
        let nauthilus = beside(Version::V3, &server.url(), &[("NAUTHILUS_NEURAL_TIMEOUT_MS", setting)]);
        nauthilus.keep_time();

        let begun = Instant::now();
        assert!(!nauthilus.before(&login("s-1")));
        let took = begun.elapsed();

        assert_eq!(
            nauthilus.sent().iter().map(|sent| sent.timeout.as_millis()).collect::<Vec<_>>(),
            [limit],
            "{setting}"
        );
        // Far more than the limit: other programs may hold the core.
        assert!(took >= Duration::from_millis(limit as u64) && took < Duration::from_secs(5), "{setting}: {took:?}");
        assert!(nauthilus.log()["neural_error"].contains("deadline"), "{:?}", nauthilus.log());
        println!("limit {limit} ms, {:.1} ms added", took.as_secs_f64() * 1000.0);
    }
}

#[test]
fn the_mode_is_asked_for_in_the_time_of_a_login() {
    let server = Server::saying(200, r#"{"learning_mode":false}"#);
    let nauthilus = beside(Version::V2, &server.url(), &[]);

    assert_eq!(nauthilus.eval("return require('nauthilus_neural').get_learning_mode()"), Ok(vec![json!(false)]));

    let limits: Vec<u128> = nauthilus.sent().iter().map(|sent| sent.timeout.as_millis()).collect();
    assert_eq!(limits, [140], "one question");
}

#[test]
fn a_daemon_that_is_down_costs_a_login_nothing() {
    for version in Version::ALL {
        let nauthilus = beside(version, &nobody(), &[]);
        let begun = Instant::now();

        assert!(!nauthilus.before(&login("s-1")));
        nauthilus.after(&login("s-1"));

        println!("refused connections: {:.2} ms for both calls", begun.elapsed().as_secs_f64() * 1000.0);
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(nauthilus.log()["neural_error"].starts_with("cannot reach nauthilus-neural: "));
    }
}

#[test]
fn garbage_from_the_daemon_is_no_verdict() {
    let huge = format!(r#"{{"verdict":"block","padding":"{}"}}"#, "x".repeat(2_000_000));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let problem = r#"{"type":"about:blank","title":"x","status":500,"detail":"the store\nrefuses","verdict":"block"}"#;
    for (status, body, error) in [
        (200, String::new(), "no JSON object"),
        (200, "<html>hello</html>".to_owned(), "no JSON object"),
        (200, "\"block\"".to_owned(), "no JSON object"),
        (200, "null".to_owned(), "no JSON object"),
        (200, deep, "no JSON object"),
        (200, "[]".to_owned(), "without a verdict"),
        (200, "{}".to_owned(), "without a verdict"),
        (200, r#"{"verdict":"BLOCK"}"#.to_owned(), "without a verdict"),
        (200, r#"{"verdict":["block"]}"#.to_owned(), "without a verdict"),
        (200, r#"{"verdict":true,"probability":1}"#.to_owned(), "without a verdict"),
        (200, huge, "more than 1048576 bytes"),
        (500, problem.to_owned(), "the store refuses"),
        (503, "busy".to_owned(), "HTTP 503"),
        (302, r#"{"verdict":"block"}"#.to_owned(), "HTTP 302"),
    ] {
        let begins = body.chars().take(30).collect::<String>();
        let server = Server::saying(status, body);
        let nauthilus = beside(Version::V2, &server.url(), &[]);

        assert!(!nauthilus.before(&login("s-1")), "{status} {begins}");
        nauthilus.after(&login("s-1"));

        assert!(nauthilus.log()["neural_error"].contains(error), "{status} {begins}: {:?}", nauthilus.log());
    }
}

#[test]
fn wrong_types_beside_a_verdict_do_not_matter() {
    let body = r#"{"verdict":"block","probability":"high","request_id":{},"model":7}"#;
    let nauthilus = beside(Version::V3, &Server::saying(200, body).url(), &[]);

    assert!(nauthilus.before(&login("s-1")));

    assert!(!nauthilus.log().contains_key("ml_probability"));
}
