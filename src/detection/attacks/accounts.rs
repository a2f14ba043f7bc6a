//! Accounts at which many networks guess a few times each.
//!
//! Networks count, not addresses: one machine owns a whole /64, and one provider moves its customer within a /24.
//! Networks where the account logged in within a day do not count, nor do those that fail often: they are loud on their
//! own, and must not hide the quiet ones. What the caller takes for known good never comes here.
//!
//! Adding commutes as long as no cap makes an account forget something. Over the cap of bytes accounts that very many networks
//! tried keep the newest of these; then the accounts that fewest networks tried go first, so an attacker who makes up
//! names pushes out made-up names.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{AccountId, AttackOptions};
use crate::detection::activity::{DAY_MS, HOUR_MS};
use crate::detection::attempt::Timestamp;

/// Networks kept per account …
const NETWORKS_KEPT: usize = 1024;
/// … and those that an account with more than twice as many is cut down to before any account has to go.
const NETWORKS_LEFT: usize = 64;
/// Failures kept per network: as many make it a loud one.
const TRIES_KEPT: usize = 4;
/// Networks with successes kept per account.
const HOMES_KEPT: usize = 16;
/// Password tags kept per account.
const TAGS_KEPT: usize = 8;
/// Room of an account in the map: hash maps are between 7/16 and 7/8 full.
const SLOT_BYTES: usize = size_of::<(AccountId, Account)>() * 3 / 2;

/// The failures from one network: the newest times in seconds since the epoch, ascending; 0 is none.
#[derive(Debug, Clone, PartialEq)]
struct Source {
    network: IpAddr,
    tries: [u32; TRIES_KEPT],
}

impl Source {
    fn newest(&self) -> u32 {
        self.tries[TRIES_KEPT - 1]
    }

    fn add(&mut self, second: u32) {
        if second > self.tries[0] {
            self.tries[0] = second;
            self.tries.sort_unstable();
        }
    }

    fn tries(&self, after: u32, until: u32) -> usize {
        self.tries.iter().filter(|&&second| second > after && second <= until).count()
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Account {
    sources: Vec<Source>,
    homes: Vec<(u32, IpAddr)>,
    tags: Vec<(u32, u64)>,
    /// The newest failure without a tag: then passwords cannot be told apart.
    untagged: u32,
    newest: u32,
}

/// What is held against one account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountReport {
    /// Whose account.
    pub account: AccountId,
    /// 0–1; attacked from 0.5 on.
    pub score: f64,
    /// Strange networks that failed rarely, within an hour.
    pub networks_hour: u32,
    /// The same within a day, up to 1024.
    pub networks_day: u32,
    /// Failures from the networks of the hour.
    pub failures_hour: u32,
    /// Networks per failure among those of the hour.
    pub ratio: f64,
    /// The newest failure that counts.
    pub evidence: Timestamp,
    /// The networks themselves, of the longer window that condemns; the newest first.
    pub sources: Vec<IpAddr>,
}

impl AccountReport {
    /// Whether many networks guess at it.
    pub fn attacked(&self) -> bool {
        self.score >= 0.5
    }
}

/// The table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Accounts {
    map: HashMap<AccountId, Account>,
    bytes: usize,
    evicted: u64,
}

fn second(ts: Timestamp) -> u32 {
    u32::try_from(ts.millis().div_euclid(1000).max(0)).unwrap_or(u32::MAX)
}

/// Keeps the `keep` greatest by time of distinct keys, each with its newest time.
fn note<K: Copy + Ord>(items: &mut Vec<(u32, K)>, item: (u32, K), keep: usize) {
    if let Some(known) = items.iter_mut().find(|known| known.1 == item.1) {
        known.0 = known.0.max(item.0);
    } else if items.len() < keep {
        items.push(item);
    } else if let Some(oldest) = items.iter_mut().min()
        && *oldest < item
    {
        *oldest = item;
    }
    items.sort_unstable();
}

impl Account {
    fn failure(&mut self, at: u32, network: IpAddr, tag: Option<u64>) {
        self.newest = self.newest.max(at);
        match tag {
            Some(tag) => note(&mut self.tags, (at, tag), TAGS_KEPT),
            None => self.untagged = self.untagged.max(at),
        }
        let order = |source: &Source| (source.newest(), source.network);
        // Who failed lately fails again: from the newest on.
        let source = if let Some(place) = self.sources.iter().rposition(|source| source.network == network) {
            let mut source = self.sources.remove(place);
            source.add(at);
            source
        } else {
            if self.sources.len() >= NETWORKS_KEPT {
                if order(&self.sources[0]) > (at, network) {
                    return;
                }
                self.sources.remove(0);
            }
            let mut tries = [0; TRIES_KEPT];
            tries[TRIES_KEPT - 1] = at;
            Source { network, tries }
        };
        let place = self.sources.partition_point(|known| order(known) < order(&source));
        self.sources.insert(place, source);
    }

    /// Keeps the newest networks only where there are many, so that there is room for a while. Returns whether there were.
    fn cut_down(&mut self) -> bool {
        let many = self.sources.len() > 2 * NETWORKS_LEFT;
        if many {
            self.sources.drain(..self.sources.len() - NETWORKS_LEFT);
            self.sources.shrink_to_fit();
        }
        many
    }

    fn forget(&mut self, until: u32) {
        for source in &mut self.sources {
            source.tries.iter_mut().filter(|second| **second <= until).for_each(|second| *second = 0);
        }
        self.sources.retain(|source| source.newest() > 0);
        self.tags.retain(|&(seen, _)| seen > until);
        if self.untagged <= until {
            self.untagged = 0;
        }
    }

    fn bytes(&self) -> usize {
        SLOT_BYTES
            + self.sources.capacity() * size_of::<Source>()
            + self.homes.capacity() * size_of::<(u32, IpAddr)>()
            + self.tags.capacity() * size_of::<(u32, u64)>()
    }

    /// Strange networks that failed at least once and rarely, with their failures and the newest of them.
    fn quiet(&self, now: u32, window_s: u32) -> (Vec<IpAddr>, usize, u32) {
        let after = now.saturating_sub(window_s);
        let at_home =
            |network| self.homes.iter().any(|&(seen, home)| home == network && seen > now.saturating_sub(86_400));
        let mut found = (Vec::new(), 0, 0);
        for source in self.sources.iter().rev() {
            let tries = source.tries(after, now);
            if (1..TRIES_KEPT).contains(&tries) && !at_home(source.network) {
                found.0.push(source.network);
                found.1 += tries;
                let newest = source.tries.iter().rev().find(|&&second| second <= now).copied().unwrap_or(0);
                found.2 = newest.max(found.2);
            }
        }
        found
    }

    fn report(&self, account: AccountId, now: Timestamp, options: &AttackOptions) -> AccountReport {
        let now = second(now);
        let (hour, hour_tries, hour_newest) = self.quiet(now, (HOUR_MS / 1000) as u32);
        let (day, day_tries, day_newest) = self.quiet(now, (DAY_MS / 1000) as u32);
        let ratio = |networks: usize, tries: usize| if tries == 0 { 0.0 } else { networks as f64 / tries as f64 };
        // Half a point for one network more than allowed; fewer networks per failure take more of them.
        let score = |networks: usize, tries, allowed: u32| {
            let weight = (ratio(networks, tries) / options.account_ratio).min(1.0);
            (0.5 * networks as f64 / f64::from(allowed.saturating_add(1)) * weight).min(1.0)
        };
        let by_hour = score(hour.len(), hour_tries, options.account_networks_hour);
        // What has ended is over, also within its day.
        let going_on = day_newest > now.saturating_sub((HOUR_MS / 1000) as u32);
        let by_day = if going_on { score(day.len(), day_tries, options.account_networks_day) } else { 0.0 };
        let day_ago = now.saturating_sub(86_400);
        let tags = self.tags.iter().filter(|&&(seen, _)| seen > day_ago && seen <= now).count();
        let one_password = self.untagged <= day_ago && tags < options.account_passwords_min as usize;
        let by_hours = by_hour >= by_day;
        AccountReport {
            account,
            score: if one_password { 0.0 } else { by_hour.max(by_day) },
            networks_hour: hour.len() as u32,
            networks_day: day.len() as u32,
            failures_hour: hour_tries as u32,
            ratio: ratio(hour.len(), hour_tries),
            evidence: Timestamp::from_millis(i64::from(if by_hours { hour_newest } else { day_newest }) * 1000),
            sources: if by_hours { hour } else { day },
        }
    }
}

impl Accounts {
    /// A stranger failed at `account` from `network`.
    pub fn failure(&mut self, ts: Timestamp, account: AccountId, network: IpAddr, tag: Option<u64>, bytes_max: usize) {
        let entry = self.map.entry(account).or_insert_with(|| {
            self.bytes += SLOT_BYTES;
            Account::default()
        });
        let before = entry.bytes();
        entry.failure(second(ts), network, tag);
        self.bytes = self.bytes - before + entry.bytes();
        while self.bytes > bytes_max && !self.map.is_empty() {
            if !self.cut_down() {
                self.evict();
            }
        }
    }

    /// `account` logged in from `network`, which stops counting there for a day. Accounts at which nobody ever failed are
    /// not followed: where the success comes first, the caller takes later failures there for what they are.
    pub fn success(&mut self, ts: Timestamp, account: AccountId, network: IpAddr) {
        if let Some(entry) = self.map.get_mut(&account) {
            let before = entry.bytes();
            note(&mut entry.homes, (second(ts), network), HOMES_KEPT);
            self.bytes = self.bytes - before + entry.bytes();
        }
    }

    /// What is held against `account`; `None` when nobody failed there lately.
    pub fn report(&self, account: AccountId, now: Timestamp, options: &AttackOptions) -> Option<AccountReport> {
        self.map.get(&account).map(|entry| entry.report(account, now, options))
    }

    /// The attacked accounts, worst first, at most `most`.
    pub fn attacked(&self, now: Timestamp, options: &AttackOptions, most: usize) -> Vec<AccountReport> {
        let enough = options.account_networks_hour.min(options.account_networks_day) as usize;
        let candidates = self.map.iter().filter(|(_, entry)| entry.sources.len() > enough);
        let reports = candidates.map(|(&account, entry)| entry.report(account, now, options));
        let mut found: Vec<_> = reports.filter(AccountReport::attacked).collect();
        found.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.account.cmp(&b.account)));
        found.truncate(most);
        found
    }

    /// Forgets what was held against `account` up to and with the second of `until`.
    pub fn forget(&mut self, account: AccountId, until: Timestamp) {
        let Some(entry) = self.map.get_mut(&account) else { return };
        let before = entry.bytes();
        entry.forget(second(until));
        let after = entry.bytes();
        if entry.sources.is_empty() {
            self.map.remove(&account);
            self.bytes -= before;
        } else {
            self.bytes = self.bytes - before + after;
        }
    }

    /// As [`forget`](Self::forget) for all accounts.
    pub fn forget_all(&mut self, until: Timestamp) {
        self.map.retain(|_, entry| {
            entry.forget(second(until));
            !entry.sources.is_empty()
        });
        self.bytes = self.map.values().map(Account::bytes).sum();
    }

    fn cut_down(&mut self) -> bool {
        let cut = self.map.values_mut().filter_map(|entry| entry.cut_down().then_some(())).count() > 0;
        if cut {
            self.bytes = self.map.values().map(Account::bytes).sum();
        }
        cut
    }

    fn remove(&mut self, account: AccountId) {
        if let Some(entry) = self.map.remove(&account) {
            self.bytes -= entry.bytes();
        }
    }

    /// Forgets accounts at which nobody failed for a day.
    pub fn prune(&mut self, now: Timestamp) {
        let day_ago = second(now.plus_millis(-DAY_MS));
        self.map.retain(|_, entry| entry.newest > day_ago);
        self.bytes = self.map.values().map(Account::bytes).sum();
    }

    /// Accounts followed, estimated bytes, and accounts that had to go since the start.
    pub fn stats(&self) -> (usize, usize, u64) {
        (self.map.len(), self.bytes, self.evicted)
    }

    /// A sixteenth goes at once: those tried by fewest networks, of these the ones longest ago.
    fn evict(&mut self) {
        let batch = (self.map.len() / 16).max(1);
        let mut order: Vec<_> = self.map.iter().map(|(&id, entry)| (entry.sources.len(), entry.newest, id)).collect();
        order.select_nth_unstable(batch - 1);
        for &(_, _, account) in &order[..batch] {
            self.remove(account);
            self.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests;
