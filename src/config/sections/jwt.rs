//! `[jwt]`: signed tokens of an identity provider. Everything here applies at once.
//!
//! Without `key_file` and `jwks_file` no JWT is accepted. The files are read in [`secrets`](crate::config::secrets).

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::http::Role;

/// How a token may be signed. Each key is for exactly one of them; nothing else, `none` above all, is ever accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256: whoever can check such a token can make one.
    HS256,
    /// RSA (PKCS #1 v1.5) with SHA-256, 2048 to 8192 bits.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

impl JwtAlgorithm {
    /// The name in a token's header (RFC 7518).
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
        }
    }
}

/// What one value of the role claim is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtRole {
    /// The value as it stands in the claim.
    pub value: String,
    /// The role that goes with it.
    pub role: Role,
}

/// The `[jwt]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JwtConfig {
    /// The algorithm of `key_file`: `"HS256"`, `"RS256"` or `"ES256"`. Default: none; it is never taken from a token.
    pub algorithm: Option<JwtAlgorithm>,
    /// File with one key, or the name of a systemd credential: the secret for HS256 (32 bytes or more), else the public
    /// key as PEM. Default: none.
    pub key_file: Option<PathBuf>,
    /// File with a JSON Web Key Set, or the name of a systemd credential. Default: none. May stand beside `key_file`.
    pub jwks_file: Option<PathBuf>,
    /// The `iss` that a token must have. Default: none, any issuer that has the key.
    pub issuer: Option<String>,
    /// Of these a token must name one in `aud`. Default: none, tokens for any audience.
    pub audience: Vec<String>,
    /// The claim with the role or roles, a text or a list of texts. Dots lead into nested claims, like
    /// `realm_access.roles`. Default: `role`.
    pub role_claim: String,
    /// What the values of that claim are worth. Default: none, then the values are the names of the roles themselves.
    pub roles: Vec<JwtRole>,
    /// How far the clocks of issuer and node may differ. Default: 30 s.
    #[serde(with = "humantime_serde")]
    pub leeway: Duration,
}

impl JwtConfig {
    /// Whether any JWT can be accepted.
    pub fn is_used(&self) -> bool {
        self.key_file.is_some() || self.jwks_file.is_some()
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            algorithm: None,
            key_file: None,
            jwks_file: None,
            issuer: None,
            audience: Vec::new(),
            role_claim: "role".to_owned(),
            roles: Vec::new(),
            leeway: Duration::from_secs(30),
        }
    }
}
