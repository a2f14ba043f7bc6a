//! The site: its people, its passwords and the period that is played.
//!
//! It knows what is true (who has which password when); who tries what stands in `legit.rs` and `attacks/`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::networks;
use super::passwords::{Password, Passwords, Tag};
use super::people::Person;
use super::scenario::{Habit, Profile, Scenario};
use crate::numeric::Rng;

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// The period that is played, in milliseconds since the Unix epoch; `end` is not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Window {
    pub(super) fn contains(self, at: i64) -> bool {
        (self.start..self.end).contains(&at)
    }

    /// The time at a fraction of the period.
    pub(super) fn at(self, fraction: f64) -> i64 {
        self.start + ((self.end - self.start) as f64 * fraction) as i64
    }

    /// How much of the period is over at `at`, 0 to 1.
    pub(super) fn progress(self, at: i64) -> f64 {
        ((at - self.start) as f64 / (self.end - self.start).max(1) as f64).clamp(0.0, 1.0)
    }

    /// The UTC days that the period touches, counted since the epoch.
    pub(super) fn days(self) -> RangeInclusive<i64> {
        self.start.div_euclid(DAY_MS)..=(self.end - 1).div_euclid(DAY_MS)
    }
}

/// Whether a day (counted since the epoch, a Thursday) is a Saturday or Sunday.
pub(super) fn is_weekend(day: i64) -> bool {
    (day + 3).rem_euclid(7) >= 5
}

/// Who is behind an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Legit(Habit),
    /// The `u64` is the number of the campaign within its scenario.
    Attack(Scenario, u64),
}

/// One attempt before it is written as a record.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) at: i64,
    pub(super) ip: IpAddr,
    pub(super) name: String,
    pub(super) tag: Tag,
    pub(super) protocol: &'static str,
    pub(super) success: bool,
    pub(super) user_found: bool,
    pub(super) origin: Origin,
}

/// The site that everybody logs in to.
pub(super) struct Site {
    pub(super) seed: u64,
    pub(super) profile: Profile,
    pub(super) window: Window,
    pub(super) people: Vec<Person>,
    pub(super) passwords: Passwords,
}

impl Site {
    pub(super) fn new(seed: u64, users: u32, profile: Profile, window: Window) -> Self {
        let passwords = Passwords::new(Rng::new(seed, "traffic/passwords").next_u64());
        let people = (0..users).map(|number| Person::new(seed, number, profile, window, &passwords)).collect();
        Self { seed, profile, window, people, passwords }
    }

    /// How many groups share an office and carrier NAT addresses; at least one.
    pub(super) fn groups(&self) -> u32 {
        (self.people.len() as u32).div_ceil(networks::GROUP).max(1)
    }

    /// The address of an attacking machine.
    pub(super) fn bot(&self, rng: &mut Rng) -> IpAddr {
        networks::bot(self.profile, self.groups(), rng)
    }

    pub(super) fn tag(&self, password: Password) -> Tag {
        self.passwords.tag(password)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_was_a_thursday() {
        let weekend: Vec<i64> = (0..9).filter(|&day| is_weekend(day)).collect();

        assert_eq!(weekend, [2, 3]);
    }

    #[test]
    fn a_period_that_ends_at_midnight_does_not_touch_the_next_day() {
        let window = Window { start: 0, end: 2 * DAY_MS };

        assert_eq!(window.days(), 0..=1);
        assert!(!window.contains(window.end));
    }
}
