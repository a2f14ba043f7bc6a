//! The stored form of an [`Activity`]: versioned, sorted by key, so that equal activities give equal bytes.
//!
//! It is for the state directory of the node that wrote it. Whether the file was written to its end is for the file's
//! writer to ensure; here foreign bytes can only lead to an error, never to a panic or to an allocation out of proportion.

use std::hash::Hash;
use std::net::IpAddr;

use super::counter::Counter;
use super::distinct::Distinct;
use super::kinds::Span;
use super::known::Known;
use super::table::{Entry, Table};
use super::{Activity, ActivityLimits};
use crate::detection::attempt::Timestamp;
use crate::detection::codec::{Fault, Reader, put_count, put_tagged_ip};

/// Version of the stored form; its first byte.
/// 2: more kinds, counters with successes. 3: what accounts are known by, autonomous systems.
/// 4: values of additional features. 5: addresses that begin to fail, one byte of passwords that were right.
/// 6: no failures and successes of the whole site.
const VERSION: u8 = 6;

/// Why bytes are not an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActivityError {
    /// Written by another version of this program.
    #[error("cannot decode activity checkpoint: version {0} is not known")]
    Version(u8),
    /// Not what this version writes.
    #[error("cannot decode activity checkpoint: it is cut short or damaged")]
    Damaged,
}

impl From<Fault> for ActivityError {
    fn from(_: Fault) -> Self {
        Self::Damaged
    }
}

/// Something with a stored form of its own.
pub(super) trait Stored: Sized {
    /// Fewest bytes that it takes.
    const BYTES_MIN: usize;
    /// Appends the stored form.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it back.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault>;
}

/// The stored form of a struct: that of each named field in turn. All fields must be named, or it does not compile.
macro_rules! stored {
    ($kind:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $crate::detection::activity::checkpoint::Stored for $kind {
            const BYTES_MIN: usize =
                0 $(+ <$type as $crate::detection::activity::checkpoint::Stored>::BYTES_MIN)+;

            fn put(&self, out: &mut Vec<u8>) {
                $($crate::detection::activity::checkpoint::Stored::put(&self.$field, out);)+
            }

            fn read(
                reader: &mut $crate::detection::codec::Reader<'_>,
            ) -> Result<Self, $crate::detection::codec::Fault> {
                Ok(Self { $($field: $crate::detection::activity::checkpoint::Stored::read(reader)?),+ })
            }
        }
    };
}
pub(super) use stored;

impl Activity {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_table(&mut out, &self.sources);
        put_table(&mut out, &self.users);
        put_table(&mut out, &self.pairs);
        put_table(&mut out, &self.networks);
        put_table(&mut out, &self.accounts);
        put_table(&mut out, &self.visits);
        put_table(&mut out, &self.tags);
        put_table(&mut out, &self.systems);
        put_table(&mut out, &self.categories);
        self.traffic.put(&mut out);
        out
    }

    /// Reads the stored form into tables with these limits; what does not fit is evicted. Which networks are shared is not
    /// stored.
    pub fn decode(bytes: &[u8], limits: ActivityLimits) -> Result<Self, ActivityError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(ActivityError::Version(version));
        }
        let activity = Self {
            sources: read_table(&mut reader, limits.sources_bytes_max)?,
            users: read_table(&mut reader, limits.users_bytes_max)?,
            pairs: read_table(&mut reader, limits.pairs_bytes_max)?,
            networks: read_table(&mut reader, limits.networks_bytes_max)?,
            accounts: read_table(&mut reader, limits.accounts_bytes_max)?,
            visits: read_table(&mut reader, limits.visits_bytes_max)?,
            tags: read_table(&mut reader, limits.tags_bytes_max)?,
            systems: read_table(&mut reader, limits.systems_bytes_max)?,
            categories: read_table(&mut reader, limits.categories_bytes_max)?,
            traffic: Stored::read(&mut reader)?,
            shared: Vec::new(),
        };
        reader.end()?;
        Ok(activity)
    }
}

fn put_table<K: Stored + Ord + Hash + Copy, V: Stored + Entry>(out: &mut Vec<u8>, table: &Table<K, V>) {
    put_count(out, table.len());
    for (key, value) in table.sorted() {
        key.put(out);
        value.put(out);
    }
}

fn read_table<K: Stored + Ord + Hash + Copy, V: Stored + Entry>(
    reader: &mut Reader<'_>,
    bytes_max: usize,
) -> Result<Table<K, V>, Fault> {
    let count = reader.count(K::BYTES_MIN + V::BYTES_MIN)?;
    let mut table = Table::new(bytes_max);
    let mut before = None;
    for _ in 0..count {
        let key = K::read(reader)?;
        if before.is_some_and(|before| before >= key) {
            return Err(Fault::Value);
        }
        before = Some(key);
        table.insert(key, V::read(reader)?);
    }
    Ok(table)
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

impl Stored for u64 {
    const BYTES_MIN: usize = 8;
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.u64()
    }
}

impl Stored for u32 {
    const BYTES_MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.u32()
    }
}

impl Stored for (u64, IpAddr) {
    const BYTES_MIN: usize = 13;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok((u64::read(reader)?, IpAddr::read(reader)?))
    }
}

impl Stored for Option<Timestamp> {
    const BYTES_MIN: usize = 1;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(ts) = self {
            out.extend_from_slice(&ts.millis().to_le_bytes());
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.u8()? {
            0 => Ok(None),
            1 => Ok(Some(Timestamp::from_millis(reader.i64()?))),
            _ => Err(Fault::Value),
        }
    }
}

impl Stored for Span {
    const BYTES_MIN: usize = 16;
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.first.millis().to_le_bytes());
        out.extend_from_slice(&self.last.millis().to_le_bytes());
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (first, last) = (reader.i64()?, reader.i64()?);
        let span = Self { first: Timestamp::from_millis(first), last: Timestamp::from_millis(last) };
        if span.is_empty() && span != Self::default() { Err(Fault::Value) } else { Ok(span) }
    }
}

impl Stored for Known {
    const BYTES_MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        self.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Self::read(reader)
    }
}

impl<const WIDTH_MS: i64, const KEEP: usize> Stored for Counter<WIDTH_MS, KEEP> {
    const BYTES_MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        self.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Self::read(reader)
    }
}

impl<const KEEP: usize> Stored for Distinct<KEEP> {
    const BYTES_MIN: usize = 4;
    fn put(&self, out: &mut Vec<u8>) {
        self.put(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Self::read(reader)
    }
}
