//! Trainings by the clock: every node has the schedule, one of them trains.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// Every two seconds: the seconds come first.
const SCHEDULE: &str = "*/2 * * * * *";
const SLOTS: usize = 3;

#[tokio::test]
async fn d20_three_nodes_with_one_schedule_train_once_per_slot() {
    let server = RedisServer::start();
    let mut fleet = Vec::new();
    for name in ["a", "b", "c"] {
        let setup = Setup::on(&server, name).set("training.schedule", format!("[{SCHEDULE:?}]"));
        fleet.push(Daemon::start(setup.set("training.epochs", "5")).await);
    }
    fleet[0].ingest(traffic::history()).await;
    let last_slot = async || {
        let mut connection = server.connection().await;
        let mut command = redis::cmd("HGET");
        command.arg("nt:{neural}:meta").arg(format!("slot:{SCHEDULE}"));
        command.query_async::<Option<u64>>(&mut connection).await.expect("a hash")
    };

    // Slots are two seconds apart and looked at all the time: none is missed here.
    let seen = Mutex::new(BTreeSet::new());
    let trainings = eventually("several slots are served", SOON, || async {
        let before = last_slot().await;
        let history = fleet[1].http.get("/v1/models").await.body;
        let count = {
            let mut seen = seen.lock().expect("no panic");
            seen.extend(before);
            seen.len()
        };
        // What trained between the two looks would show in one of them only.
        let settled = last_slot().await == before;
        if count > SLOTS && settled { Ok(history) } else { Err(format!("{count} slots, {history}")) }
    })
    .await;

    let slots = seen.into_inner().expect("no panic");
    let trainings = trainings.as_array().expect("a list");
    assert!(trainings.iter().all(|training| training["trigger"] == "schedule"), "{trainings:?}");
    assert_eq!(trainings.len(), slots.len(), "one training per slot: {slots:?}, {trainings:?}");
    assert!(slots.iter().all(|slot| slot % 2000 == 0), "{slots:?}");
    let next = fleet[2].status().await["training"]["next"].clone();
    assert!(matches!(next, Value::String(_)), "the next one is announced: {next}");
    eventually("all serve the model of some slot", SOON, || async {
        for daemon in &fleet {
            daemon.sha256().await.ok_or("none yet".to_owned())?;
        }
        Ok(())
    })
    .await;
}
