//! `GET /v1/feedback`: who said what about which request, newest first. Giving feedback is in `control`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde_json::Value;

use super::App;
use super::auth::Administers;
use super::newest::{self, Newest};
use super::problem::Problem;
use crate::control::Command;

/// Shows the feedback.
///
/// # Errors
/// 400 for a `limit` that is none; 503 while the store is away.
pub async fn list(
    State(app): State<App>,
    caller: Administers,
    query: Result<Query<Newest>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let command = Command::FeedbackList { limit: newest::limit(query)? };
    Ok(Json(app.control.execute(command.check()?, &caller.0).await?))
}
