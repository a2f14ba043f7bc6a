//! `GET /v1/feedback`: who said what about which request, newest first. Giving feedback is in `control`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::Value;

use super::App;
use super::auth::Administers;
use super::problem::Problem;
use crate::control::Command;

/// Items without `limit`: what a person reads on a screen or two.
const LIMIT_DEFAULT: usize = 100;

/// The query of the route.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackQuery {
    /// Most items, 1 to 1000.
    limit: Option<usize>,
}

/// Shows the feedback.
///
/// # Errors
/// 400 for a `limit` that is none; 503 while the store is away.
pub async fn list(
    State(app): State<App>,
    caller: Administers,
    query: Result<Query<FeedbackQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(FeedbackQuery { limit }) =
        query.map_err(|_| Problem::field("limit", "must be a number, and the only parameter"))?;
    let command = Command::FeedbackList { limit: limit.unwrap_or(LIMIT_DEFAULT) };
    Ok(Json(app.control.execute(command.check()?, &caller.0).await?))
}
