//! Carries this node's attempts to the fleet and the fleet's attempts into this node's counters.
//!
//! Two directions, one file, because they share the attempts stream: [`Appender`] drains the attempt log in order;
//! [`Replication`] reads the stream from where it stopped. Attempts that were trimmed before they were read are lost to
//! the counters, never to scoring.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::detection::event::{AttemptEvent, BootId};
use crate::serving::attempt_log::AttemptLog;
use crate::serving::scorer::Scorer;
use crate::store::entry::BATCH_MAX;
use crate::store::{Position, Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// How often the stream is read: a fifth of a second behind is nothing to windows of minutes and hours.
const TAIL_PERIOD: Duration = Duration::from_millis(200);
/// How long appended events may wait for company; bounds the load on the store to ten appends a second and node.
const APPEND_PERIOD: Duration = Duration::from_millis(100);
/// Wait after a failed append; the store's own reconnecting is behind it.
const RETRY: Duration = Duration::from_millis(500);

/// Reads the fleet's attempts.
pub struct Replication {
    store: Arc<dyn Store>,
    scorer: Arc<Scorer>,
    own: BootId,
    metrics: Arc<Metrics>,
    position: Mutex<Position>,
    /// Entries up to here are in the counters already; only the index and the watch for attacks take them.
    counted_upto: Position,
}

impl Replication {
    /// Starts at the beginning of the stream. What lies before `counted_upto` (the checkpoint) refills the index of
    /// requests and the watch for attacks; what comes after it is counted.
    pub fn new(
        store: Arc<dyn Store>,
        scorer: Arc<Scorer>,
        own: BootId,
        metrics: Arc<Metrics>,
        counted_upto: Position,
    ) -> Self {
        Self { store, scorer, own, metrics, position: Mutex::new(Position::START), counted_upto }
    }

    /// Tails the stream until `stop`.
    ///
    /// # Errors
    /// None: an absent store is waited for.
    pub async fn run(self: Arc<Self>, status: TaskStatus, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            let pause = match self.pull().await {
                Ok(_) => {
                    status.finished("read", "");
                    TAIL_PERIOD
                }
                Err(error) => {
                    status.waiting(error.to_string());
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reads to the present end of the stream. Returns how many events of other nodes were new.
    ///
    /// # Errors
    /// When the store cannot be read; what was read before that is applied.
    pub async fn pull(&self) -> Result<usize, StoreError> {
        let mut position = self.position.lock().await;
        let mut applied = 0;
        self.scorer.reading(clock::now());
        loop {
            let entries = self.store.read_attempts(*position, BATCH_MAX).await?;
            let full = entries.len() == BATCH_MAX;
            let any = !entries.is_empty();
            for (at, bytes) in entries {
                applied += usize::from(self.apply(&bytes, at <= self.counted_upto));
                *position = at;
            }
            if any {
                let scorer = Arc::clone(&self.scorer);
                // A panic in there has been logged; what it was about is lost to labels only.
                let digest = move || {
                    scorer.digest();
                    scorer.attacks().digest();
                };
                let _ = tokio::task::spawn_blocking(digest).await;
            }
            if !full {
                self.scorer.read_to_the_end();
                return Ok(applied);
            }
        }
    }

    fn apply(&self, bytes: &[u8], counted: bool) -> bool {
        match AttemptEvent::decode(bytes) {
            Ok(event) if counted => {
                self.scorer.remember(&event);
                false
            }
            Ok(event) => {
                let applied = self.scorer.apply_remote(&event, self.own);
                if applied.attempt {
                    self.metrics.attempt_replicated();
                }
                applied.attempt || applied.outcome
            }
            Err(_) => {
                self.metrics.attempt_undecodable();
                false
            }
        }
    }

    /// Reads to the present end of the stream, but waits no longer than `limit`. Returns whether it got there.
    pub async fn catch_up(&self, limit: Duration) -> bool {
        matches!(tokio::time::timeout(limit, self.pull()).await, Ok(Ok(_)))
    }

    /// The counters and the memory for labels, together with the position that they were read up to. `None` when they
    /// cannot be had.
    pub async fn checkpoint(&self) -> Option<(Position, Vec<u8>)> {
        let position = self.position.lock().await;
        let scorer = Arc::clone(&self.scorer);
        // Writing them down takes long where they are large; it must not hold up a runtime thread.
        let written = tokio::task::spawn_blocking(move || scorer.checkpoint(clock::now())).await;
        Some(((*position).max(self.counted_upto), written.ok()?))
    }
}

/// Appends this node's events.
#[derive(Clone)]
pub struct Appender {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<AttemptLog>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: TaskStatus,
}

impl Appender {
    /// Appends until `stop`; what comes in during the end of the node is appended by [`drain`] after it.
    ///
    /// # Errors
    /// None: an absent store is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut away = false;
        loop {
            let pause = match self.drain().await {
                Ok(()) => {
                    if away {
                        info!("the store takes attempts again");
                    }
                    away = false;
                    APPEND_PERIOD
                }
                Err(error) => {
                    if !away {
                        warn!(queued = self.log.queued(), "attempts are queued: {error}");
                    }
                    away = true;
                    self.metrics.store_error("append_attempts");
                    self.status.waiting(error.to_string());
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            if !away {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.log.pushed() => {}
                }
            }
        }
    }

    async fn drain(&self) -> Result<(), StoreError> {
        self.status.running();
        drain(self.store.as_ref(), &self.log, &self.metrics).await?;
        self.status.finished("appended", "");
        Ok(())
    }
}

/// Appends what waits in the log, oldest first. Only one may do this at a time.
///
/// # Errors
/// When the store does not take a batch; it stays in the log.
pub async fn drain(store: &dyn Store, log: &AttemptLog, metrics: &Metrics) -> Result<(), StoreError> {
    while let Some((last, batch)) = log.oldest(BATCH_MAX) {
        store.append_attempts(&batch).await?;
        metrics.attempts_appended(batch.len() as u64);
        log.acknowledge(last);
    }
    Ok(())
}
