//! What the extended features say of small stories.

mod passwords;

use std::net::IpAddr;

use super::*;
use crate::detection::attempt::{Outcome, PasswordTag, Pseudonym, RequestKey};
use crate::detection::client::{Asn, ClientDetails, ClientTag, Country};
use crate::detection::features::FeatureSchema;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const HOME: [u8; 4] = [192, 0, 2, 1];
const NEXT_DOOR: [u8; 4] = [192, 0, 2, 99];
const ELSEWHERE: [u8; 4] = [198, 51, 100, 7];

/// One user with a password tag at home, `seconds` after an arbitrary midnight, where buckets of all widths begin.
fn at(seconds: i64) -> Attempt {
    Attempt {
        ts: Timestamp::from_millis(19_675 * DAY * 1000 + seconds * 1000),
        request: RequestKey::of(&seconds.to_string()),
        client_ip: HOME.into(),
        name: Pseudonym([1; 16]),
        user: Pseudonym([1; 16]),
        password: Some(PasswordTag(1)),
        protocol: Protocol::Imap,
        client: ClientDetails::default(),
        categories: Vec::new(),
        user_found: Some(true),
        suspicious_network: None,
        no_auth: false,
        static_rule_triggered: false,
    }
}

fn from(seconds: i64, ip: impl Into<IpAddr>) -> Attempt {
    Attempt { client_ip: ip.into(), ..at(seconds) }
}

fn with_tag(tag: u64, mut attempt: Attempt) -> Attempt {
    attempt.password = Some(PasswordTag(tag));
    attempt
}

fn by(user: u8, mut attempt: Attempt) -> Attempt {
    attempt.user = Pseudonym([user; 16]);
    attempt.name = attempt.user;
    attempt
}

fn told(activity: &mut Activity, attempt: &Attempt, outcome: Outcome) {
    activity.apply_attempt(attempt);
    activity.apply_outcome(attempt, outcome);
}

fn fails(activity: &mut Activity, attempt: &Attempt) {
    told(activity, attempt, Outcome::Failure);
}

fn succeeds(activity: &mut Activity, attempt: &Attempt) {
    told(activity, attempt, Outcome::Success);
}

fn value(activity: &Activity, attempt: &Attempt, name: &str) -> f32 {
    let schema = FeatureSchema::ext();
    let place = schema.index_of(name).unwrap_or_else(|| panic!("no feature {name}"));
    schema.snapshot(activity, attempt, &FeatureContext::default()).values[place]
}

/// The value of a feature in logarithms, as the count that went in.
fn counted(activity: &Activity, attempt: &Attempt, name: &str) -> i64 {
    let value = f64::from(value(activity, attempt, name));
    (crate::numeric::exp(value) - 1.0).round() as i64
}

fn log(seconds: i64) -> f32 {
    ln_1p(seconds as f64) as f32
}

const NEW: [&str; 5] = ["protocol_new", "asn_new", "country_new", "user_agent_new", "client_id_new"];

/// A login in a browser, of which everything is known.
fn web(seconds: i64) -> Attempt {
    let client = ClientDetails {
        country: Country::from_code("DE"),
        subdivision: None,
        asn: Asn::new(64_500),
        user_agent: Some(ClientTag::new(1)),
        client_id: Some(ClientTag::new(2)),
    };
    Attempt { protocol: Protocol::Http, client, ..at(seconds) }
}

/// The same with everything that is told of the client changed.
fn elsewhere_on_the_web(seconds: i64) -> Attempt {
    let client = ClientDetails {
        country: Country::from_code("FR"),
        subdivision: None,
        asn: Asn::new(64_501),
        user_agent: Some(ClientTag::new(3)),
        client_id: Some(ClientTag::new(4)),
    };
    Attempt { client, ..web(seconds) }
}

#[test]
fn names_and_kinds_are_unique_and_every_group_has_its_features() {
    let schema = FeatureSchema::ext();
    let mut names = schema.names().to_vec();
    names.sort();
    names.dedup();
    let mut kinds = FEATURES.map(|feature| feature.kind as u8).to_vec();
    kinds.sort_unstable();
    kinds.dedup();
    let of = |group| schema.groups().iter().filter(|&&each| each == group).count();

    assert_eq!((schema.len(), names.len(), kinds.len(), schema.groups().len()), (51, 51, 51, 51));
    assert_eq!((of(Group::Source), of(Group::Network), of(Group::Familiarity)), (11, 6, 8));
    assert_eq!((of(Group::AccountUnderAttack), of(Group::Password)), (6, 7));
    assert_eq!((of(Group::Global), of(Group::Protocol), of(Group::Geo), of(Group::Time)), (2, 6, 5, 0));
    assert!(kinds[0] >= 64, "below are the kinds of compat-6");
}

#[test]
fn what_is_not_known_says_so() {
    let nothing = Activity::default();
    let bare = Attempt { password: None, protocol: Protocol::Unknown, user_found: None, ..at(0) };
    let absent = ["source_new", "network_new", "user_without_history"];
    let untold = ["password_missing", "protocol_missing", "user_found_missing"];

    for name in absent {
        assert_eq!((name, value(&nothing, &at(0), name)), (name, 1.0));
    }
    for name in untold {
        assert_eq!((name, value(&nothing, &at(0), name)), (name, 0.0));
        assert_eq!((name, value(&nothing, &bare, name)), (name, 1.0));
    }
    for name in ["user_new_network", "user_new_address", "user_not_found", "user_address_succeeded_7d"] {
        assert_eq!((name, value(&nothing, &bare, name)), (name, 0.0));
    }
    for name in NEW {
        assert_eq!((name, value(&nothing, &bare, name)), (name, 0.0));
        assert_eq!((name, value(&nothing, &web(0), name)), (name, 0.0));
    }
    for name in ["asn_missing", "country_missing", "user_agent_missing", "client_id_missing"] {
        assert_eq!((name, value(&nothing, &bare, name)), (name, 1.0));
        assert_eq!((name, value(&nothing, &web(0), name)), (name, 0.0));
    }
    assert_eq!(value(&nothing, &web(0), "asn_failure_share_24h"), 0.125);
    assert_eq!(value(&nothing, &at(0), "source_gap_s"), log(DAY));
    assert_eq!(value(&nothing, &at(0), "user_since_success_s"), log(30 * DAY));
    assert_eq!(value(&nothing, &at(0), "source_failure_share_24h"), (0.5f64 / 1.5) as f32);

    let mut activity = Activity::default();
    succeeds(&mut activity, &at(0));
    for name in absent {
        assert_eq!((name, value(&activity, &at(60), name)), (name, 0.0));
    }
    assert_eq!(value(&activity, &Attempt { user_found: Some(false), ..at(60) }, "user_not_found"), 1.0);
}

#[test]
fn a_site_where_nothing_is_known_gives_finite_values() {
    let odd = Attempt { ts: Timestamp::from_millis(i64::MIN), ..at(0) };
    let mut activity = Activity::default();
    succeeds(&mut activity, &at(0));
    fails(&mut activity, &Attempt { ts: Timestamp::from_millis(i64::MAX), ..at(0) });

    for attempt in [odd, at(0), at(40 * DAY), Attempt { ts: Timestamp::from_millis(i64::MAX), ..at(0) }] {
        let values = FeatureSchema::ext().snapshot(&activity, &attempt, &FeatureContext::default()).values;
        assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
    }
}

#[test]
fn windows_end_where_they_say() {
    let mut activity = Activity::default();
    fails(&mut activity, &at(0));
    // To the width of a bucket; the failure stands at the beginning of one.
    let edges = [
        ("source_failures_5m", 300),
        ("source_failures_1h", 3600),
        ("source_attempts_1h", 3600),
        ("source_failures_24h", DAY),
        ("source_failed_names_24h", DAY),
        ("network_failures_1h", 3600),
        ("network_failures_24h", DAY),
        ("network_failed_users_24h", DAY),
        ("user_failures_5m", 300),
        ("user_failures_1h", 3600),
        ("user_failures_24h", DAY),
        ("user_failing_addresses_24h", DAY),
        ("user_failing_networks_24h", DAY),
        ("user_address_failures_1h", 3600),
    ];
    for (name, window) in edges {
        assert_eq!((name, counted(&activity, &at(window - 1), name)), (name, 1));
        assert_eq!((name, counted(&activity, &at(window), name)), (name, 0));
        assert_eq!((name, counted(&activity, &at(-1), name)), (name, 0), "nothing from the future");
    }
}

#[test]
fn successes_are_remembered_for_a_week_or_a_month() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &at(0));
    activity.prune(at(5 * DAY).ts);

    let is = |seconds, name| value(&activity, &at(seconds), name) > 0.0;

    assert!(is(6 * DAY, "source_users_in_7d") && !is(7 * DAY, "source_users_in_7d"));
    assert!(is(6 * DAY, "network_successes_7d") && !is(7 * DAY, "network_successes_7d"));
    assert!(is(6 * DAY, "user_address_succeeded_7d") && !is(7 * DAY, "user_address_succeeded_7d"));
    assert!(!is(30 * DAY - 1, "user_without_history") && is(30 * DAY, "user_without_history"));
    assert!(!is(30 * DAY - 1, "user_new_address") && !is(30 * DAY - 1, "user_new_network"));
    assert_eq!(value(&activity, &at(100), "user_since_success_s"), log(100));
    assert_eq!(value(&activity, &at(6 * DAY), "source_age_s"), log(6 * DAY));
    assert!(is(7 * DAY, "source_new"), "as if it had been cleared away already");
}

#[test]
fn familiarity_is_learnt_from_successes_only() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &at(0));
    for seconds in 1..200 {
        let mut guess = with_tag(seconds as u64, from(seconds, ELSEWHERE));
        guess.protocol = Protocol::Smtp;
        fails(&mut activity, &guess);
        told(&mut activity, &from(seconds, ELSEWHERE), Outcome::Blocked);
        told(&mut activity, &from(seconds, ELSEWHERE), Outcome::Unknown);
    }
    let attacker = Attempt { protocol: Protocol::Smtp, ..from(300, ELSEWHERE) };

    for name in ["user_new_network", "user_new_address", "protocol_new"] {
        assert_eq!((name, value(&activity, &attacker, name)), (name, 1.0));
        assert_eq!((name, value(&activity, &at(300), name)), (name, 0.0));
    }
    assert_eq!(value(&activity, &from(300, NEXT_DOOR), "user_new_network"), 0.0);
    assert_eq!(value(&activity, &from(300, NEXT_DOOR), "user_new_address"), 1.0);
    assert_eq!(counted(&activity, &attacker, "source_users_in_7d"), 0);
    assert_eq!(counted(&activity, &attacker, "network_successes_7d"), 0);

    // Nor does a name become familiar that nobody ever logged in with.
    fails(&mut activity, &by(2, from(310, ELSEWHERE)));
    assert_eq!(value(&activity, &by(2, from(311, ELSEWHERE)), "user_without_history"), 1.0);
}

#[test]
fn providers_countries_and_programs_are_learnt_from_successes_only() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &web(0));
    for seconds in 1..200 {
        fails(&mut activity, &elsewhere_on_the_web(seconds));
        told(&mut activity, &elsewhere_on_the_web(seconds), Outcome::Blocked);
        told(&mut activity, &elsewhere_on_the_web(seconds), Outcome::Unknown);
    }

    for name in &NEW[1..] {
        assert_eq!((name, value(&activity, &web(300), name)), (name, 0.0));
        assert_eq!((name, value(&activity, &elsewhere_on_the_web(300), name)), (name, 1.0));
        assert_eq!((name, value(&activity, &at(300), name)), (name, 0.0), "missing, not new");
        assert_eq!((name, value(&activity, &elsewhere_on_the_web(31 * DAY), name)), (name, 0.0), "without history");
    }
    succeeds(&mut activity, &elsewhere_on_the_web(400));
    for name in NEW {
        assert_eq!((name, value(&activity, &elsewhere_on_the_web(500), name)), (name, 0.0));
        assert_eq!((name, value(&activity, &web(500), name)), (name, 0.0));
    }
}

/// Otherwise everybody would be new on the day on which the caller begins to send it.
#[test]
fn what_was_never_told_of_a_user_is_not_new() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &at(0));

    for name in &NEW[1..] {
        assert_eq!((name, value(&activity, &web(60), name)), (name, 0.0));
    }
    assert_eq!(value(&activity, &web(60), "protocol_new"), 1.0);
}

#[test]
fn a_provider_is_judged_by_all_that_comes_from_it_in_a_day() {
    let mut activity = Activity::default();
    for number in 0..20u8 {
        fails(&mut activity, &by(number, Attempt { client_ip: [198, 51, number, 7].into(), ..web(number.into()) }));
    }
    succeeds(&mut activity, &by(200, web(30)));

    let share = |attempt: &Attempt| value(&activity, attempt, "asn_failure_share_24h");

    assert_eq!(share(&web(60)), 21.0 / 29.0);
    assert_eq!(share(&elsewhere_on_the_web(60)), 0.125);
    assert_eq!(share(&at(60)), 0.125, "told by asn_missing");
    assert_eq!(share(&web(DAY)), 0.125, "a day later");
    activity.prune(at(3 * DAY).ts);
    assert_eq!(activity.stats().systems.entries, 0);
}

#[test]
fn a_login_a_moment_later_does_not_make_a_known_place_unknown() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &web(0));
    succeeds(&mut activity, &web(1000));

    let between = web(999);

    for name in ["user_without_history", "user_new_network", "user_new_address"].iter().chain(&NEW) {
        assert_eq!((name, value(&activity, &between, name)), (name, 0.0));
    }
    assert_eq!(value(&activity, &at(-1), "user_without_history"), 1.0);
    assert_eq!(value(&activity, &at(-1), "user_address_succeeded_7d"), 0.0);
}

#[test]
fn addresses_that_begin_to_fail_are_counted_for_the_site() {
    let mut activity = Activity::default();
    let stranger = |number: u8, seconds| by(number, from(seconds, [198, 51, 100, number]));
    succeeds(&mut activity, &stranger(1, -2 * DAY));
    // One of them had logged somebody in, one fails three times, one failed already hours ago.
    fails(&mut activity, &stranger(9, -3 * HOUR));
    for number in [1, 2, 3, 3, 3, 9] {
        fails(&mut activity, &stranger(number, i64::from(number)));
    }
    let told = |activity: &Activity, seconds| {
        let hour = counted(activity, &at(seconds), "site_failing_addresses_1h");
        (hour, value(activity, &at(seconds), "site_failing_addresses_excess"))
    };

    let (hour, excess) = told(&activity, 60);
    assert_eq!(hour, 2);
    // Two in this hour and three in the day: ln(1 + 2) − ln(1 + 3/24).
    assert!((excess - 0.980_829_25).abs() < 1e-6, "{excess}");

    succeeds(&mut activity, &stranger(2, 70));
    assert_eq!(told(&activity, 80).0, 2, "what happens later makes no difference");
    assert_eq!(told(&activity, -HOUR).0, 0);
    assert_eq!(told(&activity, 2 * HOUR).0, 0);
    assert!(told(&activity, 2 * HOUR).1 < 0.0);
}

#[test]
fn a_spray_shows_on_the_password_and_an_attack_by_many_on_the_user() {
    let mut activity = Activity::default();
    for number in 0..30u8 {
        fails(&mut activity, &with_tag(5, by(10 + number, from(number.into(), [198, 51, number, 7]))));
        fails(&mut activity, &with_tag(100 + u64::from(number), by(1, from(number.into(), [203, 0, number, 7]))));
    }

    let sprayed = with_tag(5, by(99, from(60, ELSEWHERE)));
    let aimed_at = with_tag(6, by(1, from(60, [203, 0, 200, 7])));

    assert_eq!(counted(&activity, &sprayed, "password_other_users_24h"), 30);
    assert_eq!(counted(&activity, &with_tag(5, by(10, at(60))), "password_other_users_24h"), 29);
    assert_eq!(counted(&activity, &aimed_at, "password_other_users_24h"), 0);
    assert_eq!(counted(&activity, &aimed_at, "user_failing_addresses_24h"), 30);
    assert_eq!(counted(&activity, &aimed_at, "user_failing_networks_24h"), 30);
    assert_eq!(value(&activity, &aimed_at, "source_new"), 1.0);
    activity.prune(at(2 * DAY).ts);
    assert_eq!(activity.stats().tags.entries, 0);
}

#[test]
fn a_network_is_counted_as_a_whole_and_so_is_a_prefix_of_ipv6() {
    let mut activity = Activity::default();
    for number in 0..9u8 {
        fails(&mut activity, &by(number, from(number.into(), [198, 51, 100, number])));
        fails(&mut activity, &by(number, from(number.into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)])));
    }

    for ip in [IpAddr::from([198, 51, 100, 200]), IpAddr::from([0x2001, 0xdb8, 0, 0, 7, 7, 7, 7])] {
        assert_eq!(counted(&activity, &from(60, ip), "network_failures_1h"), 9);
        assert_eq!(counted(&activity, &from(60, ip), "network_failed_users_24h"), 9);
        assert_eq!(value(&activity, &from(60, ip), "network_new"), 0.0);
        assert_eq!(value(&activity, &from(60, ip), "source_new"), 1.0);
    }
    assert_eq!(value(&activity, &from(60, [0x2001, 0xdb8, 0, 1, 0, 0, 0, 1]), "network_new"), 1.0);
}

#[test]
fn what_happens_later_is_not_seen() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &at(-100));
    fails(&mut activity, &from(-50, ELSEWHERE));
    let (known, stranger) = (at(0), with_tag(2, by(2, from(0, ELSEWHERE))));
    let snapshots = |activity: &Activity| {
        [&known, &stranger]
            .map(|attempt| FeatureSchema::ext().snapshot(activity, attempt, &FeatureContext::default()).values)
    };
    let before = snapshots(&activity);

    // Counters see to the width of a bucket, so later means a bucket later.
    for number in 0..40u8 {
        let ip = [203, 0, number, 7];
        fails(&mut activity, &with_tag(2, by(50 + number, from(DAY + i64::from(number), ip))));
        if number < 3 {
            // Of more, the last one before is known to the minute only.
            succeeds(&mut activity, &by(50 + number, from(DAY + i64::from(number), ELSEWHERE)));
        }
        fails(&mut activity, &with_tag(3, from(DAY + i64::from(number), ip)));
    }

    assert_eq!(snapshots(&activity), before);
}

#[test]
fn a_suspicion_is_passed_on() {
    let flagged = Attempt { suspicious_network: Some(true), ..at(0) };

    assert_eq!(value(&Activity::default(), &at(0), "network_suspicious"), 0.0);
    assert_eq!(value(&Activity::default(), &flagged, "network_suspicious"), 1.0);
}

/// D9: the hour was a number from 0 to 1, so that 23 and 0 o'clock were the farthest apart, and depended on the time zone.
#[test]
fn d9_the_hour_on_the_wall_is_no_feature() {
    let (activity, schema) = (Activity::default(), FeatureSchema::ext());
    let at_hour = |hour| schema.snapshot(&activity, &at(0), &FeatureContext { suspicious: false, hour }).values;

    assert!((1..24).all(|hour| at_hour(hour) == at_hour(0)));
    assert_eq!(schema.index_of("TimeOfDay"), None);
}
