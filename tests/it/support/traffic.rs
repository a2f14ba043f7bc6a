//! Attempts for the stories: generated ones to train on, and single ones to score.

use std::sync::OnceLock;

use nauthilus_neural::traffic::{self, Profile, Scenario, TrafficOptions};
use serde_json::{Value, json};

use super::http::Client;

/// Records of a small site under attack, as NDJSON: enough for a training of a fraction of a second.
pub fn history() -> &'static str {
    static LINES: OnceLock<String> = OnceLock::new();
    LINES.get_or_init(|| generated(&TrafficOptions { seed: 7, days: 2.0, users: 30, ..under_attack() }))
}

/// A site on which two easy kinds of attack make up two fifths of the attempts.
pub fn under_attack() -> TrafficOptions {
    TrafficOptions {
        attack_share: 0.4,
        scenarios: vec![Scenario::Burst, Scenario::Dictionary],
        profile: Profile::Easy,
        ..TrafficOptions::default()
    }
}

/// Generated records as NDJSON.
pub fn generated(options: &TrafficOptions) -> String {
    let records = traffic::generate(options);
    let lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).expect("plain data")).collect();
    lines.join("\n")
}

/// An attempt to score or to tell; `number` makes it a request of its own.
pub fn attempt(number: usize, client_ip: &str, username: &str) -> Value {
    json!({ "request_id": format!("request-{number}"), "client_ip": client_ip, "username": username, "protocol": "imap" })
}

/// Scores an attempt and tells its outcome. Returns the answer to the score.
pub async fn login(client: &Client, attempt: &Value, success: bool) -> Value {
    let scored = client.post("/v1/score", attempt).await;
    assert_eq!(scored.status, 200, "{scored:?}");
    let told = client.post("/v1/outcome", &json!({ "request_id": attempt["request_id"], "success": success })).await;
    assert_eq!(told.status, 200, "{told:?}");
    scored.body
}

/// A person's word on an attempt.
pub fn feedback(attempt: &Value, is_brute_force: bool) -> Value {
    json!({
        "request_id": attempt["request_id"], "client_ip": attempt["client_ip"], "username": attempt["username"],
        "is_brute_force": is_brute_force,
    })
}

/// Ten attempts, five of them of an attacker, numbered from `first`.
pub fn ten(first: usize) -> Vec<(Value, bool)> {
    (first..first + 10)
        .map(|number| {
            let attack = number % 2 == 0;
            let ip = if attack { "203.0.113.66".to_owned() } else { format!("198.51.100.{}", number % 200 + 1) };
            (attempt(number, &ip, &format!("user{number}")), attack)
        })
        .collect()
}

/// Plays ten logins and then gives feedback on each.
pub async fn ten_words(client: &Client, first: usize) {
    let attempts = ten(first);
    for (attempt, attack) in &attempts {
        login(client, attempt, !attack).await;
    }
    for (attempt, attack) in &attempts {
        let given = client.post("/v1/feedback", &feedback(attempt, *attack)).await;
        assert_eq!(given.status, 200, "{given:?}");
    }
}
