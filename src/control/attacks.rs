//! Commands about distributed attacks: what is going on, what was going on, ending measures, and trying the detection out.
//!
//! What is tried out is played on a stage of its own (`rehearsal`) and shows nowhere else.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::command::invalid;
use super::{ControlError, ControlHandle};
use crate::clock;
use crate::detection::attacks::{AccountId, Period, Settings};
use crate::detection::attempt::Timestamp;
use crate::detection::client::Region;
use crate::detection::record::USERNAME_MAX;
use crate::serving::attacks::{Attacks, network_shown};
use crate::serving::prior;

/// Most addresses of one simulation: as many networks are set aside for it.
pub const SIMULATED_IPS_MAX: usize = 500;
/// Addresses of a simulation for which nobody gives a number.
pub const SIMULATED_IPS_DEFAULT: usize = 20;

/// One request about distributed attacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttackCommand {
    /// Show what is going on.
    Metrics,
    /// End all measures in the fleet.
    ResetProtection,
    /// End the measures for one account in the fleet.
    ResetAccount {
        /// The account by its name.
        username: String,
    },
    /// Play an attack on the stage.
    Simulate(Simulation),
    /// Say whether an account is under attack, in earnest or on the stage.
    Check {
        /// The account by its name.
        username: String,
    },
    /// Play an attack on an empty stage and say whether it was detected.
    Test(Simulation),
    /// Sum up a period.
    Report {
        /// Which.
        period: Period,
    },
}

/// An attack to be played: one wrong password from each of some networks at one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    /// The account.
    pub username: String,
    /// Addresses, 1 to [`SIMULATED_IPS_MAX`], each in a network of its own.
    pub num_ips: usize,
    /// Where they are said to be: a country (`DE`) or a part of one (`DE-BY`).
    pub country_code: Option<String>,
}

impl AttackCommand {
    /// The name in metrics and in the audit trail.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Metrics => "attack_metrics",
            Self::ResetProtection => "reset_protection",
            Self::ResetAccount { .. } => "reset_account",
            Self::Simulate(_) => "simulate_attack",
            Self::Check { .. } => "check_detection",
            Self::Test(_) => "run_attack_test",
            Self::Report { .. } => "attack_report",
        }
    }

    /// Whether the command is audited.
    pub fn changes_something(&self) -> bool {
        !matches!(self, Self::Metrics | Self::Check { .. } | Self::Report { .. })
    }

    /// Checks the bounds of the arguments.
    ///
    /// # Errors
    /// The first argument out of bounds.
    pub fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::ResetAccount { username } | Self::Check { username } => check_name(username),
            Self::Simulate(simulation) | Self::Test(simulation) => {
                check_name(&simulation.username)?;
                if !(1..=SIMULATED_IPS_MAX).contains(&simulation.num_ips) {
                    return Err(invalid("num_ips", format!("must be a number from 1 to {SIMULATED_IPS_MAX}")));
                }
                match &simulation.country_code {
                    Some(code) if Region::from_code(code).is_none() => {
                        Err(invalid("country_code", "must be a country like DE, or a part of one like DE-BY"))
                    }
                    _ => Ok(()),
                }
            }
            Self::Metrics | Self::ResetProtection | Self::Report { .. } => Ok(()),
        }
    }
}

fn check_name(username: &str) -> Result<(), ControlError> {
    if username.trim().is_empty() || username.len() > USERNAME_MAX {
        return Err(invalid("username", format!("must have 1 to {USERNAME_MAX} bytes")));
    }
    Ok(())
}

/// What is detected about one account.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Detection {
    threat: f64,
    /// Networks that guess at it, if they are enough for an attack.
    networks: Option<u32>,
    settings: Settings,
    captcha: bool,
}

impl Detection {
    /// Judges now.
    pub(super) fn of(attacks: &Attacks, account: AccountId, now: Timestamp) -> Self {
        let assessment = attacks.assess(now);
        let networks = attacks.look(|monitor| {
            let report = monitor.account(account, now).filter(|report| report.attacked())?;
            Some(report.networks_hour.max(report.networks_day))
        });
        let standing = attacks.standing();
        let captcha = standing.protection().account_protected(account, now, standing.options());
        Self { threat: assessment.threat, networks, settings: assessment.settings, captcha }
    }

    fn detected(&self) -> bool {
        let Settings { captcha_enabled, rate_limit_enabled, monitoring_mode, .. } = self.settings;
        let measures = captcha_enabled || rate_limit_enabled || monitoring_mode || self.captcha;
        self.threat >= 0.5 || self.networks.is_some() || measures
    }

    fn shown(&self, simulated: bool) -> Value {
        let mut shown = json!({
            "threat_level": self.threat,
            "account_under_attack": self.networks.is_some(),
            "captcha_enabled": self.settings.captcha_enabled,
            "rate_limit_enabled": self.settings.rate_limit_enabled,
            "monitoring_mode": self.settings.monitoring_mode,
            "is_captcha_account": self.captcha,
            "attack_detected": self.detected(),
            "simulated": simulated,
        });
        if let Some(networks) = self.networks {
            shown["attack_score"] = networks.into();
        }
        shown
    }
}

impl ControlHandle {
    pub(super) async fn attacks(self: &Arc<Self>, command: AttackCommand) -> Result<Value, ControlError> {
        let now = clock::now();
        match command {
            AttackCommand::Metrics => self.off_the_runtime(move |control| Ok(control.attack_metrics(now))).await,
            AttackCommand::ResetProtection => {
                self.off_the_runtime(move |control| {
                    control.scorer.attacks().reset_protection(now);
                    control.rehearsal.clear();
                    Ok(())
                })
                .await?;
                self.tell_the_fleet(now).await;
                Ok(json!({}))
            }
            AttackCommand::ResetAccount { username } => {
                let answer = json!({ "username": username });
                self.off_the_runtime(move |control| {
                    let account = control.scorer.pseudonymizer().name(&username).into();
                    control.scorer.attacks().reset_account(account, now);
                    control.rehearsal.clear();
                    Ok(())
                })
                .await?;
                self.tell_the_fleet(now).await;
                Ok(answer)
            }
            AttackCommand::Simulate(simulation) => {
                self.off_the_runtime(move |control| {
                    control.play(&simulation, false, now)?;
                    Ok(played(&simulation))
                })
                .await
            }
            AttackCommand::Check { username } => {
                self.off_the_runtime(move |control| {
                    let detection = control.detection(&username, now);
                    Ok(json!({ "username": username, "detection_result": detection }))
                })
                .await
            }
            AttackCommand::Test(simulation) => {
                self.off_the_runtime(move |control| control.test(&simulation, now)).await
            }
            AttackCommand::Report { period } => {
                self.metrics.attacks().report_generated();
                let report = self.scorer.attacks().look(|monitor| monitor.report(period, now));
                serde_json::to_value(report).map_err(|error| ControlError::Failed(error.to_string()))
            }
        }
    }

    /// Ends of measures act here at once; the others hear of them now or, where the store is away, later.
    async fn tell_the_fleet(&self, now: Timestamp) {
        if let Err(error) = self.attack_watch.share_once(now).await {
            tracing::debug!("the fleet hears of the end of measures later: {error}");
        }
    }

    /// Has something done that walks over everything that is counted.
    async fn off_the_runtime<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let control = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&control)).await;
        done.unwrap_or_else(|_| Err(ControlError::Failed("the command ended unexpectedly".into())))
    }

    fn play(&self, simulation: &Simulation, fresh: bool, now: Timestamp) -> Result<(), ControlError> {
        let (config, pseudonymizer) = (self.config.load(), self.scorer.pseudonymizer());
        let played = self.rehearsal.play(simulation, fresh, &config, &pseudonymizer, now);
        played.map_err(|error| ControlError::Failed(format!("the attack cannot be played: {error}")))
    }

    fn detection(&self, username: &str, now: Timestamp) -> Value {
        let account = self.scorer.pseudonymizer().name(username).into();
        let earnest = Detection::of(self.scorer.attacks(), account, now);
        // An attack in earnest is never hidden behind one that is played.
        let played = if earnest.detected() { None } else { self.rehearsal.detection(username, now) };
        played.filter(Detection::detected).map_or_else(|| earnest.shown(false), |played| played.shown(true))
    }

    fn test(&self, simulation: &Simulation, now: Timestamp) -> Result<Value, ControlError> {
        self.play(simulation, true, now)?;
        let detection = self.rehearsal.detection(&simulation.username, now);
        let passed = detection.as_ref().is_some_and(Detection::detected);
        let (result, message) = match (passed, self.scorer.attacks().enabled()) {
            (true, _) => ("PASS", "Distributed brute force attack was successfully detected"),
            (false, true) => ("FAIL", "Distributed brute force attack was not detected"),
            (false, false) => ("FAIL", "Distributed brute force attack was not detected: attacks.enabled is false"),
        };
        let mut answer = played(simulation);
        answer["detection_result"] = detection.map_or(Value::Null, |detection| detection.shown(true));
        answer["test_result"] = result.into();
        answer["test_message"] = message.into();
        Ok(answer)
    }

    fn attack_metrics(&self, now: Timestamp) -> Value {
        let attacks = self.scorer.attacks();
        let assessment = attacks.assess(now);
        let (standing, hour) = (attacks.standing(), assessment.findings.hour);
        let (protection, options) = (standing.protection(), standing.options());
        let attacked: Map<String, Value> = assessment
            .findings
            .accounts
            .iter()
            .map(|report| (attacks.shown(report.account), report.networks_hour.max(report.networks_day).into()))
            .collect();
        let captcha: Vec<_> =
            protection.captcha_accounts(now, options).into_iter().map(|account| attacks.shown(account)).collect();
        let limited: Vec<_> =
            protection.rate_limited_ips(now, options).into_iter().map(|(network, _)| network_shown(network)).collect();
        let regions: Vec<_> =
            protection.blocked_regions(now, options).into_iter().map(|region| region.to_string()).collect();
        json!({
            "threat_level": assessment.threat,
            "attempts": hour.attempts,
            "unique_ips": hour.unique_ips,
            "unique_users": hour.unique_users,
            "ips_per_user": hour.ips_per_user,
            "attacked_accounts": attacked,
            "blocked_regions": regions,
            "rate_limited_ips": limited,
            "captcha_accounts": captcha,
            "settings": self.settings(&assessment.settings),
        })
    }

    /// The settings as texts, the way that other tools expect them.
    fn settings(&self, settings: &Settings) -> Value {
        let model = self.slot.load();
        let threshold = prior::threshold_shown(model.as_deref(), &self.config.load(), settings.ml_threshold);
        json!({
            "captcha_enabled": settings.captcha_enabled.to_string(),
            "rate_limit_enabled": settings.rate_limit_enabled.to_string(),
            "monitoring_mode": settings.monitoring_mode.to_string(),
            "ml_threshold": threshold.to_string(),
        })
    }
}

fn played(simulation: &Simulation) -> Value {
    let country = simulation.country_code.as_deref().unwrap_or_default();
    json!({ "username": simulation.username, "num_ips": simulation.num_ips, "country_code": country })
}
