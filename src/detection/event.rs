//! What one node tells the others about an attempt, and its stored binary form.
//!
//! An event carries the whole attempt, the feature snapshot that was scored, and the outcome as far as it is known.
//! Applying the same event twice, or two events of one request in any order, gives the same counters: see
//! [`Tracker`](crate::detection::tracker::Tracker). The stored form is versioned and has a fixed upper size.

use super::additional::SLOTS_MAX;
use super::attempt::{Attempt, Outcome, PasswordTag, Protocol, Pseudonym, RequestKey, Timestamp};
use super::client::{Asn, ClientDetails, ClientTag, Country, Subdivision};
use super::codec::{Fault, Reader, put_ip};
use super::verdict::Verdict;

/// Version of the stored form; the first byte of it.
/// 2: what is known of the client, and additional features. An event without any of that is written as version 1, so that it costs nothing and
/// nodes that only know version 1 read it.
pub const EVENT_VERSION: u8 = 2;
/// The version of an event that tells nothing of the client beyond its address.
const EVENT_VERSION_BARE: u8 = 1;

/// Most feature values of one event: the widest profile planned has some hundred.
pub const EVENT_VALUES_MAX: usize = 4096;

/// 128 random bits drawn at each start of a node: the identity behind leases, origins and de-duplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub [u8; 16]);

/// The feature vector of one attempt, computed once, before the outcome was known.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Fingerprint of the feature schema that the values belong to.
    pub fingerprint: u64,
    /// One value per feature, in schema order. `f32`, so that what was scored is what is stored.
    pub values: Vec<f32>,
}

/// What the model said about an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Probability of attack; `None` when no model served.
    pub probability: Option<f32>,
    /// What the caller was told.
    pub verdict: Verdict,
}

/// One entry of the `attempts` stream.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEvent {
    /// The node (by start) that appended this event.
    pub origin: BootId,
    /// Its running number there, from 1; a number that never comes is an event that was dropped.
    pub seq: u64,
    /// The whole attempt, as it was first told.
    pub attempt: Attempt,
    /// `None` while the outcome is open (the attempt counts; nothing else does).
    pub outcome: Option<Outcome>,
    /// The features that were scored.
    pub snapshot: Option<Snapshot>,
    /// What the model said; `None` for an attempt that was never scored.
    pub decision: Option<Decision>,
    /// Older than the longest window when it was ingested: trains, but never touches the live counters.
    pub historical: bool,
}

/// Why bytes are not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Written by another version of this program.
    #[error("cannot decode attempt event: version {0} is not known")]
    Version(u8),
    /// The bytes end too early.
    #[error("cannot decode attempt event: it is cut short")]
    Short,
    /// The event ended before the bytes did.
    #[error("cannot decode attempt event: {0} bytes follow its end")]
    Trailing(usize),
    /// More feature values than [`EVENT_VALUES_MAX`].
    #[error("cannot decode attempt event: {0} feature values are more than the maximum of {EVENT_VALUES_MAX}")]
    TooManyValues(usize),
    /// A value that is never written, such as an unknown flag or a number that is not finite.
    #[error("cannot decode attempt event: a value in it is impossible")]
    Value,
}

impl From<Fault> for EventError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Short => Self::Short,
            Fault::Value => Self::Value,
        }
    }
}

/// Bits of the flag word: what is there, and the small truths.
mod flag {
    pub const IPV6: u16 = 1;
    pub const ACCOUNT: u16 = 1 << 1;
    pub const PASSWORD: u16 = 1 << 2;
    pub const USER_FOUND_KNOWN: u16 = 1 << 3;
    pub const USER_FOUND: u16 = 1 << 4;
    pub const SUSPICIOUS_KNOWN: u16 = 1 << 5;
    pub const SUSPICIOUS: u16 = 1 << 6;
    pub const NO_AUTH: u16 = 1 << 7;
    pub const STATIC_RULE: u16 = 1 << 8;
    pub const HISTORICAL: u16 = 1 << 9;
    pub const OUTCOME: u16 = 1 << 10;
    pub const SNAPSHOT: u16 = 1 << 11;
    pub const DECISION: u16 = 1 << 12;
    pub const PROBABILITY: u16 = 1 << 13;
    pub const ALL: u16 = (1 << 14) - 1;
}

/// Bits of the byte behind the flag word in version 2: what is known beyond the attempt itself. At least one is set.
mod known {
    pub const COUNTRY: u8 = 1;
    pub const ASN: u8 = 1 << 1;
    pub const USER_AGENT: u8 = 1 << 2;
    pub const CLIENT_ID: u8 = 1 << 3;
    pub const CATEGORIES: u8 = 1 << 4;
    /// Only with a country.
    pub const SUBDIVISION: u8 = 1 << 5;
    pub const ALL: u8 = (1 << 6) - 1;
}

impl AttemptEvent {
    /// The stored form: for six feature values at most 160 bytes, and up to 25 more for what is known of the client
    /// and 257 for additional features. A snapshot of more than [`EVENT_VALUES_MAX`] values,
    /// or one with values that are not finite, is encoded too but does not decode.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        let known = self.known();
        out.push(if known == 0 { EVENT_VERSION_BARE } else { EVENT_VERSION });
        out.extend_from_slice(&self.flags().to_le_bytes());
        if known != 0 {
            out.push(known);
        }
        out.extend_from_slice(&self.origin.0);
        out.extend_from_slice(&self.seq.to_le_bytes());
        self.put_attempt(&mut out);
        if let Some(outcome) = self.outcome {
            out.push(outcome as u8);
        }
        if let Some(snapshot) = &self.snapshot {
            out.extend_from_slice(&snapshot.fingerprint.to_le_bytes());
            // A count that does not fit is one that the decoder refuses.
            out.extend_from_slice(&u16::try_from(snapshot.values.len()).unwrap_or(u16::MAX).to_le_bytes());
            for value in &snapshot.values {
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
        if let Some(decision) = &self.decision {
            out.push(decision.verdict.to_byte());
            if let Some(probability) = decision.probability {
                out.extend_from_slice(&probability.to_le_bytes());
            }
        }
        out
    }

    /// Reads the stored form. Never panics; whatever [`encode`](Self::encode) could not have written is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if !(EVENT_VERSION_BARE..=EVENT_VERSION).contains(&version) {
            return Err(EventError::Version(version));
        }
        let flags = Flags::check(reader.u16()?)?;
        let known = if version == EVENT_VERSION_BARE { 0 } else { check_known(reader.u8()?)? };
        let event = Self {
            origin: BootId(reader.array()?),
            seq: reader.u64()?,
            attempt: read_attempt(&mut reader, flags, known)?,
            outcome: flags.then(flag::OUTCOME, || {
                let byte = reader.u8()?;
                Outcome::from_byte(byte).ok_or(EventError::Value)
            })?,
            snapshot: flags.then(flag::SNAPSHOT, || read_snapshot(&mut reader))?,
            decision: flags.then(flag::DECISION, || read_decision(&mut reader, flags))?,
            historical: flags.has(flag::HISTORICAL),
        };
        match reader.remaining() {
            0 => Ok(event),
            more => Err(EventError::Trailing(more)),
        }
    }

    fn flags(&self) -> u16 {
        let attempt = &self.attempt;
        let probability = self.decision.is_some_and(|decision| decision.probability.is_some());
        [
            (flag::IPV6, attempt.client_ip.is_ipv6()),
            (flag::ACCOUNT, attempt.user != attempt.name),
            (flag::PASSWORD, attempt.password.is_some()),
            (flag::USER_FOUND_KNOWN, attempt.user_found.is_some()),
            (flag::USER_FOUND, attempt.user_found == Some(true)),
            (flag::SUSPICIOUS_KNOWN, attempt.suspicious_network.is_some()),
            (flag::SUSPICIOUS, attempt.suspicious_network == Some(true)),
            (flag::NO_AUTH, attempt.no_auth),
            (flag::STATIC_RULE, attempt.static_rule_triggered),
            (flag::HISTORICAL, self.historical),
            (flag::OUTCOME, self.outcome.is_some()),
            (flag::SNAPSHOT, self.snapshot.is_some()),
            (flag::DECISION, self.decision.is_some()),
            (flag::PROBABILITY, probability),
        ]
        .into_iter()
        .fold(0, |flags, (bit, set)| if set { flags | bit } else { flags })
    }

    fn known(&self) -> u8 {
        let ClientDetails { country, asn, user_agent, client_id, .. } = self.attempt.client;
        [
            (known::COUNTRY, country.is_some()),
            (known::ASN, asn.is_some()),
            (known::USER_AGENT, user_agent.is_some()),
            (known::CLIENT_ID, client_id.is_some()),
            (known::CATEGORIES, !self.attempt.categories.is_empty()),
            (known::SUBDIVISION, self.subdivision().is_some()),
        ]
        .into_iter()
        .fold(0, |known, (bit, set)| if set { known | bit } else { known })
    }

    /// What is told of the part of a country; nothing without the country.
    fn subdivision(&self) -> Option<Subdivision> {
        self.attempt.client.region().and_then(|region| region.subdivision)
    }

    fn put_attempt(&self, out: &mut Vec<u8>) {
        let attempt = &self.attempt;
        out.extend_from_slice(&attempt.ts.millis().to_le_bytes());
        out.extend_from_slice(&attempt.request.0);
        put_ip(out, attempt.client_ip);
        out.extend_from_slice(&attempt.name.0);
        if attempt.user != attempt.name {
            out.extend_from_slice(&attempt.user.0);
        }
        if let Some(tag) = attempt.password {
            out.extend_from_slice(&tag.0.to_le_bytes());
        }
        out.push(attempt.protocol as u8);
        let ClientDetails { country, asn, user_agent, client_id, .. } = attempt.client;
        if let Some(country) = country {
            out.extend_from_slice(&country.number().to_le_bytes());
        }
        if let Some(part) = self.subdivision() {
            out.extend_from_slice(&part.number().to_le_bytes());
        }
        if let Some(asn) = asn {
            out.extend_from_slice(&asn.number().to_le_bytes());
        }
        for tag in [user_agent, client_id].into_iter().flatten() {
            out.extend_from_slice(&tag.number().to_le_bytes());
        }
        if !attempt.categories.is_empty() {
            // A count that does not fit is one that the decoder refuses.
            out.push(u8::try_from(attempt.categories.len()).unwrap_or(u8::MAX));
            for category in &attempt.categories {
                out.extend_from_slice(&category.to_le_bytes());
            }
        }
    }
}

/// A flag word without contradictions.
#[derive(Clone, Copy)]
struct Flags(u16);

impl Flags {
    fn check(word: u16) -> Result<Self, EventError> {
        let flags = Self(word);
        let needs = [
            (flag::USER_FOUND, flag::USER_FOUND_KNOWN),
            (flag::SUSPICIOUS, flag::SUSPICIOUS_KNOWN),
            (flag::PROBABILITY, flag::DECISION),
        ];
        let lonely = needs.into_iter().any(|(bit, needed)| flags.has(bit) && !flags.has(needed));
        if word & !flag::ALL != 0 || lonely { Err(EventError::Value) } else { Ok(flags) }
    }

    fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    fn known(self, known: u16, bit: u16) -> Option<bool> {
        self.has(known).then_some(self.has(bit))
    }

    fn then<T>(self, bit: u16, read: impl FnOnce() -> Result<T, EventError>) -> Result<Option<T>, EventError> {
        if self.has(bit) { read().map(Some) } else { Ok(None) }
    }
}

/// Nothing known is never written as version 2.
fn check_known(known: u8) -> Result<u8, EventError> {
    let lonely = known & known::SUBDIVISION != 0 && known & known::COUNTRY == 0;
    if known == 0 || known & !known::ALL != 0 || lonely { Err(EventError::Value) } else { Ok(known) }
}

fn read_client(reader: &mut Reader<'_>, known: u8) -> Result<ClientDetails, EventError> {
    let mut client = ClientDetails::default();
    if known & known::COUNTRY != 0 {
        client.country = Some(Country::from_number(reader.u16()?).ok_or(EventError::Value)?);
    }
    if known & known::SUBDIVISION != 0 {
        client.subdivision = Some(Subdivision::from_number(reader.u16()?).ok_or(EventError::Value)?);
    }
    if known & known::ASN != 0 {
        client.asn = Some(Asn::new(reader.u32()?).ok_or(EventError::Value)?);
    }
    if known & known::USER_AGENT != 0 {
        client.user_agent = Some(ClientTag::from_number(reader.u64()?).ok_or(EventError::Value)?);
    }
    if known & known::CLIENT_ID != 0 {
        client.client_id = Some(ClientTag::from_number(reader.u64()?).ok_or(EventError::Value)?);
    }
    Ok(client)
}

fn read_categories(reader: &mut Reader<'_>, known: u8) -> Result<Vec<u64>, EventError> {
    if known & known::CATEGORIES == 0 {
        return Ok(Vec::new());
    }
    let count = usize::from(reader.u8()?);
    if count == 0 || count > SLOTS_MAX {
        return Err(EventError::Value);
    }
    (0..count).map(|_| Ok(reader.u64()?)).collect()
}

fn read_attempt(reader: &mut Reader<'_>, flags: Flags, known: u8) -> Result<Attempt, EventError> {
    let ts = Timestamp::from_millis(reader.i64()?);
    let request = RequestKey(reader.array()?);
    let client_ip = reader.ip(flags.has(flag::IPV6))?;
    let name = Pseudonym(reader.array()?);
    let user = match flags.has(flag::ACCOUNT) {
        true => Pseudonym(reader.array()?),
        false => name,
    };
    if flags.has(flag::ACCOUNT) && user == name {
        return Err(EventError::Value);
    }
    let password = flags.then(flag::PASSWORD, || Ok(PasswordTag(reader.u64()?)))?;
    // A byte that this version has no name for is `Other`: a newer node may know more protocols.
    let protocol = Protocol::from_byte(reader.u8()?);
    let client = read_client(reader, known)?;
    let categories = read_categories(reader, known)?;
    Ok(Attempt {
        ts,
        request,
        client_ip,
        name,
        user,
        password,
        protocol,
        client,
        categories,
        user_found: flags.known(flag::USER_FOUND_KNOWN, flag::USER_FOUND),
        suspicious_network: flags.known(flag::SUSPICIOUS_KNOWN, flag::SUSPICIOUS),
        no_auth: flags.has(flag::NO_AUTH),
        static_rule_triggered: flags.has(flag::STATIC_RULE),
    })
}

fn read_snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, EventError> {
    let fingerprint = reader.u64()?;
    let count = usize::from(reader.u16()?);
    if count > EVENT_VALUES_MAX {
        return Err(EventError::TooManyValues(count));
    }
    if reader.remaining() < count * 4 {
        return Err(EventError::Short);
    }
    let values = (0..count).map(|_| reader.f32()).collect::<Result<_, _>>()?;
    Ok(Snapshot { fingerprint, values })
}

fn read_decision(reader: &mut Reader<'_>, flags: Flags) -> Result<Decision, EventError> {
    let verdict = Verdict::from_byte(reader.u8()?).ok_or(EventError::Value)?;
    let probability = flags.then(flag::PROBABILITY, || Ok(reader.f32()?))?;
    match probability {
        Some(probability) if !(0.0..=1.0).contains(&probability) => Err(EventError::Value),
        _ => Ok(Decision { probability, verdict }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
