//! What the counters promise as a whole.

use proptest::prelude::*;

use super::*;
use crate::detection::attempt::Protocol;
use crate::detection::client::{Asn, ClientDetails, ClientTag, Country};
use crate::detection::event::tests::any_event;

const NETWORK: [u8; 4] = [192, 0, 2, 1];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

/// Request `number` at `seconds`, from one address, for one user, with password `tag`.
fn attempt(number: u8, seconds: i64, tag: Option<u64>) -> Attempt {
    Attempt {
        ts: at(seconds),
        request: RequestKey([number; 16]),
        client_ip: NETWORK.into(),
        name: Pseudonym([1; 16]),
        user: Pseudonym([1; 16]),
        password: tag.map(PasswordTag),
        protocol: Protocol::Imap,
        client: ClientDetails::default(),
        categories: Vec::new(),
        user_found: None,
        suspicious_network: None,
        no_auth: false,
        static_rule_triggered: false,
    }
}

/// Everything that may be known of a client.
fn client(number: u32) -> ClientDetails {
    ClientDetails {
        country: Country::from_number(u16::from_be_bytes([b'A', b'A' + (number % 26) as u8])),
        subdivision: None,
        asn: Asn::new(number),
        user_agent: Some(ClientTag::new(number.into())),
        client_id: Some(ClientTag::new(number.into())),
    }
}

fn one_system_for_a_day(activity: &mut Activity) {
    for hour in 0..30 {
        told(activity, &Attempt { client: client(1), ..attempt(1, hour * 3600, None) }, Outcome::Failure);
    }
}

fn told(activity: &mut Activity, attempt: &Attempt, outcome: Outcome) {
    activity.apply_attempt(attempt);
    activity.apply_outcome(attempt, outcome);
}

fn known_good(activity: &Activity, seconds: i64) -> bool {
    activity.known_good(Pseudonym([1; 16]), NETWORK.into(), at(seconds))
}

const DAY: i64 = 86_400;

#[test]
fn look_ups_are_counted_nowhere() {
    let mut activity = Activity::default();
    let look_up = Attempt { no_auth: true, ..attempt(1, 0, Some(1)) };

    told(&mut activity, &look_up, Outcome::Failure);

    assert_eq!(activity, Activity::default());
}

#[test]
fn a_blocked_or_unknown_attempt_is_an_attempt_but_no_failure() {
    let mut activity = Activity::default();
    told(&mut activity, &attempt(1, 0, None), Outcome::Blocked);
    told(&mut activity, &attempt(2, 1, None), Outcome::Unknown);
    told(&mut activity, &attempt(3, 2, None), Outcome::Failure);

    let counts = activity.source_counts(NETWORK.into(), at(3), HOUR_MS);

    assert_eq!(counts, Counts { attempts: 3, failures: 1, successes: 0 });
    assert_eq!(activity.user_counts(Pseudonym([1; 16]), at(3), DAY_MS), counts);
}

#[test]
fn d5_the_previous_attempt_is_neither_the_request_itself_nor_a_later_one() {
    let mut activity = Activity::default();
    for (number, seconds) in [(1, 0), (2, 10), (3, 12)] {
        activity.apply_attempt(&attempt(number, seconds, None));
    }
    let previous =
        |seconds, number: u8| activity.previous_attempt(NETWORK.into(), at(seconds), Some(RequestKey([number; 16])));

    assert_eq!(previous(10, 2), Some(at(0)));
    assert_eq!(previous(11, 9), Some(at(10)));
    assert_eq!(previous(-1, 9), None);
}

#[test]
fn a_success_makes_the_pair_known_good_a_day_later() {
    let mut activity = Activity::default();
    told(&mut activity, &attempt(1, 0, Some(1)), Outcome::Success);

    assert!(!known_good(&activity, DAY - 1));
    assert!(known_good(&activity, DAY));
    assert!(!known_good(&activity, 31 * DAY), "too long ago");
    assert!(!activity.known_good(Pseudonym([1; 16]), [192, 0, 3, 1].into(), at(DAY)), "another network");
    assert!(!activity.known_good(Pseudonym([2; 16]), NETWORK.into(), at(DAY)), "another user");
}

#[test]
fn a_user_is_at_home_in_a_network_for_a_week_after_a_login_whatever_else_happens_there() {
    let mut activity = Activity::default();
    let at_home = |activity: &Activity, seconds: i64, user: u8, ip: [u8; 4]| {
        activity.at_home(Pseudonym([user; 16]), ip.into(), at(seconds))
    };
    told(&mut activity, &attempt(1, 0, Some(1)), Outcome::Failure);
    assert!(!at_home(&activity, 1, 1, NETWORK));
    told(&mut activity, &attempt(2, 10, Some(1)), Outcome::Success);
    for number in 3..20 {
        told(&mut activity, &attempt(number, 20, Some(u64::from(number))), Outcome::Failure);
    }

    assert!(!at_home(&activity, 5, 1, NETWORK), "not before");
    assert!(at_home(&activity, 30, 1, NETWORK));
    assert!(at_home(&activity, 7 * DAY + 9, 1, NETWORK) && !at_home(&activity, 7 * DAY + 10, 1, NETWORK));
    assert!(!at_home(&activity, 30, 1, [192, 0, 3, 1]) && !at_home(&activity, 30, 2, NETWORK));
}

#[test]
fn a_stale_password_repeated_is_not_guessing_but_two_passwords_are() {
    let mut activity = Activity::default();
    told(&mut activity, &attempt(1, 0, Some(1)), Outcome::Success);
    for number in 2..20 {
        told(&mut activity, &attempt(number, 100 + i64::from(number), Some(2)), Outcome::Failure);
    }
    assert!(known_good(&activity, DAY));

    told(&mut activity, &attempt(20, 200, Some(3)), Outcome::Failure);

    assert!(!known_good(&activity, DAY));
}

#[test]
fn failures_without_a_tag_are_each_a_guess() {
    let mut activity = Activity::default();
    told(&mut activity, &attempt(1, 0, None), Outcome::Success);
    told(&mut activity, &attempt(2, 100, None), Outcome::Failure);
    assert!(known_good(&activity, DAY));

    told(&mut activity, &attempt(3, 100, None), Outcome::Failure);

    assert!(!known_good(&activity, DAY));
}

#[test]
fn a_later_success_forgives_what_came_before_it() {
    let mut activity = Activity::default();
    told(&mut activity, &attempt(1, 0, Some(1)), Outcome::Success);
    told(&mut activity, &attempt(2, 100, Some(2)), Outcome::Failure);
    told(&mut activity, &attempt(3, 101, Some(3)), Outcome::Failure);
    told(&mut activity, &attempt(4, 102, Some(1)), Outcome::Success);

    assert!(known_good(&activity, DAY));
}

#[test]
fn guessing_is_remembered_after_its_tags_were_forgotten() {
    let mut activity = Activity::default();
    told(&mut activity, &attempt(1, 0, Some(1)), Outcome::Success);
    told(&mut activity, &attempt(2, 100, Some(2)), Outcome::Failure);
    told(&mut activity, &attempt(3, 101, Some(3)), Outcome::Failure);

    activity.prune(at(3 * DAY));

    assert!(!known_good(&activity, 3 * DAY));
    assert_eq!(activity.distinct_tags(Pseudonym([1; 16]), at(101), None), 0);
    assert_eq!((activity.stats().users.entries, activity.stats().tags.entries), (0, 0));
    assert_eq!(activity.stats().pairs.entries, 1);
    activity.prune(at(40 * DAY));
    assert_eq!(activity, Activity::default());
}

#[test]
fn tables_stay_below_their_caps_and_count_what_they_evict() {
    let limits = ActivityLimits::of_total(20_000 * 32);
    let mut activity = Activity::new(limits);
    for number in 0..5000u32 {
        let mut one = attempt(1, i64::from(number), Some(1));
        one.client_ip = number.to_be_bytes().into();
        one.user.0[..4].copy_from_slice(&number.to_le_bytes());
        told(&mut activity, &one, Outcome::Failure);
    }

    let stats = activity.stats();

    for kind in [stats.sources, stats.users, stats.pairs] {
        assert!(kind.bytes <= 200_000 && kind.entries > 10, "{kind:?}");
        assert!(kind.evicted > 4000, "{kind:?}");
    }
}

#[test]
fn an_entry_stays_within_its_memory() {
    let mut activity = Activity::default();
    let full = |attempt: Attempt| Attempt { client: client(1), ..attempt };
    told(&mut activity, &full(attempt(1, 0, Some(1))), Outcome::Failure);
    told(&mut activity, &full(attempt(1, 0, Some(1))), Outcome::Success);
    let once = [
        ("systems", 256),
        ("sources", 576),
        ("networks", 320),
        ("users", 400),
        ("accounts", 400),
        ("pairs", 320),
        ("visits", 256),
    ];
    let bytes = |activity: &Activity, name| {
        let kind = activity.stats().kinds().into_iter().find(|(kind, _)| *kind == name).unwrap().1;
        kind.bytes / kind.entries
    };
    for (name, most) in once {
        assert!(bytes(&activity, name) <= most, "{name}: {}", bytes(&activity, name));
    }

    // One address and one user, each at all their caps.
    for number in 0..3000u32 {
        let mut one = attempt(1, 29 * i64::from(number), Some(number.into()));
        one.client = client(1 + number % 50);
        one.request.0[..4].copy_from_slice(&number.to_le_bytes());
        one.name.0[..4].copy_from_slice(&number.to_le_bytes());
        told(&mut activity, &one, Outcome::Failure);
        told(&mut activity, &one, Outcome::Success);
    }
    one_system_for_a_day(&mut activity);
    let capped = [
        ("systems", 768),
        ("sources", 6144),
        ("networks", 3072),
        ("users", 4096),
        ("accounts", 1408),
        ("pairs", 400),
        ("visits", 3072),
    ];
    for (name, most) in capped {
        assert!(bytes(&activity, name) <= most, "{name}: {}", bytes(&activity, name));
    }
}

#[test]
fn a_flood_of_failures_does_not_push_out_who_is_familiar() {
    let mut activity = Activity::new(ActivityLimits::of_total(2 << 20));
    told(&mut activity, &attempt(1, 0, Some(1)), Outcome::Success);
    for number in 1..20_000u32 {
        let mut one = attempt(1, i64::from(number), Some(number.into()));
        one.client_ip = (0x0a00_0000 + (number << 8)).to_be_bytes().into();
        one.user.0[..4].copy_from_slice(&number.to_le_bytes());
        told(&mut activity, &one, Outcome::Failure);
    }

    let stats = activity.stats();
    assert!(
        [stats.sources, stats.networks, stats.users, stats.pairs, stats.visits].iter().all(|kind| kind.evicted > 1000)
    );
    let later = attempt(2, 30_000, Some(1));
    let view = activity.view(&later);
    assert!(view.address_known_lately() && view.network_known() && view.protocol_known());
    assert_eq!((view.last_success(), view.source_users_in(), view.network_successes()), (Some(at(0)), 1, 1));
}

#[test]
fn another_version_and_damaged_bytes_are_refused() {
    let mut activity = Activity::default();
    told(&mut activity, &attempt(1, 0, Some(1)), Outcome::Failure);
    let bytes = activity.encode();
    let decode = |bytes: &[u8]| Activity::decode(bytes, ActivityLimits::default());

    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
    assert_eq!(decode(&[1]), Err(ActivityError::Version(1)));
    assert!(decode(&[5, 0xff, 0xff, 0xff, 0xff]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shuffled_events_give_the_same_activity_and_the_same_bytes(
        (events, shuffled) in proptest::collection::vec(any_event(), 0..80)
            .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
    ) {
        let counted = |events: Vec<crate::detection::event::AttemptEvent>| {
            let mut activity = Activity::default();
            for event in events {
                activity.apply_attempt(&event.attempt);
                if let Some(outcome) = event.outcome {
                    activity.apply_outcome(&event.attempt, outcome);
                }
            }
            activity
        };
        let (one, other) = (counted(events), counted(shuffled));

        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.encode(), other.encode());
        prop_assert_eq!(one.stats(), other.stats());
        prop_assert_eq!(Activity::decode(&one.encode(), ActivityLimits::default()), Ok(one));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
        bytes[0] = 5;
        let _ = Activity::decode(&bytes, ActivityLimits::default());
    }
}
