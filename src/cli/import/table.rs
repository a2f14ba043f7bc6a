//! What `import` shows: what was found, what is taken, and why not.
//!
//! Names of additional features are shown, values never.

use serde_json::{Value, json};

use super::super::render;
use super::Found;
use super::choice::{Choice, Chosen};
use crate::detection::attempt::Timestamp;
use crate::store::upstream::read::{Item, LayoutFound};
use crate::store::upstream::training::{FEATURES, Skipped};

/// Everything as JSON.
pub fn report(found: &Found, choice: &Choice) -> Value {
    let layouts: Vec<Value> = found.layouts.iter().map(layout_report).collect();
    let records = &found.batch.records;
    // The original never filled some columns; a model cannot learn from them.
    let constant = |at: &usize| records.windows(2).all(|pair| pair[0].features[*at] == pair[1].features[*at]);
    let constant: Vec<_> = (0..FEATURES.len()).filter(constant).map(|at| FEATURES[at]).collect();
    json!({
        "layouts": layouts,
        "training": {
            "found": found.stored, "usable": records.len(),
            "successes": records.iter().filter(|record| record.success).count(),
            "skipped": found.batch.skipped_by_name(), "constant": constant,
        },
        "chosen": {
            "model": chosen(&choice.model, |_| json!("to be examined")),
            "features": chosen(&choice.features, |texts| texts.iter().map(|(name, kind)| (name.clone(), json!(kind.encoding()))).collect()),
            "features_of_unknown_kind": choice.unknown_features,
            "learning_mode": chosen(&choice.learning_mode, |on| json!(on)),
        },
        "imported": null,
        "state": null,
    })
}

fn chosen<T>(part: &Chosen<T>, shown: impl Fn(&T) -> Value) -> Value {
    match part {
        Chosen::NotAsked => Value::Null,
        Chosen::Nothing(reason) => json!({ "left": reason }),
        Chosen::Take(value, from) => json!({ "from": from, "value": shown(value) }),
    }
}

fn layout_report(found: &LayoutFound) -> Value {
    fn item<T>(item: &Item<T>, shown: impl Fn(&T) -> Value) -> Value {
        match item {
            Item::Missing => Value::Null,
            Item::Found(value) => json!({ "found": shown(value) }),
            Item::Unusable(error) => json!({ "unusable": error.to_string() }),
        }
    }
    json!({
        "layout": found.layout.to_string(),
        "model": item(&found.model, |model| json!({
            "inputs": model.input_size, "hidden": model.hidden_size, "activation": model.activation_function,
        })),
        "encodings": item(&found.encodings, |encodings| json!({
            "features": encodings.inputs.len(), "inputs": encodings.width(), "partial": encodings.partial,
            "shared_places": encodings.shared_places,
        })),
        "feature_names": item(&found.feature_names, |names| json!(names.len())),
        "flags": item(&found.flags, |flags| json!({
            "trained": flags.trained, "dry_run": flags.dry_run, "learning_mode": flags.learning_mode(),
        })),
        "last_training": item(&found.last_training, |at| Timestamp::from_millis(at * 1000).to_string().into()),
    })
}

/// The table of what was found.
pub fn show(report: &Value) {
    let mut table = render::table(&["where", "what", "found", "taken"]);
    let chosen = &report["chosen"];
    let taken = |part: &str, layout: &str, how: &str| match &chosen[part] {
        Value::Null => "no: not asked for".to_owned(),
        part if part["left"].is_string() => format!("no: {}", render::text(&part["left"])),
        part if render::text(&part["from"]).split(", ").any(|from| from == layout) => how.to_owned(),
        part => format!("no: that of {} is", render::text(&part["from"])),
    };
    for layout in report["layouts"].as_array().into_iter().flatten() {
        let name = render::text(&layout["layout"]);
        for (key, what, taken) in [
            ("model", "model", taken("model", &name, "with its meaning turned round, as a candidate")),
            ("encodings", "encodings", taken("features", &name, "names and encodings of texts")),
            ("feature_names", "additional features", taken("features", &name, "those with an encoding")),
            ("flags", "flags", taken("learning_mode", &name, "dry_run, as learning mode")),
            ("last_training", "last training", "tells the newest model".to_owned()),
        ] {
            let item = &layout[key];
            if item.is_null() {
                continue;
            }
            let found = match &item["found"] {
                Value::Null => format!("unusable: {}", render::text(&item["unusable"])),
                Value::Object(facts) => {
                    let facts: Vec<_> =
                        facts.iter().map(|(name, value)| format!("{name} {}", render::text(value))).collect();
                    facts.join(", ")
                }
                found => render::text(found),
            };
            table.add_row(vec![name.clone(), what.to_owned(), found, taken]);
        }
    }
    let training = &report["training"];
    let all = "all layouts".to_owned();
    let usable = format!("{} of {}", training["usable"], training["found"]);
    let found = format!("{} records, {} usable of successes", training["found"], training["successes"]);
    table.add_row(vec![all.clone(), "training data".to_owned(), found, usable]);
    for reason in Skipped::ALL {
        let count = training["skipped"][reason.name()].as_u64().unwrap_or(0);
        if count > 0 {
            let why = match reason {
                Skipped::Feedback => "no: feedback was stored without what it is about",
                Skipped::OtherWidth => "no: not exactly the six features",
                Skipped::OutOfTime => "no: from the future, or from before 2000",
                Skipped::Repeated => "no: the same record again",
            };
            let what = reason.name().replace('_', " ");
            table.add_row(vec![all.clone(), what, format!("{count} records"), why.to_owned()]);
        }
    }
    out!("{table}");
    let names = |list: &Value| -> Vec<String> { list.as_array().into_iter().flatten().map(render::text).collect() };
    let constant = names(&training["constant"]);
    if !constant.is_empty() && training["usable"].as_u64() > Some(1) {
        out!("equal in all records, so nothing can be learnt from it: {}", constant.join(", "));
    }
    let unknown = names(&chosen["features_of_unknown_kind"]);
    if !unknown.is_empty() {
        out!("left to the first request that gives them, because nobody noted what they hold: {}", unknown.join(", "));
    }
}

/// What the daemon has done.
pub fn show_done(report: &Value) {
    if let Some(taken) = report["imported"]["taken"].as_u64() {
        let attacks = &report["imported"]["attacks"];
        out!("taken: {taken} records, {attacks} of them as attacks; they count at the next training");
    }
    let state = &report["state"];
    let outcome = |part: &Value| {
        let reason = render::text(&part["reason"]);
        let outcome = render::text(&part["outcome"]).replace('_', " ");
        if part["reason"].is_null() { outcome } else { format!("{outcome}: {reason}") }
    };
    if !state["model"].is_null() {
        let id = &state["model"]["candidate"];
        let next =
            if id.is_null() { String::new() } else { format!("; see `history`, then `approve {}`", render::text(id)) };
        out!("model: {}{next}", outcome(&state["model"]));
    }
    if !state["features"].is_null() {
        let features = &state["features"];
        let names = |list: &Value| -> String {
            let names: Vec<String> = list
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| render::text(if one.is_object() { &one["name"] } else { one }))
                .collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        if features["outcome"] == "left" {
            out!("additional features: {}", outcome(features));
        } else {
            let (taken, known, left) = (names(&features["taken"]), names(&features["known"]), names(&features["left"]));
            out!("additional features: taken {taken}; known {known}; left {left}");
        }
    }
    if !state["learning_mode"].is_null() {
        let mode = &state["learning_mode"];
        let on = match mode["learning_mode"].as_bool() {
            Some(true) => " on",
            Some(false) => " off",
            None => "",
        };
        out!("learning mode: {}{on}", outcome(mode));
    }
}
