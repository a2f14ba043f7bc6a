//! JSON Web Tokens (RFC 7519) in their compact form: whose key signed them, whether they hold now, which roles they give.
//!
//! The algorithm is that of the key, never that of the token: what a header says is only compared. Nothing of a token is
//! believed, or told to its bearer, before its signature is checked. No key is ever fetched here.

use ring::{hmac, signature};
use serde::Deserialize;
use serde_json::Value;

use crate::config::keys::{JwtKey, KeyMaterial, base64url};
use crate::config::{JwtConfig, Role};

/// Longest token that is looked at; those of providers have 1 to 3 KiB.
pub const TOKEN_MAX: usize = 8 * 1024;
/// Longest `sub` that is kept as the caller's name, in bytes: short enough for an author of feedback.
const SUBJECT_MAX: usize = 100;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Longer than [`TOKEN_MAX`].
    #[error("the token is longer than {TOKEN_MAX} bytes")]
    TooLong,
    /// Not three parts of base64url with JSON objects in the first two, or with a claim of the wrong type.
    #[error("the token is not a well-formed JWT")]
    Malformed,
    /// Its header asks for something that must be understood (`crit`), and nothing of that kind is.
    #[error("the token needs an extension that is not supported (crit)")]
    Extension,
    /// No key is for the algorithm that its header names; `none` is none.
    #[error("no key is configured for the algorithm of the token")]
    Algorithm,
    /// No key has the `kid` of its header.
    #[error("no key has the kid of the token; if the issuer changed its keys, renew jwt.jwks_file and reload")]
    UnknownKey,
    /// No key confirms its signature.
    #[error("the signature of the token is wrong")]
    Signature,
    /// It has no `exp`.
    #[error("the token has no exp: tokens without an end are not accepted")]
    NoExpiry,
    /// `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is not yet reached.
    #[error("the token is not valid yet (nbf)")]
    NotYet,
    /// `iss` is not `jwt.issuer`.
    #[error("the token is of another issuer (iss) than jwt.issuer")]
    Issuer,
    /// `aud` names none of `jwt.audience`.
    #[error("the token is for another audience (aud) than jwt.audience")]
    Audience,
    /// The role claim gives no role.
    #[error("the token gives no role: see jwt.role_claim and jwt.roles")]
    NoRole,
}

impl JwtError {
    /// The name in metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::TooLong => "jwt_too_long",
            Self::Malformed => "jwt_malformed",
            Self::Extension => "jwt_extension",
            Self::Algorithm => "jwt_algorithm",
            Self::UnknownKey => "jwt_unknown_key",
            Self::Signature => "jwt_signature",
            Self::NoExpiry => "jwt_no_expiry",
            Self::Expired => "jwt_expired",
            Self::NotYet => "jwt_not_yet",
            Self::Issuer => "jwt_issuer",
            Self::Audience => "jwt_audience",
            Self::NoRole => "jwt_no_role",
        }
    }
}

/// What a token that holds says about its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// The roles, at least one.
    pub roles: Vec<Role>,
    /// The cleaned and shortened `sub`; `None` without a usable one.
    pub subject: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Checks tokens against the configured keys and claims.
pub struct Verifier {
    keys: Vec<JwtKey>,
    rules: JwtConfig,
}

impl Verifier {
    /// A verifier with these keys; without any it refuses everything.
    pub fn new(keys: Vec<JwtKey>, rules: JwtConfig) -> Self {
        Self { keys, rules }
    }

    /// Whether a token can be accepted at all.
    pub fn is_used(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Checks a token at a time in seconds since the epoch.
    ///
    /// # Errors
    /// The first reason against it; reasons in its claims only after its signature.
    pub fn verify(&self, token: &str, now: f64) -> Result<Bearer, JwtError> {
        if token.len() > TOKEN_MAX {
            return Err(JwtError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        let header: Header = json(header)?;
        let signature = base64url(signature).ok_or(JwtError::Malformed)?;
        if header.crit.is_some() {
            return Err(JwtError::Extension);
        }
        self.check_signature(&header, signed.as_bytes(), &signature)?;
        let claims: Value = json(payload)?;
        if !claims.is_object() {
            return Err(JwtError::Malformed);
        }
        self.check_times(&claims, now)?;
        self.check_names(&claims)?;
        let roles = self.roles(&claims);
        if roles.is_empty() {
            return Err(JwtError::NoRole);
        }
        Ok(Bearer { roles, subject: claims["sub"].as_str().and_then(subject) })
    }

    fn check_signature(&self, header: &Header, signed: &[u8], signature: &[u8]) -> Result<(), JwtError> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithm().name() == header.alg).peekable();
        fitting.peek().ok_or(JwtError::Algorithm)?;
        let named = |key: &&JwtKey| match (&key.kid, &header.kid) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        let mut named = fitting.filter(named).peekable();
        named.peek().ok_or(JwtError::UnknownKey)?;
        if named.any(|key| confirms(&key.material, signed, signature)) { Ok(()) } else { Err(JwtError::Signature) }
    }

    fn check_times(&self, claims: &Value, now: f64) -> Result<(), JwtError> {
        let leeway = self.rules.leeway.as_secs_f64();
        // A time of another type must not count as an absent one.
        let time = |name: &str| match &claims[name] {
            Value::Null => Ok(None),
            value => value.as_f64().map(Some).ok_or(JwtError::Malformed),
        };
        let expires = time("exp")?.ok_or(JwtError::NoExpiry)?;
        if now >= expires + leeway {
            return Err(JwtError::Expired);
        }
        match time("nbf")? {
            Some(begins) if now < begins - leeway => Err(JwtError::NotYet),
            _ => Ok(()),
        }
    }

    fn check_names(&self, claims: &Value) -> Result<(), JwtError> {
        if self.rules.issuer.as_deref().is_some_and(|issuer| claims["iss"] != issuer) {
            return Err(JwtError::Issuer);
        }
        let wanted = &self.rules.audience;
        let mut named = texts(&claims["aud"]);
        if !wanted.is_empty() && !named.any(|audience| wanted.iter().any(|wanted| wanted == audience)) {
            return Err(JwtError::Audience);
        }
        Ok(())
    }

    fn roles(&self, claims: &Value) -> Vec<Role> {
        let path = &self.rules.role_claim;
        // A claim may be called like a URL, dots and all.
        let claim = claims.get(path).unwrap_or_else(|| path.split('.').fold(claims, |value, name| &value[name]));
        let mut roles: Vec<Role> = texts(claim).flat_map(|value| self.roles_of(value)).collect();
        roles.sort_unstable();
        roles.dedup();
        roles
    }

    /// What one value is worth: as a whole, and each word of it, because `scope` is a list in one text (RFC 8693).
    fn roles_of(&self, value: &str) -> Vec<Role> {
        let words = value.split(' ').filter(|word| *word != value).chain([value]);
        let worth = |word: &str| -> Vec<Role> {
            if self.rules.roles.is_empty() {
                [Role::Score, Role::Feedback, Role::Admin].into_iter().filter(|role| role.to_string() == word).collect()
            } else {
                self.rules.roles.iter().filter(|mapped| mapped.value == word).map(|mapped| mapped.role).collect()
            }
        };
        words.flat_map(worth).collect()
    }
}

fn confirms(key: &KeyMaterial, signed: &[u8], tag: &[u8]) -> bool {
    match key {
        KeyMaterial::Hmac(secret) => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed, tag).is_ok(),
        KeyMaterial::Rsa { n, e } => {
            let key = signature::RsaPublicKeyComponents { n, e };
            key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, tag).is_ok()
        }
        KeyMaterial::P256(point) => {
            let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
            key.verify(signed, tag).is_ok()
        }
    }
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, JwtError> {
    let bytes = base64url(part).ok_or(JwtError::Malformed)?;
    // A list would be read as a struct's fields in their order.
    if !crate::control::command::is_object(&bytes) {
        return Err(JwtError::Malformed);
    }
    serde_json::from_slice(&bytes).map_err(|_| JwtError::Malformed)
}

/// A text, or the texts of a list.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let several = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    value.as_str().into_iter().chain(several)
}

/// A `sub` as it may stand in history, audit and feedback: printable, in reading order, short.
fn subject(text: &str) -> Option<String> {
    let turns = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut clean: String = text.chars().filter(|c| !c.is_control() && !turns(*c)).take(SUBJECT_MAX).collect();
    while clean.len() > SUBJECT_MAX {
        clean.pop();
    }
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

#[cfg(test)]
mod tests;
