//! Which addresses are asked about, what is sent, and what each kind of answer becomes.

use std::net::IpAddr;
use std::sync::Mutex;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::net::TcpListener;

use super::*;
use crate::config::Config;
use crate::detection::attempt::{RequestKey, Timestamp};
use crate::detection::event::BootId;
use crate::detection::features::FeatureSchema;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::AttemptRecord;
use crate::serving::attempt_log::AttemptLog;
use crate::serving::schema::SchemaSlot;
use crate::serving::scorer::ScorerParts;
use crate::supervisor::Statuses;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A scorer of the six features, of which the last is `SuspiciousNetwork`.
pub(crate) fn scorer(config: &Arc<ArcSwap<Config>>, metrics: &Arc<Metrics>) -> Scorer {
    Scorer::new(ScorerParts {
        config: Arc::clone(config),
        schema: Arc::new(SchemaSlot::new(FeatureSchema::compat6())),
        geo: Default::default(),
        slot: Arc::default(),
        mode: Arc::default(),
        pseudonymizer: Pseudonymizer::new([7; 32]),
        log: Arc::new(AttemptLog::new(BootId([1; 16]), 100, metrics.status().clone())),
        metrics: Arc::clone(metrics),
    })
}

fn asker(url: &str) -> BlocklistAsker {
    let mut config = Config::default();
    config.lists.blocklist_url = Some(url.to_owned());
    config.lists.trusted_networks = vec!["8.8.4.0/24".parse().unwrap()];
    config.lists.suspicious_networks = vec!["9.9.9.0/24".parse().unwrap()];
    let metrics = Arc::new(Metrics::new("0"));
    let scorer = Arc::new(scorer(&Arc::new(ArcSwap::from_pointee(config)), &metrics));
    BlocklistAsker { scorer, metrics, status: Statuses::default().task("blocklist") }
}

fn record(id: &str, client_ip: &str) -> AttemptRecord {
    let record = serde_json::json!({ "request_id": id, "client_ip": client_ip, "username": "alice" });
    AttemptRecord::parse(record.to_string().as_bytes()).unwrap()
}

/// The value of `SuspiciousNetwork` in the snapshot of a request.
fn suspicious(scorer: &Scorer, id: &str) -> f32 {
    let snapshot = scorer.remembered(RequestKey::of(id)).unwrap().snapshot.unwrap();
    *snapshot.values.last().unwrap()
}

#[test]
fn only_public_addresses_that_are_neither_trusted_nor_suspected_are_asked_about() {
    let asker = asker("http://service/");
    let mut asked = Vec::new();
    for (number, ip) in
        ["127.0.0.1", "10.0.0.1", "fd00::1", "8.8.4.4", "9.9.9.9", "1.1.1.1", "2a00::1"].into_iter().enumerate()
    {
        asker.scorer.score(record(&format!("r{number}"), ip), NOW, 0).unwrap();
        asked.extend(asker.scorer.suspects().blocklist.next().map(|question| question.ip.to_string()));
    }
    let flagged = AttemptRecord { suspicious_network: Some(true), ..record("flagged", "1.0.0.1") };
    asker.scorer.score(flagged, NOW, 0).unwrap();
    let told = AttemptRecord { success: Some(false), ..record("told", "1.0.0.2") };
    asker.scorer.outcome(told, NOW).unwrap();

    assert_eq!(asked, ["1.1.1.1", "2a00::1"]);
    assert!(asker.scorer.suspects().blocklist.next().is_none());
}

#[test]
fn flag_configured_network_file_and_service_each_raise_the_feature_but_for_the_past_only_the_first_two() {
    let asker = asker("http://service/");
    let mut files = crate::detection::networks::NetworkSetBuilder::default();
    files.add("1.1.1.0/24".parse().unwrap());
    asker.scorer.suspects().set_files(vec![Arc::default(), Arc::new(files.build())]);
    asker.scorer.score(record("first", "1.0.0.1"), NOW, 0).unwrap();
    let question = asker.scorer.suspects().blocklist.next().unwrap();
    asker.take(&question, Ok(true)).unwrap();
    let flagged = |id: &str, ip| AttemptRecord { suspicious_network: Some(true), ..record(id, ip) };

    let seen = |past: bool| {
        let records = [
            record("nothing", "1.0.0.9"),
            flagged("flag", "1.0.0.9"),
            record("configured", "9.9.9.9"),
            record("file", "1.1.1.1"),
            record("service", "1.0.0.1"),
        ];
        records.map(|mut record| {
            let id = format!("{past}-{}", record.request_id.unwrap());
            record.request_id = Some(id.clone());
            if past {
                record.ts = Some("2023-11-01T00:00:00Z".to_owned());
                record.success = Some(false);
                asker.scorer.ingest(asker.scorer.check(record, NOW).unwrap(), NOW).unwrap();
            } else {
                asker.scorer.score(record, NOW, clock::monotonic_ms()).unwrap();
            }
            suspicious(&asker.scorer, &id)
        })
    };

    assert_eq!(suspicious(&asker.scorer, "first"), 0.0, "nothing was known of it");
    assert_eq!(seen(false), [0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(seen(true), [0.0, 1.0, 1.0, 0.0, 0.0]);
}

/// A service that answers everything so; it keeps the bodies that it got.
async fn serving(status: StatusCode, body: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/check?list=all", listener.local_addr().unwrap());
    let got = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&got);
    let router = Router::new().fallback(async move |sent: Bytes| {
        seen.lock().unwrap().push(String::from_utf8(sent.to_vec()).unwrap());
        (status, body)
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, got)
}

#[tokio::test]
async fn each_answer_of_the_service_is_understood_and_only_the_address_is_sent() {
    let ip: IpAddr = "2a00::1".parse().unwrap();
    let long: &'static str = Box::leak(format!("{{\"found\":true,\"error\":\"{}\"}}", "x".repeat(5000)).into());
    for (status, body, expected) in [
        (200, r#"{"found":true,"error":""}"#, "Ok(true)"),
        (200, r#"{"found":false,"error":""}"#, "Ok(false)"),
        (200, r#"{"found":true,"more":1}"#, "Ok(true)"),
        (200, r#"{"found":true,"error":"list is being loaded"}"#, "Err(Refused)"),
        (200, r#"{"error":""}"#, "Err(Malformed)"),
        (200, "yes", "Err(Malformed)"),
        (200, long, "Err(Malformed)"),
        (404, r#"{"found":true,"error":""}"#, "Err(Status(404))"),
        (302, "", "Err(Status(302))"),
    ] {
        let (url, got) = serving(StatusCode::from_u16(status).unwrap(), body).await;
        assert_eq!(format!("{:?}", Service::new().ask(&url, ip).await), expected, "{status} {body:.60}");
        assert_eq!(*got.lock().unwrap(), [r#"{"ip":"2a00::1"}"#]);
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = Service::new().ask(&format!("http://{free}/"), ip).await;
    assert!(matches!(away, Err(AskError::Connection(_))), "{away:?}");
}

#[tokio::test]
async fn a_service_that_fails_ends_the_task_with_an_error_that_names_no_address() {
    let (url, got) = serving(StatusCode::SERVICE_UNAVAILABLE, "").await;
    let asker = asker(&url);
    for number in 0..20 {
        asker.scorer.score(record(&format!("r{number}"), "1.1.1.1"), NOW, clock::monotonic_ms()).unwrap();
    }

    let ended = asker.clone().run(CancellationToken::new()).await;

    let error = ended.expect_err("the supervisor is to wait").to_string();
    assert!(error.contains("status 503") && !error.contains("1.1.1.1"), "{error}");
    assert_eq!(got.lock().unwrap().len(), 1, "asked once, however many attempts there were");
    assert!(asker.metrics.render(None).contains("blocklist_lookups_total{answer=\"failed\"} 1\n"));
}
