//! What a model is worth on labelled attempts: overall, by scenario, by campaign and by source.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::evaluation::{self, Evaluation, Scored};

/// Smaller campaigns are too short to promise their detection.
const CAMPAIGN_MIN: usize = 40;
/// As many false positives has a rate that can be measured, at least.
const FALSE_POSITIVES_MIN: f64 = 3.0;
const FALSE_POSITIVE_RATES: [(&str, f64); 3] = [("0.01", 0.01), ("0.001", 0.001), ("0.0001", 0.0001)];

/// One test attempt with its features and what it really was.
pub struct TestRow {
    values: Vec<f32>,
    label: Option<TrueLabel>,
    scenario: Option<String>,
    campaign: Option<String>,
    source: Option<String>,
}

impl TestRow {
    /// From a record and its snapshot.
    pub fn new(record: &CheckedRecord, values: Vec<f32>) -> Self {
        let truth = &record.truth;
        Self {
            values,
            label: truth.label,
            scenario: truth.scenario.clone(),
            campaign: truth.campaign.clone(),
            source: truth.source.clone(),
        }
    }

    fn is_attack(&self) -> bool {
        self.label == Some(TrueLabel::Attack)
    }

    fn is_known(&self) -> bool {
        matches!(self.label, Some(TrueLabel::Attack | TrueLabel::Legit))
    }
}

/// Share of flagged attempts, 0–1; `None` without attempts, or where a model could not flag.
pub fn share(flagged: impl Iterator<Item = Option<bool>>) -> Option<f64> {
    let (mut hits, mut all) = (0u64, 0u64);
    for flag in flagged {
        hits += u64::from(flag?);
        all += 1;
    }
    (all > 0).then(|| hits as f64 / all as f64)
}

/// The measures of one model.
pub struct Measured {
    evaluation: Evaluation,
    recall_at_fpr: Map<String, Value>,
    scenarios: Map<String, Value>,
    campaigns: Value,
    sources: Map<String, Value>,
    /// No attempt could have been flagged.
    watch_only: bool,
}

/// What a model said of one attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lived {
    /// Probability of attack.
    pub score: f64,
    /// Whether that was above the block threshold; `None` = the model may only watch.
    pub flagged: Option<bool>,
}

/// Scores every row and measures those with a label. `threshold`: `None` = the model may only watch.
pub fn measure(rows: &[TestRow], threshold: Option<f64>, probability: impl Fn(&[f32]) -> f64) -> Measured {
    measure_at(rows, &score(rows, threshold, probability), threshold)
}

/// Measures what one model with one threshold said of each row.
pub fn measure_at(rows: &[TestRow], lived: &[Lived], threshold: Option<f64>) -> Measured {
    let mut measured = measure_lived(rows, lived);
    measured.evaluation.threshold = threshold;
    measured
}

/// What a model says of each row.
pub fn score(rows: &[TestRow], threshold: Option<f64>, probability: impl Fn(&[f32]) -> f64) -> Vec<Lived> {
    let lived = rows.iter().map(|row| {
        let score = probability(&row.values);
        Lived { score, flagged: threshold.map(|threshold| score > threshold) }
    });
    lived.collect()
}

/// Measures what was said of each row. The rates are those of the flags, whatever threshold was in force when.
pub fn measure_lived(rows: &[TestRow], lived: &[Lived]) -> Measured {
    let known = || rows.iter().zip(lived).filter(|(row, _)| row.is_known());
    let labelled: Vec<Scored> =
        known().map(|(row, lived)| Scored { score: lived.score, attack: row.is_attack(), weight: 1.0 }).collect();
    let flagged: Vec<Option<bool>> = lived.iter().map(|lived| lived.flagged).collect();
    let mut evaluation = evaluation::evaluate(&labelled, None);
    evaluation.recall = share(known().filter(|(row, _)| row.is_attack()).map(|(_, lived)| lived.flagged));
    evaluation.false_positive_rate = share(known().filter(|(row, _)| !row.is_attack()).map(|(_, lived)| lived.flagged));
    let negatives = labelled.iter().filter(|scored| !scored.attack).count();
    let recall_at_fpr = FALSE_POSITIVE_RATES
        .into_iter()
        .map(|(name, rate)| {
            // Fewer than three false positives say as little of a rate as chance does: 30 000 negatives for .01 %.
            let measurable = negatives as f64 >= (FALSE_POSITIVES_MIN / rate).round();
            let recall = if measurable { evaluation::tpr_at_fpr(&labelled, rate) } else { None };
            (name.to_owned(), json!(recall))
        })
        .collect();
    Measured {
        evaluation,
        recall_at_fpr,
        scenarios: scenarios(rows, &flagged),
        campaigns: campaigns(rows, &flagged),
        sources: sources(rows, &flagged),
        watch_only: flagged.iter().all(Option::is_none),
    }
}

impl Measured {
    /// Everything, under the names of `evaluate --json`.
    pub fn to_json(&self) -> Value {
        let mut report = self.summary();
        report["scenarios"] = Value::Object(self.scenarios.clone());
        report["campaigns"] = self.campaigns.clone();
        report["sources"] = Value::Object(self.sources.clone());
        report
    }

    /// The overall measures.
    pub fn summary(&self) -> Value {
        let evaluation = &self.evaluation;
        json!({
            "attempts": evaluation.rows,
            "attacks": evaluation.positives,
            "roc_auc": evaluation.roc_auc,
            "pr_auc": evaluation.pr_auc,
            "threshold": evaluation.threshold,
            "watch_only": self.watch_only,
            "realised_fpr": evaluation.false_positive_rate,
            "recall": evaluation.recall,
            "recall_at_fpr": self.recall_at_fpr,
            "brier": evaluation.brier,
            "ece": evaluation.ece,
            "mean_score_attack": evaluation.mean_score_attack,
            "mean_score_legit": evaluation.mean_score_legit,
        })
    }
}

/// The scenario of a campaign, and of each of its attempts in their order whether it was flagged.
type Campaign<'a> = (Option<&'a str>, Vec<Option<bool>>);

/// Attempts by campaign.
fn by_campaign<'a>(rows: &'a [TestRow], flagged: &[Option<bool>]) -> BTreeMap<&'a str, Campaign<'a>> {
    let mut campaigns: BTreeMap<&str, Campaign<'_>> = BTreeMap::new();
    for (row, flagged) in rows.iter().zip(flagged).filter(|(row, _)| row.is_attack()) {
        if let Some(campaign) = row.campaign.as_deref() {
            let entry = campaigns.entry(campaign).or_insert_with(|| (row.scenario.as_deref(), Vec::new()));
            entry.1.push(*flagged);
        }
    }
    campaigns
}

fn first_flag(flags: &[Option<bool>]) -> Option<usize> {
    flags.iter().position(|flag| *flag == Some(true)).map(|index| index + 1)
}

fn scenarios(rows: &[TestRow], flagged: &[Option<bool>]) -> Map<String, Value> {
    let mut counts: BTreeMap<&str, (bool, usize, Option<usize>)> = BTreeMap::new();
    for (row, flagged) in rows.iter().zip(flagged).filter(|(row, _)| row.label.is_some()) {
        if let Some(scenario) = row.scenario.as_deref() {
            let (_, attempts, hits) = counts.entry(scenario).or_insert((row.is_attack(), 0, Some(0)));
            *attempts += 1;
            *hits = hits.zip(*flagged).map(|(hits, flagged)| hits + usize::from(flagged));
        }
    }
    let mut detections: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (scenario, flags) in by_campaign(rows, flagged).into_values() {
        if let (Some(scenario), Some(at)) = (scenario, first_flag(&flags)) {
            detections.entry(scenario).or_default().push(at);
        }
    }
    counts
        .into_iter()
        .map(|(name, (attack, attempts, hits))| {
            let share = hits.map(|hits| hits as f64 / attempts as f64);
            let mut scenario = json!({
                "attempts": attempts,
                "label": if attack { "attack" } else { "legit" },
                "median_time_to_detect": detections.get_mut(name).and_then(|times| median(times)),
            });
            scenario[if attack { "recall" } else { "false_positive_rate" }] = json!(share);
            (name.to_owned(), scenario)
        })
        .collect()
}

fn campaigns(rows: &[TestRow], flagged: &[Option<bool>]) -> Value {
    let large = by_campaign(rows, flagged).into_iter().filter(|(_, (_, flags))| flags.len() >= CAMPAIGN_MIN);
    let (mut detected, mut not_measured, mut missed) = (0, 0, Vec::new());
    for (name, (_, flags)) in large {
        if first_flag(&flags).is_some() {
            detected += 1;
        } else if flags.iter().all(Option::is_none) {
            // Where no model could block, none has missed anything.
            not_measured += 1;
        } else {
            missed.push(name);
        }
    }
    let total = detected + not_measured + missed.len();
    json!({ "total": total, "detected": detected, "missed": missed, "not_measured": not_measured })
}

fn sources(rows: &[TestRow], flagged: &[Option<bool>]) -> Map<String, Value> {
    let mut counts: BTreeMap<&str, (usize, usize, Option<usize>)> = BTreeMap::new();
    for (row, flagged) in rows.iter().zip(flagged) {
        if let Some(source) = row.source.as_deref() {
            let (attempts, attacks, hits) = counts.entry(source).or_insert((0, 0, Some(0)));
            *attempts += 1;
            *attacks += usize::from(row.is_attack());
            *hits = hits.zip(*flagged).map(|(hits, flagged)| hits + usize::from(flagged && row.is_attack()));
        }
    }
    counts
        .into_iter()
        .map(|(name, (attempts, attacks, hits))| {
            let recall = hits.filter(|_| attacks > 0).map(|hits| hits as f64 / attacks as f64);
            (name.to_owned(), json!({ "attempts": attempts, "attacks": attacks, "recall": recall }))
        })
        .collect()
}

/// The lower median; `None` of nothing.
pub fn median(values: &mut [usize]) -> Option<usize> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(score: f32, label: TrueLabel, campaign: Option<&str>) -> TestRow {
        let scenario = if label == TrueLabel::Attack { "burst" } else { "typo" };
        TestRow {
            values: vec![score],
            label: Some(label),
            scenario: Some(scenario.to_owned()),
            campaign: campaign.map(str::to_owned),
            source: None,
        }
    }

    #[test]
    fn a_campaign_is_detected_at_its_first_flagged_attempt() {
        let mut rows: Vec<_> = (0..50).map(|n| row(n as f32 / 50.0, TrueLabel::Attack, Some("one"))).collect();
        rows.extend((0..50).map(|_| row(0.1, TrueLabel::Attack, Some("quiet"))));
        rows.push(row(0.9, TrueLabel::Legit, None));

        let report = measure(&rows, Some(0.5), |values| f64::from(values[0])).to_json();

        assert_eq!(report["scenarios"]["burst"]["median_time_to_detect"], 27);
        assert_eq!(report["campaigns"], json!({ "total": 2, "detected": 1, "missed": ["quiet"], "not_measured": 0 }));
        assert_eq!(report["scenarios"]["typo"]["false_positive_rate"], 1.0);
        assert_eq!(report["recall_at_fpr"]["0.01"], Value::Null);
    }

    #[test]
    fn a_rate_of_which_fewer_than_three_false_positives_tell_is_not_measured() {
        let known = |negatives: usize| {
            let mut rows: Vec<_> = (0..negatives).map(|_| row(0.1, TrueLabel::Legit, None)).collect();
            rows.push(row(0.9, TrueLabel::Attack, None));
            let report = measure(&rows, None, |values| f64::from(values[0])).to_json();
            ["0.01", "0.001", "0.0001"].map(|rate| report["recall_at_fpr"][rate].is_number())
        };

        assert_eq!(known(299), [false, false, false]);
        assert_eq!(known(300), [true, false, false]);
        assert_eq!(known(2_999), [true, false, false]);
        assert_eq!(known(3_000), [true, true, false]);
        assert_eq!(known(29_999), [true, true, false]);
        assert_eq!(known(30_000), [true, true, true]);
    }

    #[test]
    fn without_a_threshold_nothing_is_flagged_and_rates_are_unknown() {
        let mut rows = vec![row(0.1, TrueLabel::Legit, None)];
        rows.extend((0..40).map(|_| row(0.9, TrueLabel::Attack, Some("one"))));

        let report = measure(&rows, None, |values| f64::from(values[0])).to_json();

        assert_eq!(report["scenarios"]["burst"]["recall"], Value::Null);
        assert_eq!(report["recall"], Value::Null);
        assert_eq!(report["roc_auc"], 1.0);
        assert_eq!(report["watch_only"], true);
        assert_eq!(report["campaigns"], json!({ "total": 1, "detected": 0, "missed": [], "not_measured": 1 }));
        let blocking = measure(&rows, Some(0.5), |values| f64::from(values[0])).to_json();
        assert_eq!(blocking["watch_only"], false);
    }
}
