//! The command line as a person uses it: the real binary, its output and its exit codes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::redis::RedisServer;
use crate::support::traffic;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error} in {}", String::from_utf8_lossy(&output.stdout));
    })
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn check_demo(report: &Value, begun: std::time::Instant) {
    assert_eq!(report["nodes"], 3);
    assert_eq!(report["nodes_on_generation"], 3, "{report}");
    assert!(report["generation"].as_u64() >= Some(1), "{report}");
    assert!(report["attempts"].as_u64() > Some(10_000), "{report}");
    assert_eq!((&report["trainings"], &report["feedback_retrains"]), (&json!(2), &json!(1)), "{report}");
    assert!(report["evaluation"]["roc_auc"].as_f64() > Some(0.7), "{report}");
    // The promise is half a minute on a release build; this is a debug build beside other tests.
    assert!(begun.elapsed() < SOON * 6, "the demo took {:?}", begun.elapsed());
}

#[test]
fn the_demo_brings_three_nodes_to_one_generation_without_a_server() {
    let begun = std::time::Instant::now();

    let report = json_of(&run(&["demo", "--json"]));

    check_demo(&report, begun);
}

#[tokio::test]
async fn the_demo_does_the_same_on_a_redis_and_leaves_nothing_there() {
    let server = RedisServer::start();
    let begun = std::time::Instant::now();

    let url = server.url();
    let report =
        tokio::task::spawn_blocking(move || json_of(&run(&["demo", "--json", "--redis", &url]))).await.unwrap();

    check_demo(&report, begun);
    assert!(server.query(&["DBSIZE"]).await.contains('0'));
}

#[test]
fn generated_traffic_is_evaluated_and_the_network_beats_chance_in_the_right_direction() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (train, test) = (root.path().join("train.jsonl.gz"), root.path().join("test.jsonl"));
    for (path, seed) in [(&train, "1"), (&test, "2")] {
        let made = run(&["generate", "--users", "150", "--days", "1", "--seed", seed, "--out", text(path)]);
        assert_eq!(code(&made), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    }

    let arguments = ["evaluate", "--train", text(&train), "--test", text(&test), "--labels", "oracle", "--json"];
    let report = json_of(&run(&arguments));

    for key in
        ["profile", "labels", "roc_auc", "pr_auc", "threshold", "realised_fpr", "recall", "recall_at_fpr", "brier"]
    {
        assert!(report.get(key).is_some(), "{key} is missing in {report}");
    }
    for key in ["ece", "scenarios", "campaigns", "sources", "overlay", "baseline"] {
        assert!(report.get(key).is_some(), "{key} is missing in {report}");
    }
    assert!(report["mean_score_attack"].as_f64() > report["mean_score_legit"].as_f64(), "{report}");
    assert!(report["roc_auc"].as_f64() > Some(0.6), "{report}");
    assert!(report["baseline"]["roc_auc"].as_f64() > Some(0.5), "{report}");
}

#[test]
fn the_same_seed_generates_the_same_bytes() {
    let generate = |seed| run(&["generate", "--users", "40", "--days", "1", "--seed", seed]).stdout;

    assert_eq!(generate("7"), generate("7"));
    assert_ne!(generate("7"), generate("8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_steers_a_daemon_from_the_command_line() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let root = tempfile::tempdir().expect("a temporary directory");
    let log = root.path().join("history.jsonl");
    std::fs::write(&log, traffic::history()).expect("a writable directory");
    let (url, token) = (format!("http://{}", daemon.http.address()), daemon.state_dir().join("admin.token"));
    let ask = |arguments: &[&str]| {
        let common = ["--json", "--url", &url, "--token-file", text(&token)];
        json_of(&run(&[arguments, &common].concat()))
    };

    let replayed = tokio::task::block_in_place(|| ask(&["replay", text(&log)]));
    assert_eq!(replayed["rejected"], 0, "{replayed}");
    let trained = tokio::task::block_in_place(|| ask(&["train", "--epochs", "20"]));
    assert_eq!(trained["outcome"], "promoted", "{trained}");
    let scored = traffic::attempt(1, "198.51.100.9", "alice");
    traffic::login(&daemon.http, &scored, false).await;
    let id = scored["request_id"].as_str().expect("an id");
    let word = ["feedback", "--brute-force", "--request-id", id, "--client-ip", "198.51.100.9", "--username", "alice"];
    let given = tokio::task::block_in_place(|| ask(&word));
    assert_eq!((&given["status"], &given["pending"]), (&json!("recorded"), &json!(1)), "{given}");
    let explained = tokio::task::block_in_place(|| ask(&["explain", id]));
    assert_eq!((&explained["request_id"], &explained["model"]), (&json!(id), &trained["model"]), "{explained}");
    let words = ["explain", id, "--url", &url, "--token-file", text(&token)];
    let told = tokio::task::block_in_place(|| run(&words));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("probability of attack") && told.contains("odds of attack"), "{told}");
    let mode = tokio::task::block_in_place(|| ask(&["learning-mode", "on"]));
    assert_eq!(mode["learning_mode"], true, "{mode}");
    let status = tokio::task::block_in_place(|| ask(&["status"]));
    assert_eq!((&status["learning_mode"], &status["model"]), (&json!(true), &trained["model"]), "{status}");
    tokio::task::block_in_place(|| ask(&["reset"]));
    let history = tokio::task::block_in_place(|| ask(&["history"]));
    assert_eq!(history[0]["outcome"], "reset", "{history}");
    let back = tokio::task::block_in_place(|| ask(&["rollback"]));
    assert_eq!(back["model"]["sha256"], trained["model"]["sha256"], "{back}");
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let config = root.path().join("config.toml");
    std::fs::write(&config, "[training]\nepoch = 5\n[ml]\nhidden_neurons = 0\n").expect("a writable directory");
    let rubbish = root.path().join("rubbish.jsonl");
    std::fs::write(&rubbish, "rubbish\n").expect("a writable directory");

    let checked = run(&["check", "--config", text(&config)]);
    let problems = String::from_utf8_lossy(&checked.stderr).into_owned();

    assert_eq!(code(&checked), Some(78), "{problems}");
    assert!(problems.contains("training.epoch") && problems.contains("ml.hidden_neurons"), "{problems}");
    assert_eq!(code(&run(&["status", "--url", "http://127.0.0.1:9"])), Some(69));
    assert_eq!(code(&run(&["evaluate", "--train", text(&rubbish), "--test", text(&rubbish)])), Some(65));
    assert_eq!(code(&run(&["feedback", "--brute-force", "--legitimate"])), Some(64));
    assert_eq!(code(&run(&["explode"])), Some(64));
    assert_eq!(code(&run(&["--version"])), Some(0));
}
