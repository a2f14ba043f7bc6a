//! `[geo]`: where country and provider of an address are looked up when the caller does not tell them. Applies at once.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::lists::paths;

/// The `[geo]` section. In the environment, `,` separates the entries of a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeoConfig {
    /// Files in MaxMind's format (`.mmdb`) with countries, autonomous systems or both, at most 4 of 128 MiB; the first that
    /// knows an address answers. Default: none. Held in memory, read at start and at each reload.
    #[serde(deserialize_with = "paths")]
    pub database: Vec<PathBuf>,
}
