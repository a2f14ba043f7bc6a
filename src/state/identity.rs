//! Who this node is: a name for people, an id that lasts, and a boot id that is this start alone.

use super::state_dir::{StateDir, StateError};
use crate::detection::event::BootId;
use crate::random;
use crate::store::NodeReport;
use crate::store::registry::ModelId;

const NODE_ID_FILE: &str = "node.id";

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// For people; not unique.
    pub name: String,
    /// 128 random bits in hex, from the state directory.
    pub node_id: String,
    /// The identity in leases, origins and de-duplication.
    pub boot: BootId,
}

impl Identity {
    /// Reads or makes the node id and draws a boot id.
    ///
    /// # Errors
    /// When a new node id cannot be written.
    pub fn open(state_dir: &StateDir, name: &str) -> Result<Self, StateError> {
        let stored = state_dir.read(NODE_ID_FILE, 64).and_then(|bytes| String::from_utf8(bytes).ok());
        let known = stored.map(|id| id.trim().to_owned()).filter(|id| id.len() == 32 && hex::decode(id).is_ok());
        let node_id = match known {
            Some(id) => id,
            None => {
                let id = random::id();
                state_dir.write(NODE_ID_FILE, id.as_bytes())?;
                id
            }
        };
        Ok(Self { name: name.to_owned(), node_id, boot: BootId(random::bytes()) })
    }

    /// The boot id in hex.
    pub fn boot_hex(&self) -> String {
        hex::encode(self.boot.0)
    }

    /// What this node reports to its fleet.
    pub fn report(&self, model: Option<ModelId>) -> NodeReport {
        NodeReport {
            name: self.name.clone(),
            node_id: self.node_id.clone(),
            boot_id: self.boot_hex(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model,
            seen_at_ms: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_id_lasts_and_the_boot_id_does_not() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let state_dir = StateDir::open(root.path()).expect("writable");

        let first = Identity::open(&state_dir, "mx1").expect("writable");
        let second = Identity::open(&state_dir, "mx1").expect("writable");

        assert_eq!(first.node_id, second.node_id);
        assert_ne!(first.boot, second.boot);
    }
}
