//! Overlays: shifted and cut, names mapped alike in every run, honeypot answers not believed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::super::failure::Failure;
use super::super::measure::Lived;
use super::*;
use crate::detection::attempt::Timestamp;

/// A record from some of its fields; the required ones are filled in.
pub fn record(fields: &str) -> CheckedRecord {
    let mut object = json!({ "ts": "2026-01-01T00:00:00Z", "client_ip": "192.0.2.1", "username": "anna", "success": true,
        "request_id": fields });
    let given: Value = serde_json::from_str(fields).expect("an object");
    object.as_object_mut().expect("an object").extend(given.as_object().expect("an object").clone());
    let record = AttemptRecord::parse(object.to_string().as_bytes()).expect("a record");
    record.check(None, Timestamp::from_millis(2_000_000_000_000), &input::pseudonymizer(), String::new).expect("valid")
}

/// One success an hour of each of ten accounts, for two days.
fn test_records() -> Vec<CheckedRecord> {
    (0..48)
        .map(|hour| {
            let (day, hour, user) = (1 + hour / 24, hour % 24, hour % 10);
            record(&format!(
                r#"{{"ts":"2026-03-0{day}T{hour:02}:00:00Z","username":"user{user}","label":"legit","protocol":"imap"}}"#
            ))
        })
        .collect()
}

fn written(lines: &[Value]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().join("attacks.jsonl");
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(&path, text.join("\n")).expect("writable");
    (root, path)
}

fn attack(ts: &str, ip: &str, name: &str) -> Value {
    json!({ "ts": ts, "client_ip": ip, "username": name, "success": true, "protocol": "ssh", "label": "attack" })
}

fn overlay_of(lines: &[Value]) -> Overlay {
    let (_root, path) = written(lines);
    let Ok(mut overlays) = read(&[path]) else { panic!("not read") };
    overlays.remove(0)
}

fn attacks_of(laid: &Laid) -> Vec<&CheckedRecord> {
    let rows = laid.test.iter().zip(&laid.origin);
    rows.filter(|(_, origin)| **origin != Origin::Test).map(|(record, _)| record).collect()
}

#[test]
fn attacks_are_shifted_to_the_begin_of_the_test_not_scaled_and_cut_at_its_end() {
    let overlay = overlay_of(&[
        attack("2018-05-06T17:00:05Z", "198.51.100.1", "root"),
        attack("2018-05-06T17:00:00Z", "198.51.100.1", "admin"),
        attack("2018-05-08T15:59:59Z", "198.51.100.1", "late"),
        attack("2018-05-08T16:00:01Z", "198.51.100.1", "too late"),
    ]);
    let test = test_records();

    let laid = overlay.lay(&[], &test);

    let times: Vec<String> = attacks_of(&laid).iter().map(|record| record.attempt.ts.to_string()).collect();
    assert_eq!(times, ["2026-03-01T00:00:00.000Z", "2026-03-01T00:00:05.000Z", "2026-03-02T22:59:59.000Z"]);
    assert_eq!(laid.cut, 1);
    assert!(laid.test.is_sorted_by_key(|record| record.attempt.ts));
    assert_eq!(laid.origin[0], Origin::Test, "at the same instant the test comes first");
}

#[test]
fn three_names_in_ten_become_accounts_of_the_test_the_same_ones_in_every_run() {
    let lines: Vec<Value> =
        (0..40).map(|number| attack("2020-01-01T00:00:00Z", "198.51.100.1", &format!("name{}", number % 20))).collect();
    let test = test_records();
    let names_of = || {
        let laid = overlay_of(&lines).lay(&[], &test);
        attacks_of(&laid).iter().map(|record| record.attempt.user).collect::<Vec<_>>()
    };

    let names = names_of();

    let accounts: BTreeSet<Pseudonym> = test.iter().map(|record| record.attempt.user).collect();
    let mapped: BTreeSet<_> = names.iter().filter(|name| accounts.contains(name)).collect();
    assert_eq!((mapped.len(), names.iter().filter(|name| accounts.contains(name)).count()), (6, 12));
    assert_eq!(names, names_of());
}

#[test]
fn an_empty_name_is_read_with_a_stand_in_that_is_nobodys_account() {
    let lines: Vec<Value> = ["", "  ", "-"].map(|name| attack("2020-01-01T00:00:00Z", "198.51.100.1", name)).into();
    let overlay = overlay_of(&lines);

    let laid = overlay.lay(&[], &test_records());

    assert_eq!((attacks_of(&laid).len(), laid.unnamed, laid.skipped), (3, 3, 0));
    assert!(attacks_of(&laid).iter().all(|record| record.attempt.user == overlay.stand_in));
}

#[test]
fn the_answer_of_a_honeypot_is_not_believed_and_what_is_no_attack_is_skipped() {
    let mut unknown = attack("2020-01-01T00:00:00Z", "198.51.100.1", "root");
    unknown["label"] = json!("unknown");
    let bad = attack("2020-01-01T00:00:00Z", "nowhere", "root");
    let good = attack("2020-01-01T00:00:00Z", "198.51.100.1", "root");

    let laid = overlay_of(&[unknown.clone(), bad, good]).lay(&[], &test_records());

    assert_eq!(laid.skipped, 2);
    let outcomes: Vec<_> = attacks_of(&laid).iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Failure)]);
    let (_root, path) = written(&[unknown]);
    let failed: Option<Failure> = read(&[path]).err();
    assert!(failed.is_some());
}

#[test]
fn what_one_side_lacks_is_dropped_from_training_test_and_overlay() {
    let mut with_password = attack("2020-01-01T00:00:00Z", "198.51.100.1", "root");
    with_password["password_hash"] = json!("aa");
    let train = [record(r#"{"password_hash":"bb","protocol":"imap"}"#)];

    let laid = overlay_of(&[with_password]).lay(&train, &test_records());

    assert_eq!(laid.dropped, ["password_hash"]);
    assert!(laid.train.iter().chain(&laid.test).all(|record| record.attempt.password.is_none()));
}

#[test]
fn recall_counts_attempts_and_detection_counts_sources() {
    let lines: Vec<Value> = [("198.51.100.1", 4), ("198.51.100.2", 1), ("198.51.100.3", 3)]
        .into_iter()
        .flat_map(|(ip, count)| {
            (0..count).map(move |second| attack(&format!("2020-01-01T00:00:0{second}Z"), ip, "root"))
        })
        .collect();
    let laid = overlay_of(&lines).lay(&[], &test_records());
    // Flags from the third attempt of any source on, and one of the 48 legitimate ones.
    let mut seen = std::collections::BTreeMap::new();
    let mut legit = 0;
    let lived: Vec<Lived> = laid
        .test
        .iter()
        .zip(&laid.origin)
        .map(|(record, origin)| {
            let flagged = if *origin == Origin::Test {
                legit += 1;
                legit == 1
            } else {
                *seen.entry(record.attempt.client_ip).and_modify(|count| *count += 1).or_insert(1) > 2
            };
            Lived { score: 0.0, flagged: Some(flagged) }
        })
        .collect();

    let report = measure(&laid, &lived);

    assert_eq!((&report["attempts"], &report["recall"]), (&json!(8), &json!(3.0 / 8.0)));
    assert_eq!((&report["sources"], &report["sources_detected"]), (&json!(3), &json!(2.0 / 3.0)));
    assert_eq!(report["median_time_to_detect"], 3);
    assert_eq!(report["realised_fpr"], 1.0 / 48.0);
    assert_eq!(report["sources_by_attempts"]["2-10"], json!({ "sources": 2, "attempts": 7, "recall": 3.0 / 7.0 }));
}
