//! The connection to an old Redis: opened, asked, gone. What is read over it is in `read`, what is written in `write`.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError};

use super::flags::MESSAGE_MAX;
use super::layout::Names;
use super::training::RECORD_MAX;
use crate::config::UpstreamConfig;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the old Redis is. Its secrets are not shown.
#[derive(Clone)]
pub struct SourceOptions {
    /// `redis://`, `rediss://` or `unix://`; may carry user and password.
    pub url: String,
    /// The original's prefix.
    pub prefix: String,
    /// Overrides the URL's user.
    pub username: Option<String>,
    /// Overrides the URL's password.
    pub password: Option<String>,
}

impl SourceOptions {
    /// From `[upstream]` and its password.
    pub fn of(config: &UpstreamConfig, password: Option<String>) -> Self {
        let UpstreamConfig { url, prefix, username, .. } = config.clone();
        Self { url, prefix, username, password }
    }
}

/// Why an old Redis was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No address of a Redis.
    #[error("the address is no redis://, rediss:// or unix:// address")]
    Address,
    /// It cannot be reached, refuses, or does not answer in time.
    #[error("cannot {operation} the old Redis; is it running, and may this user do that?")]
    Unavailable {
        /// What was tried, as a verb.
        operation: &'static str,
        /// What the client says.
        #[source]
        source: RedisError,
    },
    /// It did not answer in time.
    #[error("the old Redis does not answer in time")]
    TimedOut,
    /// The training data are of another type than a list.
    #[error("{key} is a {kind} and no list of training records")]
    NoList {
        /// The key.
        key: String,
        /// Its type.
        kind: String,
    },
    /// A training record longer than any that the original writes.
    #[error("training record {number} has {bytes} bytes, at most {RECORD_MAX} are read; nothing was imported")]
    LongRecord {
        /// Counted from 1, newest first.
        number: usize,
        /// Its length.
        bytes: i64,
    },
    /// Too much altogether.
    #[error("the training records have more than 256 MiB together; nothing was imported")]
    TooMuch,
    /// A key that is to be written holds something that the original never puts there.
    #[error("{key} is a {kind}, which no script of the original makes of it; nothing was written: delete or rename it")]
    Foreign {
        /// The key, without names of accounts.
        key: String,
        /// Its type.
        kind: String,
    },
    /// The server answers with something else than was asked for.
    #[error("the old Redis answers in another form than was asked for")]
    Unexpected,
}

pub(super) fn unavailable(operation: &'static str) -> impl Fn(RedisError) -> ReadError {
    move |source| ReadError::Unavailable { operation, source }
}

/// A connection to an old Redis.
#[derive(Clone)]
pub struct Source {
    client: Client,
    pub(super) connection: MultiplexedConnection,
    pub(super) names: Names,
}

impl Source {
    /// Connects.
    ///
    /// # Errors
    /// For an address that is none, and while nobody answers there.
    pub async fn open(options: &SourceOptions) -> Result<Self, ReadError> {
        // As for the store: rustls must know which provider is meant. An error says that it knows already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let info = options.url.as_str().into_connection_info().map_err(|_| ReadError::Address)?;
        let mut redis = info.redis_settings().clone();
        if let Some(username) = &options.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &options.password {
            redis = redis.set_password(password);
        }
        let client = Client::open(info.set_redis_settings(redis)).map_err(|_| ReadError::Address)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        let connection = tokio::time::timeout(CONNECT_TIMEOUT * 2, connection).await;
        let connection = connection
            .map_err(|_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))
            .and_then(std::convert::identity)
            .map_err(unavailable("connect to"))?;
        Ok(Self { client, connection, names: Names::new(&options.prefix) })
    }

    /// The names of the keys.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// What is announced about learning mode from now on, on a connection of its own; ends with it. Messages that are too
    /// long come empty.
    ///
    /// # Errors
    /// When the subscription is refused or the server does not answer.
    pub async fn learning_mode_updates(&self) -> Result<impl Stream<Item = Vec<u8>> + use<>, ReadError> {
        let subscribe = async {
            let mut subscription = self.client.get_async_pubsub().await?;
            subscription.subscribe(self.names.learning_mode_updates()).await?;
            Ok(subscription)
        };
        let subscribed = tokio::time::timeout(CONNECT_TIMEOUT * 2, subscribe).await;
        let subscription = subscribed
            .unwrap_or_else(|_| Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))))
            .map_err(unavailable("subscribe to"))?;
        Ok(subscription.into_on_message().map(|message| {
            let payload = message.get_payload_bytes();
            if payload.len() > MESSAGE_MAX { Vec::new() } else { payload.to_vec() }
        }))
    }

    pub(super) async fn kind(&self, key: &str) -> Result<String, ReadError> {
        let mut connection = self.connection.clone();
        redis::cmd("TYPE").arg(key).query_async(&mut connection).await.map_err(unavailable("look into"))
    }
}
