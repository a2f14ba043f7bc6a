//! What is tried: who says what about which attempts.

use std::collections::{BTreeMap, BTreeSet};

use super::Attempt;
use crate::detection::attempt::{Outcome, client_network};
use crate::learning::artifact::ModelArtifact;
use crate::learning::sample::Feedback;
use crate::numeric::Rng;
use crate::traffic::Habit;

/// Habits whose failures are taken out: what looks most like guessing.
pub(super) const HOLE: [Habit; 3] = [Habit::StaleClient, Habit::DeadDevice, Habit::Forgotten];
/// Items of feedback in each case.
const ITEMS: usize = 10;

/// Who says it.
#[derive(Clone, Copy)]
pub(super) enum Authors {
    One,
    Ten,
}

/// What is tried.
pub(super) struct Case<'a> {
    pub(super) name: String,
    pub(super) items: Vec<&'a Attempt<'a>>,
    says_attack: bool,
    authors: Authors,
    /// The habit that it is about.
    pub(super) habit: Option<Habit>,
    /// On the model that has never seen the habits; otherwise on one that has seen everything.
    pub(super) hole: bool,
    /// Whether the training has the attempts of the days in which people spoke.
    pub(super) lived: bool,
    /// Whether what is said is wrong.
    pub(super) wrong: bool,
}

pub(super) fn cases<'a>(
    complaints: &'a [Attempt<'a>],
    hole: &ModelArtifact,
    whole: &ModelArtifact,
    seed: u64,
) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    let right = |name: String, items, authors, habit| Case {
        name,
        items,
        says_attack: false,
        authors,
        habit: Some(habit),
        hole: true,
        lived: false,
        wrong: false,
    };
    for habit in HOLE {
        let worst = worst(complaints, habit, hole);
        cases.push(right(format!("right, {}", habit.name()), one_each(&worst), Authors::Ten, habit));
        cases.push(right(format!("right, {}, one author", habit.name()), one_each(&worst), Authors::One, habit));
        cases.push(right(format!("right, {}, one account", habit.name()), one_account(&worst), Authors::One, habit));
        for (what, items) in [("nothing", Vec::new()), ("right", one_each(&worst))] {
            let case = right(format!("{what}, {}, as lived", habit.name()), items, Authors::Ten, habit);
            cases.push(Case { lived: true, ..case });
        }
    }
    let mut drawn = |name: &str, authors, says_attack, of: &dyn Fn(&Attempt<'_>) -> bool| {
        let mut found: Vec<&Attempt<'_>> = complaints.iter().filter(|attempt| of(attempt)).collect();
        Rng::new(seed, name).shuffle(&mut found);
        let wrong = name.starts_with("wrong");
        let items = one_each(&found);
        cases.push(Case {
            name: name.to_owned(),
            items,
            says_attack,
            authors,
            habit: None,
            hole: false,
            lived: true,
            wrong,
        });
    };
    let blocked =
        |attempt: &Attempt<'_>| whole.probability(&attempt.snapshot.values) > whole.thresholds.block.unwrap_or(0.5);
    let success = |attempt: &Attempt<'_>| !attempt.is_attack() && attempt.record.outcome == Some(Outcome::Success);
    let campaign = complaints.iter().find(|attempt| attempt.is_attack() && blocked(attempt));
    let campaign = campaign.and_then(|attempt| attempt.record.truth.campaign.clone());
    drawn("nothing", Authors::Ten, false, &|_| false);
    drawn("right, what it knows", Authors::Ten, false, &success);
    drawn("wrong, attacks excused", Authors::Ten, false, &|attempt| attempt.is_attack() && blocked(attempt));
    drawn("wrong, attacks excused, one author", Authors::One, false, &|attempt| {
        attempt.is_attack() && blocked(attempt)
    });
    drawn("wrong, one campaign excused, one author", Authors::One, false, &|attempt| {
        attempt.is_attack() && attempt.record.truth.campaign == campaign
    });
    drawn("wrong, users accused", Authors::Ten, true, &success);
    drawn("wrong, honest failures accused, one author", Authors::One, true, &|attempt| attempt.is_honest_failure());
    cases
}

/// Attempts of a habit, those that the model takes most for an attack first: whoever is stopped complains.
fn worst<'a>(attempts: &'a [Attempt<'a>], habit: Habit, model: &ModelArtifact) -> Vec<&'a Attempt<'a>> {
    let mut found: Vec<(f64, &Attempt<'_>)> = attempts
        .iter()
        .filter(|attempt| attempt.has_habit(habit))
        .map(|attempt| (model.logit(&attempt.snapshot.values), attempt))
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, attempt)| attempt).collect()
}

/// The first of each account, then the second of each, until there are enough.
pub(super) fn one_each<'a>(attempts: &[&'a Attempt<'a>]) -> Vec<&'a Attempt<'a>> {
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, &Attempt<'_>)> = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let nth = seen.entry(attempt.record.attempt.user.0).or_insert(0);
        ranked.push((*nth, attempt));
        *nth += 1;
    }
    ranked.sort_by_key(|(nth, _)| *nth);
    ranked.into_iter().take(ITEMS).map(|(_, attempt)| attempt).collect()
}

/// All of the account of the first.
pub(super) fn one_account<'a>(attempts: &[&'a Attempt<'a>]) -> Vec<&'a Attempt<'a>> {
    let Some(first) = attempts.first() else { return Vec::new() };
    let user = first.record.attempt.user;
    attempts.iter().filter(|attempt| attempt.record.attempt.user == user).take(ITEMS).copied().collect()
}

impl Case<'_> {
    /// Those of `attempts` of the accounts and networks that somebody speaks of.
    pub(super) fn of_told<'a>(&self, attempts: &'a [Attempt<'a>]) -> impl Iterator<Item = &'a Attempt<'a>> {
        let subject =
            |attempt: &Attempt<'_>| (attempt.record.attempt.user, client_network(attempt.record.attempt.client_ip));
        let told: BTreeSet<_> = self.items.iter().map(|attempt| subject(attempt)).collect();
        attempts.iter().filter(move |attempt| told.contains(&subject(attempt)))
    }

    pub(super) fn said(&self, number: usize, attempt: &Attempt<'_>) -> Feedback {
        let told = &attempt.record.attempt;
        let author = match self.authors {
            Authors::One => "author".to_owned(),
            Authors::Ten => format!("author {number}"),
        };
        Feedback {
            id: format!("item {number}"),
            request: told.request,
            client_ip: told.client_ip,
            name: told.name,
            user: told.user,
            is_attack: self.says_attack,
            author,
            given_at: told.ts.plus_millis(3_600_000),
            ts: told.ts,
            outcome: attempt.record.outcome,
            fingerprint: attempt.snapshot.fingerprint,
            values: attempt.snapshot.values.clone(),
        }
    }
}
