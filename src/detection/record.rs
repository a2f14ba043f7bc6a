//! What comes from outside about an attempt, and the one border where it is checked.
//!
//! Every field is optional on the wire, so that a missing one can be named. [`AttemptRecord::check`] is the only way
//! from here to an [`Attempt`]: it bounds, canonicalises and pseudonymises. Errors name the field and never repeat what
//! stood in it: user names and addresses must not end up in answers and logs.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::additional::Given;
use super::attempt::{Attempt, Outcome, Protocol, RequestKey, Timestamp, canonical_ip};
use super::client::{self, ClientDetails, Country, Region, Subdivision};
use super::pseudonym::Pseudonymizer;

/// Longest user name or account in bytes. RFC 5321 allows 320; some sites log in with distinguished names.
pub const USERNAME_MAX: usize = 1024;
/// Longest request id in bytes; callers send UUIDs or trace ids.
pub const REQUEST_ID_MAX: usize = 256;
/// Longest password tag in bytes: a SHA-512 in hexadecimal.
pub const PASSWORD_HASH_MAX: usize = 128;
/// Longest protocol name in bytes.
pub const PROTOCOL_MAX: usize = 32;
/// Longest user agent in bytes; browsers send about 200.
pub const USER_AGENT_MAX: usize = 512;
/// Longest client id in bytes (OIDC clients, IMAP ID).
pub const CLIENT_ID_MAX: usize = 256;
/// Longest code of a region in bytes; two to six characters are usual.
const REGION_MAX: usize = 16;
/// Longest country code in bytes; two letters are usual.
pub const COUNTRY_MAX: usize = 8;
/// Longest autonomous system in bytes, when it is a string such as `AS64500`.
pub const ASN_MAX: usize = 32;
/// Longest address in bytes: an IPv6 address takes 45 at most, so what is longer is not worth parsing.
pub const CLIENT_IP_MAX: usize = 64;
/// Longest time stamp in bytes: RFC 3339 with nanoseconds and offset takes 35.
pub const TS_MAX: usize = 64;
/// Most additional features.
pub const FEATURES_MAX: usize = 64;
/// Longest name of an additional feature in bytes.
pub const FEATURE_NAME_MAX: usize = 64;
/// Longest string value of an additional feature in bytes.
pub const FEATURE_STRING_MAX: usize = 256;
/// Longest scenario, campaign or source in bytes.
pub const TRUTH_MAX: usize = 128;
/// How far the time of an event may lie ahead of our clock, in milliseconds: clocks of one site differ by less.
pub const FUTURE_MAX_MS: i64 = 60_000;
/// 2000-01-01T00:00:00Z: what is older is a clock that was never set.
pub const OLDEST: Timestamp = Timestamp::from_millis(946_684_800_000);

/// An autonomous system, as number or as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Asn {
    /// `64500`
    Number(u64),
    /// `"AS64500"`
    Text(String),
}

/// One attempt as JSON. Unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptRecord {
    /// Event time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
    /// Address of the client. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// The client's address as `client_ip` has it from its own client, if that is a trusted one: web mail, a proxy, a director.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_ip: Option<String>,
    /// The name as typed. Required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Whether the login succeeded; missing while that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// `imap`, `smtp`, `oidc` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The caller's id for this attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Canonical name behind an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Whether the user exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_found: Option<bool>,
    /// Opaque tag of the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// Country code of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Part of the country: `DE-BY`, or `BY` beside a country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Autonomous system of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<Asn>,
    /// User agent of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// OIDC client or IMAP ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The caller's opinion about the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspicious_network: Option<bool>,
    /// A look-up without a password: counted nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_auth: Option<bool>,
    /// Refused before the password was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<bool>,
    /// A rule of the caller has decided that this is brute force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_rule_triggered: Option<bool>,
    /// Additional features: numbers, truth values or strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Map<String, Value>>,
    /// How the texts among them are encoded: `one-hot` (also where nothing is said) or `embedding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Map<String, Value>>,
    /// Whether the answer to a score shall say what made the probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
    /// For evaluation only: `attack`, `legit` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// For evaluation only: what kind of behaviour this belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// For evaluation only: which attack this belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// For evaluation only: where the record comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Country and part of it. A region that names its country gives it where nothing else does; one of another country than the
/// one told, and one without any, is not known.
fn place(country: Option<&str>, region: Option<&str>) -> (Option<Country>, Option<Subdivision>) {
    let country = country.and_then(Country::from_code);
    let region = region.and_then(|text| match (text.contains('-'), country) {
        (true, _) => Region::from_code(text),
        (false, Some(country)) => Some(Region { country, subdivision: Some(Subdivision::from_code(text)?) }),
        (false, None) => None,
    });
    match (country, region) {
        (Some(country), Some(region)) if region.country == country => (Some(country), region.subdivision),
        (None, Some(region)) => (Some(region.country), region.subdivision),
        (country, _) => (country, None),
    }
}

/// All fields, for naming the one that does not parse.
const FIELDS: [&str; 26] = [
    "ts",
    "client_ip",
    "forwarded_ip",
    "username",
    "success",
    "protocol",
    "request_id",
    "account",
    "user_found",
    "password_hash",
    "country",
    "region",
    "asn",
    "user_agent",
    "client_id",
    "suspicious_network",
    "no_auth",
    "blocked",
    "static_rule_triggered",
    "features",
    "encoding",
    "explain",
    "label",
    "scenario",
    "campaign",
    "source",
];

/// Why a record is refused: which field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordError {
    /// The field as the wire spells it; `record` when no single one is to blame.
    pub field: &'static str,
    /// What is wrong, without the value.
    pub error: String,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.error)
    }
}

impl std::error::Error for RecordError {}

impl RecordError {
    /// A problem with one field.
    pub fn new(field: &'static str, error: impl Into<String>) -> Self {
        Self { field, error: error.into() }
    }
}

/// What an attempt really was, as far as somebody knows. Never a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrueLabel {
    /// Part of an attack.
    Attack,
    /// A user.
    Legit,
    /// Nobody knows.
    Unknown,
}

impl TrueLabel {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "attack" => Self::Attack,
            "legit" => Self::Legit,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

/// The fields that exist for evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Truth {
    /// What the attempt really was.
    pub label: Option<TrueLabel>,
    /// What kind of behaviour it belongs to.
    pub scenario: Option<String>,
    /// Which attack it belongs to.
    pub campaign: Option<String>,
    /// Where the record comes from.
    pub source: Option<String>,
}

/// A record that passed all checks.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedRecord {
    /// Canonical, bounded, pseudonymised.
    pub attempt: Attempt,
    /// Where `client_ip` says that its client is; counts only if it may say so.
    pub forwarded_ip: Option<IpAddr>,
    /// The caller's request id, or a new one.
    pub request_id: String,
    /// What became of it, if that is known.
    pub outcome: Option<Outcome>,
    /// The additional features that the request gives.
    pub given: Given,
    /// For evaluation only.
    pub truth: Truth,
}

impl AttemptRecord {
    /// Parses one JSON object. Unlike plain deserialisation this names the field that has the wrong type, and does not
    /// repeat its value.
    pub fn parse(json: &[u8]) -> Result<Self, RecordError> {
        // serde would take a list of values in the order of the fields as well.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(RecordError::new("record", "must be one JSON object"));
        }
        serde_json::from_slice(json).map_err(|error| match error.classify() {
            Category::Syntax | Category::Eof => {
                let place = format!("is not JSON (line {}, column {})", error.line(), error.column());
                RecordError::new("record", place)
            }
            _ => Self::blame(json),
        })
    }

    /// Whether the outcome can be one.
    ///
    /// # Errors
    /// Both refused before the password was checked and successful.
    pub fn contradiction(&self) -> Result<(), RecordError> {
        if self.blocked == Some(true) && self.success == Some(true) {
            let error = "contradicts success: what was refused before the password was checked did not log in";
            return Err(RecordError::new("blocked", error));
        }
        Ok(())
    }

    fn blame(json: &[u8]) -> RecordError {
        let Ok(Value::Object(mut object)) = serde_json::from_slice::<Value>(json) else {
            return RecordError::new("record", "must be one JSON object");
        };
        for field in FIELDS {
            let Some(value) = object.remove(field) else { continue };
            let alone = Value::Object(Map::from_iter([(field.to_owned(), value)]));
            if serde_json::from_value::<Self>(alone).is_err() {
                return RecordError::new(field, "has the wrong type");
            }
        }
        RecordError::new("record", "names a field twice")
    }

    /// Checks every field. `fallback_ts` is the event time where the record has none (a live request); `now` bounds the
    /// future; `new_request_id` is asked when the record has no id. Empty optional strings count as missing.
    pub fn check(
        self,
        fallback_ts: Option<Timestamp>,
        now: Timestamp,
        pseudonymizer: &Pseudonymizer,
        new_request_id: impl FnOnce() -> String,
    ) -> Result<CheckedRecord, RecordError> {
        let ts = check_ts(self.ts.as_deref(), fallback_ts, now)?;
        let client_ip = check_ip(self.client_ip.as_deref())?;
        let forwarded_ip = filled(&self.forwarded_ip).map(|ip| check_address("forwarded_ip", ip)).transpose()?;
        let username = self.username.as_deref().ok_or_else(|| RecordError::new("username", "is missing"))?;
        check_name("username", username)?;
        let account = filled(&self.account);
        if let Some(account) = account {
            check_name("account", account)?;
        }
        let password = optional("password_hash", &self.password_hash, PASSWORD_HASH_MAX)?;
        let protocol = optional("protocol", &self.protocol, PROTOCOL_MAX)?;
        let user_agent = optional("user_agent", &self.user_agent, USER_AGENT_MAX)?;
        let client_id = optional("client_id", &self.client_id, CLIENT_ID_MAX)?;
        let country = optional("country", &self.country, COUNTRY_MAX)?;
        let region = optional("region", &self.region, REGION_MAX)?;
        let (country, subdivision) = place(country, region);
        let asn = check_asn(self.asn.as_ref())?;
        check_features(self.features.as_ref())?;
        let given = Given::read(self.features.as_ref(), self.encoding.as_ref(), pseudonymizer)?;

        let name = pseudonymizer.name(username);
        let user = account.map_or(name, |account| pseudonymizer.name(account));
        let password = password.map(|tag| pseudonymizer.tag(tag));
        let protocol = Protocol::from_name(protocol.unwrap_or_default());
        let outcome = match (self.blocked, self.success) {
            (Some(true), _) => Some(Outcome::Blocked),
            (_, Some(true)) => Some(Outcome::Success),
            (_, Some(false)) => Some(Outcome::Failure),
            (_, None) => None,
        };
        let truth = check_truth(self.label.as_deref(), self.scenario, self.campaign, self.source)?;
        let request_id = match self.request_id {
            Some(id) => check_request_id(id)?,
            None => new_request_id(),
        };
        let attempt = Attempt {
            ts,
            request: RequestKey::of(&request_id),
            client_ip,
            name,
            user,
            password,
            protocol,
            client: ClientDetails {
                country,
                subdivision,
                asn,
                user_agent: user_agent.map(|agent| pseudonymizer.user_agent(agent)),
                client_id: client_id.map(|id| pseudonymizer.client_id(id)),
            },
            // Which texts count, the fleet's list says: filled in by whoever knows it.
            categories: Vec::new(),
            user_found: self.user_found,
            suspicious_network: self.suspicious_network,
            no_auth: self.no_auth.unwrap_or(false),
            static_rule_triggered: self.static_rule_triggered.unwrap_or(false),
        };
        Ok(CheckedRecord { attempt, forwarded_ip, request_id, outcome, given, truth })
    }
}

fn check_ts(text: Option<&str>, fallback: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, RecordError> {
    let refuse = |error: &str| Err(RecordError::new("ts", error));
    let ts = match (text, fallback) {
        (Some(text), _) if text.len() > TS_MAX => return refuse("is not an RFC 3339 time"),
        (Some(text), _) => match Timestamp::parse(text) {
            Some(ts) => ts,
            None => return refuse("is not an RFC 3339 time"),
        },
        (None, Some(fallback)) => fallback,
        (None, None) => return refuse("is missing"),
    };
    if ts > now.plus_millis(FUTURE_MAX_MS) {
        refuse("lies more than 60 s in the future")
    } else if ts < OLDEST {
        refuse("lies before the year 2000")
    } else {
        Ok(ts)
    }
}

/// Parses and canonicalises the address of a client; used wherever a caller names one. Errors are about `client_ip`.
pub fn check_ip(text: Option<&str>) -> Result<IpAddr, RecordError> {
    let text = text.ok_or_else(|| RecordError::new("client_ip", "is missing"))?;
    check_address("client_ip", text)
}

fn check_address(field: &'static str, text: &str) -> Result<IpAddr, RecordError> {
    let refuse = |error: &str| Err(RecordError::new(field, error));
    if text.is_empty() {
        return refuse("must not be empty");
    }
    if text.len() > CLIENT_IP_MAX {
        return refuse("is not an IP address");
    }
    if text.contains('%') {
        return refuse("must not have a zone");
    }
    let Ok(ip) = text.parse::<IpAddr>() else { return refuse("is not an IP address") };
    let ip = canonical_ip(ip);
    if ip.is_unspecified() {
        refuse("is the unspecified address")
    } else if ip.is_multicast() {
        refuse("is a multicast address")
    } else {
        Ok(ip)
    }
}

/// Checks a user name or account: 1 to [`USERNAME_MAX`] bytes, not only white space, no control characters.
pub fn check_name(field: &'static str, name: &str) -> Result<(), RecordError> {
    if name.len() > USERNAME_MAX {
        Err(too_long(field, USERNAME_MAX))
    } else if name.trim().is_empty() {
        Err(RecordError::new(field, "must not be empty"))
    } else {
        no_control(field, name)
    }
}

/// Checks a request id: 1 to [`REQUEST_ID_MAX`] bytes without control characters.
pub fn check_request_id(id: String) -> Result<String, RecordError> {
    if id.is_empty() {
        return Err(RecordError::new("request_id", "must not be empty"));
    }
    bounded("request_id", &id, REQUEST_ID_MAX)?;
    Ok(id)
}

/// The text of an optional field; callers send empty strings for what they do not know.
fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn optional<'a>(field: &'static str, text: &'a Option<String>, max: usize) -> Result<Option<&'a str>, RecordError> {
    let text = filled(text);
    text.map(|text| bounded(field, text, max)).transpose()?;
    Ok(text)
}

fn bounded(field: &'static str, text: &str, max: usize) -> Result<(), RecordError> {
    if text.len() > max { Err(too_long(field, max)) } else { no_control(field, text) }
}

fn no_control(field: &'static str, text: &str) -> Result<(), RecordError> {
    if text.chars().any(char::is_control) {
        return Err(RecordError::new(field, "must not contain control characters"));
    }
    Ok(())
}

fn too_long(field: &'static str, max: usize) -> RecordError {
    RecordError::new(field, format!("is longer than {max} bytes"))
}

/// `None` where there is none, and for a text that names none: callers send what their look-up says.
fn check_asn(asn: Option<&Asn>) -> Result<Option<client::Asn>, RecordError> {
    match asn {
        None => Ok(None),
        Some(Asn::Number(number)) => match u32::try_from(*number) {
            Ok(number) => Ok(client::Asn::new(number)),
            Err(_) => Err(RecordError::new("asn", "is not an autonomous system number")),
        },
        Some(Asn::Text(text)) => {
            bounded("asn", text, ASN_MAX)?;
            Ok(client::Asn::from_text(text))
        }
    }
}

fn check_features(features: Option<&Map<String, Value>>) -> Result<(), RecordError> {
    let refuse = |error: String| Err(RecordError::new("features", error));
    let Some(features) = features else { return Ok(()) };
    if features.len() > FEATURES_MAX {
        return refuse(format!("has more than {FEATURES_MAX} entries"));
    }
    for (name, value) in features {
        if name.is_empty() || name.len() > FEATURE_NAME_MAX {
            return refuse(format!("has a name that is empty or longer than {FEATURE_NAME_MAX} bytes"));
        }
        no_control("features", name)?;
        match value {
            Value::Bool(_) => {}
            Value::Number(number) if number.as_f64().is_some_and(f64::is_finite) => {}
            Value::Number(_) => return refuse("has a number that is not finite".to_owned()),
            Value::String(text) => bounded("features", text, FEATURE_STRING_MAX)?,
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return refuse("may only hold numbers, truth values and strings".to_owned());
            }
        }
    }
    Ok(())
}

fn check_truth(
    label: Option<&str>,
    scenario: Option<String>,
    campaign: Option<String>,
    source: Option<String>,
) -> Result<Truth, RecordError> {
    let unknown = || RecordError::new("label", "must be attack, legit or unknown");
    let label = label.map(|label| TrueLabel::parse(label).ok_or_else(unknown)).transpose()?;
    optional("scenario", &scenario, TRUTH_MAX)?;
    optional("campaign", &campaign, TRUTH_MAX)?;
    optional("source", &source, TRUTH_MAX)?;
    Ok(Truth { label, scenario, campaign, source })
}

#[cfg(test)]
mod tests;
