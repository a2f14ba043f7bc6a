//! The first day of a recording: the day after an attempt stands in for the day before it, which nobody saw.

use super::*;

/// An index that began with somebody else's login `begun` minutes from the attempt. Addresses above 100 lie elsewhere.
fn begun(begun: i64, events: &[Event]) -> HindsightIndex {
    let mut index = HindsightIndex::new(HindsightLimits::RECORDING);
    index.record(&opened(begun, 200, 200, 0).attempt(), Outcome::Success);
    for event in events {
        let mut attempt = event.attempt();
        if event.ip > 100 {
            attempt.client_ip = IpAddr::from([198, 51, 100, event.ip]);
        }
        index.record(&attempt, event.outcome);
    }
    index
}

/// The answer for the slip, which the index has with a tag or without.
fn answered(index: &HindsightIndex, minutes: i64) -> Result<HindsightRule, Reason> {
    let tagged = index.failures.tag(SLIP.case().ts, SLIP.case().request).is_some();
    rule(index.label(&if tagged { SLIP } else { SLIP_WITHOUT_TAG }.case(), at(minutes)))
}

#[test]
fn rules_that_look_back_a_day_wait_for_the_day_after_instead() {
    use HindsightRule as Rule;
    let many_users = each(SLIP, 2..6, |event, n| (event.user, event.tag) = (n, 10 + u64::from(n)));
    let sprayed = each(SLIP, 2..6, |event, n| (event.user, event.ip) = (n, n));
    let later = vec![opened(20 * HOUR, 1, 1, 12)];
    let untagged = each(SLIP_WITHOUT_TAG, 2..7, |event, n| event.ip = n * 2);
    let table: [(&str, Vec<Event>, Result<Rule, Reason>); 9] = [
        ("nobody ever succeeded", vec![SLIP], Ok(Rule::NeverSucceeded)),
        ("many users of one source", many_users.clone(), Ok(Rule::ManyUsersOfSource)),
        ("a password for many", sprayed, Ok(Rule::SprayedPassword)),
        ("a stranger", vec![SLIP, opened(20 * HOUR, 1, 150, 0)], Ok(Rule::StrangerToUser)),
        ("the user succeeds here, as before perhaps", [vec![SLIP], later.clone()].concat(), Ok(Rule::SucceededNearby)),
        ("or somebody among many users guesses right", [many_users, later].concat(), Err(Reason::Gap)),
        ("many sources of a user", untagged.clone(), Ok(Rule::ManySourcesOfUser)),
        (
            "perhaps the user's own device among them",
            [untagged, vec![opened(20 * HOUR, 1, 50, 0)]].concat(),
            Err(Reason::Contradiction),
        ),
        ("within the hour", vec![SLIP, opened(5, 1, 1, 12)], Ok(Rule::SucceededSoon)),
    ];
    for (what, events, expected) in table {
        let index = begun(-2 * HOUR, &events);
        assert_eq!(answered(&index, DAY), expected, "{what}");
        let early = answered(&index, DAY - 1);
        assert!(early == expected || early.is_err(), "{what}: {early:?} would not last");
        assert!(
            expected != Ok(Rule::ManyUsersOfSource) || early == Err(Reason::Unsettled),
            "it waits for the day after"
        );
    }
}

#[test]
fn a_day_before_that_others_may_know_is_not_told_by_the_day_after() {
    let never = Ok(HindsightRule::NeverSucceeded);
    assert_eq!(answered(&begun(-HOUR, &[SLIP]), DAY), never);
    assert_eq!(answered(&begun(-HOUR + 1, &[SLIP]), DAY), Err(Reason::Gap), "an hour to either side has to be known");

    let mut live = begun(-3 * HOUR, &[SLIP]);
    live.set_limits(HindsightLimits::default());
    assert_eq!(answered(&live, DAY), Err(Reason::Gap), "a node may have joined an old site");

    let mut forgetful = begun(-3 * HOUR, &[SLIP]);
    forgetful.coverage.forget_before(at(-2 * HOUR));
    assert_eq!(answered(&forgetful, DAY), Err(Reason::Gap), "somebody knew it");

    let mut missed = begun(-3 * HOUR, &[SLIP]);
    missed.missed(at(20 * HOUR), at(20 * HOUR + 20));
    assert_eq!(answered(&missed, DAY), Err(Reason::Gap));
    let mut missed = begun(-9 * HOUR, &[SLIP]);
    missed.missed(at(-3 * HOUR), at(-2 * HOUR));
    assert_eq!(answered(&missed, DAY), Err(Reason::Gap), "missed since the memory began");
}
