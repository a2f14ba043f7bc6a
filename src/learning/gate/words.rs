//! Does the challenger agree with people at least as often as the champion, on feedback that it was not trained on?
//!
//! Agreement is about what a model would do: it must not block what a person called legitimate, and it must at least
//! watch what a person called an attack. Where a threshold is missing, one half stands in for it.
//!
//! Of what one author holds against a model, no more counts than what all others together hold against it: one person
//! with wrong words does not stop the learning of a site, and two who agree do.

use std::collections::BTreeMap;

use super::super::threshold::Thresholds;
use super::{Challenge, Criterion, Status, binomial, failed_if};
use crate::numeric;

/// Less agreement than this is refused, whatever the champion does: seven of ten words.
const AGREEMENT_MIN: f64 = 0.7;
/// So many held-out words are needed for that.
const WORDS_MIN: usize = 5;
/// Chance of refusing a model that is as good as the champion.
const SIGNIFICANCE: f64 = 0.05;
/// Stands in for a missing threshold: more likely an attack than not.
const EVEN: f64 = 0.5;

/// One word of a person about an attempt, which neither model was trained on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldOutFeedback {
    /// The word: attack, or legitimate.
    pub attack: bool,
    /// Whose word it is; which number that is does not matter.
    pub author: usize,
    /// The challenger's logit.
    pub challenger: f64,
    /// The champion's logit; `None` without a champion, or with one of another schema.
    pub champion: Option<f64>,
}

/// Two criteria: the share of agreement alone, and against the champion.
pub(super) fn judge(challenge: &Challenge<'_>) -> [Criterion; 2] {
    [absolute(challenge), against_champion(challenge)]
}

fn absolute(challenge: &Challenge<'_>) -> Criterion {
    const NAME: &str = "feedback";
    let words = challenge.feedback;
    let ours = challenge.challenger.thresholds;
    if words.len() < WORDS_MIN {
        let why = format!("{} held-out feedback items are there, {WORDS_MIN} are needed", words.len());
        return Criterion::not_measured(NAME, why);
    }
    let against = words.iter().filter(|word| !agrees(word.attack, word.challenger, ours));
    let against: Vec<usize> = against.map(|word| word.author).collect();
    let agreed = words.len() - against.len();
    let share = agreed as f64 / words.len() as f64;
    let counted = shared(&against);
    let fails = counted > 0 && (agreed as f64) < AGREEMENT_MIN * (agreed + counted) as f64;
    let mut sentence = format!("it agrees with {agreed} of {} held-out feedback items", words.len());
    let mut status = failed_if(fails);
    if !fails && share < AGREEMENT_MIN {
        sentence.push_str(", and the others are mostly of one author, who alone holds nothing back");
        status = Status::Noted;
    }
    Criterion::measured(NAME, status, share, AGREEMENT_MIN, sentence)
}

/// How many of the words that speak against a model count, by their authors: of one author as many as all others say.
fn shared(authors: &[usize]) -> usize {
    let mut words: BTreeMap<usize, usize> = BTreeMap::new();
    for author in authors {
        *words.entry(*author).or_default() += 1;
    }
    words.values().map(|of_one| (*of_one).min(authors.len() - of_one)).sum()
}

fn against_champion(challenge: &Challenge<'_>) -> Criterion {
    const NAME: &str = "feedback_paired";
    let ours = challenge.challenger.thresholds;
    let (mut pairs, mut lost, mut gained) = (0, Vec::new(), 0);
    for word in challenge.feedback {
        let (Some(theirs), Some(champion)) = (word.champion, challenge.champion) else { continue };
        pairs += 1;
        match (agrees(word.attack, word.challenger, ours), agrees(word.attack, theirs, champion.thresholds)) {
            (false, true) => lost.push(word.author),
            (true, false) => gained += 1,
            _ => {}
        }
    }
    if pairs == 0 {
        return Criterion::not_measured(NAME, "no held-out feedback can be compared with the current model");
    }
    let counted = shared(&lost) as u64;
    let chance = binomial::mcnemar(counted, gained);
    let worse = counted > gained && chance < SIGNIFICANCE;
    let sentence = format!(
        "of {pairs} held-out feedback items only the current model agrees with {} ({counted} count, of one author no more \
         than of all others), only the new one with {gained} (McNemar p {chance:.3})",
        lost.len()
    );
    Criterion::measured(NAME, failed_if(worse), chance, SIGNIFICANCE, sentence)
}

fn agrees(attack: bool, logit: f64, thresholds: Thresholds) -> bool {
    let probability = numeric::sigmoid(logit);
    if attack {
        probability > thresholds.watch.unwrap_or(EVEN)
    } else {
        // Written so that what is not a number agrees with nobody.
        probability <= thresholds.block.unwrap_or(EVEN)
    }
}
