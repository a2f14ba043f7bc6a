//! The calls on streams and sets: attempts, samples, feedback, nodes, commands. Bounds are checked before anything is
//! sent; long readings come in chunks.

use super::connection::RESPONSE_TIMEOUT;
use super::{RedisStore, corrupt, millis, unexpected, with_keys};
use crate::store::entry::{self, CHUNK, RESULT_TTL};
use crate::store::{
    AttemptEntry, AuditEntry, FeedbackAppended, NODE_TTL, NodeReport, Position, Relabel, SampleClass, SampleEntry,
    StoreError,
};

/// Entries of a stream as redis-rs reads them: id and fields.
type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

impl RedisStore {
    /// Entries of a stream after a position, fetched in chunks; `field` is the one that holds the bytes.
    pub(super) async fn read_stream(
        &self,
        operation: &'static str,
        key: &str,
        field: &str,
        after: Position,
        max: usize,
    ) -> Result<Vec<(Position, Vec<u8>)>, StoreError> {
        let mut found: Vec<(Position, Vec<u8>)> = Vec::new();
        while found.len() < max {
            let from = found.last().map_or(after, |(position, _)| *position);
            let count = (max - found.len()).min(CHUNK);
            let mut command = redis::cmd("XRANGE");
            command.arg(key).arg(format!("({from}")).arg("+").arg("COUNT").arg(count);
            let chunk: Entries = self.command(operation, &command).await?;
            let complete = chunk.len() == count;
            for (id, fields) in chunk {
                let position = position_of(operation, &id)?;
                let bytes = fields.into_iter().find(|(name, _)| name == field).map(|(_, bytes)| bytes);
                // A stranger's entry comes without bytes, which no decoder takes; an error would stop every reader at it.
                found.push((position, bytes.unwrap_or_default()));
            }
            if !complete {
                break;
            }
        }
        Ok(found)
    }

    pub(super) async fn audit_entries(&self, max: usize) -> Result<Vec<AuditEntry>, StoreError> {
        const OPERATION: &str = "read the audit trail";
        let (mut found, mut seen, mut before) = (Vec::new(), 0, "+".to_owned());
        while seen < max {
            let count = (max - seen).min(CHUNK);
            let mut command = redis::cmd("XREVRANGE");
            command.arg(self.keys.audit()).arg(&before).arg("-").arg("COUNT").arg(count);
            let chunk: Entries = self.command(OPERATION, &command).await?;
            let complete = chunk.len() == count;
            for (id, fields) in chunk {
                seen += 1;
                before = format!("({}", position_of(OPERATION, &id)?);
                let document = fields.into_iter().find(|(name, _)| name == "j").map(|(_, bytes)| bytes);
                found.extend(document.and_then(|bytes| serde_json::from_slice(&bytes).ok()));
            }
            if !complete {
                break;
            }
        }
        Ok(found)
    }

    pub(super) async fn append_batch(&self, batch: &[AttemptEntry]) -> Result<Position, StoreError> {
        const OPERATION: &str = "append attempts";
        entry::check_batch(OPERATION, batch)?;
        if batch.is_empty() {
            return self.end_of_attempts().await;
        }
        let limits = self.limits();
        let keys =
            [self.keys.attempts(), self.keys.samples(SampleClass::Success), self.keys.samples(SampleClass::Failure)];
        let mut invocation = with_keys(&self.scripts.append_attempts, keys);
        invocation.arg(limits.attempts_max).arg(millis(limits.attempts_age)).arg(limits.samples_per_class);
        invocation.arg(batch.len());
        for attempt in batch {
            invocation.arg(&attempt.event[..]);
        }
        for sample in batch.iter().filter_map(|attempt| attempt.sample.as_ref()) {
            // The shortest decimal form reads back as the same number on the server.
            invocation.arg(number_of(sample.class)).arg(format!("{:e}", sample.key)).arg(&sample.bytes[..]);
        }
        let id: String = self.script(OPERATION, RESPONSE_TIMEOUT, &invocation).await?;
        position_of(OPERATION, &id)
    }

    pub(super) async fn offer(&self, samples: &[SampleEntry]) -> Result<(), StoreError> {
        const OPERATION: &str = "add samples";
        entry::check_samples(OPERATION, samples)?;
        if samples.is_empty() {
            return Ok(());
        }
        let keys = [self.keys.samples(SampleClass::Success), self.keys.samples(SampleClass::Failure)];
        let mut invocation = with_keys(&self.scripts.add_samples, keys);
        invocation.arg(self.limits().samples_per_class);
        for sample in samples {
            invocation.arg(number_of(sample.class)).arg(format!("{:e}", sample.key)).arg(&sample.bytes[..]);
        }
        self.script::<()>(OPERATION, RESPONSE_TIMEOUT, &invocation).await
    }

    pub(super) async fn end_of_attempts(&self) -> Result<Position, StoreError> {
        const OPERATION: &str = "read the end of the attempts";
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.keys.attempts()).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: Entries = self.command(OPERATION, &command).await?;
        newest.first().map_or(Ok(Position::START), |(id, _)| position_of(OPERATION, id))
    }

    pub(super) async fn samples(&self, class: SampleClass) -> Result<Vec<(f64, Vec<u8>)>, StoreError> {
        let key = self.keys.samples(class);
        let most = usize::try_from(self.limits().samples_per_class).unwrap_or(usize::MAX);
        let mut found: Vec<(f64, Vec<u8>)> = Vec::new();
        while found.len() < most {
            let last = found.len() + CHUNK.min(most - found.len()) - 1;
            let mut command = redis::cmd("ZRANGE");
            command.arg(&key).arg(found.len()).arg(last).arg("WITHSCORES");
            let chunk: Vec<(Vec<u8>, f64)> = self.command("read samples", &command).await?;
            if chunk.is_empty() {
                break;
            }
            found.extend(chunk.into_iter().map(|(bytes, score)| (score, bytes)));
        }
        // Between two chunks smaller keys may have come in and shifted the ranks: the same sample twice is one sample.
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        found.dedup();
        Ok(found)
    }

    pub(super) async fn relabel(&self, changes: &[Relabel]) -> Result<u64, StoreError> {
        const OPERATION: &str = "label samples";
        entry::check_relabels(OPERATION, changes)?;
        if changes.is_empty() {
            return Ok(0);
        }
        let keys = [self.keys.samples(SampleClass::Success), self.keys.samples(SampleClass::Failure)];
        let mut invocation = with_keys(&self.scripts.relabel_samples, keys);
        for change in changes {
            // Its place is kept by the score that the server has; a second copy of the key could only differ from it.
            invocation.arg(number_of(change.class)).arg(&change.old[..]).arg(&change.new[..]);
        }
        self.script(OPERATION, RESPONSE_TIMEOUT, &invocation).await
    }

    pub(super) async fn record_feedback(&self, id: &str, bytes: &[u8]) -> Result<FeedbackAppended, StoreError> {
        const OPERATION: &str = "record feedback";
        entry::check_feedback(OPERATION, id, bytes)?;
        let limits = self.limits();
        let mut invocation = with_keys(&self.scripts.append_feedback, [self.keys.feedback(), self.keys.feedback_ids()]);
        invocation.arg(id).arg(bytes).arg(limits.feedback_max).arg(millis(limits.feedback_age));
        let answer: Vec<String> = self.deed(OPERATION, RESPONSE_TIMEOUT, invocation).await?;
        let texts: Vec<&str> = answer.iter().map(String::as_str).collect();
        match texts[..] {
            ["recorded", id] => position_of(OPERATION, id).map(FeedbackAppended::Recorded),
            ["known", id] => position_of(OPERATION, id).map(FeedbackAppended::Known),
            ["full"] => Ok(FeedbackAppended::Full),
            _ => Err(unexpected(OPERATION)),
        }
    }

    pub(super) async fn live_nodes(&self) -> Result<Vec<NodeReport>, StoreError> {
        const OPERATION: &str = "read the nodes";
        let mut invocation = with_keys(&self.scripts.nodes, [self.keys.nodes()]);
        invocation.arg(millis(NODE_TTL));
        let pairs: Vec<(i64, Vec<u8>)> = self.script(OPERATION, RESPONSE_TIMEOUT, &invocation).await?;
        // A report of another version that does not read is that node's affair, not a reason to show none.
        let mut nodes: Vec<NodeReport> = pairs
            .into_iter()
            .filter_map(|(seen_at_ms, bytes)| {
                let report: NodeReport = serde_json::from_slice(&bytes).ok()?;
                Some(NodeReport { seen_at_ms, ..report })
            })
            .collect();
        nodes.sort_by(|a, b| (&a.name, &a.boot_id).cmp(&(&b.name, &b.boot_id)));
        Ok(nodes)
    }

    pub(super) async fn finish(&self, id: &str, result: &[u8], reply_to: Option<&str>) -> Result<(), StoreError> {
        const OPERATION: &str = "record the result of a command";
        entry::check_command_id(OPERATION, id)?;
        entry::check_size(OPERATION, "a result", result.len(), entry::DOCUMENT_MAX)?;
        let mut invocation = with_keys(&self.scripts.finish, [self.keys.claim(id), self.keys.result(id)]);
        invocation.arg(result).arg(RESULT_TTL.as_secs());
        self.script::<()>(OPERATION, RESPONSE_TIMEOUT, &invocation).await?;
        let Some(channel) = reply_to else { return Ok(()) };
        // A reply on our own channels would be taken for a command, for ever.
        if channel.len() > entry::CHANNEL_MAX || channel == self.keys.commands() || channel == self.keys.announcements()
        {
            let remedy = format!("a reply channel has at most {} bytes and is none of ours", entry::CHANNEL_MAX);
            return Err(StoreError::Refused { operation: OPERATION, remedy, source: None });
        }
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(result);
        self.command("reply to a command", &command).await
    }
}

/// The class as the scripts count it.
fn number_of(class: SampleClass) -> u8 {
    match class {
        SampleClass::Success => 1,
        SampleClass::Failure => 2,
    }
}

fn position_of(operation: &'static str, id: &str) -> Result<Position, StoreError> {
    Position::parse(id).ok_or_else(|| corrupt(operation, "a position".to_owned()))
}
