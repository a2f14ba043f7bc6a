//! What the shipped prior knows of sites that it was not trained on.

use super::*;
use crate::detection::record::TrueLabel;
use crate::learning::evaluation::{self, Scored};
use crate::serving::prior;

/// A seed of no site of the training.
const STRANGER: u64 = 4711;

/// Area under the ROC curve on a strange site, by the truth.
fn roc_auc(missing: Missing) -> f64 {
    let options = TrafficOptions { seed: STRANGER, users: 60, days: 3.0, ..TrafficOptions::default() };
    let records = records(&options, missing).map_err(|failure| failure.message().to_owned()).expect("traffic");
    let prior = prior::shipped().expect("a sound model");
    let mut player = Player::new(&Config::default(), FeatureSchema::ext());
    let scored: Vec<Scored> = records
        .iter()
        .map(|record| Scored {
            score: prior.probability(&player.play(record).values),
            attack: record.truth.label == Some(TrueLabel::Attack),
            weight: 1.0,
        })
        .collect();
    evaluation::evaluate(&scored, None).roc_auc.expect("both classes")
}

#[test]
fn the_shipped_prior_ranks_attacks_of_a_strange_site_above_its_users_whatever_the_site_tells() {
    // Measured: 0.9933 to 0.9963 with password tags, 0.9733 to 0.9753 without. That is the draw of the first weights: five
    // seeds of the fit gave 0.9934 to 0.9980 and 0.9705 to 0.9818. Picking the luckiest would tell nothing of another site.
    let measured: Vec<(Missing, f64)> =
        (0..SITES).map(Missing::of).map(|missing| (missing, roc_auc(missing))).collect();
    let enough = |(missing, measured): &(Missing, f64)| *measured > if missing.tags { 0.965 } else { 0.99 };
    assert!(measured.iter().all(enough), "{measured:?}");
}

#[test]
fn each_site_of_the_training_leaves_out_something_else() {
    let told = TrafficOptions { users: 10, days: 0.2, ..TrafficOptions::default() };
    let record = traffic::generate(&told).swap_remove(0);

    let mut kinds: Vec<[bool; 3]> = (0..SITES)
        .map(|number| {
            let record = Missing::of(number).from(record.clone());
            assert_eq!(record.country.is_some(), record.asn.is_some());
            [record.password_hash.is_some(), record.user_found.is_some(), record.country.is_some()]
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();

    assert_eq!(kinds.len(), 8);
}
