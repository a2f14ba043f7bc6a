//! Asks the service of `lists.blocklist_url` about the client addresses that scores have left to be asked about.
//!
//! Nobody waits for it: answers go into the scorer's [`Blocklist`](crate::serving::blocklist::Blocklist) and count from the
//! next attempt on. Few questions are under way at once. When the service does not answer, the error goes to the
//! supervisor, which waits longer each time; meanwhile scores go on with what is known.

mod ask;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::ask::{AskError, Service};
use crate::clock;
use crate::serving::blocklist::{Question, Reply};
use crate::serving::scorer::Scorer;
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// Questions under way at once: a service that takes 80 ms answers 50 a second.
const AT_ONCE: usize = 4;

/// See the module documentation.
#[derive(Clone)]
pub struct BlocklistAsker {
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: TaskStatus,
}

type Asked = JoinSet<(Question, Result<bool, AskError>)>;

impl BlocklistAsker {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the service gives no usable answer. The addresses asked about are tried again a minute later, if they come back.
    pub async fn run(self, stop: CancellationToken) -> Result<(), TaskError> {
        let service = Service::new();
        let mut asked = Asked::new();
        loop {
            let blocklist = &self.scorer.suspects().blocklist;
            while asked.len() < AT_ONCE
                && let Some(question) = blocklist.next()
            {
                let service = service.clone();
                asked.spawn(async move {
                    let answer = service.ask(&question.service, question.ip).await;
                    (question, answer)
                });
            }
            let ended = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = blocklist.asked(), if asked.len() < AT_ONCE => continue,
                Some(ended) = asked.join_next() => ended,
            };
            let (question, answer) = ended?;
            if let Err(error) = self.take(&question, answer) {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.wind_up(asked) => {}
                }
                return Err(error.into());
            }
        }
    }

    /// Notes an answer. The error is one that the next address would meet as well.
    fn take(&self, question: &Question, answer: Result<bool, AskError>) -> Result<(), AskError> {
        let (reply, name) = match &answer {
            Ok(true) => (Reply::Listed, "listed"),
            Ok(false) => (Reply::Clear, "clear"),
            Err(_) => (Reply::Failed, "failed"),
        };
        self.scorer.suspects().blocklist.answered(question, reply, clock::monotonic_ms());
        self.metrics.lists().blocklist_lookup(name);
        match answer {
            Ok(_) => self.status.idle(),
            Err(AskError::Refused) => self.status.finished("failed", AskError::Refused.to_string()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes what is still under way; each has its own limit of time.
    async fn wind_up(&self, mut asked: Asked) {
        while let Some(ended) = asked.join_next().await {
            if let Ok((question, answer)) = ended {
                // The first error is the one that is told.
                let _ = self.take(&question, answer);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
