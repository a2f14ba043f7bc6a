//! The monitor as a whole, on streams that attackers would send.

use std::net::IpAddr;

use super::*;
use crate::detection::attempt::testing::plain;
use crate::detection::attempt::{Attempt, Outcome, PasswordTag, Timestamp};
use crate::detection::client::{ClientDetails, Country};
use crate::numeric::Rng;

const DAY_S: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
}

fn login(seconds: i64, user: u64, ip: IpAddr, tag: Option<u64>) -> Attempt {
    let mut attempt = plain(at(seconds), "r", ip, 0);
    attempt.user.0[..8].copy_from_slice(&user.to_le_bytes());
    attempt.password = tag.map(PasswordTag);
    let code = if ip.to_string().starts_with("172.") { "BR" } else { "DE" };
    attempt.client = ClientDetails { country: Country::from_code(code), ..ClientDetails::default() };
    attempt
}

fn fail(monitor: &mut AttackMonitor, attempt: &Attempt) {
    monitor.attempt(attempt);
    monitor.outcome(attempt, Outcome::Failure, false);
}

fn bot(number: u64) -> IpAddr {
    let [.., a, b, c] = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
    [172, a, b, c].into()
}

/// Three days of a small site: 200 people log in four times a day, some fail at strange networks.
fn site() -> AttackMonitor {
    let mut monitor = AttackMonitor::new(AttackOptions::default(), [1, 2]);
    let mut rng = Rng::new(1, "test/attacks");
    for nth in 0..3 * 800 {
        let user = rng.below(200);
        let home = [10, 0, user as u8, 1].into();
        let attempt = login(nth * 3 * DAY_S / 2400, 1000 + user, home, Some(user));
        monitor.attempt(&attempt);
        let slip = rng.below(30) == 0;
        monitor.outcome(&attempt, if slip { Outcome::Failure } else { Outcome::Success }, rng.below(2) == 0);
        if nth % 20 == 0 {
            assert_eq!(monitor.assess(attempt.ts).level, ThreatLevel::None, "at {nth}");
        }
    }
    monitor
}

#[test]
fn five_hundred_addresses_at_one_account_raise_the_threat_before_the_twenty_fifth_attempt() {
    let mut monitor = site();
    let victim = AccountId::from_number(1007);
    let mut detected = None;
    for nth in 0..500 {
        let second = 3 * DAY_S + nth * 20;
        fail(&mut monitor, &login(second, 1007, bot(nth as u64), Some(nth as u64 + 5000)));
        let assessment = monitor.assess(at(second));
        if detected.is_none() && assessment.level >= ThreatLevel::High {
            assert!(assessment.risen);
            detected = Some(nth + 1);
        }
    }
    let end = at(3 * DAY_S + 10_000);

    println!("many networks at one account: detected at attempt {detected:?}");
    assert!(detected.is_some_and(|nth| nth < 25), "{detected:?}");
    let stranger = monitor.stance(end, bot(900), victim, None, false);
    assert!(stranger.step_up && stranger.reasons.contains(&Reason::AccountUnderAttack), "{stranger:?}");
    assert_eq!(monitor.stance(end, bot(900), victim, None, true), Stance::default(), "the owner at home");
    assert!(monitor.stance(end, bot(499), AccountId::from_number(1), None, false).retry_after_s.is_some());
    assert!(monitor.report(Period::Daily, end).high_events + monitor.report(Period::Daily, end).severe_events > 0);
}

#[test]
fn one_password_over_a_thousand_accounts_is_known_before_the_sixtieth_attempt_with_and_without_tags() {
    for tag in [Some(99), None] {
        let mut monitor = site();
        let mut detected = None;
        for nth in 0..1000 {
            let second = 3 * DAY_S + nth * 20;
            fail(&mut monitor, &login(second, 1000 + nth as u64, bot(nth as u64 % 40), tag));
            if detected.is_none() && monitor.assess(at(second)).level >= ThreatLevel::High {
                detected = Some(nth + 1);
            }
        }
        println!("one password over many accounts, tag {tag:?}: detected at attempt {detected:?}");
        assert!(detected.is_some_and(|nth| nth < 60), "tag {tag:?}: {detected:?}");
    }
}

#[test]
fn a_slow_slash_24_is_known_within_three_hours() {
    let mut monitor = site();
    let mut detected = None;
    for nth in 0..378 {
        let second = 3 * DAY_S + nth * 1000 / 35;
        let ip = [172, 16, 5, (nth % 35) as u8 + 1].into();
        fail(&mut monitor, &login(second, 1000 + nth as u64, ip, None));
        if monitor.assess(at(second)).level >= ThreatLevel::High && detected.is_none() {
            detected = Some(second - 3 * DAY_S);
        }
    }

    println!("a slow /24: detected after {detected:?} s");
    assert!(detected.is_some_and(|after| after < 3 * 3600), "{detected:?}");
    assert!(
        monitor
            .stance(at(3 * DAY_S + 10_800), [172, 16, 5, 200].into(), AccountId(1), None, false)
            .retry_after_s
            .is_some()
    );
}

#[test]
fn after_a_reset_only_what_comes_after_it_counts_on_every_node() {
    let (mut one, mut other) = (site(), site());
    let start = 3 * DAY_S;
    // Everything at once: many networks at one account, a spray, a spike, and a country.
    let attempt = |nth: i64| {
        let (user, tag) = if nth % 2 == 0 { (1007, nth as u64 + 5000) } else { (nth as u64, 7) };
        login(start + nth, user, bot(nth as u64), Some(tag))
    };
    for monitor in [&mut one, &mut other] {
        (0..300).for_each(|nth| fail(monitor, &attempt(nth)));
        let found = monitor.assess(at(start + 300));
        assert!(found.level == ThreatLevel::Severe && !found.findings.sprays.is_empty(), "{found:?}");
        assert!(found.findings.accounts.len() == 1 && found.findings.countries.len() == 1, "{found:?}");
    }
    let before = one.window(at(start + 300), 3600);

    one.reset_protection(at(start + 301));
    other.merge(one.protection(), at(start + 303));

    for monitor in [&mut one, &mut other] {
        // One failure more from a new network, and one of before that is told late.
        fail(monitor, &attempt(304));
        fail(monitor, &attempt(299));
        let found = monitor.assess(at(start + 305));
        assert_eq!((found.level, found.threat, found.signals.len()), (ThreatLevel::None, 0.0, 0), "{found:?}");
        assert!(found.findings.accounts.is_empty() && found.findings.sprays.is_empty(), "{found:?}");
        assert_eq!(monitor.stance(at(start + 305), bot(1), AccountId(1007), None, false), Stance::default());
        let hour = monitor.window(at(start + 305), 3600);
        assert_eq!((hour.attempts, hour.failures), (before.attempts + 2, before.failures + 2), "what is counted stays");
        // Hearing of it once more ends nothing, and an attack that goes on is one again.
        monitor.merge(&Protection::default(), at(start + 306));
        (310..338).for_each(|nth| fail(monitor, &attempt(nth)));
        let again = monitor.assess(at(start + 338));
        let counted = again.findings.accounts.first().map(|report| report.networks_hour);
        assert_eq!((again.level, counted), (ThreatLevel::High, Some(15)), "{again:?}");
    }
}

#[test]
fn a_spray_without_tags_is_known_before_the_sixtieth_attempt_also_an_hour_after_an_attack() {
    for (hours, attack) in [(26, false), (26, true), (80, true), (200, true)] {
        let mut monitor = AttackMonitor::new(AttackOptions::default(), [1, 2]);
        let mut rng = Rng::new(1, "test/attacks/young");
        for nth in 0..hours * 20 {
            let user = rng.below(200);
            let attempt = login(nth * 180, 1000 + user, [10, 0, user as u8, 1].into(), None);
            monitor.attempt(&attempt);
            monitor.outcome(&attempt, Outcome::Success, true);
            if attack && nth >= (hours - 1) * 20 {
                let first = (nth - (hours - 1) * 20) * 25;
                (first..first + 25)
                    .for_each(|bots| fail(&mut monitor, &login(nth * 180, 1007, bot(bots as u64), None)));
            }
            monitor.assess(attempt.ts);
        }
        // Half an hour of quiet, so that the account has been forgotten before the spray ends.
        let start = hours * 3600 + 3600;
        let spray = |nth: i64| login(start + nth * 20, 9000 + nth as u64, [192, 0, (nth % 40) as u8, 1].into(), None);
        monitor.assess(at(start));
        let detected = (0..1000).find(|&nth| {
            fail(&mut monitor, &spray(nth));
            let found = monitor.assess(at(start + nth * 20));
            found.signals.iter().any(|signal| signal.kind == SignalKind::Spike)
        });

        println!("{hours} h old, attacked an hour ago: {attack}: spike at attempt {detected:?}");
        assert!(detected.is_some_and(|nth| nth < 60), "{hours} hours, {attack}: {detected:?}");
    }
}

#[test]
fn what_a_node_keeps_over_a_restart_lets_the_threat_and_the_log_go_on() {
    let mut monitor = site();
    for nth in 0..300 {
        fail(&mut monitor, &login(3 * DAY_S + nth, 1007, bot(nth as u64), None));
    }
    let end = 3 * DAY_S + 300;
    let threat = monitor.assess(at(end)).threat;
    let written = serde_json::to_vec(&monitor.kept(at(end))).unwrap();
    let restarted = |after: i64| {
        let mut monitor = AttackMonitor::new(AttackOptions::default(), [3, 4]);
        monitor.restore(&serde_json::from_slice(&written).unwrap(), at(end + after));
        let found = monitor.assess(at(end + after));
        (found.threat, found.risen, monitor.report(Period::Daily, at(end + after)).event_count)
    };
    let events = monitor.report(Period::Daily, at(end)).event_count;

    assert!(threat >= 0.9, "{threat}");
    assert_eq!(restarted(5), (threat, false, events));
    assert_eq!(restarted(3 * 3600), (0.0, false, events), "it has fallen while nobody watched");

    // A reset that was kept also holds for what is counted again.
    monitor.reset_protection(at(end));
    let mut after = AttackMonitor::new(AttackOptions::default(), [3, 4]);
    after.restore(&monitor.kept(at(end + 1)), at(end + 1));
    for nth in 0..300 {
        fail(&mut after, &login(3 * DAY_S + nth, 1007, bot(nth as u64), None));
    }
    let found = after.assess(at(end + 2));
    assert_eq!((found.threat, found.findings.accounts.len()), (0.0, 0), "{found:?}");
}

#[test]
fn a_reset_of_an_account_makes_every_node_forget_what_came_before_it_also_what_is_told_late() {
    let victim = AccountId::from_number(1007);
    let (mut one, mut other) = (site(), site());
    let start = 3 * DAY_S;
    let failure = |nth: i64| login(start + nth, 1007, bot(nth as u64), None);
    for nth in 0..20 {
        fail(&mut one, &failure(nth));
        if nth != 19 {
            fail(&mut other, &failure(nth));
        }
    }
    let attacked = |monitor: &mut AttackMonitor, second: i64| {
        let found = monitor.assess(at(second)).findings.accounts;
        found.iter().any(|report| report.account == victim)
    };
    assert!(attacked(&mut one, start + 20) && attacked(&mut other, start + 20));

    one.reset_account(victim, at(start + 21));
    one.reset_protection(at(start + 22));
    other.merge(one.protection(), at(start + 23));
    // What the other had not heard of yet, and one more network after the reset.
    fail(&mut other, &failure(19));
    for monitor in [&mut one, &mut other] {
        fail(monitor, &failure(30));
        assert!(!attacked(monitor, start + 31));
        let report = monitor.account(victim, at(start + 31)).expect("one failure");
        assert_eq!((report.networks_hour, report.networks_day, report.failures_hour), (1, 1, 1));
        // Hearing of the reset once more forgets nothing of what came after it.
        monitor.merge(&other_protection(victim, start + 21), at(start + 32));
        assert_eq!(monitor.account(victim, at(start + 32)).map(|report| report.networks_hour), Some(1));
        // An attack that goes on is one again.
        (31..50).for_each(|nth| fail(monitor, &failure(nth)));
        assert!(attacked(monitor, start + 50));
    }
    // Bounded in time: after a day nothing of it is needed.
    one.assess(at(start + 22 + DAY_S));
    assert_eq!(one.protection().account_reset(victim), None);
}

/// What a node shares that knows of one reset only.
fn other_protection(account: AccountId, second: i64) -> Protection {
    let mut protection = Protection::default();
    protection.reset_account(account, at(second));
    protection
}

#[test]
fn an_attack_that_has_ended_leaves_nothing_in_force_an_hour_later_whatever_else_happens() {
    let mut monitor = site();
    for nth in 0..300 {
        fail(&mut monitor, &login(3 * DAY_S + nth, 1000 + nth as u64 % 3, bot(nth as u64), None));
    }
    assert!(monitor.assess(at(3 * DAY_S + 300)).settings.monitoring_mode);
    for nth in 0..800 {
        let second = 3 * DAY_S + 300 + nth * 9;
        let user = nth as u64 % 200;
        let attempt = login(second, 1000 + user, [10, 0, user as u8, 1].into(), None);
        monitor.attempt(&attempt);
        monitor.outcome(&attempt, Outcome::Success, true);
        monitor.assess(at(second));
    }
    let end = at(3 * DAY_S + 7500);
    let calm = monitor.assess(end);

    assert_eq!(
        (calm.level, calm.settings.monitoring_mode, calm.settings.captcha_enabled),
        (ThreatLevel::None, false, false)
    );
    assert!(monitor.protection().captcha_accounts(end, monitor.options()).is_empty());
}

#[test]
fn nodes_that_heard_the_same_in_another_order_judge_alike() {
    let mut rng = Rng::new(5, "test/attacks/order");
    let mut attempts: Vec<Attempt> = (0..600)
        .map(|_| login(rng.below(5000) as i64, rng.below(40), bot(rng.below(60)), Some(rng.below(9))))
        .collect();
    let told = |attempts: &[Attempt]| {
        let mut monitor = AttackMonitor::new(AttackOptions::default(), [1, 2]);
        attempts.iter().for_each(|attempt| fail(&mut monitor, attempt));
        let found = monitor.assess(at(5000));
        (found, monitor.history(at(5000)), monitor.protection().clone())
    };
    let one = told(&attempts);
    rng.shuffle(&mut attempts);

    assert!(!one.0.findings.accounts.is_empty() && !one.0.findings.sprays.is_empty());
    assert_eq!(one, told(&attempts));
}

#[test]
fn look_ups_and_attempts_without_a_definite_outcome_are_no_evidence() {
    let mut monitor = AttackMonitor::new(AttackOptions::default(), [1, 2]);
    for nth in 0..200 {
        let mut attempt = login(nth, 7, bot(nth as u64), None);
        monitor.outcome(&attempt, Outcome::Blocked, false);
        monitor.outcome(&attempt, Outcome::Unknown, false);
        attempt.no_auth = true;
        fail(&mut monitor, &attempt);
    }

    assert_eq!(monitor.stats(), MonitorStats::default());
    assert_eq!(monitor.assess(at(200)).threat, 0.0);
}

#[test]
fn an_account_is_written_as_sixteen_digits() {
    let id = AccountId::from_number(0xab);

    assert_eq!(id.to_string(), "00000000000000ab");
    assert_eq!(AccountId::parse(&id.to_string()), Some(id));
    assert_eq!(serde_json::from_str::<AccountId>("\"00000000000000ab\"").unwrap(), id);
    for text in ["", "ab", "+0000000000000ab", "00000000000000abc", "zzzzzzzzzzzzzzzz"] {
        assert_eq!(AccountId::parse(text), None, "{text}");
    }
}
