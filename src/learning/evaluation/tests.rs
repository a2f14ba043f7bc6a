//! Measures against numbers that were computed elsewhere, and what they say where rows cannot support them.

use super::*;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    labels: Vec<u8>,
    scores: Vec<f64>,
    weights: Option<Vec<f64>>,
    roc_auc: f64,
    average_precision: f64,
    brier: f64,
    log_loss: f64,
    ece: f64,
    roc_auc_weighted: Option<f64>,
    average_precision_weighted: Option<f64>,
    tpr_at_fpr: Vec<(f64, f64)>,
}

fn cases() -> Vec<Case> {
    let fixture: Fixture = serde_json::from_str(include_str!("../../../tests/fixtures/metrics.json")).unwrap();
    fixture.cases
}

impl Case {
    fn scored(&self) -> Vec<Scored> {
        self.scores.iter().zip(&self.labels).map(|(&score, &label)| row(score, label == 1)).collect()
    }
}

fn row(score: f64, attack: bool) -> Scored {
    Scored { score, attack, weight: 1.0 }
}

#[track_caller]
fn close(what: &str, ours: Option<f64>, theirs: f64) {
    let ours = ours.unwrap_or_else(|| panic!("{what} is missing"));
    assert!((ours - theirs).abs() <= 1e-9, "{what}: {ours} instead of {theirs}");
}

#[test]
fn unweighted_figures_agree_with_the_fixture() {
    for case in cases() {
        let evaluation = evaluate(&case.scored(), None);

        close(&format!("{} roc_auc", case.name), evaluation.roc_auc, case.roc_auc);
        close(&format!("{} pr_auc", case.name), evaluation.pr_auc, case.average_precision);
        close(&format!("{} brier", case.name), evaluation.brier, case.brier);
        close(&format!("{} log_loss", case.name), evaluation.log_loss, case.log_loss);
        close(&format!("{} ece", case.name), evaluation.ece, case.ece);
        for &(fpr, tpr) in &case.tpr_at_fpr {
            close(&format!("{} tpr at {fpr}", case.name), tpr_at_fpr(&case.scored(), fpr), tpr);
        }
    }
}

#[test]
fn weighted_rankings_agree_with_the_fixture() {
    let mut compared = 0;
    for case in cases() {
        let (Some(weights), Some(roc), Some(ap)) =
            (&case.weights, case.roc_auc_weighted, case.average_precision_weighted)
        else {
            continue;
        };
        let mut scored = case.scored();
        for (row, &weight) in scored.iter_mut().zip(weights) {
            row.weight = weight;
        }

        close(&case.name, roc_auc(&scored), roc);
        close(&case.name, average_precision(&scored), ap);
        compared += 1;
    }
    assert_eq!(compared, 1);
}

#[test]
fn the_order_of_the_rows_does_not_matter() {
    for case in cases() {
        let forward = case.scored();
        let backward: Vec<Scored> = forward.iter().rev().copied().collect();

        close("roc_auc", roc_auc(&backward), roc_auc(&forward).unwrap());
        close("average_precision", average_precision(&backward), average_precision(&forward).unwrap());
    }
}

#[test]
fn a_weight_counts_like_repeating_the_row() {
    let mut weighted = vec![row(0.9, true), row(0.7, false), row(0.3, true), row(0.2, false)];
    weighted[1].weight = 3.0;
    let repeated = [weighted[0], row(0.7, false), row(0.7, false), row(0.7, false), weighted[2], weighted[3]];

    for figure in [roc_auc, average_precision, brier, log_loss, ece, |rows: &[Scored]| tpr_at_fpr(rows, 0.5)] {
        close("figure", figure(&weighted), figure(&repeated).unwrap());
    }
}

#[test]
fn rankings_are_missing_when_a_class_is_missing() {
    for rows in [vec![], vec![row(0.2, true)], vec![row(0.2, false)]] {
        assert_eq!([roc_auc(&rows), average_precision(&rows), tpr_at_fpr(&rows, 0.1)], [None; 3]);
    }
    let mut weightless = [row(0.9, true), row(0.1, false)];
    weightless[1].weight = 0.0;
    assert_eq!(roc_auc(&weightless), None);

    let empty = evaluate(&[], Some(0.5));
    assert_eq!(empty.confusion, Some(Confusion::default()));
    assert_eq!(
        Evaluation { threshold: None, confusion: None, ..empty },
        Evaluation::default(),
        "nothing can be said about no rows"
    );
}

#[test]
fn a_score_at_the_threshold_is_not_a_positive() {
    let rows = [row(0.9, true), row(0.5, true), row(0.5, false), row(0.6, false), row(0.1, false)];

    let evaluation = evaluate(&rows, Some(0.5));

    assert_eq!(evaluation.confusion, Some(Confusion { tp: 1, fp: 1, tn: 2, fn_: 1 }));
    assert_eq!((evaluation.rows, evaluation.positives, evaluation.threshold), (5, 2, Some(0.5)));
    close("precision", evaluation.precision, 0.5);
    close("recall", evaluation.recall, 0.5);
    close("false positive rate", evaluation.false_positive_rate, 1.0 / 3.0);
    close("mean of attacks", evaluation.mean_score_attack, 0.7);
    close("mean of the others", evaluation.mean_score_legit, 0.4);
}

#[test]
fn a_confident_mistake_costs_much_but_not_everything() {
    close("log-loss", log_loss(&[row(0.0, true)]), 34.538_776_394_910_684);
    close("calibration error", ece(&[row(1.0, false)]), 1.0);
}

#[test]
fn an_evaluation_survives_json() {
    let evaluation = evaluate(&[row(0.75, true), row(0.5, false)], Some(0.5));

    let json = serde_json::to_string(&evaluation).unwrap();

    assert!(json.contains(r#""confusion":{"tp":1,"fp":0,"tn":1,"fn":0}"#), "{json}");
    assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), evaluation);
}
