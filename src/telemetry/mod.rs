//! What a node tells about itself: log lines and metrics. Neither knows what a node does.

pub mod attack_metrics;
pub mod logging;
pub mod metrics;

pub use logging::{LogHandle, LoggingError};
pub use metrics::{Metrics, StatusCounters};
