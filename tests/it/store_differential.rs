//! The scripts of the Redis store against the pure rules of the embedded one: the same random requests must get the
//! same answers and lead to the same registry.

use std::sync::Arc;
use std::time::Duration;

use nauthilus_neural::detection::event::BootId;
use nauthilus_neural::store::embedded::EmbeddedStore;
use nauthilus_neural::store::redis::{RedisOptions, RedisStore};
use nauthilus_neural::store::registry::{
    COMMANDS_MAX, HighWater, KEPT_MAX, Lease, LeaseReply, ModelId, Parent, PublishRequest, RefusalRequest, Registry,
    TriggerKey,
};
use nauthilus_neural::store::{Limits, Position, Store};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::support::redis::RedisServer;

/// Long enough that no lease lapses by itself during the test.
const TTL: Duration = Duration::from_secs(3600);
const LINEAGES: [[u8; 16]; 2] = [[1; 16], [2; 16]];

/// One request, made from what both stores hold.
#[derive(Debug, Clone)]
enum Step {
    Acquire(TriggerKey, BootId, HighWater),
    Renew(Lease),
    Release(Lease),
    Publish(PublishRequest),
    Refuse(RefusalRequest),
    Reset([u8; 16]),
    Rollback(Option<u64>),
    Restore(ModelId),
    Model([u8; 32]),
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn position(&mut self) -> Position {
        Position { major: self.below(12), minor: self.below(3) }
    }

    fn trigger(&mut self) -> TriggerKey {
        match self.below(3) {
            0 => {
                TriggerKey::Schedule { name: format!("schedule-{}", self.below(2)), slot_ms: self.below(30) as i64 - 5 }
            }
            1 => TriggerKey::Feedback { upto: self.position() },
            _ => TriggerKey::Command { id: format!("command {}", self.below(120)) },
        }
    }

    fn boot(&mut self) -> BootId {
        BootId([self.below(3) as u8; 16])
    }

    fn lease(&mut self, registry: &Registry) -> Lease {
        // Mostly the newest fence, sometimes one of the last ones, sometimes one of the future.
        let fence = match self.below(10) {
            0 => registry.fence.saturating_sub(self.below(4)),
            1 => registry.fence + self.below(3),
            _ => registry.fence,
        };
        Lease { holder: self.boot(), fence }
    }

    fn content(&mut self) -> [u8; 32] {
        [self.below(9) as u8; 32]
    }

    fn model(&mut self, registry: &Registry) -> ModelId {
        let lineage = match registry.lineage {
            Some(lineage) if self.chance(90) => lineage,
            _ => LINEAGES[self.below(2) as usize],
        };
        let generation = match self.below(10) {
            0 => registry.generation,
            1 => registry.generation + 5,
            _ => registry.generation + 1,
        };
        ModelId { lineage, generation, sha256: self.content() }
    }

    fn step(&mut self, registry: &Registry) -> Step {
        let history = format!("{{\"n\":{}}}", self.below(1000)).into_bytes();
        match self.below(16) {
            0..=3 => {
                let fence = if self.chance(10) { registry.fence + self.below(5) } else { 0 };
                Step::Acquire(self.trigger(), self.boot(), HighWater { fence, generation: 0 })
            }
            4 => Step::Renew(self.lease(registry)),
            5 | 6 => Step::Release(self.lease(registry)),
            7..=10 => {
                let parent = if self.chance(85) {
                    Parent { generation: registry.generation, sha256: registry.sha256 }
                } else {
                    Parent { generation: self.below(5), sha256: Some(self.content()) }
                };
                let model = if self.chance(5) {
                    // A repeated publish.
                    ModelId {
                        lineage: registry.lineage.unwrap_or_default(),
                        generation: registry.generation,
                        sha256: registry.sha256.unwrap_or_default(),
                    }
                } else {
                    self.model(registry)
                };
                Step::Publish(PublishRequest {
                    lease: self.lease(registry),
                    trigger: self.trigger(),
                    parent,
                    model,
                    format: registry.format.saturating_sub(u16::from(self.chance(10))) + u16::from(self.chance(10)),
                    watermark: self.position(),
                    by_operator: self.chance(30),
                    history,
                    origin: "test".to_owned(),
                    ends_learning: None,
                })
            }
            11 => Step::Refuse(RefusalRequest {
                lease: self.lease(registry),
                trigger: self.trigger(),
                considered: self.position(),
                history,
                candidate: None,
            }),
            12 if self.chance(40) => Step::Reset(LINEAGES[self.below(2) as usize]),
            13 => Step::Rollback(if self.chance(50) { None } else { Some(self.below(registry.generation + 2)) }),
            14 => Step::Restore(self.model(registry)),
            _ => Step::Model(self.content()),
        }
    }
}

/// The answer as text, without the times that differ between two stores.
async fn answer(store: &dyn Store, step: &Step) -> String {
    match step {
        Step::Acquire(trigger, holder, high_water) => {
            match store.acquire_lease(trigger, *holder, TTL, *high_water).await.unwrap() {
                LeaseReply::Acquired { lease, registry } => format!("{lease:?} {:?}", timeless(*registry)),
                LeaseReply::Held { .. } => "held".to_owned(),
                LeaseReply::AlreadyDone => "done".to_owned(),
            }
        }
        Step::Renew(lease) => format!("{:?}", store.renew_lease(*lease, TTL).await.unwrap()),
        Step::Release(lease) => format!("{:?}", store.release_lease(*lease).await.unwrap()),
        Step::Publish(request) => format!("{:?}", store.publish(request, &request.model.sha256).await.unwrap()),
        Step::Refuse(request) => format!("{:?}", store.record_refusal(request).await.unwrap()),
        Step::Reset(lineage) => format!("{:?}", store.reset("somebody", *lineage).await.unwrap()),
        Step::Rollback(generation) => format!("{:?}", store.rollback(*generation, "somebody").await.unwrap()),
        Step::Restore(model) => format!("{:?}", store.restore(*model, &model.sha256).await.unwrap()),
        Step::Model(sha256) => format!("{:?}", store.model(*sha256).await.unwrap()),
    }
}

/// Whether a time is set stays, which time it is does not.
fn timeless(registry: Registry) -> Registry {
    Registry {
        now_ms: 0,
        trained_at_ms: registry.trained_at_ms.map(|_| 0),
        feedback_trained_at_ms: registry.feedback_trained_at_ms.map(|_| 0),
        ..registry
    }
}

async fn history(store: &dyn Store) -> Vec<serde_json::Value> {
    let mut entries = Vec::new();
    for bytes in store.history(1000).await.unwrap() {
        let mut entry: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        entry["store"]["at_ms"] = 0.into();
        entries.push(entry);
    }
    entries
}

#[tokio::test]
async fn the_bounded_lists_forget_alike() {
    let server = RedisServer::start();
    let options = RedisOptions { url: server.url(), origin: "node".to_owned(), ..RedisOptions::default() };
    let redis: Arc<dyn Store> = RedisStore::connect(&options, Limits::default()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let embedded: Arc<dyn Store> = Arc::new(EmbeddedStore::open(path, Limits::default(), "node").unwrap());
    let command = |number: usize| TriggerKey::Command { id: number.to_string() };
    let mut answers = Vec::new();

    for store in [redis, embedded] {
        let mut told = Vec::new();
        for content in 1..=2u8 {
            let generation = u64::from(content);
            let sha256 = (content > 1).then_some([content - 1; 32]);
            let publish = Step::Publish(PublishRequest {
                lease: Lease { holder: BootId([0; 16]), fence: generation },
                trigger: command(usize::MAX),
                parent: Parent { generation: generation - 1, sha256 },
                model: ModelId { lineage: LINEAGES[0], generation, sha256: [content; 32] },
                format: 1,
                watermark: Position::START,
                by_operator: false,
                history: b"{}".to_vec(),
                origin: "test".to_owned(),
                ends_learning: None,
            });
            told.push(answer(&*store, &publish).await);
        }
        // Back to the other content each time: two blobs, and one more kept generation per round.
        for number in 0..KEPT_MAX as u64 {
            told.push(answer(&*store, &Step::Rollback(Some(number + 1))).await);
        }
        for generation in [1, 2, 3, 4] {
            told.push(answer(&*store, &Step::Rollback(Some(generation))).await);
        }
        for number in 0..=COMMANDS_MAX {
            let refusal = RefusalRequest {
                lease: Lease { holder: BootId([0; 16]), fence: 10 + number as u64 },
                trigger: command(number),
                considered: Position::START,
                history: Vec::new(),
                candidate: None,
            };
            told.push(answer(&*store, &Step::Refuse(refusal)).await);
        }
        for number in [1, 0] {
            let asked = Step::Acquire(command(number), BootId([0; 16]), HighWater::default());
            told.push(answer(&*store, &asked).await);
        }
        answers.push(told);
    }

    assert_eq!(answers[0], answers[1]);
    let forgotten = answers[0].iter().filter(|answer| *answer == "NotFound").count();
    assert_eq!(forgotten, 2, "the two oldest generations are forgotten: {:?}", answers[0]);
    assert_eq!(answers[0].iter().filter(|answer| *answer == "done").count(), 1, "the oldest command is forgotten");
}

#[tokio::test]
async fn the_scripts_decide_like_the_pure_rules() {
    const STEPS: usize = 400;
    for seed in 0..4 {
        // Few models: blobs come and go. All of them: the list of kept generations reaches its bound.
        let models_kept = if seed % 2 == 0 { 2 } else { 20 };
        let limits = Limits { models_kept, history_max: 10_000, ..Limits::default() };
        let server = RedisServer::start();
        let options = RedisOptions { url: server.url(), origin: "node".to_owned(), ..RedisOptions::default() };
        let redis: Arc<dyn Store> = RedisStore::connect(&options, limits).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        let embedded: Arc<dyn Store> = Arc::new(EmbeddedStore::open(path, limits, "node").unwrap());
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let mut kinds = std::collections::BTreeSet::new();

        let mut registry = Registry::default();
        for number in 0..STEPS {
            let step = dice.step(&registry);
            let pure = answer(&*embedded, &step).await;
            let script = answer(&*redis, &step).await;
            assert_eq!(script, pure, "seed {seed}, step {number}: {step:?}");
            if matches!(step, Step::Publish(_)) {
                kinds.insert(pure);
            }

            registry = timeless(embedded.registry().await.unwrap());
            let theirs = timeless(redis.registry().await.unwrap());
            assert_eq!(theirs, registry, "seed {seed}, after step {number}: {step:?}");
        }

        assert_eq!(history(&*redis).await, history(&*embedded).await, "seed {seed}");
        for content in 0..9 {
            let sha256 = [content; 32];
            let (theirs, ours) = (redis.model(sha256).await.unwrap(), embedded.model(sha256).await.unwrap());
            assert_eq!(theirs, ours, "seed {seed}: blob {content}");
        }
        assert!(kinds.len() >= 6, "seed {seed}: the walk saw only {kinds:?}");
    }
}
