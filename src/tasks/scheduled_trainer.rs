//! Trains by the clock: one training for the fleet per schedule and slot.
//!
//! The scheduler crate only ticks, once a second in UTC, and a tick that finds the last one unserved is dropped. Which
//! slot is due is decided by [`Schedule`] from the last served slot and the present, in the configured time zone. A slot
//! missed while the fleet was down is caught up once, after a short random wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::random_part;
use super::trainer::{TrainError, TrainReport, TrainRequest, Trainer};
use crate::clock;
use crate::config::Config;
use crate::config::schedule::Schedule;
use crate::store::Store;
use crate::store::registry::TriggerKey;
use crate::supervisor::{TaskError, TaskStatus};

/// Every second: the finest slot that a six-field schedule can name.
const TICK: &str = "* * * * * *";
/// A slot older than this was missed and is caught up.
const MISSED_AFTER_MS: i64 = 10_000;
/// Longest random wait before a catch-up, so that a fleet that starts together does not train in step.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// Wait after a failed training before the slot is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// See the module documentation.
#[derive(Clone)]
pub struct ScheduledTrainer {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) trainer: Arc<Trainer>,
    pub(crate) status: TaskStatus,
}

impl ScheduledTrainer {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the ticker cannot be started or ends.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let (tick, mut ticks) = mpsc::channel::<()>(1);
        let mut scheduler = JobScheduler::new().await?;
        let job = Job::new(TICK, move |_, _| {
            // Full: the last tick is still being served, and this one adds nothing.
            let _ = tick.try_send(());
        })?;
        scheduler.add(job).await?;
        scheduler.start().await?;
        let mut served = Served { started_ms: clock::now().millis(), synced: false, slots: BTreeMap::new() };
        let ended = loop {
            let tick = tokio::select! {
                () = stop.cancelled() => break Ok(()),
                tick = ticks.recv() => tick,
            };
            if tick.is_none() {
                break Err("the ticker ended".into());
            }
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                () = self.serve_due(&mut served) => {}
            }
        };
        // The ticker neither waits for jobs nor cancels them; ours only send a message.
        let _ = scheduler.shutdown().await;
        ended
    }

    async fn serve_due(&self, served: &mut Served) {
        if !served.synced
            && let Ok(registry) = self.store.registry().await
        {
            served.slots = registry.slots;
            served.synced = true;
        }
        let schedules = self.config.load_full().training.schedules().unwrap_or_default();
        for schedule in schedules {
            let Some(slot) = due(&schedule, served, clock::now().millis()) else { continue };
            self.status.running();
            match self.reconcile_once(&schedule, served, slot).await {
                Ok(Some(TrainReport::Held { remaining })) => {
                    self.status.waiting("another node is training");
                    tokio::time::sleep(remaining.min(RETRY) + Duration::from_millis(50)).await;
                }
                Ok(Some(report)) => {
                    served.slots.insert(schedule.name().to_owned(), slot);
                    self.status.finished(report.outcome(), report.reason());
                }
                Ok(None) => {
                    served.slots.insert(schedule.name().to_owned(), slot);
                    self.status.finished("already_done", "another node served this slot");
                }
                Err(error) => {
                    warn!("the scheduled training failed and will be tried again: {error}");
                    self.status.waiting(error.to_string());
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Trains for `slot` unless the fleet has done so. Running it again for the same slot does nothing.
    ///
    /// # Errors
    /// When the store cannot be used or the training failed.
    async fn reconcile_once(
        &self,
        schedule: &Schedule,
        served: &mut Served,
        slot: i64,
    ) -> Result<Option<TrainReport>, TrainError> {
        let registry = self.store.registry().await?;
        if let Some(last) = registry.slots.get(schedule.name()) {
            served.slots.insert(schedule.name().to_owned(), *last);
            if *last >= slot {
                return Ok(None);
            }
        }
        if clock::now().millis() - slot > MISSED_AFTER_MS {
            tokio::time::sleep(random_part(CATCH_UP_WAIT)).await;
        }
        let config = self.config.load_full();
        let request = TrainRequest {
            trigger: TriggerKey::Schedule { name: schedule.name().to_owned(), slot_ms: slot },
            samples: usize::try_from(config.training.samples).unwrap_or(usize::MAX),
            epochs: config.training.epochs,
            tune: false,
            by_operator: false,
            by: "scheduled_trainer".into(),
        };
        let report = self.trainer.run_once(request).await?;
        Ok(match report {
            TrainReport::AlreadyDone => None,
            TrainReport::Busy => Some(TrainReport::Held { remaining: Duration::from_secs(1) }),
            report => Some(report),
        })
    }
}

/// What this node knows to be served.
struct Served {
    /// Without any record, only slots after the start are due: a new site has nothing to catch up.
    started_ms: i64,
    /// Whether the slots served before the start were read; until then nothing is caught up.
    synced: bool,
    slots: BTreeMap<String, i64>,
}

fn due(schedule: &Schedule, served: &Served, now_ms: i64) -> Option<i64> {
    schedule.due(served.slots.get(schedule.name()).copied(), served.started_ms, now_ms)
}
