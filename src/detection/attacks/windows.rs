//! What happened at the site lately: attempts, failures, addresses and users in sliding windows, and the hours of a week.
//!
//! Integers and sets in buckets of event time, of which the newest are kept: adding commutes, so nodes that saw the same
//! events in any order agree. A window holds the whole bucket of its end and not the one in which it begins, so it is up to
//! one bucket short: 5 s below an hour, a minute at an hour, an hour for a day and a week. Nothing is judged here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::unique::Unique;
use crate::detection::activity::HOUR_MS;
use crate::detection::attempt::Timestamp;

/// The windows in seconds.
pub const WINDOWS_S: [u32; 6] = [60, 300, 900, 3600, 86_400, 604_800];
/// Hours that the history reaches back.
pub const HISTORY_HOURS: usize = 24 * 7;

const FINE_MS: i64 = 5000;
const FINE_KEPT: usize = 900 / 5 + 1;
const MINUTE_MS: i64 = 60_000;
const MINUTES_KEPT: usize = 61;
const HOURS_KEPT: usize = HISTORY_HOURS + 1;

/// The numbers of one window or hour. Ratios are 0 where the divisor is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Attempts, whatever became of them.
    pub attempts: u64,
    /// Attempts that failed because of the password.
    pub failures: u64,
    /// Failures of users at networks where they are not known.
    pub strange_failures: u64,
    /// Different client addresses (exact up to 64, then within 2.3 % standard error and never more than attempts; so are the
    /// next three, with what they are counted of).
    pub unique_ips: u64,
    /// Different users.
    pub unique_users: u64,
    /// Different networks with strange failures.
    pub strange_networks: u64,
    /// Different users with strange failures.
    pub strange_users: u64,
    /// Different users who logged in, wherever from.
    pub users_logged_in: u64,
    /// Attempts per address.
    pub attempts_per_ip: f64,
    /// Attempts per user.
    pub attempts_per_user: f64,
    /// Addresses per user.
    pub ips_per_user: f64,
}

/// The numbers of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HourMetrics {
    /// Hours since the epoch.
    pub hour: i64,
    /// What happened in it.
    pub metrics: Metrics,
}

/// `a / b`, 0 where `b` is 0.
pub(super) fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// The hour of `ts` since the epoch.
pub(super) fn hour_of(ts: Timestamp) -> i64 {
    ts.millis().div_euclid(HOUR_MS)
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Bucket {
    attempts: u64,
    failures: u64,
    strange_failures: u64,
    ips: Unique,
    users: Unique,
    strange_networks: Unique,
    strange_users: Unique,
    logged_in: Unique,
}

impl Bucket {
    fn merge(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.failures += other.failures;
        self.strange_failures += other.strange_failures;
        self.ips.merge(&other.ips);
        self.users.merge(&other.users);
        self.strange_networks.merge(&other.strange_networks);
        self.strange_users.merge(&other.strange_users);
        self.logged_in.merge(&other.logged_in);
    }

    fn metrics(&self) -> Metrics {
        self.metrics_of_at_least(&Metrics::default())
    }

    /// The numbers, where of what is different there are known to be at least so many.
    fn metrics_of_at_least(&self, least: &Metrics) -> Metrics {
        // An estimate may lie above what there can have been.
        let count = |unique: &Unique, least: u64, counted: u64| unique.count().max(least).min(counted);
        let unique_ips = count(&self.ips, least.unique_ips, self.attempts);
        let unique_users = count(&self.users, least.unique_users, self.attempts);
        Metrics {
            attempts: self.attempts,
            failures: self.failures,
            strange_failures: self.strange_failures,
            unique_ips,
            unique_users,
            strange_networks: count(&self.strange_networks, least.strange_networks, self.strange_failures),
            strange_users: count(&self.strange_users, least.strange_users, self.strange_failures),
            users_logged_in: self.logged_in.count().max(least.users_logged_in),
            attempts_per_ip: ratio(self.attempts, unique_ips),
            attempts_per_user: ratio(self.attempts, unique_users),
            ips_per_user: ratio(unique_ips, unique_users),
        }
    }

    fn bytes(&self) -> usize {
        let sets = [&self.ips, &self.users, &self.strange_networks, &self.strange_users, &self.logged_in];
        size_of::<Self>() + sets.map(Unique::heap_bytes).iter().sum::<usize>()
    }
}

/// The newest `KEEP` buckets of `WIDTH_MS`.
#[derive(Debug, Clone, PartialEq, Default)]
struct Ring<const WIDTH_MS: i64, const KEEP: usize>(BTreeMap<i64, Bucket>);

impl<const WIDTH_MS: i64, const KEEP: usize> Ring<WIDTH_MS, KEEP> {
    fn update(&mut self, ts: Timestamp, change: impl FnOnce(&mut Bucket)) {
        let number = ts.millis().div_euclid(WIDTH_MS);
        if self.0.len() >= KEEP && !self.0.contains_key(&number) {
            if self.0.first_key_value().is_some_and(|(&oldest, _)| oldest > number) {
                return;
            }
            self.0.pop_first();
        }
        change(self.0.entry(number).or_default());
    }

    fn window(&self, now: Timestamp, seconds: u32) -> Bucket {
        let last = now.millis().div_euclid(WIDTH_MS);
        let first = now.plus_millis(-i64::from(seconds) * 1000).millis().div_euclid(WIDTH_MS);
        let mut sum = Bucket::default();
        self.0.range(first + 1..=last).for_each(|(_, bucket)| sum.merge(bucket));
        sum
    }

    /// Forgets the strangers of the buckets up to and with that of `until`.
    fn forget_strangers(&mut self, until: Timestamp) {
        for (_, bucket) in self.0.range_mut(..=until.millis().div_euclid(WIDTH_MS)) {
            bucket.strange_failures = 0;
            bucket.strange_networks = Unique::default();
            bucket.strange_users = Unique::default();
        }
    }
}

/// See the module documentation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Windows {
    fine: Ring<FINE_MS, FINE_KEPT>,
    minutes: Ring<MINUTE_MS, MINUTES_KEPT>,
    hours: Ring<HOUR_MS, HOURS_KEPT>,
    /// Hours that were restored: sets are not stored, so these cannot be added to.
    past: BTreeMap<i64, Metrics>,
    /// Strangers up to here count in the short windows no more.
    reset: Option<Timestamp>,
}

impl Windows {
    /// Counts an attempt by the keyed hashes of its address and user.
    pub fn attempt(&mut self, ts: Timestamp, ip: u64, user: u64) {
        self.update(ts, |bucket| {
            bucket.attempts += 1;
            bucket.ips.add(ip);
            bucket.users.add(user);
        });
    }

    /// Counts that an attempt failed; for one of a stranger with the keyed hashes of network and user.
    pub fn failure(&mut self, ts: Timestamp, stranger: Option<(u64, u64)>) {
        let strange = move |bucket: &mut Bucket| {
            if let Some((network, user)) = stranger {
                bucket.strange_failures += 1;
                bucket.strange_networks.add(network);
                bucket.strange_users.add(user);
            }
        };
        let speaks = self.reset.is_none_or(|reset| ts > reset);
        let lately = |bucket: &mut Bucket| {
            bucket.failures += 1;
            if speaks {
                strange(bucket);
            }
        };
        self.fine.update(ts, lately);
        self.minutes.update(ts, lately);
        self.hours.update(ts, |bucket| {
            bucket.failures += 1;
            strange(bucket);
        });
    }

    /// Counts that a user logged in, by the keyed hash of the user.
    pub fn success(&mut self, ts: Timestamp, user: u64) {
        self.update(ts, |bucket| bucket.logged_in.add(user));
    }

    /// From now on strangers up to `until` count in no window up to an hour, also when they are told later. Those of the
    /// minute of `until` that were told already go with them. What is usual stays.
    pub fn reset(&mut self, until: Timestamp) {
        if self.reset < Some(until) {
            self.reset = Some(until);
            self.fine.forget_strangers(until);
            self.minutes.forget_strangers(until);
        }
    }

    fn update(&mut self, ts: Timestamp, change: impl Fn(&mut Bucket)) {
        self.fine.update(ts, &change);
        self.minutes.update(ts, &change);
        self.hours.update(ts, &change);
    }

    /// What happened in the last `seconds`, one of [`WINDOWS_S`], before `now`. Other lengths take the buckets of the next
    /// longer window. Costs up to 180 merges: for once a second, not for each login.
    ///
    /// Of hours from before a restart that could not be counted again only numbers are known: their attempts and failures
    /// add up, and of what is different there are at least as many as in the busiest of them.
    pub fn window(&self, now: Timestamp, seconds: u32) -> Metrics {
        match seconds {
            0..=900 => self.fine.window(now, seconds).metrics(),
            901..=3600 => self.minutes.window(now, seconds).metrics(),
            _ => self.with_past(self.hours.window(now, seconds), now, seconds),
        }
    }

    fn with_past(&self, mut sum: Bucket, now: Timestamp, seconds: u32) -> Metrics {
        let first = hour_of(now.plus_millis(-i64::from(seconds) * 1000));
        let mut most = Metrics::default();
        for (hour, stored) in self.past.range(first + 1..=hour_of(now)) {
            let empty = Bucket::default();
            let live = self.hours.0.get(hour).unwrap_or(&empty);
            if stored.attempts > live.attempts {
                sum.attempts += stored.attempts - live.attempts;
                sum.failures += stored.failures.saturating_sub(live.failures);
                sum.strange_failures += stored.strange_failures.saturating_sub(live.strange_failures);
                most.unique_ips = most.unique_ips.max(stored.unique_ips);
                most.unique_users = most.unique_users.max(stored.unique_users);
                most.strange_networks = most.strange_networks.max(stored.strange_networks);
                most.strange_users = most.strange_users.max(stored.strange_users);
                most.users_logged_in = most.users_logged_in.max(stored.users_logged_in);
            }
        }
        sum.metrics_of_at_least(&most)
    }

    /// The hours of the last week up to that of `now`, the present one included as far as it has come, ascending. Hours
    /// in which nothing happened after the first one known are there with zeros.
    pub fn history(&self, now: Timestamp) -> Vec<HourMetrics> {
        let last = hour_of(now);
        let oldest = last - HISTORY_HOURS as i64 + 1;
        let live = self.hours.0.range(oldest..=last).next().map(|(&hour, _)| hour);
        let stored = self.past.range(oldest..=last).next().map(|(&hour, _)| hour);
        let Some(first) = live.into_iter().chain(stored).min() else { return Vec::new() };
        let metrics = |hour| self.hour(hour).unwrap_or_default();
        (first..=last).map(|hour| HourMetrics { hour, metrics: metrics(hour) }).collect()
    }

    /// The hour `hour` since the epoch; what was restored counts where it knows more attempts.
    pub fn hour(&self, hour: i64) -> Option<Metrics> {
        let live = self.hours.0.get(&hour).map(Bucket::metrics);
        let stored = self.past.get(&hour).copied();
        match (live, stored) {
            (Some(live), Some(stored)) => Some(if stored.attempts > live.attempts { stored } else { live }),
            (live, stored) => live.or(stored),
        }
    }

    /// The first hour of the last week and before of which anything is known.
    pub fn first_hour(&self) -> Option<i64> {
        self.hours.0.keys().next().into_iter().chain(self.past.keys().next()).min().copied()
    }

    /// Networks with strange failures in the hour `hour` since the epoch: [`Self::hour`] without the rest.
    pub fn strange_networks(&self, hour: i64) -> u64 {
        let live =
            self.hours.0.get(&hour).map_or(0, |bucket| bucket.strange_networks.count().min(bucket.strange_failures));
        let stored = self.past.get(&hour).map_or(0, |metrics| metrics.strange_networks);
        live.max(stored)
    }

    /// Users who logged in in the hour `hour` since the epoch.
    pub fn users_logged_in(&self, hour: i64) -> u64 {
        let live = self.hours.0.get(&hour).map_or(0, |bucket| bucket.logged_in.count());
        let stored = self.past.get(&hour).map_or(0, |metrics| metrics.users_logged_in);
        live.max(stored)
    }

    /// Takes over an earlier [`Windows::history`], after a restart. Of an hour that is told twice the one with more
    /// attempts counts. Hours after that of `now` and more than a week before are left out.
    pub fn restore(&mut self, hours: &[HourMetrics], now: Timestamp) {
        let last = hour_of(now);
        for told in hours.iter().filter(|told| told.hour <= last && told.hour > last - HISTORY_HOURS as i64) {
            let known = self.past.entry(told.hour).or_insert(told.metrics);
            if told.metrics.attempts > known.attempts {
                *known = told.metrics;
            }
        }
        self.past.retain(|&hour, _| hour > last - HISTORY_HOURS as i64 && hour <= last);
    }

    /// Estimated bytes.
    pub fn bytes(&self) -> usize {
        let live = self.fine.0.values().chain(self.minutes.0.values()).chain(self.hours.0.values());
        live.map(Bucket::bytes).sum::<usize>() + self.past.len() * size_of::<(i64, Metrics)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
    }

    #[test]
    fn each_window_holds_what_happened_in_it_and_nothing_else() {
        let mut windows = Windows::default();
        // One attempt in each window that the shorter ones do not reach.
        for (nth, ago) in [10, 100, 600, 2000, 50_000, 500_000].into_iter().enumerate() {
            windows.attempt(at(-ago), nth as u64, 1);
            windows.failure(at(-ago), (nth % 2 == 0).then_some((7, 1)));
        }
        windows.attempt(at(4000), 99, 99);

        for (nth, seconds) in WINDOWS_S.into_iter().enumerate() {
            let metrics = windows.window(at(0), seconds);
            let n = nth as u64 + 1;
            assert_eq!((metrics.attempts, metrics.unique_ips, metrics.unique_users), (n, n, 1), "{seconds}");
            assert_eq!((metrics.failures, metrics.strange_failures, metrics.strange_networks), (n, n.div_ceil(2), 1));
            assert_eq!((metrics.attempts_per_ip, metrics.ips_per_user), (1.0, n as f64));
        }
        assert_eq!(Windows::default().window(at(0), 3600), Metrics::default(), "ratios without divisors are 0");
    }

    #[test]
    fn nodes_that_heard_the_same_in_another_order_agree() {
        let mut rng = Rng::new(1, "test/windows");
        let mut events: Vec<(i64, u64, u64)> = Vec::new();
        for _ in 0..4000 {
            // Longer than a week: buckets fall out on the way.
            events.push((rng.below(900_000) as i64, rng.below(500), rng.below(300)));
        }
        let told = |events: &[(i64, u64, u64)]| {
            let mut windows = Windows::default();
            for &(second, ip, user) in events {
                windows.attempt(at(second), ip << 48, user << 48);
                windows.failure(at(second), (user % 2 == 0).then_some((ip << 50, user << 48)));
            }
            windows
        };
        let one = told(&events);
        rng.shuffle(&mut events);

        assert_eq!(one, told(&events));
    }

    #[test]
    fn a_flood_of_addresses_and_users_meets_a_bound() {
        let mut windows = Windows::default();
        let mut rng = Rng::new(2, "test/windows");
        for second in 0..200 {
            for _ in 0..400 {
                let (ip, user) = (rng.next_u64(), rng.next_u64());
                windows.attempt(at(second * 3600), ip, user);
                windows.failure(at(second * 3600), Some((ip, user)));
                windows.attempt(at(720_000 + second * 5), ip, user);
                windows.failure(at(720_000 + second * 5), Some((ip, user)));
            }
        }

        let bound = (FINE_KEPT + MINUTES_KEPT + HOURS_KEPT) * (5 * 2048 + size_of::<Bucket>());
        assert!(windows.bytes() <= bound, "{} of {bound}", windows.bytes());
        let hour = windows.window(at(720_000 + 999), 900);
        assert!(hour.unique_ips.abs_diff(180 * 400) < 180 * 400 * 7 / 100, "{}", hour.unique_ips);
    }

    #[test]
    fn there_are_never_more_addresses_networks_or_users_than_attempts_and_failures_of_them() {
        let (mut above, mut rng) = (0, Rng::new(4, "test/windows"));
        for number in 400..600 {
            let mut windows = Windows::default();
            for _ in 0..number {
                windows.attempt(at(0), rng.next_u64(), rng.next_u64());
                windows.failure(at(0), Some((rng.next_u64(), rng.next_u64())));
            }
            above += usize::from(windows.hours.0.values().any(|bucket| bucket.ips.count() > number));
            for seconds in WINDOWS_S {
                let metrics = windows.window(at(1), seconds);
                let most = metrics.unique_ips.max(metrics.unique_users);
                assert!(most <= number && metrics.attempts_per_ip >= 1.0, "{metrics:?}");
                assert!(metrics.strange_networks.max(metrics.strange_users) <= number, "{metrics:?}");
            }
            assert!(windows.strange_networks(hour_of(at(0))) <= number);
        }
        assert!(above > 20, "estimates are as often too high as too low: {above}");
    }

    #[test]
    fn days_and_weeks_know_hours_of_before_a_restart() {
        let mut before = Windows::default();
        for nth in 0..100 {
            before.attempt(at(nth * 3600), nth as u64, 1);
        }
        let now = at(99 * 3600 + 10);
        let mut after = Windows::default();
        after.restore(&before.history(now), now);
        // The last 24 hours are counted again.
        for nth in 76..100 {
            after.attempt(at(nth * 3600), nth as u64, 1);
        }

        assert_eq!(after.window(now, 86_400), before.window(now, 86_400));
        let week = after.window(now, 604_800);
        assert_eq!((week.attempts, week.unique_ips, week.unique_users), (100, 24, 1));
    }

    #[test]
    fn the_history_survives_a_restart_and_knows_quiet_hours() {
        let mut windows = Windows::default();
        windows.attempt(at(0), 1, 1);
        windows.attempt(at(7200), 2, 1);
        let told = windows.history(at(7300));
        assert_eq!(told.iter().map(|hour| hour.metrics.attempts).collect::<Vec<_>>(), [1, 0, 1]);

        let mut restarted = Windows::default();
        restarted.restore(&told, at(7300));
        restarted.restore(&told, at(7300));
        restarted.attempt(at(7250), 3, 1);

        assert_eq!(restarted.history(at(7300)), told);
        assert!(restarted.history(at(7300 + 8 * 86_400)).is_empty(), "a week later all is forgotten");
    }
}
