//! The request path: memory only.
//!
//! Nothing in this folder waits for a store, a file or another node; only [`geo`] reads files, before it serves. A score reads the counters and the model that are
//! in memory, and leaves an event in the [`attempt_log`] for the replication task to carry away.

pub mod attacks;
pub mod attempt_log;
pub mod blocklist;
pub mod breaker;
pub mod explain;
pub mod geo;
pub mod heard;
pub mod hindsight;
pub mod mode;
pub mod overrides;
pub mod passing;
pub mod prior;
pub mod schema;
pub mod scorer;
pub mod site;
pub mod slot;
pub mod suspects;
