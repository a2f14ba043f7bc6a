//! Where the threshold that decides comes from: the share of legitimate logins that may be stopped, or what errors cost.

use nauthilus_neural::traffic::TrafficOptions;
use serde_json::json;

use crate::support::daemon::{Daemon, Setup};
use crate::support::traffic::{self, attempt, generated, under_attack};

/// So many attempts that two hundred attacks of the last days can say whether a model is honest.
fn history() -> String {
    generated(&TrafficOptions { seed: 9, days: 4.0, users: 120, ..under_attack() })
}

/// A daemon that was trained once, and the threshold that it decides by.
async fn threshold(setup: Setup, history: &str) -> f64 {
    let daemon = Daemon::start(setup.set("training.epochs", "5")).await;
    daemon.ingest(history).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await.body;
    assert_eq!(trained["outcome"], "promoted", "{trained}");
    let scored = daemon.http.post("/v1/score", &attempt(1, "198.51.100.7", "anna")).await.body;
    scored["threshold"].as_f64().unwrap_or_else(|| panic!("no threshold: {scored}"))
}

fn by_cost(false_positive: &str) -> Setup {
    Setup::new("alone")
        .set("ml.threshold_from", "\"cost\"")
        .set("ml.cost_false_positive", false_positive)
        .set("ml.cost_false_negative", "1.0")
}

#[tokio::test]
async fn what_errors_cost_decides_where_blocking_begins() {
    // Stopping an honest user costs as much as four attacks that come through: 4 / (4 + 1).
    assert!((threshold(by_cost("4.0"), &history()).await - 0.8).abs() < 1e-12);
}

#[tokio::test]
async fn an_operators_own_threshold_goes_before_what_a_training_chose() {
    let own = by_cost("4.0").set("ml.threshold", "0.95");

    assert!((threshold(own, traffic::history()).await - 0.95).abs() < 1e-12);
}
