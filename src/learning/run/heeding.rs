//! Whether the words of people are heeded in a training: not where they cost more attacks than seeds of one training do.
//!
//! A wrong word looks like a right one. What it does shows on the held-out rows, if nothing else differs: the same rows are
//! fitted with the words and without. Words that cost too much are left out of this training, told, and tried again in the
//! next; the training itself goes on, so that nobody can stop the learning of a site by wrong words. Nor can anybody silence
//! the others by them: where all words together cost too much, it is asked whose. Which words count at all, and for how
//! much, is decided before, in `feedback`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use super::super::artifact::ModelArtifact;
use super::super::dataset::{Dataset, Prepared};
use super::super::evaluation::{self, Confusion, Scored};
use super::super::gate::{Judgement, Verdict};
use super::super::labels::Label;
use super::super::training::Progress;
use super::operating::BLOCK_MIN;
use super::{Fitted, RunError, RunOptions, fit};
use crate::detection::features::FeatureSchema;

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

/// Words of an author that can be judged alone: what fewer do is chance.
const OF_AUTHOR_MIN: usize = 5;
/// Authors who are judged alone, those with most words; each takes a fit. All others are one party.
const AUTHORS_MAX: usize = 5;

/// What came of fitting with and without words.
pub(super) struct Heeded {
    /// The rows that were fitted: without the words where these are set aside.
    pub(super) prepared: Prepared,
    /// The models.
    pub(super) fitted: Fitted,
    /// For the history; `None` where the words count, or there are none.
    pub(super) set_aside: Option<String>,
    /// Whose words were set aside, in the order of their names.
    pub(super) unheeded: Vec<String>,
}

/// Fits what `options` ask for, with the words of people unless they cost too much.
///
/// # Errors
/// When `cancel` is raised or the numbers stop being finite.
pub(super) fn fit_heeding(
    prepared: Prepared,
    schema: &FeatureSchema,
    options: &RunOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Heeded, RunError> {
    let fitted = fit(&prepared, schema, options, cancel, progress)?;
    let heeded = |prepared, fitted| Heeded { prepared, fitted, set_aside: None, unheeded: Vec::new() };
    let found =
        |fitted: &Fitted, prepared: &Prepared| Found::on(&fitted.measured, prepared, options.false_positive_budget);
    let Some(with) = found(&fitted, &prepared) else {
        return Ok(heeded(prepared, fitted));
    };
    let Some(silent) = prepared.without_words() else {
        return Ok(heeded(prepared, fitted));
    };
    let control = fit(&silent, schema, options, cancel, progress)?;
    // Of the same rows: those that nobody spoke of.
    let Some(without) = found(&control, &prepared).filter(|without| with.price(without) > 1.0) else {
        return Ok(heeded(prepared, fitted));
    };
    let mut fit_with = |heard: &BTreeSet<&str>| {
        let Some(part) = prepared.with_words_of(|author| heard.contains(author)) else { return Ok(None) };
        let fitted = fit(&part, schema, options, cancel, progress)?;
        let price = found(&fitted, &prepared).map_or(f64::INFINITY, |with| with.price(&without));
        Ok::<_, RunError>((price <= 1.0).then_some((price, part, fitted)))
    };
    let (part, fitted) = heard(&parties(&prepared), &mut fit_with)?.unwrap_or((silent, control));
    let [at_budget, at_lowest, fitted_lost] = with.lost(&without).map(|lost| lost * 100.0);
    let why = format!(
        "with all items the model finds {at_budget:.1} points less of the held-out attacks at the same share of false \
         positives and {at_lowest:.1} at a probability of {BLOCK_MIN}, where {:.1} alone is too many, and {fitted_lost:.1} \
         there of those that it was fitted to, where {:.1} is; its log-loss on the held-out rows is {:.5} instead of {:.5}, \
         where {:.0} % more alone is too much; together that is {:.1} times what is allowed",
        without.may_lose() * 100.0,
        without.may_lose_of_fitted() * 100.0,
        with.loss,
        without.loss,
        LOSS_MAX * 100.0,
        with.price(&without)
    );
    Ok(Heeded::without_some(part, fitted, &prepared, &why))
}

/// Asks again where the gate refuses a challenger: is it refused because of what people said? Then as few words as possible
/// are set aside. Whoever can give feedback could otherwise stop the learning of a site. `judge` takes models and
/// the rows that they were fitted to; words that are held out go on being asked, also of models without words.
///
/// # Errors
/// When `cancel` is raised or the numbers stop being finite.
pub(super) fn fit_unrefused(
    heeded: Heeded,
    schema: &FeatureSchema,
    options: &RunOptions,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
    judge: &dyn Fn(&Fitted, &Dataset, &Prepared) -> Judgement,
) -> Result<(Heeded, Judgement), RunError> {
    let prepared = &heeded.prepared;
    let judgement = judge(&heeded.fitted, &prepared.train, prepared);
    let silent = if judgement.verdict == Verdict::Refuse { prepared.without_words() } else { None };
    let Some(silent) = silent else { return Ok((heeded, judgement)) };
    let control = fit(&silent, schema, options, cancel, progress)?;
    let unheard = judge(&control, &silent.train, prepared);
    if unheard.verdict == Verdict::Refuse {
        return Ok((heeded, judgement));
    }
    let mut fit_with = |heard: &BTreeSet<&str>| {
        let Some(part) = prepared.with_words_of(|author| heard.contains(author)) else { return Ok(None) };
        let fitted = fit(&part, schema, options, cancel, progress)?;
        let refused = judge(&fitted, &part.train, prepared).verdict == Verdict::Refuse;
        Ok::<_, RunError>((!refused).then_some((0.0, part, fitted)))
    };
    let (part, fitted) = heard(&parties(prepared), &mut fit_with)?.unwrap_or((silent, control));
    let unrefused = judge(&fitted, &part.train, prepared);
    let why = format!("with all items the model is refused ({})", judgement.reason());
    let mut told = Heeded::without_some(part, fitted, prepared, &why);
    // What cost too much before stays set aside, and is told first.
    told.set_aside = Some(heeded.set_aside.into_iter().chain(told.set_aside).collect::<Vec<_>>().join("; "));
    told.unheeded.extend(heeded.unheeded);
    told.unheeded.sort_unstable();
    Ok((told, unrefused))
}

impl Heeded {
    /// Models of the part of `prepared` that is left when some words are set aside, and why they are.
    fn without_some(part: Prepared, fitted: Fitted, prepared: &Prepared, why: &str) -> Self {
        let authors = |prepared: &Prepared| -> BTreeSet<String> {
            prepared.words.said.values().map(|(author, _)| author.clone()).collect()
        };
        let unheeded: Vec<String> = authors(prepared).difference(&authors(&part)).cloned().collect();
        let authors = if unheeded.len() == 1 { "one author".into() } else { format!("{} authors", unheeded.len()) };
        let set_aside = format!(
            "{} feedback items of {authors} are set aside: {why}; the list of feedback shows which",
            part.told.set_aside - prepared.told.set_aside,
        );
        Self { prepared: part, fitted, set_aside: Some(set_aside), unheeded }
    }
}

/// Who is judged as one: each author with many words, and all others together. The order is always the same.
fn parties(prepared: &Prepared) -> Vec<BTreeSet<&str>> {
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    for (author, _) in prepared.words.said.values() {
        *words.entry(author).or_default() += 1;
    }
    let mut authors: Vec<(&str, usize)> = words.into_iter().collect();
    authors.sort_by_key(|(author, words)| (std::cmp::Reverse(*words), *author));
    let alone = authors.iter().take(AUTHORS_MAX).filter(|(_, words)| *words >= OF_AUTHOR_MIN).count();
    let (alone, others) = authors.split_at(alone);
    let mut parties: Vec<BTreeSet<&str>> = alone.iter().map(|(author, _)| BTreeSet::from([*author])).collect();
    if !others.is_empty() {
        parties.push(others.iter().map(|(author, _)| *author).collect());
    }
    parties
}

/// What a fit with some words gave, if they cost no more than they may.
type Borne = Option<(f64, Prepared, Fitted)>;

/// The rows and models with the words of as many parties as may be heard together: each of those that cost little alone,
/// and where these cost too much together the cheaper half of them. `None` where there is no such party. All of them are
/// known to cost too much together.
fn heard(
    parties: &[BTreeSet<&str>],
    fit_with: &mut dyn FnMut(&BTreeSet<&str>) -> Result<Borne, RunError>,
) -> Result<Option<(Prepared, Fitted)>, RunError> {
    if parties.len() < 2 {
        return Ok(None);
    }
    let mut cheap: Vec<(f64, &BTreeSet<&str>)> = Vec::new();
    let mut cheapest: Borne = None;
    for party in parties {
        let Some(borne) = fit_with(party)? else { continue };
        cheap.push((borne.0, party));
        if cheapest.as_ref().is_none_or(|best| borne.0 < best.0) {
            cheapest = Some(borne);
        }
    }
    cheap.sort_by(|a, b| a.0.total_cmp(&b.0));
    if cheap.len() == parties.len() {
        cheap.truncate(cheap.len() / 2);
    }
    while cheap.len() > 1 {
        let together = cheap.iter().flat_map(|(_, party)| party.iter().copied()).collect();
        if let Some((_, part, fitted)) = fit_with(&together)? {
            return Ok(Some((part, fitted)));
        }
        cheap.truncate(cheap.len() / 2);
    }
    Ok(cheapest.map(|(_, part, fitted)| (part, fitted)))
}

/// What a model makes of the rows that nobody spoke of.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Held-out attacks.
    attacks: f64,
    /// Share of the attacks found at the budget of false positives; `None` where too few are legitimate to measure it.
    recall: Option<f64>,
    /// Share of the attacks found at the lowest block threshold; `None` where probabilities are no odds.
    sure: Option<f64>,
    /// Attacks that the model was fitted to.
    fitted_attacks: f64,
    /// Share of these found at the lowest block threshold; `None` where probabilities are no odds.
    fitted_sure: Option<f64>,
    /// Log-loss on the held-out rows.
    loss: f64,
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
    fn on(model: &ModelArtifact, prepared: &Prepared, budget: f64) -> Option<Self> {
        let unspoken = |rows: &Dataset| -> Dataset {
            Dataset { rows: rows.rows.iter().filter(|row| !row.from_feedback).cloned().collect() }
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
        let sure =
            |scored: &[Scored]| model.standardizer.as_ref().and_then(|_| Confusion::at(scored, BLOCK_MIN).recall());
        Some(Self {
            attacks: attacks as f64,
            recall: if measurable { evaluation::tpr_at_fpr(&scored, budget) } else { None },
            sure: sure(&probable),
            fitted_attacks: fitted.rows.iter().filter(|row| row.label == Label::Attack).count() as f64,
            fitted_sure: sure(&fitted.scored(|row| model.probability(&row.snapshot()))),
            loss: evaluation::log_loss(&probable)?,
        })
    }

    /// Shares of the attacks that `without` finds and this does not, on balance: at the budget, at the lowest threshold, and
    /// there of those that were fitted.
    fn lost(self, without: &Self) -> [f64; 3] {
        let lost =
            |before: Option<f64>, after: Option<f64>| before.zip(after).map_or(0.0, |(before, after)| before - after);
        [lost(without.recall, self.recall), lost(without.sure, self.sure), lost(without.fitted_sure, self.fitted_sure)]
    }

    /// What words cost that made this of `without`, in parts of what they may; 1 is just allowed, and 0 or less is nothing.
    ///
    /// What is lost in both ways adds up: honest failures that one author called attacks cost four fifths of the attacks
    /// and nine tenths of the log-loss that they might, each for itself, and 2.2 points of all attacks. Right ones came to
    /// .85 of both together, in 49 of 50 cases; the other one (1.4) told the model what it knew. In all measures of attacks
    /// the same ones are lost, so the worst of them counts.
    fn price(self, without: &Self) -> f64 {
        let grown = self.loss - without.loss;
        let loss = (grown / (LOSS_MAX * without.loss).max(f64::MIN_POSITIVE)).min(grown / LOSS_MIN);
        let [at_budget, at_lowest, fitted_lost] = self.lost(without);
        let recall = (at_budget.max(at_lowest) / without.may_lose()).max(fitted_lost / without.may_lose_of_fitted());
        if recall > 0.0 && loss > 0.0 { recall + loss } else { recall.max(loss) }
    }
}

#[cfg(test)]
mod tests;
