//! Watches for distributed attacks: judges what came in, puts measures in force, shares them with the fleet, keeps what is
//! needed over a restart, and tells once when the threat changes.
//!
//! It looks every two seconds, and at once when a failure belongs to an attack against which nothing is done yet; a look that
//! took long is followed by a pause that is longer still. What the judgement is stands in `detection::attacks`. Nothing here
//! can hold up a login.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::detection::attacks::{Assessment, Kept, Period, Protection, ThreatLevel};
use crate::detection::attempt::Timestamp;
use crate::serving::attacks::Attacks;
use crate::serving::scorer::Scorer;
use crate::state::state_dir::StateDir;
use crate::store::{Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::attack_metrics::WINDOWS_SHOWN;
use crate::telemetry::metrics::Metrics;

/// How often it looks while nothing alarms it.
const PERIOD: Duration = Duration::from_secs(2);
/// The shortest time between two readings of what has come in.
const STEP: Duration = Duration::from_millis(5);
/// How many times longer than a look the time to the next one is: at most a fifth of one processor goes into looking while an
/// attack is found, and a fiftieth else.
const ALARMED_TIMES: u32 = 5;
const CALM_TIMES: u32 = 50;
/// How often measures are exchanged with the fleet.
const SHARE: Duration = Duration::from_secs(2);
/// How long a store may keep this task from looking.
const SHARE_LIMIT: Duration = Duration::from_millis(500);
/// How often the gauges are set.
const SHOW: Duration = Duration::from_secs(5);
/// How often the state is written.
const KEEP: Duration = Duration::from_secs(60);
/// How often an exchange is tried again because another node was quicker.
const TRIES: usize = 8;
/// File of the state directory with what is kept over a restart.
const FILE: &str = "attacks.json";
/// Longest such file: a week of hours, a month of threats, and measures up to their caps.
const FILE_MAX: u64 = 2 * 1024 * 1024;

/// See the module documentation.
#[derive(Clone)]
pub struct AttackWatch {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) state_dir: Arc<StateDir>,
    pub(crate) metrics: Arc<Metrics>,
    /// The level that was told last.
    pub(crate) level: ThreatLevel,
    /// Attacked accounts of the last look.
    pub(crate) attacked: usize,
}

/// What was done when.
#[derive(Default)]
struct Due {
    looked: Option<Instant>,
    shared: Option<Instant>,
    shown: Option<Instant>,
    kept: Option<Instant>,
}

/// Whether `period` has passed since `last`; then it begins anew.
fn due(last: &mut Option<Instant>, period: Duration) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= period);
    if due {
        *last = Some(Instant::now());
    }
    due
}

/// Takes over what this node kept before its restart. Called before the task runs.
pub(crate) fn restore(state_dir: &StateDir, attacks: &Attacks, now: Timestamp) {
    let Some(bytes) = state_dir.read(FILE, FILE_MAX) else { return };
    match serde_json::from_slice::<Kept>(&bytes) {
        Ok(kept) => attacks.restore(&kept, now),
        Err(_) => state_dir.set_aside(FILE),
    }
}

impl AttackWatch {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When a look panics; an absent store is waited for.
    pub async fn run(mut self, status: TaskStatus, stop: CancellationToken) -> Result<(), TaskError> {
        // What was kept has been read just now.
        let mut last = Due { kept: Some(Instant::now()), ..Due::default() };
        let mut took = Duration::ZERO;
        loop {
            let mut pause = PERIOD;
            if self.scorer.attacks().enabled() {
                let alarmed = self.off_the_runtime(Attacks::alarmed).await?;
                let wanted = if alarmed { took * ALARMED_TIMES } else { PERIOD.max(took * CALM_TIMES) };
                if due(&mut last.looked, wanted) {
                    let started = Instant::now();
                    let assessment = self.off_the_runtime(|attacks| attacks.assess(clock::now())).await?;
                    took = started.elapsed();
                    self.tell(&assessment);
                } else if alarmed {
                    pause = wanted;
                }
                self.duties(&mut last, &status).await;
            } else {
                self.metrics.attack_state(0, [0; 5]);
                status.finished("off", "attacks.enabled is false");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(STEP) => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.scorer.attacks().woken() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.keep().await;
        Ok(())
    }

    /// What is due besides looking.
    async fn duties(&self, last: &mut Due, status: &TaskStatus) {
        if due(&mut last.shared, SHARE) {
            match tokio::time::timeout(SHARE_LIMIT, self.share_once(clock::now())).await {
                Ok(Ok(())) => status.finished("watching", self.level.as_str()),
                Ok(Err(error)) => status.waiting(error.to_string()),
                Err(_) => status.waiting("the store does not answer in time"),
            }
        }
        if due(&mut last.shown, SHOW) {
            self.show(clock::now());
        }
        if due(&mut last.kept, KEEP) {
            self.keep().await;
        }
    }

    /// Has something done that may walk over everything that is counted: it must not hold up a runtime thread.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Attacks) -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        let attacks = Arc::clone(self.scorer.attacks());
        Ok(tokio::task::spawn_blocking(move || work(&attacks)).await?)
    }

    /// One line per change of the level; neither names nor addresses.
    fn tell(&mut self, assessment: &Assessment) {
        self.metrics.threat(assessment.threat, self.scorer.attacks().dropped());
        self.attacked = assessment.findings.accounts.len();
        let (before, level) = (std::mem::replace(&mut self.level, assessment.level), assessment.level);
        let (threat, accounts, sprays) =
            (assessment.threat, assessment.findings.accounts.len(), assessment.findings.sprays.len());
        if level > before {
            warn!(
                threat,
                accounts,
                sprays,
                "the threat by distributed attacks is {} now; see the action get_metrics of \
                 /api/v1/custom/distributed-brute-force-admin",
                level.as_str()
            );
        } else if level < before {
            info!(threat, "the threat by distributed attacks has fallen to {}", level.as_str());
        }
    }

    /// Merges the measures of this node and of the fleet, here and in the store.
    ///
    /// # Errors
    /// When the store cannot be used; the measures act on this node all the same.
    pub(crate) async fn share_once(&self, now: Timestamp) -> Result<(), StoreError> {
        let attacks = self.scorer.attacks();
        for _ in 0..TRIES {
            let stored = self.store.load_protection().await?;
            let theirs = stored.as_deref().map(serde_json::from_slice::<Protection>);
            // What cannot be read comes from somebody else or a later version: it is replaced.
            if let Some(Ok(theirs)) = &theirs {
                attacks.merge(theirs, now);
            }
            let standing = attacks.standing();
            let ours = standing.protection();
            let nothing = theirs.is_none() && *ours == Protection::default();
            if nothing || theirs.is_some_and(|read| read.ok().as_ref() == Some(ours)) {
                return Ok(());
            }
            let written = serde_json::to_vec(ours).unwrap_or_default();
            if self.store.save_protection(stored.as_deref(), &written).await? {
                return Ok(());
            }
        }
        // Somebody writes as fast as we read; the next round tries again.
        Ok(())
    }

    /// Sets the gauges.
    fn show(&self, now: Timestamp) {
        let gauges = self.metrics.attacks();
        let standing = self.scorer.attacks().standing();
        let (protection, options) = (standing.protection(), standing.options());
        let settings = protection.settings(now, options);
        self.metrics.attack_state(
            self.attacked,
            [
                usize::from(settings.monitoring_mode),
                usize::from(settings.captcha_enabled),
                protection.captcha_accounts(now, options).len(),
                protection.rate_limited_ips(now, options).len(),
                protection.blocked_regions(now, options).len(),
            ],
        );
        self.scorer.attacks().look(|monitor| {
            for (seconds, name) in WINDOWS_SHOWN {
                gauges.window(name, &monitor.window(now, seconds));
            }
            gauges.hours(&monitor.history(now));
            for period in [Period::Daily, Period::Weekly, Period::Monthly] {
                gauges.period(&monitor.report(period, now));
            }
        });
    }

    /// Writes what is needed after a restart.
    async fn keep(&self) {
        let (attacks, state_dir) = (Arc::clone(self.scorer.attacks()), Arc::clone(&self.state_dir));
        // A panic in there has been logged; the next round tries again.
        let _ = tokio::task::spawn_blocking(move || {
            if let Ok(kept) = serde_json::to_vec(&attacks.kept(clock::now())) {
                state_dir.save(FILE, &kept);
            }
        })
        .await;
    }
}
