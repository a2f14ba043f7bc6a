//! Devices that keep trying a password that is wrong: after a change, or since always.
//!
//! These are the hardest legitimate failures: many, regular, and for as long as nobody looks at the device.

use super::legit::{Actor, millis};
use super::passwords::Password;
use super::sampling::between;
use super::scenario::Habit;
use super::site::DAY_MS;
use crate::numeric::Rng;

/// The devices that were not told of a new password: one tag, every 60–900 s, for hours (existence published, rates
/// assumed).
pub(super) fn stale(actor: &mut Actor<'_>) {
    let person = actor.person;
    for (nth, change) in person.changes.iter().enumerate() {
        let Some((device, until)) = change.stale else {
            continue;
        };
        let device = person.devices[device];
        let rng = &mut Rng::new(actor.site.seed, &format!("traffic/person/{}/stale/{nth}", person.number));
        let old = person.password(change.at - 1);
        let mut at = change.at + millis(change.every_s * rng.uniform());
        let end = until.min(actor.site.window.end);
        while at < end {
            // Devices stay where they are for an hour or three (assumed); home addresses change at midnight.
            let day = at.div_euclid(DAY_MS);
            let moves = (at + millis(between(rng, 3600.0, 10_800.0))).min((day + 1) * DAY_MS).min(end);
            let (ip, _) = actor.locate(&device, &actor.today(day), at, rng);
            while at < moves {
                actor.attempt(at, ip, device.protocol, old, Habit::StaleClient);
                at += millis(change.every_s * between(rng, 0.95, 1.05));
            }
        }
    }
}

/// The device that never succeeds: every 1–4 hours through the whole period (published existence, assumed rate).
pub(super) fn dead(actor: &mut Actor<'_>) {
    let person = actor.person;
    let Some(dead) = person.dead else { return };
    let rng = &mut Rng::new(actor.site.seed, &format!("traffic/person/{}/dead", person.number));
    let password = Password::Ancient { person: person.number };
    let protocol = person.devices[0].protocol;
    let mut at = actor.site.window.start + millis(dead.every_s * rng.uniform());
    let mut day = at.div_euclid(DAY_MS);
    // It stands at home even when its owner works or travels.
    let mut home = actor.today(day).home();
    while at < actor.site.window.end {
        if at.div_euclid(DAY_MS) != day {
            day = at.div_euclid(DAY_MS);
            home = actor.today(day).home();
        }
        actor.attempt(at, home, protocol, password, Habit::DeadDevice);
        at += millis(dead.every_s * between(rng, 0.95, 1.05));
    }
}
