//! What additional features do to scoring, and what nobody can do with them.

use serde_json::{Value, json};

use super::*;
use crate::detection::additional::{FeatureList, Kind, Proposal};
use crate::detection::attempt::{RequestKey, Timestamp};
use crate::detection::event::{AttemptEvent, BootId};
use crate::detection::record::AttemptRecord;
use crate::learning::artifact::tests::artifact;
use crate::serving::slot::ServedModel;
use crate::store::registry::ModelId;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct Parts {
    scorer: Scorer,
    schema: Arc<SchemaSlot>,
    slot: Arc<ModelSlot>,
    metrics: Arc<Metrics>,
}

fn parts() -> Parts {
    let metrics = Arc::new(Metrics::new("0"));
    let schema = Arc::new(SchemaSlot::new(FeatureSchema::compat6()));
    let slot = Arc::new(ModelSlot::new());
    let scorer = Scorer::new(ScorerParts {
        config: Arc::new(ArcSwap::from_pointee(Config::default())),
        schema: schema.clone(),
        geo: GeoDatabases::default(),
        slot: slot.clone(),
        mode: Arc::default(),
        pseudonymizer: Pseudonymizer::new([7; 32]),
        log: Arc::new(AttemptLog::new(BootId([1; 16]), 1000, metrics.status().clone())),
        metrics: metrics.clone(),
    });
    Parts { scorer, schema, slot, metrics }
}

fn record(number: usize, features: &Value, encoding: &Value) -> AttemptRecord {
    let record = json!({
        "request_id": format!("r{number}"), "client_ip": "198.51.100.7", "username": "alice",
        "features": features, "encoding": encoding,
    });
    AttemptRecord::parse(record.to_string().as_bytes()).unwrap()
}

fn scored(parts: &Parts, number: usize, features: &Value) -> (ScoreAnswer, Vec<f32>) {
    let record = record(number, features, &json!({"device": "embedding"}));
    let answer = parts.scorer.score(record, NOW, 0).unwrap();
    let remembered = parts.scorer.remembered(RequestKey::of(&format!("r{number}"))).unwrap();
    (answer, remembered.snapshot.unwrap().values.clone())
}

/// What the fleet would make of the names that wait.
fn followed(parts: &Parts) {
    let proposals: Vec<Proposal> = parts.schema.take_proposals();
    let list = parts.schema.load().additional().with(&proposals, 16, 0);
    parts.schema.follow(&list);
}

fn serve(parts: &Parts, model: crate::learning::artifact::ModelArtifact) {
    let id = ModelId { lineage: [1; 16], generation: 1, sha256: [1; 32] };
    parts.slot.swap(Some(Arc::new(ServedModel { id, artifact: model })));
}

#[test]
fn a_model_of_the_shorter_schema_goes_on_scoring_and_sees_what_it_saw() {
    let parts = parts();
    serve(&parts, artifact(1));
    let (before, short) = scored(&parts, 1, &json!({"risk": 5}));
    followed(&parts);
    // The counters have moved on by one attempt, so compare with the same attempt without features.
    let (bare, bare_values) = scored(&parts, 2, &json!({}));

    assert!(before.probability.is_some() && bare.probability.is_some());
    assert_eq!((short.len(), bare_values.len()), (6, 8));
    assert_eq!(bare_values[6..], [0.0, 1.0], "missing");
    let expected = artifact(1).probability(&bare_values[..6]);
    assert_eq!(bare.probability, Some(expected));

    // A request that was scored before the list grew is scored with its first features.
    let (again, first) = scored(&parts, 1, &json!({"risk": 5}));
    assert_eq!((again.probability, first.len()), (before.probability, 6));
}

#[test]
fn d12_a_model_of_a_list_that_this_node_does_not_know_does_not_score() {
    let parts = parts();
    let mut foreign = artifact(1);
    foreign.schema.fingerprint ^= 1;
    serve(&parts, foreign);

    let (answer, _) = scored(&parts, 1, &json!({}));

    assert_eq!((answer.probability, answer.learning_mode), (None, true));
}

/// D6: passwords were kept under the account and looked for under the name, so that they were 0 for every alias.
#[test]
fn d6_passwords_tried_for_an_alias_are_counted_also_where_the_account_is_told_afterwards() {
    let parts = parts();
    let column = FeatureSchema::compat6().index_of("DifferentPasswords").unwrap();
    let tried = |number: usize, field: Option<&str>| {
        let mut record = json!({
            "request_id": format!("r{number}"), "client_ip": "198.51.100.7", "username": "alias@example.org",
            "password_hash": format!("0000000{number}"), "success": false,
        });
        if let Some(field) = field {
            record["account"] = json!(field);
        }
        record
    };
    let parse = |record: &Value| AttemptRecord::parse(record.to_string().as_bytes()).unwrap();
    for number in 0..5 {
        let mut before = tried(number, None);
        before.as_object_mut().unwrap().remove("success");
        parts.scorer.score(parse(&before), NOW, 0).unwrap();
        // Nauthilus knows the account behind a name only after it has looked the user up.
        parts.scorer.outcome(parse(&tried(number, Some("alice"))), NOW).unwrap();
    }

    let mut next = tried(9, None);
    next.as_object_mut().unwrap().remove("success");
    parts.scorer.score(parse(&next), NOW, 0).unwrap();

    let seen = parts.scorer.remembered(RequestKey::of("r9")).unwrap().snapshot.unwrap();
    assert_eq!(seen.values[column], 6.0 / 20.0, "five before and this one");
}

#[test]
fn what_a_network_fails_beyond_its_share_of_the_samples_competes_with_less_chance_and_nobody_else_does() {
    use crate::learning::sample::{Sample, reservoir_key};
    let parts = parts();
    let mut config = Config::default();
    config.ml.max_training_records = 4000;
    parts.scorer.config.store(Arc::new(config));
    let told = |number: usize, ip: &str, success: bool| {
        let record = json!({
            "request_id": format!("r{number}"), "client_ip": ip, "username": format!("name-{number}"),
            "success": success,
        });
        parts.scorer.outcome(AttemptRecord::parse(record.to_string().as_bytes()).unwrap(), NOW).unwrap();
    };
    (0..60).for_each(|number| told(number, &format!("198.51.100.{number}"), false));
    told(60, "203.0.113.1", false);
    told(61, "198.51.100.1", true);

    let (_, entries) = parts.scorer.log.oldest(100).unwrap();
    let thinned: Vec<f64> = entries
        .iter()
        .map(|entry| {
            let entry = entry.sample.as_ref().unwrap();
            let sample = Sample::decode(&entry.bytes).unwrap();
            entry.key - reservoir_key(sample.request, sample.ingested_day)
        })
        .collect();

    // Of two thousand places for failures twenty are free for one network a day.
    assert!(thinned[..20].iter().all(|less| less.abs() < 1e-9), "{thinned:?}");
    assert!(
        (thinned[39] - crate::numeric::ln(2.0)).abs() < 1e-9 && (thinned[59] - crate::numeric::ln(3.0)).abs() < 1e-9,
        "{thinned:?}"
    );
    assert!(thinned[60..].iter().all(|less| less.abs() < 1e-9), "another network, and a login: {thinned:?}");
}

#[test]
fn a_text_is_replaced_by_how_often_it_failed_before() {
    let parts = parts();
    scored(&parts, 0, &json!({"device": "x"}));
    followed(&parts);
    let (_, novel) = scored(&parts, 1, &json!({"device": "Phone"}));
    for number in 2..42 {
        scored(&parts, number, &json!({"device": "phone"}));
        let told = json!({"request_id": format!("r{number}"), "success": false});
        parts.scorer.outcome(AttemptRecord::parse(told.to_string().as_bytes()).unwrap(), NOW).unwrap();
    }
    let (_, known) = scored(&parts, 50, &json!({"device": " PHONE"}));
    let (_, other) = scored(&parts, 51, &json!({"device": "tablet"}));
    let (_, none) = scored(&parts, 52, &json!({"device": 7}));

    assert_eq!(novel[6..], [0.125, 1.0, 0.0]);
    assert_eq!(known[6..], [(40.0 + 2.5) / 60.0, 0.0, 0.0]);
    assert_eq!(other[6..], [0.125, 1.0, 0.0]);
    assert_eq!(none[6..], [0.125, 0.0, 1.0], "a number is no text");
}

#[test]
fn peers_learn_the_texts_from_the_event() {
    let (here, there) = (parts(), parts());
    let list = FeatureList::default().with(&[Proposal { name: "device".into(), kind: Kind::Embedding }], 16, 0);
    for node in [&here, &there] {
        node.schema.follow(&list);
    }
    let told = json!({
        "request_id": "r1", "client_ip": "198.51.100.7", "username": "alice", "success": false,
        "features": {"device": "phone"},
    });
    here.scorer.outcome(AttemptRecord::parse(told.to_string().as_bytes()).unwrap(), NOW).unwrap();
    let (_, entries) = here.scorer.log.oldest(10).unwrap();
    let event = AttemptEvent::decode(&entries[0].event).unwrap();
    there.scorer.apply_remote(&event, BootId([2; 16]));

    let (_, values) = scored(&there, 9, &json!({"device": "phone"}));

    assert_eq!(values[6..], [(1.0 + 2.5) / 21.0, 0.0, 0.0]);
}

#[test]
fn neither_a_thousand_names_nor_a_hundred_thousand_texts_make_anything_grow() {
    let parts = parts();
    let skipped = |reason| parts.metrics.render(None).contains(&format!("skipped_total{{reason=\"{reason}\"}}"));
    let many: serde_json::Map<_, _> = (0..1000).map(|number| (format!("f{number}"), json!(1))).collect();
    let refused = parts.scorer.score(record(0, &Value::Object(many), &json!({})), NOW, 0);
    assert!(refused.is_err_and(|error| error.to_string().contains("features")), "too many at once are named");

    for number in 0..50 {
        let name = format!("name-{number}");
        scored(&parts, number, &json!({ name: number, "SuspiciousNetwork": true, "a b": 1 }));
        followed(&parts);
    }
    let width = parts.schema.load().len();
    assert_eq!((parts.schema.load().additional().slots().len(), width), (16, 6 + 16 * 2));
    assert!(skipped("full") && skipped("standard") && skipped("bounds"));

    let parts = self::parts();
    scored(&parts, 0, &json!({"device": "x"}));
    followed(&parts);
    for number in 1..100_000 {
        let told = json!({
            "request_id": format!("r{number}"), "client_ip": "198.51.100.7", "username": "alice", "success": false,
            "features": {"device": format!("text {number}")},
        });
        parts.scorer.outcome(AttemptRecord::parse(told.to_string().as_bytes()).unwrap(), NOW).unwrap();
    }
    let categories = parts.scorer.lock().tracker.activity().stats().categories;
    let bytes_max = limits(&Config::default()).activity.categories_bytes_max;
    assert!(categories.bytes <= bytes_max && categories.entries > 1000, "{categories:?} of {bytes_max}");
    assert_eq!(parts.schema.load().len(), 9, "one feature, whatever stands in it");
}
