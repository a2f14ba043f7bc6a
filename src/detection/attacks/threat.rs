//! How threatened the site is, 0–1: steps from what was found, up at once, down only after a while.
//!
//! A pure function of signals, the state before, and the time. Steps are taken only where there is evidence; who gathered
//! it stands in the other files of this folder.

use serde::{Deserialize, Serialize};

use super::AttackOptions;
use super::accounts::AccountReport;
use super::baseline::Spike;
use super::countries::CountryReport;
use super::spray::SprayReport;
use super::windows::{Metrics, ratio};
use crate::detection::attempt::Timestamp;
use crate::numeric::exp;

/// The levels that settings follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThreatLevel {
    /// Below 0.5.
    #[default]
    None,
    /// From 0.5.
    Moderate,
    /// From 0.7.
    High,
    /// From 0.9.
    Severe,
}

impl ThreatLevel {
    /// The level of a threat of 0–1.
    pub fn of(threat: f64) -> Self {
        match threat {
            threat if threat >= 0.9 => Self::Severe,
            threat if threat >= 0.7 => Self::High,
            threat if threat >= 0.5 => Self::Moderate,
            _ => Self::None,
        }
    }

    /// The word that the outside sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Moderate => "moderate",
            Self::High => "high",
            Self::Severe => "severe",
        }
    }
}

/// What speaks for an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// Strangers fail from many networks for each account.
    NetworksPerUser,
    /// Strangers fail from more networks than is usual at this time.
    Spike,
    /// Accounts are attacked from many networks.
    AttackedAccounts,
    /// One password or one network goes over many accounts.
    Spray,
    /// A country's share of failing accounts has jumped.
    Country,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Signal {
    /// What speaks.
    pub kind: SignalKind,
    /// The threat that it stands for, 0–1.
    pub threat: f64,
    /// The newest event behind it, milliseconds since the epoch.
    pub evidence_ms: i64,
}

/// What was found at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Findings {
    /// The last hour.
    pub hour: Metrics,
    /// Attacked accounts, worst first.
    pub accounts: Vec<AccountReport>,
    /// Sprays, worst first.
    pub sprays: Vec<SprayReport>,
    /// Countries whose share has jumped, the most surprising first.
    pub countries: Vec<CountryReport>,
    /// The last hour against the usual; `None` while there is no baseline.
    pub spike: Option<Spike>,
    /// The newest failure of a stranger, if there was one.
    pub newest_failure: Option<Timestamp>,
}

/// What the findings stand for. Steps by networks per user, growth and attacked accounts as the original had them
/// (0.6/0.8, 0.7/0.9, 0.7); a spray 0.7; a country alone 0.5.
pub fn signals(found: &Findings, options: &AttackOptions) -> Vec<Signal> {
    let mut signals = Vec::new();
    let mut add = |kind, threat, evidence: Option<Timestamp>| {
        if let (true, Some(evidence)) = (threat > 0.0, evidence) {
            signals.push(Signal { kind, threat, evidence_ms: evidence.millis() });
        }
    };
    let step = |value: f64, [low, high]: [f64; 2], [lower, upper]: [f64; 2]| match value {
        value if value > high => upper,
        value if value > low => lower,
        _ => 0.0,
    };
    if found.hour.strange_networks >= options.ratio_networks_min {
        let networks_per_user = ratio(found.hour.strange_networks, found.hour.strange_users);
        add(SignalKind::NetworksPerUser, step(networks_per_user, [5.0, 10.0], [0.6, 0.8]), found.newest_failure);
    }
    if let Some(spike) = found.spike.filter(|spike| spike.evident(options)) {
        add(SignalKind::Spike, step(spike.growth, [0.5, 1.0], [0.7, 0.9]), found.newest_failure);
    }
    add(SignalKind::AttackedAccounts, 0.7, found.accounts.iter().map(|report| report.evidence).max());
    add(SignalKind::Spray, 0.7, found.sprays.iter().map(|report| report.evidence).max());
    add(SignalKind::Country, 0.5, found.countries.iter().map(|report| report.evidence).max());
    signals
}

/// The threat as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Threat {
    /// 0–1.
    pub threat: f64,
    /// Since when less was found than this, in milliseconds since the epoch.
    below_since: Option<i64>,
    /// Until when it has fallen.
    fallen_until: i64,
}

impl Threat {
    /// The level that it is.
    pub fn level(self) -> ThreatLevel {
        ThreatLevel::of(self.threat)
    }

    /// The threat after nobody has watched since `watched`: if it is less by now, it has been since then. Numbers that cannot
    /// be are none.
    pub fn resumed(self, watched: Timestamp) -> Self {
        let watched = watched.millis();
        let threat = if (0.0..=1.0).contains(&self.threat) { self.threat } else { 0.0 };
        let below_since = Some(self.below_since.unwrap_or(watched).min(watched));
        Self { threat, below_since, fallen_until: self.fallen_until.min(watched) }
    }

    /// What follows when `found` (0–1) is found at `now`: more counts at once. Less counts after it has stayed less for
    /// `threat_hold_s`; then the threat falls by half of the difference in each `threat_half_life_s`. How often this is
    /// called makes no difference.
    pub fn next(self, found: f64, now: Timestamp, options: &AttackOptions) -> Self {
        let found = if found.is_nan() { 0.0 } else { found.clamp(0.0, 1.0) };
        let now = now.millis();
        if found >= self.threat {
            return Self { threat: found, below_since: None, fallen_until: now };
        }
        let below_since = self.below_since.unwrap_or(now).min(now);
        let start = below_since.saturating_add(i64::from(options.threat_hold_s) * 1000).max(self.fallen_until);
        let held = Self { threat: self.threat, below_since: Some(below_since), fallen_until: self.fallen_until };
        if now <= start {
            return held;
        }
        let half_lives = (now - start) as f64 / 1000.0 / f64::from(options.threat_half_life_s.max(1));
        let threat = found + (self.threat - found) * exp(-std::f64::consts::LN_2 * half_lives);
        let threat = if threat - found < 0.01 { found } else { threat };
        Self { threat, fallen_until: now, ..held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
    }

    fn threat(found: &Findings) -> f64 {
        signals(found, &AttackOptions::default()).iter().map(|signal| signal.threat).fold(0.0, f64::max)
    }

    #[test]
    fn levels_begin_where_they_should() {
        for (threat, level) in [(0.0, "none"), (0.49, "none"), (0.5, "moderate"), (0.7, "high"), (0.9, "severe")] {
            assert_eq!(ThreatLevel::of(threat).as_str(), level, "{threat}");
        }
    }

    #[test]
    fn steps_are_taken_only_where_there_is_evidence() {
        let of = |networks, users| Findings {
            hour: Metrics { strange_networks: networks, strange_users: users, ..Metrics::default() },
            newest_failure: Some(at(0)),
            ..Findings::default()
        };
        assert_eq!(threat(&of(29, 1)), 0.0, "too few");
        assert_eq!([threat(&of(30, 6)), threat(&of(36, 6)), threat(&of(66, 6))], [0.0, 0.6, 0.8]);

        let spike = |observed, surprise, growth| Findings {
            spike: Some(Spike { observed, expected: 1.0, surprise, growth }),
            newest_failure: Some(at(0)),
            ..Findings::default()
        };
        assert_eq!([threat(&spike(29, 9.0, 3.0)), threat(&spike(100, 5.9, 3.0))], [0.0, 0.0]);
        assert_eq!(
            [threat(&spike(100, 6.0, 0.5)), threat(&spike(100, 6.0, 0.6)), threat(&spike(100, 6.0, 1.1))],
            [0.0, 0.7, 0.9]
        );
        assert_eq!(threat(&Findings::default()), 0.0);
    }

    #[test]
    fn it_rises_at_once_holds_and_then_falls_by_half_lives() {
        let options = AttackOptions::default();
        let up = Threat::default().next(0.8, at(0), &options);
        assert_eq!(up.threat, 0.8);

        let quiet = up.next(0.0, at(10), &options);
        assert_eq!(quiet.next(0.0, at(910), &options).threat, 0.8, "held");
        let half = quiet.next(0.0, at(1510), &options);
        assert!((half.threat - 0.4).abs() < 1e-9, "{half:?}");
        assert_eq!(half.next(0.0, at(6000), &options).threat, 0.0);

        let again = quiet.next(0.8, at(500), &options).next(0.0, at(600), &options);
        assert_eq!(again.next(0.0, at(1490), &options).threat, 0.8, "the hold begins anew");
    }

    #[test]
    fn how_often_it_is_asked_makes_no_difference() {
        let options = AttackOptions::default();
        let start = Threat::default().next(0.9, at(0), &options).next(0.1, at(1), &options);
        let mut often = start;
        for second in 2..=2000 {
            often = often.next(0.1, at(second), &options);
        }

        assert!((often.threat - start.next(0.1, at(2000), &options).threat).abs() < 1e-9);
    }

    #[test]
    fn neither_nonsense_nor_a_clock_that_goes_back_breaks_it() {
        let options = AttackOptions::default();
        let up = Threat::default().next(7.0, at(0), &options);
        assert_eq!(up.threat, 1.0);
        let back = up.next(f64::NAN, at(-5000), &options).next(0.0, at(-10_000), &options);
        assert_eq!(back.threat, 1.0);
    }
}
