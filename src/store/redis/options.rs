//! Where the Redis is and who we are there.

use std::fmt;

use redis::{Client, IntoConnectionInfo};

use crate::store::StoreError;
use crate::store::keys::KeyPrefix;

/// What [`RedisStore::connect`](super::RedisStore::connect) needs to know.
#[derive(Clone, Default)]
pub struct RedisOptions {
    /// `redis://`, `rediss://` (TLS) or `unix://`; may carry user, password and database.
    pub url: String,
    /// Separates deployments that share one Redis.
    pub prefix: KeyPrefix,
    /// Overrides the URL's user.
    pub username: Option<String>,
    /// Overrides the URL's password.
    pub password: Option<String>,
    /// Name of this node, for the `origin` of announcements.
    pub origin: String,
}

impl fmt::Debug for RedisOptions {
    /// Without the URL and the password: both may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("prefix", &self.prefix)
            .field("username", &self.username)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// A client that has not connected yet.
    pub(super) fn client(&self) -> Result<Client, StoreError> {
        // Exactly one provider is compiled in here, but a dependency could bring a second one; then rustls would not
        // choose. An error only means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let info = self.url.as_str().into_connection_info().map_err(|error| {
            let remedy = format!("redis.url is no redis://, rediss:// or unix:// address ({})", error.category());
            refused(remedy, error)
        })?;
        let mut redis = info.redis_settings().clone();
        if let Some(username) = &self.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        Client::open(info.set_redis_settings(redis))
            .map_err(|error| refused(format!("redis.url cannot be used ({})", error.category()), error))
    }
}

fn refused(remedy: String, error: redis::RedisError) -> StoreError {
    StoreError::Refused { operation: "set up the redis store", remedy, source: Some(Box::new(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bad_address_is_an_error() {
        for (url, good) in [
            ("redis://127.0.0.1:1/0", true),
            ("rediss://redis.example.org", true),
            ("unix:///run/redis.sock", true),
            ("http://127.0.0.1", false),
            ("", false),
        ] {
            let options = RedisOptions { url: url.to_owned(), ..RedisOptions::default() };
            assert_eq!(options.client().is_ok(), good, "{url}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let options = RedisOptions {
            url: "redis://:hunter2@127.0.0.1".to_owned(),
            password: Some("hunter3".to_owned()),
            ..RedisOptions::default()
        };

        assert!(!format!("{options:?}").contains("hunter"));
    }
}
