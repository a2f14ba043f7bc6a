//! Carries out commands that other tools send over the store's command channel.
//!
//! A message reaches every node; a fleet-wide command is claimed first, so that one node carries it out. Malformed,
//! expired and repeated messages are refused, counted, and logged without their payload.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::control::message::{self, Message};
use crate::control::{CHANNEL, Caller, ControlError, ControlHandle};
use crate::detection::attempt::RequestKey;
use crate::store::{Claim, Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// How long a claim on a command with an id lasts when its node dies: as long as its result would be kept.
const CLAIM_TTL: Duration = Duration::from_secs(3600);
/// The same message without an id within this time is one message that reached several nodes, not two wishes.
const UNNAMED_CLAIM_TTL: Duration = Duration::from_secs(3);

/// Tries for a result that the store does not take, and the wait between them.
const RESULT_TRIES: u32 = 5;
const RESULT_RETRY: Duration = Duration::from_secs(1);

/// See the module documentation.
#[derive(Clone)]
pub struct CommandListener {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) control: Arc<ControlHandle>,
    /// Shared between restarts of the task.
    pub(crate) commands: Arc<Mutex<mpsc::Receiver<Vec<u8>>>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: TaskStatus,
}

impl CommandListener {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the doorbell is gone for good.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let commands = Arc::clone(&self.commands);
        let mut commands = commands.lock().await;
        let listener = Arc::new(self);
        loop {
            let bytes = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                bytes = commands.recv() => bytes,
            };
            let Some(bytes) = bytes else {
                // At the end of the node the doorbell may be gone first.
                return if stop.is_cancelled() { Ok(()) } else { Err("the doorbell is gone".into()) };
            };
            // A training may take minutes; a status asked for meanwhile must not wait behind it.
            let worker = Arc::clone(&listener);
            tokio::spawn(async move { worker.serve(&bytes).await });
        }
    }

    async fn serve(&self, bytes: &[u8]) {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.metrics.command("unknown", "malformed");
                // Without the error: its sentence may repeat a word of the payload.
                warn!(bytes = bytes.len(), "ignored a malformed command");
                self.refuse_unparsed(bytes, &error).await;
                return;
            }
        };
        let name = message.command.name();
        let expired = message.expires_at.is_some_and(|expires_at| expires_at < clock::now());
        if expired {
            self.metrics.command(name, "expired");
            warn!(command = name, "ignored an expired {name} command");
        }
        // Claimed before it is refused: a late repetition must not replace the result of the first time.
        if message.command.is_fleet_wide() && !self.claim(&message, bytes).await {
            return;
        }
        if expired {
            let error = ControlError::Conflict("the command expired before it was read".into());
            return self.answer(&message, name, Err(error)).await;
        }
        self.status.running();
        let who = message.issued_by.clone().unwrap_or_else(|| "channel".into());
        let caller = Caller { who, origin: CHANNEL, peer: None };
        let result = self.control.execute(message.command.clone(), &caller).await;
        self.status.finished(name, "");
        self.answer(&message, name, result).await;
    }

    /// Whether this node carries the command out. A finished command's result is sent again to whoever asks again.
    async fn claim(&self, message: &Message, bytes: &[u8]) -> bool {
        let (id, ttl) = match &message.id {
            Some(id) => (id.clone(), CLAIM_TTL),
            None => (unnamed(bytes), UNNAMED_CLAIM_TTL),
        };
        match self.store.claim_command(&id, self.control.identity.boot, ttl).await {
            Ok(Claim::Won) => true,
            Ok(Claim::Lost) => false,
            Ok(Claim::Done(result)) => {
                self.metrics.command(message.command.name(), "repeated");
                // Every node that hears of the repetition knows the result; one of them tells it.
                let told =
                    self.store.claim_command(&unnamed(bytes), self.control.identity.boot, UNNAMED_CLAIM_TTL).await;
                if message.id.is_some()
                    && matches!(told, Ok(Claim::Won))
                    && let Some(reply_to) = &message.reply_to
                    && let Err(error) = self.store.finish_command(&id, &result, Some(reply_to)).await
                {
                    warn!("cannot repeat the result of a command: {error}");
                }
                false
            }
            Err(error) => {
                warn!(command = message.command.name(), "cannot claim a command, so it is not carried out: {error}");
                false
            }
        }
    }

    async fn answer(&self, message: &Message, command: &str, result: Result<Value, ControlError>) {
        match &result {
            Ok(_) => {}
            Err(ControlError::Unknown { .. }) => {
                warn!(command, "nobody knows yet whether the {command} command was done");
            }
            Err(_) => info!(command, "the {command} command was refused"),
        }
        let answer = message::answer(message.id.as_deref(), command, &self.control.identity.name, result.as_ref());
        self.send(message.id.as_deref(), &answer, message.reply_to.as_deref()).await;
    }

    /// Answers a message that could not be read as a command, where it says at least where to: by one node, and never in
    /// place of a result that is there.
    async fn refuse_unparsed(&self, bytes: &[u8], error: &ControlError) {
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(bytes) else { return };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).filter(|text| text.len() <= 128);
        let (id, ttl) = match text("id") {
            Some(id) => (id.to_owned(), CLAIM_TTL),
            None => (unnamed(bytes), UNNAMED_CLAIM_TTL),
        };
        let claimed = self.store.claim_command(&id, self.control.identity.boot, ttl).await;
        if !matches!(claimed, Ok(Claim::Won)) {
            return;
        }
        let command = text("command").unwrap_or("unknown");
        let answer = message::answer(text("id"), command, &self.control.identity.name, Err(error));
        self.send(text("id"), &answer, text("reply_to")).await;
    }

    async fn send(&self, id: Option<&str>, answer: &Value, reply_to: Option<&str>) {
        if id.is_none() && reply_to.is_none() {
            return;
        }
        let unnamed;
        let id = match id {
            Some(id) => id,
            None => {
                unnamed = format!("unnamed-{}", crate::random::id());
                &unnamed
            }
        };
        let answer = answer.to_string();
        for tries in 1.. {
            match self.store.finish_command(id, answer.as_bytes(), reply_to).await {
                // The connection that lost an answer is about to be replaced; who asked waits for this one.
                Err(StoreError::Unavailable { .. }) if tries < RESULT_TRIES => tokio::time::sleep(RESULT_RETRY).await,
                Err(error) => return warn!("cannot record the result of a command: {error}"),
                Ok(()) => return,
            }
        }
    }
}

/// What a message without an id is claimed under: its own content.
fn unnamed(bytes: &[u8]) -> String {
    format!("unnamed-{}", hex::encode(RequestKey::of(&String::from_utf8_lossy(bytes)).0))
}
