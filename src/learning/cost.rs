//! Thresholds from what errors cost, instead of from a budget: block where blocking is cheaper than letting through.
//!
//! Blocking costs c_fp · (1 − p), letting through c_fn · p; they are equal at p = c_fp / (c_fp + c_fn) (C. Elkan, "The
//! foundations of cost-sensitive learning", 2001). That holds for honest probabilities only, so the held-out rows must
//! be able to say that the model is honest there, and must not say the contrary.

use super::threshold::{Above, Negative, RULE_OF_THREE, Thresholds, WATCH_PER_BLOCK};

/// A rate that costs may imply, at most: as the budget.
const RATE_MAX: f64 = 0.5;

/// What the block threshold is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ThresholdFrom {
    /// The share of legitimate attempts that may be blocked.
    #[default]
    Budget,
    /// What errors cost.
    Cost(Costs),
}

/// What errors cost, in any unit; both above 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// A legitimate attempt that is blocked.
    pub false_positive: f64,
    /// An attack that is let through.
    pub false_negative: f64,
}

/// What the rows support.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Supported {
    /// As the costs say, or missing where the rows cannot confirm or contradict that.
    pub thresholds: Thresholds,
    /// The share of legitimate attempts above the block threshold that is worth its price, at most one half; `None` without
    /// a block threshold.
    pub implied_rate: Option<f64>,
}

impl Costs {
    /// Probability above which blocking is cheaper.
    pub fn block(&self) -> f64 {
        self.false_positive / (self.false_positive + self.false_negative)
    }

    /// Probability above which watching is cheaper; it costs a tenth of blocking.
    pub fn watch(&self) -> f64 {
        let watched = Self { false_positive: self.false_positive / WATCH_PER_BLOCK, ..*self };
        watched.block()
    }
}

/// The thresholds that `costs` ask for, blocking never below `block_min`, as far as `rows` (whether an attack, and its score) support them. They must be
/// rows on which the model was not fitted.
///
/// Of what scores above a threshold t, a share of 1 − t may be legitimate. Rows confirm that only if there are enough of
/// them above t to see more: 3 / (1 − t) of them (the rule of three). They contradict it if, with 95 % confidence, more
/// is legitimate than that; attempts of one group are one piece of evidence.
pub fn thresholds(rows: &[(bool, Negative)], costs: Costs, block_min: f64) -> Supported {
    let sound =
        |(_, row): &(bool, Negative)| row.score.is_finite() && row.represents.is_finite() && row.represents > 0.0;
    if !rows.iter().all(sound) {
        return Supported::default();
    }
    let (block_at, watch_at) = (costs.block().max(block_min), costs.watch());
    let (block, watch) = (allowed_above(rows, block_at), allowed_above(rows, watch_at));
    let legit: f64 = rows.iter().filter(|(attack, _)| !attack).map(|(_, row)| row.represents).sum();
    Supported {
        thresholds: Thresholds { block: block.map(|_| block_at), watch: watch.map(|_| watch_at) },
        implied_rate: block.map(|allowed| (allowed / legit).min(RATE_MAX)).filter(|rate| *rate > 0.0),
    }
}

/// Legitimate attempts that may lie above `threshold`, if the rows support it.
fn allowed_above(rows: &[(bool, Negative)], threshold: f64) -> Option<f64> {
    let above = || rows.iter().filter(|(_, row)| row.score > threshold);
    let (mut sum, mut squares, mut legit) = (0.0, 0.0, Above::default());
    for (attack, row) in above() {
        sum += row.represents;
        squares += row.represents * row.represents;
        if !attack {
            legit.add(row);
        }
    }
    // Kish's effective number: a row that stands for ten is not ten rows.
    let count = if squares > 0.0 { sum * sum / squares } else { 0.0 };
    let share = 1.0 - threshold;
    let enough = share > 0.0 && count >= RULE_OF_THREE / share;
    let allowed = share * sum;
    (enough && legit.lower_limit() <= allowed).then_some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs { false_positive: 100.0, false_negative: 1.0 };

    /// `attacks` and `legit` rows above every threshold, and 10 000 legitimate ones below.
    fn rows(attacks: u64, legit: u64, group: impl Fn(u64) -> u64) -> Vec<(bool, Negative)> {
        let above = (0..attacks + legit).map(|n| (n < attacks, Negative::alone(0.999, group(n))));
        above.chain((0..10_000).map(|n| (false, Negative::alone(0.01, 1_000_000 + n)))).collect()
    }

    #[test]
    fn blocking_begins_where_both_errors_cost_the_same() {
        for (costs, block) in [((100.0, 1.0), 100.0 / 101.0), ((1.0, 1.0), 0.5), ((1.0, 3.0), 0.25)] {
            let costs = Costs { false_positive: costs.0, false_negative: costs.1 };
            assert!((costs.block() - block).abs() < 1e-15 && costs.watch() < costs.block(), "{costs:?}");
        }
        assert!((COSTS.watch() - 10.0 / 11.0).abs() < 1e-15);
    }

    #[test]
    fn three_hundred_rows_above_support_a_price_of_a_hundred_and_fewer_let_it_watch_only() {
        let block = |attacks| thresholds(&rows(attacks, 0, |n| n), COSTS, 0.5).thresholds.block;
        assert_eq!((block(303), block(302)), (Some(COSTS.block()), None));

        let few = thresholds(&rows(100, 0, |n| n), COSTS, 0.5);
        assert_eq!(few.thresholds, Thresholds { block: None, watch: Some(COSTS.watch()) });
        assert_eq!(few.implied_rate, None);
        assert_eq!(thresholds(&[], COSTS, 0.5), Supported::default());
    }

    #[test]
    fn rows_that_stand_for_many_are_no_more_rows() {
        let heavy = |row: (bool, Negative)| (row.0, Negative { represents: 10.0, ..row.1 });
        let heavy: Vec<_> = rows(302, 0, |n| n).into_iter().map(heavy).collect();
        assert_eq!(thresholds(&heavy, COSTS, 0.5).thresholds.block, None);
    }

    #[test]
    fn probabilities_that_lie_give_no_threshold_and_one_unlucky_device_is_not_a_lie() {
        let block =
            |legit, group: &dyn Fn(u64) -> u64| thresholds(&rows(1000, legit, group), COSTS, 0.5).thresholds.block;

        // 10 of 1000 may be legitimate.
        assert!(block(10, &|n| n).is_some());
        assert!(block(16, &|n| n).is_some(), "that may be luck");
        assert_eq!(block(40, &|n| n), None);
        assert!(block(40, &|n| n.min(1000)).is_some(), "forty failures of one device");
    }

    #[test]
    fn the_implied_rate_is_what_the_price_allows() {
        let supported = thresholds(&rows(2000, 0, |n| n), COSTS, 0.5);
        let rate = supported.implied_rate.unwrap_or(0.0);
        assert!((rate - 2000.0 / 101.0 / 10_000.0).abs() < 1e-12, "{rate}");
    }

    #[test]
    fn blocking_never_begins_below_the_floor() {
        let cheap = Costs { false_positive: 1.0, false_negative: 9.0 };
        let supported = thresholds(&rows(2000, 0, |n| n), cheap, 0.5);
        assert_eq!(supported.thresholds.block, Some(0.5));
        assert_eq!(supported.implied_rate, Some(0.5 * 2000.0 / 10_000.0), "and the rate is that of the floor");
    }

    #[test]
    fn rows_that_are_no_numbers_support_nothing() {
        let mut rows = rows(2000, 0, |n| n);
        rows[3].1.score = f64::NAN;
        assert_eq!(thresholds(&rows, COSTS, 0.5), Supported::default());
    }
}
