//! Measures: who is asked for what, until when, and what two nodes make of it.

use super::*;
use crate::detection::attacks::threat::SignalKind;
use crate::numeric::Rng;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
}

fn account(number: u64) -> AccountId {
    AccountId::from_number(number)
}

fn ip(last: u8) -> IpAddr {
    [10, 0, last, 7].into()
}

fn country() -> Region {
    Region::from_code("BR").unwrap()
}

fn stance(protection: &Protection, seconds: i64, known_good: bool) -> Stance {
    protection.stance(at(seconds), ip(1), account(1), Some(country()), known_good, &AttackOptions::default())
}

fn everything(seconds: i64) -> Protection {
    let mut protection = Protection::default();
    protection.protect_site(at(seconds));
    protection.protect_account(account(1), at(seconds));
    protection.limit(ip(1), at(seconds));
    protection.block_region(country(), at(seconds));
    protection
}

#[test]
fn strangers_meet_every_measure_and_the_owner_at_home_none() {
    let asked = stance(&everything(0), 10, false);

    assert!(asked.step_up && asked.block);
    assert_eq!((asked.retry_after_s, asked.threshold_cap), (Some(60), Some(0.5)));
    let all = [Reason::AccountUnderAttack, Reason::SiteUnderAttack, Reason::BlockedRegion, Reason::RateLimited];
    assert_eq!(asked.reasons, all);
    assert_eq!(stance(&everything(0), 10, true), Stance::default());
    assert_eq!(stance(&Protection::default(), 10, false), Stance::default());
}

#[test]
fn a_measure_ends_an_hour_after_its_evidence_however_often_it_is_looked_at() {
    let options = AttackOptions::default();
    let mut protection = everything(0);
    for second in 0..3600 {
        protection.expire(at(second), &options);
        assert!(stance(&protection, second, false).block, "{second}");
    }
    assert_eq!(stance(&protection, 3600, false), Stance::default());
    protection.expire(at(3600), &options);
    assert_eq!(protection, Protection::default());
}

#[test]
fn old_evidence_told_again_prolongs_nothing_and_new_evidence_does() {
    let mut protection = everything(0);
    protection.protect_account(account(1), at(0));
    protection.protect_account(account(1), at(-500));
    assert!(!stance(&protection, 3600, false).step_up);

    protection.protect_account(account(1), at(1800));
    assert!(stance(&protection, 5399, false).step_up && !stance(&protection, 5400, false).step_up);
}

#[test]
fn a_reset_ends_everything_and_only_later_events_bring_it_back() {
    let options = AttackOptions::default();
    let mut protection = everything(0);
    protection.reset_protection(at(100));
    assert_eq!(stance(&protection, 101, false), Stance::default());

    protection.merge(&everything(50), at(101), &options);
    assert_eq!(stance(&protection, 101, false), Stance::default(), "a node that has not heard of the reset");
    protection.merge(&everything(110), at(111), &options);
    assert!(stance(&protection, 111, false).block);
}

#[test]
fn resetting_an_account_leaves_the_rest() {
    let options = AttackOptions::default();
    let mut protection = everything(0);
    protection.reset_account(account(1), at(100));
    protection.merge(&everything(90), at(101), &options);

    let asked = stance(&protection, 101, false);
    assert!(!asked.reasons.contains(&Reason::AccountUnderAttack) && asked.block);
    protection.protect_account(account(1), at(200));
    assert!(protection.account_protected(account(1), at(201), &options));
}

#[test]
fn a_blocked_part_of_a_country_leaves_the_rest_of_it_alone_and_survives_storage() {
    let options = AttackOptions::default();
    let region = |code| Region::from_code(code).unwrap();
    let mut other = Protection::default();
    other.block_region(region("DE-HB"), at(0));
    other.block_region(region("BR"), at(0));
    let stored: Protection = serde_json::from_str(&serde_json::to_string(&other).unwrap()).unwrap();
    let mut protection = Protection::default();
    protection.merge(&stored, at(1), &options);

    let blocked = |code, second| {
        let stance = protection.stance(at(second), ip(1), account(1), Some(region(code)), false, &options);
        stance.block
    };
    let asked = ["DE-HB", "DE-BY", "DE", "BR", "BR-SP"].map(|code| blocked(code, 10));
    assert_eq!(asked, [true, false, false, true, true]);
    let shown: Vec<String> = protection.blocked_regions(at(10), &options).iter().map(Region::to_string).collect();
    assert_eq!(shown, ["BR", "DE-HB"]);
    assert!(!blocked("DE-HB", 3600), "it ends");
    // As it was stored before there were parts.
    let old: Protection = serde_json::from_str(r#"{"regions":{"16978":1767571200000}}"#).unwrap();
    assert!(old.region_blocked(region("BR"), at(10), &options));
}

#[test]
fn what_the_signals_ask_for_follows_their_level() {
    let options = AttackOptions::default();
    let of = |threat| {
        let mut protection = Protection::default();
        let signal = Signal { kind: SignalKind::Spike, threat, evidence_ms: at(0).millis() };
        protection.update(&[signal], &Findings::default(), |_| false, at(1), &options);
        let settings = protection.settings(at(1), &options);
        (settings.monitoring_mode, settings.captcha_enabled, settings.ml_threshold)
    };

    assert_eq!([of(0.4), of(0.5), of(0.8)], [(false, false, None), (true, false, None), (true, false, None)]);
    assert_eq!(of(0.9), (true, true, Some(0.5)));
}

fn random(rng: &mut Rng) -> Protection {
    let mut protection = Protection::default();
    for _ in 0..rng.below(40) {
        let when = at(rng.below(5000) as i64);
        match rng.below(12) {
            0 => protection.reset_protection(when),
            1 => protection.reset_account(account(rng.below(5)), when),
            2 => protection.protect_site(when),
            3 => protection.monitor(when),
            4 => protection
                .block_region(Region::from_code(["BR", "BR-SP", "DE-BY"][rng.below(3) as usize]).unwrap(), when),
            5..8 => protection.limit(ip(rng.below(20) as u8), when),
            _ => protection.protect_account(account(rng.below(20)), when),
        }
    }
    protection
}

#[test]
fn merging_commutes_and_repeats_without_effect_even_over_the_caps_and_is_associative_below_them() {
    let options = AttackOptions::default();
    let small = AttackOptions { limited_ips_max: 4, captcha_accounts_max: 4, ..AttackOptions::default() };
    let mut rng = Rng::new(1, "test/protection");
    let merged = |a: &Protection, b: &Protection, options| {
        let mut sum = a.clone();
        sum.merge(b, at(5000), options);
        sum
    };
    for _ in 0..300 {
        let (a, b, c) = (random(&mut rng), random(&mut rng), random(&mut rng));
        for options in [&options, &small] {
            let both = merged(&a, &b, options);
            assert_eq!(both, merged(&b, &a, options));
            assert_eq!(merged(&both, &b, options), both);
        }
        let left = merged(&merged(&a, &b, &options), &c, &options);
        assert_eq!(left, merged(&a, &merged(&b, &c, &options), &options));
    }
}

#[test]
fn the_state_survives_storage_and_foreign_nonsense_is_bounded() {
    let options = AttackOptions::default();
    let mut one = everything(0);
    one.reset_account(account(9), at(0));
    let stored: Protection = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
    assert_eq!(stored, one);

    let mut foreign = everything(90_000);
    foreign.reset_protection(at(90_000));
    (0..10_000).for_each(|nth| foreign.protect_account(account(nth), at(10)));
    (0..10_000).for_each(|nth| foreign.protect_account(account(nth), at(90_000)));
    one.merge(&foreign, at(20), &options);
    assert_eq!(one.captcha_accounts(at(20), &options).len(), 1, "times in the future are refused");
    assert!(stance(&one, 20, false).block, "and so is a reset in the future");
    assert!(serde_json::from_str::<Protection>(r#"{"accounts":{"zz":1}}"#).is_err());
}

#[test]
fn the_lists_for_people_hold_what_is_in_force() {
    let options = AttackOptions::default();
    let protection = everything(0);

    assert_eq!(protection.blocked_regions(at(60), &options), [country()]);
    assert_eq!(protection.rate_limited_ips(at(60), &options), [(IpAddr::from([10, 0, 1, 0]), 3540)]);
    assert_eq!(protection.captcha_accounts(at(60), &options), [account(1)]);
    assert!(protection.rate_limited_ips(at(3600), &options).is_empty());
}
