//! The store that a fleet shares: Redis or Valkey 7 or newer, a single server.
//!
//! Every atomic step is one script (`scripts/`), all keys lie under one hash tag. This file turns the trait's methods
//! into calls; longer calls, connecting, subscribing and the meaning of errors have files of their own. Nothing is
//! cached here.

mod connection;
mod failure;
mod meta;
mod mode_calls;
mod options;
mod override_calls;
mod registry_calls;
mod scripts;
mod streams;
mod subscriber;

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use redis::{FromRedisValue, Script, ScriptInvocation};
use tokio::sync::mpsc;

use self::connection::{BLOB_TIMEOUT, Connection, RESPONSE_TIMEOUT, TIME_TIMEOUT, Unanswered, boxed};
use self::meta::registry_of;
pub use self::options::RedisOptions;
use self::scripts::Scripts;
use super::entry::{self, AUDIT_AGAIN, AUDIT_AGE, AUDIT_MAX, SIGNALS_MAX};
use super::keys::Keys;
use super::mode::{FleetMode, ModeChange, ModeReply};
use super::overrides::{OverridesChange, OverridesReply, StoredOverrides};
use super::registry::{
    HighWater, Lease, LeaseReply, ModelId, NUMBER_MAX, PublishReply, PublishRequest, RefusalReply, RefusalRequest,
    Registry, ResetReply, RollbackReply, TriggerKey,
};
use super::{
    Answer, AttemptEntry, AuditEntry, Claim, FeaturesChange, FeaturesReply, FeedbackAppended, Limits, MODEL_MAX,
    NODE_TTL, NodeReport, PROTECTION_MAX, PROTECTION_TTL, Position, Relabel, SampleClass, SampleEntry, Signal, Store,
    StoreError,
};
use crate::detection::additional::LIST_BYTES_MAX;
use crate::detection::event::BootId;

/// The store on one Redis server.
pub struct RedisStore {
    client: redis::Client,
    connection: Connection,
    keys: Keys,
    scripts: Scripts,
    origin: String,
    limits: RwLock<Limits>,
}

impl RedisStore {
    /// Removes every key under `prefix`: for the demo, which works under a random prefix of its own.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn purge(url: &str, prefix: &str) -> Result<(), StoreError> {
        const OPERATION: &str = "remove the demo's keys";
        let purge = async {
            let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
            let mut cursor = 0;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(format!("{prefix}{{neural}}:*")).arg("COUNT").arg(1000);
                let (next, keys): (u64, Vec<String>) = scan.query_async(&mut connection).await?;
                if !keys.is_empty() {
                    let _: u64 = redis::cmd("UNLINK").arg(keys).query_async(&mut connection).await?;
                }
                if next == 0 {
                    return Ok(());
                }
                cursor = next;
            }
        };
        purge.await.map_err(|error: redis::RedisError| StoreError::Unavailable {
            operation: OPERATION,
            source: Some(Box::new(error)),
        })
    }

    /// Makes the store and starts connecting; succeeds while the server is away. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the address cannot be understood.
    pub fn connect(options: &RedisOptions, limits: Limits) -> Result<Arc<Self>, StoreError> {
        let client = options.client()?;
        Ok(Arc::new(Self {
            connection: Connection::start(client.clone()),
            client,
            keys: Keys::new(&options.prefix),
            scripts: Scripts::new(),
            origin: entry::printable_origin(&options.origin),
            limits: RwLock::new(limits),
        }))
    }

    fn limits(&self) -> Limits {
        *self.limits.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn script<T: FromRedisValue>(
        &self,
        operation: &'static str,
        limit: Duration,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let call = |mut connection| async move { invocation.invoke_async(&mut connection).await };
        self.connection.call(operation, limit, Unanswered::Harmless, call).await
    }

    /// Runs a script of those that end in time (see `scripts`), and gives it `limit` from now.
    ///
    /// The server is asked for its time first: one that does not answer is not given the order, and then it is certain that
    /// nothing changes. The deadline counts from the moment when the time arrived here, so it never lies after the end of
    /// our own waiting. It is no proof: a server whose clock is set back in between, or stood still together with its host,
    /// carries out an order late. So an order without an answer is [`StoreError::Unanswered`] all the same.
    async fn deed<T: FromRedisValue>(
        &self,
        operation: &'static str,
        limit: Duration,
        mut invocation: ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let asked = Instant::now();
        let ask = |mut connection| async move { redis::cmd("TIME").query_async(&mut connection).await };
        let (seconds, micros): (u64, u64) =
            self.connection.call(operation, TIME_TIMEOUT, Unanswered::Harmless, ask).await?;
        let left = limit.saturating_sub(asked.elapsed());
        let deadline = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros)).saturating_add(left);
        invocation.arg(millis(deadline));
        let call = |mut connection| async move { invocation.invoke_async(&mut connection).await };
        self.connection.call(operation, left, Unanswered::Open, call).await
    }

    async fn command<T: FromRedisValue>(&self, operation: &'static str, command: &redis::Cmd) -> Result<T, StoreError> {
        self.connection
            .call(operation, RESPONSE_TIMEOUT, Unanswered::Harmless, |mut connection| async move {
                command.query_async(&mut connection).await
            })
            .await
    }
}

impl Store for RedisStore {
    fn backend(&self) -> &'static str {
        "redis"
    }

    fn connected(&self) -> bool {
        self.connection.connected()
    }

    fn ping(&self) -> Answer<'_, ()> {
        boxed(async move { self.command("ping redis", &redis::cmd("PING")).await })
    }

    fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(std::sync::PoisonError::into_inner) = limits;
    }

    fn append_attempts<'a>(&'a self, batch: &'a [AttemptEntry]) -> Answer<'a, Position> {
        boxed(self.append_batch(batch))
    }

    fn read_attempts(&self, after: Position, max: usize) -> Answer<'_, Vec<(Position, Vec<u8>)>> {
        boxed(async move { self.read_stream("read attempts", &self.keys.attempts(), "e", after, max).await })
    }

    fn attempts_end(&self) -> Answer<'_, Position> {
        boxed(self.end_of_attempts())
    }

    fn read_samples(&self, class: SampleClass) -> Answer<'_, Vec<(f64, Vec<u8>)>> {
        boxed(self.samples(class))
    }

    fn add_samples<'a>(&'a self, samples: &'a [SampleEntry]) -> Answer<'a, ()> {
        boxed(self.offer(samples))
    }

    fn relabel_samples<'a>(&'a self, changes: &'a [Relabel]) -> Answer<'a, u64> {
        boxed(self.relabel(changes))
    }

    fn append_feedback<'a>(&'a self, id: &'a str, bytes: &'a [u8]) -> Answer<'a, FeedbackAppended> {
        boxed(self.record_feedback(id, bytes))
    }

    fn read_feedback(&self, after: Position, max: usize) -> Answer<'_, Vec<(Position, Vec<u8>)>> {
        boxed(async move { self.read_stream("read feedback", &self.keys.feedback(), "f", after, max).await })
    }

    fn count_feedback(&self, after: Position, limit: u64) -> Answer<'_, u64> {
        boxed(async move {
            let mut invocation = with_keys(&self.scripts.count_feedback, [self.keys.feedback()]);
            invocation.arg(after.to_string()).arg(limit.min(self.limits().feedback_max));
            self.script("count feedback", RESPONSE_TIMEOUT, &invocation).await
        })
    }

    fn registry(&self) -> Answer<'_, Registry> {
        const OPERATION: &str = "read the registry";
        boxed(async move {
            let (now_ms, fields) = self.fields(OPERATION).await?;
            registry_of(&fields, now_ms).map_err(|what| corrupt(OPERATION, what))
        })
    }

    fn model(&self, sha256: [u8; 32]) -> Answer<'_, Option<Vec<u8>>> {
        boxed(async move {
            let mut invocation = with_keys(&self.scripts.model, [self.keys.model(&sha256)]);
            invocation.arg(MODEL_MAX);
            self.script("read a model", BLOB_TIMEOUT, &invocation).await
        })
    }

    fn acquire_lease<'a>(
        &'a self,
        trigger: &'a TriggerKey,
        holder: BootId,
        ttl: Duration,
        high_water: HighWater,
    ) -> Answer<'a, LeaseReply> {
        boxed(self.lease(trigger, holder, ttl, high_water))
    }

    fn renew_lease(&self, lease: Lease, ttl: Duration) -> Answer<'_, bool> {
        boxed(async move {
            let mut invocation = with_keys(&self.scripts.renew, [self.keys.lease()]);
            invocation.arg(lease_value(lease)).arg(millis(ttl).max(1));
            self.script("renew the training lease", RESPONSE_TIMEOUT, &invocation).await
        })
    }

    fn release_lease(&self, lease: Lease) -> Answer<'_, ()> {
        boxed(async move {
            let mut invocation = with_keys(&self.scripts.release, [self.keys.lease()]);
            invocation.arg(lease_value(lease));
            self.script("release the training lease", RESPONSE_TIMEOUT, &invocation).await
        })
    }

    fn publish<'a>(&'a self, request: &'a PublishRequest, artifact: &'a [u8]) -> Answer<'a, PublishReply> {
        boxed(self.publish_model(request, artifact))
    }

    fn record_refusal<'a>(&'a self, request: &'a RefusalRequest) -> Answer<'a, RefusalReply> {
        boxed(self.refuse(request))
    }

    fn reset<'a>(&'a self, by: &'a str, lineage_if_new: [u8; 16]) -> Answer<'a, ResetReply> {
        boxed(self.reset_registry(by, lineage_if_new))
    }

    fn rollback<'a>(&'a self, generation: Option<u64>, by: &'a str) -> Answer<'a, RollbackReply> {
        boxed(self.roll_back(generation, by))
    }

    fn restore<'a>(&'a self, model: ModelId, artifact: &'a [u8]) -> Answer<'a, bool> {
        boxed(self.restore_model(model, artifact))
    }

    fn candidate(&self) -> Answer<'_, Option<Vec<u8>>> {
        boxed(self.blob("read the candidate", self.keys.candidate(), entry::DOCUMENT_MAX))
    }

    fn candidate_model(&self) -> Answer<'_, Option<Vec<u8>>> {
        boxed(self.blob("read the candidate's model", self.keys.candidate_model(), MODEL_MAX))
    }

    fn discard_candidate<'a>(&'a self, note: &'a [u8], by: &'a str) -> Answer<'a, bool> {
        boxed(self.discard(note, by))
    }

    fn history(&self, max: usize) -> Answer<'_, Vec<Vec<u8>>> {
        boxed(self.read_history(max))
    }

    fn features(&self) -> Answer<'_, Option<Vec<u8>>> {
        const OPERATION: &str = "read the additional features";
        boxed(async move {
            // The script reads any bounded blob.
            let mut invocation = with_keys(&self.scripts.model, [self.keys.features()]);
            invocation.arg(LIST_BYTES_MAX);
            self.script(OPERATION, RESPONSE_TIMEOUT, &invocation).await
        })
    }

    fn change_features<'a>(&'a self, change: &'a FeaturesChange) -> Answer<'a, FeaturesReply> {
        boxed(self.exchange_features(change))
    }

    fn learning_mode(&self) -> Answer<'_, Option<FleetMode>> {
        boxed(self.read_mode())
    }

    fn set_learning_mode<'a>(&'a self, change: &'a ModeChange) -> Answer<'a, ModeReply> {
        boxed(self.write_mode(change))
    }

    fn overrides<'a>(&'a self, known: Option<&'a str>) -> Answer<'a, Option<StoredOverrides>> {
        boxed(self.read_overrides(known))
    }

    fn change_overrides<'a>(&'a self, change: &'a OverridesChange) -> Answer<'a, OverridesReply> {
        boxed(self.write_overrides(change))
    }

    fn shared_key(&self, proposed: [u8; 32]) -> Answer<'_, [u8; 32]> {
        const OPERATION: &str = "agree on the pseudonym key";
        boxed(async move {
            let mut command = redis::cmd("SET");
            command.arg(self.keys.pseudonym_key()).arg(hex::encode(proposed)).arg("NX").arg("GET");
            let stored: Option<String> = self.command(OPERATION, &command).await?;
            let Some(stored) = stored else { return Ok(proposed) };
            let mut key = [0; 32];
            hex::decode_to_slice(stored, &mut key).map_err(|_| corrupt(OPERATION, self.keys.pseudonym_key()))?;
            Ok(key)
        })
    }

    fn report_node<'a>(&'a self, report: &'a NodeReport) -> Answer<'a, ()> {
        boxed(async move {
            let document = serde_json::to_vec(report).map_err(|_| unexpected("report this node"))?;
            entry::check_size("report this node", "a report", document.len(), entry::ENTRY_MAX)?;
            let mut invocation = with_keys(&self.scripts.report_node, [self.keys.nodes()]);
            invocation.arg(&report.boot_id).arg(document).arg(millis(NODE_TTL));
            self.script("report this node", RESPONSE_TIMEOUT, &invocation).await
        })
    }

    fn nodes(&self) -> Answer<'_, Vec<NodeReport>> {
        boxed(self.live_nodes())
    }

    fn load_protection(&self) -> Answer<'_, Option<Vec<u8>>> {
        boxed(self.blob("read the measures against attacks", self.keys.protection(), PROTECTION_MAX))
    }

    fn save_protection<'a>(&'a self, merged: Option<&'a [u8]>, protection: &'a [u8]) -> Answer<'a, bool> {
        const OPERATION: &str = "store the measures against attacks";
        boxed(async move {
            entry::check_size(OPERATION, "the description", protection.len(), PROTECTION_MAX)?;
            let mut invocation = with_keys(&self.scripts.protection, [self.keys.protection()]);
            invocation.arg(merged.unwrap_or_default()).arg(protection).arg(millis(PROTECTION_TTL));
            self.script(OPERATION, BLOB_TIMEOUT, &invocation).await
        })
    }

    fn claim_command<'a>(&'a self, id: &'a str, holder: BootId, ttl: Duration) -> Answer<'a, Claim> {
        const OPERATION: &str = "claim a command";
        boxed(async move {
            entry::check_command_id(OPERATION, id)?;
            let mut invocation = with_keys(&self.scripts.claim, [self.keys.claim(id), self.keys.result(id)]);
            invocation.arg(hex::encode(holder.0)).arg(millis(ttl).max(1));
            let mut answer: Vec<Vec<u8>> = self.deed(OPERATION, RESPONSE_TIMEOUT, invocation).await?;
            match (answer.first().map(Vec::as_slice), answer.len()) {
                (Some(b"won"), _) => Ok(Claim::Won),
                (Some(b"lost"), _) => Ok(Claim::Lost),
                (Some(b"done"), 2) => Ok(Claim::Done(answer.remove(1))),
                _ => Err(unexpected(OPERATION)),
            }
        })
    }

    fn finish_command<'a>(&'a self, id: &'a str, result: &'a [u8], reply_to: Option<&'a str>) -> Answer<'a, ()> {
        boxed(self.finish(id, result, reply_to))
    }

    fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> Answer<'a, ()> {
        const OPERATION: &str = "write the audit trail";
        boxed(async move {
            let document = serde_json::to_vec(entry).map_err(|_| unexpected(OPERATION))?;
            entry::check_size(OPERATION, "an audit entry", document.len(), entry::ENTRY_MAX)?;
            let mut invocation = with_keys(&self.scripts.audit, [self.keys.audit()]);
            invocation.arg(document).arg(AUDIT_MAX).arg(millis(AUDIT_AGE)).arg(AUDIT_AGAIN);
            self.script(OPERATION, RESPONSE_TIMEOUT, &invocation).await
        })
    }

    fn audit(&self, max: usize) -> Answer<'_, Vec<AuditEntry>> {
        boxed(self.audit_entries(max))
    }

    fn subscribe(&self) -> mpsc::Receiver<Signal> {
        let (signals, receiver) = mpsc::channel(SIGNALS_MAX);
        let channels =
            subscriber::Channels { announcements: self.keys.announcements(), commands: self.keys.commands() };
        tokio::spawn(subscriber::run(self.client.clone(), channels, signals));
        receiver
    }

    fn send_command<'a>(&'a self, command: &'a [u8]) -> Answer<'a, ()> {
        boxed(async move {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(self.keys.commands()).arg(command);
            self.command("send a command", &publish).await
        })
    }
}

fn with_keys<const N: usize>(script: &Script, keys: [String; N]) -> ScriptInvocation<'_> {
    let mut invocation = script.prepare_invoke();
    for key in keys {
        invocation.key(key);
    }
    invocation
}

fn lease_value(lease: Lease) -> String {
    format!("{}:{}", hex::encode(lease.holder.0), lease.fence)
}

fn millis(duration: Duration) -> u64 {
    // A year of 2^53 ms is far beyond any limit that makes sense; more would not be exact in Lua.
    u64::try_from(duration.as_millis()).unwrap_or(NUMBER_MAX).min(NUMBER_MAX)
}

fn corrupt(operation: &'static str, what: String) -> StoreError {
    StoreError::Corrupt { operation, what }
}

fn unexpected(operation: &'static str) -> StoreError {
    corrupt(operation, "an answer of another shape".to_owned())
}
