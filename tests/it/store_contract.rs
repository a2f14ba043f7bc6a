//! One set of promises, kept by both stores; what only one of them can show has a file of its own.

mod embedded_only;
mod redis_only;

use std::sync::Arc;
use std::time::Duration;

use nauthilus_neural::detection::additional::LIST_BYTES_MAX;
use nauthilus_neural::detection::event::BootId;
use nauthilus_neural::store::candidate::Candidate;
use nauthilus_neural::store::embedded::EmbeddedStore;
use nauthilus_neural::store::entry::{Announcement, AnnouncementKind, BATCH_MAX, ENTRY_MAX};
use nauthilus_neural::store::mode::{
    EndOfLearning, FleetMode, ModeCause, ModeChange, ModeOrigin, ModeReply, ModeStamp,
};
use nauthilus_neural::store::redis::{RedisOptions, RedisStore};
use nauthilus_neural::store::registry::{
    HighWater, Lease, LeaseReply, ModelId, Parent, PublishReply, PublishRequest, RefusalReply, RefusalRequest,
    RollbackReply, TriggerKey,
};
use nauthilus_neural::store::{
    ANNOUNCEMENT_MAX, AttemptEntry, AuditEntry, COMMAND_MAX, Claim, FeaturesChange, FeaturesReply, FeedbackAppended,
    Limits, MODEL_MAX, NodeReport, Position, Relabel, SampleClass, SampleEntry, Signal, Store, StoreError,
};
use tokio::sync::mpsc;

use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;

type Shared = Arc<dyn Store>;

const SOON: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(30);
const ME: BootId = BootId([1; 16]);
const OTHER: BootId = BootId([2; 16]);
const LINEAGE: [u8; 16] = [7; 16];

fn limits() -> Limits {
    Limits { attempts_max: 300, samples_per_class: 5, feedback_max: 4, models_kept: 2, ..Limits::default() }
}

/// Runs one promise on both stores.
macro_rules! on_both_stores {
    ($($promise:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("store.redb");
                let store = super::EmbeddedStore::open(path, super::limits(), "node-a").unwrap();
                super::$promise(std::sync::Arc::new(store)).await;
            })+
        }

        mod redis {
            $(#[tokio::test]
            async fn $promise() {
                let server = super::RedisServer::start();
                super::$promise(super::redis_store(&server)).await;
            })+
        }
    };
}

on_both_stores!(
    attempts_come_back_in_order,
    attempts_are_trimmed_and_batches_bounded,
    the_reservoir_keeps_the_smallest_keys,
    a_sample_is_relabelled_in_place_and_once,
    feedback_is_recorded_once_and_never_over_the_limit,
    one_lease_at_a_time_and_growing_fences,
    a_lease_lapses_and_its_holder_cannot_renew,
    a_publish_stores_moves_and_announces_once,
    a_lost_answer_to_a_publish_is_made_up_for,
    a_late_or_misinformed_publish_is_refused,
    a_refusal_marks_feedback_as_considered,
    a_reset_leaves_no_model,
    a_rollback_pins_and_refuses_automatic_trainings,
    a_model_that_was_lost_is_restored,
    old_blobs_go_and_the_current_stays,
    history_is_newest_first,
    the_list_of_features_is_exchanged_and_never_overwritten,
    a_list_that_goes_takes_the_model_with_it_in_one_step,
    learning_mode_is_fleet_state,
    a_mode_that_somebody_else_set_is_left_alone,
    a_publish_ends_the_learning_mode_that_it_was_trained_in_and_no_other,
    a_candidate_waits_until_a_later_one_a_model_or_a_person_takes_it_away,
    nodes_report_themselves,
    a_command_is_executed_by_one,
    the_audit_trail_takes_entries,
    subscribers_hear_commands_and_never_large_messages,
    what_is_too_large_is_refused,
);

fn redis_store(server: &RedisServer) -> Arc<RedisStore> {
    let options = RedisOptions { url: server.url(), origin: "node-a".to_owned(), ..RedisOptions::default() };
    RedisStore::connect(&options, limits()).unwrap()
}

fn entry(number: u32) -> AttemptEntry {
    AttemptEntry { event: number.to_be_bytes().to_vec(), sample: None }
}

fn trigger(id: &str) -> TriggerKey {
    TriggerKey::Command { id: id.to_owned() }
}

async fn lease(store: &Shared, id: &str) -> Lease {
    match store.acquire_lease(&trigger(id), ME, TTL, HighWater::default()).await.unwrap() {
        LeaseReply::Acquired { lease, registry } => {
            assert_eq!(registry.fence, lease.fence);
            lease
        }
        other => panic!("the lease is free, but: {other:?}"),
    }
}

fn request(lease: Lease, id: &str, parent: Parent, content: u8) -> PublishRequest {
    PublishRequest {
        lease,
        trigger: trigger(id),
        parent,
        model: ModelId { lineage: LINEAGE, generation: parent.generation + 1, sha256: [content; 32] },
        format: 1,
        watermark: Position { major: 5, minor: 1 },
        by_operator: false,
        history: format!("{{\"trigger\":\"{id}\"}}").into_bytes(),
        origin: "node-b".to_owned(),
        ends_learning: None,
    }
}

/// Trains and publishes `content`; gives the lease back.
async fn publish(store: &Shared, content: u8) -> PublishRequest {
    let id = format!("train-{content}");
    let lease = lease(store, &id).await;
    let registry = store.registry().await.unwrap();
    let parent = Parent { generation: registry.generation, sha256: registry.sha256 };
    let request = request(lease, &id, parent, content);
    assert_eq!(store.publish(&request, &[content; 100]).await.unwrap(), PublishReply::Published);
    store.release_lease(lease).await.unwrap();
    request
}

async fn next_signal(signals: &mut mpsc::Receiver<Signal>) -> Signal {
    tokio::time::timeout(SOON, signals.recv()).await.expect("a signal comes").expect("the store lives")
}

async fn next_announcement(signals: &mut mpsc::Receiver<Signal>) -> Announcement {
    match next_signal(signals).await {
        Signal::Announcement(bytes) => Announcement::decode(&bytes).expect("an announcement reads"),
        other => panic!("an announcement was expected, not {other:?}"),
    }
}

/// Everything sent before now has arrived: a command behind it is next.
async fn nothing_else(store: &Shared, signals: &mut mpsc::Receiver<Signal>) {
    store.send_command(b"marker").await.unwrap();
    assert_eq!(next_signal(signals).await, Signal::Command(b"marker".to_vec()));
}

async fn attempts_come_back_in_order(store: Shared) {
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

async fn attempts_are_trimmed_and_batches_bounded(store: Shared) {
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

async fn the_reservoir_keeps_the_smallest_keys(store: Shared) {
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

async fn a_sample_is_relabelled_in_place_and_once(store: Shared) {
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

async fn feedback_is_recorded_once_and_never_over_the_limit(store: Shared) {
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

async fn one_lease_at_a_time_and_growing_fences(store: Shared) {
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

async fn a_lease_lapses_and_its_holder_cannot_renew(store: Shared) {
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

async fn a_publish_stores_moves_and_announces_once(store: Shared) {
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

async fn a_lost_answer_to_a_publish_is_made_up_for(store: Shared) {
    let request = publish(&store, 1).await;
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    assert_eq!(store.publish(&request, &[1; 100]).await.unwrap(), PublishReply::AlreadyPublished);

    nothing_else(&store, &mut signals).await;
    assert_eq!(store.history(10).await.unwrap().len(), 1);
}

async fn a_late_or_misinformed_publish_is_refused(store: Shared) {
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

async fn a_refusal_marks_feedback_as_considered(store: Shared) {
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

async fn a_reset_leaves_no_model(store: Shared) {
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

async fn a_rollback_pins_and_refuses_automatic_trainings(store: Shared) {
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

async fn a_model_that_was_lost_is_restored(store: Shared) {
    let model = ModelId { lineage: LINEAGE, generation: 12, sha256: [3; 32] };
    assert!(store.restore(model, &[3; 10]).await.unwrap());
    assert!(!store.restore(model, &[3; 10]).await.unwrap());
    let registry = store.registry().await.unwrap();
    assert_eq!((registry.lineage, registry.generation, registry.sha256), (Some(LINEAGE), 12, Some([3; 32])));
    assert_eq!(store.model([3; 32]).await.unwrap(), Some(vec![3; 10]));
    let other = ModelId { generation: 13, sha256: [4; 32], ..model };
    assert!(!store.restore(other, &[4]).await.unwrap());
}

async fn old_blobs_go_and_the_current_stays(store: Shared) {
    for content in 1..=5 {
        publish(&store, content).await;
    }

    for (content, kept) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
        assert_eq!(store.model([content; 32]).await.unwrap().is_some(), kept, "model {content}");
    }
    assert_eq!(store.rollback(Some(1), "admin").await.unwrap(), RollbackReply::NotFound);
}

async fn history_is_newest_first(store: Shared) {
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

fn exchange(before: Option<&[u8]>, after: &[u8]) -> FeaturesChange {
    FeaturesChange { before: before.map(<[u8]>::to_vec), after: after.to_vec(), reset: None }
}

async fn the_list_of_features_is_exchanged_and_never_overwritten(store: Shared) {
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

async fn a_list_that_goes_takes_the_model_with_it_in_one_step(store: Shared) {
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
fn change(on: bool, cause: ModeCause, expected: Option<ModeStamp>) -> ModeChange {
    ModeChange { on, origin: ModeOrigin::new(cause, "alice", "because"), expected, history: None }
}

async fn set(store: &Shared, change: &ModeChange) -> FleetMode {
    match store.set_learning_mode(change).await.unwrap() {
        ModeReply::Set(mode) => mode,
        ModeReply::Conflict => panic!("nothing was expected"),
    }
}

async fn learning_mode_is_fleet_state(store: Shared) {
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

async fn a_mode_that_somebody_else_set_is_left_alone(store: Shared) {
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

async fn a_publish_ends_the_learning_mode_that_it_was_trained_in_and_no_other(store: Shared) {
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
async fn candidate(store: &Shared, id: &str) -> Candidate {
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

async fn a_candidate_waits_until_a_later_one_a_model_or_a_person_takes_it_away(store: Shared) {
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

async fn nodes_report_themselves(store: Shared) {
    let report = |name: &str, boot_id: &str| NodeReport {
        name: name.to_owned(),
        node_id: "id".to_owned(),
        boot_id: boot_id.to_owned(),
        version: "0.1.0".to_owned(),
        model: Some(ModelId { lineage: LINEAGE, generation: 1, sha256: [1; 32] }),
        seen_at_ms: 0,
    };
    store.report_node(&report("b", "2")).await.unwrap();
    store.report_node(&report("a", "1")).await.unwrap();
    store.report_node(&report("a", "1")).await.unwrap();

    let nodes = store.nodes().await.unwrap();

    assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(nodes.iter().all(|node| node.seen_at_ms > 0));
    assert_eq!(NodeReport { seen_at_ms: 0, ..nodes[0].clone() }, report("a", "1"));
}

async fn a_command_is_executed_by_one(store: Shared) {
    assert_eq!(store.claim_command("c1", ME, TTL).await.unwrap(), Claim::Won);
    assert_eq!(store.claim_command("c1", OTHER, TTL).await.unwrap(), Claim::Lost);
    store.finish_command("c1", b"{}", Some("replies")).await.unwrap();
    assert_eq!(store.claim_command("c1", OTHER, TTL).await.unwrap(), Claim::Done(b"{}".to_vec()));

    assert_eq!(store.claim_command("c2", ME, Duration::from_millis(20)).await.unwrap(), Claim::Won);
    eventually("a claim lapses", SOON, || async {
        match store.claim_command("c2", OTHER, TTL).await.map_err(|error| error.to_string())? {
            Claim::Won => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for bad in ["", "a b", &"x".repeat(1000)] {
        assert!(matches!(store.claim_command(bad, ME, TTL).await, Err(StoreError::Refused { .. })));
    }
}

async fn the_audit_trail_takes_entries(store: Shared) {
    let entry = AuditEntry {
        at_ms: 1,
        node: "a".to_owned(),
        who: "admin".to_owned(),
        command: "reset".to_owned(),
        outcome: "ok".to_owned(),
    };
    store.append_audit(&entry).await.unwrap();
    store.append_audit(&entry).await.unwrap();
}

async fn subscribers_hear_commands_and_never_large_messages(store: Shared) {
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    store.send_command(&vec![b'x'; COMMAND_MAX]).await.unwrap();
    store.send_command(&vec![b'x'; COMMAND_MAX + 1]).await.unwrap();

    assert_eq!(next_signal(&mut signals).await, Signal::Command(vec![b'x'; COMMAND_MAX]));
    let oversized = Signal::Oversized { channel: "commands", bytes: COMMAND_MAX + 1 };
    assert_eq!(next_signal(&mut signals).await, oversized);
    nothing_else(&store, &mut signals).await;
}

async fn what_is_too_large_is_refused(store: Shared) {
    let lease = lease(&store, "a").await;
    let request = request(lease, "a", Parent::default(), 1);

    let refused = store.publish(&request, &vec![0; MODEL_MAX + 1]).await;

    assert!(matches!(refused, Err(StoreError::Refused { .. })));
    assert_eq!(store.publish(&request, &vec![0; MODEL_MAX]).await.unwrap(), PublishReply::Published);
    assert_eq!(store.model([1; 32]).await.unwrap().map(|blob| blob.len()), Some(MODEL_MAX));
}
