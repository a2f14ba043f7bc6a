//! What becomes of models: reset, rollback, restoring, old blobs and the history.

use super::*;

pub(super) async fn a_reset_leaves_no_model(store: Shared) {
    let empty = store.reset("admin", LINEAGE).await.unwrap();
    assert_eq!((empty.lineage, empty.generation), (LINEAGE, 1));
    let published = publish(&store, 1).await;
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    let reply = store.reset("admin", [9; 16]).await.unwrap();

    assert_eq!((reply.lineage, reply.generation), (LINEAGE, 3));
    let registry = store.registry().await.unwrap();
    assert_eq!((registry.generation, registry.sha256, registry.watermark), (3, None, published.watermark));
    let announcement = next_announcement(&mut signals).await;
    assert_eq!((announcement.kind, announcement.generation), (AnnouncementKind::Reset, 3));
    assert_eq!((announcement.sha256, announcement.origin.as_str()), (None, "node-a"));
    nothing_else(&store, &mut signals).await;
    publish(&store, 2).await;
}

pub(super) async fn a_rollback_pins_and_refuses_automatic_trainings(store: Shared) {
    assert_eq!(store.rollback(None, "admin").await.unwrap(), RollbackReply::NotFound);
    publish(&store, 1).await;
    assert_eq!(store.rollback(None, "admin").await.unwrap(), RollbackReply::NotFound);
    let second = publish(&store, 2).await;
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    let expected = ModelId { lineage: LINEAGE, generation: 3, sha256: [1; 32] };
    assert_eq!(store.rollback(None, "admin").await.unwrap(), RollbackReply::RolledBack(expected));

    assert_eq!(next_announcement(&mut signals).await.generation, 3);
    nothing_else(&store, &mut signals).await;
    let registry = store.registry().await.unwrap();
    assert!(registry.pinned);
    assert_eq!((registry.generation, registry.sha256), (3, Some([1; 32])));
    assert_eq!(registry.watermark, second.watermark);
    let lease = lease(&store, "auto").await;
    let parent = Parent { generation: 3, sha256: Some([1; 32]) };
    let automatic = request(lease, "auto", parent, 5);
    assert_eq!(store.publish(&automatic, &[5]).await.unwrap(), PublishReply::Pinned);
    let asked = PublishRequest { by_operator: true, ..automatic };
    assert_eq!(store.publish(&asked, &[5]).await.unwrap(), PublishReply::Published);
    assert!(!store.registry().await.unwrap().pinned);
    let explicit = ModelId { lineage: LINEAGE, generation: 5, sha256: [2; 32] };
    assert_eq!(store.rollback(Some(2), "admin").await.unwrap(), RollbackReply::RolledBack(explicit));
    assert_eq!(store.rollback(Some(77), "admin").await.unwrap(), RollbackReply::NotFound);
}

pub(super) async fn a_model_that_was_lost_is_restored(store: Shared) {
    let model = ModelId { lineage: LINEAGE, generation: 12, sha256: [3; 32] };
    assert!(store.restore(model, &[3; 10]).await.unwrap());
    assert!(!store.restore(model, &[3; 10]).await.unwrap());
    let registry = store.registry().await.unwrap();
    assert_eq!((registry.lineage, registry.generation, registry.sha256), (Some(LINEAGE), 12, Some([3; 32])));
    assert_eq!(store.model([3; 32]).await.unwrap(), Some(vec![3; 10]));
    let other = ModelId { generation: 13, sha256: [4; 32], ..model };
    assert!(!store.restore(other, &[4]).await.unwrap());
}

pub(super) async fn old_blobs_go_and_the_current_stays(store: Shared) {
    for content in 1..=5 {
        publish(&store, content).await;
    }

    for (content, kept) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
        assert_eq!(store.model([content; 32]).await.unwrap().is_some(), kept, "model {content}");
    }
    assert_eq!(store.rollback(Some(1), "admin").await.unwrap(), RollbackReply::NotFound);
}

pub(super) async fn history_is_newest_first(store: Shared) {
    publish(&store, 1).await;
    publish(&store, 2).await;
    store.reset("admin", LINEAGE).await.unwrap();

    let history: Vec<serde_json::Value> =
        store.history(10).await.unwrap().iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect();

    let outcomes: Vec<_> = history.iter().map(|entry| entry["store"]["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["reset", "published", "published"]);
    assert_eq!(history[0]["by"], "admin");
    assert_eq!(history[0]["store"]["sha256"], serde_json::Value::Null);
    assert_eq!(history[1]["trigger"], "train-2");
    assert_eq!(history[1]["store"]["generation"], 2);
    assert_eq!(history[1]["store"]["lineage"], hex::encode(LINEAGE));
    assert!(history[1]["store"]["at_ms"].as_i64().unwrap() > 0);
    assert_eq!(store.history(1).await.unwrap().len(), 1);
}
