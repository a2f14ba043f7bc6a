//! Every metric of a node, declared in one place, in a registry of its own.
//!
//! There are no globals: several nodes live in one process without mixing their numbers. Labels only ever have values
//! that this program knows beforehand (verdicts, routes, reasons) — never a user, an address or a request id. Names begin
//! with `nauthilus_neural_`, those of [`attack_metrics`](super::attack_metrics) otherwise; seconds and bytes are base units. Counting never fails and never blocks on I/O.

mod lists;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Serialize;

pub use self::lists::ListMetrics;
use super::attack_metrics::AttackMetrics;
use crate::learning::feedback::Told;
use crate::learning::hindsight::HindsightStats;

/// Media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Label = (&'static str, &'static str);
type By1 = Family<[Label; 1], Counter>;
type By2 = Family<[Label; 2], Counter>;
type GaugeBy1 = Family<[Label; 1], Gauge>;
type ByRoute = Family<[(&'static str, String); 2], Counter>;

/// The metrics of one node. Shared as `Arc<Metrics>`; every method takes `&self`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    status: StatusCounters,
    scores: By1,
    score_seconds: Histogram,
    outcomes: By1,
    attempts_ingested: Counter,
    attempts_appended: Counter,
    attempts_replicated: Counter,
    attempts_undecodable: Counter,
    attempts_rejected: By1,
    feedback: By1,
    trainings: By2,
    training_seconds: Histogram,
    training_feedback: GaugeBy1,
    model_generation: Gauge,
    generation_regressions: Counter,
    store_connected: Gauge,
    artifacts_rejected: By1,
    announcements_received: Counter,
    commands: By2,
    store_errors: By1,
    activity_evictions: By1,
    labels: GaugeBy1,
    hindsight_bytes: GaugeBy1,
    hindsight_evictions: By1,
    hindsight_too_late: By1,
    hindsight_gaps: Counter,
    additional_features: Gauge,
    additional_features_skipped: By1,
    http_requests: ByRoute,
    requests_refused: By1,
    task_restarts: By1,
    config_reloads: By1,
    breaker_trips: Counter,
    threat: Gauge<f64, AtomicU64>,
    attack_news_dropped: Counter,
    attacks: AttackMetrics,
    lists: ListMetrics,
}

impl Metrics {
    /// All metrics at zero; `version` is that of the program.
    pub fn new(version: &str) -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("nauthilus_neural"),
            status: StatusCounters::default(),
            scores: Family::default(),
            // 50 µs to 0.8 s: the request path is memory only, what is slower is the machine's trouble.
            score_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 15)),
            outcomes: Family::default(),
            attempts_ingested: Counter::default(),
            attempts_appended: Counter::default(),
            attempts_replicated: Counter::default(),
            attempts_undecodable: Counter::default(),
            attempts_rejected: Family::default(),
            feedback: Family::default(),
            trainings: Family::default(),
            // 0.1 s to 14 min.
            training_seconds: Histogram::new(exponential_buckets(0.1, 2.0, 14)),
            training_feedback: Family::default(),
            model_generation: Gauge::default(),
            generation_regressions: Counter::default(),
            store_connected: Gauge::default(),
            artifacts_rejected: Family::default(),
            announcements_received: Counter::default(),
            commands: Family::default(),
            store_errors: Family::default(),
            activity_evictions: Family::default(),
            labels: Family::default(),
            hindsight_bytes: Family::default(),
            hindsight_evictions: Family::default(),
            hindsight_too_late: Family::default(),
            hindsight_gaps: Counter::default(),
            http_requests: Family::default(),
            requests_refused: Family::default(),
            task_restarts: Family::default(),
            config_reloads: Family::default(),
            breaker_trips: Counter::default(),
            threat: Gauge::default(),
            attack_news_dropped: Counter::default(),
            attacks: AttackMetrics::new(),
            lists: ListMetrics::default(),
            additional_features: Gauge::default(),
            additional_features_skipped: Family::default(),
        };
        metrics.registered(version)
    }

    fn registered(mut self, version: &str) -> Self {
        // The text format ends counters in "_total" and adds the unit by itself where the name says so.
        let registry = &mut self.registry;
        let status = &self.status;
        registry.register("build", "Version of the program", Info::new([("version", version.to_owned())]));
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
        registry.register("feedback", "Feedback items by what became of them", self.feedback.clone());
        registry.register("trainings", "Ended trainings by outcome and trigger", self.trainings.clone());
        registry.register("training_seconds", "Duration of trainings", self.training_seconds.clone());
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
            "activity_evictions",
            "Counters forgotten for lack of room, by table",
            self.activity_evictions.clone(),
        );
        registry.register(
            "training_feedback",
            "Feedback items of the last training here, by what became of them",
            self.training_feedback.clone(),
        );
        registry.register(
            "labels",
            "Samples at the last training or labelling here, by the rule that labels them or the reason why none does",
            self.labels.clone(),
        );
        registry.register(
            "hindsight_bytes",
            "Memory for what labels look back at, by index (live, history)",
            self.hindsight_bytes.clone(),
        );
        registry.register(
            "hindsight_evictions",
            "Times the oldest hours were forgotten for lack of room, by index",
            self.hindsight_evictions.clone(),
        );
        registry.register(
            "hindsight_too_late",
            "Attempts that came in after their time had been forgotten, by index",
            self.hindsight_too_late.clone(),
        );
        registry.register(
            "hindsight_gaps",
            "Times in which attempts must have been missed",
            self.hindsight_gaps.clone(),
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
        registry.register("http_requests", "HTTP requests by route and class of status", self.http_requests.clone());
        registry.register(
            "requests_refused",
            "Requests and connections refused before they were looked at, by reason",
            self.requests_refused.clone(),
        );
        registry.register("task_restarts", "Restarts of tasks by name", self.task_restarts.clone());
        registry.register(
            "breaker_trips",
            "Times the circuit breaker of this node returned the fleet to learning mode",
            self.breaker_trips.clone(),
        );
        registry.register("threat", "How threatened the site is by distributed attacks, 0 to 1", self.threat.clone());
        registry.register(
            "attack_news_dropped",
            "Attempts that the watch for distributed attacks could not take in",
            self.attack_news_dropped.clone(),
        );
        registry.register("config_reloads", "Reloads of the configuration by outcome", self.config_reloads.clone());
        self.lists.register(registry);
        self
    }

    /// The numbers that `/v1/status` shows; the same ones that are exported.
    pub fn status(&self) -> &StatusCounters {
        &self.status
    }

    /// Those of list files and of the blocklist service.
    pub fn lists(&self) -> &ListMetrics {
        &self.lists
    }

    /// All metrics in the OpenMetrics text format; see [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut text = String::new();
        for registry in [&self.registry, self.attacks.registry()] {
            encode_registry(&mut text, registry).expect("writing to a string cannot fail");
        }
        encode_eof(&mut text).expect("writing to a string cannot fail");
        text
    }

    /// An attempt was scored within `took`; `verdict` is what was answered.
    pub fn scored(&self, verdict: &'static str, took: Duration) {
        self.scores.get_or_create(&[("verdict", verdict)]).inc();
        self.score_seconds.observe(took.as_secs_f64());
    }

    /// An outcome was told (`success`, `failure`, `blocked`) or given up (`unknown`).
    pub fn outcome(&self, outcome: &'static str) {
        self.outcomes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// `count` attempts were taken in.
    pub fn attempts_ingested(&self, count: u64) {
        self.attempts_ingested.inc_by(count);
    }

    /// The store acknowledged `count` attempts of this node.
    pub fn attempts_appended(&self, count: u64) {
        self.attempts_appended.inc_by(count);
    }

    /// An attempt of another node was counted.
    pub fn attempt_replicated(&self) {
        self.attempts_replicated.inc();
    }

    /// An entry of the attempts stream could not be read.
    pub fn attempt_undecodable(&self) {
        self.attempts_undecodable.inc();
    }

    /// The registry went back to an earlier generation.
    pub fn generation_regressed(&self) {
        self.generation_regressions.inc();
    }

    /// Whether the store answers.
    pub fn set_store_connected(&self, connected: bool) {
        self.store_connected.set(i64::from(connected));
    }

    /// An attempt record was refused because of `field`.
    pub fn attempt_rejected(&self, field: &'static str) {
        self.attempts_rejected.get_or_create(&[("field", field)]).inc();
    }

    /// Feedback came to this end (`recorded`, `known`, `unknown_request`, `mismatch`, `full`, `unavailable`).
    pub fn feedback(&self, outcome: &'static str) {
        self.feedback.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A training ended after `took`: `outcome` (`promoted`, `candidate`, `refused`, `not_enough_data`, `failed`), `trigger` (`schedule`,
    /// `feedback`, `command`).
    pub fn trained(&self, outcome: &'static str, trigger: &'static str, took: Duration) {
        self.trainings.get_or_create(&[("outcome", outcome), ("trigger", trigger)]).inc();
        self.training_seconds.observe(took.as_secs_f64());
    }

    /// What became of the feedback of a training: `counted`, `contradicted`, `repeated`, `overruled` a label, `set_aside`.
    pub fn training_feedback(&self, told: &Told) {
        let Told { counted, contradicted, repeated, overruled, set_aside } = *told;
        let by = [
            ("counted", counted),
            ("contradicted", contradicted),
            ("repeated", repeated),
            ("overruled", overruled),
            ("set_aside", set_aside),
        ];
        for (outcome, items) in by {
            let items = i64::try_from(items).unwrap_or(i64::MAX);
            self.training_feedback.get_or_create(&[("outcome", outcome)]).set(items);
        }
    }

    /// A model was put into service, or taken out of it (`None`).
    pub fn swapped(&self, generation: Option<u64>) {
        self.model_generation.set(i64::try_from(generation.unwrap_or(0)).unwrap_or(i64::MAX));
        self.status.swaps.inc();
    }

    /// A model artifact was refused.
    pub fn artifact_rejected(&self, reason: &'static str) {
        self.artifacts_rejected.get_or_create(&[("reason", reason)]).inc();
    }

    /// An announcement arrived.
    pub fn announcement_received(&self) {
        self.announcements_received.inc();
    }

    /// A command ended (`ok`, `error`, `refused`, `duplicate`). Foreign names must be counted as `unknown`.
    pub fn command(&self, name: &'static str, outcome: &'static str) {
        self.commands.get_or_create(&[("command", name), ("outcome", outcome)]).inc();
    }

    /// An exchange with the store failed.
    pub fn store_error(&self, operation: &'static str) {
        self.store_errors.get_or_create(&[("operation", operation)]).inc();
    }

    /// `count` entries of an activity table were forgotten for lack of room.
    pub fn activity_evicted(&self, table: &'static str, count: u64) {
        self.activity_evictions.get_or_create(&[("table", table)]).inc_by(count);
    }

    /// So many samples have a label of each rule, or none for each reason.
    pub fn labels(&self, by_name: impl Iterator<Item = (&'static str, u64)>) {
        for (name, samples) in by_name {
            self.labels.get_or_create(&[("rule", name)]).set(i64::try_from(samples).unwrap_or(i64::MAX));
        }
    }

    /// How full an index for labels (`live`, `history`) is now. Its counts only grow during one run of the program.
    pub fn hindsight(&self, index: &'static str, stats: HindsightStats) {
        let by = [("index", index)];
        self.hindsight_bytes.get_or_create(&by).set(i64::try_from(stats.bytes).unwrap_or(i64::MAX));
        raise(&self.hindsight_evictions.get_or_create(&by), stats.evictions);
        raise(&self.hindsight_too_late.get_or_create(&by), stats.too_late);
    }

    /// So many times something was noted as missed, since the start.
    pub fn hindsight_gaps(&self, total: u64) {
        raise(&self.hindsight_gaps, total);
    }

    /// So many additional features count now.
    pub fn additional_features(&self, count: usize) {
        self.additional_features.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// `count` additional features of a request were not looked at: `bounds`, `kind`, `standard` or `full`.
    pub fn additional_features_skipped(&self, reason: &'static str, count: usize) {
        if count > 0 {
            self.additional_features_skipped.get_or_create(&[("reason", reason)]).inc_by(count as u64);
        }
    }

    /// An HTTP request was answered. `route` is the template that matched (`/v1/explain/{request_id}`), never the path as
    /// sent; requests that match nothing are counted as `unmatched` by the caller.
    pub fn http_request(&self, route: &str, status: u16) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.http_requests.get_or_create(&[("route", route.to_owned()), ("status", class.to_owned())]).inc();
    }

    /// A request was refused for what it is, not for what it asks: `host`, `cross_site`, `scheme`, `no_token`,
    /// `unknown_token`, `role`, `jwt_…`, `header_timeout`, `body_timeout`.
    pub fn request_refused(&self, reason: &'static str) {
        self.requests_refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// A task was started again.
    pub fn task_restarted(&self, task: &'static str) {
        self.task_restarts.get_or_create(&[("task", task)]).inc();
    }

    /// The circuit breaker has tripped on this node.
    pub fn breaker_tripped(&self) {
        self.breaker_trips.inc();
    }

    /// How threatened the site is by distributed attacks, 0–1, and how many attempts the watch has had to drop.
    pub fn threat(&self, threat: f64, dropped: u64) {
        self.threat.set(threat);
        raise(&self.attack_news_dropped, dropped);
    }

    /// What is shown of distributed attacks.
    pub fn attacks(&self) -> &AttackMetrics {
        &self.attacks
    }

    /// A reload of the configuration ended (`applied`, `refused`).
    pub fn config_reloaded(&self, outcome: &'static str) {
        self.config_reloads.get_or_create(&[("outcome", outcome)]).inc();
    }
}

/// Brings a counter to a total that is counted elsewhere.
fn raise(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// The numbers that `/v1/status` and the metrics share: one set of atomics, so the two cannot disagree.
#[derive(Debug, Clone, Default)]
pub struct StatusCounters {
    registry_writes: Counter,
    announcements_sent: Counter,
    swaps: Counter,
    dropped: Counter,
    queued: Gauge,
}

impl StatusCounters {
    /// This node wrote to the registry (publish, refusal, reset, rollback).
    pub fn registry_written(&self) {
        self.registry_writes.inc();
    }

    /// This node sent an announcement.
    pub fn announcement_sent(&self) {
        self.announcements_sent.inc();
    }

    /// `count` attempts were dropped because the queue was full.
    pub fn attempts_dropped(&self, count: u64) {
        self.dropped.inc_by(count);
    }

    /// So many attempts wait for the store now.
    pub fn set_queued(&self, count: usize) {
        self.queued.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The numbers now.
    pub fn snapshot(&self) -> StatusNumbers {
        StatusNumbers {
            registry_writes: self.registry_writes.get(),
            announcements_sent: self.announcements_sent.get(),
            swaps: self.swaps.get(),
            dropped: self.dropped.get(),
            queued: u64::try_from(self.queued.get()).unwrap_or(0),
        }
    }
}

/// One reading of [`StatusCounters`], since the start of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StatusNumbers {
    /// Publishes, refusals, resets and rollbacks written by this node.
    pub registry_writes: u64,
    /// Announcements sent by this node.
    pub announcements_sent: u64,
    /// Models put into service on this node.
    pub swaps: u64,
    /// Attempts lost because the queue was full.
    pub dropped: u64,
    /// Attempts that wait for the store now.
    pub queued: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exercised() -> Metrics {
        let metrics = Metrics::new("1.2.3");
        metrics.scored("block", Duration::from_micros(70));
        metrics.scored("allow", Duration::from_micros(30));
        metrics.scored("allow", Duration::from_micros(30));
        metrics.outcome("failure");
        metrics.attempts_ingested(3);
        metrics.attempt_rejected("client_ip");
        metrics.feedback("recorded");
        metrics.trained("promoted", "schedule", Duration::from_secs(3));
        metrics.training_feedback(&Told { counted: 9, contradicted: 2, ..Told::default() });
        metrics.swapped(Some(7));
        metrics.artifact_rejected("hash");
        metrics.announcement_received();
        metrics.command("train", "ok");
        metrics.store_error("publish");
        metrics.activity_evicted("address", 2);
        metrics.labels([("guessed", 3), ("gap", 0)].into_iter());
        metrics.hindsight("live", HindsightStats { bytes: 500, evictions: 1, too_late: 4 });
        metrics.hindsight("live", HindsightStats { bytes: 400, evictions: 2, too_late: 4 });
        metrics.hindsight_gaps(6);
        metrics.http_request("/v1/explain/{request_id}", 404);
        metrics.request_refused("host");
        metrics.task_restarted("subscriber");
        metrics.config_reloaded("applied");
        metrics.breaker_tripped();
        metrics.threat(0.75, 3);
        metrics.threat(0.7, 3);
        metrics.status().registry_written();
        metrics.status().announcement_sent();
        metrics.status().attempts_dropped(5);
        metrics.status().set_queued(4);
        metrics
    }

    #[test]
    fn every_number_is_exported_under_its_name() {
        let text = exercised().render();

        for line in [
            "nauthilus_neural_build_info{version=\"1.2.3\"} 1",
            "nauthilus_neural_scores_total{verdict=\"allow\"} 2",
            "nauthilus_neural_score_seconds_count 3",
            "nauthilus_neural_outcomes_total{outcome=\"failure\"} 1",
            "nauthilus_neural_attempts_ingested_total 3",
            "nauthilus_neural_attempts_rejected_total{field=\"client_ip\"} 1",
            "nauthilus_neural_attempts_dropped_total 5",
            "nauthilus_neural_attempts_queued 4",
            "nauthilus_neural_feedback_total{outcome=\"recorded\"} 1",
            "nauthilus_neural_trainings_total{outcome=\"promoted\",trigger=\"schedule\"} 1",
            "nauthilus_neural_training_seconds_sum 3.0",
            "nauthilus_neural_model_generation 7",
            "nauthilus_neural_model_swaps_total 1",
            "nauthilus_neural_artifacts_rejected_total{reason=\"hash\"} 1",
            "nauthilus_neural_announcements_sent_total 1",
            "nauthilus_neural_announcements_received_total 1",
            "nauthilus_neural_registry_writes_total 1",
            "nauthilus_neural_commands_total{command=\"train\",outcome=\"ok\"} 1",
            "nauthilus_neural_store_errors_total{operation=\"publish\"} 1",
            "nauthilus_neural_activity_evictions_total{table=\"address\"} 2",
            "nauthilus_neural_training_feedback{outcome=\"contradicted\"} 2",
            "nauthilus_neural_labels{rule=\"guessed\"} 3",
            "nauthilus_neural_labels{rule=\"gap\"} 0",
            "nauthilus_neural_hindsight_bytes{index=\"live\"} 400",
            "nauthilus_neural_hindsight_evictions_total{index=\"live\"} 2",
            "nauthilus_neural_hindsight_too_late_total{index=\"live\"} 4",
            "nauthilus_neural_hindsight_gaps_total 6",
            "nauthilus_neural_http_requests_total{route=\"/v1/explain/{request_id}\",status=\"4xx\"} 1",
            "nauthilus_neural_requests_refused_total{reason=\"host\"} 1",
            "nauthilus_neural_task_restarts_total{task=\"subscriber\"} 1",
            "nauthilus_neural_config_reloads_total{outcome=\"applied\"} 1",
            "nauthilus_neural_breaker_trips_total 1",
            "nauthilus_neural_threat 0.7",
            "nauthilus_neural_attack_news_dropped_total 3",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_model_taken_out_of_service_shows_as_generation_zero() {
        let metrics = exercised();
        metrics.swapped(None);

        assert!(metrics.render().contains("nauthilus_neural_model_generation 0\n"));
    }

    #[test]
    fn status_and_metrics_show_the_same_numbers() {
        let numbers = exercised().status().snapshot();

        assert_eq!(
            numbers,
            StatusNumbers { registry_writes: 1, announcements_sent: 1, swaps: 1, dropped: 5, queued: 4 }
        );
    }

    #[test]
    fn two_nodes_in_one_process_do_not_mix() {
        let (one, other) = (exercised(), Metrics::new("1.2.3"));

        assert_eq!(other.status().snapshot(), StatusNumbers::default());
        assert_ne!(one.render(), other.render());
    }
}
