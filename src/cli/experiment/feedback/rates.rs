//! What one model does with the later attempts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Attempt;
use crate::learning::artifact::ModelArtifact;
use crate::learning::evaluation::{self, Scored};
use crate::traffic::Habit;

/// Shares of the later attempts that one model flags, at its own thresholds.
pub(super) struct Rates {
    /// Attacks blocked.
    pub(super) recall: f64,
    /// Attacks at least watched.
    recall_watch: f64,
    /// Attacks blocked at a threshold that would block one legitimate attempt in a thousand: without the luck of thresholds.
    recall_at_fpr: Option<f64>,
    /// Legitimate attempts blocked.
    pub(super) fpr: f64,
    /// Failures of the habit by accounts that nobody gave feedback on: blocked, and at least watched.
    habit_others: [Option<f64>; 2],
    /// The same by all accounts.
    habit_all: [Option<f64>; 2],
}

impl Rates {
    pub(super) fn of(
        model: &ModelArtifact,
        attempts: &[Attempt<'_>],
        habit: Option<Habit>,
        told: &BTreeSet<[u8; 16]>,
    ) -> Self {
        let cuts = [model.thresholds.block, model.thresholds.watch].map(|cut| cut.unwrap_or(f64::INFINITY));
        let scored: Vec<(&Attempt<'_>, f64)> =
            attempts.iter().map(|attempt| (attempt, model.probability(&attempt.snapshot.values))).collect();
        let ranked: Vec<Scored> = scored
            .iter()
            .map(|(attempt, score)| Scored { score: *score, attack: attempt.is_attack(), weight: 1.0 })
            .collect();
        let share = |cut: f64, of: &dyn Fn(&Attempt<'_>) -> bool| {
            let (mut above, mut all) = (0u32, 0u32);
            for (_, score) in scored.iter().filter(|(attempt, _)| of(attempt)) {
                all += 1;
                above += u32::from(*score > cut);
            }
            (all > 0).then(|| f64::from(above) / f64::from(all))
        };
        let of_habit = |attempt: &Attempt<'_>| habit.is_some_and(|habit| attempt.has_habit(habit));
        let others = |attempt: &Attempt<'_>| of_habit(attempt) && !told.contains(&attempt.record.attempt.user.0);
        Self {
            recall: share(cuts[0], &|attempt| attempt.is_attack()).unwrap_or(0.0),
            recall_watch: share(cuts[1], &|attempt| attempt.is_attack()).unwrap_or(0.0),
            recall_at_fpr: evaluation::tpr_at_fpr(&ranked, 0.001),
            fpr: share(cuts[0], &|attempt| !attempt.is_attack()).unwrap_or(0.0),
            habit_others: cuts.map(|cut| share(cut, &others)),
            habit_all: cuts.map(|cut| share(cut, &of_habit)),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let [others_blocked, others_watched] = self.habit_others;
        let [blocked, watched] = self.habit_all;
        json!({
            "recall": self.recall, "recall_watch": self.recall_watch, "realised_fpr": self.fpr,
            "recall_at_fpr": { "0.001": self.recall_at_fpr },
            "habit": { "blocked": blocked, "watched": watched },
            "habit_of_others": { "blocked": others_blocked, "watched": others_watched },
        })
    }
}
