//! Scores attempts, takes their outcomes, and keeps the counters and snapshots of this node.
//!
//! One snapshot per attempt: it is computed here, before the outcome is known, and the same values are scored, recorded,
//! trained on and explained. Nothing here waits; what the fleet must know goes into the [`AttemptLog`].

mod answer;
mod blocks;
mod fleet;
mod intake;
mod memory;
mod outcome;
mod page;
mod score;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

pub use self::answer::{OutcomeAnswer, Remembered, ScoreAnswer, ScoreError};
pub use self::memory::Restored;
use super::attacks::Attacks;
use super::attempt_log::AttemptLog;
use super::breaker::BlockCounter;
use super::geo::GeoDatabases;
use super::heard::Heard;
use super::hindsight::{Inbox, Memory};
use super::mode::{self, LearningMode};
use super::overrides::OverrideSlot;
use super::passing::PassingSlot;
use super::prior;
use super::schema::SchemaSlot;
use super::site::Site;
use super::slot::ModelSlot;
use super::suspects::Suspects;
use crate::config::Config;
use crate::detection::activity::{ActivityLimits, Evictions};
use crate::detection::event::Snapshot;
use crate::detection::features::FeatureSchema;
use crate::detection::pending::Pending;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::tracker::{Tracker, TrackerLimits};
use crate::learning::artifact::ModelArtifact;
use crate::telemetry::metrics::Metrics;

/// What the request path shares with the rest of the node.
pub struct Scorer {
    config: Arc<ArcSwap<Config>>,
    site: ArcSwap<Site>,
    suspects: Suspects,
    geo: ArcSwap<GeoDatabases>,
    schema: Arc<SchemaSlot>,
    slot: Arc<ModelSlot>,
    /// Asked only while the slot is empty.
    prior: Option<Arc<ModelArtifact>>,
    mode: Arc<LearningMode>,
    pseudonyms: ArcSwap<Pseudonymizer>,
    state: Mutex<State>,
    memory: Mutex<Memory>,
    log: Arc<AttemptLog>,
    /// Of distributed attacks; has locks of its own.
    attacks: Arc<Attacks>,
    /// For the mirror of the original's keys; empty while that is off.
    passing: PassingSlot,
    overrides: Arc<OverrideSlot>,
    metrics: Arc<Metrics>,
}

struct State {
    tracker: Tracker,
    /// What the memory has not taken in yet.
    inbox: Inbox,
    heard: Heard,
    pending: Pending,
    /// For the circuit breaker.
    blocks: BlockCounter,
    /// Evictions per table as they were last reported.
    evicted: Evictions,
    /// What was scored last, for the metrics.
    last: Option<Arc<Snapshot>>,
}

/// Parts that a [`Scorer`] is built from.
pub struct ScorerParts {
    /// Read at each score, so that a reload applies at once; list and time zone only by [`Scorer::reload`].
    pub config: Arc<ArcSwap<Config>>,
    /// Of all snapshots; a model scores if its schema is a beginning of it.
    pub schema: Arc<SchemaSlot>,
    /// Asked for country and provider where the caller does not tell them.
    pub geo: GeoDatabases,
    /// Where the serving model is found.
    pub slot: Arc<ModelSlot>,
    /// The fleet's switch.
    pub mode: Arc<LearningMode>,
    /// The key to begin with; see [`Scorer::set_pseudonymizer`].
    pub pseudonymizer: Pseudonymizer,
    /// Takes what the fleet must know.
    pub log: Arc<AttemptLog>,
    /// Counts outcomes and evictions.
    pub metrics: Arc<Metrics>,
}

impl Scorer {
    /// A scorer with empty counters.
    pub fn new(parts: ScorerParts) -> Self {
        let config = parts.config.load();
        let site = Site::new(&config, &parts.pseudonymizer);
        let suspects = Suspects::default();
        suspects.blocklist.use_service(config.lists.blocklist_url.as_deref());
        let limits = limits(&config);
        let prior = prior::of(&config).map(Arc::new);
        let memory = Mutex::new(Memory::new(config.limits.hindsight_bytes_max));
        let attacks = Arc::new(Attacks::new(&config));
        let mut tracker = Tracker::new(limits);
        tracker.set_shared(&config.lists.trusted_networks);
        drop(config);
        Self {
            config: parts.config,
            site: ArcSwap::from_pointee(site),
            suspects,
            geo: ArcSwap::from_pointee(parts.geo),
            schema: parts.schema,
            slot: parts.slot,
            prior,
            mode: parts.mode,
            pseudonyms: ArcSwap::from_pointee(parts.pseudonymizer),
            state: Mutex::new(State {
                tracker,
                inbox: Inbox::default(),
                heard: Heard::default(),
                pending: Pending::new(),
                blocks: BlockCounter::default(),
                evicted: Evictions::default(),
                last: None,
            }),
            memory,
            attacks,
            passing: PassingSlot::default(),
            overrides: Arc::default(),
            log: parts.log,
            metrics: parts.metrics,
        }
    }

    /// The schema that snapshots follow now.
    pub fn schema(&self) -> Arc<FeatureSchema> {
        self.schema.load()
    }

    /// Takes over lists, time zone and limits of a new configuration.
    pub fn reload(&self) {
        let config = self.config.load();
        let mut state = self.lock();
        state.tracker.set_limits(limits(&config));
        state.tracker.set_shared(&config.lists.trusted_networks);
        drop(state);
        self.set_memory_limit(config.limits.hindsight_bytes_max);
        self.attacks.reload(&config);
        self.site.store(Arc::new(Site::new(&config, &self.pseudonyms.load())));
        self.suspects.blocklist.use_service(config.lists.blocklist_url.as_deref());
    }

    /// Exchanges the files that country and provider are looked up in.
    pub fn set_geo(&self, geo: GeoDatabases) {
        self.geo.store(Arc::new(geo));
    }

    /// The watch for distributed attacks, fed by what this scorer counts.
    pub fn attacks(&self) -> &Arc<Attacks> {
        &self.attacks
    }

    /// What passes this node, for the mirror of the original's keys.
    pub fn passing(&self) -> &PassingSlot {
        &self.passing
    }

    /// What operators have ordered for single pairs.
    pub fn overrides(&self) -> &Arc<OverrideSlot> {
        &self.overrides
    }

    /// What tasks tell of list files and of the blocklist service.
    pub fn suspects(&self) -> &Suspects {
        &self.suspects
    }

    /// The pseudonymizer in force.
    pub fn pseudonymizer(&self) -> Arc<Pseudonymizer> {
        self.pseudonyms.load_full()
    }

    /// Exchanges the pseudonym key. Names counted under the old key are strangers to the new one.
    pub fn set_pseudonymizer(&self, pseudonymizer: Pseudonymizer) {
        self.pseudonyms.store(Arc::new(pseudonymizer));
        self.reload();
    }

    /// The model that came with the program, while it is what scores.
    pub fn prior(&self) -> Option<Arc<ModelArtifact>> {
        if self.trained() { None } else { self.prior_by(&self.config.load()) }
    }

    fn prior_by(&self, config: &Config) -> Option<Arc<ModelArtifact>> {
        self.prior.clone().filter(|_| config.ml.enabled && config.ml.prior)
    }

    /// Whether a model of this site serves.
    pub fn trained(&self) -> bool {
        self.slot.id().is_some()
    }

    /// Learning mode as it is answered to callers.
    pub fn learning_mode(&self) -> bool {
        mode::effective(self.mode.switched_on(), self.trained(), self.config.load().ml.dry_run)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left counters that are at worst one attempt off; scoring must go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much the tracker may hold, from the configuration.
fn limits(config: &Config) -> TrackerLimits {
    // The history is a second set of the same size.
    let bytes_max = usize::try_from(config.limits.activity_bytes_max / 2).unwrap_or(usize::MAX);
    TrackerLimits { activity: ActivityLimits::of_total(bytes_max), snapshots_max: config.attempts.snapshots_max }
}

#[cfg(test)]
mod mail_site_tests;
#[cfg(test)]
mod tests;
