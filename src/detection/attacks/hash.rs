//! A keyed 64-bit hash for sets and sketches of addresses.
//!
//! Keyed, because whoever can foretell hashes can send addresses that all fall together and stay uncounted. Not for
//! passwords or signatures. SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012).

use std::net::IpAddr;

/// Hashes under one secret key. All nodes of a fleet must hold the same one, or their sketches cannot be compared.
#[derive(Clone, PartialEq)]
pub struct Keyed {
    k0: u64,
    k1: u64,
}

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed")
    }
}

impl Keyed {
    /// Under the given secret.
    pub const fn new(key: [u64; 2]) -> Self {
        Self { k0: key[0], k1: key[1] }
    }

    /// Hash of an address or network.
    pub fn ip(&self, ip: IpAddr) -> u64 {
        match ip {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
    }

    /// Hash of a number: pseudonyms are hashed once more, since only their site knows the key but any of its bits may
    /// have been chosen by trying names.
    pub fn number(&self, number: u64) -> u64 {
        self.bytes(&number.to_le_bytes())
    }

    /// Hash of up to 255 bytes and more.
    pub fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut v = [
            self.k0 ^ 0x736f_6d65_7073_6575,
            self.k1 ^ 0x646f_7261_6e64_6f6d,
            self.k0 ^ 0x6c79_6765_6e65_7261,
            self.k1 ^ 0x7465_6462_7974_6573,
        ];
        let (blocks, rest) = bytes.as_chunks::<8>();
        for block in blocks {
            absorb(&mut v, u64::from_le_bytes(*block));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = (bytes.len() & 0xff) as u8;
        absorb(&mut v, u64::from_le_bytes(last));
        v[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_siphash_2_4() {
        let hash = Keyed::new([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        let input: Vec<u8> = (0..15).collect();

        // The test vectors of the paper and of its reference implementation.
        assert_eq!(hash.bytes(&input), 0xa129_ca61_49be_45e5);
        assert_eq!(hash.bytes(&[]), 0x726f_db47_dd0e_0e31);
    }

    #[test]
    fn another_key_gives_other_hashes_and_debug_shows_none() {
        let ip: IpAddr = [192, 0, 2, 1].into();

        assert_ne!(Keyed::new([1, 2]).ip(ip), Keyed::new([1, 3]).ip(ip));
        assert_eq!(format!("{:?}", Keyed::new([1, 2])), "Keyed");
    }
}
