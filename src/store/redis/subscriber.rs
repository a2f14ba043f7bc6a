//! One subscription to announcements and commands, on a connection of its own.
//!
//! The task lives as long as the receiver. It says `Subscribed` only after the server confirmed, gives up a connection
//! that does not answer pings, and starts again without end. It never keeps a message for later: what a slow receiver
//! misses it reads from the store after the next doorbell or poll.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{Client, Msg, RedisError};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::{BACKOFF_MAX, BACKOFF_MIN, CONNECT_TIMEOUT, RESPONSE_TIMEOUT, jittered, timed_out};
use crate::store::Signal;
use crate::store::entry::{announcement_signal, command_signal};

/// How often a quiet connection is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The two channels of a deployment.
pub(super) struct Channels {
    pub(super) announcements: String,
    pub(super) commands: String,
}

/// Runs until the receiver is gone.
pub(super) async fn run(client: Client, channels: Channels, signals: mpsc::Sender<Signal>) {
    let mut wait = BACKOFF_MIN;
    let mut refused = false;
    loop {
        // The place for `Subscribed` is taken before the subscription exists, so that nothing can fill it.
        let Ok(place) = signals.reserve().await else { return };
        let subscription = tokio::select! {
            subscription = subscribe(&client, &channels) => subscription,
            () = signals.closed() => return,
        };
        match subscription {
            Ok(subscription) => {
                wait = BACKOFF_MIN;
                refused = false;
                place.send(Signal::Subscribed);
                if forward(subscription, &channels, &signals).await.is_none() {
                    return;
                }
                if signals.send(Signal::Lost).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // An absent server is reported by the connection; a server that says no would otherwise stay unnoticed,
                // because polling makes up for the announcements, and nothing for the commands.
                if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoPerm) && !refused {
                    refused = true;
                    let (announcements, commands) = (&channels.announcements, &channels.commands);
                    tracing::warn!(
                        "redis refuses the subscription; its ACL user needs &{announcements} and &{commands}; \
                         polling goes on, commands are not heard"
                    );
                }
                tracing::debug!("cannot subscribe to redis, trying on: {error}");
                drop(place);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(wait)) => {}
            () = signals.closed() => return,
        }
        wait = (wait * 2).min(BACKOFF_MAX);
    }
}

async fn subscribe(client: &Client, channels: &Channels) -> Result<PubSub, RedisError> {
    let mut subscription = timeout(CONNECT_TIMEOUT * 2, client.get_async_pubsub()).await.map_err(timed_out)??;
    let names = [channels.announcements.as_str(), channels.commands.as_str()];
    timeout(RESPONSE_TIMEOUT, subscription.subscribe(&names)).await.map_err(timed_out)??;
    Ok(subscription)
}

/// Passes messages on until the connection is lost (`Some`) or the receiver is gone (`None`).
async fn forward(subscription: PubSub, channels: &Channels, signals: &mpsc::Sender<Signal>) -> Option<()> {
    let (mut sink, mut messages) = subscription.split();
    let mut pings = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => pass_on(&message, channels, signals)?,
                None => return Some(()),
            },
            _ = pings.tick() => {
                // The pings go out while messages wait: five seconds of them fit into memory.
                match timeout(RESPONSE_TIMEOUT, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(_) => return Some(()),
                }
            }
            () = signals.closed() => return None,
        }
    }
}

fn pass_on(message: &Msg, channels: &Channels, signals: &mpsc::Sender<Signal>) -> Option<()> {
    let payload = message.get_payload_bytes();
    let signal = if message.get_channel_name() == channels.announcements {
        announcement_signal(payload)
    } else {
        command_signal(payload)
    };
    match signals.try_send(signal) {
        Err(mpsc::error::TrySendError::Closed(_)) => None,
        Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Some(()),
    }
}
