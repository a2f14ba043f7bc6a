//! The highest fence and generation that this node ever saw, kept over restarts.
//!
//! They travel with every lease request, so that after a store lost its data the numbers go on from where they were.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::state_dir::StateDir;
use crate::store::registry::{HighWater, Registry};

const FILE: &str = "high_water.json";

#[derive(Serialize, Deserialize)]
struct Stored {
    fence: u64,
    generation: u64,
}

/// See the module documentation.
#[derive(Debug)]
pub struct HighWaterFile {
    state_dir: Arc<StateDir>,
    marks: Mutex<HighWater>,
}

impl HighWaterFile {
    /// Reads the marks; an absent or unreadable file counts as none.
    pub fn open(state_dir: Arc<StateDir>) -> Self {
        let stored = state_dir.read(FILE, 4096).and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok());
        let marks = stored
            .map_or_else(HighWater::default, |stored| HighWater { fence: stored.fence, generation: stored.generation });
        Self { state_dir, marks: Mutex::new(marks) }
    }

    /// The marks now.
    pub fn get(&self) -> HighWater {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a registry that was read.
    pub fn observe(&self, registry: &Registry) {
        self.raise(HighWater { fence: registry.fence, generation: registry.generation });
    }

    /// Takes note of a fence that was handed out.
    pub fn observe_fence(&self, fence: u64) {
        self.raise(HighWater { fence, generation: 0 });
    }

    /// Takes note of a generation that was published.
    pub fn observe_generation(&self, generation: u64) {
        self.raise(HighWater { fence: 0, generation });
    }

    fn raise(&self, seen: HighWater) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let raised =
            HighWater { fence: marks.fence.max(seen.fence), generation: marks.generation.max(seen.generation) };
        if raised == *marks {
            return;
        }
        *marks = raised;
        let stored = Stored { fence: raised.fence, generation: raised.generation };
        let content = serde_json::to_vec(&stored).expect("two numbers are JSON");
        self.state_dir.save(FILE, &content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_survive_a_restart_and_never_fall() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let state_dir = Arc::new(StateDir::open(root.path()).expect("writable"));
        let marks = HighWaterFile::open(Arc::clone(&state_dir));
        marks.observe_fence(9);
        marks.observe_generation(4);
        marks.observe_fence(3);

        let again = HighWaterFile::open(state_dir);

        assert_eq!(again.get(), HighWater { fence: 9, generation: 4 });
    }
}
