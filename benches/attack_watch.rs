//! What the watch for distributed attacks costs at its worst, with its tables full and an attack going on: one look at
//! everything, and a score that is asked for over HTTP meanwhile.
//!
//! The last number is a start: the time in which a node that comes back counts again what the stream holds, up to full tables.
//!
//! A look belongs to a task and never to a login, so the second number matters; the first says how long the task is busy.

#[path = "support/http.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nauthilus_neural::clock;
use nauthilus_neural::config::Config;
use nauthilus_neural::detection::attempt::{Attempt, Outcome, Timestamp};
use nauthilus_neural::detection::event::{AttemptEvent, BootId};
use nauthilus_neural::detection::record::AttemptRecord;
use nauthilus_neural::node::Node;
use nauthilus_neural::serving::attacks::Attacks;
use nauthilus_neural::serving::scorer::Scorer;
use nauthilus_neural::store::Limits;
use nauthilus_neural::store::embedded::EmbeddedStore;
use serde_json::json;

/// Failures that fill every table beyond its cap.
const FAILURES: usize = 200_000;
const LOOKS: usize = 200;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let root = tempfile::tempdir().expect("a temporary directory");
    let node = runtime.block_on(node(root.path()));
    let scorer = &node.app.scorer;
    runtime.block_on(http("tables empty", &node));

    for number in 0..FAILURES {
        fail(scorer, number, clock::now());
        if number % 10_000 == 0 {
            scorer.attacks().look(|_| ());
        }
    }
    let stats = scorer.attacks().look(|monitor| monitor.stats());
    println!("{stats:?}");
    looks("tables full", scorer.attacks());
    runtime.block_on(http("tables full", &node));

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in FAILURES.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                fail(scorer, number, clock::now());
                std::thread::sleep(Duration::from_micros(900));
            }
        });
        runtime.block_on(http("tables full, a thousand failures a second", &node));
        looks("tables full, a thousand failures a second", scorer.attacks());
        stop.store(true, Ordering::Relaxed);
    });
    start();
    runtime.block_on(node.shutdown(Duration::from_secs(2)));
}

/// Counts [`FAILURES`] events again, as after a restart with a checkpoint: decoded, indexed, and told to the watch.
fn start() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let root = tempfile::tempdir().expect("a temporary directory");
    let node = runtime.block_on(node(root.path()));
    let scorer = &node.app.scorer;
    let now = clock::now();
    let event = |number: usize| {
        let attempt = attempt(scorer, number, now);
        let (origin, outcome, seq) = (BootId([9; 16]), Some(Outcome::Failure), number as u64 + 1);
        AttemptEvent { origin, seq, attempt, outcome, snapshot: None, decision: None, historical: false }.encode()
    };
    let events: Vec<Vec<u8>> = (0..FAILURES).map(event).collect();
    let begun = Instant::now();
    for batch in events.chunks(1000) {
        batch.iter().for_each(|bytes| scorer.remember(&AttemptEvent::decode(bytes).expect("just encoded")));
        scorer.attacks().digest();
    }
    let took = begun.elapsed();
    println!(
        "counting {FAILURES} events again after a start: {took:?}; {:?}",
        scorer.attacks().look(|monitor| monitor.stats())
    );
    runtime.block_on(node.shutdown(Duration::from_secs(2)));
}

async fn node(root: &std::path::Path) -> Node {
    let mut config = Config::default();
    config.node.name = Some("bench".to_owned());
    config.node.state_dir = root.to_owned();
    let store = EmbeddedStore::open(root.join("store.redb"), Limits::from(&config), "bench").expect("a new store");
    Node::start(config, Arc::new(store)).await.expect("a node")
}

/// A stranger fails.
fn fail(scorer: &Scorer, number: usize, now: Timestamp) {
    scorer.attacks().note(&attempt(scorer, number, now), true, Some((Outcome::Failure, false)));
}

/// Strangers try: by turns at a few attacked accounts and over all of a large site, from sixty thousand networks.
fn attempt(scorer: &Scorer, number: usize, now: Timestamp) -> Attempt {
    let network = number.wrapping_mul(2_654_435_761) % 60_000;
    let account = if number.is_multiple_of(2) { number % 64 } else { number % 100_003 };
    let record = json!({
        "client_ip": format!("172.{}.{}.9", network / 256, network % 256), "username": format!("user{account}"),
        "password_hash": format!("{:08x}", number % 9_973), "protocol": "imap", "success": false, "ts": now.to_string(),
    });
    let record = AttemptRecord::parse(record.to_string().as_bytes()).expect("sound");
    scorer.check(record, now).expect("sound").attempt
}

fn looks(what: &str, attacks: &Attacks) {
    let took = (0..LOOKS).map(|_| {
        let begun = Instant::now();
        attacks.assess(clock::now());
        begun.elapsed()
    });
    support::percentiles(&format!("one look, {what}"), took.collect());
}

async fn http(what: &str, node: &Node) {
    let body = |number: usize| {
        let (a, b, user) = (number % 200, number % 250, number % 1000);
        format!(r#"{{"client_ip":"172.{a}.{b}.7","username":"user{user}","password_hash":"{number:08x}"}}"#)
    };
    support::scores(what, node, body).await;
}
