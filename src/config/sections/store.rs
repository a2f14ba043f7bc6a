//! `[store]`: where the fleet's shared state lies. Changes need a restart.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What keeps attempts, feedback and models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// One file on this host; for a single node.
    #[default]
    Embedded,
    /// Redis or Valkey, shared by all nodes.
    Redis,
}

/// The `[store]` section.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `"embedded"` or `"redis"`. Default: `"embedded"`, because it works without anything else being installed.
    pub backend: Backend,
    /// File of the embedded store. Default: unset, `store.redb` in `node.state_dir`.
    pub path: Option<PathBuf>,
}

impl StoreConfig {
    /// The file of the embedded store of a node with this state directory.
    pub fn file(&self, state_dir: &Path) -> PathBuf {
        self.path.clone().unwrap_or_else(|| state_dir.join("store.redb"))
    }
}
