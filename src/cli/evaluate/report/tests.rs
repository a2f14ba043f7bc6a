//! The report: its files, the numbers in them, and names from files that must stay text.

use serde_json::json;

use super::super::measure::{TestRow, measure_at};
use super::super::overlay::tests::record;
use super::*;

const HOSTILE: &str = "<script>alert(1)</script>\"'|";

/// 45 attempts of a campaign with a hostile name, flagged from the third on, and 55 legitimate ones, one of them flagged.
fn run() -> (Vec<CheckedRecord>, Vec<Lived>, Value) {
    let of = |number: u32| {
        let attack = number < 45;
        let fields = json!({ "label": if attack { "attack" } else { "legit" }, "request_id": number.to_string(),
            "scenario": if attack { "burst" } else { HOSTILE }, "source": HOSTILE, "success": !attack });
        let mut fields = fields;
        if attack {
            fields["campaign"] = json!(HOSTILE);
        }
        let flagged = (2..45).contains(&number) || number == 99;
        let score = if flagged { 0.9 } else { 0.05 };
        (record(&fields.to_string()), Lived { score, flagged: Some(flagged) })
    };
    let (test, lived): (Vec<_>, Vec<_>) = (0..100).map(of).unzip();
    let rows: Vec<TestRow> = test.iter().map(|record| TestRow::new(record, Vec::new())).collect();
    let mut report = measure_at(&rows, &lived, Some(0.5)).to_json();
    report["profile"] = json!("ext-mlp16");
    report["baselines"] = json!({ "original": { "roc_auc": 0.7775, "recall": 0.333, "realised_fpr": 0.004 } });
    report["overlay"] = json!({ HOSTILE: { "attempts": 77, "recall": 0.8125, "sources": 3, "sources_detected": 1.0,
        "median_time_to_detect": 2, "realised_fpr": 0.00125 } });
    report["periods"] = json!([
        { "at": "2026-03-01T00:00:00.000Z", "refused": null, "threshold": 0.5, "attempts": 60, "recall": 0.9, "realised_fpr": 0.0 },
        { "at": "2026-03-02T00:00:00.000Z", "refused": HOSTILE, "threshold": 0.5, "attempts": 40, "recall": 0.8, "realised_fpr": 0.02 },
    ]);
    (test, lived, report)
}

#[test]
fn the_report_has_its_files_and_names_the_numbers() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let directory = root.path().join("new/report");
    let (test, lived, report) = run();

    assert!(write(&directory, &test, &lived, &report).is_ok());

    let read = |name: &str| fs::read_to_string(directory.join(name)).expect(name);
    let (page, text) = (read("report.html"), read("report.md"));
    for number in
        ["95.6\u{a0}%", "1.8\u{a0}%", "81.2\u{a0}%", "0.125\u{a0}%", "ext-mlp16", "original", "0.7775", "33.3\u{a0}%"]
    {
        assert!(page.contains(number), "{number} is not in report.html");
        assert!(text.contains(number), "{number} is not in report.md");
    }
    let plots: Vec<&str> = text.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')')).collect();
    assert_eq!(plots.len(), 8, "{plots:?}");
    assert!(plots.iter().all(|plot| read(plot).starts_with("<svg ")));
    assert_eq!(page.matches("<svg ").count(), 8);
}

#[test]
fn a_hostile_name_stays_text_wherever_it_stands() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (test, lived, report) = run();

    assert!(write(root.path(), &test, &lived, &report).is_ok());

    for entry in fs::read_dir(root.path()).expect("readable") {
        let path = entry.expect("readable").path();
        let text = fs::read_to_string(&path).expect("text");
        assert!(!text.contains("<script"), "{}", path.display());
        let quoted = text.contains("&lt;script&gt;");
        let names_it = path.extension().is_some_and(|kind| kind != "svg") || path.ends_with("scenarios_legit.svg");
        assert!(quoted || !names_it, "{} does not show the name", path.display());
    }
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let (test, lived, report) = run();

    let page = html::render(TITLE, &sections::all(&report, &Facts::new(&test, &lived)));

    let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
    for word in ["http:", "https:", "//", "<script", "src=", "href=", "@import", "url("] {
        assert!(!without_namespace.contains(word), "{word}");
    }
}

#[test]
fn missed_campaigns_come_first() {
    let (mut test, mut lived, _) = run();
    for number in 0..3 {
        test.push(record(
            &json!({ "label": "attack", "campaign": "quiet", "request_id": format!("q{number}") }).to_string(),
        ));
        lived.push(Lived { score: 0.1, flagged: Some(false) });
    }

    let campaigns = Facts::new(&test, &lived).campaigns;

    let firsts: Vec<_> = campaigns.iter().map(|campaign| (campaign.attempts, campaign.first)).collect();
    assert_eq!(firsts, [(3, None), (45, Some(3))]);
}

#[test]
fn a_report_of_a_watch_only_model_says_so_and_misses_nothing() {
    let (test, mut lived, _) = run();
    lived.iter_mut().for_each(|lived| lived.flagged = None);
    let rows: Vec<TestRow> = test.iter().map(|record| TestRow::new(record, Vec::new())).collect();
    let mut report = measure_at(&rows, &lived, None).to_json();
    report["support"] = json!({ "held_out": 800, "needed": 3000, "budget": 0.001 });

    let text = markdown::render(TITLE, &sections::all(&report, &Facts::new(&test, &lived)));

    assert!(text.contains("800 held-out legitimate attempts, 3000 are needed"), "{text}");
    assert!(text.contains("not measured |") && !text.contains("missed |"), "{text}");
}

#[test]
fn each_rule_of_the_weak_labels_says_which_label_it_gives() {
    let (test, lived, mut report) = run();
    let tally = |label: &str| json!({ "label": label, "failures": 5, "attacks": 5, "legit": 0 });
    report["weak_labels"] = json!({ "rules": { "password": tally("attack") }, "unknown": { "gap": tally("none") } });

    let text = markdown::render(TITLE, &sections::all(&report, &Facts::new(&test, &lived)));

    assert!(text.contains("| password | attack | 5 |") && text.contains("| gap | none | 5 |"), "{text}");
}

#[test]
fn curves_end_in_the_corner_and_bins_hold_every_attempt() {
    let (test, lived, _) = run();

    let facts = Facts::new(&test, &lived);

    assert_eq!(facts.roc, [(1.0 / 55.0, 43.0 / 45.0), (1.0, 1.0)]);
    assert_eq!(facts.precision_recall, [(43.0 / 45.0, 43.0 / 44.0), (1.0, 0.45)]);
    assert_eq!(facts.precision, Some(43.0 / 44.0));
    assert_eq!(facts.calibration.iter().map(|bin| bin.attempts).sum::<usize>(), 100);
    assert!((facts.attacks.iter().sum::<f64>() - 1.0).abs() < 1e-9);
}
