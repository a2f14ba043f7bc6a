//! The breaker on a store and a scorer of its own; time is told.

use super::*;
use crate::detection::event::BootId;
use crate::detection::features::FeatureSchema;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::AttemptRecord;
use crate::learning::artifact::tests::artifact;
use crate::serving::attempt_log::AttemptLog;
use crate::serving::scorer::ScorerParts;
use crate::serving::slot::{ModelSlot, ServedModel};
use crate::state::state_dir::StateDir;
use crate::store::Limits;
use crate::store::embedded::EmbeddedStore;
use crate::store::mode::FleetMode;
use crate::store::registry::ModelId;
use crate::supervisor::Supervisor;

const MINUTE: i64 = 60;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

struct Site {
    breaker: Breaker,
    requests: u64,
    _directory: tempfile::TempDir,
}

impl Site {
    /// A node that serves a model, and twelve users who have logged in, each from a network of its own.
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = Arc::new(ArcSwap::from_pointee(Config::default()));
        let metrics = Arc::new(Metrics::new("0"));
        let state = StateDir::open(&directory.path().join("state")).expect("writable");
        let path = directory.path().join("store.redb");
        let store = EmbeddedStore::open(path, Limits::default(), "mx1").expect("a new store");
        let slot = Arc::new(ModelSlot::new());
        let id = ModelId { lineage: [1; 16], generation: 1, sha256: [1; 32] };
        slot.swap(Some(Arc::new(ServedModel { id, artifact: artifact(1) })));
        let mode = Arc::new(LearningMode::default());
        let scorer = Scorer::new(ScorerParts {
            config: Arc::clone(&config),
            schema: Arc::new(crate::serving::schema::SchemaSlot::new(FeatureSchema::compat6())),
            geo: crate::serving::geo::GeoDatabases::default(),
            slot,
            mode: Arc::clone(&mode),
            pseudonymizer: Pseudonymizer::new([7; 32]),
            log: Arc::new(AttemptLog::new(BootId([1; 16]), 10_000, metrics.status().clone())),
            metrics: Arc::clone(&metrics),
        });
        let breaker = Breaker {
            config,
            store: Arc::new(store),
            scorer: Arc::new(scorer),
            mode,
            identity: Arc::new(Identity::open(&state, "mx1").expect("writable")),
            metrics,
            registry_changed: Arc::default(),
            status: Supervisor::new().statuses().task("breaker"),
            seen: None,
            untold: None,
        };
        let mut site = Self { breaker, requests: 0, _directory: directory };
        site.blocks(false);
        for user in 0..12 {
            site.attempt(0, user, Some(true));
        }
        site
    }

    /// Whether the model blocks everybody from now on, or nobody.
    fn blocks(&self, everybody: bool) {
        self.change(|config| config.ml.threshold = Some(if everybody { 1e-12 } else { 1.0 - 1e-12 }));
    }

    fn change(&self, change: impl FnOnce(&mut Config)) {
        let mut config = Config::clone(&self.breaker.config.load());
        change(&mut config);
        self.breaker.config.store(Arc::new(config));
    }

    fn attempt(&mut self, seconds: i64, user: usize, success: Option<bool>) {
        self.requests += 1;
        let record = |rest: &str| {
            let line = format!(
                "{{\"request_id\":\"r{}\",\"client_ip\":\"192.0.{user}.7\",\"username\":\"user{user}\"{rest}}}",
                self.requests
            );
            AttemptRecord::parse(line.as_bytes()).expect("a record")
        };
        self.breaker.scorer.score(record(""), at(seconds), 0).expect("scored");
        if let Some(success) = success {
            self.breaker.scorer.outcome(record(&format!(",\"success\":{success}")), at(seconds)).expect("taken");
        }
    }

    /// Two attempts of each user at home.
    fn round(&mut self, seconds: i64) {
        for user in (0..12).chain(0..12) {
            self.attempt(seconds, user, None);
        }
    }

    async fn look(&mut self, seconds: i64) -> Looked {
        self.breaker.look_once(at(seconds)).await.expect("the store answers")
    }

    async fn stored(&self) -> Option<FleetMode> {
        self.breaker.store.learning_mode().await.expect("readable")
    }

    /// What an operator does by command.
    async fn operator(&self, on: bool) {
        let origin = ModeOrigin::new(ModeCause::Operator, "alice", "");
        let change = ModeChange { on, origin, expected: None, history: None };
        let Ok(ModeReply::Set(mode)) = self.breaker.store.set_learning_mode(&change).await else { panic!("not set") };
        self.breaker.mode.set(mode);
    }
}

#[tokio::test]
async fn a_model_that_suddenly_blocks_users_at_home_is_switched_off_for_the_fleet_once() {
    let mut site = Site::new();
    site.round(MINUTE);
    assert!(matches!(site.look(MINUTE).await, Looked::Quiet(counts) if counts.attempts == 24 && counts.blocks == 0));

    site.blocks(true);
    site.round(20 * MINUTE);
    let Looked::Tripped(counts) = site.look(20 * MINUTE).await else { panic!("not tripped") };

    assert_eq!((counts.attempts, counts.blocks, counts.pairs, counts.baseline_attempts), (24, 24, 12, 24));
    let mode = site.stored().await.expect("set");
    let set = mode.set.clone().expect("with its origin");
    assert_eq!((mode.on, set.origin.cause, set.origin.by.as_str()), (true, ModeCause::Breaker, "mx1"));
    assert!(set.origin.reason.contains("24 of 24"), "{}", set.origin.reason);
    assert!(site.breaker.mode.switched_on());
    let history = site.breaker.store.history(10).await.expect("readable");
    let entry: serde_json::Value = serde_json::from_slice(&history[0]).expect("JSON");
    assert_eq!((history.len(), &entry["trigger"], &entry["outcome"]), (1, &"breaker".into(), &"learning_mode".into()));
    assert_eq!(site.look(20 * MINUTE).await, Looked::Idle, "there is nothing left to stop");
    assert!(site.breaker.metrics.render(None).contains("nauthilus_neural_breaker_trips_total 1\n"));
}

#[tokio::test]
async fn an_operator_who_goes_on_is_asked_again_only_by_what_happens_afterwards() {
    let mut site = Site::new();
    site.blocks(true);
    site.round(MINUTE);
    assert!(matches!(site.look(MINUTE).await, Looked::Tripped(_)));

    site.operator(false).await;
    let Looked::Quiet(counts) = site.look(2 * MINUTE).await else { panic!("it tripped on what it had said before") };
    assert_eq!((counts.attempts, counts.baseline_blocks), (0, 24));
    site.blocks(false);
    for minute in 3..200 {
        site.round(minute * MINUTE);
    }
    site.blocks(true);
    site.round(300 * MINUTE);

    assert!(matches!(site.look(300 * MINUTE).await, Looked::Tripped(_)), "it works on");
}

#[tokio::test]
async fn strangers_and_one_stale_device_trip_nothing() {
    let mut site = Site::new();
    site.blocks(true);
    for user in 20..60 {
        site.attempt(MINUTE, user, None);
        site.attempt(MINUTE, user, Some(false));
    }
    for second in 0..500 {
        site.attempt(MINUTE + second, 3, None);
    }

    let looked = site.look(10 * MINUTE).await;

    assert!(matches!(looked, Looked::Quiet(counts) if counts.pairs == 1), "{looked:?}");
    assert_eq!(site.stored().await, None);
}

#[tokio::test]
async fn it_is_idle_where_the_model_has_no_say_or_the_operator_wants_none() {
    for change in [
        (|config: &mut Config| config.ml.breaker = false) as fn(&mut Config),
        |config| config.ml.dry_run = true,
        |config| config.ml.enabled = false,
    ] {
        let mut site = Site::new();
        site.change(change);
        site.blocks(true);
        site.round(MINUTE);
        assert_eq!(site.look(MINUTE).await, Looked::Idle);
        assert_eq!(site.stored().await, None);
    }
}

#[tokio::test]
async fn a_setting_from_before_the_trip_that_this_node_had_not_read_is_no_answer_to_it() {
    const YEARS: i64 = 30 * 365 * 86_400;
    let mut site = Site::new();
    for user in 0..12 {
        site.attempt(YEARS, user, Some(true));
    }
    let origin = ModeOrigin::new(ModeCause::Operator, "alice", "");
    let change = ModeChange { on: false, origin, expected: None, history: None };
    site.breaker.store.set_learning_mode(&change).await.expect("set");
    site.blocks(true);
    site.round(YEARS + MINUTE);

    assert!(matches!(site.look(YEARS + MINUTE).await, Looked::Tripped(_)));

    assert!(site.stored().await.is_some_and(|mode| mode.on));
}

#[tokio::test]
async fn whoever_was_faster_is_not_overridden() {
    let mut site = Site::new();
    site.blocks(true);
    site.round(MINUTE);
    // Set in the store; this node has not read it yet.
    let origin = ModeOrigin::new(ModeCause::Operator, "alice", "");
    let change = ModeChange { on: false, origin, expected: None, history: None };
    site.breaker.store.set_learning_mode(&change).await.expect("set");

    assert_eq!(site.look(MINUTE).await, Looked::Overtaken);

    assert!(site.stored().await.is_some_and(|mode| !mode.on));
    assert!(site.breaker.store.history(10).await.expect("readable").is_empty());
    assert_eq!(site.breaker.untold, None);
}
