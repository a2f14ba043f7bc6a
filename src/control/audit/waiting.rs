//! Entries of the audit trail on their way into the store: written in order, kept while the store is away, each written once.
//!
//! Kept in memory only: a crash loses them, and then the log is all there is.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tracing::{info, warn};

use crate::store::{AuditEntry, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Most entries that wait. Commands of people are few; a scripted flood of them must not fill the memory.
pub(super) const WAITING_MAX: usize = 256;

/// See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    entries: Mutex<VecDeque<AuditEntry>>,
    /// Held by the one who writes, so that entries keep their order.
    writing: tokio::sync::Mutex<()>,
    /// Rings when something was left waiting.
    pub(super) left: Notify,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, VecDeque<AuditEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes an entry in; `false` where there is no room. What came first stays: nobody can push out what he did before.
    pub(super) fn push(&self, entry: AuditEntry) -> bool {
        let mut entries = self.lock();
        let room = entries.len() < WAITING_MAX;
        if room {
            entries.push_back(entry);
        }
        room
    }

    /// Writes what waits, the oldest first. May be cancelled at any time: what was written unseen is found by the store.
    ///
    /// # Errors
    /// When the store is away; the rest goes on waiting. An entry that the store will never take is given up instead.
    pub(super) async fn write(&self, store: &dyn Store, metrics: &Metrics) -> Result<(), StoreError> {
        let _writing = self.writing.lock().await;
        let mut written = 0;
        loop {
            let Some(entry) = self.lock().front().cloned() else { break };
            match store.append_audit(&entry).await {
                Ok(()) => written += 1,
                Err(error @ (StoreError::Unavailable { .. } | StoreError::Unanswered { .. })) => return Err(error),
                Err(error) => missing(&entry.command, &error.to_string(), metrics),
            }
            self.lock().pop_front();
        }
        if written > 1 {
            info!(written, "wrote {written} entries of the audit trail that had waited for the store");
        }
        Ok(())
    }
}

/// Says and counts that an entry will never be written.
pub(super) fn missing(command: &str, problem: &str, metrics: &Metrics) {
    metrics.store_error("append_audit");
    warn!(command, "the {command} command is missing in the audit trail: {problem}");
}
