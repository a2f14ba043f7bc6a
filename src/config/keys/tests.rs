//! Which texts are keys, for which algorithm, and which are not.

use super::*;

/// Made for these tests alone.
const EC: &str = "-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/U59OoHloGewXDhz6ufUBBZmUaq+\n\
2pMhZKXTpgd5jx5n+4l/QnfAts1rv8q779tgo2dAtSQTHRnqATMWLZ+s4A==\n\
-----END PUBLIC KEY-----\n\
";
/// As above.
const RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA4vaYtHfbh5a8O5yGE0ca\n\
OWTCO32yWN4MUtorBNmvVpQPxDDS8z5PXzTqJdBkLd9wH51CjAHCUlICMrJ9t3mn\n\
IRQHuDbcOQig4FVPysVBRWJlREhH2Bo1T4W4JGjImI+qBHbhnuZfth8pgY6mur/C\n\
abhwdDmYkYk1btlCxUHnRunJfMn3txCaCxO9kNYH5xkb8cbVuDcG83/zdKXEAvTq\n\
1EQZINZ/xeEkVDV1Cm9th80Kuj/rGR7fuEHCupakYcpFcN6C3O7QdnP+zhEjl77/\n\
WzndIAPHTrtltl1OzAq4E3BHScKD+IJE1feHBY6fb3UUC+pau/LHESgec/3EtWs1\n\
PQIDAQAB\n\
-----END PUBLIC KEY-----\n\
";
/// As above, with 1024 bits.
const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDvN+jmkS74Bqd23Z3f2dphawyS\n\
+EOWBxDlp6/+QkU/nN/8D1tonrgD8S9j/5BHVr0O9ifYtJYFsjAExjtY1uKfJGZi\n\
zPOTxnGTBvKvJ/PGYnX4wyqx32qkO05JuLNaXAQ/Mp+6KP9X382PSxYRHcZODKd6\n\
+Sc5JRct6uPHSYHlnQIDAQAB\n\
-----END PUBLIC KEY-----\n\
";

#[test]
fn base64url_is_one_text_for_each_content() {
    assert_eq!(base64url(""), Some(Vec::new()));
    assert_eq!(base64url("-_8"), Some(vec![0xfb, 0xff]));
    assert_eq!(base64url("aGk"), Some(b"hi".to_vec()));
    for wrong in ["a", "aGl", "aGk=", "a+k", "a/k", "aG k", "aGk\n", "é"] {
        assert_eq!(base64url(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_key_file_is_for_the_algorithm_that_the_operator_names_and_no_other() {
    use JwtAlgorithm::{ES256, HS256, RS256};
    let secret = "0123456789abcdef0123456789abcdef";

    assert_eq!(from_file(ES256, EC).expect("a key").algorithm(), ES256);
    assert_eq!(from_file(RS256, RSA).expect("a key").algorithm(), RS256);
    assert_eq!(from_file(HS256, secret).expect("a secret").algorithm(), HS256);
    let private = EC.replace("PUBLIC", "PRIVATE");
    let certificate = EC.replace("PUBLIC KEY", "CERTIFICATE");
    let cut = EC.replace("-----END PUBLIC KEY-----", "");
    let two = format!("{EC}{EC}");
    let bent = EC.replace("MFkw", "MFgw");
    for (algorithm, text, says) in [
        (HS256, RSA, "PEM"),
        (HS256, "{\"keys\":[]}", "JSON"),
        (HS256, "0123456789abcdef", "fewer than 32"),
        (RS256, EC, "for ES256, not for RS256"),
        (ES256, RSA, "for RS256, not for ES256"),
        (RS256, SHORT_RSA, "fewer than 2048"),
        (RS256, secret, "not PEM"),
        (ES256, private.as_str(), "private key"),
        (ES256, certificate.as_str(), "CERTIFICATE"),
        (ES256, cut.as_str(), "last line"),
        (ES256, two.as_str(), "more than one"),
        (ES256, bent.as_str(), "no public key"),
    ] {
        let error = from_file(algorithm, text).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_key_set_gives_what_can_check_signatures_and_passes_over_the_rest() {
    let point = "A".repeat(43);
    let modulus = format!("{}w", "_".repeat(341));
    let set = serde_json::json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "x": point, "y": point, "kid": "a", "use": "sig" },
        { "kty": "RSA", "n": modulus, "e": "AQAB", "kid": "b", "alg": "RS256" },
        { "kty": "oct", "k": "A".repeat(43), "alg": "HS256" },
        { "kty": "RSA", "n": modulus, "e": "AQAB", "use": "enc" },
        { "kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS512" },
        { "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" },
        { "kty": "oct", "k": "A".repeat(43) },
        { "kty": "OKP", "crv": "Ed25519", "x": point },
        { "kty": "EC", "crv": "P-256", "x": point, "y": point, "key_ops": ["deriveKey"] },
    ]});

    let keys = from_jwks(&set.to_string()).expect("a key set");

    let kids: Vec<_> = keys.iter().map(|key| (key.algorithm().name(), key.kid.as_deref())).collect();
    assert_eq!(kids, [("ES256", Some("a")), ("RS256", Some("b")), ("HS256", None)]);
}

#[test]
fn a_key_set_with_a_broken_key_or_none_is_refused() {
    let one = |key: serde_json::Value| serde_json::json!({ "keys": [key] }).to_string();
    for (text, says) in [
        ("[".to_owned(), "not JSON"),
        ("{}".to_owned(), "no list"),
        ("{\"keys\":[]}".to_owned(), "no key for"),
        (one(serde_json::json!({ "kid": "a" })), "keys[0] has no \"kty\""),
        (one(serde_json::json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" })), "2048"),
        (one(serde_json::json!({ "kty": "RSA", "n": 5, "e": "AQAB" })), "no base64url text \"n\""),
        (one(serde_json::json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" })), "not on P-256"),
        (one(serde_json::json!({ "kty": "oct", "alg": "HS256", "k": "AA" })), "fewer than 32"),
    ] {
        let error = from_jwks(&text).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_key_does_not_print_itself() {
    let key = from_file(JwtAlgorithm::HS256, &"hunter2!".repeat(4)).expect("a secret");
    assert!(!format!("{key:?}").contains("hunter2"));
}
