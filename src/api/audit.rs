//! `GET /v1/audit`: who had what done, newest first. Only shown here; it is written in `control`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::Value;

use super::App;
use super::auth::Administers;
use super::problem::Problem;
use crate::control::Command;

/// Entries without `limit`: what a person reads on a screen or two.
const LIMIT_DEFAULT: usize = 100;

/// The query of the route.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// Most entries, 1 to 1000.
    limit: Option<usize>,
}

/// Shows the audit trail.
///
/// # Errors
/// 400 for a `limit` that is none; 503 while the store is away.
pub async fn audit(
    State(app): State<App>,
    caller: Administers,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(AuditQuery { limit }) =
        query.map_err(|_| Problem::field("limit", "must be a number, and the only parameter"))?;
    let command = Command::Audit { limit: limit.unwrap_or(LIMIT_DEFAULT) };
    Ok(Json(app.control.execute(command.check()?, &caller.0).await?))
}
