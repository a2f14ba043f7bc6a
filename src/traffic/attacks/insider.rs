//! The attacker who shares an address with users: behind the office NAT or the carrier's.

use super::{Campaign, Guess, Victim};
use crate::traffic::legit::{millis, moment};
use crate::traffic::networks;
use crate::traffic::sampling::{between, chance, index, log_between, whole};

/// Behind an office rather than a carrier NAT; seconds between guesses; guesses; accounts (all assumed).
const OFFICE_SHARE: f64 = 0.5;
const GAP_S: (f64, f64) = (20.0, 200.0);
const TRIES: (f64, f64) = (40.0, 200.0);
const ACCOUNTS: (u64, u64) = (1, 5);

/// Guesses at neighbours' accounts from the address that they use themselves.
pub(super) fn nat_insider(campaign: &mut Campaign<'_>) {
    let site = campaign.site;
    let group = campaign.rng.below(u64::from(site.groups())) as u32;
    let ip = if chance(&mut campaign.rng, OFFICE_SHARE) {
        networks::office(group)
    } else {
        networks::cgnat(group, &mut campaign.rng)
    };
    let first = (group * networks::GROUP) as usize;
    let neighbours = &site.people[first..site.people.len().min(first + networks::GROUP as usize)];
    let accounts = whole(&mut campaign.rng, ACCOUNTS.0, ACCOUNTS.1);
    let victims: Vec<Victim<'_>> =
        (0..accounts).map(|_| Victim::Person(&neighbours[index(&mut campaign.rng, neighbours.len())])).collect();
    let tries = log_between(&mut campaign.rng, TRIES.0, TRIES.1) as u64;
    let gap = log_between(&mut campaign.rng, GAP_S.0, GAP_S.1) * campaign.patience;
    // When others are there too, if that hour lies in the period.
    let busy = moment(campaign.start.div_euclid(crate::traffic::site::DAY_MS), &mut campaign.rng);
    let mut at = if site.window.contains(busy) { busy } else { campaign.start };
    for turn in 0..tries {
        let victim = &victims[index(&mut campaign.rng, victims.len())];
        let password = campaign.password(turn);
        if campaign.attempt(at, ip, victim, password) == Guess::Over {
            return;
        }
        at += millis(gap * between(&mut campaign.rng, 0.5, 1.5));
    }
}
