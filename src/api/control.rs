//! The routes that steer the node: each builds a `Command` and hands it to the control handle.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::auth::{Administers, GivesFeedback, Scores};
use super::body::{self, Body};
use super::problem::Problem;
use crate::control::command::FeedbackCommand;
use crate::control::{Caller, Command, TrainCommand};
use crate::random;

type Answer = Result<Json<Value>, Problem>;
type PathOf = Result<Path<String>, PathRejection>;

async fn execute(app: &App, command: Command, caller: &Caller) -> Answer {
    Ok(Json(app.control.execute(command.check()?, caller).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainBody {
    samples: Option<usize>,
    epochs: Option<u32>,
    tune: Option<bool>,
    wait: Option<bool>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    generation: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveBody {
    training_id: Option<String>,
    discard: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LearningModeBody {
    enabled: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureNamesBody {
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmptyBody {}

/// `POST /v1/feedback`
pub async fn feedback(State(app): State<App>, caller: GivesFeedback, Body(bytes): Body) -> Answer {
    let feedback: FeedbackCommand = body::parse(&bytes).inspect_err(|_| app.metrics.feedback("malformed"))?;
    execute(&app, Command::Feedback(feedback), &caller.0).await
}

/// `POST /v1/train`
pub async fn train(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Result<Response, Problem> {
    let body: TrainBody = body::parse_or_empty(&bytes)?;
    let wait = body.wait.unwrap_or(true);
    let TrainBody { samples, epochs, tune, id, .. } = body;
    let id = id.unwrap_or_else(random::id);
    let command = TrainCommand { samples, epochs, tune: tune.unwrap_or(false), wait, id: Some(id.clone()) };
    let limit = app.config.load().http.train_wait_max;
    let Ok(answer) = tokio::time::timeout(limit, execute(&app, Command::Train(command), &caller.0)).await else {
        // It goes on; its end is in the history.
        return Ok((StatusCode::ACCEPTED, Json(json!({ "id": id }))).into_response());
    };
    let status = if wait { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, answer?).into_response())
}

/// `POST /v1/reset`
pub async fn reset(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let EmptyBody {} = body::parse_or_empty(&bytes)?;
    execute(&app, Command::Reset, &caller.0).await
}

/// `POST /v1/rollback`
pub async fn rollback(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let body: RollbackBody = body::parse_or_empty(&bytes)?;
    execute(&app, Command::Rollback { generation: body.generation }, &caller.0).await
}

/// `POST /v1/approve`
pub async fn approve(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let body: ApproveBody = body::parse_or_empty(&bytes)?;
    let command = Command::Approve { id: body.training_id, discard: body.discard.unwrap_or(false) };
    execute(&app, command, &caller.0).await
}

/// `POST /v1/reload-model`
pub async fn reload_model(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let EmptyBody {} = body::parse_or_empty(&bytes)?;
    execute(&app, Command::ReloadModel, &caller.0).await
}

/// `GET /v1/learning-mode`
pub async fn learning_mode(State(app): State<App>, caller: Scores) -> Answer {
    execute(&app, Command::ReadLearningMode, &caller.0).await
}

/// `PUT /v1/learning-mode`
pub async fn set_learning_mode(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let body: LearningModeBody = body::parse(&bytes)?;
    execute(&app, Command::LearningMode { enabled: body.enabled }, &caller.0).await
}

/// `GET /v1/explain/{request_id}`
pub async fn explain(State(app): State<App>, caller: GivesFeedback, id: PathOf) -> Answer {
    let Path(request_id) = id.map_err(|_| Problem::field("request_id", "is not UTF-8 in percent-encoding"))?;
    execute(&app, Command::Explain { request_id }, &caller.0).await
}

/// `GET /v1/features`
pub async fn features(State(app): State<App>, caller: Scores) -> Answer {
    execute(&app, Command::Features, &caller.0).await
}

/// `DELETE /v1/features`
pub async fn remove_features(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let body: FeatureNamesBody = body::parse(&bytes)?;
    execute(&app, Command::RemoveFeatures { names: body.names }, &caller.0).await
}

/// `POST /v1/features`
pub async fn allow_features(State(app): State<App>, caller: Administers, Body(bytes): Body) -> Answer {
    let body: FeatureNamesBody = body::parse(&bytes)?;
    execute(&app, Command::AllowFeatures { names: body.names }, &caller.0).await
}

/// `GET /v1/models`
pub async fn models(State(app): State<App>, caller: Administers) -> Answer {
    execute(&app, Command::History, &caller.0).await
}

/// `GET /v1/status`
pub async fn status(State(app): State<App>, caller: Scores) -> Answer {
    execute(&app, Command::Status, &caller.0).await
}
