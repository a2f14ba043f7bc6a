//! Distributed attacks through the daemon: what is detected how soon, what the hooks answer, what the fleet shares.

mod restart;

use std::process::Command;
use std::sync::Arc;

use nauthilus_neural::store::embedded::EmbeddedStore;
use nauthilus_neural::store::redis::{RedisOptions, RedisStore};
use nauthilus_neural::store::{Limits, PROTECTION_MAX, Store};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup, now};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

const ADMIN: &str = "/api/v1/custom/distributed-brute-force-admin";
const TEST: &str = "/api/v1/custom/distributed-brute-force-test";

async fn measures_are_exchanged_and_never_overwritten_unseen(store: &dyn Store) {
    assert_eq!(store.load_protection().await.expect("read"), None);
    assert!(!store.save_protection(Some(b"x"), b"a").await.expect("answered"), "there is no x");
    assert!(store.save_protection(None, b"a").await.expect("answered"));
    assert!(!store.save_protection(None, b"b").await.expect("answered"), "somebody else was faster");
    assert_eq!(store.load_protection().await.expect("read"), Some(b"a".to_vec()));
    assert!(store.save_protection(Some(b"a"), b"ab").await.expect("answered"));
    assert_eq!(store.load_protection().await.expect("read"), Some(b"ab".to_vec()));
    store.save_protection(Some(b"ab"), &vec![b'x'; PROTECTION_MAX + 1]).await.expect_err("bounded");
}

#[tokio::test]
async fn the_embedded_store_exchanges_measures_and_forgets_old_ones() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("store.redb");
    let time = Arc::new(std::sync::atomic::AtomicI64::new(1_700_000_000_000));
    let clock = Arc::clone(&time);
    let clock = Arc::new(move || clock.load(std::sync::atomic::Ordering::Relaxed));
    let store = EmbeddedStore::open_with_clock(file, Limits::default(), "a", clock).expect("a new store");

    measures_are_exchanged_and_never_overwritten_unseen(&store).await;

    time.fetch_add(3 * 86_400_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(store.load_protection().await.expect("read"), None);
    assert!(store.save_protection(None, b"c").await.expect("answered"));
}

#[tokio::test]
async fn d50_the_redis_store_exchanges_measures_under_the_configured_prefix() {
    let server = RedisServer::start();
    let prefix = nauthilus_neural::store::keys::KeyPrefix::new("site-a:").expect("a prefix");
    let options = RedisOptions { url: server.url(), prefix, origin: "a".to_owned(), ..RedisOptions::default() };
    let store: Arc<RedisStore> = RedisStore::connect(&options, Limits::default()).expect("sound options");

    measures_are_exchanged_and_never_overwritten_unseen(store.as_ref()).await;

    let keys = server.query(&["KEYS", "*"]).await;
    assert!(keys.matches("neural").count() == 1 && keys.contains("site-a:{neural}:protection"), "{keys}");
    let left: String = server.query(&["PTTL", "site-a:{neural}:protection"]).await;
    let left: u64 = left.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a number");
    assert!(left > 86_400_000, "{left}");
}

async fn hook(daemon: &Daemon, hook: &str, query: &str) -> Value {
    let answer = daemon.http.get(&format!("{hook}?{query}")).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"), "{answer:?}");
    answer.body
}

async fn metrics(daemon: &Daemon) -> Value {
    let answer = hook(daemon, ADMIN, "").await;
    assert_eq!(answer["status"], "success", "{answer}");
    answer["metrics"].clone()
}

/// The nth of many networks.
fn network(number: usize) -> String {
    format!("198.{}.{}.1", 18 + number / 256, number % 256)
}

/// One failed login.
async fn wrong(daemon: &Daemon, number: usize, ip: &str, username: &str, tag: &str) -> Value {
    let mut attempt = traffic::attempt(number, ip, username);
    attempt["password_hash"] = tag.into();
    traffic::login(&daemon.http, &attempt, false).await
}

/// A login of a day ago, as told in bulk: a little less than a day, so that it is no history.
fn a_day_ago(ip: &str, username: &str) -> String {
    let now = nauthilus_neural::detection::attempt::Timestamp::parse(&now()).expect("a time");
    let ts = now.plus_millis(-86_400_000 + 1500).to_string();
    json!({ "ts": ts, "client_ip": ip, "username": username, "success": true }).to_string()
}

/// A daemon with a model of its own, so that protection has a say.
async fn trained(name: &str) -> Daemon {
    let daemon = Daemon::start(Setup::new(name)).await;
    daemon.ingest(traffic::history()).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await.body;
    assert_eq!(trained["outcome"], "promoted", "{trained}");
    daemon
}

#[tokio::test]
async fn d48_five_hundred_networks_with_one_try_each_are_detected_before_the_25th_and_the_owner_gets_in() {
    let daemon = trained("a").await;
    daemon.ingest(&a_day_ago("192.0.2.7", "victim")).await;
    let mut detected = None;
    for number in 0..500 {
        let answer = wrong(&daemon, number, &network(number), "victim", &format!("t{number}")).await;
        if number >= 25 {
            continue;
        }
        let metrics = metrics(&daemon).await;
        if detected.is_none() && metrics["threat_level"].as_f64() >= Some(0.7) {
            detected = Some(number + 1);
            assert_eq!(metrics["captcha_accounts"].as_array().map(Vec::len), Some(1), "{metrics}");
        } else if detected.is_some() {
            // The next stranger is already asked for more, whatever the model says.
            assert!(["step_up", "block"].contains(&answer["verdict"].as_str().unwrap_or_default()), "{answer}");
            assert!(metrics["attacked_accounts"]["victim"].is_number(), "{metrics}");
        }
    }
    let detected = detected.expect("detected among the first 25");
    eprintln!("many networks at one account: detected at attempt {detected}");
    assert!(detected < 25, "{detected}");

    eventually("the owner is known and gets in", SOON, || async {
        let attempt = traffic::attempt(usize::from(rand()), "192.0.2.7", "victim");
        let answer = daemon.http.post("/v1/score", &attempt).await.body;
        if answer["verdict"] == "allow" { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    let stranger = wrong(&daemon, 9999, "203.0.113.9", "victim", "t").await;
    assert!(stranger["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{stranger}");
    assert!(["step_up", "block"].contains(&stranger["verdict"].as_str().unwrap_or_default()), "{stranger}");
    // The task looks every two seconds, and asking may have found the next level before it did.
    let told = |log: &str| ["high", "severe"].map(|level| log.matches(&format!("attacks is {level} now")).count());
    eventually("the rise is logged", SOON, || async {
        if told(&daemon.log()).contains(&1) { Ok(()) } else { Err(daemon.log()) }
    })
    .await;
    let log = daemon.log();
    assert!(told(&log).iter().all(|lines| *lines <= 1), "D48: one line for each rise: {log}");
    assert!(!log.contains("victim") && !log.contains("198.18."), "neither names nor addresses: {log}");
}

/// A number for a request of its own.
fn rand() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[tokio::test]
async fn an_attack_is_detected_while_it_runs_without_anybody_asking() {
    let daemon = Daemon::start(Setup::new("a").set("ml.prior", "false")).await;
    let mut first = None;
    for number in 0..500 {
        let answer = wrong(&daemon, number, &network(number), "victim", &format!("t{number}")).await;
        if answer["would_be"] == "step_up" {
            first = Some(number + 1);
            break;
        }
    }
    eprintln!("as fast as can be, nobody asks: attempt {first:?} is the first that would be asked for more");
    assert!(first.is_some());
}

#[tokio::test]
async fn one_password_over_a_thousand_accounts_from_40_networks_is_detected_before_the_60th() {
    let daemon = trained("a").await;
    let mut detected = None;
    for number in 0..1000 {
        let answer = wrong(&daemon, number, &network(number % 40), &format!("user-{number}"), "Spring2026").await;
        if number >= 60 {
            continue;
        }
        let metrics = metrics(&daemon).await;
        if detected.is_none() && metrics["threat_level"].as_f64() >= Some(0.7) {
            detected = Some(number + 1);
        } else if detected.is_some() && number >= 40 {
            // The network has taken part before.
            assert_eq!((&answer["verdict"], &answer["retry_after_s"]), (&json!("block"), &json!(60)), "{answer}");
        }
    }
    let detected = detected.expect("detected among the first 60");
    eprintln!("one password over many accounts: detected at attempt {detected}");
    assert!(detected < 60, "{detected}");
    assert_eq!(metrics(&daemon).await["rate_limited_ips"].as_array().map(Vec::len), Some(40));
}

#[tokio::test]
async fn d41_d42_a_simulated_attack_is_detected_and_leaves_no_trace_in_real_numbers() {
    let daemon = Daemon::start(Setup::new("a").set("ml.prior", "false")).await;
    let calm = hook(&daemon, TEST, "action=check_detection&username=bob").await;
    let expected = json!({
        "threat_level": 0.0, "account_under_attack": false, "captcha_enabled": false, "rate_limit_enabled": false,
        "monitoring_mode": false, "is_captcha_account": false, "attack_detected": false, "simulated": false,
    });
    assert_eq!(calm["detection_result"], expected, "D42: nothing is missing before anything has happened");
    let before = daemon.http.get("/metrics").await.text;

    let simulated = hook(&daemon, TEST, "action=simulate_attack&username=bob&num_ips=20&country_code=de").await;

    let expected = json!({
        "status": "success", "message": "Distributed brute force attack simulated successfully", "username": "bob",
        "num_ips": 20, "country_code": "DE",
    });
    assert_eq!(simulated, expected, "D41");
    let part = hook(&daemon, TEST, "action=simulate_attack&username=bob&num_ips=1&country_code=de-by").await;
    assert_eq!((&part["status"], &part["country_code"]), (&json!("success"), &json!("DE-BY")), "{part}");
    assert_eq!(
        hook(&daemon, TEST, "action=run_test&username=bob&num_ips=20&country_code=DE").await["test_result"],
        "PASS"
    );
    let checked = hook(&daemon, TEST, "action=check_detection&username=bob").await;
    let result = &checked["detection_result"];
    assert_eq!(
        (&result["attack_detected"], &result["attack_score"], &result["simulated"]),
        (&json!(true), &json!(20), &json!(true))
    );
    assert_eq!(checked["message"], "Detection check completed");
    let other = hook(&daemon, TEST, "action=check_detection&username=carol").await;
    assert_eq!(other["detection_result"]["account_under_attack"], false);

    let metrics = metrics(&daemon).await;
    assert_eq!((&metrics["attempts"], &metrics["attacked_accounts"]), (&json!(0), &json!({})), "{metrics}");
    let after = daemon.http.get("/metrics").await.text;
    let counted = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| line.contains("attempts_") || line.contains("outcomes") || line.contains("threat "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(counted(&before), counted(&after));
    let answer = daemon.http.post("/v1/score", &traffic::attempt(1, "203.0.113.5", "bob")).await.body;
    assert_eq!((&answer["verdict"], &answer["would_be"]), (&json!("allow"), &json!("allow")));
}

#[tokio::test]
async fn the_test_passes_and_can_fail() {
    let daemon = Daemon::start(Setup::new("a")).await;
    for (ips, expected) in [("", "PASS"), ("&num_ips=3", "FAIL"), ("&num_ips=500", "PASS"), ("&num_ips=10", "FAIL")] {
        let answer = hook(&daemon, TEST, &format!("action=run_test&username=bob{ips}")).await;
        assert_eq!((&answer["status"], &answer["test_result"]), (&json!("success"), &json!(expected)), "{answer}");
        assert_eq!(answer["detection_result"]["attack_detected"], expected == "PASS", "{answer}");
        assert_eq!((&answer["message"], &answer["country_code"]), (&json!("Test completed"), &json!("")));
    }
    let message = hook(&daemon, TEST, "action=run_test&username=bob").await["test_message"].clone();
    assert_eq!(message, "Distributed brute force attack was successfully detected");

    let off = Daemon::start(Setup::new("b").set("attacks.enabled", "false")).await;
    assert_eq!(hook(&off, TEST, "action=run_test&username=bob").await["test_result"], "FAIL");
}

#[tokio::test]
async fn errors_of_the_hooks_have_their_documented_form_and_only_administrators_may() {
    let daemon = Daemon::start(Setup::new("a")).await;
    for (path, query, message) in [
        (TEST, "", "Missing required parameter: action"),
        (TEST, "action=explode", "Invalid action: explode"),
        (TEST, "action=simulate_attack", "Missing required parameter: username"),
        (TEST, "action=run_test&username=bob&num_ips=501", "Invalid num_ips parameter: must be a number from 1 to 500"),
        (TEST, "action=run_test&username=bob&num_ips=0", "Invalid num_ips parameter: must be a number from 1 to 500"),
        (TEST, "action=run_test&username=bob&num_ips=x", "Invalid num_ips parameter: must be a number from 1 to 500"),
        (
            TEST,
            "action=run_test&username=bob&country_code=DEU",
            "Invalid country_code parameter: must be a country like DE, or a part of one like DE-BY",
        ),
        (
            TEST,
            "action=simulate_attack&username=bob&country_code=DE-BAYERN",
            "Invalid country_code parameter: must be a country like DE, or a part of one like DE-BY",
        ),
        (ADMIN, "action=explode", "Invalid action: explode"),
        (ADMIN, "action=reset_account", "Missing required parameter: username"),
    ] {
        assert_eq!(hook(&daemon, path, query).await, json!({ "status": "error", "message": message }), "{query}");
    }
    let body = json!({ "action": "reset_account", "username": "bob" });
    let posted = daemon.http.post(ADMIN, &body).await.body;
    let expected = json!({ "status": "success", "message": "Account reset successfully", "username": "bob" });
    assert_eq!(posted, expected);
    let trail = daemon.http.get("/v1/audit").await.body;
    assert_eq!(trail[0]["command"], "reset_account", "{trail}");
    for path in [ADMIN, TEST, "/v1/report"] {
        assert_eq!(daemon.stranger().get(path).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn d40_d43_d44_metrics_stay_mean_one_thing_and_a_reset_reaches_the_fleet() {
    let server = RedisServer::start();
    let [mut a, b] = <[Daemon; 2]>::try_from(Daemon::fleet(&server, ["a", "b"]).await).ok().expect("two");
    let quiet = hook(&a, ADMIN, "action=get_metrics").await;
    assert!(quiet["message"].as_str().is_some_and(|said| said.contains("no significant activity")), "{quiet}");
    assert_eq!(quiet["metrics"]["settings"]["captcha_enabled"], "false");
    for number in 0..20 {
        wrong(&a, number, &network(number), "victim", &format!("t{number}")).await;
    }
    for _ in 0..2 {
        let metrics = metrics(&a).await;
        assert_eq!((&metrics["attempts"], &metrics["unique_ips"]), (&json!(20), &json!(20)), "D40: {metrics}");
    }
    wrong(&a, 20, &network(20), "victim", "t20").await;
    let shown = metrics(&a).await;
    let checked = hook(&a, TEST, "action=check_detection&username=victim").await;
    assert_eq!(shown["attacked_accounts"], json!({ "victim": 21 }), "D44");
    assert_eq!(checked["detection_result"]["attack_score"], 21, "D44");
    assert_eq!(shown["settings"]["monitoring_mode"], "true");
    eventually("the other node acts, too", SOON, || async {
        let answer =
            b.http.post("/v1/score", &traffic::attempt(usize::from(rand()), "203.0.113.5", "victim")).await.body;
        if answer["would_be"] == "step_up" { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;

    let reset = hook(&b, ADMIN, "action=reset_protection").await;

    assert_eq!(reset, json!({ "status": "success", "message": "Protection measures reset successfully" }));
    eventually("nothing is in force any more", SOON, || async {
        let metrics = metrics(&a).await;
        let nothing = metrics["captcha_accounts"] == json!([]) && metrics["rate_limited_ips"] == json!([]);
        if nothing { Ok(()) } else { Err(metrics.to_string()) }
    })
    .await;
    let report = a.http.get("/v1/report?period=weekly").await;
    assert_eq!((report.status, &report.body["high_events"]), (200, &json!(1)), "{report:?}");
    assert_eq!(a.http.get("/v1/report?period=yearly").await.status, 400);
    let mut command = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
    command.arg("--url").arg(format!("http://{}", a.http.address()));
    command.arg("--token-file").arg(a.state_dir().join("admin.token")).args(["report", "--period", "weekly"]);
    let output = String::from_utf8(command.output().expect("the program runs").stdout).expect("UTF-8");
    assert!(output.contains("1 high") && output.contains("21 failed"), "{output}");
    a.stop().await;
    a.start_again().await;
    let report = a.http.get("/v1/report").await.body;
    assert_eq!(report["high_events"], 1, "D49: it outlives a restart: {report}");
}

#[tokio::test]
async fn a_reset_of_an_account_reaches_the_fleet_and_old_counts_of_another_node_do_not_bring_it_back() {
    let server = RedisServer::start();
    let fleet = Daemon::fleet(&server, ["a", "b"]).await;
    for number in 0..20 {
        wrong(&fleet[number % 2], number, &network(number), "victim", &format!("t{number}")).await;
    }
    let counted = async |attempts: u64, attacked: usize| {
        for daemon in &fleet {
            eventually("both nodes have counted everything and agree", SOON, || async {
                let metrics = metrics(daemon).await;
                let accounts = [&metrics["attacked_accounts"], &metrics["captcha_accounts"]];
                let sizes = (accounts[0].as_object().map(|map| map.len()), accounts[1].as_array().map(Vec::len));
                let agreed = metrics["attempts"] == attempts && sizes == (Some(attacked), Some(attacked));
                if agreed { Ok(()) } else { Err(metrics.to_string()) }
            })
            .await;
        }
    };
    counted(20, 1).await;

    let reset = hook(&fleet[0], ADMIN, "action=reset_account&username=victim").await;

    assert_eq!(reset["status"], "success");
    counted(20, 0).await;
    for (number, daemon) in fleet.iter().enumerate() {
        wrong(daemon, 20 + number, &network(20 + number), "victim", &format!("t{}", 20 + number)).await;
        counted(21 + number as u64, 0).await;
    }
    // The attack that goes on is one of its own.
    for number in 22..40 {
        wrong(&fleet[1], number, &network(number), "victim", &format!("t{number}")).await;
    }
    counted(40, 1).await;
}

#[tokio::test]
async fn reports_of_a_day_a_week_and_a_month_have_every_field_by_http_by_their_old_address_and_on_the_command_line() {
    let daemon = Daemon::start(Setup::new("a")).await;
    for number in 0..20 {
        wrong(&daemon, number, &network(number), "victim", &format!("t{number}")).await;
    }
    metrics(&daemon).await;
    for period in ["daily", "weekly", "monthly"] {
        let report = daemon.http.get(&format!("/v1/report?period={period}")).await.body;
        let fields: Vec<&str> = report.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = [
            "attempts",
            "avg_threat_level",
            "event_count",
            "failures",
            "high_events",
            "hours",
            "max_threat_level",
            "moderate_events",
            "period",
            "severe_events",
        ];
        assert_eq!(std::collections::BTreeSet::from_iter(fields), std::collections::BTreeSet::from(expected));
        assert_eq!(
            (&report["period"], &report["attempts"], &report["failures"]),
            (&json!(period), &json!(20), &json!(20))
        );
        assert!(report["max_threat_level"].as_f64() >= Some(0.7), "{report}");
        let events = ["moderate_events", "high_events", "severe_events"].map(|name| report[name].as_u64().unwrap_or(0));
        assert!(events.iter().sum::<u64>() > 0, "{report}");
        assert_eq!(report["event_count"], events.iter().sum::<u64>(), "{report}");

        let old = daemon.http.get(&format!("/api/security/reports?period={period}")).await;
        assert_eq!((old.status, &old.body["max_threat_level"]), (200, &report["max_threat_level"]));
        let mut command = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
        command.arg("--url").arg(format!("http://{}", daemon.http.address()));
        command.arg("--token-file").arg(daemon.state_dir().join("admin.token"));
        let output = command.args(["--json", "report", "--period", period]).output().expect("the program runs");
        let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&printed["period"], &printed["event_count"]), (&report["period"], &report["event_count"]));
    }
    assert_eq!(daemon.stranger().get("/api/security/reports").await.status, 403);
    let text = daemon.http.get("/metrics").await.text;
    assert!(text.contains("nauthilus_dbf_report_generations 9\n"), "{text}");

    // The hours have the same numbers, each under the label of its begin.
    let hours = eventually("the hours are shown", SOON, || async {
        let text = daemon.http.get("/metrics").await.text;
        let hours: Vec<String> =
            text.lines().filter(|line| line.starts_with("nauthilus_dbf_historical_")).map(str::to_owned).collect();
        if hours.iter().any(|line| line.starts_with("nauthilus_dbf_historical_attempts{")) {
            Ok(hours)
        } else {
            Err(text)
        }
    })
    .await;
    let names: std::collections::BTreeSet<&str> =
        hours.iter().filter_map(|line| Some(line.split_once('{')?.0)).collect();
    assert_eq!(names.len(), 6, "{hours:?}");
    for line in &hours {
        let hour = line.split_once("hour=\"").and_then(|(_, rest)| rest.split_once('"')).expect("the label").0;
        assert!(hour.len() == "YYYY-MM-DD HH:MM".len() && hour.ends_with(":00"), "{line}");
    }
}

#[tokio::test]
async fn measures_in_force_and_attacked_accounts_are_counted_in_gauges() {
    let daemon = Daemon::start(Setup::new("a")).await;
    assert_eq!(daemon.metric("attack_measures{measure=\"regions\"}").await, 0);
    for number in 0..20 {
        wrong(&daemon, number, &network(number), "victim", &format!("t{number}")).await;
    }

    eventually("the gauges follow", SOON, || async {
        let mut shown = [0; 4];
        let measures = ["monitoring", "accounts", "networks"];
        for (value, measure) in shown.iter_mut().zip(measures) {
            *value = daemon.metric(&format!("attack_measures{{measure=\"{measure}\"}}")).await;
        }
        shown[3] = daemon.metric("attacked_accounts").await;
        if shown[0] == 1 && shown[1] == 1 && shown[2] > 10 && shown[3] == 1 {
            Ok(())
        } else {
            Err(format!("{shown:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn dashboards_find_their_metrics() {
    let daemon = Daemon::start(Setup::new("a")).await;
    for number in 0..12 {
        wrong(&daemon, number, &network(number), "victim", &format!("t{number}")).await;
    }
    daemon.http.get("/v1/report").await;

    let text = eventually("the gauges are set", SOON, || async {
        let text = daemon.http.get("/metrics").await.text;
        let set = text.lines().any(|line| line == "nauthilus_dbf_auth_attempts{window=\"1h\"} 12.0");
        if set { Ok(text) } else { Err(text) }
    })
    .await;

    for line in [
        "nauthilus_dbf_unique_ips{window=\"1h\"} 12.0",
        "nauthilus_dbf_high_events{period=\"daily\"} 1.0",
        "nauthilus_dbf_report_generations 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("nauthilus_dbf_historical_attempts{")).count(), 1);
    assert!(
        text.contains("nauthilus_neural_threat 0.7") && text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1
    );
    assert!(!text.contains("victim") && !text.contains("198.18."));
}

#[tokio::test]
async fn regions_that_the_fleet_blocks_are_shown_by_every_node() {
    let server = RedisServer::start();
    let options = RedisOptions { url: server.url(), origin: "x".to_owned(), ..RedisOptions::default() };
    let store: Arc<RedisStore> = RedisStore::connect(&options, Limits::default()).expect("sound options");
    let at = nauthilus_neural::detection::attempt::Timestamp::parse(&now()).expect("a time");
    let mut protection = nauthilus_neural::detection::attacks::Protection::default();
    for code in ["BR", "DE-HB"] {
        protection.block_region(nauthilus_neural::detection::client::Region::from_code(code).expect("a region"), at);
    }
    let written = serde_json::to_vec(&protection).expect("plain values");
    assert!(store.save_protection(None, &written).await.expect("answered"));

    let daemon = Daemon::start(Setup::on(&server, "a")).await;

    eventually("the measures are heard of", SOON, || async {
        let shown = metrics(&daemon).await["blocked_regions"].clone();
        if shown == json!(["BR", "DE-HB"]) { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
}
