//! One password over many accounts, and one network over many accounts.
//!
//! Both count accounts, not attempts: a device that repeats itself is one account. A network is held against the users
//! who log in from it, so that a carrier's or an office's many typing errors are no spray. A spray without password tags
//! from many networks shows in neither; it shows as a spike (see `baseline`).
//!
//! Adding commutes as long as no cap makes an entry forget something. Over the caps entries with the fewest accounts go
//! first.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use super::{AccountId, AttackOptions};
use crate::detection::activity::{DAY_MS, HOUR_MS};
use crate::detection::attempt::Timestamp;

/// Accounts kept per tag and per network, and networks kept per tag.
const KEPT: usize = 64;

/// Different keys with the time they were last seen: the newest [`KEPT`].
#[derive(Debug, Clone, PartialEq)]
struct Recent<K>(Vec<(i64, K)>);

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Copy> Recent<K> {
    fn see(&mut self, ts: Timestamp, key: K) {
        let item = (ts.millis(), key);
        if let Some(place) = self.0.iter().position(|known| known.1 == key) {
            if self.0[place] >= item {
                return;
            }
            self.0.remove(place);
        } else if self.0.len() >= KEPT {
            if self.0[0] > item {
                return;
            }
            self.0.remove(0);
        }
        let place = self.0.partition_point(|known| *known < item);
        self.0.insert(place, item);
    }

    fn within(&self, now: Timestamp, window_ms: i64) -> impl Iterator<Item = &(i64, K)> {
        let (first, last) = (now.plus_millis(-window_ms).millis(), now.millis());
        self.0.iter().filter(move |item| item.0 > first && item.0 <= last)
    }

    fn newest(&self, now: Timestamp) -> i64 {
        self.0.iter().rev().find(|item| item.0 <= now.millis()).map_or(i64::MIN, |item| item.0)
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Tag {
    accounts: Recent<AccountId>,
    networks: Recent<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Network {
    failed: Recent<AccountId>,
    succeeded: Recent<AccountId>,
}

/// What can be held against a password or a network.
#[derive(Debug, Clone, PartialEq)]
pub struct SprayReport {
    /// 0–1; a spray from 0.5 on.
    pub score: f64,
    /// Accounts that it failed for, up to 64.
    pub accounts: usize,
    /// The networks that do it, of which users log in from few.
    pub networks: Vec<IpAddr>,
    /// The newest failure that counts.
    pub evidence: Timestamp,
    /// Whether one password gave it away, and not one network.
    pub by_password: bool,
}

/// The tables.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spray {
    tags: HashMap<u64, Tag>,
    networks: HashMap<IpAddr, Network>,
}

impl Spray {
    /// A stranger failed at `account` from `network`, with the password `tag` if the caller tells.
    pub fn failure(
        &mut self,
        ts: Timestamp,
        account: AccountId,
        network: IpAddr,
        tag: Option<u64>,
        options: &AttackOptions,
    ) {
        if let Some(tag) = tag {
            make_room(&mut self.tags, &tag, options.tags_max, |tag| {
                (tag.accounts.0.len(), tag.accounts.0.last().map(|item| item.0))
            });
            let entry = self.tags.entry(tag).or_default();
            entry.accounts.see(ts, account);
            entry.networks.see(ts, network);
        }
        self.room_for(network, options);
        self.networks.entry(network).or_default().failed.see(ts, account);
    }

    /// `account` logged in from `network`.
    pub fn success(&mut self, ts: Timestamp, account: AccountId, network: IpAddr, options: &AttackOptions) {
        self.room_for(network, options);
        self.networks.entry(network).or_default().succeeded.see(ts, account);
    }

    fn room_for(&mut self, network: IpAddr, options: &AttackOptions) {
        make_room(&mut self.networks, &network, options.networks_max, |network| {
            let newest = network.failed.0.last().map(|item| item.0).max(network.succeeded.0.last().map(|item| item.0));
            (network.failed.0.len().max(network.succeeded.0.len()), newest)
        });
    }

    /// Accounts that logged in from `network` within a day, up to 64.
    pub fn users_of(&self, network: IpAddr, now: Timestamp) -> usize {
        self.networks.get(&network).map_or(0, |entry| entry.succeeded.within(now, DAY_MS).count())
    }

    /// Everything that is a spray at `now`, worst first, at most `most`.
    pub fn found(&self, now: Timestamp, options: &AttackOptions, most: usize) -> Vec<SprayReport> {
        let tags = self.tags.values().filter_map(|tag| self.judge_tag(tag, now, options));
        let networks = self.networks.iter().filter_map(|(&ip, network)| judge_network(ip, network, now, options));
        let mut found: Vec<_> = tags.chain(networks).filter(|report| report.score >= 0.5).collect();
        found.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.networks.cmp(&b.networks)));
        found.truncate(most);
        found
    }

    fn judge_tag(&self, tag: &Tag, now: Timestamp, options: &AttackOptions) -> Option<SprayReport> {
        let hour = tag.accounts.within(now, HOUR_MS).count();
        // What has ended is over, also within its day.
        let day = if hour > 0 { tag.accounts.within(now, DAY_MS).count() } else { 0 };
        let share = |accounts: usize, least: u32| 0.5 * accounts as f64 / f64::from(least.max(1));
        let score = share(hour, options.tag_accounts_hour).max(share(day, options.tag_accounts_day)).min(1.0);
        let shared = |network: &IpAddr| self.users_of(*network, now) >= options.shared_network_accounts;
        let networks = || tag.networks.within(now, DAY_MS).map(|item| item.1).filter(|network| !shared(network));
        (score >= 0.5).then(|| SprayReport {
            score,
            accounts: day,
            networks: networks().collect(),
            evidence: Timestamp::from_millis(tag.accounts.newest(now)),
            by_password: true,
        })
    }

    /// Whether `network`, or the password `tag` that it tried, is a spray; never where `network` is shared by users.
    pub fn condemns(&self, network: IpAddr, tag: Option<u64>, now: Timestamp, options: &AttackOptions) -> bool {
        if self.users_of(network, now) >= options.shared_network_accounts {
            return false;
        }
        let by_tag = tag.and_then(|tag| self.tags.get(&tag)).and_then(|tag| self.judge_tag(tag, now, options));
        let entry = self.networks.get(&network);
        by_tag.or_else(|| entry.and_then(|entry| judge_network(network, entry, now, options))).is_some()
    }

    /// Forgets what is older than a day.
    pub fn prune(&mut self, now: Timestamp) {
        let day_ago = now.plus_millis(-DAY_MS).millis();
        self.tags.retain(|_, tag| {
            trim(&mut tag.networks, day_ago);
            trim(&mut tag.accounts, day_ago)
        });
        self.networks.retain(|_, network| {
            let failed = trim(&mut network.failed, day_ago);
            trim(&mut network.succeeded, day_ago) || failed
        });
    }

    /// Forgets the failures up to and with `until`.
    pub fn forget_failures(&mut self, until: Timestamp) {
        let until = until.millis();
        self.tags.retain(|_, tag| {
            trim(&mut tag.networks, until);
            trim(&mut tag.accounts, until)
        });
        self.networks.retain(|_, network| trim(&mut network.failed, until) || !network.succeeded.0.is_empty());
    }

    /// Password tags and networks followed, and estimated bytes.
    pub fn stats(&self) -> (usize, usize, usize) {
        let accounts = |recent: &Recent<AccountId>| recent.0.capacity() * size_of::<(i64, AccountId)>();
        let of_tag = |tag: &Tag| accounts(&tag.accounts) + tag.networks.0.capacity() * size_of::<(i64, IpAddr)>();
        let tags: usize = self.tags.values().map(of_tag).sum();
        let networks: usize =
            self.networks.values().map(|network| accounts(&network.failed) + accounts(&network.succeeded)).sum();
        let slots = self.tags.len() * size_of::<(u64, Tag)>() + self.networks.len() * size_of::<(IpAddr, Network)>();
        (self.tags.len(), self.networks.len(), tags + networks + slots * 3 / 2)
    }
}

/// Judges what one network did.
fn judge_network(ip: IpAddr, network: &Network, now: Timestamp, options: &AttackOptions) -> Option<SprayReport> {
    if network.failed.0.len() < options.network_accounts as usize {
        return None;
    }
    let users: Vec<AccountId> = network.succeeded.within(now, DAY_MS).map(|item| item.1).collect();
    let strangers = network.failed.within(now, 3 * HOUR_MS).filter(|item| !users.contains(&item.1)).count();
    let score = (0.5 * strangers as f64 / f64::from(options.network_accounts.max(1))).min(1.0);
    let going_on = network.failed.newest(now) > now.plus_millis(-HOUR_MS).millis();
    let outnumbered = strangers as f64 >= options.network_ratio * users.len() as f64;
    (score >= 0.5 && going_on && outnumbered).then(|| SprayReport {
        score,
        accounts: strangers,
        networks: vec![ip],
        evidence: Timestamp::from_millis(network.failed.newest(now)),
        by_password: false,
    })
}

fn trim<K>(recent: &mut Recent<K>, oldest: i64) -> bool {
    recent.0.retain(|item| item.0 > oldest);
    recent.0.shrink_to_fit();
    !recent.0.is_empty()
}

/// Lets a sixteenth go where a new key would exceed the cap.
fn make_room<K: Hash + Ord + Copy, V>(
    map: &mut HashMap<K, V>,
    key: &K,
    most: usize,
    worth: impl Fn(&V) -> (usize, Option<i64>),
) {
    if map.len() < most || map.contains_key(key) {
        return;
    }
    let batch = (map.len() / 16).max(1).min(map.len());
    let mut order: Vec<_> = map.iter().map(|(key, value)| (worth(value), *key)).collect();
    if batch > 0 {
        order.select_nth_unstable(batch - 1);
    }
    order[..batch].iter().for_each(|(_, key)| {
        map.remove(key);
    });
}

#[cfg(test)]
mod tests;
