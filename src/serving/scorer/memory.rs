//! The scorer's memory for labels: how news reach it, who asks it, and the checkpoint that holds it with the counters.
//!
//! Two locks, always in this order: the memory's, then that of the counters. The request path only takes the second.
//! Whoever holds the first may walk over everything; whoever holds the second must not.

use std::sync::{MutexGuard, PoisonError};

use super::{Scorer, State, limits};
use crate::detection::attempt::{Attempt, Outcome, Timestamp};
use crate::detection::codec::{Fault, Reader, put_count};
use crate::detection::tracker::Tracker;
use crate::learning::sample::Sample;
use crate::serving::heard::Heard;
use crate::serving::hindsight::{AWAY_MS, LAG_MS, Memory, News};

/// First byte of a checkpoint with a memory. One without begins with the version of the counters, which is 1.
const WITH_MEMORY: u8 = 0x80;

/// What of a checkpoint could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The counters; without them the stream must be counted again from its beginning.
    pub counters: bool,
    /// The memory for labels; without it what came before has no label.
    pub memory: bool,
}

impl Scorer {
    /// Takes in what came to its outcome since the last time. Bulk and background work only: it may walk over everything.
    pub fn digest(&self) {
        drop(self.digested());
    }

    /// Asks hindsight about all samples without a label and fills in what it says now. Returns the places of those of
    /// which it will never say anything else.
    pub fn label(&self, samples: &mut [Sample]) -> Vec<usize> {
        let memory = self.digested();
        let heard = self.lock().heard.upto();
        let mut settled = Vec::new();
        for (place, sample) in samples.iter_mut().enumerate().filter(|(_, sample)| sample.label.is_none()) {
            let (label, for_good) = memory.ask(sample, heard);
            sample.label = Some(label);
            if for_good {
                settled.push(place);
            }
        }
        settled
    }

    /// A reading of the stream begins.
    pub fn reading(&self, now: Timestamp) {
        self.lock().heard.begin(now);
    }

    /// The stream was read to its end.
    pub fn read_to_the_end(&self) {
        self.lock().heard.end();
    }

    /// Forgets what labels no longer need.
    pub fn prune_memory(&self, now: Timestamp) {
        self.digested().prune(now);
    }

    /// The counters and the memory in their stored form, for a checkpoint: both hold the same events.
    pub fn checkpoint(&self, now: Timestamp) -> Vec<u8> {
        let mut memory = self.memory();
        let mut state = self.lock();
        let (counters, heard, news) = (state.tracker.encode(), state.heard.clone(), state.inbox.take());
        drop(state);
        memory.take_in(news);
        let mut out = vec![WITH_MEMORY];
        put_count(&mut out, counters.len());
        out.extend_from_slice(&counters);
        out.extend_from_slice(&now.millis().to_le_bytes());
        heard.put(&mut out);
        out.extend_from_slice(&memory.encode());
        out
    }

    /// Takes over a checkpoint at the start of the node.
    pub fn restore(&self, checkpoint: &[u8], now: Timestamp) -> Restored {
        let config = self.config.load();
        let (counters, rest) = match parts(checkpoint) {
            Ok(parts) => parts,
            Err(_) => (checkpoint, &[][..]),
        };
        let Ok(mut tracker) = Tracker::decode(counters, limits(&config)) else {
            return Restored { counters: false, memory: false };
        };
        tracker.set_shared(&config.lists.trusted_networks);
        let remembered = remembered(rest, config.limits.hindsight_bytes_max);
        let mut memory = self.memory();
        let mut state = self.lock();
        state.tracker = tracker;
        let restored = Restored { counters: true, memory: remembered.is_some() };
        self.watch_open(&state.tracker.open_requests());
        if let Some((saved, heard, known)) = remembered {
            state.heard = heard;
            *memory = known;
            if now.millis().saturating_sub(saved.millis()) > AWAY_MS {
                memory.missed(saved.plus_millis(-LAG_MS), now);
            }
        }
        restored
    }

    pub(super) fn set_memory_limit(&self, bytes_max: u64) {
        self.memory().set_bytes_max(bytes_max);
    }

    fn digested(&self) -> MutexGuard<'_, Memory> {
        let mut memory = self.memory();
        let news = self.lock().inbox.take();
        memory.take_in(news);
        let stats = memory.stats();
        self.metrics.hindsight("live", stats.live);
        self.metrics.hindsight("history", stats.history);
        self.metrics.hindsight_gaps(stats.gaps);
        memory
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // A panic while the lock was held left counts that are at worst one attempt off.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the user of an attempt was at home there before its outcome.
    pub(super) fn at_home(&self, attempt: &Attempt) -> bool {
        let (activity, Attempt { user, client_ip, ts, .. }) = (self.tracker.activity(), attempt);
        activity.known_good(*user, *client_ip, *ts) || activity.at_home(*user, *client_ip, *ts)
    }

    /// Whether the user of an attempt of long ago was at home there, as far as that is still known.
    pub(super) fn was_at_home(&self, attempt: &Attempt) -> bool {
        self.at_home(attempt) || self.tracker.activity().familiar(attempt.user, attempt.client_ip, attempt.ts)
    }

    /// A definite outcome of an attempt was counted just now.
    pub(super) fn happened(&mut self, attempt: &Attempt, outcome: Outcome) {
        let known = self.tracker.lookup(attempt.request);
        let historical = known.is_some_and(|known| known.historical);
        self.inbox.put(News::Happened { attempt: attempt.clone(), outcome, historical });
    }
}

/// The counters of a checkpoint, and what follows them.
fn parts(checkpoint: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let mut reader = Reader::new(checkpoint);
    if reader.u8()? != WITH_MEMORY {
        return Err(Fault::Value);
    }
    let length = reader.count(1)?;
    let counters = reader.bytes(length)?;
    Ok((counters, reader.bytes(reader.remaining())?))
}

/// When it was saved, what had been heard by then, and the memory.
fn remembered(bytes: &[u8], bytes_max: u64) -> Option<(Timestamp, Heard, Memory)> {
    let mut reader = Reader::new(bytes);
    let saved = Timestamp::from_millis(reader.i64().ok()?);
    let heard = Heard::read(&mut reader).ok()?;
    let memory = Memory::decode(reader.bytes(reader.remaining()).ok()?, bytes_max)?;
    Some((saved, heard, memory))
}

#[cfg(test)]
mod tests;
