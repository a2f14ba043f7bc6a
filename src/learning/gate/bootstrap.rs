//! The paired bootstrap by group: how much of a difference between two models is luck of the held-out rows.
//!
//! Groups (networks, accounts) are drawn with replacement, never single rows, because the rows of one campaign rise and
//! fall together (A. C. Cameron, J. B. Gelbach, D. L. Miller, "Bootstrap-based improvements for inference with clustered
//! errors", 2008). Both models see the same draw. The rows are sorted once per model; a resample only changes how often
//! each counts.

use super::HeldOut;
use crate::numeric::Rng;

/// Resamples; the 2.5 % ends of the interval rest on 25 of them.
pub(super) const RESAMPLES: usize = 1000;
/// Fewer groups can never be significant: if all of n groups point in one direction, a sign test says 2·½ⁿ, which is
/// below 5 % from six on. The percentile interval does not know that and would be certain with a single group.
const GROUPS_MIN: usize = 6;
/// With fewer usable resamples (those that drew both classes) there is no interval.
const USABLE_MIN: usize = RESAMPLES / 2;

/// Two rankings of the same rows, ready to be resampled.
pub(super) struct Paired {
    challenger: Vec<Ranked>,
    champion: Vec<Ranked>,
    /// Weight of attacks and of legitimate attempts in each group.
    weights: Vec<(f64, f64)>,
}

/// One row in the order of falling scores.
struct Ranked {
    group: u32,
    /// The next row has a lower score: figures may be read off here.
    ends_tie: bool,
    attack: f64,
    legit: f64,
}

/// What is measured of one ranking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    /// Average precision, as in `evaluation`.
    pub(super) pr_auc: f64,
    /// Highest share of attacks found with at most the asked share of false positives, as in `evaluation`.
    pub(super) recall: f64,
}

/// The middle 95 % of a difference (challenger minus champion).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The intervals of both figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Intervals {
    pub(super) pr_auc: Interval,
    pub(super) recall: Interval,
}

impl Paired {
    /// Sorts the rows by both models; `None` unless every row has a finite champion logit.
    pub(super) fn new(rows: &[HeldOut]) -> Option<Self> {
        let champion: Vec<f64> =
            rows.iter().map(|row| row.champion.filter(|logit| logit.is_finite())).collect::<Option<_>>()?;
        let challenger: Vec<f64> = rows.iter().map(|row| row.challenger).collect();
        let (groups, count) = dense_groups(rows);
        let mut weights = vec![(0.0, 0.0); count];
        for (row, group) in rows.iter().zip(&groups) {
            let (attacks, legit) = &mut weights[*group as usize];
            *(if row.attack { attacks } else { legit }) += row.weight;
        }
        Some(Self {
            challenger: ranked(rows, &groups, &challenger),
            champion: ranked(rows, &groups, &champion),
            weights,
        })
    }

    /// The figures of challenger and champion on the rows as they are, with the recall at a share `fpr` of false
    /// positives. `None` if a class is missing.
    pub(super) fn figures(&self, fpr: f64) -> Option<(Figures, Figures)> {
        self.measured(&vec![1.0; self.weights.len()], fpr)
    }

    /// How many groups there are.
    pub(super) fn groups(&self) -> usize {
        self.weights.len()
    }

    /// The 95 % intervals of the differences. `None` if the groups are too few to say anything.
    pub(super) fn intervals(&self, fpr: f64, seed: u64) -> Option<Intervals> {
        let groups = self.weights.len();
        if groups < GROUPS_MIN {
            return None;
        }
        let mut rng = Rng::new(seed, "gate bootstrap");
        let mut times = vec![0.0; groups];
        let (mut pr_auc, mut recall) = (Vec::with_capacity(RESAMPLES), Vec::with_capacity(RESAMPLES));
        for _ in 0..RESAMPLES {
            times.fill(0.0);
            for _ in 0..groups {
                times[rng.below(groups as u64) as usize] += 1.0;
            }
            if let Some((challenger, champion)) = self.measured(&times, fpr) {
                pr_auc.push(challenger.pr_auc - champion.pr_auc);
                recall.push(challenger.recall - champion.recall);
            }
        }
        (pr_auc.len() >= USABLE_MIN).then(|| Intervals { pr_auc: middle(pr_auc), recall: middle(recall) })
    }

    fn measured(&self, times: &[f64], fpr: f64) -> Option<(Figures, Figures)> {
        let (mut attacks, mut legit) = (0.0, 0.0);
        for (times, (of_attacks, of_legit)) in times.iter().zip(&self.weights) {
            attacks += times * of_attacks;
            legit += times * of_legit;
        }
        if !(attacks > 0.0 && legit > 0.0) {
            return None;
        }
        // A share of exactly `fpr` is allowed, whichever way the product is rounded.
        let legit_max = fpr * legit * (1.0 + 1e-12);
        let figures = |rows| figures(rows, times, attacks, legit_max);
        Some((figures(&self.challenger), figures(&self.champion)))
    }
}

/// Each row's group as an index, and how many there are. The order is that of the group numbers.
pub(super) fn dense_groups(rows: &[HeldOut]) -> (Vec<u32>, usize) {
    let mut known: Vec<u64> = rows.iter().map(|row| row.group).collect();
    known.sort_unstable();
    known.dedup();
    let place = |group: u64| known.partition_point(|other| *other < group) as u32;
    (rows.iter().map(|row| place(row.group)).collect(), known.len())
}

fn ranked(rows: &[HeldOut], groups: &[u32], logits: &[f64]) -> Vec<Ranked> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order
        .iter()
        .enumerate()
        .map(|(place, at)| {
            let row = &rows[*at];
            let ends_tie = order.get(place + 1).is_none_or(|next| logits[*next] != logits[*at]);
            let (attack, legit) = if row.attack { (row.weight, 0.0) } else { (0.0, row.weight) };
            Ranked { group: groups[*at], ends_tie, attack, legit }
        })
        .collect()
}

/// One walk down the ranking. `legit_max`: weight of legitimate attempts that may lie above the recall's threshold.
fn figures(rows: &[Ranked], times: &[f64], all_attacks: f64, legit_max: f64) -> Figures {
    let (mut attacks, mut legit, mut before, mut sum, mut recall) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for row in rows {
        let times = times[row.group as usize];
        attacks += times * row.attack;
        legit += times * row.legit;
        if row.ends_tie && attacks > before {
            sum += (attacks - before) * attacks / (attacks + legit);
            before = attacks;
            if legit <= legit_max {
                recall = attacks;
            }
        }
    }
    Figures { pr_auc: sum / all_attacks, recall: recall / all_attacks }
}

/// The middle 95 %: 2.5 % of the values lie outside on either side.
fn middle(mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    let outside = (values.len() as f64 * 0.025) as usize;
    Interval { low: values[outside], high: values[values.len() - 1 - outside] }
}

#[cfg(test)]
mod tests {
    use super::super::super::evaluation::{Scored, average_precision, tpr_at_fpr};
    use super::*;

    fn rows(count: usize, groups: u64) -> Vec<HeldOut> {
        rows_of(3, count, groups)
    }

    fn rows_of(seed: u64, count: usize, groups: u64) -> Vec<HeldOut> {
        let mut rng = Rng::new(seed, "bootstrap test");
        (0..count)
            .map(|_| {
                let attack = rng.uniform() < 0.3;
                let centre = if attack { 1.0 } else { -1.0 };
                HeldOut {
                    attack,
                    weight: 0.5 + rng.uniform(),
                    represents: 1.0,
                    group: rng.below(groups) * 7_919,
                    // A grid makes ties.
                    challenger: ((centre + rng.normal()) * 4.0).floor() / 4.0,
                    champion: Some(((centre + rng.normal()) * 4.0).floor() / 4.0),
                }
            })
            .collect()
    }

    #[test]
    fn the_figures_are_those_of_the_evaluation() {
        let rows = rows(500, 40);
        let paired = Paired::new(&rows).expect("a champion");

        let (challenger, champion) = paired.figures(0.05).expect("both classes");

        let scored = |logit: fn(&HeldOut) -> f64| -> Vec<Scored> {
            rows.iter().map(|row| Scored { score: logit(row), attack: row.attack, weight: row.weight }).collect()
        };
        let (by_challenger, by_champion) =
            (scored(|row| row.challenger), scored(|row| row.champion.expect("every row")));
        for (figures, scored) in [(challenger, by_challenger), (champion, by_champion)] {
            assert!((figures.pr_auc - average_precision(&scored).expect("both")).abs() < 1e-12);
            assert!((figures.recall - tpr_at_fpr(&scored, 0.05).expect("both")).abs() < 1e-12);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_in_any_order_of_the_rows() {
        let mut rows = rows(300, 25);
        for row in &mut rows {
            // Sums of such weights are exact, so that the order really cannot show.
            row.weight = 1.0;
        }
        let forward = Paired::new(&rows).expect("a champion").intervals(0.05, 9);
        rows.reverse();
        let backward = Paired::new(&rows).expect("a champion").intervals(0.05, 9);

        assert!(forward.is_some());
        assert_eq!(forward, backward);
        assert_ne!(forward, Paired::new(&rows).expect("a champion").intervals(0.05, 10));
    }

    #[test]
    fn about_one_interval_of_twenty_misses_the_truth() {
        let misses = (0..40).filter(|seed| {
            let paired = Paired::new(&rows_of(*seed, 200, 50)).expect("a champion");
            let interval = paired.intervals(0.05, *seed).expect("enough groups").pr_auc;
            interval.low > 0.0 || interval.high < 0.0
        });

        assert!(misses.count() <= 6, "two are expected, more than six come once in a hundred times");
    }

    #[test]
    fn the_width_of_an_interval_follows_the_groups_not_the_rows() {
        let many = rows(2000, 400);
        let few: Vec<HeldOut> = many.iter().map(|row| HeldOut { group: row.group % 8, ..*row }).collect();
        let width = |rows: &[HeldOut]| {
            let interval = Paired::new(rows).expect("a champion").intervals(0.05, 1).expect("enough groups").pr_auc;
            interval.high - interval.low
        };

        // Independent rows: the standard error does not depend on how they are grouped, its estimate does.
        assert!((0.3..3.0).contains(&(width(&few) / width(&many))));
        // The same 400 rows ten times over, in the groups of their originals, tell no more than once.
        let once = rows(400, 100);
        let tenfold: Vec<HeldOut> = once.iter().flat_map(|row| std::iter::repeat_n(*row, 10)).collect();
        assert!((width(&tenfold) / width(&once) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_handful_of_groups_says_nothing() {
        let rows: Vec<HeldOut> = rows(400, 5);

        assert_eq!(Paired::new(&rows).expect("a champion").intervals(0.05, 1), None);
        assert!(Paired::new(&[]).expect("nothing is missing").intervals(0.05, 1).is_none());
    }
}
