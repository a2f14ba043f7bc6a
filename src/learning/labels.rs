//! What a sample teaches: the label policy, and how feedback overrides it.
//!
//! The policy of trainings is that of [`hindsight`](super::hindsight). The one in this file reads the outcome, and is there
//! to be compared with: a success is legitimate; a failure counts as an attack the more, the more its source had failed
//! already, because a single failure is mostly a typo.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::sample::{Feedback, Sample};
use crate::detection::attempt::{Outcome, Pseudonym, RequestKey, client_network};
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

/// One feedback item weighs as much as this many samples (measured: cuts targeted false positives without costing recall).
pub const FEEDBACK_WEIGHT: f64 = 10.0;
/// Items of one author, and items on one (network, account), that count: nobody teaches alone by repetition.
const PER_SUBJECT_MAX: usize = 3;
/// Items of one author that count, on a small site; on a large one as many as `EARLY_SHARE_MAX` of the samples. An item never weighs
/// less than a sample, so that without this bound a flood of them would outweigh everything else.
const PER_AUTHOR_MIN: usize = 10;
/// Share of the total weight that feedback may take, and before `AGREEING` items agree.
const SHARE_MAX: f64 = 0.02;
const EARLY_SHARE_MAX: f64 = 0.005;
const AGREEING: usize = 20;

/// The feedback that counts, each item with its weight. Latest word per request wins; where two people contradict each
/// other, neither counts; at most three items per (author, network, account); of one author the latest items, as many as
/// 0.5 % of `sample_weight`, or ten.
///
/// The total weight is held to 0.5 % of `sample_weight` (2 % from 20 items on), but an item never weighs less than one
/// sample: on a small site ten people's words would otherwise be worth nothing.
pub fn effective_feedback(feedback: Vec<Feedback>, sample_weight: f64) -> Vec<(Feedback, f64)> {
    let mut by_request: BTreeMap<RequestKey, BTreeMap<String, Feedback>> = BTreeMap::new();
    for item in feedback {
        let words = by_request.entry(item.request).or_default();
        // Entries come in the order in which they were given; a later word of the same author replaces the earlier one.
        words.insert(item.author.clone(), item);
    }
    let mut agreed: Vec<Feedback> = Vec::new();
    for words in by_request.into_values() {
        let mut words = words.into_values();
        let Some(first) = words.next() else { continue };
        if words.all(|other| other.is_attack == first.is_attack) {
            agreed.push(first);
        }
    }
    // Of those on one subject the latest count.
    agreed.sort_by_key(|item| (std::cmp::Reverse(item.given_at), item.request));
    let mut per_subject: BTreeMap<(String, IpAddr, Pseudonym), usize> = BTreeMap::new();
    let mut per_author: BTreeMap<String, usize> = BTreeMap::new();
    let per_author_max = ((EARLY_SHARE_MAX * sample_weight) as usize).max(PER_AUTHOR_MIN);
    let mut kept = agreed;
    kept.retain(|item| {
        let subject = (item.author.clone(), client_network(item.client_ip), item.user);
        let count = per_subject.entry(subject).or_insert(0);
        *count += 1;
        if *count > PER_SUBJECT_MAX {
            return false;
        }
        let count = per_author.entry(item.author.clone()).or_insert(0);
        *count += 1;
        *count <= per_author_max
    });
    kept.sort_by_key(|item| item.request);
    let share = if kept.len() < AGREEING { EARLY_SHARE_MAX } else { SHARE_MAX };
    let weight =
        if kept.is_empty() { 0.0 } else { (share * sample_weight / kept.len() as f64).clamp(1.0, FEEDBACK_WEIGHT) };
    kept.into_iter().map(|item| (item, weight)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::{feedback, sample};
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

    #[test]
    fn the_latest_word_of_an_author_wins() {
        let items = vec![feedback(1, true, "a"), feedback(1, false, "a")];

        let effective = effective_feedback(items, 1000.0);

        assert_eq!(effective.len(), 1);
        assert!(!effective[0].0.is_attack);
    }

    #[test]
    fn contradicting_authors_cancel_each_other() {
        let items = vec![feedback(1, true, "a"), feedback(1, false, "b"), feedback(2, true, "a")];

        let effective = effective_feedback(items, 1000.0);

        assert_eq!(effective.len(), 1);
        assert_eq!(effective[0].0.request, feedback(2, true, "a").request);
    }

    #[test]
    fn one_author_counts_at_most_three_times_on_one_account_and_network() {
        let items = (0..10)
            .map(|number| {
                let mut item = feedback(number, true, "a");
                item.client_ip = IpAddr::from([10, 0, 0, 1]);
                item.user = Pseudonym([1; 16]);
                item
            })
            .collect();

        assert_eq!(effective_feedback(items, 1000.0).len(), 3);
    }

    #[test]
    fn a_flood_of_one_author_counts_for_ten_items_or_half_a_per_cent_and_the_latest_stay() {
        let flood = || (0..5000).map(|number| feedback(number, true, "a")).collect::<Vec<_>>();
        let total = |effective: &[(Feedback, f64)]| effective.iter().map(|(_, weight)| weight).sum::<f64>();

        let (small, large) = (effective_feedback(flood(), 1000.0), effective_feedback(flood(), 100_000.0));

        assert_eq!((small.len(), total(&small)), (10, 10.0));
        let earliest = small.iter().map(|(item, _)| item.ts).min();
        assert_eq!(earliest, Some(feedback(4990, true, "a").ts));
        assert!(large.len() == 500 && total(&large) <= 2000.0, "{} items", large.len());
    }

    #[test]
    fn another_author_still_counts_beside_a_flood() {
        let mut items: Vec<_> = (0..5000).map(|number| feedback(number, true, "a")).collect();
        items.push(feedback(5001, false, "b"));

        let effective = effective_feedback(items, 1000.0);

        assert!(effective.iter().any(|(item, _)| item.author == "b"));
        assert_eq!(effective.len(), 11);
    }

    #[test]
    fn feedback_never_weighs_less_than_a_sample_nor_more_than_ten() {
        let items = || (0..10).map(|number| feedback(number, true, "a")).collect::<Vec<_>>();

        assert!(effective_feedback(items(), 100.0).iter().all(|(_, weight)| *weight == 1.0));
        assert!(effective_feedback(items(), 1e9).iter().all(|(_, weight)| *weight == FEEDBACK_WEIGHT));
    }
}
