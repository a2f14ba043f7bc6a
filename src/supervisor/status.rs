//! What the tasks of a node are doing, as they and their supervisor say it.
//!
//! A list that is written seldom and read by status pages. It decides nothing.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing to do.
    Idle,
    /// At work.
    Running,
    /// Something must happen first; `last.reason` says what.
    Waiting,
    /// Stopped by an error; it will be started again.
    Failed,
}

/// How the last unit of work of a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Last {
    /// When, RFC 3339.
    pub at: String,
    /// One word: `ok`, `waiting`, `failed`, or the task's own (`promoted`, `refused` …).
    pub outcome: String,
    /// Why, for people; no user names, no addresses.
    pub reason: String,
}

/// One task as status pages show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskState {
    /// Name of the task.
    pub name: &'static str,
    /// What it is doing.
    pub state: State,
    /// How its last unit of work ended; `None` before the first.
    pub last: Option<Last>,
    /// How often it was started again.
    pub restarts: u64,
    /// The last failure that the supervisor saw; stays after recovery.
    pub last_error: Option<String>,
}

/// The states of all tasks of one node; a cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Arc<Mutex<Vec<TaskState>>>);

impl Statuses {
    /// A copy of all states, in the order in which the tasks were added.
    pub fn snapshot(&self) -> Vec<TaskState> {
        self.with(|states| states.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut Vec<TaskState>) -> T) -> T {
        // Every change is a few assignments: what a panicking holder left is still a valid state.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The handle of the task `name`, which is added when it is new.
    pub fn task(&self, name: &'static str) -> TaskStatus {
        let index = self.with(|states| {
            states.iter().position(|state| state.name == name).unwrap_or_else(|| {
                states.push(TaskState { name, state: State::Idle, last: None, restarts: 0, last_error: None });
                states.len() - 1
            })
        });
        TaskStatus { statuses: self.clone(), index }
    }
}

/// Through this a task says what it is doing.
#[derive(Debug, Clone)]
pub struct TaskStatus {
    statuses: Statuses,
    index: usize,
}

impl TaskStatus {
    /// The task has nothing to do.
    pub fn idle(&self) {
        self.update(|task| task.state = State::Idle);
    }

    /// The task is at work.
    pub fn running(&self) {
        self.update(|task| task.state = State::Running);
    }

    /// The task waits for something that `reason` names.
    pub fn waiting(&self, reason: impl Into<String>) {
        let last = last(Utc::now(), "waiting", reason.into());
        self.update(|task| (task.state, task.last) = (State::Waiting, Some(last)));
    }

    /// A unit of work ended; the task is idle again.
    pub fn finished(&self, outcome: &str, reason: impl Into<String>) {
        let last = last(Utc::now(), outcome, reason.into());
        self.update(|task| (task.state, task.last) = (State::Idle, Some(last)));
    }

    pub(super) fn failed(&self, error: &str) {
        let last = last(Utc::now(), "failed", error.to_owned());
        self.update(|task| {
            task.state = State::Failed;
            task.last = Some(last);
            task.last_error = Some(error.to_owned());
        });
    }

    pub(super) fn restarted(&self) {
        self.update(|task| {
            task.restarts += 1;
            task.state = State::Idle;
        });
    }

    fn update(&self, change: impl FnOnce(&mut TaskState)) {
        self.statuses.with(|states| {
            if let Some(task) = states.get_mut(self.index) {
                change(task);
            }
        });
    }
}

fn last(at: DateTime<Utc>, outcome: &str, reason: String) -> Last {
    Last { at: at.to_rfc3339_opts(SecondsFormat::Millis, true), outcome: outcome.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_says_what_it_is_doing() {
        let statuses = Statuses::default();
        let task = statuses.task("trainer");
        let state = || serde_json::to_value(&statuses.snapshot()[0]).expect("plain data");

        task.running();
        assert_eq!((state()["state"].as_str(), state()["last"].is_null()), (Some("running"), true));
        task.waiting("4 of 10 feedback items");
        assert_eq!(state()["state"], "waiting");
        task.finished("promoted", "better in every measure");
        assert_eq!(state()["last"]["outcome"], "promoted");
        assert_eq!(state()["last"]["reason"], "better in every measure");
        assert_eq!((state()["state"].as_str(), statuses.snapshot().len()), (Some("idle"), 1));
        statuses.task("trainer").idle();
        assert_eq!(statuses.snapshot().len(), 1, "one name is one task");
    }
}
