//! The metrics that the original has, by its names (`nauthilus_ml_…`) and labels, from what this daemon does.
//!
//! Two sorts: what is counted as it happens, in handles that are made once, so that a score neither allocates nor looks
//! anything up; and what is read when somebody asks (structure, features, weights, errors), which costs scoring nothing.
//! How many series there can be is bounded by the program and the schema, never by traffic.

mod curve;
mod network;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use self::curve::Curve;
pub use self::network::{ADDITIONAL_SERIES_MAX, Serving};
use super::Metrics;
use crate::learning::training::{Progress, Stage};

/// Epochs of the last training that are shown.
pub const EPOCHS_MAX: usize = 20;

/// A number with a fraction that goes up and down.
type Level = Gauge<f64, AtomicU64>;
/// One family whose labels are made when somebody asks.
type Levels = Family<Vec<(&'static str, String)>, Level>;

/// A counter whose name the original does not end in `_total`; the text format would add that to anything declared as one.
#[derive(Debug, Clone, Default)]
struct Count(Counter);

impl EncodeMetric for Count {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Count {
    const TYPE: MetricType = MetricType::Unknown;
}

/// What is counted for one of two results.
#[derive(Debug)]
struct Prediction {
    confidence: Level,
    count: Count,
    seconds: Histogram,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Original {
    registry: Registry,
    /// The model would block: no, yes.
    predictions: [Prediction; 2],
    progress: Gauge,
    samples_used: Gauge,
    /// A training ended without a model, with one.
    training_seconds: [Histogram; 2],
    curve: Mutex<Curve>,
}

impl Original {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("nauthilus_ml");
        let confidence = Family::<[(&str, &str); 1], Level>::default();
        let count = Family::<[(&str, &str); 1], Count>::default();
        // The original's buckets: 1 ms to 0.5 s, and 10 ms to 5 s.
        let seconds = Family::<[(&str, &str); 1], Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 2.0, 10))
        });
        let training = Family::<[(&str, &str); 1], Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.01, 2.0, 10))
        });
        let (progress, samples_used) = (Gauge::default(), Gauge::default());
        registry.register(
            "prediction_confidence",
            "Probability of an attack that was answered last, by whether the model would block",
            confidence.clone(),
        );
        registry.register("prediction_count", "Answered scores of a model, by the same", count.clone());
        registry.register("prediction_duration_seconds", "Time to score, by the same", seconds.clone());
        registry.register(
            "training_duration_seconds",
            "Duration of trainings, by whether a model came of it",
            training.clone(),
        );
        registry.register("training_progress", "Epoch that the network is in, or was last", progress.clone());
        registry.register("training_samples_used", "Rows of the last training here", samples_used.clone());
        let predictions = ["false", "true"].map(|result| {
            let by = [("result", result)];
            let confidence: Level = confidence.get_or_create(&by).clone();
            // Zero would be a confident answer that nobody has given.
            confidence.set(f64::NAN);
            Prediction {
                confidence,
                count: count.get_or_create(&by).clone(),
                seconds: seconds.get_or_create(&by).clone(),
            }
        });
        let training_seconds =
            ["failure", "success"].map(|result| training.get_or_create(&[("result", result)]).clone());
        let curve = Mutex::default();
        Self { registry, predictions, progress, samples_used, training_seconds, curve }
    }

    /// What is counted as it happens.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What is read now.
    pub(super) fn now(&self, serving: Option<&Serving<'_>>) -> Registry {
        let mut registry = Registry::with_prefix("nauthilus_ml");
        let errors = Levels::default();
        for (epoch, loss) in self.curve.lock().unwrap_or_else(PoisonError::into_inner).shown(EPOCHS_MAX) {
            errors.get_or_create(&vec![("epoch", epoch.to_string())]).set(loss);
        }
        registry.register("training_error", "Loss of the last fit of a network here, by epoch", errors);
        if let Some(serving) = serving {
            network::register(&mut registry, serving);
        }
        registry
    }

    pub(super) fn trained(&self, with_a_model: bool, took: Duration) {
        self.training_seconds[usize::from(with_a_model)].observe(took.as_secs_f64());
    }

    pub(super) fn trained_on(&self, samples: usize) {
        self.samples_used.set(i64::try_from(samples).unwrap_or(i64::MAX));
    }
}

impl Metrics {
    /// A model answered `probability` within `took`, and `would_block` if it were asked alone.
    pub fn predicted(&self, would_block: bool, probability: f64, took: Duration) {
        let Prediction { confidence, count, seconds } = &self.original.predictions[usize::from(would_block)];
        confidence.set(probability);
        count.0.inc();
        seconds.observe(took.as_secs_f64());
    }

    /// A training begins.
    pub fn training_started(&self) {
        self.original.progress.set(0);
    }

    /// A training has taken a step; those of its network are shown.
    pub fn training_step(&self, step: &Progress) {
        if step.stage == Stage::Network {
            self.original.progress.set(i64::from(step.done));
            self.original.curve.lock().unwrap_or_else(PoisonError::into_inner).told(step.done, step.loss);
        }
    }
}

#[cfg(test)]
mod tests;
