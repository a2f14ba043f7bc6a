//! Passwords as the daemon sees them: opaque tags, equal when the password is equal, and nothing else.
//!
//! There are no passwords behind them: a tag is a hash of the site's secret and of which password is meant.

use sha2::{Digest, Sha256};

use super::sampling::Zipf;
use crate::numeric::Rng;

/// Size of the attackers' common pool: distinct passwords seen by one SSH honeypot in 56 days (measured).
const COMMON_POOL: usize = 3784;

/// Popularity in the pool: makes the ten favourites 53 % of the tries (measured: 54 %).
const COMMON_EXPONENT: f64 = 1.2;

/// Which password is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Password {
    /// What a person uses, by how often they have changed it.
    Own { person: u32, version: u32 },
    /// What a device has stored from long before the period.
    Ancient { person: u32 },
    /// A slip of the finger; a person has a few favourite slips.
    Slip { person: u32, which: u64 },
    /// A guess of somebody who has forgotten theirs.
    Wrong { person: u32, which: u64 },
    /// A rank of the common pool.
    Common { rank: u64 },
    /// From a leak: known to nobody else at this site.
    Leaked { campaign: u64, which: u64 },
}

/// Opaque tag of a password at one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tag(u64);

impl Tag {
    /// Sixteen hexadecimal digits.
    pub(super) fn hex(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// Turns passwords into tags and knows which ones attackers like.
pub(super) struct Passwords {
    secret: u64,
    popularity: Zipf,
}

impl Passwords {
    pub(super) fn new(secret: u64) -> Self {
        Self { secret, popularity: Zipf::new(COMMON_POOL, COMMON_EXPONENT) }
    }

    /// The tag of a password.
    pub(super) fn tag(&self, password: Password) -> Tag {
        let (kind, a, b) = match password {
            Password::Own { person, version } => (0u8, u64::from(person), u64::from(version)),
            Password::Ancient { person } => (1, u64::from(person), 0),
            Password::Slip { person, which } => (2, u64::from(person), which),
            Password::Wrong { person, which } => (3, u64::from(person), which),
            Password::Common { rank } => (4, rank, 0),
            Password::Leaked { campaign, which } => (5, campaign, which),
        };
        let mut hasher = Sha256::new();
        hasher.update(self.secret.to_le_bytes());
        hasher.update([kind]);
        hasher.update(a.to_le_bytes());
        hasher.update(b.to_le_bytes());
        let digest = hasher.finalize();
        Tag(u64::from_be_bytes(digest[..8].try_into().expect("eight of thirty-two bytes")))
    }

    /// A password from the common pool, by popularity.
    pub(super) fn common(&self, rng: &mut Rng) -> Password {
        Password::Common { rank: self.popularity.draw(rng) }
    }
}
