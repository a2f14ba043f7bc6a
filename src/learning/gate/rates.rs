//! Does the challenger keep its promises on the held-out rows: the share of legitimate attempts that it would block, and
//! the honesty of its probabilities?
//!
//! Few rows deviate by chance, and rows of one group deviate together. Only what chance cannot explain is held against
//! a challenger.

use std::collections::BTreeMap;

use super::super::evaluation::{self, Scored};
use super::bootstrap::dense_groups;
use super::{Challenge, Criterion, HeldOut, Status, binomial, failed_if};
use crate::numeric;

/// A realised false-positive rate may be this many times its target: half as much again is what a threshold from a few
/// thousand rows misses its target by.
const RATE_EXCESS: f64 = 1.5;
/// Chance of refusing a model that is just within the limit.
const SIGNIFICANCE: f64 = 0.05;
/// The same as a number of standard deviations, for sums that are about normal.
const ONE_SIDED_95: f64 = 1.645;
/// Mean and variance of |Z| for a standard normal Z: √(2/π) and 1 − 2/π.
const MEAN_ABS_NORMAL: f64 = 0.797_884_560_802_865_4;
const VARIANCE_ABS_NORMAL: f64 = 0.363_380_227_632_418_6;
/// A calibration error over its limit counts if that of an honest champion is lower by this: seeds of one training differ by a tenth
/// of it, and a third of the usual limit is what a person would call a difference.
const ECE_MARGIN: f64 = 0.01;
/// Bins of the calibration error, as in `evaluation`.
const BINS: usize = 10;

/// The realised rate of blocked legitimate attempts (plain rows) against its target.
///
/// Whether an excess is luck is asked of the groups: a stale device that is blocked a hundred times is one mistake. If
/// every row had the limit's rate, a group of n rows would have a false positive with probability at most 1 − (1 − rate)ⁿ;
/// the number of groups that do is compared with a binomial one of the mean probability, whose tail is the heavier one
/// (W. Hoeffding 1956).
pub(super) fn false_positives(challenge: &Challenge<'_>) -> Criterion {
    const NAME: &str = "false_positive_rate";
    let Some(threshold) = challenge.challenger.thresholds.block else {
        return Criterion::not_measured(NAME, "it has no block threshold, so it blocks nobody");
    };
    let mut groups: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for row in challenge.hold_out.iter().filter(|row| !row.attack) {
        let (rows, blocked) = groups.entry(row.group).or_default();
        *rows += 1;
        *blocked += u64::from(row.probability() > threshold);
    }
    let (rows, blocked) = groups.values().fold((0, 0), |sum, group| (sum.0 + group.0, sum.1 + group.1));
    if rows == 0 {
        return Criterion::not_measured(NAME, "no held-out row is legitimate");
    }
    let realised = blocked as f64 / rows as f64;
    let limit = RATE_EXCESS * challenge.challenger.budget;
    let hit = groups.values().filter(|(_, blocked)| *blocked > 0).count() as u64;
    let expected: f64 = groups.values().map(|(rows, _)| 1.0 - none_of(*rows, limit)).sum();
    let count = groups.len() as u64;
    let chance = binomial::at_least(hit, count, expected / count as f64);
    let exceeds = realised > limit;
    let refused = exceeds && chance < SIGNIFICANCE;
    let luck = if exceeds && !refused { ", which may be luck" } else { "" };
    let sentence = format!(
        "of {rows} legitimate held-out attempts {blocked} would be blocked ({realised:.5}) in {hit} of {count} groups; \
         {limit:.5} is allowed{luck}"
    );
    Criterion::measured(NAME, failed_if(refused), realised, limit, sentence)
}

/// (1 − rate)ⁿ.
fn none_of(rows: u64, rate: f64) -> f64 {
    if rate >= 1.0 { 0.0 } else { numeric::exp(rows as f64 * numeric::ln_1p(-rate)) }
}

/// The expected calibration error against its limit, over attempts as they come. Even an honest model has some by chance;
/// that much is added to the limit. Whoever was calibrated and is still over it is refused. Whoever was not is refused where
/// the champion is honest, or lies much less: thresholds from a budget do not need honesty, and an older model that lies as
/// much, or none at all, is no better.
pub(super) fn calibration(challenge: &Challenge<'_>) -> Criterion {
    const NAME: &str = "calibration";
    let rows = challenge.hold_out;
    let scored = |probability: fn(&HeldOut) -> f64| -> Vec<Scored> {
        rows.iter().map(|row| Scored { score: probability(row), attack: row.attack, weight: row.represents }).collect()
    };
    let ours = scored(HeldOut::probability);
    let Some(ece) = evaluation::ece(&ours) else {
        return Criterion::not_measured(NAME, "there are no held-out rows");
    };
    let theirs = (challenge.champion.is_some() && rows.iter().all(|row| row.champion.is_some()))
        .then(|| evaluation::ece(&scored(|row| numeric::sigmoid(row.champion.unwrap_or(f64::NAN)))))
        .flatten();
    let limit = challenge.options.ece_limit;
    let chance = chance_of_error(rows, &ours);
    let status = match theirs {
        _ if ece <= limit + chance => Status::Passed,
        _ if challenge.calibrated => Status::Failed,
        // From an honest champion any clear step is one too many; from another, only a large one.
        Some(theirs) if theirs <= limit + chance && ece > theirs + ECE_MARGIN => Status::Failed,
        Some(theirs) if ece > theirs + limit + chance => Status::Failed,
        _ => Status::Noted,
    };
    let mut sentence = format!("the calibration error on the held-out rows is {ece:.4}, {limit} is allowed");
    if ece > limit && status == Status::Passed {
        sentence.push_str(&format!(", and {chance:.4} of it may be luck"));
    } else if let Some(theirs) = theirs {
        sentence.push_str(&format!(", the current model has {theirs:.4}"));
    }
    Criterion::measured(NAME, status, ece, limit, sentence)
}

/// What the calibration error of an honest model on these rows exceeds in one of twenty cases.
///
/// The error is a sum of |excess of a bin|; each excess is about normal around zero. Its variance is that of independent
/// labels, or the one seen between groups where that is larger.
fn chance_of_error(rows: &[HeldOut], scored: &[Scored]) -> f64 {
    let (groups, count) = dense_groups(rows);
    let mut excess = vec![[0.0; BINS]; count];
    let mut independent = [0.0; BINS];
    let mut total = 0.0;
    for (row, group) in scored.iter().zip(groups) {
        let bin = ((row.score * BINS as f64) as usize).min(BINS - 1);
        let label = f64::from(u8::from(row.attack));
        excess[group as usize][bin] += row.weight * (row.score - label);
        independent[bin] += row.weight * row.weight * row.score * (1.0 - row.score);
        total += row.weight;
    }
    let (mut mean, mut variance) = (0.0, 0.0);
    for bin in 0..BINS {
        let sum: f64 = excess.iter().map(|group| group[bin]).sum();
        let squares: f64 = excess.iter().map(|group| group[bin] * group[bin]).sum();
        let between = squares - sum * sum / count as f64;
        let of_bin = independent[bin].max(between);
        mean += MEAN_ABS_NORMAL * of_bin.sqrt();
        variance += VARIANCE_ABS_NORMAL * of_bin;
    }
    (mean + ONE_SIDED_95 * variance.sqrt()) / total
}
