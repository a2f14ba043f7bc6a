//! What was seen in which slice of time: distinct hashes with their counts, or mere marks.
//!
//! Integers only, and adding commutes: what is kept depends on what was added, never on its order. Windows are taken to
//! the width of a slice, and both ends belong to them.

use std::collections::BTreeSet;

use crate::detection::attempt::Timestamp;

/// From when to when something is asked; both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Window {
    /// `back_ms` before `ts` to `ahead_ms` after it.
    pub const fn around(ts: Timestamp, back_ms: i64, ahead_ms: i64) -> Self {
        Self { from: ts.plus_millis(back_ms.saturating_neg()), to: ts.plus_millis(ahead_ms) }
    }
}

/// The slice of `width_ms` in which `ts` lies. Times beyond any calendar share the outermost slices.
pub const fn slice(ts: Timestamp, width_ms: i64) -> i32 {
    let slice = ts.millis().div_euclid(width_ms);
    if slice > i32::MAX as i64 {
        i32::MAX
    } else if slice < i32::MIN as i64 {
        i32::MIN
    } else {
        slice as i32
    }
}

/// Heap bytes of a vector of `len` items: it grows by doubling, from four.
pub const fn vec_bytes<T>(len: usize) -> usize {
    if len == 0 {
        return 0;
    }
    let capacity = len.next_power_of_two();
    (if capacity < 4 { 4 } else { capacity }) * size_of::<T>()
}

/// How often one hash was seen in one slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) hash: u64,
    pub(super) slice: i32,
    pub(super) count: u32,
}

/// How often each hash was seen, in slices of `WIDTH_MS`; of each slice the `KEEP` smallest hashes.
///
/// The smallest ones, because this choice does not depend on the order of adding. A hash that is kept at the end was
/// among the smallest all the time, so its count is complete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally<const WIDTH_MS: i64, const KEEP: usize> {
    /// Ascending by (slice, hash).
    pub(super) rows: Vec<Row>,
}

impl<const WIDTH_MS: i64, const KEEP: usize> Tally<WIDTH_MS, KEEP> {
    /// Sees `hash` once at `ts`.
    pub fn add(&mut self, ts: Timestamp, hash: u64) {
        let slice = slice(ts, WIDTH_MS);
        match self.rows.binary_search_by_key(&(slice, hash), |row| (row.slice, row.hash)) {
            Ok(place) => self.rows[place].count = self.rows[place].count.saturating_add(1),
            Err(place) => {
                let first = self.rows.partition_point(|row| row.slice < slice);
                let end = self.rows.partition_point(|row| row.slice <= slice);
                if end - first < KEEP {
                    self.rows.insert(place, Row { hash, slice, count: 1 });
                } else if place < end {
                    self.rows[place..end].rotate_right(1);
                    self.rows[place] = Row { hash, slice, count: 1 };
                }
            }
        }
    }

    /// The hashes seen in a window. Of a crowded slice not all are there; never fewer than `KEEP` of them, though.
    pub fn distinct(&self, window: Window) -> BTreeSet<u64> {
        self.within(window).map(|row| row.hash).collect()
    }

    /// How often any of the kept hashes was seen in a window.
    pub fn count(&self, window: Window) -> u64 {
        self.within(window).map(|row| u64::from(row.count)).sum()
    }

    fn within(&self, window: Window) -> impl Iterator<Item = &Row> {
        let (from, to) = (slice(window.from, WIDTH_MS), slice(window.to, WIDTH_MS));
        let first = self.rows.partition_point(|row| row.slice < from);
        self.rows[first..].iter().take_while(move |row| row.slice <= to)
    }

    /// Forgets the slices that ended before `oldest`.
    pub fn trim(&mut self, oldest: Timestamp) {
        let first = self.rows.partition_point(|row| row.slice < slice(oldest, WIDTH_MS));
        if first > 0 {
            self.rows.drain(..first);
            self.rows.shrink_to_fit();
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Estimated heap bytes, a function of the contents.
    pub fn heap_bytes(&self) -> usize {
        vec_bytes::<Row>(self.rows.len())
    }
}

/// The slices of `WIDTH_MS` in which something happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks<const WIDTH_MS: i64> {
    /// Ascending.
    pub(super) slices: Vec<i32>,
}

impl<const WIDTH_MS: i64> Marks<WIDTH_MS> {
    /// It happened at `ts`.
    pub fn add(&mut self, ts: Timestamp) {
        let slice = slice(ts, WIDTH_MS);
        if let Err(place) = self.slices.binary_search(&slice) {
            self.slices.insert(place, slice);
        }
    }

    /// Whether it happened in a window.
    pub fn any(&self, window: Window) -> bool {
        let from = slice(window.from, WIDTH_MS);
        let first = self.slices.partition_point(|&slice| slice < from);
        self.slices.get(first).is_some_and(|&found| found <= slice(window.to, WIDTH_MS))
    }

    /// Forgets what ended before `oldest`, but of that keeps the latest if it is not before `ancient`.
    pub fn trim(&mut self, oldest: Timestamp, ancient: Timestamp) {
        let first = self.slices.partition_point(|&found| found < slice(oldest, WIDTH_MS));
        let Some(latest) = first.checked_sub(1) else { return };
        let gone = if self.slices[latest] >= slice(ancient, WIDTH_MS) { latest } else { first };
        if gone > 0 {
            self.slices.drain(..gone);
            self.slices.shrink_to_fit();
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Estimated heap bytes, a function of the contents.
    pub fn heap_bytes(&self) -> usize {
        vec_bytes::<i32>(self.slices.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * MINUTE)
    }

    fn window(from: i64, to: i64) -> Window {
        Window { from: at(from), to: at(to) }
    }

    #[test]
    fn a_window_holds_both_of_its_slices_and_nothing_outside() {
        let mut tally = Tally::<MINUTE, 8>::default();
        for minute in 0..10 {
            tally.add(at(minute), minute.unsigned_abs());
            tally.add(at(minute), 99);
        }

        assert_eq!(tally.distinct(window(3, 5)).into_iter().collect::<Vec<_>>(), [3, 4, 5, 99]);
        assert_eq!(tally.count(window(3, 5)), 6);
        tally.trim(at(5));
        assert_eq!(tally.count(window(0, 100)), 10);
    }

    #[test]
    fn trimming_marks_keeps_the_latest_of_the_old_ones() {
        let mut marks = Marks::<MINUTE>::default();
        for minute in [1, 5, 20] {
            marks.add(at(minute));
        }

        marks.trim(at(10), at(2));
        assert!(marks.any(window(2, 9)) && !marks.any(window(0, 4)) && marks.any(window(20, 20)));
        marks.trim(at(10), at(6));
        assert!(!marks.any(window(0, 19)) && marks.any(window(0, 20)));
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        let mut tally = Tally::<MINUTE, 8>::default();
        tally.add(Timestamp::from_millis(i64::MIN), 1);
        tally.add(Timestamp::from_millis(i64::MAX), 2);

        let all = Window::around(at(0), i64::MAX, i64::MAX);
        assert_eq!(tally.distinct(all).len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_order_of_adding_makes_no_difference_even_over_the_cap(
            adds in proptest::collection::vec((0i64..6, 0u64..12), 0..80).prop_shuffle(),
        ) {
            let mut given = Tally::<MINUTE, 4>::default();
            let mut sorted = Tally::<MINUTE, 4>::default();
            let mut in_order = adds.clone();
            in_order.sort_unstable();
            for (minute, hash) in adds { given.add(at(minute), hash); }
            for (minute, hash) in in_order { sorted.add(at(minute), hash); }
            prop_assert_eq!(given, sorted);
        }
    }
}
