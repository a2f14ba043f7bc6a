//! Campaigns from one address: burst, dictionary, slow guessing, and the one that waits for its ban to end.

use super::{Campaign, Guess, Victim};
use crate::traffic::legit::millis;
use crate::traffic::sampling::{between, chance, index, log_between, whole};

/// Burst: seconds between guesses (measured) and number of guesses (measured, the tail to 26 000 cut off).
const BURST_GAP_S: (f64, f64) = (1.0, 4.0);
const BURST_TRIES: (f64, f64) = (50.0, 3000.0);
/// Bursts at one name; the others walk through a list (both measured, the share assumed).
const BURST_ONE_NAME: f64 = 0.75;

/// Names in an attacker's list (measured) and how many of them exist here (assumed).
const LIST_NAMES: (f64, f64) = (60.0, 480.0);
const LIST_VALID: (f64, f64) = (0.2, 0.7);

/// Dictionary: seconds between guesses and passwords per name (assumed).
const DICTIONARY_GAP_S: (f64, f64) = (2.0, 15.0);
const DICTIONARY_ROUNDS: (u64, u64) = (1, 5);

/// Slow guessing: seconds between guesses (measured: medians of 444 to 1792 s), guesses and names (assumed).
const SLOW_GAP_S: (f64, f64) = (600.0, 3900.0);
const SLOW_TRIES: (f64, f64) = (40.0, 300.0);
const SLOW_NAMES: (u64, u64) = (1, 5);

/// Ban evader: cadence and silence after a presumed ban (measured), guesses before it and in all (assumed).
const EVADER_GAP_S: f64 = 20.0;
const EVADER_SILENCE_S: f64 = 610.0;
const EVADER_BEFORE_BAN: (u64, u64) = (5, 12);
const EVADER_TRIES: (f64, f64) = (200.0, 4000.0);

/// A list of names as attackers carry it.
fn list<'a>(campaign: &mut Campaign<'a>) -> Vec<Victim<'a>> {
    let count = log_between(&mut campaign.rng, LIST_NAMES.0, LIST_NAMES.1) as usize;
    let valid = between(&mut campaign.rng, LIST_VALID.0, LIST_VALID.1);
    campaign.names(count, valid)
}

/// One address, fast, mostly one name.
pub(super) fn burst(campaign: &mut Campaign<'_>) {
    let ip = campaign.bot();
    let victims = if chance(&mut campaign.rng, BURST_ONE_NAME) {
        vec![Victim::Person(campaign.person())]
    } else {
        list(campaign)
    };
    let tries = log_between(&mut campaign.rng, BURST_TRIES.0, BURST_TRIES.1) as usize;
    let mut at = campaign.start;
    for turn in 0..tries {
        let victim = &victims[turn % victims.len()];
        let password = campaign.password((turn / victims.len()) as u64);
        match campaign.attempt(at, ip, victim, password) {
            Guess::Wrong => {}
            // Whoever is in stops guessing, unless there are other names.
            Guess::Right if victims.len() > 1 => {}
            Guess::Right | Guess::Over => return,
        }
        at += millis(between(&mut campaign.rng, BURST_GAP_S.0, BURST_GAP_S.1));
    }
}

/// One address, many names, a few passwords each.
pub(super) fn dictionary(campaign: &mut Campaign<'_>) {
    let ip = campaign.bot();
    let victims = list(campaign);
    let rounds = whole(&mut campaign.rng, DICTIONARY_ROUNDS.0, DICTIONARY_ROUNDS.1);
    let gap = log_between(&mut campaign.rng, DICTIONARY_GAP_S.0, DICTIONARY_GAP_S.1) * campaign.patience;
    let mut at = campaign.start;
    for round in 0..rounds {
        for victim in &victims {
            let password = campaign.password(round);
            if campaign.attempt(at, ip, victim, password) == Guess::Over {
                return;
            }
            at += millis(gap * between(&mut campaign.rng, 0.6, 1.4));
        }
    }
}

/// One address, far below any limit per hour.
pub(super) fn slow_single(campaign: &mut Campaign<'_>) {
    let ip = campaign.bot();
    let names = whole(&mut campaign.rng, SLOW_NAMES.0, SLOW_NAMES.1) as usize;
    let victims = campaign.names(names, 1.0);
    let tries = log_between(&mut campaign.rng, SLOW_TRIES.0, SLOW_TRIES.1) as usize;
    // Patience chooses the slow half of the measured range; it does not leave it.
    let low = (SLOW_GAP_S.0 * campaign.patience).min(SLOW_GAP_S.1 / 2.0);
    let mut at = campaign.start;
    for turn in 0..tries {
        let victim = &victims[index(&mut campaign.rng, victims.len())];
        let password = campaign.password(turn as u64);
        if campaign.attempt(at, ip, victim, password) == Guess::Over {
            return;
        }
        at += millis(between(&mut campaign.rng, low, SLOW_GAP_S.1));
    }
}

/// One address that pauses as long as a ban lasts and comes back, for days.
pub(super) fn ban_evader(campaign: &mut Campaign<'_>) {
    let ip = campaign.bot();
    let victims = list(campaign);
    let tries = log_between(&mut campaign.rng, EVADER_TRIES.0, EVADER_TRIES.1) as u64;
    let before_ban = whole(&mut campaign.rng, EVADER_BEFORE_BAN.0, EVADER_BEFORE_BAN.1);
    let mut at = campaign.start;
    for turn in 0..tries {
        let victim = &victims[turn as usize % victims.len()];
        let password = campaign.password(turn / victims.len() as u64);
        if campaign.attempt(at, ip, victim, password) == Guess::Over {
            return;
        }
        let gap = if (turn + 1) % before_ban == 0 { EVADER_SILENCE_S } else { EVADER_GAP_S };
        at += millis(gap * between(&mut campaign.rng, 0.95, 1.05));
    }
}
