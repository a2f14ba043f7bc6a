//! The calls on learning mode and on the candidate that waits for an approval.

use super::connection::{BLOB_TIMEOUT, RESPONSE_TIMEOUT};
use super::{RedisStore, with_keys};
use crate::store::StoreError;
use crate::store::entry;
use crate::store::mode::{self, FleetMode, ModeChange, ModeReply, ModeStamp};

impl RedisStore {
    pub(super) async fn read_mode(&self) -> Result<Option<FleetMode>, StoreError> {
        const OPERATION: &str = "read the learning mode";
        let mut command = redis::cmd("GET");
        command.arg(self.keys.mode());
        let stored: Option<String> = self.command(OPERATION, &command).await?;
        stored.map(|text| mode::read(OPERATION, &self.keys.mode(), &text)).transpose()
    }

    pub(super) async fn write_mode(&self, change: &ModeChange) -> Result<ModeReply, StoreError> {
        const OPERATION: &str = "set the learning mode";
        let history = change.history.as_deref().unwrap_or_default();
        entry::check_size(OPERATION, "a history entry", history.len(), entry::DOCUMENT_MAX)?;
        let keys = [self.keys.mode(), self.keys.meta(), self.keys.feedback(), self.keys.history()];
        let mut invocation = with_keys(&self.scripts.mode, keys);
        invocation.arg(u8::from(change.on)).arg(change.origin.encode());
        invocation.arg(change.expected.as_ref().map_or("", ModeStamp::as_str)).arg(&self.origin);
        invocation.arg(self.keys.announcements()).arg(history).arg(self.limits().history_max);
        let answer: String = self.deed(OPERATION, RESPONSE_TIMEOUT, invocation).await?;
        if answer.is_empty() {
            return Ok(ModeReply::Conflict);
        }
        mode::read(OPERATION, &self.keys.mode(), &answer).map(ModeReply::Set)
    }

    /// A value of at most `max` bytes.
    pub(super) async fn blob(
        &self,
        operation: &'static str,
        key: String,
        max: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut invocation = with_keys(&self.scripts.model, [key]);
        invocation.arg(max);
        self.script(operation, BLOB_TIMEOUT, &invocation).await
    }

    pub(super) async fn discard(&self, note: &[u8], by: &str) -> Result<bool, StoreError> {
        const OPERATION: &str = "discard the candidate";
        let keys = [self.keys.candidate(), self.keys.candidate_model(), self.keys.meta(), self.keys.history()];
        let mut invocation = with_keys(&self.scripts.discard, keys);
        invocation.arg(note).arg(entry::deed(by)).arg(self.limits().history_max);
        self.deed(OPERATION, RESPONSE_TIMEOUT, invocation).await
    }
}
