//! All of it together: what one node tells about every login, and what it asks.
//!
//! The counting methods cost about a microsecond and belong under the lock of the tracker or one of their own;
//! [`AttackMonitor::assess`] looks at everything and belongs into a task.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::accounts::Accounts;
use super::baseline::Baseline;
use super::countries::Countries;
use super::hash::Keyed;
use super::spray::Spray;
use super::threat::{Findings, Signal, Threat, ThreatLevel, signals};
use super::windows::{HourMetrics, Metrics, Windows, hour_of};
use super::{AccountId, AccountReport, AttackOptions, Period, Protection, Report, Settings, Stance, ThreatLog};
use crate::detection::attempt::{Attempt, Outcome, Timestamp, client_network};
use crate::detection::client::{Country, Region};

/// Attacked accounts, and sprays, that one assessment tells of.
const FOUND_MAX: usize = 256;
/// How often old entries are forgotten, in time of `assess`.
const PRUNE_MS: i64 = 600_000;

/// What stands at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// The threat, 0–1: smoothed downwards, see [`Threat::next`].
    pub threat: f64,
    /// Its level.
    pub level: ThreatLevel,
    /// Whether the level is higher than it was at the last assessment: the moment to tell somebody.
    pub risen: bool,
    /// What speaks for an attack right now.
    pub signals: Vec<Signal>,
    /// What that is made of.
    pub findings: Findings,
    /// The settings in force.
    pub settings: Settings,
}

/// What a node keeps of its watch over a restart. What happened lately is not in it: that is counted again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// The hours of the last week.
    pub hours: Vec<HourMetrics>,
    /// What of them is usual.
    pub baseline: Baseline,
    /// The threat of a month.
    pub log: ThreatLog,
    /// The threat as it stood.
    pub threat: Threat,
    /// The measures in force.
    pub protection: Protection,
}

/// How much is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MonitorStats {
    /// Accounts at which strangers failed.
    pub accounts: usize,
    /// Of these, how many had to go because of the cap since the start.
    pub accounts_evicted: u64,
    /// Password tags of failures.
    pub tags: usize,
    /// Networks with outcomes.
    pub networks: usize,
    /// Estimated bytes of everything.
    pub bytes: usize,
}

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct AttackMonitor {
    options: AttackOptions,
    hash: Keyed,
    windows: Windows,
    accounts: Accounts,
    spray: Spray,
    countries: Countries,
    baseline: Baseline,
    newest_failure: Option<Timestamp>,
    threat: Threat,
    log: ThreatLog,
    protection: Protection,
    pruned: Option<Timestamp>,
}

impl AttackMonitor {
    /// Nothing has happened yet. `key` must be secret and the same on all nodes of a fleet.
    pub fn new(options: AttackOptions, key: [u64; 2]) -> Self {
        Self {
            options,
            hash: Keyed::new(key),
            windows: Windows::default(),
            accounts: Accounts::default(),
            spray: Spray::default(),
            countries: Countries::default(),
            baseline: Baseline::default(),
            newest_failure: None,
            threat: Threat::default(),
            log: ThreatLog::default(),
            protection: Protection::default(),
            pruned: None,
        }
    }

    /// Changes the thresholds; caps take effect with what comes next.
    pub fn set_options(&mut self, options: AttackOptions) {
        self.options = options;
    }

    /// The thresholds.
    pub fn options(&self) -> &AttackOptions {
        &self.options
    }

    /// Counts an attempt, once, whatever becomes of it. Look-ups without a password are counted nowhere.
    pub fn attempt(&mut self, attempt: &Attempt) {
        if !attempt.no_auth {
            let account = AccountId::from(attempt.user);
            self.windows.attempt(attempt.ts, self.hash.ip(attempt.client_ip), self.hash.number(account.number()));
            if let Some(region) = attempt.client.region() {
                self.countries.attempt(attempt.ts, region);
            }
        }
    }

    /// Counts what became of an attempt, once. `at_home`: the user is known from this network
    /// ([`known_good`](crate::detection::activity::Activity::known_good) or
    /// [`at_home`](crate::detection::activity::Activity::at_home) before this outcome); failures there are the owner's own
    /// and held against nobody. Unknown outcomes and blocked attempts say nothing about a password and are no evidence.
    pub fn outcome(&mut self, attempt: &Attempt, outcome: Outcome, at_home: bool) {
        if attempt.no_auth {
            return;
        }
        let (ts, account, network) = (attempt.ts, AccountId::from(attempt.user), client_network(attempt.client_ip));
        let hashed = self.hash.number(account.number());
        match outcome {
            Outcome::Unknown | Outcome::Blocked => {}
            Outcome::Success => {
                self.accounts.success(ts, account, network);
                self.spray.success(ts, account, network, &self.options);
                self.windows.success(ts, hashed);
                if let Some(region) = attempt.client.region() {
                    self.countries.success(ts, region);
                }
            }
            Outcome::Failure if at_home => self.windows.failure(ts, None),
            Outcome::Failure => {
                self.windows.failure(ts, Some((self.hash.ip(network), hashed)));
                // What a reset has ended may still be told by a node that was slow.
                if self.protection.reset_at().is_some_and(|reset| ts <= reset) {
                    return;
                }
                let tag = attempt.password.map(|tag| tag.0);
                if self.protection.account_reset(account).is_none_or(|reset| ts > reset) {
                    self.accounts.failure(ts, account, network, tag, self.options.accounts_bytes_max);
                }
                self.spray.failure(ts, account, network, tag, &self.options);
                if let Some(region) = attempt.client.region() {
                    self.countries.failure(ts, region, hashed);
                }
                self.newest_failure = self.newest_failure.max(Some(ts));
            }
        }
    }

    /// Whether a stranger's failure that was counted just now belongs to an attack on one account or to a spray, against which
    /// no measure holds yet: reason not to wait with [`AttackMonitor::assess`]. Looks at this account, password and network
    /// only.
    pub fn alarming(&self, attempt: &Attempt) -> bool {
        let (now, options) = (attempt.ts, &self.options);
        let (account, network) = (AccountId::from(attempt.user), client_network(attempt.client_ip));
        let attacked = || self.accounts.report(account, now, options).is_some_and(|report| report.attacked());
        let spraying = || self.spray.condemns(network, attempt.password.map(|tag| tag.0), now, options);
        (!self.protection.account_protected(account, now, options) && attacked())
            || (!self.protection.limited(network, now, options) && spraying())
    }

    /// Judges what was counted, moves the threat, takes and ends measures, and writes the log. `now` is the time of the
    /// newest events: the node's clock when live, event time in a replay.
    pub fn assess(&mut self, now: Timestamp) -> Assessment {
        self.prune(now);
        let findings = self.findings(now);
        let reset = self.protection.reset_at().map_or(i64::MIN, Timestamp::millis);
        let mut signals = signals(&findings, &self.options);
        signals.retain(|signal| signal.evidence_ms > reset);
        let found = signals.iter().map(|signal| signal.threat).fold(0.0, f64::max);
        self.baseline.note(&self.windows, now, ThreatLevel::of(found) > ThreatLevel::None, &self.options);
        self.countries.note(&findings.countries, now);
        let before = self.threat.level();
        self.threat = self.threat.next(found, now, &self.options);
        let (spray, most) = (&self.spray, self.options.shared_network_accounts);
        let shared = |network: IpAddr| spray.users_of(network, now) >= most;
        self.protection.update(&signals, &findings, shared, now, &self.options);
        let hour = self.windows.hour(hour_of(now)).unwrap_or_default();
        self.log.note(now, self.threat.threat, hour.attempts, hour.failures);
        let level = self.threat.level();
        let settings = self.protection.settings(now, &self.options);
        Assessment { threat: self.threat.threat, level, risen: level > before, signals, findings, settings }
    }

    /// What is suspicious at `now`, without any effect.
    pub fn findings(&self, now: Timestamp) -> Findings {
        Findings {
            hour: self.windows.window(now, 3600),
            accounts: self.accounts.attacked(now, &self.options, FOUND_MAX),
            sprays: self.spray.found(now, &self.options, FOUND_MAX),
            countries: self.countries.found(now, &self.options),
            spike: self.baseline.spike(&self.windows, now, &self.options),
            newest_failure: self.newest_failure,
        }
    }

    fn prune(&mut self, now: Timestamp) {
        if self.pruned.is_none_or(|pruned| now >= pruned.plus_millis(PRUNE_MS)) {
            self.accounts.prune(now);
            self.spray.prune(now);
            self.pruned = Some(now);
        }
    }

    /// What protection asks for a login; see [`Protection::stance`].
    pub fn stance(
        &self,
        now: Timestamp,
        ip: IpAddr,
        account: AccountId,
        region: Option<Region>,
        known_good: bool,
    ) -> Stance {
        self.protection.stance(now, ip, account, region, known_good, &self.options)
    }

    /// The last `seconds`, one of [`WINDOWS_S`](super::WINDOWS_S).
    pub fn window(&self, now: Timestamp, seconds: u32) -> Metrics {
        self.windows.window(now, seconds)
    }

    /// The hours of the last week.
    pub fn history(&self, now: Timestamp) -> Vec<HourMetrics> {
        self.windows.history(now)
    }

    /// Attempts of the last day by country, the most first. Attempts of unknown countries count nowhere.
    pub fn countries(&self, now: Timestamp) -> Vec<(Country, u64)> {
        self.countries.attempts(now)
    }

    /// What is held against one account, attacked or not; `None` when no stranger failed there lately.
    pub fn account(&self, account: AccountId, now: Timestamp) -> Option<AccountReport> {
        self.accounts.report(account, now, &self.options)
    }

    /// The threat as of the last assessment.
    pub fn threat(&self) -> Threat {
        self.threat
    }

    /// The measures.
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// The threat hour by hour.
    pub fn log(&self) -> &ThreatLog {
        &self.log
    }

    /// The summary of a period.
    pub fn report(&self, period: Period, now: Timestamp) -> Report {
        self.log.report(period, now)
    }

    /// Takes over what another node shares. What a reset there has ended speaks for nothing here, too.
    pub fn merge(&mut self, protection: &Protection, now: Timestamp) {
        let before = self.protection.reset_at();
        for (account, reset) in self.protection.merge(protection, now, &self.options) {
            self.accounts.forget(account, reset);
        }
        if let Some(reset) = self.protection.reset_at().filter(|reset| Some(*reset) > before) {
            self.forget_before(reset);
        }
    }

    /// What this node needs to go on after a restart besides what it can count again.
    pub fn kept(&self, now: Timestamp) -> Kept {
        Kept {
            hours: self.history(now),
            baseline: self.baseline.clone(),
            log: self.log.clone(),
            threat: self.threat,
            protection: self.protection.clone(),
        }
    }

    /// Takes over what this node kept over a restart, before it counts anything. What happened lately is not kept: it is
    /// counted again.
    pub fn restore(&mut self, kept: &Kept, now: Timestamp) {
        self.windows.restore(&kept.hours, now);
        self.baseline.restore(&kept.baseline, now);
        self.log.merge(&kept.log, now);
        self.merge(&kept.protection, now);
        if let Some(watched) = self.log.resume(&kept.log, now) {
            self.threat = kept.threat.resumed(watched);
        }
    }

    /// Ends all measures and the threat. What is counted stays, but only what happens after `now` speaks, also on nodes that
    /// hear of the reset by [`AttackMonitor::merge`].
    pub fn reset_protection(&mut self, now: Timestamp) {
        self.protection.reset_protection(now);
        self.forget_before(now);
    }

    fn forget_before(&mut self, reset: Timestamp) {
        self.threat = Threat::default();
        self.accounts.forget_all(reset);
        self.spray.forget_failures(reset);
        self.countries.forget_failures(reset);
        self.windows.reset(reset);
        self.newest_failure = self.newest_failure.filter(|newest| *newest > reset);
    }

    /// Ends the measures for one account and forgets what was held against it: for a day, attempts from before `now` count
    /// for nothing, also on nodes that hear of the reset by [`AttackMonitor::merge`].
    pub fn reset_account(&mut self, account: AccountId, now: Timestamp) {
        self.protection.reset_account(account, now);
        self.accounts.forget(account, now);
    }

    /// How much is held.
    pub fn stats(&self) -> MonitorStats {
        let (accounts, account_bytes, accounts_evicted) = self.accounts.stats();
        let (tags, networks, spray_bytes) = self.spray.stats();
        let bytes = account_bytes + spray_bytes + self.windows.bytes() + self.countries.bytes();
        MonitorStats { accounts, accounts_evicted, tags, networks, bytes }
    }
}
