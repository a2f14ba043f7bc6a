//! What has been going on: the counters behind the features, per client address and network, per user, per pair of
//! them, per password tag, per provider, and for the site as a whole.
//!
//! Integer counts in time buckets and capped sets of hashes, driven by event time only. Adding commutes, so nodes that
//! saw the same attempts in any order hold equal activities (as long as no cap makes one of them forget something).
//! Queries at a time see nothing that happened later. Nobody is told apart by name here: users are keyed pseudonyms.
//!
//! Nothing here knows whether an attempt was counted before: see [`Tracker`](crate::detection::tracker::Tracker).

mod checkpoint;
mod counter;
mod distinct;
mod kinds;
mod known;
mod limits;
mod table;
mod view;

use std::net::IpAddr;

use ipnet::IpNet;

use super::attempt::{Attempt, Outcome, PasswordTag, Pseudonym, RequestKey, Timestamp, client_network};
pub use checkpoint::ActivityError;
pub use counter::Counts;
use kinds::{Account, Category, Network, Pair, Source, System, Tag, Traffic, User, Visit};
pub use known::Trait;
pub use limits::{ActivityLimits, ActivityStats, Evictions, KindStats};
use table::Table;
pub use view::View;

/// One hour in milliseconds: the window of everything counted per client address.
pub const HOUR_MS: i64 = 3600 * 1000;
/// One day in milliseconds: the longest window of a feature. What is older when it arrives is history.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// How long an address or network is remembered for its last success.
pub const KNOWN_SOURCE_MS: i64 = 7 * DAY_MS;
/// How long a user is remembered after the last success, altogether and from one address, and a pair of user and network
/// after anything last happened there.
pub const KNOWN_PAIR_MS: i64 = 30 * DAY_MS;

/// The counters. Equality is equality of contents.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    sources: Table<IpAddr, Source>,
    networks: Table<IpAddr, Network>,
    users: Table<u64, User>,
    accounts: Table<u64, Account>,
    pairs: Table<(u64, IpAddr), Pair>,
    visits: Table<(u64, IpAddr), Visit>,
    tags: Table<u64, Tag>,
    systems: Table<u32, System>,
    categories: Table<u64, Category>,
    traffic: Traffic,
    /// Networks whose addresses stand for many people; see [`Activity::set_shared`]. Belongs to the configuration.
    shared: Vec<IpNet>,
}

impl Default for Activity {
    fn default() -> Self {
        Self::new(ActivityLimits::default())
    }
}

impl Activity {
    /// Nothing has happened yet.
    pub fn new(limits: ActivityLimits) -> Self {
        Self {
            sources: Table::new(limits.sources_bytes_max),
            networks: Table::new(limits.networks_bytes_max),
            users: Table::new(limits.users_bytes_max),
            accounts: Table::new(limits.accounts_bytes_max),
            pairs: Table::new(limits.pairs_bytes_max),
            visits: Table::new(limits.visits_bytes_max),
            tags: Table::new(limits.tags_bytes_max),
            systems: Table::new(limits.systems_bytes_max),
            categories: Table::new(limits.categories_bytes_max),
            traffic: Traffic::default(),
            shared: Vec::new(),
        }
    }

    /// Counts an attempt, whatever will become of it. Look-ups without a password are counted nowhere.
    pub fn apply_attempt(&mut self, attempt: &Attempt) {
        if attempt.no_auth {
            return;
        }
        if !self.is_shared(attempt.client_ip) {
            self.sources.update(attempt.client_ip, |source| source.attempt(attempt));
            self.networks.update(client_network(attempt.client_ip), |network| network.attempt(attempt));
        }
        self.users.update(attempt.user.short(), |user| user.attempt(attempt));
        if let Some(tag) = attempt.password {
            self.tags.update(tag.0, |tag| tag.attempt(attempt));
        }
    }

    /// Counts what became of an attempt. Only successes and failures say anything about a password; the others count
    /// nowhere.
    pub fn apply_outcome(&mut self, attempt: &Attempt, outcome: Outcome) {
        if attempt.no_auth {
            return;
        }
        let (user, ip, network) = (attempt.user.short(), attempt.client_ip, client_network(attempt.client_ip));
        let shared = self.is_shared(ip);
        match outcome {
            Outcome::Unknown | Outcome::Blocked => {}
            Outcome::Success => {
                if !shared {
                    self.source_outcome(ip, |source| source.success(attempt));
                    self.networks.update(network, |network| network.success(attempt));
                }
                self.accounts.update(user, |account| account.success(attempt));
                self.pairs.update((user, network), |pair| pair.success(attempt));
                self.visits.update((user, ip), |visit| visit.success(attempt));
                self.count_for_all(attempt, Counts::SUCCESS);
            }
            Outcome::Failure => {
                if !shared {
                    self.source_outcome(ip, |source| source.failure(attempt));
                    self.networks.update(network, |network| network.failure(attempt));
                }
                self.users.update(user, |user| user.failure(attempt));
                self.pairs.update((user, network), |pair| pair.failure(attempt));
                self.visits.update((user, ip), |visit| visit.failure(attempt));
                self.count_for_all(attempt, Counts::FAILURE);
            }
        }
    }

    /// Counts an outcome of an address, and for the site when the address began to fail.
    fn source_outcome(&mut self, ip: IpAddr, count: impl FnOnce(&mut Source)) {
        let before = self.sources.get(&ip).and_then(Source::fails_since);
        let mut after = None;
        self.sources.update(ip, |source| {
            count(source);
            after = source.fails_since();
        });
        self.traffic.address(before, after);
    }

    /// Failures and successes of whole providers and of values of additional features.
    fn count_for_all(&mut self, attempt: &Attempt, counts: Counts) {
        if let Some(asn) = attempt.client.asn {
            self.systems.update(asn.number(), |system| system.outcome(attempt.ts, counts));
        }
        for &category in &attempt.categories {
            self.categories.update(category, |category| category.outcome(attempt.ts, counts));
        }
    }

    /// What is known around `attempt` at its time, looked up once.
    pub fn view<'a>(&'a self, attempt: &'a Attempt) -> View<'a> {
        View::new(self, attempt)
    }

    /// When the last attempt from `ip` not later than `ts` was made, other than the request `except` itself.
    pub fn previous_attempt(&self, ip: IpAddr, ts: Timestamp, except: Option<RequestKey>) -> Option<Timestamp> {
        self.sources.get(&ip)?.previous_attempt(ts, except)
    }

    /// Attempts and failures from `ip` in the last `window_ms` (up to an hour) before `ts`, to the minute.
    pub fn source_counts(&self, ip: IpAddr, ts: Timestamp, window_ms: i64) -> Counts {
        self.sources.get(&ip).map_or_else(Counts::default, |source| source.counts(ts, window_ms))
    }

    /// How many accounts `ip` tried in the last hour before `ts`, `present` included; counted up to 64 or so. Where no account
    /// is told, a name is its own account.
    pub fn distinct_names(&self, ip: IpAddr, ts: Timestamp, present: Pseudonym) -> usize {
        self.sources.get(&ip).map_or(0, |source| source.other_names(ts, present)) + 1
    }

    /// How many password tags were tried for `user` in the last day before `ts`, `present` included if there is one;
    /// counted up to 64 or so.
    pub fn distinct_tags(&self, user: Pseudonym, ts: Timestamp, present: Option<PasswordTag>) -> usize {
        let others = self.users.get(&user.short()).map_or(0, |user| user.other_tags(ts, present));
        others + usize::from(present.is_some())
    }

    /// Attempts on and failures of `user` in the last `window_ms` (up to a day) before `ts`, to the hour.
    pub fn user_counts(&self, user: Pseudonym, ts: Timestamp, window_ms: i64) -> Counts {
        self.users.get(&user.short()).map_or_else(Counts::default, |user| user.counts(ts, window_ms))
    }

    /// Whether `user` is known from the network of `ip`: the user logged in from there at least a day before `ts`, and
    /// nobody there has been guessing since the last time. One stale password, however often repeated, is not guessing.
    pub fn known_good(&self, user: Pseudonym, ip: IpAddr, ts: Timestamp) -> bool {
        self.pairs.get(&(user.short(), client_network(ip))).is_some_and(|pair| pair.known_good(ts))
    }

    /// Whether `user` logged in from the network of `ip` within the week before `ts`, whatever else happened there.
    pub fn at_home(&self, user: Pseudonym, ip: IpAddr, ts: Timestamp) -> bool {
        self.pairs.get(&(user.short(), client_network(ip))).is_some_and(|pair| pair.at_home(ts))
    }

    /// Whether `user` had logged in from the network of `ip` by `ts`, and did so later than 30 days before it. Of what has long
    /// passed this is still known when [`Activity::at_home`] is not any more, which remembers the newest successes.
    pub fn familiar(&self, user: Pseudonym, ip: IpAddr, ts: Timestamp) -> bool {
        self.pairs.get(&(user.short(), client_network(ip))).is_some_and(|pair| pair.familiar(ts))
    }

    /// Failures and successes of a week before `ts` with a value of an additional feature, by its hash, to the day.
    pub fn category_outcomes(&self, category: u64, ts: Timestamp) -> Counts {
        self.categories.get(&category).map_or_else(Counts::default, |category| category.outcomes(ts))
    }

    /// Says which addresses stand for many people (web mail, proxies, directors). What they do counts for users, passwords
    /// and the site, and not as the doing of one address or network.
    pub fn set_shared(&mut self, networks: &[IpNet]) {
        self.shared = networks.to_vec();
    }

    fn is_shared(&self, ip: IpAddr) -> bool {
        self.shared.iter().any(|network| network.contains(&ip))
    }

    /// Changes the caps; what is over them leaves with the next insertions.
    pub fn set_limits(&mut self, limits: ActivityLimits) {
        self.sources.set_bytes_max(limits.sources_bytes_max);
        self.networks.set_bytes_max(limits.networks_bytes_max);
        self.users.set_bytes_max(limits.users_bytes_max);
        self.accounts.set_bytes_max(limits.accounts_bytes_max);
        self.pairs.set_bytes_max(limits.pairs_bytes_max);
        self.visits.set_bytes_max(limits.visits_bytes_max);
        self.tags.set_bytes_max(limits.tags_bytes_max);
        self.systems.set_bytes_max(limits.systems_bytes_max);
        self.categories.set_bytes_max(limits.categories_bytes_max);
    }

    /// Forgets what is older than its window at `now`: a day for attempts and failures, a week for the successes of an
    /// address or network, thirty days for accounts, pairs and visits. Password tags go after a day everywhere.
    pub fn prune(&mut self, now: Timestamp) {
        self.sources.prune(now);
        self.networks.prune(now);
        self.users.prune(now);
        self.accounts.prune(now);
        self.pairs.prune(now);
        self.visits.prune(now);
        self.tags.prune(now);
        self.systems.prune(now);
        self.categories.prune(now);
        self.traffic.trim(now);
    }

    /// How full the tables are.
    pub fn stats(&self) -> ActivityStats {
        ActivityStats {
            sources: stats(&self.sources),
            networks: stats(&self.networks),
            users: stats(&self.users),
            accounts: stats(&self.accounts),
            pairs: stats(&self.pairs),
            visits: stats(&self.visits),
            tags: stats(&self.tags),
            systems: stats(&self.systems),
            categories: stats(&self.categories),
        }
    }
}

fn stats<K: Ord + std::hash::Hash + Copy, V: table::Entry>(table: &Table<K, V>) -> KindStats {
    KindStats { entries: table.len(), bytes: table.bytes(), evicted: table.evicted() }
}

#[cfg(test)]
mod tests;
