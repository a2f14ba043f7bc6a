//! What `evaluate` prints of its measures: one table for the whole, one of scenarios, and the trainings of a life.

use serde_json::Value;

use super::super::render;
use super::sentences;

/// Measures that have a row of their own, by their names in `--json`.
const MEASURES: [(&str, &str); 11] = [
    ("attempts", "labelled attempts"),
    ("attacks", "attacks among them"),
    ("roc_auc", "ROC AUC"),
    ("pr_auc", "PR AUC"),
    ("threshold", "threshold"),
    ("realised_fpr", "false-positive rate at the threshold"),
    ("recall", "recall at the threshold"),
    ("brier", "Brier score"),
    ("ece", "calibration error (ECE)"),
    ("mean_score_attack", "mean score of attacks"),
    ("mean_score_legit", "mean score of legitimate attempts"),
];

/// Prints everything but weak labels, baselines and overlays, which print themselves.
pub fn show(report: &Value) {
    if !report["tuning"].is_null() {
        render::tuning(&report["tuning"]);
    }
    let (heading, rows) = measures(report);
    let mut table = render::table(&heading);
    for row in rows {
        table.add_row(row);
    }
    out!("{table}");
    for sentence in sentences::watch_only(report).into_iter().chain(trainings(report)) {
        out!("{sentence}");
    }
    if scenarios(report) {
        out!("{}", sentences::campaigns(report));
    }
}

/// The table of the whole; the logistic regression has a column where there is one.
fn measures(report: &Value) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let mut heading = vec!["measure on the test records", "network"];
    let mut columns = vec![report];
    if !report["baseline"].is_null() {
        heading.push("logistic regression");
        columns.push(&report["baseline"]);
    }
    let row = |name: String, of: &dyn Fn(&Value) -> Value| {
        std::iter::once(name).chain(columns.iter().map(|column| render::text(&of(column)))).collect()
    };
    let mut rows: Vec<Vec<String>> =
        MEASURES.iter().map(|(key, name)| row((*name).to_owned(), &|column| column[*key].clone())).collect();
    for (fpr, name) in [("0.01", "1 %"), ("0.001", "0.1 %"), ("0.0001", "0.01 %")] {
        let name = format!("recall at {name} false positives");
        rows.push(row(name, &|column| column["recall_at_fpr"][fpr].clone()));
    }
    (heading, rows)
}

/// How the trainings of a life ended, each refusal with its time; nothing without a life.
fn trainings(report: &Value) -> Vec<String> {
    let (Some(promoted), Some(refused)) = (report["trainings"].as_u64(), report["refused"].as_array()) else {
        return Vec::new();
    };
    let count = format!("trainings: {promoted} promoted, {} refused", refused.len());
    let refused = refused.iter().map(|refused| format!("refused at {}", render::text(refused)));
    std::iter::once(count).chain(refused).collect()
}

/// Prints a table of scenarios; `false` where there are none.
fn scenarios(report: &Value) -> bool {
    let Some(scenarios) = report["scenarios"].as_object().filter(|scenarios| !scenarios.is_empty()) else {
        return false;
    };
    let mut table = render::table(&["scenario", "label", "attempts", "flagged", "median attempts to detection"]);
    for (name, scenario) in scenarios {
        let flagged = if scenario["recall"].is_null() { &scenario["false_positive_rate"] } else { &scenario["recall"] };
        table.add_row(vec![
            name.clone(),
            render::text(&scenario["label"]),
            render::text(&scenario["attempts"]),
            render::text(flagged),
            render::text(&scenario["median_time_to_detect"]),
        ]);
    }
    out!("{table}");
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_logistic_regression_has_a_column_only_where_there_is_one() {
        let mut report = json!({ "roc_auc": 0.75 });
        let (heading, rows) = measures(&report);
        assert_eq!(heading.len(), 2);
        assert!(rows.iter().all(|row| row.len() == 2), "{rows:?}");

        report["baseline"] = json!({ "roc_auc": 0.5, "recall_at_fpr": { "0.01": 0.25 } });
        let (heading, rows) = measures(&report);
        assert_eq!(heading[2], "logistic regression");
        assert!(rows.contains(&["ROC AUC", "0.7500", "0.5000"].map(str::to_owned).to_vec()), "{rows:?}");
        assert!(
            rows.contains(&["recall at 1 % false positives", "–", "0.2500"].map(str::to_owned).to_vec()),
            "{rows:?}"
        );
    }

    #[test]
    fn a_life_tells_its_trainings_and_each_refusal_once() {
        let report = json!({ "trainings": 9, "refused": ["2026-03-02T00:00:00.000Z: it drifts"] });

        let said = trainings(&report);

        assert_eq!(said, ["trainings: 9 promoted, 1 refused", "refused at 2026-03-02T00:00:00.000Z: it drifts"]);
        assert_eq!(trainings(&json!({})), Vec::<String>::new());
    }
}
