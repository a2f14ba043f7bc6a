//! The files of the state directory, written whole or not at all.
//!
//! Every write goes to a temporary file, is synced, and is renamed over the old one, so that a crash leaves the old or the
//! new content. Reading trusts nothing: a damaged file is set aside as `.bad` and counts as absent.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tracing::{error, info, warn};

use crate::store::registry::ModelId;
use crate::store::{MODEL_MAX, Position};

const MODEL_FILE: &str = "model.bin";
const CHALLENGER_FILE: &str = "challenger.bin";
const CHECKPOINT_FILE: &str = "checkpoint.bin";
/// lineage (16), generation (8), content hash (32).
const MODEL_HEADER: usize = 56;
/// magic (8), position (16), SHA-256 of the rest (32).
const CHECKPOINT_MAGIC: &[u8; 8] = b"NNCHECK1";
const CHECKPOINT_HEADER: usize = 56;
/// Larger than every table at its cap.
const CHECKPOINT_MAX: u64 = 512 * 1024 * 1024;

/// The state directory of one node.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    failing: AtomicBool,
    /// Two tasks may save the same file at once; their temporary files have the same name.
    writing: Mutex<()>,
}

/// Why a file of the state directory could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}; the daemon's user needs a writable state directory (node.state_dir)", path.display())]
pub struct StateError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StateDir {
    /// Opens the directory, creating it (mode 0700) if it is missing.
    ///
    /// # Errors
    /// When it can neither be found nor created.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        use std::os::unix::fs::DirBuilderExt;
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        created.map_err(|source| StateError { action: "create the directory", path: root.to_owned(), source })?;
        Ok(Self { root: root.to_owned(), failing: AtomicBool::new(false), writing: Mutex::new(()) })
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The content of a file of at most `max` bytes; `None` when there is none or it cannot be read.
    pub fn read(&self, name: &str, max: u64) -> Option<Vec<u8>> {
        let path = self.path(name);
        let size = fs::metadata(&path).ok()?.len();
        if size > max {
            warn!("{} has {size} bytes, more than the {max} expected; ignoring it", path.display());
            return None;
        }
        fs::read(&path).ok()
    }

    /// Replaces a file in one step, readable by the daemon's user only.
    ///
    /// # Errors
    /// When the directory cannot be written or is full; the old file is then unchanged.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), StateError> {
        let path = self.path(name);
        let temporary = self.path(&format!(".{name}.new"));
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(|source| StateError { action: "write", path, source })
    }

    /// As [`write`](Self::write), for what may be lost: the first failure of a row is reported, none is returned.
    pub fn save(&self, name: &str, content: &[u8]) {
        match self.write(name, content) {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    info!("the state directory can be written again");
                }
            }
            Err(failed) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    error!("{failed}: {}; going on from memory", failed.source);
                }
            }
        }
    }

    /// Keeps the last good model, for a start without a store.
    pub fn save_model(&self, id: ModelId, artifact: &[u8]) {
        let mut content = Vec::with_capacity(MODEL_HEADER + artifact.len());
        content.extend_from_slice(&id.lineage);
        content.extend_from_slice(&id.generation.to_le_bytes());
        content.extend_from_slice(&id.sha256);
        content.extend_from_slice(artifact);
        self.save(MODEL_FILE, &content);
    }

    /// The last good model as it was saved; its bytes are still to be verified.
    pub fn load_model(&self) -> Option<(ModelId, Vec<u8>)> {
        let content = self.read(MODEL_FILE, (MODEL_MAX + MODEL_HEADER + 1024) as u64)?;
        if content.len() < MODEL_HEADER {
            self.set_aside(MODEL_FILE);
            return None;
        }
        let (header, artifact) = content.split_at(MODEL_HEADER);
        let id = ModelId {
            lineage: header[..16].try_into().expect("sixteen bytes"),
            generation: u64::from_le_bytes(header[16..24].try_into().expect("eight bytes")),
            sha256: header[24..].try_into().expect("thirty-two bytes"),
        };
        Some((id, artifact.to_vec()))
    }

    /// Keeps the last challenger that the gate did not let through, in place of the one before. One that is larger than a
    /// model may be is not kept.
    pub fn save_challenger(&self, artifact: &[u8]) {
        if artifact.len() <= MODEL_MAX {
            self.save(CHALLENGER_FILE, artifact);
        }
    }

    /// The challenger as it was saved; its bytes are still to be verified.
    pub fn load_challenger(&self) -> Option<Vec<u8>> {
        self.read(CHALLENGER_FILE, MODEL_MAX as u64)
    }

    /// Forgets the last good model, and the challenger that was held against it: the fleet was reset.
    pub fn forget_model(&self) {
        let _ = fs::remove_file(self.path(MODEL_FILE));
        let _ = fs::remove_file(self.path(CHALLENGER_FILE));
    }

    /// Renames a damaged model or other file, so that a person can look at it and the next start does not trip again.
    pub fn set_aside(&self, name: &str) {
        let path = self.path(name);
        let aside = self.path(&format!("{name}.bad"));
        warn!("{} is damaged; it is now {}", path.display(), aside.display());
        let _ = fs::rename(path, aside);
    }

    /// Sets a damaged model file aside.
    pub fn set_model_aside(&self) {
        self.set_aside(MODEL_FILE);
    }

    /// Keeps the counters and the stream position that they were read up to.
    pub fn save_checkpoint(&self, position: Position, counters: &[u8]) {
        let mut content = Vec::with_capacity(CHECKPOINT_HEADER + counters.len());
        content.extend_from_slice(CHECKPOINT_MAGIC);
        content.extend_from_slice(&position.major.to_le_bytes());
        content.extend_from_slice(&position.minor.to_le_bytes());
        content.extend_from_slice(&checkpoint_hash(position, counters));
        content.extend_from_slice(counters);
        self.save(CHECKPOINT_FILE, &content);
    }

    /// The last checkpoint, if it is whole.
    pub fn load_checkpoint(&self) -> Option<(Position, Vec<u8>)> {
        let content = self.read(CHECKPOINT_FILE, CHECKPOINT_MAX)?;
        let whole = (|| {
            let (header, counters) = content.split_at_checked(CHECKPOINT_HEADER)?;
            let position = Position {
                major: u64::from_le_bytes(header[8..16].try_into().ok()?),
                minor: u64::from_le_bytes(header[16..24].try_into().ok()?),
            };
            let intact = &header[..8] == CHECKPOINT_MAGIC && header[24..] == checkpoint_hash(position, counters);
            intact.then(|| (position, counters.to_vec()))
        })();
        if whole.is_none() {
            self.set_aside(CHECKPOINT_FILE);
        }
        whole
    }
}

fn checkpoint_hash(position: Position, counters: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(position.major.to_le_bytes());
    hash.update(position.minor.to_le_bytes());
    hash.update(counters);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_with_its_position() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(root.path()).expect("writable");
        let position = Position { major: 7, minor: 3 };

        state.save_checkpoint(position, b"counters");

        assert_eq!(state.load_checkpoint(), Some((position, b"counters".to_vec())));
    }

    #[test]
    fn a_damaged_checkpoint_is_set_aside_and_counts_as_absent() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(root.path()).expect("writable");
        state.save_checkpoint(Position::START, b"counters");
        let mut content = fs::read(state.path(CHECKPOINT_FILE)).expect("written");
        *content.last_mut().expect("not empty") ^= 1;
        fs::write(state.path(CHECKPOINT_FILE), content).expect("writable");

        assert_eq!(state.load_checkpoint(), None);
        assert!(state.path("checkpoint.bin.bad").exists());
        assert!(!state.path(CHECKPOINT_FILE).exists());
    }

    #[test]
    fn the_challenger_is_the_last_one_is_the_owners_and_goes_with_a_reset() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(root.path()).expect("writable");
        assert_eq!(state.load_challenger(), None);

        state.save_challenger(b"first");
        state.save_challenger(b"second");
        state.save_challenger(&vec![0; MODEL_MAX + 1]);

        assert_eq!(state.load_challenger(), Some(b"second".to_vec()));
        let mode = fs::metadata(state.path(CHALLENGER_FILE)).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        state.forget_model();
        assert_eq!(state.load_challenger(), None);
    }

    #[test]
    fn two_tasks_may_save_the_same_file_at_once() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(root.path()).expect("writable");

        let written: Vec<bool> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8u8)
                .map(|number| {
                    let state = &state;
                    scope.spawn(move || (0..20).all(|_| state.write("model.bin", &[number; 1000]).is_ok()))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
        });

        assert!(written.into_iter().all(|written| written));
        let content = state.read("model.bin", 2000).expect("written");
        assert!(content.len() == 1000 && content.iter().all(|byte| *byte == content[0]), "torn");
    }

    #[test]
    fn a_secret_file_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a temporary directory");
        let state = StateDir::open(root.path()).expect("writable");

        state.write("admin.token", b"secret").expect("writable");

        let mode = fs::metadata(state.path("admin.token")).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
