//! What the circuit breaker looks at: this node's own scored attempts of users at home, counted by the minute.
//!
//! Bounded: one counter per minute of a day and a window, and a capped table of the pairs blocked lately. Nothing is decided
//! here ([`BlockCounts`] is), and nothing survives a restart: the baseline begins anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::detection::attempt::{Attempt, Timestamp, client_network};
use crate::learning::breaker::{BASELINE_MS, BLOCKS_PER_PAIR, BlockCounts, WINDOW_MS};

/// Width of a counter.
const BUCKET_MS: i64 = 60_000;
/// Pairs told apart in a window; ten are evidence enough.
const PAIRS_MAX: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    start: Timestamp,
    attempts: u64,
    blocks: u64,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct BlockCounter {
    /// Oldest first.
    buckets: VecDeque<Bucket>,
    /// When each pair was blocked lately, at most [`BLOCKS_PER_PAIR`] times, oldest first.
    blocked: BTreeMap<(u64, IpAddr), VecDeque<Timestamp>>,
    /// The window reaches back no further than this.
    restarted: Option<Timestamp>,
}

impl BlockCounter {
    /// Notes an attempt of a pair that logged in together within a week, and whether the model would block it.
    pub fn note(&mut self, attempt: &Attempt, blocked: bool) {
        let now = attempt.ts;
        if blocked && !self.is_evidence((attempt.user.short(), client_network(attempt.client_ip)), now) {
            return;
        }
        if self.buckets.back().is_none_or(|last| now >= last.start.plus_millis(BUCKET_MS)) {
            self.forget(now);
            self.buckets.push_back(Bucket { start: now, attempts: 0, blocks: 0 });
        }
        // A clock that went back counts on in the newest bucket.
        if let Some(bucket) = self.buckets.back_mut() {
            bucket.attempts += 1;
            bucket.blocks += u64::from(blocked);
        }
    }

    /// Notes a blocked attempt of a pair; `false` when the pair had its share within the window.
    fn is_evidence(&mut self, pair: (u64, IpAddr), now: Timestamp) -> bool {
        let begin = now.plus_millis(-WINDOW_MS);
        if self.blocked.len() >= PAIRS_MAX && !self.blocked.contains_key(&pair) {
            self.blocked.retain(|_, times| times.back().is_some_and(|last| *last > begin));
            if self.blocked.len() >= PAIRS_MAX {
                return true;
            }
        }
        let times = self.blocked.entry(pair).or_default();
        while times.front().is_some_and(|first| *first <= begin) {
            times.pop_front();
        }
        if times.len() >= BLOCKS_PER_PAIR {
            return false;
        }
        times.push_back(now);
        true
    }

    /// The window begins anew: what was counted so far belongs to the baseline.
    pub fn restart(&mut self, now: Timestamp) {
        self.restarted = Some(now);
        self.blocked.clear();
        self.buckets.push_back(Bucket { start: now, attempts: 0, blocks: 0 });
        self.forget(now);
    }

    /// The counts as they are `now`.
    pub fn counts(&self, now: Timestamp) -> BlockCounts {
        let mut begin = now.plus_millis(-WINDOW_MS);
        if let Some(restarted) = self.restarted {
            // A restart that lies ahead (the clock went back) must not blind the breaker.
            begin = begin.max(restarted.min(now));
        }
        let oldest = begin.plus_millis(-BASELINE_MS);
        let mut counts = BlockCounts::default();
        for bucket in self.buckets.iter().filter(|bucket| bucket.start >= oldest) {
            let (attempts, blocks) = if bucket.start >= begin {
                (&mut counts.attempts, &mut counts.blocks)
            } else {
                (&mut counts.baseline_attempts, &mut counts.baseline_blocks)
            };
            *attempts += bucket.attempts;
            *blocks += bucket.blocks;
        }
        let lately = |times: &VecDeque<Timestamp>| times.back().is_some_and(|last| *last >= begin);
        let pairs: Vec<_> = self.blocked.iter().filter(|(_, times)| lately(times)).map(|(pair, _)| *pair).collect();
        counts.pairs = pairs.len() as u64;
        counts.users = pairs.iter().map(|(user, _)| user).collect::<BTreeSet<_>>().len() as u64;
        counts.networks = pairs.iter().map(|(_, network)| network).collect::<BTreeSet<_>>().len() as u64;
        counts
    }

    fn forget(&mut self, now: Timestamp) {
        let oldest = now.plus_millis(-(WINDOW_MS + BASELINE_MS));
        while self.buckets.front().is_some_and(|bucket| bucket.start < oldest) || self.buckets.len() > BUCKETS_MAX {
            self.buckets.pop_front();
        }
    }
}

/// A day and a window, with room for restarts.
const BUCKETS_MAX: usize = 2 * ((WINDOW_MS + BASELINE_MS) / BUCKET_MS) as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::attempt::testing::plain;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    /// An attempt of a user in a network of its own.
    fn attempt(seconds: i64, user: u8) -> Attempt {
        plain(at(seconds), &format!("{seconds}-{user}"), IpAddr::from([192, 0, user, 7]), user)
    }

    #[test]
    fn the_window_slides_and_what_leaves_it_is_the_baseline() {
        let mut counter = BlockCounter::default();
        for minute in 0..60 {
            counter.note(&attempt(minute * 60, 1), false);
            counter.note(&attempt(minute * 60 + 1, minute as u8), minute == 3);
        }

        let now = counter.counts(at(60 * 60));
        assert_eq!((now.attempts, now.blocks, now.pairs), (30, 0, 0));
        assert_eq!((now.baseline_attempts, now.baseline_blocks), (90, 1));
        let tomorrow = counter.counts(at(86_400 + 60 * 60));
        assert_eq!((tomorrow.attempts, tomorrow.baseline_attempts), (0, 30), "a day before the window, no more");
    }

    #[test]
    fn one_stale_device_counts_a_few_times_however_often_it_comes() {
        let mut counter = BlockCounter::default();
        for second in 0..600 {
            counter.note(&attempt(second, 1), true);
        }
        counter.note(&attempt(600, 2), true);

        let counts = counter.counts(at(601));
        assert_eq!((counts.attempts, counts.blocks), (5, 5), "what is left out is no attempt either");
        assert_eq!((counts.pairs, counts.users, counts.networks), (2, 2, 2));
        counter.note(&attempt(1000, 1), true);
        assert_eq!(counter.counts(at(1001)).blocks, 2, "the first four have left the window, and make room");
    }

    #[test]
    fn users_and_networks_are_told_apart_from_pairs() {
        let mut counter = BlockCounter::default();
        for user in 0..6 {
            let office = Attempt { client_ip: IpAddr::from([198, 51, 100, user]), ..attempt(1, user) };
            counter.note(&office, true);
        }

        let counts = counter.counts(at(2));
        assert_eq!((counts.pairs, counts.users, counts.networks), (6, 6, 1));
    }

    #[test]
    fn a_restart_leaves_everything_before_it_to_the_baseline() {
        let mut counter = BlockCounter::default();
        counter.note(&attempt(0, 1), true);
        counter.restart(at(5));
        counter.note(&attempt(6, 2), false);

        let counts = counter.counts(at(10));
        assert_eq!((counts.attempts, counts.blocks, counts.pairs), (1, 0, 0));
        assert_eq!((counts.baseline_attempts, counts.baseline_blocks), (1, 1));
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut counter = BlockCounter::default();
        for number in 0..20_000_u32 {
            let [_, a, b, c] = number.to_be_bytes();
            let client_ip = IpAddr::from([10, a, b, c]);
            let network = Attempt { client_ip: client_network(client_ip), ..attempt(i64::from(number) * 61, 1) };
            counter.note(&Attempt { client_ip: IpAddr::from([a, b, c, 1]), ..network }, true);
        }
        // All within one window: nothing can be forgotten.
        for number in 0..=u32::try_from(PAIRS_MAX).expect("a small number") {
            let [_, a, b, c] = number.to_be_bytes();
            let all_at_once = attempt(20_000 * 61, 2);
            counter.note(&Attempt { client_ip: IpAddr::from([a + 1, b, c, 1]), ..all_at_once }, true);
        }
        assert_eq!(counter.blocked.len(), PAIRS_MAX);
        for second in 0..5000 {
            counter.restart(at(20_000 * 61 + second));
        }

        assert!(counter.buckets.len() <= BUCKETS_MAX + 1, "{}", counter.buckets.len());
    }
}
