//! One question to the blocklist service: `POST {"ip":"…"}`, answered with 200 and `{"found":bool,"error":""}`.
//!
//! Time and size of the answer are bounded. Nothing but the address is sent, no redirect is followed. Plain HTTP only.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

/// For everything, from the name look-up to the last byte. Nobody waits for it, but a question holds one of few places.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest answer in bytes.
const ANSWER_MAX: usize = 4096;
/// How long an unused connection stays open.
const IDLE: Duration = Duration::from_secs(30);

/// Why there is no answer. The service's own words are not repeated: they may name the address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It cannot be reached, or broke off.
    #[error("the service of lists.blocklist_url does not answer; check that it runs")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took too long.
    #[error("the service of lists.blocklist_url did not answer within {} s; check its load", LIMIT.as_secs())]
    TimedOut,
    /// It answered, but not with 200.
    #[error("the service of lists.blocklist_url answered with status {0}; check the path of the URL")]
    Status(StatusCode),
    /// The answer is too long or has another form.
    #[error("the service of lists.blocklist_url answered in an unknown form; check the path of the URL")]
    Malformed,
    /// It is there and says that it cannot tell about this address.
    #[error("the service of lists.blocklist_url reports an error of its own")]
    Refused,
}

/// Connections to the service.
#[derive(Debug, Clone)]
pub(crate) struct Service(Client<HttpConnector, Full<Bytes>>);

#[derive(Deserialize)]
struct Answer {
    found: bool,
    #[serde(default)]
    error: Option<String>,
}

impl Service {
    /// No connection yet.
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(LIMIT));
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        Self(builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector))
    }

    /// Whether the service has `ip` on its list.
    pub(crate) async fn ask(&self, url: &str, ip: IpAddr) -> Result<bool, AskError> {
        tokio::time::timeout(LIMIT, self.answer(url, ip)).await.unwrap_or(Err(AskError::TimedOut))
    }

    async fn answer(&self, url: &str, ip: IpAddr) -> Result<bool, AskError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::from(serde_json::json!({ "ip": ip }).to_string()))
            .map_err(|error| AskError::Connection(error.into()))?;
        let response = self.0.request(request).await.map_err(|error| AskError::Connection(error.into()))?;
        if response.status() != StatusCode::OK {
            return Err(AskError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|_| AskError::Malformed)?;
        let answer: Answer = serde_json::from_slice(&body.to_bytes()).map_err(|_| AskError::Malformed)?;
        match answer.error {
            Some(error) if !error.is_empty() => Err(AskError::Refused),
            _ => Ok(answer.found),
        }
    }
}
