//! Scores attempts, takes their outcomes, and keeps the counters and snapshots of this node.
//!
//! One snapshot per attempt: it is computed here, before the outcome is known, and the same values are scored, recorded,
//! trained on and explained. Nothing here waits; what the fleet must know goes into the [`AttemptLog`].

mod blocks;
mod memory;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde::Serialize;

pub use self::memory::Restored;
use super::attempt_log::AttemptLog;
use super::breaker::BlockCounter;
use super::explain;
use super::geo::GeoDatabases;
use super::heard::Heard;
use super::hindsight::{Inbox, Memory, News};
use super::mode::{self, LearningMode};
use super::schema::SchemaSlot;
use super::site::Site;
use super::slot::{ModelSlot, ServedModel};
use crate::config::Config;
use crate::detection::activity::{ActivityLimits, Evictions};
use crate::detection::additional::{Given, GivenValue, Kind};
use crate::detection::attempt::{Attempt, Outcome, RequestKey, Timestamp};
use crate::detection::event::{AttemptEvent, BootId, Decision, Snapshot};
use crate::detection::features::{FeatureContext, FeatureSchema};
use crate::detection::pending::Pending;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::{AttemptRecord, CheckedRecord, RecordError};
use crate::detection::tracker::{Applied, Begin, Complete, Indexed, Tracker, TrackerLimits};
use crate::detection::verdict::{self, Verdict, VerdictInput, WeightedRule};
use crate::learning::explanation::Explanation;
use crate::learning::sample::HISTORY_AFTER_MS;
use crate::random;
use crate::store::registry::ModelId;
use crate::telemetry::metrics::Metrics;

/// An attempt whose outcome has not come within this time is told to the fleet without it, so that peers count it.
/// Half a second: longer than most password checks, and feedback on another node finds the attempt within a second.
const ANNOUNCE_AFTER_MS: u64 = 500;

/// So many news for the memory make a bulk caller take them in at once.
const NEWS_OF_BULK: usize = 5_000;

/// What the request path shares with the rest of the node.
pub struct Scorer {
    config: Arc<ArcSwap<Config>>,
    site: ArcSwap<Site>,
    geo: ArcSwap<GeoDatabases>,
    schema: Arc<SchemaSlot>,
    slot: Arc<ModelSlot>,
    mode: Arc<LearningMode>,
    pseudonyms: ArcSwap<Pseudonymizer>,
    state: Mutex<State>,
    memory: Mutex<Memory>,
    log: Arc<AttemptLog>,
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
}

/// Why an attempt was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// A field is missing or out of bounds.
    #[error(transparent)]
    Invalid(#[from] RecordError),
    /// The request id was used for another attempt.
    #[error("this request_id was used for an attempt with other content; send a new one")]
    Conflict,
}

/// Answer to a score request (`wire.md`: `POST /v1/score`).
#[derive(Debug, Clone, Serialize)]
pub struct ScoreAnswer {
    /// The caller's, or a random one: outcome and feedback name the attempt by it.
    pub request_id: String,
    /// What the caller should do.
    pub verdict: Verdict,
    /// What the model alone would have said.
    pub would_be: Verdict,
    /// Of an attack, 0–1; `None` when no model serves.
    pub probability: Option<f64>,
    /// Probability above which the model says `block`; `None` when it may only watch.
    pub threshold: Option<f64>,
    /// The model has no say: none serves, the fleet learns, or this node runs dry.
    pub learning_mode: bool,
    /// Why this verdict, in a few words for people.
    pub reason: String,
    /// Seconds after which asking again makes sense; `None`: nothing limits it, the only case so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Which model gave the probability; `None` when none serves.
    pub model: Option<ModelId>,
    /// What made the probability; only if the caller asked for it, a model serves and has something to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// Answer to an outcome report.
#[derive(Debug, Clone, Serialize)]
pub struct OutcomeAnswer {
    /// As the caller wrote it.
    pub request_id: String,
    /// The outcome is known now, or was before; `false` for a look-up (`no_auth`), which has none.
    pub recorded: bool,
}

/// What is known of a request that somebody names later (feedback, explanation).
#[derive(Debug, Clone)]
pub struct Remembered {
    /// As it was first told.
    pub attempt: Attempt,
    /// `None` while nobody has said anything about it.
    pub outcome: Option<Outcome>,
    /// What was scored; `None` when the event that told of it had none.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What the caller was told; `None` for an attempt that was never scored.
    pub decision: Option<Decision>,
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
        let limits = limits(&config);
        let memory = Mutex::new(Memory::new(config.limits.hindsight_bytes_max));
        drop(config);
        Self {
            config: parts.config,
            site: ArcSwap::from_pointee(site),
            geo: ArcSwap::from_pointee(parts.geo),
            schema: parts.schema,
            slot: parts.slot,
            mode: parts.mode,
            pseudonyms: ArcSwap::from_pointee(parts.pseudonymizer),
            state: Mutex::new(State {
                tracker: Tracker::new(limits),
                inbox: Inbox::default(),
                heard: Heard::default(),
                pending: Pending::new(),
                blocks: BlockCounter::default(),
                evicted: Evictions::default(),
            }),
            memory,
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
        self.lock().tracker.set_limits(limits(&config));
        self.set_memory_limit(config.limits.hindsight_bytes_max);
        self.site.store(Arc::new(Site::new(&config, &self.pseudonyms.load())));
    }

    /// Exchanges the files that country and provider are looked up in.
    pub fn set_geo(&self, geo: GeoDatabases) {
        self.geo.store(Arc::new(geo));
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

    /// Scores one attempt that happens `now`; `monotonic_ms` starts its wait for an outcome.
    ///
    /// # Errors
    /// A field out of bounds, or a request id that belongs to another attempt. Nothing is counted then.
    pub fn score(&self, record: AttemptRecord, now: Timestamp, monotonic_ms: u64) -> Result<ScoreAnswer, ScoreError> {
        let site = self.site.load();
        let wants_explanation = record.explain == Some(true);
        let mut checked = self.check_live(record, now)?;
        let schema = self.schema.load();
        self.take_in(&schema, &mut checked);
        let attempt = checked.attempt;
        let trusted = site.trusts(&attempt);
        let context = self.context(&site, &attempt);
        let config = self.config.load();
        let model = self.slot.load();

        let mut state = self.lock();
        if !attempt.no_auth
            && let Some(known) = state.tracker.lookup(attempt.request)
            && !known.attempt.same_content(&attempt)
        {
            return Err(ScoreError::Conflict);
        }
        let snapshot = match state.tracker.lookup(attempt.request).and_then(|known| known.snapshot.clone()) {
            // Asked again: the features are those of the first time.
            Some(earlier) => earlier,
            None => {
                let activity = state.tracker.activity();
                Arc::new(schema.snapshot_with(activity, &attempt, &context, &checked.given))
            }
        };
        let known_good = state.tracker.activity().known_good(attempt.user, attempt.client_ip, attempt.ts);
        let at_home = !trusted && state.tracker.activity().at_home(attempt.user, attempt.client_ip, attempt.ts);
        let scored = model.as_deref().and_then(|model| Some((model, probability(&schema, &snapshot, model)?)));
        let answer = self.answer(&config, scored, &attempt, trusted, known_good);
        if !attempt.no_auth {
            let decision = Decision { probability: answer.probability.map(|p| p as f32), verdict: answer.verdict };
            let request = attempt.request;
            match state.tracker.begin(&attempt, Some(Arc::clone(&snapshot)), Some(decision)) {
                Begin::New => {
                    self.metrics.attempts_ingested(1);
                    state.pending.insert(request, monotonic_ms);
                    if at_home && answer.model.is_some() {
                        state.blocks.note(&attempt, answer.would_be == Verdict::Block);
                    }
                }
                Begin::Same(_) => {}
                Begin::Conflict => return Err(ScoreError::Conflict),
            }
        }
        drop(state);
        let explained = model.filter(|_| wants_explanation);
        let explanation = explained.and_then(|model| explain::explain(&config, &schema, &model, &snapshot).ok());
        Ok(ScoreAnswer { request_id: checked.request_id, explanation, ..answer })
    }

    /// Takes the outcome of an attempt: of one that was scored here, or a whole one that was not.
    ///
    /// # Errors
    /// A missing `success`, a field out of bounds, missing attempt fields for an unknown request, or content that
    /// differs from what was scored under this request id.
    pub fn outcome(&self, record: AttemptRecord, now: Timestamp) -> Result<OutcomeAnswer, ScoreError> {
        let Some(request_id) = record.request_id.clone() else {
            return Err(RecordError::new("request_id", "is missing: it names the attempt that was scored").into());
        };
        let blocked = record.blocked.unwrap_or(false);
        let outcome = match (blocked, record.success) {
            (true, _) => Outcome::Blocked,
            (false, Some(true)) => Outcome::Success,
            (false, Some(false)) => Outcome::Failure,
            (false, None) => return Err(RecordError::new("success", "is missing: true or false").into()),
        };
        let missing = if record.client_ip.is_none() { Some("client_ip") } else { None };
        let missing = missing.or(if record.username.is_none() { Some("username") } else { None });
        let told = if missing.is_none() { Some(self.check_live(record, now)?) } else { None };
        let request = RequestKey::of(&request_id);
        let site = self.site.load();

        let mut state = self.lock();
        let known = state.tracker.lookup(request).is_some();
        let told_attempt = if known {
            told.map(|told| told.attempt)
        } else {
            let Some(mut told) = told else {
                let field = missing.unwrap_or("client_ip");
                let error = "is missing: this request_id was not scored here, so the whole attempt is needed";
                return Err(RecordError::new(field, error).into());
            };
            if told.attempt.no_auth {
                return Ok(OutcomeAnswer { request_id, recorded: false });
            }
            let schema = self.schema.load();
            self.take_in(&schema, &mut told);
            let context = self.context(&site, &told.attempt);
            let activity = state.tracker.activity();
            let snapshot = Arc::new(schema.snapshot_with(activity, &told.attempt, &context, &told.given));
            let conflict = matches!(state.tracker.begin(&told.attempt, Some(snapshot), None), Begin::Conflict);
            if conflict {
                return Err(ScoreError::Conflict);
            }
            self.metrics.attempts_ingested(1);
            Some(told.attempt)
        };
        match state.tracker.complete(request, told_attempt.as_ref(), outcome) {
            Complete::Recorded => {
                if let Some(event) = state.tracker.lookup(request).map(Indexed::event) {
                    state.happened(&event.attempt, outcome);
                    self.tell(&mut state, event, now);
                }
            }
            Complete::AlreadyKnown | Complete::NeverScored => {}
            Complete::Conflict => return Err(ScoreError::Conflict),
        }
        state.pending.remove(request);
        drop(state);
        self.metrics.outcome(outcome_name(outcome));
        Ok(OutcomeAnswer { request_id, recorded: true })
    }

    /// Takes one past attempt with its outcome, in the order in which the caller tells them. Returns its number in the
    /// attempt log, or `None` when it was known already, counts nowhere, or the log is full.
    ///
    /// # Errors
    /// A request id that belongs to another attempt.
    pub fn ingest(&self, mut checked: CheckedRecord, now: Timestamp) -> Result<Option<u64>, ScoreError> {
        let schema = self.schema.load();
        self.take_in(&schema, &mut checked);
        let attempt = checked.attempt;
        if attempt.no_auth {
            return Ok(None);
        }
        let historical = now.millis().saturating_sub(attempt.ts.millis()) > HISTORY_AFTER_MS;
        let site = self.site.load();
        let context = self.context(&site, &attempt);
        let outcome = checked.outcome.unwrap_or(Outcome::Unknown);

        let mut state = self.lock();
        if let Some(known) = state.tracker.lookup(attempt.request) {
            if !known.attempt.same_content(&attempt) {
                return Err(ScoreError::Conflict);
            }
            if known.outcome.is_some_and(|known| known != Outcome::Unknown) {
                return Ok(None);
            }
        }
        let activity = state.tracker.activity_for(historical);
        let snapshot = schema.snapshot_with(activity, &attempt, &context, &checked.given);
        let event = AttemptEvent {
            origin: self.log.boot(),
            seq: 0,
            attempt,
            outcome: Some(outcome),
            snapshot: Some(snapshot),
            decision: None,
            historical,
        };
        let applied = state.tracker.apply(&event);
        if applied.attempt {
            self.metrics.attempts_ingested(1);
        }
        if applied.outcome {
            state.happened(&event.attempt, outcome);
        }
        state.pending.remove(event.attempt.request);
        let told = self.tell(&mut state, event, now);
        let much = state.inbox.waiting() >= NEWS_OF_BULK;
        drop(state);
        if much {
            self.digest();
        }
        Ok(told)
    }

    /// Checks a record that may lie in the past.
    ///
    /// # Errors
    /// The first field that is missing or out of bounds.
    pub fn check(&self, record: AttemptRecord, now: Timestamp) -> Result<CheckedRecord, RecordError> {
        self.checked(record, None, now)
    }

    fn checked(
        &self,
        record: AttemptRecord,
        fallback_ts: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<CheckedRecord, RecordError> {
        let mut checked = record.check(fallback_ts, now, &self.pseudonyms.load(), random::id)?;
        self.geo.load().complete(checked.attempt.client_ip, &mut checked.attempt.client);
        Ok(checked)
    }

    /// Counts an event of another node; `own` events are skipped.
    pub fn apply_remote(&self, event: &AttemptEvent, own: BootId) -> Applied {
        let mut state = self.lock();
        if state.tracker.hole_before(event, own)
            && let Some((from, to)) = state.heard.hole_before(event)
        {
            state.inbox.put(News::Missed { from, to });
        }
        let applied = state.tracker.apply_remote(event, own);
        if event.origin != own {
            state.heard.heard(event);
        }
        if let Some(outcome) = event.outcome.filter(|_| applied.outcome) {
            state.happened(&event.attempt, outcome);
        }
        if event.outcome.is_some() && (applied.attempt || applied.outcome) {
            state.pending.remove(event.attempt.request);
        }
        applied
    }

    /// Takes an event from before the checkpoint's position into the index, without counting it again.
    pub fn remember(&self, event: &AttemptEvent) {
        self.lock().tracker.remember(event);
    }

    /// What is known of a request, if it is among the retained ones.
    pub fn remembered(&self, request: RequestKey) -> Option<Remembered> {
        let state = self.lock();
        state.tracker.lookup(request).map(|known| Remembered {
            attempt: known.attempt.clone(),
            outcome: known.outcome,
            snapshot: known.snapshot.clone(),
            decision: known.decision,
        })
    }

    /// Tells the fleet about attempts that wait for their outcome, and gives up waiting where `timeout_ms` has passed.
    pub fn sweep(&self, now: Timestamp, monotonic_ms: u64, timeout_ms: u64) {
        let mut state = self.lock();
        self.announce(&mut state, now, monotonic_ms, ANNOUNCE_AFTER_MS);
        let expired = state.pending.expire_due(monotonic_ms, timeout_ms);
        for request in &expired {
            state.tracker.complete(*request, None, Outcome::Unknown);
        }
        drop(state);
        for _ in expired {
            self.metrics.outcome("unknown");
        }
    }

    /// Tells the fleet about every attempt that still waits for its outcome: this node stops, others may hear the outcome.
    pub fn announce_all(&self, now: Timestamp, monotonic_ms: u64) {
        self.announce(&mut self.lock(), now, monotonic_ms, 0);
    }

    fn announce(&self, state: &mut State, now: Timestamp, monotonic_ms: u64, after_ms: u64) {
        let due = state.pending.announce_due(monotonic_ms, after_ms);
        let events: Vec<_> =
            due.into_iter().filter_map(|request| state.tracker.lookup(request).map(Indexed::event)).collect();
        for event in events {
            self.tell(state, event, now);
        }
    }

    /// Forgets what no window looks at any more.
    pub fn prune(&self, now: Timestamp) {
        let mut state = self.lock();
        state.tracker.prune(now);
        let now_evicted = state.tracker.activity().stats().evictions();
        let news = std::mem::replace(&mut state.evicted, now_evicted);
        drop(state);
        for ((table, now_evicted), (_, before)) in now_evicted.into_iter().zip(news) {
            self.metrics.activity_evicted(table, now_evicted.saturating_sub(before));
        }
    }

    /// Whether a model serves.
    pub fn trained(&self) -> bool {
        self.slot.id().is_some()
    }

    /// Learning mode as it is answered to callers.
    pub fn learning_mode(&self) -> bool {
        mode::effective(self.mode.switched_on(), self.trained(), self.config.load().ml.dry_run)
    }

    /// Queues an event for the fleet. Under the lock of the counters, so that a checkpoint never holds an event without
    /// its number.
    fn tell(&self, state: &mut State, event: AttemptEvent, now: Timestamp) -> Option<u64> {
        let teaches = !self.site.load().trusts(&event.attempt);
        let seq = self.log.push(event, now, teaches)?;
        state.tracker.own_applied(self.log.boot(), seq);
        Some(seq)
    }

    fn check_live(&self, mut record: AttemptRecord, now: Timestamp) -> Result<CheckedRecord, RecordError> {
        // The node's clock is the event time of what happens now; a caller's clock may be anything.
        record.ts = None;
        self.checked(record, Some(now), now)
    }

    /// Finds the additional features of a request in the fleet's list: notes the texts that are counted, lets new names wait,
    /// and counts what is not looked at.
    fn take_in(&self, schema: &FeatureSchema, checked: &mut CheckedRecord) {
        if checked.given == Given::default() {
            return;
        }
        self.metrics.additional_features_skipped("bounds", checked.given.skipped);
        let list = schema.additional();
        let live_max = self.config.load().ml.additional_features_max;
        for feature in &checked.given.features {
            match list.live().find(|slot| slot.name == feature.name) {
                Some(slot) if !feature.fits(slot.kind) => self.metrics.additional_features_skipped("kind", 1),
                Some(slot) => {
                    if let (Kind::Embedding, GivenValue::Text(hash)) = (slot.kind, feature.value) {
                        checked.attempt.categories.push(hash);
                    }
                }
                None if FeatureSchema::is_standard(&feature.name) => {
                    self.metrics.additional_features_skipped("standard", 1);
                }
                None if list.has_room(live_max) && self.schema.propose(feature) => {}
                None => self.metrics.additional_features_skipped("full", 1),
            }
        }
    }

    fn context(&self, site: &Site, attempt: &Attempt) -> FeatureContext {
        FeatureContext {
            suspicious: attempt.suspicious_network.unwrap_or(false) || site.suspects(attempt.client_ip),
            hour: site.hour(attempt.ts),
        }
    }

    fn answer(
        &self,
        config: &Config,
        scored: Option<(&ServedModel, f64)>,
        attempt: &Attempt,
        trusted: bool,
        known_good: bool,
    ) -> ScoreAnswer {
        let (usable, probability) = scored.unzip();
        let thresholds = usable.map(|model| model.artifact.thresholds).unwrap_or_default();
        let block_threshold = config.ml.threshold.or(thresholds.block);
        let switched_on = self.mode.switched_on();
        let decided = verdict::decide(&VerdictInput {
            trusted,
            enabled: config.ml.enabled,
            trained: usable.is_some(),
            learning_mode: switched_on,
            dry_run: config.ml.dry_run,
            static_rule_triggered: attempt.static_rule_triggered,
            probability,
            block_threshold,
            watch_threshold: thresholds.watch,
            known_good,
            protection: None,
            override_rules: config.ml.may_override_rules.then(|| WeightedRule {
                static_weight: config.ml.static_weight,
                ml_weight: config.ml.ml_weight,
                // Upstream's fixed threshold for the weighted sum, unless the operator set one.
                threshold: config.ml.threshold.unwrap_or(0.7),
            }),
        });
        ScoreAnswer {
            request_id: String::new(),
            verdict: decided.verdict,
            would_be: decided.would_be,
            probability,
            threshold: if usable.is_some() { block_threshold } else { None },
            learning_mode: mode::effective(switched_on, usable.is_some(), config.ml.dry_run),
            reason: decided.reason.into(),
            retry_after_s: None,
            model: usable.map(|model| model.id),
            explanation: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held left counters that are at worst one attempt off; scoring must go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a model says about a snapshot; `None` when its schema is not a beginning of ours, or the snapshot's.
fn probability(schema: &FeatureSchema, snapshot: &Snapshot, model: &ServedModel) -> Option<f64> {
    let width = model.artifact.model.inputs();
    if !schema.accepts(model.artifact.schema.fingerprint, width) {
        return None;
    }
    let values = schema.align(snapshot.fingerprint, &snapshot.values, width)?;
    Some(model.artifact.probability(&values))
}

/// How much the tracker may hold, from the configuration.
fn limits(config: &Config) -> TrackerLimits {
    // The history is a second set of the same size.
    let bytes_max = usize::try_from(config.limits.activity_bytes_max / 2).unwrap_or(usize::MAX);
    TrackerLimits { activity: ActivityLimits::of_total(bytes_max), snapshots_max: config.attempts.snapshots_max }
}

/// The outcome in one word, for metrics.
fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unknown => "unknown",
        Outcome::Blocked => "blocked",
        Outcome::Failure => "failure",
        Outcome::Success => "success",
    }
}

#[cfg(test)]
mod tests;
