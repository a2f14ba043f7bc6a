//! What the mirror gathers between two writes: which of what passed goes into which sorted set.
//!
//! Everything is bounded, and what could not be written waits here for the next write. No names are looked up here, and no
//! key is known here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::detection::attacks::AccountId;
use crate::detection::attempt::{Outcome, Timestamp};
use crate::detection::pseudonym::fold;
use crate::serving::passing::Passing;
use crate::store::upstream::mirror_members::{FailedName, HALF_LIFE_S, Members};

/// Accounts that are followed because somebody failed there within an hour, and as many again that have a measure.
pub(super) const FOLLOWED_MAX: usize = 1000;
/// Names whose failures are counted.
const TALLIED_MAX: usize = 4096;
/// Names that are told in one write, those that failed most.
const TOLD_MAX: usize = 500;
const HOUR_S: i64 = 3600;

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    all: u64,
    more: u64,
}

/// See the module documentation.
#[derive(Debug, Clone, Default)]
pub(super) struct Gathering {
    /// What is to be written, but for the failed names.
    pub members: Members,
    /// When somebody failed last at an account that is followed.
    followed: HashMap<AccountId, i64>,
    failed: HashMap<String, Tally>,
    halved: Option<i64>,
}

fn second(at: Timestamp) -> i64 {
    at.millis().div_euclid(1000)
}

/// As the original wrote attempts: the time and something that makes it the only one.
fn member(passing: &Passing) -> String {
    use std::fmt::Write as _;

    let mut member = format!("{}_", second(passing.at));
    for byte in &passing.request.0[..8] {
        let _ = write!(member, "{byte:02x}");
    }
    member
}

impl Gathering {
    /// Takes in what passed up to `now`. Accounts that are `protected` are followed also where there are too many others.
    pub fn gather(&mut self, passed: &[Passing], protected: &BTreeMap<AccountId, String>, now: Timestamp) {
        let now = second(now);
        self.followed.retain(|_, failed| *failed > now - HOUR_S);
        self.age(now);
        for passing in passed {
            let at = second(passing.at);
            if passing.new {
                self.members.attempts.note(member(passing), at);
                self.members.ips.note(passing.client_ip.to_string(), at);
            }
            let Some(name) = &passing.name else { continue };
            if passing.new {
                self.members.users.note(fold(name), at);
            }
            let failed = passing.outcome == Some(Outcome::Failure);
            if failed && passing.nobody {
                self.tally(name);
            }
            if (failed && self.follows(passing.account, at, protected))
                || (passing.outcome == Some(Outcome::Success) && self.followed.contains_key(&passing.account))
            {
                self.account(name, passing, failed);
            }
        }
    }

    /// The names to be told with this write; what is told here is not told again.
    pub fn take_failed(&mut self) -> Vec<FailedName> {
        let mut told: Vec<FailedName> = Vec::new();
        for (name, tally) in &mut self.failed {
            if tally.more > 0 {
                told.push(FailedName { name: name.clone(), more: std::mem::take(&mut tally.more), all: tally.all });
            }
        }
        told.sort_unstable_by(|a, b| (Reverse(a.all), &a.name).cmp(&(Reverse(b.all), &b.name)));
        told.truncate(TOLD_MAX);
        told
    }

    fn account(&mut self, name: &str, passing: &Passing, failed: bool) {
        let accounts = &mut self.members.accounts;
        if accounts.len() >= 2 * FOLLOWED_MAX && !accounts.contains_key(name) {
            return;
        }
        let account = accounts.entry(name.to_owned()).or_default();
        account.ips.note(passing.client_ip.to_string(), second(passing.at));
        if failed {
            account.fails.note(member(passing), second(passing.at));
        }
    }

    /// Whether an account at which somebody failed is followed from now on.
    fn follows(&mut self, account: AccountId, at: i64, protected: &BTreeMap<AccountId, String>) -> bool {
        let most = if protected.contains_key(&account) { 2 * FOLLOWED_MAX } else { FOLLOWED_MAX };
        let room = self.followed.len() < most;
        let known = self.followed.get(&account).copied();
        if known.is_some() || room {
            self.followed.insert(account, at.max(known.unwrap_or(at)));
        }
        known.is_some() || room
    }

    fn tally(&mut self, name: &str) {
        if self.failed.len() >= TALLIED_MAX && !self.failed.contains_key(name) {
            let mut all: Vec<u64> = self.failed.values().map(|tally| tally.all).collect();
            let middle = all.len() / 2;
            let (_, &mut least, _) = all.select_nth_unstable(middle);
            // Of those that failed equally seldom all go: one more makes any of them stay.
            self.failed.retain(|_, tally| tally.all > least);
        }
        let tally = self.failed.entry(name.to_owned()).or_default();
        tally.all += 1;
        tally.more += 1;
    }

    /// Counts fall by half as they do where they are written.
    fn age(&mut self, now: i64) {
        let halved = *self.halved.get_or_insert(now);
        if now - halved >= i64::from(HALF_LIFE_S) {
            self.halved = Some(now);
            self.failed.values_mut().for_each(|tally| tally.all /= 2);
            self.failed.retain(|_, tally| tally.all + tally.more > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::attempt::RequestKey;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
    }

    fn failure(number: u64, name: &str) -> Passing {
        Passing {
            at: at(0),
            request: RequestKey::of(&number.to_string()),
            client_ip: "198.51.100.7".parse().expect("an address"),
            account: AccountId::from_number(number),
            name: Some(name.to_owned()),
            new: true,
            outcome: Some(Outcome::Failure),
            nobody: true,
        }
    }

    #[test]
    fn accounts_are_followed_from_their_first_failure_up_to_a_cap_that_measures_overrule() {
        let mut gathering = Gathering::default();
        let success = Passing { outcome: Some(Outcome::Success), ..failure(0, "anna") };
        gathering.gather(std::slice::from_ref(&success), &BTreeMap::new(), at(0));
        assert!(gathering.members.accounts.is_empty(), "nobody failed there");
        gathering.gather(&[failure(0, "anna"), success], &BTreeMap::new(), at(0));
        let flood: Vec<Passing> = (1..5000).map(|number| failure(number, &format!("made up {number}"))).collect();
        gathering.gather(&flood, &BTreeMap::new(), at(1));
        assert_eq!((gathering.members.accounts.len(), gathering.followed.len()), (FOLLOWED_MAX, FOLLOWED_MAX));

        let victim = failure(9999, "victim");
        gathering.gather(std::slice::from_ref(&victim), &BTreeMap::new(), at(2));
        assert!(!gathering.members.accounts.contains_key("victim"));
        let protected = BTreeMap::from([(victim.account, "victim".to_owned())]);
        gathering.gather(std::slice::from_ref(&victim), &protected, at(3));
        assert!(gathering.members.accounts.contains_key("victim"));

        gathering.members = Members::default();
        gathering.gather(&[failure(7777, "later")], &BTreeMap::new(), at(3601));
        assert!(gathering.members.accounts.contains_key("later"), "an hour later there is room again");
    }

    #[test]
    fn names_without_an_account_are_counted_told_once_and_fade() {
        let mut gathering = Gathering::default();
        let known = Passing { nobody: false, ..failure(2, "known") };
        let blocked = Passing { outcome: Some(Outcome::Blocked), ..failure(3, "blocked") };
        let unnamed = Passing { name: None, ..failure(4, "") };
        let passed = [failure(1, "info"), failure(1, "info"), known, blocked, unnamed];
        gathering.gather(&passed, &BTreeMap::new(), at(0));
        let told = |more, all| vec![FailedName { name: "info".to_owned(), more, all }];
        assert_eq!(gathering.take_failed(), told(2, 2));
        assert_eq!(gathering.take_failed(), []);
        gathering.gather(&[failure(1, "info")], &BTreeMap::new(), at(i64::from(HALF_LIFE_S)));
        assert_eq!(gathering.take_failed(), told(1, 2), "one and half of two");

        let flood: Vec<Passing> = (0..20_000).map(|number| failure(number, &format!("made up {number}"))).collect();
        gathering.gather(&flood, &BTreeMap::new(), at(50_000));
        assert!(gathering.failed.len() <= TALLIED_MAX && gathering.failed.contains_key("info"));
        assert_eq!(gathering.take_failed().len(), TOLD_MAX);
    }
}
