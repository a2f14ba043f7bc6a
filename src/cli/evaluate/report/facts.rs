//! What the report shows beyond the JSON of `evaluate`: curves, calibration, histograms and campaigns, from the scores.

use std::collections::BTreeMap;

use super::super::measure::Lived;
use crate::detection::record::{CheckedRecord, TrueLabel};

/// Equally wide bins of the calibration plot, as in the calibration error.
const CALIBRATION_BINS: usize = 10;
/// Equally wide bins of the histograms.
const HISTOGRAM_BINS: usize = 20;

/// One attempt whose truth is known.
#[derive(Debug, Clone, Copy)]
struct Known {
    score: f64,
    attack: bool,
    flagged: Option<bool>,
}

/// Attempts of one bin of scores.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CalibrationBin {
    /// Attempts in it.
    pub attempts: usize,
    /// Mean of their scores; 0 without attempts.
    pub mean_score: f64,
    /// Share of attacks among them; 0 without attempts.
    pub attack_share: f64,
}

/// One attack as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// As the records say.
    pub name: String,
    /// As the records say.
    pub scenario: String,
    /// Attempts in the test.
    pub attempts: usize,
    /// Those flagged.
    pub flagged: usize,
    /// Number of the first flagged attempt, from 1.
    pub first: Option<usize>,
    /// Whether any of them could have been flagged.
    pub measured: bool,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Facts {
    /// (false-positive rate, recall) from the highest score down; empty where a class is missing.
    pub roc: Vec<(f64, f64)>,
    /// (recall, precision) from the highest score down; empty without attacks.
    pub precision_recall: Vec<(f64, f64)>,
    /// Share of attacks among the flagged; `None` where nothing is flagged.
    pub precision: Option<f64>,
    /// From score 0 to 1.
    pub calibration: [CalibrationBin; CALIBRATION_BINS],
    /// Share of the attacks in each bin of scores.
    pub attacks: [f64; HISTOGRAM_BINS],
    /// Share of the legitimate attempts in each bin of scores.
    pub legit: [f64; HISTOGRAM_BINS],
    /// Legitimate attempts with a known truth.
    pub negatives: usize,
    /// Missed ones first, then by size, largest first.
    pub campaigns: Vec<Campaign>,
}

impl Facts {
    /// From the test records and what was said of each.
    pub fn new(test: &[CheckedRecord], lived: &[Lived]) -> Self {
        let known = test.iter().zip(lived).filter_map(|(record, lived)| {
            let attack = match record.truth.label? {
                TrueLabel::Attack => true,
                TrueLabel::Legit => false,
                TrueLabel::Unknown => return None,
            };
            Some(Known { score: lived.score, attack, flagged: lived.flagged })
        });
        let mut known: Vec<Known> = known.collect();
        known.sort_by(|a, b| b.score.total_cmp(&a.score));
        let positives = known.iter().filter(|row| row.attack).count();
        let negatives = known.len() - positives;
        let (roc, precision_recall) = curves(&known, positives, negatives);
        let flagged = known.iter().filter(|row| row.flagged == Some(true));
        let (hits, all) = flagged.fold((0, 0), |(hits, all), row| (hits + usize::from(row.attack), all + 1));
        Self {
            roc,
            precision_recall,
            precision: (all > 0).then(|| hits as f64 / f64::from(all)),
            calibration: calibration(&known),
            attacks: histogram(&known, true, positives),
            legit: histogram(&known, false, negatives),
            negatives,
            campaigns: campaigns(test, lived),
        }
    }
}

type Curve = Vec<(f64, f64)>;

/// A point after each group of equal scores.
fn curves(known: &[Known], positives: usize, negatives: usize) -> (Curve, Curve) {
    let (mut roc, mut precision_recall) = (Vec::new(), Vec::new());
    let (mut tp, mut fp) = (0usize, 0usize);
    for group in known.chunk_by(|a, b| a.score == b.score) {
        let attacks = group.iter().filter(|row| row.attack).count();
        tp += attacks;
        fp += group.len() - attacks;
        if positives > 0 && negatives > 0 {
            roc.push((fp as f64 / negatives as f64, tp as f64 / positives as f64));
        }
        if positives > 0 {
            precision_recall.push((tp as f64 / positives as f64, tp as f64 / (tp + fp) as f64));
        }
    }
    (roc, precision_recall)
}

fn bin(score: f64, bins: usize) -> usize {
    ((score * bins as f64) as usize).min(bins - 1)
}

fn calibration(known: &[Known]) -> [CalibrationBin; CALIBRATION_BINS] {
    let mut bins = [CalibrationBin::default(); CALIBRATION_BINS];
    for row in known {
        let bin = &mut bins[bin(row.score, CALIBRATION_BINS)];
        bin.attempts += 1;
        bin.mean_score += row.score;
        bin.attack_share += f64::from(u8::from(row.attack));
    }
    for bin in bins.iter_mut().filter(|bin| bin.attempts > 0) {
        bin.mean_score /= bin.attempts as f64;
        bin.attack_share /= bin.attempts as f64;
    }
    bins
}

fn histogram(known: &[Known], attack: bool, all: usize) -> [f64; HISTOGRAM_BINS] {
    let mut bins = [0.0; HISTOGRAM_BINS];
    for row in known.iter().filter(|row| row.attack == attack) {
        bins[bin(row.score, HISTOGRAM_BINS)] += 1.0 / all as f64;
    }
    bins
}

fn campaigns(test: &[CheckedRecord], lived: &[Lived]) -> Vec<Campaign> {
    let mut found: BTreeMap<&str, Campaign> = BTreeMap::new();
    for (record, lived) in test.iter().zip(lived).filter(|(r, _)| r.truth.label == Some(TrueLabel::Attack)) {
        let Some(name) = record.truth.campaign.as_deref() else { continue };
        let campaign = found.entry(name).or_insert_with(|| Campaign {
            name: name.to_owned(),
            scenario: record.truth.scenario.clone().unwrap_or_default(),
            attempts: 0,
            flagged: 0,
            first: None,
            measured: false,
        });
        campaign.attempts += 1;
        campaign.measured |= lived.flagged.is_some();
        if lived.flagged == Some(true) {
            campaign.flagged += 1;
            campaign.first = campaign.first.or(Some(campaign.attempts));
        }
    }
    let mut campaigns: Vec<Campaign> = found.into_values().collect();
    campaigns.sort_by_key(|campaign| (campaign.first.is_some(), std::cmp::Reverse(campaign.attempts)));
    campaigns
}
