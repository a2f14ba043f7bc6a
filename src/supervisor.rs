//! Keeps the tasks of a node running, and knows none of them.
//!
//! A task is a name and a factory of futures. When a future fails or panics, the supervisor makes a new one after a
//! doubling, jittered wait. A task that returns `Ok` has finished and is not started again. Tasks publish what they are
//! doing through their [`TaskStatus`]; [`Statuses`] is what status pages read. The supervisor gives up only when a
//! [`Kind::Critical`] task fails [`FAILURES_MAX`] times within [`FAILURE_WINDOW`]. There is no task-specific code here,
//! and no task waits on its own after an error.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

mod status;

pub use status::{Last, State, Statuses, TaskState, TaskStatus};

/// Wait before the first restart; short, because most failures are a connection that broke.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest wait before a restart: what an operator who repaired something is ready to wait.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A task that ran this long was healthy: its next failure is a first failure.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// So many failures of a critical task within [`FAILURE_WINDOW`] end the process; systemd then starts a fresh one.
pub const FAILURES_MAX: usize = 5;
/// See [`FAILURES_MAX`].
pub const FAILURE_WINDOW: Duration = Duration::from_secs(60);

/// Why a task stopped. The supervisor logs it, publishes it and starts the task again.
#[derive(Debug)]
pub struct TaskError(pub Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// What the failure of a task means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The node is useless without it: repeated failure ends the process.
    Critical,
    /// The node goes on without it while it is retried, for ever.
    Restartable,
}

/// A critical task failed too often.
#[derive(Debug, thiserror::Error)]
#[error("task {name} failed {FAILURES_MAX} times within {} s, the last time with: {error}", FAILURE_WINDOW.as_secs())]
pub struct GaveUp {
    /// The task.
    pub name: &'static str,
    /// Its last failure.
    pub error: String,
}

type Hook = Arc<dyn Fn(&'static str) + Send + Sync>;

/// Runs tasks until it is told to stop. See the module documentation.
pub struct Supervisor {
    stop: CancellationToken,
    statuses: Statuses,
    tasks: JoinSet<Result<(), GaveUp>>,
    names: Vec<(Id, &'static str)>,
    on_restart: Hook,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// A supervisor without tasks.
    pub fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            statuses: Statuses::default(),
            tasks: JoinSet::new(),
            names: Vec::new(),
            on_restart: Arc::new(|_| ()),
        }
    }

    /// Calls `hook` with the task's name at each restart (to count them). For tasks that are spawned afterwards.
    #[must_use]
    pub fn on_restart(mut self, hook: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        self.on_restart = Arc::new(hook);
        self
    }

    /// The states of all tasks.
    pub fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Cancelled when [`shutdown`](Self::shutdown) begins; children of it reach the tasks.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task, and starts it again whenever it fails. `factory` gets a token that ends with the supervisor; a
    /// task returns `Ok(())` soon after that. Must be called inside a tokio runtime.
    pub fn spawn<M, F>(&mut self, name: &'static str, kind: Kind, factory: M)
    where
        M: FnMut(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let keeper = Keeper {
            name,
            kind,
            status: self.statuses.task(name),
            stop: self.stop.clone(),
            on_restart: Arc::clone(&self.on_restart),
        };
        let handle = self.tasks.spawn(keeper.run(factory));
        self.names.push((handle.id(), name));
    }

    /// Waits until a critical task has failed too often (that is the error), or the supervisor was told to stop, or no
    /// task is left. Cancel-safe: for use in a `select!` beside signals.
    pub async fn watch(&mut self) -> Result<(), GaveUp> {
        let stop = self.stop.clone();
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = self.tasks.join_next_with_id() => ended,
            };
            match ended {
                None => return Ok(()),
                Some(ended) => self.forget(ended)?,
            }
        }
    }

    /// Tells every task to stop, waits up to `grace`, ends what is still there, and names it.
    pub async fn shutdown(mut self, grace: Duration) -> Vec<&'static str> {
        self.stop.cancel();
        let deadline = Instant::now() + grace;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.tasks.join_next_with_id()).await {
            // A task that gave up while stopping has stopped.
            let _ = self.forget(ended);
        }
        let laggards: Vec<_> = self.names.iter().map(|(_, name)| *name).collect();
        for name in &laggards {
            warn!(task = name, "task {name} did not stop in time and is aborted");
        }
        self.tasks.abort_all();
        laggards
    }

    fn forget(&mut self, ended: Result<(Id, Result<(), GaveUp>), JoinError>) -> Result<(), GaveUp> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            // The keeper itself does not panic: tasks run behind their own handle.
            Err(error) => (error.id(), Ok(())),
        };
        self.names.retain(|(other, _)| *other != id);
        result
    }
}

/// Runs one task again and again.
struct Keeper {
    name: &'static str,
    kind: Kind,
    status: TaskStatus,
    stop: CancellationToken,
    on_restart: Hook,
}

impl Keeper {
    async fn run<M, F>(self, mut factory: M) -> Result<(), GaveUp>
    where
        M: FnMut(CancellationToken) -> F,
        F: Future<Output = Result<(), TaskError>> + Send + 'static,
    {
        let Self { name, kind, .. } = self;
        let mut failures = Failures::default();
        loop {
            let started = Instant::now();
            // A set of its own, so that a panic ends only this attempt, and aborting the keeper aborts the task.
            let mut attempt = JoinSet::new();
            // The factory is called inside, because it may panic as well; it is polled here only to borrow it.
            let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| factory(self.stop.child_token())));
            let outcome = match made {
                Ok(future) => {
                    attempt.spawn(future);
                    attempt.join_next().await
                }
                Err(panic) => Some(Ok(Err(TaskError::from(panic_message(&*panic))))),
            };
            let error = match outcome {
                None | Some(Ok(Ok(()))) => {
                    self.status.idle();
                    return Ok(());
                }
                Some(Ok(Err(error))) => error.to_string(),
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => panic_message(&*panic),
                    Err(error) => error.to_string(),
                },
            };
            self.status.failed(&error);
            if self.stop.is_cancelled() {
                info!(task = name, error, "task {name} failed while stopping");
                return Ok(());
            }
            let wait = jittered(failures.next_wait(started.elapsed()));
            if failures.too_many(Instant::now()) && kind == Kind::Critical {
                error!(task = name, error, "critical task {name} keeps failing");
                return Err(GaveUp { name, error });
            }
            // The first failure of a row is news; the others are the same news again.
            if failures.in_row == 1 {
                warn!(task = name, error, "task {name} failed and will be started again");
            } else {
                let failures = failures.in_row;
                info!(task = name, error, failures, "task {name} failed again");
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
            self.status.restarted();
            (self.on_restart)(name);
        }
    }
}

/// The failures of one task so far.
#[derive(Debug, Default)]
struct Failures {
    in_row: u32,
    recent: VecDeque<Instant>,
}

impl Failures {
    /// Wait before the next start of a task that failed after running for `ran`.
    fn next_wait(&mut self, ran: Duration) -> Duration {
        if ran >= HEALTHY_AFTER {
            self.in_row = 0;
        }
        self.in_row = self.in_row.saturating_add(1);
        // 2^16 of the first wait is far beyond the longest.
        BACKOFF_FIRST.saturating_mul(1 << (self.in_row - 1).min(16)).min(BACKOFF_MAX)
    }

    /// Notes a failure at `now` and says whether there were [`FAILURES_MAX`] within [`FAILURE_WINDOW`].
    fn too_many(&mut self, now: Instant) -> bool {
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|first| now.duration_since(*first) > FAILURE_WINDOW) {
            self.recent.pop_front();
        }
        self.recent.len() >= FAILURES_MAX
    }
}

/// Between half of `wait` and all of it, so that the tasks of many nodes do not knock at the same moment.
fn jittered(wait: Duration) -> Duration {
    // The standard library's hash keys are random per process and differ per call: enough for jitter, and no dependency.
    let share = RandomState::new().hash_one(0u8) % 1024;
    wait / 2 + wait / 2 * (share as u32) / 1023
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests;
