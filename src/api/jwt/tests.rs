//! Which tokens hold and which do not, at a fixed time and with secrets of the test's own.
//!
//! Signatures by RSA and P-256 keys are made in `tests/it/access.rs`, where whole nodes check them.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::config::JwtRole;

const NOW: f64 = 1_800_000_000.0;
const SECRET: &[u8] = b"a secret of thirty-two bytes or more";

fn encode(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let value = |six: &[u8]| (0..6).fold(0, |sum, at| sum << 1 | usize::from(six.get(at).copied().unwrap_or(0)));
    bits.chunks(6).map(|six| char::from(LETTERS[value(six)])).collect()
}

fn signed(header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    format!("{text}.{}", encode(tag.as_ref()))
}

fn token(claims: &Value) -> String {
    signed(&json!({ "alg": "HS256", "typ": "JWT" }), claims)
}

fn verifier(rules: JwtConfig) -> Verifier {
    Verifier::new(vec![JwtKey { kid: None, material: KeyMaterial::Hmac(SECRET.to_vec()) }], rules)
}

fn claims(name: &str, value: Value) -> Value {
    let mut claims = json!({ "exp": NOW + 60.0, "role": "score", "sub": "alice" });
    claims[name] = value;
    claims
}

#[test]
fn a_token_gives_its_roles_and_its_subject() {
    let verifier = verifier(JwtConfig::default());
    for (value, roles) in [
        (json!("score"), vec![Role::Score]),
        (json!("feedback"), vec![Role::Feedback]),
        (json!("admin"), vec![Role::Admin]),
        (json!(["feedback", "score", "score", "root", 7]), vec![Role::Score, Role::Feedback]),
        (json!("openid feedback"), vec![Role::Feedback]),
    ] {
        let bearer = verifier.verify(&token(&claims("role", value)), NOW).expect("a good token");
        assert_eq!(bearer, Bearer { roles, subject: Some("alice".to_owned()) });
    }
    for nothing in [json!("Admin"), json!("administrator"), json!([]), json!({ "admin": true }), json!(null)] {
        assert_eq!(verifier.verify(&token(&claims("role", nothing)), NOW), Err(JwtError::NoRole));
    }
}

#[test]
fn with_a_mapping_only_mapped_values_count_and_the_claim_may_be_nested_or_have_dots() {
    let mapped = |value: &str, role| JwtRole { value: value.to_owned(), role };
    let roles = vec![mapped("mail admins", Role::Admin), mapped("desk", Role::Feedback), mapped("desk", Role::Score)];
    let role_claim = "realm_access.roles".to_owned();
    let verifier = verifier(JwtConfig { roles, role_claim, ..JwtConfig::default() });
    let roles_of = |claims: &Value| verifier.verify(&token(claims), NOW).map(|bearer| bearer.roles);

    assert_eq!(roles_of(&claims("realm_access", json!({ "roles": ["mail admins"] }))), Ok(vec![Role::Admin]));
    assert_eq!(roles_of(&claims("realm_access.roles", json!("desk"))), Ok(vec![Role::Score, Role::Feedback]));
    assert_eq!(roles_of(&claims("realm_access", json!({ "roles": ["admin"] }))), Err(JwtError::NoRole));
    assert_eq!(roles_of(&claims("realm_access", json!("admin"))), Err(JwtError::NoRole));
}

#[test]
fn times_count_with_leeway_and_must_be_numbers() {
    let rules = JwtConfig { leeway: Duration::from_secs(30), ..JwtConfig::default() };
    let verifier = verifier(rules);
    for (name, value, said) in [
        ("exp", json!(NOW - 29.0), None),
        ("exp", json!(NOW - 30.0), Some(JwtError::Expired)),
        ("exp", json!(null), Some(JwtError::NoExpiry)),
        ("exp", json!("4102444800"), Some(JwtError::Malformed)),
        ("nbf", json!(NOW + 30.0), None),
        ("nbf", json!(NOW + 31.0), Some(JwtError::NotYet)),
        ("nbf", json!("never"), Some(JwtError::Malformed)),
    ] {
        assert_eq!(verifier.verify(&token(&claims(name, value.clone())), NOW).err(), said, "{name} {value}");
    }
}

#[test]
fn issuer_and_audience_count_where_they_are_configured() {
    let rules = JwtConfig {
        issuer: Some("https://id.example.org".to_owned()),
        audience: vec!["neural".to_owned(), "mail".to_owned()],
        ..JwtConfig::default()
    };
    let strict = verifier(rules);
    let good = json!({ "exp": NOW + 60.0, "role": "score", "iss": "https://id.example.org", "aud": ["x", "mail"] });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        strict.verify(&token(&claims), NOW).err()
    };

    assert_eq!(with("aud", json!("neural")), None);
    assert_eq!(with("aud", json!(["x", "mail"])), None);
    for wrong in [json!("https://id.example.org/"), json!(["https://id.example.org"]), json!(null)] {
        assert_eq!(with("iss", wrong), Some(JwtError::Issuer));
    }
    for wrong in [json!("neura"), json!([]), json!(null), json!({ "neural": 1 })] {
        assert_eq!(with("aud", wrong), Some(JwtError::Audience));
    }
    assert!(verifier(JwtConfig::default()).verify(&token(&good), NOW).is_ok(), "no rule, no question");
}

#[test]
fn what_is_not_signed_by_the_key_for_the_algorithm_of_the_key_is_refused() {
    let verifier = verifier(JwtConfig::default());
    let claims = claims("role", json!("admin"));
    let good = token(&claims);
    let (text, tag) = good.rsplit_once('.').expect("three parts");
    let other = |header: Value| signed(&header, &claims);
    let unsigned = other(json!({ "alg": "none" }));
    let (unsigned, _) = unsigned.rsplit_once('.').expect("three parts");
    for (token, said) in [
        (format!("{text}."), JwtError::Signature),
        (format!("{text}.{}", encode(&[0; 32])), JwtError::Signature),
        (format!("{text}.{}", &tag[..20]), JwtError::Signature),
        (format!("{unsigned}."), JwtError::Algorithm),
        (other(json!({ "alg": "none" })), JwtError::Algorithm),
        (other(json!({ "alg": "None" })), JwtError::Algorithm),
        (other(json!({ "alg": "RS256" })), JwtError::Algorithm),
        (other(json!({ "alg": "HS512" })), JwtError::Algorithm),
        (other(json!({ "alg": ["HS256"] })), JwtError::Malformed),
        (other(json!({})), JwtError::Malformed),
        (other(json!(["HS256", null, null])), JwtError::Malformed),
        (other(json!({ "alg": "HS256", "crit": ["exp"], "exp": 1 })), JwtError::Extension),
        (format!("{good}.x"), JwtError::Malformed),
        (format!("{good}="), JwtError::Malformed),
        (text.to_owned(), JwtError::Malformed),
        ("a.b.c".to_owned(), JwtError::Malformed),
        ("..".to_owned(), JwtError::Malformed),
        (String::new(), JwtError::Malformed),
        (token(&json!([])), JwtError::Malformed),
        (format!("{good}{}", "A".repeat(TOKEN_MAX)), JwtError::TooLong),
    ] {
        assert_eq!(verifier.verify(&token, NOW).err(), Some(said), "{token}");
    }
    assert_eq!(Verifier::new(Vec::new(), JwtConfig::default()).verify(&good, NOW), Err(JwtError::Algorithm));
}

#[test]
fn a_kid_chooses_the_key_and_a_key_without_one_fits_every_token() {
    let key = |kid: Option<&str>, secret: &[u8]| JwtKey {
        kid: kid.map(str::to_owned),
        material: KeyMaterial::Hmac(secret.to_vec()),
    };
    let other = [7; 32];
    let asks = |kid: Value| signed(&json!({ "alg": "HS256", "kid": kid }), &claims("role", json!("score")));
    let verify = |keys: Vec<JwtKey>, token: &str| Verifier::new(keys, JwtConfig::default()).verify(token, NOW).err();
    let set = || vec![key(Some("old"), &other), key(Some("new"), SECRET)];

    assert_eq!(verify(set(), &asks(json!("new"))), None);
    assert_eq!(verify(set(), &asks(json!(null))), None, "then every key of the algorithm is tried");
    assert_eq!(verify(set(), &asks(json!("old"))), Some(JwtError::Signature), "signed by another key than it says");
    assert_eq!(verify(set(), &asks(json!("lost"))), Some(JwtError::UnknownKey));
    assert_eq!(verify(vec![key(None, SECRET)], &asks(json!("lost"))), None);
}

#[test]
fn a_subject_is_printable_and_short() {
    assert_eq!(subject("al\u{0}i\nce \u{202e}"), Some("alice".to_owned()));
    assert_eq!(subject("\u{7}"), None);
    assert!(subject(&"é".repeat(500)).is_some_and(|text| text.len() <= SUBJECT_MAX));
}
