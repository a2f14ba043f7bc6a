//! Campaigns from many addresses, each of which does little: botnets, sprays, stuffing, and a shared /24.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Campaign, Guess, ROLE_NAMES, Victim};
use crate::detection::attempt::client_network;
use crate::traffic::legit::millis;
use crate::traffic::networks;
use crate::traffic::passwords::Password;
use crate::traffic::sampling::{Zipf, between, chance, exponential, index, log_between, pick, weighted, whole};
use crate::traffic::scenario::Profile;
use crate::traffic::site::HOUR_MS;

/// Botnet on one account: addresses (10–500 assumed; published cases and the hard profile lie in between), tries per
/// address (published: 1–4) and mean seconds between tries of the whole botnet (published: minutes; range assumed).
const BOTNET_ADDRESSES_EASY: (f64, f64) = (10.0, 500.0);
const BOTNET_ADDRESSES_HARD: (f64, f64) = (60.0, 350.0);
const BOTNET_TRIES: [f64; 4] = [0.5, 0.25, 0.15, 0.1];
const BOTNET_GAP_S: (f64, f64) = (20.0, 300.0);
/// Botnets that attack an account while one of its own devices is in a stale loop (assumed; the mixed case).
const BOTNET_DURING_STALE: f64 = 0.25;

/// Role accounts: networks (measured: more than 200), addresses with one try (measured: 87 %), popularity of the names
/// (measured: up to 38 addresses on one), mean seconds between tries of the whole campaign (assumed).
const ROLE_NETWORKS: (u64, u64) = (200, 400);
const ROLE_ONE_TRY: f64 = 0.87;
const ROLE_EXPONENT: f64 = 0.8;
const ROLE_GAP_S: (f64, f64) = (200.0, 2000.0);

/// Spray: passwords, names, hours per password, addresses (all assumed), share of valid names (assumed; sprayers have
/// lists), how popular the passwords are.
const SPRAY_PASSWORDS: (u64, u64) = (1, 3);
const SPRAY_NAMES: (f64, f64) = (100.0, 1000.0);
const SPRAY_VALID: (f64, f64) = (0.7, 0.98);
const SPRAY_ROUND_H: (f64, f64) = (0.5, 24.0);
const SPRAY_ADDRESSES_EASY: (u64, u64) = (1, 5);
const SPRAY_ADDRESSES_HARD: (u64, u64) = (5, 80);
const SPRAY_TOP: u64 = 30;

/// Stuffing: pairs, share of valid names, hit rate among them (0.1–2 % assumed; no figure could be verified), mean
/// seconds between tries (assumed), endpoints in the easy profile (published: hundreds of tries each), and the chance
/// that a try comes from a new address in the hard one (two tries per address, assumed).
const STUFFING_PAIRS: (f64, f64) = (150.0, 4000.0);
const STUFFING_VALID: (f64, f64) = (0.3, 0.7);
const STUFFING_HITS: (f64, f64) = (0.001, 0.02);
const STUFFING_GAP_S: (f64, f64) = (2.0, 20.0);
const STUFFING_ENDPOINTS_EASY: usize = 10;
const STUFFING_NEW_ADDRESS: f64 = 0.5;

/// Slow spray from one /24: addresses, seconds between tries of one address, names, share of valid names. That such
/// campaigns exist is known from practice; every number is assumed.
const SLASH24_ADDRESSES: usize = 35;
const SLASH24_GAP_S: f64 = 1000.0;
const SLASH24_NAMES: (f64, f64) = (400.0, 6000.0);
const SLASH24_VALID: f64 = 0.6;

/// Many addresses guess at one account.
pub(super) fn botnet_one(campaign: &mut Campaign<'_>) {
    let site = campaign.site;
    let mut person = campaign.person();
    if site.profile == Profile::Hard && chance(&mut campaign.rng, BOTNET_DURING_STALE) {
        let stale: Vec<_> = site
            .people
            .iter()
            .flat_map(|person| {
                person.changes.iter().filter(|change| change.stale.is_some()).map(move |c| (person, c.at))
            })
            .collect();
        if !stale.is_empty() {
            let &(owner, at) = pick(&mut campaign.rng, &stale);
            person = owner;
            campaign.start = at;
        }
    }
    let (low, high) = match site.profile {
        Profile::Easy => BOTNET_ADDRESSES_EASY,
        Profile::Hard => BOTNET_ADDRESSES_HARD,
    };
    let addresses = log_between(&mut campaign.rng, low, high) as usize;
    let mut tries: Vec<IpAddr> = Vec::new();
    for _ in 0..addresses {
        let ip = campaign.bot();
        let count = 1 + weighted(&mut campaign.rng, &BOTNET_TRIES);
        tries.extend(std::iter::repeat_n(ip, count));
    }
    campaign.rng.shuffle(&mut tries);
    let gap = log_between(&mut campaign.rng, BOTNET_GAP_S.0, BOTNET_GAP_S.1) * campaign.patience;
    let victim = Victim::Person(person);
    let mut at = campaign.start;
    for (turn, ip) in tries.into_iter().enumerate() {
        let password = campaign.password(turn as u64);
        if campaign.attempt(at, ip, &victim, password) != Guess::Wrong {
            return;
        }
        at += millis(exponential(&mut campaign.rng, gap));
    }
}

/// Hundreds of networks knock once each at names that exist everywhere.
pub(super) fn role_accounts(campaign: &mut Campaign<'_>) {
    let wanted = whole(&mut campaign.rng, ROLE_NETWORKS.0, ROLE_NETWORKS.1);
    let mut seen = BTreeSet::new();
    let mut tries: Vec<IpAddr> = Vec::new();
    for _ in 0..wanted {
        let ip = campaign.bot();
        // A second address of a network that had its turn is left out.
        if seen.insert(client_network(ip)) {
            let once = chance(&mut campaign.rng, ROLE_ONE_TRY);
            let count = if once { 1 } else { whole(&mut campaign.rng, 2, 4) };
            tries.extend((0..count).map(|_| ip));
        }
    }
    campaign.rng.shuffle(&mut tries);
    let popularity = Zipf::new(ROLE_NAMES.len(), ROLE_EXPONENT);
    let gap = log_between(&mut campaign.rng, ROLE_GAP_S.0, ROLE_GAP_S.1);
    let mut at = campaign.start;
    for ip in tries {
        let which = popularity.draw(&mut campaign.rng) as usize;
        let victim = campaign.role(which);
        let password = campaign.site.passwords.common(&mut campaign.rng);
        if campaign.attempt(at, ip, &victim, password) == Guess::Over {
            return;
        }
        at += millis(exponential(&mut campaign.rng, gap));
    }
}

/// A few popular passwords, one after the other, against many names.
pub(super) fn spray(campaign: &mut Campaign<'_>) {
    let site = campaign.site;
    let passwords = whole(&mut campaign.rng, SPRAY_PASSWORDS.0, SPRAY_PASSWORDS.1);
    let valid = between(&mut campaign.rng, SPRAY_VALID.0, SPRAY_VALID.1);
    let wanted = log_between(&mut campaign.rng, SPRAY_NAMES.0, SPRAY_NAMES.1) as usize;
    // Not more names than keep the share of valid ones.
    let most = ((site.people.len() as f64 / valid) as usize).max(1);
    let victims = campaign.names(wanted.min(most), valid);
    let (low, high) = match site.profile {
        Profile::Easy => SPRAY_ADDRESSES_EASY,
        Profile::Hard => SPRAY_ADDRESSES_HARD,
    };
    let bots: Vec<IpAddr> = (0..whole(&mut campaign.rng, low, high)).map(|_| campaign.bot()).collect();
    let round_h = log_between(&mut campaign.rng, SPRAY_ROUND_H.0, SPRAY_ROUND_H.1);
    let gap_s = round_h * HOUR_MS as f64 / 1000.0 / victims.len() as f64;
    let top = campaign.rng.below(SPRAY_TOP);
    let mut at = campaign.start;
    for password in 0..passwords {
        for victim in &victims {
            let ip = *pick(&mut campaign.rng, &bots);
            if campaign.attempt(at, ip, victim, Password::Common { rank: top + password }) == Guess::Over {
                return;
            }
            at += millis(gap_s * between(&mut campaign.rng, 0.5, 1.5));
        }
    }
}

/// Pairs from a leak: every name once, every password once.
pub(super) fn stuffing(campaign: &mut Campaign<'_>) {
    let site = campaign.site;
    let pairs = log_between(&mut campaign.rng, STUFFING_PAIRS.0, STUFFING_PAIRS.1) as usize;
    let valid = between(&mut campaign.rng, STUFFING_VALID.0, STUFFING_VALID.1);
    let most = ((site.people.len() as f64 / valid) as usize).max(1);
    let victims = campaign.names(pairs.min(most), valid);
    let hits = log_between(&mut campaign.rng, STUFFING_HITS.0, STUFFING_HITS.1);
    let gap = log_between(&mut campaign.rng, STUFFING_GAP_S.0, STUFFING_GAP_S.1) * campaign.patience;
    let endpoints: Vec<IpAddr> = (0..STUFFING_ENDPOINTS_EASY).map(|_| campaign.bot()).collect();
    let mut ip = endpoints[0];
    let mut at = campaign.start;
    for (which, victim) in victims.iter().enumerate() {
        match site.profile {
            Profile::Easy => ip = endpoints[index(&mut campaign.rng, endpoints.len())],
            Profile::Hard if chance(&mut campaign.rng, STUFFING_NEW_ADDRESS) => ip = campaign.bot(),
            Profile::Hard => {}
        }
        let reused = chance(&mut campaign.rng, hits);
        let password = match victim {
            Victim::Person(person) if reused => person.password(at),
            _ => Password::Leaked { campaign: campaign.number, which: which as u64 },
        };
        if campaign.attempt(at, ip, victim, password) == Guess::Over {
            return;
        }
        at += millis(exponential(&mut campaign.rng, gap));
    }
}

/// A whole /24, every name once, no single address conspicuous.
pub(super) fn slow_spray_24(campaign: &mut Campaign<'_>) {
    // An IPv6 customer has no /24: then rented servers do it.
    let base = match campaign.bot() {
        IpAddr::V6(_) => networks::hosting(&mut campaign.rng),
        v4 => v4,
    };
    let mut hosts: Vec<u8> = (1..=254).collect();
    campaign.rng.shuffle(&mut hosts);
    let mut machines: Vec<(i64, IpAddr)> = hosts
        .into_iter()
        .take(SLASH24_ADDRESSES)
        .map(|host| {
            let first = campaign.start + millis(SLASH24_GAP_S * campaign.rng.uniform());
            (first, networks::neighbour(base, host))
        })
        .collect();
    // The campaign begins with its first attempt, whatever the period.
    let first = machines.iter().map(|&(at, _)| at).min().unwrap_or(campaign.start);
    machines.iter_mut().for_each(|machine| machine.0 -= first - campaign.start);
    let count = log_between(&mut campaign.rng, SLASH24_NAMES.0, SLASH24_NAMES.1) as usize;
    for victim in campaign.names(count, SLASH24_VALID) {
        let next = machines.iter_mut().min_by_key(|machine| machine.0).expect("35 machines");
        let (at, ip) = *next;
        next.0 += millis(SLASH24_GAP_S * between(&mut campaign.rng, 0.8, 1.2));
        let password = campaign.password(at as u64 % 50);
        if campaign.attempt(at, ip, &victim, password) == Guess::Over {
            return;
        }
    }
}
