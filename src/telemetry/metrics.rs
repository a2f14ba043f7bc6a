//! Every metric of a node, declared below `metrics/` by topic, in registries of its own.
//!
//! There are no globals: several nodes live in one process without mixing their numbers. Labels only ever have values
//! that this program knows beforehand (verdicts, routes, reasons), or the names in the fleet's bounded list of features:
//! never a user, an address or a request id. Names begin with `nauthilus_neural_`, those that the original has with
//! `nauthilus_ml_` ([`original`]) and `nauthilus_dbf_` ([`attack_metrics`](super::attack_metrics)); seconds and bytes are base units. Counting never fails and never blocks on I/O.

mod attempts;
mod fleet;
mod learning;
mod lists;
pub mod original;
mod status;
mod surface;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::attempts::Attempts;
use self::fleet::Fleet;
use self::learning::Learning;
pub use self::lists::ListMetrics;
use self::original::{Original, Serving};
pub use self::status::{StatusCounters, StatusNumbers};
use self::surface::Surface;
use super::attack_metrics::AttackMetrics;

/// Media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Label = (&'static str, &'static str);
type By1 = Family<[Label; 1], Counter>;
type By2 = Family<[Label; 2], Counter>;
type GaugeBy1 = Family<[Label; 1], Gauge>;
type ByRoute = Family<[(&'static str, String); 2], Counter>;

/// Kinds of measures against attacks: the first two hold or not (1 or 0), of the others there are many.
pub const ATTACK_MEASURES: [&str; 5] = ["monitoring", "site", "accounts", "networks", "regions"];

/// The metrics of one node. Shared as `Arc<Metrics>`; every method takes `&self`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    status: StatusCounters,
    attempts: Attempts,
    learning: Learning,
    fleet: Fleet,
    surface: Surface,
    original: Original,
    threat: Gauge<f64, AtomicU64>,
    attack_news_dropped: Counter,
    attacked_accounts: Gauge,
    attack_measures: GaugeBy1,
    attack_mirror_errors: By1,
    bridge_left_out: By1,
    attacks: AttackMetrics,
    lists: ListMetrics,
}

impl Metrics {
    /// All metrics at zero; `version` is that of the program.
    pub fn new(version: &str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("nauthilus_neural"),
            status: StatusCounters::default(),
            attempts: Attempts::new(),
            learning: Learning::new(),
            fleet: Fleet::new(),
            surface: Surface::new(),
            original: Original::new(),
            threat: Gauge::default(),
            attack_news_dropped: Counter::default(),
            attacked_accounts: Gauge::default(),
            attack_measures: Family::default(),
            attack_mirror_errors: Family::default(),
            bridge_left_out: Family::default(),
            attacks: AttackMetrics::new(),
            lists: ListMetrics::default(),
        };
        // The text format ends counters in "_total" and adds the unit by itself where the name says so.
        let registry = &mut metrics.registry;
        registry.register("build", "Version of the program", Info::new([("version", version.to_owned())]));
        metrics.attempts.register(registry, &metrics.status);
        metrics.learning.register(registry);
        metrics.fleet.register(registry, &metrics.status);
        metrics.surface.register(registry);
        registry.register(
            "threat",
            "How threatened the site is by distributed attacks, 0 to 1",
            metrics.threat.clone(),
        );
        registry.register(
            "attack_news_dropped",
            "Attempts that the watch for distributed attacks could not take in",
            metrics.attack_news_dropped.clone(),
        );
        metrics.attack_state(0, [0; 5]);
        let registry = &mut metrics.registry;
        registry.register(
            "attacked_accounts",
            "Accounts at which many networks guess, as of the last look",
            metrics.attacked_accounts.clone(),
        );
        registry.register("attack_measures", "Measures in force by kind", metrics.attack_measures.clone());
        begin(&metrics.attack_mirror_errors, "reason", &["dropped", "foreign_key", "unavailable"]);
        registry.register(
            "attack_mirror_errors",
            "Times the state of attacks could not be written for plugins of the original, by reason",
            metrics.attack_mirror_errors.clone(),
        );
        begin(&metrics.bridge_left_out, "reason", &["malformed", "too_long"]);
        registry.register(
            "upstream_bridge_left_out",
            "Training records that the bridge cannot read, by reason",
            metrics.bridge_left_out.clone(),
        );
        metrics.lists.register(registry);
        metrics
    }

    /// The numbers that `/v1/status` shows; the same ones that are exported.
    pub fn status(&self) -> &StatusCounters {
        &self.status
    }

    /// Those of list files and of the blocklist service.
    pub fn lists(&self) -> &ListMetrics {
        &self.lists
    }

    /// How threatened the site is by distributed attacks, 0–1, and how many attempts the watch has had to drop.
    pub fn threat(&self, threat: f64, dropped: u64) {
        self.threat.set(threat);
        raise(&self.attack_news_dropped, dropped);
    }

    /// Attacked accounts, and the measures in force in the order of [`ATTACK_MEASURES`].
    pub fn attack_state(&self, accounts: usize, measures: [usize; 5]) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.attacked_accounts.set(number(accounts));
        for (kind, count) in ATTACK_MEASURES.into_iter().zip(measures) {
            self.attack_measures.get_or_create(&[("measure", kind)]).set(number(count));
        }
    }

    /// Counts training records of an old Redis that the bridge cannot read.
    pub fn bridge_left_out(&self, reason: &'static str, count: usize) {
        self.bridge_left_out.get_or_create(&[("reason", reason)]).inc_by(count as u64);
    }

    /// The state of attacks could not be written for plugins of the original.
    pub fn attack_mirror_failed(&self, reason: &'static str) {
        self.attack_mirror_errors.get_or_create(&[("reason", reason)]).inc();
    }

    /// What is shown of distributed attacks.
    pub fn attacks(&self) -> &AttackMetrics {
        &self.attacks
    }

    /// All metrics in the OpenMetrics text format; see [`CONTENT_TYPE`]. What the model of `serving` does is read from it now.
    pub fn render(&self, serving: Option<&Serving<'_>>) -> String {
        let mut text = String::new();
        let now = self.original.now(serving);
        for registry in [&self.registry, self.original.registry(), self.attacks.registry(), &now] {
            encode_registry(&mut text, registry).expect("writing to a string cannot fail");
        }
        encode_eof(&mut text).expect("writing to a string cannot fail");
        text
    }
}

/// Brings a counter to a total that is counted elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Shows label values from the start, at zero: what grows from nothing to one in its first series is no increase to Prometheus.
fn begin(counters: &By1, label: &'static str, values: &[&'static str]) {
    for value in values {
        drop(counters.get_or_create(&[(label, *value)]));
    }
}

#[cfg(test)]
mod tests;
