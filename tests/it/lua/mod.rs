//! The files of `etc/nauthilus`, run as they are in Lua 5.1 against a live daemon and against broken ones.
//!
//! Only what Nauthilus itself brings (its HTTP client, JSON, request context …) is a stand-in; see [`nauthilus`].

mod away;
mod broken;
mod defects;
mod documented;
mod documented_hooks;
mod features;
mod hooks;
mod http_client;
mod installation;
mod json;
mod live;
mod login;
mod module;
mod nauthilus;
mod origin;

use std::path::PathBuf;

use crate::support::daemon::{Daemon, Setup};
use nauthilus::{Nauthilus, Version};

/// The files as they are shipped.
pub fn shipped(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("etc/nauthilus").join(path)
}

/// A daemon, and a Nauthilus of `version` that talks to it with the administrator's token for commands.
pub async fn pair(setup: Setup, version: Version) -> (Daemon, Nauthilus) {
    let daemon = Daemon::start(setup).await;
    let nauthilus = beside(&daemon, version);
    (daemon, nauthilus)
}

/// A Nauthilus of `version` beside a running daemon.
pub fn beside(daemon: &Daemon, version: Version) -> Nauthilus {
    let token = daemon.state_dir().join("admin.token").display().to_string();
    let url = format!("http://{}", daemon.http.address());
    Nauthilus::new(version, &[("NAUTHILUS_NEURAL_URL", &url), ("NAUTHILUS_NEURAL_ADMIN_TOKEN_FILE", &token)])
}
