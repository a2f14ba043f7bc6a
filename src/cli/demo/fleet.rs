//! The demo's nodes: real ones, on one real store, with state directories that vanish at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::failure::Failure;
use crate::config::{Backend, Config};
use crate::control::{Caller, Command};
use crate::daemon;
use crate::exit;
use crate::node::Node;
use crate::random;
use crate::store::embedded::EmbeddedStore;
use crate::store::redis::RedisStore;
use crate::store::{Limits, Store};

/// Most samples of one training.
const DEMO_SAMPLES: u64 = 5_000;

/// How long a Redis may take to answer before the demo gives up on it.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How often something awaited is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The nodes of the demo.
pub struct Fleet {
    nodes: Vec<Node>,
    root: PathBuf,
    redis: Option<Config>,
}

/// How the fleet stands at the end.
pub struct Closing {
    pub nodes: Vec<Value>,
    pub generation: u64,
    pub on_generation: usize,
    pub trainings: usize,
    pub feedback_trainings: usize,
    pub swaps: u64,
}

impl Fleet {
    /// Starts `count` nodes on an embedded store, or on a Redis under a prefix of their own.
    pub async fn start(count: usize, redis: Option<&str>) -> Result<Self, Failure> {
        let tag = random::id();
        let root = std::env::temp_dir().join(format!("nauthilus-neural-demo-{tag}"));
        let mut base = Config::default();
        // Enough for five days of a small site, and quick.
        base.training.samples = DEMO_SAMPLES;
        base.store.path = Some(root.join("store.redb"));
        if let Some(url) = redis {
            base.store.backend = Backend::Redis;
            base.redis.url = url.to_owned();
            base.redis.prefix = format!("nt-demo-{tag}:");
        }
        let mut fleet = Self { nodes: Vec::new(), root, redis: redis.map(|_| base.clone()) };
        std::fs::create_dir_all(&fleet.root)
            .map_err(|error| Failure::output(format!("cannot create {}: {error}", fleet.root.display())))?;
        match fleet.start_nodes(count, &base).await {
            Ok(()) => Ok(fleet),
            Err(failure) => {
                let _ = fleet.stop().await;
                Err(failure)
            }
        }
    }

    async fn start_nodes(&mut self, count: usize, base: &Config) -> Result<(), Failure> {
        let mut shared: Option<EmbeddedStore> = None;
        for number in 1..=count {
            let mut config = base.clone();
            config.node.name = Some(format!("node-{number}"));
            config.node.state_dir = self.root.join(format!("node-{number}"));
            let limits = Limits::from(&config);
            let store: Arc<dyn Store> = match config.store.backend {
                Backend::Redis => {
                    let store = daemon::connect_redis(&config, limits).map_err(|error| unavailable(&error))?;
                    reachable(&store, &config.redis.url).await?;
                    store
                }
                Backend::Embedded => {
                    if shared.is_none() {
                        let path = config.store.file(&config.node.state_dir);
                        shared = Some(EmbeddedStore::open(path, limits, "demo").map_err(|error| unavailable(&error))?);
                    }
                    Arc::new(shared.clone().expect("opened above"))
                }
            };
            let node = Node::start(config, store).await;
            self.nodes.push(node.map_err(|error| Failure::from_error(exit::OS, &error))?);
        }
        Ok(())
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The kind of store they share.
    pub fn backend(&self) -> &'static str {
        self.nodes[0].app.store.backend()
    }

    /// One node, counted round.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number % self.nodes.len()]
    }

    /// Has one node carry out a command.
    pub async fn execute(&self, number: usize, command: Command) -> Result<Value, Failure> {
        let caller = Caller { who: "demo".to_owned(), origin: "demo", peer: None };
        let done = self.node(number).app.control.execute(command, &caller).await;
        done.map_err(|error| Failure::data(error.to_string()))
    }

    /// Waits until the store has everything that the nodes have seen, and has every node read it.
    pub async fn replicate(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        while self.nodes.iter().any(|node| node.app.log.queued() > 0) {
            if begun.elapsed() > super::PATIENCE {
                return Err(Failure::unavailable("the store did not take the attempts in time"));
            }
            tokio::time::sleep(LOOK).await;
        }
        for node in &self.nodes {
            node.app.control.replication.catch_up(STOP_LIMIT).await;
        }
        Ok(())
    }

    /// Waits until every node serves `model`; returns how long that took.
    pub async fn all_on(&self, model: &Value, patience: Duration) -> Result<Duration, Failure> {
        let begun = Instant::now();
        loop {
            let there = |node: &Node| serde_json::to_value(node.app.control.slot.id()).ok().as_ref() == Some(model);
            if self.nodes.iter().all(there) {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > patience {
                return Err(Failure::unavailable("not every node took over the new model in time"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for the training that comes after the one that published `model`; its history entry.
    pub async fn next_training(&self, model: &Value, patience: Duration) -> Result<Value, Failure> {
        let begun = Instant::now();
        loop {
            let history = self.execute(0, Command::History).await?;
            match history.get(0) {
                Some(newest) if newest["trigger"] == "feedback" && newest["model"] != *model => {
                    return Ok(newest.clone());
                }
                _ if begun.elapsed() > patience => {
                    return Err(Failure::unavailable("the feedback did not lead to a training in time"));
                }
                _ => tokio::time::sleep(LOOK * 4).await,
            }
        }
    }

    /// How the fleet stands.
    pub async fn closing(&self) -> Result<Closing, Failure> {
        let history = self.execute(0, Command::History).await?;
        let history = history.as_array().cloned().unwrap_or_default();
        let mut nodes = Vec::new();
        for number in 0..self.len() {
            nodes.push(self.execute(number, Command::Status).await?);
        }
        let generation = nodes.iter().filter_map(|node| node["model"]["generation"].as_u64()).max().unwrap_or(0);
        Ok(Closing {
            on_generation: nodes.iter().filter(|node| node["model"]["generation"] == generation).count(),
            generation,
            trainings: history.iter().filter(|entry| entry["outcome"] != "not_enough_data").count(),
            feedback_trainings: history.iter().filter(|entry| entry["trigger"] == "feedback").count(),
            swaps: nodes.iter().filter_map(|node| node["swaps"].as_u64()).sum(),
            nodes,
        })
    }

    /// Stops the nodes and removes everything that they wrote.
    pub async fn stop(self) -> Result<(), Failure> {
        for node in self.nodes {
            node.shutdown(STOP_LIMIT).await;
        }
        if let Some(config) = &self.redis {
            let purged = RedisStore::purge(&config.redis.url, &config.redis.prefix).await;
            purged.map_err(|error| unavailable(&error))?;
        }
        std::fs::remove_dir_all(&self.root)
            .map_err(|error| Failure::output(format!("cannot remove {}: {error}", self.root.display())))
    }
}

async fn reachable(store: &Arc<dyn Store>, url: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match store.ping().await {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > CONNECT_LIMIT => {
                let host = url.rsplit('@').next().unwrap_or(url);
                return Err(Failure::unavailable(format!("cannot use the Redis at {host}: {}", daemon::chain(&error))));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn unavailable(error: &crate::store::StoreError) -> Failure {
    Failure::from_error(exit::UNAVAILABLE, error)
}
