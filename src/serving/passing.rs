//! What passes this node, with the names that people use, for the mirror of the original's keys (`[upstream] mirror`).
//!
//! Everything else here counts pseudonyms; the original's sorted sets hold names. So this keeps the last names heard, in
//! memory, and only while the mirror is on: otherwise a login costs one look at a flag. Each attempt is told by the one node
//! that was asked about it, never by those that heard of it from the fleet; what operators play to try the detection out
//! has a scorer of its own and does not come here. What is written, and where, does not stand here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::detection::attacks::AccountId;
use crate::detection::attempt::{Attempt, Outcome, RequestKey, Timestamp};

/// Attempts and outcomes that wait to be taken; more are dropped and counted.
pub const WAITING_MAX: usize = 65_536;
/// Longest name that is remembered, in bytes.
pub const NAME_MAX: usize = 256;
/// Names in one generation: when it is full, the one before it is forgotten.
const NAMES_MAX: usize = 16_384;
/// Names that are looked up while a login may wait for it.
const AT_ONCE: usize = 64;

/// One attempt, or what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passing {
    /// When it happened.
    pub at: Timestamp,
    /// The request.
    pub request: RequestKey,
    /// The client.
    pub client_ip: IpAddr,
    /// Whose account.
    pub account: AccountId,
    /// How people call the account, in the spelling heard first; `None` where it was not heard lately or is too long.
    pub name: Option<String>,
    /// It was counted for the first time.
    pub new: bool,
    /// What became of it, if that is new.
    pub outcome: Option<Outcome>,
    /// No account stands behind the name, as far as the caller says.
    pub nobody: bool,
}

#[derive(Default)]
struct Names {
    now: HashMap<AccountId, String>,
    before: HashMap<AccountId, String>,
}

/// See the module documentation.
#[derive(Default)]
pub struct PassingSlot {
    on: AtomicBool,
    waiting: Mutex<Vec<Passing>>,
    names: Mutex<Names>,
    dropped: AtomicU64,
}

impl PassingSlot {
    /// Begins to remember, or stops and forgets everything.
    pub fn switch(&self, on: bool) {
        if self.on.swap(on, Ordering::Relaxed) && !on {
            *self.waiting() = Vec::new();
            *self.names() = Names::default();
        }
    }

    /// Whether names are worth telling.
    pub fn wants_names(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Remembers how people call an account.
    pub fn learn_name(&self, account: AccountId, name: &str) {
        let name = name.trim();
        if !self.wants_names() || name.is_empty() || name.len() > NAME_MAX {
            return;
        }
        let mut names = self.names();
        if names.now.contains_key(&account) {
            return;
        }
        // An account that goes on trying keeps the spelling under which it stands there already.
        let name = names.before.remove(&account).unwrap_or_else(|| name.to_owned());
        if names.now.len() >= NAMES_MAX {
            names.before = std::mem::take(&mut names.now);
        }
        names.now.insert(account, name);
    }

    /// Takes in what this node was asked about or told. Never waits for whoever takes it.
    pub fn note(&self, attempt: &Attempt, new: bool, outcome: Option<Outcome>) {
        if !self.wants_names() || attempt.no_auth || !(new || outcome.is_some()) {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push(Passing {
            at: attempt.ts,
            request: attempt.request,
            client_ip: attempt.client_ip,
            account: attempt.user.into(),
            name: None,
            new,
            outcome,
            nobody: attempt.user == attempt.name && attempt.user_found != Some(true),
        });
    }

    /// Takes what has passed since the last time, in order.
    pub fn take(&self) -> Vec<Passing> {
        let mut passed = std::mem::take(&mut *self.waiting());
        for some in passed.chunks_mut(AT_ONCE) {
            let names = self.names();
            for passing in some {
                passing.name = names.now.get(&passing.account).or_else(|| names.before.get(&passing.account)).cloned();
            }
        }
        passed
    }

    /// What was dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Passing>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::pseudonym::Pseudonymizer;
    use crate::detection::record::AttemptRecord;

    fn attempt(number: usize) -> Attempt {
        let text = format!(r#"{{"request_id":"r{number}","client_ip":"198.51.100.7","username":"user{number}"}}"#);
        let now = Timestamp::from_millis(1_767_571_200_000);
        let record = AttemptRecord::parse(text.as_bytes()).expect("a record");
        record.check(Some(now), now, &Pseudonymizer::new([7; 32]), String::new).expect("a sound record").attempt
    }

    #[test]
    fn nothing_is_kept_while_nobody_mirrors_and_nothing_stays_afterwards() {
        let slot = PassingSlot::default();
        let one = attempt(1);
        slot.learn_name(one.user.into(), "user1");
        slot.note(&one, true, None);
        slot.switch(true);
        assert_eq!(slot.take(), []);
        slot.note(&one, true, None);
        assert_eq!(slot.take()[0].name, None, "its name was told before");

        slot.learn_name(one.user.into(), " User1 ");
        slot.learn_name(one.user.into(), "uSER1");
        slot.note(&one, true, Some(Outcome::Failure));
        let passed = slot.take();
        assert_eq!((passed.len(), passed[0].name.as_deref(), passed[0].nobody), (1, Some("User1"), true));
        assert_eq!(slot.take(), [], "once");

        slot.note(&one, true, None);
        slot.switch(false);
        slot.switch(true);
        slot.note(&one, true, None);
        let passed = slot.take();
        assert_eq!((passed.len(), passed[0].name.as_deref()), (1, None));
    }

    #[test]
    fn names_and_what_waits_meet_a_bound_and_who_goes_on_trying_keeps_the_name() {
        let slot = PassingSlot::default();
        slot.switch(true);
        let account = AccountId::from_number;
        slot.learn_name(account(0), "first");
        slot.learn_name(account(1), &"x".repeat(NAME_MAX + 1));
        for number in 2..=NAMES_MAX as u64 {
            slot.learn_name(account(number), "somebody");
        }
        slot.learn_name(account(999_999), "next generation");
        slot.learn_name(account(0), "FIRST");
        assert_eq!(slot.names().now.get(&account(0)).map(String::as_str), Some("first"));
        for number in 0..3 * NAMES_MAX as u64 {
            slot.learn_name(account(1_000_000 + number), "flood");
        }
        let names = slot.names();
        assert!(names.now.len() + names.before.len() <= 2 * NAMES_MAX);
        assert!(!names.before.contains_key(&account(0)) && !names.now.contains_key(&account(1)));
        drop(names);

        let one = attempt(1);
        for _ in 0..WAITING_MAX + 3 {
            slot.note(&one, true, None);
        }
        assert_eq!((slot.dropped(), slot.take().len()), (3, WAITING_MAX));
    }
}
