//! `POST /v1/attempts`: past attempts in bulk, one JSON record a line.
//!
//! Lines are taken in their order; a line that cannot be taken is named and the others still count. The answer comes when
//! the store has acknowledged them, or says `queued` when the store is away.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::App;
use super::auth::Scores;
use super::body::Body;
use super::problem::Problem;
use crate::clock;
use crate::detection::record::{AttemptRecord, RecordError};
use crate::serving::scorer::ScoreError;

/// `wire.md`: more lines than this are refused as a whole.
const LINES_MAX: usize = 100_000;
/// Rejected lines that the answer names.
const REJECTED_SHOWN_MAX: usize = 100;
/// Lines taken between two looks at the queue.
const CHUNK: usize = 2_000;
/// How long the answer waits for the store's acknowledgement before it says `queued`.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(10);

/// Answer to a bulk request.
#[derive(Debug, Serialize)]
pub struct Ingested {
    accepted: usize,
    rejected: Vec<RejectedLine>,
    queued: bool,
}

/// One line that was not taken.
#[derive(Debug, Serialize)]
pub struct RejectedLine {
    /// Counted from 1.
    line: usize,
    field: &'static str,
    error: String,
}

/// Takes past attempts.
///
/// # Errors
/// 413 for too many bytes or lines; 400 for a body that is not UTF-8; 503 when neither store nor queue takes more.
pub async fn attempts(State(app): State<App>, _: Scores, Body(bytes): Body) -> Result<Response, Problem> {
    // The router's own limit is fixed at the start; this one follows the configuration.
    let body_max = app.config.load().http.body_max;
    if bytes.len() > body_max {
        let detail = format!("the body has {} bytes, this node takes {body_max} (http.body_max)", bytes.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::field("body", "is not UTF-8"))?;
    let lines: Vec<(usize, String)> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| (index + 1, line.to_owned()))
        .collect();
    if lines.len() > LINES_MAX {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("send at most {LINES_MAX} lines at once")));
    }
    let mut ingested = Ingested { accepted: 0, rejected: Vec::new(), queued: false };
    let mut last_seq = 0;
    // A chunk that the queue could never hold would wait for ever.
    let chunk = CHUNK.min(app.config.load().attempts.queue_max.max(1));
    for chunk in lines.chunks(chunk) {
        if !room_for(&app, chunk.len()).await {
            let detail = format!(
                "took {} lines, then the queue was full while the store is away; send the rest later",
                ingested.accepted
            );
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
        }
        let (worker, chunk) = (app.clone(), chunk.to_vec());
        let taken = tokio::task::spawn_blocking(move || take(&worker, &chunk)).await;
        let taken = taken.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "taking the lines failed"))?;
        ingested.accepted += taken.accepted;
        last_seq = taken.last_seq.max(last_seq);
        let shown = REJECTED_SHOWN_MAX.saturating_sub(ingested.rejected.len());
        ingested.rejected.extend(taken.rejected.into_iter().take(shown));
    }
    ingested.queued = !acknowledged(&app, last_seq).await;
    let status = if ingested.queued { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(ingested)).into_response())
}

struct Taken {
    accepted: usize,
    last_seq: u64,
    rejected: Vec<RejectedLine>,
}

fn take(app: &App, lines: &[(usize, String)]) -> Taken {
    let now = clock::now();
    let mut taken = Taken { accepted: 0, last_seq: 0, rejected: Vec::new() };
    for (line, text) in lines {
        match take_line(app, text, now) {
            Ok(seq) => {
                taken.accepted += 1;
                taken.last_seq = taken.last_seq.max(seq.unwrap_or(0));
            }
            Err(RecordError { field, error }) => {
                app.metrics.attempt_rejected(field);
                taken.rejected.push(RejectedLine { line: *line, field, error });
            }
        }
    }
    taken
}

fn take_line(app: &App, text: &str, now: crate::detection::attempt::Timestamp) -> Result<Option<u64>, RecordError> {
    let record = AttemptRecord::parse(text.as_bytes())?;
    let checked = app.scorer.check(record, now)?;
    app.scorer.ingest(checked, now).map_err(|error| match error {
        ScoreError::Invalid(error) => error,
        ScoreError::Conflict => RecordError::new("request_id", error.to_string()),
    })
}

/// Waits for room in the queue as long as the store is draining it.
async fn room_for(app: &App, lines: usize) -> bool {
    let mut acknowledged = app.log.acknowledged();
    loop {
        if app.log.room() >= lines {
            return true;
        }
        if !app.store.connected() {
            return false;
        }
        let _ = tokio::time::timeout(Duration::from_millis(500), acknowledged.changed()).await;
    }
}

/// Waits until the store has acknowledged everything up to `seq`; `false` when it is away or too slow.
async fn acknowledged(app: &App, seq: u64) -> bool {
    let mut acknowledged = app.log.acknowledged();
    let deadline = tokio::time::Instant::now() + ACKNOWLEDGE_LIMIT;
    loop {
        if *acknowledged.borrow_and_update() >= seq {
            return true;
        }
        if !app.store.connected() || tokio::time::Instant::now() >= deadline {
            return false;
        }
        let _ = tokio::time::timeout(Duration::from_millis(200), acknowledged.changed()).await;
    }
}
