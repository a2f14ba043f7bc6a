//! The stored form of a [`HindsightIndex`]: versioned, sorted by key, so that equal indexes give equal bytes.
//!
//! It is for the state directory of the node that wrote it. Foreign bytes can only lead to an error, never to a panic, to
//! an allocation out of proportion, or to an index over its limits. The counts of evictions and late events are not
//! stored: they speak of one run of the program.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;

use super::coverage::{Coverage, GAPS_MAX};
use super::tables::{Entry, FINE_MS, Failures, FewFine, FewHourly, Opened, Span, Successes, Table, Tags, Users};
use super::tally::{Marks, Row, Tally, Window};
use super::{HindsightIndex, HindsightLimits};
use crate::detection::activity::HOUR_MS;
use crate::detection::attempt::{RequestKey, Timestamp};
use crate::detection::codec::{Fault, Reader, put_count, put_tagged_ip};

/// Version of the stored form; its first byte. 2: the ranges that users log in from.
const VERSION: u8 = 2;

/// Why bytes are not an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HindsightError {
    /// Written by another version of this program.
    #[error("cannot decode hindsight checkpoint: version {0} is not known")]
    Version(u8),
    /// Not what this version writes.
    #[error("cannot decode hindsight checkpoint: it is cut short or damaged")]
    Damaged,
}

impl From<Fault> for HindsightError {
    fn from(_: Fault) -> Self {
        Self::Damaged
    }
}

impl HindsightIndex {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        // Without the room that maps keep free it takes about a third.
        let mut out = Vec::with_capacity(64 + self.bytes() / 3);
        out.push(VERSION);
        self.newest.put(&mut out);
        self.coverage.put(&mut out);
        self.failures.put(&mut out);
        self.successes.put(&mut out);
        out
    }

    /// Reads the stored form into an index with these limits; what does not fit is forgotten, the oldest hours first.
    ///
    /// # Errors
    /// For anything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8], limits: HindsightLimits) -> Result<Self, HindsightError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(HindsightError::Version(version));
        }
        let mut index = Self::new(limits);
        index.newest = Stored::read(&mut reader)?;
        index.coverage = Stored::read(&mut reader)?;
        index.failures = Stored::read(&mut reader)?;
        index.successes = Stored::read(&mut reader)?;
        reader.end()?;
        index.fit();
        Ok(index)
    }
}

/// Something with a stored form of its own.
trait Stored: Sized {
    /// Fewest bytes that it takes.
    const BYTES_MIN: usize;
    fn put(&self, out: &mut Vec<u8>);
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault>;
}

/// The stored form of a struct: that of each named field in turn. All fields must be named, or it does not compile.
macro_rules! stored {
    ($kind:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        impl Stored for $kind {
            const BYTES_MIN: usize = 0 $(+ <$type as Stored>::BYTES_MIN)+;

            fn put(&self, out: &mut Vec<u8>) {
                $(Stored::put(&self.$field, out);)+
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
                Ok(Self { $($field: <$type as Stored>::read(reader)?),+ })
            }
        }
    };
}

type Pairs<V> = Table<(u64, IpAddr), V>;
type Requests = BTreeMap<(i32, RequestKey), u64>;

stored!(Failures {
    pairs: Pairs<FewFine>,
    tags: Table<u64, FewHourly>,
    sources: Table<IpAddr, Users>,
    users: Table<u64, FewFine>,
    requests: Requests,
});
stored!(Successes {
    pairs: Pairs<Marks<FINE_MS>>,
    networks: Pairs<Marks<HOUR_MS>>,
    ranges: Table<(u64, u64), Marks<HOUR_MS>>,
    users: Table<u64, Span>,
    sources: Table<IpAddr, Opened>,
});
stored!(Opened { span: Span, users: Users, tags: Tags });
stored!(Window { from: Timestamp, to: Timestamp });

impl<K: Stored + Ord + Hash + Copy, V: Stored + Entry> Stored for Table<K, V> {
    const BYTES_MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        let entries = self.sorted();
        put_count(out, entries.len());
        for (key, value) in entries {
            key.put(out);
            value.put(out);
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut table = Self::default();
        let mut before = None;
        for _ in 0..reader.count(K::BYTES_MIN + V::BYTES_MIN)? {
            let key = K::read(reader)?;
            let value = V::read(reader)?;
            if before.is_some_and(|before| before >= key) {
                return Err(Fault::Value);
            }
            before = Some(key);
            table.update(key, |entry| *entry = value);
        }
        Ok(table)
    }
}

impl<const WIDTH_MS: i64, const KEEP: usize> Stored for Tally<WIDTH_MS, KEEP> {
    const BYTES_MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.rows.len());
        for row in &self.rows {
            out.extend_from_slice(&row.slice.to_le_bytes());
            out.extend_from_slice(&row.hash.to_le_bytes());
            out.extend_from_slice(&row.count.to_le_bytes());
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let count = reader.count(16)?;
        let mut rows: Vec<Row> = Vec::with_capacity(count);
        let mut of_slice = 0;
        for _ in 0..count {
            let row = Row { slice: i32::from_le_bytes(reader.array()?), hash: reader.u64()?, count: reader.u32()? };
            let ascends = rows.last().is_none_or(|last| (last.slice, last.hash) < (row.slice, row.hash));
            of_slice = if rows.last().is_some_and(|last| last.slice == row.slice) { of_slice + 1 } else { 1 };
            if !ascends || row.count == 0 || of_slice > KEEP {
                return Err(Fault::Value);
            }
            rows.push(row);
        }
        Ok(Self { rows })
    }
}

impl<const WIDTH_MS: i64> Stored for Marks<WIDTH_MS> {
    const BYTES_MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.slices.len());
        for slice in &self.slices {
            out.extend_from_slice(&slice.to_le_bytes());
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let count = reader.count(4)?;
        let mut slices: Vec<i32> = Vec::with_capacity(count);
        for _ in 0..count {
            let slice = i32::from_le_bytes(reader.array()?);
            if slices.last().is_some_and(|last| *last >= slice) {
                return Err(Fault::Value);
            }
            slices.push(slice);
        }
        Ok(Self { slices })
    }
}

impl Stored for Coverage {
    const BYTES_MIN: usize = 6;
    fn put(&self, out: &mut Vec<u8>) {
        self.first.put(out);
        self.forgotten.put(out);
        put_count(out, self.gaps.len());
        self.gaps.iter().for_each(|gap| gap.put(out));
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (first, forgotten) = (Stored::read(reader)?, Stored::read(reader)?);
        let count = reader.count(Window::BYTES_MIN)?;
        let mut gaps: Vec<Window> = Vec::with_capacity(count.min(GAPS_MAX));
        for _ in 0..count {
            let gap = Window::read(reader)?;
            if gap.from > gap.to || gaps.last().is_some_and(|last| last.to >= gap.from) || gaps.len() >= GAPS_MAX {
                return Err(Fault::Value);
            }
            gaps.push(gap);
        }
        Ok(Self { first, forgotten, gaps })
    }
}

impl Stored for Requests {
    const BYTES_MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.len());
        for ((slice, request), tag) in self {
            out.extend_from_slice(&slice.to_le_bytes());
            out.extend_from_slice(&request.0);
            tag.put(out);
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut requests = Self::new();
        for _ in 0..reader.count(28)? {
            let key = (i32::from_le_bytes(reader.array()?), RequestKey(reader.array()?));
            if requests.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(Fault::Value);
            }
            requests.insert(key, reader.u64()?);
        }
        Ok(requests)
    }
}

impl Stored for Span {
    const BYTES_MIN: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.map(|(first, last)| Window { from: first, to: last }).put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let span: Option<Window> = Stored::read(reader)?;
        match span {
            Some(span) if span.from > span.to => Err(Fault::Value),
            span => Ok(Self(span.map(|span| (span.from, span.to)))),
        }
    }
}

impl<T: Stored> Stored for Option<T> {
    const BYTES_MIN: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.u8()? {
            0 => Ok(None),
            1 => T::read(reader).map(Some),
            _ => Err(Fault::Value),
        }
    }
}

impl Stored for Timestamp {
    const BYTES_MIN: usize = 8;
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.millis().to_le_bytes());
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.i64().map(Self::from_millis)
    }
}

impl Stored for u64 {
    const BYTES_MIN: usize = 8;
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.u64()
    }
}

impl Stored for IpAddr {
    const BYTES_MIN: usize = 5;
    fn put(&self, out: &mut Vec<u8>) {
        put_tagged_ip(out, *self);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.tagged_ip()
    }
}

impl<A: Stored, B: Stored> Stored for (A, B) {
    const BYTES_MIN: usize = A::BYTES_MIN + B::BYTES_MIN;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok((A::read(reader)?, B::read(reader)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;

    use super::super::tests::{events, index};
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * 60_000)
    }

    fn sound() -> HindsightIndex {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let tree = events().new_tree(&mut runner).expect("events can be made up");
        let mut index = index(&tree.current());
        index.missed(at(1), at(2));
        index.missed(at(5), at(9));
        index
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn an_index_comes_back_as_it_was(events in events(), gaps in proptest::collection::vec((0i64..90, 0i64..9), 0..5)) {
            let mut index = index(&events);
            for (from, length) in gaps {
                index.missed(at(from), at(from + length));
            }

            let bytes = index.encode();
            let back = HindsightIndex::decode(&bytes, HindsightLimits::RECORDING).expect("just encoded");

            prop_assert_eq!(back.stats(), index.stats());
            prop_assert_eq!(back.encode(), bytes);
            prop_assert_eq!(back, index);
        }

        #[test]
        fn foreign_and_damaged_bytes_never_panic(
            garbage in proptest::collection::vec(any::<u8>(), 0..200),
            place in 0usize..4000,
            bit in 0u8..8,
        ) {
            let _ = HindsightIndex::decode(&garbage, HindsightLimits::default());
            let mut bytes = sound().encode();
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
            if let Ok(index) = HindsightIndex::decode(&bytes, HindsightLimits::RECORDING) {
                // What was read is a sound index, if not the same: it can be asked, grow and be stored again.
                prop_assert_eq!(index.encode(), bytes);
            }
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = sound().encode();
        for end in 0..bytes.len() {
            assert!(HindsightIndex::decode(&bytes[..end], HindsightLimits::default()).is_err(), "{end} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(HindsightIndex::decode(&longer, HindsightLimits::default()), Err(HindsightError::Damaged));
        let newer = [&[VERSION + 1], &bytes[1..]].concat();
        assert_eq!(
            HindsightIndex::decode(&newer, HindsightLimits::default()),
            Err(HindsightError::Version(VERSION + 1))
        );
    }

    #[test]
    fn rows_out_of_order_or_over_the_cap_are_refused() {
        let tally = |rows: &[(i32, u64, u32)]| {
            let rows = rows.iter().map(|&(slice, hash, count)| Row { slice, hash, count }).collect();
            let mut out = Vec::new();
            Tally::<1, 2> { rows }.put(&mut out);
            Tally::<1, 2>::read(&mut Reader::new(&out)).is_ok()
        };
        assert!(tally(&[(1, 5, 1), (1, 6, 1), (2, 1, 9)]));
        for rows in [&[(1, 6, 1), (1, 5, 1)][..], &[(2, 1, 1), (1, 1, 1)], &[(1, 1, 0)], &[(1, 1, 1), (1, 1, 1)]] {
            assert!(!tally(rows), "{rows:?}");
        }
        assert!(!tally(&[(1, 5, 1), (1, 6, 1), (1, 7, 1)]), "of one slice only two are kept");
    }

    #[test]
    fn an_index_that_is_too_large_for_its_new_limits_forgets_its_oldest_hours() {
        let large = sound();
        let limits = HindsightLimits { bytes_max: large.stats().bytes / 2, ..HindsightLimits::RECORDING };

        let small = HindsightIndex::decode(&large.encode(), limits).expect("just encoded");

        assert!(small.stats().bytes <= limits.bytes_max && small.since() > large.since());
    }
}
