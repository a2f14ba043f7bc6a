//! Dashboards and alerts speak of metrics that a daemon really has, and no traffic makes `/metrics` grow without end.
//!
//! Names are found in PromQL by a plain scan for identifiers; the language itself is not parsed here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::{raw, traffic};

const DASHBOARDS: [&str; 3] = ["etc/grafana/nauthilus-neural.json", "etc/grafana/nauthilus-ml.json", ATTACKS];
const ATTACKS: &str = "etc/grafana/nauthilus-distributed-brute-force.json";
const RULES: &str = "etc/prometheus/nauthilus-neural.rules.yml";
/// Whatever comes in, one answer has no more series than this.
const SERIES_MAX: usize = 2000;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// The metrics that an expression names.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("nauthilus_")).map(str::to_owned).collect()
}

/// Every expression of a dashboard, also those of its variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if matches!(name.as_str(), "expr" | "query" | "definition") => {
                        found.push(text.to_owned());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

fn dashboard(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The alerts of the file by name: what stands at each key, several lines in one.
fn alerts() -> BTreeMap<String, BTreeMap<String, String>> {
    let text = read(RULES);
    let mut alerts = BTreeMap::new();
    for block in text.split("- alert: ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a name");
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut open = None;
        for line in rest.lines().take_while(|line| !line.is_empty()) {
            let key = line.trim_start().split_once(':').filter(|(key, _)| {
                matches!(*key, "expr" | "for" | "labels" | "severity" | "annotations" | "summary" | "description")
            });
            match (key, &open) {
                (Some((key, value)), _) => {
                    fields.insert(key.to_owned(), value.trim().trim_matches('"').to_owned());
                    open = Some(key.to_owned());
                }
                (None, Some(key)) => fields.entry(key.clone()).or_default().push_str(line),
                (None, None) => {}
            }
        }
        assert!(alerts.insert(name.trim().to_owned(), fields).is_none(), "{name} stands there twice");
    }
    alerts
}

/// The samples of one answer: everything up to the value.
fn series(page: &str) -> Vec<&str> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect()
}

/// The names of the samples.
fn live(page: &str) -> BTreeSet<&str> {
    series(page).into_iter().map(|series| series.split('{').next().unwrap_or(series)).collect()
}

async fn trained(setup: Setup) -> Daemon {
    let daemon = Daemon::start(setup).await;
    daemon.ingest(traffic::history()).await;
    let trained = daemon.http.post("/v1/train", &json!({})).await;
    assert_eq!(trained.body["outcome"], "promoted", "{trained:?}");
    eventually("it serves the model", SOON, || async {
        let serves = daemon.sha256().await;
        if serves.as_deref() == trained.body["model"]["sha256"].as_str() { Ok(()) } else { Err(format!("{serves:?}")) }
    })
    .await;
    daemon
}

async fn page(daemon: &Daemon) -> String {
    let answer = daemon.http.get("/metrics").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text.ends_with("# EOF\n"));
    answer.text
}

#[tokio::test]
async fn dashboards_alerts_and_the_operations_page_name_the_metrics_that_a_daemon_has() {
    let daemon = trained(Setup::new("alone").set("metrics.weight_series_max", "30")).await;
    traffic::ten_words(&daemon.http, 0).await;

    let page = eventually("the hours are shown", SOON, || async {
        let page = page(&daemon).await;
        if page.contains("nauthilus_dbf_historical_attempts{") { Ok(page) } else { Err(page) }
    })
    .await;

    check_table(&page);
    let live = live(&page);
    let mut used: Vec<(String, String)> = Vec::new();
    for path in DASHBOARDS {
        let dashboard = dashboard(path);
        let mut found = Vec::new();
        expressions(&dashboard, &mut found);
        used.extend(found.into_iter().map(|expression| (path.to_owned(), expression)));
        for panel in panels(&dashboard) {
            let targets = panel["targets"].as_array().expect("targets");
            let named =
                targets.iter().all(|target| target["expr"].as_str().is_some_and(|expr| !names(expr).is_empty()));
            assert!(!targets.is_empty() && named, "{path}: {} asks for nothing", panel["title"]);
        }
    }
    for (alert, fields) in alerts() {
        used.push((alert, fields["expr"].clone()));
    }
    let operations = read("docs/operations.md");
    let mut checked = BTreeSet::new();
    for (place, expression) in used {
        for name in names(&expression) {
            assert!(live.contains(name.as_str()), "{place} names {name}, which /metrics does not have:\n{page}");
            let family = name.trim_end_matches("_bucket");
            assert!(operations.contains(&format!("`{family}`")), "docs/operations.md does not mention {family}");
            checked.insert(name);
        }
    }
    assert!(checked.len() > 45, "only {} names were found: {checked:?}", checked.len());
}

/// Every metric of a live page stands in a table of the operations page.
fn check_table(page: &str) {
    let operations = read("docs/operations.md");
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut seen = 0;
    for (name, kind) in families {
        let name = match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        };
        let listed = operations.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let mut cells = listed.map(|cell| cell.contains(&format!("`{name}`")));
        assert!(cells.any(|found| found), "docs/operations.md does not list {name} ({kind})");
        seen += 1;
    }
    assert!(seen >= 50, "only {seen} families");
}

#[test]
fn the_dashboard_of_the_original_shows_every_metric_that_it_had_panels_for() {
    let dashboard = dashboard("etc/grafana/nauthilus-ml.json");
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let shown: BTreeSet<String> = found.iter().flat_map(|expression| names(expression)).collect();

    assert_eq!(dashboard["uid"], "nauthilus-ml");
    for name in [
        "network_structure",
        "training_error",
        "training_progress",
        "training_samples_used",
        "training_duration_seconds_bucket",
        "prediction_confidence",
        "prediction_count",
        "prediction_duration_seconds_bucket",
        "feature_values",
        "neuron_activations",
    ] {
        assert!(shown.contains(&format!("nauthilus_ml_{name}")), "{name} is not in {shown:?}");
    }
}

#[test]
fn the_dashboard_of_attacks_shows_every_metric_of_the_original_and_the_watch_of_this_daemon() {
    let dashboard = dashboard(ATTACKS);
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    let shown: BTreeSet<String> = found.iter().flat_map(|expression| names(expression)).collect();

    assert_eq!(dashboard["uid"], "nauthilus-dbf");
    let numbers = ["unique_ips", "unique_users", "attempts_per_ip", "attempts_per_user", "ips_per_user"];
    let mut expected: Vec<String> =
        numbers.iter().flat_map(|name| [(*name).into(), format!("historical_{name}")]).collect();
    let more = ["auth_attempts", "historical_attempts", "report_generations", "max_threat_level", "avg_threat_level"];
    let events = ["event_count", "severe_events", "high_events", "moderate_events"];
    expected.extend(more.iter().chain(&events).map(|name| (*name).to_owned()));
    let expected = expected.iter().map(|name| format!("nauthilus_dbf_{name}"));
    let own = ["threat", "attack_measures", "attacked_accounts"].map(|name| format!("nauthilus_neural_{name}"));
    for name in expected.chain(own) {
        assert!(shown.contains(&name), "{name} is not in {shown:?}");
    }
    // Each node shows the whole site: adding nodes would count everything twice.
    let added = found.iter().filter(|expression| expression.contains("sum") && expression.contains("nauthilus_dbf_"));
    assert!(added.into_iter().all(|expression| expression.contains("report_generations")));
}

#[test]
fn alerts_tell_of_a_threat_by_its_levels() {
    let alerts = alerts();
    let of = |name: &str| (alerts[name]["expr"].as_str(), alerts[name]["severity"].as_str());

    assert_eq!(of("NauthilusNeuralThreatSevere"), ("max by (job) (nauthilus_neural_threat) >= 0.9", "critical"),);
    assert_eq!(of("NauthilusNeuralThreatHigh"), ("max by (job) (nauthilus_neural_threat) >= 0.7 < 0.9", "warning"),);
}

#[test]
fn panels_of_a_dashboard_do_not_cover_each_other_and_ask_the_chosen_source() {
    for path in DASHBOARDS {
        let dashboard = dashboard(path);
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let at = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
            assert!(at("x") + at("w") <= 24, "{path}: {} is too wide", panel["title"]);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{path}: {} covers another panel", panel["title"]);
                }
            }
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{path}: an id twice");
        }
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().expect("targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{path}: {}", panel["title"]);
                let expression = target["expr"].as_str().expect("an expression");
                assert!(expression.contains("instance=~\"$instance\""), "{path}: {expression} ignores the node");
            }
        }
    }
}

#[test]
fn every_alert_says_what_is_wrong_and_where_to_read_on() {
    let operations = read("docs/operations.md");
    let headings: BTreeSet<String> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace(' ', "-").replace('.', ""))
        .collect();
    let alerts = alerts();
    for (name, fields) in &alerts {
        for key in ["expr", "severity", "summary", "description"] {
            assert!(fields.get(key).is_some_and(|text| !text.is_empty()), "{name} has no {key}: {fields:?}");
        }
        assert!(["critical", "warning", "info"].contains(&fields["severity"].as_str()), "{name}: {fields:?}");
        assert!(!names(&fields["expr"]).is_empty(), "{name} asks for no metric: {fields:?}");
        let anchor =
            fields["description"].split_once("docs/operations.md#").map(|(_, rest)| rest.trim_end_matches('.'));
        assert!(anchor.is_some_and(|anchor| headings.contains(anchor)), "{name} points to no section: {anchor:?}");
        assert!(operations.contains(&format!("`{name}`")), "docs/operations.md does not mention {name}");
    }
    assert!(alerts.len() >= 10, "only {} alerts were found", alerts.len());
}

#[tokio::test]
async fn hostile_traffic_does_not_make_the_metrics_grow() {
    let setup = Setup::new("alone").set("metrics.weight_series_max", "1000").set("ml.additional_features_max", "32");
    let daemon = trained(setup).await;
    let client = &daemon.http;
    let quiet = series(&page(&daemon).await).len();
    for number in 0..150 {
        let evil = format!("evil{number}\"}} 1\\n{{x=\"");
        let mut attempt = traffic::attempt(number, &format!("203.0.{}.{number}", number % 100), &evil);
        attempt["features"] = (0..20).map(|name| (format!("f{}", number * 20 + name), json!("text"))).collect();
        attempt["protocol"] = json!(format!("proto{number}"));
        client.post("/v1/score", &attempt).await;
        client.post(&format!("/v1/{number}"), &attempt).await;
        client.send(&format!("METHOD{number}"), "/v1/score", Vec::new()).await;
        if number % 50 == 0 {
            // A node that does not know a request looks through the stream first, which may take a second.
            client.get(&format!("/v1/explain/nobody{number}")).await;
        }
        client
            .post("/v1/outcome", &json!({ "request_id": format!("request-{number}"), "success": number % 3 == 0 }))
            .await;
        client.post("/v1/feedback", &json!({ "request_id": evil, "is_brute_force": true })).await;
        client.post("/v1/score", &json!({ format!("field{number}"): evil })).await;
        let host = format!("Host: evil{number}.example.org");
        raw::request(client.address(), "GET /metrics", &[&host]).await;
    }
    eventually("the names have become features", SOON, || async {
        let features = client.get("/v1/features").await.body;
        let known = features["additional"].as_array().map_or(0, Vec::len);
        if known == 32 { Ok(()) } else { Err(features.to_string()) }
    })
    .await;
    for number in 1000..1010 {
        client.post("/v1/score", &traffic::attempt(number, "198.51.100.9", "alice")).await;
    }

    let page = page(&daemon).await;

    let series = series(&page);
    let distinct: BTreeSet<&str> = series.iter().copied().collect();
    assert_eq!(distinct.len(), series.len(), "a series stands there twice");
    println!("{quiet} series before, {} after, {} bytes", series.len(), page.len());
    assert!(series.len() <= SERIES_MAX, "{} series", series.len());
    let of = |name: &str| series.iter().filter(|one| one.starts_with(&format!("nauthilus_ml_{name}{{"))).count();
    // All that this network has.
    assert_eq!((of("neuron_activations"), of("weight_values")), (1 + 16, 1 + 16 + 16 * (1 + 51)));
    assert_eq!(of("feature_values"), 51 + 64);
    assert!(of("training_error") <= 20);
    assert!(!page.contains("evil") && !page.contains("203.0."), "{page}");
}

#[tokio::test]
async fn activations_and_weights_are_only_shown_to_those_who_want_them() {
    let mut daemon = Daemon::start(Setup::new("alone")).await;
    let scored = daemon.http.post("/v1/score", &traffic::attempt(1, "198.51.100.7", "alice")).await;
    assert_eq!(scored.status, 200, "{scored:?}");
    let before = page(&daemon).await;
    assert!(!before.contains("weight_values") && !before.contains("neuron_activations"), "{before}");
    assert!(before.contains("nauthilus_ml_network_structure{layer=\"hidden\"} 16.0\n"), "{before}");

    daemon.change("metrics.weight_series_max", "20");
    daemon.signal("HUP");

    eventually("the new limit is in force", SOON, || async {
        let page = page(&daemon).await;
        let count =
            |name: &str| page.lines().filter(|line| line.starts_with(&format!("nauthilus_ml_{name}{{"))).count();
        match (count("neuron_activations"), count("weight_values")) {
            (17, 3) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
