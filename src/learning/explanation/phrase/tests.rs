//! What the phrases say for values that occur, and that none is missing.

use super::*;
use crate::detection::features::FeatureSchema;

/// All raw values 0, but for those given.
fn evidence(schema: &FeatureSchema, given: &[(&str, f32)]) -> Evidence {
    let mut values = vec![0.0; schema.len()];
    for (name, value) in given {
        values[schema.index_of(name).expect("a feature")] = *value;
    }
    Evidence::of(schema, &values)
}

fn said(name: &str, value: f64) -> String {
    let empty = Evidence::default();
    phrase(name, value, &empty).expect("something to say").text
}

#[test]
fn every_feature_of_both_profiles_has_words_of_its_own() {
    for schema in [FeatureSchema::compat6(), FeatureSchema::ext()] {
        for name in schema.names() {
            for value in [1.0, 7.0] {
                let text = said(name, value);
                assert!(!text.contains(name.as_str()), "{text}");
            }
        }
    }
}

#[test]
fn numbers_are_said_in_the_right_number() {
    assert_eq!(said("source_failures_1h", 0.0), "no failures from this address in the last hour");
    assert_eq!(said("source_failures_1h", 1.0), "1 failure from this address in the last hour");
    assert_eq!(said("source_failures_1h", 12.0), "12 failures from this address in the last hour");
    assert_eq!(
        said("network_failed_users_24h", 41.0),
        "41 different accounts tried without success from this network in the last day"
    );
    assert_eq!(said("user_failing_addresses_24h", 1.0), "1 address failed on this account in the last day");
    assert_eq!(said("source_names_1h", 1.0), "1 user name tried from this address in the last hour");
    assert_eq!(said("source_users_in_7d", 0.0), "no users logged in from this address in the last week");
}

#[test]
fn what_was_cut_off_is_said_to_be_more() {
    assert_eq!(said("FailedAttemptsLastHour", 100.0), "100 or more failures from this address in the last hour");
    assert_eq!(said("FailedAttemptsLastHour", 99.0), "99 failures from this address in the last hour");
    assert_eq!(
        said("DifferentUsernames", 20.0),
        "20 or more different user names tried from this address in the last hour"
    );
    assert_eq!(said("TimeBetweenAttempts", 3600.0), "no other attempt from this address in the last hour");
}

#[test]
fn times_are_said_in_a_unit_for_people() {
    for (seconds, text) in [
        (0.0, "less than a second"),
        (1.0, "1 second"),
        (119.0, "119 seconds"),
        (150.0, "3 minutes"),
        (7200.0, "2 hours"),
        (172_800.0, "2 days"),
    ] {
        assert_eq!(time(seconds), text);
    }
}

#[test]
fn what_is_missing_is_said_plainly_and_nothing_is_said_of_it_beside() {
    let schema = FeatureSchema::ext();
    let all =
        evidence(&schema, &[("password_missing", 1.0), ("user_without_history", 1.0), ("user_found_missing", 1.0)]);
    let say = |name: &'static str| phrase(name, all.get(name).expect("a feature"), &all).map(|phrase| phrase.text);

    assert_eq!(say("password_missing").as_deref(), Some("the caller sends no password tag"));
    assert_eq!(say("user_without_history").as_deref(), Some("the user has not logged in for thirty days"));
    for silent in ["password_other_users_24h", "password_repeated_excused", "user_new_network", "user_not_found"] {
        assert_eq!(say(silent), None, "{silent}");
    }
}

#[test]
fn whom_a_neighbours_password_was_tried_on_is_told_only_where_it_was_counted() {
    let schema = FeatureSchema::ext();
    let say = |neighbour: f32, users: f32| {
        let all = evidence(&schema, &[("password_of_neighbour", neighbour), ("password_other_users_24h", users)]);
        let name = "password_other_users_24h";
        phrase(name, all.get(name).expect("a feature"), &all).map(|phrase| phrase.text)
    };

    assert_eq!(say(1.0, 0.0), None);
    assert_eq!(say(0.0, 0.0).as_deref(), Some("this password was tried on no other users in the last day"));
    assert!(say(1.0, 4.1).is_some_and(|text| text.contains("59 other users")));
}

#[test]
fn an_ordinary_hour_has_no_more_failing_addresses_than_others() {
    let empty = Evidence::default();
    let said = |excess| phrase("site_failing_addresses_excess", excess, &empty).expect("always said").text;

    assert!(said(0.0).starts_with("no more "), "{}", said(0.0));
    assert!(said(-0.2).starts_with("fewer ") && said(0.2).starts_with("more "));
}

#[test]
fn nothing_is_said_of_what_the_request_does_not_tell() {
    let schema = FeatureSchema::ext();
    let flags = ["asn_missing", "country_missing", "user_agent_missing", "client_id_missing", "protocol_missing"];
    let mut given = flags.map(|flag| (flag, 1.0)).to_vec();
    given.push(("asn_failure_share_24h", 0.4));
    let all = evidence(&schema, &given);
    let say = |name: &'static str| phrase(name, all.get(name).expect("a feature"), &all).map(|phrase| phrase.text);

    for silent in ["asn_new", "asn_failure_share_24h", "country_new", "user_agent_new", "client_id_new", "protocol_new"]
    {
        assert_eq!(say(silent), None, "{silent}");
    }
    assert_eq!(say("asn_missing").as_deref(), Some("the provider of the address is not known"));
    assert_eq!(say("user_agent_missing").as_deref(), Some("the caller sends no user agent"));
}

#[test]
fn a_provider_of_whose_logins_nothing_is_known_has_no_share_of_failures() {
    let empty = Evidence::default();
    let share = |value| phrase("asn_failure_share_24h", value, &empty).map(|phrase| phrase.text);

    assert_eq!(share(0.125), None);
    assert_eq!(share(0.4).as_deref(), Some("about 40 % of the logins from this provider failed in the last day"));
}
