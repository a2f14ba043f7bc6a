//! The sorted sets of each attempt, address and user, the names that fail most, and the log of threats.

use std::collections::BTreeMap;

use nauthilus_neural::detection::attacks::{Metrics, Settings, WINDOWS_S};
use nauthilus_neural::detection::attempt::Timestamp;
use nauthilus_neural::store::upstream::mirror_members::{
    ACCOUNT_WINDOW_MAX, FAILED_MAX, FailedName, ForeignKey, LoggedThreat, Members, WINDOW_MAX,
};
use nauthilus_neural::store::upstream::source::{Source, SourceOptions};

use super::{ask, field, hash, keys, mirroring, task};
use crate::support::daemon::SOON;
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

const NOW: i64 = 1_767_571_200;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((NOW + seconds) * 1000)
}

async fn source(server: &RedisServer) -> Source {
    let options = SourceOptions { url: server.url(), prefix: "nt:".into(), username: None, password: None };
    Source::open(&options).await.expect("connected")
}

async fn count(server: &RedisServer, key: &str) -> usize {
    ask(server, &["ZCARD", key]).await
}

/// The members of a sorted set, those with the lowest scores first.
async fn members(server: &RedisServer, key: &str) -> Vec<(String, f64)> {
    ask(server, &["ZRANGE", key, "0", "-1", "WITHSCORES"]).await
}

async fn written(source: &Source, at: Timestamp, members: &Members) {
    assert_eq!(source.put_members("ntc:", at, members).await.expect("written"), []);
}

fn failed(name: &str, more: u64, all: u64) -> FailedName {
    FailedName { name: name.to_owned(), more, all }
}

#[tokio::test]
async fn a_hundred_thousand_attempts_fill_the_sets_up_to_their_caps_with_the_newest() {
    let server = RedisServer::start();
    let source = source(&server).await;
    let mut flood = Members::default();
    for number in 0..100_000_i64 {
        // Ten attempts a second, the last of them now.
        let second = NOW - (99_999 - number) / 10;
        flood.attempts.note(format!("{second}_{number}"), second);
        flood.ips.note(format!("2001:db8::{:x}:{:x}", number / 50_000, number % 50_000), second);
        flood.users.note(format!("user{}", number % 70), second);
        let account = flood.accounts.entry("victim".to_owned()).or_default();
        account.ips.note(format!("ip{number}"), second);
        account.fails.note(format!("{second}_{number}"), second);
    }
    flood.failed = (1..=5000).map(|number| failed(&format!("name{number}"), number, number)).collect();

    written(&source, at(0), &flood).await;
    let once: BTreeMap<String, usize> = counts(&server).await;
    for seconds in WINDOWS_S {
        // What happened up to and with the first second of the window is out of it.
        let all = (seconds as usize * 10).min(WINDOW_MAX);
        for kind in ["auth_attempts", "unique_ips"] {
            assert_eq!(once[&format!("ntc:multilayer:global:{kind}:{seconds}")], all, "{kind} {seconds}");
        }
        assert_eq!(once[&format!("ntc:multilayer:global:unique_users:{seconds}")], 70);
    }
    assert_eq!(once["ntc:multilayer:account:victim:ips:3600"], ACCOUNT_WINDOW_MAX);
    assert_eq!(once["ntc:multilayer:account:victim:fails:3600"], ACCOUNT_WINDOW_MAX);
    assert_eq!(once["ntc:top_failed_logins"], FAILED_MAX);
    let top = members(&server, "ntc:top_failed_logins").await;
    assert_eq!((top[0].1, &top[99]), (4901.0, &("name5000".to_owned(), 5000.0)));
    let mut ends = Vec::new();
    for place in ["0", "-1"] {
        let key = "ntc:multilayer:global:auth_attempts:604800";
        let end: Vec<(String, i64)> = ask(&server, &["ZRANGE", key, place, place, "WITHSCORES"]).await;
        ends.push(end[0].1 - NOW);
    }
    assert_eq!(ends, [-1999, 0]);

    // Another node adds as many of its own: the caps are those of the key.
    let mut more = Members::default();
    for number in 0..30_000 {
        more.attempts.note(format!("other{number}"), NOW);
    }
    for number in 0..2000 {
        let account = more.accounts.entry("victim".to_owned()).or_default();
        account.ips.note(format!("other{number}"), NOW);
    }
    more.failed = (0..200).map(|number| failed(&format!("other{number}"), 9000, 9000)).collect();
    written(&source, at(0), &more).await;
    written(&source, at(0), &Members { failed: Vec::new(), ..more }).await;
    let twice = counts(&server).await;
    assert_eq!(twice["ntc:multilayer:global:auth_attempts:3600"], WINDOW_MAX);
    assert_eq!(twice["ntc:multilayer:account:victim:ips:3600"], ACCOUNT_WINDOW_MAX);
    assert_eq!(twice["ntc:top_failed_logins"], FAILED_MAX);
}

/// How many members each sorted set has.
async fn counts(server: &RedisServer) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (key, _, _) in keys(server).await {
        counts.insert(key.clone(), count(server, &key).await);
    }
    counts
}

#[tokio::test]
async fn members_leave_with_their_window_whether_or_not_anything_comes_and_every_set_runs_out() {
    let server = RedisServer::start();
    let source = source(&server).await;
    let mut passed = Members::default();
    for (ago, name) in [(0, "now"), (59, "a minute"), (60, "no minute"), (3599, "an hour"), (3600, "no hour")] {
        passed.attempts.note(name.to_owned(), NOW - ago);
        passed.users.note(name.to_owned(), NOW - ago);
        passed.accounts.entry("victim".to_owned()).or_default().fails.note(name.to_owned(), NOW - ago);
    }
    passed.ips.note("198.51.100.7".to_owned(), NOW);
    written(&source, at(0), &passed).await;
    let names = |kind: &'static str| {
        let server = &server;
        async move {
            let found = members(server, &format!("ntc:multilayer:{kind}")).await;
            found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        }
    };
    assert_eq!(names("global:auth_attempts:60").await, ["a minute", "now"]);
    assert_eq!(names("global:unique_users:3600").await, ["an hour", "no minute", "a minute", "now"]);
    assert_eq!(names("global:auth_attempts:86400").await.len(), 5);
    assert_eq!(names("account:victim:fails:3600").await, ["an hour", "no minute", "a minute", "now"]);
    for (key, kind, left) in keys(&server).await {
        let window: i64 = key.rsplit(':').next().and_then(|text| text.parse().ok()).expect("a window");
        let life = if window <= 3600 { 2 * window } else { window };
        assert!(kind == "zset" && (life - 30..=life).contains(&left), "{key} is a {kind} and lives for {left} s");
    }

    // A quarter of a minute older news of another node: who is known from later stays.
    let mut late = Members::default();
    late.ips.note("198.51.100.7".to_owned(), NOW - 15);
    late.users.note("now".to_owned(), NOW + 30);
    written(&source, at(40), &late).await;
    assert_eq!(members(&server, "ntc:multilayer:global:unique_ips:60").await[0].1, NOW as f64);
    assert_eq!(names("global:auth_attempts:60").await, ["now"], "nothing came, and one has left");

    server.query(&["ZADD", "ntc:multilayer:global:unique_ips:60", "9999999999", "from-the-future"]).await;
    written(&source, at(60), &Members::default()).await;
    assert!(names("global:unique_ips:60").await.is_empty(), "the last one takes its key along");
    assert_eq!(names("global:unique_users:60").await, ["now"]);
}

#[tokio::test]
async fn counts_of_failed_names_add_up_fall_by_half_and_run_out_also_where_the_original_left_them_for_ever() {
    let server = RedisServer::start();
    let source = source(&server).await;
    let key = "ntc:top_failed_logins";
    let tell = |names: Vec<FailedName>| {
        let source = &source;
        async move { written(source, at(0), &Members { failed: names, ..Members::default() }).await }
    };
    server.query(&["ZADD", key, "40", "info", "1", "once"]).await;
    tell(Vec::new()).await;
    let left: i64 = ask(&server, &["TTL", key]).await;
    assert!((172_700..=172_800).contains(&left), "the original set none: {left}");

    tell(vec![failed("info", 2, 7), failed("new", 1, 5)]).await;
    let told = [("once", 1.0), ("new", 5.0), ("info", 42.0)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(members(&server, key).await, told, "who stands there gets more, who does not all that is known");

    // Half a day passes; then a day and a half at once.
    server.query(&["EXPIRE", key, "129590"]).await;
    tell(vec![failed("new", 1, 9)]).await;
    tell(Vec::new()).await;
    let halved = [("new", 3.0), ("info", 21.0)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(members(&server, key).await, halved, "once, whoever comes next");
    let left: i64 = ask(&server, &["TTL", key]).await;
    assert!((172_700..=172_800).contains(&left), "{left}");
    server.query(&["EXPIRE", key, "43190"]).await;
    tell(Vec::new()).await;
    assert_eq!(members(&server, key).await, [("info".to_owned(), 2.0)]);
}

#[tokio::test]
async fn the_log_has_one_entry_for_each_hour_under_threat_with_the_highest() {
    let server = RedisServer::start();
    let source = source(&server).await;
    let told = |threat: f64, attempts: u64| Members {
        threat: Some(LoggedThreat {
            threat,
            settings: Settings {
                captcha_enabled: threat >= 0.9,
                rate_limit_enabled: true,
                monitoring_mode: true,
                ml_threshold: None,
            },
            hour: Metrics { attempts, unique_ips: 3, ips_per_user: 1.5, ..Metrics::default() },
        }),
        ..Members::default()
    };
    written(&source, at(10), &told(0.49, 1)).await;
    assert!(keys(&server).await.is_empty(), "no threat");
    for (second, threat, attempts) in [(10, 0.7, 2), (20, 0.95, 3), (30, 0.95, 5), (3599, 0.6, 4), (3600, 0.5, 6)] {
        written(&source, at(second), &told(threat, attempts)).await;
    }

    let all = keys(&server).await;
    let names: Vec<&str> = all.iter().map(|(name, ..)| name.as_str()).collect();
    let log = |hour: i64| format!("ntc:multilayer:security:log:{}", NOW + hour * 3600);
    assert_eq!(names, [log(0), log(1)]);
    let month = 31 * 24 * 3600;
    assert!(all.iter().all(|(_, kind, left)| kind == "hash" && (month - 60..=month).contains(left)), "{all:?}");
    let entry = hash(&server, &log(0)).await;
    assert_eq!((field(&entry, "threat_level"), field(&entry, "response")), ("0.95", "captcha, rate_limit, monitoring"));
    let metrics: serde_json::Value = serde_json::from_str(field(&entry, "metrics")).expect("JSON");
    assert_eq!((&metrics["attempts"], &metrics["ips_per_user"]), (&5.into(), &1.5.into()));
    assert_eq!(field(&hash(&server, &log(1)).await, "response"), "rate_limit, monitoring");
}

#[tokio::test]
async fn a_set_of_another_type_is_left_alone_and_all_others_are_written() {
    let server = RedisServer::start();
    let source = source(&server).await;
    let foreign = [
        ("ntc:top_failed_logins", "ntc:top_failed_logins"),
        ("ntc:multilayer:global:unique_ips:300", "ntc:multilayer:global:unique_ips:300"),
        ("ntc:multilayer:account:anna:ips:3600", "ntc:multilayer:account:…:ips:3600"),
        ("ntc:multilayer:account:bert:ips:3600", "ntc:multilayer:account:…:ips:3600"),
        ("ntc:multilayer:account:carl:fails:3600", "ntc:multilayer:account:…:fails:3600"),
    ];
    for (key, _) in foreign {
        server.query(&["SET", key, "mine"]).await;
    }
    let mut passed = Members { failed: vec![failed("anna", 1, 1)], ..Members::default() };
    passed.attempts.note("1_1".to_owned(), NOW);
    // More than one call has.
    for number in 0..2500 {
        passed.ips.note(format!("ip{number}"), NOW);
    }
    for name in ["anna", "bert"] {
        let account = passed.accounts.entry(name.to_owned()).or_default();
        account.ips.note("198.51.100.7".to_owned(), NOW);
        account.fails.note("1_1".to_owned(), NOW);
    }
    passed.reset = vec!["carl".to_owned()];

    let mut found = source.put_members("ntc:", at(0), &passed).await.expect("written");

    found.sort_by(|a, b| a.key.cmp(&b.key));
    let mut named: Vec<&str> = foreign.iter().map(|(_, shown)| *shown).collect();
    named.sort_unstable();
    named.dedup();
    let expected = named.into_iter().map(|key| ForeignKey { key: key.to_owned(), kind: "string".to_owned() });
    assert_eq!(found, expected.collect::<Vec<_>>(), "each once, without names");
    for (key, _) in foreign {
        assert_eq!(ask::<String>(&server, &["GET", key]).await, "mine");
    }
    assert_eq!(count(&server, "ntc:multilayer:global:unique_ips:900").await, 2500);
    assert_eq!(count(&server, "ntc:multilayer:account:anna:fails:3600").await, 1);
    let sets = keys(&server).await.into_iter().filter(|(_, kind, _)| kind == "zset").count();
    assert_eq!(sets, 6 + 5 + 2);
}

#[tokio::test]
async fn a_foreign_set_is_told_once_and_what_is_played_never_comes_here() {
    let server = RedisServer::start();
    server.query(&["SET", "ntc:top_failed_logins", "mine"]).await;
    let (daemon, _directory) = mirroring(&server).await;
    let hook = "/api/v1/custom/distributed-brute-force-test?action=simulate_attack&username=stagehand&num_ips=30";
    assert_eq!(daemon.http.get(hook).await.body["status"], "success");
    traffic::login(&daemon.http, &traffic::attempt(1, "198.51.100.7", " Bob "), false).await;
    traffic::login(&daemon.http, &traffic::attempt(2, "198.51.100.8", "bob"), true).await;
    let mut known = traffic::attempt(3, "198.51.100.8", "alias");
    known["account"] = "Carol".into();
    traffic::login(&daemon.http, &known, false).await;
    let failures = || daemon.metric("attack_mirror_errors_total{reason=\"foreign_key\"}");

    eventually("two rounds have met the key", SOON + SOON, || async {
        let (errors, attempts) = (failures().await, count(&server, "ntc:multilayer:global:auth_attempts:60").await);
        if errors >= 2 && attempts == 3 { Ok(()) } else { Err(format!("{errors} {attempts}; {}", task(&daemon).await)) }
    })
    .await;

    let users: Vec<String> = ask(&server, &["ZRANGE", "ntc:multilayer:global:unique_users:3600", "0", "-1"]).await;
    assert_eq!(sorted(users), ["bob", "carol"], "spellings make no users");
    let ips: Vec<String> = ask(&server, &["ZRANGE", "ntc:multilayer:global:unique_ips:604800", "0", "-1"]).await;
    assert_eq!(sorted(ips), ["198.51.100.7", "198.51.100.8"]);
    let account = ["ips", "fails"].map(|what| format!("ntc:multilayer:account:Bob:{what}:3600"));
    assert_eq!((count(&server, &account[0]).await, count(&server, &account[1]).await), (2, 1));
    assert_eq!(count(&server, "ntc:multilayer:account:Carol:fails:3600").await, 1);
    let current = hash(&server, "ntc:multilayer:global:current_metrics").await;
    assert_eq!(["attempts", "unique_ips", "unique_users"].map(|name| field(&current, name)), ["3", "2", "2"]);
    assert!(keys(&server).await.iter().all(|(name, ..)| !name.contains("stagehand")));
    assert!(task(&daemon).await.contains("ntc:top_failed_logins is a string"), "{}", task(&daemon).await);
    assert_eq!(daemon.log().matches("ntc:top_failed_logins").count(), 1, "{}", daemon.log());

    server.query(&["DEL", "ntc:top_failed_logins"]).await;
    traffic::login(&daemon.http, &traffic::attempt(4, "198.51.100.7", "Bob"), false).await;
    traffic::login(&daemon.http, &traffic::attempt(5, "198.51.100.7", "Bob"), true).await;
    eventually("the names that fail stand there", SOON, || async {
        let told = members(&server, "ntc:top_failed_logins").await;
        // What was told while the key was foreign is not told again, but counted in.
        if told == [("Bob".to_owned(), 2.0)] { Ok(()) } else { Err(format!("{told:?}; {}", task(&daemon).await)) }
    })
    .await;
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}
