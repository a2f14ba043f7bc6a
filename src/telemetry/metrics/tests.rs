//! Every number under its name, and nothing shared between nodes.

use std::time::Duration;

use super::*;
use crate::learning::drift::Drift;
use crate::learning::feedback::Told;
use crate::learning::gate::{Criterion, Judgement, Status, Verdict};
use crate::learning::hindsight::HindsightStats;

fn exercised() -> Metrics {
    let metrics = Metrics::new("1.2.3");
    metrics.scored("block", Duration::from_micros(70));
    metrics.scored("allow", Duration::from_micros(30));
    metrics.scored("allow", Duration::from_micros(30));
    metrics.outcome("failure");
    metrics.attempts_ingested(3);
    metrics.attempt_rejected("client_ip");
    metrics.feedback("recorded");
    metrics.trained("promoted", "schedule", Duration::from_secs(3));
    metrics.training_feedback(&Told { counted: 9, contradicted: 2, ..Told::default() });
    metrics.swapped(Some(7));
    metrics.artifact_rejected("hash");
    metrics.announcement_received();
    metrics.command("train", "ok");
    metrics.store_error("publish");
    metrics.activity_evicted("address", 2);
    metrics.labels([("guessed", 3), ("gap", 0)].into_iter());
    metrics.hindsight("live", HindsightStats { bytes: 500, evictions: 1, too_late: 4 });
    metrics.hindsight("live", HindsightStats { bytes: 400, evictions: 2, too_late: 4 });
    metrics.hindsight_gaps(6);
    metrics.http_request("/v1/explain/{request_id}", 404);
    metrics.request_refused("host");
    metrics.task_restarted("subscriber");
    metrics.config_reloaded("applied");
    metrics.breaker_tripped();
    metrics.status().registry_written();
    metrics.status().announcement_sent();
    metrics.status().attempts_dropped(5);
    metrics.status().set_queued(4);
    metrics
}

#[test]
fn every_number_is_exported_under_its_name() {
    let text = exercised().render(None);

    for line in [
        "nauthilus_neural_build_info{version=\"1.2.3\"} 1",
        "nauthilus_neural_scores_total{verdict=\"allow\"} 2",
        "nauthilus_neural_score_seconds_count 3",
        "nauthilus_neural_outcomes_total{outcome=\"failure\"} 1",
        "nauthilus_neural_attempts_ingested_total 3",
        "nauthilus_neural_attempts_rejected_total{field=\"client_ip\"} 1",
        "nauthilus_neural_attempts_dropped_total 5",
        "nauthilus_neural_attempts_queued 4",
        "nauthilus_neural_feedback_total{outcome=\"recorded\"} 1",
        "nauthilus_neural_trainings_total{outcome=\"promoted\",trigger=\"schedule\"} 1",
        "nauthilus_neural_training_seconds_sum 3.0",
        "nauthilus_neural_model_generation 7",
        "nauthilus_neural_model_swaps_total 1",
        "nauthilus_neural_artifacts_rejected_total{reason=\"hash\"} 1",
        "nauthilus_neural_announcements_sent_total 1",
        "nauthilus_neural_announcements_received_total 1",
        "nauthilus_neural_registry_writes_total 1",
        "nauthilus_neural_commands_total{command=\"train\",outcome=\"ok\"} 1",
        "nauthilus_neural_store_errors_total{operation=\"publish\"} 1",
        "nauthilus_neural_activity_evictions_total{table=\"address\"} 2",
        "nauthilus_neural_training_feedback{outcome=\"contradicted\"} 2",
        "nauthilus_neural_labels{rule=\"guessed\"} 3",
        "nauthilus_neural_labels{rule=\"gap\"} 0",
        "nauthilus_neural_hindsight_bytes{index=\"live\"} 400",
        "nauthilus_neural_hindsight_evictions_total{index=\"live\"} 2",
        "nauthilus_neural_hindsight_too_late_total{index=\"live\"} 4",
        "nauthilus_neural_hindsight_gaps_total 6",
        "nauthilus_neural_http_requests_total{route=\"/v1/explain/{request_id}\",status=\"4xx\"} 1",
        "nauthilus_neural_requests_refused_total{reason=\"host\"} 1",
        "nauthilus_neural_task_restarts_total{task=\"subscriber\"} 1",
        "nauthilus_neural_config_reloads_total{outcome=\"applied\"} 1",
        "nauthilus_neural_breaker_trips_total 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_model_taken_out_of_service_shows_as_generation_zero() {
    let metrics = exercised();
    metrics.swapped(None);

    assert!(metrics.render(None).contains("nauthilus_neural_model_generation 0\n"));
}

#[test]
fn status_and_metrics_show_the_same_numbers() {
    let numbers = exercised().status().snapshot();

    assert_eq!(numbers, StatusNumbers { registry_writes: 1, announcements_sent: 1, swaps: 1, dropped: 5, queued: 4 });
}

#[test]
fn two_nodes_in_one_process_do_not_mix() {
    let (one, other) = (exercised(), Metrics::new("1.2.3"));

    assert_eq!(other.status().snapshot(), StatusNumbers::default());
    assert_ne!(one.render(None), other.render(None));
}

fn judgement(status: Status, value: Option<f64>, limit: f64) -> Judgement {
    let drift = Criterion { name: "drift", status, value, limit: value.map(|_| limit), sentence: String::new() };
    Judgement { verdict: Verdict::Promote, watch_only: false, support: None, compared: true, criteria: vec![drift] }
}

#[test]
fn drift_has_the_level_of_its_limit_also_where_a_person_has_approved() {
    for (status, value, limit, level) in [
        (Status::Passed, Some(0.05), Drift::WARNING, 0),
        (Status::Noted, Some(0.2), Drift::WARNING, 1),
        (Status::Noted, Some(0.4), Drift::ALARM, 2),
        (Status::NeedsApproval, Some(0.4), Drift::ALARM, 2),
        (Status::NotMeasured, None, 0.0, 0),
    ] {
        let metrics = exercised();
        metrics.judged(500, &judgement(status, value, limit));

        let text = metrics.render(None);

        assert!(text.contains(&format!("nauthilus_neural_drift_level {level}\n")), "{status:?} {value:?}\n{text}");
        let index = value.map_or("0.0".to_owned(), |value| value.to_string());
        assert!(text.contains(&format!("nauthilus_neural_drift_index {index}\n")), "{status:?} {value:?}\n{text}");
        assert!(text.contains("nauthilus_ml_training_samples_used 500\n"), "{text}");
    }
}

#[test]
fn a_new_model_ends_the_drift_from_the_one_before() {
    let metrics = exercised();
    metrics.judged(500, &judgement(Status::NeedsApproval, Some(0.4), Drift::ALARM));
    metrics.swapped(Some(8));

    assert!(metrics.render(None).contains("nauthilus_neural_drift_level 0\n"));
}
