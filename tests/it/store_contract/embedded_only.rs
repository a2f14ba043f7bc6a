//! What only a file can show: reopening, damage, a second process.

use super::*;

#[tokio::test]
async fn reopening_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store: Shared = Arc::new(EmbeddedStore::open(&path, limits(), "a").unwrap());
    let end = store.append_attempts(&[entry(1)]).await.unwrap();
    store.append_feedback("a", b"1").await.unwrap();
    let mode = set(&store, &change(true, ModeCause::Operator, None)).await;
    publish(&store, 1).await;
    let candidate = candidate(&store, "waits").await;
    store.claim_command("c", ME, TTL).await.unwrap();
    store.finish_command("c", b"{}", None).await.unwrap();
    let before = store.registry().await.unwrap();
    drop(store);

    let again = EmbeddedStore::open(&path, limits(), "a").unwrap();

    assert_eq!(again.recovered(), None);
    let after = again.registry().await.unwrap();
    assert_eq!((after.generation, after.sha256, after.fence), (before.generation, before.sha256, before.fence));
    assert_eq!(again.model([1; 32]).await.unwrap(), Some(vec![1; 100]));
    assert_eq!(again.attempts_end().await.unwrap(), end);
    assert!(matches!(again.append_feedback("a", b"2").await.unwrap(), FeedbackAppended::Known(_)));
    assert_eq!(again.learning_mode().await.unwrap(), Some(mode));
    assert_eq!(again.candidate().await.unwrap(), Some(candidate.note));
    assert_eq!(again.claim_command("c", ME, TTL).await.unwrap(), Claim::Done(b"{}".to_vec()));
    assert_eq!(again.history(10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_copy_taken_at_any_moment_is_whole() {
    // What a kill leaves behind: the bytes as they are on disk while the store still runs.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = EmbeddedStore::open(&path, limits(), "a").unwrap();
    for number in 0..4 {
        store.append_feedback(&number.to_string(), b"x").await.unwrap();
        let copy = directory.path().join(format!("copy-{number}.redb"));
        std::fs::copy(&path, &copy).unwrap();

        let survivor = EmbeddedStore::open(&copy, limits(), "a").unwrap();

        assert_eq!(survivor.recovered(), None);
        let answered = survivor.read_feedback(Position::START, 10).await.unwrap().len();
        assert_eq!(answered, number + 1, "what was answered is on disk");
    }
}

#[tokio::test]
async fn a_damaged_file_is_put_aside_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    drop(EmbeddedStore::open(&path, limits(), "a").unwrap());
    let whole = std::fs::read(&path).unwrap();

    for damaged in [b"not a database".repeat(1000), whole[..whole.len() / 2].to_vec()] {
        std::fs::write(&path, &damaged).unwrap();

        let store = EmbeddedStore::open(&path, limits(), "a").unwrap();

        let aside = store.recovered().expect("the damage is reported");
        assert!(aside.to_string_lossy().contains("store.redb.bad-"), "{}", aside.display());
        // redb may mark the file as open before it finds the damage; nothing of it is thrown away.
        assert!(std::fs::metadata(&aside).unwrap().len() >= damaged.len() as u64);
        assert_eq!(store.registry().await.unwrap().generation, 0);
        store.append_feedback("a", b"1").await.unwrap();
        drop(store);
        std::fs::remove_file(aside).unwrap();
    }
}

#[tokio::test]
async fn a_second_process_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let _first = EmbeddedStore::open(&path, limits(), "a").unwrap();

    let second = EmbeddedStore::open(&path, limits(), "b").map(drop);

    assert!(
        matches!(&second, Err(StoreError::Refused { remedy, .. }) if remedy.contains("another process")),
        "{second:?}"
    );
    let nowhere = EmbeddedStore::open(directory.path().join("no/such/file"), limits(), "b").map(drop);
    assert!(matches!(nowhere, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn many_appends_at_once_are_all_answered_after_their_commit() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path().join("store.redb"), Limits::default(), "a").unwrap();
    let mut appends = tokio::task::JoinSet::new();
    for number in 0..200 {
        let store = store.clone();
        appends.spawn(async move { store.append_attempts(&[entry(number)]).await.unwrap() });
    }

    let positions: std::collections::BTreeSet<_> = appends.join_all().await.into_iter().collect();

    assert_eq!(positions.len(), 200);
    assert_eq!(store.read_attempts(Position::START, 1000).await.unwrap().len(), 200);
}

#[tokio::test]
async fn store_time_comes_from_the_clock_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let now = Arc::new(std::sync::atomic::AtomicI64::new(5_000));
    let clock = {
        let now = Arc::clone(&now);
        Arc::new(move || now.load(std::sync::atomic::Ordering::Relaxed))
    };
    let store: Shared = Arc::new(EmbeddedStore::open_with_clock(path, limits(), "a", clock).unwrap());

    let first = store.append_attempts(&[entry(1)]).await.unwrap();
    now.store(1_000, std::sync::atomic::Ordering::Relaxed);
    let second = store.append_attempts(&[entry(2)]).await.unwrap();

    assert_eq!(first, Position { major: 5_000, minor: 0 });
    assert_eq!(second, Position { major: 5_000, minor: 1 }, "positions grow when the clock is set back");
    assert_eq!(store.registry().await.unwrap().now_ms, 1_000);
}
