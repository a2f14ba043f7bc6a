//! Gives canaries what attempts of this site have.
//!
//! A model that leans on what a caller sends sees less in attempts without it, and every attempt of a canary would be one:
//! it would be held against a model that what is always there is not there. So each attempt takes the blocks of a
//! held-out row of its own class, drawn from the seed. Nor does a model know passwords where nobody tells them: what repeats
//! itself there counts as so many guesses, and would be something else in canaries with passwords. Everything else of the
//! standard features stays as it was played.

use super::super::dataset::{Dataset, Row};
use super::super::gate::Canary;
use super::super::labels::Label;
use super::operating::Untold;
use crate::detection::features::FeatureSchema;
use crate::numeric::Rng;

/// Above this share of legitimate attempts without a password canaries have none either.
const BLIND: f64 = 0.5;

/// The canaries without passwords where most legitimate held-out attempts have none, and with the blocks of drawn rows, if the schema
/// has blocks and their class a row.
pub(super) fn of_site(mut canaries: Vec<Canary>, schema: &FeatureSchema, hold_out: &Dataset, seed: u64) -> Vec<Canary> {
    let standard = schema.standard_names();
    if Untold::by(standard, &hold_out.rows).no_password > BLIND {
        for canary in &mut canaries {
            canary.snapshots.clone_from(&canary.without_passwords);
        }
    }
    let standard = standard.len();
    if schema.len() == standard {
        return canaries;
    }
    for (label, purpose) in [(Label::Attack, "blocks of attacks"), (Label::Legit, "blocks of mistakes")] {
        // What people said is about what is unusual, and chosen by them.
        let usable = |row: &&Row| row.label == label && !row.from_feedback() && row.values.len() == schema.len();
        let rows: Vec<&Row> = hold_out.rows.iter().filter(usable).collect();
        if rows.is_empty() {
            continue;
        }
        let mut rng = Rng::new(seed, purpose);
        let of_class = canaries.iter_mut().filter(|canary| canary.attack == (label == Label::Attack));
        for values in of_class.flat_map(|canary| &mut canary.snapshots) {
            let drawn = rows[rng.below(rows.len() as u64) as usize].snapshot();
            if values.len() == drawn.len() {
                values[standard..].copy_from_slice(&drawn[standard..]);
            }
        }
    }
    canaries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::additional::{FeatureList, Kind, Proposal};
    use crate::detection::attempt::{RequestKey, Timestamp};

    fn schema() -> FeatureSchema {
        let proposals = [Proposal { name: "risk".into(), kind: Kind::Number }];
        FeatureSchema::compat6().with_additional(&FeatureList::default().with(&proposals, 16, 0))
    }

    /// Rows whose block tells their label: what a caller knows.
    fn hold_out(count: u64, labels: &[Label]) -> Dataset {
        let row = |number: u64| {
            let label = labels[(number % labels.len() as u64) as usize];
            let risk = if label == Label::Attack { 0.9 } else { 0.1 } + number as f64 / 1e4;
            Row {
                ts: Timestamp::from_millis(number as i64),
                request: RequestKey::of(&number.to_string()),
                values: [vec![0.5; 6], vec![risk, 0.0]].concat(),
                label,
                weight: 1.0,
                represents: 1.0,
                word: None,
                failed: true,
                group: number,
            }
        };
        Dataset { rows: (0..count).map(row).collect() }
    }

    /// Played without the block: it says "missing".
    fn canaries() -> Vec<Canary> {
        let canary = |attack: bool| Canary {
            name: format!("attack {attack}"),
            attack,
            snapshots: vec![[vec![0.25; 6], vec![0.0, 1.0]].concat(); 20],
            without_passwords: Vec::new(),
        };
        vec![canary(true), canary(false)]
    }

    #[test]
    fn canaries_have_what_callers_send_with_attempts_of_their_class_and_nothing_else_changes() {
        let given = of_site(canaries(), &schema(), &hold_out(200, &[Label::Attack, Label::Legit]), 1);

        for canary in &given {
            let risks: Vec<f32> = canary.snapshots.iter().map(|values| values[6]).collect();
            assert!(canary.snapshots.iter().all(|values| values[..6] == [0.25; 6] && values[7] == 0.0), "{canary:?}");
            assert!(risks.iter().all(|risk| (*risk > 0.5) == canary.attack), "{risks:?}");
            assert!(risks.iter().any(|risk| *risk != risks[0]), "different rows are drawn: {risks:?}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_one_others() {
        let with = |seed| of_site(canaries(), &schema(), &hold_out(200, &[Label::Attack, Label::Legit]), seed);

        assert!(with(1) == with(1));
        assert!(with(1) != with(2));
    }

    #[test]
    fn a_class_without_rows_and_a_schema_without_blocks_stay_as_they_were_played() {
        let one_class = of_site(canaries(), &schema(), &hold_out(50, &[Label::Legit]), 1);
        assert!(one_class[0] == canaries()[0] && one_class[1] != canaries()[1]);

        let mut spoken = hold_out(50, &[Label::Attack, Label::Legit]);
        spoken.rows.iter_mut().for_each(|row| row.word = Some(row.request));
        assert!(of_site(canaries(), &schema(), &spoken, 1) == canaries());
        let plain = FeatureSchema::compat6();
        assert!(of_site(canaries(), &plain, &hold_out(50, &[Label::Attack, Label::Legit]), 1) == canaries());
    }

    #[test]
    fn canaries_have_no_passwords_where_most_attempts_have_none() {
        let schema = FeatureSchema::ext();
        let missing = schema.index_of("password_missing").unwrap();
        let row = |untold: bool| {
            let mut values = vec![0.5; schema.len()];
            values[missing] = f64::from(u8::from(untold));
            Row { values, ..hold_out(1, &[Label::Legit]).rows[0].clone() }
        };
        let played = |untold: u64| {
            let rows = (0..10).map(|number| row(number < untold)).collect();
            let canary = Canary {
                snapshots: vec![vec![0.0; schema.len()]],
                without_passwords: vec![vec![1.0; schema.len()]],
                ..Canary::default()
            };
            of_site(vec![canary], &schema, &Dataset { rows }, 1)[0].snapshots[0][0]
        };

        assert_eq!([0, 5, 6, 10].map(played), [0.0, 0.0, 1.0, 1.0]);
    }
}
