//! Words of people that contradict each other, or the label: what a training tells about them.

use serde_json::json;

use crate::support::daemon::{Daemon, Setup};
use crate::support::traffic;

#[tokio::test]
async fn people_who_disagree_are_told_apart_in_history_log_and_metric() {
    let daemon = Daemon::start(Setup::new("alone")).await;
    daemon.ingest(traffic::history()).await;
    let attempts: Vec<_> =
        (1..=2).map(|number| traffic::attempt(number, "203.0.113.66", &format!("user-{number}"))).collect();
    for attempt in &attempts {
        traffic::login(&daemon.http, attempt, false).await;
    }
    // About the first two people disagree, about the second they agree.
    for (attempt, author, word) in [(0, "ann", true), (0, "bob", false), (1, "ann", true), (1, "bob", true)] {
        let mut given = traffic::feedback(&attempts[attempt], word);
        given["author"] = author.into();
        assert_eq!(daemon.http.post("/v1/feedback", &given).await.status, 200);
    }

    let trained = daemon.http.post("/v1/train", &json!({ "epochs": 20 })).await.body;
    assert_eq!(trained["outcome"], "promoted", "{trained}");

    let history = daemon.http.get("/v1/models").await.body;
    let told = &history[0]["feedback"];
    assert_eq!(
        (&told["counted"], &told["contradicted"], &told["repeated"]),
        (&json!(1), &json!(1), &json!(0)),
        "{told}"
    );
    assert!(daemon.log().contains("two people contradict each other about 1 requests"), "{}", daemon.log());
    assert_eq!(daemon.metric("training_feedback{outcome=\"contradicted\"}").await, 1);

    let list = daemon.http.get("/v1/feedback").await.body;
    let said: Vec<_> = list.as_array().expect("a list").iter().map(|item| [&item["author"], &item["state"]]).collect();
    let told = [["bob", "counted"], ["ann", "replaced"], ["bob", "contradicted"], ["ann", "contradicted"]];
    assert_eq!(serde_json::to_value(said).expect("text"), json!(told), "newest first");
    assert_eq!(daemon.http.get("/v1/feedback?limit=1").await.body.as_array().map(Vec::len), Some(1));
    assert_eq!(daemon.http.get("/v1/feedback?limit=0").await.status, 400);
    assert_eq!(daemon.stranger().get("/v1/feedback").await.status, 403);
}
