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
pub(crate) mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::detection::attempt::canonical_ip;

    /// Events with everything in them that an event may hold, from small pools, so that some of them collide.
    pub(crate) fn any_event() -> impl Strategy<Value = AttemptEvent> {
        let who = (any::<u8>(), 0u8..4, 0u8..4, proptest::option::of(0u64..4));
        let what = (
            0i64..200_000_000,
            any::<bool>(),
            proptest::option::of(any::<bool>()),
            proptest::option::of(any::<bool>()),
            any::<(bool, bool, bool)>(),
        );
        let said = (
            proptest::option::of(0u8..4),
            proptest::option::of(proptest::collection::vec(-1.0f32..1.0, 0..8)),
            proptest::option::of((0u8..4, proptest::option::of(0.0f32..=1.0))),
        );
        let client = (
            proptest::option::of(proptest::sample::select(&["DE", "AT", "FR"][..])),
            proptest::option::of(1u32..5),
            proptest::option::of(1u64..20),
            proptest::option::of(1u64..4),
        );
        let client = client.prop_map(|(country, asn, user_agent, client_id)| ClientDetails {
            country: country.and_then(Country::from_code),
            // Known for one of them only.
            subdivision: country.filter(|code| *code == "DE").and_then(|_| Subdivision::from_code("BY")),
            asn: asn.and_then(Asn::new),
            user_agent: user_agent.map(ClientTag::new),
            client_id: client_id.map(ClientTag::new),
        });
        (who, what, said, client).prop_map(|((request, name, user, tag), what, (outcome, values, decision), client)| {
            let (ts, v6, user_found, suspicious_network, (no_auth, static_rule_triggered, historical)) = what;
            let ip: IpAddr =
                if v6 { [0x2001, 0xdb8, 0, name.into(), 0, 0, 0, 1].into() } else { [192, 0, 2, name].into() };
            AttemptEvent {
                origin: BootId([request; 16]),
                seq: u64::from(request) + 1,
                attempt: Attempt {
                    ts: Timestamp::from_millis(ts),
                    request: RequestKey([request; 16]),
                    client_ip: canonical_ip(ip),
                    name: Pseudonym([name; 16]),
                    user: Pseudonym([user; 16]),
                    password: tag.map(PasswordTag),
                    protocol: Protocol::from_byte(request % 8),
                    client,
                    categories: (0..u64::from(request % 3)).collect(),
                    user_found,
                    suspicious_network,
                    no_auth,
                    static_rule_triggered,
                },
                outcome: outcome.and_then(Outcome::from_byte),
                snapshot: values.map(|values| Snapshot { fingerprint: 7, values }),
                decision: decision.map(|(verdict, probability)| Decision {
                    probability,
                    verdict: Verdict::from_byte(verdict).unwrap(),
                }),
                historical,
            }
        })
    }

    fn largest_of_compat_6() -> AttemptEvent {
        AttemptEvent {
            origin: BootId([1; 16]),
            seq: u64::MAX,
            attempt: Attempt {
                ts: Timestamp::from_millis(1_700_000_000_123),
                request: RequestKey([2; 16]),
                client_ip: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
                name: Pseudonym([3; 16]),
                user: Pseudonym([4; 16]),
                password: Some(PasswordTag(5)),
                protocol: Protocol::Imap,
                client: ClientDetails::default(),
                categories: Vec::new(),
                user_found: Some(true),
                suspicious_network: Some(false),
                no_auth: true,
                static_rule_triggered: true,
            },
            outcome: Some(Outcome::Failure),
            snapshot: Some(Snapshot { fingerprint: 6, values: vec![0.5; 6] }),
            decision: Some(Decision { probability: Some(0.25), verdict: Verdict::StepUp }),
            historical: true,
        }
    }

    #[test]
    fn the_largest_event_of_six_features_fits_into_160_bytes() {
        let event = largest_of_compat_6();

        let bytes = event.encode();

        assert!(bytes.len() <= 160, "{} bytes", bytes.len());
        assert_eq!(AttemptEvent::decode(&bytes), Ok(event));
    }

    fn with_client() -> AttemptEvent {
        let mut event = largest_of_compat_6();
        event.attempt.client = ClientDetails {
            country: Country::from_code("DE"),
            subdivision: None,
            asn: Asn::new(u32::MAX),
            user_agent: Some(ClientTag::new(u64::MAX)),
            client_id: Some(ClientTag::new(1)),
        };
        event
    }

    #[test]
    fn what_is_known_of_the_client_takes_23_bytes_and_nothing_if_nothing_is_known() {
        let (bare, full) = (largest_of_compat_6(), with_client());
        let country = ClientDetails { country: Country::from_code("DE"), ..ClientDetails::default() };
        let mut usual = full.clone();
        usual.attempt.user = usual.attempt.name;

        let length = |event: &AttemptEvent| event.encode().len();
        let only_country =
            AttemptEvent { attempt: Attempt { client: country, ..bare.attempt.clone() }, ..bare.clone() };

        assert_eq!((bare.encode()[0], full.encode()[0]), (1, 2));
        assert_eq!((length(&full) - length(&bare), length(&only_country) - length(&bare)), (23, 3));
        assert!(length(&usual) <= 160, "without an alias: {}", length(&usual));
        assert_eq!(AttemptEvent::decode(&full.encode()), Ok(full));
    }

    #[test]
    fn the_part_of_a_country_takes_two_bytes_and_is_never_told_without_the_country() {
        let (without, mut with) = (with_client(), with_client());
        with.attempt.client.subdivision = Subdivision::from_code("BY");
        let bytes = with.encode();

        assert_eq!(bytes.len() - without.encode().len(), 2);
        assert_eq!(AttemptEvent::decode(&bytes), Ok(with.clone()));
        assert_eq!(AttemptEvent::decode(&without.encode()), Ok(without), "as written before there were parts");
        let part = Subdivision::from_code("BY").unwrap().number().to_le_bytes();
        let at = bytes.windows(2).position(|pair| pair == part).unwrap();
        let mut impossible = bytes.clone();
        impossible[at..at + 2].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(AttemptEvent::decode(&impossible), Err(EventError::Value));
        // Everything else is as it should be.
        let mut lonely = bytes;
        lonely[3] &= !known::COUNTRY;
        lonely.drain(at - 2..at);
        assert_eq!(AttemptEvent::decode(&lonely), Err(EventError::Value));
        with.attempt.client.country = None;
        let nowhere = AttemptEvent::decode(&with.encode()).unwrap();
        assert_eq!(nowhere.attempt.client.subdivision, None);
    }

    /// Written by a node that knew nothing of clients; the stream still holds such entries after an upgrade.
    #[test]
    fn an_entry_of_version_1_is_still_read() {
        let stored = concat!(
            "01bf3f01010101010101010101010101010101ffffffffffffffff7b68e5cf8b010000020202",
            "0202020202020202020202020220010db8000000000000000000000001030303030303030303",
            "0303030303030304040404040404040404040404040404050000000000000001020600000000",
            "00000006000000003f0000003f0000003f0000003f0000003f0000003f020000803e",
        );
        let bytes = hex::decode(stored).unwrap();

        assert_eq!(AttemptEvent::decode(&bytes), Ok(largest_of_compat_6()));
    }

    #[test]
    fn every_cut_and_every_addition_is_refused() {
        let mut bytes = with_client().encode();
        for length in 0..bytes.len() {
            assert_eq!(AttemptEvent::decode(&bytes[..length]), Err(EventError::Short), "cut at {length}");
        }

        bytes.push(0);

        assert_eq!(AttemptEvent::decode(&bytes), Err(EventError::Trailing(1)));
    }

    #[test]
    fn what_is_never_written_is_refused() {
        let good = largest_of_compat_6();
        let with_value = |value: f32| {
            let mut event = good.clone();
            event.snapshot = Some(Snapshot { fingerprint: 6, values: vec![value] });
            AttemptEvent::decode(&event.encode())
        };
        let with_probability = |probability: f32| {
            let mut event = good.clone();
            event.decision = Some(Decision { probability: Some(probability), verdict: Verdict::Allow });
            AttemptEvent::decode(&event.encode())
        };
        let mut newer = good.encode();
        newer[0] = 3;
        let mut flags = good.encode();
        flags[2] |= 0x80;
        let with_known = |known: u8| {
            let mut bytes = with_client().encode();
            bytes[3] = known;
            AttemptEvent::decode(&bytes)
        };
        let mut many = good.clone();
        many.snapshot = Some(Snapshot { fingerprint: 6, values: vec![0.0; EVENT_VALUES_MAX + 1] });

        assert_eq!(with_value(f32::NAN), Err(EventError::Value));
        assert_eq!(with_value(f32::INFINITY), Err(EventError::Value));
        assert_eq!(with_probability(1.5), Err(EventError::Value));
        assert_eq!(AttemptEvent::decode(&newer), Err(EventError::Version(3)));
        assert_eq!(AttemptEvent::decode(&flags), Err(EventError::Value));
        assert_eq!((with_known(0), with_known(0x3f)), (Err(EventError::Value), Err(EventError::Value)));
        assert_eq!(AttemptEvent::decode(&many.encode()), Err(EventError::TooManyValues(EVENT_VALUES_MAX + 1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn decoding_what_was_encoded_gives_the_event_back(event in any_event()) {
            prop_assert_eq!(AttemptEvent::decode(&event.encode()), Ok(event));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = AttemptEvent::decode(&bytes);
        }

        #[test]
        fn whatever_decodes_can_be_stored_again(
            event in any_event(), place in 0usize..200, byte in any::<u8>(),
        ) {
            let mut bytes = event.encode();
            let place = place % bytes.len();
            bytes[place] = byte;
            if let Ok(read) = AttemptEvent::decode(&bytes) {
                prop_assert_eq!(AttemptEvent::decode(&read.encode()), Ok(read));
            }
        }
    }
}
