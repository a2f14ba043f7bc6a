//! Takes a person's word on one request: finds what was scored then and hands it to the store with the snapshot.
//!
//! There is no made-up vector here: a request that nobody remembers is an error that says how long requests are kept.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::command::{FeedbackCommand, of_field};
use super::{Caller, ControlError, ControlHandle};
use crate::clock;
use crate::detection::attempt::RequestKey;
use crate::detection::record::{check_ip, check_name, check_request_id};
use crate::learning::sample::Feedback;
use crate::serving::scorer::Remembered;
use crate::store::{FeedbackAppended, StoreError};

/// How long one look at the stream may take.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);
/// Between two looks at the stream: twice what another node waits for company before it appends.
const APPEND_LAG: Duration = Duration::from_millis(200);
/// Looks at the stream, where another node may be about to append what is asked for: a second in all. A node tells the others
/// after half a second of a request whose outcome is open, looks for such requests every quarter, and waits up to 100 ms
/// for company before it appends.
const LOOKS: usize = 6;
/// Counting new feedback stops here; the largest threshold that a configuration may name.
const COUNT_MAX: u64 = 10_000;

impl ControlHandle {
    pub(super) async fn feedback(
        self: &Arc<Self>,
        command: FeedbackCommand,
        caller: &Caller,
    ) -> Result<Value, ControlError> {
        let ip = check_ip(Some(&command.client_ip)).map_err(of_field)?;
        check_name("username", &command.username).map_err(of_field)?;
        check_request_id(command.request_id.clone()).map_err(of_field)?;
        let request = RequestKey::of(&command.request_id);
        let remembered = self.recall(request).await.inspect_err(|error| {
            if matches!(error, ControlError::NotFound(_)) {
                self.metrics.feedback("unknown_request");
            }
        })?;
        let name = self.scorer.pseudonymizer().name(&command.username);
        let attempt = &remembered.attempt;
        if attempt.client_ip != ip {
            return Err(ControlError::Conflict("client_ip is not that of the request".into()));
        }
        if attempt.name != name && attempt.user != name {
            return Err(ControlError::Conflict("username is not that of the request".into()));
        }
        let Some(snapshot) = &remembered.snapshot else {
            return Err(ControlError::NotFound("this request was recorded without its features".into()));
        };
        let given_at = clock::now();
        let author = command.author.unwrap_or_else(|| caller.who.clone());
        // Without an id, the same word by the same author within a minute is a repeated request, not a second opinion.
        let id = command.id.unwrap_or_else(|| {
            let minute = given_at.millis() / 60_000;
            let text = format!("{}\n{}\n{author}\n{minute}", command.request_id, command.is_brute_force);
            hex::encode(RequestKey::of(&text).0)
        });
        let feedback = Feedback {
            id: id.clone(),
            request,
            client_ip: attempt.client_ip,
            name: attempt.name,
            user: attempt.user,
            is_attack: command.is_brute_force,
            author,
            given_at,
            ts: attempt.ts,
            fingerprint: snapshot.fingerprint,
            values: snapshot.values.clone(),
            outcome: remembered.outcome,
        };
        match self.store.append_feedback(&id, &feedback.encode()).await? {
            FeedbackAppended::Recorded(_) => self.metrics.feedback("recorded"),
            FeedbackAppended::Known(_) => self.metrics.feedback("known"),
            FeedbackAppended::Full => {
                self.metrics.feedback("full");
                let age = humantime::format_duration(self.config.load().limits.feedback_age);
                let full = format!(
                    "the feedback store is full; the oldest entries leave it after {age}: raise limits.feedback_max or \
                     shorten limits.feedback_age on all nodes, and look at `feedback list` for who gave so many"
                );
                return Err(ControlError::Unavailable(full));
            }
        }
        self.feedback_given.notify_one();
        // The item is recorded; a store that fails only now must not make the caller give it again.
        let pending = self.pending().await.ok();
        let needed = self.config.load().training.feedback_threshold;
        Ok(json!({ "status": "recorded", "id": id, "pending": pending, "needed": needed }))
    }

    /// How much feedback is new.
    async fn pending(&self) -> Result<u64, StoreError> {
        let registry = self.store.registry().await?;
        self.store.count_feedback(registry.watermark.max(registry.considered), COUNT_MAX).await
    }

    /// What is known of a request; on a miss the stream is read to its end first, and again for what was on its way. A node
    /// without others has nothing to wait for.
    pub(super) async fn recall(&self, request: RequestKey) -> Result<Remembered, ControlError> {
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(APPEND_LAG).await;
            }
            if let Some(remembered) = self.scorer.remembered(request) {
                return Ok(remembered);
            }
            if !self.replication.catch_up(CATCH_UP_LIMIT).await {
                let away =
                    "this node does not know the request, and the store that may know it is away; try again later";
                return Err(ControlError::Unavailable(away.into()));
            }
            if look == 0 && self.alone().await {
                break;
            }
        }
        self.scorer.remembered(request).ok_or_else(|| {
            let config = self.config.load();
            let (kept, age) = (config.attempts.snapshots_max, humantime::format_duration(config.limits.attempts_age));
            ControlError::NotFound(format!(
                "this request is unknown or expired: a node keeps the last {kept} requests of {age}"
            ))
        })
    }

    /// Whether no other node has reported lately. Nodes report as soon as they start; while that cannot be read there may
    /// be some.
    async fn alone(&self) -> bool {
        let own = self.identity.boot_hex();
        let nodes = tokio::time::timeout(APPEND_LAG, self.store.nodes()).await;
        nodes.is_ok_and(|nodes| nodes.is_ok_and(|nodes| nodes.iter().all(|node| node.boot_id == own)))
    }
}
