//! A small JSON client.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::client::legacy::Client as Connections;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Longest wait for an answer: a training on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// One caller of one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    connections: Connections<HttpConnector, Full<Bytes>>,
    address: String,
    token: Option<String>,
}

/// An answer; `body` is null when it is not JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The sentence of a problem, or nothing.
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }
}

impl Client {
    /// A caller without a token.
    pub fn new(address: &str) -> Self {
        // One connection per request: a kept one may be closed by the daemon at the moment in which the next is sent.
        let connections = Connections::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { connections, address: address.to_owned(), token: None }
    }

    /// The same caller with a bearer token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same caller without its token.
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// Where the daemon listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body.to_string().into_bytes()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, body.to_string().into_bytes()).await
    }

    /// Sends any body; there must be an answer.
    pub async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Answer {
        self.try_send(method, path, body).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends any body.
    pub async fn try_send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("a sound request");
        let exchange = async {
            let response = self.connections.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status().as_u16();
            let content_type = response.headers().get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            Ok(Answer { status, content_type, body, text })
        };
        match tokio::time::timeout(ANSWER_LIMIT, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer within {ANSWER_LIMIT:?}")),
        }
    }
}
