//! Suspicious networks from files and from a blocklist service, as a caller sees them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::traffic;

/// What a blocklist service does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// Keeps the question until it does something else.
    Hangs,
    Fails,
    Lists,
}

/// A blocklist service, and how often it was asked about each address.
struct Service {
    url: String,
    does: watch::Sender<Does>,
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Service {
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let (does, now) = watch::channel(does);
        let noted = Arc::clone(&asked);
        let router = Router::new().fallback(async move |sent: Bytes| {
            let question: Value = serde_json::from_slice(&sent).expect("JSON");
            let ip = question["ip"].as_str().expect("an address").to_owned();
            assert_eq!(question, json!({ "ip": ip }), "nothing else is told");
            *noted.lock().expect("no panic").entry(ip).or_default() += 1;
            let mut now = now.clone();
            let does = now.wait_for(|does| *does != Does::Hangs).await.map_or(Does::Fails, |does| *does);
            match does {
                Does::Lists => (StatusCode::OK, r#"{"found":true,"error":""}"#),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, ""),
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, does, asked }
    }

    fn asked(&self, ip: &str) -> u32 {
        self.asked.lock().expect("no panic").get(ip).copied().unwrap_or(0)
    }
}

/// Scores an attempt and returns the answer and what the model saw of the network's reputation.
async fn seen(daemon: &Daemon, number: usize, ip: &str) -> (Value, f64) {
    let scored = daemon.http.post("/v1/score", &traffic::attempt(number, ip, "alice")).await;
    assert_eq!(scored.status, 200, "{scored:?}");
    let explained = daemon.http.get(&format!("/v1/explain/request-{number}")).await;
    assert_eq!(explained.status, 200, "{explained:?}");
    let parts = explained.body["contributions"].as_array().expect("a list");
    let suspicious = parts.iter().find_map(|part| part["evidence"]["network_suspicious"].as_f64());
    (scored.body, suspicious.unwrap_or_else(|| panic!("{}", explained.body)))
}

/// Scores attempts from `ip` until the model sees it suspected, or not.
async fn until(daemon: &Daemon, first: usize, ip: &str, suspected: bool) {
    let number = Mutex::new(first);
    eventually("the network's reputation changes", SOON, || async {
        let next = {
            let mut number = number.lock().expect("no panic");
            *number += 1;
            *number
        };
        let (_, seen) = seen(daemon, next, ip).await;
        if (seen == 1.0) == suspected { Ok(()) } else { Err(format!("{seen}")) }
    })
    .await;
}

/// D52: each login asked a blocklist twice and waited up to ten seconds for it, and a failure there switched the network
/// off for that login.
#[tokio::test]
async fn d52_a_slow_or_failing_blocklist_never_delays_a_score_nor_switches_scoring_off() {
    let service = Service::start(Does::Hangs).await;
    let daemon = Daemon::start(Setup::new("alone").set("lists.blocklist_url", format!("{:?}", service.url))).await;
    let url = service.url.clone();

    let begun = Instant::now();
    for number in 0..20 {
        let (answer, suspicious) = seen(&daemon, number, "203.0.113.66").await;
        assert!(answer["probability"].is_f64(), "{answer}");
        assert_eq!(suspicious, 0.0, "nobody has answered");
    }
    // One question that hangs holds a place for five seconds: twenty scores and explanations were faster.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    eventually("it is asked", SOON, || async {
        if service.asked("203.0.113.66") == 1 { Ok(()) } else { Err(format!("{:?}", service.asked)) }
    })
    .await;

    service.does.send_replace(Does::Lists);
    until(&daemon, 100, "203.0.113.66", true).await;
    assert_eq!(service.asked("203.0.113.66"), 1, "once for all these attempts");

    service.does.send_replace(Does::Fails);
    for number in 200..210 {
        let (answer, suspicious) = seen(&daemon, number, "203.0.113.67").await;
        assert!(answer["probability"].is_f64() && suspicious == 0.0, "{answer}");
    }
    eventually("the failure is counted", SOON, || async {
        let failed = daemon.metric("blocklist_lookups_total{answer=\"failed\"}").await;
        if failed == 1 { Ok(()) } else { Err(format!("{failed}")) }
    })
    .await;
    assert_eq!(service.asked("203.0.113.67"), 1, "not again at once");
    assert_eq!(seen(&daemon, 300, "203.0.113.66").await.1, 1.0, "what was learned before still counts");
    seen(&daemon, 301, "10.0.0.7").await;
    assert_eq!(service.asked("10.0.0.7"), 0, "private addresses stay here");
    let log = daemon.log();
    assert!(!log.contains("203.0.113") && !log.contains(&url), "no address of a client in the log: {log}");
}

#[tokio::test]
async fn an_answer_is_the_same_whether_the_blocklist_is_away_or_none_is_configured() {
    // A port that was free a moment ago, and is held so that nobody answers on it.
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let away = format!("\"http://{}/\"", held.local_addr().expect("an address"));
    let with = Daemon::start(Setup::new("a").set("lists.blocklist_url", away)).await;
    let without = Daemon::start(Setup::new("b")).await;

    for number in 0..10 {
        let [(one, _), (other, _)] =
            [seen(&with, number, "203.0.113.66").await, seen(&without, number, "203.0.113.66").await];
        for field in ["verdict", "would_be", "reason", "learning_mode"] {
            assert_eq!(one[field], other[field], "{field}");
        }
        let [one, other] = [&one, &other].map(|answer| answer["probability"].as_f64().expect("a probability"));
        // The two are scored milliseconds apart.
        assert!((one - other).abs() < 0.05, "{one} {other}");
    }
}

#[tokio::test]
async fn a_list_file_counts_from_the_start_and_another_one_after_a_reload() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let [first, second] = ["drop.txt", "second.txt"].map(|name| root.path().join(name));
    std::fs::write(&first, "; DROP\n203.0.113.0/24 ; SBL1\n2001:db8::/32\n").expect("writable");
    let mut daemon = Daemon::start(Setup::new("alone").set("lists.suspicious_files", format!("[{first:?}]"))).await;

    let listed = seen(&daemon, 1, "203.0.113.66").await;
    let not = seen(&daemon, 2, "198.51.100.7").await;
    assert_eq!((listed.1, not.1), (1.0, 0.0));
    assert_eq!(seen(&daemon, 3, "2001:db8::7").await.1, 1.0);
    assert_eq!(daemon.metric("suspicious_networks").await, 2);

    std::fs::write(&second, "198.51.100.0/24\n").expect("writable");
    daemon.change("lists.suspicious_files", format!("[{second:?}]"));
    daemon.signal("HUP");
    until(&daemon, 100, "198.51.100.7", true).await;
    until(&daemon, 200, "203.0.113.66", false).await;

    std::fs::write(&second, "<html>\n").expect("writable");
    daemon.signal("HUP");
    eventually("the rubbish is refused", SOON, || async {
        let refused = daemon.metric("suspicious_files_errors_total{reason=\"rubbish\"}").await;
        if refused == 1 { Ok(()) } else { Err(format!("{refused}")) }
    })
    .await;
    assert_eq!(seen(&daemon, 300, "198.51.100.7").await.1, 1.0, "the last good list is kept");
    let status = daemon.status().await.to_string();
    assert!(status.contains("the first is line 1"), "{status}");
}
