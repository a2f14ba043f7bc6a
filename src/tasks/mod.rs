//! What a node does on its own, one file per task.
//!
//! Each task holds its dependencies, a `reconcile_once` that may run twice without a difference, and a loop that calls it
//! on a doorbell, on a period and at the start. Errors are returned to the supervisor, which waits and starts again.

pub mod doorbell;
pub mod feedback_watcher;
pub mod heartbeat;
pub mod housekeeping;
pub mod pseudonyms;
pub mod publisher;
pub mod replication;
pub mod scheduled_trainer;
pub mod subscriber;
pub mod trainer;

use std::time::Duration;

/// `base` lengthened or shortened by up to a fifth, so that a fleet does not act in step.
pub fn jittered(base: Duration) -> Duration {
    let mut byte = [0; 2];
    // Without a random source the period is merely not spread.
    let _ = getrandom::fill(&mut byte);
    let unit = f64::from(u16::from_le_bytes(byte)) / f64::from(u16::MAX);
    base.mul_f64(0.8 + 0.4 * unit)
}
