//! What plugins and dashboards of the original read about distributed attacks: names, types, fields and lives of its keys.

mod members;

use nauthilus_neural::clock;
use nauthilus_neural::detection::attacks::{Metrics, Settings};
use nauthilus_neural::detection::attempt::Timestamp;
use nauthilus_neural::store::upstream::mirror::{AttackState, MEMBERS_MAX, MirroredAccount};
use nauthilus_neural::store::upstream::source::{ReadError, Source, SourceOptions};
use redis::FromRedisValue;
use serde_json::Value;

use crate::support::daemon::{Daemon, SOON, Setup, write_secret};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

const HOUR: i64 = 3600;

/// Lets the server answer one command.
async fn ask<T: FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let mut connection = server.connection().await;
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.expect("an answer of the right type")
}

/// A hash as it stands there, its fields in order of their names.
async fn hash(server: &RedisServer, key: &str) -> Vec<(String, String)> {
    let fields: std::collections::BTreeMap<String, String> = ask(server, &["HGETALL", key]).await;
    fields.into_iter().collect()
}

fn names(fields: &[(String, String)]) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

/// Every key with its type and the seconds that it has left.
async fn keys(server: &RedisServer) -> Vec<(String, String, i64)> {
    let mut names: Vec<String> = ask(server, &["KEYS", "*"]).await;
    names.sort();
    let mut found = Vec::new();
    for name in names {
        let kind: String = ask(server, &["TYPE", &name]).await;
        let left: i64 = ask(server, &["TTL", &name]).await;
        found.push((name, kind, left));
    }
    found
}

/// The rights that the operations page names, for a user `mirror`.
async fn documented_rights(server: &RedisServer) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(path).expect("a page");
    let said = page.split("Their Redis needs for the mirror").nth(1).expect("the sentence");
    let rights = said.split('`').nth(1).expect("the rights");
    let mut words = vec!["ACL", "SETUSER", "mirror", "on", ">secret", "resetkeys", "resetchannels", "-@all"];
    words.extend(rights.split_whitespace());
    server.query(&words).await;
}

/// A node that mirrors to `server`, as a user with the documented rights.
async fn mirroring(server: &RedisServer) -> (Daemon, tempfile::TempDir) {
    documented_rights(server).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let password = directory.path().join("password");
    write_secret(&password, "secret");
    let setup = Setup::new("alone")
        .set("upstream.mirror", "true")
        .set("upstream.url", format!("{:?}", server.url()))
        .set("upstream.username", "\"mirror\"")
        .set("upstream.password_file", format!("{:?}", password.display().to_string()));
    (Daemon::start(setup).await, directory)
}

/// `count` networks try one password each.
async fn attack(daemon: &Daemon, username: &str, count: usize) {
    for number in 0..count {
        let mut attempt = traffic::attempt(number, &format!("198.18.{number}.1"), username);
        attempt["password_hash"] = format!("t{number}").into();
        attempt["country"] = "BR".into();
        traffic::login(&daemon.http, &attempt, false).await;
    }
}

async fn task(daemon: &Daemon) -> String {
    let status = daemon.status().await;
    let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
    let task = tasks.into_iter().find(|task| task["name"] == "attack_mirror").unwrap_or_default();
    let Value::String(reason) = &task["last"]["reason"] else { return task.to_string() };
    format!("{} {reason} {}", task["state"].as_str().unwrap_or_default(), task["last_error"])
}

#[tokio::test]
async fn an_attack_stands_under_the_keys_of_the_original_until_it_is_reset_and_every_key_runs_out() {
    let server = RedisServer::start();
    let (mut daemon, _directory) = mirroring(&server).await;
    attack(&daemon, "Victim", 25).await;
    let patience = SOON + SOON;

    eventually("the attacked account stands there", patience, || async {
        let failed = field(&hash(&server, "ntc:multilayer:account:Victim:metrics").await, "failed_attempts").to_owned();
        if failed == "25" { Ok(()) } else { Err(format!("{failed:?}; {}", task(&daemon).await)) }
    })
    .await;

    let now = clock::now().millis() / 1000;
    let recent = |text: &str| text.parse::<i64>().is_ok_and(|at| (now - 60..=now + 60).contains(&at));
    let account = hash(&server, "ntc:multilayer:account:Victim:metrics").await;
    assert_eq!(names(&account), ["failed_attempts", "ip_to_fail_ratio", "last_updated", "unique_ips"]);
    assert_eq!((field(&account, "unique_ips"), field(&account, "ip_to_fail_ratio")), ("25", "1"));
    assert!(recent(field(&account, "last_updated")), "{account:?}");
    let score: f64 = ask(&server, &["ZSCORE", "ntc:multilayer:distributed_attack:accounts", "Victim"]).await;
    assert!(recent(&score.to_string()), "the time of the evidence: {score}");
    let current = hash(&server, "ntc:multilayer:global:current_metrics").await;
    let numbers = [
        "attempts",
        "attempts_per_ip",
        "attempts_per_user",
        "ips_per_user",
        "last_updated",
        "unique_ips",
        "unique_users",
    ];
    assert_eq!(names(&current), numbers);
    let told = ["attempts", "unique_ips", "unique_users", "ips_per_user"].map(|name| field(&current, name));
    assert_eq!(told, ["25", "25", "1", "25"]);
    let settings = hash(&server, "ntc:multilayer:global:settings").await;
    let threat: f64 = field(&settings, "threat_level").parse().expect("a number");
    assert!((0.7..=1.0).contains(&threat), "{settings:?}");
    assert_eq!(field(&settings, "monitoring_mode"), "true");
    let severe = threat >= 0.9;
    assert_eq!((field(&settings, "captcha_enabled") == "true", settings.len() == 6), (severe, severe), "{settings:?}");
    assert_eq!(field(&settings, "ml_threshold").parse::<f64>().ok(), Some(if severe { 0.5 } else { 1.0 }));
    let captcha: Vec<String> = ask(&server, &["SMEMBERS", "ntc:multilayer:global:captcha_accounts"]).await;
    assert_eq!(captcha, ["Victim"]);
    let limited: Vec<String> = ask(&server, &["SMEMBERS", "ntc:multilayer:global:rate_limited_ips"]).await;
    assert!(limited.len() > 10 && limited.contains(&"198.18.3.0/24".to_owned()), "{limited:?}");
    eventually("who tried what stands there", patience, || async {
        let mut found = Vec::new();
        for set in
            ["global:auth_attempts:60", "global:unique_ips:3600", "global:unique_users:3600", "account:Victim:ips:3600"]
        {
            found.push(ask::<i64>(&server, &["ZCARD", &format!("ntc:multilayer:{set}")]).await);
        }
        found.push(ask(&server, &["ZCARD", "ntc:multilayer:account:Victim:fails:3600"]).await);
        found.push(ask::<Option<i64>>(&server, &["ZSCORE", "ntc:top_failed_logins", "Victim"]).await.unwrap_or(0));
        if found == [25, 25, 1, 25, 25, 25] { Ok(()) } else { Err(format!("{found:?}; {}", task(&daemon).await)) }
    })
    .await;
    let now = now - now % HOUR;
    let logs = [now, now + HOUR].map(|hour| format!("ntc:multilayer:security:log:{hour}"));
    let log = [hash(&server, &logs[0]).await, hash(&server, &logs[1]).await].concat();
    assert!(field(&log, "response").contains("monitoring"), "{log:?}");
    let logged: f64 = field(&log, "threat_level").parse().expect("a number");
    assert!((0.7..=1.0).contains(&logged), "{log:?}");
    let countries: (String, Vec<String>) = (
        ask(&server, &["GET", "ntc:multilayer:global:country:BR"]).await,
        ask(&server, &["SMEMBERS", "ntc:multilayer:global:countries"]).await,
    );
    assert_eq!(countries, ("25".to_owned(), vec!["BR".to_owned()]));

    let life = |name: &str| match name {
        _ if name.contains(":historical_metrics:") => ("hash", 7 * 24 * HOUR),
        _ if name == "ntc:top_failed_logins" => ("zset", 48 * HOUR),
        _ if name.contains(":security:log:") => ("hash", 31 * 24 * HOUR),
        _ if name.contains(":auth_attempts:") || name.contains(":unique_") => {
            let window: i64 = name.rsplit(':').next().and_then(|text| text.parse().ok()).expect("a window");
            ("zset", if window <= HOUR { 2 * window } else { window })
        }
        _ if name.ends_with(":3600") => ("zset", 2 * HOUR),
        _ if name.contains(":account:") => ("hash", 2 * HOUR),
        _ if name.ends_with(":current_metrics") || name.ends_with(":settings") => ("hash", HOUR),
        _ if name.ends_with(":countries") => ("set", 24 * HOUR),
        _ if name.contains(":country:") => ("string", 24 * HOUR),
        _ if name.ends_with("distributed_attack:accounts") => ("zset", 48 * HOUR),
        _ => ("set", HOUR),
    };
    let all = keys(&server).await;
    for (name, kind, left) in &all {
        let (expected, most) = life(name);
        let ours = name.starts_with("ntc:multilayer:") || name == "ntc:top_failed_logins";
        assert!(ours && kind == expected, "{name} is a {kind}");
        assert!((most - 120..=most).contains(left), "{name} lives for {left} s");
    }
    assert!(all.iter().any(|(name, ..)| name.contains(":historical_metrics:")), "{all:?}");
    let hour = all.iter().find(|(name, ..)| name.contains(":historical_metrics:")).expect("an hour");
    assert_eq!(hour.0.len(), "ntc:multilayer:global:historical_metrics:YYYY-MM-DD-HH".len());
    assert!(names(&hash(&server, &hour.0).await).contains(&"timestamp"), "{hour:?}");

    let hook = "/api/v1/custom/distributed-brute-force-admin?action=reset_account&username=victim";
    assert_eq!(daemon.http.get(hook).await.body["status"], "success");
    eventually("the account is gone there too", patience, || async {
        let account = ["metrics", "ips:3600", "fails:3600"].map(|what| format!("ntc:multilayer:account:Victim:{what}"));
        let left: i64 = ask(&server, &["EXISTS", &account[0], &account[1], &account[2]]).await;
        let known: i64 = ask(&server, &["ZCARD", "ntc:multilayer:distributed_attack:accounts"]).await;
        let captcha: i64 = ask(&server, &["EXISTS", "ntc:multilayer:global:captcha_accounts"]).await;
        if (left, known, captcha) == (0, 0, 0) { Ok(()) } else { Err(format!("{left} {known} {captcha}")) }
    })
    .await;

    daemon.stop().await;
    let before = keys(&server).await;
    assert!(before.iter().all(|(_, _, left)| *left > 0), "without the mirror all run out: {before:?}");
}

#[tokio::test]
async fn a_key_of_another_type_is_reported_and_nothing_beside_it_is_written_and_logins_go_on() {
    let server = RedisServer::start();
    server.query(&["SET", "ntc:multilayer:global:countries", "mine"]).await;
    let (daemon, _directory) = mirroring(&server).await;

    eventually("it is reported", SOON, || async {
        let said = task(&daemon).await;
        let told = said.contains("ntc:multilayer:global:countries is a string");
        if told && daemon.metric("attack_mirror_errors_total{reason=\"foreign_key\"}").await > 0 {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
    attack(&daemon, "victim", 20).await;

    eventually("what has passed stands there all the same", SOON + SOON, || async {
        let attempts: i64 = ask(&server, &["ZCARD", "ntc:multilayer:global:auth_attempts:3600"]).await;
        if attempts == 20 { Ok(()) } else { Err(format!("{attempts}; {}", task(&daemon).await)) }
    })
    .await;
    let others: Vec<_> = keys(&server).await.into_iter().filter(|(_, kind, _)| kind != "zset").collect();
    assert!(others.iter().all(|(name, ..)| name.contains(":log:") || name.ends_with(":countries")), "{others:?}");
    let accounts: i64 = ask(&server, &["EXISTS", "ntc:multilayer:distributed_attack:accounts"]).await;
    assert_eq!(accounts, 0, "what stands in one step with the key was not written");
    assert_eq!(ask::<String>(&server, &["GET", "ntc:multilayer:global:countries"]).await, "mine");
    let answer = daemon.http.post("/v1/score", &traffic::attempt(99, "203.0.113.5", "bob")).await;
    assert_eq!((answer.status, &answer.body["verdict"]), (200, &Value::from("allow")));

    // Without rights it is another reason; the node goes on all the same.
    server.query(&["ACL", "SETUSER", "mirror", "-zadd", "-hset"]).await;
    server.query(&["DEL", "ntc:multilayer:global:countries"]).await;
    eventually("a missing right is reported", SOON + SOON, || async {
        match daemon.metric("attack_mirror_errors_total{reason=\"unavailable\"}").await {
            0 => Err(task(&daemon).await),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(daemon.http.get("/readyz").await.status, 200);
    assert!(!daemon.log().contains("victim"), "no names in the log");
}

fn state(at: Timestamp, attempts: u64) -> AttackState {
    AttackState {
        at,
        hour: Metrics { attempts, ..Metrics::default() },
        hours: vec![("2026-01-05-08".to_owned(), at, Metrics { attempts, ..Metrics::default() })],
        threat: 0.5,
        settings: Settings {
            captcha_enabled: false,
            rate_limit_enabled: attempts > 100,
            monitoring_mode: true,
            ml_threshold: None,
        },
        ml_threshold: 0.7,
        rate_limit_max: 1,
        accounts: Vec::new(),
        ended: Vec::new(),
        since: at.plus_millis(-3_600_000),
        regions: Vec::new(),
        networks: Vec::new(),
        countries: Vec::new(),
    }
}

fn account(name: &str, evidence: Timestamp) -> MirroredAccount {
    MirroredAccount { name: name.to_owned(), evidence, counted: None }
}

#[tokio::test]
async fn nodes_that_write_at_once_agree_and_what_is_over_leaves_by_itself() {
    let server = RedisServer::start();
    let options = SourceOptions { url: server.url(), prefix: "nt:".into(), username: None, password: None };
    let source = Source::open(&options).await.expect("connected");
    let at = |seconds: i64| Timestamp::from_millis(1_767_571_200_000 + seconds * 1000);
    let attempts =
        || async { field(&hash(&server, "nt:multilayer:global:current_metrics").await, "attempts").to_owned() };
    let attacked = || async {
        let members: Vec<(String, i64)> =
            ask(&server, &["ZRANGE", "nt:multilayer:distributed_attack:accounts", "0", "-1", "WITHSCORES"]).await;
        members.into_iter().map(|(name, score)| (name, score - 1_767_571_200)).collect::<Vec<_>>()
    };

    // One node has just been started; whichever comes last, the one that has counted more speaks.
    let mut knowing =
        AttackState { accounts: vec![account("anna", at(0)), account("bert", at(-5))], ..state(at(1), 500) };
    source.put_attacks("nt:", &knowing).await.expect("written");
    let fresh = AttackState { accounts: vec![account("anna", at(-9)), account("carl", at(1))], ..state(at(2), 3) };
    source.put_attacks("nt:", &fresh).await.expect("written");
    assert_eq!(attempts().await, "500");
    let settings = hash(&server, "nt:multilayer:global:settings").await;
    assert_eq!((field(&settings, "rate_limit_enabled"), field(&settings, "rate_limit_max")), ("true", "1"));
    let expected = [("bert".to_owned(), -5), ("anna".to_owned(), 0), ("carl".to_owned(), 1)];
    assert_eq!(attacked().await, expected, "names of both, the newer evidence of each");
    let hour = hash(&server, "nt:multilayer:global:historical_metrics:2026-01-05-08").await;
    assert_eq!(field(&hour, "attempts"), "500");

    // It has gone: its numbers do not stay for ever.
    source.put_attacks("nt:", &state(at(40), 3)).await.expect("written");
    assert_eq!(attempts().await, "3");
    assert_eq!(hash(&server, "nt:multilayer:global:settings").await.len(), 5, "no limit is left");

    // Evidence gets old, also that of others; what was written from the future or counts networks is none.
    let key = "nt:multilayer:distributed_attack:accounts";
    server.query(&["ZADD", key, "20", "by-networks", "9999999999", "from-the-future"]).await;
    source.put_attacks("nt:", &state(at(3600), 3)).await.expect("written");
    assert_eq!(attacked().await, [("anna".to_owned(), 0), ("carl".to_owned(), 1)]);
    knowing.ended = vec!["carl".to_owned()];
    knowing.accounts = (0..2000).map(|number| account(&format!("user{number}"), at(number))).collect();
    knowing.accounts.push(account(&"x".repeat(300), at(0)));
    knowing.networks = (0..2000).map(|number| format!("198.18.{}.0/24", number % 250)).collect();
    knowing.at = at(2);
    source.put_attacks("nt:", &knowing).await.expect("written");
    let left = attacked().await;
    assert!(left.len() <= MEMBERS_MAX && left.iter().all(|(name, _)| name != "carl" && name.len() < 300));

    server.query(&["DEL", key]).await;
    server.query(&["SET", key, "x"]).await;
    let before = keys(&server).await.len();
    let refused = source.put_attacks("nt:", &AttackState { regions: vec!["DE".to_owned()], ..state(at(50), 9) }).await;
    assert!(matches!(&refused, Err(ReadError::Foreign { key: named, kind }) if named == key && kind == "string"));
    assert_eq!((keys(&server).await.len(), attempts().await.as_str()), (before, "500"));
}
