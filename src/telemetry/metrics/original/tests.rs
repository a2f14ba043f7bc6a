//! The original's names and labels, and how many series there can be.

use super::*;
use crate::detection::additional::{FeatureList, Kind, Proposal};
use crate::detection::event::Snapshot;
use crate::detection::features::FeatureSchema;

fn series(text: &str, name: &str) -> usize {
    text.lines().filter(|line| line.starts_with(&format!("nauthilus_ml_{name}{{"))).count()
}

#[test]
fn predictions_are_counted_by_whether_the_model_would_block() {
    let metrics = Metrics::new("0");
    metrics.predicted(false, 0.125, Duration::from_micros(300));
    metrics.predicted(true, 0.75, Duration::from_millis(3));
    metrics.predicted(true, 0.875, Duration::from_millis(3));

    let text = metrics.render(None);

    for line in [
        "nauthilus_ml_prediction_count{result=\"false\"} 1",
        "nauthilus_ml_prediction_count{result=\"true\"} 2",
        "nauthilus_ml_prediction_confidence{result=\"true\"} 0.875",
        "nauthilus_ml_prediction_duration_seconds_bucket{le=\"0.001\",result=\"false\"} 1",
        "nauthilus_ml_prediction_duration_seconds_bucket{le=\"0.004\",result=\"true\"} 2",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn no_prediction_is_no_confidence() {
    let text = Metrics::new("0").render(None);

    assert!(text.contains("nauthilus_ml_prediction_confidence{result=\"true\"} NaN\n"), "{text}");
    assert!(text.contains("nauthilus_ml_prediction_count{result=\"true\"} 0\n"), "{text}");
}

#[test]
fn a_training_shows_its_last_fit() {
    let metrics = Metrics::new("0");
    metrics.training_started();
    for fit in 0..2 {
        for done in 1..=300 {
            let loss = Some(f64::from(fit) + 1.0 / f64::from(done));
            metrics.training_step(&Progress { stage: Stage::Network, done, of: 500, loss });
        }
        metrics.training_step(&Progress { stage: Stage::Forest, done: 7, of: 12, loss: None });
    }
    metrics.trained("refused", "command", Duration::from_millis(15));
    metrics.trained("failed", "command", Duration::from_secs(9));

    let text = metrics.render(None);

    assert_eq!(series(&text, "training_error"), EPOCHS_MAX);
    for line in [
        "nauthilus_ml_training_error{epoch=\"1\"} 2.0",
        "nauthilus_ml_training_progress 300",
        "nauthilus_ml_training_duration_seconds_bucket{le=\"0.02\",result=\"success\"} 1",
        "nauthilus_ml_training_duration_seconds_count{result=\"failure\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_snapshot_is_shown_in_plain_numbers_and_additional_features_only_so_far() {
    let proposals: Vec<Proposal> =
        (0..32).map(|number| Proposal { name: format!("device{number}"), kind: Kind::OneHot }).collect();
    let list = FeatureList::default().with(&proposals, 32, 0);
    let schema = FeatureSchema::compat6().with_additional(&list);
    let mut values = vec![0.5; schema.len()];
    values[6] = -1.0;
    let last = Snapshot { fingerprint: schema.fingerprint(), values };
    let serving = Serving { schema: &schema, model: None, last: Some(&last), series_max: 1000 };

    let text = Metrics::new("0").render(Some(&serving));

    assert!(schema.len() > 500, "{}", schema.len());
    assert_eq!(series(&text, "feature_values"), 6 + ADDITIONAL_SERIES_MAX);
    for line in [
        "nauthilus_ml_feature_values{feature_name=\"time_of_day\"} 12.0",
        "nauthilus_ml_feature_values{feature_name=\"failed_attempts_last_hour\"} 50.0",
        "nauthilus_ml_feature_values{feature_name=\"additional_device0.0\"} -1.0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
    }
}
