//! What was learnt and from what: feedback, trainings, labels, and the memory behind them. Nothing per epoch.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{By1, By2, GaugeBy1, Metrics, begin, raise};
use crate::learning::drift::Drift;
use crate::learning::feedback::Told;
use crate::learning::gate::{Judgement, Status};
use crate::learning::hindsight::HindsightStats;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Learning {
    feedback: By1,
    trainings: By2,
    training_seconds: Histogram,
    training_feedback: GaugeBy1,
    drift_index: Gauge<f64, AtomicU64>,
    drift_level: Gauge,
    labels: GaugeBy1,
    hindsight_bytes: GaugeBy1,
    hindsight_evictions: By1,
    hindsight_too_late: By1,
    hindsight_gaps: Counter,
}

impl Learning {
    pub(super) fn new() -> Self {
        Self {
            feedback: Family::default(),
            trainings: Family::default(),
            // 0.1 s to 14 min.
            training_seconds: Histogram::new(exponential_buckets(0.1, 2.0, 14)),
            training_feedback: Family::default(),
            drift_index: Gauge::default(),
            drift_level: Gauge::default(),
            labels: Family::default(),
            hindsight_bytes: Family::default(),
            hindsight_evictions: Family::default(),
            hindsight_too_late: Family::default(),
            hindsight_gaps: Counter::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        begin(&self.feedback, "outcome", &["recorded", "known", "unknown_request", "full", "malformed"]);
        for outcome in ["promoted", "candidate", "refused", "not_enough_data", "failed"] {
            for trigger in ["schedule", "feedback", "command"] {
                drop(self.trainings.get_or_create(&[("outcome", outcome), ("trigger", trigger)]));
            }
        }
        for outcome in ["counted", "contradicted", "repeated", "overruled", "set_aside"] {
            drop(self.training_feedback.get_or_create(&[("outcome", outcome)]));
        }
        registry.register("feedback", "Feedback items by what became of them", self.feedback.clone());
        registry.register("trainings", "Ended trainings by outcome and trigger", self.trainings.clone());
        registry.register("training_seconds", "Duration of trainings", self.training_seconds.clone());
        registry.register(
            "training_feedback",
            "Feedback items of the last training here, by what became of them",
            self.training_feedback.clone(),
        );
        registry.register(
            "drift_index",
            "How far traffic has moved since the serving model was trained, as a training here has found",
            self.drift_index.clone(),
        );
        registry.register(
            "drift_level",
            "The same as 0 (stable or unknown), 1 (warning) or 2 (alarm)",
            self.drift_level.clone(),
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
    }
}

impl Learning {
    /// Another model serves: how far traffic is from what that one was trained on, the next training will say.
    pub(super) fn forget_drift(&self) {
        self.drift_index.set(0.0);
        self.drift_level.set(0);
    }
}

impl Metrics {
    /// Feedback came to this end (`recorded`, `known`, `unknown_request`, `mismatch`, `full`, `unavailable`).
    pub fn feedback(&self, outcome: &'static str) {
        self.learning.feedback.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A training ended after `took`: `outcome` (`promoted`, `candidate`, `refused`, `not_enough_data`, `failed`), `trigger` (`schedule`,
    /// `feedback`, `command`).
    pub fn trained(&self, outcome: &'static str, trigger: &'static str, took: Duration) {
        self.learning.trainings.get_or_create(&[("outcome", outcome), ("trigger", trigger)]).inc();
        self.learning.training_seconds.observe(took.as_secs_f64());
        self.original.trained(matches!(outcome, "promoted" | "candidate" | "refused"), took);
    }

    /// A training has fitted a model to `samples` rows, and this is what the gate found.
    pub fn judged(&self, samples: usize, judgement: &Judgement) {
        self.original.trained_on(samples);
        let drift = judgement.criterion("drift");
        let (index, level) = drift.map_or((0.0, 0), |found| match (found.value, found.status) {
            (None, _) => (0.0, 0),
            (Some(index), _) if found.limit == Some(Drift::ALARM) => (index, 2),
            (Some(index), Status::Passed) => (index, 0),
            (Some(index), _) => (index, 1),
        });
        self.learning.drift_index.set(index);
        self.learning.drift_level.set(level);
    }

    /// What became of the feedback of a training: `counted`, `contradicted`, `repeated`, `overruled` a label, `set_aside`.
    pub fn training_feedback(&self, told: &Told) {
        let Told { counted, contradicted, repeated, overruled, set_aside, .. } = *told;
        let by = [
            ("counted", counted),
            ("contradicted", contradicted),
            ("repeated", repeated),
            ("overruled", overruled),
            ("set_aside", set_aside),
        ];
        for (outcome, items) in by {
            let items = i64::try_from(items).unwrap_or(i64::MAX);
            self.learning.training_feedback.get_or_create(&[("outcome", outcome)]).set(items);
        }
    }

    /// So many samples have a label of each rule, or none for each reason.
    pub fn labels(&self, by_name: impl Iterator<Item = (&'static str, u64)>) {
        for (name, samples) in by_name {
            self.learning.labels.get_or_create(&[("rule", name)]).set(i64::try_from(samples).unwrap_or(i64::MAX));
        }
    }

    /// How full an index for labels (`live`, `history`) is now. Its counts only grow during one run of the program.
    pub fn hindsight(&self, index: &'static str, stats: HindsightStats) {
        let by = [("index", index)];
        self.learning.hindsight_bytes.get_or_create(&by).set(i64::try_from(stats.bytes).unwrap_or(i64::MAX));
        raise(&self.learning.hindsight_evictions.get_or_create(&by), stats.evictions);
        raise(&self.learning.hindsight_too_late.get_or_create(&by), stats.too_late);
    }

    /// So many times something was noted as missed, since the start.
    pub fn hindsight_gaps(&self, total: u64) {
        raise(&self.learning.hindsight_gaps, total);
    }
}
