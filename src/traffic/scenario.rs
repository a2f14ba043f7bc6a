//! The names of what the generator can play: attack scenarios, what legitimate people do, and how hard the mix is.
//!
//! Only names and weights; the parameters of a scenario stand where it is played.

use std::fmt;
use std::str::FromStr;

/// How hard it is to tell attackers from users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Attackers come from hosting networks where no user lives, and they hurry.
    Easy,
    /// Attackers live in the users' own access networks and carrier NATs, take their time, and become more patient
    /// towards the end of the period.
    #[default]
    Hard,
}

/// A name that is none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what}; known are {known}")]
pub struct UnknownName {
    what: &'static str,
    known: String,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 2] = [Self::Easy, Self::Hard];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Hard => "hard",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == text)
            .ok_or_else(|| UnknownName { what: "profile", known: known(Self::ALL.map(Self::name).as_slice()) })
    }
}

/// A kind of attack campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// One address, a guess every 1–4 s, mostly at one account.
    Burst,
    /// One address goes through many user names.
    Dictionary,
    /// One address, one guess every 10–65 minutes.
    SlowSingle,
    /// Many addresses, few guesses each, all at one account.
    BotnetOne,
    /// A few popular passwords against many valid names.
    Spray,
    /// Leaked name and password pairs, one try per account.
    Stuffing,
    /// A whole /24 shares the work: one try per name, each address about every 1000 s.
    SlowSpray24,
    /// Somebody behind an office or carrier NAT that users log in from.
    NatInsider,
    /// Hundreds of networks, mostly one try each, at `admin@`, `info@` and the like.
    RoleAccounts,
    /// One loud address that pauses for as long as a typical ban lasts.
    BanEvader,
}

impl Scenario {
    /// All attack scenarios, in the order in which they are played.
    pub const ALL: [Self; 10] = [
        Self::Burst,
        Self::Dictionary,
        Self::SlowSingle,
        Self::BotnetOne,
        Self::Spray,
        Self::Stuffing,
        Self::SlowSpray24,
        Self::NatInsider,
        Self::RoleAccounts,
        Self::BanEvader,
    ];

    /// The name in records and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Dictionary => "dictionary",
            Self::SlowSingle => "slow_single",
            Self::BotnetOne => "botnet_one",
            Self::Spray => "spray",
            Self::Stuffing => "stuffing",
            Self::SlowSpray24 => "slow_spray_24",
            Self::NatInsider => "nat_insider",
            Self::RoleAccounts => "role_accounts",
            Self::BanEvader => "ban_evader",
        }
    }

    /// Share of the attack attempts when every scenario is played; only ratios matter. Assumed: published mixes count
    /// addresses or campaigns, not attempts. Quiet scenarios get enough attempts to be measured one by one.
    pub(super) const fn weight(self) -> f64 {
        match self {
            Self::Burst | Self::Dictionary | Self::Stuffing => 0.14,
            Self::BotnetOne => 0.15,
            Self::Spray => 0.12,
            Self::SlowSingle | Self::SlowSpray24 => 0.08,
            Self::RoleAccounts => 0.06,
            Self::NatInsider => 0.05,
            Self::BanEvader => 0.04,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == text)
            .ok_or_else(|| UnknownName { what: "scenario", known: known(Self::ALL.map(Self::name).as_slice()) })
    }
}

/// What a legitimate attempt is an example of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Habit {
    /// A mail client polls or somebody logs in.
    Regular,
    /// One to three wrong passwords, then the right one (which carries this name too).
    Typo,
    /// Four to fourteen different wrong passwords.
    Forgotten,
    /// A client that was not told of the new password.
    StaleClient,
    /// The right password for a name that does not exist.
    MistypedName,
    /// A client that nobody has looked at for years and that never succeeds.
    DeadDevice,
    /// Logins from a network far from home.
    Trip,
    /// Logins from an office behind one address.
    NatOffice,
}

impl Habit {
    /// All habits.
    pub const ALL: [Self; 8] = [
        Self::Regular,
        Self::Typo,
        Self::Forgotten,
        Self::StaleClient,
        Self::MistypedName,
        Self::DeadDevice,
        Self::Trip,
        Self::NatOffice,
    ];

    /// The scenario name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Typo => "typo",
            Self::Forgotten => "forgotten",
            Self::StaleClient => "stale_client",
            Self::MistypedName => "mistyped_name",
            Self::DeadDevice => "dead_device",
            Self::Trip => "trip",
            Self::NatOffice => "nat_office",
        }
    }
}

fn known(names: &[&str]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_string().parse(), Ok(scenario));
        }
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "bursts".parse::<Scenario>().expect_err("must be refused");

        assert!(error.to_string().contains("slow_spray_24"), "{error}");
    }

    #[test]
    fn the_weights_are_shares() {
        let sum: f64 = Scenario::ALL.iter().map(|scenario| scenario.weight()).sum();

        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
}
