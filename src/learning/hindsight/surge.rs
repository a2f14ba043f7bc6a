//! Whether strangers come in such numbers that a single one of them is hardly an honest user.
//!
//! Of one lone try nothing is known before a day has passed. But where addresses that never let anybody in begin to fail
//! three times as often as they usually do, most of them are not there by chance. Not whose they are is told here, nor what
//! they do: only how many they are.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use super::tables::{FINE_MS, Failures, Successes};
use super::tally::slice;
use crate::detection::activity::HOUR_MS;
use crate::detection::attempt::Timestamp;

/// So many newcomers within an hour to either side, at least …
const NEWCOMERS_MIN: u64 = 40;
/// … and so many times the usual number (both assumed; of some 5000 failures that got a label by them on seven generated sites
/// at most four were honest, all with mistyped names).
const TIMES: u64 = 3;
/// What is usual: the middle one of so many hours before, which a campaign of less than half a day does not move …
const HOURS: i32 = 24;
/// … and, since a morning is no attack, the mean of so many hours to either side of this time yesterday.
const AROUND: i32 = 3;
/// What is left of an IPv6 address of a /48.
const SITE_SHIFT: u32 = 128 - 48;
/// How long before an attempt everything has to be known, to the slice.
pub const LOOK_BACK_MS: i64 = (HOURS + AROUND) as i64 * HOUR_MS + FINE_MS;

const SLICES_OF_HOUR: i32 = (HOUR_MS / FINE_MS) as i32;

/// Whether a source that began to fail in the slice `first` comes with an attempt at `ts`: within an hour to either side.
pub fn comes_with(first: i32, ts: Timestamp) -> bool {
    let here = slice(ts, FINE_MS);
    (here.saturating_sub(SLICES_OF_HOUR)..here.saturating_add(SLICES_OF_HOUR)).contains(&first)
}

/// How many sources began to fail in which slice that let nobody in until an hour after.
#[derive(Debug, Clone, Default)]
pub struct Newcomers {
    began: BTreeMap<i32, u64>,
}

impl Newcomers {
    /// Those among everything that is remembered. Of the networks of one site (an IPv6 /48, which is one customer's) only
    /// the first counts.
    pub fn of(failures: &Failures, successes: &Successes) -> Self {
        let mut sites: HashMap<Ipv6Addr, i32> = HashMap::new();
        let mut began = BTreeMap::new();
        for (source, first) in failures.sources_since() {
            let hour_after = Timestamp::from_millis((i64::from(first) + 1) * FINE_MS + HOUR_MS);
            if successes.sources.get(source).is_some_and(|opened| opened.span.begun(hour_after)) {
                continue;
            }
            match source {
                IpAddr::V4(_) => *began.entry(first).or_default() += 1,
                IpAddr::V6(network) => {
                    let site = Ipv6Addr::from_bits(network.to_bits() >> SITE_SHIFT << SITE_SHIFT);
                    let known = sites.entry(site).or_insert(first);
                    *known = first.min(*known);
                }
            }
        }
        for first in sites.into_values() {
            *began.entry(first).or_default() += 1;
        }
        Self { began }
    }

    /// Whether unusually many of them come around `ts`. Everything from [`LOOK_BACK_MS`] before to an hour after has to be known.
    pub fn surge(&self, ts: Timestamp) -> bool {
        let here = slice(ts, FINE_MS);
        let back = |hours: i32| here.saturating_sub(hours * SLICES_OF_HOUR);
        let mut hours: Vec<u64> = (1..=HOURS).map(|hour| self.between(back(hour + 1), back(hour))).collect();
        hours.sort_unstable();
        let middle = hours[hours.len() / 2];
        let yesterday = self.between(back(HOURS + AROUND), back(HOURS - AROUND)) / u64::from(2 * AROUND.unsigned_abs());
        // Of two hours, as those around `ts` are.
        let usual = 2 * middle.max(yesterday);
        self.between(back(1), back(-1)) >= NEWCOMERS_MIN.max(TIMES * usual)
    }

    fn between(&self, from: i32, to: i32) -> u64 {
        self.began.range(from..to).map(|(_, count)| count).sum()
    }
}
