//! Shows plugins and dashboards of the original what is known of distributed attacks, under the keys of its scripts
//! (`[upstream] mirror`).
//!
//! It only writes there, every few seconds, in one step that all nodes may do at once: each knows other names of attacked
//! accounts, so no lease picks one of them. What is written is what this node knows; nothing of it comes back, and a Redis
//! that is away or refuses changes nothing here but a counter and the status.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono_tz::Tz;
use tokio_util::sync::CancellationToken;

use super::jittered;
use crate::clock;
use crate::config::Config;
use crate::detection::activity::HOUR_MS;
use crate::detection::attacks::{AccountId, HourMetrics, Metrics};
use crate::detection::attempt::Timestamp;
use crate::serving::attacks::{Attacks, network_shown};
use crate::serving::prior;
use crate::serving::scorer::Scorer;
use crate::serving::slot::ModelSlot;
use crate::store::upstream::mirror::{AttackState, HOURS_MAX, MEMBERS_MAX, MirroredAccount};
use crate::store::upstream::source::{ReadError, Source, SourceOptions};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics as NodeMetrics;

/// Between two writes.
const PERIOD: Duration = Duration::from_secs(5);
/// After an error.
const RETRY: Duration = Duration::from_secs(10);
/// How long one write may take.
const LIMIT: Duration = Duration::from_secs(5);

/// See the module documentation.
#[derive(Clone)]
pub struct AttackMirror {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) options: SourceOptions,
    /// What the keys begin with.
    pub(crate) root: String,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) slot: Arc<ModelSlot>,
    pub(crate) metrics: Arc<NodeMetrics>,
    pub(crate) status: TaskStatus,
    /// What this task wrote last: only what it wrote itself does it take away by name.
    pub(crate) written: BTreeMap<AccountId, String>,
}

impl AttackMirror {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When looking at what was counted panics; an absent Redis is waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut source = None;
        loop {
            let written = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                written = self.reconcile_once(&mut source) => written?,
            };
            let pause = match written {
                Ok(true) => {
                    self.status.finished("written", format!("{} attacked accounts by name", self.written.len()));
                    PERIOD
                }
                Ok(false) => {
                    self.status.finished("off", "attacks.enabled is false");
                    PERIOD
                }
                Err(error) => {
                    let foreign = matches!(error, ReadError::Foreign { .. });
                    self.metrics.attack_mirror_failed(if foreign { "foreign_key" } else { "unavailable" });
                    self.status.waiting(error.to_string());
                    // A connection that failed once is not asked again.
                    source = None;
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(jittered(pause)) => {}
            }
        }
    }

    /// Writes what is known now; `false` while nothing is watched.
    async fn reconcile_once(&mut self, source: &mut Option<Source>) -> Result<Result<bool, ReadError>, TaskError> {
        if !self.scorer.attacks().enabled() {
            return Ok(Ok(false));
        }
        let now = clock::now();
        let (scorer, config, slot) = (Arc::clone(&self.scorer), self.config.load_full(), Arc::clone(&self.slot));
        let written = self.written.clone();
        let look = move || state(scorer.attacks(), &config, &slot, &written, now);
        let (state, names) = tokio::task::spawn_blocking(look).await?;
        let put = async {
            let known = match source.take() {
                Some(known) => known,
                None => Source::open(&self.options).await?,
            };
            known.put_attacks(&self.root, &state).await?;
            Ok(known)
        };
        Ok(match tokio::time::timeout(LIMIT, put).await {
            Ok(Ok(known)) => {
                *source = Some(known);
                self.written = names;
                Ok(true)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ReadError::TimedOut),
        })
    }
}

/// What is to be written, and which accounts it names.
fn state(
    attacks: &Attacks,
    config: &Config,
    slot: &ModelSlot,
    written: &BTreeMap<AccountId, String>,
    now: Timestamp,
) -> (AttackState, BTreeMap<AccountId, String>) {
    let standing = attacks.standing();
    let (protection, options) = (standing.protection(), standing.options());
    let settings = protection.settings(now, options);
    let mut protected = protection.protected_accounts(now, options);
    protected.sort_by_key(|&(account, evidence)| (std::cmp::Reverse(evidence), account));
    let names: Vec<(AccountId, Timestamp, String)> = protected
        .into_iter()
        .filter_map(|(account, evidence)| Some((account, evidence, attacks.name(account)?)))
        .take(MEMBERS_MAX)
        .collect();
    let (hour, hours, countries, threat, accounts) = attacks.look(|monitor| {
        let accounts: Vec<MirroredAccount> = names
            .iter()
            .map(|(account, evidence, name)| MirroredAccount {
                name: name.clone(),
                evidence: *evidence,
                counted: monitor
                    .account(*account, now)
                    .filter(|report| report.networks_hour > 0)
                    .map(|report| (report.networks_hour, report.failures_hour)),
            })
            .collect();
        (monitor.window(now, 3600), monitor.history(now), monitor.countries(now), monitor.threat().threat, accounts)
    });
    let mut networks = protection.rate_limited_ips(now, options);
    networks.sort_by_key(|&(network, left)| (std::cmp::Reverse(left), network));
    let named: BTreeMap<AccountId, String> = names.into_iter().map(|(account, _, name)| (account, name)).collect();
    let ended = written.iter().filter(|(account, _)| !named.contains_key(account)).map(|(_, name)| name.clone());
    let state = AttackState {
        at: now,
        hour,
        hours: named_hours(&hours, &config.training.timezone, now),
        threat,
        ml_threshold: prior::threshold_shown(slot.load().as_deref(), config, settings.ml_threshold),
        settings,
        rate_limit_max: (60 / options.retry_after_s.max(1)).max(1),
        accounts,
        ended: ended.take(MEMBERS_MAX).collect(),
        since: now.plus_millis(-i64::from(options.measure_s) * 1000),
        regions: protection.blocked_regions(now, options).iter().map(ToString::to_string).collect(),
        networks: networks.into_iter().take(MEMBERS_MAX).map(|(network, _)| network_shown(network)).collect(),
        countries: countries.into_iter().map(|(country, attempts)| (country.to_string(), attempts)).collect(),
    };
    (state, named)
}

/// The newest hours by their names in a time zone, each with the time up to which it was counted.
fn named_hours(hours: &[HourMetrics], zone: &str, now: Timestamp) -> Vec<(String, Timestamp, Metrics)> {
    let zone = Tz::from_str(zone).unwrap_or(Tz::UTC);
    let newest = &hours[hours.len().saturating_sub(HOURS_MAX)..];
    let named = newest.iter().map(|hour| {
        let begin = Timestamp::from_millis(hour.hour.saturating_mul(HOUR_MS));
        let name = begin.to_utc().with_timezone(&zone).format("%Y-%m-%d-%H").to_string();
        (name, begin.plus_millis(HOUR_MS).min(now), hour.metrics)
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_named_in_the_zone_of_the_site_and_told_up_to_now() {
        let hour = |hour| HourMetrics { hour, metrics: Metrics { attempts: 5, ..Metrics::default() } };
        let now = Timestamp::from_millis(472_222 * HOUR_MS + 60_000);

        let named = named_hours(&[hour(472_221), hour(472_222)], "Europe/Berlin", now);

        let names: Vec<&str> = named.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["2023-11-14-22", "2023-11-14-23"]);
        assert_eq!(named[0].1, Timestamp::from_millis(472_222 * HOUR_MS));
        assert_eq!(named[1].1, now);
        let week: Vec<_> = (0..168).map(|number| hour(472_000 + number)).collect();
        assert_eq!(named_hours(&week, "UTC", now).len(), HOURS_MAX);
    }
}
