//! From "how many legitimate logins may be stopped" to a score: thresholds that the data can support.
//!
//! Only scores of legitimate attempts matter here, and they must come from rows that the model was not trained on. What
//! happens at a threshold is decided elsewhere.

use serde::{Deserialize, Serialize};

/// With no event in n trials, the rate is below 3/n with 95 % confidence (the "rule of three"). A budget of b therefore
/// needs at least 3/b legitimate attempts.
const RULE_OF_THREE: f64 = 3.0;

/// Watching may be this many times as frequent as blocking …
const WATCH_PER_BLOCK: f64 = 10.0;
/// … but not more frequent than this.
const WATCH_BUDGET_MAX: f64 = 0.5;

/// Scores above which an attempt is blocked or watched. A missing one means that the data could not support it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// A probability above this is a reason to block.
    pub block: Option<f64>,
    /// A probability above this is worth watching; at most `block`.
    pub watch: Option<f64>,
}

/// Threshold that lets at most a share `budget` of legitimate attempts score above it; none if the scores are too few
/// (fewer than 3/`budget`) or not all finite, or if `budget` is not between 0 and 1.
///
/// With n scores and k = ⌊n·budget⌋, at most k of them may lie above. The smallest observed score which meets that is the
/// (k+1)-th highest, and on these n scores it would be exact. But the next attempt is a new one: the chance that it beats
/// the j-th highest of n is j/(n+1), which for j = k+1 is over the budget. So the k-th highest is taken, one order
/// statistic further up, for which the chance k/(n+1) keeps the budget. Fewer than k scores lie above it; with ties at
/// that score fewer still, because only scores *above* a threshold count.
pub fn from_budget(negative_scores: &[f64], budget: f64) -> Option<f64> {
    let supported = budget > 0.0
        && budget < 1.0
        && negative_scores.len() as f64 >= (RULE_OF_THREE / budget).ceil()
        && negative_scores.iter().all(|score| score.is_finite());
    if !supported {
        return None;
    }
    let allowed = (negative_scores.len() as f64 * budget).floor() as usize;
    let mut descending = negative_scores.to_vec();
    descending.sort_by(|a, b| b.total_cmp(a));
    // The rule of three makes `allowed` 3, or 2 if the product was rounded down.
    descending.get(allowed.checked_sub(1)?).copied()
}

/// The block threshold at `budget`, and the watch threshold at ten times that, but not above one half.
///
/// Few scores may support only the second.
pub fn thresholds(negative_scores: &[f64], budget: f64) -> Thresholds {
    // A budget above one half is strange but must not turn the order around.
    let watch_budget = (WATCH_PER_BLOCK * budget).min(WATCH_BUDGET_MAX).max(budget);
    Thresholds { block: from_budget(negative_scores, budget), watch: from_budget(negative_scores, watch_budget) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;

    /// 0, 1/n, 2/n, …
    fn ramp(n: u32) -> Vec<f64> {
        (0..n).map(|rank| f64::from(rank) / f64::from(n)).collect()
    }

    fn above(scores: &[f64], threshold: f64) -> usize {
        scores.iter().filter(|&&score| score > threshold).count()
    }

    #[test]
    fn fewer_than_the_budget_lie_above_and_one_step_down_would_be_the_limit() {
        for (n, budget, allowed) in [(1_000, 0.01, 10), (300, 0.01, 3), (5_000, 0.001, 5), (999, 0.1, 99)] {
            let scores = ramp(n);
            let threshold = from_budget(&scores, budget).unwrap();

            assert_eq!(above(&scores, threshold), allowed - 1, "{n} scores, budget {budget}");
            assert_eq!(above(&scores, threshold - 1.0 / f64::from(n)), allowed);
        }
    }

    #[test]
    fn the_rule_of_three_says_how_many_scores_are_needed() {
        assert_eq!(from_budget(&ramp(2_999), 0.001), None);
        assert!(from_budget(&ramp(3_000), 0.001).is_some());
        assert_eq!(from_budget(&ramp(299), 0.01), None);
        assert!(from_budget(&ramp(300), 0.01).is_some());
        assert_eq!(from_budget(&[], 0.5), None);
    }

    #[test]
    fn ties_stay_below_their_threshold() {
        let mut scores = vec![0.1; 900];
        scores.extend([0.7; 100]);

        assert_eq!(from_budget(&scores, 0.01), Some(0.7));
        assert_eq!(above(&scores, 0.7), 0);
        // 200 may lie above, and the 200th highest is one of the many at 0.1.
        assert_eq!(from_budget(&scores, 0.2), Some(0.1));
        assert_eq!(above(&scores, 0.1), 100);
        assert_eq!(from_budget(&[0.3; 1_000], 0.01), Some(0.3));
    }

    #[test]
    fn new_attempts_keep_the_budget_on_average() {
        let mut rng = Rng::new(4, "threshold test");
        let (runs, budget) = (400, 0.01);
        let mut false_positives = 0.0;
        for _ in 0..runs {
            let scores: Vec<f64> = (0..350).map(|_| rng.uniform()).collect();
            // Uniform scores: the chance of a new one above t is 1 − t.
            false_positives += 1.0 - from_budget(&scores, budget).unwrap();
        }
        let realised = false_positives / f64::from(runs);
        assert!(realised < budget, "{realised}");
        // 3/351, with a standard error of 0.00025.
        assert!((realised - 3.0 / 351.0).abs() < 0.001, "{realised}");
    }

    #[test]
    fn a_budget_or_score_that_makes_no_sense_gives_no_threshold() {
        let scores = ramp(10_000);
        for budget in [0.0, -0.1, 1.0, 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(from_budget(&scores, budget), None, "{budget}");
            assert_eq!(thresholds(&scores, budget).block, None, "{budget}");
        }
        let mut broken = scores;
        broken[7] = f64::NAN;
        assert_eq!(from_budget(&broken, 0.1), None);
    }

    #[test]
    fn watching_is_ten_times_as_frequent_as_blocking() {
        let scores = ramp(10_000);
        let Thresholds { block, watch } = thresholds(&scores, 0.001);
        assert_eq!((above(&scores, block.unwrap()), above(&scores, watch.unwrap())), (9, 99));

        let Thresholds { block, watch } = thresholds(&scores, 0.2);
        assert_eq!((above(&scores, block.unwrap()), above(&scores, watch.unwrap())), (1_999, 4_999));

        let generous = thresholds(&scores, 0.8);
        assert_eq!(generous.watch, generous.block);
    }

    #[test]
    fn few_scores_support_watching_only() {
        let Thresholds { block, watch } = thresholds(&ramp(1_000), 0.001);
        assert_eq!(block, None);
        assert!(watch.is_some());
        assert_eq!(Thresholds::default(), thresholds(&ramp(10), 0.001));
    }
}
