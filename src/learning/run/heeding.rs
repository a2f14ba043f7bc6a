//! Whether the words of people are heeded in a training: not where they cost more attacks than seeds of one training do.
//!
//! A wrong word looks like a right one. What it does shows on the held-out rows, if nothing else differs: the same rows are
//! fitted with the words and without. What that costs is told by `price`, and by more than one seed in `doubt`. Words that
//! cost too much are left out of this training, told, and tried again in the next; the training itself goes on, so that
//! nobody can stop the learning of a site by wrong words. Nor can anybody silence the others by them: where all words
//! together cost too much, it is asked whose. Which words count at all, and for how much, is decided before, in `feedback`.

mod doubt;
mod price;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use self::doubt::Pricing;
use self::price::Found;
use super::super::dataset::{Dataset, Prepared};
use super::super::gate::{Canary, Judgement, Verdict};
use super::super::labels::Label;
use super::super::training::Progress;
use super::operating::BLOCK_MIN;
use super::{Fitted, RunError, RunOptions, fit};
use crate::detection::features::FeatureSchema;
use crate::numeric;

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

/// Fits what `options` ask for, with the words of people unless they cost too much. What is always the same is asked as well.
///
/// # Errors
/// When `cancel` is raised or the numbers stop being finite.
pub(super) fn fit_heeding(
    prepared: Prepared,
    schema: &FeatureSchema,
    options: &RunOptions,
    canaries: &[Canary],
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Heeded, RunError> {
    let heeded = |prepared, fitted| Heeded { prepared, fitted, set_aside: None, unheeded: Vec::new() };
    let Some(silent) = prepared.without_words() else {
        let fitted = fit(&prepared, schema, options, cancel, progress)?;
        return Ok(heeded(prepared, fitted));
    };
    let control = fit(&silent, schema, options, cancel, progress)?;
    let prepared = emphasised(prepared, &control);
    let fitted = fit(&prepared, schema, options, cancel, progress)?;
    // Of the same rows: those that nobody spoke of.
    let without = Found::on(&control.measured, &prepared, options.false_positive_budget, canaries);
    let without = without.into_iter().collect();
    let mut pricing = Pricing { prepared: &prepared, silent: &silent, schema, options, canaries, cancel, without };
    let Some(cost) = pricing.of(&prepared, &fitted, progress)?.filter(|cost| cost.price() > 1.0) else {
        return Ok(heeded(prepared, fitted));
    };
    let mut fit_with = |heard: &BTreeSet<&str>| {
        let Some(part) = prepared.with_words_of(|author| heard.contains(author)) else { return Ok(None) };
        let part = emphasised(part, &control);
        let fitted = fit(&part, schema, options, cancel, progress)?;
        let price = pricing.of(&part, &fitted, progress)?.map_or(f64::INFINITY, |cost| cost.price());
        Ok::<_, RunError>((price <= 1.0).then_some((price, part, fitted)))
    };
    let (part, fitted) = heard(&parties(&prepared), &mut fit_with)?.unwrap_or((silent, control));
    let why = cost.told();
    Ok(Heeded::without_some(part, fitted, &prepared, &why))
}

/// The same, with most weight for the words that a model without them goes most against.
fn emphasised(prepared: Prepared, control: &Fitted) -> Prepared {
    let model = &control.serving;
    let cut = model.thresholds.block.unwrap_or(BLOCK_MIN);
    let cut = numeric::ln(cut / (1.0 - cut));
    prepared.emphasised(|row| {
        let above = model.logit(&row.snapshot()) - cut;
        numeric::sigmoid(if row.label == Label::Attack { -above } else { above })
    })
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
        let part = emphasised(part, &control);
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

#[cfg(test)]
mod tests;
