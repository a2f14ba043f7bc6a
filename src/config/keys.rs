//! Keys that check the signatures of JWTs, read from a secret, from PEM and from a JSON Web Key Set (RFC 7517).
//!
//! Each key is for one algorithm, said by the operator or by its kind, never by a token. Nothing is verified here and no
//! file is read; base64url (RFC 4648, section 5) and the few lines of DER that a public key needs are below.

use std::fmt;

use serde_json::Value;

use super::JwtAlgorithm;

mod der;

/// Most keys of one set: providers publish two to six.
const KEYS_MAX: usize = 32;
/// Longest `kid`.
const KID_MAX: usize = 256;
/// Shortest HMAC secret in bytes: as long as the hash (RFC 7518, section 3.2).
const SECRET_MIN: usize = 32;
/// RSA moduli in bytes: 2048 to 8192 bits, what signatures can be checked with.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// One key for one algorithm.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtKey {
    /// The name by which a token asks for it; `None` fits every token.
    pub kid: Option<String>,
    /// What it checks with.
    pub material: KeyMaterial,
}

/// What a key consists of.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// The secret of HS256, at least 32 bytes.
    Hmac(Vec<u8>),
    /// The public key of RS256, both numbers big-endian without leading zeros.
    Rsa {
        /// Modulus, 256 to 1024 bytes.
        n: Vec<u8>,
        /// Exponent.
        e: Vec<u8>,
    },
    /// The public key of ES256: an uncompressed point, 65 bytes with a leading 4.
    P256(Vec<u8>),
}

impl JwtKey {
    /// The one algorithm that this key is for.
    pub fn algorithm(&self) -> JwtAlgorithm {
        match self.material {
            KeyMaterial::Hmac(_) => JwtAlgorithm::HS256,
            KeyMaterial::Rsa { .. } => JwtAlgorithm::RS256,
            KeyMaterial::P256(_) => JwtAlgorithm::ES256,
        }
    }
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwtKey({}, {:?}, …)", self.algorithm().name(), self.kid)
    }
}

/// The content of a key file.
///
/// # Errors
/// What is wrong with it, without its content.
pub fn from_file(algorithm: JwtAlgorithm, text: &str) -> Result<JwtKey, String> {
    let material = match algorithm {
        // A public key as an HMAC secret would let everybody who knows it sign.
        JwtAlgorithm::HS256 if text.contains("-----BEGIN") || text.trim_start().starts_with('{') => {
            return Err("it holds a PEM or JSON key, not a secret for HS256".to_owned());
        }
        JwtAlgorithm::HS256 => secret(text.trim().as_bytes().to_vec())?,
        JwtAlgorithm::RS256 | JwtAlgorithm::ES256 => {
            let material = from_pem(text)?;
            let key = JwtKey { kid: None, material };
            if key.algorithm() != algorithm {
                return Err(format!("it holds a key for {}, not for {}", key.algorithm().name(), algorithm.name()));
            }
            key.material
        }
    };
    Ok(JwtKey { kid: None, material })
}

/// The usable keys of a JSON Web Key Set. Keys for other purposes and algorithms are passed over.
///
/// # Errors
/// When it is no set, when a key that should be usable is not, or when none is.
pub fn from_jwks(text: &str) -> Result<Vec<JwtKey>, String> {
    let set: Value = serde_json::from_str(text).map_err(|_| "it is not JSON".to_owned())?;
    let listed = set["keys"].as_array().ok_or("it has no list \"keys\"")?;
    if listed.len() > KEYS_MAX {
        return Err(format!("it has more than {KEYS_MAX} keys"));
    }
    let mut keys = Vec::new();
    for (index, jwk) in listed.iter().enumerate() {
        keys.extend(from_jwk(jwk).map_err(|error| format!("keys[{index}] {error}"))?);
    }
    if keys.is_empty() { Err("it has no key for HS256, RS256 or ES256".to_owned()) } else { Ok(keys) }
}

fn from_jwk(jwk: &Value) -> Result<Option<JwtKey>, String> {
    let text = |name: &str| jwk[name].as_str();
    let signs = text("use").is_none_or(|word| word == "sig");
    let operations = jwk["key_ops"].as_array();
    let verifies = operations.is_none_or(|listed| listed.iter().any(|word| word == "verify"));
    let number = |name: &str| text(name).and_then(base64url).ok_or_else(|| format!("has no base64url text {name:?}"));
    if !signs || !verifies {
        return Ok(None);
    }
    // A key without "alg" serves the one algorithm of its kind; a secret must say what it is for.
    let material = match (text("kty"), text("alg"), text("crv")) {
        (Some("oct"), Some("HS256"), _) => secret(number("k")?)?,
        (Some("RSA"), None | Some("RS256"), _) => rsa(&number("n")?, &number("e")?)?,
        (Some("EC"), None | Some("ES256"), Some("P-256")) => {
            let (x, y) = (number("x")?, number("y")?);
            if x.len() != 32 || y.len() != 32 {
                return Err("has a point that is not on P-256".to_owned());
            }
            KeyMaterial::P256([&[4], x.as_slice(), y.as_slice()].concat())
        }
        (None, _, _) => return Err("has no \"kty\"".to_owned()),
        _ => return Ok(None),
    };
    let kid = text("kid").map(str::to_owned);
    if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > KID_MAX) {
        return Err(format!("has a \"kid\" that is empty or longer than {KID_MAX} bytes"));
    }
    Ok(Some(JwtKey { kid, material }))
}

fn from_pem(text: &str) -> Result<KeyMaterial, String> {
    let (_, rest) = text.split_once("-----BEGIN ").ok_or("it is not PEM (-----BEGIN PUBLIC KEY-----)")?;
    let (label, rest) = rest.split_once("-----").ok_or("its first line is cut off")?;
    if label.contains("PRIVATE") {
        return Err("it holds a private key, which belongs to the issuer alone".to_owned());
    }
    let end = format!("-----END {label}-----");
    let (body, after) = rest.split_once(end.as_str()).ok_or("its last line is missing")?;
    if after.contains("-----BEGIN ") {
        return Err("it holds more than one key".to_owned());
    }
    let plain: String = body.chars().filter(|c| !c.is_ascii_whitespace() && *c != '=').collect();
    let bytes = base64url(&plain.replace('+', "-").replace('/', "_")).ok_or("it is not base64 between its lines")?;
    let key = match label {
        "PUBLIC KEY" => der::public_key(&bytes),
        "RSA PUBLIC KEY" => der::rsa_public_key(&bytes),
        other => return Err(format!("it holds a {other}, not a PUBLIC KEY")),
    };
    match key.ok_or("it holds no public key of RSA or P-256")? {
        KeyMaterial::Rsa { n, e } => rsa(&n, &e),
        other => Ok(other),
    }
}

fn secret(secret: Vec<u8>) -> Result<KeyMaterial, String> {
    if secret.len() < SECRET_MIN {
        return Err(format!("the secret has fewer than {SECRET_MIN} bytes"));
    }
    Ok(KeyMaterial::Hmac(secret))
}

fn rsa(n: &[u8], e: &[u8]) -> Result<KeyMaterial, String> {
    let significant = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
    let (n, e) = (significant(n), significant(e));
    // The first bit of the modulus counts: 2041 bits fill 256 bytes too.
    if !MODULUS.contains(&n.len()) || n[0] < 0x80 && n.len() == *MODULUS.start() {
        return Err("the RSA key has fewer than 2048 or more than 8192 bits".to_owned());
    }
    // 33 bits, and 3 or more: what signatures can be checked with.
    if e.is_empty() || e.len() > 4 || e == [1] || e[e.len() - 1] % 2 == 0 {
        return Err("the RSA key has an unusual exponent".to_owned());
    }
    Ok(KeyMaterial::Rsa { n, e })
}

/// Decodes base64url without padding; `None` for any other text, also for one with stray bits at its end.
pub fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    // Two tokens of one meaning must not be two texts.
    (held < 6 && bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests;
