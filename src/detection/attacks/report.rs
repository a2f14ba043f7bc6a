//! How threatened the site was, hour by hour, and summed up for a day, a week and a month.
//!
//! Plain values; who formats and delivers them does not stand here. Merging takes the greater of each number: nodes watch
//! the same site, so adding theirs would count everything twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::threat::ThreatLevel;
use super::windows::hour_of;
use crate::detection::activity::HOUR_MS;
use crate::detection::attempt::Timestamp;

/// Hours kept: a month of 31 days.
pub const HOURS_KEPT: usize = 31 * 24;

/// What a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// The last 24 hours.
    Daily,
    /// The last seven days.
    Weekly,
    /// The last 31 days.
    Monthly,
}

impl Period {
    /// Its length in hours.
    pub const fn hours(self) -> i64 {
        match self {
            Self::Daily => 24,
            Self::Weekly => 7 * 24,
            Self::Monthly => HOURS_KEPT as i64,
        }
    }
}

/// One hour.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Hour {
    max: f64,
    /// Threat times seconds, and the seconds.
    weighted: f64,
    seconds: f64,
    moderate: u32,
    high: u32,
    severe: u32,
    attempts: u64,
    failures: u64,
}

/// The summary of a period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Report {
    /// Which period.
    pub period: Period,
    /// Hours of it that anything is known about.
    pub hours: u32,
    /// Highest threat, 0–1.
    pub max_threat_level: f64,
    /// Mean threat over the time watched, 0–1.
    pub avg_threat_level: f64,
    /// How often the threat rose into another level: the sum of the next three.
    pub event_count: u32,
    /// How often it became severe.
    pub severe_events: u32,
    /// How often it became high.
    pub high_events: u32,
    /// How often it became moderate.
    pub moderate_events: u32,
    /// Attempts.
    pub attempts: u64,
    /// Attempts that failed.
    pub failures: u64,
}

/// The hours of a month.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreatLog {
    hours: BTreeMap<i64, Hour>,
    last: Option<(i64, f64)>,
}

impl ThreatLog {
    /// Notes the threat at `now`, and what the hour of `now` has seen so far. A threat counts from when it was noted last,
    /// but for an hour at most: for longer nobody watched.
    pub fn note(&mut self, now: Timestamp, threat: f64, attempts: u64, failures: u64) {
        let before = self.last.filter(|&(ts, _)| ts <= now.millis());
        let entry = self.hours.entry(hour_of(now)).or_default();
        entry.max = entry.max.max(threat);
        entry.attempts = entry.attempts.max(attempts);
        entry.failures = entry.failures.max(failures);
        if let Some((ts, held)) = before {
            let seconds = now.millis().saturating_sub(ts).min(HOUR_MS) as f64 / 1000.0;
            entry.weighted += held * seconds;
            entry.seconds += seconds;
        }
        let (was, is) = (ThreatLevel::of(before.map_or(0.0, |before| before.1)), ThreatLevel::of(threat));
        if is > was {
            match is {
                ThreatLevel::Severe => entry.severe += 1,
                ThreatLevel::High => entry.high += 1,
                ThreatLevel::Moderate | ThreatLevel::None => entry.moderate += 1,
            }
        }
        self.last = Some((now.millis(), threat));
        while self.hours.len() > HOURS_KEPT {
            self.hours.pop_first();
        }
    }

    /// Takes over what another node, or this one before its restart, has noted up to the hour of `now`. Numbers that are
    /// none are left out.
    pub fn merge(&mut self, other: &Self, now: Timestamp) {
        let sound = |hour: &Hour| [hour.max, hour.weighted, hour.seconds].iter().all(|x| x.is_finite() && *x >= 0.0);
        for (&number, theirs) in other.hours.range(..=hour_of(now)).filter(|(_, hour)| sound(hour)) {
            let ours = self.hours.entry(number).or_default();
            ours.max = ours.max.max(theirs.max.min(1.0));
            // Whoever watched longer knows the mean better; of equals the one who saw more.
            if (theirs.seconds, theirs.weighted) > (ours.seconds, ours.weighted) {
                (ours.seconds, ours.weighted) = (theirs.seconds, theirs.weighted.min(theirs.seconds));
            }
            ours.moderate = ours.moderate.max(theirs.moderate);
            ours.high = ours.high.max(theirs.high);
            ours.severe = ours.severe.max(theirs.severe);
            ours.attempts = ours.attempts.max(theirs.attempts);
            ours.failures = ours.failures.max(theirs.failures);
        }
        while self.hours.len() > HOURS_KEPT {
            self.hours.pop_first();
        }
    }

    /// Takes over until when `other`, this node before its restart, watched which threat, so that the threat that goes on is no
    /// rise. Returns that time; `None` where it is not known, or lies after `now`.
    pub fn resume(&mut self, other: &Self, now: Timestamp) -> Option<Timestamp> {
        let (ts, threat) = other.last.filter(|&(ts, threat)| ts <= now.millis() && (0.0..=1.0).contains(&threat))?;
        self.last = Some((ts, threat));
        Some(Timestamp::from_millis(ts))
    }

    /// Sums up the period that ends with the hour of `now`.
    pub fn report(&self, period: Period, now: Timestamp) -> Report {
        let last = hour_of(now);
        let hours = || self.hours.range(last - period.hours() + 1..=last).map(|(_, hour)| hour);
        let count = |of: fn(&Hour) -> u32| hours().map(of).fold(0, u32::saturating_add);
        let sum = |of: fn(&Hour) -> u64| hours().map(of).fold(0, u64::saturating_add);
        let (severe, high, moderate) =
            (count(|hour| hour.severe), count(|hour| hour.high), count(|hour| hour.moderate));
        let seconds: f64 = hours().map(|hour| hour.seconds).sum();
        let weighted: f64 = hours().map(|hour| hour.weighted).sum();
        Report {
            period,
            hours: hours().count() as u32,
            max_threat_level: hours().map(|hour| hour.max).fold(0.0, f64::max),
            avg_threat_level: if seconds > 0.0 { weighted / seconds } else { 0.0 },
            event_count: severe.saturating_add(high).saturating_add(moderate),
            severe_events: severe,
            high_events: high,
            moderate_events: moderate,
            attempts: sum(|hour| hour.attempts),
            failures: sum(|hour| hour.failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
    }

    /// A quiet quarter of an hour, one at 0.8, one at 0.95, one that falls back to 0.6, then none.
    fn log(start: i64) -> ThreatLog {
        let mut log = ThreatLog::default();
        for (minute, threat) in [(0, 0.0), (15, 0.8), (30, 0.95), (45, 0.6), (59, 0.0)] {
            log.note(at(start + minute * 60), threat, minute as u64 * 10, minute as u64);
        }
        log
    }

    #[test]
    fn a_report_counts_rises_and_weighs_by_time() {
        let report = log(0).report(Period::Daily, at(3599));

        assert_eq!(
            (report.severe_events, report.high_events, report.moderate_events, report.event_count),
            (1, 1, 0, 2)
        );
        assert_eq!((report.max_threat_level, report.attempts, report.failures, report.hours), (0.95, 590, 59, 1));
        let mean = (15.0 * 0.8 + 15.0 * 0.95 + 14.0 * 0.6) / 59.0;
        assert!((report.avg_threat_level - mean).abs() < 1e-9, "{report:?}");
    }

    #[test]
    fn each_period_reaches_as_far_back_as_it_says() {
        let log = log(0);
        let severe = |period, seconds| log.report(period, at(seconds)).severe_events;

        assert_eq!((severe(Period::Daily, 24 * 3600 - 1), severe(Period::Daily, 24 * 3600)), (1, 0));
        assert_eq!((severe(Period::Weekly, 7 * 86_400 - 1), severe(Period::Weekly, 7 * 86_400)), (1, 0));
        assert_eq!((severe(Period::Monthly, 31 * 86_400 - 1), severe(Period::Monthly, 31 * 86_400)), (1, 0));
        assert_eq!(ThreatLog::default().report(Period::Daily, at(0)).avg_threat_level, 0.0);
    }

    #[test]
    fn merging_commutes_counts_nothing_twice_and_survives_storage() {
        let (one, two) = (log(0), log(1800));
        let (mut ab, mut ba) = (one.clone(), two.clone());
        ab.merge(&two, at(7200));
        ab.merge(&two, at(7200));
        ba.merge(&one, at(7200));
        let stored: ThreatLog = serde_json::from_str(&serde_json::to_string(&ab).unwrap()).unwrap();

        assert_eq!(ab.hours, ba.hours);
        assert_eq!(stored, ab);
        assert_eq!(ab.report(Period::Daily, at(3599)).attempts, 590);
    }

    #[test]
    fn no_more_than_a_month_is_kept() {
        let mut log = ThreatLog::default();
        (0..2000).for_each(|hour| log.note(at(hour * 3600), 0.0, 1, 0));

        assert_eq!(log.hours.len(), HOURS_KEPT);
    }
}
