//! Takes in what nodes of Nauthilus 1.7 go on recording, and follows their learning mode (`[upstream] bridge`).
//!
//! It only reads there. Records are looked at every few seconds, newest first, up to the first that was there the time
//! before; taking one in twice changes nothing, so a restart or a second node does no harm. A record that the original
//! cannot have written is left out and counted, the others are taken. Learning mode is followed beside that, whatever
//! becomes of the records: its changes, those announced and those found in the flags, and never what merely stands there,
//! because the flags of the original are set back by any of its nodes that does not know better. A node in dry run leaves
//! learning mode alone. Switching it is a command like any other, which somebody else carries out.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::jittered;
use super::upstream_import::take_in;
use crate::clock;
use crate::config::Config;
use crate::serving::mode::LearningMode;
use crate::store::Store;
use crate::store::upstream::flags::LearningModeUpdate;
use crate::store::upstream::layout::Layout;
use crate::store::upstream::read::{Item, StoredRecord};
use crate::store::upstream::source::{Source, SourceOptions};
use crate::store::upstream::training::{Batch, RECORDS_MAX};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// Between two looks at the records, and at the flags.
const POLL: Duration = Duration::from_secs(5);
/// After an error.
const RETRY: Duration = Duration::from_secs(10);
/// Newest records remembered: some may be trimmed away, or come again, between two looks.
const REMEMBERED: usize = 64;
/// The log tells of records that cannot be read at most this often.
const WARN_EVERY: Duration = Duration::from_secs(600);

/// Switches learning mode of the fleet as a command; an error says that it may work later.
pub(crate) type SwitchMode = Arc<dyn Fn(bool) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// See the module documentation.
#[derive(Clone)]
pub struct UpstreamBridge {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) options: SourceOptions,
    pub(crate) layout: Layout,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) mode: Arc<LearningMode>,
    pub(crate) switch: SwitchMode,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: TaskStatus,
    pub(crate) records: Records,
    pub(crate) switches: Switches,
}

/// What is remembered of the records.
#[derive(Clone, Default)]
pub(crate) struct Records {
    /// Hashes of the newest of the last look.
    seen: VecDeque<[u8; 32]>,
    /// Taken in since the start.
    taken: usize,
    /// Left out since the start because they cannot be read.
    unreadable: usize,
    /// Of these, how many the log has told of, and when.
    told: Option<(usize, Instant)>,
}

/// What is remembered of learning mode.
#[derive(Clone, Default)]
pub(crate) struct Switches {
    /// The switch as the flags had it at the last look.
    dry_run: Option<bool>,
    /// A change that is still to be carried out.
    wanted: Option<bool>,
}

impl UpstreamBridge {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// None: what cannot be reached or read is waited for, with the reason in the status.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = self.follow() => ended,
            };
            if let Err(error) = ended {
                self.status.waiting(error.to_string());
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(jittered(RETRY)) => {}
            }
        }
    }

    /// Follows on one connection until that fails.
    async fn follow(&mut self) -> Result<(), TaskError> {
        let source = Source::open(&self.options).await?;
        let (mut records, mut switches) = (std::mem::take(&mut self.records), std::mem::take(&mut self.switches));
        let ended = tokio::select! {
            ended = self.follow_mode(&source, &mut switches) => ended,
            () = self.follow_records(&source, &mut records) => Ok(()),
        };
        (self.records, self.switches) = (records, switches);
        ended
    }

    /// Takes in records for ever. What stands in the way is told in the status and tried again: the connection is watched
    /// by whoever follows learning mode.
    async fn follow_records(&self, source: &Source, records: &mut Records) {
        loop {
            match self.reconcile_once(source, records).await {
                Ok(()) => {
                    let left_out = match records.unreadable {
                        0 => String::new(),
                        count => format!("; {count} left out that cannot be read"),
                    };
                    let said = format!("{} records taken in since the start{left_out}", records.taken);
                    self.status.finished("followed", said);
                }
                Err(error) => self.status.waiting(error.to_string()),
            }
            tokio::time::sleep(jittered(POLL)).await;
        }
    }

    /// Takes in what is new. Without anything new a second run does nothing.
    ///
    /// # Errors
    /// When a store cannot be used, or what lies there is no list.
    pub(crate) async fn reconcile_once(&self, source: &Source, records: &mut Records) -> Result<(), TaskError> {
        let seen = &records.seen;
        let stored = source.records_until(RECORDS_MAX, |record| seen.contains(&hash(record))).await?;
        let mut newest: VecDeque<_> = stored.iter().take(REMEMBERED).map(identity).collect();
        // One that is too long never ends a look: it is known by its length only, and so another may be meant.
        let too_long = stored
            .iter()
            .filter(|record| matches!(record, StoredRecord::TooLong(_)) && !seen.contains(&identity(record)));
        let too_long = too_long.count();
        let read = tokio::task::spawn_blocking(move || {
            let sound = stored.iter().filter_map(StoredRecord::bytes);
            Batch::decode_readable(sound, clock::now())
        });
        let (batch, malformed) = read.await?;
        let taken = take_in(self.store.as_ref(), &batch.records).await?;
        records.taken += taken.legitimate + taken.attacks;
        newest.extend(std::mem::take(&mut records.seen));
        newest.truncate(REMEMBERED);
        records.seen = newest;
        self.leave_out(records, malformed, too_long);
        Ok(())
    }

    fn leave_out(&self, records: &mut Records, malformed: usize, too_long: usize) {
        self.metrics.bridge_left_out("malformed", malformed);
        self.metrics.bridge_left_out("too_long", too_long);
        records.unreadable += malformed + too_long;
        let (told, at) = records.told.map_or((0, None), |(told, at)| (told, Some(at)));
        let untold = records.unreadable - told;
        if untold > 0 && at.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            warn!(records = untold, "{untold} training records there are none of Nauthilus 1.7 and were left out");
            records.told = Some((records.unreadable, Instant::now()));
        }
    }

    /// Follows learning mode until the connection fails.
    async fn follow_mode(&self, source: &Source, switches: &mut Switches) -> Result<(), TaskError> {
        let mut updates = pin!(source.learning_mode_updates().await?);
        loop {
            if let Item::Found(flags) = source.flags_of(&self.layout).await?
                && switches.dry_run.replace(flags.dry_run).is_some_and(|before| before != flags.dry_run)
            {
                switches.wanted = Some(flags.dry_run);
            }
            self.switch(switches).await;
            tokio::select! {
                update = updates.next() => {
                    let bytes = update.ok_or("the subscription to the old Redis ended")?;
                    // What is no message of the original is none.
                    if let Ok(update) = LearningModeUpdate::decode(&bytes) {
                        switches.wanted = Some(update.learning_mode);
                        self.switch(switches).await;
                    }
                }
                () = tokio::time::sleep(jittered(POLL)) => {}
            }
        }
    }

    /// Sets the fleet's learning mode as the old nodes have it now; what cannot be done yet stays wanted.
    async fn switch(&self, switches: &mut Switches) {
        let Some(on) = switches.wanted else { return };
        if !self.config.load().ml.dry_run
            && self.mode.switched_on() != on
            && let Err(error) = (self.switch)(on).await
        {
            self.status.waiting(error);
            return;
        }
        switches.wanted = None;
    }
}

fn hash(record: &[u8]) -> [u8; 32] {
    Sha256::digest(record).into()
}

fn identity(record: &StoredRecord) -> [u8; 32] {
    match record {
        StoredRecord::Whole(bytes) => hash(bytes),
        StoredRecord::TooLong(bytes) => hash(format!("too long: {bytes}").as_bytes()),
    }
}
