//! The HTTP interface at its edges: what is refused, how, that a refusal changes nothing, and who may do what.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup, now, write_secret};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// Everything that a refused request must leave alone.
async fn state(daemon: &Daemon) -> Value {
    let status = daemon.status().await;
    let mut scored = 0;
    for verdict in ["allow", "watch", "step_up", "block"] {
        scored += daemon.metric(&format!("scores_total{{verdict={verdict:?}}}")).await;
    }
    json!([
        status["model"],
        status["learning_mode"],
        status["feedback"],
        status["registry_writes"],
        status["store"],
        daemon.metric("attempts_appended_total").await,
        scored,
        daemon.http.get("/v1/models").await.body,
    ])
}

#[tokio::test]
async fn a_bad_request_is_refused_by_field_and_changes_nothing() {
    let daemon = Daemon::start(Setup::new("alone").set("ml.prior", "false")).await;
    let known = traffic::attempt(1, "198.51.100.7", "alice");
    traffic::login(&daemon.http, &known, true).await;
    let all_stored = || async {
        let appended = daemon.metric("attempts_appended_total").await;
        if appended == 1 { Ok(()) } else { Err(appended.to_string()) }
    };
    eventually("the good attempt is stored", SOON, all_stored).await;
    let before = state(&daemon).await;
    let with = |name: &str, value: Value| {
        let mut attempt = traffic::attempt(2, "198.51.100.7", "alice");
        attempt[name] = value;
        attempt.to_string()
    };
    let word = |name: &str, value: Value| {
        let mut word = traffic::feedback(&known, true);
        word[name] = value;
        word.to_string()
    };

    for (method, path, body, status, names) in [
        ("POST", "/v1/score", "{".to_owned(), 400, "record"),
        ("POST", "/v1/score", "[1]".to_owned(), 400, "record"),
        ("POST", "/v1/score", String::new(), 400, "record"),
        ("POST", "/v1/score", json!({ "username": "alice" }).to_string(), 400, "client_ip"),
        ("POST", "/v1/score", json!({ "client_ip": "198.51.100.7" }).to_string(), 400, "username"),
        ("POST", "/v1/score", with("client_ip", json!(5)), 400, "client_ip"),
        ("POST", "/v1/score", with("client_ip", json!("198.51.100.300")), 400, "client_ip"),
        ("POST", "/v1/score", with("client_ip", json!("fe80::1%eth0")), 400, "client_ip"),
        ("POST", "/v1/score", with("username", json!("")), 400, "username"),
        ("POST", "/v1/score", with("username", json!("al\u{0}ice")), 400, "username"),
        ("POST", "/v1/score", with("username", json!("a".repeat(2000))), 400, "username"),
        ("POST", "/v1/score", with("username", json!("a".repeat(70_000))), 413, "larger"),
        ("POST", "/v1/score", with("request_id", json!("")), 400, "request_id"),
        ("POST", "/v1/score", with("user_found", json!("yes")), 400, "user_found"),
        ("POST", "/v1/score", with("features", json!({ "x": null })), 400, "features"),
        ("POST", "/v1/outcome", with("success", json!("yes")), 400, "success"),
        ("POST", "/v1/outcome", with("protocol", json!("imap")), 400, "success"),
        ("POST", "/v1/outcome", json!({ "success": true }).to_string(), 400, "request_id"),
        ("POST", "/v1/outcome", json!({ "success": true, "request_id": "never" }).to_string(), 400, "client_ip"),
        ("POST", "/v1/attempts", "{}\n".repeat(100_001), 413, "lines"),
        ("POST", "/v1/attempts", " ".repeat((16 << 20) + 1), 413, "larger"),
        ("POST", "/v1/feedback", word("is_bruteforce", json!(true)), 400, "is_bruteforce"),
        ("POST", "/v1/feedback", word("is_brute_force", json!("yes")), 400, "is_brute_force"),
        ("POST", "/v1/feedback", json!({ "request_id": "request-1" }).to_string(), 400, "is_brute_force"),
        ("POST", "/v1/feedback", word("client_ip", json!("nowhere")), 400, "client_ip"),
        ("POST", "/v1/feedback", word("author", json!("a\nb")), 400, "author"),
        ("POST", "/v1/feedback", word("client_ip", json!("198.51.100.8")), 409, "client_ip"),
        ("POST", "/v1/feedback", word("username", json!("bob")), 409, "username"),
        ("POST", "/v1/feedback", word("request_id", json!("never")), 404, "last 200000 requests"),
        ("POST", "/v1/train", json!({ "epoch": 5 }).to_string(), 400, "epoch"),
        ("POST", "/v1/train", json!({ "epochs": 0 }).to_string(), 400, "epochs"),
        ("POST", "/v1/train", json!({ "samples": -1 }).to_string(), 400, "samples"),
        ("POST", "/v1/train", json!({ "wait": "no" }).to_string(), 400, "wait"),
        ("POST", "/v1/reset", json!({ "now": true }).to_string(), 400, "now"),
        ("POST", "/v1/reset", "[]".to_owned(), 400, "body"),
        ("POST", "/v1/reset", "{} {}".to_owned(), 400, "body"),
        ("POST", "/v1/rollback", json!({ "generation": 0 }).to_string(), 400, "generation"),
        ("POST", "/v1/rollback", json!({ "generation": 7 }).to_string(), 404, "generation 7"),
        ("POST", "/v1/rollback", String::new(), 404, "no earlier model"),
        ("POST", "/v1/approve", json!({ "discard": "no" }).to_string(), 400, "discard"),
        ("POST", "/v1/approve", json!({ "training": "ab" }).to_string(), 400, "training"),
        ("POST", "/v1/approve", String::new(), 404, "no candidate"),
        ("PUT", "/v1/learning-mode", json!({}).to_string(), 400, "enabled"),
        ("PUT", "/v1/learning-mode", json!({ "enabled": 1 }).to_string(), 400, "enabled"),
        ("GET", "/v1/explain/request-1", String::new(), 409, "no model serves"),
        ("GET", "/v1/nothing", String::new(), 404, "path"),
        ("GET", "/v1/score", String::new(), 405, "method"),
    ] {
        let answer = daemon.http.send(method, path, body.into_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path} {names}: {answer:?}");
        assert!(answer.text.contains(names), "{method} {path}: {names} is not in {answer:?}");
        assert_eq!(answer.content_type, "application/problem+json", "{method} {path}");
        assert_eq!(answer.body["status"], status, "{answer:?}");
        assert!(!answer.detail().is_empty() && answer.body["title"].is_string(), "{answer:?}");
    }

    assert_eq!(state(&daemon).await, before);
}

#[tokio::test]
async fn a_request_id_is_one_attempt_whatever_form_its_address_has() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let attempt = traffic::attempt(1, "198.51.100.7", "alice");
    let mapped = traffic::attempt(1, "::ffff:198.51.100.7", "Alice");
    let scored = daemon.http.post("/v1/score", &attempt).await;
    assert_eq!(scored.status, 200, "{scored:?}");

    let again = daemon.http.post("/v1/score", &mapped).await;
    assert_eq!((again.status, &again.body), (200, &scored.body), "the same attempt");
    let other = traffic::attempt(1, "198.51.100.7", "bob");
    for (path, mut other) in [("/v1/score", other.clone()), ("/v1/outcome", other)] {
        other["success"] = true.into();
        let refused = daemon.http.post(path, &other).await;
        assert_eq!((refused.status, &refused.body["field"]), (409, &"request_id".into()), "{refused:?}");
    }
    let mut told = mapped.clone();
    told["success"] = false.into();
    for _ in 0..2 {
        assert_eq!(daemon.http.post("/v1/outcome", &told).await.status, 200);
    }
    told["success"] = true.into();
    assert_eq!(daemon.http.post("/v1/outcome", &told).await.status, 409, "the first outcome stands");
    let mut word = traffic::feedback(&mapped, true);
    word["id"] = "ticket-17".into();
    for _ in 0..2 {
        let given = daemon.http.post("/v1/feedback", &word).await;
        assert_eq!((given.status, &given.body["pending"]), (200, &1.into()), "said once: {given:?}");
    }
}

#[tokio::test]
async fn a_bulk_answer_comes_after_the_append_and_names_each_line_that_was_not_taken() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "alone")).await;
    let line = |number: usize, name: &str, value: Value| {
        let mut record = traffic::attempt(number, "198.51.100.7", "alice");
        record["ts"] = now().into();
        record["success"] = true.into();
        record[name] = value;
        record.to_string()
    };
    let lines = [
        line(1, "country", json!("DE")),
        "not JSON".to_owned(),
        line(3, "client_ip", json!("nowhere")),
        String::new(),
        line(5, "username", json!("al\u{7}ice")),
        line(6, "username", json!("a".repeat(1 << 20))),
        line(7, "username", json!("")),
        line(8, "ts", json!("2999-01-01T00:00:00Z")),
        line(9, "success", json!("perhaps")),
        line(10, "unknown_field", json!({ "is": "ignored" })),
        line(1, "username", json!("bob")),
        json!({ "ts": now(), "client_ip": "198.51.100.7", "username": "alice", "success": false }).to_string(),
    ];
    for _ in 0..2 {
        let answer = daemon.http.send("POST", "/v1/attempts", lines[..11].join("\n").into_bytes()).await;
        assert_eq!(server.query(&["XLEN", "nt:{neural}:attempts"]).await, "int(2)", "stored already, and once");
        assert_eq!((answer.status, &answer.body["accepted"]), (200, &2.into()), "{answer:?}");
        assert_eq!(answer.body["queued"], false);
        let rejected = answer.body["rejected"].as_array().expect("a list");
        let named: Vec<_> = rejected.iter().map(|line| (line["line"].as_u64(), line["field"].as_str())).collect();
        let expected = [
            (2, "record"),
            (3, "client_ip"),
            (5, "username"),
            (6, "username"),
            (7, "username"),
            (8, "ts"),
            (9, "success"),
            (11, "request_id"),
        ];
        assert_eq!(named, expected.map(|(line, field)| (Some(line), Some(field))), "{answer:?}");
        assert!(!answer.text.contains("perhaps") && !answer.text.contains("aaaa"), "no value is repeated");
    }
    daemon.ingest(&lines[11]).await;
    assert_eq!(server.query(&["XLEN", "nt:{neural}:attempts"]).await, "int(3)", "without an id it is a new attempt");
}

#[tokio::test]
async fn every_caller_may_do_what_its_role_says_and_nothing_else() {
    let secrets = tempfile::tempdir().expect("a temporary directory");
    let tokens = ["score", "feedback"].map(|role| {
        let path = secrets.path().join(role);
        write_secret(&path, &format!("the-{role}-token-of-this-test"));
        format!("{{ role = {role:?}, file = {:?} }}", path.display().to_string())
    });
    let mut daemon = Daemon::start(Setup::new("alone").set("http.tokens", format!("[{}]", tokens.join(", ")))).await;
    let nobody = daemon.stranger();
    let scorer = nobody.with_token("the-score-token-of-this-test");
    let helpdesk = nobody.with_token("the-feedback-token-of-this-test");
    let guesser = nobody.with_token("a-guess-at-some-token-of-this");
    let word = json!({ "request_id": "never", "client_ip": "198.51.100.7", "username": "a", "is_brute_force": true });
    let empty = json!({});
    let table = [
        // method, path, body, and the status for: loopback, score, feedback, admin
        ("GET", "/livez", &empty, [200, 200, 200, 200]),
        ("GET", "/readyz", &empty, [200, 200, 200, 200]),
        ("GET", "/v1/status", &empty, [200, 200, 403, 200]),
        ("GET", "/metrics", &empty, [200, 200, 403, 200]),
        ("GET", "/v1/learning-mode", &empty, [200, 200, 403, 200]),
        ("POST", "/v1/score", &empty, [400, 400, 403, 400]),
        ("POST", "/v1/feedback", &word, [403, 403, 404, 404]),
        ("GET", "/v1/explain/never", &empty, [403, 403, 404, 404]),
        ("POST", "/v1/train", &empty, [403, 403, 403, 200]),
        ("POST", "/v1/reset", &empty, [403, 403, 403, 200]),
        ("POST", "/v1/rollback", &empty, [403, 403, 403, 404]),
        ("POST", "/v1/approve", &empty, [403, 403, 403, 404]),
        ("POST", "/v1/reload-model", &empty, [403, 403, 403, 200]),
        ("PUT", "/v1/learning-mode", &json!({ "enabled": false }), [403, 403, 403, 200]),
        ("GET", "/v1/features", &empty, [200, 200, 403, 200]),
        ("DELETE", "/v1/features", &json!({ "names": ["never"] }), [403, 403, 403, 404]),
        ("GET", "/v1/models", &empty, [403, 403, 403, 200]),
        ("GET", "/v1/audit", &empty, [403, 403, 403, 200]),
        ("GET", "/api/v1/custom/train-neural-network?epochs=0", &empty, [403, 403, 403, 200]),
        ("GET", "/api/v1/custom/neural-feedback", &empty, [403, 403, 200, 200]),
        ("GET", "/api/v1/custom/learning-mode", &empty, [403, 403, 403, 200]),
    ];
    for (method, path, body, statuses) in table {
        for (caller, status) in [&nobody, &scorer, &helpdesk, &daemon.http].into_iter().zip(statuses) {
            let answer = caller.send(method, path, body.to_string().into_bytes()).await;
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        }
        let open = matches!(path, "/livez" | "/readyz");
        let answer = guesser.send(method, path, body.to_string().into_bytes()).await;
        assert_eq!(answer.status, if open { 200 } else { 401 }, "a wrong token: {method} {path}");
    }

    for (access, status, train) in [("none", 401, 401), ("admin", 200, 200), ("score", 200, 403)] {
        daemon.change("http.loopback_access", format!("{access:?}"));
        daemon.signal("HUP");
        eventually(&format!("loopback access is {access}"), SOON, || async {
            let answers = [nobody.get("/v1/status").await.status, nobody.post("/v1/train", &empty).await.status];
            if answers == [status, train] { Ok(()) } else { Err(format!("{answers:?}")) }
        })
        .await;
        assert_eq!(nobody.get("/readyz").await.status, 200);
        assert_eq!(scorer.get("/metrics").await.status, 200, "tokens work all the same");
    }
}

#[tokio::test]
async fn an_attempt_is_one_json_object_and_never_a_list_of_values() {
    let daemon = Daemon::start(Setup::new("alone")).await;

    let scored = daemon.http.send("POST", "/v1/score", br#"["r1","198.51.100.7","alice"]"#.to_vec()).await;
    let line = br#"["2026-01-05T00:00:00Z","198.51.100.7","alice",true,"imap"]"#.to_vec();
    let taken = daemon.http.send("POST", "/v1/attempts", line).await;

    assert_eq!((scored.status, &scored.body["field"]), (400, &"record".into()), "{scored:?}");
    assert_eq!(taken.body["accepted"], 0, "{taken:?}");
}

#[tokio::test]
async fn what_was_refused_before_the_password_was_checked_cannot_have_succeeded() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let attempt = traffic::attempt(1, "198.51.100.7", "alice");
    assert_eq!(daemon.http.post("/v1/score", &attempt).await.status, 200);
    let both = json!({ "request_id": attempt["request_id"], "success": true, "blocked": true });

    let refused = daemon.http.post("/v1/outcome", &both).await;

    assert_eq!((refused.status, &refused.body["field"]), (400, &json!("blocked")), "{refused:?}");
    assert!(refused.detail().contains("contradicts success"), "{refused:?}");
    let mut line = traffic::attempt(2, "198.51.100.7", "alice");
    (line["success"], line["blocked"]) = (json!(true), json!(true));
    let rejected = daemon.http.send("POST", "/v1/attempts", line.to_string().into_bytes()).await.body;
    assert_eq!(
        (&rejected["accepted"], &rejected["rejected"][0]["field"]),
        (&json!(0), &json!("blocked")),
        "{rejected}"
    );
    let blocked = json!({ "request_id": attempt["request_id"], "success": false, "blocked": true });
    assert_eq!(daemon.http.post("/v1/outcome", &blocked).await.status, 200);
}
