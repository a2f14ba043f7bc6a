//! What a node does on its own, one file per task.
//!
//! Each task holds its dependencies, a `reconcile_once` that may run twice without a difference, and a loop that calls it
//! on a doorbell, on a period and at the start. Errors are returned to the supervisor, which waits and starts again.

pub mod attack_mirror;
pub mod attack_monitor;
pub mod blocklist;
pub mod breaker;
pub mod candidate;
pub mod doorbell;
pub mod features;
pub mod feedback_watcher;
pub mod heartbeat;
pub mod housekeeping;
pub mod labeller;
pub mod network_lists;
pub mod overrides;
pub mod pseudonyms;
pub mod publisher;
pub mod replication;
pub mod scheduled_trainer;
pub mod subscriber;
pub mod trainer;
pub mod training_options;
pub mod training_progress;
pub mod upstream_bridge;
pub mod upstream_export;
pub mod upstream_import;

use std::time::Duration;

/// A random part of `whole`, from nothing to all of it.
pub fn random_part(whole: Duration) -> Duration {
    whole.mul_f64(random_unit())
}

/// `base` lengthened or shortened by up to a fifth, so that a fleet does not act in step.
pub fn jittered(base: Duration) -> Duration {
    base.mul_f64(0.8 + 0.4 * random_unit())
}

/// A random number from 0 to 1.
fn random_unit() -> f64 {
    let mut bytes = [0; 2];
    // Without a random source periods are merely not spread.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}
