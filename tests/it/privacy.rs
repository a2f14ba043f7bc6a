//! What a store never holds: names, programs and texts of people.

use serde_json::json;

use crate::support::daemon::{Daemon, SOON, Setup};
use crate::support::eventually::eventually;
use crate::support::redis::RedisServer;
use crate::support::traffic;

/// Everything in a Redis, keys and contents, as bytes.
async fn everything(server: &RedisServer) -> Vec<u8> {
    // Otherwise longer texts are compressed and could not be found.
    server.query(&["CONFIG", "SET", "rdbcompression", "no"]).await;
    let mut connection = server.connection().await;
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("a list");
    let mut all = Vec::new();
    for key in keys {
        let content: Vec<u8> = redis::cmd("DUMP").arg(&key).query_async(&mut connection).await.expect("a dump");
        all.extend(key);
        all.extend(content);
    }
    all
}

fn holds(all: &[u8], text: &str) -> bool {
    let (all, text) = (all.to_ascii_lowercase(), text.to_ascii_lowercase());
    all.windows(text.len()).any(|window| window == text.as_bytes())
}

/// D37: names and programs of users lay in Redis as they were.
#[tokio::test]
async fn d37_neither_names_nor_programs_nor_texts_of_people_reach_the_store() {
    let server = RedisServer::start();
    let daemon = Daemon::start(Setup::on(&server, "a")).await;
    let texts = json!({ "device": "quirk-device-text", "shape": "quirk-shape-text" });
    let mut first = traffic::attempt(100, "198.51.100.7", "Zoe.Quirk");
    (first["features"], first["encoding"]) = (texts.clone(), json!({ "shape": "embedding" }));
    traffic::login(&daemon.http, &first, true).await;
    eventually("the features are known", SOON, || async {
        let features = daemon.http.get("/v1/features").await.body;
        let known = features["additional"].as_array().map_or(0, Vec::len);
        if known == 2 { Ok(()) } else { Err(features.to_string()) }
    })
    .await;
    for number in 1..30 {
        let mut attempt = traffic::attempt(number, "198.51.100.7", "Zoe.Quirk");
        attempt["account"] = json!("zquirk-account");
        attempt["user_agent"] = json!("Quirkmail/77.1");
        attempt["client_id"] = json!("quirk-client-id");
        (attempt["features"], attempt["encoding"]) = (texts.clone(), json!({ "shape": "embedding" }));
        traffic::login(&daemon.http, &attempt, number % 2 == 0).await;
        if number < 3 {
            let given = daemon.http.post("/v1/feedback", &traffic::feedback(&attempt, true)).await;
            assert_eq!(given.status, 200, "{given:?}");
        }
    }
    eventually("the attempts are stored", SOON, || async {
        let length = server.query(&["XLEN", "nt:{neural}:attempts"]).await;
        if length.contains("30") || length.contains("60") { Ok(()) } else { Err(length) }
    })
    .await;

    let all = everything(&server).await;

    assert!(holds(&all, "device"), "names of features are kept, so this finds what is there");
    // The audit trail names the requests that somebody gave his word on, 0 to 2; the others are nowhere.
    for text in ["quirk", "request-29", "guess"] {
        assert!(!holds(&all, text), "{text}");
    }
}
