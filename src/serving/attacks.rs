//! Distributed attacks on the request path: attempts are handed to the [`AttackMonitor`], and what is done about attacks is
//! read from memory.
//!
//! Three locks, none of which is ever held by a login while somebody walks over everything: attempts go into an inbox; the
//! monitor, which takes them in, belongs to the task and to commands; a score reads the measures from a slot that is
//! exchanged as a whole. Who assesses when, stores and tells, does not stand here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::config::Config;
use crate::detection::attacks::{
    AccountId, Assessment, AttackMonitor, AttackOptions, Kept, Protection, Reason, Stance,
};
use crate::detection::attempt::{Attempt, Outcome, Timestamp};
use crate::detection::verdict::{Measure, Verdict};
use crate::random;

/// News that wait for the monitor; more are dropped and counted. At a thousand attempts a second it is a minute's worth, and
/// some 20 MB.
const NEWS_MAX: usize = 65_536;
/// So many news make the task look at once.
const NEWS_MANY: usize = 4096;
/// Names of attacked accounts that are remembered for people.
const NAMES_MAX: usize = 1024;

/// One attempt, or what became of it.
struct News {
    attempt: Attempt,
    /// It was counted for the first time.
    new: bool,
    /// Its definite outcome, if that is new, and whether the user was at home there before.
    outcome: Option<(Outcome, bool)>,
}

/// What is done at present; the scorer reads nothing else.
#[derive(Debug)]
pub struct Standing {
    enabled: bool,
    options: AttackOptions,
    protection: Protection,
    /// Attacked accounts, and those at which strangers need a second proof.
    concerned: BTreeSet<AccountId>,
}

impl Standing {
    /// The measures in force.
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// The thresholds that they follow from.
    pub fn options(&self) -> &AttackOptions {
        &self.options
    }
}

/// See the module documentation.
pub struct Attacks {
    inbox: Mutex<Vec<News>>,
    monitor: Mutex<AttackMonitor>,
    standing: ArcSwap<Standing>,
    names: Mutex<BTreeMap<AccountId, String>>,
    woken: Notify,
    /// Something taken in belongs to an attack against which nothing was done by then.
    alarmed: AtomicBool,
    dropped: AtomicU64,
}

impl Attacks {
    /// Nothing has happened yet.
    pub fn new(config: &Config) -> Self {
        let options = config.attacks.options();
        // What is hashed under this key never leaves the process, so it need not be the fleet's.
        let key = [u64::from_le_bytes(random::bytes()), u64::from_le_bytes(random::bytes())];
        Self {
            inbox: Mutex::default(),
            monitor: Mutex::new(AttackMonitor::new(options.clone(), key)),
            standing: ArcSwap::from_pointee(Standing {
                enabled: config.attacks.enabled,
                options,
                protection: Protection::default(),
                concerned: BTreeSet::new(),
            }),
            names: Mutex::default(),
            woken: Notify::new(),
            alarmed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        }
    }

    /// Takes over a new configuration.
    pub fn reload(&self, config: &Config) {
        let mut monitor = self.lock();
        monitor.set_options(config.attacks.options());
        let concerned = self.standing.load().concerned.clone();
        self.publish(&monitor, config.attacks.enabled, concerned);
    }

    /// Whether attempts are watched and measures are taken.
    pub fn enabled(&self) -> bool {
        self.standing.load().enabled
    }

    /// What is done at present.
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Takes in an attempt that was counted just now (`new`), its definite outcome (with whether the user was at home there
    /// before it), or both. The caller leaves out trusted and historical ones. Never waits.
    pub fn note(&self, attempt: &Attempt, new: bool, outcome: Option<(Outcome, bool)>) {
        if attempt.no_auth || !(new || outcome.is_some()) || !self.enabled() {
            return;
        }
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.len() >= NEWS_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        inbox.push(News { attempt: attempt.clone(), new, outcome });
        let much = inbox.len() >= NEWS_MANY;
        drop(inbox);
        if much || matches!(outcome, Some((Outcome::Failure, false))) {
            self.woken.notify_one();
        }
    }

    /// Returns when a stranger has failed, or many news wait.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// News that were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What protection asks for an attempt; nothing where the user is known from this network (`known_good`).
    pub fn stance(&self, attempt: &Attempt, known_good: bool) -> Stance {
        let standing = self.standing.load();
        if !standing.enabled {
            return Stance::default();
        }
        let account = AccountId::from(attempt.user);
        let (ip, region) = (attempt.client_ip, attempt.client.region());
        standing.protection.stance(attempt.ts, ip, account, region, known_good, &standing.options)
    }

    /// Takes in what waits, and says whether anything since the last assessment belongs to an attack against which nothing is
    /// done yet. Costs some microseconds for each failure that waits.
    pub fn alarmed(&self) -> bool {
        self.take_in(&mut self.lock());
        self.alarmed.load(Ordering::Relaxed)
    }

    /// Judges what was counted, takes and ends measures, and puts them in force. Walks over everything: not for the request
    /// path.
    pub fn assess(&self, now: Timestamp) -> Assessment {
        let mut monitor = self.lock();
        self.take_in(&mut monitor);
        let assessment = monitor.assess(now);
        self.alarmed.store(false, Ordering::Relaxed);
        let standing = self.standing.load();
        let protected = monitor.protection().captcha_accounts(now, monitor.options());
        let attacked = assessment.findings.accounts.iter().map(|report| report.account);
        let concerned: BTreeSet<AccountId> = attacked.chain(protected).collect();
        self.names().retain(|account, _| concerned.contains(account));
        self.publish(&monitor, standing.enabled, concerned);
        assessment
    }

    /// Shows the monitor with everything taken in.
    pub fn look<T>(&self, view: impl FnOnce(&AttackMonitor) -> T) -> T {
        let mut monitor = self.lock();
        self.take_in(&mut monitor);
        view(&monitor)
    }

    /// Takes over what another node shares.
    pub fn merge(&self, protection: &Protection, now: Timestamp) {
        self.change(|monitor| monitor.merge(protection, now));
    }

    /// Ends all measures; see [`AttackMonitor::reset_protection`].
    pub fn reset_protection(&self, now: Timestamp) {
        self.change(|monitor| monitor.reset_protection(now));
    }

    /// Ends the measures for one account; see [`AttackMonitor::reset_account`].
    pub fn reset_account(&self, account: AccountId, now: Timestamp) {
        self.change(|monitor| monitor.reset_account(account, now));
    }

    /// What is to be kept over a restart.
    pub fn kept(&self, now: Timestamp) -> Kept {
        self.look(|monitor| monitor.kept(now))
    }

    /// Takes over what was kept. What happened lately comes back as [`Attacks::note`] is told it again.
    pub fn restore(&self, kept: &Kept, now: Timestamp) {
        let mut monitor = self.lock();
        monitor.restore(kept, now);
        let standing = self.standing.load();
        self.publish(&monitor, standing.enabled, standing.concerned.clone());
    }

    /// Takes in what waits, so that nothing is dropped while very much is told at once. It may have to wait for a look.
    pub fn digest(&self) {
        self.take_in(&mut self.lock());
    }

    /// Whether any account is attacked, so that its name is worth remembering.
    pub fn wants_names(&self) -> bool {
        !self.standing.load().concerned.is_empty()
    }

    /// Remembers how people call an account, if it is attacked: the monitor itself knows no names.
    pub fn learn_name(&self, account: AccountId, name: &str) {
        if self.standing.load().concerned.contains(&account) {
            let mut names = self.names();
            if names.len() < NAMES_MAX && !names.contains_key(&account) {
                names.insert(account, name.trim().to_owned());
            }
        }
    }

    /// How people call an account, where this node has heard it since the attack began.
    pub fn name(&self, account: AccountId) -> Option<String> {
        self.names().get(&account).cloned()
    }

    /// How people call an account: its name where this node has heard it since the attack began, else its 16 hexadecimal
    /// digits.
    pub fn shown(&self, account: AccountId) -> String {
        self.name(account).unwrap_or_else(|| account.to_string())
    }

    fn change(&self, change: impl FnOnce(&mut AttackMonitor)) {
        let mut monitor = self.lock();
        self.take_in(&mut monitor);
        change(&mut monitor);
        let standing = self.standing.load();
        self.publish(&monitor, standing.enabled, standing.concerned.clone());
    }

    fn take_in(&self, monitor: &mut AttackMonitor) {
        let news = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        for News { attempt, new, outcome } in news {
            if new {
                monitor.attempt(&attempt);
            }
            if let Some((outcome, at_home)) = outcome {
                monitor.outcome(&attempt, outcome, at_home);
                let strange = outcome == Outcome::Failure && !at_home;
                if strange && !self.alarmed.load(Ordering::Relaxed) && monitor.alarming(&attempt) {
                    self.alarmed.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn publish(&self, monitor: &AttackMonitor, enabled: bool, concerned: BTreeSet<AccountId>) {
        let (options, protection) = (monitor.options().clone(), monitor.protection().clone());
        self.standing.store(Arc::new(Standing { enabled, options, protection, concerned }));
    }

    fn lock(&self) -> MutexGuard<'_, AttackMonitor> {
        // A panic while the lock was held left counters that are at worst one attempt off.
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<AccountId, String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client network as people write it: verdicts speak of the /24 of an IPv4 and the /64 of an IPv6 address.
pub fn network_shown(network: IpAddr) -> String {
    format!("{network}/{}", if network.is_ipv4() { 24 } else { 64 })
}

/// What a stance asks of the verdict.
pub fn measure(stance: &Stance) -> Option<Measure> {
    let for_reason = |reason| stance.reasons.contains(&reason);
    let (verdict, reason) = if stance.block {
        (
            Verdict::Block,
            "attack protection: strangers from this country, or this part of it, are blocked while the attack lasts",
        )
    } else if for_reason(Reason::RateLimited) {
        (Verdict::Block, "attack protection: this network takes part in an attack and must wait")
    } else if for_reason(Reason::AccountUnderAttack) {
        (Verdict::StepUp, "attack protection: many networks guess at this account")
    } else if stance.step_up {
        (Verdict::StepUp, "attack protection: the site is under severe attack")
    } else {
        return None;
    };
    Some(Measure { verdict, reason })
}

#[cfg(test)]
mod tests;
