//! Turns what the store sends unasked into wake-ups: announcements wake the subscriber, commands go to the listener.
//!
//! It looks at no payload but a command's bytes. A full command queue drops commands (counted): pub/sub promises nothing.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::store::{Signal, Store};
use crate::supervisor::TaskError;
use crate::telemetry::metrics::Metrics;

/// Commands that may wait for the listener: more than any operator types, few enough to bound memory (256 KiB).
pub const COMMANDS_WAITING_MAX: usize = 64;

/// See the module documentation.
#[derive(Clone)]
pub struct Doorbell {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry_changed: Arc<Notify>,
    pub(crate) commands: mpsc::Sender<Vec<u8>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Doorbell {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the store ends the subscription for good.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let mut signals = self.store.subscribe();
        loop {
            let signal = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                signal = signals.recv() => signal.ok_or("the store closed the subscription")?,
            };
            self.ring(signal);
        }
    }

    fn ring(&self, signal: Signal) {
        match signal {
            Signal::Subscribed => {
                info!("subscribed to announcements and commands");
                self.registry_changed.notify_one();
            }
            Signal::Lost => warn!("lost the subscription to announcements; polling goes on"),
            Signal::Announcement(_) => {
                self.metrics.announcement_received();
                self.registry_changed.notify_one();
            }
            Signal::Command(bytes) => {
                if self.commands.try_send(bytes).is_err() {
                    self.metrics.command("unknown", "dropped");
                    warn!("dropped a command: {COMMANDS_WAITING_MAX} are waiting already");
                }
            }
            Signal::Oversized { channel, bytes } => {
                self.metrics.command("unknown", "oversized");
                warn!(channel, bytes, "ignored an oversized message on {channel}");
            }
        }
    }
}
