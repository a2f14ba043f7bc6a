//! What the value of a feature means in plain words, one phrase for each feature of both profiles.
//!
//! It takes raw values and chooses nothing; which phrases are said is decided in `sentence`.

use super::evidence::Evidence;
use super::site_words;

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 24.0 * HOUR_S;
const MONTH_S: f64 = 30.0 * DAY_S;

/// A fact in plain words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Phrase<'a> {
    /// What it is about: of two phrases on one topic the second says nothing new.
    pub(super) topic: &'a str,
    /// Begins in lower case and has no full stop.
    pub(super) text: String,
}

/// What the feature `name` says with its raw `value`. `None` where it says nothing, because the fact that it is about does
/// not exist; `all` tells that.
pub(super) fn phrase<'a>(name: &'a str, value: f64, all: &'a Evidence) -> Option<Phrase<'a>> {
    if let Some(additional) = all.additional(name) {
        return site_words::phrase(additional, value, all);
    }
    let said = |topic, text: String| Some(Phrase { topic, text });
    let flag = |topic, yes: &str, no: &str| said(topic, (if value == 1.0 { yes } else { no }).to_owned());
    let failures = |rest: &str| said("failures", format!("{} {rest}", count(value, "failure", "failures")));
    let guesses = |rest: &str| said("guesses", format!("{} {rest}", count(value, "guess", "guesses")));
    let missing = |topic, text: &str| said(topic, text.to_owned());
    match name {
        // compat-6: the values are cut off at the top of their scales.
        "TimeBetweenAttempts" if value >= HOUR_S => {
            missing("gap", "no other attempt from this address in the last hour")
        }
        "TimeBetweenAttempts" => said("gap", format!("the previous attempt from this address was {} ago", time(value))),
        "FailedAttemptsLastHour" => {
            let failed = capped(value, 100.0, "failure", "failures");
            said("failures", format!("{failed} from this address in the last hour"))
        }
        "DifferentUsernames" => {
            let names = capped(value, 20.0, "user name", "different user names");
            said("names", format!("{names} tried from this address in the last hour"))
        }
        "DifferentPasswords" if value == 0.0 => missing("passwords", "no password tag is known of this account"),
        "DifferentPasswords" => {
            let passwords = capped(value, 20.0, "password", "different passwords");
            said("passwords", format!("{passwords} tried on this account in the last day"))
        }
        "TimeOfDay" => said("time", format!("it was between {value:.0} and {:.0} o'clock", value + 1.0)),
        "SuspiciousNetwork" | "network_suspicious" => {
            flag("list", "the network is under suspicion", "the network is not under suspicion")
        }

        "source_gap_s" if value >= DAY_S => missing("gap", "no other attempt from this address in the last day"),
        "source_gap_s" => said("gap", format!("the previous attempt from this address was {} ago", time(value))),
        "source_failures_5m" => failures("from this address in the last 5 minutes"),
        "source_failures_1h" => failures("from this address in the last hour"),
        "source_failures_24h" => failures("from this address in the last day"),
        "source_attempts_1h" => {
            let attempts = count(value, "other attempt", "other attempts");
            said("attempts", format!("{attempts} from this address in the last hour"))
        }
        "source_names_1h" => {
            let names = count(value, "user name", "different user names");
            said("names", format!("{names} tried from this address in the last hour"))
        }
        "source_failed_names_24h" => {
            let names = count(value, "user name", "different user names");
            said("names", format!("{names} failed from this address in the last day"))
        }
        // A third is what the share is drawn towards: nothing is known.
        "source_failure_share_24h" if (value - 1.0 / 3.0).abs() < 1e-3 => None,
        "source_failure_share_24h" => {
            said("share", format!("about {} of the logins from this address failed in the last day", percent(value)))
        }
        "source_new" | "source_age_s" if all.is("source_new") => missing("age", "this address was not seen before"),
        "source_new" => missing("age", "this address was seen before"),
        "source_age_s" => said("age", format!("this address was first seen {} ago", time(value))),
        "source_users_in_7d" => {
            said("users", format!("{} logged in from this address in the last week", count(value, "user", "users")))
        }

        "network_failures_1h" => failures("from this network in the last hour"),
        "network_failures_24h" => failures("from this network in the last day"),
        "network_failed_users_24h" => {
            let accounts = count(value, "account", "different accounts");
            said("names", format!("{accounts} tried without success from this network in the last day"))
        }
        "network_successes_7d" => {
            said("users", format!("{} from this network in the last week", count(value, "login", "logins")))
        }
        "network_new" => flag("age", "this network was not seen before", "this network was seen before"),

        "user_without_history" => {
            flag("history", "the user has not logged in for thirty days", "the user has logged in within thirty days")
        }
        "user_new_range"
        | "user_new_network"
        | "user_new_address"
        | "user_since_success_s"
        | "protocol_new"
        | "asn_new"
        | "country_new"
        | "user_agent_new"
        | "client_id_new"
            if all.is("user_without_history") =>
        {
            None
        }
        "user_new_range" => flag(
            "range",
            "the user is new anywhere near this address (/16, /32)",
            "the user has logged in from near this address (/16, /32)",
        ),
        "user_new_network" => {
            flag("network", "the user is new in this network", "the user has logged in from this network")
        }
        "user_new_address" => {
            flag("address", "the user is new at this address", "the user has logged in from this address")
        }
        "user_address_succeeded_7d" => flag(
            "address",
            "the user logged in from this address in the last week",
            "the user did not log in from this address in the last week",
        ),
        "user_since_success_s" if value >= MONTH_S => missing("history", "the user has not logged in for thirty days"),
        "user_since_success_s" => said("history", format!("the user last logged in {} ago", time(value))),
        "user_not_found" if all.is("user_found_missing") => None,
        "user_not_found" => flag("exists", "there is no such user", "the user exists"),
        "user_found_missing" => flag(
            "exists",
            "the caller does not say whether the user exists",
            if all.is("user_not_found") { "there is no such user" } else { "the user exists" },
        ),

        "user_failures_5m" => failures("on this account in the last 5 minutes"),
        "user_failures_1h" => failures("on this account in the last hour"),
        "user_failures_24h" => failures("on this account in the last day"),
        "user_failing_addresses_24h" => {
            said("from", format!("{} failed on this account in the last day", count(value, "address", "addresses")))
        }
        "user_failing_networks_24h" => {
            said("from", format!("{} failed on this account in the last day", count(value, "network", "networks")))
        }
        "user_address_failures_1h" => failures("on this account from this address in the last hour"),

        "password_missing" => flag("tag", "the caller sends no password tag", "the caller sends a password tag"),
        "password_repeated_excused" | "password_other_users_24h" if all.is("password_missing") => None,
        "password_repeated_excused" if all.is("password_outdated") => None,
        "password_repeated_excused" => flag(
            "repeated",
            "the same password again from a network of the user, or with an unknown name from where somebody logs in",
            "not the same password again from where that is usual",
        ),
        // Not counted for a neighbour's, so that nothing is to be said of it.
        "password_other_users_24h" if value == 0.0 && all.is("password_of_neighbour") => None,
        "password_other_users_24h" => {
            let users = count(value, "other user", "other users");
            said("spread", format!("this password was tried on {users} in the last day"))
        }
        "user_guesses_24h" | "user_address_guesses_24h" if value == 0.0 => None,
        "user_guesses_24h" => guesses("at this account in the last day, this attempt included"),
        "user_address_guesses_24h" => {
            guesses("at this account from this address in the last day, this attempt included")
        }

        "password_outdated" | "password_of_neighbour" if all.is("password_missing") => None,
        "password_outdated" => flag(
            "repeated",
            "an old password of the user again",
            "not an old password of the user that has just failed",
        ),
        "password_of_neighbour" => flag(
            "neighbour",
            "an unknown name with the password of somebody who logs in from here",
            "not an unknown name with the password of somebody who logs in from here",
        ),

        "site_failing_addresses_1h" => {
            let addresses = count(value, "address", "addresses");
            said("strangers", format!("{addresses} without a login began to fail anywhere in the last hour"))
        }
        "site_failing_addresses_excess" => {
            let compared = match value {
                ..0.0 => "fewer addresses without a login began to fail in the last hour than over the day",
                0.0 => "no more addresses without a login began to fail in the last hour than over the day",
                _ => "more addresses without a login began to fail in the last hour than over the day",
            };
            said("strangers", compared.to_owned())
        }

        "protocol_new" if all.is("protocol_missing") => None,
        "user_agent_new" if all.is("user_agent_missing") => None,
        "client_id_new" if all.is("client_id_missing") => None,
        "asn_new" | "asn_failure_share_24h" if all.is("asn_missing") => None,
        "country_new" if all.is("country_missing") => None,

        "protocol_new" => {
            flag("protocol", "the user has not used this protocol lately", "the user has used this protocol lately")
        }
        "protocol_missing" => {
            flag("protocol", "the caller does not say which protocol it is", "the caller says which protocol it is")
        }
        "user_agent_new" => flag(
            "agent",
            "the user has not used this program lately",
            "the user's program is not known to be a new one",
        ),
        "user_agent_missing" => flag("agent", "the caller sends no user agent", "the caller sends the user agent"),
        "client_id_new" => {
            flag("client", "the user has not used this client lately", "the user's client is not known to be a new one")
        }
        "client_id_missing" => flag("client", "the caller sends no client id", "the caller sends the client id"),

        // An eighth is what the share is drawn towards: nothing is known.
        "asn_failure_share_24h" if (value - 0.125).abs() < 1e-3 => None,
        "asn_failure_share_24h" => {
            said("asn", format!("about {} of the logins from this provider failed in the last day", percent(value)))
        }
        "asn_new" => {
            flag("asn", "the user is new with this provider", "the user's provider is not known to be a new one")
        }
        "asn_missing" => {
            flag("asn", "the provider of the address is not known", "the provider of the address is known")
        }
        "country_new" => {
            flag("country", "the user is new in this country", "the user's country is not known to be a new one")
        }
        "country_missing" => {
            flag("country", "the country of the address is not known", "the country of the address is known")
        }

        // Of a profile that has no words of its own here.
        other => said(other, format!("{other} is {value}")),
    }
}

/// `no failures`, `1 failure`, `41 failures`.
fn count(value: f64, one: &str, many: &str) -> String {
    match value {
        0.0 => format!("no {}", many.trim_start_matches("different ")),
        1.0 => format!("1 {one}"),
        more => format!("{more:.0} {many}"),
    }
}

/// As [`count`] for a value that was cut off at `most`.
fn capped(value: f64, most: f64, one: &str, many: &str) -> String {
    let counted = count(value, one, many);
    if value >= most { counted.replacen(' ', " or more ", 1) } else { counted }
}

/// A time in its largest unit of which there are at least two.
fn time(seconds: f64) -> String {
    let (value, one, many) = match seconds {
        s if s < 1.0 => return "less than a second".to_owned(),
        s if s < 120.0 => (s, "second", "seconds"),
        s if s < 2.0 * HOUR_S => (s / 60.0, "minute", "minutes"),
        s if s < 2.0 * DAY_S => (s / HOUR_S, "hour", "hours"),
        s => (s / DAY_S, "day", "days"),
    };
    count(value.round(), one, many)
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests;
