//! `/v1/overrides`: what operators have ordered for single pairs. Bodies are read here; bounds are checked in `control`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::Value;

use super::App;
use super::auth::Administers;
use super::body::{self, Body};
use super::problem::Problem;
use crate::control::{Command, OverrideCommand, OverrideOrder, OverridePage, OverridePair};
use crate::detection::overrides::OverrideKind;

type Answer = Result<Json<Value>, Problem>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderBody {
    kind: OverrideKind,
    username: String,
    network: String,
    until: Option<String>,
    duration: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairBody {
    id: Option<String>,
    username: Option<String>,
    network: Option<String>,
}

/// The query of `GET`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Newer orders that are passed over.
    offset: Option<usize>,
    /// Most that are shown, 1 to 200.
    limit: Option<usize>,
}

async fn execute(app: &App, command: OverrideCommand, caller: &Administers) -> Answer {
    Ok(Json(app.control.execute(Command::Override(command).check()?, &caller.0).await?))
}

/// `GET /v1/overrides`
pub async fn list(
    State(app): State<App>,
    caller: Administers,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer {
    let unusable = |_| Problem::field("offset", "and limit must be numbers, and the only parameters");
    let Query(ListQuery { offset, limit }) = query.map_err(unusable)?;
    execute(&app, OverrideCommand::List(OverridePage::new(offset, limit)), &caller).await
}

/// `PUT /v1/overrides`
pub async fn put(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let OrderBody { kind, username, network, until, duration, reason } = body::parse(&bytes)?;
    let order = OverrideOrder { kind, username, network, until, duration, reason };
    execute(&app, OverrideCommand::Put(order), &caller).await
}

/// `DELETE /v1/overrides`
pub async fn remove(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let PairBody { id, username, network } = body::parse(&bytes)?;
    execute(&app, OverrideCommand::Remove(OverridePair { id, username, network }), &caller).await
}
