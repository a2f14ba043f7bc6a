//! The node's own secrets: the pseudonym key and the administrator's token.
//!
//! They are made at the first start and kept with mode 0600. The pseudonym key must be the same on all nodes: an operator
//! gives it by file, or the fleet agrees on one through the store (see `tasks::pseudonyms`).

use super::state_dir::{StateDir, StateError};
use crate::random;

const PSEUDONYM_KEY_FILE: &str = "pseudonym.key";
const ADMIN_TOKEN_FILE: &str = "admin.token";

/// A pseudonym key and whether the operator fixed it.
#[derive(Clone, PartialEq, Eq)]
pub struct PseudonymKey {
    /// 256 bits for the HMAC of names and password tags.
    pub key: [u8; 32],
    /// From a configured file: it is never exchanged for the fleet's.
    pub fixed: bool,
}

/// The `configured` key, else the one in the state directory, else a new one that is written there.
///
/// # Errors
/// When a new key cannot be written.
pub fn pseudonym_key(state_dir: &StateDir, configured: Option<[u8; 32]>) -> Result<PseudonymKey, StateError> {
    if let Some(key) = configured {
        return Ok(PseudonymKey { key, fixed: true });
    }
    if let Some(key) = stored_pseudonym_key(state_dir) {
        return Ok(PseudonymKey { key, fixed: false });
    }
    if state_dir.path(PSEUDONYM_KEY_FILE).exists() {
        state_dir.set_aside(PSEUDONYM_KEY_FILE);
    }
    let key = random::bytes();
    keep_pseudonym_key(state_dir, &key)?;
    Ok(PseudonymKey { key, fixed: false })
}

/// The key in the state directory; `None` if there is none that can be read. Nothing is written.
pub fn stored_pseudonym_key(state_dir: &StateDir) -> Option<[u8; 32]> {
    let stored = state_dir.read(PSEUDONYM_KEY_FILE, 256).and_then(|bytes| String::from_utf8(bytes).ok());
    stored.as_deref().and_then(parse_key)
}

/// Writes the key that the fleet agreed on.
///
/// # Errors
/// When the state directory cannot be written.
pub fn keep_pseudonym_key(state_dir: &StateDir, key: &[u8; 32]) -> Result<(), StateError> {
    state_dir.write(PSEUDONYM_KEY_FILE, hex::encode(key).as_bytes())
}

/// The administrator's token: made and written (0600) at the first start.
///
/// # Errors
/// When it cannot be written.
pub fn admin_token(state_dir: &StateDir) -> Result<String, StateError> {
    let stored = state_dir.read(ADMIN_TOKEN_FILE, 4096).and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(token) = stored.map(|token| token.trim().to_owned()).filter(|token| token.len() >= 16) {
        return Ok(token);
    }
    if state_dir.path(ADMIN_TOKEN_FILE).exists() {
        state_dir.set_aside(ADMIN_TOKEN_FILE);
    }
    let token = hex::encode(random::bytes::<32>());
    state_dir.write(ADMIN_TOKEN_FILE, token.as_bytes())?;
    Ok(token)
}

fn parse_key(text: &str) -> Option<[u8; 32]> {
    hex::decode(text.trim()).ok()?.try_into().ok()
}
