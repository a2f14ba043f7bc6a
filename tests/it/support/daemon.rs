//! The real program as a child process: own state directory, own configuration, own port, gone with the test.
//!
//! The daemon listens on a port of the kernel's choice and says in its log which; nobody else can take it first.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nauthilus_neural::detection::attempt::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use super::eventually::eventually;
use super::http::{Answer, Client};
use super::redis::RedisServer;

/// How long a start, an end and a reload may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);

/// How a daemon is started: keys of the configuration with TOML values, and variables of the environment.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    settings: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// A node named `name` on the embedded store. No schedule: nothing trains unless a test says so.
    pub fn new(name: &str) -> Self {
        Self::default()
            .set("node.name", format!("{name:?}"))
            .set("http.listen", "\"127.0.0.1:0\"")
            .set("log.format", "\"text\"")
            .set("training.schedule", "[]")
            .set("training.feedback_min_interval", "\"0s\"")
            .set("training.feedback_epochs", "20")
            .set("training.epochs", "20")
    }

    /// A node of the fleet on `server`.
    pub fn on(server: &RedisServer, name: &str) -> Self {
        Self::new(name).set("store.backend", "\"redis\"").set("redis.url", format!("{:?}", server.url()))
    }

    /// Sets one key, like `training.epochs`, to a TOML value.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.settings.insert(key.to_owned(), value.into());
        self
    }

    /// Sets one variable of the environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

/// A running (or ended) daemon.
pub struct Daemon {
    setup: Setup,
    directory: TempDir,
    child: Option<Child>,
    /// Starts so far: each has its own log.
    starts: u32,
    /// As the administrator.
    pub http: Client,
}

impl Daemon {
    /// Starts a daemon and waits until it can score.
    pub async fn start(setup: Setup) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut daemon = Self { setup, directory, child: None, starts: 0, http: Client::new("127.0.0.1:1") };
        daemon.start_again().await;
        daemon
    }

    /// Starts `names.len()` daemons on one server.
    pub async fn fleet<const N: usize>(server: &RedisServer, names: [&str; N]) -> Vec<Self> {
        let mut daemons = Vec::new();
        for name in names {
            daemons.push(Self::start(Setup::on(server, name)).await);
        }
        daemons
    }

    /// Starts a daemon whose user of the server may do everything but listen to channels.
    pub async fn deaf(server: &RedisServer) -> Self {
        server.query(&["ACL", "SETUSER", "deaf", "on", ">deaf-secret", "~*", "resetchannels", "+@all"]).await;
        let secrets = TempDir::new().expect("a temporary directory");
        let secret = secrets.path().join("deaf.password");
        write_secret(&secret, "deaf-secret");
        let setup = Setup::on(server, "deaf")
            .set("redis.username", "\"deaf\"")
            .set("redis.password_file", format!("{:?}", secret.display().to_string()));
        let deaf = Self::start(setup).await;
        eventually("it is connected all the same", SOON, || async {
            let status = deaf.status().await;
            if status["store"]["connected"] == true { Ok(()) } else { Err(status["store"].to_string()) }
        })
        .await;
        deaf
    }

    /// Starts the ended daemon again on its state directory.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "stop it first");
        self.starts += 1;
        let state = self.state_dir().display().to_string();
        self.setup.settings.insert("node.state_dir".into(), format!("{state:?}"));
        self.write_config();
        let log = std::fs::File::create(self.log_file()).expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"))
            .arg("--config")
            .arg(self.config_file())
            .arg("run")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .envs(self.setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program can be started");
        self.child = Some(child);
        let address = eventually("the daemon listens", SOON, || async {
            let log = self.log();
            let address = log.split("listening on ").nth(1).and_then(|rest| rest.split_whitespace().next());
            address.map(str::to_owned).ok_or(log)
        })
        .await;
        let token = std::fs::read_to_string(self.state_dir().join("admin.token")).expect("the administrator's token");
        self.http = Client::new(&address).with_token(token.trim());
        eventually("the daemon is ready", SOON, || async {
            let answer = self.http.get("/readyz").await;
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }

    /// A client from this machine without a token.
    pub fn stranger(&self) -> Client {
        self.http.without_token()
    }

    /// The status page.
    pub async fn status(&self) -> Value {
        let answer = self.http.get("/v1/status").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// The content hash of the model that serves; `None` without one.
    pub async fn sha256(&self) -> Option<String> {
        self.status().await["model"]["sha256"].as_str().map(str::to_owned)
    }

    /// The value of one metric as it is exported, like `commands_total{command="train",outcome="ok"}`; 0 when absent.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.http.get("/metrics").await.text;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("nauthilus_neural_{name} ")));
        line.map_or(0, |value| value.trim().parse().expect("a number"))
    }

    /// Posts attempt records; all of them must be taken.
    pub async fn ingest(&self, lines: &str) -> Answer {
        let answer = self.http.send("POST", "/v1/attempts", lines.as_bytes().to_vec()).await;
        assert_eq!(answer.body["rejected"], Value::Array(Vec::new()), "{answer:?}");
        assert_eq!(answer.body["accepted"], lines.lines().count(), "{answer:?}");
        answer
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("the daemon runs");
        let done = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
        assert!(done.is_ok_and(|status| status.success()), "kill -{name} works");
    }

    /// Waits for the end of the daemon.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("the daemon runs");
        let end = std::time::Instant::now() + deadline;
        loop {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if std::time::Instant::now() >= end {
                child.kill().ok();
                child.wait().ok();
                panic!("the daemon has not ended within {deadline:?}: {}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it in order.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        let status = self.ended(SOON).await;
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Ends it at once, as a power cut does.
    pub async fn kill(&mut self) {
        self.signal("KILL");
        self.ended(SOON).await;
    }

    /// Changes one key in the configuration file; the running daemon does not know yet.
    pub fn change(&mut self, key: &str, value: impl Into<String>) {
        self.setup.settings.insert(key.to_owned(), value.into());
        self.write_config();
    }

    /// Removes one key from the configuration file; the running daemon does not know yet.
    pub fn forget(&mut self, key: &str) {
        self.setup.settings.remove(key);
        self.write_config();
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A directory that lives as long as the test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn config_file(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join(format!("log.{}", self.starts))
    }

    fn write_config(&self) {
        let lines: String = self.setup.settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        std::fs::write(self.config_file(), lines).expect("the configuration can be written");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.setup.settings["node.name"], self.log());
        }
    }
}

/// The present as a record has it.
pub fn now() -> String {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(since_epoch.as_millis() as i64).to_string()
}

/// Writes a file that only its owner can read, as secrets must be.
pub fn write_secret(path: &Path, secret: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(secret.as_bytes())).expect("writable");
}
