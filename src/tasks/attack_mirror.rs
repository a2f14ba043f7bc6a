//! Shows plugins and dashboards of the original what is known of distributed attacks, under the keys of its scripts
//! (`[upstream] mirror`).
//!
//! It only writes there, every few seconds, and all nodes may do so at once: what stands there at present in one step, what
//! has passed in bounded batches after it. Each node was told of other attempts and knows other names, so no lease picks one
//! of them. What is written is what this node knows; nothing of it comes back, and a Redis that is away or refuses changes
//! nothing here but a counter and the status.

mod gathering;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono_tz::Tz;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::gathering::Gathering;
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
use crate::store::upstream::mirror_members::{ForeignKey, LoggedThreat, Members};
use crate::store::upstream::source::{ReadError, Source, SourceOptions};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics as NodeMetrics;

/// Between two writes.
const PERIOD: Duration = Duration::from_secs(5);
/// After an error.
const RETRY: Duration = Duration::from_secs(10);
/// How long one write of what stands there may take, and one of what has passed.
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
    /// What has passed and is not written yet.
    pub(crate) passed: Passed,
}

/// What an [`AttackMirror`] keeps between two writes.
#[derive(Clone, Default)]
pub(crate) struct Passed {
    gathering: Gathering,
    /// What was dropped before it could be gathered, as far as that was told.
    dropped: u64,
    /// Keys of another type that were told.
    told: BTreeSet<String>,
}

/// What came of one write.
enum Wrote {
    /// Nothing is watched.
    Off,
    /// All but these keys.
    AllBut(Vec<ForeignKey>),
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
                Ok(Wrote::Off) => {
                    self.status.finished("off", "attacks.enabled is false");
                    PERIOD
                }
                Ok(Wrote::AllBut(foreign)) => {
                    self.tell(&foreign);
                    PERIOD
                }
                Err(error) => {
                    self.metrics.attack_mirror_failed("unavailable");
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

    /// Says which keys were left alone: in the status as long as they are, in the log once.
    fn tell(&mut self, foreign: &[ForeignKey]) {
        let Some(first) = foreign.first() else {
            self.passed.told.clear();
            self.status.finished("written", format!("{} attacked accounts by name", self.written.len()));
            return;
        };
        self.metrics.attack_mirror_failed("foreign_key");
        let (keys, ForeignKey { key, kind }) = (foreign.len(), first);
        self.status.waiting(format!(
            "{key} is a {kind}, which no script of the original makes of it ({keys} such keys): delete or rename it"
        ));
        let now: BTreeSet<String> = foreign.iter().map(|foreign| foreign.key.clone()).collect();
        for ForeignKey { key, kind } in foreign.iter().filter(|foreign| !self.passed.told.contains(&foreign.key)) {
            warn!("the mirror of the original's keys leaves out {key}, which is a {kind}: delete or rename it");
        }
        self.passed.told = now;
    }

    /// Writes what is known now and what has passed.
    async fn reconcile_once(&mut self, source: &mut Option<Source>) -> Result<Result<Wrote, ReadError>, TaskError> {
        let watched = self.scorer.attacks().enabled();
        self.scorer.passing().switch(watched);
        if !watched {
            return Ok(Ok(Wrote::Off));
        }
        let now = clock::now();
        let (scorer, config, slot) = (Arc::clone(&self.scorer), self.config.load_full(), Arc::clone(&self.slot));
        let (written, mut gathering) = (self.written.clone(), std::mem::take(&mut self.passed.gathering));
        let look = move || {
            let (state, names, reset) = state(scorer.attacks(), &config, &slot, &written, now);
            gathering.gather(&scorer.passing().take(), &names, now);
            (state, names, reset, gathering)
        };
        let (state, names, reset, gathering) = tokio::task::spawn_blocking(look).await?;
        self.passed.gathering = gathering;
        let dropped = self.scorer.passing().dropped();
        if dropped > std::mem::replace(&mut self.passed.dropped, dropped) {
            self.metrics.attack_mirror_failed("dropped");
        }
        Ok(self.put(source, state, names, reset).await)
    }

    /// What stands there at present is written first; where a key of another type stops it, what has passed is written all
    /// the same.
    async fn put(
        &mut self,
        source: &mut Option<Source>,
        state: AttackState,
        names: BTreeMap<AccountId, String>,
        reset: Vec<String>,
    ) -> Result<Wrote, ReadError> {
        let known = match source.take() {
            Some(known) => known,
            None => in_time(Source::open(&self.options)).await?,
        };
        let mut foreign = Vec::new();
        match in_time(known.put_attacks(&self.root, &state)).await {
            Ok(()) => {
                self.written = names;
                self.passed.gathering.members.reset = reset;
            }
            Err(ReadError::Foreign { key, kind }) => foreign.push(ForeignKey { key, kind }),
            Err(error) => return Err(error),
        }
        let gathering = &mut self.passed.gathering;
        gathering.members.failed = gathering.take_failed();
        gathering.members.threat =
            Some(LoggedThreat { threat: state.threat, settings: state.settings, hour: state.hour });
        let put = in_time(known.put_members(&self.root, state.at, &gathering.members)).await;
        gathering.members.failed.clear();
        foreign.extend(put?);
        gathering.members = Members::default();
        *source = Some(known);
        Ok(Wrote::AllBut(foreign))
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
    tokio::time::timeout(LIMIT, work).await.unwrap_or(Err(ReadError::TimedOut))
}

/// What is to be written, which accounts it names, and the names of those that were reset since.
fn state(
    attacks: &Attacks,
    config: &Config,
    slot: &ModelSlot,
    written: &BTreeMap<AccountId, String>,
    now: Timestamp,
) -> (AttackState, BTreeMap<AccountId, String>, Vec<String>) {
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
    let ended: Vec<_> = written.iter().filter(|(account, _)| !named.contains_key(account)).take(MEMBERS_MAX).collect();
    let reset = ended.iter().filter(|(account, _)| protection.account_reset(**account).is_some());
    let reset = reset.map(|(_, name)| (*name).clone()).collect();
    let state = AttackState {
        at: now,
        hour,
        hours: named_hours(&hours, &config.training.timezone, now),
        threat,
        ml_threshold: prior::threshold_shown(slot.load().as_deref(), config, settings.ml_threshold),
        settings,
        rate_limit_max: (60 / options.retry_after_s.max(1)).max(1),
        accounts,
        ended: ended.into_iter().map(|(_, name)| name.clone()).collect(),
        since: now.plus_millis(-i64::from(options.measure_s) * 1000),
        regions: protection.blocked_regions(now, options).iter().map(ToString::to_string).collect(),
        networks: networks.into_iter().take(MEMBERS_MAX).map(|(network, _)| network_shown(network)).collect(),
        countries: countries.into_iter().map(|(country, attempts)| (country.to_string(), attempts)).collect(),
    };
    (state, named, reset)
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
