//! What pairs are, and which order counts.

use super::*;
use crate::detection::attempt::testing::plain;

const HOUR: i64 = 3_600_000;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + hours * HOUR)
}

/// An order for the account `user` that is given at hour `since` and lasts until hour 10.
fn order(user: u8, network: &str, kind: OverrideKind, since: i64) -> Override {
    let network = parse_network(network).expect("a network");
    let (by, reason) = ("alice".to_owned(), "ticket 4711".to_owned());
    Override { account: Pseudonym([user; 16]), network, kind, since: at(since), until: at(10), by, reason }
}

fn attempt(user: u8, ip: &str, hour: i64) -> Attempt {
    plain(at(hour), "r", ip.parse().expect("an address"), user)
}

fn found(overrides: &Overrides, attempt: &Attempt) -> Option<OverrideKind> {
    overrides.find(attempt).map(|ordered| ordered.kind)
}

#[test]
fn an_address_stands_for_the_network_that_the_daemon_counts_by() {
    for (text, network) in [
        ("198.51.100.7", "198.51.100.0/24"),
        ("198.51.100.7/32", "198.51.100.7/32"),
        ("198.51.100.7/24", "198.51.100.0/24"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4/128", "2001:db8:1:2:3::4/128"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("::ffff:198.51.100.0/120", "198.51.100.0/24"),
    ] {
        assert_eq!(parse_network(text).map(|network| network.to_string()), Ok(network.to_owned()), "{text}");
    }
    let client = client_network("198.51.100.7".parse().expect("an address"));
    assert_eq!(parse_network("198.51.100.7").map(|network| network.addr()), Ok(client));
}

#[test]
fn what_is_no_place_is_refused() {
    for text in
        ["", "alice", "198.51.100.0/33", "198.51.100", "fe80::1%eth0", "0.0.0.0/0", "10.0.0.0/7", "::/0", "2000::/15"]
    {
        assert!(parse_network(text).is_err(), "{text}");
    }
}

#[test]
fn an_order_is_for_its_account_and_its_network_and_ends_by_itself() {
    let overrides = Overrides::new([order(1, "198.51.100.7", OverrideKind::Block, 0)]);

    for (attempt, expected) in [
        (attempt(1, "198.51.100.200", 1), true),
        (attempt(2, "198.51.100.7", 1), false),
        (attempt(1, "198.51.101.7", 1), false),
        (attempt(1, "198.51.100.7", 10), false),
        (plain(at(10).plus_millis(-1), "r", "198.51.100.7".parse().expect("an address"), 1), true),
    ] {
        assert_eq!(found(&overrides, &attempt).is_some(), expected, "{attempt:?}");
    }
    assert_eq!([at(1), at(10)].map(|now| overrides.active(OverrideKind::Block, now)), [1, 0]);
    assert_eq!(overrides.active(OverrideKind::Release, at(1)), 0);
}

#[test]
fn the_longest_prefix_counts_whatever_is_newer() {
    let overrides = Overrides::new([
        order(1, "198.51.100.0/24", OverrideKind::Release, 1),
        order(1, "198.51.0.0/16", OverrideKind::Block, 5),
        order(1, "198.51.100.9/32", OverrideKind::Block, 0),
    ]);

    assert_eq!(found(&overrides, &attempt(1, "198.51.100.7", 6)), Some(OverrideKind::Release));
    assert_eq!(found(&overrides, &attempt(1, "198.51.100.9", 6)), Some(OverrideKind::Block));
    assert_eq!(found(&overrides, &attempt(1, "198.51.7.7", 6)), Some(OverrideKind::Block));
}

#[test]
fn a_wider_order_counts_again_when_the_closer_one_has_ended() {
    let short = Override { until: at(2), ..order(1, "198.51.100.0/24", OverrideKind::Release, 1) };
    let overrides = Overrides::new([short, order(1, "198.51.0.0/16", OverrideKind::Block, 0)]);

    assert_eq!(found(&overrides, &attempt(1, "198.51.100.7", 1)), Some(OverrideKind::Release));
    assert_eq!(found(&overrides, &attempt(1, "198.51.100.7", 2)), Some(OverrideKind::Block));
}

#[test]
fn an_alias_is_known_by_its_account_and_by_itself_and_the_newer_order_counts() {
    let attempt = Attempt { name: Pseudonym([2; 16]), ..attempt(1, "198.51.100.7", 6) };
    let [by_account, by_name] =
        [(1, OverrideKind::Release), (2, OverrideKind::Block)].map(|(user, kind)| order(user, "198.51.100.7", kind, 1));

    assert_eq!(found(&Overrides::new([by_account.clone()]), &attempt), Some(OverrideKind::Release));
    assert_eq!(found(&Overrides::new([by_name.clone()]), &attempt), Some(OverrideKind::Block));
    let newer = Override { since: at(2), ..by_account.clone() };
    assert_eq!(found(&Overrides::new([newer, by_name.clone()]), &attempt), Some(OverrideKind::Release));
    assert_eq!(found(&Overrides::new([by_account, by_name]), &attempt), Some(OverrideKind::Block), "of the same time");
}

#[test]
fn a_later_order_for_the_same_pair_takes_the_place_of_the_earlier() {
    let [first, second] = [OverrideKind::Block, OverrideKind::Release].map(|kind| order(1, "198.51.100.7", kind, 1));
    assert_eq!(first.id(), second.id());
    assert_ne!(first.id(), order(2, "198.51.100.7", OverrideKind::Block, 1).id());
    assert_ne!(first.id(), order(1, "198.51.100.7/32", OverrideKind::Block, 1).id());

    let overrides = Overrides::new([first, second]);

    assert_eq!((overrides.len(), overrides.iter().next().map(|order| order.kind)), (1, Some(OverrideKind::Release)));
}

#[test]
fn there_are_never_more_than_may_be() {
    let orders = (0..OVERRIDES_MAX + 5).map(|number| {
        let [a, b] = u16::try_from(number).expect("small").to_be_bytes();
        order(1, &format!("10.{a}.{b}.0/24"), OverrideKind::Block, 0)
    });

    assert_eq!(Overrides::new(orders).len(), OVERRIDES_MAX);
}

#[test]
fn the_stored_form_reads_back_within_its_bound_and_nothing_else_is_taken() {
    let long = Override {
        by: "\u{10ffff}".repeat(AUTHOR_MAX),
        reason: "\u{10ffff}".repeat(REASON_MAX),
        ..order(1, "2001:db8::1", OverrideKind::Release, 0)
    };
    for order in [order(1, "198.51.100.7", OverrideKind::Block, 0), long.clone()] {
        let bytes = order.encode();
        assert!(bytes.len() <= DOCUMENT_MAX, "{}", bytes.len());
        assert_eq!(Override::decode(&bytes), Some(order));
    }
    let sound = String::from_utf8(order(1, "198.51.100.7", OverrideKind::Block, 0).encode()).expect("UTF-8");
    for bad in [
        String::new(),
        "{}".to_owned(),
        sound.replace("198.51.100.0/24", "198.51.100.7/24"),
        sound.replace("198.51.100.0/24", "0.0.0.0/0"),
        sound.replace("block", "burn"),
        sound.replace("0101", "01"),
        sound.replace("\"by\"", "\"more\":1,\"by\""),
        String::from_utf8(Override { reason: "x".repeat(REASON_MAX + 1), ..long }.encode()).expect("UTF-8"),
    ] {
        assert_eq!(Override::decode(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn an_id_is_read_as_it_is_shown() {
    let id = order(1, "198.51.100.7", OverrideKind::Block, 0).id();

    assert_eq!(OverrideId::parse(&id.to_string()), Some(id));
    for bad in ["", "12", "zzzzzzzzzzzzzzzz", "00112233445566778899"] {
        assert_eq!(OverrideId::parse(bad), None, "{bad}");
    }
}
