//! Turns answers into text for people: tables, short hashes, percentages.

use std::fmt;
use std::io::{self, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use super::failure::Failure;
use crate::exit;

/// Prints one JSON value on stdout.
pub fn json(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::data(error.to_string()))?;
    out!("{text}");
    Ok(())
}

/// Prints one line on stdout. A reader that has gone (`… | head`) ends the program quietly, as it ends other tools.
pub fn line(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.write_all(b"\n")) {
        let code = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { exit::CANNOT_CREATE };
        std::process::exit(i32::from(code));
    }
}

/// A table with this heading.
pub fn table(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(heading.to_vec());
    table
}

/// A JSON value as a person would write it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.4}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// `generation 7 (1a2b3c4d5e6f)`.
pub fn short_model(model: &Value) -> String {
    match model["generation"].as_u64() {
        None => "none".to_owned(),
        Some(generation) => {
            let sha: String = model["sha256"].as_str().unwrap_or("").chars().take(12).collect();
            format!("generation {generation} ({sha})")
        }
    }
}

/// One line about a model.
pub fn model(name: &str, model: &Value) {
    out!("{name}: {}", short_model(model));
}

/// The measures of a training.
pub fn evaluation(evaluation: &Value) -> Result<(), Failure> {
    if evaluation.is_null() {
        return Ok(());
    }
    let mut table = table(&["hold-out measure", "value"]);
    for (key, name) in [
        ("rows", "rows"),
        ("positives", "attacks"),
        ("roc_auc", "ROC AUC"),
        ("pr_auc", "PR AUC"),
        ("threshold", "threshold"),
        ("recall", "recall at the threshold"),
        ("false_positive_rate", "false-positive rate at the threshold"),
        ("brier", "Brier score"),
        ("ece", "calibration error (ECE)"),
        ("mean_score_attack", "mean score of attacks"),
        ("mean_score_legit", "mean score of legitimate attempts"),
    ] {
        table.add_row(vec![name.to_owned(), text(&evaluation[key])]);
    }
    out!("{table}");
    Ok(())
}

/// Why a node has no say, where not the fleet's switch is the cause.
pub fn mode_cause(node: &Value) -> &'static str {
    match (node["enabled"].as_bool(), node["dry_run"].as_bool(), node["trained"].as_bool()) {
        (Some(false), ..) => " (ml.enabled is false on this node: the static result counts)",
        (_, Some(true), _) => " (dry_run is set on this node)",
        (_, _, Some(false)) => " (no model is trained yet)",
        _ => "",
    }
}

/// Who or what set learning mode, to what, when and why; empty where nobody did.
pub fn mode_setting(mode: &Value) -> String {
    if mode["cause"].is_null() {
        return String::new();
    }
    let reason = mode["reason"].as_str().map_or_else(String::new, |reason| format!(": {reason}"));
    let to = match mode["switched_on"].as_bool() {
        Some(true) => " to on",
        Some(false) => " to off",
        None => "",
    };
    format!("; the fleet's switch was set{to} by {} at {}{reason}", text(&mode["cause"]), text(&mode["since"]))
}

/// What a search tried: one line for each candidate, the chosen one marked.
pub fn tuning(tuning: &Value) {
    let mut table = table(&["neurons", "learning rate", "weight decay", "epochs", "log-loss", "PR AUC", "recall", ""]);
    let small = |value: &Value| value.as_f64().map_or("–".to_owned(), |value| format!("{value}"));
    let measure = |measure: &Value| match (measure["mean"].as_f64(), measure["spread"].as_f64()) {
        (Some(mean), Some(spread)) => format!("{mean:.4} ±{spread:.4}"),
        _ => "–".to_owned(),
    };
    let winner = &tuning["winner"];
    for tried in tuning["tried"].as_array().into_iter().flatten() {
        let chosen = ["hidden", "learning_rate", "l2"].iter().all(|key| tried[*key] == winner[*key]);
        table.add_row(vec![
            text(&tried["hidden"]),
            small(&tried["learning_rate"]),
            small(&tried["l2"]),
            text(&tried["epochs"]),
            measure(&tried["log_loss"]),
            measure(&tried["pr_auc"]),
            measure(&tried["recall"]),
            if chosen { "chosen" } else { "" }.to_owned(),
        ]);
    }
    let (rows, folds) = (text(&tuning["rows"]), text(&tuning["folds"]));
    out!("tuning on {rows} samples, {folds} folds by time (mean ±spread; compare within one number of epochs):");
    out!("{table}");
}

/// `status`.
pub fn status(status: &Value) -> Result<(), Failure> {
    let node = &status["node"];
    out!("{} · version {} · up {} s", text(&node["name"]), text(&node["version"]), text(&node["uptime_s"]));
    model("model", &status["model"]);
    if status["prior"] == true {
        out!("prior: the shipped model scores, and only watches");
    }
    let on = status["learning_mode"].as_bool().unwrap_or(true);
    let (why, set) = (mode_cause(status), mode_setting(&status["mode"]));
    out!("learning mode: {}{why}{set}", if on { "on" } else { "off" });
    let candidate = &status["candidate"];
    if !candidate.is_null() {
        out!(
            "waits for approve: {} of {} by {}: {}",
            text(&candidate["id"]),
            text(&candidate["trained_at"]),
            text(&candidate["trigger"]),
            text(&candidate["reason"])
        );
    }
    let feedback = &status["feedback"];
    out!("feedback: {} new, {} start a training", text(&feedback["pending"]), text(&feedback["needed"]));
    let overrides = &status["overrides"];
    out!("overrides: {} release, {} block", text(&overrides["release"]), text(&overrides["block"]));
    let store = &status["store"];
    let connected = if store["connected"].as_bool().unwrap_or(false) { "connected" } else { "AWAY" };
    out!(
        "store: {} {connected}, {} attempts queued, {} dropped",
        text(&store["backend"]),
        text(&store["queued"]),
        text(&store["dropped"])
    );
    let last = &status["training"]["last"];
    if !last.is_null() {
        out!(
            "last training: {} by {}: {} {}",
            text(&last["at"]),
            text(&last["trigger"]),
            text(&last["outcome"]),
            text(&last["reason"])
        );
    }
    out!("next scheduled training: {}", text(&status["training"]["next"]));
    for key in ["restart_required", "notices"] {
        for notice in status[key].as_array().into_iter().flatten() {
            out!("{}: {}", key.replace('_', " "), text(notice));
        }
    }
    let mut fleet = table(&["node", "model", "seen"]);
    for node in status["fleet"].as_array().into_iter().flatten() {
        fleet.add_row(vec![text(&node["name"]), short_model(&node["model"]), text(&node["seen_at"])]);
    }
    out!("{fleet}");
    let mut tasks = table(&["task", "state", "last", ""]);
    for task in status["tasks"].as_array().into_iter().flatten() {
        let last = &task["last"];
        tasks.add_row(vec![text(&task["name"]), text(&task["state"]), text(&last["outcome"]), text(&last["reason"])]);
    }
    out!("{tasks}");
    Ok(())
}

/// `features list`.
pub fn features(features: &Value) -> Result<(), Failure> {
    let names: Vec<_> = features["standard"].as_array().into_iter().flatten().map(text).collect();
    out!("standard: {}", names.join(", "));
    let mut table = table(&["additional", "kind", "encoding", "first seen"]);
    for feature in features["additional"].as_array().into_iter().flatten() {
        let columns = ["name", "kind", "encoding", "first_seen"];
        table.add_row(columns.map(|column| text(&feature[column])).to_vec());
    }
    out!("{table}");
    let refused = features["refused"].as_array().into_iter().flatten();
    for (name, until) in refused.map(|refused| (text(&refused["name"]), text(&refused["until"]))) {
        out!("removed and refused until {until}: {name} (`features allow` lets it in again)");
    }
    Ok(())
}

/// `history`.
pub fn history(history: &Value) -> Result<(), Failure> {
    let mut table = table(&["trained", "trigger", "outcome", "model", "samples", "ROC AUC", "reason"]);
    for entry in history.as_array().into_iter().flatten() {
        table.add_row(vec![
            text(&entry["trained_at"]),
            text(&entry["trigger"]),
            outcome(entry),
            short_model(&entry["model"]),
            text(&entry["samples"]),
            text(&entry["evaluation"]["roc_auc"]),
            text(&entry["reason"]),
        ]);
    }
    out!("{table}");
    Ok(())
}

/// `override list`.
pub fn overrides(list: &Value) -> Result<(), Failure> {
    let columns = ["id", "kind", "account", "network", "until", "by", "reason"];
    let mut table = table(&columns);
    for entry in list.as_array().into_iter().flatten() {
        table.add_row(columns.map(|column| text(&entry[column])).to_vec());
    }
    out!("{table}");
    Ok(())
}

/// Who said what, newest first.
pub fn feedback(items: &Value) -> Result<(), Failure> {
    let columns = ["at", "request", "client_ip", "author", "is_brute_force", "state"];
    let mut table = table(&columns);
    for item in items.as_array().into_iter().flatten() {
        table.add_row(columns.map(|column| text(&item[column])).to_vec());
    }
    out!("{table}");
    Ok(())
}

/// `audit`.
pub fn audit(trail: &Value) -> Result<(), Failure> {
    let columns = ["at", "who", "origin", "peer", "node", "command", "outcome"];
    let mut table = table(&columns);
    for entry in trail.as_array().into_iter().flatten() {
        table.add_row(columns.map(|column| text(&entry[column])).to_vec());
    }
    out!("{table}");
    Ok(())
}

/// The outcome of an entry: a candidate with its id, and whether it still waits; a training that ended learning mode says so.
pub fn report(report: &Value) -> Result<(), Failure> {
    let number = |name: &str| text(&report[name]);
    out!("period:   {}, of which {} hours are known", number("period"), number("hours"));
    out!(
        "threat:   highest {}, mean {:.3}",
        number("max_threat_level"),
        report["avg_threat_level"].as_f64().unwrap_or(0.0)
    );
    out!(
        "events:   {} ({} severe, {} high, {} moderate)",
        number("event_count"),
        number("severe_events"),
        number("high_events"),
        number("moderate_events")
    );
    out!("attempts: {}, of which {} failed", number("attempts"), number("failures"));
    Ok(())
}

fn outcome(entry: &Value) -> String {
    let outcome = text(&entry["outcome"]);
    if entry["waiting"] == true {
        return format!("{outcome} {}, waits for approve", text(&entry["candidate"]));
    }
    if entry["ended_learning_mode"] == true {
        return format!("{outcome}, ended learning mode");
    }
    outcome
}

/// A factor of odds, as a multiple where it raises them and as a part where it lowers them.
fn odds(factor: f64) -> String {
    if factor >= 1.0 { format!("×{factor:.1}") } else { format!("÷{:.1}", 1.0 / factor) }
}

/// `explain`.
pub fn explanation(explanation: &Value) -> Result<(), Failure> {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    out!("request {}: probability of attack {}", text(&explanation["request_id"]), text(&explanation["probability"]));
    if explanation["prior"] == true {
        out!("explained with the shipped prior model: none is trained");
    } else {
        model("explained with the model in use", &explanation["model"]);
    }
    out!("logit {:.2}; ordinary logins have {:.2}", number(&explanation["logit"]), number(&explanation["base_logit"]));
    let mut table = table(&["group", "logit", "odds", "why"]);
    for part in explanation["contributions"].as_array().into_iter().flatten() {
        table.add_row(vec![
            text(&part["group"]).replace('_', " "),
            format!("{:+.2}", number(&part["logit"])),
            odds(number(&part["odds_factor"])),
            text(&part["text"]),
        ]);
    }
    out!("{table}");
    Ok(())
}
