//! What this node still has to tell the fleet: a bounded queue between the request path and the store.
//!
//! Pushing never waits. While the store is away events pile up here; when the queue is full the newest are dropped and
//! counted (their effect on this node's own counters stays). Entries leave only when the store has acknowledged them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};

use crate::detection::attempt::Timestamp;
use crate::detection::event::{AttemptEvent, BootId};
use crate::learning::sample::{Sample, reservoir_key, thinned_key};
use crate::store::{AttemptEntry, SampleClass, SampleEntry};
use crate::telemetry::metrics::StatusCounters;

/// How many failures come from where a failure comes from: no network may push all others out of what is learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowd {
    /// Failures of its client network within a day, this one included.
    pub failures: u64,
    /// So many of these compete like all others.
    pub free: u64,
}

const MILLIS_PER_DAY: f64 = 86_400_000.0;

/// See the module documentation.
#[derive(Debug)]
pub struct AttemptLog {
    boot: BootId,
    queue: Mutex<Queue>,
    queue_max: AtomicUsize,
    counters: StatusCounters,
    wake: Notify,
    acknowledged: watch::Sender<u64>,
}

#[derive(Debug)]
struct Queue {
    next_seq: u64,
    waiting: VecDeque<(u64, AttemptEntry)>,
}

impl AttemptLog {
    /// An empty log of the node that started as `boot`, for at most `queue_max` entries.
    pub fn new(boot: BootId, queue_max: usize, counters: StatusCounters) -> Self {
        Self {
            boot,
            queue: Mutex::new(Queue { next_seq: 1, waiting: VecDeque::new() }),
            queue_max: AtomicUsize::new(queue_max),
            counters,
            wake: Notify::new(),
            acknowledged: watch::Sender::new(0),
        }
    }

    /// The origin that every event of this log carries.
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// Changes the bound for later pushes.
    pub fn set_queue_max(&self, queue_max: usize) {
        self.queue_max.store(queue_max, Ordering::Relaxed);
    }

    /// Stamps `event` with origin and number and queues it, with a sample if it `teaches`. `None` when the queue is full:
    /// the event was dropped and counted. It has taken its number all the same, so that others see that one is missing.
    pub fn push(&self, mut event: AttemptEvent, ingested: Timestamp, teaches: Option<Crowd>) -> Option<u64> {
        let mut queue = self.lock();
        let seq = queue.next_seq;
        queue.next_seq += 1;
        if queue.waiting.len() >= self.queue_max.load(Ordering::Relaxed) {
            self.counters.attempts_dropped(1);
            return None;
        }
        event.origin = self.boot;
        event.seq = seq;
        queue.waiting.push_back((seq, entry(&event, ingested, teaches)));
        self.counters.set_queued(queue.waiting.len());
        drop(queue);
        self.wake.notify_one();
        Some(seq)
    }

    /// How many more entries fit now.
    pub fn room(&self) -> usize {
        self.queue_max.load(Ordering::Relaxed).saturating_sub(self.lock().waiting.len())
    }

    /// Entries that wait for the store.
    pub fn queued(&self) -> u64 {
        self.lock().waiting.len() as u64
    }

    /// The oldest waiting entries, at most `max`, and the number of the last one; they stay until acknowledged.
    /// Only one task may call this and [`acknowledge`](Self::acknowledge).
    pub fn oldest(&self, max: usize) -> Option<(u64, Vec<AttemptEntry>)> {
        let queue = self.lock();
        let batch: Vec<_> = queue.waiting.iter().take(max).collect();
        let last = batch.last()?.0;
        Some((last, batch.into_iter().map(|(_, entry)| entry.clone()).collect()))
    }

    /// Forgets the entries up to and including `seq`: the store has them.
    pub fn acknowledge(&self, seq: u64) {
        let mut queue = self.lock();
        while queue.waiting.front().is_some_and(|(number, _)| *number <= seq) {
            queue.waiting.pop_front();
        }
        self.counters.set_queued(queue.waiting.len());
        drop(queue);
        self.acknowledged.send_replace(seq);
    }

    /// The number of the last acknowledged entry, as it changes.
    pub fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// Waits until something was pushed since the last call.
    pub async fn pushed(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The stored form of an event, with its sample when it can teach something.
fn entry(event: &AttemptEvent, ingested: Timestamp, teaches: Option<Crowd>) -> AttemptEntry {
    let day = ingested.millis() as f64 / MILLIS_PER_DAY;
    let sample = Sample::from_event(event, day).zip(teaches).map(|(sample, crowd)| {
        let key = reservoir_key(sample.request, day);
        let (class, key) = match sample.is_success() {
            true => (SampleClass::Success, key),
            false => (SampleClass::Failure, thinned_key(key, crowd.failures, crowd.free)),
        };
        SampleEntry { class, key, bytes: sample.encode() }
    });
    AttemptEntry { event: event.encode(), sample }
}
