//! What a sample teaches: the label policy. How feedback overrides it stands in [`feedback`](super::feedback).
//!
//! The policy of trainings is that of [`hindsight`](super::hindsight). The one in this file reads the outcome, and is there
//! to be compared with: a success is legitimate; a failure counts as an attack the more, the more its source had failed
//! already, because a single failure is mostly a typo.

use std::collections::HashMap;

use super::sample::Sample;
use crate::detection::attempt::{Outcome, RequestKey};
use crate::detection::features::FeatureSchema;

/// What an attempt was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Somebody was guessing: the positive class.
    Attack,
    /// The user, typing errors included.
    Legit,
}

/// A label and how much it is to be believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labelled {
    /// The class that it is trained as.
    pub label: Label,
    /// Above 0; 1 is an ordinary sample.
    pub weight: f64,
}

/// Gives samples their labels. `None` = this sample teaches nothing.
pub trait LabelPolicy: Send + Sync {
    /// The label of one sample.
    fn label(&self, sample: &Sample, schema: &FeatureSchema) -> Option<Labelled>;
}

/// Labels from the outcome alone; see the module documentation.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutcomeLabels;

/// Weight of a failure of a source that had not failed before.
const LONE_FAILURE_WEIGHT: f64 = 0.1;
/// From this many earlier failures of the source in an hour, or this many names, a failure counts fully.
const REPEATED_FAILURES: f64 = 3.0;
const REPEATED_NAMES: f64 = 3.0;
/// Scales of the two features that are read back from the snapshot.
const FAILURES_SCALE: f64 = 100.0;
const NAMES_SCALE: f64 = 20.0;

impl LabelPolicy for OutcomeLabels {
    fn label(&self, sample: &Sample, schema: &FeatureSchema) -> Option<Labelled> {
        match sample.outcome {
            Outcome::Success => Some(Labelled { label: Label::Legit, weight: 1.0 }),
            Outcome::Failure => {
                let raw = |name: &str, scale: f64| {
                    let value = schema.index_of(name).and_then(|index| sample.values.get(index));
                    value.map_or(0.0, |value| f64::from(*value) * scale)
                };
                let failures = raw("FailedAttemptsLastHour", FAILURES_SCALE) / REPEATED_FAILURES;
                // The attempt's own name is among the names.
                let names = (raw("DifferentUsernames", NAMES_SCALE) - 1.0) / (REPEATED_NAMES - 1.0);
                let repetition = failures.max(names).clamp(0.0, 1.0);
                let weight = LONE_FAILURE_WEIGHT + (1.0 - LONE_FAILURE_WEIGHT) * repetition;
                Some(Labelled { label: Label::Attack, weight })
            }
            Outcome::Blocked | Outcome::Unknown => None,
        }
    }
}

/// Labels that are known from elsewhere (generated or hand-labelled traffic); samples without one teach nothing.
#[derive(Debug, Clone, Default)]
pub struct KnownLabels(pub HashMap<RequestKey, Label>);

impl LabelPolicy for KnownLabels {
    fn label(&self, sample: &Sample, _: &FeatureSchema) -> Option<Labelled> {
        self.0.get(&sample.request).map(|label| Labelled { label: *label, weight: 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::sample;
    use super::*;

    fn schema() -> FeatureSchema {
        FeatureSchema::compat6()
    }

    #[test]
    fn a_success_is_legitimate_and_a_lone_failure_weighs_little() {
        let success = OutcomeLabels.label(&sample(1, true), &schema());
        let mut lone = sample(1, false);
        lone.values = vec![1.0, 0.0, 0.05, 0.0, 0.5, 0.0];
        let lone = OutcomeLabels.label(&lone, &schema());

        assert_eq!(success, Some(Labelled { label: Label::Legit, weight: 1.0 }));
        let lone = lone.expect("a failure teaches");
        assert_eq!(lone.label, Label::Attack);
        assert!((lone.weight - 0.1).abs() < 1e-6, "{lone:?}");
    }

    #[test]
    fn a_failure_after_three_others_counts_fully() {
        let mut repeated = sample(1, false);
        repeated.values = vec![0.0, 0.03, 0.05, 0.0, 0.5, 0.0];

        let label = OutcomeLabels.label(&repeated, &schema()).expect("a failure teaches");

        assert!((label.weight - 1.0).abs() < 1e-6, "{label:?}");
    }

    #[test]
    fn an_unknown_or_blocked_attempt_teaches_nothing() {
        for outcome in [Outcome::Unknown, Outcome::Blocked] {
            let sample = Sample { outcome, ..sample(1, false) };
            assert_eq!(OutcomeLabels.label(&sample, &schema()), None);
        }
    }
}
