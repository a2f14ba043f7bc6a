//! The real program under a service manager: signals, what it tells, and what a reload may change.

use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// By then a daemon has ended in order, whatever it was doing.
const DRAINED: Duration = Duration::from_secs(5);
/// What "at once" means for a process on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The end of the notification socket that systemd holds.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a new socket");
        Self { socket, directory }
    }

    fn address(&self) -> String {
        self.directory.path().join("notify").display().to_string()
    }

    /// The next message that says `what`.
    async fn told(&self, what: &str) -> String {
        let listen = async {
            loop {
                let mut message = vec![0; 4096];
                let length = self.socket.recv(&mut message).await.expect("an open socket");
                let message = String::from_utf8_lossy(&message[..length]).into_owned();
                if message.lines().any(|line| line.starts_with(what)) {
                    return message;
                }
            }
        };
        tokio::time::timeout(SOON, listen).await.unwrap_or_else(|_| panic!("never told {what}"))
    }
}

#[tokio::test]
async fn the_service_manager_is_told_of_every_step() {
    let manager = Manager::new();
    let setup = Setup::new("alone").env("NOTIFY_SOCKET", manager.address()).env("WATCHDOG_USEC", "300000");
    let mut daemon = Daemon::start(setup).await;

    let ready = manager.told("READY=1").await;
    assert!(ready.contains("STATUS=scoring on 127.0.0.1:"), "{ready}");
    for _ in 0..3 {
        manager.told("WATCHDOG=1").await;
    }
    daemon.signal("HUP");
    let reloading = manager.told("RELOADING=1").await;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let ready = manager.told("READY=1").await;
    assert!(ready.contains("STATUS=configuration reloaded"), "{ready}");
    daemon.signal("TERM");
    manager.told("STOPPING=1").await;
    assert_eq!(daemon.ended(DRAINED).await.code(), Some(0));
}

#[tokio::test]
async fn a_running_training_does_not_hold_up_the_end_and_gives_its_lease_back() {
    let server = RedisServer::start();
    let setup = Setup::on(&server, "alone").set("training.feedback_epochs", "10000");
    let mut daemon = Daemon::start(setup).await;
    daemon.ingest(traffic::history()).await;
    // One that an operator asked for, and one that feedback asked for.
    for by_operator in [true, false] {
        if by_operator {
            let asked = daemon.http.post("/v1/train", &json!({ "epochs": 10_000, "wait": false })).await;
            assert_eq!(asked.status, 202, "{asked:?}");
        } else {
            traffic::ten_words(&daemon.http, 0).await;
        }
        eventually("the training runs", SOON, || async {
            let lease = server.query(&["EXISTS", "nt:{neural}:lease"]).await;
            if lease == "int(1)" { Ok(()) } else { Err(daemon.log()) }
        })
        .await;
        assert_eq!(daemon.status().await["training"]["running"], true);
        assert_eq!(daemon.http.post("/v1/train", &json!({})).await.status, 409, "one at a time");

        let told = Instant::now();
        daemon.signal("TERM");
        let status = daemon.ended(DRAINED).await;

        assert!(status.success() && told.elapsed() < DRAINED, "{status} after {:?}", told.elapsed());
        assert!(!daemon.log().contains("stopped without waiting"), "{}", daemon.log());
        assert_eq!(server.query(&["EXISTS", "nt:{neural}:lease"]).await, "int(0)", "another node need not wait");
        assert_eq!(server.query(&["HEXISTS", "nt:{neural}:meta", "sha256"]).await, "int(0)", "nothing half-trained");
        daemon.start_again().await;
    }
}

#[tokio::test]
async fn a_second_sigterm_ends_the_daemon_at_once() {
    let manager = Manager::new();
    let mut daemon = Daemon::start(Setup::new("alone").env("NOTIFY_SOCKET", manager.address())).await;
    // A request whose body never comes: the drain waits for it.
    let mut request = TcpStream::connect(daemon.http.address()).await.expect("it listens");
    let head = "POST /v1/attempts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    request.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = [0; 12];
    request.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 100", "the daemon reads the body");

    daemon.signal("TERM");
    manager.told("STOPPING=1").await;
    let told = Instant::now();
    daemon.signal("TERM");
    let status = daemon.ended(DRAINED).await;

    assert_eq!(status.code(), Some(1));
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
}

#[tokio::test]
async fn a_reload_applies_what_it_may_names_what_must_wait_and_refuses_the_rest_as_a_whole() {
    let mut daemon = Daemon::start(Setup::new("alone")).await;
    let reloaded = async |daemon: &Daemon, outcome: &str, times: u64| {
        daemon.signal("HUP");
        eventually("the reload ends", SOON, || async {
            let counted = daemon.metric(&format!("config_reloads_total{{outcome={outcome:?}}}")).await;
            if counted == times { Ok(()) } else { Err(format!("{counted} {outcome}")) }
        })
        .await;
        daemon.status().await
    };
    let dry_run = async |daemon: &Daemon| daemon.http.get("/v1/learning-mode").await.body["dry_run"].clone();

    daemon.change("ml.dry_run", "true");
    let status = reloaded(&daemon, "applied", 1).await;
    assert_eq!((dry_run(&daemon).await, &status["restart_required"]), (true.into(), &json!([])), "{status}");
    for enabled in [true, false] {
        let refused = daemon.http.put("/v1/learning-mode", &json!({ "enabled": enabled })).await;
        assert_eq!(refused.status, 409);
        assert_eq!(refused.detail(), "Cannot change learning mode when Dry-Run is activated in configuration");
    }

    daemon.change("ml.dry_run", "false");
    daemon.change("training.epochs", "0");
    daemon.change("training.epoch", "5");
    let status = reloaded(&daemon, "refused", 1).await;
    assert_eq!(dry_run(&daemon).await, true, "nothing of an invalid configuration applies");
    let notices = status["notices"].to_string();
    for problem in ["training.epochs", "training.epoch:", "the old one is active"] {
        assert!(notices.contains(problem), "{problem}: {notices}");
    }

    daemon.forget("training.epoch");
    daemon.change("training.epochs", "20");
    daemon.change("node.name", "\"renamed\"");
    daemon.change("store.path", "\"/nonexistent/store.redb\"");
    daemon.change("redis.prefix", "\"other:\"");
    daemon.change("http.listen", "\"127.0.0.1:1\"");
    let status = reloaded(&daemon, "applied", 2).await;
    assert_eq!(status["restart_required"], json!(["node", "store", "redis", "http.listen"]));
    assert_eq!((&status["node"]["name"], dry_run(&daemon).await), (&"alone".into(), false.into()), "the rest applies");
    assert_eq!(status["notices"], json!([]), "what was refused then is history");

    for (key, value) in [("node.name", "\"alone\""), ("redis.prefix", "\"nt:\""), ("http.listen", "\"127.0.0.1:0\"")] {
        daemon.change(key, value);
    }
    daemon.forget("store.path");
    let status = reloaded(&daemon, "applied", 3).await;
    assert_eq!(status["restart_required"], json!([]), "changed back");
}
