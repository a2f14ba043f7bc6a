//! The rules for failures as a table, their order, and when an answer is final.

mod first_day;
mod successes;
mod surge;

use std::net::IpAddr;

use proptest::prelude::*;

use super::tables::FINE_MS;
use super::*;
use crate::detection::attempt::{PasswordTag, Protocol, Pseudonym, RequestKey};
use crate::learning::labels::{Label, LabelPolicy};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

/// What happened: minutes from the attempt that is asked about, user, last octet of the address, tag (0: none).
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    minutes: i64,
    user: u8,
    ip: u8,
    tag: u64,
    outcome: Outcome,
}

fn failed(minutes: i64, user: u8, ip: u8, tag: u64) -> Event {
    Event { minutes, user, ip, tag, outcome: Outcome::Failure }
}

fn opened(minutes: i64, user: u8, ip: u8, tag: u64) -> Event {
    Event { outcome: Outcome::Success, ..failed(minutes, user, ip, tag) }
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis((20_000 * DAY + minutes) * MINUTE)
}

impl Event {
    fn attempt(&self) -> Attempt {
        let user = Pseudonym([self.user; 16]);
        Attempt {
            ts: at(self.minutes),
            request: RequestKey::of(&format!("{self:?}")),
            client_ip: IpAddr::from([192, 0, 2, self.ip]),
            name: user,
            user,
            password: Some(PasswordTag(self.tag)).filter(|tag| tag.0 > 0),
            protocol: Protocol::Imap,
            client: crate::detection::client::ClientDetails::default(),
            categories: Vec::new(),
            user_found: None,
            suspicious_network: None,
            no_auth: false,
            static_rule_triggered: false,
        }
    }

    fn case(&self) -> Case {
        let Attempt { ts, request, client_ip, user, .. } = self.attempt();
        Case { ts, request, client_ip, user, outcome: self.outcome }
    }
}

/// An index that has been there for a week, with somebody else's login at its beginning.
pub(super) fn index(events: &[Event]) -> HindsightIndex {
    let mut index = HindsightIndex::new(HindsightLimits::RECORDING);
    index.record(&opened(-8 * DAY, 200, 200, 0).attempt(), Outcome::Success);
    for event in events {
        index.record(&event.attempt(), event.outcome);
    }
    index
}

/// The answer for the first event, `minutes` after it.
fn answer_after(minutes: i64, events: &[Event]) -> HindsightAnswer {
    index(events).label(&events[0].case(), at(events[0].minutes + minutes))
}

fn rule(answer: HindsightAnswer) -> Result<HindsightRule, Reason> {
    match answer {
        HindsightAnswer::Label(labelled, rule) => {
            assert_eq!(labelled, rule.labelled());
            Ok(rule)
        }
        HindsightAnswer::Unknown(reason) => Err(reason),
    }
}

/// Like `first`, once for each of `numbers`.
fn each(first: Event, numbers: std::ops::Range<u8>, change: impl Fn(&mut Event, u8)) -> Vec<Event> {
    let vary = |number| {
        let mut event = first;
        change(&mut event, number);
        event
    };
    std::iter::once(first).chain(numbers.map(vary)).collect()
}

/// User 1 fails at address 1 with tag 11.
const SLIP: Event = Event { minutes: 0, user: 1, ip: 1, tag: 11, outcome: Outcome::Failure };
const SLIP_WITHOUT_TAG: Event = Event { tag: 0, ..SLIP };

#[test]
fn each_rule_holds_at_its_threshold_and_not_below() {
    use HindsightRule as Rule;
    let sprayed = |users: u8| {
        let mut events = each(SLIP, 2..users + 1, |event, n| (event.user, event.ip) = (n, n));
        events.push(opened(-30 * HOUR, 1, 50, 0));
        events
    };
    let many_users = |failing: u8, successful: u8| {
        let mut events = each(SLIP, 2..failing + 1, |event, n| (event.user, event.tag) = (n, 10 + u64::from(n)));
        events.extend((0..successful).map(|n| opened(5, 100 + n, 1, 0)));
        events.push(opened(-30 * HOUR, 1, 50, 0));
        events
    };
    let many_sources = |sources: u8| {
        let mut events = each(SLIP, 2..sources + 1, |event, n| (event.ip, event.tag) = (n * 2, 10 + u64::from(n)));
        events.push(opened(-30 * HOUR, 1, 150, 0));
        events
    };
    let many_tags = |tags: u8| {
        let mut events = each(SLIP, 2..tags + 1, |event, n| (event.minutes, event.tag) = (n.into(), 10 + u64::from(n)));
        events.push(opened(-8 * DAY + 1, 1, 1, 0));
        events
    };
    let guessed = |tries: u8, tags: u8| {
        let mut events =
            each(SLIP, 1..tries, |event, n| (event.minutes, event.tag) = (n.into(), 11 + u64::from(n % tags)));
        events.push(opened(30, 1, 1, 99));
        events
    };
    let slowly = |tags: u8| {
        let mut events =
            each(SLIP, 1..tags, |event, n| (event.minutes, event.tag) = (-80 * i64::from(n), 11 + u64::from(n)));
        events.push(opened(30, 1, 1, 99));
        events
    };
    // User 1 tries passwords at home, of which others were tried on so many users at that time.
    let listed = |tried: std::ops::Range<u64>, users: u8, minutes: i64| {
        let mut events = vec![SLIP, opened(30, 1, 1, 99)];
        events.extend(tried.clone().map(|tag| failed(2, 1, 1, tag)));
        let spray = |tag| (2..users + 1).map(move |user| failed(minutes, user, 2, tag));
        events.extend(tried.chain([11]).flat_map(spray));
        events
    };
    let listed_beside_a_slip = || {
        let mut events = listed(12..15, 8, -60);
        events.retain(|event| event.user == 1 || event.tag != 11);
        events
    };
    // User 1 logs in where so many users fail, with a password that failed for others an hour before.
    let beside_guesser = |failing: u8, users: u8, success: i64| {
        let mut events = each(SLIP, 2..failing + 1, |event, n| (event.user, event.tag) = (n, 10 + u64::from(n)));
        events.extend((0..users).map(|n| failed(-60, 100 + n, 2, 11)));
        // Enough of its users succeed for it not to be an attacker's alone.
        events.extend((50..60).map(|user| opened(5, user, 1, 0)));
        events.push(opened(success, 1, 1, 99));
        events
    };
    let again = |times: u8| {
        let mut events = each(SLIP, 1..times, |event, n| event.minutes = i64::from(n) * 90);
        events.push(opened(-30 * HOUR, 2, 1, 0));
        events
    };
    let mistyped = |tries: u8| {
        let mut events = each(SLIP_WITHOUT_TAG, 1..tries, |event, n| event.minutes = n.into());
        events.extend([opened(-DAY, 2, 1, 0), opened(6, 2, 1, 0)]);
        events
    };
    let table: Vec<(&str, Vec<Event>, Result<Rule, Reason>)> = vec![
        ("a storm of passwords before a success", guessed(21, 6), Ok(Rule::Guessed)),
        ("a few less", guessed(20, 6), Ok(Rule::SucceededSoon)),
        ("one password after another for a day", slowly(18), Ok(Rule::Guessed)),
        ("a few less of them", slowly(17), Ok(Rule::SucceededSoon)),
        ("three passwords that everybody guesses", listed(12..14, 8, -60), Ok(Rule::Guessed)),
        ("two of them", listed(12..13, 8, -60), Ok(Rule::SucceededSoon)),
        ("three that failed for seven users", listed(12..14, 7, -60), Ok(Rule::SucceededSoon)),
        ("three that others try only later", listed(12..14, 8, 70), Ok(Rule::SucceededSoon)),
        ("another password beside three of them", listed_beside_a_slip(), Err(Reason::Contradiction)),
        ("a popular password where many fail", beside_guesser(5, 7, 30), Err(Reason::Contradiction)),
        ("the same after a success", beside_guesser(5, 7, -30), Err(Reason::Contradiction)),
        ("where fewer fail", beside_guesser(4, 7, 30), Ok(Rule::SucceededSoon)),
        ("a password that is not popular", beside_guesser(5, 6, -30), Ok(Rule::SucceededBefore)),
        ("always the same few", guessed(21, 5), Ok(Rule::SucceededSoon)),
        ("a success within the hour", vec![SLIP, opened(59, 1, 1, 12)], Ok(Rule::SucceededSoon)),
        ("a success within the week", vec![SLIP, opened(-7 * DAY + 1, 1, 1, 12)], Ok(Rule::SucceededBefore)),
        ("a success before that, source known", vec![SLIP, opened(-7 * DAY - 20, 1, 1, 12)], Err(Reason::NoRule)),
        ("one password, four users", sprayed(4), Ok(Rule::SprayedPassword)),
        ("one password, three users", sprayed(3), Err(Reason::NoRule)),
        ("five failing users", many_users(5, 0), Ok(Rule::ManyUsersOfSource)),
        ("four failing users", many_users(4, 0), Err(Reason::NoRule)),
        ("seven failing, three successful", many_users(7, 3), Ok(Rule::ManyUsersOfSource)),
        ("six failing, three successful", many_users(6, 3), Err(Reason::NoRule)),
        ("six sources", many_sources(6), Ok(Rule::ManySourcesOfUser)),
        ("five sources, the user elsewhere", many_sources(5), Ok(Rule::StrangerToUser)),
        (
            "six sources, and its user next door",
            [vec![SLIP_WITHOUT_TAG], many_sources(6)[1..].to_vec(), vec![opened(-2 * HOUR, 1, 50, 0)]].concat(),
            Err(Reason::Contradiction),
        ),
        (
            "the same with a tag, which would tell",
            [many_sources(6), vec![opened(-2 * HOUR, 1, 50, 0)]].concat(),
            Ok(Rule::ManySourcesOfUser),
        ),
        (
            "six sources, this one with one password only",
            [many_sources(6), again(4)[1..].to_vec()].concat(),
            Err(Reason::Contradiction),
        ),
        ("six passwords", many_tags(6), Ok(Rule::ManyPasswords)),
        ("five passwords", many_tags(5), Err(Reason::NoRule)),
        ("a success next door", vec![SLIP, opened(20 * HOUR, 1, 7, 12)], Ok(Rule::SucceededNearby)),
        ("a neighbour's password", vec![SLIP, opened(-40, 2, 1, 11)], Ok(Rule::PasswordOfNeighbour)),
        ("a neighbour, another password", vec![SLIP, opened(-40, 2, 1, 12)], Err(Reason::NoRule)),
        (
            "a neighbour's password, tried elsewhere too",
            vec![SLIP, opened(-40, 2, 1, 11), failed(90, 1, 9, 13)],
            Err(Reason::NoRule),
        ),
        ("a mistyped name", mistyped(3), Ok(Rule::NeighbourSucceeded)),
        ("a name tried once", mistyped(1), Err(Reason::NoRule)),
        ("a name tried four times", mistyped(4), Ok(Rule::LoneDevice)),
        ("two neighbours succeed", [mistyped(2), vec![opened(3, 3, 1, 0)]].concat(), Err(Reason::NoRule)),
        (
            "a neighbour nobody has seen there before",
            vec![SLIP_WITHOUT_TAG, failed(1, 1, 1, 0), opened(6, 2, 1, 0)],
            Err(Reason::NoRule),
        ),
        (
            "two more names fail there",
            [mistyped(2), vec![failed(9, 5, 1, 0), failed(9, 6, 1, 0)]].concat(),
            Err(Reason::NoRule),
        ),
        ("the same password four times", again(4), Ok(Rule::SamePasswordAgain)),
        ("the same password three times", again(3), Err(Reason::NoRule)),
        ("nobody ever succeeded", vec![SLIP], Ok(Rule::NeverSucceeded)),
        ("the source has succeeded", vec![SLIP, opened(-2 * DAY, 2, 1, 0)], Err(Reason::NoRule)),
        ("the user succeeds elsewhere", vec![SLIP, opened(-2 * DAY, 1, 150, 0)], Ok(Rule::StrangerToUser)),
        ("twice", vec![SLIP, failed(5, 1, 1, 12), opened(-2 * DAY, 1, 150, 0)], Ok(Rule::StrangerToUser)),
        (
            "three times",
            vec![SLIP, failed(5, 1, 1, 12), failed(6, 1, 1, 13), opened(-2 * DAY, 1, 150, 0)],
            Err(Reason::NoRule),
        ),
        (
            "elsewhere, and in this range within the week",
            vec![SLIP, opened(-2 * DAY, 1, 150, 0), opened(-6 * DAY, 1, 50, 0)],
            Err(Reason::NoRule),
        ),
        (
            "elsewhere, and in this range a week ago",
            vec![SLIP, opened(-2 * DAY, 1, 150, 0), opened(-7 * DAY - HOUR, 1, 50, 0)],
            Ok(Rule::StrangerToUser),
        ),
        (
            "elsewhere, but the source lets others in",
            vec![SLIP, opened(-2 * DAY, 1, 150, 0), opened(20 * HOUR, 2, 1, 0)],
            Err(Reason::NoRule),
        ),
        ("a success that comes too late", vec![SLIP, opened(25 * HOUR, 1, 150, 0)], Ok(Rule::NeverSucceeded)),
    ];
    for (what, mut events, expected) in table {
        // Addresses above 100 of this table lie in another network.
        let far = |event: &Event| event.ip >= 100;
        let (there, here): (Vec<_>, Vec<_>) = events.drain(..).partition(far);
        let mut index = index(&here);
        for event in there {
            let attempt = Attempt { client_ip: IpAddr::from([198, 51, 100, event.ip]), ..event.attempt() };
            index.record(&attempt, event.outcome);
        }

        let answer = index.label(&SLIP.case_of(&here), at(DAY));

        assert_eq!(rule(answer), expected, "{what}");
    }
}

impl Event {
    /// The case of the first of some events.
    fn case_of(&self, events: &[Event]) -> Case {
        assert_eq!(events[0].minutes, self.minutes);
        events[0].case()
    }
}

#[test]
fn earlier_rules_win() {
    use HindsightRule as Rule;
    let sprayed = each(SLIP, 2..6, |event, n| (event.user, event.ip) = (n, n));
    let guessed = each(SLIP, 2..9, |event, n| (event.minutes, event.tag) = (n.into(), 10 + u64::from(n)));
    let repeated = each(SLIP, 1..9, |event, n| event.minutes = i64::from(n) * 15);
    let table: [(&str, Vec<Event>, Rule); 5] = [
        ("a slip with a popular password", [sprayed.clone(), vec![opened(5, 1, 1, 12)]].concat(), Rule::SucceededSoon),
        ("a forgotten password", [guessed, vec![opened(-DAY, 1, 1, 12)]].concat(), Rule::SucceededBefore),
        ("a known device in a loop", [repeated.clone(), vec![opened(-DAY, 1, 1, 12)]].concat(), Rule::SucceededBefore),
        ("a spray beside the owner", [sprayed.clone(), vec![opened(-60, 1, 8, 12)]].concat(), Rule::SprayedPassword),
        ("a bot that repeats a sprayed password", [repeated, sprayed].concat(), Rule::SprayedPassword),
    ];
    for (what, events, expected) in table {
        assert_eq!(rule(answer_after(DAY, &events)), Ok(expected), "{what}");
    }
}

#[test]
fn a_device_that_never_logged_in_knows_one_password_for_one_name_at_one_place() {
    use HindsightRule as Rule;
    let again = || each(SLIP, 1..4, |event, n| event.minutes = i64::from(n) * 90);
    let elsewhere = |places: u8| each(SLIP, 2..places + 1, |event, n| event.ip = n)[1..].to_vec();
    let other_name = vec![failed(90, 2, 9, 11)];
    let untold = |tries: u8, places: u8| {
        let tries = each(SLIP_WITHOUT_TAG, 1..tries, |event, n| event.minutes = i64::from(n) * 2);
        [tries, each(SLIP_WITHOUT_TAG, 2..places + 1, |event, n| event.ip = n)[1..].to_vec()].concat()
    };
    let logs_in = vec![opened(-2 * DAY, 1, 250, 0)];
    let table: [(&str, Vec<Event>, Result<Rule, Reason>); 13] = [
        ("one password again and again", again(), Ok(Rule::SamePasswordAgain)),
        ("which is tried on another name too", [again(), other_name.clone()].concat(), Ok(Rule::NeverSucceeded)),
        (
            "the same, of somebody who does log in",
            [again(), other_name, logs_in.clone()].concat(),
            Ok(Rule::SamePasswordAgain),
        ),
        ("a name tried from three places", [again(), elsewhere(3)].concat(), Ok(Rule::SamePasswordAgain)),
        ("a name tried from four", [again(), elsewhere(4)].concat(), Err(Reason::Contradiction)),
        ("no password told, one name three times", untold(3, 1), Ok(Rule::LoneDevice)),
        ("twice", untold(2, 1), Ok(Rule::NeverSucceeded)),
        ("twenty times in an hour", untold(20, 1), Ok(Rule::LoneDevice)),
        ("more often than that", untold(21, 1), Ok(Rule::NeverSucceeded)),
        ("a second name from there", [untold(3, 1), vec![failed(200, 2, 1, 0)]].concat(), Ok(Rule::LoneDevice)),
        (
            "two more",
            [untold(3, 1), vec![failed(200, 2, 1, 0), failed(200, 3, 1, 0)]].concat(),
            Ok(Rule::NeverSucceeded),
        ),
        ("four places", untold(3, 4), Ok(Rule::NeverSucceeded)),
        ("somebody who does log in", [untold(3, 1), logs_in].concat(), Err(Reason::NoRule)),
    ];
    for (what, events, expected) in table {
        assert_eq!(rule(answer_after(DAY, &events)), expected, "{what}");
    }
}

#[test]
fn d7_a_blocked_attempt_is_unknown_and_counts_as_nothing() {
    for outcome in [Outcome::Blocked, Outcome::Unknown] {
        let blocked = each(Event { outcome, ..SLIP }, 2..20, |event, n| event.user = n);
        assert_eq!(rule(answer_after(DAY, &blocked)), Err(Reason::NoOutcome));

        let one_failed = [vec![SLIP, opened(5, 1, 1, 0)], blocked].concat();
        assert_eq!(rule(answer_after(DAY, &one_failed)), Ok(HindsightRule::SucceededSoon));
        let index = index(&one_failed[2..]);
        assert!(index.failures == Failures::default());
    }
}

#[test]
fn aliases_of_one_account_are_one_user_of_a_source() {
    let answer = |aliases: bool| {
        let mut index = index(&[opened(-2 * DAY, 99, 99, 0)]);
        for user in 1..8 {
            let attempt = Event { user, ..SLIP_WITHOUT_TAG }.attempt();
            let user = if aliases { SLIP_WITHOUT_TAG.attempt().user } else { attempt.user };
            index.record(&Attempt { user, ..attempt }, Outcome::Failure);
        }
        rule(index.label(&SLIP_WITHOUT_TAG.case(), at(DAY)))
    };

    assert_eq!(answer(false), Ok(HindsightRule::ManyUsersOfSource));
    assert_ne!(answer(true), Ok(HindsightRule::ManyUsersOfSource));
}

#[test]
fn a_look_up_does_not_count() {
    let mut index = index(&[]);
    let before = index.clone();

    index.record(&Attempt { no_auth: true, ..SLIP.attempt() }, Outcome::Failure);

    assert_eq!(index, before);
}

#[test]
fn an_answer_is_served_as_soon_as_its_class_is_final() {
    use HindsightRule as Rule;
    let sprayed = each(SLIP, 2..6, |event, n| (event.user, event.ip) = (n, n));
    let nearby = vec![SLIP, opened(20, 1, 7, 12)];
    let untagged = vec![SLIP_WITHOUT_TAG, opened(20, 1, 7, 0)];
    let slip = vec![SLIP, opened(1, 1, 1, 12)];
    let listed: Vec<Event> = [SLIP, failed(2, 1, 1, 12), failed(3, 1, 1, 13), opened(5, 1, 1, 99)]
        .into_iter()
        .chain((2..9).flat_map(|user| (11..14).map(move |tag| failed(-60, user, 2, tag))))
        .collect();
    let table: [(&str, i64, Vec<Event>, _); 12] = [
        ("a list of passwords at once", 5, listed.clone(), Ok(Rule::Guessed)),
        ("a list of passwords after that", 71, listed, Ok(Rule::Guessed)),
        ("a success at once", 1, vec![SLIP_WITHOUT_TAG, opened(1, 1, 1, 0)], Ok(Rule::SucceededSoon)),
        ("a success that may end a long guessing", 1, slip.clone(), Err(Reason::Unsettled)),
        ("a success that did not", 71, slip, Ok(Rule::SucceededSoon)),
        ("an attack not while the owner may succeed", 59, sprayed.clone(), Err(Reason::Unsettled)),
        ("an attack after that", 71, sprayed, Ok(Rule::SprayedPassword)),
        ("a password that may yet be sprayed", 23 * HOUR, nearby.clone(), Err(Reason::Unsettled)),
        ("a password that was not", DAY, nearby, Ok(Rule::SucceededNearby)),
        ("no password to be sprayed", 71, untagged, Ok(Rule::SucceededNearby)),
        ("somebody who may yet succeed", 23 * HOUR, vec![SLIP], Err(Reason::Unsettled)),
        ("somebody who did not", DAY, vec![SLIP], Ok(Rule::NeverSucceeded)),
    ];
    for (what, minutes, events, expected) in table {
        assert_eq!(rule(answer_after(minutes, &events)), expected, "{what}");
    }
    assert!(!HindsightIndex::settled(at(0), at(DAY - 1)) && HindsightIndex::settled(at(0), at(DAY)));
}

#[test]
fn what_was_missed_is_unknown_where_it_matters() {
    let slip = [SLIP_WITHOUT_TAG, opened(5, 1, 1, 0)];
    let mut missed = index(&slip);
    missed.missed(at(30), at(40));
    assert_eq!(
        rule(missed.label(&SLIP_WITHOUT_TAG.case(), at(DAY))),
        Ok(HindsightRule::SucceededSoon),
        "it is known already"
    );

    let mut missed = index(&[SLIP]);
    missed.missed(at(30), at(40));
    assert_eq!(rule(missed.label(&SLIP.case(), at(DAY))), Err(Reason::Gap));

    assert_eq!(rule(index(&[]).label(&SLIP.case(), at(DAY))), Err(Reason::Gap), "the attempt itself was not seen");
}

#[test]
fn too_much_makes_the_oldest_hours_unknown_and_is_counted() {
    let limits = HindsightLimits { bytes_max: 64 << 10, ..HindsightLimits::default() };
    let mut index = HindsightIndex::new(limits);
    for minute in 0..1000 {
        let event = failed(minute, (minute % 250) as u8, (minute % 240) as u8, minute.unsigned_abs() + 1);
        index.record(&event.attempt(), event.outcome);
        assert!(index.stats().bytes <= limits.bytes_max);
    }

    assert!(index.stats().evictions > 0);
    assert!(index.since() > Some(at(0)));
    let first = failed(0, 0, 0, 1);
    assert_eq!(rule(index.label(&first.case(), at(2 * DAY))), Err(Reason::Gap));
    index.record(&first.attempt(), first.outcome);
    assert_eq!(index.stats().too_late, 1);
}

#[test]
fn a_storm_within_one_hour_cannot_break_the_bound() {
    let limits = HindsightLimits { bytes_max: 32 << 10, ..HindsightLimits::default() };
    let mut index = HindsightIndex::new(limits);
    for number in 0..3000u32 {
        let [.., high, low] = number.to_be_bytes();
        let mut attempt = failed(0, low, 0, u64::from(number) + 1).attempt();
        attempt.client_ip = IpAddr::from([10, 0, high, low]);
        index.record(&attempt, Outcome::Failure);
        assert!(index.stats().bytes <= limits.bytes_max, "{:?} after {number}", index.stats());
    }
}

#[test]
fn hosts_of_one_ipv6_network_are_one_source() {
    let attempt = |host: u16, event: Event| Attempt {
        client_ip: IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]),
        ..event.attempt()
    };
    let mut index = index(&[]);
    index.record(&attempt(1, SLIP), Outcome::Failure);
    index.record(&attempt(2, opened(5, 1, 1, 12)), Outcome::Success);

    let case = Case { client_ip: attempt(1, SLIP).client_ip, ..SLIP.case() };
    assert_eq!(rule(index.label(&case, at(DAY))), Ok(HindsightRule::SucceededSoon));
}

#[test]
fn the_policy_drops_what_is_unknown() {
    let schema = crate::detection::features::FeatureSchema::compat6();
    let events = [SLIP, opened(5, 1, 1, 12)];
    let index = index(&events);
    let case = SLIP.case();
    let mut sample = crate::learning::sample::tests::sample(1, false);
    (sample.ts, sample.request, sample.client_ip, sample.user) = (case.ts, case.request, case.client_ip, case.user);

    let policy = HindsightLabels::new(&index, at(DAY));
    assert_eq!(policy.label(&sample, &schema), Some(HindsightRule::SucceededSoon.labelled()));
    sample.outcome = Outcome::Blocked;
    assert_eq!(policy.label(&sample, &schema), None);
}

pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    // Half of them by the user and source that are asked about.
    let mostly = |others: std::ops::Range<u8>| prop_oneof![Just(1u8), others];
    let event =
        (-1500i64..1600, mostly(1..12), mostly(1..8), 0u64..5, 0u8..6).prop_map(|(minutes, user, ip, tag, outcome)| {
            // Most of them near the attempt, where the rules look.
            let minutes = if minutes % 3 == 0 { minutes } else { minutes / 20 };
            let outcome = if outcome == 0 { Outcome::Success } else { Outcome::Failure };
            Event { minutes, user, ip, tag, outcome }
        });
    proptest::collection::vec(event, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_label_that_was_served_keeps_its_class_whatever_comes(mut events in events(), tagged: bool, ok: bool) {
        let asked = Event {
            outcome: if ok { Outcome::Success } else { Outcome::Failure },
            ..if tagged { SLIP } else { SLIP_WITHOUT_TAG }
        };
        events.push(asked);
        events.sort_by_key(|event| event.minutes);
        let mut index = index(&[]);
        let mut served: Option<Label> = None;
        let times: Vec<i64> = events.iter().map(|event| event.minutes).collect();
        for (nth, event) in events.iter().enumerate() {
            index.record(&event.attempt(), event.outcome);
            let next = times.get(nth + 1).copied().unwrap_or(3 * DAY);
            // Just recorded, and as long after it as nothing else comes.
            for now in [event.minutes, next - 1] {
                if now < asked.minutes || now < event.minutes || (now == event.minutes && next == now) {
                    continue;
                }
                let given = match index.label(&asked.case(), at(now)) {
                    HindsightAnswer::Label(labelled, _) => Some(labelled.label),
                    HindsightAnswer::Unknown(_) => None,
                };
                if served.is_some() {
                    prop_assert_eq!(served, given, "at {}", now);
                }
                served = given;
                prop_assert!(given.is_some() || now < DAY + FINE_MS / MINUTE
                    || matches!(rule(index.label(&asked.case(), at(now))), Err(Reason::NoRule | Reason::Contradiction | Reason::DoubtfulSuccess)));
            }
        }
    }

    #[test]
    fn the_order_of_recording_makes_no_difference(events in events().prop_shuffle()) {
        let mut sorted = events.clone();
        sorted.sort_by_key(|event| (event.minutes, event.user, event.ip, event.tag));
        prop_assert_eq!(index(&events), index(&sorted));
    }
}
