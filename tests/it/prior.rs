//! What a node says before anything is trained: the shipped prior model scores, and decides nothing.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Setup};
use crate::support::traffic;

/// Guesses at many names from one address, a login of a user from another; the answers to the last of each.
async fn burst_and_login(daemon: &Daemon, first: usize) -> [Value; 2] {
    let mut burst = Value::Null;
    for number in first..first + 40 {
        let guess = traffic::attempt(number, "203.0.113.66", &format!("user{number}"));
        burst = traffic::login(&daemon.http, &guess, false).await;
    }
    let mut login = Value::Null;
    for number in first + 40..first + 43 {
        login = traffic::login(&daemon.http, &traffic::attempt(number, "198.51.100.7", "alice"), true).await;
    }
    [burst, login]
}

/// A node that only models have an opinion on: attack protection shows in `would_be` as well.
fn calm() -> Setup {
    Setup::new("alone").set("attacks.enabled", "false")
}

/// The attack stands out, and nothing comes of it.
fn watched_only([burst, login]: &[Value; 2]) {
    let probability = |answer: &Value| answer["probability"].as_f64().unwrap_or_else(|| panic!("none: {answer}"));
    assert!(probability(burst) > 0.5 && probability(login) < 0.1, "{burst} {login}");
    assert!(["allow", "watch"].iter().any(|verdict| burst["would_be"] == *verdict), "{burst}");
    for answer in [burst, login] {
        assert_eq!((&answer["verdict"], &answer["model"]), (&json!("allow"), &Value::Null), "{answer}");
        assert_eq!((&answer["threshold"], &answer["learning_mode"]), (&Value::Null, &json!(true)), "{answer}");
        assert!(answer["reason"].as_str().is_some_and(|reason| reason.contains("prior")), "{answer}");
    }
}

#[tokio::test]
async fn a_fresh_node_and_one_after_a_reset_watch_with_the_prior() {
    // A threshold of the operator is for the site's own models.
    let daemon = Daemon::start(calm().set("ml.threshold", "0.1")).await;

    watched_only(&burst_and_login(&daemon, 0).await);

    let status = daemon.status().await;
    assert_eq!((&status["prior"], &status["trained"], &status["model"]), (&json!(true), &json!(false), &Value::Null));
    assert_eq!(daemon.http.get("/v1/models").await.body, json!([]), "it is in no registry");
    let explained = daemon.http.get("/v1/explain/request-39").await;
    assert_eq!((explained.status, &explained.body["prior"]), (200, &json!(true)), "{explained:?}");
    assert_eq!(explained.body["model"], Value::Null);
    assert!(explained.body["contributions"].as_array().is_some_and(|parts| !parts.is_empty()), "{explained:?}");

    daemon.ingest(traffic::history()).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await.body;
    assert_eq!(trained["outcome"], "promoted", "{trained}");
    let own = daemon.http.post("/v1/score", &traffic::attempt(500, "198.51.100.7", "alice")).await.body;
    assert!(own["model"].is_object() && own["threshold"].is_number(), "{own}");
    assert_eq!(daemon.status().await["prior"], false);
    let history = daemon.http.get("/v1/models").await.body;
    assert_eq!(history[0]["gate"]["compared"], false, "the prior is no champion: {history}");

    daemon.http.post("/v1/reset", &json!({})).await;
    watched_only(&burst_and_login(&daemon, 1000).await);
}

#[tokio::test]
async fn a_node_without_the_prior_has_no_probability() {
    let daemon = Daemon::start(calm().set("ml.prior", "false")).await;

    let [burst, login] = burst_and_login(&daemon, 0).await;
    for answer in [burst, login] {
        assert_eq!((&answer["probability"], &answer["would_be"]), (&Value::Null, &json!("allow")), "{answer}");
        assert_eq!(answer["reason"], "no trained model: static rules decide");
    }
    assert_eq!(daemon.status().await["prior"], false);

    let status = daemon.http.get("/v1/explain/request-39").await.status;
    assert_eq!(status, 409);
}
