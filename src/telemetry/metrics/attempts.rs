//! Attempts on their way in, and what was answered. What a model is worth is told elsewhere.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{By1, Metrics, StatusCounters, begin};

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Attempts {
    scores: By1,
    score_seconds: Histogram,
    outcomes: By1,
    attempts_ingested: Counter,
    attempts_appended: Counter,
    attempts_replicated: Counter,
    attempts_undecodable: Counter,
    attempts_rejected: By1,
    activity_evictions: By1,
    additional_features: Gauge,
    additional_features_skipped: By1,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self {
            scores: Family::default(),
            // 50 µs to 0.8 s: the request path is memory only, what is slower is the machine's trouble.
            score_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 15)),
            outcomes: Family::default(),
            attempts_ingested: Counter::default(),
            attempts_appended: Counter::default(),
            attempts_replicated: Counter::default(),
            attempts_undecodable: Counter::default(),
            attempts_rejected: Family::default(),
            activity_evictions: Family::default(),
            additional_features: Gauge::default(),
            additional_features_skipped: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry, status: &StatusCounters) {
        begin(&self.scores, "verdict", &["allow", "watch", "step_up", "block"]);
        begin(&self.outcomes, "outcome", &["success", "failure", "blocked", "unknown"]);
        begin(&self.attempts_rejected, "field", &["request_id"]);
        begin(&self.additional_features_skipped, "reason", &["bounds", "kind", "standard", "full", "removed"]);
        registry.register("scores", "Answered score requests by verdict", self.scores.clone());
        registry.register("score_seconds", "Time to score one attempt", self.score_seconds.clone());
        registry.register("outcomes", "Outcomes told after scoring, by outcome", self.outcomes.clone());
        registry.register(
            "attempts_ingested",
            "Attempts taken in, by score, outcome or in bulk",
            self.attempts_ingested.clone(),
        );
        registry.register(
            "attempts_rejected",
            "Attempt records refused, by the field at fault",
            self.attempts_rejected.clone(),
        );
        registry.register(
            "attempts_appended",
            "Attempts that the store has acknowledged",
            self.attempts_appended.clone(),
        );
        registry.register(
            "attempts_replicated",
            "Attempts of other nodes that were counted here",
            self.attempts_replicated.clone(),
        );
        registry.register(
            "attempts_undecodable",
            "Entries of the attempts stream that this version cannot read",
            self.attempts_undecodable.clone(),
        );
        registry.register("attempts_dropped", "Attempts lost because the queue was full", status.dropped.clone());
        registry.register("attempts_queued", "Attempts that wait for the store", status.queued.clone());
        registry.register(
            "activity_evictions",
            "Counters forgotten for lack of room, by table",
            self.activity_evictions.clone(),
        );
        registry.register(
            "additional_features",
            "Additional features that count in the fleet",
            self.additional_features.clone(),
        );
        registry.register(
            "additional_features_skipped",
            "Additional features of requests that were not looked at, by reason",
            self.additional_features_skipped.clone(),
        );
    }
}

impl Metrics {
    /// An attempt was scored within `took`; `verdict` is what was answered.
    pub fn scored(&self, verdict: &'static str, took: Duration) {
        self.attempts.scores.get_or_create(&[("verdict", verdict)]).inc();
        self.attempts.score_seconds.observe(took.as_secs_f64());
    }

    /// An outcome was told (`success`, `failure`, `blocked`) or given up (`unknown`).
    pub fn outcome(&self, outcome: &'static str) {
        self.attempts.outcomes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// `count` attempts were taken in.
    pub fn attempts_ingested(&self, count: u64) {
        self.attempts.attempts_ingested.inc_by(count);
    }

    /// The store acknowledged `count` attempts of this node.
    pub fn attempts_appended(&self, count: u64) {
        self.attempts.attempts_appended.inc_by(count);
    }

    /// An attempt of another node was counted.
    pub fn attempt_replicated(&self) {
        self.attempts.attempts_replicated.inc();
    }

    /// An entry of the attempts stream could not be read.
    pub fn attempt_undecodable(&self) {
        self.attempts.attempts_undecodable.inc();
    }

    /// An attempt record was refused because of `field`.
    pub fn attempt_rejected(&self, field: &'static str) {
        self.attempts.attempts_rejected.get_or_create(&[("field", field)]).inc();
    }

    /// `count` entries of an activity table were forgotten for lack of room.
    pub fn activity_evicted(&self, table: &'static str, count: u64) {
        self.attempts.activity_evictions.get_or_create(&[("table", table)]).inc_by(count);
    }

    /// So many additional features count now.
    pub fn additional_features(&self, count: usize) {
        self.attempts.additional_features.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `count` additional features of a request were not looked at: `bounds`, `kind`, `standard`, `full` or
    /// `removed`.
    pub fn additional_features_skipped(&self, reason: &'static str, count: usize) {
        if count > 0 {
            self.attempts.additional_features_skipped.get_or_create(&[("reason", reason)]).inc_by(count as u64);
        }
    }
}
