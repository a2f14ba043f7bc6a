//! The one thread that writes, and the handle through which the rest of the store reads and writes.
//!
//! Steps that wait while a commit runs share the next one, so many callers pay for one `fsync`; each answer is sent
//! after the commit that holds it. After an I/O error redb refuses every write until the file is opened again: the
//! thread drops it and reopens with backoff, and meanwhile every call fails at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::file::{OpenError, open_or_replace};
use super::signals::Signals;
use crate::store::entry::BATCH_MAX;
use crate::store::{Signal, StoreError};

/// Steps that may wait for the thread. The daemon has some ten writers; the rest is room for bursts of feedback.
const WAITING_MAX: usize = 256;
/// Longest wait for a place among them: as long as Redis may take to answer.
const WAIT: Duration = Duration::from_secs(5);
/// Steps in one commit: bounds how long the first waits for the last.
const STEPS_MAX: usize = 64;
/// How often the thread looks after lagging subscribers while nothing is written.
const IDLE: Duration = Duration::from_secs(1);
/// Waits between attempts to reopen.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Store time in milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What a step leaves to do once it is on disk.
pub(super) type AfterCommit = Box<dyn FnOnce() + Send>;
type Step = Box<dyn FnOnce(&WriteTransaction, i64) -> Result<AfterCommit, redb::Error> + Send>;

enum Message {
    Step {
        weight: usize,
        step: Step,
        _place: OwnedSemaphorePermit,
    },
    /// A reader met an error: the file must be opened again.
    Broken,
}

/// An answer of a step, and the announcement that goes out with it.
pub(super) struct Answered<T> {
    pub(super) answer: Result<T, StoreError>,
    pub(super) announcement: Option<Signal>,
}

impl<T> From<T> for Answered<T> {
    fn from(value: T) -> Self {
        Self { answer: Ok(value), announcement: None }
    }
}

/// What the thread and the handles share.
pub(super) struct Shared {
    path: PathBuf,
    clock: Clock,
    database: RwLock<Option<Arc<Database>>>,
    connected: AtomicBool,
    recovered: Mutex<Option<PathBuf>>,
    pub(super) signals: Signals,
}

/// The way to the thread. Dropping it waits until everything accepted is written.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    places: Arc<Semaphore>,
    messages: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the file and starts the thread.
    pub(super) fn start(path: PathBuf, clock: Clock) -> Result<Self, StoreError> {
        const OPERATION: &str = "open the embedded store";
        let (database, recovered) = open_or_replace(&path, clock()).map_err(|error| match error {
            OpenError::Refused(error) => error,
            OpenError::Damaged(what) => StoreError::Corrupt { operation: OPERATION, what },
            OpenError::Later(error) => {
                let remedy = format!("{} cannot be opened: check the directory and its owner", path.display());
                StoreError::Refused { operation: OPERATION, remedy, source: Some(Box::new(error)) }
            }
        })?;
        let shared = Arc::new(Shared {
            path,
            clock,
            database: RwLock::new(Some(Arc::new(database))),
            connected: AtomicBool::new(true),
            recovered: Mutex::new(recovered),
            signals: Signals::default(),
        });
        let (messages, inbox) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run(&inbox)
            })
            .map_err(|error| StoreError::Unavailable { operation: OPERATION, source: Some(Box::new(error)) })?;
        Ok(Self {
            shared,
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            messages: Some(messages),
            thread: Some(thread),
        })
    }

    /// Runs `step` in the next write transaction and answers when it is on disk. `weight` counts attempts.
    pub(super) async fn write<T, F>(&self, operation: &'static str, weight: usize, step: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTransaction, i64) -> Result<Answered<T>, redb::Error> + Send + 'static,
    {
        let unavailable = || StoreError::Unavailable { operation, source: None };
        if !self.shared.connected() {
            return Err(unavailable());
        }
        let place = tokio::time::timeout(WAIT, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or_else(unavailable)?;
        let (reply, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let step: Step = Box::new(move |transaction, now_ms| {
            let Answered { answer, announcement } = step(transaction, now_ms)?;
            Ok(Box::new(move || {
                if let Some(signal) = announcement {
                    shared.signals.send(&signal);
                }
                // The caller may have given up waiting; the step is done all the same.
                let _ = reply.send(answer);
            }))
        });
        self.tell(Message::Step { weight, step, _place: place });
        answer.await.map_err(|_| unavailable())?
    }

    /// Runs `look` on a consistent view, on a thread that may block.
    pub(super) async fn read<T, F>(&self, operation: &'static str, look: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&ReadTransaction, i64) -> Result<Result<T, StoreError>, redb::Error> + Send + 'static,
    {
        let Some(database) = self.shared.database() else {
            return Err(StoreError::Unavailable { operation, source: None });
        };
        let clock = Arc::clone(&self.shared.clock);
        let looked = tokio::task::spawn_blocking(move || {
            let transaction = database.begin_read()?;
            look(&transaction, clock())
        })
        .await;
        match looked {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.tell(Message::Broken);
                Err(StoreError::Unavailable { operation, source: Some(Box::new(error)) })
            }
            Err(error) => Err(StoreError::Unavailable { operation, source: Some(Box::new(error)) }),
        }
    }

    fn tell(&self, message: Message) {
        // The thread only ends when this sender is dropped; if it panicked, the step's answer says unavailable.
        if let Some(messages) = &self.messages {
            let _ = messages.send(message);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Whether the file is open.
    pub(super) fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Where a damaged file went.
    pub(super) fn recovered(&self) -> Option<PathBuf> {
        self.recovered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Store time.
    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    fn database(&self) -> Option<Arc<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_database(&self, database: Option<Arc<Database>>) {
        self.connected.store(database.is_some(), Ordering::Relaxed);
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = database;
    }

    fn run(&self, inbox: &Receiver<Message>) {
        let mut wait = BACKOFF_MIN;
        loop {
            if let Some(database) = self.database() {
                match inbox.recv_timeout(IDLE) {
                    Ok(Message::Step { weight, step, _place }) => {
                        match self.commit(&database, inbox, weight, step, _place) {
                            // Only a write that succeeded shows that the trouble is over: a full disk still opens.
                            Ok(()) => wait = BACKOFF_MIN,
                            Err(error) => {
                                drop(database);
                                self.give_up(&error.to_string());
                                if !refuse_for(wait, inbox) {
                                    return;
                                }
                                wait = (wait * 2).min(BACKOFF_MAX);
                            }
                        }
                    }
                    Ok(Message::Broken) => self.give_up("a read failed"),
                    Err(RecvTimeoutError::Timeout) => self.signals.settle(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                if let Some(reason) = self.reopen() {
                    tracing::debug!("the embedded store does not open yet: {reason}");
                }
                if self.database().is_none() && !refuse_for(wait, inbox) {
                    return;
                }
                wait = (wait * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// One transaction with the given step and those that wait behind it.
    fn commit(
        &self,
        database: &Database,
        inbox: &Receiver<Message>,
        weight: usize,
        step: Step,
        place: OwnedSemaphorePermit,
    ) -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let now_ms = self.now_ms();
        let mut weights = weight;
        let mut done = vec![step(&transaction, now_ms)?];
        let mut places = vec![place];
        let mut broken = false;
        while weights < BATCH_MAX && done.len() < STEPS_MAX && !broken {
            match inbox.try_recv() {
                Ok(Message::Step { weight, step, _place }) => {
                    weights += weight;
                    done.push(step(&transaction, now_ms)?);
                    places.push(_place);
                }
                Ok(Message::Broken) => broken = true,
                Err(_) => break,
            }
        }
        transaction.commit()?;
        for after in done {
            after();
        }
        if broken {
            self.give_up("a read failed");
        }
        Ok(())
    }

    fn give_up(&self, reason: &str) {
        tracing::warn!("the embedded store failed and is opened again: {reason}");
        self.set_database(None);
        self.signals.send(&Signal::Lost);
    }

    /// `None` when the file is open again, else why not.
    fn reopen(&self) -> Option<String> {
        match open_or_replace(&self.path, self.now_ms()) {
            Ok((database, aside)) => {
                if aside.is_some() {
                    *self.recovered.lock().unwrap_or_else(PoisonError::into_inner) = aside;
                }
                self.set_database(Some(Arc::new(database)));
                self.signals.send(&Signal::Subscribed);
                tracing::info!("the embedded store is open again");
                None
            }
            Err(OpenError::Later(error)) => Some(error.to_string()),
            Err(OpenError::Refused(error)) => Some(error.to_string()),
            Err(OpenError::Damaged(reason)) => Some(reason),
        }
    }
}

/// Drops what arrives for the given time, which answers it; `false` when nobody can send any more.
fn refuse_for(wait: Duration, inbox: &Receiver<Message>) -> bool {
    let end = Instant::now() + wait;
    loop {
        match inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::file::{META, MODE};

    fn writer(directory: &tempfile::TempDir) -> Writer {
        Writer::start(directory.path().join("store.redb"), Arc::new(|| 1_000)).unwrap()
    }

    #[tokio::test]
    async fn a_failed_step_is_undone_and_the_file_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory);
        let mut signals = writer.shared.signals.subscribe();
        assert_eq!(signals.recv().await, Some(Signal::Subscribed));

        let failed: Result<(), _> = writer
            .write("fail", 1, |transaction, _| {
                transaction.open_table(META)?.insert(MODE, &[1][..])?;
                Err(redb::Error::PreviousIo)
            })
            .await;

        assert!(matches!(failed, Err(StoreError::Unavailable { .. })));
        assert_eq!(signals.recv().await, Some(Signal::Lost));
        assert_eq!(signals.recv().await, Some(Signal::Subscribed));
        assert!(writer.shared.connected());
        let mode = writer.read("look", |transaction, _| {
            Ok(Ok(transaction.open_table(META)?.get(MODE)?.map(|mode| mode.value().to_vec())))
        });
        assert_eq!(mode.await.unwrap(), None);
        writer.write("go on", 1, |_, _| Ok(Answered::from(()))).await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_read_makes_the_thread_open_the_file_again() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory);
        let mut signals = writer.shared.signals.subscribe();
        assert_eq!(signals.recv().await, Some(Signal::Subscribed));

        let failed: Result<(), _> = writer.read("fail", |_, _| Err(redb::Error::PreviousIo)).await;

        assert!(matches!(failed, Err(StoreError::Unavailable { .. })));
        assert_eq!(signals.recv().await, Some(Signal::Lost));
        assert_eq!(signals.recv().await, Some(Signal::Subscribed));
    }

    #[tokio::test]
    async fn dropping_the_writer_waits_for_what_it_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let first = writer(&directory);
        let step = |transaction: &WriteTransaction, _| {
            transaction.open_table(META)?.insert(MODE, &[1][..])?;
            Ok(Answered::from(()))
        };
        // Polled once: the step is handed over, its answer is not waited for.
        {
            let mut given = std::pin::pin!(first.write("hand over", 1, step));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(given.as_mut().poll(&mut context).is_pending());
        }
        drop(first);

        let again = writer(&directory);
        let mode = again.read("look", |transaction, _| {
            Ok(Ok(transaction.open_table(META)?.get(MODE)?.map(|mode| mode.value().to_vec())))
        });

        assert_eq!(mode.await.unwrap(), Some(vec![1]));
    }
}
