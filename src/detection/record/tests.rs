//! What the border lets in, and how it names what it does not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn check(record: &Value) -> Result<CheckedRecord, RecordError> {
    let record = AttemptRecord::parse(record.to_string().as_bytes())?;
    record.check(None, NOW, &Pseudonymizer::new([7; 32]), || "made up".to_owned())
}

/// A good record with one field changed.
fn with(field: &str, value: Value) -> Result<CheckedRecord, RecordError> {
    let mut record = json!({
        "ts": "2023-11-14T22:13:20Z", "client_ip": "192.0.2.1", "username": "alice", "success": false,
        "protocol": "imap", "request_id": "r-1",
    });
    record[field] = value;
    check(&record)
}

fn refused(field: &str, value: Value) {
    let shown = value.to_string();
    let error = with(field, value).expect_err(&shown);
    assert_eq!(error.field, field, "{shown}: {error}");
}

#[test]
fn a_plain_record_becomes_an_attempt() {
    let checked = with("unheard_of", json!({"x": 1})).unwrap();
    let pseudonymizer = Pseudonymizer::new([7; 32]);

    assert_eq!(checked.request_id, "r-1");
    assert_eq!(checked.outcome, Some(Outcome::Failure));
    assert_eq!(checked.attempt.request, RequestKey::of("r-1"));
    assert_eq!(checked.attempt.name, pseudonymizer.name("Alice"));
    assert_eq!(checked.attempt.user, checked.attempt.name);
    assert_eq!(checked.attempt.protocol, Protocol::Imap);
    assert_eq!(checked.attempt.ts, NOW);
}

#[test]
fn each_bad_field_is_named() {
    for name in ["", " \t", "a\0b", "line\nbreak", "\u{85}", &"x".repeat(USERNAME_MAX + 1), &"x".repeat(1 << 20)] {
        refused("username", json!(name));
    }
    refused("account", json!("x".repeat(USERNAME_MAX + 1)));
    refused("account", json!("a\u{7}"));
    for ip in ["", "localhost", "192.0.2.1:993", "[::1]", "fe80::1%eth0", "0.0.0.0", "::", "::ffff:0.0.0.0"] {
        refused("client_ip", json!(ip));
    }
    for ip in ["224.0.0.1", "ff02::1", "::ffff:239.1.2.3", "192.0.2.1 ", &"1".repeat(10_000)] {
        refused("client_ip", json!(ip));
    }
    for ip in ["localhost", "192.0.2.1:993", "fe80::1%eth0", "0.0.0.0", "224.0.0.1", "192.0.2.1, 192.0.2.2"] {
        refused("forwarded_ip", json!(ip));
    }
    for ts in ["", "yesterday", "2023-11-14", "1999-12-31T23:59:59Z", "2023-11-14T22:14:20.001Z", &"2".repeat(9999)] {
        refused("ts", json!(ts));
    }
    for id in ["", "a\nb", &"x".repeat(REQUEST_ID_MAX + 1)] {
        refused("request_id", json!(id));
    }
    refused("password_hash", json!("x".repeat(PASSWORD_HASH_MAX + 1)));
    refused("protocol", json!("x".repeat(PROTOCOL_MAX + 1)));
    refused("user_agent", json!("x".repeat(USER_AGENT_MAX + 1)));
    refused("client_id", json!("x".repeat(CLIENT_ID_MAX + 1)));
    refused("country", json!("x".repeat(COUNTRY_MAX + 1)));
    refused("asn", json!(1u64 << 32));
    refused("asn", json!(-1));
    refused("asn", json!("x".repeat(ASN_MAX + 1)));
    refused("label", json!("evil"));
    refused("scenario", json!("x".repeat(TRUTH_MAX + 1)));
    refused("features", json!({"a": null}));
    refused("features", json!({"a": [1]}));
    refused("features", json!({"": 1}));
    refused("features", json!({"a": "x".repeat(FEATURE_STRING_MAX + 1)}));
    let many: Map<_, _> = (0..=FEATURES_MAX).map(|number| (number.to_string(), json!(1))).collect();
    refused("features", Value::Object(many));
}

#[test]
fn wrong_types_are_named_without_their_value() {
    for field in FIELDS {
        let value = match field {
            "success" | "user_found" | "suspicious_network" | "no_auth" | "blocked" | "static_rule_triggered" => {
                json!("secret")
            }
            "features" | "encoding" => json!("secret"),
            _ => json!({"secret": 1}),
        };
        let error = with(field, value).unwrap_err();
        assert_eq!((error.field, error.to_string().contains("secret")), (field, false), "{error}");
    }
    assert_eq!(AttemptRecord::parse(b"[1]").unwrap_err().field, "record");
    assert_eq!(AttemptRecord::parse(b"{").unwrap_err().field, "record");
    assert_eq!(AttemptRecord::parse(br#"{"username":"a","username":"b"}"#).unwrap_err().field, "record");
}

#[test]
fn missing_fields_are_named() {
    let whole = json!({"ts": "2023-11-14T22:13:20Z", "client_ip": "192.0.2.1", "username": "alice"});
    for field in ["ts", "client_ip", "username"] {
        let mut record = whole.clone();
        record.as_object_mut().unwrap().remove(field);
        assert_eq!(check(&record), Err(RecordError::new(field, "is missing")));
    }

    let checked = check(&whole).unwrap();

    assert_eq!((checked.request_id.as_str(), checked.outcome), ("made up", None));
}

#[test]
fn a_live_request_takes_its_time_from_the_caller() {
    let record = AttemptRecord {
        client_ip: Some("192.0.2.1".into()),
        username: Some("alice".into()),
        ..AttemptRecord::default()
    };

    let checked = record.check(Some(NOW), NOW, &Pseudonymizer::new([7; 32]), || "id".into()).unwrap();

    assert_eq!(checked.attempt.ts, NOW);
}

#[test]
fn sixty_seconds_ahead_are_accepted() {
    assert_eq!(with("ts", json!("2023-11-14T22:14:20Z")).unwrap().attempt.ts, NOW.plus_millis(60_000));
}

#[test]
fn a_mapped_address_is_the_ipv4_address() {
    let mapped = with("client_ip", json!("::ffff:192.0.2.1")).unwrap().attempt.client_ip;

    assert_eq!(mapped, IpAddr::from([192, 0, 2, 1]));
}

#[test]
fn empty_optional_strings_count_as_missing() {
    for field in ["account", "password_hash", "protocol", "user_agent", "client_id", "country", "region"] {
        let attempt = with(field, json!("")).unwrap().attempt;
        assert_eq!((attempt.user, attempt.password), (attempt.name, None), "{field}");
    }
}

#[test]
fn what_is_told_of_the_client_arrives_in_its_short_form() {
    let pseudonymizer = Pseudonymizer::new([7; 32]);
    let client = |field: &str, value: Value| with(field, value).unwrap().attempt.client;

    assert_eq!(client("protocol", json!("imap")), ClientDetails::default());
    assert_eq!(client("country", json!("de")).country, Country::from_code("DE"));
    assert_eq!(client("asn", json!(64_500)).asn, client::Asn::new(64_500));
    assert_eq!(client("asn", json!("AS64500")).asn, client::Asn::new(64_500));
    assert_eq!(client("user_agent", json!("mutt")).user_agent, Some(pseudonymizer.user_agent("mutt")));
    assert_eq!(client("client_id", json!("app")).client_id, Some(pseudonymizer.client_id("app")));
    for (field, unknown) in [("country", json!("XX")), ("country", json!("Europe")), ("asn", json!(0))] {
        assert_eq!(client(field, unknown), ClientDetails::default());
    }
    assert_eq!(client("asn", json!("some provider")), ClientDetails::default());
}

#[test]
fn a_region_belongs_to_the_country_that_is_told_or_tells_it() {
    let region = |country: &str, region: &str| {
        let mut record = json!({ "ts": "2023-11-14T22:13:20Z", "client_ip": "192.0.2.1", "username": "u" });
        record["country"] = country.into();
        record["region"] = region.into();
        let record: AttemptRecord = serde_json::from_value(record).unwrap();
        let checked = record.check(None, NOW, &Pseudonymizer::new([7; 32]), || "r".to_owned()).unwrap();
        checked.attempt.client.region().map(|region| region.to_string()).unwrap_or_default()
    };

    for (country, part, known) in [
        ("DE", "BY", "DE-BY"),
        ("de", "de-by", "DE-BY"),
        ("", "DE-BY", "DE-BY"),
        ("", "DE", ""),
        ("DE", "", "DE"),
        ("DE", "AT-9", "DE"),
        ("DE", "Bavaria", "DE"),
        ("", "BY", ""),
        ("XX", "BY", ""),
        ("Europe", "DE-BY", "DE-BY"),
    ] {
        assert_eq!(region(country, part), known, "{country} {part}");
    }
    assert_eq!(with("region", json!("x".repeat(17))).unwrap_err().field, "region");
}

#[test]
fn blocked_outweighs_success() {
    assert_eq!(with("blocked", json!(true)).unwrap().outcome, Some(Outcome::Blocked));
    assert_eq!(with("blocked", json!(false)).unwrap().outcome, Some(Outcome::Failure));
    assert_eq!(with("success", json!(null)).unwrap().outcome, None);
    assert_eq!(with("success", json!(true)).unwrap().outcome, Some(Outcome::Success));
}

#[test]
fn bounds_are_inclusive_and_both_forms_of_an_asn_are_taken() {
    assert!(with("username", json!("x".repeat(USERNAME_MAX))).is_ok());
    assert!(with("request_id", json!("x".repeat(REQUEST_ID_MAX))).is_ok());
    assert!(with("asn", json!(64_500)).is_ok());
    assert!(with("asn", json!("AS64500")).is_ok());
    assert!(with("features", json!({"n": 1.5, "b": true, "s": "text"})).is_ok());
    assert_eq!(with("label", json!("attack")).unwrap().truth.label, Some(TrueLabel::Attack));
}

#[test]
fn what_is_unknown_is_not_written() {
    let record = AttemptRecord { username: Some("alice".into()), ..AttemptRecord::default() };

    assert_eq!(serde_json::to_string(&record).unwrap(), r#"{"username":"alice"}"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_either_taken_or_named(field in 0usize..FIELDS.len(), text in ".{0,40}") {
        let field = FIELDS[field];
        if let Err(error) = with(field, json!(text)) {
            prop_assert_eq!(error.field, field);
        }
    }
}
