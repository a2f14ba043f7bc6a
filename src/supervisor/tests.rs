//! The supervisor on a paused clock: restarts, panics, giving up, shutdown.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

fn counter() -> (Arc<AtomicU32>, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    (Arc::clone(&count), count)
}

/// Lets every task run until all of them wait for something; with a paused clock, time does not pass meanwhile.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_is_started_again_until_it_succeeds() {
    let (runs, count) = counter();
    let mut supervisor = Supervisor::new();
    supervisor.spawn("flaky", Kind::Restartable, move |_| {
        let run = count.fetch_add(1, Ordering::SeqCst);
        async move { if run < 3 { Err(TaskError::from("no luck")) } else { Ok(()) } }
    });

    supervisor.watch().await.expect("nothing critical");

    assert_eq!(runs.load(Ordering::SeqCst), 4);
    let [task] = supervisor.statuses().snapshot().try_into().expect("one task");
    assert_eq!((task.state, task.restarts, task.last_error.as_deref()), (State::Idle, 3, Some("no luck")));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_like_any_other() {
    let (runs, count) = counter();
    let mut supervisor = Supervisor::new();
    supervisor.spawn("panics", Kind::Restartable, move |_| {
        let run = count.fetch_add(1, Ordering::SeqCst);
        assert_ne!(run, 1, "in the factory");
        async move {
            assert_ne!(run, 0, "in the task");
            Ok(())
        }
    });

    supervisor.watch().await.expect("nothing critical");

    assert_eq!(runs.load(Ordering::SeqCst), 3);
    let state = &supervisor.statuses().snapshot()[0];
    assert!(state.last_error.as_deref().is_some_and(|error| error.contains("in the factory")), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_critical_task_that_keeps_failing_ends_the_process() {
    let mut supervisor = Supervisor::new();
    supervisor.spawn("vital", Kind::Critical, |_| async { Err(TaskError::from("port in use")) });
    supervisor.spawn("steady", Kind::Restartable, |stop| async move {
        stop.cancelled().await;
        Ok(())
    });

    let gave_up = supervisor.watch().await.expect_err("five failures");

    assert_eq!((gave_up.name, gave_up.error.as_str()), ("vital", "port in use"));
    assert!(supervisor.shutdown(Duration::from_secs(1)).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restartable_task_is_retried_for_ever_at_the_longest_wait() {
    let (runs, count) = counter();
    let mut supervisor = Supervisor::new();
    supervisor.spawn("hopeless", Kind::Restartable, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err(TaskError::from("still no")) }
    });

    let hour = tokio::time::timeout(Duration::from_secs(3600), supervisor.watch()).await;

    assert!(hour.is_err(), "it goes on");
    // Between 30 s and 15 s (full jitter) per restart, and a few more at the beginning.
    let runs = runs.load(Ordering::SeqCst);
    assert!((3600 / 30..=3600 / 15 + 8).contains(&runs), "{runs}");
}

#[tokio::test(start_paused = true)]
async fn a_critical_task_that_fails_rarely_goes_on() {
    let (runs, count) = counter();
    let mut supervisor = Supervisor::new();
    supervisor.spawn("rare", Kind::Critical, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            tokio::time::sleep(HEALTHY_AFTER).await;
            Err(TaskError::from("once a minute"))
        }
    });

    let hour = tokio::time::timeout(Duration::from_secs(3600), supervisor.watch()).await;

    assert!(hour.is_err(), "it goes on");
    assert!(runs.load(Ordering::SeqCst) >= 58, "each failure was a first one, with the first wait");
}

#[tokio::test(start_paused = true)]
async fn shutdown_stops_the_willing_and_names_the_laggards() {
    let mut supervisor = Supervisor::new();
    supervisor.spawn("willing", Kind::Critical, |stop| async move {
        stop.cancelled().await;
        Ok(())
    });
    supervisor.spawn("deaf", Kind::Restartable, |_| std::future::pending());
    supervisor.spawn("failing", Kind::Restartable, |_| async { Err(TaskError::from("waiting for its restart")) });
    settle().await;
    let begun = Instant::now();

    let laggards = supervisor.shutdown(Duration::from_secs(20)).await;

    assert_eq!(laggards, ["deaf"]);
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn restarts_are_reported_to_the_hook() {
    let (restarts, count) = counter();
    let (_, runs) = counter();
    let mut supervisor = Supervisor::new().on_restart(move |name| {
        assert_eq!(name, "twice");
        count.fetch_add(1, Ordering::SeqCst);
    });
    supervisor.spawn("twice", Kind::Restartable, move |_| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        async move { if run < 2 { Err(TaskError::from("again")) } else { Ok(()) } }
    });

    supervisor.watch().await.expect("nothing critical");

    assert_eq!(restarts.load(Ordering::SeqCst), 2);
}

#[test]
fn waits_double_up_to_the_longest_and_start_over_after_health() {
    let mut failures = Failures::default();
    let quick = Duration::from_secs(1);

    let waits: Vec<_> = (0..8).map(|_| failures.next_wait(quick).as_millis()).collect();

    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert_eq!(failures.next_wait(HEALTHY_AFTER), BACKOFF_FIRST);
    failures.in_row = u32::MAX;
    assert_eq!(failures.next_wait(quick), BACKOFF_MAX);
}

#[test]
fn jitter_stays_between_half_and_all() {
    for _ in 0..1000 {
        let wait = jittered(BACKOFF_MAX);
        assert!((BACKOFF_MAX / 2..=BACKOFF_MAX).contains(&wait), "{wait:?}");
    }
}

#[test]
fn an_error_is_told_with_its_causes() {
    let inner = std::io::Error::other("connection refused");
    let store = crate_error(inner);

    assert_eq!(TaskError::from(store).to_string(), "cannot read feedback: connection refused");
}

fn crate_error(source: std::io::Error) -> impl Error + Send + Sync + 'static {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot read feedback")]
    struct Outer(#[source] std::io::Error);
    Outer(source)
}
