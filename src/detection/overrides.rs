//! What operators have ordered for pairs of an account and a client network: let them in or keep them out, until some time.
//!
//! Pure values. Which of several orders counts for an attempt is decided here ([`Overrides::find`]); who may give them, where
//! they are kept and who hears of them is not. Accounts are pseudonyms, and no order ever concerns a whole account.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::attempt::{Attempt, Pseudonym, Timestamp, client_network};
use super::networks::canonical;

/// Most orders of a fleet.
pub const OVERRIDES_MAX: usize = 10_000;
/// Longest reason, in characters.
pub const REASON_MAX: usize = 500;
/// Longest author that is kept, in characters; longer ones are cut.
pub const AUTHOR_MAX: usize = 128;
/// Longest stored form, in bytes: reason and author in the longest characters, and the rest.
pub const DOCUMENT_MAX: usize = 4096;
/// Shortest time that an order may last, in milliseconds.
pub const SHORTEST_MS: i64 = 60_000;
/// Longest time that an order may last, in milliseconds: a year, whichever; `1y` is 365 days and a quarter.
pub const LONGEST_MS: i64 = 366 * 24 * 3_600_000;
/// How long an order lasts of which nobody says it, in milliseconds: a day.
pub const DEFAULT_MS: i64 = 24 * 3_600_000;
/// Shortest prefixes: wider networks are a whole account in disguise.
const V4_PREFIX_MIN: u8 = 8;
const V6_PREFIX_MIN: u8 = 16;
/// Domain of ids.
const ID_DOMAIN: &[u8] = b"nauthilus-neural/override/1\0";

/// What an operator orders for a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverrideKind {
    /// Neither model nor attack protection has anything to say against it.
    Release,
    /// It is refused.
    Block,
}

impl OverrideKind {
    /// Both, in the order of their names in metrics.
    pub const ALL: [Self; 2] = [Self::Release, Self::Block];

    /// The word that the outside sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Block => "block",
        }
    }
}

/// Names one pair: a later order for the same account and the same network replaces the earlier one. Shown as 16
/// hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OverrideId([u8; 8]);

impl OverrideId {
    /// The id of a pair; `network` has no bits behind its prefix.
    pub fn of(account: Pseudonym, network: IpNet) -> Self {
        let mut digest = Sha256::new();
        digest.update(ID_DOMAIN);
        digest.update(account.0);
        digest.update(network.to_string());
        Self(*digest.finalize().first_chunk().expect("8 of 32 bytes"))
    }

    /// Reads the 16 hexadecimal digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 8];
        hex::decode_to_slice(text, &mut id).ok()?;
        Some(Self(id))
    }
}

impl fmt::Display for OverrideId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for OverrideId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One order. As JSON: what the store keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The account, or the name as typed.
    #[serde(with = "pseudonym_hex")]
    pub account: Pseudonym,
    /// Where its attempts come from; without bits behind the prefix.
    pub network: IpNet,
    /// What is ordered.
    pub kind: OverrideKind,
    /// When it was given.
    #[serde(with = "millis")]
    pub since: Timestamp,
    /// When it ends.
    #[serde(with = "millis")]
    pub until: Timestamp,
    /// Whose order it is.
    pub by: String,
    /// Why, for people.
    pub reason: String,
}

impl Override {
    /// The name of its pair.
    pub fn id(&self) -> OverrideId {
        OverrideId::of(self.account, self.network)
    }

    /// Whether it still counts.
    pub fn active(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// One line of JSON, at most [`DOCUMENT_MAX`] bytes for texts within their bounds.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything that is out of bounds or not ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > DOCUMENT_MAX {
            return None;
        }
        let read: Self = serde_json::from_slice(bytes).ok()?;
        let fits = read.reason.chars().count() <= REASON_MAX && read.by.chars().count() <= AUTHOR_MAX;
        let sound = read.network == canonical(read.network).trunc() && wide_enough(read.network).is_ok();
        (fits && sound).then_some(read)
    }

    /// What decides between two that fit the same attempt; the greater one counts.
    fn rank(&self) -> (u8, Timestamp, OverrideKind) {
        (self.network.prefix_len(), self.since, self.kind)
    }
}

/// Reads where attempts come from: a network with its prefix length, or an address, which stands for its client network
/// (/24 or /64). IPv4 written as IPv6 is IPv4; bits behind the prefix are cut off.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the field.
pub fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let network = if let Ok(address) = text.parse::<IpAddr>() {
        let address = client_network(address.to_canonical());
        let length = if address.is_ipv4() { 24 } else { 64 };
        IpNet::new(address, length).expect("a prefix length of that family")
    } else {
        let network = text.parse::<IpNet>().map_err(|_| "is neither an address nor a network like 192.0.2.0/24")?;
        canonical(network).trunc()
    };
    wide_enough(network).map(|()| network)
}

/// Whether a network is a place and not half the world.
fn wide_enough(network: IpNet) -> Result<(), &'static str> {
    let least = if network.addr().is_ipv4() { V4_PREFIX_MIN } else { V6_PREFIX_MIN };
    if network.prefix_len() < least {
        return Err("is too wide: at least /8 for IPv4 and /16 for IPv6");
    }
    Ok(())
}

/// The order that decides about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordered {
    /// What it says.
    pub kind: OverrideKind,
    /// Its name, for whoever asks why.
    pub id: OverrideId,
}

/// The orders of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    by_account: BTreeMap<Pseudonym, Vec<Override>>,
    len: usize,
}

impl Overrides {
    /// All of `orders`, at most [`OVERRIDES_MAX`]; of two for the same pair the later in the list.
    pub fn new(orders: impl IntoIterator<Item = Override>) -> Self {
        let by_id: BTreeMap<_, _> = orders.into_iter().map(|order| (order.id(), order)).collect();
        let mut overrides = Self::default();
        for order in by_id.into_values().take(OVERRIDES_MAX) {
            overrides.by_account.entry(order.account).or_default().push(order);
            overrides.len += 1;
        }
        overrides
    }

    /// How many there are, whether or not they still count.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in the order of accounts and ids.
    pub fn iter(&self) -> impl Iterator<Item = &Override> {
        self.by_account.values().flatten()
    }

    /// Whether there is an order for an account.
    pub fn concerns(&self, account: Pseudonym) -> bool {
        self.by_account.contains_key(&account)
    }

    /// How many of a kind count now.
    pub fn active(&self, kind: OverrideKind, now: Timestamp) -> usize {
        self.iter().filter(|order| order.kind == kind && order.active(now)).count()
    }

    /// The order for an attempt at its time, by its account or by the name as typed. The longest prefix counts; of two for the
    /// same network (by account and by name) the newer one, and of two of the same time the one that blocks.
    pub fn find(&self, attempt: &Attempt) -> Option<Ordered> {
        if self.is_empty() {
            return None;
        }
        let Attempt { user, name, client_ip, ts, .. } = attempt;
        let alias = Some(name).filter(|name| *name != user);
        let orders = [Some(user), alias].into_iter().flatten().filter_map(|account| self.by_account.get(account));
        let fits = orders.flatten().filter(|order| order.active(*ts) && order.network.contains(client_ip));
        fits.max_by_key(|order| order.rank()).map(|order| Ordered { kind: order.kind, id: order.id() })
    }
}

/// Pseudonyms as 32 hexadecimal digits.
mod pseudonym_hex {
    use super::{Deserialize, Deserializer, Pseudonym, Serializer};

    pub(super) fn serialize<S: Serializer>(pseudonym: &Pseudonym, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&hex::encode(pseudonym.0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pseudonym, D::Error> {
        let mut bytes = [0; 16];
        let text = String::deserialize(deserializer)?;
        let read = hex::decode_to_slice(text, &mut bytes);
        read.map(|()| Pseudonym(bytes)).map_err(|_| serde::de::Error::custom("a pseudonym has 32 hexadecimal digits"))
    }
}

/// Times as milliseconds since the epoch.
mod millis {
    use super::{Deserialize, Deserializer, Serializer, Timestamp};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

#[cfg(test)]
mod tests;
