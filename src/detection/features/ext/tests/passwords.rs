//! What the features say of passwords: which retries are guesses, which names have slipped, which passwords are old.

use super::*;

#[test]
fn the_same_password_again_excuses_only_at_home() {
    // (how many times one password failed, whether the user had logged in here before) → (repeated, guesses).
    for (failures, at_home, repeated, guesses) in [
        (0, false, 0.0, 1),
        (0, true, 0.0, 1),
        (1, false, 0.0, 2),
        (1, true, 1.0, 1),
        (50, false, 0.0, 51),
        (50, true, 1.0, 1),
    ] {
        let mut activity = Activity::default();
        let place = if at_home { NEXT_DOOR } else { ELSEWHERE };
        // Long enough ago that its password is forgotten.
        succeeds(&mut activity, &with_tag(7, at(-2 * DAY)));
        for number in 0..failures {
            fails(&mut activity, &from(number, place));
        }

        let next = from(60, place);

        assert_eq!(value(&activity, &next, "password_repeated_excused"), repeated, "{failures} {at_home}");
        assert_eq!(counted(&activity, &next, "user_guesses_24h"), guesses, "{failures} {at_home}");
        assert_eq!(counted(&activity, &next, "user_address_guesses_24h"), guesses, "{failures} {at_home}");
    }
}

/// What was blocked was not checked: whoever sends each guess twice is no device with an old password. The owner is.
#[test]
fn a_password_that_was_tried_and_never_failed_excuses_only_where_it_let_the_user_in() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &with_tag(7, at(-2 * DAY)));
    let again = |activity: &Activity, tag| value(activity, &with_tag(tag, at(10)), "password_repeated_excused");
    for tag in [7, 8, 9] {
        told(&mut activity, &with_tag(tag, at(0)), Outcome::Blocked);
        activity.apply_attempt(&with_tag(tag, at(1)));
    }
    assert_eq!([7, 8, 9].map(|tag| again(&activity, tag)), [1.0, 0.0, 0.0]);

    fails(&mut activity, &with_tag(8, at(2)));
    assert_eq!([7, 8, 9].map(|tag| again(&activity, tag)), [1.0, 1.0, 0.0]);
}

/// Who guesses from behind the user's own address repeats some guesses: (other passwords that failed there, whose it is) →
/// whether the repeat is excused.
#[test]
fn a_guess_that_is_repeated_among_many_is_not_excused() {
    for (others, known, excused) in [(3, false, 1.0), (4, false, 0.0), (4, true, 1.0), (30, true, 1.0)] {
        let mut activity = Activity::default();
        succeeds(&mut activity, &with_tag(7, at(-2 * DAY)));
        let tag = if known { 7 } else { 8 };
        fails(&mut activity, &with_tag(tag, at(0)));
        for number in 0..others {
            fails(&mut activity, &with_tag(100 + number, at(1)));
        }

        let again = with_tag(tag, at(60));

        assert_eq!(value(&activity, &again, "password_repeated_excused"), excused, "{others} {known}");
    }

    // A name that never logged in, with the password of somebody who does here.
    for (tag, excused) in [(8, 0.0), (7, 1.0)] {
        let mut activity = Activity::default();
        succeeds(&mut activity, &by(2, with_tag(7, at(-DAY))));
        for other in [tag, 101, 102, 103, 104, 105] {
            fails(&mut activity, &by(3, with_tag(other, at(0))));
        }
        let again = by(3, with_tag(tag, at(60)));
        assert_eq!(value(&activity, &again, "password_repeated_excused"), excused, "{tag}");
    }
}

/// Every combination: (is the address one from which somebody else logs in, has the name ever logged in) → guesses.
#[test]
fn a_name_that_never_logged_in_slips_where_somebody_logs_in() {
    let household = |last: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, last]);
    for (place, neighbours, known, repeated, guesses) in [
        (NEXT_DOOR.into(), Some(NEXT_DOOR.into()), false, 1.0, 1),
        (NEXT_DOOR.into(), Some(NEXT_DOOR.into()), true, 0.0, 21),
        (NEXT_DOOR.into(), Some(HOME.into()), false, 1.0, 1),
        (NEXT_DOOR.into(), Some(HOME.into()), true, 0.0, 21),
        (NEXT_DOOR.into(), Some(ELSEWHERE.into()), false, 0.0, 21),
        (NEXT_DOOR.into(), None, false, 0.0, 21),
        (household(1), Some(household(2)), false, 1.0, 1),
        (household(1), None, false, 0.0, 21),
    ] {
        let mut activity = Activity::default();
        if let Some(neighbours) = neighbours {
            succeeds(&mut activity, &by(2, with_tag(7, from(-DAY, neighbours))));
        }
        if known {
            succeeds(&mut activity, &with_tag(7, from(-2 * DAY, ELSEWHERE)));
        }
        for number in 0..20 {
            fails(&mut activity, &from(number, place));
        }

        let next = from(60, place);

        let case = format!("{place} {neighbours:?} {known}");
        assert_eq!(value(&activity, &next, "password_repeated_excused"), repeated, "{case}");
        assert_eq!(counted(&activity, &next, "user_guesses_24h"), guesses, "{case}");
        assert_eq!(counted(&activity, &next, "user_address_guesses_24h"), guesses, "{case}");
        let another = with_tag(9, from(60, place));
        assert!(counted(&activity, &another, "user_guesses_24h") > 1, "another password is a guess: {case}");
        let untagged = Attempt { password: None, ..from(60, place) };
        assert_eq!(counted(&activity, &untagged, "user_guesses_24h"), 21, "passwords must be told apart: {case}");
    }
}

/// A device with a mistyped name at an address where nobody else is, told by doing nothing but repeat itself: (what else the
/// address tried shortly before) → whether the repeat is excused.
#[test]
fn a_name_that_never_logged_in_slips_again_in_the_neighbourhood_where_nothing_else_is_tried() {
    let device = |seconds| with_tag(7, from(seconds, NEXT_DOOR));
    for (besides, excused) in [
        (None, true),
        (Some(with_tag(9, device(-HOUR))), false),
        (Some(by(3, device(-HOUR))), false),
        (Some(by(3, device(-2 * DAY))), true),
        (Some(by(3, with_tag(9, from(-HOUR, HOME)))), true),
    ] {
        let mut activity = Activity::default();
        succeeds(&mut activity, &by(2, with_tag(8, from(-3 * DAY, HOME))));
        if let Some(besides) = &besides {
            fails(&mut activity, besides);
        }

        let told = |activity: &Activity, seconds| {
            let repeated = value(activity, &device(seconds), "password_repeated_excused");
            (repeated, counted(activity, &device(seconds), "user_address_guesses_24h") == 1)
        };
        let second_guess = besides.as_ref().is_some_and(|besides| besides.user == device(0).user);
        assert_eq!(told(&activity, 0), (0.0, !second_guess), "the first try {besides:?}");
        fails(&mut activity, &device(0));

        assert_eq!(told(&activity, 60), (f32::from(u8::from(excused)), excused), "{besides:?}");
    }
}

/// (how many log in from the address besides the owner, where the owner logged in, on how many others the password was tried,
/// whether the name is a real user) → whether it is the neighbour's password.
#[test]
fn a_name_that_never_logged_in_slips_with_the_password_of_somebody_who_belongs_here() {
    const IN_RANGE: [u8; 4] = [198, 51, 7, 7];
    /// As ELSEWHERE, three days before.
    const LONG_AGO: [u8; 4] = [198, 51, 100, 8];
    for (household, owner_at, others, known, expected) in [
        (0, ELSEWHERE, 60, false, 1.0),
        (3, ELSEWHERE, 0, false, 1.0),
        // Among many, by the whole password of the last day only.
        (4, ELSEWHERE, 3, false, 1.0),
        (4, LONG_AGO, 3, false, 0.0),
        (3, LONG_AGO, 3, false, 1.0),
        (0, IN_RANGE, 0, false, 1.0),
        (0, IN_RANGE, 1, false, 1.0),
        (0, IN_RANGE, 2, false, 0.0),
        (0, HOME, 0, false, 0.0),
        (0, ELSEWHERE, 0, true, 0.0),
    ] {
        let mut activity = Activity::default();
        let lives_there = owner_at == ELSEWHERE || owner_at == LONG_AGO;
        let (owner_at, since) = if owner_at == LONG_AGO { (ELSEWHERE, -3 * DAY) } else { (owner_at, -HOUR) };
        succeeds(&mut activity, &by(2, with_tag(7, from(since, owner_at))));
        for number in 0..household {
            succeeds(&mut activity, &by(100 + number, with_tag(9, from(-HOUR, ELSEWHERE))));
        }
        for number in 0..others {
            fails(&mut activity, &by(10 + number, with_tag(7, from(-HOUR, HOME))));
        }
        if known {
            succeeds(&mut activity, &with_tag(8, from(-2 * DAY, HOME)));
        }
        let slip = |seconds| with_tag(7, from(seconds, ELSEWHERE));
        let case = format!("{household} {owner_at:?} {others} {known}");
        let is = |activity: &Activity, attempt: Attempt| value(activity, &attempt, "password_of_neighbour");
        assert_eq!(is(&activity, slip(0)), expected, "{case}");
        let tried_on = i64::from(others) + i64::from(since == -HOUR);
        assert_eq!(counted(&activity, &slip(0), "password_other_users_24h"), tried_on, "{case}");
        assert_eq!(is(&activity, with_tag(6, slip(0))), 0.0, "another password: {case}");
        assert_eq!(is(&activity, Attempt { password: None, ..slip(0) }), 0.0, "none: {case}");
        assert_eq!(is(&activity, slip(since - HOUR)), 0.0, "before the owner logged in: {case}");

        for second in 0..20 {
            fails(&mut activity, &slip(second));
        }
        let tried_on = if expected == 1.0 { 0 } else { tried_on };
        assert_eq!(counted(&activity, &slip(60), "password_other_users_24h"), tried_on, "again: {case}");
        // Where somebody logs in from the address, a repeated password is excused whosever it is.
        let excused = expected == 1.0 || (lives_there && !known);
        let repeated = value(&activity, &slip(60), "password_repeated_excused");
        assert_eq!(repeated, f32::from(u8::from(excused)), "{case}");
        assert_eq!(counted(&activity, &slip(60), "user_guesses_24h"), if excused { 1 } else { 21 }, "{case}");
    }
}

/// An outsider who guesses with the password of somebody here is told from the third name on.
#[test]
fn a_password_that_is_tried_on_many_names_is_no_neighbours() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &by(2, with_tag(7, from(-HOUR, [198, 51, 7, 7]))));
    let guess = |name: u8| by(name, with_tag(7, from(i64::from(name), ELSEWHERE)));
    let told: Vec<f32> = (10..16)
        .map(|name| {
            let told = value(&activity, &guess(name), "password_of_neighbour");
            fails(&mut activity, &guess(name));
            told
        })
        .collect();

    assert_eq!(told, [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn different_passwords_are_guesses_at_home_too() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &with_tag(7, at(-2 * DAY)));
    for number in 1..=5 {
        fails(&mut activity, &with_tag(number as u64, at(number)));
    }

    let again = with_tag(5, at(10));
    let untagged = Attempt { password: None, ..at(10) };

    assert_eq!(counted(&activity, &again, "user_guesses_24h"), 5);
    assert_eq!(counted(&activity, &with_tag(6, at(10)), "user_address_guesses_24h"), 6);
    assert_eq!(counted(&activity, &from(10, NEXT_DOOR), "user_address_guesses_24h"), 1);
    assert_eq!(counted(&activity, &untagged, "user_guesses_24h"), 0, "told by password_missing");
    assert_eq!(counted(&activity, &Attempt { password: None, ..from(10, ELSEWHERE) }, "user_guesses_24h"), 6);
}

/// However often a bot repeats itself, the snapshot is the one of a bot that tries something new each time.
#[test]
fn away_from_home_repeating_a_password_looks_like_guessing() {
    let mut repeating = Activity::default();
    let mut guessing = Activity::default();
    for activity in [&mut repeating, &mut guessing] {
        succeeds(activity, &with_tag(7, at(-2 * DAY)));
    }
    for number in 1..=40 {
        fails(&mut repeating, &with_tag(1, from(number, ELSEWHERE)));
        fails(&mut guessing, &with_tag(number as u64, from(number, ELSEWHERE)));
    }

    let snapshot = |activity: &Activity, tag| {
        FeatureSchema::ext().snapshot(activity, &with_tag(tag, from(50, ELSEWHERE)), &FeatureContext::default())
    };

    assert_eq!(snapshot(&repeating, 1), snapshot(&guessing, 99));
}

/// Wherever it is, a program that still has the old password guesses nothing, although its network is strange.
#[test]
fn a_password_that_was_right_once_excuses_away_from_home_after_it_has_failed() {
    let mut activity = Activity::default();
    succeeds(&mut activity, &with_tag(7, at(-20 * DAY)));
    let old = |seconds| with_tag(7, from(seconds, ELSEWHERE));
    let told = |activity: &Activity, attempt: &Attempt| {
        let flags = ["password_outdated", "password_repeated_excused"].map(|name| value(activity, attempt, name));
        (flags, ["user_guesses_24h", "user_address_guesses_24h"].map(|name| counted(activity, attempt, name)))
    };

    assert_eq!(told(&activity, &old(0)), ([0.0, 0.0], [1, 1]), "a right guess is no old password");
    for number in 0..30 {
        fails(&mut activity, &old(number));
    }

    assert_eq!(told(&activity, &old(60)), ([1.0, 1.0], [1, 1]));
    assert_eq!(told(&activity, &with_tag(8, from(60, ELSEWHERE))), ([0.0, 0.0], [31, 31]), "another password");
    assert_eq!(told(&activity, &old(2 * DAY)), ([0.0, 0.0], [1, 1]), "it has not failed for a day");
    let elsewhere = with_tag(7, from(60, [203, 0, 113, 99]));
    assert_eq!(told(&activity, &elsewhere).0, [0.0, 0.0], "it has not failed from there");
    let late = with_tag(7, from(15 * DAY, ELSEWHERE));
    fails(&mut activity, &late);
    assert_eq!(told(&activity, &old(15 * DAY + 60)).0, [0.0, 0.0], "right more than thirty days ago");
}
