//! The entrances: HTTP ([`server`], one file per group of routes) and the command channel ([`command_listener`]).
//!
//! An entrance checks who asks, parses and bounds what comes, and builds a `Command` or calls the scorer. It never talks
//! to a store and decides nothing.

pub mod attack_hooks;
pub mod attempts;
pub mod audit;
pub mod auth;
pub mod body;
pub mod command_listener;
pub mod control;
pub mod feedback_list;
pub mod guard;
pub mod health;
pub mod hook_parameters;
pub mod hooks;
pub mod jwt;
mod newest;
pub mod overrides;
pub mod problem;
pub mod scoring;
pub mod server;
pub mod upstream;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};

use crate::config::{Config, HttpConfig};
use crate::control::ControlHandle;
use crate::serving::attempt_log::AttemptLog;
use crate::serving::scorer::Scorer;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use auth::Auth;

/// One attempt with every optional field at its bound is about 20 KiB.
const SINGLE_BODY_MAX: usize = 64 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct App {
    /// The configuration in force; a reload exchanges it.
    pub config: Arc<ArcSwap<Config>>,
    /// Where commands go.
    pub control: Arc<ControlHandle>,
    /// Where attempts and outcomes go.
    pub scorer: Arc<Scorer>,
    /// What this node has still to tell the fleet.
    pub log: Arc<AttemptLog>,
    /// What the fleet shares; no handler uses it on the way to a score.
    pub store: Arc<dyn Store>,
    pub(crate) auth: Arc<ArcSwap<Auth>>,
    /// The counters behind `/metrics`.
    pub metrics: Arc<Metrics>,
    pub(crate) ready: Arc<AtomicBool>,
}

/// All routes.
pub fn router(app: App) -> Router {
    let bulk = DefaultBodyLimit::max(HttpConfig::BODY_MAX);
    let bulk = Router::new()
        .route("/v1/attempts", post(attempts::attempts))
        .route("/v1/import", post(upstream::import))
        .route("/v1/import-state", post(upstream::import_state))
        .layer(bulk);
    Router::new()
        .route("/v1/score", post(scoring::score))
        .route("/v1/outcome", post(scoring::outcome))
        .route("/v1/feedback", get(feedback_list::list).post(control::feedback))
        .route("/v1/train", post(control::train))
        .route("/v1/reset", post(control::reset))
        .route("/v1/rollback", post(control::rollback))
        .route("/v1/approve", post(control::approve))
        .route("/v1/reload-model", post(control::reload_model))
        .route("/v1/learning-mode", get(control::learning_mode).put(control::set_learning_mode))
        .route("/v1/explain/{request_id}", get(control::explain))
        .route("/v1/features", get(control::features).post(control::allow_features).delete(control::remove_features))
        .route("/v1/overrides", get(overrides::list).put(overrides::put).delete(overrides::remove))
        .route("/v1/models", get(control::models))
        .route("/v1/audit", get(audit::audit))
        .route("/v1/export", get(upstream::export))
        .route("/v1/status", get(control::status))
        .route("/api/v1/custom/train-neural-network", get(hooks::train).post(hooks::train).head(hooks::no_head))
        .route("/api/v1/custom/neural-feedback", get(hooks::feedback).post(hooks::feedback).head(hooks::no_head))
        .route(
            "/api/v1/custom/learning-mode",
            get(hooks::learning_mode).post(hooks::learning_mode).head(hooks::no_head),
        )
        .route("/v1/report", get(attack_hooks::report))
        .route("/api/security/reports", get(attack_hooks::report))
        .route(
            "/api/v1/custom/distributed-brute-force-admin",
            get(attack_hooks::admin).post(attack_hooks::admin).head(hooks::no_head),
        )
        .route(
            "/api/v1/custom/distributed-brute-force-test",
            get(attack_hooks::test).post(attack_hooks::test).head(hooks::no_head),
        )
        .layer(DefaultBodyLimit::max(SINGLE_BODY_MAX))
        .merge(bulk)
        .route("/metrics", get(health::metrics))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .with_state(app)
}

/// Counts answers by route and status class; an unknown path counts as one route, so that nobody can grow the metrics.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    app.metrics.http_request(route.as_ref().map_or("unmatched", MatchedPath::as_str), response.status().as_u16());
    response
}
