//! What is stored comes back, older forms are read, and damaged bytes are refused; also events for the tests of others.

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
        let ip: IpAddr = if v6 { [0x2001, 0xdb8, 0, name.into(), 0, 0, 0, 1].into() } else { [192, 0, 2, name].into() };
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
            decision: decision
                .map(|(verdict, probability)| Decision { probability, verdict: Verdict::from_byte(verdict).unwrap() }),
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
    let only_country = AttemptEvent { attempt: Attempt { client: country, ..bare.attempt.clone() }, ..bare.clone() };

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
