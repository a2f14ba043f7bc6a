//! Whether a challenger may replace the champion: pure, on measures of both over the same held-out rows.

use super::evaluation::Evaluation;

/// A challenger may be worse than the champion by this much: differences below it are noise between seeds.
const ROC_AUC_TOLERANCE: f64 = 0.02;
const PR_AUC_TOLERANCE: f64 = 0.02;

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It knows which side is which, and is not clearly worse than the champion.
    Promote,
    /// The champion stays.
    Refuse {
        /// The first measure that failed, with its numbers, for people.
        reason: String,
    },
}

/// Judges a challenger. `training` is its measure on the rows that it was trained on; the others are on the hold-out.
pub fn judge(challenger: &Evaluation, training: &Evaluation, champion: Option<&Evaluation>) -> Judgement {
    // The first question to any learner: does it know which side is which?
    for (name, measured) in [("training rows", training), ("held-out rows", challenger)] {
        if let (Some(attack), Some(legit)) = (measured.mean_score_attack, measured.mean_score_legit)
            && attack <= legit
        {
            let reason = format!("on the {name} attacks score {attack:.3} and legitimate attempts {legit:.3}");
            return Judgement::Refuse { reason };
        }
    }
    let Some(champion) = champion else { return Judgement::Promote };
    for (name, challenger, champion, tolerance) in [
        ("ROC AUC", challenger.roc_auc, champion.roc_auc, ROC_AUC_TOLERANCE),
        ("PR AUC", challenger.pr_auc, champion.pr_auc, PR_AUC_TOLERANCE),
    ] {
        if let (Some(challenger), Some(champion)) = (challenger, champion)
            && challenger < champion - tolerance
        {
            let reason = format!("{name} on the held-out rows is {challenger:.4}, the current model has {champion:.4}");
            return Judgement::Refuse { reason };
        }
    }
    Judgement::Promote
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(auc: f64, attack: f64, legit: f64) -> Evaluation {
        Evaluation {
            roc_auc: Some(auc),
            pr_auc: Some(auc),
            mean_score_attack: Some(attack),
            mean_score_legit: Some(legit),
            ..Evaluation::default()
        }
    }

    #[test]
    fn a_first_model_that_knows_its_sides_is_promoted() {
        let good = measured(0.9, 0.8, 0.1);

        assert_eq!(judge(&good, &good, None), Judgement::Promote);
    }

    #[test]
    fn an_inverted_model_is_refused_even_without_a_champion() {
        let inverted = measured(0.9, 0.1, 0.8);
        let good = measured(0.9, 0.8, 0.1);

        assert!(matches!(judge(&inverted, &good, None), Judgement::Refuse { .. }));
        assert!(matches!(judge(&good, &inverted, None), Judgement::Refuse { .. }));
    }

    #[test]
    fn a_clearly_worse_challenger_is_refused_and_a_slightly_worse_one_is_not() {
        let champion = measured(0.95, 0.8, 0.1);
        let training = measured(0.95, 0.8, 0.1);

        let worse = judge(&measured(0.90, 0.8, 0.1), &training, Some(&champion));
        let even = judge(&measured(0.94, 0.8, 0.1), &training, Some(&champion));

        assert!(matches!(worse, Judgement::Refuse { reason } if reason.contains("ROC AUC")));
        assert_eq!(even, Judgement::Promote);
    }

    #[test]
    fn a_hold_out_of_one_class_is_judged_on_the_training_rows() {
        let one_class = Evaluation { mean_score_attack: Some(0.9), ..Evaluation::default() };
        let training = measured(0.95, 0.8, 0.1);

        assert_eq!(judge(&one_class, &training, Some(&one_class)), Judgement::Promote);
    }
}
