//! A trained model that waits for a person: its description and its artifact, side by side in the store.
//!
//! The store keeps at most one; a later one replaces it, and a published model takes it away, because it was compared with
//! the model before. What the description says is the business of those who write and read it.

use super::StoreError;
use super::entry::{self, DOCUMENT_MAX};

/// A candidate on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its description (JSON), at most [`DOCUMENT_MAX`] bytes; never empty. The exact bytes name it.
    pub note: Vec<u8>,
    /// The encoded artifact, at most [`MODEL_MAX`](super::MODEL_MAX) bytes.
    pub artifact: Vec<u8>,
}

/// Refuses one that is too large.
pub(super) fn check(operation: &'static str, candidate: Option<&Candidate>) -> Result<(), StoreError> {
    let Some(candidate) = candidate else { return Ok(()) };
    entry::check_size(operation, "a candidate's description", candidate.note.len(), DOCUMENT_MAX)?;
    entry::check_artifact(operation, &candidate.artifact)
}
