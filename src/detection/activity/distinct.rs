//! How many different things were seen lately: a capped set of hashes, each with the time it was last seen.
//!
//! Over the cap the ones seen longest ago go. Adding commutes: the set holds the `KEEP` greatest pairs of (last seen,
//! hash), whatever the order in which they came.

use super::table::{make_room, vec_bytes};
use crate::detection::attempt::Timestamp;
use crate::detection::codec::{Fault, Reader, put_count};

/// Hashes with their last time, ascending by (time, hash).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distinct<const KEEP: usize> {
    items: Vec<(i64, u64)>,
}

/// Bytes of one item in the stored form.
const ITEM_BYTES: usize = 16;

impl<const KEEP: usize> Distinct<KEEP> {
    /// Sees `hash` at `ts`.
    pub fn add(&mut self, ts: Timestamp, hash: u64) {
        let item = (ts.millis(), hash);
        if let Some(place) = self.items.iter().position(|&(_, known)| known == hash) {
            if self.items[place] >= item {
                return;
            }
            self.items.remove(place);
        } else if self.items.len() >= KEEP {
            if self.items[0] > item {
                return;
            }
            self.items.remove(0);
        }
        make_room(&mut self.items);
        let place = self.items.partition_point(|known| *known < item);
        self.items.insert(place, item);
    }

    /// The hashes last seen in the `window_ms` before `ts`, or at `ts` itself.
    pub fn seen(&self, ts: Timestamp, window_ms: i64) -> impl Iterator<Item = u64> {
        self.since(ts.plus_millis(window_ms.saturating_neg()), ts)
    }

    /// The hashes last seen after `start`, up to and including `end`.
    pub fn since(&self, start: Timestamp, end: Timestamp) -> impl Iterator<Item = u64> {
        let (start, end) = (start.millis(), end.millis());
        let in_time =
            self.items.iter().rev().skip_while(move |item| item.0 > end).take_while(move |item| item.0 > start);
        in_time.map(|&(_, hash)| hash)
    }

    /// The newest time not later than `ts` at which anything but `except` was last seen.
    pub fn last_until(&self, ts: Timestamp, except: Option<u64>) -> Option<Timestamp> {
        let earlier = self.items.iter().rev().find(|&&(seen, hash)| seen <= ts.millis() && Some(hash) != except);
        earlier.map(|&(seen, _)| Timestamp::from_millis(seen))
    }

    /// When anything was last seen.
    pub fn newest(&self) -> Option<Timestamp> {
        self.items.last().map(|&(seen, _)| Timestamp::from_millis(seen))
    }

    /// Forgets what was not seen since `oldest`.
    pub fn trim(&mut self, oldest: Timestamp) {
        self.items.retain(|&(seen, _)| seen >= oldest.millis());
    }

    /// How many hashes are kept.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Estimated heap bytes.
    pub fn heap_bytes(&self) -> usize {
        vec_bytes::<(i64, u64)>(self.items.len())
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.items.len());
        for (seen, hash) in &self.items {
            out.extend_from_slice(&seen.to_le_bytes());
            out.extend_from_slice(&hash.to_le_bytes());
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let count = reader.count(ITEM_BYTES)?;
        if count > KEEP {
            return Err(Fault::Value);
        }
        let mut items: Vec<(i64, u64)> = Vec::with_capacity(count);
        for _ in 0..count {
            let item = (reader.i64()?, reader.u64()?);
            let repeated = items.iter().any(|known| known.1 == item.1);
            if repeated || items.last().is_some_and(|before| *before >= item) {
                return Err(Fault::Value);
            }
            items.push(item);
        }
        Ok(Self { items })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_hash_counts_once_and_only_within_the_window() {
        let mut set = Distinct::<8>::default();
        set.add(at(10), 1);
        set.add(at(20), 2);
        set.add(at(30), 1);

        assert_eq!(set.seen(at(30), 60_000).count(), 2);
        assert_eq!(set.seen(at(31), 10_000).collect::<Vec<_>>(), [1]);
        assert_eq!(set.seen(at(25), 60_000).collect::<Vec<_>>(), [2], "nothing from the future");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_order_of_adding_makes_no_difference_even_over_the_cap(
            adds in proptest::collection::vec((0i64..20, 0u64..12), 0..60).prop_shuffle(),
        ) {
            let mut given = Distinct::<5>::default();
            let mut sorted = Distinct::<5>::default();
            let mut in_order = adds.clone();
            in_order.sort_unstable();
            for (ts, hash) in adds { given.add(at(ts), hash); }
            for (ts, hash) in in_order { sorted.add(at(ts), hash); }
            prop_assert_eq!(given, sorted);
        }
    }
}
