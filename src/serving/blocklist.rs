//! What this node remembers of a blocklist service: the answers, and the addresses that wait to be asked about.
//!
//! A score looks here and nowhere else: an address that is not known is queued, counts as not listed, and the answer is
//! there for its next attempt. Memory only: the task that talks to the service takes the questions from here. Both the
//! answers and the queue are bounded.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Most addresses remembered, about 5 MB; the longest known go first.
const ADDRESSES_MAX: usize = 50_000;
/// Most addresses that wait to be asked about: at 50 answers a second those of 20 seconds.
const WAITING_MAX: usize = 1000;
const MINUTE_MS: u64 = 60_000;
/// After "yes" an address is asked about again only then.
const AFTER_YES_MS: u64 = 60 * MINUTE_MS;
/// After "no": shorter, because an address that attacks now is soon listed.
const AFTER_NO_MS: u64 = 15 * MINUTE_MS;
/// After no answer.
const AFTER_FAILURE_MS: u64 = MINUTE_MS;
/// A question that got lost may be put again then.
const LOST_MS: u64 = 10 * MINUTE_MS;
/// How long a "yes" counts while there is no newer answer: who tries once in two hours is found listed as well.
const YES_KEEPS_MS: u64 = 24 * 60 * MINUTE_MS;

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Blocklist {
    in_use: AtomicBool,
    known: Mutex<Known>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Known {
    service: Option<Arc<str>>,
    /// Grows with each change of the service: answers of an earlier one do not count.
    round: u64,
    addresses: HashMap<IpAddr, Address>,
    /// The remembered addresses, longest known first.
    order: VecDeque<IpAddr>,
    waiting: VecDeque<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Address {
    /// Listed until then; 0 is never.
    listed_until_ms: u64,
    ask_after_ms: u64,
}

/// What a look found, and whether it left a question behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The last answer was "yes" and is not too old.
    pub listed: bool,
    /// The address should have been asked about, but too many were waiting.
    pub dropped: bool,
}

/// One address to ask a service about.
#[derive(Debug, Clone)]
pub struct Question {
    /// The address; nothing else may be told to the service.
    pub ip: IpAddr,
    /// Where to ask.
    pub service: Arc<str>,
    round: u64,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The service has the address on its list.
    Listed,
    /// It has not.
    Clear,
    /// No usable answer came.
    Failed,
}

impl Blocklist {
    /// Asks this service from now on, or none. Another one than before begins without memory.
    pub fn use_service(&self, service: Option<&str>) {
        let mut known = self.lock();
        if known.service.as_deref() != service {
            let round = known.round + 1;
            *known = Known { service: service.map(Arc::from), round, ..Known::default() };
            self.in_use.store(service.is_some(), Ordering::Relaxed);
        }
    }

    /// What is known of `ip` at `now_ms` (monotonic); an unknown address is left to be asked about if it `may_ask`.
    pub fn look(&self, ip: IpAddr, now_ms: u64, may_ask: bool) -> Look {
        if !self.in_use.load(Ordering::Relaxed) {
            return Look { listed: false, dropped: false };
        }
        let ip = ip.to_canonical();
        let mut known = self.lock();
        let address = known.addresses.get(&ip).copied();
        let listed = address.is_some_and(|address| now_ms < address.listed_until_ms);
        if !may_ask || address.is_some_and(|address| now_ms < address.ask_after_ms) {
            return Look { listed, dropped: false };
        }
        if known.service.is_none() || known.waiting.len() >= WAITING_MAX {
            return Look { listed, dropped: known.service.is_some() };
        }
        known.waiting.push_back(ip);
        known.remember(ip).ask_after_ms = now_ms + LOST_MS;
        drop(known);
        self.wake.notify_one();
        Look { listed, dropped: false }
    }

    /// The next question, oldest first.
    pub fn next(&self) -> Option<Question> {
        let mut known = self.lock();
        let service = known.service.clone()?;
        let ip = known.waiting.pop_front()?;
        Some(Question { ip, service, round: known.round })
    }

    /// Notes what came of a question at `now_ms`.
    pub fn answered(&self, question: &Question, reply: Reply, now_ms: u64) {
        let mut known = self.lock();
        if known.round != question.round {
            return;
        }
        let address = known.remember(question.ip);
        match reply {
            Reply::Listed => {
                *address = Address { listed_until_ms: now_ms + YES_KEEPS_MS, ask_after_ms: now_ms + AFTER_YES_MS }
            }
            Reply::Clear => *address = Address { listed_until_ms: 0, ask_after_ms: now_ms + AFTER_NO_MS },
            Reply::Failed => address.ask_after_ms = now_ms + AFTER_FAILURE_MS,
        }
    }

    /// Waits until there may be a question.
    pub async fn asked(&self) {
        self.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A panic while the lock was held left at worst an address without its place in the order.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The entry of `ip`, a new one if need be; then the longest known may have to go.
    fn remember(&mut self, ip: IpAddr) -> &mut Address {
        if !self.addresses.contains_key(&ip) {
            while self.order.len() >= ADDRESSES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.addresses.remove(&oldest);
            }
            self.order.push_back(ip);
        }
        self.addresses.entry(ip).or_insert(Address { listed_until_ms: 0, ask_after_ms: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        IpAddr::from((0x0808_0000 + number).to_be_bytes())
    }

    fn list() -> Blocklist {
        let list = Blocklist::default();
        list.use_service(Some("http://service/"));
        list
    }

    const LISTED: Look = Look { listed: true, dropped: false };
    const NOT: Look = Look { listed: false, dropped: false };

    #[test]
    fn an_address_is_asked_about_once_until_its_answer_is_old() {
        for (reply, again_ms) in
            [(Reply::Listed, AFTER_YES_MS), (Reply::Clear, AFTER_NO_MS), (Reply::Failed, AFTER_FAILURE_MS)]
        {
            let list = list();
            for now in 0..5 {
                assert_eq!(list.look(ip(1), now, true), NOT);
            }
            let question = list.next().expect("one question");
            assert_eq!((question.ip, list.next().is_none()), (ip(1), true));
            list.look(ip(1), 6, true);
            assert!(list.next().is_none(), "it is being asked about");
            list.answered(&question, reply, 10);
            let known = if reply == Reply::Listed { LISTED } else { NOT };
            assert_eq!(list.look(ip(1), 9 + again_ms, true), known);
            assert!(list.next().is_none(), "{reply:?} is still fresh");
            assert_eq!(list.look(ip(1), 10 + again_ms, true), known, "the old answer counts meanwhile");
            assert!(list.next().is_some(), "{reply:?} is old");
        }
    }

    #[test]
    fn a_failure_keeps_the_last_answer_for_a_day_and_a_lost_question_is_put_again() {
        let list = list();
        list.look(ip(1), 0, true);
        let question = list.next().expect("a question");
        list.look(ip(1), LOST_MS, true);
        assert!(list.next().is_some(), "nobody answered");

        list.answered(&question, Reply::Listed, LOST_MS);
        list.answered(&question, Reply::Failed, 2 * LOST_MS);

        assert_eq!(list.look(ip(1), LOST_MS + YES_KEEPS_MS - 1, false), LISTED);
        assert_eq!(list.look(ip(1), LOST_MS + YES_KEEPS_MS, false), NOT);
        list.answered(&question, Reply::Listed, LOST_MS);
        list.answered(&question, Reply::Clear, LOST_MS);
        assert_eq!(list.look(ip(1), LOST_MS, false), NOT, "it was taken off the list");
    }

    #[test]
    fn queue_and_memory_are_bounded_and_what_is_dropped_is_told_and_asked_later() {
        let list = list();
        let dropped = (0..2 * WAITING_MAX as u32).filter(|number| list.look(ip(*number), 0, true).dropped).count();
        assert_eq!(dropped, WAITING_MAX);
        while list.next().is_some() {}
        assert_eq!(list.look(ip(2 * WAITING_MAX as u32 - 1), 1, true), NOT);
        assert!(list.next().is_some(), "a dropped one may be asked later");

        for number in 0..ADDRESSES_MAX as u32 + 100 {
            list.look(ip(number), LOST_MS * 2, true);
            let question = list.next().expect("room in the queue");
            list.answered(&question, Reply::Listed, LOST_MS * 2);
        }
        let known = list.lock();
        assert_eq!((known.addresses.len(), known.order.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
        assert!(known.addresses.contains_key(&ip(ADDRESSES_MAX as u32)) && !known.addresses.contains_key(&ip(0)));
    }

    #[test]
    fn another_service_begins_without_memory_and_none_is_never_asked() {
        let list = list();
        list.look(ip(1), 0, true);
        let question = list.next().expect("a question");
        list.answered(&question, Reply::Listed, 0);
        list.use_service(Some("http://service/"));
        assert_eq!(list.look(ip(1), 1, true), LISTED, "the same service");

        list.use_service(Some("http://other/"));
        list.answered(&question, Reply::Listed, 1);
        assert_eq!(list.look(ip(1), 1, true), NOT, "the other one was not asked yet");
        assert_eq!(list.next().map(|question| question.service.to_string()).as_deref(), Some("http://other/"));
        list.use_service(None);
        assert_eq!(list.look(ip(2), 1, true), NOT);
        assert!(list.next().is_none());
    }
}
