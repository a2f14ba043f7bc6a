//! `[node]`: who this node is and where it keeps its state. Changes need a restart.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The `[node]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// Name of this node in status, history and logs; for people only. Default: unset, the host name.
    pub name: Option<String>,
    /// Directory of the node id, the checkpoint, the last good model, the administrator's token and the embedded store.
    /// Default: `/var/lib/nauthilus-neural`, which the systemd unit creates and owns.
    pub state_dir: PathBuf,
    /// File with the key (64 hex digits) behind the pseudonyms of users and passwords, the same on all nodes. Default:
    /// unset, the nodes agree on one through the store.
    pub pseudonym_key_file: Option<PathBuf>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { name: None, state_dir: PathBuf::from("/var/lib/nauthilus-neural"), pseudonym_key_file: None }
    }
}
