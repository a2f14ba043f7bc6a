//! The numbers that `/v1/status` and `/metrics` share. They are declared to the registry elsewhere.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;

/// The numbers that `/v1/status` and the metrics share: one set of atomics, so the two cannot disagree.
#[derive(Debug, Clone, Default)]
pub struct StatusCounters {
    pub(super) registry_writes: Counter,
    pub(super) announcements_sent: Counter,
    pub(super) swaps: Counter,
    pub(super) dropped: Counter,
    pub(super) queued: Gauge,
}

impl StatusCounters {
    /// This node wrote to the registry (publish, refusal, reset, rollback).
    pub fn registry_written(&self) {
        self.registry_writes.inc();
    }

    /// This node sent an announcement.
    pub fn announcement_sent(&self) {
        self.announcements_sent.inc();
    }

    /// `count` attempts were dropped because the queue was full.
    pub fn attempts_dropped(&self, count: u64) {
        self.dropped.inc_by(count);
    }

    /// So many attempts wait for the store now.
    pub fn set_queued(&self, count: usize) {
        self.queued.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The numbers now.
    pub fn snapshot(&self) -> StatusNumbers {
        StatusNumbers {
            registry_writes: self.registry_writes.get(),
            announcements_sent: self.announcements_sent.get(),
            swaps: self.swaps.get(),
            dropped: self.dropped.get(),
            queued: u64::try_from(self.queued.get()).unwrap_or(0),
        }
    }
}

/// One reading of [`StatusCounters`], since the start of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StatusNumbers {
    /// Publishes, refusals, resets and rollbacks written by this node.
    pub registry_writes: u64,
    /// Announcements sent by this node.
    pub announcements_sent: u64,
    /// Models put into service on this node.
    pub swaps: u64,
    /// Attempts lost because the queue was full.
    pub dropped: u64,
    /// Attempts that wait for the store now.
    pub queued: u64,
}
