//! What is crossed with what, what stays as it was, and what is never crossed.

use super::*;
use crate::detection::attempt::{RequestKey, Timestamp};

fn row(at: i64, width: usize, label: Label) -> Row {
    Row {
        ts: Timestamp::from_millis(at),
        request: RequestKey::of(&at.to_string()),
        values: vec![0.0; width],
        label,
        weight: 0.5,
        represents: 1.0,
        word: None,
        failed: false,
        group: 0,
    }
}

fn some_rows(schema: &FeatureSchema) -> Dataset {
    let counted = schema.index_of("user_failures_1h").expect("it is one of ours");
    let familiar = schema.index_of("user_address_succeeded_7d").expect("it is one of ours");
    let rows = (0..100).map(|at| {
        let mut row = row(at, schema.len(), if at < 20 { Label::Attack } else { Label::Legit });
        row.failed = at < 60;
        row.values[familiar] = if at >= 60 { 1.0 } else { 0.0 };
        row.values[counted] = ln_1p(if at < 20 { 40.0 } else { 2.0 });
        row
    });
    Dataset { rows: rows.collect() }
}

/// The same rows, where attackers are strangers to the network, fail there 29 times and try `guesses` passwords at an account,
/// and everybody else is at home, fails three times and tries one.
fn among_strangers(schema: &FeatureSchema, guesses: f64) -> Dataset {
    let at = |name: &str| schema.index_of(name).expect("it is one of ours");
    let mut rows = some_rows(schema);
    for row in &mut rows.rows {
        let attack = row.label == Label::Attack;
        row.values[at("user_new_network")] = f64::from(u8::from(attack));
        row.values[at("user_address_guesses_24h")] = ln_1p(if attack { guesses } else { 1.0 });
        row.values[at("source_failures_24h")] = ln_1p(if attack { 29.0 } else { 3.0 });
    }
    rows
}

#[test]
fn an_attack_on_the_account_adds_to_what_its_own_devices_do() {
    let schema = FeatureSchema::ext();
    let crossed = crossed(&some_rows(&schema), &schema, 1);
    let counted = schema.index_of("user_failures_1h").expect("it is one of ours");
    assert_eq!(crossed.rows.len(), 10);
    for row in &crossed.rows {
        assert_eq!(row.label, Label::Legit);
        assert!((row.values[counted] - ln_1p(42.0)).abs() < 1e-6, "{}", row.values[counted]);
    }
    assert_eq!(crossed.rows.iter().filter(|row| row.failed).count(), 5, "half of them are failures");
}

#[test]
fn an_old_password_is_honest_in_the_place_of_an_attacker_and_many_guesses_are_an_attack_at_home() {
    let schema = FeatureSchema::ext();
    let at = |name: &str| schema.index_of(name).expect("it is one of ours");
    let (outdated, strange, guesses) =
        (at("password_outdated"), at("user_new_network"), at("user_address_guesses_24h"));
    let (familiar, failures) = (at("user_address_succeeded_7d"), at("source_failures_24h"));
    let (sprayed, repeated) = (at("password_other_users_24h"), at("password_repeated_excused"));
    let mut rows = among_strangers(&schema, 50.0);
    for row in &mut rows.rows {
        let attack = row.label == Label::Attack;
        row.values[sprayed] = ln_1p(if attack { 60.0 } else { 0.0 });
        row.values[outdated] = f64::from(u8::from(!attack && row.failed));
        if !attack {
            row.values[familiar] = 1.0;
            row.values[repeated] = 1.0;
        }
    }

    let crossed = crossed(&rows, &schema, 1).rows;

    let away: Vec<_> = crossed.iter().filter(|row| row.values[outdated] > 0.5 && row.values[strange] > 0.5).collect();
    assert_eq!(away.len(), 2);
    assert!(away.iter().all(|row| row.label == Label::Legit && row.values[familiar] < 0.5));
    assert!(away.iter().all(|row| row.values[failures] == ln_1p(29.0)), "others fail there, too");
    assert!(away.iter().all(|row| row.values[sprayed] == ln_1p(60.0)), "and try others with that password");
    assert!(away.iter().all(|row| row.values[guesses] == ln_1p(1.0)), "it guesses nothing");
    let home: Vec<_> = crossed.iter().filter(|row| row.label == Label::Attack).collect();
    assert_eq!(home.len(), 2);
    assert!(home.iter().all(|row| row.values[familiar] > 0.5 && row.values[strange] < 0.5));
    assert!(home.iter().all(|row| row.values[failures] == ln_1p(29.0)));
    assert!(
        home.iter().all(|row| row.values[outdated] == 0.0 && row.values[repeated] == 0.0),
        "what is guessed was not known before"
    );
    let beside: Vec<_> = crossed
        .iter()
        .filter(|row| row.label == Label::Legit && row.values[familiar] > 0.5 && row.values[guesses] > ln_1p(12.0))
        .collect();
    assert_eq!(beside.len(), 2);
    assert!(beside.iter().all(|row| row.values[repeated] > 0.5), "only who repeats a password that is known");
    assert!(beside.iter().all(|row| row.values[failures] == ln_1p(29.0)));
    assert!(home.iter().all(|row| (row.values[guesses] - ln_1p(33.0)).abs() < 1e-6), "as many as are counted at home");
}

#[test]
fn what_repeats_a_password_is_honest_amid_all_that_attackers_do_where_it_is() {
    let schema = FeatureSchema::ext();
    let at = |name: &str| schema.index_of(name).expect("it is one of ours");
    let (repeated, strange) = (at("password_repeated_excused"), at("user_new_network"));
    let (failures, guesses) = (at("source_failures_24h"), at("user_address_guesses_24h"));
    let crossed_with = |excused: bool| {
        let mut rows = among_strangers(&schema, 9.0);
        for row in &mut rows.rows {
            let honest = row.label == Label::Legit && row.failed;
            row.values[repeated] = f64::from(u8::from(excused && honest));
        }
        crossed(&rows, &schema, 1).rows
    };

    let amid = crossed_with(true).into_iter().filter(|row| row.values[failures] == ln_1p(29.0));
    let amid: Vec<Row> = amid.collect();
    assert_eq!(amid.len(), 2);
    for row in amid {
        assert!(row.failed && row.label == Label::Legit && row.values[repeated] > 0.5);
        assert!(row.values[strange] < 0.5, "it stays where it is");
        assert_eq!(row.values[guesses], ln_1p(1.0), "it guesses nothing");
    }
    assert!(crossed_with(false).iter().all(|row| row.values[failures] == ln_1p(3.0)), "others guess");
}

#[test]
fn forgotten_passwords_of_home_are_honest_at_the_new_addresses_of_users_too() {
    let schema = FeatureSchema::ext();
    let at = |name: &str| schema.index_of(name).expect("it is one of ours");
    let (moved, strange, guesses, familiar) =
        (at("user_new_address"), at("user_new_range"), at("user_address_guesses_24h"), at("user_address_succeeded_7d"));
    let successes = at("network_successes_7d");
    let crossed_with = |strange_too: bool, tried: f64| {
        let mut rows = some_rows(&schema);
        for (nth, row) in rows.rows.iter_mut().enumerate().filter(|(_, row)| row.label == Label::Legit) {
            let away = nth % 2 == 0;
            row.values[familiar] = f64::from(u8::from(!away));
            row.values[moved] = f64::from(u8::from(away));
            row.values[strange] = f64::from(u8::from(away && strange_too));
            row.values[successes] = if away { 3.0 } else { 5.0 };
            row.values[guesses] = ln_1p(if away { 1.0 } else { tried });
        }
        let several = |row: &Row| row.values[guesses] > ln_1p(2.0) && row.values[moved] > 0.5;
        crossed(&rows, &schema, 1).rows.into_iter().filter(several).collect::<Vec<Row>>()
    };

    let there = crossed_with(false, 6.0);
    assert_eq!(there.len(), 2);
    for row in there {
        assert!(row.failed && row.label == Label::Legit);
        assert_eq!((row.values[guesses], row.values[successes], row.values[familiar]), (ln_1p(6.0), 3.0, 0.0));
    }
    assert_eq!(crossed_with(true, 6.0), [], "not where nobody knows the user");
    assert_eq!(crossed_with(false, 13.0), [], "not for a guesser");
    assert_eq!(crossed_with(false, 2.0), [], "not a slip");
}

/// Away from home the features count each failure as a guess, so that has to be so of what is made up too.
#[test]
fn in_a_new_network_each_failure_of_a_forgotten_password_is_a_guess() {
    let schema = FeatureSchema::ext();
    let crossing = schema.crossing().expect("it tells accounts from addresses");
    let row = |values: &[(usize, f64)]| {
        let mut row = row(0, schema.len(), Label::Legit);
        values.iter().for_each(|(place, value)| row.values[*place] = *value);
        row
    };
    let tried =
        |guesses: f64| [(crossing.guesses, ln_1p(guesses)), (crossing.failures, ln_1p(9.0)), (crossing.repeated, 1.0)];
    for (network, outdated, guesses, repeated) in [(1.0, 0.0, 10.0, 0.0), (0.0, 0.0, 4.0, 1.0), (1.0, 1.0, 4.0, 1.0)] {
        let there = row(&[(crossing.moved, 1.0), (crossing.moved_network, network)]);
        let mut slip = row(&tried(4.0));
        slip.values[crossing.outdated] = outdated;

        let made = at_new_address(slip, &there, &crossing);

        assert_eq!(made.values[crossing.moved], 1.0);
        assert!((made.values[crossing.guesses] - ln_1p(guesses)).abs() < 1e-6, "{network} {outdated}");
        assert_eq!(made.values[crossing.repeated], repeated, "{network} {outdated}");
    }
}

#[test]
fn a_single_device_is_crossed_twenty_times_at_most() {
    let schema = FeatureSchema::ext();
    let outdated = schema.index_of("password_outdated").expect("it is one of ours");
    let crossed_with = |devices: usize| {
        let mut rows: Vec<Row> = (0..40).flat_map(|_| some_rows(&schema).rows).collect();
        let honest = rows.iter_mut().filter(|row| row.label == Label::Legit && row.failed);
        honest.take(devices).for_each(|row| row.values[outdated] = 1.0);
        // From an account under attack as well, as any other honest row, which is seldom one of these few.
        let made = crossed(&Dataset { rows }, &schema, 1).rows;
        made[400..].iter().filter(|row| row.values[outdated] > 0.5).count()
    };

    assert_eq!([1, 2, 10].map(crossed_with), [20, 40, 80], "2 % of 4000 rows are 80");
}

#[test]
fn nothing_is_crossed_where_accounts_and_addresses_are_not_told_apart_or_nothing_is_there() {
    let schema = FeatureSchema::ext();
    let rows = some_rows(&schema);
    assert_eq!(crossed(&rows, &FeatureSchema::compat6(), 1), Dataset::default());
    let honest = Dataset { rows: rows.rows.into_iter().filter(|row| row.label == Label::Legit).collect() };
    assert_eq!(crossed(&honest, &schema, 1), Dataset::default());
    assert_eq!(crossed(&Dataset::default(), &schema, 1), Dataset::default());
}
