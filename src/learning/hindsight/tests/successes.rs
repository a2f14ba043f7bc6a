//! When a login that succeeded is legitimate, and when nothing is said of it yet.

use super::*;

#[test]
fn a_success_is_legitimate_unless_it_comes_out_of_a_storm() {
    let storm = |failing: u8| {
        let mut events = vec![opened(0, 1, 1, 11), opened(20, 99, 1, 12)];
        events.extend((0..failing).map(|n| failed(30, 100 + n, 1, u64::from(n))));
        events
    };

    assert_eq!(rule(answer_after(DAY, &storm(7))), Ok(HindsightRule::Success));
    assert_eq!(rule(answer_after(DAY, &storm(8))), Err(Reason::DoubtfulSuccess));
    let known = [storm(8), vec![opened(-2 * HOUR, 3, 1, 13)]].concat();
    assert_eq!(rule(answer_after(DAY, &known)), Ok(HindsightRule::Success));
    assert_eq!(rule(answer_after(1, &known)), Ok(HindsightRule::Success), "nothing can make it doubtful");
    assert_eq!(rule(answer_after(1, &storm(0))), Err(Reason::Unsettled));
}

/// (where the user had logged in before, who else had at the address) → whether the login waits for a day.
#[test]
fn the_login_of_a_stranger_has_no_label_before_the_failure_of_one_has() {
    let elsewhere = IpAddr::from([203, 0, 113, 9]);
    let nearby = IpAddr::from([192, 0, 77, 9]);
    let over_ipv6 = IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, 1]);
    let days = |days: i64, client_ip| Some((days, client_ip));
    for (before, neighbour, waits) in [
        (days(4, elsewhere), false, true),
        (days(4, elsewhere), true, false),
        (days(4, nearby), false, false),
        (days(4, over_ipv6), false, true),
        // Nor on a site that is new itself.
        (days(2, elsewhere), false, false),
        (None, false, false),
    ] {
        let mut index = index(&[]);
        if let Some((days, client_ip)) = before {
            index.record(&Attempt { client_ip, ..opened(-days * DAY, 1, 1, 0).attempt() }, Outcome::Success);
        }
        if neighbour {
            index.record(&opened(-2 * DAY, 2, 1, 0).attempt(), Outcome::Success);
        }
        let login = opened(0, 1, 1, 11);
        index.record(&login.attempt(), Outcome::Success);
        let label = |minutes| rule(index.label(&login.case(), at(minutes)));

        let soon = if waits { Err(Reason::Unsettled) } else { Ok(HindsightRule::Success) };
        assert_eq!(label(2 * HOUR), soon, "{before:?} {neighbour}");
        assert_eq!(label(DAY - 1), soon, "{before:?} {neighbour}");
        assert_eq!(label(DAY), Ok(HindsightRule::Success), "{before:?} {neighbour}");
    }
}
