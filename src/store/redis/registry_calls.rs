//! The calls on the registry: one script each, and the arguments in the order that the script names them.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::connection::{BLOB_TIMEOUT, RESPONSE_TIMEOUT};
use super::meta::{Fields, kept_of, registry_of, trigger_arguments};
use super::{RedisStore, corrupt, millis, unexpected, with_keys};
use crate::detection::additional::LIST_BYTES_MAX;
use crate::detection::event::BootId;
use crate::store::candidate;
use crate::store::entry::{self, HistoryFacts};
use crate::store::registry::{
    COMMANDS_MAX, HighWater, KEPT_MAX, Lease, LeaseReply, ModelId, NUMBER_MAX, PublishReply, PublishRequest,
    RefusalReply, RefusalRequest, ResetReply, RollbackReply, TriggerKey,
};
use crate::store::{FeaturesChange, FeaturesReply, StoreError};

/// Attempts of a rollback whose list of kept models changed between reading and writing.
const RETRIES: usize = 5;

impl RedisStore {
    /// Reads the registry hash together with the server's time.
    pub(super) async fn fields(&self, operation: &'static str) -> Result<(i64, Fields), StoreError> {
        let invocation = with_keys(&self.scripts.registry, [self.keys.meta()]);
        self.script(operation, RESPONSE_TIMEOUT, &invocation).await
    }

    /// The keys of the models that the registry keeps now: a script may only touch keys that it was given.
    async fn kept_keys(&self, operation: &'static str) -> Result<Vec<String>, StoreError> {
        let (_, fields) = self.fields(operation).await?;
        let kept = kept_of(&fields).map_err(|what| corrupt(operation, what))?;
        Ok(kept.iter().map(|sha256| self.keys.model(sha256)).collect())
    }

    /// Distinct models a registry keeps: the current one and those for rollback.
    fn distinct_max(&self) -> u64 {
        self.limits().models_kept.min(KEPT_MAX as u64).saturating_add(1)
    }

    pub(super) async fn lease(
        &self,
        trigger: &TriggerKey,
        holder: BootId,
        ttl: Duration,
        high_water: HighWater,
    ) -> Result<LeaseReply, StoreError> {
        const OPERATION: &str = "acquire the training lease";
        let mut invocation = with_keys(&self.scripts.lease, [self.keys.meta(), self.keys.lease()]);
        invocation.arg(&trigger_arguments(trigger));
        invocation.arg(hex::encode(holder.0)).arg(millis(ttl).max(1)).arg(high_water.fence).arg(NUMBER_MAX);
        let answer: Vec<Value> = self.script(OPERATION, RESPONSE_TIMEOUT, &invocation).await?;
        let mut answer = answer.into_iter();
        let kind: String = next(OPERATION, &mut answer)?;
        match kind.as_str() {
            "done" => Ok(LeaseReply::AlreadyDone),
            "held" => Ok(LeaseReply::Held { remaining: Duration::from_millis(next(OPERATION, &mut answer)?) }),
            "acquired" => {
                let lease = Lease { holder, fence: next(OPERATION, &mut answer)? };
                let now_ms = next(OPERATION, &mut answer)?;
                let fields: Fields = next(OPERATION, &mut answer)?;
                let registry = registry_of(&fields, now_ms).map_err(|what| corrupt(OPERATION, what))?;
                Ok(LeaseReply::Acquired { lease, registry: Box::new(registry) })
            }
            _ => Err(unexpected(OPERATION)),
        }
    }

    pub(super) async fn publish_model(
        &self,
        request: &PublishRequest,
        artifact: &[u8],
    ) -> Result<PublishReply, StoreError> {
        const OPERATION: &str = "publish a model";
        entry::check_artifact(OPERATION, artifact)?;
        entry::check_size(OPERATION, "a history entry", request.history.len(), entry::DOCUMENT_MAX)?;
        let limits = self.limits();
        let model = &request.model;
        let kept = self.kept_keys(OPERATION).await?;
        let keys = [
            self.keys.meta(),
            self.keys.history(),
            self.keys.model(&model.sha256),
            self.keys.mode(),
            self.keys.feedback(),
            self.keys.candidate(),
            self.keys.candidate_model(),
        ];
        let mut invocation = with_keys(&self.scripts.publish, keys);
        invocation.key(&kept);
        invocation.arg(request.lease.fence).arg(&trigger_arguments(&request.trigger));
        invocation.arg(request.parent.generation).arg(request.parent.sha256.map(hex::encode).unwrap_or_default());
        invocation.arg(hex::encode(model.lineage)).arg(model.generation).arg(hex::encode(model.sha256));
        invocation.arg(request.format).arg(request.watermark.to_string()).arg(u8::from(request.by_operator));
        invocation.arg(&request.history[..]).arg(entry::printable_origin(&request.origin));
        invocation.arg(self.keys.announcements()).arg(limits.history_max).arg(self.distinct_max()).arg(KEPT_MAX);
        invocation.arg(COMMANDS_MAX).arg(NUMBER_MAX).arg(artifact);
        match &request.ends_learning {
            Some(end) => invocation.arg(end.expected.as_str()).arg(end.origin.encode()),
            None => invocation.arg("").arg(""),
        };
        let answer: String = self.deed(OPERATION, BLOB_TIMEOUT, invocation).await?;
        Ok(match answer.as_str() {
            "published" => PublishReply::Published,
            "already" => PublishReply::AlreadyPublished,
            "stale" => PublishReply::StaleFence,
            "parent" => PublishReply::ParentChanged,
            "identity" => PublishReply::WrongIdentity,
            "pinned" => PublishReply::Pinned,
            "format" => PublishReply::OldFormat,
            _ => return Err(unexpected(OPERATION)),
        })
    }

    pub(super) async fn refuse(&self, request: &RefusalRequest) -> Result<RefusalReply, StoreError> {
        const OPERATION: &str = "record a refused training";
        entry::check_size(OPERATION, "a history entry", request.history.len(), entry::DOCUMENT_MAX)?;
        candidate::check(OPERATION, request.candidate.as_ref())?;
        let keys = [self.keys.meta(), self.keys.history(), self.keys.candidate(), self.keys.candidate_model()];
        let mut invocation = with_keys(&self.scripts.refuse, keys);
        invocation.arg(request.lease.fence).arg(&trigger_arguments(&request.trigger));
        invocation.arg(request.considered.to_string()).arg(&request.history[..]);
        invocation.arg(self.limits().history_max).arg(COMMANDS_MAX);
        match &request.candidate {
            Some(candidate) => invocation.arg(&candidate.note[..]).arg(&candidate.artifact[..]),
            None => invocation.arg("").arg(""),
        };
        let answer: String = self.script(OPERATION, BLOB_TIMEOUT, &invocation).await?;
        match answer.as_str() {
            "recorded" => Ok(RefusalReply::Recorded),
            "stale" => Ok(RefusalReply::StaleFence),
            _ => Err(unexpected(OPERATION)),
        }
    }

    pub(super) async fn reset_registry(&self, by: &str, lineage_if_new: [u8; 16]) -> Result<ResetReply, StoreError> {
        const OPERATION: &str = "reset the model";
        let mut invocation = with_keys(&self.scripts.reset, [self.keys.meta(), self.keys.history()]);
        invocation.arg(hex::encode(lineage_if_new)).arg(entry::deed(by)).arg(&self.origin);
        invocation.arg(self.keys.announcements()).arg(self.limits().history_max);
        let (lineage, generation): (String, u64) = self.deed(OPERATION, RESPONSE_TIMEOUT, invocation).await?;
        Ok(ResetReply { lineage: hex_of(OPERATION, &lineage)?, generation })
    }

    pub(super) async fn exchange_features(&self, change: &FeaturesChange) -> Result<FeaturesReply, StoreError> {
        const OPERATION: &str = "change the additional features";
        entry::check_size(OPERATION, "the list", change.after.len(), LIST_BYTES_MAX)?;
        let keys = [self.keys.features(), self.keys.meta(), self.keys.history()];
        let mut invocation = with_keys(&self.scripts.features, keys);
        invocation.arg(change.before.as_deref().unwrap_or_default()).arg(&change.after[..]);
        invocation.arg(&self.origin).arg(self.keys.announcements());
        match &change.reset {
            Some((by, lineage)) => invocation.arg(entry::deed(by)).arg(hex::encode(lineage)),
            None => invocation.arg("").arg(""),
        };
        invocation.arg(self.limits().history_max);
        let answer: String = self.deed(OPERATION, RESPONSE_TIMEOUT, invocation).await?;
        match answer.as_str() {
            "changed" => Ok(FeaturesReply::Changed),
            "conflict" => Ok(FeaturesReply::Conflict),
            _ => Err(unexpected(OPERATION)),
        }
    }

    pub(super) async fn roll_back(&self, generation: Option<u64>, by: &str) -> Result<RollbackReply, StoreError> {
        const OPERATION: &str = "roll back the model";
        for _ in 0..RETRIES {
            let kept = self.kept_keys(OPERATION).await?;
            let mut invocation = with_keys(&self.scripts.rollback, [self.keys.meta(), self.keys.history()]);
            invocation.key(&kept);
            invocation.arg(generation.map(|number| number.to_string()).unwrap_or_default()).arg(entry::deed(by));
            invocation.arg(&self.origin).arg(self.keys.announcements()).arg(self.limits().history_max);
            invocation.arg(self.distinct_max()).arg(KEPT_MAX);
            let answer: Vec<String> = self.deed(OPERATION, RESPONSE_TIMEOUT, invocation).await?;
            let texts: Vec<&str> = answer.iter().map(String::as_str).collect();
            match texts[..] {
                ["retry"] => {}
                ["notfound"] => return Ok(RollbackReply::NotFound),
                ["done", lineage, number, sha256] => {
                    return Ok(RollbackReply::RolledBack(ModelId {
                        lineage: hex_of(OPERATION, lineage)?,
                        generation: number.parse().map_err(|_| unexpected(OPERATION))?,
                        sha256: hex_of(OPERATION, sha256)?,
                    }));
                }
                _ => return Err(unexpected(OPERATION)),
            }
        }
        // Somebody publishes as fast as we read.
        Err(StoreError::Unavailable { operation: OPERATION, source: None })
    }

    pub(super) async fn restore_model(&self, model: ModelId, artifact: &[u8]) -> Result<bool, StoreError> {
        const OPERATION: &str = "restore the model";
        entry::check_artifact(OPERATION, artifact)?;
        let kept = self.kept_keys(OPERATION).await?;
        let mut invocation =
            with_keys(&self.scripts.restore, [self.keys.meta(), self.keys.history(), self.keys.model(&model.sha256)]);
        invocation.key(&kept);
        invocation.arg(hex::encode(model.lineage)).arg(model.generation).arg(hex::encode(model.sha256));
        invocation.arg(entry::deed(&self.origin)).arg(&self.origin).arg(self.keys.announcements());
        invocation.arg(self.limits().history_max).arg(self.distinct_max()).arg(KEPT_MAX).arg(NUMBER_MAX).arg(artifact);
        self.script(OPERATION, BLOB_TIMEOUT, &invocation).await
    }

    pub(super) async fn read_history(&self, max: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        const OPERATION: &str = "read the history";
        let most = usize::try_from(self.limits().history_max).unwrap_or(usize::MAX).min(max);
        let mut documents = Vec::new();
        let mut before = "+".to_owned();
        // A document may have 256 KiB: few at a time.
        while documents.len() < most {
            let count = (most - documents.len()).min(50);
            let mut command = redis::cmd("XREVRANGE");
            command.arg(self.keys.history()).arg(&before).arg("-").arg("COUNT").arg(count);
            let chunk: Vec<(String, std::collections::HashMap<String, Vec<u8>>)> =
                self.command(OPERATION, &command).await?;
            let complete = chunk.len() == count;
            for (id, fields) in chunk {
                let text = |name: &str| {
                    fields.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
                };
                let present = |name: &str| Some(text(name)).filter(|text| !text.is_empty());
                let facts = HistoryFacts {
                    outcome: text("outcome"),
                    lineage: present("lineage"),
                    generation: text("generation").parse().unwrap_or(0),
                    sha256: present("sha256"),
                    at_ms: text("at_ms").parse().unwrap_or(0),
                    ended_learning: text("ended_learning") == "1",
                };
                documents.push(entry::history_document(fields.get("j").map_or(b"", Vec::as_slice), &facts));
                before = format!("({id}");
            }
            if !complete {
                break;
            }
        }
        Ok(documents)
    }
}

fn hex_of<const N: usize>(operation: &'static str, text: &str) -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| unexpected(operation))?;
    Ok(bytes)
}

fn next<T: FromRedisValue>(operation: &'static str, values: &mut impl Iterator<Item = Value>) -> Result<T, StoreError> {
    let value = values.next().ok_or_else(|| unexpected(operation))?;
    redis::from_redis_value(value).map_err(|_| unexpected(operation))
}
