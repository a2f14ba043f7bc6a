//! Attack campaigns: how many there are, when they start, whom they attack, and the harness that every scenario uses.
//!
//! A campaign has its own random stream, named after its scenario and number; what it does is in one function of the
//! file for its kind. Tags at the constants: *measured* on logs, *published*, or *assumed*.

mod insider;
mod single;
mod spread;

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::passwords::{Password, Tag};
use super::people::{self, Person};
use super::sampling::{between, chance, log_between, weighted};
use super::scenario::{Profile, Scenario};
use super::site::{Draft, Origin, Site};
use crate::numeric::Rng;

/// No campaign makes more than this share of its scenario's attempts, so that there are several of each kind …
const CAMPAIGN_SHARE_MAX: f64 = 0.25;
/// … but it may always make this many: below that nobody would call it a campaign.
const CAMPAIGN_MIN: usize = 60;

/// Campaigns start in the first nine tenths of the period.
const START_LAST: f64 = 0.9;

/// Names that are guessed everywhere (measured: `admin@`, `info@`, `test@` on a mail host, up to 38 addresses per name).
const ROLE_NAMES: [&str; 24] = [
    "admin",
    "info",
    "test",
    "office",
    "sales",
    "contact",
    "support",
    "mail",
    "webmaster",
    "postmaster",
    "service",
    "user",
    "billing",
    "scan",
    "marketing",
    "hr",
    "noreply",
    "root",
    "backup",
    "accounts",
    "kontakt",
    "news",
    "shop",
    "demo",
];

/// Role names that exist at this site, as mailboxes that nobody logs in to.
const EXISTING_ROLES: [&str; 4] = ["info", "office", "support", "postmaster"];

/// Plays campaigns of the given scenarios until together they have made `attempts` attempts.
pub(super) fn play(site: &Site, scenarios: &[Scenario], attempts: usize) -> Vec<Draft> {
    let mut drafts = Vec::with_capacity(attempts);
    if site.people.is_empty() {
        return drafts;
    }
    let total: f64 = scenarios.iter().map(|scenario| scenario.weight()).sum();
    let mut share = 0.0;
    for &scenario in scenarios {
        share += scenario.weight() / total;
        // The running sum makes the last scenario end exactly at `attempts`.
        let end = ((attempts as f64 * share + 0.5) as usize).min(attempts);
        let budget = end.saturating_sub(drafts.len());
        let cap = ((budget as f64 * CAMPAIGN_SHARE_MAX) as usize).max(CAMPAIGN_MIN);
        let mut number = 0;
        while drafts.len() < end {
            let mut campaign = Campaign::new(site, scenario, number, cap.min(end - drafts.len()));
            campaign.play();
            drafts.append(&mut campaign.drafts);
            number += 1;
        }
    }
    drafts
}

/// Whose account is tried.
enum Victim<'a> {
    Person(&'a Person),
    /// A name without an owner; it may still exist.
    Other {
        name: String,
        exists: bool,
    },
}

/// What came of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    Wrong,
    Right,
    /// Not made: the period or the campaign's share of attempts is over.
    Over,
}

/// How a campaign chooses passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The list from the top.
    List,
    /// Favourites again and again.
    Popularity,
}

/// One campaign.
struct Campaign<'a> {
    site: &'a Site,
    scenario: Scenario,
    number: u64,
    rng: Rng,
    /// When it begins.
    start: i64,
    /// Factor on the gaps of the patient scenarios, at least 1.
    patience: f64,
    protocol: &'static str,
    order: Order,
    /// Probability that a guess is the previous password once more (measured: half of all attempts, very different
    /// between attackers).
    repeats: f64,
    last: Option<Password>,
    /// Most attempts it may make.
    cap: usize,
    drafts: Vec<Draft>,
}

impl<'a> Campaign<'a> {
    fn new(site: &'a Site, scenario: Scenario, number: u64, cap: usize) -> Self {
        let mut rng = Rng::new(site.seed, &format!("traffic/attack/{scenario}/{number}"));
        let start = site.window.at(START_LAST * rng.uniform());
        let patience = match site.profile {
            Profile::Easy => 1.0,
            // Later campaigns are more patient, so a model meets quieter ones than it was trained on (assumed).
            Profile::Hard => log_between(&mut rng, 1.0, 2.5) * (1.0 + site.window.progress(start)),
        };
        // Measured: submission is attacked most; published: IMAP and SMTP before POP3.
        let protocol = ["smtp", "imap", "pop3"][weighted(&mut rng, &[0.45, 0.45, 0.1])];
        let order = if chance(&mut rng, 0.5) { Order::List } else { Order::Popularity };
        let repeats = between(&mut rng, 0.0, 0.8);
        let drafts = Vec::new();
        Self { site, scenario, number, rng, start, patience, protocol, order, repeats, last: None, cap, drafts }
    }

    fn play(&mut self) {
        match self.scenario {
            Scenario::Burst => single::burst(self),
            Scenario::Dictionary => single::dictionary(self),
            Scenario::SlowSingle => single::slow_single(self),
            Scenario::BanEvader => single::ban_evader(self),
            Scenario::BotnetOne => spread::botnet_one(self),
            Scenario::RoleAccounts => spread::role_accounts(self),
            Scenario::Spray => spread::spray(self),
            Scenario::Stuffing => spread::stuffing(self),
            Scenario::SlowSpray24 => spread::slow_spray_24(self),
            Scenario::NatInsider => insider::nat_insider(self),
        }
    }

    /// The next password: number `turn` of the list, a favourite, or the previous one again.
    fn password(&mut self, turn: u64) -> Password {
        if let Some(last) = self.last
            && chance(&mut self.rng, self.repeats)
        {
            return last;
        }
        let password = match self.order {
            Order::List => Password::Common { rank: turn },
            Order::Popularity => self.site.passwords.common(&mut self.rng),
        };
        self.last = Some(password);
        password
    }

    /// Tries one password at one account.
    fn attempt(&mut self, at: i64, ip: IpAddr, victim: &Victim<'_>, password: Password) -> Guess {
        let tag = self.site.tag(password);
        self.attempt_tag(at, ip, victim, tag)
    }

    fn attempt_tag(&mut self, at: i64, ip: IpAddr, victim: &Victim<'_>, tag: Tag) -> Guess {
        if self.drafts.len() >= self.cap || !self.site.window.contains(at) {
            return Guess::Over;
        }
        let (name, user_found, success) = match victim {
            Victim::Person(person) => {
                (person.name.clone(), at >= person.since, person.is_opened_by(tag, at, &self.site.passwords))
            }
            Victim::Other { name, exists } => (name.clone(), *exists, false),
        };
        let origin = Origin::Attack(self.scenario, self.number);
        self.drafts.push(Draft { at, ip, name, tag, protocol: self.protocol, success, user_found, origin });
        if success { Guess::Right } else { Guess::Wrong }
    }

    fn bot(&mut self) -> IpAddr {
        self.site.bot(&mut self.rng)
    }

    /// Somebody who has an account.
    fn person(&mut self) -> &'a Person {
        super::sampling::pick(&mut self.rng, &self.site.people)
    }

    /// A name like `info@`.
    fn role(&mut self, which: usize) -> Victim<'a> {
        let role = ROLE_NAMES[which % ROLE_NAMES.len()];
        let name = format!("{role}@{}", people::MAIN_DOMAIN);
        Victim::Other { name, exists: EXISTING_ROLES.contains(&role) }
    }

    /// `count` different names in random order, of which about `valid` (0 to 1) are accounts of people as long as there
    /// are enough of them; the others are role names first and then invented.
    fn names(&mut self, count: usize, valid: f64) -> Vec<Victim<'a>> {
        let people = &self.site.people;
        let wanted = ((count as f64 * valid) as usize).min(people.len());
        let mut taken = BTreeSet::new();
        if wanted * 2 > people.len() {
            let mut all: Vec<usize> = (0..people.len()).collect();
            self.rng.shuffle(&mut all);
            taken.extend(all.into_iter().take(wanted));
        } else {
            while taken.len() < wanted {
                taken.insert(self.rng.below(people.len() as u64) as usize);
            }
        }
        let mut names: Vec<Victim<'a>> = taken.into_iter().map(|which| Victim::Person(&people[which])).collect();
        let first_stranger = self.rng.below(100_000);
        for other in 0..count - wanted {
            let victim = if other < ROLE_NAMES.len() {
                self.role(other)
            } else {
                let name = people::stranger(first_stranger + other as u64, &mut self.rng);
                Victim::Other { name, exists: false }
            };
            names.push(victim);
        }
        self.rng.shuffle(&mut names);
        names
    }
}
