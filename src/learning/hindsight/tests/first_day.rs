//! The first day of a memory: the day after an attempt stands in for the day before it, which nobody saw.

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

fn answered(index: &HindsightIndex, minutes: i64) -> Result<HindsightRule, Reason> {
    rule(index.label(&SLIP.case(), at(minutes)))
}

#[test]
fn rules_that_look_back_a_day_wait_for_the_day_after_instead() {
    use HindsightRule as Rule;
    let many_users = each(SLIP, 2..6, |event, n| (event.user, event.tag) = (n, 10 + u64::from(n)));
    let sprayed = each(SLIP, 2..6, |event, n| (event.user, event.ip) = (n, n));
    let known = opened(20 * HOUR, 1, 1, 12);
    let table: [(&str, Vec<Event>, Result<Rule, Reason>); 6] = [
        ("nobody ever succeeded", vec![SLIP], Ok(Rule::NeverSucceeded)),
        ("many users of one source", many_users.clone(), Ok(Rule::ManyUsersOfSource)),
        ("a password for many", sprayed, Ok(Rule::SprayedPassword)),
        ("a stranger", vec![SLIP, opened(20 * HOUR, 1, 150, 0)], Ok(Rule::StrangerToUser)),
        ("the user succeeds here, as before perhaps", [many_users, vec![known]].concat(), Ok(Rule::SucceededBefore)),
        ("within the hour", vec![SLIP, opened(5, 1, 1, 12)], Ok(Rule::SucceededSoon)),
    ];
    for (what, events, expected) in table {
        let index = begun(-2 * HOUR, &events);
        assert_eq!(answered(&index, DAY), expected, "{what}");
        // A success that is there is final.
        let known = matches!(expected, Ok(Rule::SucceededSoon | Rule::SucceededBefore));
        let early = if known { expected } else { Err(Reason::Unsettled) };
        assert_eq!(answered(&index, DAY - 1), early, "{what}");
    }
}

#[test]
fn a_day_before_that_was_forgotten_or_missed_is_not_told_by_the_day_after() {
    let never = Ok(HindsightRule::NeverSucceeded);
    assert_eq!(answered(&begun(-HOUR, &[SLIP]), DAY), never);
    assert_eq!(answered(&begun(-HOUR + 1, &[SLIP]), DAY), Err(Reason::Gap), "an hour to either side has to be known");

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
