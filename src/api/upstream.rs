//! `POST /v1/import`, `POST /v1/import-state` and `GET /v1/export`: training records of Nauthilus 1.7 come in, and what else
//! it knew; the serving model goes out in its form.
//!
//! An import is read as a whole before anything is taken: one record that the original did not write refuses all.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::App;
use super::auth::Administers;
use super::body::{self, Body};
use super::problem::Problem;
use crate::clock;
use crate::control::{Command, ImportState};
use crate::detection::additional::{Kind, Proposal};
use crate::store::upstream::model::{MODEL_BYTES_MAX, UpstreamModel};
use crate::store::upstream::training::{Batch, BatchError};
use crate::store::upstream::{FormatError, bounded};

/// A model and a list of features.
const STATE_MAX: usize = MODEL_BYTES_MAX + 1024 * 1024;

/// Takes in training records, one to a line.
///
/// # Errors
/// 400 for a body with anything that is no such record; 409 unless the profile is `compat-6`; 413; 503 while the store is
/// away.
pub async fn import(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Result<Json<Value>, Problem> {
    // The router's own limit is fixed at the start; this one follows the configuration.
    let body_max = app.config.load().http.body_max;
    if bytes.len() > body_max {
        let detail = format!("the body has {} bytes, this node takes {body_max} (http.body_max)", bytes.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    // Off the runtime: 16 MiB of JSON take a while.
    let read = tokio::task::spawn_blocking(move || Batch::decode_lines(&bytes, clock::now())).await;
    let read = read.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "reading the records failed"))?;
    let batch = read.map_err(|error| match error {
        BatchError::TooMany => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        BatchError::Record { .. } => Problem::field("body", format!("cannot be imported: {error}; nothing was taken")),
    })?;
    Ok(Json(app.control.execute(Command::Import(batch).check()?, &caller.0).await?))
}

/// The body of `POST /v1/import-state`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StateBody {
    #[serde(default)]
    check: bool,
    #[serde(default)]
    insist: bool,
    model: Option<UpstreamModel>,
    features: Option<Vec<FeatureBody>>,
    learning_mode: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureBody {
    name: String,
    encoding: TextEncoding,
}

#[derive(Deserialize)]
enum TextEncoding {
    #[serde(rename = "one-hot")]
    OneHot,
    #[serde(rename = "embedding")]
    Embedding,
}

/// Takes over model, additional features and learning mode.
///
/// # Errors
/// 400 for anything that is none of it, a model of wrong sizes among it; 409 where the caller insists on what cannot be taken
/// over; 413; 503 while the store is away.
pub async fn import_state(
    State(app): State<App>,
    caller: Administers,
    Body(bytes): Body,
) -> Result<Json<Value>, Problem> {
    bounded(&bytes, STATE_MAX).map_err(|error| match error {
        FormatError::TooLarge { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        error => Problem::field("body", format!("cannot be imported: {error}")),
    })?;
    let StateBody { check, insist, model, features, learning_mode } = body::parse(&bytes)?;
    let checked = model.as_ref().map_or(Ok(()), UpstreamModel::check);
    checked.map_err(|error| {
        Problem::field("model", format!("is no model of Nauthilus 1.7: {error}; nothing was changed"))
    })?;
    let kind = |encoding| match encoding {
        TextEncoding::OneHot => Kind::OneHot,
        TextEncoding::Embedding => Kind::Embedding,
    };
    let proposal = |FeatureBody { name, encoding }| Proposal { name, kind: kind(encoding) };
    let features = features.map(|features| features.into_iter().map(proposal).collect());
    let state = ImportState { check, insist, model, features, learning_mode };
    Ok(Json(app.control.execute(Command::ImportState(Box::new(state)).check()?, &caller.0).await?))
}

/// Forms in which a model can be shown.
#[derive(Deserialize)]
enum Format {
    #[serde(rename = "nauthilus-1.7")]
    Nauthilus17,
}

/// The query of the route.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    format: Format,
}

/// Shows the serving model.
///
/// # Errors
/// 400 for another `format`; 409 while no model serves, or one that the form cannot say.
pub async fn export(
    State(app): State<App>,
    caller: Administers,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(ExportQuery { format: Format::Nauthilus17 }) =
        query.map_err(|_| Problem::field("format", "must be nauthilus-1.7, and the only parameter"))?;
    Ok(Json(app.control.execute(Command::Export.check()?, &caller.0).await?))
}
