//! Keeps the networks of `lists.suspicious_files` in memory: reads each file at the start, at a reload and when it changed.
//!
//! A file that cannot be used never stops the node: what was last read of it stays in force, and it is tried again every
//! minute. All files change place in one step; the request path never waits for them.

pub mod file;

use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::file::{ListError, NetworkFile};
use crate::clock;
use crate::config::Config;
use crate::detection::networks::NETWORKS_MAX;
use crate::serving::scorer::Scorer;
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// How often the files are looked at: lists are renewed by the hour or by the day.
const PERIOD: Duration = Duration::from_secs(60);

/// See the module documentation.
#[derive(Clone)]
pub struct NetworkLists {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) metrics: Arc<Metrics>,
    /// Rings when the configuration was read again.
    pub(crate) reloaded: Arc<Notify>,
    pub(crate) status: TaskStatus,
    pub(crate) held: Arc<Mutex<Vec<Held>>>,
}

/// A configured file and what was last read of it.
#[derive(Debug)]
pub(crate) struct Held {
    path: PathBuf,
    /// What the file looked like when it was read; `None`: it must be read.
    stamp: Option<Stamp>,
    file: Option<NetworkFile>,
    /// Why it is not what lies there now.
    error: Option<String>,
}

/// By what a change is seen: time of change in seconds and nanoseconds, size, and which file it is.
type Stamp = (i64, i64, u64, u64);

impl NetworkLists {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When reading panicked. A file that cannot be used is reported in the status.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            let again = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.reloaded.notified() => true,
                () = tokio::time::sleep(PERIOD) => false,
            };
            self.reconcile_once(again).await?;
        }
    }

    /// Reads the files that changed, all of them if `again`, and puts them in force. Running it twice changes nothing.
    ///
    /// # Errors
    /// When reading panicked; what was read before stays in force.
    pub(crate) async fn reconcile_once(&self, again: bool) -> Result<(), TaskError> {
        let task = self.clone();
        // A million lines take a second or so.
        tokio::task::spawn_blocking(move || task.reconcile(again)).await.map_err(TaskError::from)
    }

    fn reconcile(&self, again: bool) {
        let paths = self.config.load().lists.suspicious_files.clone();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.is_empty() && held.is_empty() {
            return self.status.idle();
        }
        let mut before = std::mem::take(&mut *held);
        for path in &paths {
            let known = before.iter().position(|file| file.path == *path).map(|at| before.swap_remove(at));
            held.push(known.unwrap_or_else(|| Held { path: path.clone(), stamp: None, file: None, error: None }));
        }
        // What the configuration names no longer is gone before room is counted.
        drop(before);
        for at in 0..held.len() {
            let others = held.iter().enumerate().filter(|(other, _)| *other != at);
            let room = NETWORKS_MAX - others.map(|(_, other)| other.entries()).sum::<usize>().min(NETWORKS_MAX);
            self.look_at(&mut held[at], room, again);
        }
        let networks = held.iter().map(Held::entries).sum();
        self.metrics.lists().networks(networks);
        let files = held.iter().filter_map(|held| held.file.as_ref()).map(|file| Arc::clone(&file.networks));
        self.scorer.suspects().set_files(files.collect());
        match held.iter().find_map(|held| held.error.as_ref()) {
            Some(error) => self.status.waiting(error.clone()),
            None => self.status.finished("read", format!("{networks} networks in {} files", held.len())),
        }
    }

    fn look_at(&self, held: &mut Held, room: usize, again: bool) {
        // Before it is read: what is written meanwhile is a change that the next look sees.
        let stamp = stamp(&held.path);
        if !again && stamp.is_some() && stamp == held.stamp {
            return;
        }
        held.stamp = stamp;
        let path = held.path.display().to_string();
        match file::read(&held.path, room) {
            Ok(file) => {
                self.metrics.lists().file_loaded(clock::now().millis() / 1000);
                if file.bad_lines > 0 {
                    self.metrics.lists().file_errors("line", file.bad_lines);
                    let (bad, first) = (file.bad_lines, file.first_bad);
                    warn!("skipped {bad} lines of {path} that are no networks; the first is line {first}");
                }
                info!(networks = file.entries, "read {} networks from {path}", file.entries);
                held.error = None;
                held.file = Some(file);
            }
            Err(error) => {
                self.metrics.lists().file_errors(error.reason(), 1);
                if matches!(error, ListError::TooMany(_)) {
                    // It may fit when another file has become shorter.
                    held.stamp = None;
                }
                let told = with_cause(&error);
                if held.error.as_ref() != Some(&told) {
                    let kept = held.entries();
                    warn!("{told}; going on with the {kept} networks that were read before");
                    held.error = Some(told);
                }
            }
        }
    }
}

impl Held {
    fn entries(&self) -> usize {
        self.file.as_ref().map_or(0, |file| file.entries)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).ok().map(|file| (file.mtime(), file.mtime_nsec(), file.size(), file.ino()))
}

fn with_cause(error: &ListError) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests;
