//! The command line as a person uses it: the real binary, its output and its exit codes.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
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
    // The promise is half a minute on a release build; this is a debug build beside other tests, on whatever machine.
    assert!(begun.elapsed() < SOON * 16, "the demo took {:?}", begun.elapsed());
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
    let baselines = report["baselines"].as_object().expect("measured unless told not to");
    let names: Vec<&str> = baselines.keys().map(String::as_str).collect();
    assert_eq!(names, ["compat-6", "logistic", "original", "rule-5-in-600s"]);
    assert_eq!(baselines["logistic"], report["baseline"]);
    assert!(baselines["compat-6"]["roc_auc"].as_f64() > Some(0.6), "{report}");
    for (name, baseline) in baselines {
        assert_eq!(baseline["threshold"].is_null(), baseline["recall"].is_null(), "{name}: {baseline}");
    }
    assert!(baselines.values().all(|one| one["attempts"] == report["attempts"] && one["recall_at_fpr"].is_object()));
}

/// Attacks as a honeypot records them: few fields, empty names, and logins that it let in.
fn recording(path: &Path, year: u32) {
    let lines: Vec<String> = (0..120)
        .map(|number| {
            let (hour, minute, second) = (number / 40, number % 40, number % 60);
            let name = if number % 10 == 0 { String::new() } else { format!("name{}", number % 13) };
            json!({ "ts": format!("{year}-05-06T{hour:02}:{minute:02}:{second:02}Z"), "client_ip": "203.0.113.77",
                "username": name, "success": number % 3 == 0, "protocol": "ssh", "label": "attack" })
            .to_string()
        })
        .collect();
    std::fs::write(path, lines.join("\n")).expect("a writable directory");
}

#[test]
fn recorded_attacks_are_laid_over_the_test_and_reported_with_and_without_a_life() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| root.path().join(name);
    let (train, test, overlay, more) = (at("train.jsonl"), at("test.jsonl"), at("pot<b>.jsonl"), at("more.jsonl"));
    let made = run(&["generate", "--users", "60", "--days", "3", "--seed", "1"]);
    let made = String::from_utf8(made.stdout).expect("UTF-8");
    let lines: Vec<&str> = made.lines().collect();
    let (first, last) = lines.split_at(lines.len() * 4 / 5);
    for (path, lines) in [(&train, first), (&test, last)] {
        std::fs::write(path, lines.join("\n")).expect("a writable directory");
    }
    recording(&overlay, 2018);
    recording(&more, 2019);
    let directory = at("report");

    for life in [&[][..], &["--prequential", "6h"]] {
        // Recorded attacks with few fields may also be learned from.
        let files = ["evaluate", "--train", text(&train), text(&more), "--test", text(&test), "--labels", "oracle"];
        let rest =
            ["--overlay", text(&overlay), "--report", text(&directory), "--epochs", "5", "--no-baselines", "--json"];
        let report = json_of(&run(&[&files[..], &rest, life].concat()));

        let laid = &report["overlay"]["pot<b>.jsonl"];
        assert_eq!(
            (&laid["attempts"], &laid["sources"], &laid["unnamed"]),
            (&json!(120), &json!(1), &json!(12)),
            "{laid}"
        );
        assert!(laid["dropped_fields"].as_array().is_some_and(|fields| fields.contains(&json!("password_hash"))));
        assert!(laid["mapped_names"]["attempts"].as_u64() > Some(0), "{laid}");
        for key in ["recall", "sources_detected", "median_time_to_detect", "realised_fpr"] {
            assert!(laid.get(key).is_some(), "{key} is missing in {laid}");
        }
        assert_eq!((&report["profile"], &report["labels"]), (&json!("ext-mlp16"), &json!("oracle")), "{report}");
        assert_eq!(report["periods"].is_array(), !life.is_empty());
        let page = std::fs::read_to_string(directory.join("report.html")).expect("a page");
        assert!(page.contains("pot&lt;b&gt;.jsonl") && !page.contains("<b>"));
        let auc = format!("{:.4}", report["roc_auc"].as_f64().expect("an AUC"));
        assert!(page.contains(&auc), "{auc} is not in the page");
        assert_eq!(page.contains("False-positive rate by training"), !life.is_empty());
        assert!(directory.join("report.md").exists() && directory.join("roc.svg").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_challenger_is_kept_and_shown_against_the_current_model() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let root = tempfile::tempdir().expect("a temporary directory");
    let log = root.path().join("history.jsonl");
    let made = run(&["generate", "--users", "60", "--days", "4", "--attack-share", "0.4", "--out", text(&log)]);
    assert_eq!(code(&made), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let (url, token) = (format!("http://{}", daemon.http.address()), daemon.state_dir().join("admin.token"));
    let state_dir = daemon.state_dir();
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
        command.args(arguments).args(["--json", "--url", &url, "--token-file", text(&token)]);
        command.env("NAUTHILUS_NEURAL__NODE__STATE_DIR", &state_dir).env("NAUTHILUS_NEURAL__ML__THRESHOLD", "0.5");
        tokio::task::block_in_place(|| command.output().expect("the binary runs"))
    };
    json_of(&ask(&["replay", text(&log)]));
    assert_eq!(json_of(&ask(&["train", "--epochs", "60"]))["outcome"], "promoted");
    let against = ["replay", text(&log), "--against-current"];

    let without = ask(&against);
    assert_eq!(code(&without), Some(65), "{}", String::from_utf8_lossy(&without.stderr));
    assert!(String::from_utf8_lossy(&without.stderr).contains("--model FILE"));
    let copy = root.path().join("copy.bin");
    std::fs::copy(state_dir.join("model.bin"), &copy).expect("a model");
    let same = json_of(&ask(&[&against[..], &["--model", text(&copy)]].concat()));
    assert_eq!((&same["agree"], &same["newly_blocked"]["attempts"]), (&same["attempts"], &json!(0)), "{same}");

    assert_eq!(same["additional_features"], json!([]), "the model knows none: {same}");

    let weak = json_of(&ask(&["train", "--epochs", "1", "--samples", "100"]));
    assert_eq!(weak["outcome"], "refused", "{weak}");
    let other = json_of(&ask(&against));

    let count = |key: &str| other[key]["attempts"].as_u64().expect("a number");
    let changed = count("newly_blocked") + count("released");
    assert_eq!(Some(changed), other["attempts"].as_u64().zip(other["agree"].as_u64()).map(|(all, same)| all - same));
    assert!(changed > 0, "{other}");
    let pairs = other[if count("released") > 0 { "released" } else { "newly_blocked" }]["pairs"][0].clone();
    assert!(pairs["network"].as_str().is_some_and(|network| network.contains('/')), "{pairs}");
    assert!(pairs["username"].is_string() && pairs["addresses"].is_object(), "{pairs}");
    // The state of the daemon is as before.
    assert_eq!(json_of(&ask(&["status"]))["model"]["generation"], 1);

    // Behind a proxy that the configuration trusts, the same logins are judged the same; without, all come from one address.
    let behind = root.path().join("behind.jsonl");
    let lines: Vec<String> = std::fs::read_to_string(&log)
        .expect("the recording")
        .lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).expect("JSON");
            record["forwarded_ip"] = record["client_ip"].take();
            record["client_ip"] = json!("192.0.2.10");
            record.to_string()
        })
        .collect();
    std::fs::write(&behind, lines.join("\n")).expect("writable");
    let trusting = root.path().join("trusting.toml");
    let state = state_dir.display().to_string();
    let listed = format!("[node]\nstate_dir = {state:?}\n[lists]\ntrusted_networks = [\"192.0.2.0/24\"]\n");
    std::fs::write(&trusting, listed).expect("writable");
    let out = root.path().join("verdicts.jsonl");
    let verdicts = |file: &Path, more: &[&str]| {
        json_of(&ask(&[&["replay", text(file), "--verdicts", text(&out)], more].concat()));
        std::fs::read_to_string(&out).expect("verdicts")
    };
    let direct = verdicts(&log, &[]);
    assert_eq!(verdicts(&behind, &["--config", text(&trusting)]), direct);
    assert_ne!(verdicts(&behind, &[]), direct);
    let changed = json_of(&ask(&["replay", text(&behind), "--against-current", "--config", text(&trusting)]));
    assert_eq!(changed["released"]["pairs"], other["released"]["pairs"], "the addresses of clients are shown");
}

/// Attempts whose `tier` alone tells attacks, with a text that only the site's key finds again.
fn told_by_tier(path: &Path) {
    let line = |number: usize| {
        let attack = number.is_multiple_of(3);
        json!({
            "ts": format!("2026-01-{:02}T{:02}:{:02}:00Z", 5 + number / 720, number / 30 % 24, number % 30 * 2),
            "client_ip": format!("198.51.100.{}", 1 + number * 7 % 200), "username": format!("user{}", number * 5 % 40),
            "success": !attack, "label": if attack { "attack" } else { "legit" },
            "features": { "tier": if attack { "bot" } else { "human" } },
        })
        .to_string()
    };
    std::fs::write(path, (0..2160).map(line).collect::<Vec<_>>().join("\n")).expect("writable");
}

#[tokio::test(flavor = "multi_thread")]
async fn additional_features_of_a_file_are_used_by_replays_and_measurements() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    let root = tempfile::tempdir().expect("a temporary directory");
    let (log, out) = (root.path().join("log.jsonl"), root.path().join("verdicts.jsonl"));
    told_by_tier(&log);
    let evaluated = json_of(&run(&[
        "evaluate",
        "--train",
        text(&log),
        "--test",
        text(&log),
        "--labels",
        "oracle",
        "--no-baselines",
        "--json",
    ]));
    assert_eq!(evaluated["additional_features"], json!(["tier"]), "{evaluated}");

    let mut first = traffic::attempt(1, "198.51.100.7", "alice");
    first["features"] = json!({ "tier": "human" });
    traffic::login(&daemon.http, &first, true).await;
    eventually("the feature is listed", SOON, || async {
        let features = daemon.http.get("/v1/features").await.body;
        if features["additional"][0]["name"] == "tier" { Ok(()) } else { Err(features.to_string()) }
    })
    .await;
    daemon.ingest(traffic::history()).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    let state_dir = daemon.state_dir();
    let replay = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
        command.args(["replay", text(&log), "--verdicts", text(&out), "--json"]);
        command.env("NAUTHILUS_NEURAL__NODE__STATE_DIR", &state_dir);
        tokio::task::block_in_place(|| command.output().expect("the binary runs"))
    };
    assert_eq!(json_of(&replay())["additional_features"], json!(["tier"]));

    std::fs::remove_file(state_dir.join("pseudonym.key")).expect("a key");
    let without = replay();
    let warned = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(warned.contains("no readable pseudonym key") && warned.contains("tier"), "{warned}");
    assert_eq!(json_of(&without)["additional_features"], json!([]));
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
    std::fs::write(&config, format!("[lists]\nsuspicious_files = [{rubbish:?}]\n")).expect("a writable directory");
    let checked = run(&["check", "--config", text(&config)]);
    let problems = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(code(&checked), Some(78), "{problems}");
    assert!(problems.contains("lists.suspicious_files") && problems.contains("the first is line 1"), "{problems}");
    assert_eq!(code(&run(&["status", "--url", "http://127.0.0.1:9"])), Some(69));
    assert_eq!(code(&run(&["evaluate", "--train", text(&rubbish), "--test", text(&rubbish)])), Some(65));
    assert_eq!(code(&run(&["feedback", "--brute-force", "--legitimate"])), Some(64));
    assert_eq!(code(&run(&["explode"])), Some(64));
    assert_eq!(code(&run(&["replay", text(&rubbish), "--model", text(&rubbish)])), Some(64));
    let files = ["evaluate", "--train", text(&rubbish), "--test", text(&rubbish), "--overlay", text(&rubbish)];
    assert_eq!(code(&run(&files)), Some(65));
    assert_eq!(code(&run(&["--version"])), Some(0));
}
