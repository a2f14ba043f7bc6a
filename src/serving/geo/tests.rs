//! Look-ups in small files that the tests write themselves.

use std::fs;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::*;
use crate::clock;
use crate::config::Config;
use crate::detection::attempt::RequestKey;
use crate::detection::event::BootId;
use crate::detection::features::FeatureSchema;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::AttemptRecord;
use crate::serving::attempt_log::AttemptLog;
use crate::serving::schema::SchemaSlot;
use crate::serving::scorer::{Scorer, ScorerParts};
use crate::telemetry::metrics::Metrics;

/// A value of MaxMind's format, as far as these files need it.
enum Value<'a> {
    Text(&'a str),
    Number(u32),
    Short(u16),
    Long(u64),
    Map(&'a [(&'a str, Value<'a>)]),
    List,
    Items(&'a [Value<'a>]),
}

/// MaxMind DB File Format Specification v2.0, "Output Data Section": control byte of type and size, then the payload.
fn put(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Text(text) => {
            assert!(text.len() < 29, "longer ones need a size of their own");
            out.push(2 << 5 | text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
        // uint32 of four bytes.
        Value::Number(number) => {
            out.push(6 << 5 | 4);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Short(number) => {
            out.push(5 << 5 | 2);
            out.extend_from_slice(&number.to_be_bytes());
        }
        // An extended type: 9 is a number of up to eight bytes.
        Value::Long(number) => {
            out.extend_from_slice(&[8, 9 - 7]);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Map(entries) => {
            out.push(7 << 5 | entries.len() as u8);
            for (key, value) in *entries {
                put(out, &Value::Text(key));
                put(out, value);
            }
        }
        // An extended type: 11 is an array.
        Value::List => out.extend_from_slice(&[0, 11 - 7]),
        Value::Items(items) => {
            out.extend_from_slice(&[items.len() as u8, 11 - 7]);
            items.iter().for_each(|item| put(out, item));
        }
    }
}

/// A file for IPv4 in which the addresses of 192.0.0.0/3 have this record and all others none.
fn database(record: &Value<'_>) -> Vec<u8> {
    // Three nodes of two 24-bit records: the bits 1, 1, 0 lead to the data, everything else nowhere.
    const NODES: u32 = 3;
    let nowhere = NODES;
    let data = NODES + 16;
    let mut out = Vec::new();
    for (left, right) in [(nowhere, 1), (nowhere, 2), (data, nowhere)] {
        out.extend_from_slice(&u32::to_be_bytes(left)[1..]);
        out.extend_from_slice(&u32::to_be_bytes(right)[1..]);
    }
    out.extend_from_slice(&[0; 16]);
    put(&mut out, record);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let metadata = Value::Map(&[
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", Value::Text("Test")),
        ("description", Value::Map(&[("en", Value::Text("made by a test"))])),
        ("ip_version", Value::Short(4)),
        ("languages", Value::List),
        ("node_count", Value::Number(NODES)),
        ("record_size", Value::Short(24)),
    ]);
    put(&mut out, &metadata);
    out
}

/// A file that knows the country of 192.0.0.0/3.
pub(crate) fn of_countries(code: &str) -> Vec<u8> {
    database(&Value::Map(&[("country", Value::Map(&[("iso_code", Value::Text(code))]))]))
}

fn of_systems(number: u32) -> Vec<u8> {
    database(&Value::Map(&[("autonomous_system_number", Value::Number(number))]))
}

/// Opens files with these contents.
fn opened(contents: &[Vec<u8>]) -> Result<GeoDatabases, GeoError> {
    let directory = tempfile::tempdir().unwrap();
    let mut config = GeoConfig::default();
    for (number, bytes) in contents.iter().enumerate() {
        let path = directory.path().join(format!("{number}.mmdb"));
        fs::write(&path, bytes).unwrap();
        config.database.push(path);
    }
    GeoDatabases::open(&config)
}

fn looked_up(databases: &GeoDatabases, ip: &str, mut client: ClientDetails) -> (Option<Country>, Option<u32>) {
    databases.complete(ip.parse().unwrap(), &mut client);
    (client.country, client.asn.map(Asn::number))
}

#[test]
fn country_and_system_come_from_the_first_file_that_knows_them() {
    let databases = opened(&[of_systems(64_500), of_countries("DE"), of_countries("FR")]).unwrap();
    let nothing = ClientDetails::default();

    assert_eq!(looked_up(&databases, "198.51.100.7", nothing), (Country::from_code("DE"), Some(64_500)));
    assert_eq!(looked_up(&databases, "10.0.0.1", nothing), (None, None), "not in the files");
    assert_eq!(looked_up(&databases, "2001:db8::1", nothing), (None, None), "the files know IPv4 only");
    assert_eq!(looked_up(&GeoDatabases::default(), "198.51.100.7", nothing), (None, None));
}

#[test]
fn what_the_caller_tells_is_not_looked_up() {
    let databases = opened(&[of_systems(64_500), of_countries("DE")]).unwrap();
    let told = ClientDetails { country: Country::from_code("AT"), ..ClientDetails::default() };

    assert_eq!(looked_up(&databases, "198.51.100.7", told), (Country::from_code("AT"), Some(64_500)));
}

#[test]
fn a_file_of_cities_tells_the_part_of_the_country_unless_the_caller_means_another_country() {
    let city = database(&Value::Map(&[
        ("country", Value::Map(&[("iso_code", Value::Text("DE"))])),
        (
            "subdivisions",
            Value::Items(&[
                Value::Map(&[("iso_code", Value::Text("BY"))]),
                Value::Map(&[("iso_code", Value::Text("09"))]),
            ]),
        ),
    ]));
    let databases = opened(&[of_systems(64_500), of_countries("DE"), city]).unwrap();
    let region = |country: Option<&str>, part: Option<&str>| {
        let mut client = ClientDetails {
            country: country.and_then(Country::from_code),
            subdivision: part.and_then(Subdivision::from_code),
            ..ClientDetails::default()
        };
        databases.complete("198.51.100.7".parse().unwrap(), &mut client);
        client.region().map(|region| region.to_string()).unwrap_or_default()
    };

    assert_eq!(region(None, None), "DE-BY", "the first is the largest");
    assert_eq!(region(Some("DE"), None), "DE-BY");
    assert_eq!(region(Some("DE"), Some("HB")), "DE-HB");
    assert_eq!(region(Some("AT"), None), "AT");
}

#[test]
fn a_broken_file_is_named_with_a_remedy() {
    let whole = of_countries("DE");
    for broken in [&whole[..whole.len() / 2], &whole[whole.len() - 5..], b"", b"not a database"] {
        let error = opened(&[of_systems(1), broken.to_vec()]).unwrap_err();
        assert!(matches!(error, GeoError::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("geo.database: ") && text.contains("1.mmdb") && text.contains("download"), "{text}");
    }
    let missing = GeoConfig { database: vec!["/nowhere/at/all.mmdb".into()] };
    assert!(matches!(GeoDatabases::open(&missing), Err(GeoError::Read { .. })));
    let endless = GeoConfig { database: vec!["/dev/zero".into()] };
    assert!(matches!(GeoDatabases::open(&endless), Err(GeoError::TooLarge(_))));
}

#[test]
fn damage_inside_a_file_is_never_worse_than_not_knowing() {
    let whole = of_countries("DE");
    for place in 0..whole.len() {
        for byte in [0x00, 0x20, 0x5f, 0xe1, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = byte;
            if let Ok(reader) = Reader::from_source(bytes) {
                let databases = GeoDatabases(vec![reader]);
                let (country, asn) = looked_up(&databases, "198.51.100.7", ClientDetails::default());
                assert!(
                    asn.is_none() && country.is_none_or(|country| Country::from_number(country.number()).is_some())
                );
            }
        }
    }
}

/// The border of the request path: what the look-up finds is part of the attempt from then on.
#[test]
fn a_scored_attempt_has_what_the_caller_left_out() {
    let metrics = Arc::new(Metrics::new("0"));
    let scorer = Scorer::new(ScorerParts {
        config: Arc::new(ArcSwap::from_pointee(Config::default())),
        schema: Arc::new(SchemaSlot::new(FeatureSchema::compat6())),
        geo: opened(&[of_countries("DE")]).unwrap(),
        slot: Arc::default(),
        mode: Arc::default(),
        pseudonymizer: Pseudonymizer::new([7; 32]),
        log: Arc::new(AttemptLog::new(BootId([1; 16]), 10, metrics.status().clone())),
        metrics,
    });
    let country_of = |request_id: &str, country: Option<&str>| {
        let record = AttemptRecord {
            client_ip: Some("198.51.100.7".into()),
            username: Some("alice".into()),
            request_id: Some(request_id.into()),
            country: country.map(str::to_owned),
            ..AttemptRecord::default()
        };
        scorer.score(record, clock::now(), 0).unwrap();
        scorer.remembered(RequestKey::of(request_id)).unwrap().attempt.client.country
    };

    assert_eq!(country_of("r-1", None), Country::from_code("DE"));
    assert_eq!(country_of("r-2", Some("AT")), Country::from_code("AT"));
    scorer.set_geo(GeoDatabases::default());
    assert_eq!(country_of("r-3", None), None);
}
