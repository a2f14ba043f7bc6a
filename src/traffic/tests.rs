//! What the traffic as a whole must look like: the records, not the way they were made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use super::*;

/// A week of 500 people, hard, 30 % attacks: about 45 000 attempts.
static WEEK: LazyLock<Vec<AttemptRecord>> = LazyLock::new(|| generate(&options()));

fn options() -> TrafficOptions {
    TrafficOptions { seed: 7, days: 7.0, users: 500, attack_share: 0.3, ..TrafficOptions::default() }
}

fn small() -> TrafficOptions {
    TrafficOptions { seed: 3, days: 2.0, users: 60, ..TrafficOptions::default() }
}

fn is_attack(record: &AttemptRecord) -> bool {
    record.label.as_deref() == Some("attack")
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().expect("always set")
}

fn at(record: &AttemptRecord) -> f64 {
    Timestamp::parse(text(&record.ts)).expect("RFC 3339").millis() as f64 / 1000.0
}

fn ip(record: &AttemptRecord) -> IpAddr {
    text(&record.client_ip).parse().expect("an address")
}

fn share(records: &[AttemptRecord]) -> f64 {
    records.iter().filter(|record| is_attack(record)).count() as f64 / records.len() as f64
}

/// The /16 of an IPv4 address, the /48 of an IPv6 address.
fn wide(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => format!("{}.{}", v4.octets()[0], v4.octets()[1]),
        IpAddr::V6(v6) => format!("{:x}:{:x}:{:x}", v6.segments()[0], v6.segments()[1], v6.segments()[2]),
    }
}

/// The campaigns of a scenario, each in order of time.
fn campaigns(scenario: Scenario) -> Vec<Vec<&'static AttemptRecord>> {
    let mut found: BTreeMap<&str, Vec<&AttemptRecord>> = BTreeMap::new();
    for record in WEEK.iter().filter(|record| is_attack(record) && text(&record.scenario) == scenario.name()) {
        found.entry(text(&record.campaign)).or_default().push(record);
    }
    assert!(!found.is_empty(), "no campaign of {scenario}");
    found.into_values().collect()
}

fn habit(habit: Habit) -> Vec<&'static AttemptRecord> {
    let found: Vec<_> =
        WEEK.iter().filter(|record| !is_attack(record) && text(&record.scenario) == habit.name()).collect();
    assert!(!found.is_empty(), "nothing of {}", habit.name());
    found
}

fn gaps(records: &[&AttemptRecord]) -> Vec<f64> {
    records.windows(2).map(|pair| at(pair[1]) - at(pair[0])).collect()
}

fn count<T: Ord>(records: &[&AttemptRecord], key: impl Fn(&AttemptRecord) -> T) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(key(record)).or_default() += 1;
    }
    counts
}

fn per_address(records: &[&AttemptRecord]) -> BTreeMap<IpAddr, usize> {
    count(records, ip)
}

fn per_name(records: &[&AttemptRecord]) -> BTreeMap<String, usize> {
    count(records, |record| text(&record.username).to_string())
}

#[test]
fn the_same_options_give_the_same_records_and_another_seed_gives_others() {
    let once = generate(&small());

    assert!(once == generate(&small()));
    assert!(once != generate(&TrafficOptions { seed: 4, ..small() }));
}

#[test]
fn records_are_sorted_and_lie_in_the_period() {
    let start = options().start.millis() as f64 / 1000.0;
    let times: Vec<f64> = WEEK.iter().map(at).collect();

    assert!(times.is_sorted());
    assert!(times[0] >= start && times[times.len() - 1] < start + 7.0 * 86_400.0);
}

#[test]
fn every_record_is_complete_and_request_ids_are_unique() {
    let mut ids = BTreeSet::new();
    for record in WEEK.iter() {
        ip(record);
        assert!(record.success.is_some() && record.user_found.is_some() && record.country.is_some());
        assert!(["imap", "pop3", "smtp"].contains(&text(&record.protocol)));
        let tag = text(&record.password_hash);
        assert!(tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(ids.insert(text(&record.request_id)), "twice the same request id");
        assert!(record.success == Some(false) || record.user_found == Some(true), "a success without an account");
        assert_eq!(record.campaign.is_some(), is_attack(record));
        assert!(["attack", "legit"].contains(&text(&record.label)));
    }
}

#[test]
fn request_ids_can_be_left_out() {
    let records = generate(&TrafficOptions { request_ids: false, ..small() });

    assert!(records.iter().all(|record| record.request_id.is_none()));
}

#[test]
fn the_share_of_attacks_is_the_one_asked_for() {
    assert!(WEEK.len() > 20_000, "{}", WEEK.len());
    assert!((share(&WEEK) - 0.3).abs() < 0.01, "{}", share(&WEEK));
    for wanted in [0.0, 0.01, 0.43, 0.95] {
        let records = generate(&TrafficOptions { attack_share: wanted, ..small() });
        assert!((share(&records) - wanted).abs() <= 0.1 * wanted + 0.001, "{wanted}: {}", share(&records));
    }
}

#[test]
fn a_single_scenario_makes_up_the_whole_share() {
    for scenario in Scenario::ALL {
        let records = generate(&TrafficOptions { scenarios: vec![scenario; 2], ..small() });
        let mut attacks = records.iter().filter(|record| is_attack(record)).peekable();

        assert!(attacks.peek().is_some());
        assert!(attacks.all(|record| text(&record.scenario) == scenario.name()));
        assert!((share(&records) - 0.15).abs() < 0.02, "{scenario}: {}", share(&records));
    }
}

#[test]
fn nonsense_gives_nothing_rather_than_a_panic() {
    for odd in [
        TrafficOptions { users: 0, ..small() },
        TrafficOptions { days: 0.0, ..small() },
        TrafficOptions { days: f64::NAN, ..small() },
        TrafficOptions { mean_logins_per_user_day: f64::NAN, users: 3, days: 0.01, ..small() },
        TrafficOptions { days: f64::INFINITY, users: 0, ..small() },
        TrafficOptions { mean_logins_per_user_day: f64::INFINITY, users: 1, days: 0.001, ..small() },
    ] {
        let records = generate(&odd);
        assert!(records.len() < 100, "{}", records.len());
    }
    let none = generate(&TrafficOptions { scenarios: Vec::new(), ..small() });
    assert!(!none.is_empty() && none.iter().all(|record| !is_attack(record)));
    let peaceful = generate(&TrafficOptions { attack_share: f64::NAN, ..small() });
    assert!(peaceful.iter().all(|record| !is_attack(record)));
}

#[test]
fn more_people_do_not_change_what_the_others_do() {
    let legit = |users| {
        let records = generate(&TrafficOptions { users, attack_share: 0.0, ..small() });
        records.into_iter().map(|record| format!("{record:?}")).collect::<BTreeSet<_>>()
    };

    assert!(legit(40).is_subset(&legit(60)));
}

#[test]
fn legitimate_failures_are_few_and_the_number_of_logins_is_the_one_asked_for() {
    let legit: Vec<_> = WEEK.iter().filter(|record| !is_attack(record)).collect();
    let failed = legit.iter().filter(|record| record.success == Some(false)).count() as f64 / legit.len() as f64;
    let per_day = legit.len() as f64 / 500.0 / 7.0;

    assert!((0.04..0.18).contains(&failed), "{failed}");
    assert!((6.0..13.0).contains(&per_day), "{per_day}");
}

#[test]
fn every_habit_occurs_with_its_shape() {
    for name in Habit::ALL {
        habit(name);
    }
    let failures = |records: Vec<&'static AttemptRecord>| -> f64 {
        records.iter().filter(|record| record.success == Some(false)).count() as f64 / records.len() as f64
    };
    assert_eq!(failures(habit(Habit::Regular)), 0.0);
    assert_eq!(failures(habit(Habit::NatOffice)), 0.0);
    assert_eq!(failures(habit(Habit::StaleClient)), 1.0);
    assert_eq!(failures(habit(Habit::DeadDevice)), 1.0);
    assert!((0.2..0.8).contains(&failures(habit(Habit::Typo))));
    assert!(failures(habit(Habit::Forgotten)) > 0.8);
    assert!(habit(Habit::MistypedName).iter().any(|record| record.user_found == Some(false)));
}

#[test]
fn a_stale_client_repeats_one_password_every_minute_to_quarter_of_an_hour() {
    let stale = habit(Habit::StaleClient);
    let name = text(&stale[0].username);
    let own: Vec<_> = stale.iter().copied().filter(|record| text(&record.username) == name).collect();

    assert!(count(&own, |record| text(&record.password_hash).to_string()).len() <= 2, "a tag per change");
    let mut gaps = gaps(&own);
    gaps.sort_by(f64::total_cmp);
    assert!((55.0..960.0).contains(&gaps[gaps.len() / 2]), "{}", gaps[gaps.len() / 2]);
}

#[test]
fn a_forgotten_password_is_guessed_differently_every_time() {
    let wrong: Vec<_> = habit(Habit::Forgotten).into_iter().filter(|record| record.success == Some(false)).collect();

    let tags = count(&wrong, |record| text(&record.password_hash).to_string());
    assert_eq!(tags.len(), wrong.len());
}

#[test]
fn offices_are_shared_by_many() {
    let names_by_address = habit(Habit::NatOffice).iter().fold(BTreeMap::new(), |mut map, record| {
        map.entry(ip(record)).or_insert_with(BTreeSet::new).insert(text(&record.username));
        map
    });

    assert!(names_by_address.values().any(|names| names.len() >= 20));
}

#[test]
fn a_burst_comes_from_one_address_every_one_to_four_seconds() {
    for campaign in campaigns(Scenario::Burst) {
        assert_eq!(per_address(&campaign).len(), 1);
        assert!(gaps(&campaign).iter().all(|gap| (0.99..4.01).contains(gap)));
    }
}

#[test]
fn a_dictionary_goes_through_many_names_from_one_address() {
    for campaign in campaigns(Scenario::Dictionary) {
        assert_eq!(per_address(&campaign).len(), 1);
        assert!(per_name(&campaign).len() >= 60.min(campaign.len()));
    }
}

#[test]
fn a_slow_attacker_stays_slow() {
    for campaign in campaigns(Scenario::SlowSingle) {
        assert_eq!(per_address(&campaign).len(), 1);
        assert!(gaps(&campaign).iter().all(|gap| (599.0..3901.0).contains(gap)));
    }
}

#[test]
fn a_ban_evader_comes_back_after_the_ban() {
    for campaign in campaigns(Scenario::BanEvader) {
        assert_eq!(per_address(&campaign).len(), 1);
        assert!(gaps(&campaign).iter().all(|gap| (18.9..21.1).contains(gap) || (579.0..641.0).contains(gap)));
    }
}

#[test]
fn a_botnet_attacks_one_account_with_few_tries_per_address() {
    for campaign in campaigns(Scenario::BotnetOne) {
        assert_eq!(per_name(&campaign).len(), 1);
        let addresses = per_address(&campaign);
        // Carrier NAT addresses may stand for several bots.
        let busy = addresses.iter().filter(|(ip, tries)| **tries > 8 && !wide(**ip).starts_with("100.")).count();
        assert_eq!(busy, 0);
        assert!(campaign.len() < 10 || addresses.len() * 5 > campaign.len());
    }
}

#[test]
fn a_spray_tries_few_passwords_on_many_names() {
    for campaign in campaigns(Scenario::Spray) {
        let passwords = count(&campaign, |record| text(&record.password_hash).to_string()).len();
        assert!(passwords <= 3, "{passwords}");
        assert!(per_name(&campaign).values().all(|&tries| tries <= 3));
        assert!(per_name(&campaign).len() * 3 >= campaign.len());
    }
}

#[test]
fn stuffing_tries_every_name_once_with_a_password_of_its_own() {
    for campaign in campaigns(Scenario::Stuffing) {
        assert!(per_name(&campaign).values().all(|&tries| tries == 1));
        assert_eq!(count(&campaign, |record| text(&record.password_hash).to_string()).len(), campaign.len());
    }
}

#[test]
fn a_slow_spray_tries_each_name_once_and_no_address_more_than_about_every_thousand_seconds() {
    for campaign in campaigns(Scenario::SlowSpray24) {
        assert!(per_name(&campaign).values().all(|&tries| tries == 1));
        let networks = count(&campaign, |record| crate::detection::attempt::client_network(ip(record)));
        assert_eq!(networks.len(), 1, "one /24");
        assert!(per_address(&campaign).len() <= 35);
        let last = campaign.iter().fold(BTreeMap::new(), |mut last: BTreeMap<IpAddr, f64>, record| {
            if let Some(before) = last.insert(ip(record), at(record)) {
                assert!((799.0..1201.0).contains(&(at(record) - before)));
            }
            last
        });
        assert!(campaign.len() < 35 || last.len() == 35);
    }
}

#[test]
fn role_accounts_are_tried_from_many_networks_once_each() {
    for campaign in campaigns(Scenario::RoleAccounts) {
        let addresses = per_address(&campaign);
        let once = addresses.values().filter(|&&tries| tries == 1).count();
        assert!(once * 10 >= addresses.len() * 7 || addresses.len() < 30);
        assert!(per_name(&campaign).len() <= 24);
    }
}

#[test]
fn an_insider_shares_the_address_of_users_who_succeed() {
    let friendly: BTreeSet<IpAddr> =
        WEEK.iter().filter(|record| !is_attack(record) && record.success == Some(true)).map(ip).collect();

    for campaign in campaigns(Scenario::NatInsider) {
        assert!(per_address(&campaign).keys().all(|ip| friendly.contains(ip)));
    }
}

#[test]
fn in_the_hard_profile_networks_do_not_tell_who_is_an_attacker() {
    let legit: BTreeSet<String> = WEEK.iter().filter(|record| !is_attack(record)).map(|r| wide(ip(r))).collect();
    let attacks: Vec<_> = WEEK.iter().filter(|record| is_attack(record)).collect();
    let shared = attacks.iter().filter(|record| legit.contains(&wide(ip(record)))).count();

    assert!(shared as f64 > 0.5 * attacks.len() as f64, "{shared} of {}", attacks.len());
    let systems = |attack| -> BTreeSet<String> {
        WEEK.iter().filter(|r| is_attack(r) == attack).map(|r| format!("{:?}", r.asn)).collect()
    };
    assert!(systems(true).is_subset(&systems(false)), "a system that only attackers use would give them away");
    let countries: BTreeSet<&str> = WEEK.iter().filter(|r| !is_attack(r)).map(|r| text(&r.country)).collect();
    assert!(countries.len() > 5, "{countries:?}");
}

#[test]
fn in_the_easy_profile_attackers_live_elsewhere() {
    let records = generate(&TrafficOptions { profile: Profile::Easy, ..small() });
    let at_home: BTreeSet<String> = records
        .iter()
        .filter(|record| !is_attack(record) && text(&record.scenario) != Habit::Trip.name())
        .map(|record| wide(ip(record)))
        .collect();

    let attacks = || records.iter().filter(|r| is_attack(r) && text(&r.scenario) != Scenario::NatInsider.name());
    assert!(attacks().count() > 0);
    assert!(attacks().all(|record| !at_home.contains(&wide(ip(record)))));
}

#[test]
fn passwords_overlap_between_attackers_and_attacks_rarely_succeed() {
    let attacks: Vec<_> = WEEK.iter().filter(|record| is_attack(record)).collect();
    let hits = attacks.iter().filter(|record| record.success == Some(true)).count() as f64 / attacks.len() as f64;
    assert!(hits < 0.03, "{hits}");

    let users_by_tag = attacks.iter().fold(BTreeMap::new(), |mut map: BTreeMap<&str, BTreeSet<&str>>, record| {
        map.entry(text(&record.password_hash)).or_default().insert(text(&record.username));
        map
    });
    assert!(users_by_tag.values().any(|users| users.len() > 50));
}
