//! From "how many legitimate logins may be stopped" to a score: thresholds that the data can support.
//!
//! Only scores of legitimate attempts matter here, and they must come from rows that the model was not trained on. What
//! happens at a threshold is decided elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// With no event in n trials, the rate is below 3/n with 95 % confidence (the "rule of three"). A budget of b therefore
/// needs at least 3/b legitimate attempts.
pub(super) const RULE_OF_THREE: f64 = 3.0;

/// Watching may be this many times as frequent as blocking …
pub(super) const WATCH_PER_BLOCK: f64 = 10.0;
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

/// A legitimate attempt that the model was not trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Negative {
    /// Probability of attack.
    pub score: f64,
    /// Attempts that it stands for: 1, or more where only some were kept.
    pub represents: f64,
    /// Attempts of one group share their fate: a forgotten device fails a hundred times, and is one device.
    pub group: u64,
}

impl Negative {
    /// One that stands for itself alone.
    pub const fn alone(score: f64, group: u64) -> Self {
        Self { score, represents: 1.0, group }
    }
}

/// The true rate shall be below this many budgets with 95 % confidence. To be as sure of one budget would let a single
/// person's seven failures decide over 20 000 attempts, and to be so of two a person's eleven: that lets attacks through
/// which nobody would have had to (measured: nine points of recall on one generated site, three more on another, with
/// realised rates below the budget either way).
const SURE_BELOW: f64 = 3.0;

/// Quantile of the normal distribution for 95 % on one side.
const CONFIDENCE: f64 = 1.645;

/// Upper 95 % limit of the mean of a Poisson number that came out as `seen` (Wilson and Hilferty's approximation of the
/// χ² quantile; 2.97 for 0, where the exact limit is 3.00).
fn upper_limit(seen: f64) -> f64 {
    let n = seen + 1.0;
    let root = 1.0 - 1.0 / (9.0 * n) + CONFIDENCE / (3.0 * n.sqrt());
    n * root * root * root
}

/// The lowest threshold that not more than a share `budget` of the legitimate attempts scores above, and of which they
/// say, with 95 % confidence, that not more than three budgets of their kind do. None if they cannot say so of any: they stand for fewer than 3/`budget` attempts, are
/// not all finite, or `budget` is not between 0 and 1.
///
/// The row at which the budget is reached is the threshold, so that new attempts keep to the budget on average: above the
/// k-th highest of n scores lie k/(n + 1) of them.
///
/// What is counted is the sum of what the rows above stand for; its uncertainty is that of a Poisson number of groups of
/// their usual size (Fay and Feuer 1997 for weighted sums), so that a hundred failures of one device are one event of
/// size a hundred. Only scores *above* a threshold count, so ties at it are on the safe side.
pub fn from_budget(negatives: &[Negative], budget: f64) -> Option<f64> {
    from_part(negatives, budget, budget)
}

/// How many legitimate attempts are held out, and how many a budget needs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Support {
    /// What the held-out rows stand for; rounded down.
    pub held_out: u64,
    /// As few support the budget.
    pub needed: u64,
    /// Share of legitimate attempts that may be blocked.
    pub budget: f64,
}

impl Support {
    /// What these rows are to a budget above 0.
    pub fn of(negatives: &[Negative], budget: f64) -> Self {
        let held_out: f64 = negatives.iter().map(|negative| negative.represents).sum();
        Self { held_out: held_out as u64, needed: needed(budget) as u64, budget }
    }
}

impl std::fmt::Display for Support {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { held_out, needed, budget } = self;
        write!(
            f,
            "{held_out} held-out legitimate attempts, {needed} are needed for a false-positive budget of {budget}"
        )
    }
}

/// Legitimate attempts that support a budget, at least.
fn needed(budget: f64) -> f64 {
    (RULE_OF_THREE / budget).ceil()
}

/// As [`from_budget`], but only `spent` of the budget may lie above. How many attempts are needed follows from the whole.
fn from_part(negatives: &[Negative], budget: f64, spent: f64) -> Option<f64> {
    let all: f64 = negatives.iter().map(|negative| negative.represents).sum();
    let sound = |negative: &Negative| {
        negative.score.is_finite() && negative.represents.is_finite() && negative.represents > 0.0
    };
    let supported =
        budget > 0.0 && budget < 1.0 && all.is_finite() && all >= needed(budget) && negatives.iter().all(sound);
    if !supported {
        return None;
    }
    let allowed = all * spent;
    let mut descending: Vec<&Negative> = negatives.iter().collect();
    descending.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.group.cmp(&b.group)));
    let mut threshold = descending.first()?.score;
    let mut above = Above::default();
    for rows in descending.chunk_by(|a, b| a.score == b.score) {
        threshold = rows[0].score;
        rows.iter().for_each(|row| above.add(row));
        if above.sum >= allowed || above.upper_limit() > SURE_BELOW * allowed {
            break;
        }
    }
    Some(threshold)
}

/// Lower 95 % limit of the same mean; 0 for 0.
fn lower_limit(seen: f64) -> f64 {
    if seen <= 0.0 {
        return 0.0;
    }
    let root = (1.0 - 1.0 / (9.0 * seen) - CONFIDENCE / (3.0 * seen.sqrt())).max(0.0);
    seen * root * root * root
}

/// What lies above a threshold.
#[derive(Default)]
pub(super) struct Above {
    by_group: BTreeMap<u64, f64>,
    sum: f64,
    squares: f64,
}

impl Above {
    pub(super) fn add(&mut self, row: &Negative) {
        let size = self.by_group.entry(row.group).or_insert(0.0);
        self.squares += (*size + row.represents) * (*size + row.represents) - *size * *size;
        *size += row.represents;
        self.sum += row.represents;
    }

    fn upper_limit(&self) -> f64 {
        let usual_size = self.squares / self.sum;
        usual_size * upper_limit(self.sum / usual_size)
    }

    /// What its mean is at least, with 95 % confidence.
    pub(super) fn lower_limit(&self) -> f64 {
        if self.sum <= 0.0 {
            return 0.0;
        }
        let usual_size = self.squares / self.sum;
        usual_size * lower_limit(self.sum / usual_size)
    }
}

/// The block threshold at `budget`, and the watch threshold at ten times that, but not above one half.
///
/// `unseen`: share of the attempts of which labels see less, because no password was told, 0 to 1. Of the budget at most
/// [`spent`] is then used. Few scores may support only the second threshold.
pub fn thresholds(negatives: &[Negative], budget: f64, unseen: f64) -> Thresholds {
    // A budget above one half is strange but must not turn the order around.
    let watch_budget = (WATCH_PER_BLOCK * budget).min(WATCH_BUDGET_MAX).max(budget);
    let threshold = |budget: f64| from_part(negatives, budget, spent(budget, unseen));
    Thresholds { block: threshold(budget), watch: threshold(watch_budget) }
}

/// How much of a budget thresholds may use where a share `unseen` of the attempts has no password: a third where none has.
/// Without passwords hindsight leaves up to half of the mistakes without a label, so the held-out rows do not show them,
/// and what they show is easier than what comes (measured with two generated sites under real attacks: whole budgets
/// realised 2.8 and 3.2 of themselves, thirds 1.0 of the whole; other sites more, for which there is a margin on top).
pub fn spent(budget: f64, unseen: f64) -> f64 {
    budget / (1.0 + 2.0 * unseen.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;

    /// 0, 1/n, 2/n, … each of a group of its own.
    fn ramp(n: u32) -> Vec<Negative> {
        (0..n).map(|rank| Negative::alone(f64::from(rank) / f64::from(n), u64::from(rank))).collect()
    }

    fn above(negatives: &[Negative], threshold: f64) -> usize {
        negatives.iter().filter(|negative| negative.score > threshold).count()
    }

    #[test]
    fn as_many_lie_above_as_the_exact_poisson_limit_allows() {
        // Of single attempts the budget counts. Of pairs, which are one event each, the largest k up to n·budget with
        // an upper 95 % limit of at most 3·n·budget, from tables: 2 × 4.74 for 1, 2 × 6.30 for 2, 2 × 7.75 for 3.
        for (n, budget, singles, pairs) in
            [(3_000, 0.001, 2, 1), (3_300, 0.001, 3, 2), (4_600, 0.001, 4, 4), (10_150, 0.01, 101, 101)]
        {
            let negatives = ramp(n);
            let paired: Vec<_> =
                negatives.iter().map(|one| Negative { group: (u64::from(n) - 1 - one.group) / 2, ..*one }).collect();

            assert_eq!(above(&negatives, from_budget(&negatives, budget).unwrap()), singles, "{n} alone");
            assert_eq!(above(&paired, from_budget(&paired, budget).unwrap()), pairs, "{n} in pairs");
        }
    }

    #[test]
    fn the_rule_of_three_says_how_many_scores_are_needed() {
        assert_eq!(from_budget(&ramp(2_999), 0.001), None);
        assert!(from_budget(&ramp(3_000), 0.001).is_some());
        assert_eq!(from_budget(&ramp(299), 0.01), None);
        assert!(from_budget(&ramp(300), 0.01).is_some());
        assert_eq!(from_budget(&[], 0.5), None);
        assert_eq!(from_budget(&ramp(29_999), 0.0001), None);
    }

    #[test]
    fn a_row_that_stands_for_ten_counts_ten_times() {
        let tens: Vec<_> = ramp(300).into_iter().map(|one| Negative { represents: 10.0, ..one }).collect();

        assert!(from_budget(&tens, 0.001).is_some());
        // One of them above may be ten attempts, of which 3 are allowed: nothing may lie above.
        assert_eq!(above(&tens, from_budget(&tens, 0.001).unwrap()), 0);
    }

    #[test]
    fn a_hundred_failures_of_one_device_are_one_event_of_size_a_hundred() {
        let mut negatives = ramp(100_000);
        for negative in &mut negatives {
            negative.score *= 0.5;
        }
        let lone = from_budget(&negatives, 0.001).unwrap();
        // 70 more above everything: as single attempts they take most of the budget of 100 …
        let with = |group: &dyn Fn(u64) -> u64| {
            let more = (0..70).map(|n| Negative::alone(0.9 + n as f64 / 1000.0, group(n)));
            from_budget(&negatives.iter().copied().chain(more).collect::<Vec<_>>(), 0.001).unwrap()
        };
        let singles = with(&|n| 200_000 + n);
        // … as one device they say that another such device would take all of it.
        let device = with(&|_| 200_000);

        assert!(lone < singles && singles < 0.5, "{lone} {singles}");
        assert!(device > 0.9, "{device}");
    }

    #[test]
    fn ties_stay_below_their_threshold() {
        let tied = |high: u64| -> Vec<Negative> {
            (0..1_000).map(|n| Negative::alone(if n < high { 0.7 } else { 0.1 }, n)).collect()
        };

        assert_eq!(from_budget(&tied(100), 0.01), Some(0.7));
        assert_eq!(from_budget(&tied(100), 0.2), Some(0.1));
        assert_eq!(from_budget(&tied(0), 0.01), Some(0.1));
    }

    #[test]
    fn new_attempts_keep_three_budgets_in_nineteen_of_twenty_cases_and_with_many_the_budget_on_average() {
        let mut rng = Rng::new(4, "threshold test");
        let (runs, budget) = (1000, 0.01);
        for (negatives, over_most, average) in [(300, 1..=50, 0.0095..0.0108), (1500, 0..=20, 0.0095..0.0108)] {
            let (mut over, mut sum) = (0, 0.0);
            for _ in 0..runs {
                let negatives: Vec<_> = (0..negatives).map(|n| Negative::alone(rng.uniform(), n)).collect();
                // Uniform scores: the chance of a new one above t is 1 − t.
                let rate = 1.0 - from_budget(&negatives, budget).unwrap();
                over += u32::from(rate > 3.0 * budget);
                sum += rate;
            }
            assert!(over_most.contains(&over), "{over} of {runs} with {negatives}");
            assert!(average.contains(&(sum / f64::from(runs))), "{sum} with {negatives}");
        }
    }

    #[test]
    fn a_budget_or_score_that_makes_no_sense_gives_no_threshold() {
        let negatives = ramp(10_000);
        for budget in [0.0, -0.1, 1.0, 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(from_budget(&negatives, budget), None, "{budget}");
            assert_eq!(thresholds(&negatives, budget, 0.0).block, None, "{budget}");
        }
        for broken in [Negative::alone(f64::NAN, 7), Negative { represents: 0.0, ..Negative::alone(0.5, 7) }] {
            let mut negatives = negatives.clone();
            negatives[7] = broken;
            assert_eq!(from_budget(&negatives, 0.1), None);
        }
    }

    #[test]
    fn watching_is_about_ten_times_as_frequent_as_blocking() {
        let negatives = ramp(100_000);
        let Thresholds { block, watch } = thresholds(&negatives, 0.001, 0.0);
        let (block, watch) = (above(&negatives, block.unwrap()), above(&negatives, watch.unwrap()));
        assert_eq!((block, watch), (99, 999));

        let generous = thresholds(&negatives, 0.8, 0.0);
        assert_eq!(generous.watch, generous.block);
    }

    #[test]
    fn few_scores_support_watching_only() {
        let Thresholds { block, watch } = thresholds(&ramp(1_000), 0.001, 0.0);
        assert_eq!(block, None);
        assert!(watch.is_some());
        assert_eq!(Thresholds::default(), thresholds(&ramp(10), 0.001, 0.0));
    }

    #[test]
    fn without_passwords_a_third_of_the_budget_is_spent_and_as_many_scores_are_needed() {
        let block = |rows, unseen| thresholds(&ramp(rows), 0.001, unseen).block;
        let counted = |unseen| above(&ramp(30_000), block(30_000, unseen).expect("supported"));

        assert_eq!((counted(0.0), counted(0.5), counted(1.0)), (29, 14, 9));
        assert!(block(3_000, 1.0).is_some() && block(2_999, 1.0).is_none());
    }
}
