//! Reading and writing of fixed-width little-endian fields, for the stored forms of this layer.
//!
//! The reader never panics and never reads past its end. It knows nothing of what the bytes mean.

use std::net::IpAddr;

use super::attempt::canonical_ip;

/// What was wrong with the bytes, in the widest sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They end too early.
    Short,
    /// A value that is never written stands there.
    Value,
}

/// A cursor over foreign bytes.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Fault::Short)?;
        self.rest = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Fault::Short)?;
        self.rest = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Fault> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn f32(&mut self) -> Result<f32, Fault> {
        let value = self.array().map(f32::from_le_bytes)?;
        if value.is_finite() { Ok(value) } else { Err(Fault::Value) }
    }

    /// A number of items that each take at least `item_bytes`: a count that cannot be true is refused before anything is
    /// allocated for it.
    pub(crate) fn count(&mut self, item_bytes: usize) -> Result<usize, Fault> {
        let count = usize::try_from(self.u32()?).map_err(|_| Fault::Value)?;
        match count.checked_mul(item_bytes) {
            Some(bytes) if bytes <= self.remaining() => Ok(count),
            _ => Err(Fault::Short),
        }
    }

    /// An address of the given family; only canonical ones are ever written.
    pub(crate) fn ip(&mut self, v6: bool) -> Result<IpAddr, Fault> {
        let ip = if v6 { IpAddr::from(self.array::<16>()?) } else { IpAddr::from(self.array::<4>()?) };
        if canonical_ip(ip) == ip { Ok(ip) } else { Err(Fault::Value) }
    }

    /// An address behind a byte that names its family.
    pub(crate) fn tagged_ip(&mut self) -> Result<IpAddr, Fault> {
        match self.u8()? {
            4 => self.ip(false),
            6 => self.ip(true),
            _ => Err(Fault::Value),
        }
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::Value) }
    }
}

/// Appends the bytes of an address without its family.
pub(crate) fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
}

/// Appends an address behind a byte that names its family.
pub(crate) fn put_tagged_ip(out: &mut Vec<u8>, ip: IpAddr) {
    out.push(if ip.is_ipv4() { 4 } else { 6 });
    put_ip(out, ip);
}

/// Appends a number of items; tables are capped far below `u32::MAX`, and a longer one would not decode.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}
