//! Model, features, flags and learning mode of 1.7, taken over as they are named.

use serde_json::{Value, json};

use super::{compat, fixture, huge, import, json_of, layout_redis, old_redis, scores};
use crate::support::daemon::{Daemon, Setup};
use crate::support::traffic;

/// Names and encodings of the additional features.
async fn features(daemon: &Daemon) -> Vec<(String, String)> {
    let features = daemon.http.get("/v1/features").await.body;
    let one = |feature: &Value| (feature["name"].to_string(), feature["encoding"].to_string());
    features["additional"].as_array().expect("a list").iter().map(one).collect()
}

#[tokio::test]
async fn every_layout_gives_its_model_features_and_learning_mode_and_giving_them_again_changes_nothing() {
    for layout in ["released", "common", "global"] {
        let server = layout_redis(layout).await;
        let daemon = Daemon::start(compat()).await;

        let report = json_of(&import(&server, Some(&daemon), &["--json"]).await);

        let state = &report["state"];
        assert_eq!(state["learning_mode"], json!({ "outcome": "set", "learning_mode": true }), "{layout}: {state}");
        assert_eq!(state["model"]["outcome"], "candidate", "{layout}: {state}");
        let reason = state["model"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("could not be measured") && reason.contains("100 are needed"), "{reason}");
        let mut expected = vec![("\"identifier\"".to_owned(), "\"one-hot\"".to_owned())];
        if layout != "common" {
            expected.insert(0, ("\"country_code\"".to_owned(), "\"embedding\"".to_owned()));
        }
        assert_eq!(features(&daemon).await, expected, "{layout}");
        let unknown = &report["chosen"]["features_of_unknown_kind"];
        assert_eq!(unknown, &if layout == "global" { json!(["global_auth_rate"]) } else { json!([]) });

        // It waits, and has no say.
        let status = daemon.status().await;
        assert!(status["model"].is_null() && status["mode"]["switched_on"] == true, "{status}");
        assert_eq!(status["mode"]["reason"], "taken over from Nauthilus 1.7");
        let history = daemon.http.get("/v1/models").await.body;
        assert_eq!(
            (&history[0]["trigger"], &history[0]["outcome"]),
            (&json!("import"), &json!("candidate")),
            "{history}"
        );
        let again = json_of(&import(&server, Some(&daemon), &["--json"]).await);
        assert_eq!(again["state"]["model"]["candidate"], state["model"]["candidate"]);
        assert_eq!(again["state"]["learning_mode"]["outcome"], "unchanged");
        assert_eq!(again["state"]["features"]["taken"], json!([]));
        assert_eq!(daemon.http.get("/v1/models").await.body.as_array().map(Vec::len), Some(1), "nothing was added");

        // A person's word: it serves, and means attack.
        let id = state["model"]["candidate"].as_str().expect("an id");
        let approved = daemon.http.post("/v1/approve", &json!({ "training_id": id })).await;
        assert_eq!(approved.body["outcome"], "promoted", "{approved:?}");
        let (legit, attack) = scores(&daemon).await;
        assert!(attack > 0.7 && legit < 0.3, "attack {attack}, legitimate {legit}");
        let said = daemon.http.post("/v1/score", &traffic::attempt(300, "203.0.113.9", "guess-on")).await.body;
        assert_ne!(said["would_be"], "block", "nothing supports a threshold: {said}");
    }
}

#[tokio::test]
async fn parts_are_taken_as_they_are_named_and_what_this_fleet_has_set_itself_stays() {
    let server = layout_redis("released").await;
    let daemon = Daemon::start(compat()).await;
    daemon.http.put("/v1/learning-mode", &json!({ "enabled": false })).await;

    let modest = json_of(&import(&server, Some(&daemon), &["--json"]).await);
    assert_eq!(modest["state"]["learning_mode"]["outcome"], "left", "{modest}");
    assert_eq!(daemon.status().await["mode"]["switched_on"], false);

    let named = json_of(&import(&server, Some(&daemon), &["--json", "--only", "learning-mode"]).await);
    assert_eq!(named["state"]["learning_mode"], json!({ "outcome": "set", "learning_mode": true }));
    assert!(named["state"]["model"].is_null() && named["imported"].is_null(), "{named}");
    assert_eq!(daemon.status().await["mode"]["switched_on"], true);

    let other = Daemon::start(Setup::new("other")).await;
    let refused = import(&server, Some(&other), &["--only", "features,model"]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("compat-6"), "{refused:?}");
    assert!(!refused.status.success() && features(&other).await.is_empty(), "refused whole");
    json_of(&import(&server, Some(&other), &["--json", "--only", "features"]).await);
    assert_eq!(features(&other).await.len(), 2);
}

#[tokio::test]
async fn a_state_that_the_original_did_not_write_refuses_everything() {
    let daemon = Daemon::start(compat()).await;
    for (from, to, says) in [
        ("\"input_size\":6", "\"input_size\":7", "weights are not as many"),
        ("\"learning_rate\":0.01", "\"learning_rate\":NaN", "not JSON"),
        ("", "", "104857600 bytes"),
    ] {
        let server = old_redis().await;
        if from.is_empty() {
            huge(&server, "SET", &["nt:ml:common:trained:model"]).await;
        } else {
            let damaged = fixture("model.json").replacen(from, to, 1);
            server.query(&["SET", "nt:ml:common:trained:model", &damaged]).await;
        }
        let refused = import(&server, Some(&daemon), &[]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(65), "{said}");
        assert!(
            said.contains(says) && said.contains("the model of layout common") && said.contains("--only"),
            "{said}"
        );
    }
    let good: Value = serde_json::from_str(&fixture("model-trained.json")).expect("JSON");
    let mut wide = good.clone();
    wide["hidden_size"] = json!(11);
    for (body, status) in [
        (json!({ "model": wide, "learning_mode": true }), 400),
        (json!({ "model": good, "learning_mod": true }), 400),
        (json!({ "features": [{ "name": "a", "encoding": "hash" }], "learning_mode": true }), 400),
        (json!({ "features": vec![json!({ "name": "a", "encoding": "one-hot" }); 2000], "learning_mode": true }), 400),
    ] {
        let answer = daemon.http.post("/v1/import-state", &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let large = daemon.http.send("POST", "/v1/import-state", vec![b' '; 6 * 1024 * 1024]).await;
    assert_eq!(large.status, 413);
    assert_eq!(daemon.stranger().post("/v1/import-state", &json!({ "learning_mode": true })).await.status, 403);

    assert_eq!(daemon.http.get("/v1/audit").await.body, json!([]), "nothing was carried out");
    assert!(daemon.status().await["mode"].is_null() && features(&daemon).await.is_empty());
    let nothing = daemon.http.post("/v1/train", &json!({})).await;
    assert!(nothing.body["reason"].as_str().is_some_and(|reason| reason.starts_with("0 labelled")), "{nothing:?}");
}
