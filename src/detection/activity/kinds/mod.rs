//! The kinds of things that are watched, and what is kept about each.
//!
//! A new kind is a struct in a file of its own with its `Entry` and `Stored` forms, a table in
//! [`Activity`](super::Activity) and a line in its checkpoint. Everything in it must commute: counters, capped sets of
//! what was seen last, and spans.
//!
//! What attempts and failures make (sources, networks, users, tags, systems) is kept for a day. What only a success makes
//! (accounts, and the successes of the others) is kept longer and goes last: nobody becomes familiar by failing.

mod account;
mod category;
mod network;
mod pair;
mod source;
mod system;
mod tag;
mod traffic;
mod user;
mod visit;

use std::net::IpAddr;

use sha2::{Digest, Sha256};

pub use account::Account;
pub use category::Category;
pub use network::Network;
pub use pair::Pair;
pub use source::Source;
pub use system::System;
pub use tag::Tag;
pub use traffic::Traffic;
pub use user::User;
pub use visit::Visit;

use super::{DAY_MS, HOUR_MS};
use crate::detection::attempt::{RequestKey, Timestamp};

/// The newest attempts or successes of an entry: some more than one, because nodes hear of each other's a little late.
const RECENT_KEPT: usize = 4;
/// Distinct things told apart. The features of compat-6 saturate at 20; in logarithms, 64 and 500 are close.
const DISTINCT_KEPT: usize = 64;
const MINUTE_MS: i64 = 60_000;
/// An hour of minutes, and some for events that come in late.
const MINUTES_KEPT: usize = 64;
/// Where an hour and a day are wanted of one counter, its buckets are this wide.
const QUARTER_MS: i64 = 15 * MINUTE_MS;
/// A day of quarters, and an hour more.
const QUARTERS_KEPT: usize = 100;
/// A day of hours, and some for events that come in late.
const HOURS_KEPT: usize = 26;
/// A week of days, and some for events that come in late.
const DAYS_KEPT: usize = 9;

/// Eight bytes of a request id, enough to tell the newest few requests of one entry apart.
fn short(request: RequestKey) -> u64 {
    u64::from_le_bytes(*request.0.first_chunk().expect("eight of sixteen bytes"))
}

/// Eight bytes for an address or network. Of IPv6 a digest, so that nobody can choose an address that passes for another.
fn place(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => {
            let digest: [u8; 32] = Sha256::digest(v6.octets()).into();
            u64::from_le_bytes(*digest.first_chunk().expect("eight of 32 bytes"))
        }
    }
}

fn day_before(now: Timestamp) -> Timestamp {
    now.plus_millis(-DAY_MS)
}

/// The first and the last time of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub first: Timestamp,
    pub last: Timestamp,
}

impl Default for Span {
    /// It never happened.
    fn default() -> Self {
        Self { first: Timestamp::from_millis(i64::MAX), last: Timestamp::from_millis(i64::MIN) }
    }
}

impl Span {
    pub fn add(&mut self, ts: Timestamp) {
        self.first = self.first.min(ts);
        self.last = self.last.max(ts);
    }

    pub fn is_empty(&self) -> bool {
        self.first > self.last
    }

    /// Whether it had happened by `ts`, and not for the last time more than `window_ms` before. That it happened again
    /// later is no reason to take it for unknown.
    pub fn known(&self, ts: Timestamp, window_ms: i64) -> bool {
        self.first <= ts && self.last > ts.plus_millis(window_ms.saturating_neg())
    }
}
