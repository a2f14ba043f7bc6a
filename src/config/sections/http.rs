//! `[http]`: the interface that Nauthilus and operators call. `listen` needs a restart, the rest applies at once.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a caller may do; `score` and `feedback` each include what they say and nothing of the other, `admin` includes all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Score, outcome, attempts, status, metrics.
    Score,
    /// Feedback and explanations.
    Feedback,
    /// Everything.
    Admin,
}

/// The role of a caller from loopback that shows no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopbackAccess {
    /// May score, nothing else.
    #[default]
    Score,
    /// May do everything: every local user is an administrator.
    Admin,
    /// Needs a token like everybody.
    None,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Score => "score",
            Self::Feedback => "feedback",
            Self::Admin => "admin",
        })
    }
}

impl LoopbackAccess {
    /// The role that goes with it; `None` when a token is needed.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Score => Some(Role::Score),
            Self::Admin => Some(Role::Admin),
            Self::None => None,
        }
    }
}

/// One bearer token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// What the bearer may do: `"score"`, `"feedback"` or `"admin"`.
    pub role: Role,
    /// File with the token (one line), or the name of a systemd credential.
    pub file: PathBuf,
}

/// The `[http]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address and port. Default: `127.0.0.1:9180`; loopback, because tokens travel unencrypted.
    pub listen: SocketAddr,
    /// Role of a caller from loopback without a token: `"score"`, `"admin"` or `"none"`. Default: `"score"`, so that
    /// Nauthilus on the same host needs no secret, while training and resetting do.
    pub loopback_access: LoopbackAccess,
    /// Longest request body in bytes. Default: 16777216 (16 MiB), what `POST /v1/attempts` promises to take.
    pub body_max: usize,
    /// Host names by which callers may address this node, beside `localhost`, the node's name and the address it listens
    /// on. Default: none. Any other name in the `Host` header is refused, or a web page could have its own name lead to
    /// this node and read it through a visitor's browser (DNS rebinding).
    pub allowed_hosts: Vec<String>,
    /// Most connections at once; further ones wait in the kernel's queue. Default: 1024, far more than Nauthilus opens.
    pub connections_max: usize,
    /// How long a caller may take to send the head of a request, also between two requests. Default: 10 s.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a caller may take to send the whole body. Default: 30 s, which is 16 MiB at 4.5 Mbit/s.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// How long a caller who waits for a training is kept waiting; the training goes on. Default: 10 min, far more than one
    /// takes.
    #[serde(with = "humantime_serde")]
    pub train_wait_max: Duration,
    /// Bearer tokens with their roles. Default: none; the token in `state_dir/admin.token` always works.
    pub tokens: Vec<TokenConfig>,
}

impl HttpConfig {
    /// 16 MiB: a hundred thousand attempt records of 160 bytes.
    pub const BODY_MAX: usize = 16 * 1024 * 1024;
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9180)),
            loopback_access: LoopbackAccess::default(),
            body_max: Self::BODY_MAX,
            allowed_hosts: Vec::new(),
            connections_max: 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            train_wait_max: Duration::from_secs(600),
            tokens: Vec::new(),
        }
    }
}
