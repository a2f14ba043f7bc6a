//! One login attempt in the form that the rest of the program works with: validated, canonical, pseudonymised.
//!
//! What comes from outside is an [`AttemptRecord`](crate::detection::record::AttemptRecord); it becomes an [`Attempt`]
//! in one place, where every bound is checked. Nothing here reads a clock or knows where an attempt came from.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

use super::client::ClientDetails;

/// Event time in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(parsed.timestamp_millis()))
    }

    /// This time as `chrono`'s UTC type; times outside its range become the epoch.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// Seconds from `earlier` to `self`; negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }

    /// This time moved by `millis`, saturating.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// A request id, reduced to the first 16 bytes of its SHA-256: fixed width whatever the caller sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(pub [u8; 16]);

impl RequestKey {
    /// The key of a request id as the caller wrote it.
    pub fn of(request_id: &str) -> Self {
        let digest = Sha256::digest(request_id.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }
}

/// Keyed pseudonym of a user name or account (see [`Pseudonymizer`](crate::detection::pseudonym::Pseudonymizer)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym(pub [u8; 16]);

impl Pseudonym {
    /// The first eight bytes as a table key.
    pub fn short(self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().expect("eight of sixteen bytes"))
    }
}

/// Keyed pseudonym of the caller's opaque password tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PasswordTag(pub u64);

/// The protocol through which somebody tried to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// The caller did not say.
    Unknown = 0,
    /// IMAP, with or without implicit TLS.
    Imap = 1,
    /// POP3, with or without implicit TLS.
    Pop3 = 2,
    /// SMTP submission.
    Smtp = 3,
    /// ManageSieve.
    Sieve = 4,
    /// Anything in a browser or over HTTP: web mail, OIDC, SAML.
    Http = 5,
    /// SSH.
    Ssh = 6,
    /// Any protocol this version has no name for.
    Other = 255,
}

impl Protocol {
    /// From the caller's word, case-insensitive (`imap`, `imaps`, `submission`, `oidc` …).
    pub fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "" => Self::Unknown,
            "imap" | "imaps" => Self::Imap,
            "pop3" | "pop3s" | "pop" => Self::Pop3,
            "smtp" | "smtps" | "submission" | "submissions" => Self::Smtp,
            "sieve" | "managesieve" => Self::Sieve,
            "http" | "https" | "oidc" | "oauth2" | "saml" | "web" => Self::Http,
            "ssh" => Self::Ssh,
            _ => Self::Other,
        }
    }

    /// From the byte of the stored form; unknown bytes are [`Protocol::Other`].
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Unknown,
            1 => Self::Imap,
            2 => Self::Pop3,
            3 => Self::Smtp,
            4 => Self::Sieve,
            5 => Self::Http,
            6 => Self::Ssh,
            _ => Self::Other,
        }
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Nobody told us in time: an attempt, never a failure and never a label.
    Unknown = 0,
    /// Refused before the password was checked: says nothing about the password.
    Blocked = 1,
    /// The password was wrong, or the user does not exist.
    Failure = 2,
    /// The login succeeded.
    Success = 3,
}

impl Outcome {
    /// From the byte of the stored form.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Unknown,
            1 => Self::Blocked,
            2 => Self::Failure,
            3 => Self::Success,
            _ => return None,
        })
    }
}

/// One attempt, canonical and bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Event time: drives every feature and label.
    pub ts: Timestamp,
    /// The caller's request id, reduced.
    pub request: RequestKey,
    /// Canonical address (an IPv4-mapped IPv6 address is the IPv4 address).
    pub client_ip: IpAddr,
    /// Pseudonym of the name as typed (folded).
    pub name: Pseudonym,
    /// Pseudonym of the account behind the name; equal to `name` when no alias was given.
    pub user: Pseudonym,
    /// Tag of the password that was tried, if the caller sends tags.
    pub password: Option<PasswordTag>,
    /// The protocol of the login.
    pub protocol: Protocol,
    /// What is known of the client beyond its address.
    pub client: ClientDetails,
    /// Hashes of the texts of those additional features that are replaced by how often attempts with them failed. At most
    /// [`SLOTS_MAX`](crate::detection::additional::SLOTS_MAX).
    pub categories: Vec<u64>,
    /// Whether the user exists; `None` when the caller does not say.
    pub user_found: Option<bool>,
    /// The caller's own opinion about the network; `None` when it has none.
    pub suspicious_network: Option<bool>,
    /// A look-up without a password: counted nowhere.
    pub no_auth: bool,
    /// A rule of the caller has already decided that this is brute force.
    pub static_rule_triggered: bool,
}

impl Attempt {
    /// Whether `other` is the same attempt told again (same content under the same request id).
    pub fn same_content(&self, other: &Self) -> bool {
        self.client_ip == other.client_ip
            && self.name == other.name
            && self.protocol == other.protocol
            && (self.password == other.password || self.password.is_none() || other.password.is_none())
    }
}

/// Canonical form of an address: IPv4-mapped and IPv4-compatible-looking loopback forms collapse to one spelling.
pub fn canonical_ip(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
    }
}

/// The client network that verdicts speak of: the /24 of an IPv4 address, the /64 of an IPv6 address.
pub fn client_network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & !((1u128 << 64) - 1);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
    }
}

/// What an address shares with the others that its provider may give the same customer tomorrow: the /16 of an IPv4
/// address, the /32 of an IPv6 address (what registries hand out to providers). The two kinds never coincide.
pub fn address_range(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(v4) => u64::from(u32::from(v4) >> 16),
        IpAddr::V6(v6) => 1 << 32 | (u128::from(v6) >> 96) as u64,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A plain IMAP login of which the caller tells no more than it must. Tests change what they are about.
    pub(crate) fn plain(ts: Timestamp, request: &str, client_ip: IpAddr, user: u8) -> Attempt {
        Attempt {
            client: ClientDetails::default(),
            categories: Vec::new(),
            ts,
            request: RequestKey::of(request),
            client_ip,
            name: Pseudonym([user; 16]),
            user: Pseudonym([user; 16]),
            password: None,
            protocol: Protocol::Imap,
            user_found: None,
            suspicious_network: None,
            no_auth: false,
            static_rule_triggered: false,
        }
    }
}
