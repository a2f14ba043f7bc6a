//! Talks HTTP to a daemon: one request, one JSON answer.

use std::fs;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::Common;
use super::failure::Failure;
use crate::config::Config;
use crate::daemon::chain;
use crate::exit;

/// A training may take minutes; everything else answers at once.
const LIMIT: Duration = Duration::from_secs(3600);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at a training that lasts.
const WATCH_PERIOD: Duration = Duration::from_millis(500);

/// A connection to one daemon.
pub struct Client {
    base: String,
    token: Option<String>,
    runtime: tokio::runtime::Runtime,
    http: HyperClient<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client for the daemon that `--url` or the configuration names, with the token that can be found.
    pub fn open(common: &Common) -> Result<Self, Failure> {
        let config = Config::load(common.config_file().as_deref(), std::env::vars())
            .map_err(|error| Failure::config(chain(&error)))?;
        let base = match &common.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", config.http.listen),
        };
        let token = match &common.token_file {
            Some(path) => {
                let token = fs::read_to_string(path)
                    .map_err(|error| Failure::config(format!("cannot read {}: {error}", path.display())))?;
                Some(token.trim().to_owned())
            }
            // Without the right to read it, the caller has what loopback access gives.
            None => {
                fs::read_to_string(config.node.state_dir.join("admin.token")).ok().map(|text| text.trim().to_owned())
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::from_error(exit::OS, &error))?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_LIMIT));
        connector.set_nodelay(true);
        let http = HyperClient::builder(TokioExecutor::new()).build(connector);
        Ok(Self { base, token, runtime, http })
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None)
    }

    /// `POST path` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, Some(body.to_string().into()))
    }

    /// `PUT path` with a JSON body.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::PUT, path, Some(body.to_string().into()))
    }

    /// `DELETE path` with a JSON body.
    pub fn delete(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::DELETE, path, Some(body.to_string().into()))
    }

    /// `POST path` with a body of lines.
    pub fn post_lines(&self, path: &str, lines: Vec<u8>) -> Result<Value, Failure> {
        self.call(Method::POST, path, Some(lines.into()))
    }

    /// `POST path` with a JSON body; while it lasts, `told` gets what `GET status` says once in a while.
    pub fn post_watching(
        &self,
        path: &str,
        body: &Value,
        status: &str,
        mut told: impl FnMut(&Value),
    ) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path, Some(body.to_string().into()))?;
        let answered = self.runtime.block_on(async {
            let watch = async {
                loop {
                    tokio::time::sleep(WATCH_PERIOD).await;
                    // Only shown to people: what cannot be read is not shown.
                    let Ok(request) = self.request(Method::GET, status, None) else { continue };
                    if let Ok((StatusCode::OK, bytes)) = self.exchange(request).await
                        && let Ok(value) = serde_json::from_slice(&bytes)
                    {
                        told(&value);
                    }
                }
            };
            tokio::select! {
                answered = self.exchange(request) => answered,
                () = watch => Err("the watch ended".to_owned()),
            }
        });
        self.read(answered)
    }

    fn call(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Value, Failure> {
        let request = self.request(method, path, body)?;
        let answered = self.runtime.block_on(self.exchange(request));
        self.read(answered)
    }

    fn request(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("nauthilus-neural/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| Failure::usage(format!("{} is not a URL: {error}", self.base)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        tokio::time::timeout(LIMIT, async {
            let response = self.http.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>((status, bytes))
        })
        .await
        .unwrap_or_else(|_| Err("no answer within an hour".to_owned()))
    }

    fn read(&self, answered: Result<(StatusCode, Bytes), String>) -> Result<Value, Failure> {
        let (status, bytes) = answered.map_err(|error| {
            Failure::unavailable(format!("cannot reach the daemon at {}: {error}; is it running?", self.base))
        })?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let detail = value["detail"].as_str().unwrap_or("no reason given").to_owned();
        if status == StatusCode::GATEWAY_TIMEOUT {
            return Err(Failure::unknown(format!("the daemon does not know whether it was done: {detail}")));
        }
        let message = format!("the daemon refused ({}): {detail}", status.as_u16());
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Failure::permission(format!("{message}; give --token-file, or run as a user that may read admin.token"))
            }
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::CONFLICT => Failure::data(message),
            _ => Failure::unavailable(message),
        })
    }
}
