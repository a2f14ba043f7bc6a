//! The commands that ask a running daemon for something: one request each, then its answer as text or JSON.

use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::{Common, FeaturesAction, FeedbackArgs, Period, Switch, TrainArgs, progress, render};

type Done = Result<(), Failure>;

pub fn status(common: &Common) -> Done {
    let status = Client::open(common)?.get("/v1/status")?;
    if common.json { render::json(&status) } else { render::status(&status) }
}

pub fn history(common: &Common) -> Done {
    let history = Client::open(common)?.get("/v1/models")?;
    if common.json { render::json(&history) } else { render::history(&history) }
}

pub fn audit(common: &Common, limit: usize) -> Done {
    let trail = Client::open(common)?.get(&format!("/v1/audit?limit={limit}"))?;
    if common.json { render::json(&trail) } else { render::audit(&trail) }
}

pub fn report(common: &Common, period: Period) -> Done {
    let period = match period {
        Period::Daily => "daily",
        Period::Weekly => "weekly",
        Period::Monthly => "monthly",
    };
    let report = Client::open(common)?.get(&format!("/v1/report?period={period}"))?;
    if common.json { render::json(&report) } else { render::report(&report) }
}

pub fn train(common: &Common, args: &TrainArgs) -> Done {
    let mut body = json!({});
    if let Some(samples) = args.samples {
        body["samples"] = samples.into();
    }
    if let Some(epochs) = args.epochs {
        body["epochs"] = epochs.into();
    }
    if args.tune {
        body["tune"] = true.into();
    }
    let bar = progress::bar();
    let answer = Client::open(common)?
        .post_watching("/v1/train", &body, "/v1/status", |status| progress::show_status(&bar, status));
    bar.finish_and_clear();
    let answer = answer?;
    if common.json {
        return render::json(&answer);
    }
    out!("{}: {}", render::text(&answer["outcome"]), render::text(&answer["reason"]));
    render::model("model", &answer["model"]);
    if !answer["tuning"].is_null() {
        render::tuning(&answer["tuning"]);
    }
    render::evaluation(&answer["evaluation"])
}

pub fn reset(common: &Common) -> Done {
    let answer = Client::open(common)?.post("/v1/reset", &json!({}))?;
    said(common, &answer, "the fleet has no model now; static results until one is trained")
}

pub fn rollback(common: &Common, generation: Option<u64>) -> Done {
    let body = generation.map_or_else(|| json!({}), |generation| json!({ "generation": generation }));
    let answer = Client::open(common)?.post("/v1/rollback", &body)?;
    let sentence = "an earlier model is current again and pinned until you train";
    said(common, &answer, sentence)?;
    if !common.json {
        render::model("model", &answer["model"]);
    }
    Ok(())
}

pub fn approve(common: &Common, training_id: Option<&str>, discard: bool) -> Done {
    let mut body = json!({ "discard": discard });
    if let Some(id) = training_id {
        body["training_id"] = id.into();
    }
    let answer = Client::open(common)?.post("/v1/approve", &body)?;
    let done = if discard { "is discarded" } else { "serves now" };
    said(common, &answer, &format!("candidate {} {done}", render::text(&answer["id"])))?;
    if !common.json {
        render::model("model", &answer["model"]);
    }
    Ok(())
}

pub fn learning_mode(common: &Common, mode: Option<Switch>) -> Done {
    let client = Client::open(common)?;
    let answer = match mode {
        None => client.get("/v1/learning-mode")?,
        Some(mode) => client.put("/v1/learning-mode", &json!({ "enabled": matches!(mode, Switch::On) }))?,
    };
    let on = answer["learning_mode"].as_bool().unwrap_or(true);
    let (why, set) = (render::mode_cause(&answer), render::mode_setting(&answer));
    said(common, &answer, &format!("learning mode is {}{why}{set}", if on { "on" } else { "off" }))
}

pub fn features(common: &Common, action: &FeaturesAction) -> Done {
    let client = Client::open(common)?;
    match action {
        FeaturesAction::List => {
            let answer = client.get("/v1/features")?;
            if common.json { render::json(&answer) } else { render::features(&answer) }
        }
        FeaturesAction::Remove { names } => {
            let answer = client.delete("/v1/features", &json!({ "names": names }))?;
            if let (false, Some(unknown)) = (common.json, answer["unknown"].as_array()) {
                let unknown: Vec<_> = unknown.iter().map(render::text).collect();
                out!("not among the features, so nothing was to remove: {}", unknown.join(", "));
            }
            said(common, &answer, "removed; the fleet has no model now; static results until one is trained")
        }
        FeaturesAction::Allow { names } => {
            let answer = client.post("/v1/features", &json!({ "names": names }))?;
            let allowed = answer["allowed"].as_array().map_or(0, Vec::len);
            said(common, &answer, &format!("refused until now: {allowed}; requests may bring all of them in again"))
        }
    }
}

pub fn feedback(common: &Common, args: &FeedbackArgs) -> Done {
    let body = json!({
        "is_brute_force": args.brute_force,
        "request_id": args.request_id,
        "client_ip": args.client_ip,
        "username": args.username,
        "author": args.author,
    });
    let answer = Client::open(common)?.post("/v1/feedback", &body)?;
    let sentence = format!("recorded; {} of {} for the next training", answer["pending"], answer["needed"]);
    said(common, &answer, &sentence)
}

pub fn feedback_list(common: &Common, limit: usize) -> Done {
    let items = Client::open(common)?.get(&format!("/v1/feedback?limit={limit}"))?;
    if common.json { render::json(&items) } else { render::feedback(&items) }
}

pub fn explain(common: &Common, request_id: &str) -> Done {
    let answer = Client::open(common)?.get(&format!("/v1/explain/{}", segment(request_id)))?;
    if common.json { render::json(&answer) } else { render::explanation(&answer) }
}

/// A text as one segment of a path: everything but the unreserved characters is percent-encoded (RFC 3986).
fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

fn said(common: &Common, answer: &Value, sentence: &str) -> Done {
    if common.json {
        return render::json(answer);
    }
    out!("{sentence}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_request_id_of_any_characters_is_one_segment_of_the_path() {
        assert_eq!(segment("r-1.2_3~4"), "r-1.2_3~4");
        assert_eq!(segment("a/b?c#d %é"), "a%2Fb%3Fc%23d%20%25%C3%A9");
    }
}
