//! How good scores are against known labels: ranking, calibration, and counts at a threshold.
//!
//! Every figure is missing rather than invented where the rows cannot support it, for example a ranking without attacks.
//! Whether a model is good enough to serve is not decided here.

use serde::{Deserialize, Serialize};

use crate::numeric;

/// Probabilities are kept this far from 0 and 1 in [`log_loss`], so that one confident mistake costs 34.5 and not ∞.
const LOG_LOSS_MARGIN: f64 = 1e-15;

/// Number of equally wide bins in [`ece`].
const CALIBRATION_BINS: usize = 10;

/// One scored row with its label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Probability of an attack, as the model sees it.
    pub score: f64,
    /// Whether it was one.
    pub attack: bool,
    /// Importance; finite and not negative. 1 is an ordinary row.
    pub weight: f64,
}

/// Rows at a threshold; positive means "called an attack".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Attacks called attacks.
    pub tp: u64,
    /// Legitimate attempts called attacks.
    pub fp: u64,
    /// Legitimate attempts called legitimate.
    pub tn: u64,
    /// Attacks called legitimate.
    #[serde(rename = "fn")]
    pub fn_: u64,
}

impl Confusion {
    /// Counts rows; a score above `threshold`, not at it, is a positive. Weights do not matter.
    pub fn at(scored: &[Scored], threshold: f64) -> Self {
        let mut counts = Self::default();
        for row in scored {
            match (row.score > threshold, row.attack) {
                (true, true) => counts.tp += 1,
                (true, false) => counts.fp += 1,
                (false, false) => counts.tn += 1,
                (false, true) => counts.fn_ += 1,
            }
        }
        counts
    }

    /// Share of attacks among the positives; none without positives.
    pub fn precision(&self) -> Option<f64> {
        share(self.tp, self.fp)
    }

    /// Share of positives among the attacks; none without attacks.
    pub fn recall(&self) -> Option<f64> {
        share(self.tp, self.fn_)
    }

    /// Share of positives among the legitimate attempts; none without them.
    pub fn false_positive_rate(&self) -> Option<f64> {
        share(self.fp, self.tn)
    }
}

fn share(part: u64, rest: u64) -> Option<f64> {
    (part + rest > 0).then(|| part as f64 / (part + rest) as f64)
}

/// All figures of one set of rows.
///
/// Rankings, Brier score, log-loss and calibration honour the weights. Counts and the rates derived from them are plain
/// rows, as are the scores from which a threshold is chosen, so that a realised rate can be held against its budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evaluation {
    /// Number of rows.
    pub rows: u64,
    /// Number of attacks among them.
    pub positives: u64,
    /// See [`roc_auc`].
    pub roc_auc: Option<f64>,
    /// See [`average_precision`].
    pub pr_auc: Option<f64>,
    /// Threshold of the counts, if one was given.
    pub threshold: Option<f64>,
    /// Counts at the threshold.
    pub confusion: Option<Confusion>,
    /// See [`Confusion::precision`].
    pub precision: Option<f64>,
    /// See [`Confusion::recall`].
    pub recall: Option<f64>,
    /// See [`Confusion::false_positive_rate`].
    pub false_positive_rate: Option<f64>,
    /// See [`brier`].
    pub brier: Option<f64>,
    /// See [`log_loss`].
    pub log_loss: Option<f64>,
    /// See [`ece`].
    pub ece: Option<f64>,
    /// Weighted mean score of the attacks.
    pub mean_score_attack: Option<f64>,
    /// Weighted mean score of the legitimate attempts.
    pub mean_score_legit: Option<f64>,
}

/// Computes every figure; those at a threshold only if there is one.
pub fn evaluate(scored: &[Scored], threshold: Option<f64>) -> Evaluation {
    let confusion = threshold.map(|threshold| Confusion::at(scored, threshold));
    let curve = Curve::new(scored);
    Evaluation {
        rows: scored.len() as u64,
        positives: scored.iter().filter(|row| row.attack).count() as u64,
        roc_auc: curve.roc_auc(),
        pr_auc: curve.average_precision(),
        threshold,
        confusion,
        precision: confusion.and_then(|counts| counts.precision()),
        recall: confusion.and_then(|counts| counts.recall()),
        false_positive_rate: confusion.and_then(|counts| counts.false_positive_rate()),
        brier: brier(scored),
        log_loss: log_loss(scored),
        ece: ece(scored),
        mean_score_attack: weighted_mean(scored.iter().filter(|row| row.attack), |row| row.score),
        mean_score_legit: weighted_mean(scored.iter().filter(|row| !row.attack), |row| row.score),
    }
}

/// Probability that an attack scores above a legitimate attempt, ties counting half. None if a class is missing.
pub fn roc_auc(scored: &[Scored]) -> Option<f64> {
    Curve::new(scored).roc_auc()
}

/// Area under precision over recall as a step function (no interpolation, which would be too kind). None if a class is
/// missing.
pub fn average_precision(scored: &[Scored]) -> Option<f64> {
    Curve::new(scored).average_precision()
}

/// Highest share of attacks found by any threshold whose share of false positives is at most `fpr`; rows with equal
/// scores are taken together. 0 if only the empty choice qualifies, none if a class is missing.
pub fn tpr_at_fpr(scored: &[Scored], fpr: f64) -> Option<f64> {
    Curve::new(scored).tpr_at_fpr(fpr)
}

/// Weighted mean of (score − label)². None without weight.
pub fn brier(scored: &[Scored]) -> Option<f64> {
    weighted_mean(scored, |row| (row.score - label(row)) * (row.score - label(row)))
}

/// Weighted mean of −ln of the probability given to the truth. None without weight.
pub fn log_loss(scored: &[Scored]) -> Option<f64> {
    weighted_mean(scored, |row| {
        let p = row.score.clamp(LOG_LOSS_MARGIN, 1.0 - LOG_LOSS_MARGIN);
        -numeric::ln(if row.attack { p } else { 1.0 - p })
    })
}

/// Expected calibration error: mean distance between score and share of attacks over ten equally wide bins, weighted by
/// what lies in each. A score of 1 belongs to the last bin. None without weight.
pub fn ece(scored: &[Scored]) -> Option<f64> {
    let mut excess = [0.0; CALIBRATION_BINS];
    let mut total = 0.0;
    for row in scored {
        let bin = (row.score * CALIBRATION_BINS as f64) as usize;
        excess[bin.min(CALIBRATION_BINS - 1)] += row.weight * (row.score - label(row));
        total += row.weight;
    }
    (total > 0.0).then(|| excess.iter().map(|sum| sum.abs()).sum::<f64>() / total)
}

fn label(row: &Scored) -> f64 {
    f64::from(u8::from(row.attack))
}

fn weighted_mean<'a>(rows: impl IntoIterator<Item = &'a Scored>, value: impl Fn(&Scored) -> f64) -> Option<f64> {
    let (mut sum, mut total) = (0.0, 0.0);
    for row in rows {
        sum += row.weight * value(row);
        total += row.weight;
    }
    (total > 0.0).then(|| sum / total)
}

/// Weight of attacks and of legitimate attempts at or above each distinct score, from the highest score down.
struct Curve {
    points: Vec<(f64, f64)>,
}

impl Curve {
    fn new(scored: &[Scored]) -> Self {
        let mut sorted: Vec<&Scored> = scored.iter().collect();
        sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
        let (mut attacks, mut legit) = (0.0, 0.0);
        let mut points = Vec::new();
        for tied in sorted.chunk_by(|a, b| a.score == b.score) {
            for row in tied {
                *(if row.attack { &mut attacks } else { &mut legit }) += row.weight;
            }
            points.push((attacks, legit));
        }
        Self { points }
    }

    /// Total weight of both classes, if both have some.
    fn totals(&self) -> Option<(f64, f64)> {
        self.points.last().copied().filter(|&(attacks, legit)| attacks > 0.0 && legit > 0.0)
    }

    fn roc_auc(&self) -> Option<f64> {
        let (attacks, legit) = self.totals()?;
        let mut area = 0.0;
        let mut before = (0.0, 0.0);
        for &point in &self.points {
            area += (point.1 - before.1) * 0.5 * (point.0 + before.0);
            before = point;
        }
        Some(area / (attacks * legit))
    }

    fn average_precision(&self) -> Option<f64> {
        let (all_attacks, _) = self.totals()?;
        let mut sum = 0.0;
        let mut before = 0.0;
        for &(attacks, legit) in &self.points {
            // Points without new attacks add nothing; this also skips 0/0 before the first weight.
            if attacks > before {
                sum += (attacks - before) * attacks / (attacks + legit);
                before = attacks;
            }
        }
        Some(sum / all_attacks)
    }

    fn tpr_at_fpr(&self, fpr: f64) -> Option<f64> {
        let (all_attacks, all_legit) = self.totals()?;
        let within = self.points.iter().take_while(|(_, legit)| legit / all_legit <= fpr);
        Some(within.last().map_or(0.0, |(attacks, _)| attacks / all_attacks))
    }
}

#[cfg(test)]
mod tests;
