//! One set of promises, kept by both stores; what only one of them can show has a file of its own.

mod attempts;
mod embedded_only;
mod fleet_state;
mod messages;
mod models;
mod overrides;
mod publishing;
mod redis_only;

use std::sync::Arc;
use std::time::Duration;

use nauthilus_neural::detection::additional::LIST_BYTES_MAX;
use nauthilus_neural::detection::event::BootId;
use nauthilus_neural::store::candidate::Candidate;
use nauthilus_neural::store::embedded::EmbeddedStore;
use nauthilus_neural::store::entry::{Announcement, AnnouncementKind, BATCH_MAX, ENTRY_MAX};
use nauthilus_neural::store::keys::KeyPrefix;
use nauthilus_neural::store::mode::{
    EndOfLearning, FleetMode, ModeCause, ModeChange, ModeOrigin, ModeReply, ModeStamp,
};
use nauthilus_neural::store::overrides::OverridesChange;
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

use self::attempts::*;
use self::fleet_state::*;
use self::messages::*;
use self::models::*;
use self::overrides::*;
use self::publishing::*;
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
    samples_without_an_attempt_compete_like_others_and_stand_once,
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
    an_order_is_put_replaced_taken_back_and_announced,
    what_has_ended_is_swept_out_quietly,
    orders_are_put_back_only_into_a_store_that_knows_of_none,
    orders_are_bounded_and_ended_ones_make_room,
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
