//! One typed picture of the node; HTTP, CLI and the status command all show this.
//!
//! It answers while the store is away: what cannot be read in time is shown as it was last known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::{Value, json};

use super::modes;
use crate::clock;
use crate::config::Config;
use crate::detection::attempt::Timestamp;
use crate::detection::overrides::OverrideKind;
use crate::serving::attempt_log::AttemptLog;
use crate::serving::mode::LearningMode;
use crate::serving::scorer::Scorer;
use crate::serving::slot::ModelSlot;
use crate::state::identity::Identity;
use crate::store::{NodeReport, Position, Store};
use crate::supervisor::Statuses;
use crate::tasks::candidate::{self, CandidateNote};
use crate::tasks::trainer::Trainer;
use crate::telemetry::metrics::Metrics;

/// How long a status waits for the store.
const STORE_LIMIT: Duration = Duration::from_millis(500);
const COUNT_MAX: u64 = 10_000;

/// See the module documentation.
pub struct StatusView {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) slot: Arc<ModelSlot>,
    pub(crate) mode: Arc<LearningMode>,
    pub(crate) log: Arc<AttemptLog>,
    pub(crate) trainer: Arc<Trainer>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Statuses,
    pub(crate) fleet: Arc<ArcSwap<Vec<NodeReport>>>,
    pub(crate) restart_required: Arc<ArcSwap<Vec<String>>>,
    pub(crate) notices: Arc<ArcSwap<Vec<String>>>,
    pub(crate) started: Instant,
    pub(crate) last_feedback: ArcSwapOption<FeedbackLevel>,
}

/// How far feedback is from the next training, and what waits for a person.
#[derive(Debug, Clone)]
pub struct FeedbackLevel {
    pub(crate) pending: u64,
    pub(crate) watermark: Position,
    pub(crate) candidate: Option<CandidateNote>,
}

impl StatusView {
    /// The status as JSON (`wire.md`: `GET /v1/status`).
    pub async fn read(&self) -> Value {
        let config = self.config.load_full();
        if let Ok(Some(level)) = tokio::time::timeout(STORE_LIMIT, self.feedback()).await {
            self.last_feedback.store(Some(Arc::new(level)));
        }
        let level = self.last_feedback.load();
        let numbers = self.metrics.status().snapshot();
        let fleet: Vec<_> = self.fleet.load().iter().map(fleet_entry).collect();
        json!({
            "node": {
                "name": self.identity.name,
                "id": self.identity.node_id,
                "boot_id": self.identity.boot_hex(),
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_s": self.started.elapsed().as_secs(),
            },
            "model": self.slot.id(),
            "trained": self.scorer.trained(),
            "prior": self.scorer.prior().is_some(),
            "enabled": config.ml.enabled,
            "dry_run": config.ml.dry_run,
            "learning_mode": self.scorer.learning_mode(),
            "mode": self.mode(),
            "candidate": level.as_ref().and_then(|level| level.candidate.as_ref()).map(modes::candidate_entry),
            "feedback": {
                "pending": level.as_ref().map_or(0, |level| level.pending),
                "needed": config.training.feedback_threshold,
                "watermark": level.as_ref().map_or(Position::START, |level| level.watermark).to_string(),
            },
            "overrides": self.overrides(),
            "store": {
                "backend": self.store.backend(),
                "connected": self.store.connected(),
                "queued": self.log.queued(),
                "dropped": numbers.dropped,
            },
            "fleet": fleet,
            "tasks": self.tasks.snapshot(),
            "training": {
                "last": self.trainer.last.load().as_deref(),
                "next": next_training(&config),
                "running": self.trainer.is_busy(),
                "progress": self.trainer.is_busy().then(|| self.trainer.progress.get()).flatten(),
            },
            "registry_writes": numbers.registry_writes,
            "announcements_sent": numbers.announcements_sent,
            "swaps": numbers.swaps,
            "restart_required": *self.restart_required.load_full(),
            "notices": *self.notices.load_full(),
        })
    }

    /// The fleet's switch, and who or what set it; `null` while nobody ever did.
    fn mode(&self) -> Value {
        let Some(mode) = self.mode.read() else { return Value::Null };
        let mut shown = modes::details(&mode);
        shown["switched_on"] = self.mode.switched_on().into();
        shown
    }

    /// How many orders for single pairs count now, by what they say.
    fn overrides(&self) -> Value {
        let (now, orders) = (clock::now(), self.scorer.overrides().orders());
        OverrideKind::ALL
            .iter()
            .map(|kind| (kind.as_str().to_owned(), Value::from(orders.overrides.active(*kind, now))))
            .collect()
    }

    async fn feedback(&self) -> Option<FeedbackLevel> {
        let registry = self.store.registry().await.ok()?;
        let base = registry.watermark.max(registry.considered);
        let pending = self.store.count_feedback(base, COUNT_MAX).await.ok()?;
        // One that cannot be read is nothing that anybody could approve.
        let candidate = candidate::waiting(self.store.as_ref()).await.ok().flatten();
        let candidate = candidate.map(|(_, note)| note).filter(|note| note.is_current(&registry));
        Some(FeedbackLevel { pending, watermark: registry.watermark, candidate })
    }
}

fn fleet_entry(node: &NodeReport) -> Value {
    json!({
        "name": node.name,
        "boot_id": node.boot_id,
        "model": node.model,
        "seen_at": Timestamp::from_millis(node.seen_at_ms).to_string(),
    })
}

/// When the next schedule fires.
fn next_training(config: &Config) -> Option<String> {
    let now = clock::now();
    let schedules = config.training.schedules().unwrap_or_default();
    schedules.iter().filter_map(|schedule| schedule.next_after(now)).min().map(|next| next.to_string())
}
