//! The connection for commands: one multiplexed connection, kept alive by its own task.
//!
//! The task connects without end, asks for a sign of life every [`HEARTBEAT`], and replaces a connection that gives
//! none: a half-open connection times out for ever and never errs by itself. While there is no connection, calls fail
//! at once instead of piling up. Subscriptions have connections of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::failure::{classify, is_answer, needs_new_connection};
use crate::store::{Answer, StoreError};

/// Longest wait for a connection, and for the first one at start.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for an answer. Redis answers in milliseconds; seconds mean a fork, a swap or a frozen host.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for artifacts of up to 4 MiB over a slow line.
pub(super) const BLOB_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the server's time, before something is asked for that must end in time. A server that takes longer for
/// that is not given the order at all.
pub(super) const TIME_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a sign of life is asked for, and how long it may take.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Missed signs of life before the connection is replaced: one may be a slow fork, two are an outage.
const MISSED_MAX: u32 = 2;
/// Wait between attempts to connect, doubled up to the maximum.
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(100);
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Wait after the server refused the password: a person needs minutes to mend it.
const REFUSED_WAIT: Duration = Duration::from_secs(10);

/// What the task last found.
#[derive(Clone)]
enum Phase {
    /// Trying for the first time, or again after a connection was lost.
    Connecting,
    /// A connection stands; the number tells one from the next.
    Up(u64, MultiplexedConnection),
    /// The last attempt failed.
    Down(RedisError),
}

/// What is open when a call was sent and no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Nothing: it only reads, or it is repeated without harm.
    Harmless,
    /// Whether it was done, and the caller must be told so.
    Open,
}

impl Unanswered {
    fn error(self, operation: &'static str, source: Option<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
        match self {
            Self::Harmless => StoreError::Unavailable { operation, source },
            Self::Open => StoreError::Unanswered { operation, source },
        }
    }
}

/// A connection that repairs itself. Dropping it ends its task.
pub(super) struct Connection {
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
    _stop: DropGuard,
}

struct Shared {
    client: Client,
    user: String,
    connected: AtomicBool,
    /// The number of the connection that a caller last found broken: many callers may find the same one broken, and
    /// the last of them must not cost the next connection.
    broken: AtomicU64,
    found_broken: Notify,
}

impl Connection {
    /// Starts the task. Must be called within a tokio runtime; returns before anything is connected.
    pub(super) fn start(client: Client) -> Self {
        let user = client.get_connection_info().redis_settings().username().unwrap_or("default").to_owned();
        let shared = Arc::new(Shared {
            client,
            user,
            connected: AtomicBool::new(false),
            broken: AtomicU64::new(0),
            found_broken: Notify::new(),
        });
        let (sender, phase) = watch::channel(Phase::Connecting);
        let stop = CancellationToken::new();
        let task = keep_connected(Arc::clone(&shared), sender);
        tokio::spawn(stop.clone().run_until_cancelled_owned(task));
        Self { shared, phase, _stop: stop.drop_guard() }
    }

    /// Whether the last exchange succeeded.
    pub(super) fn connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// Runs `call` on the connection, for at most `limit`. Fails at once while the server is away, and as soon as the
    /// connection is given up. [`StoreError::Unavailable`] before anything is sent; `unanswered` decides about the rest.
    pub(super) async fn call<T, F, C>(
        &self,
        operation: &'static str,
        limit: Duration,
        unanswered: Unanswered,
        call: F,
    ) -> Result<T, StoreError>
    where
        F: FnOnce(MultiplexedConnection) -> C,
        C: Future<Output = Result<T, RedisError>>,
    {
        let mut phase = self.phase.clone();
        let (number, connection) = self.ready(operation, &mut phase).await?;
        let given_up = phase.wait_for(|phase| !matches!(phase, Phase::Up(now, _) if *now == number));
        let result = tokio::select! {
            result = timeout(limit, call(connection)) => result,
            _ = given_up => return Err(unanswered.error(operation, None)),
        };
        match result {
            Ok(Ok(value)) => {
                self.shared.connected.store(true, Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) => {
                if needs_new_connection(&error) {
                    self.shared.connected.store(false, Ordering::Relaxed);
                    self.shared.broken.fetch_max(number, Ordering::Relaxed);
                    self.shared.found_broken.notify_one();
                }
                let answered = is_answer(&error);
                let error = classify(operation, error, &self.shared.user);
                let StoreError::Unavailable { source, .. } = error else { return Err(error) };
                self.shared.connected.store(false, Ordering::Relaxed);
                let open = if answered { Unanswered::Harmless } else { unanswered };
                Err(open.error(operation, source))
            }
            Err(elapsed) => {
                self.shared.connected.store(false, Ordering::Relaxed);
                Err(unanswered.error(operation, Some(Box::new(elapsed))))
            }
        }
    }

    async fn ready(
        &self,
        operation: &'static str,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(u64, MultiplexedConnection), StoreError> {
        let decided = timeout(CONNECT_TIMEOUT, phase.wait_for(|phase| !matches!(phase, Phase::Connecting))).await;
        match decided.ok().and_then(Result::ok).as_deref() {
            Some(Phase::Up(number, connection)) => Ok((*number, connection.clone())),
            Some(Phase::Down(error)) => Err(classify(operation, error.clone(), &self.shared.user)),
            Some(Phase::Connecting) | None => Err(StoreError::Unavailable { operation, source: None }),
        }
    }
}

/// Connects, watches, and starts again, for ever.
async fn keep_connected(shared: Arc<Shared>, phase: watch::Sender<Phase>) {
    let mut number = 0;
    let mut wait = BACKOFF_MIN;
    loop {
        match connect(&shared.client).await {
            Ok(connection) => {
                number += 1;
                wait = BACKOFF_MIN;
                shared.connected.store(true, Ordering::Relaxed);
                phase.send_replace(Phase::Up(number, connection.clone()));
                tracing::info!("connected to redis");
                let reason = watch_over(&shared, number, connection).await;
                shared.connected.store(false, Ordering::Relaxed);
                phase.send_replace(Phase::Connecting);
                tracing::warn!("lost the connection to redis: {reason}");
            }
            Err(error) => {
                shared.connected.store(false, Ordering::Relaxed);
                let first = matches!(*phase.borrow(), Phase::Connecting);
                if first {
                    // The first of a row: an outage is one line, not one per attempt.
                    tracing::warn!("cannot connect to redis, trying on: {error}");
                }
                if matches!(classify("connect", error.clone(), &shared.user), StoreError::Refused { .. }) {
                    // Waiting does not help, and each try is a line in the server's security log.
                    wait = REFUSED_WAIT;
                }
                phase.send_replace(Phase::Down(error));
            }
        }
        tokio::time::sleep(jittered(wait)).await;
        wait = (wait * 2).min(BACKOFF_MAX);
    }
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(BLOB_TIMEOUT));
    // Twice: the library's own limit covers the connection, this one also the greeting.
    let all = CONNECT_TIMEOUT * 2;
    timeout(all, client.get_multiplexed_async_connection_with_config(&config)).await.map_err(timed_out)?
}

/// Returns, with the reason, when the connection is not worth keeping.
async fn watch_over(shared: &Shared, number: u64, mut connection: MultiplexedConnection) -> String {
    let mut missed = 0;
    loop {
        let told = timeout(HEARTBEAT, shared.found_broken.notified()).await.is_ok();
        let told = told && shared.broken.load(Ordering::Relaxed) == number;
        let ping = redis::cmd("PING");
        match timeout(HEARTBEAT, ping.query_async::<()>(&mut connection)).await {
            // A demoted master answers PING all the same: a caller who was told so is believed.
            Ok(Ok(())) if told => return "a command found it broken".to_owned(),
            Ok(Ok(())) => {
                missed = 0;
                shared.connected.store(true, Ordering::Relaxed);
            }
            Ok(Err(error)) if needs_new_connection(&error) || told => return error.to_string(),
            // An answer all the same: this server is alive, only busy or strict.
            Ok(Err(error)) if error.kind() != redis::ErrorKind::Io => missed = 0,
            Ok(Err(_)) | Err(_) => {
                missed += 1;
                shared.connected.store(false, Ordering::Relaxed);
                if missed >= MISSED_MAX {
                    return format!("no answer to {missed} pings");
                }
            }
        }
    }
}

pub(super) fn timed_out(_: tokio::time::error::Elapsed) -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// Between half of `wait` and all of it, so that a fleet does not return in step.
pub(super) fn jittered(wait: Duration) -> Duration {
    let mut random = [0];
    // Without randomness the wait is merely not spread.
    let _ = getrandom::fill(&mut random);
    wait / 2 + wait / 2 * u32::from(random[0]) / 255
}

/// Boxes a call, for the trait.
pub(super) fn boxed<'a, T>(future: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Answer<'a, T> {
    Box::pin(future)
}
