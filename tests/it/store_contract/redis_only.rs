//! What only a server can show: outages, permissions, strangers.

use super::*;
use crate::support::redis::RedisSetup;
use crate::support::wire::Wire;

#[tokio::test]
async fn an_idle_subscriber_comes_back_after_a_restart_and_the_data_is_there() {
    let mut server = RedisServer::start_with(RedisSetup { append_only: true, ..RedisSetup::default() });
    let redis = redis_store(&server);
    let store: Shared = redis.clone();
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    publish(&store, 1).await;
    next_announcement(&mut signals).await;
    store.append_feedback("a", b"1").await.unwrap();

    server.kill();
    assert_eq!(next_signal(&mut signals).await, Signal::Lost);
    eventually("the outage is noticed", SOON, || async {
        if redis.connected() { Err("connected".to_owned()) } else { Ok(()) }
    })
    .await;
    let asked = std::time::Instant::now();
    assert!(matches!(store.registry().await, Err(StoreError::Unavailable { .. })));
    assert!(asked.elapsed() < Duration::from_secs(2), "calls fail fast");
    server.restart();

    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    eventually("the store is connected again", SOON, || async {
        if redis.connected() { Ok(()) } else { Err("not connected".to_owned()) }
    })
    .await;
    assert_eq!(store.registry().await.unwrap().generation, 1);
    assert_eq!(store.model([1; 32]).await.unwrap(), Some(vec![1; 100]));
    assert_eq!(store.read_feedback(Position::START, 10).await.unwrap().len(), 1);
    nothing_else(&store, &mut signals).await;
}

#[tokio::test]
async fn a_store_starts_before_its_server() {
    let mut server = RedisServer::start();
    server.stop();
    let redis = redis_store(&server);
    let mut signals = redis.subscribe();
    assert!(matches!(redis.ping().await, Err(StoreError::Unavailable { .. })));
    assert!(!redis.connected());

    server.restart();

    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    eventually("the first command works", SOON, || async { redis.ping().await.map_err(|error| error.to_string()) })
        .await;
}

#[tokio::test]
async fn a_half_open_connection_is_replaced() {
    let server = RedisServer::start();
    let redis = redis_store(&server);
    let mut signals = redis.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    redis.ping().await.unwrap();

    server.freeze();
    let lost = tokio::time::timeout(Duration::from_secs(35), signals.recv()).await;
    assert_eq!(lost, Ok(Some(Signal::Lost)));
    let asked = std::time::Instant::now();
    assert!(matches!(redis.ping().await, Err(StoreError::Unavailable { .. })));
    assert!(asked.elapsed() < Duration::from_secs(2), "calls fail fast while the server is frozen");
    server.thaw();

    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    eventually("commands work again", SOON, || async { redis.ping().await.map_err(|error| error.to_string()) }).await;
}

/// What people order, and words that only the request has in it which orders it.
const ORDERS: [(&str, &str); 9] = [
    ("mode", "}:history"),
    ("override", "}:overrides"),
    ("feedback", "}:feedback"),
    ("features", "}:history"),
    ("reset", "}:history"),
    ("rollback", "}:history"),
    ("claim", "}:claims"),
    ("discard", "}:history"),
    ("publish", "}:history"),
];

async fn give(store: &Shared, order: &str) -> Result<(), StoreError> {
    match order {
        "mode" => store.set_learning_mode(&change(true, ModeCause::Operator, None)).await.map(drop),
        "override" => store.change_overrides(&OverridesChange::Put(self::order(1, 3_600_000))).await.map(drop),
        "feedback" => store.append_feedback("f", b"1").await.map(drop),
        "features" => {
            let change = FeaturesChange { before: None, after: b"list".to_vec(), reset: None };
            store.change_features(&change).await.map(drop)
        }
        "reset" => store.reset("alice", LINEAGE).await.map(drop),
        "rollback" => store.rollback(None, "alice").await.map(drop),
        "claim" => store.claim_command("c", ME, TTL).await.map(drop),
        "discard" => store.discard_candidate(b"{}", "alice").await.map(drop),
        "publish" => {
            let lease = Lease { holder: ME, fence: 1 };
            store.publish(&request(lease, "a", Parent::default(), 1), &[1; 100]).await.map(drop)
        }
        _ => panic!("no such order"),
    }
}

/// Teaches a server every script: one that has to be sent once more cannot be carried out late.
async fn teach(server: &RedisServer) {
    let prefix = KeyPrefix::new("taught:").unwrap();
    let options = RedisOptions { url: server.url(), prefix, ..RedisOptions::default() };
    let elsewhere: Shared = RedisStore::connect(&options, limits()).unwrap();
    for (order, _) in ORDERS {
        give(&elsewhere, order).await.unwrap_or_else(|error| panic!("{order}: {error}"));
    }
}

#[tokio::test]
async fn an_order_that_a_frozen_server_was_not_given_is_never_carried_out() {
    let server = RedisServer::start();
    teach(&server).await;
    let store: Shared = redis_store(&server);
    store.ping().await.unwrap();

    server.freeze();
    let mut given = tokio::task::JoinSet::new();
    for (order, _) in ORDERS {
        let store = Arc::clone(&store);
        given.spawn(async move { (order, give(&store, order).await) });
    }
    let answers = given.join_all().await;
    server.thaw();

    for (order, answer) in answers {
        assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{order}: {answer:?}");
    }
    eventually("commands work again", SOON, || async { store.ping().await.map_err(|error| error.to_string()) }).await;
    assert_eq!(server.query(&["KEYS", "nt:*"]).await, "array([])");
}

#[tokio::test]
async fn an_order_without_an_answer_is_open_and_changes_nothing_when_it_arrives_late() {
    let server = RedisServer::start();
    teach(&server).await;
    let mut given = tokio::task::JoinSet::new();
    // The deadline of a model is later than the end of its connection, so it may still come in time.
    for (order, words) in ORDERS.into_iter().filter(|(order, _)| *order != "publish") {
        let wire = Wire::to(server.port()).await;
        let options = RedisOptions { url: wire.url(), ..RedisOptions::default() };
        let store: Shared = RedisStore::connect(&options, limits()).unwrap();
        store.ping().await.unwrap();
        wire.hold(words);
        given.spawn(async move { (order, give(&store, order).await, wire) });
    }

    for (order, answer, wire) in given.join_all().await {
        assert!(matches!(answer, Err(StoreError::Unanswered { .. })), "{order}: {answer:?}");
        wire.let_go();
        eventually("the server has said that it is late", SOON, || async {
            if wire.heard("-LATE ") { Ok(()) } else { Err(order.to_owned()) }
        })
        .await;
    }
    assert_eq!(server.query(&["KEYS", "nt:*"]).await, "array([])");
}

#[tokio::test]
async fn a_short_pause_costs_an_order_nothing_but_time() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    let (mode, order) = (change(true, ModeCause::Operator, None), OverridesChange::Put(order(1, 3_600_000)));
    store.set_learning_mode(&mode).await.unwrap();
    store.change_overrides(&order).await.unwrap();

    server.pause_writing(Duration::from_secs(3)).await;
    let (in_time, also) = tokio::join!(store.set_learning_mode(&mode), store.change_overrides(&order));

    assert!(in_time.is_ok() && also.is_ok(), "a short pause costs nothing but time: {in_time:?} {also:?}");
}

#[tokio::test]
async fn a_quiet_subscription_is_probed_and_stays() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    eventually("the subscription is pinged", Duration::from_secs(30), || async {
        let clients = server.query(&["CLIENT", "LIST", "TYPE", "pubsub"]).await;
        if clients.contains("cmd=ping") { Ok(()) } else { Err(clients) }
    })
    .await;

    nothing_else(&store, &mut signals).await;
}

#[tokio::test]
async fn calls_do_not_pile_up_while_the_server_is_away() {
    let mut server = RedisServer::start();
    let redis = redis_store(&server);
    redis.ping().await.unwrap();
    server.kill();
    eventually("the outage is noticed", SOON, || async {
        if redis.connected() { Err("connected".to_owned()) } else { Ok(()) }
    })
    .await;

    let asked = std::time::Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let redis = Arc::clone(&redis);
        calls.spawn(async move { redis.append_feedback("a", b"1").await });
    }

    for answer in calls.join_all().await {
        assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
    }
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_wrong_password_is_for_a_person_to_mend() {
    let password = Some("right".to_owned());
    let server = RedisServer::start_with(RedisSetup { password: password.clone(), ..RedisSetup::default() });
    let connect = |password| {
        let options = RedisOptions { url: server.url(), password, ..RedisOptions::default() };
        RedisStore::connect(&options, limits()).unwrap()
    };

    for wrong in [None, Some("wrong".to_owned())] {
        let refused = connect(wrong).ping().await;
        assert!(
            matches!(&refused, Err(StoreError::Refused { remedy, .. }) if remedy.contains("password")),
            "{refused:?}"
        );
    }
    connect(password).ping().await.unwrap();
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let server = RedisServer::start();
    server.query(&["ACL", "SETUSER", "narrow", "on", "nopass", "~nt:*", "&*", "+ping", "+get", "+hello"]).await;
    let options = RedisOptions {
        url: server.url(),
        username: Some("narrow".to_owned()),
        password: Some("x".to_owned()),
        ..RedisOptions::default()
    };
    let store = RedisStore::connect(&options, limits()).unwrap();

    let refused = store.registry().await.unwrap_err().to_string();

    assert!(refused.contains("narrow") && refused.contains("evalsha"), "{refused}");
}

#[tokio::test]
async fn a_foreign_key_stops_a_publish_before_it_writes() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    let lease = lease(&store, "a").await;
    server.query(&["SET", "nt:{neural}:history", "planted"]).await;

    let answer = store.publish(&request(lease, "a", Parent::default(), 1), &[1]).await;

    assert!(matches!(&answer, Err(StoreError::Corrupt { what, .. }) if what.contains("history")), "{answer:?}");
    assert_eq!(store.registry().await.unwrap().generation, 0);
    assert_eq!(store.model([1; 32]).await.unwrap(), None);
}

#[tokio::test]
async fn scripts_survive_a_flushed_script_cache() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    publish(&store, 1).await;

    server.query(&["SCRIPT", "FLUSH"]).await;

    publish(&store, 2).await;
}

#[tokio::test]
async fn a_silent_node_is_forgotten() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    let old = r#"1000 {"name":"old","node_id":"","boot_id":"9","version":"","model":null}"#;
    server.query(&["HSET", "nt:{neural}:nodes", "9", old]).await;

    assert_eq!(store.nodes().await.unwrap(), []);
    let report = NodeReport {
        name: "new".to_owned(),
        node_id: String::new(),
        boot_id: "1".to_owned(),
        version: String::new(),
        model: None,
        seen_at_ms: 0,
    };
    store.report_node(&report).await.unwrap();

    assert_eq!(server.query(&["HLEN", "nt:{neural}:nodes"]).await, "int(1)");
}

#[tokio::test]
async fn a_lost_blob_is_put_back_and_announced() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    let model = publish(&store, 1).await.model;
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    server.query(&["DEL", &format!("nt:{{neural}}:model:{}", hex::encode(model.sha256))]).await;

    assert!(store.restore(model, &[1; 100]).await.unwrap());

    assert_eq!(next_announcement(&mut signals).await.generation, 1);
    assert_eq!(store.model(model.sha256).await.unwrap(), Some(vec![1; 100]));
}

#[tokio::test]
async fn a_large_announcement_of_a_stranger_is_not_kept() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    server.query(&["PUBLISH", "nt:{neural}:announcements", &"x".repeat(ANNOUNCEMENT_MAX + 1)]).await;

    let expected = Signal::Oversized { channel: "announcements", bytes: ANNOUNCEMENT_MAX + 1 };
    assert_eq!(next_signal(&mut signals).await, expected);
}

#[tokio::test]
async fn a_reply_goes_to_its_channel_but_never_to_ours() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    assert_eq!(store.claim_command("c", ME, TTL).await.unwrap(), Claim::Won);

    let looped = store.finish_command("c", b"{}", Some("nt:{neural}:commands")).await;

    assert!(matches!(looped, Err(StoreError::Refused { .. })));
    assert_eq!(store.claim_command("c", ME, TTL).await.unwrap(), Claim::Done(b"{}".to_vec()));
}

#[tokio::test]
async fn a_strangers_entry_does_not_stop_the_readers() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    store.append_attempts(&[entry(1)]).await.unwrap();
    server.query(&["XADD", "nt:{neural}:attempts", "*", "foreign", "field"]).await;
    store.append_attempts(&[entry(2)]).await.unwrap();

    let read: Vec<_> = store.read_attempts(Position::START, 10).await.unwrap().into_iter().map(|e| e.1).collect();

    assert_eq!(read, [entry(1).event, Vec::new(), entry(2).event]);
}

#[tokio::test]
async fn a_mode_of_an_older_version_is_read_and_replaced_and_a_foreign_one_is_named() {
    let server = RedisServer::start();
    let store: Shared = redis_store(&server);
    for (bare, on) in [("1", true), ("0", false)] {
        server.query(&["SET", "nt:{neural}:mode", bare]).await;
        let read = store.learning_mode().await.unwrap().expect("set");
        assert_eq!(read, FleetMode { on, set: None });
        let stamp = ModeStamp::of(Some(&read));
        set(&store, &change(!on, ModeCause::Breaker, Some(stamp))).await;
        assert!(store.learning_mode().await.unwrap().is_some_and(|mode| mode.on != on && mode.set.is_some()));
    }

    server.query(&["SET", "nt:{neural}:mode", "maybe"]).await;
    assert!(matches!(store.learning_mode().await, Err(StoreError::Corrupt { what, .. }) if what.contains("mode")));
    set(&store, &change(true, ModeCause::Operator, None)).await;
    assert!(store.learning_mode().await.unwrap().is_some_and(|mode| mode.on), "an operator may replace it");
}
