//! What one user is known by: capped sets of hashes, one for each trait, each hash with the day it was last seen.
//!
//! Over the cap of its trait the one seen longest ago goes. Adding commutes, over the cap too: per trait the `KEEP`
//! greatest pairs of (day, hash) are held, whatever the order in which they came. Days, because what was seen again later
//! on a day must not look unknown at an earlier hour of it; in exchange, a first time later on the same day counts.

use super::DAY_MS;
use super::table::{make_room, vec_bytes};
use crate::detection::attempt::{Attempt, Timestamp, address_range};
use crate::detection::codec::{Fault, Reader, put_count};

/// Hashes per trait: telephone, tablet, a few browsers and mail programs; home, work, mobile network and a journey.
const KEEP: usize = 8;

/// One thing that a user can be known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Trait {
    /// The autonomous system of the address.
    Asn = 1,
    /// The country of the address.
    Country = 2,
    /// The program that speaks.
    UserAgent = 3,
    /// OIDC client or IMAP ID.
    ClientId = 4,
    /// The wider surroundings of the address: dynamic addresses change within them.
    Range = 5,
    /// One byte of the password tag. It tells that an old password is tried again, and must not tell the password: of a
    /// million common ones four thousand have the same.
    Password = 6,
}

impl Trait {
    /// All of them.
    const ALL: [Self; 6] = [Self::Asn, Self::Country, Self::UserAgent, Self::ClientId, Self::Range, Self::Password];

    /// What `attempt` has of it, as a hash; `None` when nobody said.
    pub fn of(self, attempt: &Attempt) -> Option<u64> {
        let client = &attempt.client;
        match self {
            Self::Asn => client.asn.map(|asn| asn.number().into()),
            Self::Country => client.country.map(|country| country.number().into()),
            Self::UserAgent => client.user_agent.map(|tag| tag.number()),
            Self::ClientId => client.client_id.map(|tag| tag.number()),
            Self::Range => Some(address_range(attempt.client_ip)),
            Self::Password => attempt.password.map(|tag| tag.0 & 0xff),
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|each| *each as u8 == byte)
    }
}

/// 16 bytes: there is one for most accounts and traits. The order of the fields is the order in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    what: Trait,
    /// Days since the epoch.
    day: i32,
    hash: u64,
}

/// Bytes of one item in the stored form.
const ITEM_BYTES: usize = 13;

/// See the module documentation. Items ascend by (trait, day, hash).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    items: Vec<Item>,
}

impl Known {
    /// Sees whatever is known of the client of `attempt`.
    pub fn add(&mut self, attempt: &Attempt) {
        for what in Trait::ALL {
            if let Some(hash) = what.of(attempt) {
                self.see(Item { what, day: day(attempt.ts), hash });
            }
        }
    }

    fn see(&mut self, item: Item) {
        let first = self.items.partition_point(|known| known.what < item.what);
        let held = self.items[first..].partition_point(|known| known.what == item.what);
        let of_trait = &self.items[first..first + held];
        if let Some(place) = of_trait.iter().position(|known| known.hash == item.hash) {
            if of_trait[place] >= item {
                return;
            }
            self.items.remove(first + place);
        } else if held >= KEEP {
            if of_trait[0] > item {
                return;
            }
            self.items.remove(first);
        }
        make_room(&mut self.items);
        let place = self.items.partition_point(|known| *known < item);
        self.items.insert(place, item);
    }

    /// Whether `hash` was seen as `what` on the day of `ts` or in the `window_ms` before. `None` when nothing was: then
    /// nothing is said by its not being among them.
    pub fn knows(&self, ts: Timestamp, window_ms: i64, what: Trait, hash: u64) -> Option<bool> {
        let (oldest, newest) = (day(ts.plus_millis(window_ms.saturating_neg())), day(ts));
        let mut any = None;
        for item in self.items.iter().filter(|item| item.what == what && item.day > oldest && item.day <= newest) {
            if item.hash == hash {
                return Some(true);
            }
            any = Some(false);
        }
        any
    }

    /// Forgets what was not seen since `oldest`.
    pub fn trim(&mut self, oldest: Timestamp) {
        let oldest = day(oldest);
        self.items.retain(|item| item.day >= oldest);
    }

    /// Estimated heap bytes.
    pub fn heap_bytes(&self) -> usize {
        vec_bytes::<Item>(self.items.len())
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_count(out, self.items.len());
        for Item { what, day, hash } in &self.items {
            out.push(*what as u8);
            out.extend_from_slice(&day.to_le_bytes());
            out.extend_from_slice(&hash.to_le_bytes());
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut items: Vec<Item> = Vec::new();
        for _ in 0..reader.count(ITEM_BYTES)? {
            let what = Trait::from_byte(reader.u8()?).ok_or(Fault::Value)?;
            let item = Item { what, day: i32::from_le_bytes(reader.array()?), hash: reader.u64()? };
            let same = || items.iter().filter(|known| known.what == what);
            let wrong = same().count() >= KEEP
                || same().any(|known| known.hash == item.hash)
                || items.last().is_some_and(|before| *before >= item);
            if wrong {
                return Err(Fault::Value);
            }
            items.push(item);
        }
        Ok(Self { items })
    }
}

fn day(ts: Timestamp) -> i32 {
    let number = ts.millis().div_euclid(DAY_MS);
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detection::attempt::testing::plain;
    use crate::detection::client::{Asn, ClientDetails, ClientTag};

    const WEEK_MS: i64 = 7 * DAY_MS;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_millis(days * DAY_MS + 1000)
    }

    fn login(ts: Timestamp, asn: u32, agent: Option<u64>) -> Attempt {
        let client =
            ClientDetails { asn: Asn::new(asn), user_agent: agent.map(ClientTag::new), ..ClientDetails::default() };
        Attempt { client, ..plain(ts, "r", [192, 0, 2, 1].into(), 1) }
    }

    #[test]
    fn each_trait_is_known_on_its_own_and_says_nothing_while_it_has_never_been_told() {
        let mut known = Known::default();
        known.add(&login(at(1), 7, None));

        assert_eq!(known.knows(at(1), WEEK_MS, Trait::Asn, 7), Some(true));
        assert_eq!(known.knows(at(1), WEEK_MS, Trait::Asn, 8), Some(false));
        assert_eq!(known.knows(at(1), WEEK_MS, Trait::UserAgent, 7), None);
        assert_eq!(known.knows(at(0), WEEK_MS, Trait::Asn, 7), None, "nothing from another day that is still to come");
        assert_eq!(known.knows(at(7), WEEK_MS, Trait::Asn, 7), Some(true));
        assert_eq!(known.knows(at(8), WEEK_MS, Trait::Asn, 7), None, "forgotten");
    }

    #[test]
    fn the_one_used_longest_ago_leaves_and_other_traits_do_not_mind() {
        let mut known = Known::default();
        known.add(&login(at(0), 99, Some(1)));
        for day in 1..=8 {
            known.add(&login(at(day), day as u32, None));
        }

        assert_eq!(known.knows(at(9), 30 * DAY_MS, Trait::Asn, 99), Some(false));
        assert_eq!(known.knows(at(9), 30 * DAY_MS, Trait::Asn, 1), Some(true));
        assert_eq!(known.knows(at(9), 30 * DAY_MS, Trait::UserAgent, 1), Some(true));
        known.trim(at(8));
        assert_eq!(known.items.len(), 2, "the provider and the range of the last day");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_order_of_adding_makes_no_difference_even_over_the_cap(
            adds in proptest::collection::vec((0i64..20, 1u32..30, proptest::option::of(1u64..20)), 0..80).prop_shuffle(),
        ) {
            let mut given = Known::default();
            let mut sorted = Known::default();
            let mut in_order = adds.clone();
            in_order.sort_unstable();
            for (day, asn, agent) in adds { given.add(&login(at(day), asn, agent)); }
            for (day, asn, agent) in in_order { sorted.add(&login(at(day), asn, agent)); }
            let mut bytes = Vec::new();
            given.put(&mut bytes);
            prop_assert_eq!(&given, &sorted);
            prop_assert_eq!(Known::read(&mut Reader::new(&bytes)), Ok(given));
        }
    }
}
