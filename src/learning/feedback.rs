//! Which words of people count in a training, and for how much: bounded so that nobody teaches the model alone.
//!
//! Time is that of the data: the newest moment that samples and words tell. A clock would make two trainings on the same
//! data differ. Nothing is stored or logged here; [`Told`] says what is to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;

use super::sample::Feedback;
use crate::detection::activity::DAY_MS;
use crate::detection::attempt::{Pseudonym, RequestKey, Timestamp, client_network};
use crate::numeric;

/// One fresh item weighs as much as this many samples, where the share of all items allows it: ten reach that at 150 000
/// samples. Measured (`experiment feedback`, two seeds of the training each): with 25 ten right items left 5 to 31 % of the blocked
/// attempts of dead devices on one site of 1500 people (145 000 samples, seed 45) and up to 40 % on another (46), with 75 it
/// was 7 to 19 % and none.
pub const FEEDBACK_WEIGHT: f64 = 75.0;
/// Items on one (network, account) that count, whoever gave them: nobody teaches by repetition, alone or in company.
const PER_SUBJECT_MAX: usize = 3;
/// Items of one author that count, on a small site; on a large one as many as `EARLY_SHARE_MAX` of the samples. An item is
/// hardly brought below one sample, so that without this bound a flood of them would outweigh everything else.
const PER_AUTHOR_MIN: usize = 10;
/// Share of the total weight that feedback may take, and before `AGREEING` items agree.
const SHARE_MAX: f64 = 0.02;
const EARLY_SHARE_MAX: f64 = 0.005;
const AGREEING: usize = 20;
/// After so many days a word weighs half: what was right about a person's habits a year ago may be wrong now.
const HALF_LIFE_DAYS: f64 = 90.0;

/// What became of the words, for history, log and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Told {
    /// Items that count.
    pub counted: usize,
    /// Requests on which two authors contradict each other, of which neither counts.
    pub contradicted: usize,
    /// Items beyond the bounds of their network and account or of their author.
    pub repeated: usize,
    /// Items that say something else than the label of their request; the person wins.
    pub overruled: usize,
    /// Items that would have counted, and cost more attacks than they may, or had the model refused.
    pub set_aside: usize,
    /// So many items of one author could count; 0 where nothing was asked.
    pub per_author: usize,
}

/// What becomes of one item before any training has looked at what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It counts.
    Counted,
    /// A later word on the same request stands for it: its author's own, or that of somebody who says the same.
    Replaced,
    /// Somebody else says the opposite about the request; neither counts.
    Contradicted,
    /// Beyond the bounds of its network and account or of its author.
    Repeated,
}

/// How many items of one author count, where all samples together weigh `sample_weight`.
pub fn per_author_max(sample_weight: f64) -> usize {
    ((EARLY_SHARE_MAX * sample_weight) as usize).max(PER_AUTHOR_MIN)
}

/// What becomes of each of `items`, which come in the order in which they were given.
///
/// The latest word of an author on a request counts; where two authors contradict each other, neither does; at most three
/// items per network and account, and of one author `per_author_max`, the latest ones.
pub fn fates(items: &[Feedback], per_author_max: usize) -> Vec<Fate> {
    let mut fates = vec![Fate::Replaced; items.len()];
    let mut by_request: BTreeMap<RequestKey, BTreeMap<&str, usize>> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        // A later word of the same author replaces the earlier one.
        by_request.entry(item.request).or_default().insert(&item.author, place);
    }
    let mut kept: Vec<usize> = Vec::new();
    for words in by_request.into_values() {
        let (attack, legit): (Vec<usize>, Vec<usize>) = words.into_values().partition(|word| items[*word].is_attack);
        if attack.is_empty() || legit.is_empty() {
            // Of those who agree, the one who spoke last.
            kept.extend([attack, legit].concat().into_iter().max_by_key(|word| items[*word].given_at));
        } else {
            [attack, legit].concat().into_iter().for_each(|word| fates[word] = Fate::Contradicted);
        }
    }
    kept.sort_by_key(|word| (std::cmp::Reverse(items[*word].given_at), items[*word].request));
    let mut per_subject: BTreeMap<(IpAddr, Pseudonym), usize> = BTreeMap::new();
    let mut per_author: BTreeMap<&str, usize> = BTreeMap::new();
    for word in kept {
        let item = &items[word];
        let of_subject = per_subject.entry((client_network(item.client_ip), item.user)).or_insert(0);
        *of_subject += 1;
        fates[word] = Fate::Repeated;
        if *of_subject <= PER_SUBJECT_MAX {
            let of_author = per_author.entry(&item.author).or_insert(0);
            *of_author += 1;
            if *of_author <= per_author_max {
                fates[word] = Fate::Counted;
            }
        }
    }
    fates
}

/// The words that count ([`fates`]), each with its weight, by request; and what became of the others.
///
/// An item weighs what [`weights`] says.
pub fn effective(feedback: Vec<Feedback>, sample_weight: f64, now: Timestamp) -> (Vec<(Feedback, f64)>, Told) {
    let per_author = per_author_max(sample_weight);
    let fates = fates(&feedback, per_author);
    let mut told = Told {
        counted: fates.iter().filter(|fate| **fate == Fate::Counted).count(),
        repeated: fates.iter().filter(|fate| **fate == Fate::Repeated).count(),
        per_author,
        ..Told::default()
    };
    let of_fate = |wanted: Fate| feedback.iter().zip(&fates).filter(move |(_, fate)| **fate == wanted);
    let contradicted: BTreeSet<RequestKey> = of_fate(Fate::Contradicted).map(|(item, _)| item.request).collect();
    told.contradicted = contradicted.len();
    let counted = feedback.into_iter().zip(fates).filter(|(_, fate)| *fate == Fate::Counted);
    let mut kept: Vec<Feedback> = counted.map(|(item, _)| item).collect();
    kept.sort_by_key(|item| item.request);
    let given: Vec<Timestamp> = kept.iter().map(|item| item.given_at).collect();
    let weights = weights(&given, sample_weight, now);
    (kept.into_iter().zip(weights).collect(), told)
}

/// What each of the items that count weighs, by when it was given.
///
/// An item weighs [`FEEDBACK_WEIGHT`] samples, half as much for every 90 days before `now`. All together are held to 0.5 % of
/// `sample_weight`, and to 2 % from 20 items on. On a small site that would make ten people's words worth nothing: an item is
/// not brought below one sample (before its age), as long as all together stay within the 2 %.
pub fn weights(given: &[Timestamp], sample_weight: f64, now: Timestamp) -> Vec<f64> {
    let freshness: Vec<f64> = given.iter().map(|given_at| freshness(*given_at, now)).collect();
    let fresh: f64 = freshness.iter().sum();
    // What an item of no age weighs, so that all together weigh a share of the samples.
    let at_share = |share: f64| if fresh > 0.0 { share * sample_weight / fresh } else { 0.0 };
    let share = if given.len() < AGREEING { EARLY_SHARE_MAX } else { SHARE_MAX };
    let weight = if sample_weight > 0.0 {
        at_share(share).max(at_share(SHARE_MAX).min(1.0)).min(FEEDBACK_WEIGHT)
    } else {
        // Nothing but words: there is nothing that they could outweigh.
        1.0
    };
    freshness.into_iter().map(|freshness| weight * freshness).collect()
}

/// 1 for what was said now, half for every half-life before.
fn freshness(given_at: Timestamp, now: Timestamp) -> f64 {
    let days = now.millis().saturating_sub(given_at.millis()).max(0) as f64 / DAY_MS as f64;
    numeric::exp(-std::f64::consts::LN_2 * days / HALF_LIFE_DAYS)
}

#[cfg(test)]
mod tests {
    use super::super::sample::tests::feedback;
    use super::*;

    fn now() -> Timestamp {
        feedback(0, true, "a").given_at
    }

    fn items(count: u64) -> Vec<Feedback> {
        (0..count).map(|number| feedback(number, true, "a")).collect()
    }

    fn on_one_subject(number: u64, author: &str) -> Feedback {
        let (client_ip, user) = (IpAddr::from([10, 0, 0, 1]), Pseudonym([1; 16]));
        Feedback { client_ip, user, ..feedback(number, true, author) }
    }

    fn total(weighed: &[(Feedback, f64)]) -> f64 {
        weighed.iter().map(|(_, weight)| weight).sum()
    }

    #[test]
    fn the_latest_word_of_an_author_wins() {
        let (counted, told) = effective(vec![feedback(1, true, "a"), feedback(1, false, "a")], 1000.0, now());

        assert_eq!((counted.len(), told.contradicted), (1, 0));
        assert!(!counted[0].0.is_attack);
    }

    #[test]
    fn contradicting_authors_cancel_each_other_and_that_is_told() {
        let given = vec![feedback(1, true, "a"), feedback(1, false, "b"), feedback(2, true, "a")];

        let (counted, told) = effective(given, 1000.0, now());

        assert_eq!(counted.iter().map(|(item, _)| item.request).collect::<Vec<_>>(), [feedback(2, true, "a").request]);
        assert_eq!(told, Told { counted: 1, contradicted: 1, per_author: 10, ..Told::default() });
    }

    #[test]
    fn an_account_and_network_counts_at_most_three_times_whoever_speaks() {
        let of_one = (0..10).map(|number| on_one_subject(number, "a")).collect();
        let of_many = (0..10).map(|number| on_one_subject(number, &format!("author {number}"))).collect();

        for given in [of_one, of_many] {
            let (counted, told) = effective(given, 1000.0, now());
            assert_eq!((counted.len(), told.counted, told.repeated), (3, 3, 7));
            let latest: Vec<_> = (7..10).map(|number| feedback(number, true, "a").request).collect();
            assert!(counted.iter().all(|(item, _)| latest.contains(&item.request)), "the latest count");
        }
    }

    #[test]
    fn a_fresh_item_weighs_its_most_on_a_large_site_and_one_sample_on_a_small_one() {
        let weights = |samples: f64| effective(items(10), samples, now()).0;

        assert!(weights(1e9).iter().all(|(_, weight)| (*weight - FEEDBACK_WEIGHT).abs() < 0.01));
        assert!(weights(1000.0).iter().all(|(_, weight)| (*weight - 1.0).abs() < 0.01), "{:?}", weights(1000.0));
    }

    #[test]
    fn all_together_stay_within_half_a_percent_until_twenty_agree_and_within_two_percent_ever() {
        for (count, samples, share) in
            [(19, 20_000.0, 0.005), (20, 5000.0, 0.02), (200, 20_000.0, 0.02), (40, 500.0, 0.02)]
        {
            let total = total(&effective(items(count), samples, now()).0);
            assert!((total / samples - share).abs() < 1e-9, "{count} items, {samples} samples: {total}");
        }
    }

    #[test]
    fn a_word_weighs_half_after_ninety_days_and_a_quarter_after_a_hundred_and_eighty() {
        for (days, share) in [(0, 1.0), (90, 0.5), (180, 0.25), (-5, 1.0)] {
            let later = now().plus_millis(days * DAY_MS);
            let (counted, _) = effective(vec![feedback(0, true, "a")], 1e9, later);
            assert!((counted[0].1 / FEEDBACK_WEIGHT - share).abs() < 1e-9, "{days} days: {counted:?}");
        }
        let old = Feedback { given_at: now().plus_millis(-90 * DAY_MS), ..feedback(1, true, "a") };
        let (both, _) = effective(vec![old.clone(), feedback(2, true, "a")], 1e9, now());
        let weight = |request| both.iter().find(|(item, _)| item.request == request).map(|(_, weight)| *weight);
        let (Some(old), Some(new)) = (weight(old.request), weight(feedback(2, true, "a").request)) else {
            panic!("{both:?}")
        };
        assert!((old / new - 0.5).abs() < 1e-9, "{old} {new}");
    }
}
