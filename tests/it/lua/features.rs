//! `add_additional_features`: what it takes, what it refuses, and that nothing leaves the request it belongs to.

use serde_json::{Value, json};

use super::nauthilus::{Nauthilus, Version};

const LOAD: &str = "local neural = require('nauthilus_neural') ";

/// Features and encodings that wait for the score of the present request.
fn waiting(nauthilus: &Nauthilus) -> (Value, Value) {
    let got = nauthilus.eval(&format!("{LOAD} return neural.features()")).expect("two tables");
    (got[0].clone(), got[1].clone())
}

fn alone() -> Nauthilus {
    Nauthilus::new(Version::V2, &[])
}

#[test]
fn features_of_one_request_merge_later_ones_win_and_the_attempts_own_columns_are_skipped() {
    for version in Version::ALL {
        let nauthilus = Nauthilus::new(version, &[]);

        let returned = nauthilus.eval(&format!(
            "{LOAD}
            local first = select('#', neural.add_additional_features({{ device = 'mobile', hour = 7, known = true }}))
            local again = select('#', neural.add_additional_features(
                {{ device = 'desktop', site = 'office', ClientIP = 'a', client_ip = 'b', Username = 'c', username = 'd' }},
                'embedding'))
            return first + again"
        ));

        assert_eq!(returned, Ok(vec![json!(0)]), "{version:?}: it returns nothing");
        let (features, encoding) = waiting(&nauthilus);
        assert_eq!(features, json!({ "device": "desktop", "hour": 7, "known": true, "site": "office" }), "{version:?}");
        assert_eq!(encoding, json!({ "device": "embedding", "site": "embedding" }), "{version:?}");
    }
}

#[test]
fn a_second_argument_that_is_no_text_is_ignored() {
    let nauthilus = alone();

    nauthilus.eval(&format!("{LOAD} neural.add_additional_features({{ a = 'x' }}, 7)")).expect("taken");

    assert_eq!(waiting(&nauthilus), (json!({ "a": "x" }), json!({ "a": "one-hot" })));
}

#[test]
fn features_of_one_request_never_reach_the_next_one_in_the_same_machine() {
    for version in Version::ALL {
        let nauthilus = Nauthilus::new(version, &[]);
        nauthilus
            .eval(&format!("{LOAD} neural.add_additional_features({{ secret = 'of request 1' }})"))
            .expect("taken");

        nauthilus.next_request();

        assert_eq!(waiting(&nauthilus), (json!([]), json!([])), "{version:?}");
        nauthilus.eval(&format!("{LOAD} neural.add_additional_features({{ own = 2 }})")).expect("taken");
        assert_eq!(waiting(&nauthilus).0, json!({ "own": 2 }), "{version:?}");
    }
}

#[test]
fn what_cannot_be_a_feature_is_refused_with_a_reason_and_changes_nothing() {
    let nauthilus = alone();
    nauthilus.eval(&format!("{LOAD} neural.add_additional_features({{ before = 1 }})")).expect("taken");

    for (argument, reason) in [
        ("nil", "table expected, got nil"),
        ("'text'", "table expected, got string"),
        ("{ good = 1, bad = { 1 } }", "feature \"bad\" is a table"),
        ("{ good = 1, bad = print }", "feature \"bad\" is a function"),
        ("{ 'a list' }", "a key is a number"),
        ("{ [true] = 1 }", "a key is a boolean"),
        ("{ [{}] = 1 }", "a key is a table"),
        ("{ [''] = 1 }", "a name of a feature is empty"),
        ("{ [('n'):rep(65)] = 1 }", "longer than 64 bytes"),
        ("{ ['new\\nline'] = 1 }", "not plain text"),
        (
            "(function() local t = {} for i = 1, 65 do t['f' .. i] = i end return t end)()",
            "the table has more than 64 entries",
        ),
        (
            "(function() local t = {} for i = 1, 1e6 do t['f' .. i] = i end return t end)()",
            "the table has more than 64 entries",
        ),
        ("(function() local t = {} for i = 1, 64 do t['f' .. i] = i end return t end)()", "would have more than 64"),
        ("(function() local t = {} t.own = t return t end)()", "feature \"own\" is a table"),
        ("{ good = 1 }, 'two-hot'", "\"one-hot\" or \"embedding\" expected"),
    ] {
        let refused = nauthilus.eval(&format!("{LOAD} neural.add_additional_features({argument})"));

        let message = refused.expect_err(argument);
        assert!(message.contains(reason), "{argument}: {message}");
        assert_eq!(waiting(&nauthilus).0, json!({ "before": 1 }), "{argument}");
    }
}

#[test]
fn what_a_client_sends_cannot_make_a_feature_that_fails_its_login() {
    let nauthilus = alone();
    // Longer than the daemon takes, with control characters, broken UTF-8, and numbers that are none.
    let code = "neural.add_additional_features({ agent = ('x'):rep(300), bell = 'a\\7b\\127\\194\\133c', \
                bytes = 'ok\\255\\195(\\226\\130', umlaut = ('\\195\\164'):rep(200), nan = 0/0, huge = 1/0, small = -1/0 })";

    nauthilus.eval(&format!("{LOAD} {code}")).expect("taken");

    let (features, _) = waiting(&nauthilus);
    assert_eq!(features["agent"], "x".repeat(256));
    assert_eq!(features["bell"], "a b  c");
    assert_eq!(features["bytes"], "ok??(??");
    assert_eq!(features["umlaut"], "ä".repeat(128));
    assert_eq!(features.as_object().map(serde_json::Map::len), Some(4), "{features}");
}

#[test]
fn without_a_request_there_is_nothing_to_add_features_to() {
    let nauthilus = alone();

    let refused = nauthilus
        .eval(&format!("{LOAD} package.loaded.nauthilus_context = nil neural.add_additional_features({{ a = 1 }})"));

    assert!(refused.is_err_and(|message| message.contains("there is no request to add features to")));
}
