//! The rules that make a label of what happened around an attempt, in their order, with their constants.
//!
//! The first rule that holds labels a *failed* attempt; one that no rule speaks of teaches nothing (giving it a soft label
//! made models worse: measured). Order, thresholds and weights of the rules stem from a measured set (on simulated
//! traffic: 91 % of failures labelled, 99.2 % of attack and 98.5 % of legitimate labels right), unless marked *assumed*.
//!
//! A rule may not have settled yet, or events that it needs may have been missed. An answer is given all the same where
//! no such rule could change the *class* of the label; otherwise the attempt is unknown. So:
//! - guessing and a success within the hour stand first. They are final when the hour is over (the success at once where
//!   no tags are sent: nothing else can go before it);
//! - attack rules only ever become true. They stand before the 24 hours are over, but never before the hour in which
//!   the owner may still succeed, nor on the first day of a recording, where the day after stands in for the day before;
//! - the weak legitimate rules wait until the tag can no longer turn out to be sprayed;
//! - the login of a stranger to a known user's account waits as long as `stranger_to_user` does. Else, of the lone tries of
//!   strangers in the latest day, only those that came in have a label, and where leaked passwords are tried everywhere that
//!   would speak for whoever comes at the same time (measured: a new kind of attack was found at once more often, and no
//!   more honest travellers were blocked);
//! - where unusually many strangers come at once both wait for an hour only, and the failures are called attacks for as long
//!   as nothing else is known: `one_of_many` is the only label whose class may change when the day is over.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::answer::{Case, HindsightAnswer, HindsightRule, Reason};
use super::tables::{FINE_MS, NO_TAG, source};
use super::tally::Window;
use super::{HindsightIndex, PAIR_MEMORY_MS, surge};
use crate::detection::activity::{DAY_MS, HOUR_MS};
use crate::detection::attempt::{Outcome, Timestamp, address_range, client_network};
use crate::learning::labels::Label;

/// How far a label looks ahead: a sample has settled when it is this old.
pub const LOOK_AHEAD_MS: i64 = DAY_MS;
/// How far it looks back, and must have seen everything, apart from successes, which are remembered longer. On the first day
/// of a recording the day after an attempt stands in for it: within a day most people log in at least once.
const LOOK_BACK_MS: i64 = DAY_MS;

/// Users with one failing password tag within a day to either side.
const SPRAYED_USERS: usize = 4;
/// Failing users of a source within an hour to either side (from a day before, where they make a user's success no excuse),
/// and the largest share of successful users among its users.
const MANY_USERS: usize = 5;
const SUCCESSFUL_PERCENT_MAX: usize = 30;
/// Sources from which one user fails within an hour to either side.
const MANY_SOURCES: usize = 6;
/// Password tags of one user and source within an hour to either side.
const MANY_TAGS: usize = 6;
/// More failures of one user and source than this within an hour to either side, with that many tags, are guessing even
/// if the owner succeeds there (assumed: who has forgotten a password gives up or asks after fewer).
const FORGETFUL_TRIES_MAX: u64 = 20;
/// Password tags of one user and source from a day before to an hour after that are guessing too, however slow (assumed: on
/// generated traffic one in five thousand honest failures stands among so many). What was missed of that day is taken for
/// quiet, or a short gap would leave a day of slips unlabelled.
const TAGS_OF_DAY: usize = 18;
/// A password that failed for so many users in the day before is one of those that everybody guesses, and whoever tries so
/// many of them at one account guesses too, however slow, and also where the owner logs in (both assumed: on generated
/// traffic no honest failure stands among them).
const POPULAR_USERS: usize = 8;
const POPULAR_TAGS: usize = 3;
/// Failures with one and the same tag, within a day to either side, that look like a forgotten device.
const SAME_TAG_AGAIN: u64 = 4;
/// Sources from which a name that never succeeds may be tried for it to be a device: it stands at one place, where the
/// address changes once a day.
const DEVICE_SOURCES: usize = 3;
/// Names that may fail at its place within a day to either side, its own included (assumed).
const DEVICE_NAMES: usize = 2;
/// Failures within a day to either side that make a device where no passwords are told (assumed).
const DEVICE_TRIES: u64 = 3;
/// A stranger at an account fails at most so often there within a day to either side (assumed). Who does it more often is
/// told by other rules, if not, it may be the user's device on a journey.
const STRANGER_TRIES_MAX: u64 = 2;
/// Failing users of a source within an hour to either side that make a first success there doubtful.
const DOUBTFUL_USERS: usize = 8;
/// Who has logged in for so long is a known user. On a site that is younger nothing waits: its models are measured on the
/// latest day too, and shall know whom they would keep out there.
const KNOWN_MS: i64 = 3 * DAY_MS;
/// A mistyped name (all assumed): how often it is tried, how many names fail at that source within an hour to either
/// side, and how soon the right name succeeds. Who tries leaked pairs tries each name once; with single tries a quarter
/// of what the rule found was that (on simulated traffic).
const MISTYPED_TRIES: RangeInclusive<u64> = 2..=3;
const MISTYPED_NAMES: usize = 2;
const MISTYPED_MS: i64 = 10 * 60 * 1000;

/// How it stands with one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Holds,
    Fails,
    /// To be decided by what is still to come.
    Open,
    /// Never to be known.
    Lost,
    /// It holds, and so does something that speaks against it: nothing is taught.
    Contradicted,
}

impl HindsightIndex {
    /// Whether at `now` everything that could bear on an attempt at `ts` has happened.
    pub const fn settled(ts: Timestamp, now: Timestamp) -> bool {
        now.millis() >= ts.plus_millis(LOOK_AHEAD_MS).millis()
    }

    /// The label of an attempt. `now`: up to when all attempts have been recorded.
    pub fn label(&self, case: &Case, now: Timestamp) -> HindsightAnswer {
        View::new(self, case, now).answer(case.outcome)
    }

    /// Whether the label is as it is because the day after the attempt stands in for the day before: it may change when that
    /// is told as well.
    pub fn leans_on_the_day_after(&self, case: &Case, now: Timestamp) -> bool {
        let view = View::new(self, case, now);
        view.began.is_some() && View { began: None, ..view }.answer(case.outcome) != self.label(case, now)
    }
}

/// The index as seen from one attempt.
struct View<'a> {
    index: &'a HindsightIndex,
    now: Timestamp,
    ts: Timestamp,
    user: u64,
    source: IpAddr,
    tag: Option<u64>,
    /// An hour to either side.
    hour: Window,
    /// A day to either side. It is asked to the width of an hour, so it ends an hour early to have passed in a day.
    day: Window,
    /// When the recording began, if this is of its first day, but for the first hour. Whoever logs in from there does so within
    /// the day after as well as within the day before, so that the one can stand in for the other: of three generated sites
    /// 3 to 7 % more failures got a label, and labels were as right as before. Not so for what is told live: a node whose
    /// memory begins may have joined a site that is old, where others know better.
    began: Option<Timestamp>,
}

impl<'a> View<'a> {
    fn new(index: &'a HindsightIndex, case: &Case, now: Timestamp) -> Self {
        let (day_ago, hour_ago) = (case.ts.plus_millis(-LOOK_BACK_MS), case.ts.plus_millis(-HOUR_MS));
        let began = index.coverage.began().filter(|_| index.limits.is_recording());
        Self {
            began: began.filter(|began| day_ago < *began && *began <= hour_ago),
            index,
            now,
            ts: case.ts,
            user: case.user.short(),
            source: source(case.client_ip),
            tag: index.failures.tag(case.ts, case.request),
            hour: Window::around(case.ts, HOUR_MS, HOUR_MS),
            day: Window::around(case.ts, LOOK_BACK_MS, LOOK_AHEAD_MS - HOUR_MS),
        }
    }

    fn answer(&self, outcome: Outcome) -> HindsightAnswer {
        match outcome {
            Outcome::Success => self.success(),
            Outcome::Failure => self.failure(),
            Outcome::Blocked | Outcome::Unknown => HindsightAnswer::Unknown(Reason::NoOutcome),
        }
    }

    fn success(&self) -> HindsightAnswer {
        let failing = self.failing_users(self.hour);
        let before = self.hour.from.plus_millis(-1);
        let had_success = self.index.successes.sources.get(&self.source).is_some_and(|s| s.span.begun(before));
        let known = self.succeeded_by(self.ts.plus_millis(-KNOWN_MS));
        let stranger = known && !had_success && !self.succeeded_in_range(before);
        if stranger && !HindsightIndex::settled(self.ts, self.now) && !self.amid_a_surge() {
            return HindsightAnswer::Unknown(Reason::Unsettled);
        }
        match self.growing(!had_success && failing >= DOUBTFUL_USERS, self.hour) {
            State::Holds => HindsightAnswer::Unknown(Reason::DoubtfulSuccess),
            State::Fails => label(HindsightRule::Success),
            // No number of failures makes it doubtful.
            State::Open | State::Lost if had_success => label(HindsightRule::Success),
            State::Open => HindsightAnswer::Unknown(Reason::Unsettled),
            State::Lost | State::Contradicted => HindsightAnswer::Unknown(Reason::Gap),
        }
    }

    fn failure(&self) -> HindsightAnswer {
        let here = Window { from: self.ts, to: self.ts };
        let seen = self.index.failures.pairs.get(&(self.user, self.source));
        if seen.is_none_or(|tags| tags.count(here) == 0) {
            // The index does not know of the attempt itself, so what it does not know means nothing.
            return HindsightAnswer::Unknown(Reason::Gap);
        }
        // Rules that go before the one that holds and might yet hold, or might have.
        let mut undecided: Vec<(Label, State)> = Vec::new();
        for rule in HindsightRule::FOR_FAILURES {
            let given = rule.labelled();
            match self.state(rule) {
                State::Fails => {}
                State::Holds if undecided.iter().all(|(label, _)| *label == given.label) => return label(rule),
                State::Holds => break,
                State::Contradicted => return HindsightAnswer::Unknown(Reason::Contradiction),
                state => undecided.push((given.label, state)),
            }
        }
        if undecided.iter().any(|(_, state)| *state == State::Lost) {
            HindsightAnswer::Unknown(Reason::Gap)
        } else if undecided.is_empty() {
            HindsightAnswer::Unknown(Reason::NoRule)
        } else if self.one_of_many() {
            label(HindsightRule::OneOfMany)
        } else {
            HindsightAnswer::Unknown(Reason::Unsettled)
        }
    }

    fn state(&self, rule: HindsightRule) -> State {
        match rule {
            HindsightRule::Success
            | HindsightRule::ImportedSuccess
            | HindsightRule::ImportedGuessing
            | HindsightRule::ImportedFailure
            | HindsightRule::OneOfMany => State::Fails,
            HindsightRule::Guessed if self.tag.is_none() => State::Fails,
            HindsightRule::Guessed => {
                let from_list = self.popular_tags() >= POPULAR_TAGS;
                match self.growing(self.guessed() || (from_list && self.is_popular(self.tag)), self.hour) {
                    // Another one of the guesses, or the owner's own slip beside them.
                    State::Fails if from_list => State::Contradicted,
                    state => state,
                }
            }
            HindsightRule::SucceededSoon => {
                let window = Window { from: self.ts, to: self.hour.to };
                self.unless_beside_guesser(
                    self.growing(self.index.successes.of_pair(self.user, self.source, window), window),
                )
            }
            HindsightRule::SucceededBefore => {
                let memory = Window::around(self.ts, PAIR_MEMORY_MS, 0);
                let holds = self.index.successes.of_pair(self.user, self.source, memory);
                let seen = Window { from: self.day.from, to: self.day_before_ends() };
                if !holds && self.index.successes.of_pair(self.user, self.source, seen) {
                    // As before perhaps; or somebody who has guessed right in the end.
                    return State::Lost;
                }
                self.unless_beside_guesser(self.growing(holds, seen))
            }
            HindsightRule::SprayedPassword => {
                let Some(tag) = self.tag else { return State::Fails };
                let users = self.index.failures.tags.get(&tag).map_or(0, |users| users.distinct(self.day).len());
                self.growing(users >= SPRAYED_USERS, self.day)
            }
            HindsightRule::ManyUsersOfSource => self.varying(self.many_users(), self.hour),
            HindsightRule::ManySourcesOfUser => {
                let before = Window { to: self.day_before_ends(), ..self.day };
                match self.growing(self.failing_sources(self.hour) >= MANY_SOURCES, self.hour) {
                    // Its owner's device beside the attack, perhaps: a tag would tell.
                    State::Holds if self.tag.is_none() && self.succeeded_nearby(before) => State::Contradicted,
                    State::Holds => match self.same_password_again() {
                        State::Fails => State::Holds,
                        State::Holds => State::Contradicted,
                        undecided => undecided,
                    },
                    state => state,
                }
            }
            HindsightRule::ManyPasswords => self.growing(self.tags_of_pair(self.hour) >= MANY_TAGS, self.hour),
            HindsightRule::SucceededNearby => self.growing(self.succeeded_nearby(self.day), self.day),
            HindsightRule::PasswordOfNeighbour => self.unless_succeeded(self.opened_another()),
            HindsightRule::NeighbourSucceeded => {
                self.unless_succeeded(self.tag.is_none() && self.neighbour_succeeded())
            }
            HindsightRule::SamePasswordAgain => self.same_password_again(),
            HindsightRule::LoneDevice => self.unless_succeeded(self.tag.is_none() && self.lone_device()),
            HindsightRule::NeverSucceeded if self.source_lets_in() => State::Fails,
            HindsightRule::NeverSucceeded => self.unless_succeeded(true),
            HindsightRule::StrangerToUser
                if self.source_lets_in() || !self.user_succeeds() || self.succeeded_in_range(self.day.to) =>
            {
                State::Fails
            }
            HindsightRule::StrangerToUser => self.varying(self.tries_of_day() <= STRANGER_TRIES_MAX, self.day),
        }
    }

    /// Whether, as far as is known by now, a stranger tries once or twice while unusually many do, and came with them.
    fn one_of_many(&self) -> bool {
        let came = self.index.failures.source_since(self.source);
        came.is_some_and(|first| surge::comes_with(first, self.ts))
            && self.tries_of_day() <= STRANGER_TRIES_MAX
            && !self.source_lets_in()
            && !self.succeeded_in_range(self.day.to)
            && self.amid_a_surge()
    }

    /// Whether unusually many strangers came within an hour to either side; `false` as long as that is not known. Nor in
    /// the first days: then a model is measured on the latest day too, and labels that follow from the numbers of newcomers
    /// would praise whoever looks at these.
    fn amid_a_surge(&self) -> bool {
        let seen = Window { from: self.ts.plus_millis(-surge::LOOK_BACK_MS), to: self.hour.to.plus_millis(FINE_MS) };
        self.now >= seen.to
            && self.index.coverage.begun_by(self.now.plus_millis(-KNOWN_MS - HOUR_MS))
            && self.index.coverage.covers(seen)
            && self.index.newcomers().surge(self.ts)
    }

    /// A rule that once it holds holds for good.
    fn growing(&self, holds: bool, window: Window) -> State {
        if holds { State::Holds } else { self.varying(false, window) }
    }

    /// A rule that is decided at the end of its window.
    fn varying(&self, holds: bool, window: Window) -> State {
        // To the end of the slice that the window ends in; a day's window leaves room for that.
        let end =
            if window.to == self.day.to { self.ts.plus_millis(LOOK_AHEAD_MS) } else { window.to.plus_millis(FINE_MS) };
        let from = self.began.filter(|_| window.from == self.day.from).unwrap_or(window.from);
        if !self.index.coverage.covers(Window { from, to: end }) {
            State::Lost
        } else if self.now < end {
            State::Open
        } else if holds {
            State::Holds
        } else {
            State::Fails
        }
    }

    /// Where the window ends that tells of the day before.
    fn day_before_ends(&self) -> Timestamp {
        if self.began.is_some() { self.day.to } else { self.ts }
    }

    /// A rule for users that never succeed, not within the next day either.
    fn unless_succeeded(&self, holds: bool) -> State {
        if self.user_succeeds() { State::Fails } else { self.varying(holds, self.day) }
    }

    /// Whether the user succeeds anywhere, ever before or within the day after.
    fn user_succeeds(&self) -> bool {
        self.succeeded_by(self.ts.plus_millis(LOOK_AHEAD_MS))
    }

    /// Whether the user ever succeeded by `until`, anywhere.
    fn succeeded_by(&self, until: Timestamp) -> bool {
        self.index.successes.users.get(&self.user).is_some_and(|span| span.begun(until))
    }

    /// Whether the source lets anybody in, ever before or within the day after.
    fn source_lets_in(&self) -> bool {
        let until = self.ts.plus_millis(LOOK_AHEAD_MS);
        self.index.successes.sources.get(&self.source).is_some_and(|opened| opened.span.begun(until))
    }

    /// `succeeded`, or a contradiction where the source fails with many users and this password is popular: then the
    /// success is the user's, and the failure perhaps that of an attacker behind the same address.
    fn unless_beside_guesser(&self, succeeded: State) -> State {
        if succeeded != State::Holds || !self.is_popular(self.tag) {
            return succeeded;
        }
        let window = Window { from: self.day.from, to: self.hour.to };
        match self.growing(self.failing_users(window) >= MANY_USERS, window) {
            State::Holds => State::Contradicted,
            State::Fails => State::Holds,
            undecided => undecided,
        }
    }

    fn failing_users(&self, window: Window) -> usize {
        self.index.failures.sources.get(&self.source).map_or(0, |users| users.distinct(window).len())
    }

    fn many_users(&self) -> bool {
        let Some(failing) = self.index.failures.sources.get(&self.source) else { return false };
        let failing = failing.distinct(self.hour);
        let opened = self.index.successes.sources.get(&self.source);
        let successful = opened.map(|opened| opened.users.distinct(self.hour)).unwrap_or_default();
        let all = failing.union(&successful).count();
        failing.len() >= MANY_USERS && successful.len() * 100 <= all * SUCCESSFUL_PERCENT_MAX
    }

    fn failing_sources(&self, window: Window) -> usize {
        self.index.failures.users.get(&self.user).map_or(0, |sources| sources.distinct(window).len())
    }

    fn tags_of_pair(&self, window: Window) -> usize {
        let tags = self.index.failures.pairs.get(&(self.user, self.source)).map(|tags| tags.distinct(window));
        tags.map_or(0, |tags| tags.iter().filter(|tag| **tag != NO_TAG).count())
    }

    fn guessed(&self) -> bool {
        let Some(tags) = self.index.failures.pairs.get(&(self.user, self.source)) else { return false };
        let fast = tags.count(self.hour) > FORGETFUL_TRIES_MAX && self.tags_of_pair(self.hour) >= MANY_TAGS;
        fast || self.tags_of_pair(Window { from: self.day.from, to: self.hour.to }) >= TAGS_OF_DAY
    }

    fn is_popular(&self, tag: Option<u64>) -> bool {
        let failed = tag.and_then(|tag| self.index.failures.tags.get(&tag));
        // To the slice of now, which ends within the hour: then nothing can change it any more.
        let before = Window { from: self.day.from, to: self.ts };
        failed.is_some_and(|users| users.distinct(before).len() >= POPULAR_USERS)
    }

    /// How many of the passwords that the source tries for the user are popular.
    fn popular_tags(&self) -> usize {
        let Some(tags) = self.index.failures.pairs.get(&(self.user, self.source)) else { return 0 };
        let tags = tags.distinct(Window { from: self.day.from, to: self.hour.to });
        if tags.len() < POPULAR_TAGS { 0 } else { tags.into_iter().filter(|tag| self.is_popular(Some(*tag))).count() }
    }

    fn tries_of_day(&self) -> u64 {
        self.index.failures.pairs.get(&(self.user, self.source)).map_or(0, |tags| tags.count(self.day))
    }

    /// Whether the user logs in from the wider surroundings of the source from a week before the attempt until `to`.
    fn succeeded_in_range(&self, to: Timestamp) -> bool {
        let marks = self.index.successes.ranges.get(&(self.user, address_range(self.source)));
        marks.is_some_and(|marks| marks.any(Window { to, ..Window::around(self.ts, PAIR_MEMORY_MS, 0) }))
    }

    /// Whether the user logs in from the same network within a window.
    fn succeeded_nearby(&self, window: Window) -> bool {
        let marks = self.index.successes.networks.get(&(self.user, client_network(self.source)));
        marks.is_some_and(|marks| marks.any(window))
    }

    fn same_password_again(&self) -> State {
        let Some(tags) = self.index.failures.pairs.get(&(self.user, self.source)) else { return State::Fails };
        let distinct = tags.distinct(self.day);
        if distinct.len() > 1 || distinct.contains(&NO_TAG) {
            return State::Fails;
        }
        let again = tags.count(self.day) >= SAME_TAG_AGAIN;
        if self.user_succeeds() {
            return self.varying(again, self.day);
        }
        match self.varying(again && self.of_one_name(), self.day) {
            // Somebody attacks the name, and this may be its owner's device all the same.
            State::Holds if self.failing_sources(self.day) > DEVICE_SOURCES => State::Contradicted,
            state => state,
        }
    }

    /// Whether the password is tried on this name only. Bots too repeat one password for one name from one address, but
    /// seldom only there.
    fn of_one_name(&self) -> bool {
        let tried = self.tag.and_then(|tag| self.index.failures.tags.get(&tag));
        tried.is_none_or(|users| users.distinct(self.day).len() <= 1)
    }

    /// A device of a name that never succeeds, told without passwords: a source that tries this name again and again,
    /// and hardly another, and never fast.
    fn lone_device(&self) -> bool {
        let Some(tries) = self.index.failures.pairs.get(&(self.user, self.source)) else { return false };
        self.failing_users(self.day) <= DEVICE_NAMES
            && self.failing_sources(self.day) <= DEVICE_SOURCES
            && tries.count(self.day) >= DEVICE_TRIES
            && tries.count(self.hour) <= FORGETFUL_TRIES_MAX
    }

    /// Whether the password of this failure opened another account from the same source within an hour, and the name
    /// is tried from nowhere else.
    fn opened_another(&self) -> bool {
        let Some(tag) = self.tag else { return false };
        let opened = self.index.successes.sources.get(&self.source);
        opened.is_some_and(|opened| opened.tags.distinct(self.hour).contains(&tag))
            && self.failing_sources(self.day) == 1
    }

    /// Whether this looks like a slip in the name, told without passwords: narrow on purpose, so that whoever guesses
    /// from behind a shared address is not taken for its owner.
    fn neighbour_succeeded(&self) -> bool {
        if !MISTYPED_TRIES.contains(&self.tries_of_day())
            || self.failing_users(self.hour) > MISTYPED_NAMES
            || self.failing_sources(self.day) != 1
        {
            return false;
        }
        let Some(opened) = self.index.successes.sources.get(&self.source) else { return false };
        let soon = opened.users.distinct(Window::around(self.ts, 0, MISTYPED_MS));
        let mut soon = soon.into_iter();
        let (Some(neighbour), None) = (soon.next(), soon.next()) else { return false };
        // Up to the slice before, so that the success of now is not its own witness.
        let earlier = Window::around(self.ts, PAIR_MEMORY_MS, -FINE_MS);
        self.index.successes.of_pair(neighbour, self.source, earlier)
    }
}

fn label(rule: HindsightRule) -> HindsightAnswer {
    HindsightAnswer::Label(rule.labelled(), rule)
}
