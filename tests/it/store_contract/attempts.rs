//! What happened and what people say of it: attempts, samples and feedback.

use super::*;

pub(super) async fn attempts_come_back_in_order(store: Shared) {
    assert_eq!(store.attempts_end().await.unwrap(), Position::START);
    let end = store.append_attempts(&[entry(1), entry(2), entry(3)]).await.unwrap();
    let later = store.append_attempts(&[entry(4)]).await.unwrap();

    let all = store.read_attempts(Position::START, 10).await.unwrap();
    let events: Vec<_> = all.iter().map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(events, (1..=4).map(|number| entry(number).event).collect::<Vec<_>>());
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!((all[2].0, all[3].0), (end, later));
    assert_eq!(store.attempts_end().await.unwrap(), later);
    assert_eq!(store.read_attempts(end, 10).await.unwrap().len(), 1);
    assert_eq!(store.read_attempts(Position::START, 2).await.unwrap(), all[..2]);
    assert_eq!(store.read_attempts(later, 10).await.unwrap(), []);
    assert_eq!(store.append_attempts(&[]).await.unwrap(), later);
}

pub(super) async fn attempts_are_trimmed_and_batches_bounded(store: Shared) {
    let batch: Vec<_> = (0..BATCH_MAX as u32).map(entry).collect();
    let end = store.append_attempts(&batch).await.unwrap();

    let left = store.read_attempts(Position::START, usize::MAX).await.unwrap();
    // A stream is trimmed by whole nodes of 100 entries.
    assert!((300..=400).contains(&left.len()), "{} entries", left.len());
    assert_eq!(left.last().map(|(position, bytes)| (*position, bytes.clone())), Some((end, entry(999).event)));

    let over: Vec<_> = (0..=BATCH_MAX as u32).map(entry).collect();
    assert!(matches!(store.append_attempts(&over).await, Err(StoreError::Refused { .. })));

    let age = Duration::ZERO;
    store.set_limits(Limits { attempts_age: age, attempts_max: 10_000, ..limits() });
    eventually("old attempts go by age", SOON, || async {
        store.append_attempts(&batch).await.map_err(|error| error.to_string())?;
        let count = store.read_attempts(Position::START, usize::MAX).await.map_err(|error| error.to_string())?.len();
        if count <= 1100 { Ok(()) } else { Err(format!("{count} entries")) }
    })
    .await;
}

pub(super) async fn the_reservoir_keeps_the_smallest_keys(store: Shared) {
    let keys = [0.9, 0.1, 1e-300, 0.123_456_789_012_345_67, 0.5, 0.7, 0.3, 2.0];
    let sampled = |class, key: f64| AttemptEntry {
        event: vec![0],
        sample: Some(SampleEntry { class, key, bytes: key.to_be_bytes().to_vec() }),
    };
    let batch: Vec<_> = keys.iter().map(|key| sampled(SampleClass::Failure, *key)).collect();
    store.append_attempts(&batch).await.unwrap();
    store.append_attempts(&[sampled(SampleClass::Success, 0.4)]).await.unwrap();

    let failures = store.read_samples(SampleClass::Failure).await.unwrap();
    let expected = [1e-300, 0.1, 0.123_456_789_012_345_67, 0.3, 0.5];
    assert_eq!(failures.iter().map(|(key, _)| *key).collect::<Vec<_>>(), expected);
    assert!(failures.iter().all(|(key, bytes)| bytes[..] == key.to_be_bytes()));
    assert_eq!(store.read_samples(SampleClass::Success).await.unwrap().len(), 1);

    let nothing = store.append_attempts(&[sampled(SampleClass::Failure, f64::NAN)]).await;
    assert!(matches!(nothing, Err(StoreError::Refused { .. })));
}

pub(super) async fn samples_without_an_attempt_compete_like_others_and_stand_once(store: Shared) {
    let sample = |class, key: f64| SampleEntry { class, key, bytes: key.to_be_bytes().to_vec() };
    let failure = |key| sample(SampleClass::Failure, key);
    let attempt = AttemptEntry { event: vec![0], sample: Some(failure(0.2)) };
    store.append_attempts(&[attempt]).await.unwrap();
    let added: Vec<_> = [0.9, 0.1, 1.0 / 3.0, 0.7, 0.5, 0.2, 0.8].into_iter().map(failure).collect();

    for _ in 0..2 {
        store.add_samples(&added).await.unwrap();
        store.add_samples(&[sample(SampleClass::Success, 0.4)]).await.unwrap();
        store.add_samples(&[]).await.unwrap();

        let failures = store.read_samples(SampleClass::Failure).await.unwrap();
        assert_eq!(failures.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [0.1, 0.2, 1.0 / 3.0, 0.5, 0.7]);
        assert_eq!(store.read_samples(SampleClass::Success).await.unwrap().len(), 1);
    }
    assert_eq!(store.read_attempts(Position::START, 10).await.unwrap().len(), 1, "no attempt comes with them");

    let many = vec![failure(0.1); BATCH_MAX + 1];
    let large = SampleEntry { bytes: vec![0; ENTRY_MAX + 1], ..failure(0.1) };
    for refused in [&many[..], &[failure(f64::NAN)], &[large]] {
        assert!(matches!(store.add_samples(refused).await, Err(StoreError::Refused { .. })));
    }
}

pub(super) async fn a_sample_is_relabelled_in_place_and_once(store: Shared) {
    // Keys that do not survive a careless trip through decimal text.
    let keys = [-11.123_456_789_012_345, 1.0 / 3.0, 1e-300];
    let sampled = |class, key: f64, bytes: &[u8]| AttemptEntry {
        event: vec![0],
        sample: Some(SampleEntry { class, key, bytes: bytes.to_vec() }),
    };
    let batch: Vec<_> = keys.iter().map(|key| sampled(SampleClass::Failure, *key, &key.to_be_bytes())).collect();
    store.append_attempts(&batch).await.unwrap();
    store.append_attempts(&[sampled(SampleClass::Success, keys[0], b"success")]).await.unwrap();
    let change = |class, key: f64, old: &[u8], new: &[u8]| Relabel { class, key, old: old.to_vec(), new: new.to_vec() };
    let labelled = |key: f64| [b"mine", &key.to_be_bytes()[..]].concat();
    let mine = keys.map(|key| change(SampleClass::Failure, key, &key.to_be_bytes(), &labelled(key)));

    assert_eq!(store.relabel_samples(&mine[..2]).await.unwrap(), 2);
    let there = store.read_samples(SampleClass::Failure).await.unwrap();
    let expected =
        [(keys[0], labelled(keys[0])), (keys[2], keys[2].to_be_bytes().to_vec()), (keys[1], labelled(keys[1]))];
    assert_eq!(there, expected, "in place, with exactly the same key");

    // Whoever comes second, with the same word or with another, changes nothing; nor does one whose sample has left.
    let before = store.read_samples(SampleClass::Failure).await.unwrap();
    let other = change(SampleClass::Failure, keys[1], &keys[1].to_be_bytes(), b"other");
    let gone = change(SampleClass::Failure, 5.0, b"gone", b"back");
    let elsewhere = change(SampleClass::Success, keys[2], &keys[2].to_be_bytes(), b"elsewhere");
    assert_eq!(store.relabel_samples(&[mine[0].clone(), other, gone, elsewhere]).await.unwrap(), 0);
    assert_eq!(store.read_samples(SampleClass::Failure).await.unwrap(), before);
    assert_eq!(store.relabel_samples(&[]).await.unwrap(), 0);
    assert_eq!(store.read_samples(SampleClass::Success).await.unwrap(), [(keys[0], b"success".to_vec())]);

    let over = vec![mine[0].clone(); BATCH_MAX + 1];
    assert!(matches!(store.relabel_samples(&over).await, Err(StoreError::Refused { .. })));
    let large = Relabel { new: vec![0; ENTRY_MAX + 1], ..mine[2].clone() };
    assert!(matches!(store.relabel_samples(&[large]).await, Err(StoreError::Refused { .. })));
}

pub(super) async fn feedback_is_recorded_once_and_never_over_the_limit(store: Shared) {
    let recorded = |answer| match answer {
        FeedbackAppended::Recorded(position) => position,
        other => panic!("recorded was expected, not {other:?}"),
    };
    let first = recorded(store.append_feedback("a", b"1").await.unwrap());
    let second = recorded(store.append_feedback("b", b"2").await.unwrap());
    assert_eq!(store.append_feedback("a", b"9").await.unwrap(), FeedbackAppended::Known(first));
    store.append_feedback("c", b"3").await.unwrap();
    store.append_feedback("d", b"4").await.unwrap();

    assert_eq!(store.append_feedback("e", b"5").await.unwrap(), FeedbackAppended::Full);
    assert_eq!(store.append_feedback("a", b"9").await.unwrap(), FeedbackAppended::Known(first));
    let all = store.read_feedback(Position::START, 10).await.unwrap();
    assert_eq!(all.len(), 4);
    assert_eq!(all[..2], [(first, b"1".to_vec()), (second, b"2".to_vec())]);
    for (after, limit, count) in [(Position::START, 10, 4), (first, 10, 3), (Position::START, 2, 2), (all[3].0, 10, 0)]
    {
        assert_eq!(store.count_feedback(after, limit).await.unwrap(), count, "after {after}");
    }

    store.set_limits(Limits { feedback_age: Duration::ZERO, ..limits() });
    eventually("expired feedback makes room, its id too", SOON, || async {
        match store.append_feedback("a", b"again").await.map_err(|error| error.to_string())? {
            FeedbackAppended::Recorded(_) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
