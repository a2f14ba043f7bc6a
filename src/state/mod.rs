//! What a node keeps in its state directory: who it is, its secrets, its last good model, its counters.
//!
//! Losing this folder loses no attempt, no feedback and no model of the fleet; the node starts as a new one. A folder that
//! cannot be written is reported and does not stop scoring.

pub mod high_water;
pub mod identity;
pub mod secrets;
pub mod state_dir;
