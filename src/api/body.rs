//! Reads request bodies: bounded by the router, parsed here, with errors that name the field.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use humantime::format_duration;
use serde::de::DeserializeOwned;

use super::App;
use super::problem::Problem;
use crate::control::command::is_object;

/// A body that was read whole and in time, or the problem with it.
pub struct Body(pub Bytes);

impl FromRequest<App> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let limit = app.config.load().http.body_timeout;
        let Ok(read) = tokio::time::timeout(limit, Bytes::from_request(request, app)).await else {
            app.metrics.request_refused("body_timeout");
            let detail = format!("the body did not arrive within {} (http.body_timeout)", format_duration(limit));
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        };
        match read {
            Ok(bytes) => Ok(Self(bytes)),
            Err(BytesRejection::FailedToBufferBody(failed)) if failed.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this path takes"))
            }
            Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body ended before it was complete")),
        }
    }
}

/// Parses a JSON body.
///
/// # Errors
/// A 400 that names the field; for a body that is not JSON, the place where it stops being that.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let sentence: String = inner.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
            let named = sentence.split('`').nth(1).filter(|_| sentence.starts_with("unknown field"));
            let field = named.map_or(path, str::to_owned);
            Problem::field(if field == "." { "body".to_owned() } else { field }, format!("cannot be read: {sentence}"))
        } else {
            let place = format!("is not JSON (line {}, column {})", inner.line(), inner.column());
            Problem::field("body", place)
        }
    })?;
    deserializer.end().map_err(|_| Problem::field("body", "has something after the JSON value"))?;
    if !is_object(bytes) {
        return Err(Problem::field("body", "is not a JSON object"));
    }
    Ok(parsed)
}

/// As [`parse`], but an empty body counts as `{}`: commands without arguments may come without one.
///
/// # Errors
/// As [`parse`].
pub fn parse_or_empty<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    parse(if bytes.is_empty() { b"{}" } else { bytes })
}
