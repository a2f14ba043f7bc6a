//! Takes in what nodes of Nauthilus 1.7 go on recording, and follows their learning mode (`[upstream] bridge`).
//!
//! It only reads there. Records are looked at every few seconds, newest first, up to the first that was there the time
//! before; taking one in twice changes nothing, so a restart or a second node does no harm. Of learning mode it follows
//! changes, those announced and those found in the flags, and never what merely stands there: the flags of the original
//! are set back by any of its nodes that does not know better. A node in dry run leaves learning mode alone.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::jittered;
use super::upstream_import::take_in;
use crate::clock;
use crate::config::Config;
use crate::serving::mode::LearningMode;
use crate::store::mode::{ModeCause, ModeChange, ModeOrigin, ModeReply};
use crate::store::upstream::flags::LearningModeUpdate;
use crate::store::upstream::layout::Layout;
use crate::store::upstream::read::Item;
use crate::store::upstream::source::{Source, SourceOptions};
use crate::store::upstream::training::{Batch, RECORDS_MAX};
use crate::store::{Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};

/// Between two looks at the records.
const POLL: Duration = Duration::from_secs(5);
/// After an error.
const RETRY: Duration = Duration::from_secs(10);
/// Newest records remembered: some may be trimmed away, or come again, between two looks.
const REMEMBERED: usize = 64;

/// See the module documentation.
#[derive(Clone)]
pub struct UpstreamBridge {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) options: SourceOptions,
    pub(crate) layout: Layout,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) mode: Arc<LearningMode>,
    pub(crate) registry_changed: Arc<Notify>,
    pub(crate) status: TaskStatus,
    /// Hashes of the newest records of the last look.
    pub(crate) seen: VecDeque<[u8; 32]>,
    /// The switch as the flags had it at the last look.
    pub(crate) dry_run: Option<bool>,
    /// Records taken in since the start.
    pub(crate) taken: usize,
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
        let mut updates = pin!(source.learning_mode_updates().await?);
        loop {
            self.reconcile_once(&source).await?;
            tokio::select! {
                update = updates.next() => {
                    let bytes = update.ok_or("the subscription to the old Redis ended")?;
                    // What is no message of the original is none.
                    if let Ok(update) = LearningModeUpdate::decode(&bytes) {
                        self.switch(update.learning_mode).await?;
                    }
                }
                () = tokio::time::sleep(jittered(POLL)) => {}
            }
        }
    }

    /// Takes in what is new. Without anything new a second run does nothing.
    ///
    /// # Errors
    /// When a store cannot be used, or a record is none of the original; what follows it is not taken in either.
    pub(crate) async fn reconcile_once(&mut self, source: &Source) -> Result<(), TaskError> {
        let hash = |record: &[u8]| <[u8; 32]>::from(Sha256::digest(record));
        let seen = &self.seen;
        let records = source.records_until(RECORDS_MAX, |record| seen.contains(&hash(record))).await?;
        let mut newest: VecDeque<_> = records.iter().take(REMEMBERED).map(|record| hash(record)).collect();
        let batch = tokio::task::spawn_blocking(move || Batch::decode(records.iter().map(Vec::as_slice), clock::now()));
        let batch = batch.await??;
        let taken = take_in(self.store.as_ref(), &batch.records).await?;
        self.taken += taken.legitimate + taken.attacks;
        newest.extend(std::mem::take(&mut self.seen));
        newest.truncate(REMEMBERED);
        self.seen = newest;
        if let Item::Found(flags) = source.flags_of(&self.layout).await?
            && self.dry_run.replace(flags.dry_run).is_some_and(|before| before != flags.dry_run)
        {
            self.switch(flags.dry_run).await?;
        }
        self.status.finished("followed", format!("{} records taken in since the start", self.taken));
        Ok(())
    }

    /// Sets the fleet's learning mode as the old nodes have it now.
    async fn switch(&self, on: bool) -> Result<(), StoreError> {
        if self.config.load().ml.dry_run || self.mode.switched_on() == on {
            return Ok(());
        }
        let origin = ModeOrigin::new(ModeCause::Operator, "nauthilus 1.7", "switched on a node of Nauthilus 1.7");
        let change = ModeChange { on, origin, expected: None, history: None };
        if let ModeReply::Set(mode) = self.store.set_learning_mode(&change).await? {
            info!("learning mode was switched {} by a node of Nauthilus 1.7", if on { "on" } else { "off" });
            self.mode.set(mode);
            self.registry_changed.notify_one();
        }
        Ok(())
    }
}
