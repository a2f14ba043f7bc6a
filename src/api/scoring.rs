//! `POST /v1/score` and `POST /v1/outcome`: memory only, whatever the store does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::App;
use super::auth::Scores;
use super::body::Body;
use super::problem::Problem;
use crate::clock;
use crate::detection::record::AttemptRecord;
use crate::detection::verdict::Verdict;
use crate::serving::scorer::{OutcomeAnswer, ScoreAnswer, ScoreError};

/// Scores one attempt before its password is checked.
///
/// # Errors
/// 400 naming the field; 409 for a request id with other content.
pub async fn score(State(app): State<App>, _: Scores, Body(bytes): Body) -> Result<Json<ScoreAnswer>, Problem> {
    let started = std::time::Instant::now();
    let record: AttemptRecord = parse(&app, &bytes)?;
    let wants_explanation = record.explain == Some(true);
    let scorer = Arc::clone(&app.scorer);
    let score = move || scorer.score(record, clock::now(), clock::monotonic_ms());
    // An explanation keeps a core busy for milliseconds: not on a thread that other scores wait for.
    let scored = if wants_explanation {
        let ended = tokio::task::spawn_blocking(score).await;
        ended.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the score ended unexpectedly"))?
    } else {
        score()
    };
    let answer = scored.map_err(|error| rejected(&app, error))?;
    let took = started.elapsed();
    app.metrics.scored(answer.verdict.as_str(), took);
    if let Some(probability) = answer.probability {
        app.metrics.predicted(answer.would_be == Verdict::Block, probability, took);
    }
    Ok(Json(answer))
}

/// Takes the outcome of one attempt.
///
/// # Errors
/// 400 naming the field; 409 for a request id with other content.
pub async fn outcome(State(app): State<App>, _: Scores, Body(bytes): Body) -> Result<Json<OutcomeAnswer>, Problem> {
    let record: AttemptRecord = parse(&app, &bytes)?;
    let answer = app.scorer.outcome(record, clock::now()).map_err(|error| rejected(&app, error))?;
    Ok(Json(answer))
}

fn parse(app: &App, bytes: &[u8]) -> Result<AttemptRecord, Problem> {
    AttemptRecord::parse(bytes).map_err(|error| rejected(app, error.into()))
}

fn rejected(app: &App, error: ScoreError) -> Problem {
    let field = match &error {
        ScoreError::Invalid(error) => error.field,
        ScoreError::Conflict => "request_id",
    };
    app.metrics.attempt_rejected(field);
    error.into()
}
