//! Where a login comes from, as the scripts tell it: the client behind a proxy, its country and the part of that.

use serde_json::{Value, json};

use super::login::{beside, login};
use super::nauthilus::{Nauthilus, Version};
use crate::support::daemon::{Daemon, Setup};

const HEADER: (&str, &str) = ("NAUTHILUS_NEURAL_FORWARDED_HEADER", "X-Forwarded-For");
/// Where logins of `login` come from.
const PROXY: &str = "198.51.100.7";
const CLIENT: &str = "203.0.113.9";

/// A node that trusts the proxy.
async fn trusting() -> (Daemon, String) {
    let daemon = Daemon::start(Setup::new("a").set("lists.trusted_networks", "[\"198.51.100.0/24\"]")).await;
    let url = format!("http://{}", daemon.http.address());
    (daemon, url)
}

/// What the daemon is asked about a login with this header; the request must be one that it takes.
fn asked(nauthilus: &Nauthilus, session: &str, lines: &[&str]) -> Value {
    nauthilus.next_request();
    nauthilus.set_header("X-Forwarded-For", lines);
    nauthilus.before(&login(session));
    assert!(!nauthilus.log().contains_key("neural_error"), "{lines:?}: {:?}", nauthilus.log());
    nauthilus.sent().pop().expect("a score").body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_client_behind_a_trusted_proxy_is_the_one_that_is_scored_and_told_in_each_version() {
    let (daemon, url) = trusting().await;
    for version in Version::ALL {
        let nauthilus = beside(version, &url, &[HEADER]);
        let session = format!("{version:?}");

        let score = asked(&nauthilus, &session, &[CLIENT]);
        // A post action may run when the request to Nauthilus is gone.
        nauthilus.set_header("X-Forwarded-For", &[]);
        let mut request = login(&session);
        request["authenticated"] = json!(false);
        nauthilus.after(&request);

        let outcome = nauthilus.sent().remove(0).body;
        for body in [&score, &outcome] {
            let addresses = (&body["client_ip"], &body["forwarded_ip"]);
            assert_eq!(addresses, (&json!(PROXY), &json!(CLIENT)), "{version:?}: {body}");
        }
        // Feedback is about the pair of name and address that was scored.
        for (ip, status) in [(PROXY, 409), (CLIENT, 200)] {
            let word = json!({
                "is_brute_force": true, "request_id": session, "client_ip": ip, "username": "alice@example.org",
            });
            let answer = daemon.http.post("/v1/feedback", &word).await;
            assert_eq!(answer.status, status, "{version:?}, {ip}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_forwarded_address_of_a_stranger_is_told_and_not_believed() {
    let daemon = Daemon::start(Setup::new("a")).await;
    let nauthilus = beside(Version::V3, &format!("http://{}", daemon.http.address()), &[HEADER]);

    assert_eq!(asked(&nauthilus, "s-1", &[CLIENT])["forwarded_ip"], CLIENT);

    for (ip, status) in [(CLIENT, 409), (PROXY, 200)] {
        let word =
            json!({ "is_brute_force": true, "request_id": "s-1", "client_ip": ip, "username": "alice@example.org" });
        assert_eq!(daemon.http.post("/v1/feedback", &word).await.status, status, "{ip}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_an_address_that_the_daemon_takes_leaves_the_script_whatever_the_header_says() {
    let (_daemon, url) = trusting().await;
    let nauthilus = beside(Version::V2, &url, &[HEADER]);
    let long = format!("{}{CLIENT}", " ".repeat(1024));
    for (number, (text, sent)) in [
        ("203.0.113.9", Some("203.0.113.9")),
        (" 203.0.113.9:4711 ", Some("203.0.113.9")),
        ("2001:DB8::1", Some("2001:db8::1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("[2001:db8::1]:65535", Some("2001:db8::1")),
        ("1:2:3:4:5:6:7:8", Some("1:2:3:4:5:6:7:8")),
        ("1:2:3:4:5:6:7::", Some("1:2:3:4:5:6:7::")),
        ("::ffff:203.0.113.9", Some("::ffff:203.0.113.9")),
        ("64:ff9b::203.0.113.9", Some("64:ff9b::203.0.113.9")),
        ("10.1.2.3", Some("10.1.2.3")),
        // The proxy itself is no news.
        (PROXY, None),
        ("", None),
        (" , ", None),
        ("unknown", None),
        ("_hidden", None),
        ("for=203.0.113.9", None),
        ("0.0.0.0", None),
        ("224.0.0.1", None),
        ("255.255.255.256", None),
        ("203.0.113.09", None),
        ("203.0.113", None),
        ("203.0.113.9.1", None),
        ("203.0.113.9:", None),
        ("203.0.113.9:123456", None),
        ("203.0.113.9\r\nX: y", None),
        ("203.0.113.9\0", None),
        ("::", None),
        ("0:0:0:0:0:0:0:0", None),
        ("::0.0.0.0", None),
        ("::ffff:0.0.0.0", None),
        ("::ffff:224.0.0.1", None),
        ("::ffff:e000:1", None),
        ("ff02::1", None),
        ("fe80::1%eth0", None),
        ("[fe80::1%25eth0]", None),
        ("[2001:db8::1]4711", None),
        ("2001:db8::1]:80", None),
        ("1:2:3:4:5:6:7", None),
        ("1:2:3:4:5:6:7:8:9", None),
        ("1::2::3", None),
        (":::", None),
        (":1:2:3:4:5:6:7", None),
        ("1:2:3:4:5:6:7:8::", None),
        ("1.2.3.4::", None),
        ("12345::1", None),
        ("2001:db8::g", None),
        (&long, None),
    ]
    .into_iter()
    .enumerate()
    {
        let body = asked(&nauthilus, &format!("s-{number}"), &[text]);

        assert_eq!(body.get("forwarded_ip").and_then(Value::as_str), sent, "{text:?}");
    }
}

#[test]
fn of_several_addresses_the_one_counts_that_the_sites_own_proxy_has_seen() {
    let judge = super::login::judge("allow");
    for (hops, lines, sent) in [
        // What stands further left, a client can have written itself.
        ("", vec!["192.0.2.66, 203.0.113.9"], Some("203.0.113.9")),
        ("1", vec!["192.0.2.66", "203.0.113.9"], Some("203.0.113.9")),
        ("2", vec!["192.0.2.66, 203.0.113.9,10.0.0.1"], Some("203.0.113.9")),
        ("2", vec!["203.0.113.9", "10.0.0.1"], Some("203.0.113.9")),
        // It did not come the whole way, so nobody is believed.
        ("2", vec!["203.0.113.9"], None),
        // No other one in the place of one that is none.
        ("1", vec!["203.0.113.9, unknown"], None),
        ("1", vec!["203.0.113.9,"], None),
        ("0", vec!["203.0.113.9"], None),
        ("17", vec!["203.0.113.9"], None),
        ("1.5", vec!["203.0.113.9"], None),
        ("many", vec!["203.0.113.9"], None),
    ] {
        for version in Version::ALL {
            let settings = [HEADER, ("NAUTHILUS_NEURAL_FORWARDED_HOPS", hops)];
            let nauthilus = beside(version, &judge.url(), &settings);

            let body = asked(&nauthilus, "s-1", &lines);

            let told = body.get("forwarded_ip").and_then(Value::as_str);
            assert_eq!(told, sent, "{version:?}, {hops} from the right of {lines:?}");
        }
    }
}

#[test]
fn no_header_is_read_unless_it_was_named() {
    let judge = super::login::judge("allow");
    for version in Version::ALL {
        for header in ["", "X-Real-IP", "X Forwarded For", "X-Forwarded-For:", &"X".repeat(65)] {
            let nauthilus = beside(version, &judge.url(), &[("NAUTHILUS_NEURAL_FORWARDED_HEADER", header)]);

            let body = asked(&nauthilus, "s-1", &[CLIENT]);

            assert!(body.get("forwarded_ip").is_none(), "{version:?}, {header:?}: {body}");
        }
        // Nor what an earlier setting has left in the context of a request.
        let nauthilus = beside(version, &judge.url(), &[]);
        nauthilus.set_context("nauthilus_neural_forwarded_ip", &json!(CLIENT));
        nauthilus.before(&login("s-1"));
        assert!(nauthilus.sent().remove(0).body.get("forwarded_ip").is_none(), "{version:?}");
    }
}

#[test]
fn headers_that_nauthilus_does_not_give_cost_nothing_else() {
    let judge = super::login::judge("block");
    for module in [
        "{}",
        "{ get_http_request_header = function() error('no request') end }",
        "{ get_http_request_header = function() return 'text' end }",
        "{ get_http_request_header = function() return { 7 } end }",
        "{ get_http_request_header = function() return { { '203.0.113.9' } } end }",
    ] {
        let nauthilus = beside(Version::V3, &judge.url(), &[HEADER]);
        nauthilus.replace_http_request(&format!("return {module}"));
        nauthilus.next_request();

        assert!(nauthilus.before(&login("s-1")), "{module}");

        let sent = nauthilus.sent();
        assert!(sent[0].body.get("forwarded_ip").is_none(), "{module}");
    }
}

/// Country and region of a score, with this in the context and these features of a script.
fn place(
    version: Version,
    url: &str,
    context: &[(&str, Value)],
    features: &str,
    header: &[&str],
) -> [Option<String>; 2] {
    let nauthilus = beside(version, url, &[HEADER]);
    nauthilus.next_request();
    for (key, value) in context {
        nauthilus.set_context(key, value);
    }
    nauthilus.set_header("X-Forwarded-For", header);
    nauthilus.eval(&format!("require('nauthilus_neural').add_additional_features({features})")).expect("taken");
    nauthilus.before(&login("s-1"));
    let body = nauthilus.sent().remove(0).body;
    ["country", "region"].map(|name| body.get(name).and_then(Value::as_str).map(str::to_owned))
}

#[test]
fn a_region_comes_from_a_script_of_the_site_and_rubbish_does_not_leave() {
    let judge = super::login::judge("allow");
    let key = "nauthilus_neural_region";
    for version in Version::ALL {
        for (told, region) in [
            (json!("DE-BY"), Some("DE-BY")),
            (json!("de-by"), Some("DE-BY")),
            (json!("BY"), Some("BY")),
            (json!("75"), Some("75")),
            (json!("DE-"), None),
            (json!("DE-BAYERN"), None),
            (json!("Bayern"), None),
            (json!("DE_BY"), None),
            (json!("D\u{fc}"), None),
            (json!("x".repeat(100)), None),
            (json!(75), None),
            (json!(["BY"]), None),
            (json!(""), None),
        ] {
            let seen = place(version, &judge.url(), &[(key, told.clone())], "{}", &[]);
            assert_eq!(seen[1].as_deref(), region, "{version:?}: {told}");
        }
        let feature = place(version, &judge.url(), &[(key, json!("FR-75"))], "{ region = 'us-ca' }", &[]);
        assert_eq!(feature[1].as_deref(), Some("US-CA"), "what a script gives for this request is nearer");
    }
}

#[test]
fn the_country_is_what_nauthilus_has_looked_up_unless_the_client_is_behind_that_address() {
    let judge = super::login::judge("allow");
    let rt = json!({ "geoip_info": { "current_country_code": "NL" } });
    let native = json!({ "matched": true, "country_iso": "de" });
    let seen = |code: Value| ("geoippolicyd_iso_codes_seen", code);
    for version in Version::ALL {
        for (context, country) in [
            (vec![("rt", rt.clone())], Some("NL")),
            (vec![("plugin.environment.geoip", native.clone())], Some("DE")),
            (vec![seen(json!(["fr", "us"])), ("rt", rt.clone())], Some("NL")),
            (vec![seen(json!(["fr"])), ("rt", rt.clone())], Some("FR")),
            (vec![("rt", json!("text")), ("plugin.environment.geoip", json!({ "country_iso": "Germany" }))], None),
        ] {
            let [told, _] = place(version, &judge.url(), &context, "{}", &[]);
            assert_eq!(told.as_deref(), country, "{version:?}: {context:?}");
            let [behind, _] = place(version, &judge.url(), &context, "{}", &[CLIENT]);
            assert_eq!(behind, None, "that is where the proxy stands: {context:?}");
        }
        let told =
            place(version, &judge.url(), &[("rt", rt.clone())], "{ country_code = 'at', region = '9' }", &[CLIENT]);
        assert_eq!(told.map(|text| text.unwrap_or_default()), ["AT", "9"], "a script may know the client");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_region_that_a_script_tells_reaches_the_daemon() {
    let (daemon, url) = trusting().await;
    for version in [Version::V2, Version::V3] {
        let nauthilus = beside(version, &url, &[]);
        nauthilus.next_request();
        nauthilus.set_context("nauthilus_neural_region", &json!("DE-BY"));

        nauthilus.before(&login(&format!("{version:?}")));

        assert!(!nauthilus.log().contains_key("neural_error"), "{:?}", nauthilus.log());
        assert_eq!(nauthilus.sent().remove(0).body["region"], "DE-BY");
    }
    drop(daemon);
}
