//! Strangers who come in numbers: what is said of one of them before the day is over.

use super::*;
use crate::learning::hindsight::surge::{LOOK_BACK_MS, Newcomers};

const LOOK_BACK: i64 = LOOK_BACK_MS / MINUTE;

/// So many addresses that fail once each, at accounts of their own, `minutes` from the attempt, from number `first` on.
fn strangers(minutes: i64, first: u16, count: u16) -> Vec<(Attempt, Outcome)> {
    let stranger = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let ip = IpAddr::from([203, 0, high, low]);
        let user = Pseudonym([high, low, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        let event = failed(minutes, 2, 2, 0);
        let request = RequestKey::of(&format!("{minutes} {number}"));
        (Attempt { client_ip: ip, user, name: user, request, ..event.attempt() }, Outcome::Failure)
    };
    (first..first + count).map(stranger).collect()
}

/// `events` of which those of addresses above 100 are elsewhere, and `others`, in an index that has been there for a week.
fn index_of(events: &[Event], others: &[Vec<(Attempt, Outcome)>]) -> HindsightIndex {
    let mut index = index(&[]);
    for event in events {
        let mut attempt = event.attempt();
        if event.ip > 100 {
            attempt.client_ip = IpAddr::from([198, 51, 100, event.ip]);
        }
        index.record(&attempt, event.outcome);
    }
    for (attempt, outcome) in others.iter().flatten() {
        index.record(attempt, *outcome);
    }
    index
}

const OVER: i64 = HOUR + 20;

fn soon(index: &HindsightIndex) -> Result<HindsightRule, Reason> {
    rule(index.label(&SLIP.case(), at(OVER)))
}

#[test]
fn a_stranger_among_many_is_taken_for_an_attacker_until_the_day_is_over() {
    use HindsightRule as Rule;
    let known = opened(-2 * DAY, 1, 150, 0);
    let many = strangers(5, 0, 40);
    let of = |events: &[Event]| index_of(&[&[SLIP], events].concat(), std::slice::from_ref(&many));
    let label = |index: &HindsightIndex, minutes| rule(index.label(&SLIP.case(), at(minutes)));

    let index = of(&[known]);
    assert_eq!(label(&index, HOUR - 1), Err(Reason::Unsettled), "the owner may still succeed");
    assert_eq!((label(&index, OVER), label(&index, DAY - 1)), (Ok(Rule::OneOfMany), Ok(Rule::OneOfMany)));
    assert_eq!(label(&index, DAY), Ok(Rule::StrangerToUser));
    assert_eq!((soon(&of(&[])), label(&of(&[]), DAY)), (Ok(Rule::OneOfMany), Ok(Rule::NeverSucceeded)));

    let later = of(&[known, opened(20 * HOUR, 1, 50, 0)]);
    assert_eq!(label(&later, DAY), Ok(Rule::SucceededNearby), "it was the user, who got the password right in the end");
    for (what, event) in [
        ("the source let somebody in", opened(-DAY, 9, 1, 0)),
        ("the user is known in the range", opened(-6 * DAY, 1, 50, 0)),
    ] {
        assert_eq!(soon(&of(&[known, event])), Err(Reason::Unsettled), "{what}");
    }
    let thrice = [known, failed(1, 1, 1, 12), failed(2, 1, 1, 13)];
    assert_eq!(soon(&of(&thrice)), Err(Reason::Unsettled), "three tries are told by other rules");
    assert_eq!(soon(&of(&[known, opened(9, 1, 1, 12)])), Ok(Rule::SucceededSoon));
}

#[test]
fn a_surge_is_so_many_and_so_many_more_than_usual() {
    let every_hour = |count: u16| -> Vec<_> {
        (1..=26u16).flat_map(|hour| strangers(i64::from(hour) * -HOUR, 1000 * hour, count)).collect()
    };
    let around_this_time_yesterday = |count: u16| -> Vec<_> {
        (-2..=2i64).flat_map(|hour| strangers(-DAY + hour * HOUR, (30_000 + hour * 1000) as u16, count)).collect()
    };
    let campaign = |hours: u16| -> Vec<_> {
        (1..=hours).flat_map(|hour| strangers(i64::from(hour) * -HOUR, 1000 * hour, 50)).collect()
    };
    for (what, before, here, surge) in [
        // The stranger who is asked about is one of them.
        ("thirty-nine", vec![], 38, false),
        ("forty", vec![], 39, true),
        ("three times the ten of each hour, ten of which are near", every_hour(10), 49, true),
        ("less than that", every_hour(10), 48, false),
        ("as many at this time yesterday", around_this_time_yesterday(40), 110, false),
        ("few at this time yesterday", around_this_time_yesterday(6), 40, true),
        ("a campaign that goes on", campaign(11), 50, true),
        ("one that has become usual", campaign(13), 50, false),
    ] {
        let index = index_of(&[SLIP], &[before, strangers(0, 0, here)]);
        assert_eq!(soon(&index) == Ok(HindsightRule::OneOfMany), surge, "{what}");
    }
}

#[test]
fn who_is_let_in_or_came_before_is_no_newcomer() {
    let let_in = |(attempt, _): &(Attempt, Outcome)| {
        (
            Attempt { ts: at(30), request: RequestKey::of(&format!("{:?}", attempt.client_ip)), ..attempt.clone() },
            Outcome::Success,
        )
    };
    let many = strangers(0, 0, 39);
    let honest: Vec<_> = many[..1].iter().map(let_in).collect();
    assert_eq!(soon(&index_of(&[SLIP], &[many.clone(), honest])), Err(Reason::Unsettled));

    let earlier = strangers(-5 * HOUR, 0, 1);
    assert_eq!(soon(&index_of(&[SLIP], &[many, earlier])), Err(Reason::Unsettled));

    // Nor the one who is asked about, whatever others began.
    let long_here = [SLIP, failed(-5 * HOUR, 9, 1, 0)];
    assert_eq!(soon(&index_of(&long_here, &[strangers(0, 0, 60)])), Err(Reason::Unsettled));
}

/// Those of the day before had a day to get in, those of now had minutes: an hour counts for all.
#[test]
fn who_is_let_in_after_hours_stays_a_newcomer() {
    let mut index = index_of(&[SLIP], &[strangers(0, 0, 39)]);
    assert_eq!(soon(&index), Ok(HindsightRule::OneOfMany));
    for (attempt, _) in strangers(5 * HOUR, 0, 39) {
        index.record(&attempt, Outcome::Success);
    }
    assert_eq!(soon(&index), Ok(HindsightRule::OneOfMany));
}

#[test]
fn all_networks_of_one_customer_are_one_newcomer() {
    let of = |network: &dyn Fn(u16) -> [u16; 8]| {
        let mut many = strangers(0, 0, 60);
        for (number, (attempt, _)) in (0..).zip(&mut many) {
            attempt.client_ip = IpAddr::from(network(number));
        }
        soon(&index_of(&[SLIP], &[many]))
    };
    assert_eq!(of(&|number| [0x2001, 0xdb8, 1, number, 0, 0, 0, 1]), Err(Reason::Unsettled));
    assert_eq!(of(&|number| [0x2001, 0xdb8, number, 1, 0, 0, 0, 1]), Ok(HindsightRule::OneOfMany));
}

#[test]
fn what_was_missed_or_is_yet_to_be_told_makes_no_surge() {
    let many = strangers(0, 0, 60);
    let mut index = HindsightIndex::new(HindsightLimits::RECORDING);
    // Something is known of a week ago, but nothing of the days since.
    index.record(&opened(-7 * DAY, 200, 200, 0).attempt(), Outcome::Success);
    index.missed(at(-7 * DAY + 1), at(-LOOK_BACK));
    let tell = |index: &mut HindsightIndex| {
        index.record(&SLIP.attempt(), Outcome::Failure);
        many.iter().for_each(|(attempt, outcome)| index.record(attempt, *outcome));
    };
    tell(&mut index);
    assert_eq!(soon(&index), Err(Reason::Unsettled), "a minute was missed");
    let mut index = HindsightIndex::new(HindsightLimits::RECORDING);
    index.record(&opened(-7 * DAY, 200, 200, 0).attempt(), Outcome::Success);
    index.missed(at(-7 * DAY + 1), at(-LOOK_BACK - 1));
    tell(&mut index);
    assert_eq!(soon(&index), Ok(HindsightRule::OneOfMany));
    index.missed(at(-26 * HOUR), at(-25 * HOUR));
    assert_eq!(soon(&index), Err(Reason::Unsettled), "missed since");
}

/// Where a model is measured on the latest day too, it is not measured on labels that follow from one of its features.
#[test]
fn a_young_site_has_no_surges() {
    for (days, expected) in [(2, Err(Reason::Unsettled)), (4, Ok(HindsightRule::OneOfMany))] {
        let mut index = HindsightIndex::new(HindsightLimits::RECORDING);
        index.record(&opened(-days * DAY, 200, 200, 0).attempt(), Outcome::Success);
        index.record(&SLIP.attempt(), Outcome::Failure);
        strangers(0, 0, 40).iter().for_each(|(attempt, outcome)| index.record(attempt, *outcome));
        assert_eq!(soon(&index), expected, "{days} days");
    }
}

/// Before the day is over a label of strangers may be wrong, or taken back; when it is over nothing is left of that.
#[test]
fn nothing_of_a_surge_is_left_when_the_day_is_over() {
    let known = opened(-4 * DAY, 1, 150, 0);
    for (what, events) in [
        ("a failure", vec![SLIP, known]),
        ("a login", vec![opened(0, 1, 1, 11), known]),
        ("three failures", vec![SLIP, failed(9, 1, 1, 12), failed(20 * HOUR, 1, 1, 13), known]),
        ("the user comes back", vec![SLIP, known, opened(3 * HOUR, 1, 50, 0)]),
    ] {
        let quiet = index_of(&events, &[]);
        let surge = index_of(&events, &[strangers(5, 0, 60)]);
        let label = |index: &HindsightIndex| rule(index.label(&events[0].case(), at(DAY)));
        assert_eq!(label(&surge), label(&quiet), "{what}");
    }
}

#[test]
fn logins_of_strangers_have_a_label_where_failures_of_strangers_have_one() {
    let login = opened(0, 1, 1, 11);
    let known = opened(-4 * DAY, 1, 150, 0);
    let label = |index: &HindsightIndex, minutes| rule(index.label(&login.case(), at(minutes)));

    let alone = index_of(&[login, known], &[]);
    assert_eq!(label(&alone, OVER), Err(Reason::Unsettled));
    let among_many = index_of(&[login, known], &[strangers(5, 0, 40)]);
    assert_eq!(label(&among_many, HOUR - 1), Err(Reason::Unsettled));
    assert_eq!(label(&among_many, OVER), Ok(HindsightRule::Success));
}

#[test]
fn what_changes_the_index_is_counted_anew() {
    let mut index = index_of(&[SLIP, opened(-2 * DAY, 1, 150, 0)], &[strangers(0, 0, 38)]);
    assert_eq!(soon(&index), Err(Reason::Unsettled));
    for (attempt, outcome) in strangers(0, 38, 1) {
        index.record(&attempt, outcome);
    }
    assert_eq!(soon(&index), Ok(HindsightRule::OneOfMany));
    assert!(Newcomers::of(&index.failures, &index.successes).surge(SLIP.case().ts));
    // The limits leave hardly anything.
    index.set_limits(HindsightLimits { bytes_max: 1000, ..HindsightLimits::RECORDING });
    assert_eq!(soon(&index), Err(Reason::Gap));
}
