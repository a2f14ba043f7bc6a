//! `[attacks]`: from when on many networks or many accounts make a distributed attack, and how long measures hold. Applies
//! at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::detection::attacks::AttackOptions;

/// The `[attacks]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttacksConfig {
    /// Whether attempts are watched for distributed attacks, and measures are taken. Default: true.
    pub enabled: bool,
    /// An account is attacked when more strange networks than this guess at it within an hour, 3 to 60. Default: 10, more
    /// than a user's own devices and journeys make.
    pub account_networks_hour: u32,
    /// The same within a day, 3 to 60. Default: 30; 64 networks are remembered.
    pub account_networks_day: u32,
    /// Different passwords that must have been tried at an attacked account, where the caller sends tags, 1 to 8. Default: 3;
    /// a device that roams with a stale password repeats one.
    pub account_passwords_min: u32,
    /// One password that fails for this many accounts within an hour is a spray, 3 to 60. Default: 20.
    pub tag_accounts_hour: u32,
    /// The same within a day, 3 to 60. Default: 60.
    pub tag_accounts_day: u32,
    /// One network that fails for this many accounts within three hours is a spray, 3 to 60. Default: 15.
    pub network_accounts: u32,
    /// A network from which this many accounts logged in within a day is shared and never slowed down, 1 to 60. Default: 3.
    pub shared_network_accounts: usize,
    /// How long a measure holds after the newest evidence for it, 1 min to 1 d. Default: 1 h.
    #[serde(with = "humantime_serde")]
    pub measure: Duration,
    /// What clients of a network that takes part in an attack are told to wait, 1 s to 1 h. Default: 60 s.
    #[serde(with = "humantime_serde")]
    pub retry_after: Duration,
    /// What the threshold for blocking is lowered to under severe threat, above 0 and below 1. Default: 0.5.
    pub threshold_severe: f64,
}

impl Default for AttacksConfig {
    fn default() -> Self {
        let options = AttackOptions::default();
        Self {
            enabled: true,
            account_networks_hour: options.account_networks_hour,
            account_networks_day: options.account_networks_day,
            account_passwords_min: options.account_passwords_min,
            tag_accounts_hour: options.tag_accounts_hour,
            tag_accounts_day: options.tag_accounts_day,
            network_accounts: options.network_accounts,
            shared_network_accounts: options.shared_network_accounts,
            measure: Duration::from_secs(options.measure_s.into()),
            retry_after: Duration::from_secs(options.retry_after_s.into()),
            threshold_severe: options.threshold_severe,
        }
    }
}

impl AttacksConfig {
    /// The thresholds that the monitor follows; what is no key here keeps its default.
    pub fn options(&self) -> AttackOptions {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        AttackOptions {
            account_networks_hour: self.account_networks_hour,
            account_networks_day: self.account_networks_day,
            account_passwords_min: self.account_passwords_min,
            tag_accounts_hour: self.tag_accounts_hour,
            tag_accounts_day: self.tag_accounts_day,
            network_accounts: self.network_accounts,
            shared_network_accounts: self.shared_network_accounts,
            measure_s: seconds(self.measure),
            retry_after_s: seconds(self.retry_after),
            threshold_severe: self.threshold_severe,
            ..AttackOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_detection() {
        assert_eq!(AttacksConfig::default().options(), AttackOptions::default());
    }
}
