//! Made-up login traffic with known labels: a site's people, their clients' bad habits, and attacks of ten kinds.
//!
//! Everything follows from [`TrafficOptions`]: the same options give the same records on every machine. No clock, no
//! files, no addresses or names of real people. Parameters carry their origin: *measured* on server logs, *published*,
//! or *assumed*. What is learnt from this traffic alone proves little about a real site; real logs must confirm it.
//!
//! Reading order: `site` (what is true), `people`, `legit` and `loops` (what people and devices do), `attacks`, `canaries`.

mod attacks;
mod canaries;
mod legit;
mod loops;
mod networks;
mod passwords;
mod people;
mod sampling;
mod scenario;
mod site;
#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

pub use self::canaries::canaries;
pub use self::scenario::{Habit, Profile, Scenario, UnknownName};
use self::site::{DAY_MS, Draft, Origin, Site, Window};
use crate::detection::attempt::Timestamp;
use crate::detection::record::{Asn, AttemptRecord};

/// Largest share of attacks that can be asked for; beyond it a site would have no traffic of its own.
pub const ATTACK_SHARE_MAX: f64 = 0.99;

/// Longest period in days: ten years, far beyond any window of the detector.
pub const DAYS_MAX: f64 = 3660.0;

/// Most logins per person and day: one a minute.
pub const LOGINS_MAX: f64 = 1440.0;

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct TrafficOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// Time of the first possible attempt.
    pub start: Timestamp,
    /// Length of the period in days; fractions are fine, nothing is generated for zero or less, and no more than
    /// [`DAYS_MAX`].
    pub days: f64,
    /// Accounts of people.
    pub users: u32,
    /// Share of the attempts that are attacks, clamped to 0 … [`ATTACK_SHARE_MAX`].
    pub attack_share: f64,
    /// Attack scenarios to play; naming one twice changes nothing.
    pub scenarios: Vec<Scenario>,
    /// How hard attackers are to tell from users.
    pub profile: Profile,
    /// Average logins per person and day, before slips and stale devices add to them; at most [`LOGINS_MAX`].
    pub mean_logins_per_user_day: f64,
    /// Whether every record gets a `request_id`.
    pub request_ids: bool,
}

impl Default for TrafficOptions {
    /// Two weeks of 1500 people in the hard profile, 15 % attacks: about 230 000 attempts.
    fn default() -> Self {
        Self {
            seed: 1,
            // Monday, 5 January 2026, midnight UTC.
            start: Timestamp::from_millis(1_767_571_200_000),
            days: 14.0,
            users: 1500,
            attack_share: 0.15,
            scenarios: Scenario::ALL.to_vec(),
            profile: Profile::Hard,
            mean_logins_per_user_day: 8.5,
            request_ids: true,
        }
    }
}

/// Generates the traffic, sorted by time, with `label`, `scenario` and (for attacks) `campaign` set.
///
/// `username` is the name as typed, `password_hash` an opaque tag of 16 hexadecimal digits. `country` and `asn`
/// follow from the address range. There is no user agent and no client id: mail protocols have none before a login. The share of attacks is met unless no scenario is named or there is no legitimate traffic.
pub fn generate(options: &TrafficOptions) -> Vec<AttemptRecord> {
    let start = options.start.millis();
    let length = (bounded(options.days, DAYS_MAX) * DAY_MS as f64) as i64;
    if length == 0 {
        return Vec::new();
    }
    let window = Window { start, end: start.saturating_add(length) };
    let site = Site::new(options.seed, options.users, options.profile, window);
    let mut drafts = legit::play(&site, bounded(options.mean_logins_per_user_day, LOGINS_MAX));
    let mut scenarios = options.scenarios.clone();
    scenarios.sort_unstable();
    scenarios.dedup();
    let share = bounded(options.attack_share, ATTACK_SHARE_MAX);
    let attempts = (drafts.len() as f64 * share / (1.0 - share) + 0.5) as usize;
    drafts.extend(attacks::play(&site, &scenarios, attempts));
    // A total order, so that the order in which people and campaigns were played does not show.
    drafts.sort_by(|a, b| (a.at, a.ip, &a.name, a.tag, a.protocol).cmp(&(b.at, b.ip, &b.name, b.tag, b.protocol)));
    let mut previous = i64::MIN;
    let mut nth = 0u32;
    drafts
        .into_iter()
        .map(|draft| {
            nth = if draft.at == previous { nth + 1 } else { 0 };
            previous = draft.at;
            let request_id = options.request_ids.then(|| request_id(options.seed, &draft, nth));
            record(draft, request_id)
        })
        .collect()
}

/// `value` between 0 and `most`; what is not a number is 0 (`clamp` would pass it on).
fn bounded(value: f64, most: f64) -> f64 {
    if value > 0.0 { value.min(most) } else { 0.0 }
}

/// An id that tells nothing about the label; `nth`: number of the attempt within its millisecond.
fn request_id(seed: u64, draft: &Draft, nth: u32) -> String {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(draft.at.to_le_bytes());
    hasher.update(nth.to_le_bytes());
    hasher.update(draft.name.as_bytes());
    hex::encode(&hasher.finalize()[..12])
}

fn record(draft: Draft, request_id: Option<String>) -> AttemptRecord {
    let (label, scenario, campaign) = match draft.origin {
        Origin::Legit(habit) => ("legit", habit.name(), None),
        Origin::Attack(scenario, number) => ("attack", scenario.name(), Some(format!("{scenario}-{number:04}"))),
    };
    AttemptRecord {
        ts: Some(Timestamp::from_millis(draft.at).to_string()),
        client_ip: Some(draft.ip.to_string()),
        username: Some(draft.name),
        success: Some(draft.success),
        protocol: Some(draft.protocol.to_string()),
        request_id,
        password_hash: Some(draft.tag.hex()),
        user_found: Some(draft.user_found),
        country: Some(networks::country(draft.ip).to_string()),
        asn: Some(Asn::Number(networks::asn(draft.ip))),
        label: Some(label.to_string()),
        scenario: Some(scenario.to_string()),
        campaign,
        ..AttemptRecord::default()
    }
}
