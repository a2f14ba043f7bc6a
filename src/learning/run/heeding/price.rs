//! What words cost: how much less a model finds that was fitted with them than one that was fitted without.
//!
//! It is asked of held-out and fitted rows that nobody spoke of, and of attacks that are always the same; each measure has
//! what it may lose. Who is heeded then is decided by the parent module.

use super::super::super::artifact::ModelArtifact;
use super::super::super::dataset::{Dataset, Prepared};
use super::super::super::evaluation::{self, Confusion, Scored};
use super::super::super::gate::Canary;
use super::super::super::labels::Label;
use super::super::operating::BLOCK_MIN;

/// Share of the held-out attacks that words may cost, found at the same share of false positives or at the lowest block
/// threshold, whichever is more. Held-out rows are those that labels could be given to, the easier ones: on two generated
/// sites wrong words that cost .8 and 1.4 points of these at the same share cost 2.5 and 8.7 points of all attacks, and right
/// ones at most .3 points of these. On a third honest failures called attacks cost .15 points at the same share, .45 at the
/// lowest threshold, and 3 points of all attacks; right ones on five sites .4 at most. At each model's own threshold right
/// ones cost up to 1.6, because it moves with single rows.
const COST_MAX: f64 = 0.005;
/// Share of the attacks that were fitted that words may cost at the lowest threshold. Where only few and loud attacks are held
/// out, these stay found whatever people say: honest failures called attacks cost a generated site none of 376 held-out ones,
/// 4.4 to 5.6 points of 3926 fitted ones, and 3 to 4 points of those that came later. Right words cost at most .46 points of
/// the fitted ones on seven sites, in all cases but one; that one told the model what it knew (1.1), and cost 3.7 points later.
const FITTED_COST_MAX: f64 = 0.01;
/// To lose fewer attacks than this is chance, whatever the share: on generated sites of 200 to 400 people right words cost up to
/// nine held-out ones, wrong ones up to 120.
const ATTACKS_MIN: f64 = 10.0;
/// A share of false positives that allows fewer than so many is a place between single rows: right words cost up to 12 points
/// there on a generated site of 400 people.
const FALSE_POSITIVES_MIN: f64 = 10.0;
/// By how much words may raise the log-loss on the held-out rows, as a share of it. Words that shake what the model was sure
/// of cost attacks at its threshold and not always in its ranking: on generated sites users accused of attacks raised it by
/// 41 to 57 % and cost 2.0 to 3.4 points of all attacks, and right words raised it by 20 % at most.
const LOSS_MAX: f64 = 0.3;
/// To grow by less than this costs a part only, whatever the share.
const LOSS_MIN: f64 = 0.001;

/// How much words may take off the mean log-odds of a scenario of attacks that is always the same: e³ is odds of twenty. Where
/// few attacks are held out and fitted, no share of them shows that a kind of attack is forgotten: on generated sites of 100 to
/// 200 people wrong words took 3.7 to 4.4 off the odds of one kind, cost one to five of 100 to 260 held-out attacks and 9 to 21
/// points of the later ones. In 112 trainings with right words of such sites they took 1.8 at most where the model knew the
/// scenario well, and 2.9 in one.
const CANARY_COST_MAX: f64 = 3.0;

/// What a model makes of the rows that nobody spoke of, and of what is always the same.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Held-out attacks.
    pub(super) attacks: f64,
    /// Share of the attacks found at the budget of false positives; `None` where too few are legitimate to measure it.
    pub(super) recall: Option<f64>,
    /// Share of the attacks found at the lowest block threshold; `None` where probabilities are no odds.
    pub(super) sure: Option<f64>,
    /// Attacks that the model was fitted to.
    pub(super) fitted_attacks: f64,
    /// Share of these found at the lowest block threshold; `None` where probabilities are no odds.
    pub(super) fitted_sure: Option<f64>,
    /// Log-loss on the held-out rows.
    pub(super) loss: f64,
    /// Mean log-odds of each scenario of attacks that is always the same, in their order; none where probabilities are no odds.
    pub(super) canaries: Vec<f64>,
}

impl Found {
    /// Share of the held-out attacks that words may cost.
    fn may_lose(&self) -> f64 {
        COST_MAX.max(ATTACKS_MIN / self.attacks)
    }

    /// Share of the fitted attacks that words may cost.
    fn may_lose_of_fitted(&self) -> f64 {
        FITTED_COST_MAX.max(ATTACKS_MIN / self.fitted_attacks)
    }

    /// `None` where a class is missing among the held-out rows.
    pub(super) fn on(model: &ModelArtifact, prepared: &Prepared, budget: f64, canaries: &[Canary]) -> Option<Self> {
        let unspoken = |rows: &Dataset| -> Dataset {
            Dataset { rows: rows.rows.iter().filter(|row| !row.from_feedback()).cloned().collect() }
        };
        let rows = unspoken(&prepared.hold_out);
        let scored = rows.scored(|row| model.logit(&row.snapshot()));
        let attacks = scored.iter().filter(|row| row.attack).count();
        let legit = scored.len() - attacks;
        if attacks == 0 || legit == 0 {
            return None;
        }
        let probable = rows.scored(|row| model.probability(&row.snapshot()));
        let measurable = (legit as f64) * budget >= FALSE_POSITIVES_MIN;
        let fitted = unspoken(&prepared.train);
        let has_odds = model.standardizer.is_some();
        let played = canaries.iter().filter(|canary| has_odds && canary.attack && !canary.snapshots.is_empty());
        let mean_logit = |canary: &Canary| {
            let logits = canary.snapshots.iter().map(|values| model.logit(values));
            logits.sum::<f64>() / canary.snapshots.len() as f64
        };
        let sure = |scored: &[Scored]| if has_odds { Confusion::at(scored, BLOCK_MIN).recall() } else { None };
        Some(Self {
            attacks: attacks as f64,
            recall: if measurable { evaluation::tpr_at_fpr(&scored, budget) } else { None },
            sure: sure(&probable),
            fitted_attacks: fitted.rows.iter().filter(|row| row.label == Label::Attack).count() as f64,
            fitted_sure: sure(&fitted.scored(|row| model.probability(&row.snapshot()))),
            loss: evaluation::log_loss(&probable)?,
            canaries: played.map(mean_logit).collect(),
        })
    }

    /// What models of several seeds make of the same rows, on average; a measure that one of them lacks is missing. `None`
    /// where there is no model.
    pub(super) fn mean(found: &[Self]) -> Option<Self> {
        let first = found.first()?;
        let count = found.len() as f64;
        let mean = |of: &dyn Fn(&Self) -> f64| found.iter().map(of).sum::<f64>() / count;
        let known = |of: &dyn Fn(&Self) -> Option<f64>| Some(found.iter().map(of).sum::<Option<f64>>()? / count);
        Some(Self {
            attacks: first.attacks,
            recall: known(&|found| found.recall),
            sure: known(&|found| found.sure),
            fitted_attacks: first.fitted_attacks,
            fitted_sure: known(&|found| found.fitted_sure),
            loss: mean(&|found| found.loss),
            canaries: (0..first.canaries.len()).map(|place| mean(&|found| found.canaries[place])).collect(),
        })
    }

    /// Shares of the attacks that `without` finds and this does not, on balance: at the budget, at the lowest threshold, and
    /// there of those that were fitted.
    fn lost(&self, without: &Self) -> [f64; 3] {
        let lost =
            |before: Option<f64>, after: Option<f64>| before.zip(after).map_or(0.0, |(before, after)| before - after);
        [lost(without.recall, self.recall), lost(without.sure, self.sure), lost(without.fitted_sure, self.fitted_sure)]
    }

    /// The most that is gone of the mean log-odds of a scenario that `without` takes for attacks on balance; 0 where nothing is.
    fn taken(&self, without: &Self) -> f64 {
        let scenarios = without.canaries.iter().zip(&self.canaries).filter(|(before, _)| **before > 0.0);
        scenarios.map(|(before, after)| before - after).fold(0.0, f64::max)
    }

    /// What words cost that made this of `without`, in parts of what they may; 1 is just allowed, and 0 or less is nothing.
    ///
    /// What is lost in both ways adds up: honest failures that one author called attacks cost four fifths of the attacks
    /// and nine tenths of the log-loss that they might, each for itself, and 2.2 points of all attacks. Right ones came to
    /// .85 of both together, in 49 of 50 cases; the other one (1.4) told the model what it knew. In all measures of attacks
    /// the same ones are lost, so the worst of them counts. What is always the same is asked for itself.
    pub(super) fn price(&self, without: &Self) -> f64 {
        let grown = self.loss - without.loss;
        let loss = (grown / (LOSS_MAX * without.loss).max(f64::MIN_POSITIVE)).min(grown / LOSS_MIN);
        let [at_budget, at_lowest, fitted_lost] = self.lost(without);
        let recall = (at_budget.max(at_lowest) / without.may_lose()).max(fitted_lost / without.may_lose_of_fitted());
        let measured = if recall > 0.0 && loss > 0.0 { recall + loss } else { recall.max(loss) };
        measured.max(self.taken(without) / CANARY_COST_MAX)
    }

    /// What words cost that made this of `without`, for the history.
    pub(super) fn told(&self, without: &Self) -> String {
        let [at_budget, at_lowest, fitted_lost] = self.lost(without).map(|lost| lost * 100.0);
        format!(
            "with all items the model finds {at_budget:.1} points less of the held-out attacks at the same share of false \
             positives and {at_lowest:.1} at a probability of {BLOCK_MIN}, where {:.1} alone is too many, and {fitted_lost:.1} \
             there of those that it was fitted to, where {:.1} is; its log-loss on the held-out rows is {:.5} instead of {:.5}, \
             where {:.0} % more alone is too much; its log-odds of a kind of attack that is always the same fall by {:.1}, where \
             {CANARY_COST_MAX:.1} is too much; together that is {:.1} times what is allowed",
            without.may_lose() * 100.0,
            without.may_lose_of_fitted() * 100.0,
            self.loss,
            without.loss,
            LOSS_MAX * 100.0,
            self.taken(without),
            self.price(without)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHOUT: Found = Found {
        attacks: 4000.0,
        recall: Some(0.95),
        sure: Some(0.9),
        fitted_attacks: 16_000.0,
        fitted_sure: Some(0.92),
        loss: 0.004,
        canaries: Vec::new(),
    };

    #[test]
    fn words_cost_in_the_attacks_that_are_found_or_in_how_sure_the_model_is() {
        let price = |recall: f64, loss: f64| Found { recall: Some(recall), loss, ..WITHOUT }.price(&WITHOUT);

        assert!((price(0.945, 0.004) - 1.0).abs() < 1e-9 && price(0.944, 0.004) > 1.0 && price(0.946, 0.004) < 1.0);
        assert!((price(0.95, 0.0052) - 1.0).abs() < 1e-9 && price(0.96, 0.0053) > 1.0 && price(0.96, 0.0051) < 1.0);
        assert!(price(0.946, 0.0042) < 1.0 && price(0.946, 0.0047) > 1.0, "both together");
        assert!(price(0.945, 0.003) == price(0.945, 0.004), "a gain pays for nothing else");
        // Of next to nothing a share is chance.
        let sure = Found { loss: 0.0, ..WITHOUT };
        assert!(Found { loss: 0.0009, ..sure.clone() }.price(&sure) < 1.0);
        assert!(Found { loss: 0.0011, ..sure.clone() }.price(&sure) > 1.0);
    }

    #[test]
    fn words_cost_in_the_attacks_that_the_model_is_no_longer_sure_of() {
        let price = |recall: f64, sure: Option<f64>, loss: f64| {
            Found { recall: Some(recall), sure, loss, ..WITHOUT }.price(&WITHOUT)
        };

        assert!(price(0.95, Some(0.894), 0.004) > 1.0 && price(0.95, Some(0.896), 0.004) < 1.0);
        assert!(price(0.946, Some(0.896), 0.004) < 1.0, "the same attacks are lost in both, and counted once");
        assert!(price(0.95, Some(0.896), 0.0047) > 1.0, "together with the log-loss");
        assert!(price(0.96, Some(0.91), 0.003) <= 0.0, "nothing is lost");
        assert!(price(0.95, None, 0.004).abs() < 1e-9, "probabilities that are no odds are not asked");
    }

    #[test]
    fn words_cost_in_the_attacks_that_were_fitted() {
        let price = |lost: f64| Found { fitted_sure: Some(0.92 - lost), ..WITHOUT }.price(&WITHOUT);
        assert!(price(0.0099) < 1.0 && price(0.0101) > 1.0, "{} {}", price(0.0099), price(0.0101));

        let few = Found { fitted_attacks: 500.0, ..WITHOUT };
        let price = |lost: f64| Found { fitted_sure: Some(0.92 - lost / 500.0), ..few.clone() }.price(&few);
        assert!(price(9.0) < 1.0 && price(11.0) > 1.0, "{} {}", price(9.0), price(11.0));
    }

    #[test]
    fn a_few_attacks_are_chance() {
        let without = Found { attacks: 200.0, ..WITHOUT };
        let price = |lost: f64| Found { sure: Some(0.9 - lost / 200.0), ..without.clone() }.price(&without);

        assert!(price(9.0) < 1.0 && price(11.0) > 1.0, "{} {}", price(9.0), price(11.0));
    }

    #[test]
    fn several_seeds_are_asked_for_their_mean_and_what_one_cannot_tell_is_missing() {
        let other = Found { recall: Some(0.85), sure: None, loss: 0.002, canaries: vec![2.0, 6.0], ..WITHOUT };
        let first = Found { canaries: vec![4.0, -2.0], ..WITHOUT };

        let mean = Found::mean(&[first, other]).expect("two");

        assert!((mean.recall.unwrap() - 0.9).abs() < 1e-12 && (mean.loss - 0.003).abs() < 1e-12, "{mean:?}");
        assert_eq!((mean.sure, mean.canaries), (None, vec![3.0, 2.0]));
        assert!(Found::mean(&[]).is_none());
    }

    #[test]
    fn words_cost_in_the_odds_of_attacks_that_are_always_the_same_and_that_the_model_knew() {
        let without = Found { canaries: vec![6.0, -1.0, 4.0], ..WITHOUT };
        let with = |canaries: &[f64]| Found { canaries: canaries.to_vec(), ..WITHOUT };

        assert_eq!(with(&[5.5, -9.0, 1.0]).taken(&without), 3.0, "the worst that was known");
        assert!(with(&[6.0, -1.0, 1.1]).price(&without) < 1.0 && with(&[6.0, -1.0, 0.9]).price(&without) > 1.0);
        assert!(with(&[9.0, 9.0, 9.0]).price(&without) <= 0.0, "a gain pays for nothing else");
        assert!(with(&[]).price(&without) <= 0.0, "what was not played is not asked");
        let told = with(&[2.75, -1.0, 4.0]).told(&without);
        assert!(told.contains("fall by 3.2, where 3.0 is too much"), "{told}");
    }
}
