//! What is a spray, and how soon it is known.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
}

fn account(number: i64) -> AccountId {
    AccountId::from_number(number as u64)
}

fn network(number: i64) -> IpAddr {
    [10, 0, number as u8, 0].into()
}

/// The attempt, counted from 1, after which something is found.
fn detected(tries: impl Iterator<Item = (i64, i64, i64, Option<u64>)>) -> Option<(usize, SprayReport)> {
    let options = AttackOptions::default();
    let mut spray = Spray::default();
    for (nth, (second, who, from, tag)) in tries.enumerate() {
        spray.failure(at(second), account(who), network(from), tag, &options);
        if let Some(report) = spray.found(at(second), &options, 8).pop() {
            return Some((nth + 1, report));
        }
    }
    None
}

#[test]
fn one_password_over_a_thousand_accounts_from_forty_networks_is_found_before_the_sixtieth_attempt() {
    for gap in [1, 30, 150] {
        let (nth, report) = detected((0..1000).map(|nth| (nth * gap, nth, nth % 40, Some(7)))).unwrap();
        assert_eq!((nth, report.by_password, report.networks.len()), (20, true, 20), "a try every {gap} s");
        assert_eq!(report.evidence, at(19 * gap));
    }
    let (nth, _) = detected((0..1000).map(|nth| (nth * 600, nth, nth % 40, Some(7)))).unwrap();
    assert_eq!(nth, 60, "a whole day's spray, by its day");
}

#[test]
fn a_slow_slash_24_is_found_within_three_hours_without_tags() {
    // 35 addresses of one /24, each a try every 1000 s: one every 28 s altogether.
    let (nth, report) = detected((0..400).map(|nth| (nth * 1000 / 35, nth, 1, None))).unwrap();

    assert_eq!((nth, report.networks), (15, vec![network(1)]));
    let slower = detected((0..400).map(|nth| (nth * 600, nth, 1, None))).unwrap();
    assert_eq!(slower.0, 15, "2.5 hours");
}

#[test]
fn different_passwords_of_different_networks_and_one_clumsy_device_are_no_spray() {
    assert!(detected((0..500).map(|nth| (nth, nth, nth % 200, Some(nth as u64)))).is_none());
    assert!(detected((0..500).map(|nth| (nth, 3, 1, Some(7)))).is_none());
}

#[test]
fn an_office_of_people_who_log_in_is_not_held_against_its_typing_errors() {
    let options = AttackOptions::default();
    let mut spray = Spray::default();
    for who in 0..60 {
        spray.success(at(who), account(who), network(1), &options);
    }
    // Twenty of them and sixteen others, who have not logged in from there.
    for who in 40..76 {
        spray.failure(at(100 + who), account(who), network(1), None, &options);
    }

    assert!(spray.found(at(500), &options, 8).is_empty());
    assert_eq!(spray.users_of(network(1), at(500)), 60);
    assert_eq!(spray.users_of(network(1), at(90_000)), 0, "a day later");
}

#[test]
fn the_tables_stay_within_their_caps_and_keep_what_matters() {
    let options = AttackOptions { tags_max: 100, networks_max: 100, ..AttackOptions::default() };
    let mut spray = Spray::default();
    for nth in 0..30 {
        spray.failure(at(nth), account(nth), network(1), Some(7), &options);
    }
    for nth in 0..5000i64 {
        let from = [172, 16, (nth >> 8) as u8, nth as u8].into();
        spray.failure(at(100), account(nth), from, Some(1000 + nth as u64), &options);
    }

    let (tags, networks, _) = spray.stats();
    assert!(tags <= 100 && networks <= 100, "{tags}, {networks}");
    assert_eq!(spray.found(at(200), &options, 8).len(), 2);
    spray.prune(at(90_000));
    assert_eq!(spray.stats(), (0, 0, 0));
}
