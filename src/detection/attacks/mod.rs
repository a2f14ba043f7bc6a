//! Distributed attacks: what no single address gives away. Many networks guess at one account, one password goes over many
//! accounts, a network shares the work, the whole site fails more than it ever does at this time.
//!
//! [`AttackMonitor`] is the way in: it is told every attempt and every outcome once (as
//! [`Applied`](crate::detection::tracker::Applied) says), and asked for an [`Assessment`] about once a second.
//! [`AttackMonitor::stance`] answers for one login from memory. [`Protection`] is what nodes share.
//!
//! In reading order: `windows` (what happened), `accounts`, `spray`, `baseline`, `countries` (what is suspicious about it),
//! `threat` (how bad that is), `protection` (what is done), `report` (what it was like). No clock, no store: event times
//! drive what is counted, `now` comes in as a value. What is counted commutes; judgements follow from it.

mod accounts;
mod baseline;
mod countries;
mod hash;
mod monitor;
mod options;
mod protection;
mod report;
mod spray;
mod threat;
mod unique;
mod windows;

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use accounts::AccountReport;
pub use baseline::{Baseline, Spike};
pub use countries::CountryReport;
pub use monitor::{Assessment, AttackMonitor, Kept, MonitorStats};
pub use options::AttackOptions;
pub use protection::{Protection, Reason, Settings, Stance};
pub use report::{Period, Report, ThreatLog};
pub use spray::SprayReport;
pub use threat::{Findings, Signal, SignalKind, Threat, ThreatLevel};
pub use windows::{HISTORY_HOURS, HourMetrics, Metrics, WINDOWS_S};

use super::attempt::Pseudonym;

/// An account by its pseudonym, as short as the counters know it. Written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

impl AccountId {
    /// From the number of [`AccountId::number`].
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The bits.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// From 16 hexadecimal digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl From<Pseudonym> for AccountId {
    fn from(user: Pseudonym) -> Self {
        Self(user.short())
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("an account must be 16 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests;
