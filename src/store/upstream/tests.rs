//! Every decoder under fire: whatever comes, it answers within bounded time, and never panics.

use proptest::prelude::*;

use super::convert::convert;
use super::encodings::{Encodings, decode_feature_names};
use super::flags::{Flags, LearningModeUpdate, ModelUpdate, decode_time};
use super::model::{MODEL_BYTES_MAX, UpstreamModel};
use super::training::{Batch, RECORD_MAX, TrainingRecord};
use super::*;
use crate::detection::attempt::Timestamp;
use crate::numeric::{self, Rng};

const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);
const FIXTURES: [&[u8]; 9] = [
    include_bytes!("../../../tests/fixtures/upstream/model-trained.json"),
    include_bytes!("../../../tests/fixtures/upstream/login.json"),
    include_bytes!("../../../tests/fixtures/upstream/feedback.json"),
    include_bytes!("../../../tests/fixtures/upstream/attack.json"),
    include_bytes!("../../../tests/fixtures/upstream/model.json"),
    include_bytes!("../../../tests/fixtures/upstream/encodings.json"),
    include_bytes!("../../../tests/fixtures/upstream/encodings-reduced.json"),
    include_bytes!("../../../tests/fixtures/upstream/model-update.json"),
    include_bytes!("../../../tests/fixtures/upstream/learning-mode-update.json"),
];

/// Feeds every decoder; whatever one accepts must keep its promises.
fn decode_all(bytes: &[u8]) {
    if let Ok(Ok(record)) = TrainingRecord::decode(bytes, NOW) {
        assert!(record.values().iter().all(|value| (0.0..=1.0).contains(value)));
        assert!(record.time <= NOW.plus_millis(60_000));
        let again = TrainingRecord::decode(&record.encode(), NOW).map(|again| again.map(|again| again.request()));
        assert_eq!(again, Ok(Ok(record.request())), "its own form is read as the same record");
        assert!(record.entry().key.is_finite());
    }
    if let Ok(model) = UpstreamModel::decode(bytes) {
        let row = vec![0.5; model.input_size];
        let output = model.output(&row).expect("as wide");
        if let Ok(network) = convert(&model) {
            assert!((numeric::sigmoid(network.logit(&row)) - (1.0 - output)).abs() < 1e-9, "{model:?}");
        }
    }
    if let Ok(encodings) = Encodings::decode(bytes) {
        assert!(encodings.width() >= 6);
        assert!(encodings.texts.keys().all(|name| encodings.inputs.contains_key(name)));
    }
    let _ = Batch::decode_lines(bytes, NOW);
    let (batch, unreadable) = Batch::decode_readable([bytes], NOW);
    assert!(batch.records.len() + unreadable <= 1);
    let _ = decode_feature_names(vec![bytes.to_vec()]);
    let _ = (ModelUpdate::decode(bytes), LearningModeUpdate::decode(bytes), decode_time(bytes));
    let _ = Flags::decode(Some(bytes), Some(bytes));
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        decode_all(&bytes);
    }

    #[test]
    fn a_record_is_read_with_any_finite_numbers(features in any::<[f64; 6]>(), success in any::<bool>(), ns in 0u32..1_000_000_000) {
        let numbers: Vec<_> = features.iter().map(|value| serde_json::Value::from(*value)).collect();
        let features: serde_json::Map<_, _> =
            training::FEATURES.iter().map(|name| (*name).to_owned()).zip(numbers).collect();
        let record = serde_json::json!({
            "Success": success, "Features": features, "Time": format!("2025-07-18T14:03:27.{ns:09}Z"), "Feedback": false,
        });
        decode_all(record.to_string().as_bytes());
    }
}

#[test]
fn ten_thousand_damaged_fixtures_are_answered() {
    let mut rng = Rng::new(17, "damaged fixtures");
    let mut pick = |below: usize| (rng.uniform() * below as f64) as usize;
    const TOKENS: [&[u8]; 12] = [
        b"null",
        b"NaN",
        b"-1",
        b"1e999",
        b"1e308",
        b"{}",
        b"[]",
        b"\"\"",
        b"true",
        b"\\u0000",
        b"\xff",
        b"99999999999999999999",
    ];
    for _ in 0..10_000 {
        let mut bytes = FIXTURES[pick(FIXTURES.len())].to_vec();
        for _ in 0..=pick(4) {
            let at = pick(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match pick(5) {
                0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] ^= 1 << pick(8),
                2 => drop(bytes.splice(at..at, TOKENS[pick(TOKENS.len())].iter().copied())),
                3 => {
                    let end = (at + pick(40)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => {
                    let end = (at + pick(20)).min(bytes.len());
                    bytes.splice(at..end, TOKENS[pick(TOKENS.len())].iter().copied());
                }
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        decode_all(&bytes);
    }
}

#[test]
fn depth_and_size_are_refused_before_anything_is_parsed() {
    for opening in ["[", "{\"a\":", "[[[[{\"a\":"] {
        let deep = opening.repeat(RECORD_MAX / opening.len());
        assert_eq!(TrainingRecord::decode(deep.as_bytes(), NOW), Err(FormatError::TooDeep));
        assert_eq!(UpstreamModel::decode(deep.as_bytes()), Err(FormatError::TooDeep));
        assert_eq!(Encodings::decode(deep.as_bytes()), Err(FormatError::TooDeep));
    }
    let huge = vec![b'7'; 100 * 1024 * 1024];
    assert!(matches!(TrainingRecord::decode(&huge, NOW), Err(FormatError::TooLarge { .. })));
    assert!(matches!(UpstreamModel::decode(&huge), Err(FormatError::TooLarge { .. })));
    assert!(matches!(Encodings::decode(&huge), Err(FormatError::TooLarge { .. })));
    assert!(Batch::decode_lines(&huge, NOW).is_err());
    // A text with brackets in it is not deep.
    assert_eq!(bounded(format!("\"{}\\\"{}\"", "[".repeat(99), "[".repeat(99)).as_bytes(), 1000), Ok(()));
    // The largest model that is parsed at all, full of the shortest numbers.
    let zeros = "0,".repeat(MODEL_BYTES_MAX / 2 - 200);
    let wide = format!(
        "{{\"input_size\":6,\"hidden_size\":2,\"output_size\":1,\"weights\":[{zeros}0],\"hidden_bias\":[],\"output_bias\":[],\"learning_rate\":0,\"activation_function\":\"\"}}"
    );
    assert!(UpstreamModel::decode(wide.as_bytes()).is_err());
}
