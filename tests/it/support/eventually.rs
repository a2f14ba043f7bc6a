//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Waits until `condition` answers `Ok`; panics after `deadline` with the last state that it gave as `Err`.
pub async fn eventually<T, C>(what: &str, deadline: Duration, mut condition: impl FnMut() -> C) -> T
where
    C: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + deadline;
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(state) if Instant::now() >= end => panic!("{what}: not within {deadline:?}; last state: {state}"),
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}
