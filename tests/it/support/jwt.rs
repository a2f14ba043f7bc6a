//! An identity provider of the test's own: an RSA, a P-256 and an HMAC key, tokens signed with them, and its key set.

use std::time::{SystemTime, UNIX_EPOCH};

use nauthilus_neural::config::keys::base64url;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};

/// The secret of HS256.
pub const SECRET: &str = "the secret of the provider of this test";
/// The RSA key as PEM.
pub const RSA_PUBLIC: &str = include_str!("../../fixtures/jwt/rsa.pub.pem");

/// See the module documentation.
pub struct Provider {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    random: SystemRandom,
}

impl Provider {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let pem = include_str!("../../fixtures/jwt/rsa.pem");
        let body: String = pem.split("-----").nth(2).expect("a body").split_whitespace().collect();
        let der = base64url(&body.trim_end_matches('=').replace('+', "-").replace('/', "_")).expect("base64");
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a new key");
        let p256 = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("the new key");
        Self { rsa: RsaKeyPair::from_pkcs8(&der).expect("the RSA key"), p256, random }
    }

    /// The RSA key with the kid `r` and the P-256 key with the kid `e`.
    pub fn key_set(&self) -> Value {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let point = self.p256.public_key().as_ref();
        json!({ "keys": [
            { "kty": "RSA", "use": "sig", "kid": "r", "n": encode(&n), "e": encode(&e) },
            { "kty": "EC", "use": "sig", "kid": "e", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) },
        ]})
    }

    /// A token with these claims, signed as its header says: `HS256` with `secret`, `RS256`, `ES256`, or not at all.
    pub fn sign_with(&self, header: &Value, claims: &Value, secret: &[u8]) -> String {
        let text = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let tag = match header["alg"].as_str() {
            Some("HS256") => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes()).as_ref().to_vec(),
            Some("RS256") => {
                let mut tag = vec![0; self.rsa.public().modulus_len()];
                let done = self.rsa.sign(&signature::RSA_PKCS1_SHA256, &self.random, text.as_bytes(), &mut tag);
                done.expect("signed");
                tag
            }
            Some("ES256") => self.p256.sign(&self.random, text.as_bytes()).expect("signed").as_ref().to_vec(),
            _ => Vec::new(),
        };
        format!("{text}.{}", encode(&tag))
    }

    /// A token of this algorithm, with the kid of the key set.
    pub fn sign(&self, algorithm: &str, claims: &Value) -> String {
        let kid = match algorithm {
            "RS256" => json!("r"),
            "ES256" => json!("e"),
            _ => Value::Null,
        };
        self.sign_with(&json!({ "alg": algorithm, "typ": "JWT", "kid": kid }), claims, SECRET.as_bytes())
    }
}

/// Claims that hold for an hour.
pub fn claims(role: &str) -> Value {
    json!({ "exp": seconds() + 3600, "sub": "alice@example.org", "role": role, "iss": "https://id.example.org",
        "aud": "neural" })
}

/// The present in seconds since the epoch.
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let value = |six: &[u8]| (0..6).fold(0, |sum, at| sum << 1 | usize::from(six.get(at).copied().unwrap_or(0)));
    bits.chunks(6).map(|six| char::from(LETTERS[value(six)])).collect()
}
