//! Which scored attempts still wait for their outcome, and for how long.
//!
//! Two things become due with age: telling the other nodes about an attempt whose outcome does not come soon, and
//! calling the outcome unknown. Times are monotonic milliseconds of the caller. Attempts enter in the order of time, so
//! two queues suffice; nothing is ever searched.

use std::collections::{HashMap, VecDeque};

use super::attempt::RequestKey;

/// Most attempts that may wait at once: half a minute at more than 16 000 attempts a second. One more is not waited for:
/// it stays counted, and its outcome is still taken when it comes.
pub const PENDING_MAX: usize = 500_000;

/// The attempts whose outcome is open.
#[derive(Debug, Default)]
pub struct Pending {
    /// The serial of the waiting attempt: queue items of an earlier stay do not touch a later one.
    waiting: HashMap<RequestKey, u64>,
    announce: VecDeque<Item>,
    expire: VecDeque<Item>,
    serial: u64,
}

#[derive(Debug, Clone, Copy)]
struct Item {
    since_ms: u64,
    request: RequestKey,
    serial: u64,
}

impl Pending {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many attempts wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Starts waiting for the outcome of `request`. An attempt that waits already keeps its first time. `false` when
    /// [`PENDING_MAX`] attempts wait already.
    pub fn insert(&mut self, request: RequestKey, ts_monotonic_ms: u64) -> bool {
        if self.waiting.contains_key(&request) {
            return true;
        }
        if self.expire.len() >= PENDING_MAX {
            self.drop_settled();
        }
        if self.expire.len() >= PENDING_MAX {
            return false;
        }
        self.serial += 1;
        self.waiting.insert(request, self.serial);
        let item = Item { since_ms: ts_monotonic_ms, request, serial: self.serial };
        self.announce.push_back(item);
        self.expire.push_back(item);
        true
    }

    /// The outcome came; `false` when nobody waited for it.
    pub fn remove(&mut self, request: RequestKey) -> bool {
        self.waiting.remove(&request).is_some()
    }

    /// The attempts that have waited for `after_ms`, each of them once.
    pub fn announce_due(&mut self, now_ms: u64, after_ms: u64) -> Vec<RequestKey> {
        let Self { waiting, announce, .. } = self;
        due(announce, now_ms, after_ms, |item| waiting.get(&item.request) == Some(&item.serial))
    }

    /// The attempts that have waited for `timeout_ms`; they no longer wait.
    pub fn expire_due(&mut self, now_ms: u64, timeout_ms: u64) -> Vec<RequestKey> {
        let Self { waiting, announce, expire, .. } = self;
        let expired = due(expire, now_ms, timeout_ms, |item| {
            let waits = waiting.get(&item.request) == Some(&item.serial);
            if waits {
                waiting.remove(&item.request);
            }
            waits
        });
        // Whoever expires without ever announcing must not leave the other queue growing.
        while announce.front().is_some_and(|item| waiting.get(&item.request) != Some(&item.serial)) {
            announce.pop_front();
        }
        expired
    }

    /// Forgets queue items of attempts that no longer wait. Only worth a sweep when it frees a sixteenth: otherwise a
    /// queue full of waiting attempts would be swept at every insertion.
    fn drop_settled(&mut self) {
        let Self { waiting, announce, expire, .. } = self;
        if waiting.len() < PENDING_MAX - PENDING_MAX / 16 {
            announce.retain(|item| waiting.get(&item.request) == Some(&item.serial));
            expire.retain(|item| waiting.get(&item.request) == Some(&item.serial));
        }
    }
}

fn due(
    queue: &mut VecDeque<Item>,
    now_ms: u64,
    after_ms: u64,
    mut waits: impl FnMut(&Item) -> bool,
) -> Vec<RequestKey> {
    let mut requests = Vec::new();
    while let Some(item) = queue.front().copied() {
        if now_ms.saturating_sub(item.since_ms) < after_ms {
            break;
        }
        queue.pop_front();
        if waits(&item) {
            requests.push(item.request);
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u8) -> RequestKey {
        RequestKey([number; 16])
    }

    #[test]
    fn an_attempt_is_announced_once_and_expires_once() {
        let mut pending = Pending::new();
        pending.insert(request(1), 1000);

        assert!(pending.announce_due(1999, 1000).is_empty());
        assert_eq!(pending.announce_due(2000, 1000), [request(1)]);
        assert!(pending.announce_due(9000, 1000).is_empty());

        assert!(pending.expire_due(30_999, 30_000).is_empty());
        assert_eq!(pending.expire_due(31_000, 30_000), [request(1)]);
        assert!(pending.expire_due(99_000, 30_000).is_empty());
        assert!(pending.is_empty());
    }

    #[test]
    fn an_attempt_with_an_outcome_is_neither_announced_nor_expired() {
        let mut pending = Pending::new();
        pending.insert(request(1), 0);
        pending.insert(request(2), 1);

        assert!(pending.remove(request(1)));
        assert!(!pending.remove(request(1)));

        assert_eq!(pending.announce_due(5000, 1000), [request(2)]);
        assert_eq!(pending.expire_due(50_000, 30_000), [request(2)]);
    }

    #[test]
    fn a_repeated_insertion_keeps_the_first_time() {
        let mut pending = Pending::new();
        pending.insert(request(1), 0);
        pending.insert(request(1), 20_000);

        assert_eq!(pending.expire_due(30_000, 30_000), [request(1)]);
    }

    #[test]
    fn a_request_that_comes_back_waits_anew() {
        let mut pending = Pending::new();
        pending.insert(request(1), 0);
        pending.remove(request(1));
        pending.insert(request(1), 20_000);

        assert!(pending.expire_due(30_000, 30_000).is_empty());
        assert_eq!(pending.expire_due(50_000, 30_000), [request(1)]);
    }

    #[test]
    fn a_clock_that_seems_to_go_backwards_makes_nothing_due() {
        let mut pending = Pending::new();
        pending.insert(request(1), 5000);

        assert!(pending.announce_due(4000, 1000).is_empty());
    }

    #[test]
    fn more_than_the_maximum_do_not_wait_and_settled_ones_make_room() {
        let mut pending = Pending::new();
        let key = |number: usize| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&(number as u64).to_le_bytes());
            RequestKey(key)
        };
        for number in 0..PENDING_MAX {
            assert!(pending.insert(key(number), 0));
        }

        assert!(!pending.insert(key(PENDING_MAX), 0));
        for number in 0..PENDING_MAX / 8 {
            pending.remove(key(number));
        }
        assert!(pending.insert(key(PENDING_MAX), 0));
    }
}
