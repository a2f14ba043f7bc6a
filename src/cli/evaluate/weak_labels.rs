//! Labels from hindsight for the training records, and what they are worth where the truth is known.
//!
//! Only training records go in: a label of the last training day must not look at the test.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::render;
use crate::detection::attempt::{Outcome, Timestamp};
use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::hindsight::{Case, HindsightAnswer, HindsightIndex, HindsightLabels, HindsightLimits};
use crate::learning::labels::Label;

/// Everything that happened in some records.
pub fn index(records: &[CheckedRecord]) -> HindsightIndex {
    let mut index = HindsightIndex::new(HindsightLimits::RECORDING);
    for record in records {
        index.record(&record.attempt, record.outcome.unwrap_or(Outcome::Unknown));
    }
    index
}

/// The labels as of the last record: nothing is known of later, so what had not settled then stays unknown.
pub fn labels(index: &HindsightIndex) -> HindsightLabels<'_> {
    HindsightLabels::new(index, index.newest().unwrap_or(Timestamp::from_millis(i64::MIN)))
}

/// What one rule (or one reason for having no label) did with failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    label: Option<Label>,
    failures: usize,
    attacks: usize,
    legit: usize,
}

/// What a rule makes of a failure, as in the records.
fn label_name(label: Option<Label>) -> &'static str {
    match label {
        Some(Label::Attack) => "attack",
        Some(Label::Legit) => "legit",
        None => "none",
    }
}

/// How many failures got a label, and how many of these are right.
#[derive(Debug, Default)]
pub struct WeakLabels {
    by_name: BTreeMap<&'static str, Tally>,
}

impl WeakLabels {
    /// Compares the labels of all failures with the truth, where there is one.
    pub fn measure(labels: &HindsightLabels<'_>, records: &[CheckedRecord]) -> Self {
        let mut by_name: BTreeMap<&'static str, Tally> = BTreeMap::new();
        for record in records.iter().filter(|record| !record.attempt.no_auth) {
            let Some(outcome @ Outcome::Failure) = record.outcome else { continue };
            let attempt = &record.attempt;
            let answer = labels.answer(&Case {
                ts: attempt.ts,
                request: attempt.request,
                client_ip: attempt.client_ip,
                user: attempt.user,
                outcome,
            });
            let (name, label) = match answer {
                HindsightAnswer::Label(labelled, rule) => (rule.name(), Some(labelled.label)),
                HindsightAnswer::Unknown(reason) => (reason.name(), None),
            };
            let tally = by_name.entry(name).or_default();
            tally.label = label;
            tally.failures += 1;
            tally.attacks += usize::from(record.truth.label == Some(TrueLabel::Attack));
            tally.legit += usize::from(record.truth.label == Some(TrueLabel::Legit));
        }
        Self { by_name }
    }

    fn coverage(&self) -> Option<f64> {
        let all: usize = self.by_name.values().map(|tally| tally.failures).sum();
        let labelled: usize =
            self.by_name.values().filter(|tally| tally.label.is_some()).map(|tally| tally.failures).sum();
        (all > 0).then(|| labelled as f64 / all as f64)
    }

    fn precision(&self, label: Label) -> Option<f64> {
        let mut right = (0, 0);
        for tally in self.by_name.values().filter(|tally| tally.label == Some(label)) {
            right.0 += if label == Label::Attack { tally.attacks } else { tally.legit };
            right.1 += tally.attacks + tally.legit;
        }
        (right.1 > 0).then(|| right.0 as f64 / right.1 as f64)
    }

    /// Under the names of `evaluate --json`.
    pub fn to_json(&self) -> Value {
        let named = |labelled: bool| -> Map<String, Value> {
            let chosen = self.by_name.iter().filter(|(_, tally)| tally.label.is_some() == labelled);
            chosen
                .map(|(name, tally)| {
                    let counts = json!({
                        "label": label_name(tally.label), "failures": tally.failures,
                        "attacks": tally.attacks, "legit": tally.legit,
                    });
                    ((*name).to_owned(), counts)
                })
                .collect()
        };
        json!({
            "coverage": self.coverage(),
            "attack_precision": self.precision(Label::Attack),
            "legit_precision": self.precision(Label::Legit),
            "rules": named(true),
            "unknown": named(false),
        })
    }

    /// As tables.
    pub fn show(&self) {
        let report = self.to_json();
        let mut table = render::table(&["labels of failed training attempts", ""]);
        for (key, name) in [
            ("coverage", "share with a label"),
            ("attack_precision", "attack labels that are right"),
            ("legit_precision", "legitimate labels that are right"),
        ] {
            table.add_row(vec![name.to_owned(), render::text(&report[key])]);
        }
        out!("{table}");
        let mut table = render::table(&["rule", "label", "failures", "true attacks", "truly legitimate"]);
        for (name, tally) in &self.by_name {
            let label = label_name(tally.label);
            let counts = [tally.failures, tally.attacks, tally.legit].map(|count| count.to_string());
            table.add_row([name.to_string(), label.to_owned()].into_iter().chain(counts).collect::<Vec<_>>());
        }
        out!("{table}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::pseudonym::Pseudonymizer;
    use crate::traffic::{self, TrafficOptions};

    fn records(truth: bool) -> Vec<CheckedRecord> {
        let options = TrafficOptions { seed: 5, users: 100, days: 4.0, ..TrafficOptions::default() };
        let later = options.start.plus_millis(30 * 86_400_000);
        let pseudonymizer = Pseudonymizer::new([0; 32]);
        let records = traffic::generate(&options).into_iter();
        let mut records: Vec<_> = records
            .map(|record| record.check(None, later, &pseudonymizer, String::new).expect("a valid record"))
            .collect();
        if !truth {
            records.iter_mut().for_each(|record| record.truth.label = None);
        }
        records
    }

    fn measured(records: &[CheckedRecord]) -> Value {
        let index = index(records);
        WeakLabels::measure(&labels(&index), records).to_json()
    }

    #[test]
    fn failures_without_a_day_to_either_side_count_as_not_covered() {
        let report = measured(&records(true));

        assert!(report["coverage"].as_f64().is_some_and(|coverage| coverage > 0.4 && coverage < 0.9), "{report}");
        assert!(report["attack_precision"].as_f64() > Some(0.9), "{report}");
        assert!(report["legit_precision"].as_f64() > Some(0.9), "{report}");
        assert!(report["unknown"]["gap"]["failures"].as_u64() > Some(0), "{report}");
        assert_eq!(report["unknown"]["gap"]["label"], "none");
        let labels: Vec<&Value> =
            report["rules"].as_object().into_iter().flatten().map(|(_, rule)| &rule["label"]).collect();
        assert!(["attack", "legit"].iter().all(|label| labels.iter().any(|rule| rule == label)), "{report}");
        assert!(report["unknown"]["unsettled"]["failures"].as_u64() > Some(0), "{report}");
    }

    #[test]
    fn without_truth_there_is_coverage_but_no_precision() {
        let report = measured(&records(false));

        assert!(report["coverage"].is_number(), "{report}");
        assert_eq!((&report["attack_precision"], &report["legit_precision"]), (&Value::Null, &Value::Null));
    }
}
