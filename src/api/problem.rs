//! Errors as RFC 9457 problem JSON.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::control::ControlError;
use crate::serving::scorer::ScoreError;

/// One error answer.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl Problem {
    /// A problem of one HTTP status with a sentence for the caller.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
        }
    }

    /// A problem with one field of the request.
    pub fn field(field: impl Into<String>, error: impl AsRef<str>) -> Self {
        let field = field.into();
        let detail = format!("{field} {}", error.as_ref());
        Self { field: Some(field), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Invalid { field, error } => Self::field(field, error),
            ControlError::NotFound(detail) => Self::new(StatusCode::NOT_FOUND, detail),
            ControlError::Conflict(detail) => Self::new(StatusCode::CONFLICT, detail),
            ControlError::Unavailable(detail) => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail),
            error @ ControlError::Unknown { .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            ControlError::Failed(detail) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail),
        }
    }
}

impl From<ScoreError> for Problem {
    fn from(error: ScoreError) -> Self {
        match error {
            ScoreError::Invalid(error) => Self::field(error.field, error.error),
            ScoreError::Conflict => {
                let mut problem = Self::new(StatusCode::CONFLICT, error.to_string());
                problem.field = Some("request_id".into());
                problem
            }
        }
    }
}

/// Answer for an unknown path.
pub async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such path; see docs/protocol.md")
}

/// Answer for a known path with another method.
pub async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method; see docs/protocol.md")
}
