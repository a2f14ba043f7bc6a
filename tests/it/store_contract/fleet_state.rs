//! What the fleet has in common beside the model: the list of features, learning mode and the candidate.

use super::*;

pub(super) fn exchange(before: Option<&[u8]>, after: &[u8]) -> FeaturesChange {
    FeaturesChange { before: before.map(<[u8]>::to_vec), after: after.to_vec(), reset: None }
}

pub(super) async fn the_list_of_features_is_exchanged_and_never_overwritten(store: Shared) {
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    assert_eq!(store.features().await.unwrap(), None);

    for (before, after, reply, left) in [
        (Some(&b"x"[..]), b"a", FeaturesReply::Conflict, None),
        (None, b"a", FeaturesReply::Changed, Some(b"a".to_vec())),
        (None, b"b", FeaturesReply::Conflict, Some(b"a".to_vec())),
        (Some(b"a"), b"b", FeaturesReply::Changed, Some(b"b".to_vec())),
    ] {
        assert_eq!(store.change_features(&exchange(before, after)).await.unwrap(), reply);
        assert_eq!(store.features().await.unwrap(), left);
        if reply == FeaturesReply::Changed {
            assert_eq!(next_announcement(&mut signals).await.kind, AnnouncementKind::Features);
        }
    }
    nothing_else(&store, &mut signals).await;
    assert_eq!(store.registry().await.unwrap().generation, 0, "the registry is not touched");
    let large = exchange(Some(b"b"), &vec![b'x'; LIST_BYTES_MAX + 1]);
    assert!(matches!(store.change_features(&large).await, Err(StoreError::Refused { .. })));
}

pub(super) async fn a_list_that_goes_takes_the_model_with_it_in_one_step(store: Shared) {
    let published = publish(&store, 1).await;
    let lost = FeaturesChange { reset: Some(("alice".into(), [9; 16])), ..exchange(Some(b"x"), b"a") };
    assert_eq!(store.change_features(&lost).await.unwrap(), FeaturesReply::Conflict);
    assert_eq!(store.registry().await.unwrap().current(), Some(published.model), "neither half was done");

    let done = FeaturesChange { before: None, ..lost };
    assert_eq!(store.change_features(&done).await.unwrap(), FeaturesReply::Changed);

    let registry = store.registry().await.unwrap();
    assert_eq!((registry.sha256, registry.generation, registry.lineage), (None, 2, Some(LINEAGE)));
    let newest: serde_json::Value = serde_json::from_slice(&store.history(1).await.unwrap()[0]).unwrap();
    assert_eq!((&newest["by"], &newest["store"]["outcome"]), (&"alice".into(), &"reset".into()));
}

/// A change of the mode by `cause`.
pub(super) fn change(on: bool, cause: ModeCause, expected: Option<ModeStamp>) -> ModeChange {
    ModeChange { on, origin: ModeOrigin::new(cause, "alice", "because"), expected, history: None }
}

pub(super) async fn set(store: &Shared, change: &ModeChange) -> FleetMode {
    match store.set_learning_mode(change).await.unwrap() {
        ModeReply::Set(mode) => mode,
        ModeReply::Conflict => panic!("nothing was expected"),
    }
}

pub(super) async fn learning_mode_is_fleet_state(store: Shared) {
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    assert_eq!(store.learning_mode().await.unwrap(), None);
    store.append_feedback("a", b"1").await.unwrap();
    let FeedbackAppended::Recorded(last) = store.append_feedback("b", b"2").await.unwrap() else { panic!("new") };

    for on in [true, false] {
        let written = set(&store, &change(on, ModeCause::Operator, None)).await;
        assert_eq!(store.learning_mode().await.unwrap().as_ref(), Some(&written));
        let details = written.set.expect("details");
        assert_eq!((written.on, details.feedback), (on, last), "it notes what feedback came before");
        assert_eq!((details.origin.cause, details.origin.by.as_str()), (ModeCause::Operator, "alice"));
        assert!(details.since_ms > 0);
        assert_eq!(next_announcement(&mut signals).await.kind, AnnouncementKind::Mode);
    }
    assert!(store.history(10).await.unwrap().is_empty(), "no entry unless asked for");
    nothing_else(&store, &mut signals).await;
}

pub(super) async fn a_mode_that_somebody_else_set_is_left_alone(store: Shared) {
    let never = ModeStamp::of(None);
    let trip = ModeChange {
        history: Some(b"{\"trigger\":\"breaker\"}".to_vec()),
        ..change(true, ModeCause::Breaker, Some(never.clone()))
    };
    let tripped = set(&store, &trip).await;
    let newest: serde_json::Value = serde_json::from_slice(&store.history(1).await.unwrap()[0]).unwrap();
    assert_eq!((&newest["trigger"], &newest["store"]["outcome"]), (&"breaker".into(), &"learning_mode".into()));

    assert_eq!(store.set_learning_mode(&trip).await.unwrap(), ModeReply::Conflict, "a second node comes too late");
    let off = change(false, ModeCause::Operator, Some(ModeStamp::of(Some(&tripped))));
    let off = set(&store, &off).await;
    assert_eq!(store.set_learning_mode(&trip).await.unwrap(), ModeReply::Conflict);

    assert_eq!(store.learning_mode().await.unwrap(), Some(off));
    assert_eq!(store.history(10).await.unwrap().len(), 1, "nothing was written twice");
}

pub(super) async fn a_publish_ends_the_learning_mode_that_it_was_trained_in_and_no_other(store: Shared) {
    let ended = async |content: u8, expected: ModeStamp| {
        let id = format!("train-{content}");
        let lease = lease(&store, &id).await;
        let registry = store.registry().await.unwrap();
        let parent = Parent { generation: registry.generation, sha256: registry.sha256 };
        let origin = ModeOrigin::new(ModeCause::Feedback, "a", "12 items");
        let ends_learning = Some(EndOfLearning { expected, origin });
        let request = PublishRequest { ends_learning, ..request(lease, &id, parent, content) };
        assert_eq!(store.publish(&request, &[content; 100]).await.unwrap(), PublishReply::Published);
        store.release_lease(lease).await.unwrap();
        let newest: serde_json::Value = serde_json::from_slice(&store.history(1).await.unwrap()[0]).unwrap();
        newest["store"]["ended_learning"] == true
    };
    let first = set(&store, &change(true, ModeCause::Operator, None)).await;
    let again = ModeStamp::of(Some(&first));
    assert!(ended(1, again.clone()).await);
    let off = store.learning_mode().await.unwrap().expect("set");
    assert_eq!((off.on, off.set.map(|set| set.origin.cause)), (false, Some(ModeCause::Feedback)));

    let second = set(&store, &change(true, ModeCause::Breaker, None)).await;
    assert!(!ended(2, again).await, "it was switched on again meanwhile");
    assert_eq!(store.learning_mode().await.unwrap(), Some(second), "and stays on");
}

/// Ends a training under `id` with a candidate.
pub(super) async fn candidate(store: &Shared, id: &str) -> Candidate {
    let lease = lease(store, id).await;
    let candidate = Candidate { note: format!("{{\"id\":\"{id}\"}}").into_bytes(), artifact: vec![7; 1000] };
    let refusal = RefusalRequest {
        lease,
        trigger: trigger(id),
        considered: Position::START,
        history: b"{}".to_vec(),
        candidate: Some(candidate.clone()),
    };
    assert_eq!(store.record_refusal(&refusal).await.unwrap(), RefusalReply::Recorded);
    store.release_lease(lease).await.unwrap();
    candidate
}

pub(super) async fn a_candidate_waits_until_a_later_one_a_model_or_a_person_takes_it_away(store: Shared) {
    let waiting = async || (store.candidate().await.unwrap(), store.candidate_model().await.unwrap());
    assert_eq!(waiting().await, (None, None));
    candidate(&store, "first").await;
    let second = candidate(&store, "second").await;
    assert_eq!(waiting().await, (Some(second.note.clone()), Some(second.artifact)));

    assert!(!store.discard_candidate(b"{\"id\":\"first\"}", "alice").await.unwrap(), "that one is gone");
    assert!(store.discard_candidate(&second.note, "alice").await.unwrap());
    assert_eq!(waiting().await, (None, None));
    let newest: serde_json::Value = serde_json::from_slice(&store.history(1).await.unwrap()[0]).unwrap();
    assert_eq!((&newest["by"], &newest["store"]["outcome"]), (&"alice".into(), &"discarded".into()));

    candidate(&store, "third").await;
    publish(&store, 1).await;
    assert_eq!(waiting().await, (None, None), "it was compared with the model before");
}
