//! Beside Nauthilus 1.7: its Redis is imported and followed, and gets a model in its own form.

mod state;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nauthilus_neural::detection::attempt::Timestamp;
use nauthilus_neural::store::upstream::layout::Layout;
use nauthilus_neural::store::upstream::model::UpstreamModel;
use nauthilus_neural::store::upstream::read::Item;
use nauthilus_neural::store::upstream::source::{Source, SourceOptions};
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

const FIXTURE: &str = "tests/fixtures/upstream";

fn fixture(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE).join(name);
    std::fs::read_to_string(path).expect("a fixture").trim().to_owned()
}

/// A node of the six features.
fn compat() -> Setup {
    Setup::new("alone").set("ml.profile", "\"compat-6\"")
}

/// One record as a node of 1.7 writes it. Attacks try many names and passwords; the other columns are as useless as there.
fn record(number: i64, attack: bool) -> String {
    let at = Timestamp::from_millis(nauthilus_neural::clock::now().millis() - 6 * 86_400_000 + number * 240_000);
    // Some try many names, some many passwords of one name.
    let (names, passwords) = match (attack, number % 2) {
        (true, 0) => (8 + number % 9, 0),
        (true, _) => (1, 8 + number % 9),
        (false, odd) => (1 + odd, odd),
    };
    json!({
        "Success": !attack,
        "Features": {
            "TimeBetweenAttempts": 0.2 + (number % 7) as f64 / 10.0, "FailedAttemptsLastHour": 0,
            "DifferentUsernames": names, "DifferentPasswords": passwords,
            "TimeOfDay": (number % 24) as f64 / 24.0, "SuspiciousNetwork": 0,
            "AdditionalFeatures": { "identifier": format!("Client/{number}"), "country_code": "DE" },
        },
        "Time": at.to_string(),
        "Feedback": false,
    })
    .to_string()
}

/// Stores records as the original does: each in front of the others.
async fn push(server: &RedisServer, records: &[String]) {
    let mut connection = server.connection().await;
    for records in records.chunks(500) {
        let mut command = redis::cmd("LPUSH");
        command.arg("nt:ml:training:data").arg(records);
        let _: i64 = command.query_async(&mut connection).await.expect("a list");
    }
}

/// Lets the server make a value of 100 MB, as the last argument of a command.
async fn huge(server: &RedisServer, command: &str, arguments: &[&str]) {
    let script = "local words = {unpack(ARGV)} words[#words + 1] = string.rep('x', 104857600) redis.call(unpack(words)) return 1";
    // Longer than the library waits by itself: the server copies it a few times.
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(SOON * 2));
    let client = redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.expect("a connection");
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(0).arg(command).arg(arguments);
    let _: i64 = eval.query_async(&mut connection).await.expect("the server has the memory");
}

/// An old Redis of all three layouts, with 1200 records of which a third are attacks, and some that teach nothing.
async fn old_redis() -> RedisServer {
    let server = RedisServer::start();
    let mut records: Vec<String> = (0..1200).map(|number| record(number, number % 3 == 0)).collect();
    records.push(fixture("feedback.json"));
    records.push(records[7].clone());
    records.push(record(2000, true).replace("\"SuspiciousNetwork\":0", "\"SuspiciousNetwork\":0,\"Seventh\":1"));
    push(&server, &records).await;
    for root in ["ml:mx1:trained:", "ml:common:trained:", "ml:global:"] {
        server.query(&["SET", &format!("nt:{root}model"), &fixture("model.json")]).await;
        server.query(&["HSET", &format!("nt:{root}MODEL_TRAINED"), "trained", "1", "dry_run", "0"]).await;
    }
    server.query(&["SET", "nt:ml:common:trained:model_encodings", &fixture("encodings.json")]).await;
    server.query(&["SET", "nt:ml:common:trained:last:training:time", "1752849811"]).await;
    server.query(&["SADD", "nt:ml:common:additional_features:list", "identifier", "global_auth_rate"]).await;
    server
}

/// An old Redis of one layout, as its fixture has it.
async fn layout_redis(layout: &str) -> RedisServer {
    let server = RedisServer::start();
    let commands: Vec<Vec<String>> =
        serde_json::from_str(&fixture(&format!("layout-{layout}.json"))).expect("a list of commands");
    for command in commands {
        server.query(&command.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    server
}

async fn cli(arguments: Vec<String>) -> Output {
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nauthilus-neural"));
        command.args(arguments).stdin(Stdio::null()).output().expect("the binary runs")
    };
    tokio::task::spawn_blocking(run).await.expect("it ends")
}

/// `import` from a server, into a daemon if there is one.
async fn import(server: &RedisServer, daemon: Option<&Daemon>, more: &[&str]) -> Output {
    let mut arguments = vec!["import".to_owned(), "--from".to_owned(), server.url()];
    if let Some(daemon) = daemon {
        let token = daemon.state_dir().join("admin.token").display().to_string();
        arguments.extend([
            "--url".to_owned(),
            format!("http://{}", daemon.http.address()),
            "--token-file".to_owned(),
            token,
        ]);
    }
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    cli(arguments).await
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn train(daemon: &Daemon) -> Value {
    let trained = daemon.http.post("/v1/train", &json!({ "epochs": 300 })).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    trained.body
}

/// The probability of a quiet login and that of the last of many names tried from one address.
async fn scores(daemon: &Daemon) -> (f64, f64) {
    for number in 0..12 {
        traffic::login(&daemon.http, &traffic::attempt(number, "203.0.113.9", &format!("guess{number}")), false).await;
    }
    let attack = daemon.http.post("/v1/score", &traffic::attempt(100, "203.0.113.9", "guess-on")).await.body;
    let legit = daemon.http.post("/v1/score", &traffic::attempt(101, "198.51.100.4", "anna")).await.body;
    let probability = |answer: &Value| answer["probability"].as_f64().unwrap_or_else(|| panic!("{answer}"));
    (probability(&legit), probability(&attack))
}

#[tokio::test]
async fn what_nodes_of_1_7_recorded_is_imported_and_teaches_that_attacks_score_high() {
    let server = old_redis().await;
    let daemon = Daemon::start(compat()).await;

    let report = json_of(&import(&server, Some(&daemon), &["--json"]).await);

    let training = &report["training"];
    assert_eq!(
        (&training["found"], &training["usable"], &training["successes"]),
        (&json!(1203), &json!(1200), &json!(800))
    );
    assert_eq!(training["skipped"], json!({ "feedback": 1, "other_width": 1, "out_of_time": 0, "repeated": 1 }));
    assert_eq!(training["constant"], json!(["FailedAttemptsLastHour", "SuspiciousNetwork"]));
    assert_eq!(report["imported"], json!({ "taken": 1200, "legitimate": 800, "attacks": 400 }));
    let layouts: Vec<_> = report["layouts"].as_array().expect("a list").iter().map(|one| &one["layout"]).collect();
    assert_eq!(layouts, ["released (mx1)", "common", "global"]);
    assert_eq!(report["layouts"][1]["encodings"]["found"]["inputs"], 16);
    assert_eq!(report["layouts"][1]["last_training"]["found"], "2025-07-18T14:43:31.000Z");

    let trained = train(&daemon).await;
    let labels = daemon.http.get("/metrics").await.text;
    assert!(labels.contains("labels{rule=\"imported_guessing\"} 400"), "{labels}");
    let (legit, attack) = scores(&daemon).await;
    assert!(attack > 0.8 && legit < 0.2, "attack {attack}, legitimate {legit}: {trained}");

    // Again: nothing becomes more.
    json_of(&import(&server, Some(&daemon), &["--json", "--layout", "common"]).await);
    train(&daemon).await;
    let again = daemon.http.get("/metrics").await.text;
    assert!(again.contains("labels{rule=\"imported_guessing\"} 400"), "{again}");
    let audit = daemon.http.get("/v1/audit").await.body;
    let imports: Vec<_> =
        audit.as_array().expect("a list").iter().filter(|entry| entry["command"] == "import").collect();
    assert!(imports.len() == 2 && imports[0]["who"] == "admin token", "{audit}");
}

#[tokio::test]
async fn a_dry_run_shows_everything_and_takes_nothing() {
    let server = old_redis().await;

    let shown = import(&server, None, &["--dry-run"]).await;

    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let text = String::from_utf8_lossy(&shown.stdout);
    for part in
        ["released (mx1)", "1200 of 1203", "feedback", "other width", "nothing was taken", "FailedAttemptsLastHour"]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let empty = import(&server, None, &["--dry-run", "--prefix", "other:"]).await;
    assert_eq!(empty.status.code(), Some(65), "{}", String::from_utf8_lossy(&empty.stderr));
    let nowhere = cli(["import", "--from", "redis://127.0.0.1:1/0"].map(str::to_owned).to_vec()).await;
    assert_eq!(nowhere.status.code(), Some(69), "{}", String::from_utf8_lossy(&nowhere.stderr));
}

#[tokio::test]
async fn the_documented_rights_are_enough_to_read_and_to_write_and_no_more_than_that() {
    let server = old_redis().await;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = std::fs::read_to_string(path).expect("a page");
    let said = page.split("Their Redis needs for this user").nth(1).expect("the sentence");
    let rights: Vec<&str> = said.split('`').skip(1).step_by(2).take(2).collect();
    let [read, write] = rights.as_slice() else { panic!("{rights:?}") };
    for (name, rights) in [("reader", (*read).to_owned()), ("writer", format!("{read} {write}"))] {
        let mut words = vec!["ACL", "SETUSER", name, "on", ">secret", "resetkeys", "resetchannels", "-@all"];
        words.extend(rights.split_whitespace());
        server.query(&words).await;
    }
    let options = |name: &str| SourceOptions {
        url: server.url(),
        prefix: "nt:".to_owned(),
        username: Some(name.to_owned()),
        password: Some("secret".to_owned()),
    };
    let [reader, writer] = ["reader", "writer"].map(options);
    let (reader, writer) = (Source::open(&reader).await, Source::open(&writer).await);
    let (reader, writer) = (reader.expect("logged in"), writer.expect("logged in"));

    assert_eq!(reader.instances().await.expect("may search"), ["mx1"]);
    assert_eq!(reader.training_records(10_000).await.expect("may read").len(), 1203);
    let common = reader.layout(&Layout::Common).await.expect("may read");
    assert!(matches!((&common.model, &common.flags), (Item::Found(_), Item::Found(_))), "{common:?}");
    let global = reader.layout(&Layout::Global).await.expect("may read");
    assert!(matches!(&global.feature_names, Item::Found(names) if names.len() == 2), "{global:?}");
    assert!(reader.learning_mode_updates().await.is_ok());
    let Item::Found(model) = common.model else { panic!("it was found above") };
    let released = Layout::Released { instance: "mx1".to_owned() };
    let now = nauthilus_neural::clock::now();
    assert!(reader.put_model(&released, &model, "x", now).await.is_err(), "a reader may not write");
    let changed = UpstreamModel { learning_rate: 0.5, ..model };
    assert!(writer.put_model(&released, &changed, "x", now).await.expect("may write"));
    assert!(!writer.put_model(&released, &changed, "x", now).await.expect("may write"), "once");
}

#[tokio::test]
async fn a_hostile_redis_is_refused_with_the_reason_and_changes_nothing() {
    let daemon = Daemon::start(compat().set("http.body_max", "65536")).await;
    let good = record(1, false);
    for (bad, says) in [
        (good.replace("\"SuspiciousNetwork\":0", "\"SuspiciousNetwork\":NaN"), "not JSON"),
        (good.replace("\"SuspiciousNetwork\":0", "\"SuspiciousNetwork\":1e999"), "not JSON"),
        ("[".repeat(60_000), "levels deep"),
        (String::new(), "104857600 bytes"),
    ] {
        let server = RedisServer::start();
        push(&server, &[record(2, true)]).await;
        if bad.is_empty() {
            huge(&server, "LPUSH", &["nt:ml:training:data"]).await;
        } else {
            push(&server, &[bad]).await;
        }
        push(&server, &[record(3, false)]).await;
        let refused = import(&server, Some(&daemon), &[]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(65), "{says}: {said}");
        assert!(said.contains(says) && said.contains("training record 2"), "{said}");
        assert!(said.contains("nothing was imported"), "{said}");
        assert!(said.len() < 400, "what was sent is not repeated");
    }
    // Values beside the records that are too large or of another type do not keep the good records out.
    let server = RedisServer::start();
    push(&server, &[record(2, true), record(3, false)]).await;
    huge(&server, "SET", &["nt:ml:common:trained:model"]).await;
    huge(&server, "HSET", &["nt:ml:common:trained:MODEL_TRAINED", "trained"]).await;
    server.query(&["LPUSH", "nt:ml:global:model", "x"]).await;
    let report = json_of(&import(&server, None, &["--dry-run", "--json"]).await);
    let [common, global] = [&report["layouts"][0], &report["layouts"][1]];
    let why = common["model"]["unusable"].as_str();
    assert!(why.is_some_and(|why| why.contains("104857600 bytes")), "{report}");
    assert!(common["flags"]["unusable"].is_string() && global["model"]["unusable"].is_string(), "{report}");

    let server = RedisServer::start();
    push(&server, &[record(2, true)]).await;
    for (from, to, says) in [
        ("\"input_size\":6", "\"input_size\":7", "weights are not as many"),
        ("\"learning_rate\":0.01", "\"learning_rate\":NaN", "not JSON"),
    ] {
        let damaged = fixture("model.json").replacen(from, to, 1);
        assert_ne!(damaged, fixture("model.json"));
        server.query(&["SET", "nt:ml:common:trained:model", &damaged]).await;
        let report = json_of(&import(&server, None, &["--dry-run", "--json"]).await);
        let why = report["layouts"][0]["model"]["unusable"].as_str();
        assert!(why.is_some_and(|why| why.contains(says)), "{says}: {report}");
    }

    // The daemon does not rely on the command line either.
    for (body, status) in
        [(format!("{good}\n{{\"Success\":true}}"), 400), (format!("{good}\n{good} x"), 400), ("x".repeat(100_000), 413)]
    {
        let answer = daemon.http.send("POST", "/v1/import", body.into_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let stranger = daemon.stranger().send("POST", "/v1/import", good.clone().into_bytes()).await;
    assert_eq!(stranger.status, 403, "{stranger:?}");
    let nothing = daemon.http.post("/v1/train", &json!({})).await;
    assert_eq!(nothing.body["outcome"], "not_enough_data");
    assert!(nothing.body["reason"].as_str().is_some_and(|reason| reason.starts_with("0 labelled")), "{nothing:?}");
    assert_eq!(daemon.http.send("POST", "/v1/import", Vec::new()).await.body["taken"], 0);
}

#[tokio::test]
async fn another_profile_takes_no_records_and_gives_no_model() {
    let daemon = Daemon::start(Setup::new("alone")).await;

    let refused = daemon.http.send("POST", "/v1/import", record(1, false).into_bytes()).await;
    assert!(refused.status == 409 && refused.detail().contains("ml.profile"), "{refused:?}");
    assert_eq!(daemon.http.get("/v1/export?format=nauthilus-1.7").await.status, 409);
    daemon.ingest(traffic::history()).await;
    train(&daemon).await;
    let refused = daemon.http.get("/v1/export?format=nauthilus-1.7").await;
    assert!(refused.status == 409 && refused.detail().contains("compat-6"), "{refused:?}");
    assert_eq!(daemon.http.get("/v1/export?format=pickle").await.status, 400);
    assert_eq!(daemon.stranger().get("/v1/export?format=nauthilus-1.7").await.status, 403);
}

/// The formula of the original, written anew: sums, and 1 / (1 + e^-x) on both layers.
#[allow(clippy::disallowed_methods)] // An independent computation must not use ours.
fn forward(model: &Value, row: &[f64; 6]) -> f64 {
    let numbers = |key: &str| -> Vec<f64> {
        model[key].as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (weights, hidden) = (numbers("weights"), numbers("hidden_bias"));
    let mut output = numbers("output_bias")[0];
    for (unit, bias) in hidden.iter().enumerate() {
        let sum: f64 = row.iter().enumerate().map(|(input, value)| weights[unit * 6 + input] * value).sum();
        output += weights[6 * hidden.len() + unit] * sigmoid(sum + bias);
    }
    sigmoid(output)
}

/// Whether two texts say the same model, but for the last digit that a reader of JSON may get wrong.
fn same(one: &Value, other: &Value) {
    let keys = |model: &Value| model.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(one), keys(other));
    for row in [[0.0; 6], [1.0; 6], [0.1, 0.9, 0.2, 0.8, 0.3, 0.0]] {
        assert!((forward(one, &row) - forward(other, &row)).abs() < 1e-13);
    }
}

#[tokio::test]
async fn a_promoted_model_reaches_the_nodes_of_1_7_as_they_read_it() {
    let server = RedisServer::start();
    server.query(&["SET", "nt:ml:common:trained:model_encodings", &fixture("encodings.json")]).await;
    server.query(&["HSET", "nt:ml:common:trained:MODEL_TRAINED", "trained", "0", "dry_run", "1"]).await;
    let client = redis::Client::open(server.url()).expect("an address");
    let mut announced = client.get_async_pubsub().await.expect("a subscription");
    announced.subscribe("nt:ml:common:model:updates").await.expect("a subscription");
    let setup = compat().set("upstream.export", "true").set("upstream.url", format!("{:?}", server.url()));
    let daemon = Daemon::start(setup).await;
    let lines: Vec<String> = (0..1200).map(|number| record(number, number % 3 == 0)).collect();
    assert_eq!(daemon.http.send("POST", "/v1/import", lines.join("\n").into_bytes()).await.body["attacks"], 400);

    train(&daemon).await;

    let mut messages = announced.on_message();
    let message = tokio::time::timeout(SOON, futures_util::StreamExt::next(&mut messages)).await.expect("in time");
    let message: Value = serde_json::from_slice(message.expect("a message").get_payload_bytes()).expect("JSON");
    assert_eq!(message["instance_name"], "nauthilus-neural:alone");
    assert!(message["timestamp"].as_i64().is_some_and(|seconds| seconds > 1_700_000_000), "{message}");
    let mut connection = server.connection().await;
    let stored: Vec<u8> =
        redis::cmd("GET").arg("nt:ml:common:trained:model").query_async(&mut connection).await.expect("a model");
    let life: i64 =
        redis::cmd("TTL").arg("nt:ml:common:trained:model").query_async(&mut connection).await.expect("a number");
    assert!((2_591_900..=2_592_000).contains(&life), "{life}");
    assert!(
        server.query(&["EXISTS", "nt:ml:common:trained:model_encodings"]).await.contains('0'),
        "it would break them"
    );
    let flags = server.query(&["HMGET", "nt:ml:common:trained:MODEL_TRAINED", "trained", "dry_run"]).await;
    assert_eq!(flags.matches("\"1\"").count(), 2, "trained, and their own switch as it was: {flags}");
    let model = UpstreamModel::decode(&stored).expect("sound");
    assert_eq!((model.input_size, model.output_size), (6, 1));

    // What it answers there is what is answered here.
    let model: Value = serde_json::from_slice(&stored).expect("JSON");
    let exported = daemon.http.get("/v1/export?format=nauthilus-1.7").await.body;
    same(&exported["document"], &model);
    let scored = daemon.http.post("/v1/score", &traffic::attempt(1, "198.51.100.4", "anna")).await.body;
    let hour = (0..24).map(|hour| {
        forward(&model, &[1.0, 0.0, f64::from(0.05f32), 0.0, f64::from((f64::from(hour) / 24.0) as f32), 0.0])
    });
    let ours = scored["probability"].as_f64().expect("a model serves");
    assert!(hour.into_iter().any(|theirs| (theirs - ours).abs() < 1e-9), "{ours}");
    let (quiet, guessing) = ([0.5, 0.0, 0.05, 0.0, 0.5, 0.0], [0.0, 0.0, 0.6, 0.5, 0.5, 0.0]);
    assert!(forward(&model, &guessing) > 0.7 && forward(&model, &quiet) < 0.3, "a high output means attack");

    let file = daemon.directory().join("model.json");
    let (token, path) = (daemon.state_dir().join("admin.token"), file.display().to_string());
    let url = format!("http://{}", daemon.http.address());
    let arguments = ["export", "--format", "nauthilus-1.7", "--out", &path, "--url", &url, "--token-file"];
    let arguments = arguments.iter().map(|text| (*text).to_owned()).chain([token.display().to_string()]);
    assert!(cli(arguments.collect()).await.status.success());
    let written: Value = serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
    same(&written, &model);
}

#[tokio::test]
async fn d25_the_bridge_takes_in_what_is_new_follows_learning_mode_and_writes_no_flags() {
    let server = RedisServer::start();
    let records: Vec<String> = (0..1200).map(|number| record(number, number % 3 == 0)).collect();
    push(&server, &records[..1000]).await;
    server.query(&["HSET", "nt:ml:common:trained:MODEL_TRAINED", "trained", "1", "dry_run", "1"]).await;
    let setup = compat().set("upstream.bridge", "true").set("upstream.url", format!("{:?}", server.url()));
    let daemon = Daemon::start(setup).await;
    let bridge = |status: &Value| {
        let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
        let bridge = tasks.into_iter().find(|task| task["name"] == "upstream_bridge").unwrap_or_default();
        bridge["last"]["reason"].as_str().unwrap_or_default().to_owned()
    };
    let patience = SOON + Duration::from_secs(15);
    for (count, more) in [(1000, &records[1000..]), (1200, &[])] {
        let told = format!("{count} records taken in since the start");
        eventually("the records are taken in", patience, || async {
            let said = bridge(&daemon.status().await);
            if said == told { Ok(()) } else { Err(said) }
        })
        .await;
        if !more.is_empty() {
            push(&server, more).await;
        }
    }
    train(&daemon).await;
    let (legit, attack) = scores(&daemon).await;
    assert!(attack > 0.8 && legit < 0.2, "attack {attack}, legitimate {legit}");

    // D25: flags that merely stand there, or were set back, switch nothing; what somebody switches does.
    assert!(daemon.status().await["mode"].is_null(), "nobody switched anything yet");
    server.query(&["HSET", "nt:ml:common:trained:MODEL_TRAINED", "trained", "0"]).await;
    for (on, message) in
        [(true, fixture("learning-mode-update.json")), (false, json!({ "learning_mode": false }).to_string())]
    {
        server.query(&["PUBLISH", "nt:ml:common:learning_mode:updates", "not a message"]).await;
        server.query(&["PUBLISH", "nt:ml:common:learning_mode:updates", &message]).await;
        eventually("learning mode follows", patience, || async {
            let mode = daemon.status().await["mode"].clone();
            if mode["switched_on"] == on { Ok(()) } else { Err(mode.to_string()) }
        })
        .await;
    }
    let flags = server.query(&["HGETALL", "nt:ml:common:trained:MODEL_TRAINED"]).await;
    assert!(flags.contains("\"0\"") && flags.contains("\"1\""), "the bridge writes nothing there: {flags}");
}

#[tokio::test]
async fn one_bad_record_stops_neither_the_others_nor_learning_mode_and_the_trail_tells_of_the_bridge() {
    let server = RedisServer::start();
    let records: Vec<String> = (0..50).map(|number| record(number, number % 3 == 0)).collect();
    push(&server, &records[..20]).await;
    push(&server, &[r#"{"Success":"yes"}"#.to_owned()]).await;
    push(&server, &[format!("\"{}\"", "x".repeat(70_000))]).await;
    push(&server, &records[20..40]).await;
    let setup = compat().set("upstream.bridge", "true").set("upstream.url", format!("{:?}", server.url()));
    let daemon = Daemon::start(setup).await;
    let patience = SOON + Duration::from_secs(15);
    let told = |count: usize| format!("{count} records taken in since the start; 2 left out that cannot be read");
    let followed = async |said: String| {
        eventually("the records are taken in", patience, || async {
            let status = daemon.status().await;
            let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
            let bridge = tasks.into_iter().find(|task| task["name"] == "upstream_bridge").unwrap_or_default();
            if bridge["last"]["reason"] == said.as_str() { Ok(()) } else { Err(bridge.to_string()) }
        })
        .await;
    };
    followed(told(40)).await;
    push(&server, &records[40..]).await;
    followed(told(50)).await;
    let metrics = daemon.http.get("/metrics").await.text;
    for reason in ["malformed", "too_long"] {
        let line = format!("nauthilus_neural_upstream_bridge_left_out_total{{reason=\"{reason}\"}} 1\n");
        assert!(metrics.contains(&line), "{reason}: {metrics}");
    }
    let warned = daemon.log().matches("none of Nauthilus 1.7 and were left out").count();
    assert_eq!((warned, daemon.log().contains("xxxx")), (1, false));

    // Whatever lies in that list, even no list at all.
    server.query(&["DEL", "nt:ml:training:data"]).await;
    server.query(&["SET", "nt:ml:training:data", "no list"]).await;
    server.query(&["PUBLISH", "nt:ml:common:learning_mode:updates", &fixture("learning-mode-update.json")]).await;
    eventually("learning mode follows", patience, || async {
        let mode = daemon.status().await["mode"].clone();
        if mode["switched_on"] == true { Ok(()) } else { Err(mode.to_string()) }
    })
    .await;
    eventually("the trail tells", SOON, || async {
        let audit = daemon.http.get("/v1/audit").await.body;
        let entry = json!([audit[0]["command"], audit[0]["who"], audit[0]["origin"], audit[0]["outcome"]]);
        if entry == json!(["learning_mode", "nauthilus 1.7", "bridge", "ok"]) { Ok(()) } else { Err(audit.to_string()) }
    })
    .await;
}
