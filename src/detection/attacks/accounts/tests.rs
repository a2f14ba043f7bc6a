//! What condemns an account, and what does not.

use super::*;
use crate::numeric::Rng;

const BYTES: usize = 8 << 20;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
}

fn network(number: u64) -> IpAddr {
    let [.., b, c] = number.to_be_bytes();
    [10, b, c, 0].into()
}

fn victim() -> AccountId {
    AccountId::from_number(1)
}

fn score(accounts: &Accounts, now: Timestamp) -> f64 {
    accounts.report(victim(), now, &AttackOptions::default()).map_or(0.0, |report| report.score)
}

/// The attempt, counted from 1, at which the account is called attacked.
fn detected(tries: impl Iterator<Item = (i64, u64, Option<u64>)>) -> Option<usize> {
    let mut accounts = Accounts::default();
    for (nth, (second, source, tag)) in tries.enumerate() {
        accounts.failure(at(second), victim(), network(source), tag, BYTES);
        if score(&accounts, at(second)) >= 0.5 {
            return Some(nth + 1);
        }
    }
    None
}

#[test]
fn five_hundred_networks_with_one_try_each_are_found_before_the_twenty_fifth() {
    for gap in [1, 10, 60, 140] {
        for tags in [false, true] {
            let nth = detected((0..500).map(|nth| (nth * gap, nth as u64, tags.then_some(nth as u64))));
            assert_eq!(nth, Some(11), "a try every {gap} s, tags: {tags}");
        }
    }
}

#[test]
fn a_patient_botnet_is_found_by_its_day() {
    let nth = detected((0..500).map(|nth| (nth * 1500, nth as u64, None)));

    assert_eq!(nth, Some(31));
}

#[test]
fn a_loud_source_does_not_hide_the_quiet_ones() {
    let quiet = (0..40)
        .flat_map(|nth| (0..20).map(move |turn| (nth * 20 + turn, if turn == 0 { nth as u64 + 1 } else { 0 }, None)));

    assert!(detected(quiet).is_some());
}

#[test]
fn a_stale_password_that_travels_is_one_password_however_many_networks_it_sees() {
    assert_eq!(detected((0..500).map(|nth| (nth * 60, nth as u64, Some(7)))), None);
    let with_a_typo = |nth: i64| (nth * 60, nth as u64, Some(if nth == 5 { 8 } else { 7 }));
    assert_eq!(detected((0..500).map(with_a_typo)), None);
}

#[test]
fn few_networks_and_many_addresses_of_one_network_are_no_distributed_attack() {
    assert_eq!(detected((0..500).map(|nth| (nth * 5, nth as u64 % 10, None))), None);
}

#[test]
fn networks_where_the_owner_logs_in_do_not_count_whichever_is_heard_first() {
    let mut accounts = Accounts::default();
    for nth in 0..20 {
        accounts.failure(at(nth * 10), victim(), network(nth as u64), None, BYTES);
    }
    assert!(score(&accounts, at(200)) >= 0.5);
    for nth in 0..12 {
        accounts.success(at(nth * 10 + 5), victim(), network(nth as u64));
    }

    assert!(score(&accounts, at(200)) < 0.5, "eight strange networks are left");
}

#[test]
fn an_hour_after_the_last_try_nothing_is_held_against_anybody() {
    let mut accounts = Accounts::default();
    for nth in 0..25 {
        accounts.failure(at(nth), victim(), network(nth as u64), None, BYTES);
    }
    let report = accounts.report(victim(), at(100), &AttackOptions::default()).unwrap();

    assert!(report.attacked());
    assert_eq!((report.networks_hour, report.evidence, report.sources.len()), (25, at(24), 25));
    assert!(score(&accounts, at(3700)) < 0.5, "25 networks of a day are not enough");
    accounts.prune(at(86_500));
    assert_eq!(accounts.stats(), (0, 0, 0));
}

#[test]
fn the_order_in_which_failures_are_heard_makes_no_difference() {
    let mut rng = Rng::new(1, "test/accounts");
    let mut events: Vec<(i64, u64, u64)> =
        (0..300).map(|_| (rng.below(90_000) as i64, rng.below(60), rng.below(6))).collect();
    let told = |events: &[(i64, u64, u64)]| {
        let mut accounts = Accounts::default();
        for &(second, source, tag) in events {
            accounts.failure(at(second), victim(), network(source), Some(tag), BYTES);
        }
        accounts.map
    };
    let one = told(&events);
    rng.shuffle(&mut events);

    assert_eq!(one, told(&events));
}

#[test]
fn made_up_names_push_out_made_up_names_and_the_attacked_account_stays() {
    let mut accounts = Accounts::default();
    for nth in 0..30 {
        accounts.failure(at(nth), victim(), network(nth as u64), None, 1 << 20);
    }
    for nth in 0..50_000 {
        accounts.failure(at(100 + nth / 100), AccountId::from_number(1000 + nth as u64), network(9), None, 1 << 20);
        assert!(accounts.bytes <= 1 << 20);
    }

    assert!(score(&accounts, at(700)) >= 0.5);
    let (held, bytes, evicted) = accounts.stats();
    assert!(evicted > 0 && bytes > 1 << 19, "{held} accounts in {bytes} bytes");
}

#[test]
fn a_thousand_networks_at_one_account_are_counted_and_where_room_is_short_the_newest_stay() {
    let mut accounts = Accounts::default();
    for nth in 0..1500 {
        accounts.failure(at(nth), victim(), network(nth as u64), None, BYTES);
    }
    let report = accounts.report(victim(), at(1500), &AttackOptions::default()).unwrap();
    assert_eq!((report.networks_hour, report.sources.len(), report.sources[0]), (1024, 1024, network(1499)));

    // Many attacked accounts: all of them stay, none with all its networks.
    let mut accounts = Accounts::default();
    for nth in 0..600_u64 {
        for account in 0..200 {
            accounts.failure(at(nth as i64), AccountId::from_number(account), network(nth), None, 1 << 20);
            assert!(accounts.bytes <= 1 << 20);
        }
    }
    let found = accounts.attacked(at(600), &AttackOptions::default(), 1000);
    assert_eq!((found.len(), accounts.stats().2), (200, 0));
    assert!(found.iter().all(|report| (64..600).contains(&report.networks_hour)), "{:?}", found[0].networks_hour);
}
