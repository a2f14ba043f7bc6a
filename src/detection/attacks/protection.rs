//! What is done against an attack, until when, and what that means for one login.
//!
//! A measure is remembered as the time of the newest event that speaks for it, and holds a fixed time from then on. So
//! traffic alone never prolongs it, nodes that saw the same events agree, and merging two nodes' states is taking the
//! newer of each: it commutes. A reset is a time too: what happened before it speaks for nothing any more.
//!
//! Networks stand for addresses: whoever owns one address of a /64 owns them all. Everything is bounded; over a cap the
//! measures with the oldest evidence go. Nothing here counts requests or sends anything.

mod state;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use serde::Serialize;
pub use state::Protection;

use super::threat::{Findings, Signal, ThreatLevel};
use super::{AccountId, AttackOptions};
use crate::detection::attempt::{Timestamp, client_network};
use crate::detection::client::Region;

/// Why a login is treated as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Many networks guess at this account.
    AccountUnderAttack,
    /// The whole site is under severe attack.
    SiteUnderAttack,
    /// The country, or the part of it, is blocked for as long as the attack lasts.
    BlockedRegion,
    /// The network takes part in an attack.
    RateLimited,
}

/// What protection asks for one login. Without any measure it is the default: nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Stance {
    /// Ask for more than a password.
    pub step_up: bool,
    /// Refuse it.
    pub block: bool,
    /// How long this client should wait before its next try, in seconds.
    pub retry_after_s: Option<u32>,
    /// The threshold for blocking is at most this. It never raises one.
    pub threshold_cap: Option<f64>,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// The settings as the outside sees them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Every stranger needs a second proof.
    pub captcha_enabled: bool,
    /// Every stranger is asked to wait between tries.
    pub rate_limit_enabled: bool,
    /// Somebody should look.
    pub monitoring_mode: bool,
    /// What the threshold for blocking is lowered to.
    pub ml_threshold: Option<f64>,
}

impl Protection {
    /// Takes the measures that the signals stand for: from *moderate* on, monitoring; from *high* on, attacked accounts
    /// need a second proof and the networks that do it are told to wait; *severe*, all strangers, a lower threshold, and
    /// regions that may be blocked are. Networks in `shared` stay out.
    pub fn update(
        &mut self,
        signals: &[Signal],
        found: &Findings,
        shared: impl Fn(IpAddr) -> bool,
        now: Timestamp,
        options: &AttackOptions,
    ) {
        let evidence = |least: ThreatLevel| {
            let strong = signals.iter().filter(|signal| ThreatLevel::of(signal.threat) >= least);
            strong.map(|signal| Timestamp::from_millis(signal.evidence_ms)).max()
        };
        if let Some(ts) = evidence(ThreatLevel::Moderate) {
            self.monitor(ts);
        }
        for report in &found.accounts {
            self.protect_account(report.account, report.evidence);
            let sources = report.sources.iter().copied().filter(|&network| !shared(network));
            sources.for_each(|network| self.limit(network, report.evidence));
        }
        for report in &found.sprays {
            let networks = report.networks.iter().copied().filter(|&network| !shared(network));
            networks.for_each(|network| self.limit(network, report.evidence));
        }
        if let Some(ts) = evidence(ThreatLevel::Severe) {
            self.protect_site(ts);
            found.countries.iter().filter(|report| report.blockable).for_each(|report| {
                self.block_region(report.region, report.evidence);
            });
        }
        self.expire(now, options);
    }

    /// What protection asks for a login from `ip` at `account`. Memory only; a look-up in each set. Users at networks where
    /// they are known (`known_good`) are never bothered.
    pub fn stance(
        &self,
        now: Timestamp,
        ip: IpAddr,
        account: AccountId,
        region: Option<Region>,
        known_good: bool,
        options: &AttackOptions,
    ) -> Stance {
        let mut stance = Stance::default();
        if known_good {
            return stance;
        }
        let settings = self.settings(now, options);
        if self.account_protected(account, now, options) {
            stance.step_up = true;
            stance.reasons.push(Reason::AccountUnderAttack);
        }
        if settings.captcha_enabled {
            stance.step_up = true;
            stance.reasons.push(Reason::SiteUnderAttack);
        }
        if region.is_some_and(|region| self.region_blocked(region, now, options)) {
            stance.block = true;
            stance.reasons.push(Reason::BlockedRegion);
        }
        let limited = self.limited(client_network(ip), now, options);
        if limited {
            stance.reasons.push(Reason::RateLimited);
        }
        if limited || settings.rate_limit_enabled {
            stance.retry_after_s = Some(options.retry_after_s);
        }
        stance.threshold_cap = settings.ml_threshold;
        stance
    }
}
