//! The features of `ext-mlp16`: the address, its network and provider, what the user is known by, what is tried on the
//! user, the passwords, the site, the program that speaks.
//!
//! Counts and times enter as ln(1 + x), flags and shares as they are; whoever trains on them standardises them. What is
//! not known is said by a feature of its own and never looks like a zero. The hour of the day is left out on purpose: it
//! made detection worse.
//!
//! Nobody becomes familiar by failing, and "the same wrong password again" excuses only where the user has logged in
//! before, with a password by which the user has logged in before, or with a name that may have slipped (`slipped`): otherwise
//! each retry counts as a fresh guess, or a bot that repeats one password would look like a forgotten telephone. For the same reason no feature counts how often a
//! password was used.

use super::super::activity::{Activity, Counts, DAY_MS, HOUR_MS, KNOWN_PAIR_MS, Trait, View};
use super::super::attempt::{Attempt, Protocol, Timestamp};
use super::{FeatureContext, Group};
use crate::numeric::{exp, ln_1p};

/// How a feature is computed. The numbers are part of the fingerprint: a changed definition gets a new one. From 64 on,
/// below are the ones of compat-6. Each tells the raw value; windows end at the time of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Seconds since the previous attempt from the address; a day if that is longer ago or there was none.
    SourceGap = 64,
    /// Failures from the address in 5 minutes.
    SourceFailures5m = 65,
    /// Failures from the address in an hour.
    SourceFailures1h = 66,
    /// Failures from the address in a day.
    SourceFailures24h = 67,
    /// Attempts from the address in an hour, without this one.
    SourceAttempts1h = 68,
    /// Names tried from the address in an hour, this one included.
    SourceNames1h = 69,
    /// Names with which the address failed in a day.
    SourceFailedNames24h = 70,
    /// Share of failures in what is known of the address of a day, drawn towards a third: (f + ½) / (f + s + 1½).
    SourceFailureShare = 71,
    /// Seconds since the first attempt from the address; 0 if it is new, which the next feature tells.
    SourceAge = 72,
    /// 1 if nothing is remembered of the address.
    SourceNew = 73,
    /// Users who logged in from the address in a week.
    SourceUsersIn7d = 74,

    /// Failures from the network in an hour.
    NetworkFailures1h = 80,
    /// Failures from the network in a day.
    NetworkFailures24h = 81,
    /// Users who failed from the network in a day.
    NetworkFailedUsers24h = 82,
    /// Logins from the network in a week.
    NetworkSuccesses7d = 83,
    /// 1 if nothing is remembered of the network.
    NetworkNew = 84,
    /// 1 if the network is on a list or the caller suspects it.
    NetworkSuspicious = 85,

    /// Share of failures in what is known of the autonomous system of a day, drawn towards an eighth: (f + 1) / (n + 8).
    AsnFailureShare = 88,
    /// 1 if the user has logged in lately, but never from this autonomous system.
    AsnNew = 89,
    /// 1 if nobody says which autonomous system it is: then the two before say nothing.
    AsnMissing = 90,
    /// 1 if the user has logged in lately, but never from this country.
    CountryNew = 91,
    /// 1 if nobody says which country it is: then the one before says nothing.
    CountryMissing = 92,

    /// 1 if the user has not logged in for thirty days, as far as anybody remembers: then nothing is new for the user.
    UserWithoutHistory = 96,
    /// 1 if the user has logged in lately, but not from this network.
    UserNewNetwork = 97,
    /// 1 if the user has logged in lately, but not from this address.
    UserNewAddress = 98,
    /// 1 if the user logged in from this address in the last seven days.
    UserAddressSucceeded7d = 99,
    /// Seconds since the user last logged in; thirty days if without history.
    UserSinceSuccess = 100,
    /// 1 if the user has logged in lately, but not from this /16 or, with IPv6, /32.
    UserNewRange = 103,
    /// 1 if the caller says that there is no such user.
    UserNotFound = 101,
    /// 1 if the caller does not say whether there is such a user.
    UserFoundMissing = 102,

    /// Failures of the user in 5 minutes.
    UserFailures5m = 112,
    /// Failures of the user in an hour.
    UserFailures1h = 113,
    /// Failures of the user in a day.
    UserFailures24h = 114,
    /// Addresses from which the user failed in a day.
    UserFailingAddresses24h = 115,
    /// Networks from which the user failed in a day.
    UserFailingNetworks24h = 116,
    /// Failures of the user from this address in an hour.
    VisitFailures1h = 117,

    /// 1 if the caller sends no password tag: then the next two say nothing.
    PasswordMissing = 128,
    /// 1 if this password failed from this address in the last day, or was tried and had let the user in
    /// ([`View::let_in_before`]), and the user has logged in from this network (or the name may have slipped, see `slipped`),
    /// or if it is outdated. Not where it merely failed here before and is no neighbour's, with more others than
    /// [`REPEATED_AMONG_MAX`]: whoever guesses from behind the user's own address repeats some guesses too.
    PasswordRepeatedExcused = 180,
    /// Other users on whom this password was tried in a day. 0 where it is a neighbour's, who may have chosen one that many
    /// have, and has failed with this name from here before: whoever tries it on many names does so once.
    PasswordOtherUsers24h = 177,
    /// Guesses at the user in a day, this one included: different passwords where the user has logged in from this
    /// network, where the name may have slipped and where the password is outdated, failures elsewhere. 0 where passwords would have to be told apart and
    /// this one has no tag.
    UserGuesses24h = 178,
    /// The same from this address alone.
    VisitGuesses24h = 179,
    /// 1 if the password failed from this address in the last day, and the user once logged in with it: a program that
    /// has not been told of the new one, wherever it is. A guess that happens to be right is none, since it did not fail.
    PasswordOutdated = 133,
    /// 1 if the name never logged in and the password is that of somebody who belongs here: the name has slipped. What that
    /// means is said at [`View::password_of_neighbour`].
    PasswordOfNeighbour = 143,

    // 144 and 145 were shares of the site's failures.
    /// Addresses from which nobody had logged in that began to fail in the last hour, at whatever user: many of them are
    /// many hands, although each does little.
    SiteFailingAddresses1h = 146,
    /// How many times more these are than in an average hour of the day, as a logarithm: ln(1 + h) − ln(1 + d/24).
    SiteFailingAddressesExcess = 147,

    /// 1 if the user has logged in lately, but not with this protocol.
    ProtocolNew = 160,
    /// 1 if the caller does not say which protocol it is.
    ProtocolMissing = 161,
    /// 1 if the user has logged in with user agents lately, but never with this one.
    UserAgentNew = 162,
    /// 1 if the caller sends no user agent: most protocols have none.
    UserAgentMissing = 163,
    /// 1 if the user has logged in with client ids lately, but never with this one.
    ClientIdNew = 164,
    /// 1 if the caller sends no client id.
    ClientIdMissing = 165,
}

/// What becomes of the raw value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Scale {
    /// It is taken as it is: flags, shares.
    AsIs = 0,
    /// ln(1 + x): counts, seconds.
    Log = 1,
}

/// One feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Feature {
    pub(super) name: &'static str,
    pub(super) group: Group,
    kind: Kind,
    scale: Scale,
}

/// In the order of the values.
pub(super) const FEATURES: [Feature; 51] = {
    use Group::{AccountUnderAttack, Familiarity, Geo, Global, Network, Password, Source};
    use Scale::{AsIs, Log};
    [
        feature("source_gap_s", Source, Kind::SourceGap, Log),
        feature("source_failures_5m", Source, Kind::SourceFailures5m, Log),
        feature("source_failures_1h", Source, Kind::SourceFailures1h, Log),
        feature("source_failures_24h", Source, Kind::SourceFailures24h, Log),
        feature("source_attempts_1h", Source, Kind::SourceAttempts1h, Log),
        feature("source_names_1h", Source, Kind::SourceNames1h, Log),
        feature("source_failed_names_24h", Source, Kind::SourceFailedNames24h, Log),
        feature("source_failure_share_24h", Source, Kind::SourceFailureShare, AsIs),
        feature("source_age_s", Source, Kind::SourceAge, Log),
        feature("source_new", Source, Kind::SourceNew, AsIs),
        feature("source_users_in_7d", Source, Kind::SourceUsersIn7d, Log),
        feature("network_failures_1h", Network, Kind::NetworkFailures1h, Log),
        feature("network_failures_24h", Network, Kind::NetworkFailures24h, Log),
        feature("network_failed_users_24h", Network, Kind::NetworkFailedUsers24h, Log),
        feature("network_successes_7d", Network, Kind::NetworkSuccesses7d, Log),
        feature("network_new", Network, Kind::NetworkNew, AsIs),
        feature("network_suspicious", Network, Kind::NetworkSuspicious, AsIs),
        feature("asn_failure_share_24h", Geo, Kind::AsnFailureShare, AsIs),
        feature("asn_new", Geo, Kind::AsnNew, AsIs),
        feature("asn_missing", Geo, Kind::AsnMissing, AsIs),
        feature("country_new", Geo, Kind::CountryNew, AsIs),
        feature("country_missing", Geo, Kind::CountryMissing, AsIs),
        feature("user_without_history", Familiarity, Kind::UserWithoutHistory, AsIs),
        feature("user_new_range", Familiarity, Kind::UserNewRange, AsIs),
        feature("user_new_network", Familiarity, Kind::UserNewNetwork, AsIs),
        feature("user_new_address", Familiarity, Kind::UserNewAddress, AsIs),
        feature("user_address_succeeded_7d", Familiarity, Kind::UserAddressSucceeded7d, AsIs),
        feature("user_since_success_s", Familiarity, Kind::UserSinceSuccess, Log),
        feature("user_not_found", Familiarity, Kind::UserNotFound, AsIs),
        feature("user_found_missing", Familiarity, Kind::UserFoundMissing, AsIs),
        feature("user_failures_5m", AccountUnderAttack, Kind::UserFailures5m, Log),
        feature("user_failures_1h", AccountUnderAttack, Kind::UserFailures1h, Log),
        feature("user_failures_24h", AccountUnderAttack, Kind::UserFailures24h, Log),
        feature("user_failing_addresses_24h", AccountUnderAttack, Kind::UserFailingAddresses24h, Log),
        feature("user_failing_networks_24h", AccountUnderAttack, Kind::UserFailingNetworks24h, Log),
        feature("user_address_failures_1h", AccountUnderAttack, Kind::VisitFailures1h, Log),
        feature("password_missing", Password, Kind::PasswordMissing, AsIs),
        feature("password_repeated_excused", Password, Kind::PasswordRepeatedExcused, AsIs),
        feature("password_other_users_24h", Password, Kind::PasswordOtherUsers24h, Log),
        feature("user_guesses_24h", Password, Kind::UserGuesses24h, Log),
        feature("user_address_guesses_24h", Password, Kind::VisitGuesses24h, Log),
        feature("password_outdated", Password, Kind::PasswordOutdated, AsIs),
        feature("password_of_neighbour", Password, Kind::PasswordOfNeighbour, AsIs),
        feature("site_failing_addresses_1h", Global, Kind::SiteFailingAddresses1h, Log),
        feature("site_failing_addresses_excess", Global, Kind::SiteFailingAddressesExcess, AsIs),
        feature("protocol_new", Group::Protocol, Kind::ProtocolNew, AsIs),
        feature("protocol_missing", Group::Protocol, Kind::ProtocolMissing, AsIs),
        feature("user_agent_new", Group::Protocol, Kind::UserAgentNew, AsIs),
        feature("user_agent_missing", Group::Protocol, Kind::UserAgentMissing, AsIs),
        feature("client_id_new", Group::Protocol, Kind::ClientIdNew, AsIs),
        feature("client_id_missing", Group::Protocol, Kind::ClientIdMissing, AsIs),
    ]
};

/// See `FeatureSchema::crossing`.
pub(super) const FAMILIAR_ADDRESS: &str = "user_address_succeeded_7d";
/// See `FeatureSchema::tells_stranger`.
pub(super) const OF_STRANGERS: [&str; 2] = ["user_without_history", "user_new_range"];
/// See `FeatureSchema::crossing`: what others do to the account adds to what its user does.
pub(super) const COUNTED_OF_ACCOUNT: [&str; 6] = [
    "user_failures_5m",
    "user_failures_1h",
    "user_failures_24h",
    "user_failing_addresses_24h",
    "user_failing_networks_24h",
    "user_guesses_24h",
];

/// See `FeatureSchema::crossing`.
pub(super) const NEW_ADDRESS: &str = "user_new_address";
/// See `FeatureSchema::crossing`.
pub(super) const NEW_NETWORK: &str = "user_new_network";
/// See `FeatureSchema::crossing`.
pub(super) const OUTDATED: &str = "password_outdated";
/// See `FeatureSchema::crossing`.
pub(super) const REPEATED: &str = "password_repeated_excused";
/// See `FeatureSchema::crossing`.
pub(super) const FAILURES_OF_VISIT: &str = "user_address_failures_1h";
/// See `FeatureSchema::crossing`.
pub(super) const GUESSES_OF_VISIT: &str = "user_address_guesses_24h";
/// See `FeatureSchema::crossing`: whom the place lets in, and how new it is for the user.
pub(super) const OF_PLACE: [&str; 12] = [
    "source_users_in_7d",
    "network_successes_7d",
    "asn_failure_share_24h",
    "asn_new",
    "asn_missing",
    "country_new",
    "country_missing",
    "user_without_history",
    "user_new_range",
    "user_new_network",
    "user_new_address",
    "user_address_succeeded_7d",
];
/// See `FeatureSchema::crossing`: what an attack makes of the surroundings of whoever is there too.
pub(super) const OF_SURROUNDINGS: [&str; 18] = [
    "source_failures_5m",
    "source_failures_1h",
    "source_failures_24h",
    "source_attempts_1h",
    "source_names_1h",
    "source_failed_names_24h",
    "source_failure_share_24h",
    "network_failures_1h",
    "network_failures_24h",
    "network_failed_users_24h",
    "user_failures_5m",
    "user_failures_1h",
    "user_failures_24h",
    "user_failing_addresses_24h",
    "user_failing_networks_24h",
    "password_other_users_24h",
    "site_failing_addresses_1h",
    "site_failing_addresses_excess",
];
/// See `FeatureSchema::crossing`.
pub(super) const COUNTED_OF_VISIT: [&str; 11] = [
    "source_failures_5m",
    "source_failures_1h",
    "source_failures_24h",
    "network_failures_1h",
    "network_failures_24h",
    "user_failures_5m",
    "user_failures_1h",
    "user_failures_24h",
    "user_address_failures_1h",
    "user_guesses_24h",
    GUESSES_OF_VISIT,
];

const fn feature(name: &'static str, group: Group, kind: Kind, scale: Scale) -> Feature {
    Feature { name, group, kind, scale }
}

impl Feature {
    /// What goes into the fingerprint behind the name: its kind (u8), its scale (u8).
    pub(super) fn definition(&self) -> Vec<u8> {
        vec![self.kind as u8, self.scale as u8]
    }

    /// The way back from what [`values`] makes of a raw value, to whole counts and seconds and to four digits of a share.
    pub(super) fn raw(&self, value: f32) -> f64 {
        let value = f64::from(value);
        match self.scale {
            Scale::AsIs => (value * 1e4).round() / 1e4,
            Scale::Log => (exp(value.clamp(0.0, LOG_MAX)) - 1.0).round(),
        }
    }
}

/// Passwords that may fail beside a repeated one for it to be that of a device (assumed: its owner tries some, too).
const REPEATED_AMONG_MAX: usize = 3;
const MINUTES_5_MS: i64 = HOUR_MS / 12;
/// ln(1 + x) of more than any count or time of ours: 10¹³.
const LOG_MAX: f64 = 30.0;

/// The values of `features` for `attempt`.
pub(super) fn values(
    features: &[Feature],
    activity: &Activity,
    attempt: &Attempt,
    context: &FeatureContext,
) -> Vec<f32> {
    let scene = Scene::new(activity, attempt, context);
    let scaled = |feature: &Feature| match feature.scale {
        Scale::AsIs => scene.raw(feature.kind) as f32,
        Scale::Log => ln_1p(scene.raw(feature.kind)) as f32,
    };
    features.iter().map(scaled).collect()
}

/// An attempt, and what several features want to know of it.
struct Scene<'a> {
    attempt: &'a Attempt,
    view: View<'a>,
    suspicious: bool,
    last_success: Option<Timestamp>,
    source_first: Option<Timestamp>,
    /// The user has logged in from this network.
    at_home: bool,
    /// The name never logged in, and the password is that of a neighbour.
    of_neighbour: bool,
    /// The name may have slipped.
    slipped: bool,
    /// The user once logged in with this password, and it has failed here.
    outdated: bool,
}

impl<'a> Scene<'a> {
    fn new(activity: &'a Activity, attempt: &'a Attempt, context: &FeatureContext) -> Self {
        let view = activity.view(attempt);
        let of_neighbour = view.last_success().is_none() && view.password_of_neighbour();
        Self {
            attempt,
            suspicious: context.suspects(attempt),
            last_success: view.last_success(),
            source_first: view.source_first(),
            at_home: view.network_known(),
            of_neighbour,
            slipped: of_neighbour || slipped(&view, attempt),
            outdated: view.password_outdated(),
            view,
        }
    }

    fn raw(&self, kind: Kind) -> f64 {
        let view = &self.view;
        match kind {
            Kind::SourceGap => self.seconds_since(view.source_previous(), DAY_MS),
            Kind::SourceFailures5m => view.source_counts(MINUTES_5_MS).failures.into(),
            Kind::SourceFailures1h => view.source_counts(HOUR_MS).failures.into(),
            Kind::SourceFailures24h => view.source_outcomes().failures.into(),
            Kind::SourceAttempts1h => view.source_counts(HOUR_MS).attempts.into(),
            Kind::SourceNames1h => count(view.source_names()),
            Kind::SourceFailedNames24h => count(view.source_failed_names()),
            Kind::SourceFailureShare => {
                let Counts { failures, successes, .. } = view.source_outcomes();
                (f64::from(failures) + 0.5) / (f64::from(failures) + f64::from(successes) + 1.5)
            }
            Kind::SourceAge => self.source_first.map_or(0.0, |first| self.attempt.ts.seconds_since(first)),
            Kind::SourceNew => flag(self.source_first.is_none()),
            Kind::SourceUsersIn7d => count(view.source_users_in()),

            Kind::NetworkFailures1h => view.network_counts(HOUR_MS).failures.into(),
            Kind::NetworkFailures24h => view.network_counts(DAY_MS).failures.into(),
            Kind::NetworkFailedUsers24h => count(view.network_failed_users()),
            Kind::NetworkSuccesses7d => view.network_successes().into(),
            Kind::NetworkNew => flag(view.network_new()),
            Kind::NetworkSuspicious => flag(self.suspicious),

            Kind::AsnFailureShare => {
                let Counts { failures, successes, .. } = view.system_outcomes();
                (f64::from(failures) + 1.0) / (f64::from(failures) + f64::from(successes) + 8.0)
            }
            Kind::AsnNew => self.newness(Trait::Asn),
            Kind::AsnMissing => self.missing(Trait::Asn),
            Kind::CountryNew => self.newness(Trait::Country),
            Kind::CountryMissing => self.missing(Trait::Country),

            Kind::UserWithoutHistory => flag(!self.has_history()),
            Kind::UserNewRange => self.newness(Trait::Range),
            Kind::UserNewNetwork => flag(self.has_history() && !self.at_home),
            Kind::UserNewAddress => flag(self.has_history() && !view.address_known()),
            Kind::UserAddressSucceeded7d => flag(view.address_known_lately()),
            Kind::UserSinceSuccess => self.seconds_since(self.last_success, KNOWN_PAIR_MS),
            Kind::UserNotFound => flag(self.attempt.user_found == Some(false)),
            Kind::UserFoundMissing => flag(self.attempt.user_found.is_none()),

            Kind::UserFailures5m => view.user_failures(MINUTES_5_MS).into(),
            Kind::UserFailures1h => view.user_failures(HOUR_MS).into(),
            Kind::UserFailures24h => view.user_failures_day().into(),
            Kind::UserFailingAddresses24h => count(view.user_failing_addresses()),
            Kind::UserFailingNetworks24h => count(view.user_failing_networks()),
            Kind::VisitFailures1h => view.visit_failures(HOUR_MS).into(),

            Kind::PasswordMissing => flag(self.attempt.password.is_none()),
            Kind::PasswordRepeatedExcused => {
                let among_few = self.of_neighbour || view.visit_other_tags() <= REPEATED_AMONG_MAX;
                let repeated = view.let_in_before() || (view.failed_before() && among_few);
                flag(self.outdated || ((self.at_home || self.slipped) && repeated))
            }
            Kind::PasswordOtherUsers24h if self.of_neighbour && view.failed_before() => 0.0,
            Kind::PasswordOtherUsers24h => count(view.tag_other_users()),
            Kind::UserGuesses24h => self.guesses(|| view.user_other_tags(), view.user_failures_day()),
            Kind::VisitGuesses24h => self.guesses(|| view.visit_other_tags(), view.visit_failures(DAY_MS)),

            Kind::PasswordOutdated => flag(self.outdated),
            Kind::PasswordOfNeighbour => flag(self.of_neighbour),

            Kind::SiteFailingAddresses1h => view.failing_addresses(HOUR_MS).into(),
            Kind::SiteFailingAddressesExcess => {
                let day = f64::from(view.failing_addresses(DAY_MS));
                ln_1p(view.failing_addresses(HOUR_MS).into()) - ln_1p(day / 24.0)
            }

            Kind::ProtocolNew => {
                let named = self.attempt.protocol != Protocol::Unknown;
                flag(named && self.has_history() && !view.protocol_known())
            }
            Kind::ProtocolMissing => flag(self.attempt.protocol == Protocol::Unknown),
            Kind::UserAgentNew => self.newness(Trait::UserAgent),
            Kind::UserAgentMissing => self.missing(Trait::UserAgent),
            Kind::ClientIdNew => self.newness(Trait::ClientId),
            Kind::ClientIdMissing => self.missing(Trait::ClientId),
        }
    }

    fn newness(&self, what: Trait) -> f64 {
        flag(self.has_history() && self.view.is_new(what))
    }

    fn missing(&self, what: Trait) -> f64 {
        flag(what.of(self.attempt).is_none())
    }

    fn has_history(&self) -> bool {
        self.last_success.is_some()
    }

    /// Seconds since `before`, at most `most_ms`; just that if there is no `before`.
    fn seconds_since(&self, before: Option<Timestamp>, most_ms: i64) -> f64 {
        let most = most_ms as f64 / 1000.0;
        before.map_or(most, |before| self.attempt.ts.seconds_since(before).clamp(0.0, most))
    }

    fn guesses(&self, other_tags: impl FnOnce() -> usize, failures: u32) -> f64 {
        match (self.at_home || self.slipped || self.outdated, self.attempt.password) {
            (false, _) => f64::from(failures) + 1.0,
            (true, Some(_)) => count(other_tags()) + 1.0,
            (true, None) => 0.0,
        }
    }
}

/// Whether this may be the slip of somebody who belongs here, whatever the password: a name that never logged in, a password
/// that can be told apart, and either an address from which somebody logs in (with IPv6 any of its /64, which is one
/// household), or a repeat where nothing else is tried and the network is one from which somebody logs in. A device with
/// such a name repeats its password for days, and whoever guesses has to try others.
fn slipped(view: &View<'_>, attempt: &Attempt) -> bool {
    let somebody_in_network = view.network_successes() > 0;
    let somebody_is_at_home = view.source_users_in() > 0 || (attempt.client_ip.is_ipv6() && somebody_in_network);
    attempt.password.is_some()
        && view.last_success().is_none()
        && (somebody_is_at_home || (somebody_in_network && view.repeats_alone()))
}

fn flag(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

/// Sets are capped far below where a count would lose digits.
fn count(items: usize) -> f64 {
    items as f64
}

#[cfg(test)]
mod tests;
