//! What is written beside a candidate: where it comes from, what the gate said, and what its publish will need.
//!
//! A candidate was compared with one model; when that is no longer current, nobody can approve it any more.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::mode::EndOfLearning;
use crate::store::registry::{Parent, Registry};
use crate::store::{Position, Store, StoreError};

/// The description of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateNote {
    /// The first 16 hex digits of its content hash: what a person names it by.
    pub(crate) id: String,
    /// Hex.
    pub(crate) sha256: String,
    /// Clock of the node that trained it.
    pub(crate) trained_at_ms: i64,
    /// Kind of the trigger.
    pub(crate) trigger: String,
    /// Name of the node that trained it.
    pub(crate) node: String,
    pub(crate) samples: usize,
    pub(crate) epochs: u32,
    /// The gate's, for people.
    pub(crate) reason: String,
    /// As in the history.
    pub(crate) evaluation: Value,
    /// As in the history.
    pub(crate) gate: Value,
    /// Feedback up to here was seen.
    pub(crate) watermark: Position,
    /// Generation of the registry that it was compared with.
    pub(crate) parent_generation: u64,
    /// Content of the model that it was compared with, hex; `None` without one.
    pub(crate) parent_sha256: Option<String>,
    /// Learning mode ends with it, if it still is what it was.
    pub(crate) ends_learning: Option<EndOfLearning>,
}

impl CandidateNote {
    /// What a person names the artifact with this content hash by.
    pub fn id_of(sha256: &[u8; 32]) -> String {
        hex::encode(&sha256[..8])
    }

    /// Whether the registry still is the one that it was compared with.
    pub fn is_current(&self, registry: &Registry) -> bool {
        let parent = Parent { generation: registry.generation, sha256: registry.sha256 };
        self.parent_generation == parent.generation && self.parent_sha256 == parent.sha256.map(hex::encode)
    }

    /// The content hash of the artifact; `None` in a damaged description.
    pub fn content(&self) -> Option<[u8; 32]> {
        let mut content = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut content).ok()?;
        Some(content)
    }
}

/// The candidate that waits, with its description as it is stored.
///
/// # Errors
/// When the store cannot be read, or holds something foreign.
pub async fn waiting(store: &dyn Store) -> Result<Option<(Vec<u8>, CandidateNote)>, StoreError> {
    let Some(stored) = store.candidate().await? else { return Ok(None) };
    match serde_json::from_slice(&stored) {
        Ok(note) => Ok(Some((stored, note))),
        Err(_) => Err(StoreError::Corrupt { operation: "read the candidate", what: "its description".to_owned() }),
    }
}
