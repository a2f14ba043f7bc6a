//! Which plots the report has, and what is in each.

use serde_json::Value;

use super::facts::Facts;
use super::sections::{Block, percent};
use super::svg::{Axis, Lying, Mark, Plot, Tone, lying};

/// Below this share a histogram shows nothing.
const SHARE_MIN_DECADE: i32 = -4;
/// Most decades of false-positive rates that are shown.
const FPR_MIN_DECADE: i32 = -5;

fn block(name: &'static str, plot: &Plot) -> Block {
    Block::Plot { name, title: plot.title.clone(), svg: plot.render() }
}

/// Recall over the false-positive rate, on a logarithmic axis: what matters lies far left.
pub fn roc(report: &Value, facts: &Facts) -> Block {
    // The finest rate that these attempts can show is one false positive.
    let mut decade = -1;
    let mut count = 10;
    while decade > FPR_MIN_DECADE && count < facts.negatives {
        decade -= 1;
        count *= 10;
    }
    let mut marks = vec![
        Mark::Guide((0..=100).map(|step| f64::from(step) / 100.0).map(|rate| (rate, rate)).collect()),
        Mark::Line(facts.roc.clone(), Tone::A, "model".into()),
    ];
    if let (Some(fpr), Some(recall)) = (report["realised_fpr"].as_f64(), report["recall"].as_f64()) {
        marks.push(Mark::Dots(vec![(fpr, recall)], Tone::B, "operating point".into()));
    }
    let plot = Plot {
        title: "ROC curve".into(),
        x: Axis::shares("false-positive rate", decade),
        y: Axis::linear("recall", 0.0, 1.0, 1),
        marks,
    };
    block("roc", &plot)
}

/// Precision over recall.
pub fn precision_recall(report: &Value, facts: &Facts) -> Block {
    let mut marks = vec![Mark::Line(facts.precision_recall.clone(), Tone::A, "model".into())];
    if let (Some(recall), Some(precision)) = (report["recall"].as_f64(), facts.precision) {
        marks.push(Mark::Dots(vec![(recall, precision)], Tone::B, "operating point".into()));
    }
    let plot = Plot {
        title: "Precision and recall".into(),
        x: Axis::linear("recall", 0.0, 1.0, 1),
        y: Axis::linear("precision", 0.0, 1.0, 1),
        marks,
    };
    block("precision_recall", &plot)
}

/// Share of attacks over the score.
pub fn calibration(facts: &Facts) -> Block {
    let bins = facts.calibration.iter().filter(|bin| bin.attempts > 0);
    let points: Vec<(f64, f64)> = bins.map(|bin| (bin.mean_score, bin.attack_share)).collect();
    let plot = Plot {
        title: "Calibration".into(),
        x: Axis::linear("mean score of the bin", 0.0, 1.0, 1),
        y: Axis::linear("share of attacks", 0.0, 1.0, 1),
        marks: vec![
            Mark::Guide(vec![(0.0, 0.0), (1.0, 1.0)]),
            Mark::Line(points.clone(), Tone::A, "model".into()),
            Mark::Dots(points, Tone::A, String::new()),
        ],
    };
    block("calibration", &plot)
}

/// Scores of attacks and of legitimate attempts, side by side.
pub fn scores(facts: &Facts) -> Block {
    let width = 1.0 / facts.attacks.len() as f64;
    let bars = |bins: &[f64], from: f64, to: f64| {
        let bars = bins.iter().enumerate().filter(|(_, share)| **share > 0.0);
        bars.map(|(at, share)| ((at as f64 + from) * width, (at as f64 + to) * width, *share)).collect()
    };
    let plot = Plot {
        title: "Scores".into(),
        x: Axis::linear("score", 0.0, 1.0, 1),
        y: Axis::shares("share of the class", SHARE_MIN_DECADE),
        marks: vec![
            Mark::Bars(bars(&facts.legit, 0.08, 0.48), Tone::A, "legitimate".into()),
            Mark::Bars(bars(&facts.attacks, 0.52, 0.92), Tone::B, "attacks".into()),
        ],
    };
    block("scores", &plot)
}

/// Flagged share of every scenario.
pub fn scenarios(report: &Value) -> Vec<Block> {
    let of = |name: &'static str, title: &str, key: &str, tone: Tone| {
        let all = report["scenarios"].as_object().into_iter().flatten();
        let bars: Vec<Lying> = all
            .filter(|(_, scenario)| scenario.get(key).is_some())
            .map(|(name, scenario)| Lying {
                name: name.clone(),
                share: scenario[key].as_f64(),
                figure: format!("{} of {}", percent(&scenario[key]), scenario["attempts"]),
                tone,
            })
            .collect();
        (!bars.is_empty()).then(|| Block::Plot { name, title: title.to_owned(), svg: lying(title, &bars) })
    };
    let attacks = of("scenarios_attack", "Attacks: share of attempts flagged (recall)", "recall", Tone::A);
    let legit = of(
        "scenarios_legit",
        "Legitimate: share of attempts flagged (false positives)",
        "false_positive_rate",
        Tone::B,
    );
    attacks.into_iter().chain(legit).collect()
}

/// What each training led to, with `--prequential`.
pub fn periods(report: &Value) -> Vec<Block> {
    let Some(periods) = report["periods"].as_array().filter(|periods| !periods.is_empty()) else { return Vec::new() };
    let names: Vec<String> = periods
        .iter()
        .map(|period| period["at"].as_str().and_then(|at| at.get(5..16)).unwrap_or_default().replace('T', " "))
        .collect();
    let series = |key: &str| -> Vec<(f64, f64)> {
        let values = periods.iter().enumerate();
        values.filter_map(|(at, period)| Some((at as f64, period[key].as_f64()?))).collect()
    };
    let refused: Vec<(f64, f64)> = periods
        .iter()
        .enumerate()
        .filter(|(_, period)| period["refused"].is_string())
        .map(|(at, _)| (at as f64, 0.0))
        .collect();
    let mut marks = vec![
        Mark::Line(series("recall"), Tone::A, "recall".into()),
        Mark::Dots(series("recall"), Tone::A, String::new()),
        Mark::Line(series("threshold"), Tone::B, "threshold".into()),
    ];
    if !refused.is_empty() {
        marks.push(Mark::Dots(refused, Tone::B, "refused".into()));
    }
    let recall = Plot {
        title: "Threshold and recall by training".into(),
        x: Axis::named("training (UTC)", &names),
        y: Axis::linear("", 0.0, 1.0, 1),
        marks,
    };
    let rates: Vec<(f64, f64)> = series("realised_fpr").into_iter().map(|(at, rate)| (at, rate * 100.0)).collect();
    let highest = rates.iter().fold(0.0f64, |highest, (_, rate)| highest.max(*rate));
    let fpr = Plot {
        title: "False-positive rate by training".into(),
        x: Axis::named("training (UTC)", &names),
        y: Axis::linear("false-positive rate in %", 0.0, (highest * 1.2).max(0.01), 3),
        marks: vec![Mark::Line(rates.clone(), Tone::B, String::new()), Mark::Dots(rates, Tone::B, String::new())],
    };
    vec![block("trainings", &recall), block("trainings_fpr", &fpr)]
}
