//! `[upstream]`: nodes of Nauthilus 1.7 that still run beside this one. Changes need a restart.
//!
//! Nothing of it is needed to import what such nodes left behind: `nauthilus-neural import` names its Redis itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How those nodes name their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamLayout {
    /// Releases 1.7.0 to 1.7.19: by instance.
    Released,
    /// The last state before the removal: one for all.
    #[default]
    Common,
    /// The branch that was to become 1.7.20.
    Global,
}

/// The `[upstream]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Take in what those nodes record, and follow their learning mode. Default: false, because their records lack what
    /// a node of this fleet sees.
    pub bridge: bool,
    /// Give those nodes each new model. Default: false, because their next own training overwrites it with inverted labels.
    pub export: bool,
    /// Write what is known of distributed attacks, and who tried what lately, under the keys of their scripts. Default:
    /// false, because it puts the names of all users in clear there, and only old plugins and dashboards read it.
    pub mirror: bool,
    /// What those keys begin with, 1 to 64 characters. Default: `ntc:`, as in the releases with the scripts; from 1.12 on
    /// they take the prefix.
    pub mirror_root: String,
    /// `redis://host:port/db`, `rediss://…` or `unix:///path` of their Redis. Never with a password. Default:
    /// `redis://127.0.0.1:6379/0`, where a Redis beside Nauthilus listens.
    pub url: String,
    /// Their `server.redis.prefix`. Default: `nt:`, as it is there.
    pub prefix: String,
    /// `"released"`, `"common"` or `"global"`. Default: `"common"`, the last state.
    pub layout: UpstreamLayout,
    /// Their `server.instance_name`, for `layout = "released"`. Default: `nauthilus`, as it is there.
    pub instance: String,
    /// ACL user. Default: unset, the server's default user.
    pub username: Option<String>,
    /// File with the password, or the name of a systemd credential. Default: unset, no password.
    pub password_file: Option<PathBuf>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            bridge: false,
            export: false,
            mirror: false,
            mirror_root: "ntc:".to_owned(),
            url: "redis://127.0.0.1:6379/0".to_owned(),
            prefix: "nt:".to_owned(),
            layout: UpstreamLayout::default(),
            instance: "nauthilus".to_owned(),
            username: None,
            password_file: None,
        }
    }
}
