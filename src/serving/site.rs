//! The operator's lists and the site's time zone, compiled once per configuration instead of once per attempt.

use std::collections::HashSet;
use std::net::IpAddr;

use chrono::Timelike;
use chrono_tz::Tz;
use ipnet::IpNet;

use crate::config::Config;
use crate::detection::attempt::{Attempt, Pseudonym, Timestamp};
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::CheckedRecord;

/// What the site says about networks, accounts and time.
#[derive(Debug)]
pub struct Site {
    trusted_networks: Vec<IpNet>,
    suspicious_networks: Vec<IpNet>,
    trusted_accounts: HashSet<Pseudonym>,
    zone: Tz,
}

impl Site {
    /// Compiles the lists of a checked configuration; an unknown time zone (refused by `check`) counts as UTC. Accounts
    /// are kept as pseudonyms, because that is all that is known of them later.
    pub fn new(config: &Config, pseudonymizer: &Pseudonymizer) -> Self {
        Self {
            trusted_networks: config.lists.trusted_networks.clone(),
            suspicious_networks: config.lists.suspicious_networks.clone(),
            trusted_accounts: config.lists.trusted_accounts.iter().map(|name| pseudonymizer.name(name)).collect(),
            zone: config.training.timezone.parse().unwrap_or(Tz::UTC),
        }
    }

    /// Whether an attempt is allowed whatever the model says, and never trained on.
    pub fn trusts(&self, attempt: &Attempt) -> bool {
        contains(&self.trusted_networks, attempt.client_ip)
            || self.trusted_accounts.contains(&attempt.name)
            || self.trusted_accounts.contains(&attempt.user)
    }

    /// Puts the forwarded address of a record in the place of the one that it came from, if the host there is believed when
    /// it says who its client is: it lies in a trusted network. Everything that scores or counts records asks here first, live
    /// and offline.
    pub fn resolve(&self, record: &mut CheckedRecord) {
        if let Some(forwarded) = record.forwarded_ip
            && contains(&self.trusted_networks, record.attempt.client_ip)
        {
            record.attempt.client_ip = forwarded;
        }
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
