//! The measures in force, their expiry, and how two nodes' states become one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::detection::activity::DAY_MS;
use crate::detection::attacks::{AccountId, AttackOptions};
use crate::detection::attempt::{Timestamp, client_network};
use crate::detection::client::{Country, Region};
use crate::detection::record::FUTURE_MAX_MS;

/// Accounts whose reset is remembered.
const RESETS_MAX: usize = 4096;
/// Blocked parts of countries.
const SUBDIVISIONS_MAX: usize = 512;

/// The measures, each with its newest evidence in milliseconds since the epoch. What comes from a store goes through
/// [`Protection::merge`], which bounds it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Protection {
    reset: Option<i64>,
    account_resets: BTreeMap<AccountId, i64>,
    site: Option<i64>,
    monitoring: Option<i64>,
    regions: BTreeMap<u16, i64>,
    /// Parts of countries, by the number of the region.
    subdivisions: BTreeMap<u32, i64>,
    networks: BTreeMap<IpAddr, i64>,
    accounts: BTreeMap<AccountId, i64>,
}

/// Keeps the newer time.
fn newer<K: Ord>(map: &mut BTreeMap<K, i64>, key: K, evidence: i64) {
    let known = map.entry(key).or_insert(evidence);
    *known = (*known).max(evidence);
}

/// Keeps the newer time of each, but none after `ahead`: otherwise a foreign clock could end what is in force here.
fn newer_of<K: Ord + Copy>(map: &mut BTreeMap<K, i64>, other: &BTreeMap<K, i64>, ahead: i64) {
    other.iter().filter(|(_, ts)| **ts <= ahead).for_each(|(&key, &ts)| newer(map, key, ts));
}

/// Keeps the `most` entries of the newest times; of equal ones those with the greatest keys.
fn keep_newest<K: Ord + Copy>(map: &mut BTreeMap<K, i64>, most: usize) {
    if map.len() > most {
        let mut order: Vec<(i64, K)> = map.iter().map(|(&key, &evidence)| (evidence, key)).collect();
        order.sort_unstable();
        order[..order.len() - most].iter().for_each(|(_, key)| {
            map.remove(key);
        });
    }
}

impl Protection {
    /// At `ts` something spoke for looking closely.
    pub fn monitor(&mut self, ts: Timestamp) {
        self.monitoring = self.monitoring.max(Some(ts.millis()));
    }

    /// At `ts` something spoke for asking all strangers for a second proof, slowing them down and a lower threshold.
    pub fn protect_site(&mut self, ts: Timestamp) {
        self.site = self.site.max(Some(ts.millis()));
    }

    /// At `ts` something spoke for asking strangers at `account` for a second proof.
    pub fn protect_account(&mut self, account: AccountId, ts: Timestamp) {
        newer(&mut self.accounts, account, ts.millis());
    }

    /// At `ts` something spoke for slowing down the network of `ip`.
    pub fn limit(&mut self, ip: IpAddr, ts: Timestamp) {
        newer(&mut self.networks, client_network(ip), ts.millis());
    }

    /// At `ts` something spoke for blocking `region`.
    pub fn block_region(&mut self, region: Region, ts: Timestamp) {
        match region.subdivision {
            None => newer(&mut self.regions, region.country.number(), ts.millis()),
            Some(_) => newer(&mut self.subdivisions, region.number(), ts.millis()),
        }
    }

    /// Ends every measure. Only what happens after `now` can bring one back.
    pub fn reset_protection(&mut self, now: Timestamp) {
        let account_resets = std::mem::take(&mut self.account_resets);
        *self = Self { reset: self.reset.max(Some(now.millis())), account_resets, ..Self::default() };
    }

    /// Ends the measures for one account; only what happens after `now` can bring them back.
    pub fn reset_account(&mut self, account: AccountId, now: Timestamp) {
        newer(&mut self.account_resets, account, now.millis());
        self.accounts.remove(&account);
        keep_newest(&mut self.account_resets, RESETS_MAX);
    }

    /// The newest time before which evidence for measures counts no more; `None` when nobody has reset anything.
    pub fn reset_at(&self) -> Option<Timestamp> {
        self.reset.map(Timestamp::from_millis)
    }

    /// When `account` was reset, within the last day or as long as measures hold: attempts from before that are held against
    /// nobody.
    pub fn account_reset(&self, account: AccountId) -> Option<Timestamp> {
        self.account_resets.get(&account).map(|&reset| Timestamp::from_millis(reset))
    }

    /// Takes over what another node, or this one before its restart, knew. Times that lie more than a minute ahead, and
    /// what is over a cap, are left out. The result does not depend on who merges with whom. Returns the resets of accounts
    /// that are news.
    pub fn merge(&mut self, other: &Self, now: Timestamp, options: &AttackOptions) -> Vec<(AccountId, Timestamp)> {
        let known = self.account_resets.clone();
        let ahead = now.millis().saturating_add(FUTURE_MAX_MS);
        let sound = |told: Option<i64>| told.filter(|&ts| ts <= ahead);
        self.reset = self.reset.max(sound(other.reset));
        self.site = self.site.max(sound(other.site));
        self.monitoring = self.monitoring.max(sound(other.monitoring));
        newer_of(&mut self.account_resets, &other.account_resets, ahead);
        newer_of(&mut self.regions, &other.regions, ahead);
        newer_of(&mut self.subdivisions, &other.subdivisions, ahead);
        newer_of(&mut self.networks, &other.networks, ahead);
        newer_of(&mut self.accounts, &other.accounts, ahead);
        self.expire(now, options);
        let news = self.account_resets.iter().filter(|(account, reset)| known.get(account) != Some(reset));
        news.map(|(&account, &reset)| (account, Timestamp::from_millis(reset))).collect()
    }

    /// Forgets what has expired, was reset, lies in the future, or is over a cap.
    pub fn expire(&mut self, now: Timestamp, options: &AttackOptions) {
        let ahead = now.millis().saturating_add(FUTURE_MAX_MS);
        self.reset = self.reset.filter(|&reset| reset <= ahead);
        let ended = now.millis().saturating_sub(hold_ms(options));
        let after = self.reset.unwrap_or(i64::MIN).max(ended);
        let holds = |evidence: i64| evidence > after && evidence <= ahead;
        self.site = self.site.filter(|&evidence| holds(evidence));
        self.monitoring = self.monitoring.filter(|&evidence| holds(evidence));
        // Longer than any window of accounts, so that what came before a reset is over when the reset is forgotten.
        let remembered = now.millis().saturating_sub(hold_ms(options).max(DAY_MS));
        self.account_resets.retain(|_, reset| *reset > remembered && *reset <= ahead);
        let resets = &self.account_resets;
        self.accounts
            .retain(|account, evidence| holds(*evidence) && resets.get(account).is_none_or(|reset| *evidence > *reset));
        self.networks.retain(|network, evidence| holds(*evidence) && client_network(*network) == *network);
        self.regions.retain(|&number, evidence| holds(*evidence) && Country::from_number(number).is_some());
        let part = |number| Region::from_number(number).is_some_and(|region| region.subdivision.is_some());
        self.subdivisions.retain(|&number, evidence| holds(*evidence) && part(number));
        keep_newest(&mut self.subdivisions, SUBDIVISIONS_MAX);
        keep_newest(&mut self.account_resets, RESETS_MAX);
        keep_newest(&mut self.accounts, options.captcha_accounts_max);
        keep_newest(&mut self.networks, options.limited_ips_max);
    }

    fn in_force(&self, evidence: Option<&i64>, now: Timestamp, options: &AttackOptions) -> bool {
        let after = self.reset.unwrap_or(i64::MIN).max(now.millis().saturating_sub(hold_ms(options)));
        evidence.is_some_and(|&evidence| evidence > after)
    }

    /// Whether strangers at `account` need a second proof.
    pub fn account_protected(&self, account: AccountId, now: Timestamp, options: &AttackOptions) -> bool {
        let evidence = self.accounts.get(&account);
        let reset = self.account_resets.get(&account);
        self.in_force(evidence, now, options) && reset.is_none_or(|reset| evidence > Some(reset))
    }

    /// Whether `network` (see [`client_network`]) is slowed down.
    pub fn limited(&self, network: IpAddr, now: Timestamp, options: &AttackOptions) -> bool {
        self.in_force(self.networks.get(&network), now, options)
    }

    /// Whether strangers from `region` are blocked: it, or its whole country.
    pub fn region_blocked(&self, region: Region, now: Timestamp, options: &AttackOptions) -> bool {
        let blocked = |evidence| self.in_force(evidence, now, options);
        let part = region.subdivision.and_then(|_| self.subdivisions.get(&region.number()));
        blocked(self.regions.get(&region.country.number())) || blocked(part)
    }

    /// The settings in force.
    pub fn settings(&self, now: Timestamp, options: &AttackOptions) -> Settings {
        let site = self.in_force(self.site.as_ref(), now, options);
        Settings {
            captcha_enabled: site,
            rate_limit_enabled: site,
            monitoring_mode: self.in_force(self.monitoring.as_ref(), now, options),
            ml_threshold: site.then_some(options.threshold_severe),
        }
    }

    /// Blocked countries and parts of countries, ascending.
    pub fn blocked_regions(&self, now: Timestamp, options: &AttackOptions) -> Vec<Region> {
        let countries = self.regions.keys().filter_map(|&number| Country::from_number(number)).map(Region::from);
        let parts = self.subdivisions.keys().filter_map(|&number| Region::from_number(number));
        let mut blocked: Vec<Region> =
            countries.chain(parts).filter(|&region| self.region_blocked(region, now, options)).collect();
        blocked.sort_unstable();
        blocked
    }

    /// Networks that are slowed down with the seconds until that ends, ascending.
    pub fn rate_limited_ips(&self, now: Timestamp, options: &AttackOptions) -> Vec<(IpAddr, u32)> {
        let left =
            |evidence: i64| (evidence.saturating_add(hold_ms(options)).saturating_sub(now.millis()) + 999) / 1000;
        let held = self.networks.iter().filter(|(_, evidence)| self.in_force(Some(evidence), now, options));
        held.map(|(&network, &evidence)| (network, u32::try_from(left(evidence)).unwrap_or(u32::MAX))).collect()
    }

    /// Accounts at which strangers need a second proof, each with the newest evidence for that, ascending.
    pub fn protected_accounts(&self, now: Timestamp, options: &AttackOptions) -> Vec<(AccountId, Timestamp)> {
        let held = self.accounts.iter().filter(|&(&account, _)| self.account_protected(account, now, options));
        held.map(|(&account, &evidence)| (account, Timestamp::from_millis(evidence))).collect()
    }

    /// Accounts at which strangers need a second proof, ascending.
    pub fn captcha_accounts(&self, now: Timestamp, options: &AttackOptions) -> Vec<AccountId> {
        self.protected_accounts(now, options).into_iter().map(|(account, _)| account).collect()
    }
}

fn hold_ms(options: &AttackOptions) -> i64 {
    i64::from(options.measure_s) * 1000
}
