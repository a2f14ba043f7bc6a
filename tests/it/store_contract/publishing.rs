//! Leases, and what may be published under one.

use super::*;

pub(super) async fn one_lease_at_a_time_and_growing_fences(store: Shared) {
    let first = lease(&store, "a").await;
    let held = store.acquire_lease(&trigger("b"), OTHER, TTL, HighWater::default()).await.unwrap();
    assert!(matches!(held, LeaseReply::Held { remaining } if remaining <= TTL && remaining > Duration::from_secs(20)));
    assert!(store.renew_lease(first, TTL).await.unwrap());
    let stranger = Lease { holder: OTHER, ..first };
    assert!(!store.renew_lease(stranger, TTL).await.unwrap());
    store.release_lease(stranger).await.unwrap();
    assert!(store.renew_lease(first, TTL).await.unwrap(), "a stranger cannot release it");

    store.release_lease(first).await.unwrap();
    assert!(!store.renew_lease(first, TTL).await.unwrap());
    let second = lease(&store, "b").await;
    assert!(second.fence > first.fence);
    store.release_lease(second).await.unwrap();
    let informed = HighWater { fence: 1000, generation: 0 };
    let third = store.acquire_lease(&trigger("c"), OTHER, TTL, informed).await.unwrap();
    assert!(matches!(third, LeaseReply::Acquired { lease, .. } if lease.fence == 1001 && lease.holder == OTHER));
}

pub(super) async fn a_lease_lapses_and_its_holder_cannot_renew(store: Shared) {
    let short = Duration::from_millis(30);
    let answer = store.acquire_lease(&trigger("a"), ME, short, HighWater::default()).await.unwrap();
    let LeaseReply::Acquired { lease: first, .. } = answer else { panic!("{answer:?}") };

    let second = eventually("the lease lapses", SOON, || async {
        match store.acquire_lease(&trigger("b"), OTHER, TTL, HighWater::default()).await {
            Ok(LeaseReply::Acquired { lease, .. }) => Ok(lease),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    assert!(second.fence > first.fence);
    assert!(!store.renew_lease(first, TTL).await.unwrap());
}

pub(super) async fn a_publish_stores_moves_and_announces_once(store: Shared) {
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    let request = publish(&store, 1).await;

    let announcement = next_announcement(&mut signals).await;
    assert_eq!(announcement.kind, AnnouncementKind::Model);
    assert_eq!((announcement.generation, announcement.origin.as_str()), (1, "node-b"));
    assert_eq!(announcement.lineage, Some(hex::encode(LINEAGE)));
    assert_eq!(announcement.sha256, Some(hex::encode([1; 32])));
    nothing_else(&store, &mut signals).await;

    let registry = store.registry().await.unwrap();
    assert_eq!((registry.lineage, registry.generation, registry.sha256), (Some(LINEAGE), 1, Some([1; 32])));
    assert_eq!((registry.fence, registry.published_fence), (request.lease.fence, request.lease.fence));
    assert_eq!(registry.watermark, request.watermark);
    assert!(registry.trained_at_ms.is_some_and(|at| at <= registry.now_ms));
    assert_eq!(registry.feedback_trained_at_ms, None);
    assert_eq!(store.model([1; 32]).await.unwrap(), Some(vec![1; 100]));
    assert_eq!(store.model([2; 32]).await.unwrap(), None);
    let again = store.acquire_lease(&trigger("train-1"), ME, TTL, HighWater::default()).await.unwrap();
    assert_eq!(again, LeaseReply::AlreadyDone);
}

pub(super) async fn a_lost_answer_to_a_publish_is_made_up_for(store: Shared) {
    let request = publish(&store, 1).await;
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    assert_eq!(store.publish(&request, &[1; 100]).await.unwrap(), PublishReply::AlreadyPublished);

    nothing_else(&store, &mut signals).await;
    assert_eq!(store.history(10).await.unwrap().len(), 1);
}

pub(super) async fn a_late_or_misinformed_publish_is_refused(store: Shared) {
    let slow = lease(&store, "slow").await;
    store.release_lease(slow).await.unwrap();
    let first = publish(&store, 1).await;
    let current = Parent { generation: 1, sha256: Some([1; 32]) };
    let now = lease(&store, "now").await;
    let good = request(now, "now", current, 2);
    let before = store.registry().await.unwrap();

    for (request, expected) in [
        (request(slow, "slow", current, 9), PublishReply::StaleFence),
        (request(now, "now", first.parent, 9), PublishReply::ParentChanged),
        (
            PublishRequest { model: ModelId { lineage: [8; 16], ..good.model }, ..good.clone() },
            PublishReply::WrongIdentity,
        ),
        (
            PublishRequest { model: ModelId { generation: 1, ..good.model }, ..good.clone() },
            PublishReply::WrongIdentity,
        ),
        (PublishRequest { format: 0, ..good.clone() }, PublishReply::OldFormat),
    ] {
        assert_eq!(store.publish(&request, &[9]).await.unwrap(), expected);
        let after = store.registry().await.unwrap();
        assert_eq!((after.generation, after.sha256, after.published_fence), (1, before.sha256, before.published_fence));
    }
    assert_eq!(store.publish(&good, &[2]).await.unwrap(), PublishReply::Published);
}

pub(super) async fn a_refusal_marks_feedback_as_considered(store: Shared) {
    let mark = |major| Position { major, minor: 0 };
    let upto = |major| TriggerKey::Feedback { upto: mark(major) };
    let answer = store.acquire_lease(&upto(9), ME, TTL, HighWater::default()).await.unwrap();
    let LeaseReply::Acquired { lease, .. } = answer else { panic!("{answer:?}") };
    let refusal = RefusalRequest {
        lease,
        trigger: upto(9),
        considered: mark(9),
        history: b"{\"reason\":\"worse\"}".to_vec(),
        candidate: None,
    };

    assert_eq!(store.record_refusal(&refusal).await.unwrap(), RefusalReply::Recorded);
    assert_eq!(store.record_refusal(&refusal).await.unwrap(), RefusalReply::Recorded);
    store.release_lease(lease).await.unwrap();

    let registry = store.registry().await.unwrap();
    assert_eq!((registry.considered, registry.watermark, registry.generation), (mark(9), Position::START, 0));
    assert!(registry.feedback_trained_at_ms.is_some());
    let history = store.history(10).await.unwrap();
    assert_eq!(history.len(), 1, "a repeated refusal is one entry");
    let ask = |major| {
        let (store, key) = (Arc::clone(&store), upto(major));
        async move { store.acquire_lease(&key, ME, TTL, HighWater::default()).await.unwrap() }
    };
    assert_eq!(ask(9).await, LeaseReply::AlreadyDone);
    assert!(matches!(ask(10).await, LeaseReply::Acquired { .. }));
    let stale = RefusalRequest { lease: Lease { fence: 0, ..lease }, ..refusal };
    assert_eq!(store.record_refusal(&stale).await.unwrap(), RefusalReply::StaleFence);
}
