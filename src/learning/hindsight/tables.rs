//! The aggregates themselves: who failed and who succeeded, by pair, tag, source and user.
//!
//! They count and forget; what follows from the numbers is decided in [`rules`](super::rules). The kept numbers of
//! distinct things are at least twice what the rules ask for, so that a crowded slice still answers correctly.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use super::tally::{Marks, Tally, Window, slice};
use crate::detection::activity::HOUR_MS;
use crate::detection::attempt::{Attempt, RequestKey, Timestamp, address_range, client_network};

/// Width of the slices of everything that a rule asks for to the hour: an hour is then known to a sixth.
pub const FINE_MS: i64 = HOUR_MS / 6;
/// Stands for "no tag was sent" among the tags of a pair.
pub const NO_TAG: u64 = 0;

/// Failing tags of a pair, failing users of a tag, failing sources of a user (rules ask for 6, 4 and 6).
pub(super) type FewFine = Tally<FINE_MS, 12>;
pub(super) type FewHourly = Tally<HOUR_MS, 8>;
/// Users of a source (rules ask for 8 failing ones and for a share among them).
pub(super) type Users = Tally<FINE_MS, 32>;
/// Tags that opened an account from a source.
pub(super) type Tags = Tally<HOUR_MS, 32>;

/// Where an attempt came from: an IPv4 address, or the /64 of an IPv6 address, within which one host changes at will.
pub fn source(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { ip } else { client_network(ip) }
}

/// An entry of a table.
pub trait Entry: Default {
    /// Estimated heap bytes, a function of the contents.
    fn heap_bytes(&self) -> usize;
}

impl<const WIDTH_MS: i64, const KEEP: usize> Entry for Tally<WIDTH_MS, KEEP> {
    fn heap_bytes(&self) -> usize {
        Tally::heap_bytes(self)
    }
}

impl<const WIDTH_MS: i64> Entry for Marks<WIDTH_MS> {
    fn heap_bytes(&self) -> usize {
        Marks::heap_bytes(self)
    }
}

/// A map that knows about how many bytes it takes.
#[derive(Debug, Clone)]
pub struct Table<K, V> {
    map: HashMap<K, V>,
    bytes: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { map: HashMap::new(), bytes: 0 }
    }
}

impl<K: Eq + Hash, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
}

impl<K: Eq + Hash, V: Entry> Table<K, V> {
    /// The room that an entry takes in the map itself: hash maps are between 7/16 and 7/8 full.
    const SLOT_BYTES: usize = size_of::<(K, V)>() * 3 / 2 + 8;

    /// Changes the entry of `key`, which is created if there was none.
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V)) {
        let known = self.map.contains_key(&key);
        let value = self.map.entry(key).or_default();
        let before = if known { Self::SLOT_BYTES + value.heap_bytes() } else { 0 };
        change(value);
        self.bytes = self.bytes - before + Self::SLOT_BYTES + value.heap_bytes();
    }

    /// The entries in the order of their keys.
    pub fn sorted(&self) -> Vec<(&K, &V)>
    where
        K: Ord,
    {
        let mut entries: Vec<_> = self.map.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        entries
    }

    /// The entry of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// Trims every entry; those for which `trim` says `false` go.
    pub fn trim(&mut self, mut trim: impl FnMut(&mut V) -> bool) {
        let mut bytes = 0;
        self.map.retain(|_, value| {
            let keep = trim(value);
            if keep {
                bytes += Self::SLOT_BYTES + value.heap_bytes();
            }
            keep
        });
        // Whoever made the table large must not keep it so.
        if self.map.capacity() > self.map.len().saturating_mul(4) {
            self.map.shrink_to_fit();
        }
        self.bytes = bytes;
    }
}

/// Everything about failed attempts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Failures {
    /// Tags by (user, source).
    pub pairs: Table<(u64, IpAddr), FewFine>,
    /// Users by tag.
    pub tags: Table<u64, FewHourly>,
    /// Users by source.
    pub sources: Table<IpAddr, Users>,
    /// Sources by user.
    pub users: Table<u64, FewFine>,
    /// The tag of each failed request, because samples hold none. Ordered by hour, so that forgetting is a cut.
    pub(super) requests: BTreeMap<(i32, RequestKey), u64>,
}

impl Failures {
    /// One more failed attempt.
    pub fn add(&mut self, attempt: &Attempt) {
        let (ts, user, source) = (attempt.ts, attempt.user.short(), source(attempt.client_ip));
        let tag = attempt.password.map_or(NO_TAG, |tag| tag.0);
        self.pairs.update((user, source), |tags| tags.add(ts, tag));
        self.sources.update(source, |users| users.add(ts, user));
        self.users.update(user, |sources| sources.add(ts, source_hash(source)));
        if tag != NO_TAG {
            self.tags.update(tag, |users| users.add(ts, user));
            self.requests.insert((slice(ts, HOUR_MS), attempt.request), tag);
        }
    }

    /// The first slice in which a source is known to fail.
    pub fn source_since(&self, source: IpAddr) -> Option<i32> {
        Some(self.sources.get(&source)?.rows.first()?.slice)
    }

    /// The sources, each with the first slice in which it is known to fail, in no particular order.
    pub fn sources_since(&self) -> impl Iterator<Item = (&IpAddr, i32)> {
        self.sources.map.iter().filter_map(|(source, users)| Some((source, users.rows.first()?.slice)))
    }

    /// The tag that a failed request came with.
    pub fn tag(&self, ts: Timestamp, request: RequestKey) -> Option<u64> {
        self.requests.get(&(slice(ts, HOUR_MS), request)).copied()
    }

    /// Forgets what ended before `oldest`.
    pub fn trim(&mut self, oldest: Timestamp) {
        let fine = |tally: &mut FewFine| {
            tally.trim(oldest);
            !tally.is_empty()
        };
        self.pairs.trim(fine);
        self.users.trim(fine);
        self.tags.trim(|tally| {
            tally.trim(oldest);
            !tally.is_empty()
        });
        self.sources.trim(|tally| {
            tally.trim(oldest);
            !tally.is_empty()
        });
        self.requests = self.requests.split_off(&(slice(oldest, HOUR_MS), RequestKey([0; 16])));
    }

    /// Estimated bytes.
    pub fn bytes(&self) -> usize {
        // A B-tree's nodes are about three quarters full.
        const REQUEST_BYTES: usize = size_of::<((i32, RequestKey), u64)>() * 3 / 2;
        self.pairs.bytes + self.tags.bytes + self.sources.bytes + self.users.bytes + self.requests.len() * REQUEST_BYTES
    }
}

/// From the first to the last time that something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span(pub(super) Option<(Timestamp, Timestamp)>);

impl Span {
    fn add(&mut self, ts: Timestamp) {
        self.0 = Some(self.0.map_or((ts, ts), |(first, last)| (first.min(ts), last.max(ts))));
    }

    /// Whether it had happened until `ts`.
    pub fn begun(&self, ts: Timestamp) -> bool {
        self.0.is_some_and(|(first, _)| first <= ts)
    }

    fn is_since(&self, ancient: Timestamp) -> bool {
        self.0.is_some_and(|(_, last)| last >= ancient)
    }
}

impl Entry for Span {
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The successes of one source.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Opened {
    pub span: Span,
    pub users: Users,
    pub tags: Tags,
}

impl Entry for Opened {
    fn heap_bytes(&self) -> usize {
        self.users.heap_bytes() + self.tags.heap_bytes()
    }
}

/// Until when which successes are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Single slices.
    pub recent: Timestamp,
    /// The latest success of a pair.
    pub pairs: Timestamp,
    /// That a user or source succeeded at all.
    pub ever: Timestamp,
}

/// Everything about successful attempts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Successes {
    /// By (user, source).
    pub pairs: Table<(u64, IpAddr), Marks<FINE_MS>>,
    /// By (user, client network).
    pub networks: Table<(u64, IpAddr), Marks<HOUR_MS>>,
    /// By (user, range of addresses).
    pub ranges: Table<(u64, u64), Marks<HOUR_MS>>,
    pub users: Table<u64, Span>,
    pub sources: Table<IpAddr, Opened>,
}

impl Successes {
    /// One more success.
    pub fn add(&mut self, attempt: &Attempt) {
        let (ts, user, source) = (attempt.ts, attempt.user.short(), source(attempt.client_ip));
        self.pairs.update((user, source), |marks| marks.add(ts));
        self.networks.update((user, client_network(source)), |marks| marks.add(ts));
        self.ranges.update((user, address_range(source)), |marks| marks.add(ts));
        self.users.update(user, |span| span.add(ts));
        self.sources.update(source, |opened| {
            opened.span.add(ts);
            opened.users.add(ts, user);
            if let Some(tag) = attempt.password {
                opened.tags.add(ts, tag.0);
            }
        });
    }

    /// Forgets what is too old.
    pub fn trim(&mut self, memory: &Memory) {
        self.pairs.trim(|marks| {
            marks.trim(memory.recent, memory.pairs);
            !marks.is_empty()
        });
        self.networks.trim(|marks| {
            marks.trim(memory.recent, memory.recent);
            !marks.is_empty()
        });
        self.ranges.trim(|marks| {
            marks.trim(memory.recent, memory.pairs);
            !marks.is_empty()
        });
        self.users.trim(|span| span.is_since(memory.ever));
        self.sources.trim(|opened| {
            opened.users.trim(memory.recent);
            opened.tags.trim(memory.recent);
            opened.span.is_since(memory.ever)
        });
    }

    /// Whether a user has succeeded from a source in a window.
    pub fn of_pair(&self, user: u64, source: IpAddr, window: Window) -> bool {
        self.pairs.get(&(user, source)).is_some_and(|marks| marks.any(window))
    }

    /// Estimated bytes.
    pub fn bytes(&self) -> usize {
        self.pairs.bytes + self.networks.bytes + self.ranges.bytes + self.users.bytes + self.sources.bytes
    }
}

/// A source as a hash among others. No defence against made-up collisions is needed: whoever can choose among so many
/// addresses could as well use one, which is what a collision looks like.
pub fn source_hash(source: IpAddr) -> u64 {
    let bits = match source {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    // The finaliser of SplitMix64 over both halves.
    let mut hash = (bits >> 64) as u64 ^ (bits as u64).rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
