//! The operator's lists and the site's time zone, compiled once per configuration instead of once per attempt.

use std::collections::HashSet;
use std::net::IpAddr;

use chrono::Timelike;
use chrono_tz::Tz;
use ipnet::IpNet;

use crate::config::Config;
use crate::detection::attempt::Timestamp;

/// What the site says about networks, accounts and time.
#[derive(Debug)]
pub struct Site {
    trusted_networks: Vec<IpNet>,
    suspicious_networks: Vec<IpNet>,
    trusted_accounts: HashSet<String>,
    zone: Tz,
}

impl Site {
    /// Compiles the lists of a checked configuration; an unknown time zone (refused by `check`) counts as UTC.
    pub fn new(config: &Config) -> Self {
        Self {
            trusted_networks: config.lists.trusted_networks.clone(),
            suspicious_networks: config.lists.suspicious_networks.clone(),
            trusted_accounts: config.lists.trusted_accounts.iter().map(|name| fold(name)).collect(),
            zone: config.training.timezone.parse().unwrap_or(Tz::UTC),
        }
    }

    /// Whether attempts from `ip`, or on one of `accounts`, are allowed whatever the model says.
    pub fn trusts(&self, ip: IpAddr, accounts: [Option<&str>; 2]) -> bool {
        contains(&self.trusted_networks, ip)
            || (!self.trusted_accounts.is_empty()
                && accounts.into_iter().flatten().any(|name| self.trusted_accounts.contains(&fold(name))))
    }

    /// Whether `ip` lies in a network that the operator listed as suspicious.
    pub fn suspects(&self, ip: IpAddr) -> bool {
        contains(&self.suspicious_networks, ip)
    }

    /// The hour (0–23) of `ts` on the site's clocks.
    pub fn hour(&self, ts: Timestamp) -> u8 {
        let hour = ts.to_utc().with_timezone(&self.zone).hour();
        u8::try_from(hour).expect("an hour is below 24")
    }
}

fn contains(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

fn fold(name: &str) -> String {
    name.trim().to_lowercase()
}
