//! Features that a site sends of its own accord: what a request gives, and the fleet's list of which ones count.
//!
//! A request may give anything; what is looked at is bounded here. The list says which names are features, of which kind,
//! and in which order their blocks stand behind the standard features. It only grows at its end, and a removed feature keeps
//! its place, so that an older list is a beginning of a newer one. When places run short, the features that are left close
//! up and a new generation of the list begins; the lists before it are remembered, so that what was recorded and trained
//! with them can still be read. A removed name is refused for a while. Nothing here knows where the list is kept, and no
//! text of a value comes this far: texts are keyed hashes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::activity::DAY_MS;
use super::pseudonym::Pseudonymizer;
use super::record::RecordError;

/// Features of one request that are looked at; more are skipped.
pub const GIVEN_MAX: usize = 32;
/// Longest name in bytes.
pub const NAME_MAX: usize = 64;
/// Longest text value in bytes, in lower case; a longer one is skipped. User agents are such texts.
pub const TEXT_MAX: usize = 256;
/// Places in the list, the removed ones included: bounds the width of every snapshot.
pub const SLOTS_MAX: usize = 32;
/// Numbers are clamped to this, to either side.
pub const NUMBER_MAX: f64 = 1e9;
/// Earlier generations of the list that are remembered, the latest ones: what is older cannot be read any more.
pub const FORMER_MAX: usize = 8;
/// Removed names that are refused at once, the latest ones.
pub const REFUSED_MAX: usize = 128;
/// A removed name is refused for thirty days, unless it is allowed again.
pub const REFUSED_MS: i64 = 30 * DAY_MS;
/// Longest stored form of the list: nine times 32 slots of at most 150 bytes, and 128 names.
pub const LIST_BYTES_MAX: usize = 64 * 1024;
/// Names that stand for what every attempt has anyway.
pub(crate) const SKIPPED: [&str; 4] = ["ClientIP", "client_ip", "Username", "username"];

/// What a feature holds and how it becomes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A number, in logarithms.
    Number,
    /// True or false.
    Bool,
    /// A text, hashed into a few buckets.
    OneHot,
    /// A text, replaced by how often attempts with it failed.
    Embedding,
}

impl Kind {
    /// `number`, `bool` or `string`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Bool => "bool",
            Self::OneHot | Self::Embedding => "string",
        }
    }

    /// How a text is encoded; `None` for what is no text.
    pub const fn encoding(self) -> Option<&'static str> {
        match self {
            Self::OneHot => Some("one-hot"),
            Self::Embedding => Some("embedding"),
            Self::Number | Self::Bool => None,
        }
    }
}

/// The value of one feature in one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GivenValue {
    /// Finite, clamped to ±[`NUMBER_MAX`].
    Number(f64),
    /// As it was sent.
    Bool(bool),
    /// Keyed hash of name and text.
    Text(u64),
}

/// One feature of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenFeature {
    /// 1 to [`NAME_MAX`] of `A-Z a-z 0-9 _ . -`.
    pub name: String,
    /// Its value.
    pub value: GivenValue,
    /// What it would be, if the fleet did not know it yet.
    pub kind: Kind,
}

impl GivenFeature {
    /// Whether the value is one for a feature of `kind`. How a text is encoded, the list says, not the request.
    pub fn fits(&self, kind: Kind) -> bool {
        match self.value {
            GivenValue::Number(_) => kind == Kind::Number,
            GivenValue::Bool(_) => kind == Kind::Bool,
            GivenValue::Text(_) => matches!(kind, Kind::OneHot | Kind::Embedding),
        }
    }
}

/// Everything that one request gives, bounded.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Given {
    /// At most [`GIVEN_MAX`], by name.
    pub features: Vec<GivenFeature>,
    /// How many were not looked at: too many, or a name or text out of bounds.
    pub skipped: usize,
}

impl Given {
    /// Reads the `features` and `encoding` of a request whose values were checked already.
    ///
    /// # Errors
    /// An encoding that is neither `one-hot` nor `embedding`.
    pub(super) fn read(
        features: Option<&Map<String, Value>>,
        encoding: Option<&Map<String, Value>>,
        pseudonymizer: &Pseudonymizer,
    ) -> Result<Self, RecordError> {
        let text_kind = |name: &str| match encoding.and_then(|encoding| encoding.get(name)).map(Value::as_str) {
            None | Some(Some("one-hot")) => Ok(Kind::OneHot),
            Some(Some("embedding")) => Ok(Kind::Embedding),
            Some(_) => Err(RecordError::new("encoding", "must be one-hot or embedding for every name")),
        };
        for name in encoding.into_iter().flat_map(Map::keys) {
            text_kind(name)?;
        }
        let mut given = Self::default();
        // Sorted, whatever order the map has: which of too many are skipped must not depend on it.
        let mut entries: Vec<_> = features.into_iter().flatten().collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in entries.into_iter().filter(|(name, _)| !SKIPPED.contains(&name.as_str())) {
            let read = match value {
                _ if !is_name(name) || given.features.len() >= GIVEN_MAX => None,
                Value::Bool(is) => Some((GivenValue::Bool(*is), Kind::Bool)),
                Value::Number(number) => {
                    let number = number.as_f64().filter(|number| number.is_finite());
                    number.map(|number| (GivenValue::Number(number.clamp(-NUMBER_MAX, NUMBER_MAX)), Kind::Number))
                }
                Value::String(text) => {
                    let text = text.trim().to_lowercase();
                    let fits = !text.is_empty() && text.len() <= TEXT_MAX;
                    let hashed = || GivenValue::Text(pseudonymizer.feature(name, &text));
                    if fits { Some((hashed(), text_kind(name)?)) } else { None }
                }
                _ => None,
            };
            match read {
                Some((value, kind)) => given.features.push(GivenFeature { name: name.clone(), value, kind }),
                None => given.skipped += 1,
            }
        }
        Ok(given)
    }

    /// The texts whose outcomes are counted for features of `list`.
    pub fn categories(&self, list: &FeatureList) -> Vec<u64> {
        let counted = list.live().filter(|slot| slot.kind == Kind::Embedding);
        let text = |slot| match self.value(slot) {
            Some(GivenValue::Text(hash)) => Some(hash),
            _ => None,
        };
        counted.filter_map(text).collect()
    }

    /// The value for a feature of the list; `None` where the request gives none that fits.
    pub fn value(&self, slot: &Slot) -> Option<GivenValue> {
        let found = self.features.iter().find(|given| !slot.removed && given.name == slot.name)?;
        found.fits(slot.kind).then_some(found.value)
    }
}

/// Whether a feature may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(plain)
}

/// One place of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// As requests give it.
    pub name: String,
    /// What it holds; never changes.
    pub kind: Kind,
    /// When it was taken into the list, in milliseconds since the epoch, by the clock of the node that saw it first.
    pub first_seen_ms: i64,
    /// It is no feature any longer; its block always says "missing".
    pub removed: bool,
}

/// A name that the list does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// As the request gave it.
    pub name: String,
    /// Of its first value.
    pub kind: Kind,
}

/// A name that was removed and does not come back by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// As requests give it.
    pub name: String,
    /// When it was removed, in milliseconds since the epoch.
    pub since_ms: i64,
}

impl Refused {
    /// When requests may bring it in again, in milliseconds since the epoch.
    pub const fn until_ms(&self) -> i64 {
        self.since_ms.saturating_add(REFUSED_MS)
    }
}

/// The fleet's list, in the order of the blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureList {
    slots: Vec<Slot>,
    generation: u32,
    former: Vec<Vec<Slot>>,
    refused: Vec<Refused>,
}

/// Why bytes are no list.
#[derive(Debug, thiserror::Error)]
#[error("the list of additional features is damaged or foreign")]
pub struct ListError(#[source] Option<serde_json::Error>);

/// A list that never closed up and refuses nothing is written as version 1.
const VERSION_BARE: u32 = 1;
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    v: u32,
    slots: Vec<Slot>,
    #[serde(default, skip_serializing_if = "is_zero")]
    generation: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former: Vec<Vec<Slot>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<Refused>,
}

fn is_zero(generation: &u32) -> bool {
    *generation == 0
}

impl FeatureList {
    /// All places, the removed ones included.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// How often the features have closed up: lists of different generations have no beginning in common.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The places of earlier generations with their numbers, the latest first; at most [`FORMER_MAX`].
    pub fn former(&self) -> impl Iterator<Item = (u32, &[Slot])> {
        let before = (0..self.generation).rev();
        before.zip(self.former.iter().rev().map(Vec::as_slice))
    }

    /// A list of its own with only these places, of the same generation as this one or of an earlier one.
    pub(super) fn beginning(slots: &[Slot], generation: u32) -> Self {
        Self { slots: slots.to_vec(), generation, former: Vec::new(), refused: Vec::new() }
    }

    /// The features that count.
    pub fn live(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.removed)
    }

    /// The removed names that requests cannot bring in at `now_ms`.
    pub fn refused(&self, now_ms: i64) -> impl Iterator<Item = &Refused> {
        self.refused.iter().filter(move |refused| now_ms < refused.until_ms())
    }

    /// Whether requests cannot bring in `name` at `now_ms`, because it was removed.
    pub fn refuses(&self, name: &str, now_ms: i64) -> bool {
        self.refused(now_ms).any(|refused| refused.name == name)
    }

    /// Whether one more feature fits, where at most `live_max` may count.
    pub fn has_room(&self, live_max: usize) -> bool {
        self.live().count() < live_max.min(SLOTS_MAX)
    }

    /// The list with the proposals behind it that are new, not refused, and fit, first come first served. Where no place is
    /// left but those of removed features, the others close up.
    pub fn with(&self, proposals: &[Proposal], live_max: usize, now_ms: i64) -> Self {
        let mut next = self.clone();
        for Proposal { name, kind } in proposals {
            let new = is_name(name) && !next.live().any(|slot| slot.name == *name);
            if new && !next.refuses(name, now_ms) && next.has_room(live_max) {
                if next.slots.len() >= SLOTS_MAX {
                    next = next.closed_up();
                }
                next.slots.push(Slot { name: name.clone(), kind: *kind, first_seen_ms: now_ms, removed: false });
            }
        }
        next
    }

    /// The list with these features removed and their names refused from `now_ms` on, and those of the names that it does not
    /// have, each once. If more than half of the places are taken then, the features that are left close up.
    pub fn without(&self, names: &[String], now_ms: i64) -> (Self, Vec<String>) {
        let (mut next, mut unknown) = (self.clone(), Vec::new());
        for name in names {
            // A name that is asked for twice is removed once.
            if self.live().any(|slot| slot.name == *name) {
                next.slots.iter_mut().filter(|slot| slot.name == *name).for_each(|slot| slot.removed = true);
                next.refused.retain(|refused| refused.name != *name && now_ms < refused.until_ms());
                next.refused.push(Refused { name: name.clone(), since_ms: now_ms });
            } else if !unknown.contains(name) {
                unknown.push(name.clone());
            }
        }
        if next == *self {
            return (next, unknown);
        }
        let forgotten = next.refused.len().saturating_sub(REFUSED_MAX);
        next.refused.drain(..forgotten);
        (if next.slots.len() > SLOTS_MAX / 2 { next.closed_up() } else { next }, unknown)
    }

    /// The list, which refuses none of these names any longer.
    pub fn allowing(&self, names: &[String]) -> Self {
        let mut next = self.clone();
        next.refused.retain(|refused| !names.contains(&refused.name));
        next
    }

    /// The next generation: without the places of removed features.
    fn closed_up(&self) -> Self {
        let mut next = self.clone();
        next.slots.retain(|slot| !slot.removed);
        next.generation = next.generation.saturating_add(1);
        next.former.push(self.slots.clone());
        let forgotten = next.former.len().saturating_sub(FORMER_MAX);
        next.former.drain(..forgotten);
        next
    }

    /// The stored form (JSON), at most [`LIST_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let Self { slots, generation, former, refused } = self.clone();
        let bare = generation == 0 && refused.is_empty();
        let v = if bare { VERSION_BARE } else { VERSION };
        serde_json::to_vec(&Document { v, slots, generation, former, refused })
            .expect("strings and numbers always serialise")
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// For anything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, ListError> {
        if bytes.len() > LIST_BYTES_MAX {
            return Err(ListError(None));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|error| ListError(Some(error)))?;
        let Document { v, slots, generation, former, refused } = document;
        let list = Self { slots, generation, former, refused };
        let lists = || std::iter::once(&list.slots).chain(&list.former);
        let bare = list.generation == 0 && list.refused.is_empty();
        let sound = v == if bare { VERSION_BARE } else { VERSION }
            && lists().all(|slots| is_sound(slots))
            && list.former.len() == FORMER_MAX.min(usize::try_from(list.generation).unwrap_or(usize::MAX))
            && list.refused.len() <= REFUSED_MAX
            && list.refused.iter().all(|refused| is_name(&refused.name));
        if sound { Ok(list) } else { Err(ListError(None)) }
    }
}

/// Whether these may be the places of a list: not too many, and no name counts twice.
fn is_sound(slots: &[Slot]) -> bool {
    let mut live: Vec<_> = slots.iter().filter(|slot| !slot.removed).map(|slot| slot.name.as_str()).collect();
    live.sort_unstable();
    let twice = live.windows(2).any(|pair| pair[0] == pair[1]);
    slots.len() <= SLOTS_MAX && !twice && slots.iter().all(|slot| is_name(&slot.name))
}

#[cfg(test)]
mod tests;
