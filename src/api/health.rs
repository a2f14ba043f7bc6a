//! `/livez`, `/readyz` (open to all) and `/metrics` (role `score`).

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::App;
use super::auth::Scores;
use crate::telemetry::metrics::CONTENT_TYPE;

/// The process answers.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// The node can score: it says so with or without a store.
pub async fn readyz(State(app): State<App>) -> impl IntoResponse {
    if app.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
    }
}

/// The node's metrics in the OpenMetrics text format.
pub async fn metrics(State(app): State<App>, _: Scores) -> impl IntoResponse {
    app.metrics.set_store_connected(app.store.connected());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.scorer.metrics_page())
}
