//! The store of one host: a single redb file, one thread that writes, no server.
//!
//! The rules of the registry are those of [`registry`]; this turns them into tables. Only the daemon
//! opens the file: a second process is refused. Subscriptions stay within the process.

mod file;
mod modes;
mod override_steps;
mod registry_steps;
mod signals;
mod streams;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use redb::ReadableTable;
use tokio::sync::mpsc;

use self::registry_steps as steps;
pub use self::writer::Clock;
use self::writer::{Answered, Writer};
use super::candidate;
use super::entry;
use super::mode::{FleetMode, ModeChange, ModeReply};
use super::overrides::{OverridesChange, OverridesReply, StoredOverrides};
use super::registry::{
    self, HighWater, Lease, LeaseReply, ModelId, PublishReply, PublishRequest, RefusalReply, RefusalRequest, Registry,
    ResetReply, RollbackReply, TriggerKey,
};
use super::{
    Answer, AttemptEntry, AuditEntry, Claim, FeaturesChange, FeaturesReply, FeedbackAppended, Limits, NODE_TTL,
    NodeReport, PROTECTION_MAX, Position, Relabel, SampleClass, SampleEntry, Signal, Store, StoreError,
};
use crate::detection::additional::LIST_BYTES_MAX;
use crate::detection::event::BootId;

/// A handle to the store; clones share the file and the thread. The last one to go waits for what was accepted.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    limits: RwLock<Limits>,
    origin: String,
    /// Reports live for seconds and nodes for as long as the process: not worth a commit.
    nodes: Mutex<BTreeMap<String, NodeReport>>,
}

impl EmbeddedStore {
    /// Opens the file, or creates it. `origin` is the node's name, for announcements.
    ///
    /// A damaged file is renamed to `<path>.bad-<unix time>` and replaced by an empty one: see [`Self::recovered`].
    ///
    /// # Errors
    /// [`StoreError::Refused`] when another process has it open, a newer version wrote it, or the directory is not
    /// writable.
    pub fn open(path: impl Into<PathBuf>, limits: Limits, origin: &str) -> Result<Self, StoreError> {
        let clock: Clock = Arc::new(|| chrono::Utc::now().timestamp_millis());
        Self::open_with_clock(path, limits, origin, clock)
    }

    /// The same with store time from `clock` (milliseconds since the epoch).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_clock(
        path: impl Into<PathBuf>,
        limits: Limits,
        origin: &str,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let inner = Inner {
            writer: Writer::start(path.into(), clock)?,
            limits: RwLock::new(limits),
            origin: entry::printable_origin(origin),
            nodes: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where the damaged file went that was found at the last opening, if one was.
    pub fn recovered(&self) -> Option<PathBuf> {
        self.inner.writer.shared.recovered()
    }

    fn limits(&self) -> Limits {
        *self.inner.limits.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> &Writer {
        &self.inner.writer
    }
}

fn boxed<'a, T>(future: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Answer<'a, T> {
    Box::pin(future)
}

impl Store for EmbeddedStore {
    fn backend(&self) -> &'static str {
        "embedded"
    }

    fn connected(&self) -> bool {
        self.writer().shared.connected()
    }

    fn ping(&self) -> Answer<'_, ()> {
        boxed(self.writer().read("read the embedded store", |_, _| Ok(Ok(()))))
    }

    fn set_limits(&self, limits: Limits) {
        *self.inner.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn append_attempts<'a>(&'a self, batch: &'a [AttemptEntry]) -> Answer<'a, Position> {
        const OPERATION: &str = "append attempts";
        boxed(async move {
            entry::check_batch(OPERATION, batch)?;
            if batch.is_empty() {
                return self.attempts_end().await;
            }
            let (batch, limits) = (batch.to_vec(), self.limits());
            let weight = batch.len();
            let step = move |transaction: &_, now_ms| {
                streams::append_attempts(transaction, &batch, &limits, now_ms).map(Answered::from)
            };
            self.writer().write(OPERATION, weight, step).await
        })
    }

    fn read_attempts(&self, after: Position, max: usize) -> Answer<'_, Vec<(Position, Vec<u8>)>> {
        boxed(
            self.writer()
                .read("read attempts", move |transaction, _| streams::read_attempts(transaction, after, max).map(Ok)),
        )
    }

    fn attempts_end(&self) -> Answer<'_, Position> {
        boxed(
            self.writer()
                .read("read the end of the attempts", |transaction, _| streams::attempts_end(transaction).map(Ok)),
        )
    }

    fn read_samples(&self, class: SampleClass) -> Answer<'_, Vec<(f64, Vec<u8>)>> {
        let most = self.limits().samples_per_class;
        boxed(
            self.writer()
                .read("read samples", move |transaction, _| streams::read_samples(transaction, class, most).map(Ok)),
        )
    }

    fn add_samples<'a>(&'a self, samples: &'a [SampleEntry]) -> Answer<'a, ()> {
        const OPERATION: &str = "add samples";
        boxed(async move {
            entry::check_samples(OPERATION, samples)?;
            if samples.is_empty() {
                return Ok(());
            }
            let (samples, limits) = (samples.to_vec(), self.limits());
            let weight = samples.len();
            let step =
                move |transaction: &_, _| streams::add_samples(transaction, &samples, &limits).map(Answered::from);
            self.writer().write(OPERATION, weight, step).await
        })
    }

    fn relabel_samples<'a>(&'a self, changes: &'a [Relabel]) -> Answer<'a, u64> {
        const OPERATION: &str = "label samples";
        boxed(async move {
            entry::check_relabels(OPERATION, changes)?;
            if changes.is_empty() {
                return Ok(0);
            }
            let changes = changes.to_vec();
            let weight = changes.len();
            let step = move |transaction: &_, _| streams::relabel_samples(transaction, &changes).map(Answered::from);
            self.writer().write(OPERATION, weight, step).await
        })
    }

    fn append_feedback<'a>(&'a self, id: &'a str, bytes: &'a [u8]) -> Answer<'a, FeedbackAppended> {
        const OPERATION: &str = "record feedback";
        boxed(async move {
            entry::check_feedback(OPERATION, id, bytes)?;
            let (id, bytes, limits) = (id.to_owned(), bytes.to_vec(), self.limits());
            let step = move |transaction: &_, now_ms| {
                streams::append_feedback(transaction, &id, &bytes, &limits, now_ms).map(Answered::from)
            };
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn read_feedback(&self, after: Position, max: usize) -> Answer<'_, Vec<(Position, Vec<u8>)>> {
        boxed(
            self.writer()
                .read("read feedback", move |transaction, _| streams::read_feedback(transaction, after, max).map(Ok)),
        )
    }

    fn count_feedback(&self, after: Position, limit: u64) -> Answer<'_, u64> {
        let limit = limit.min(self.limits().feedback_max);
        boxed(
            self.writer().read("count feedback", move |transaction, _| {
                streams::count_feedback(transaction, after, limit).map(Ok)
            }),
        )
    }

    fn registry(&self) -> Answer<'_, Registry> {
        const OPERATION: &str = "read the registry";
        boxed(self.writer().read(OPERATION, |transaction, now_ms| {
            let state = steps::state(OPERATION, &transaction.open_table(file::META)?)?;
            Ok(state.map(|state| Registry { now_ms, ..state.registry }))
        }))
    }

    fn model(&self, sha256: [u8; 32]) -> Answer<'_, Option<Vec<u8>>> {
        boxed(self.writer().read("read a model", move |transaction, _| {
            let blob = transaction.open_table(file::MODELS)?.get(sha256)?.map(|blob| blob.value().to_vec());
            Ok(Ok(blob))
        }))
    }

    fn acquire_lease<'a>(
        &'a self,
        trigger: &'a TriggerKey,
        holder: BootId,
        ttl: Duration,
        high_water: HighWater,
    ) -> Answer<'a, LeaseReply> {
        const OPERATION: &str = "acquire the training lease";
        let trigger = trigger.clone();
        boxed(self.writer().write(OPERATION, 1, move |transaction, now_ms| {
            steps::apply(OPERATION, transaction, |state| {
                registry::decide_lease(state, &trigger, holder, ttl, high_water, now_ms)
            })
        }))
    }

    fn renew_lease(&self, lease: Lease, ttl: Duration) -> Answer<'_, bool> {
        const OPERATION: &str = "renew the training lease";
        boxed(self.writer().write(OPERATION, 1, move |transaction, now_ms| {
            steps::apply(OPERATION, transaction, |state| registry::decide_renewal(state, lease, ttl, now_ms))
        }))
    }

    fn release_lease(&self, lease: Lease) -> Answer<'_, ()> {
        const OPERATION: &str = "release the training lease";
        boxed(self.writer().write(OPERATION, 1, move |transaction, _| {
            steps::apply(OPERATION, transaction, |state| registry::decide_release(state, lease))
        }))
    }

    fn publish<'a>(&'a self, request: &'a PublishRequest, artifact: &'a [u8]) -> Answer<'a, PublishReply> {
        const OPERATION: &str = "publish a model";
        boxed(async move {
            entry::check_artifact(OPERATION, artifact)?;
            entry::check_size(OPERATION, "a history entry", request.history.len(), entry::DOCUMENT_MAX)?;
            let (request, artifact, limits) = (request.clone(), artifact.to_vec(), self.limits());
            let step = move |transaction: &_, now_ms| {
                steps::publish(OPERATION, transaction, &request, &artifact, &limits, now_ms)
            };
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn record_refusal<'a>(&'a self, request: &'a RefusalRequest) -> Answer<'a, RefusalReply> {
        const OPERATION: &str = "record a refused training";
        boxed(async move {
            entry::check_size(OPERATION, "a history entry", request.history.len(), entry::DOCUMENT_MAX)?;
            candidate::check(OPERATION, request.candidate.as_ref())?;
            let (request, limits) = (request.clone(), self.limits());
            let step = move |transaction: &_, now_ms| steps::refuse(OPERATION, transaction, &request, &limits, now_ms);
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn reset<'a>(&'a self, by: &'a str, lineage_if_new: [u8; 16]) -> Answer<'a, ResetReply> {
        const OPERATION: &str = "reset the model";
        let (deed, origin, limits) = (entry::deed(by), self.inner.origin.clone(), self.limits());
        boxed(self.writer().write(OPERATION, 1, move |transaction, now_ms| {
            steps::reset(OPERATION, transaction, lineage_if_new, &deed, &origin, &limits, now_ms)
        }))
    }

    fn rollback<'a>(&'a self, generation: Option<u64>, by: &'a str) -> Answer<'a, RollbackReply> {
        const OPERATION: &str = "roll back the model";
        let (deed, origin, limits) = (entry::deed(by), self.inner.origin.clone(), self.limits());
        boxed(self.writer().write(OPERATION, 1, move |transaction, now_ms| {
            steps::roll_back(OPERATION, transaction, generation, &deed, &origin, &limits, now_ms)
        }))
    }

    fn restore<'a>(&'a self, model: ModelId, artifact: &'a [u8]) -> Answer<'a, bool> {
        const OPERATION: &str = "restore the model";
        boxed(async move {
            entry::check_artifact(OPERATION, artifact)?;
            let (artifact, origin, limits) = (artifact.to_vec(), self.inner.origin.clone(), self.limits());
            let step = move |transaction: &_, now_ms| {
                steps::restore(OPERATION, transaction, model, &artifact, &origin, &limits, now_ms)
            };
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn candidate(&self) -> Answer<'_, Option<Vec<u8>>> {
        boxed(self.writer().read("read the candidate", |transaction, _| modes::blob(transaction, file::CANDIDATE)))
    }

    fn candidate_model(&self) -> Answer<'_, Option<Vec<u8>>> {
        const OPERATION: &str = "read the candidate's model";
        boxed(self.writer().read(OPERATION, |transaction, _| modes::blob(transaction, file::CANDIDATE_MODEL)))
    }

    fn discard_candidate<'a>(&'a self, note: &'a [u8], by: &'a str) -> Answer<'a, bool> {
        const OPERATION: &str = "discard the candidate";
        let (note, deed, limits) = (note.to_vec(), entry::deed(by), self.limits());
        boxed(self.writer().write(OPERATION, 1, move |transaction, now_ms| {
            modes::discard(OPERATION, transaction, &note, &deed, &limits, now_ms)
        }))
    }

    fn history(&self, max: usize) -> Answer<'_, Vec<Vec<u8>>> {
        let most = usize::try_from(self.limits().history_max).unwrap_or(usize::MAX).min(max);
        boxed(self.writer().read("read the history", move |transaction, _| {
            let history = transaction.open_table(file::HISTORY)?;
            let newest = history.iter()?.rev().take(most);
            Ok(Ok(newest.map(|entry| Ok(entry?.1.value().to_vec())).collect::<Result<_, redb::StorageError>>()?))
        }))
    }

    fn features(&self) -> Answer<'_, Option<Vec<u8>>> {
        boxed(self.writer().read("read the additional features", |transaction, _| {
            let list = transaction.open_table(file::META)?.get(file::FEATURES)?.map(|list| list.value().to_vec());
            Ok(Ok(list))
        }))
    }

    fn change_features<'a>(&'a self, change: &'a FeaturesChange) -> Answer<'a, FeaturesReply> {
        const OPERATION: &str = "change the additional features";
        boxed(async move {
            entry::check_size(OPERATION, "the list", change.after.len(), LIST_BYTES_MAX)?;
            let (change, origin, limits) = (change.clone(), self.inner.origin.clone(), self.limits());
            self.writer()
                .write(OPERATION, 1, move |transaction, now_ms| {
                    steps::change_features(OPERATION, transaction, &change, &origin, &limits, now_ms)
                })
                .await
        })
    }

    fn learning_mode(&self) -> Answer<'_, Option<FleetMode>> {
        const OPERATION: &str = "read the learning mode";
        boxed(
            self.writer()
                .read(OPERATION, |transaction, _| modes::read(OPERATION, &transaction.open_table(file::META)?)),
        )
    }

    fn set_learning_mode<'a>(&'a self, change: &'a ModeChange) -> Answer<'a, ModeReply> {
        const OPERATION: &str = "set the learning mode";
        boxed(async move {
            let history = change.history.as_deref().unwrap_or_default();
            entry::check_size(OPERATION, "a history entry", history.len(), entry::DOCUMENT_MAX)?;
            let (change, origin, limits) = (change.clone(), self.inner.origin.clone(), self.limits());
            let step =
                move |transaction: &_, now_ms| modes::set(OPERATION, transaction, &change, &origin, &limits, now_ms);
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn overrides<'a>(&'a self, known: Option<&'a str>) -> Answer<'a, Option<StoredOverrides>> {
        let known = known.map(str::to_owned);
        boxed(self.writer().read("read the overrides", move |transaction, _| {
            override_steps::read(transaction, known.as_deref()).map(Ok)
        }))
    }

    fn change_overrides<'a>(&'a self, change: &'a OverridesChange) -> Answer<'a, OverridesReply> {
        const OPERATION: &str = "change the overrides";
        boxed(async move {
            change.check(OPERATION)?;
            let (change, origin) = (change.clone(), self.inner.origin.clone());
            let step =
                move |transaction: &_, now_ms| override_steps::change(OPERATION, transaction, &change, &origin, now_ms);
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn shared_key(&self, proposed: [u8; 32]) -> Answer<'_, [u8; 32]> {
        const OPERATION: &str = "agree on the pseudonym key";
        boxed(self.writer().write(OPERATION, 1, move |transaction, _| {
            let mut meta = transaction.open_table(file::META)?;
            let stored = meta.get(file::PSEUDONYM_KEY)?.map(|key| <[u8; 32]>::try_from(key.value()));
            let answer = match stored {
                None => {
                    meta.insert(file::PSEUDONYM_KEY, &proposed[..])?;
                    Ok(proposed)
                }
                Some(Ok(key)) => Ok(key),
                Some(Err(_)) => Err(StoreError::Corrupt { operation: OPERATION, what: "the pseudonym key".to_owned() }),
            };
            Ok(Answered { answer, announcement: None })
        }))
    }

    fn report_node<'a>(&'a self, report: &'a NodeReport) -> Answer<'a, ()> {
        let seen_at_ms = self.writer().shared.now_ms();
        let report = NodeReport { seen_at_ms, ..report.clone() };
        let mut nodes = self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.insert(report.boot_id.clone(), report);
        nodes.retain(|_, report| is_live(report, seen_at_ms));
        boxed(std::future::ready(Ok(())))
    }

    fn nodes(&self) -> Answer<'_, Vec<NodeReport>> {
        let now_ms = self.writer().shared.now_ms();
        let nodes = self.inner.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live: Vec<NodeReport> = nodes.values().filter(|report| is_live(report, now_ms)).cloned().collect();
        live.sort_by(|a, b| (&a.name, &a.boot_id).cmp(&(&b.name, &b.boot_id)));
        boxed(std::future::ready(Ok(live)))
    }

    fn load_protection(&self) -> Answer<'_, Option<Vec<u8>>> {
        const OPERATION: &str = "read the measures against attacks";
        boxed(self.writer().read(OPERATION, |transaction, now_ms| modes::protection(transaction, now_ms).map(Ok)))
    }

    fn save_protection<'a>(&'a self, merged: Option<&'a [u8]>, protection: &'a [u8]) -> Answer<'a, bool> {
        const OPERATION: &str = "store the measures against attacks";
        boxed(async move {
            entry::check_size(OPERATION, "the description", protection.len(), PROTECTION_MAX)?;
            let (merged, protection) = (merged.map(<[u8]>::to_vec), protection.to_vec());
            let step = move |transaction: &_, now_ms| {
                modes::save_protection(transaction, merged.as_deref(), &protection, now_ms).map(Answered::from)
            };
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn claim_command<'a>(&'a self, id: &'a str, _holder: BootId, ttl: Duration) -> Answer<'a, Claim> {
        const OPERATION: &str = "claim a command";
        boxed(async move {
            entry::check_command_id(OPERATION, id)?;
            let id = id.to_owned();
            let step = move |transaction: &_, now_ms| streams::claim(transaction, &id, ttl, now_ms).map(Answered::from);
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn finish_command<'a>(&'a self, id: &'a str, result: &'a [u8], _reply_to: Option<&'a str>) -> Answer<'a, ()> {
        const OPERATION: &str = "record the result of a command";
        boxed(async move {
            entry::check_command_id(OPERATION, id)?;
            entry::check_size(OPERATION, "a result", result.len(), entry::DOCUMENT_MAX)?;
            let (id, result) = (id.to_owned(), result.to_vec());
            let step =
                move |transaction: &_, now_ms| streams::finish(transaction, &id, &result, now_ms).map(Answered::from);
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> Answer<'a, ()> {
        const OPERATION: &str = "write the audit trail";
        boxed(async move {
            let document = serde_json::to_vec(entry).map_err(|error| StoreError::Refused {
                operation: OPERATION,
                remedy: "the entry is no JSON".to_owned(),
                source: Some(Box::new(error)),
            })?;
            entry::check_size(OPERATION, "an audit entry", document.len(), entry::ENTRY_MAX)?;
            let step =
                move |transaction: &_, now_ms| streams::audit(transaction, &document, now_ms).map(Answered::from);
            self.writer().write(OPERATION, 1, step).await
        })
    }

    fn audit(&self, max: usize) -> Answer<'_, Vec<AuditEntry>> {
        boxed(self.writer().read("read the audit trail", move |transaction, _| {
            let trail = transaction.open_table(file::AUDIT)?;
            let newest = trail.iter()?.rev().take(max);
            let read: Vec<_> = newest
                .map(|entry| Ok(serde_json::from_slice(entry?.1.value().1).ok()))
                .collect::<Result<_, redb::StorageError>>()?;
            Ok(Ok(read.into_iter().flatten().collect()))
        }))
    }

    fn subscribe(&self) -> mpsc::Receiver<Signal> {
        self.writer().shared.signals.subscribe()
    }

    fn send_command<'a>(&'a self, command: &'a [u8]) -> Answer<'a, ()> {
        self.writer().shared.signals.send(&entry::command_signal(command));
        boxed(std::future::ready(Ok(())))
    }
}

fn is_live(report: &NodeReport, now_ms: i64) -> bool {
    now_ms.saturating_sub(report.seen_at_ms).unsigned_abs() < NODE_TTL.as_millis() as u64
}
