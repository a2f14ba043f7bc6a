//! A table of one kind of thing (sources, users, …), capped by bytes.
//!
//! Memory is estimated from the contents, so that equal tables have equal sizes. Over the cap a sixteenth of the entries
//! goes at once, which makes the cost of evicting a constant per insertion. Nothing numeric ever depends on the order in
//! which the map holds its entries.

use std::collections::HashMap;
use std::hash::Hash;

use crate::detection::attempt::Timestamp;

/// What a table knows about its entries.
pub trait Entry: Default {
    /// Estimated heap bytes, a function of the contents.
    fn heap_bytes(&self) -> usize;

    /// What would be lost with it.
    fn worth(&self) -> Worth;

    /// When something last happened here.
    fn last_active(&self) -> Timestamp;

    /// Forgets what is too old at `now`; `false` when nothing is left.
    fn trim(&mut self, now: Timestamp) -> bool;
}

/// What an entry is worth when room is short: whoever has less goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// It was seen, that is all.
    Little,
    /// It is evidence of an attack.
    Evidence,
    /// It is familiar. Successes are the one thing that an attacker cannot make at will, to push others out.
    Familiarity,
}

/// Makes room for one more item, doubling from one: most entries of a flood hold a single item of each sort, and the
/// standard library would begin with room for four.
pub fn make_room<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len().max(1));
    }
}

/// Estimated bytes of a vector of `len` items that grew by [`make_room`], with what the allocator adds: eight bytes, in
/// steps of sixteen from 32 on, as glibc does on 64 bits.
pub fn vec_bytes<T>(len: usize) -> usize {
    if len == 0 { 0 } else { (len.next_power_of_two() * size_of::<T>() + 8).next_multiple_of(16).max(32) }
}

/// A capped map.
#[derive(Debug, Clone)]
pub struct Table<K, V> {
    map: HashMap<K, Slot<V>>,
    bytes: usize,
    bytes_max: usize,
    evicted: u64,
}

/// An entry, and what eviction wants to know of it: with these beside it, choosing whom to evict reads the map once
/// from end to end instead of following pointers into every entry.
#[derive(Debug, Clone)]
struct Slot<V> {
    value: V,
    worth: Worth,
    last_active: Timestamp,
    bytes: usize,
}

impl<K: Ord + Hash + Copy, V: Entry> Table<K, V> {
    /// The room that an entry takes in the map itself: hash maps are between 7/16 and 7/8 full.
    const SLOT_BYTES: usize = size_of::<(K, Slot<V>)>() * 3 / 2 + 8;

    /// An empty table of at most about `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { map: HashMap::new(), bytes: 0, bytes_max, evicted: 0 }
    }

    /// Changes the entry of `key`, which is created if there was none.
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V)) {
        let slot = self.map.entry(key).or_insert_with(|| Slot {
            value: V::default(),
            worth: Worth::Little,
            last_active: Timestamp::from_millis(i64::MIN),
            bytes: 0,
        });
        change(&mut slot.value);
        let before = slot.bytes;
        slot.bytes = Self::SLOT_BYTES + slot.value.heap_bytes();
        slot.worth = slot.value.worth();
        slot.last_active = slot.value.last_active();
        self.bytes = self.bytes - before + slot.bytes;
        self.keep_cap();
    }

    /// Puts an entry in as a whole.
    pub fn insert(&mut self, key: K, value: V) {
        self.update(key, |entry| *entry = value);
    }

    /// The entry of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|slot| &slot.value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Changes the cap; what is over it leaves with the next insertion.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Estimated bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries that had to go because of the cap, since the table was made.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Forgets what is too old at `now`.
    pub fn prune(&mut self, now: Timestamp) {
        let mut bytes = 0;
        self.map.retain(|_, slot| {
            let keep = slot.value.trim(now);
            if keep {
                slot.bytes = Self::SLOT_BYTES + slot.value.heap_bytes();
                slot.worth = slot.value.worth();
                slot.last_active = slot.value.last_active();
                bytes += slot.bytes;
            }
            keep
        });
        self.bytes = bytes;
        if self.map.capacity() > 4 * self.map.len().max(64) {
            self.map.shrink_to(2 * self.map.len());
        }
    }

    /// All entries in ascending order of their keys.
    pub fn sorted(&self) -> Vec<(&K, &V)> {
        let mut entries: Vec<_> = self.map.iter().map(|(key, slot)| (key, &slot.value)).collect();
        entries.sort_unstable_by_key(|(key, _)| **key);
        entries
    }

    fn keep_cap(&mut self) {
        while self.bytes > self.bytes_max && !self.map.is_empty() {
            self.evict_batch();
        }
    }

    /// Evicts a sixteenth: the least worth first, each group in the order of last activity.
    fn evict_batch(&mut self) {
        let batch = (self.map.len() / 16).max(1);
        let mut order: Vec<_> = self.map.iter().map(|(key, slot)| (slot.worth, slot.last_active, *key)).collect();
        order.select_nth_unstable(batch - 1);
        for (_, _, key) in &order[..batch] {
            if let Some(slot) = self.map.remove(key) {
                self.bytes -= slot.bytes;
                self.evicted += 1;
            }
        }
    }
}

/// Equal contents; how much was evicted on the way does not matter.
impl<K: Eq + Hash, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(key, slot): (&K, &Slot<V>)| other.map.get(key).is_some_and(|theirs| theirs.value == slot.value);
        self.map.len() == other.map.len() && self.map.iter().all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Debug, Clone, PartialEq)]
    struct Note {
        keep: bool,
        active: i64,
        bytes: usize,
    }

    impl Entry for Note {
        fn heap_bytes(&self) -> usize {
            self.bytes
        }
        fn worth(&self) -> Worth {
            if self.keep { Worth::Evidence } else { Worth::Little }
        }
        fn last_active(&self) -> Timestamp {
            Timestamp::from_millis(self.active)
        }
        fn trim(&mut self, now: Timestamp) -> bool {
            self.active >= now.millis()
        }
    }

    #[test]
    fn the_cap_holds_and_the_least_recently_active_without_worth_go_first() {
        let mut table = Table::<u32, Note>::new(16_000);
        for key in 0..1000u32 {
            table.insert(key, Note { keep: key % 10 == 0, active: key.into(), bytes: 50 });
            assert!(table.bytes() <= 16_000);
        }

        let left = table.sorted().into_iter().map(|(key, _)| *key).collect::<Vec<_>>();

        assert_eq!(table.evicted() as usize + left.len(), 1000);
        assert!((0..1000).step_by(10).all(|worthy| left.contains(&worthy)), "{left:?}");
        assert!(left.contains(&999) && !left.contains(&1));
    }

    #[test]
    fn an_entry_larger_than_the_cap_leaves_the_table_empty() {
        let mut table = Table::<u32, Note>::new(100);

        table.insert(1, Note { bytes: 1000, ..Note::default() });

        assert_eq!((table.len(), table.bytes(), table.evicted()), (0, 0, 1));
    }

    #[test]
    fn pruning_gives_the_bytes_back() {
        let mut table = Table::<u32, Note>::new(10_000);
        table.insert(1, Note { active: 1, bytes: 10, ..Note::default() });
        let one = table.bytes();
        table.insert(2, Note { active: 2, bytes: 10, ..Note::default() });

        table.prune(Timestamp::from_millis(2));

        assert_eq!((table.len(), table.bytes()), (1, one));
    }
}
