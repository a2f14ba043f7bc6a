//! `[redis]`: how to reach Redis or Valkey; read only with `store.backend = "redis"`. Changes need a restart.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[redis]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://host:port/db`, `rediss://…` for TLS, or `unix:///path`. Never with a password: that has its own file.
    /// Default: `redis://127.0.0.1:6379/0`, where a Redis beside Nauthilus listens.
    pub url: String,
    /// Begin of every key and channel. Default: `nt:`, as Nauthilus has it. The hash tag `{neural}` follows it, so that
    /// all keys lie in one slot of a cluster.
    pub prefix: String,
    /// ACL user. Default: unset, the server's default user.
    pub username: Option<String>,
    /// File with the password, or the name of a systemd credential. Default: unset, no password.
    pub password_file: Option<PathBuf>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".to_owned(),
            prefix: "nt:".to_owned(),
            username: None,
            password_file: None,
        }
    }
}
