//! Why a request was scored as it was: asked of any node, with the score, and what is answered when there is nothing to say.

use std::time::{Duration, Instant};

use nauthilus_neural::numeric;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// Trains on the recorded logins and waits until every node serves what came of it.
async fn train(fleet: &[Daemon]) {
    fleet[0].ingest(traffic::history()).await;
    let trained = fleet[0].http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    for daemon in fleet {
        eventually("it serves the model", SOON, || async {
            let serves = daemon.sha256().await;
            if serves.as_deref() == trained.body["model"]["sha256"].as_str() {
                Ok(())
            } else {
                Err(format!("{serves:?}"))
            }
        })
        .await;
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[track_caller]
fn check_sum(explanation: &Value) {
    let parts = explanation["contributions"].as_array().expect("a list");
    let sum = number(&explanation["base_logit"]) + parts.iter().map(|part| number(&part["logit"])).sum::<f64>();
    assert!((sum - number(&explanation["logit"])).abs() <= 1e-9, "{explanation}");
    let probability = numeric::sigmoid(sum);
    assert!((probability - number(&explanation["probability"])).abs() <= 1e-9, "{explanation}");
    let sizes: Vec<f64> = parts.iter().map(|part| number(&part["logit"]).abs()).collect();
    assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "the largest first: {sizes:?}");
    for part in parts {
        let factor = numeric::exp(number(&part["logit"]));
        assert!((number(&part["odds_factor"]) / factor - 1.0).abs() <= 1e-9, "{part}");
        assert!(part["text"].as_str().is_some_and(|text| text.contains("odds of attack")), "{part}");
    }
}

#[tokio::test]
async fn a_request_that_nobody_knows_is_answered_at_once_where_no_other_node_could_know_it() {
    let server = RedisServer::start();
    let mut fleet = Daemon::fleet(&server, ["a"]).await;
    let embedded = Daemon::start(Setup::new("b")).await;
    for daemon in [&fleet[0], &embedded] {
        let begun = Instant::now();
        for number in 0..20 {
            let unknown = daemon.http.get(&format!("/v1/explain/nobody-{number}")).await;
            assert!(unknown.status == 404 && unknown.detail().contains("unknown or expired"), "{unknown:?}");
        }
        let attempt = traffic::attempt(999, "203.0.113.66", "anna");
        assert_eq!(daemon.http.post("/v1/feedback", &traffic::feedback(&attempt, true)).await.status, 404);
        // Each waited for a second or more before.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?} for 21 answers", begun.elapsed());
    }

    // With another node there is something to wait for: what it has just scored is found.
    fleet.extend(Daemon::fleet(&server, ["c"]).await);
    for number in 0..5 {
        traffic::login(&fleet[1].http, &traffic::attempt(number, "203.0.113.66", "anna"), false).await;
        let found = fleet[0].http.get(&format!("/v1/explain/request-{number}")).await;
        assert_eq!(found.status, 200, "{found:?}");
    }
    let begun = Instant::now();
    assert_eq!(fleet[0].http.get("/v1/explain/nobody").await.status, 404);
    assert!(begun.elapsed() >= Duration::from_millis(990), "it has looked again: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_whose_outcome_is_open_is_known_on_another_node_as_soon_as_it_is_scored() {
    let server = RedisServer::start();
    let fleet = Daemon::fleet(&server, ["a", "b"]).await;
    for number in 0..4 {
        let attempt = traffic::attempt(number, "203.0.113.66", "anna");
        assert_eq!(fleet[0].http.post("/v1/score", &attempt).await.status, 200);

        let found = if number % 2 == 0 {
            fleet[1].http.get(&format!("/v1/explain/request-{number}")).await
        } else {
            fleet[1].http.post("/v1/feedback", &traffic::feedback(&attempt, true)).await
        };

        assert_eq!(found.status, 200, "{found:?}");
    }
}

#[tokio::test]
async fn any_node_explains_a_request_that_another_has_scored() {
    let server = RedisServer::start();
    let fleet = Daemon::fleet(&server, ["a", "b"]).await;
    train(&fleet).await;
    let names = ["anna", "bert", "carl", "dora", "emil"];
    let attempts: Vec<Value> = (0..5).map(|number| traffic::attempt(number, "203.0.113.66", names[number])).collect();
    let mut scored = Value::Null;
    for attempt in &attempts {
        scored = traffic::login(&fleet[0].http, attempt, false).await;
    }

    let there = fleet[1].http.get("/v1/explain/request-4").await;

    assert_eq!(there.status, 200, "{there:?}");
    check_sum(&there.body);
    assert_eq!(there.body["request_id"], "request-4");
    assert_eq!((&there.body["model"], &there.body["probability"]), (&scored["model"], &scored["probability"]));
    let parts = there.body["contributions"].as_array().expect("a list");
    let source = parts.iter().find(|part| part["group"] == "source").expect("what the address did");
    assert_eq!(source["evidence"]["source_failures_1h"], 4, "{source}");
    assert_eq!(source["evidence"]["source_names_1h"], 5, "{source}");
    let here = fleet[0].http.get("/v1/explain/request-4").await;
    assert_eq!(here.body, there.body, "the same on every node");
}

#[tokio::test]
async fn what_cannot_be_explained_says_why() {
    let daemon = Daemon::start(Setup::new("alone").set("ml.prior", "false")).await;
    let untrained = traffic::attempt(1, "198.51.100.7", "alice");
    traffic::login(&daemon.http, &untrained, true).await;
    let none = daemon.http.get("/v1/explain/request-1").await;
    assert_eq!(none.status, 409, "{none:?}");
    assert!(none.detail().contains("no model serves"), "{none:?}");

    train(std::slice::from_ref(&daemon)).await;
    let unknown = daemon.http.get("/v1/explain/never").await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert!(unknown.detail().contains("last 200000 requests"), "{unknown:?}");
    let long = daemon.http.get(&format!("/v1/explain/{}", "x".repeat(300))).await;
    assert_eq!((long.status, &long.body["field"]), (400, &"request_id".into()), "{long:?}");
    let garbled = daemon.http.get("/v1/explain/%ff").await;
    assert_eq!((garbled.status, &garbled.body["field"]), (400, &"request_id".into()), "{garbled:?}");
    let before_the_model = daemon.http.get("/v1/explain/request-1").await;
    assert_eq!(before_the_model.status, 200, "with the model of now: {before_the_model:?}");
}

#[tokio::test]
async fn a_score_explains_itself_when_asked() {
    let daemon = Daemon::start(Setup::new("alone").set("ml.prior", "false")).await;
    let asking = |number: usize, id: &str| {
        let mut attempt = traffic::attempt(number, "198.51.100.7", "alice");
        attempt["request_id"] = id.into();
        attempt["explain"] = true.into();
        attempt
    };
    let early = daemon.http.post("/v1/score", &asking(1, "early")).await;
    assert_eq!((early.status, early.body.get("explanation")), (200, None), "no model: {early:?}");
    train(std::slice::from_ref(&daemon)).await;

    let asked = daemon.http.post("/v1/score", &asking(2, "a/b c")).await;

    let explanation = &asked.body["explanation"];
    check_sum(explanation);
    assert_eq!(explanation["probability"], asked.body["probability"]);
    let later = daemon.http.get("/v1/explain/a%2Fb%20c").await;
    assert_eq!(later.body["contributions"], explanation["contributions"], "{later:?}");
    let silent = daemon.http.post("/v1/score", &traffic::attempt(3, "198.51.100.7", "alice")).await;
    assert_eq!(silent.body.get("explanation"), None, "{silent:?}");
    let mut wrong = asking(4, "wrong");
    wrong["explain"] = "yes".into();
    let refused = daemon.http.post("/v1/score", &wrong).await;
    assert_eq!((refused.status, &refused.body["field"]), (400, &"explain".into()), "{refused:?}");
}
