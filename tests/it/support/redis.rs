//! A real Redis or Valkey server of one test: own port, own directory, gone with the test.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::eventually::eventually;

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct RedisSetup {
    /// Every write on disk before its answer.
    pub append_only: bool,
    pub password: Option<String>,
}

/// A running (or stopped) server.
pub struct RedisServer {
    setup: RedisSetup,
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server without persistence.
    pub fn start() -> Self {
        Self::start_with(RedisSetup::default())
    }

    /// Starts a server; tries other ports when somebody takes the free one first.
    pub fn start_with(setup: RedisSetup) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut server = Self { setup, directory, port: 0, child: None };
        for _ in 0..10 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server did not start: {}", server.log());
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds back all that may write for so long; reading, and asking for the time, goes on.
    pub async fn pause_writing(&self, duration: Duration) {
        self.query(&["CLIENT", "PAUSE", &duration.as_millis().to_string(), "WRITE"]).await;
    }

    /// Ends it in order; what it has to save is saved.
    pub fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().expect("the server can be waited for");
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("the server can be waited for");
        }
    }

    /// Starts it again on the same port and directory.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "stop it first");
        assert!(self.launch(), "redis-server did not start again: {}", self.log());
    }

    /// Stops it without closing connections: they are half-open now.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The answer to one command, as text; for looking behind the store's back.
    pub async fn query(&self, words: &[&str]) -> String {
        let mut connection = self.connection().await;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let value: redis::Value = command.query_async(&mut connection).await.expect("the command works");
        format!("{value:?}")
    }

    /// Publishes a command as soon as a node listens: one that starts answers by HTTP before it has subscribed, and what
    /// nobody hears is lost.
    pub async fn order(&self, command: &str) {
        eventually("a node listens to commands", Duration::from_secs(15), || async {
            let heard = self.query(&["PUBLISH", "nt:{neural}:commands", command]).await;
            if heard == "int(0)" { Err(heard) } else { Ok(()) }
        })
        .await;
    }

    /// A plain connection.
    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let url = match &self.setup.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}/0", self.port),
            None => self.url(),
        };
        let client = redis::Client::open(url).expect("the address is good");
        client.get_multiplexed_async_connection().await.expect("the server answers")
    }

    fn launch(&mut self) -> bool {
        std::fs::remove_file(self.directory.path().join("redis.log")).ok();
        let mut command = Command::new(binary());
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", "", "--daemonize", "no"])
            .arg("--dir")
            .arg(self.directory.path())
            .args(["--logfile", "redis.log"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.setup.append_only {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        if let Some(password) = &self.setup.password {
            command.args(["--requirepass", password]);
        }
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start redis-server ({error}); run: make test"));
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return false;
            }
            // Its own log says that it is this server, and not a stranger who took the port first.
            if self.log().contains("Ready to accept connections") && self.answers() {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().ok();
        child.wait().ok();
        false
    }

    /// Whether it has loaded its data: while loading it accepts connections and answers `-LOADING`.
    fn answers(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = [0; 7];
        let exchanged = stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .and_then(|()| stream.write_all(b"PING\r\n"))
            .and_then(|()| stream.read_exact(&mut answer));
        exchanged.is_ok() && (answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
    }

    fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            let done = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
            assert!(done.is_ok_and(|status| status.success()), "kill -{name} works");
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("redis.log")).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A free port below the range from which the kernel takes ports for outgoing connections and for port 0: nobody must
/// get it while the server is down.
fn free_port() -> u16 {
    loop {
        let random = RandomState::new().hash_one(0u8);
        let port = 20_000 + u16::try_from(random % 12_000).expect("small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("REDIS_SERVER") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |directory| directory.join(name)))
        .find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("neither redis-server nor valkey-server is on the PATH; run: make test"))
}
