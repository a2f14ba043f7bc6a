//! The store, the model that serves and the other nodes, as far as this node knows. What a model says is told elsewhere.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{By1, By2, GaugeBy1, Metrics, StatusCounters, begin};
use crate::detection::overrides::OverrideKind;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Fleet {
    model_generation: Gauge,
    generation_regressions: Counter,
    store_connected: Gauge,
    artifacts_rejected: By1,
    announcements_received: Counter,
    commands: By2,
    store_errors: By1,
    breaker_trips: Counter,
    overrides: GaugeBy1,
    override_verdicts: By1,
}

impl Fleet {
    pub(super) fn new() -> Self {
        Self {
            model_generation: Gauge::default(),
            generation_regressions: Counter::default(),
            store_connected: Gauge::default(),
            artifacts_rejected: Family::default(),
            announcements_received: Counter::default(),
            commands: Family::default(),
            store_errors: Family::default(),
            breaker_trips: Counter::default(),
            overrides: Family::default(),
            override_verdicts: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry, status: &StatusCounters) {
        begin(&self.store_errors, "operation", &["append_attempts", "append_audit", "publish", "renew_lease"]);
        begin(&self.artifacts_rejected, "reason", &["missing", "newer_format", "wrong_schema", "unsound"]);
        for kind in OverrideKind::ALL {
            drop(self.overrides.get_or_create(&[("kind", kind.as_str())]));
            drop(self.override_verdicts.get_or_create(&[("kind", kind.as_str())]));
        }
        drop(self.commands.get_or_create(&[("command", "train"), ("outcome", "ok")]));
        registry.register(
            "model_generation",
            "Generation of the model that serves, 0 without one",
            self.model_generation.clone(),
        );
        registry.register(
            "model_generation_regressions",
            "Times the registry went back to an earlier generation",
            self.generation_regressions.clone(),
        );
        registry.register("store_connected", "Whether the store answers", self.store_connected.clone());
        registry.register("model_swaps", "Models put into service on this node", status.swaps.clone());
        registry.register("artifacts_rejected", "Model artifacts refused, by reason", self.artifacts_rejected.clone());
        registry.register("announcements_sent", "Announcements sent by this node", status.announcements_sent.clone());
        registry.register("announcements_received", "Announcements received", self.announcements_received.clone());
        registry.register(
            "registry_writes",
            "Publishes, refusals, resets and rollbacks written by this node",
            status.registry_writes.clone(),
        );
        registry.register("commands", "Commands by name and outcome", self.commands.clone());
        registry.register("store_errors", "Failed exchanges with the store, by operation", self.store_errors.clone());
        registry.register(
            "breaker_trips",
            "Times the circuit breaker of this node returned the fleet to learning mode",
            self.breaker_trips.clone(),
        );
        registry.register(
            "overrides",
            "Orders of operators for single pairs that count now, by kind",
            self.overrides.clone(),
        );
        registry.register(
            "override_verdicts",
            "Scores that an operator's order decided, by kind",
            self.override_verdicts.clone(),
        );
    }
}

impl Metrics {
    /// The registry went back to an earlier generation.
    pub fn generation_regressed(&self) {
        self.fleet.generation_regressions.inc();
    }

    /// Whether the store answers.
    pub fn set_store_connected(&self, connected: bool) {
        self.fleet.store_connected.set(i64::from(connected));
    }

    /// A model was put into service, or taken out of it (`None`).
    pub fn swapped(&self, generation: Option<u64>) {
        self.fleet.model_generation.set(i64::try_from(generation.unwrap_or(0)).unwrap_or(i64::MAX));
        self.status.swaps.inc();
        // It was measured against the model that served before.
        self.learning.forget_drift();
    }

    /// A model artifact was refused.
    pub fn artifact_rejected(&self, reason: &'static str) {
        self.fleet.artifacts_rejected.get_or_create(&[("reason", reason)]).inc();
    }

    /// An announcement arrived.
    pub fn announcement_received(&self) {
        self.fleet.announcements_received.inc();
    }

    /// A command ended (`ok`, `error`, `refused`, `duplicate`). Foreign names must be counted as `unknown`.
    pub fn command(&self, name: &'static str, outcome: &'static str) {
        self.fleet.commands.get_or_create(&[("command", name), ("outcome", outcome)]).inc();
    }

    /// An exchange with the store failed.
    pub fn store_error(&self, operation: &'static str) {
        self.fleet.store_errors.get_or_create(&[("operation", operation)]).inc();
    }

    /// So many orders of a kind count now.
    pub fn overrides(&self, kind: OverrideKind, count: usize) {
        self.fleet.overrides.get_or_create(&[("kind", kind.as_str())]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// An operator's order decided a score.
    pub fn overridden(&self, kind: OverrideKind) {
        self.fleet.override_verdicts.get_or_create(&[("kind", kind.as_str())]).inc();
    }

    /// The circuit breaker has tripped on this node.
    pub fn breaker_tripped(&self) {
        self.fleet.breaker_trips.inc();
    }
}
