//! What is asked of hindsight and what it answers: the rules by name with their labels and weights.
//!
//! When a rule holds is decided in `rules.rs`.

use std::net::IpAddr;

use crate::detection::attempt::{Outcome, Pseudonym, RequestKey, Timestamp};
use crate::learning::labels::{Label, Labelled};
use crate::learning::sample::Sample;

/// Why an attempt got its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum HindsightRule {
    /// The login succeeded.
    Success,
    /// Many passwords of one user from one source, more than anybody tries who has forgotten theirs, or several that are tried
    /// on everybody (assumed). Without it, whoever guesses from behind the user's own address, or guesses right in the end, would be taken for the user.
    Guessed,
    /// The same user succeeded from the same source within the hour after: a slip. Nothing is said of a popular password out of a
    /// source that fails with many users: it may be an attacker's behind the same address (this and the next; assumed).
    SucceededSoon,
    /// The same user had succeeded from the same source in the 7 days before.
    SucceededBefore,
    /// The same password failed for several users.
    SprayedPassword,
    /// The source fails with many users and hardly any of its users succeeds.
    ManyUsersOfSource,
    /// The user fails from many sources at once. Of a source among them that only repeats one password, or, without password
    /// tags, from whose network the user logged in that day, nothing is said: it may be the user's own forgotten device, and to call it legitimate would be a way
    /// to teach us wrongly (assumed).
    ManySourcesOfUser,
    /// The source tries many passwords for the user.
    ManyPasswords,
    /// The user succeeded from the same network within a day.
    SucceededNearby,
    /// A name that never succeeded, with the password that opened another account from the same source (assumed).
    PasswordOfNeighbour,
    /// A name that never succeeded fails two or three times, then the one other user there succeeds, as often before
    /// (assumed; only without password tags, which would tell).
    NeighbourSucceeded,
    /// One and the same password again and again: a device that nobody looks at.
    SamePasswordAgain,
    /// Neither the user nor the source has ever succeeded.
    NeverSucceeded,
    /// A name that never succeeds, tried slowly and again and again from one place where hardly another name is tried: a device
    /// that nobody looks at (assumed; only without password tags, which would tell).
    LoneDevice,
    /// Not of hindsight: a record of Nauthilus 1.7 of a login that succeeded (this one and the next two weigh less,
    /// because nobody watched what came before and after; assumed).
    ImportedSuccess,
    /// A record of Nauthilus 1.7 of a failure among many names, passwords or failures of one client.
    ImportedGuessing,
    /// A record of Nauthilus 1.7 of a failure with nothing else to it: mostly a slip, and next to nothing is learnt from it.
    ImportedFailure,
    /// Once or twice at the account of somebody who logs in elsewhere, out of a range of addresses that is new for the user,
    /// and from a source that never lets anybody in (assumed). Without it, of those who try leaked passwords only the tries
    /// with names that do not exist would be known.
    StrangerToUser,
    /// Tried once or twice out of a range of addresses that is new for the user, from a source that has let nobody in so far,
    /// while unusually many such sources began to fail. Only until the day is over, when the other rules tell (assumed).
    /// Without it, nothing was learnt of the lone tries of a campaign before it was a day old.
    OneOfMany,
}

impl HindsightRule {
    /// The rules for failures in their order.
    pub const FOR_FAILURES: [Self; 14] = [
        Self::Guessed,
        Self::SucceededSoon,
        Self::SucceededBefore,
        Self::SprayedPassword,
        Self::ManyUsersOfSource,
        Self::ManySourcesOfUser,
        Self::ManyPasswords,
        Self::SucceededNearby,
        Self::PasswordOfNeighbour,
        Self::NeighbourSucceeded,
        Self::SamePasswordAgain,
        Self::LoneDevice,
        Self::NeverSucceeded,
        Self::StrangerToUser,
    ];

    /// Every rule, in the order of [`code`](Self::code).
    pub const ALL: [Self; 19] = [
        Self::Success,
        Self::Guessed,
        Self::SucceededSoon,
        Self::SucceededBefore,
        Self::SprayedPassword,
        Self::ManyUsersOfSource,
        Self::ManySourcesOfUser,
        Self::ManyPasswords,
        Self::SucceededNearby,
        Self::PasswordOfNeighbour,
        Self::NeighbourSucceeded,
        Self::SamePasswordAgain,
        Self::NeverSucceeded,
        Self::LoneDevice,
        Self::ImportedSuccess,
        Self::ImportedGuessing,
        Self::ImportedFailure,
        Self::StrangerToUser,
        Self::OneOfMany,
    ];

    /// Its number in stored labels. A new rule goes to the end; no number is ever used again.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From the number in stored labels.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.code() == code)
    }

    /// Whether it speaks of a record of Nauthilus 1.7.
    pub const fn is_imported(self) -> bool {
        matches!(self, Self::ImportedSuccess | Self::ImportedGuessing | Self::ImportedFailure)
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Guessed => "guessed",
            Self::SucceededSoon => "succeeded_soon",
            Self::SucceededBefore => "succeeded_before",
            Self::SprayedPassword => "sprayed_password",
            Self::ManyUsersOfSource => "many_users_of_source",
            Self::ManySourcesOfUser => "many_sources_of_user",
            Self::ManyPasswords => "many_passwords",
            Self::SucceededNearby => "succeeded_nearby",
            Self::PasswordOfNeighbour => "password_of_neighbour",
            Self::NeighbourSucceeded => "neighbour_succeeded",
            Self::SamePasswordAgain => "same_password_again",
            Self::NeverSucceeded => "never_succeeded",
            Self::LoneDevice => "lone_device",
            Self::ImportedSuccess => "imported_success",
            Self::ImportedGuessing => "imported_guessing",
            Self::ImportedFailure => "imported_failure",
            Self::StrangerToUser => "stranger_to_user",
            Self::OneOfMany => "one_of_many",
        }
    }

    /// The label that it gives.
    pub const fn labelled(self) -> Labelled {
        let (label, weight) = match self {
            Self::Success | Self::SucceededSoon => (Label::Legit, 1.0),
            Self::SucceededBefore => (Label::Legit, 0.7),
            Self::Guessed
            | Self::SprayedPassword
            | Self::ManyUsersOfSource
            | Self::ManySourcesOfUser
            | Self::ManyPasswords => (Label::Attack, 1.0),
            Self::SucceededNearby
            | Self::PasswordOfNeighbour
            | Self::NeighbourSucceeded
            | Self::SamePasswordAgain
            | Self::LoneDevice
            | Self::ImportedSuccess => (Label::Legit, 0.5),
            Self::NeverSucceeded | Self::StrangerToUser | Self::OneOfMany | Self::ImportedGuessing => {
                (Label::Attack, 0.5)
            }
            Self::ImportedFailure => (Label::Attack, 0.1),
        };
        Labelled { label, weight }
    }
}

/// The attempt that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Event time.
    pub ts: Timestamp,
    /// Its request, under which the index finds its password tag.
    pub request: RequestKey,
    /// The address as recorded.
    pub client_ip: IpAddr,
    /// The account.
    pub user: Pseudonym,
    /// What became of it.
    pub outcome: Outcome,
}

impl From<&Sample> for Case {
    fn from(sample: &Sample) -> Self {
        let Sample { ts, request, client_ip, user, outcome, .. } = *sample;
        Self { ts, request, client_ip, user, outcome }
    }
}

/// Why there is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Blocked, or nobody told what became of it.
    NoOutcome,
    /// What is still to come may change the label.
    Unsettled,
    /// Events that it depends on were missed, or are no longer or were not yet recorded.
    Gap,
    /// Everything is known and no rule speaks of it.
    NoRule,
    /// A rule holds that another observation speaks against.
    Contradiction,
    /// A success out of a source that fails with many users and had none before: perhaps the attacker's.
    DoubtfulSuccess,
}

impl Reason {
    /// Every reason, in the order of [`code`](Self::code).
    pub const ALL: [Self; 6] =
        [Self::NoOutcome, Self::Unsettled, Self::Gap, Self::NoRule, Self::Contradiction, Self::DoubtfulSuccess];

    /// Its number in stored labels. A new reason goes to the end; no number is ever used again.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// From the number in stored labels.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoOutcome => "no_outcome",
            Self::Unsettled => "unsettled",
            Self::Gap => "gap",
            Self::NoRule => "no_rule",
            Self::Contradiction => "contradiction",
            Self::DoubtfulSuccess => "doubtful_success",
        }
    }
}

/// What hindsight says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HindsightAnswer {
    /// A label that will keep its class, but for [`HindsightRule::OneOfMany`], and the rule behind it.
    Label(Labelled, HindsightRule),
    /// It teaches nothing (yet).
    Unknown(Reason),
}
