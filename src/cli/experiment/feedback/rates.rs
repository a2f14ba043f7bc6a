//! What one model does with the later attempts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Attempt;
use crate::learning::artifact::ModelArtifact;
use crate::learning::evaluation::{self, Scored};
use crate::traffic::Habit;

/// Where models are compared without the luck of thresholds.
const FALSE_POSITIVE_RATE: f64 = 0.001;
/// A share of false positives that allows fewer than so many is a place between single attempts.
const FALSE_POSITIVES_MIN: f64 = 10.0;

/// Shares of the later attempts that one model flags, at its own thresholds; `None` where it lacks that threshold, or where
/// there are no such attempts.
pub(super) struct Rates {
    /// Attacks blocked.
    recall: Option<f64>,
    /// Attacks at least watched.
    recall_watch: Option<f64>,
    /// Attacks blocked at a threshold that would block one legitimate attempt in a thousand: without the luck of thresholds.
    recall_at_fpr: Option<f64>,
    /// The same where that many legitimate attempts are enough to measure it, and elsewhere at as many as are.
    recall_measurable: Option<f64>,
    /// Legitimate attempts blocked.
    fpr: Option<f64>,
    /// It has no block threshold.
    watch_only: bool,
    /// Failures of the habit by accounts that nobody gave feedback on: blocked, and at least watched.
    habit_others: [Option<f64>; 2],
    /// The same by all accounts.
    habit_all: [Option<f64>; 2],
    /// How many attempts and accounts the blocked ones are.
    habit_counts: Counts,
}

/// What a share is of: one account may be all of it.
#[derive(Default)]
struct Counts {
    attempts: usize,
    blocked_attempts: usize,
    blocked_accounts: usize,
}

impl Rates {
    pub(super) fn of(
        model: &ModelArtifact,
        attempts: &[Attempt<'_>],
        habit: Option<Habit>,
        told: &BTreeSet<[u8; 16]>,
    ) -> Self {
        let cuts = [model.thresholds.block, model.thresholds.watch];
        let scored: Vec<(&Attempt<'_>, f64)> =
            attempts.iter().map(|attempt| (attempt, model.probability(&attempt.snapshot.values))).collect();
        let ranked: Vec<Scored> = scored
            .iter()
            .map(|(attempt, score)| Scored { score: *score, attack: attempt.is_attack(), weight: 1.0 })
            .collect();
        let legit = ranked.iter().filter(|row| !row.attack).count();
        let share = |cut: Option<f64>, of: &dyn Fn(&Attempt<'_>) -> bool| {
            let cut = cut?;
            let (mut above, mut all) = (0u32, 0u32);
            for (_, score) in scored.iter().filter(|(attempt, _)| of(attempt)) {
                all += 1;
                above += u32::from(*score > cut);
            }
            (all > 0).then(|| f64::from(above) / f64::from(all))
        };
        let of_habit = |attempt: &Attempt<'_>| habit.is_some_and(|habit| attempt.has_habit(habit));
        let others = |attempt: &Attempt<'_>| of_habit(attempt) && !told.contains(&attempt.record.attempt.user.0);
        let in_habit: Vec<_> = scored.iter().filter(|(attempt, _)| of_habit(attempt)).collect();
        let blocked: Vec<_> = in_habit.iter().filter(|(_, score)| cuts[0].is_some_and(|cut| *score > cut)).collect();
        let accounts: BTreeSet<_> = blocked.iter().map(|(attempt, _)| attempt.record.attempt.user.0).collect();
        Self {
            habit_counts: Counts {
                attempts: in_habit.len(),
                blocked_attempts: blocked.len(),
                blocked_accounts: accounts.len(),
            },
            recall: share(cuts[0], &|attempt| attempt.is_attack()),
            recall_watch: share(cuts[1], &|attempt| attempt.is_attack()),
            recall_at_fpr: evaluation::tpr_at_fpr(&ranked, FALSE_POSITIVE_RATE),
            recall_measurable: evaluation::tpr_at_fpr(&ranked, measurable(legit)),
            fpr: share(cuts[0], &|attempt| !attempt.is_attack()),
            watch_only: cuts[0].is_none(),
            habit_others: cuts.map(|cut| share(cut, &others)),
            habit_all: cuts.map(|cut| share(cut, &of_habit)),
        }
    }

    /// What it costs to go on to `after`, in recall or false positives, whichever is more. Where one of the two models
    /// blocks nothing, what both would find at one false positive in a thousand is compared, or at ten where that is more.
    pub(super) fn cost(&self, after: &Self) -> Option<f64> {
        if self.watch_only || after.watch_only {
            return Some(self.recall_measurable? - after.recall_measurable?);
        }
        let forgotten = self.recall.zip(after.recall).map(|(before, after)| before - after);
        let blocked = self.fpr.zip(after.fpr).map(|(before, after)| after - before);
        [forgotten, blocked].into_iter().flatten().reduce(f64::max)
    }

    pub(super) fn to_json(&self) -> Value {
        let [others_blocked, others_watched] = self.habit_others;
        let [blocked, watched] = self.habit_all;
        let Counts { attempts, blocked_attempts, blocked_accounts } = self.habit_counts;
        json!({
            "watch_only": self.watch_only, "recall": self.recall, "recall_watch": self.recall_watch, "realised_fpr": self.fpr,
            "recall_at_fpr": { "0.001": self.recall_at_fpr },
            "habit": {
                "blocked": blocked, "watched": watched, "attempts": attempts, "blocked_attempts": blocked_attempts,
                "blocked_accounts": blocked_accounts,
            },
            "habit_of_others": { "blocked": others_blocked, "watched": others_watched },
        })
    }
}

/// The share of false positives at which models are compared where this many attempts are legitimate.
fn measurable(legit: usize) -> f64 {
    FALSE_POSITIVE_RATE.max(FALSE_POSITIVES_MIN / legit as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_legitimate_attempts_are_compared_at_ten_false_positives() {
        assert_eq!([20_000, 10_000, 1000, 5, 0].map(measurable), [0.001, 0.001, 0.01, 1.0, 1.0]);
    }

    fn rates(recall: Option<f64>, fpr: Option<f64>, recall_measurable: f64) -> Rates {
        Rates {
            recall,
            recall_watch: None,
            recall_at_fpr: None,
            recall_measurable: Some(recall_measurable),
            fpr,
            watch_only: recall.is_none(),
            habit_others: [None; 2],
            habit_all: [None; 2],
            habit_counts: Counts::default(),
        }
    }

    #[test]
    fn what_a_watch_only_model_forgets_costs_something() {
        let before = rates(None, None, 0.75);

        assert_eq!(before.cost(&rates(None, None, 0.25)), Some(0.5));
        assert_eq!(before.cost(&rates(Some(0.5), Some(0.0), 0.5)), Some(0.25));
        let blocking = rates(Some(0.75), Some(0.0), 0.75);
        assert_eq!(blocking.cost(&rates(Some(0.5), Some(0.5), 0.75)), Some(0.5), "false positives cost more here");
        let no_attacks = |fpr: f64| Rates { recall: None, watch_only: false, ..rates(Some(0.0), Some(fpr), 0.0) };
        assert_eq!(no_attacks(0.25).cost(&no_attacks(0.75)), Some(0.5), "and can be measured without attacks");
        assert_eq!(before.to_json()["recall"], Value::Null);
    }
}
