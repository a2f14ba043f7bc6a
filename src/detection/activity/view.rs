//! What is known around one attempt at its time: every table is asked once, and the questions have names.
//!
//! Each answer is what it was before the attempt: nothing that happened later counts, and an attempt must not be counted
//! before its view is taken. What that means for a model is in [`features`](crate::detection::features).

use super::kinds::{Account, Network, Pair, Source, System, Tag, User, Visit};
use super::known::Trait;
use super::{Activity, Counts, DAY_MS};
use crate::detection::attempt::{Attempt, Timestamp, address_range, client_network};

/// Users who log in from one address, for one byte of a password to tell them apart in 98 of 100 cases.
const HOUSEHOLD_MAX: usize = 4;
/// Other users on whom a password is tried, for it to be the password of one of them.
const PASSWORD_OWNERS_MAX: usize = 2;

/// The entries that an attempt concerns, as far as there are any.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    attempt: &'a Attempt,
    source: Option<&'a Source>,
    network: Option<&'a Network>,
    user: Option<&'a User>,
    account: Option<&'a Account>,
    pair: Option<&'a Pair>,
    visit: Option<&'a Visit>,
    tag: Option<&'a Tag>,
    system: Option<&'a System>,
    activity: &'a Activity,
}

impl<'a> View<'a> {
    pub(super) fn new(activity: &'a Activity, attempt: &'a Attempt) -> Self {
        let (user, ip, network) = (attempt.user.short(), attempt.client_ip, client_network(attempt.client_ip));
        Self {
            attempt,
            source: activity.sources.get(&ip),
            network: activity.networks.get(&network),
            user: activity.users.get(&user),
            account: activity.accounts.get(&user),
            pair: activity.pairs.get(&(user, network)),
            visit: activity.visits.get(&(user, ip)),
            tag: attempt.password.and_then(|tag| activity.tags.get(&tag.0)),
            system: attempt.client.asn.and_then(|asn| activity.systems.get(&asn.number())),
            activity,
        }
    }

    fn ts(&self) -> Timestamp {
        self.attempt.ts
    }

    // The client address.

    /// The previous attempt from the address, up to a day ago.
    pub fn source_previous(&self) -> Option<Timestamp> {
        self.source?.previous_attempt(self.ts(), Some(self.attempt.request))
    }

    /// Since when the address is remembered. It is forgotten after a day without an attempt, or a week without a success
    /// if there was one; what has merely not been cleared away yet does not count.
    pub fn source_first(&self) -> Option<Timestamp> {
        let day_before = self.ts().plus_millis(-DAY_MS);
        let lately = self.source_previous().is_some_and(|previous| previous > day_before);
        self.source?.first_attempt(self.ts()).filter(|_| lately || self.source_users_in() > 0)
    }

    /// Attempts and failures of the address, up to an hour, to the minute.
    pub fn source_counts(&self, window_ms: i64) -> Counts {
        self.source.map_or_else(Counts::default, |source| source.counts(self.ts(), window_ms))
    }

    /// Failures and successes of the address in a day, to the hour.
    pub fn source_outcomes(&self) -> Counts {
        self.source.map_or_else(Counts::default, |source| source.outcomes(self.ts()))
    }

    /// Names that the address tried in the last hour, the present one included; aliases of one account are one.
    pub fn source_names(&self) -> usize {
        self.source.map_or(0, |source| source.other_names(self.ts(), self.attempt.user)) + 1
    }

    /// Names with which the address failed in the last day; aliases of one account are one.
    pub fn source_failed_names(&self) -> usize {
        self.source.map_or(0, |source| source.failed_names(self.ts()))
    }

    /// Users who logged in from the address in the last week.
    pub fn source_users_in(&self) -> usize {
        self.source.map_or(0, |source| source.users_in(self.ts()).count())
    }

    // The client network.

    /// Attempts and failures of the network, up to a day, to the quarter of an hour.
    pub fn network_counts(&self, window_ms: i64) -> Counts {
        self.network.map_or_else(Counts::default, |network| network.counts(self.ts(), window_ms))
    }

    /// Users who failed from the network in the last day.
    pub fn network_failed_users(&self) -> usize {
        self.network.map_or(0, |network| network.failed_users(self.ts()))
    }

    /// Logins from the network in the last week.
    pub fn network_successes(&self) -> u32 {
        self.network.map_or(0, |network| network.successes(self.ts()))
    }

    /// Whether nothing is remembered of the network.
    pub fn network_new(&self) -> bool {
        self.network_counts(DAY_MS) == Counts::default() && self.network_successes() == 0
    }

    // Where the address belongs.

    /// Failures and successes of the autonomous system of the address in a day, to the hour.
    pub fn system_outcomes(&self) -> Counts {
        self.system.map_or_else(Counts::default, |system| system.outcomes(self.ts()))
    }

    // What the user is known by. Successes only.

    /// When the user last logged in, up to thirty days ago.
    pub fn last_success(&self) -> Option<Timestamp> {
        self.account?.last_success(self.ts())
    }

    /// Whether the user logged in with the protocol of the attempt in the last thirty days.
    pub fn protocol_known(&self) -> bool {
        self.account.is_some_and(|account| account.knows_protocol(self.ts(), self.attempt.protocol))
    }

    /// Whether the user logged in lately (thirty days, to the day) and had told `what` by then, but never what the attempt
    /// has of it. `false` where nobody tells `what`, now or then.
    pub fn is_new(&self, what: Trait) -> bool {
        let told = what.of(self.attempt);
        let known = told.zip(self.account).and_then(|(hash, account)| account.knows(self.ts(), what, hash));
        known == Some(false)
    }

    /// Whether the user logged in from the network in the last thirty days.
    pub fn network_known(&self) -> bool {
        // One table may have had to forget what the other still knows.
        self.pair.is_some_and(|pair| pair.familiar(self.ts())) || self.address_known()
    }

    /// Whether the user logged in from the address in the last thirty days.
    pub fn address_known(&self) -> bool {
        self.visit.is_some_and(|visit| visit.familiar(self.ts()))
    }

    /// Whether the user logged in from the address in the last seven days.
    pub fn address_known_lately(&self) -> bool {
        self.visit.is_some_and(|visit| visit.lately_familiar(self.ts()))
    }

    // What was tried on the user.

    /// Failures of the user from the address, up to a day, to the quarter of an hour.
    pub fn visit_failures(&self, window_ms: i64) -> u32 {
        self.visit.map_or(0, |visit| visit.failures(self.ts(), window_ms))
    }

    /// Failures of the user, up to an hour, to the minute.
    pub fn user_failures(&self, window_ms: i64) -> u32 {
        self.user.map_or(0, |user| user.failures(self.ts(), window_ms))
    }

    /// Failures of the user in a day, to the hour.
    pub fn user_failures_day(&self) -> u32 {
        self.user.map_or(0, |user| user.counts(self.ts(), DAY_MS).failures)
    }

    /// Addresses from which the user failed in the last day.
    pub fn user_failing_addresses(&self) -> usize {
        self.user.map_or(0, |user| user.failing_addresses(self.ts()))
    }

    /// Networks from which the user failed in the last day.
    pub fn user_failing_networks(&self) -> usize {
        self.user.map_or(0, |user| user.failing_networks(self.ts()))
    }

    // Passwords.

    /// Whether the password was tried for the user in the last day, and had let the user in, as far as one byte of its tag
    /// can tell. What was merely tried may have been blocked, and to send everything twice must not excuse anybody.
    pub fn let_in_before(&self) -> bool {
        let tried = |tag| self.user.is_some_and(|user| user.tried(self.ts(), tag));
        self.attempt.password.is_some_and(tried) && self.password_known()
    }

    /// Whether the password let the user in some day of the last thirty, as far as one byte of its tag can tell.
    fn password_known(&self) -> bool {
        let hash = Trait::Password.of(self.attempt);
        hash.zip(self.account).and_then(|(hash, account)| account.knows(self.ts(), Trait::Password, hash)) == Some(true)
    }

    /// Tags tried for the user in the last day, other than the present one.
    pub fn user_other_tags(&self) -> usize {
        self.user.map_or(0, |user| user.other_tags(self.ts(), self.attempt.password))
    }

    /// Tags that failed for the user from the address in the last day, other than the present one.
    pub fn visit_other_tags(&self) -> usize {
        self.visit.map_or(0, |visit| visit.other_tags(self.ts(), self.attempt.password))
    }

    /// Whether the password has failed for the user from this address in the last day.
    pub fn failed_before(&self) -> bool {
        let failed = |tag| self.visit.is_some_and(|visit| visit.failed_with(self.ts(), tag));
        self.attempt.password.is_some_and(failed)
    }

    /// Whether the address fails with this one password on this one user in the last day, before and again, and tried nobody
    /// else in the last hour.
    pub fn repeats_alone(&self) -> bool {
        let alone = self.source_names() == 1 && self.source_failed_names() == 1 && self.visit_other_tags() == 0;
        alone && self.failed_before()
    }

    /// Whether the password is one with which the user used to log in: it has failed from this address in the last day, and
    /// logged the user in some day of the last thirty, as far as one byte of its tag can tell.
    pub fn password_outdated(&self) -> bool {
        self.failed_before() && self.password_known()
    }

    /// Other users on whom the tag was tried in the last day.
    pub fn tag_other_users(&self) -> usize {
        self.tag.map_or(0, |tag| tag.other_users(self.ts(), self.attempt.user))
    }

    /// Whether the password is a neighbour's: it lets in, as far as one byte of its tag can tell, somebody who logged in from
    /// this address lately and, where many did, was tried with it in the last day; or somebody who has logged in from this
    /// range of addresses, and who alone but for one or two was tried with it in the last day: what many have is nobody's.
    pub fn password_of_neighbour(&self) -> bool {
        let Some(password) = Trait::Password.of(self.attempt) else { return false };
        let knows = |user: u64, what: Trait, hash: u64| {
            let account = self.activity.accounts.get(&user);
            account.and_then(|account| account.knows(self.ts(), what, hash)) == Some(true)
        };
        let others = |users: &mut dyn Iterator<Item = u64>| -> Vec<u64> {
            users.filter(|user| *user != self.attempt.user.short()).collect()
        };
        let household = self.source.map(|source| others(&mut source.users_in(self.ts()))).unwrap_or_default();
        let tried = self.tag.map(|tag| others(&mut tag.users(self.ts()))).unwrap_or_default();
        let few = household.len() <= HOUSEHOLD_MAX;
        if household.iter().any(|user| (few || tried.contains(user)) && knows(*user, Trait::Password, password)) {
            return true;
        }
        let range = address_range(self.attempt.client_ip);
        let lives_here = |user: u64| knows(user, Trait::Range, range) && knows(user, Trait::Password, password);
        tried.len() <= PASSWORD_OWNERS_MAX && tried.into_iter().any(lives_here)
    }

    // The site.

    /// Addresses from which nobody had logged in that began to fail in the last `window_ms`, up to a day.
    pub fn failing_addresses(&self, window_ms: i64) -> u32 {
        self.activity.traffic.failing_addresses(self.ts(), window_ms)
    }
}
