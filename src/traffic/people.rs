//! One account and its owner: name, devices, home, habits, and when the password changes.
//!
//! Everything follows from the seed and the person's number alone, so more people do not change the others. What a
//! person does from day to day stands in `legit.rs`.

use std::net::IpAddr;

use super::networks;
use super::passwords::{Password, Passwords, Tag};
use super::sampling::{beta, between, chance, exponential, index, log_between, lognormal, pick, poisson, whole};
use super::scenario::Profile;
use super::site::{DAY_MS, HOUR_MS, Window};
use crate::numeric::Rng;

/// Spread of the activity between people (assumed).
const ACTIVITY_SIGMA: f64 = 0.6;

/// Typing errors: beta-binomial (published for SSH users). Shape assumed, so that with the other hard cases 3–13 % of the
/// legitimate attempts fail (measured on SSH: 4.7 %, a lower bound).
const TYPO_SHAPE: (f64, f64) = (0.8, 9.2);

/// The clumsy: 5 % of people fail more than a third of their logins (published); shape assumed.
const CLUMSY_SHARE: f64 = 0.05;
const CLUMSY_SHAPE: (f64, f64) = (6.0, 9.0);

/// Password changes per person and day, and how often a device is forgotten at one (assumed).
const PASSWORD_CHANGES_PER_DAY: f64 = 0.008;
const STALE_SHARE: f64 = 0.3;

/// Journeys per person and day (assumed).
const TRIPS_PER_DAY: f64 = 0.012;

/// People with a device that never succeeds, and how many of them do nothing else (existence published, rates assumed).
const DEAD_DEVICE_SHARE: f64 = 0.012;
const LAPSED_SHARE: f64 = 0.4;

/// People whose password is in the attackers' common pool (assumed).
const COMMON_PASSWORD_SHARE: f64 = 0.015;

/// Shares of people with a property (assumed).
const OFFICE_SHARE: f64 = 0.25;
const V6_SHARE: f64 = 0.2;
const STATIC_HOME_SHARE: f64 = 0.35;
const VPN_SHARE: f64 = 0.04;
const FETCHER_SHARE: f64 = 0.04;
const POP3_SHARE: f64 = 0.12;
const NEWCOMER_SHARE: f64 = 0.05;

const FIRST_NAMES: [&str; 40] = [
    "anna", "ben", "carla", "david", "elena", "felix", "greta", "henry", "ines", "jonas", "karin", "leon", "maria",
    "nils", "olga", "paul", "rosa", "simon", "tina", "uwe", "vera", "walter", "yasmin", "zoe", "alex", "birgit",
    "clara", "dirk", "emma", "frank", "gerda", "hugo", "iris", "jan", "katja", "lars", "mila", "noah", "petra", "ralf",
];

const LAST_NAMES: [&str; 43] = [
    "adler", "bauer", "conrad", "dietz", "ebert", "fuchs", "graf", "haas", "imhof", "jung", "keller", "lang", "maier",
    "nagel", "otto", "peters", "quandt", "richter", "sauer", "thoma", "ullrich", "vogt", "weber", "ziegler", "arndt",
    "brandt", "claus", "dorn", "engel", "frey", "gerber", "hahn", "jansen", "kraft", "lorenz", "moser", "neumann",
    "pohl", "reuter", "stark", "unger", "winter", "zimmer",
];

const DOMAINS: [&str; 3] = ["example.org", "example.net", "example.com"];

/// Where a device is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Home,
    Mobile,
    Office,
    /// A server that fetches mail for its owner.
    Hosted(IpAddr),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Device {
    pub(super) protocol: &'static str,
    pub(super) place: Place,
    /// Seconds between two polls of one session.
    pub(super) poll_s: f64,
}

/// How a person is connected at home.
#[derive(Debug, Clone, Copy)]
enum Home {
    Static(IpAddr),
    /// Another address of the neighbourhood every day.
    Dynamic {
        isp: u8,
        part: u8,
    },
    V6 {
        isp: u8,
        customer: u16,
    },
}

/// A new password, and the device that was not told for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct PasswordChange {
    pub(super) at: i64,
    /// Index of the device and when it is told at last.
    pub(super) stale: Option<(usize, i64)>,
    /// Seconds between the stale device's tries.
    pub(super) every_s: f64,
}

/// Days away from home and the network there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trip {
    first_day: i64,
    last_day: i64,
    network: IpAddr,
}

/// A device that never succeeds.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadDevice {
    /// Seconds between its tries.
    pub(super) every_s: f64,
    /// The account is not used otherwise.
    pub(super) lapsed: bool,
}

/// An account and its owner.
pub(super) struct Person {
    pub(super) number: u32,
    pub(super) name: String,
    /// Index of the group that shares office and carrier NAT.
    pub(super) group: u32,
    pub(super) office: bool,
    pub(super) vpn: bool,
    pub(super) devices: Vec<Device>,
    /// Logins per day relative to the average.
    pub(super) activity: f64,
    pub(super) clumsy: bool,
    /// Probability that a typed password is wrong.
    pub(super) typo: f64,
    pub(super) changes: Vec<PasswordChange>,
    pub(super) dead: Option<DeadDevice>,
    /// The account exists from this time on.
    pub(super) since: i64,
    trips: Vec<Trip>,
    home: Home,
    common: Option<Password>,
}

/// How much rarer the hard cases of legitimate traffic are in the easy profile.
pub(super) fn hardness(profile: Profile) -> f64 {
    match profile {
        Profile::Easy => 0.5,
        Profile::Hard => 1.0,
    }
}

impl Person {
    pub(super) fn new(seed: u64, number: u32, profile: Profile, window: Window, passwords: &Passwords) -> Self {
        let rng = &mut Rng::new(seed, &format!("traffic/person/{number}"));
        let group = number / networks::GROUP;
        let isp = networks::isp(rng);
        let home = home(isp, rng);
        let office = chance(rng, OFFICE_SHARE);
        let vpn = profile == Profile::Hard && chance(rng, VPN_SHARE);
        let devices = devices(office, profile, rng);
        let clumsy = chance(rng, CLUMSY_SHARE);
        let (a, b) = if clumsy { CLUMSY_SHAPE } else { TYPO_SHAPE };
        let typo = beta(rng, a, b);
        let activity = lognormal(rng, ACTIVITY_SIGMA);
        let common = chance(rng, COMMON_PASSWORD_SHARE).then(|| passwords.common(rng));
        let dead = chance(rng, DEAD_DEVICE_SHARE * hardness(profile))
            .then(|| DeadDevice { every_s: between(rng, 3600.0, 14_400.0), lapsed: chance(rng, LAPSED_SHARE) });
        let newcomer = chance(rng, NEWCOMER_SHARE);
        let joined = rng.uniform();
        let since = if newcomer { window.at(joined) } else { window.start };
        Self {
            number,
            name: full_name(number),
            group,
            office,
            vpn,
            activity,
            clumsy,
            typo,
            changes: changes(seed, number, profile, window, devices.len()),
            dead,
            since,
            trips: trips(seed, number, window),
            home,
            common,
            devices,
        }
    }

    /// The password that opens the account at `at`.
    pub(super) fn password(&self, at: i64) -> Password {
        let version = self.changes.iter().filter(|change| change.at <= at).count() as u32;
        match self.common {
            Some(common) if version == 0 => common,
            _ => Password::Own { person: self.number, version },
        }
    }

    /// Whether `tag` opens the account at `at`.
    pub(super) fn is_opened_by(&self, tag: Tag, at: i64, passwords: &Passwords) -> bool {
        at >= self.since && passwords.tag(self.password(at)) == tag
    }

    /// The address at home on one day; the same `rng` state gives the same address.
    pub(super) fn home_address(&self, rng: &mut Rng) -> IpAddr {
        match self.home {
            Home::Static(ip) => ip,
            Home::Dynamic { isp, part } => networks::dynamic_in(isp, part, rng),
            Home::V6 { isp, customer } => networks::v6_in(isp, customer, rng),
        }
    }

    /// The address away from home, if the person is travelling on that day.
    pub(super) fn trip_address(&self, day: i64, rng: &mut Rng) -> Option<IpAddr> {
        let trip = self.trips.iter().find(|trip| (trip.first_day..=trip.last_day).contains(&day))?;
        Some(networks::neighbour(trip.network, whole(rng, 1, 254) as u8))
    }
}

/// The name of account `number`: first and last name, numbered when all combinations are taken.
fn full_name(number: u32) -> String {
    let number = number as usize;
    let (first, round) = (number % FIRST_NAMES.len(), number / FIRST_NAMES.len());
    let last = (first + round) % LAST_NAMES.len();
    let again = round / LAST_NAMES.len();
    let suffix = if again == 0 { String::new() } else { (again + 1).to_string() };
    let domain = DOMAINS[if number % 5 == 4 { 1 + number / 5 % 2 } else { 0 }];
    format!("{}.{}{suffix}@{domain}", FIRST_NAMES[first], LAST_NAMES[last])
}

/// A name that nobody at the site has; different for every `number`, because accounts have a dot and these have none.
pub(super) fn stranger(number: u64, rng: &mut Rng) -> String {
    let number = number as usize;
    let (first, round) = (number % FIRST_NAMES.len(), number / FIRST_NAMES.len());
    let last = (first + round) % LAST_NAMES.len();
    let again = round / LAST_NAMES.len();
    let suffix = if again == 0 { String::new() } else { (again + 1).to_string() };
    format!("{}{}{suffix}@{}", FIRST_NAMES[first], LAST_NAMES[last], pick(rng, &DOMAINS))
}

/// The site's main domain.
pub(super) const MAIN_DOMAIN: &str = DOMAINS[0];

fn home(isp: u8, rng: &mut Rng) -> Home {
    let part = rng.below(32) as u8;
    if chance(rng, V6_SHARE) {
        Home::V6 { isp, customer: rng.below(1 << 16) as u16 }
    } else if chance(rng, STATIC_HOME_SHARE) {
        Home::Static(networks::dynamic_in(isp, part, rng))
    } else {
        Home::Dynamic { isp, part }
    }
}

/// One to four devices; they poll every 1–15 minutes (assumed).
fn devices(office: bool, profile: Profile, rng: &mut Rng) -> Vec<Device> {
    let count = whole(rng, 1, 4) as usize;
    let mut devices: Vec<Device> = (0..count)
        .map(|nth| {
            let place = match nth {
                0 if office => Place::Office,
                0 => Place::Home,
                _ if chance(rng, 0.6) => Place::Mobile,
                _ => Place::Home,
            };
            let protocol = if place != Place::Mobile && chance(rng, POP3_SHARE) { "pop3" } else { "imap" };
            Device { protocol, place, poll_s: log_between(rng, 60.0, 900.0) }
        })
        .collect();
    if profile == Profile::Hard && chance(rng, FETCHER_SHARE) {
        let place = Place::Hosted(networks::hosting(rng));
        devices.push(Device { protocol: ["imap", "pop3"][index(rng, 2)], place, poll_s: 600.0 });
    }
    devices
}

fn changes(seed: u64, number: u32, profile: Profile, window: Window, devices: usize) -> Vec<PasswordChange> {
    let rng = &mut Rng::new(seed, &format!("traffic/person/{number}/changes"));
    let mut changes = Vec::new();
    let mut at = window.start;
    loop {
        at += (exponential(rng, 1.0 / PASSWORD_CHANGES_PER_DAY) * DAY_MS as f64) as i64;
        if at >= window.end {
            return changes;
        }
        let stale = chance(rng, STALE_SHARE * hardness(profile)).then(|| {
            // One hour to a day, rarely longer; published accounts speak of hours to weeks.
            let longest = if chance(rng, 0.05) { 168.0 } else { 24.0 };
            let hours = log_between(rng, 1.0, longest);
            (index(rng, devices), at + (hours * HOUR_MS as f64) as i64)
        });
        changes.push(PasswordChange { at, stale, every_s: log_between(rng, 60.0, 900.0) });
    }
}

fn trips(seed: u64, number: u32, window: Window) -> Vec<Trip> {
    let rng = &mut Rng::new(seed, &format!("traffic/person/{number}/trips"));
    let days = window.days();
    let length = (window.end - window.start) as f64 / DAY_MS as f64;
    (0..poisson(rng, TRIPS_PER_DAY * length))
        .map(|_| {
            let first_day = days.start() + rng.below((days.end() - days.start() + 1) as u64) as i64;
            let network = match rng.uniform() {
                x if x < 0.75 => networks::foreign(rng),
                x if x < 0.95 => {
                    let isp = networks::isp(rng);
                    networks::anywhere_in(isp, rng)
                }
                _ => networks::hosting(rng),
            };
            Trip { first_day, last_day: first_day + whole(rng, 1, 6) as i64, network }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_accounts_share_a_name_and_no_stranger_has_one() {
        let mut rng = Rng::new(1, "test/names");
        let accounts: BTreeSet<String> = (0..6000).map(full_name).collect();
        let strangers: BTreeSet<String> = (0..6000).map(|number| stranger(number, &mut rng)).collect();

        assert_eq!(accounts.len(), 6000);
        assert_eq!(strangers.len(), 6000);
        assert!(accounts.is_disjoint(&strangers));
    }
}
