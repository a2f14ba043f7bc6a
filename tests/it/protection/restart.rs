//! What a node knows of an attack after a restart, and after everything was taken back.

use serde_json::{Value, json};

use super::{ADMIN, hook, metrics, network, wrong};
use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;

/// What a look shows of an attack on one account: attempts, threat, and what the account is counted for.
fn seen(metrics: &Value, account: &str) -> (Value, Value, Value) {
    (metrics["attempts"].clone(), metrics["threat_level"].clone(), metrics["attacked_accounts"][account].clone())
}

/// 70 networks fail at one account; then the node is stopped and started again. Returns what was seen before.
async fn attacked_and_restarted(daemon: &mut Daemon) -> (Value, Value, Value) {
    for number in 0..70 {
        wrong(daemon, number, &network(number), "victim", &format!("t{number}")).await;
    }
    let before = metrics(daemon).await;
    let (attempts, threat, counted) = seen(&before, "victim");
    assert_eq!((&attempts, &counted), (&json!(70), &json!(70)), "{before}");
    assert!(threat.as_f64() >= Some(0.7), "{before}");
    daemon.stop().await;
    daemon.start_again().await;
    let (threat, log) = (metrics(daemon).await["threat_level"].clone(), daemon.log());
    assert_eq!(threat, before["threat_level"], "at once");
    assert!(!log.contains("attacks is high now") && !log.contains("attacks is severe now"), "nothing has risen: {log}");
    // The name is heard again; the account is counted without.
    (attempts, threat, counted)
}

async fn sees(daemon: &Daemon, expected: &(Value, Value, Value)) {
    eventually("the watch knows what it knew", SOON, || async {
        let metrics = metrics(daemon).await;
        let key = metrics["attacked_accounts"].as_object().and_then(|all| all.keys().next().cloned());
        let shown = seen(&metrics, key.as_deref().unwrap_or_default());
        if shown == *expected { Ok(()) } else { Err(metrics.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn after_a_clean_restart_the_watch_knows_what_it_knew_and_agrees_with_a_new_node_of_the_fleet() {
    let server = RedisServer::start();
    let mut daemon = Daemon::start(Setup::on(&server, "a")).await;
    let before = attacked_and_restarted(&mut daemon).await;
    sees(&daemon, &before).await;

    let other = Daemon::start(Setup::on(&server, "b")).await;
    sees(&other, &before).await;
    sees(&daemon, &before).await;

    // Without its checkpoint, and with a damaged one, it counts all of the stream.
    daemon.stop().await;
    std::fs::write(daemon.state_dir().join("checkpoint.bin"), "nonsense").expect("writable");
    std::fs::write(daemon.state_dir().join("attacks.json"), "{").expect("writable");
    daemon.start_again().await;
    sees(&daemon, &before).await;
    let log = daemon.log();
    assert!(log.contains("checkpoint.bin is damaged") && log.contains("attacks.json is damaged"), "{log}");
}

#[tokio::test]
async fn after_a_clean_restart_on_the_embedded_store_the_watch_knows_what_it_knew_and_counts_nothing_twice() {
    let mut daemon = Daemon::start(Setup::new("a")).await;
    let before = attacked_and_restarted(&mut daemon).await;
    sees(&daemon, &before).await;
    daemon.stop().await;
    daemon.start_again().await;
    sees(&daemon, &before).await;
    wrong(&daemon, 70, &network(70), "victim", "t70").await;
    sees(&daemon, &(json!(71), before.1, json!(71))).await;
}

#[tokio::test]
async fn after_reset_protection_one_failure_more_brings_nothing_back_on_any_node() {
    let server = RedisServer::start();
    let [daemon, other] = <[Daemon; 2]>::try_from(Daemon::fleet(&server, ["a", "b"]).await).ok().expect("two");
    for number in 0..40 {
        wrong(&daemon, number, &network(number), "victim", &format!("t{number}")).await;
    }
    eventually("the other node sees it", SOON, || async {
        let metrics = metrics(&other).await;
        if metrics["attempts"] == 40 && metrics["threat_level"].as_f64() >= Some(0.7) {
            Ok(())
        } else {
            Err(metrics.to_string())
        }
    })
    .await;

    assert_eq!(hook(&daemon, ADMIN, "action=reset_protection").await["status"], "success");

    let calm = |metrics: &Value| {
        let empty = ["rate_limited_ips", "captcha_accounts"].iter().all(|key| metrics[key] == json!([]));
        empty
            && metrics["attacked_accounts"] == json!({})
            && metrics["threat_level"] == 0.0
            && metrics["settings"]["monitoring_mode"] == "false"
    };
    let at_once = metrics(&daemon).await;
    assert!(calm(&at_once) && at_once["attempts"] == 40, "{at_once}");
    eventually("the other node hears of it", SOON, || async {
        let metrics = metrics(&other).await;
        if calm(&metrics) { Ok(()) } else { Err(metrics.to_string()) }
    })
    .await;
    wrong(&daemon, 40, &network(40), "victim", "t40").await;
    for node in [&daemon, &other] {
        eventually("it is counted", SOON, || async {
            let metrics = metrics(node).await;
            if metrics["attempts"] == 41 { Ok(()) } else { Err(metrics.to_string()) }
        })
        .await;
        let after = metrics(node).await;
        assert!(calm(&after), "{after}");
    }
}
