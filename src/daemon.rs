//! `run`: configuration → log → store → node → HTTP → ready → signals → drain, readable from top to bottom.
//!
//! Everything that a process has once lives here: logging, signals, the notification socket, the listening port.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use crate::api;
use crate::config::secrets::{Secret, Secrets};
use crate::config::{Backend, Config, host_name};
use crate::exit;
use crate::node::{Node, NodeError};
use crate::notify::{Notifier, monotonic_now, watchdog_period};
use crate::state::state_dir::StateDir;
use crate::store::embedded::EmbeddedStore;
use crate::store::keys::KeyPrefix;
use crate::store::redis::{RedisOptions, RedisStore};
use crate::store::{Limits, Store, StoreError};
use crate::supervisor::Kind;
use crate::telemetry::logging::{self, LogHandle};

/// Everything must have stopped by then; systemd would kill us much later.
const DRAIN: Duration = Duration::from_millis(2500);
/// What blocking threads get on top; a training notices its cancel flag within milliseconds.
const RUNTIME_DRAIN: Duration = Duration::from_millis(500);

/// How the notice of a refused reload begins; the next reload replaces it, and no other notice.
const NOT_RELOADED: &str = "the configuration was not reloaded";

/// Runs the daemon until it is told to stop. Returns the process's exit code.
pub fn run(config_file: Option<&Path>) -> ExitCode {
    let config = match Config::load(config_file, std::env::vars()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{}", chain(&error));
            return ExitCode::from(exit::CONFIG);
        }
    };
    let log = match logging::init(config.log.format, &config.log.level, std::env::var("JOURNAL_STREAM").ok().as_deref())
    {
        Ok(log) => log,
        Err(error) => {
            eprintln!("cannot start logging: {error}");
            return ExitCode::from(exit::CONFIG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("cannot start the runtime: {error}");
            return ExitCode::from(exit::OS);
        }
    };
    let code = runtime.block_on(serve(config, config_file.map(Path::to_owned), log));
    runtime.shutdown_timeout(RUNTIME_DRAIN);
    code
}

async fn serve(config: Config, config_file: Option<PathBuf>, log: LogHandle) -> ExitCode {
    let notifier = Notifier::connect(std::env::var("NOTIFY_SOCKET").ok().as_deref()).unwrap_or_else(|error| {
        warn!("cannot reach the service manager ($NOTIFY_SOCKET): {error}");
        Notifier::silent()
    });
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let mut signals = match install_signals() {
        Ok(signals) => signals,
        Err(error) => {
            error!("cannot install signal handlers: {error}");
            return ExitCode::from(exit::OS);
        }
    };
    let listener = match TcpListener::bind(&config.http.listen).await {
        Ok(listener) => Arc::new(listener),
        Err(error) => {
            error!("cannot listen on {} (http.listen): {error}", config.http.listen);
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    let (store, recovered) = match open_store(&config) {
        Ok(opened) => opened,
        Err(error) => {
            error!("{}", chain(&error));
            return ExitCode::from(exit::UNAVAILABLE);
        }
    };
    let backend = config.store.backend;
    let mut node = match Node::start(config, store).await {
        Ok(node) => node,
        Err(error) => {
            error!("{}", chain(&error));
            return ExitCode::from(exit::CONFIG);
        }
    };
    if let Some(path) = recovered {
        let notice = format!("the store file was damaged and is now {}; a new one was begun", path.display());
        error!("{notice}");
        node.notices.store(Arc::new(vec![notice]));
    }
    let app = node.app.clone();
    let address = listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string());
    node.supervisor.spawn("http", Kind::Critical, move |stop| api::server::serve(listener.clone(), app.clone(), stop));
    info!("listening on {address}");
    say(notifier.ready(&format!("scoring on {address}, store: {backend:?}")));

    let mut watchdog = watchdog().map(tokio::time::interval);
    let failed = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Some(SIGHUP) => reload(&node, config_file.as_deref(), &log, &notifier),
                Some(_) | None => break false,
            },
            () = tick(&mut watchdog) => say(notifier.watchdog()),
            watched = node.supervisor.watch() => {
                if let Err(gave_up) = &watched {
                    error!("{gave_up}");
                }
                break watched.is_err();
            }
        }
    };
    say(notifier.stopping(DRAIN + RUNTIME_DRAIN));
    info!("stopping");
    let laggards = node.shutdown(DRAIN).await;
    if !laggards.is_empty() {
        warn!("stopped without waiting for: {}", laggards.join(", "));
    }
    info!("stopped");
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// SIGTERM and SIGINT end the daemon in order; a second one ends it at once. SIGHUP reloads.
fn install_signals() -> std::io::Result<Signals> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // The order matters: the first signal finds the flag down and raises it, the second finds it up and exits.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
    }
    stopping.store(false, Ordering::Relaxed);
    Signals::new([SIGHUP, SIGTERM, SIGINT])
}

async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Validates the whole new configuration, then swaps; an invalid one changes nothing.
fn reload(node: &Node, config_file: Option<&Path>, log: &LogHandle, notifier: &Notifier) {
    say(monotonic_now().and_then(|now| notifier.reloading(now)));
    let reloaded = Config::load(config_file, std::env::vars()).map_err(|error| error.to_string()).and_then(|config| {
        let level = config.log.level.clone();
        let later = node.app.config.load().next_training_only(&config);
        if !later.is_empty() {
            info!("these keys wait for the next training: {}", later.join(", "));
        }
        let restart = node.reload(config).map_err(|error: NodeError| error.to_string())?;
        log.set_level(&level).map_err(|error| error.to_string())?;
        Ok(restart)
    });
    let notices = node.notices.load();
    let mut notices: Vec<_> = notices.iter().filter(|notice| !notice.starts_with(NOT_RELOADED)).cloned().collect();
    let status = match &reloaded {
        Ok(restart) if restart.is_empty() => "configuration reloaded".to_owned(),
        Ok(restart) => format!("configuration reloaded; these keys need a restart: {}", restart.join(", ")),
        Err(error) => {
            let notice = format!("{NOT_RELOADED}, the old one is active: {error}");
            notices.push(notice.clone());
            notice
        }
    };
    node.notices.store(Arc::new(notices));
    node.app.metrics.config_reloaded(if reloaded.is_ok() { "applied" } else { "refused" });
    match reloaded {
        Ok(_) => info!("{status}"),
        Err(_) => error!("{status}"),
    }
    say(notifier.ready(&status));
}

/// Opens the configured store. An embedded file that was damaged is replaced; its new name is returned.
fn open_store(config: &Config) -> Result<(Arc<dyn Store>, Option<PathBuf>), StoreError> {
    let limits = Limits::from(config);
    match config.store.backend {
        Backend::Embedded => {
            // The file lies in the state directory, which may not exist before the first start.
            StateDir::open(&config.node.state_dir).map_err(|error| StoreError::Refused {
                operation: "open the embedded store",
                remedy: error.to_string(),
                source: None,
            })?;
            let store = EmbeddedStore::open(config.store.file(&config.node.state_dir), limits, &node_name(config))?;
            let recovered = store.recovered();
            Ok((Arc::new(store), recovered))
        }
        Backend::Redis => Ok((connect_redis(config, limits)?, None)),
    }
}

/// A Redis store from `[redis]`; it connects in the background.
///
/// # Errors
/// For a URL, prefix or password file that cannot be used.
pub fn connect_redis(config: &Config, limits: Limits) -> Result<Arc<dyn Store>, StoreError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let secrets = Secrets::read(config, credentials.as_deref()).map_err(|problems| StoreError::Refused {
        operation: "read the secrets of [redis]",
        remedy: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        source: None,
    })?;
    let prefix = KeyPrefix::new(&config.redis.prefix).map_err(|error| StoreError::Refused {
        operation: "use redis.prefix",
        remedy: error.to_string(),
        source: None,
    })?;
    let options = RedisOptions {
        url: config.redis.url.clone(),
        prefix,
        username: config.redis.username.clone(),
        password: secrets.redis_password.as_ref().map(Secret::expose).map(str::to_owned),
        origin: node_name(config),
    };
    Ok(RedisStore::connect(&options, limits)?)
}

/// What the fleet calls this node.
fn node_name(config: &Config) -> String {
    config.node.name.clone().unwrap_or_else(|| host_name(std::env::vars()))
}

/// Half of systemd's watchdog time, if it watches this process.
fn watchdog() -> Option<Duration> {
    let (usec, pid) = (std::env::var("WATCHDOG_USEC").ok(), std::env::var("WATCHDOG_PID").ok());
    watchdog_period(usec.as_deref(), pid.as_deref(), std::process::id())
}

/// A service manager that cannot be told is no reason to stop.
fn say(told: std::io::Result<()>) {
    if let Err(error) = told {
        warn!("cannot tell the service manager: {error}");
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
