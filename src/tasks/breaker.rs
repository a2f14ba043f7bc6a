//! The circuit breaker: returns the fleet to learning mode when the model would suddenly block many users at home.
//!
//! Each node counts what it scores itself ([`BlockCounter`](crate::serving::breaker::BlockCounter)); this task looks at the
//! counts every few seconds and never holds up a score. Whether they are alarming is decided in `learning::breaker`. Only a
//! person, or a training fed by enough feedback, ends learning mode again; then the window begins anew.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock;
use crate::config::Config;
use crate::detection::attempt::Timestamp;
use crate::learning::breaker::BlockCounts;
use crate::serving::mode::LearningMode;
use crate::serving::scorer::Scorer;
use crate::state::identity::Identity;
use crate::store::mode::{ModeCause, ModeChange, ModeOrigin, ModeReply, ModeStamp};
use crate::store::{Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// How often the counts are looked at: seconds against a window of a quarter of an hour.
const PERIOD: Duration = Duration::from_secs(2);

/// See the module documentation.
#[derive(Clone)]
pub struct Breaker {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) mode: Arc<LearningMode>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry_changed: Arc<Notify>,
    pub(crate) status: TaskStatus,
    /// The setting of learning mode at the last look.
    pub(crate) seen: Option<ModeStamp>,
    /// It has tripped, and the fleet does not know yet.
    pub(crate) untold: Option<Trip>,
}

/// A trip, until the fleet knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trip {
    counts: BlockCounts,
    at: Timestamp,
    /// The setting of learning mode that it replaces.
    replaces: ModeStamp,
}

/// What one look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// There is nothing to stop: learning mode, dry run, or switched off.
    Idle,
    Quiet(BlockCounts),
    /// It has tripped.
    Tripped(BlockCounts),
    /// It has tripped, but the mode was set otherwise meanwhile.
    Overtaken,
}

impl Breaker {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// Never for a store that is away: this node holds, and the fleet is told later.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PERIOD) => {}
            }
            match self.look_once(clock::now()).await {
                Ok(Looked::Idle) => self.status.finished("idle", ""),
                Ok(Looked::Quiet(counts)) => self.status.finished("watching", counts.sentence()),
                Ok(Looked::Tripped(counts)) => self.status.finished("tripped", counts.sentence()),
                Ok(Looked::Overtaken) => self.status.finished("overtaken", "the mode was set otherwise meanwhile"),
                Err(error) => self.status.waiting(error.to_string()),
            }
        }
    }

    /// Looks at the counts and trips if they are alarming. In learning mode it does nothing.
    ///
    /// # Errors
    /// When it has tripped and the store cannot be told; this node is in learning mode then, and the next look tries again.
    pub(crate) async fn look_once(&mut self, now: Timestamp) -> Result<Looked, StoreError> {
        if self.untold.is_some() && self.config.load().ml.breaker {
            return self.tell().await;
        }
        self.untold = None;
        let stamp = self.mode.stamp();
        if self.seen.as_ref().is_some_and(|seen| *seen != stamp) && !self.mode.switched_on() {
            self.scorer.restart_block_counts(now);
        }
        self.seen = Some(stamp);
        let config = self.config.load();
        if !config.ml.breaker || !config.ml.enabled || config.ml.dry_run || self.mode.switched_on() {
            return Ok(Looked::Idle);
        }
        drop(config);
        let counts = self.scorer.block_counts(now);
        if !counts.alarming() {
            return Ok(Looked::Quiet(counts));
        }
        // This node stops at once, whatever becomes of the store.
        self.mode.hold();
        self.untold = Some(Trip { counts, at: now, replaces: self.mode.stamp() });
        self.metrics.breaker_tripped();
        warn!(
            attempts = counts.attempts,
            blocks = counts.blocks,
            "the circuit breaker has tripped, back to learning mode: {}; find out why, then switch learning mode off",
            counts.sentence()
        );
        self.tell().await
    }

    /// Switches learning mode on for the fleet, unless somebody has set it since the trip.
    async fn tell(&mut self) -> Result<Looked, StoreError> {
        while let Some(Trip { counts, at, replaces }) = self.untold.clone() {
            if let ModeReply::Set(mode) = self.store.set_learning_mode(&self.change(counts, replaces)).await? {
                self.untold = None;
                self.mode.set(mode);
                self.metrics.status().announcement_sent();
                return Ok(Looked::Tripped(counts));
            }
            // This node may not have read yet what stands there, or the store lost it. Only what was set after the trip is an
            // answer to it.
            let found = self.store.learning_mode().await?;
            let answered = found.as_ref().is_some_and(|mode| {
                mode.on || mode.set.as_ref().is_some_and(|set| Timestamp::from_millis(set.since_ms) >= at)
            });
            self.untold = (!answered).then(|| Trip { counts, at, replaces: ModeStamp::of(found.as_ref()) });
        }
        // Another node was faster, or an operator: the subscriber takes it over.
        self.registry_changed.notify_one();
        Ok(Looked::Overtaken)
    }

    fn change(&self, counts: BlockCounts, replaces: ModeStamp) -> ModeChange {
        let reason = counts.sentence();
        let entry = json!({
            "outcome": "learning_mode", "trigger": "breaker", "by": self.identity.name, "node": self.identity.name,
            "reason": reason,
        });
        ModeChange {
            on: true,
            origin: ModeOrigin::new(ModeCause::Breaker, &self.identity.name, &reason),
            expected: Some(replaces),
            history: Some(entry.to_string().into_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
