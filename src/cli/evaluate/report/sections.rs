//! The report before it is written: titles, tables and plots, the same for Markdown and HTML.

use serde_json::Value;

use super::super::super::render;
use super::super::{baselines as beside, sentences};
use super::facts::Facts;
use super::plots;

/// More campaigns than this are counted, not listed.
const CAMPAIGNS_MAX: usize = 100;

/// A part of the report.
#[derive(Debug)]
pub struct Section {
    /// Ours, never from a file.
    pub title: &'static str,
    /// In their order.
    pub blocks: Vec<Block>,
}

/// What a section is made of. Nothing in it is escaped yet but the SVG.
#[derive(Debug)]
pub enum Block {
    /// A sentence.
    Text(String),
    /// Rows as wide as the heading.
    Table {
        /// Names of the columns.
        heading: Vec<&'static str>,
        /// Their cells.
        rows: Vec<Vec<String>>,
    },
    /// A plot.
    Plot {
        /// Name of its file, without `.svg`.
        name: &'static str,
        /// What it shows.
        title: String,
        /// The document.
        svg: String,
    },
}

/// A share as per cent, in one piece; `–` where there is none.
pub fn percent(value: &Value) -> String {
    let Some(share) = value.as_f64() else { return "–".into() };
    let decimals = if share > 0.0 && share < 0.01 { 3 } else { 1 };
    format!("{:.decimals$}\u{a0}%", share * 100.0)
}

/// Every section that has something to show.
pub fn all(report: &Value, facts: &Facts) -> Vec<Section> {
    let section = |title: &'static str, blocks: Vec<Block>| Section { title, blocks };
    let calibration = Block::Text(format!(
        "Ten bins of scores; on the dashed line a score is the probability it claims to be. ECE: {}.",
        render::text(&report["ece"])
    ));
    let sections = vec![
        section("Summary", summary(report)),
        section("Beside simpler models", baselines(report)),
        section("ROC curve", vec![plots::roc(report, facts)]),
        section("Precision and recall", vec![plots::precision_recall(report, facts)]),
        section("Calibration", vec![calibration, plots::calibration(facts), bins(facts)]),
        section("Scores by class", vec![plots::scores(facts)]),
        section("Scenarios", plots::scenarios(report)),
        section("Campaigns", campaigns(report, facts)),
        section("Sources", sources(report)),
        section("Weak labels", weak_labels(report)),
        section("Overlays of recorded attacks", overlays(report)),
        section("Trainings", trainings(report)),
    ];
    sections.into_iter().filter(|section| !section.blocks.is_empty()).collect()
}

fn table(heading: &[&'static str], rows: Vec<Vec<String>>) -> Option<Block> {
    (!rows.is_empty()).then(|| Block::Table { heading: heading.to_vec(), rows })
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn summary(report: &Value) -> Vec<Block> {
    let recall_at = &report["recall_at_fpr"];
    let rows = [
        ("profile", render::text(&report["profile"])),
        ("labels trained on", render::text(&report["labels"])),
        ("labelled test attempts", render::text(&report["attempts"])),
        ("attacks among them", render::text(&report["attacks"])),
        ("ROC AUC", render::text(&report["roc_auc"])),
        ("PR AUC", render::text(&report["pr_auc"])),
        ("block threshold", render::text(&report["threshold"])),
        ("recall (attacks flagged)", percent(&report["recall"])),
        ("false-positive rate (legitimate flagged)", percent(&report["realised_fpr"])),
        ("recall at 1 % false positives", percent(&recall_at["0.01"])),
        ("recall at 0.1 % false positives", percent(&recall_at["0.001"])),
        ("recall at 0.01 % false positives", percent(&recall_at["0.0001"])),
        ("Brier score", render::text(&report["brier"])),
        ("calibration error (ECE)", render::text(&report["ece"])),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let table = Block::Table { heading: vec!["measure", "value"], rows };
    std::iter::once(table).chain(sentences::watch_only(report).map(Block::Text)).collect()
}

fn baselines(report: &Value) -> Vec<Block> {
    let Some(rows) = beside::rows(report) else { return Vec::new() };
    let text = format!(
        "On the same test. What learns was trained on the same records, with the same labels ({}) and the same rule for its \
         threshold; original on at most 5000 samples. The rule flags an address with five failures in 600 s.",
        render::text(&report["labels"])
    );
    let rows = rows.into_iter().map(|(name, [roc, pr, at, recall, fpr])| {
        vec![name, render::text(&roc), render::text(&pr), percent(&at), percent(&recall), percent(&fpr)]
    });
    [Block::Text(text)].into_iter().chain(table(&beside::HEADING, rows.collect())).collect()
}

fn bins(facts: &Facts) -> Block {
    let rows = facts.calibration.iter().enumerate().map(|(at, bin)| {
        let share = |value: f64| if bin.attempts > 0 { format!("{value:.3}") } else { "–".into() };
        let scores = format!("0.{at} to {}.{}", (at + 1) / 10, (at + 1) % 10);
        vec![scores, bin.attempts.to_string(), share(bin.mean_score), share(bin.attack_share)]
    });
    Block::Table { heading: vec!["scores", "attempts", "mean score", "share of attacks"], rows: rows.collect() }
}

fn campaigns(report: &Value, facts: &Facts) -> Vec<Block> {
    let rows: Vec<Vec<String>> = facts
        .campaigns
        .iter()
        .take(CAMPAIGNS_MAX)
        .map(|campaign| {
            let none = if campaign.measured { "missed" } else { "not measured" };
            let first = campaign.first.map_or_else(|| none.to_owned(), |first| first.to_string());
            let (attempts, flagged) = (campaign.attempts.to_string(), campaign.flagged.to_string());
            vec![campaign.name.clone(), campaign.scenario.clone(), attempts, flagged, first]
        })
        .collect();
    let Some(table) = table(&["campaign", "scenario", "attempts", "flagged", "first flagged attempt"], rows) else {
        return Vec::new();
    };
    let more = facts.campaigns.len().saturating_sub(CAMPAIGNS_MAX);
    let more = if more > 0 { format!(" {more} more are not listed.") } else { String::new() };
    let text = format!(
        "{}. In the table missed ones come first, large ones before small ones.{more}",
        sentences::campaigns(report)
    );
    vec![Block::Text(text), table]
}

fn sources(report: &Value) -> Vec<Block> {
    let rows = entries(&report["sources"]).map(|(name, source)| {
        let count = |key: &str| render::text(&source[key]);
        vec![name.clone(), count("attempts"), count("attacks"), percent(&source["recall"])]
    });
    table(&["source", "attempts", "attacks", "recall"], rows.collect()).into_iter().collect()
}

fn weak_labels(report: &Value) -> Vec<Block> {
    let weak = &report["weak_labels"];
    if weak.is_null() {
        return Vec::new();
    }
    let text = format!(
        "{} of the failures of the training files have a label. Right are {} of the attack labels and {} of the legitimate \
         ones.",
        percent(&weak["coverage"]),
        percent(&weak["attack_precision"]),
        percent(&weak["legit_precision"])
    );
    let rows_of = |key: &str| -> Vec<Vec<String>> {
        let rows = entries(&weak[key]).map(|(name, tally)| {
            let count = |key: &str| render::text(&tally[key]);
            vec![name.clone(), count("label"), count("failures"), count("attacks"), count("legit")]
        });
        rows.collect()
    };
    let rows = [rows_of("rules"), rows_of("unknown")].concat();
    let heading = ["rule or reason", "label", "failures", "true attacks", "truly legitimate"];
    [Block::Text(text)].into_iter().chain(table(&heading, rows)).collect()
}

fn overlays(report: &Value) -> Vec<Block> {
    let all = || entries(&report["overlay"]);
    let rows = all().map(|(name, overlay)| {
        let count = |key: &str| render::text(&overlay[key]);
        vec![
            name.clone(),
            count("attempts"),
            percent(&overlay["recall"]),
            count("sources"),
            percent(&overlay["sources_detected"]),
            count("median_time_to_detect"),
            percent(&overlay["realised_fpr"]),
        ]
    });
    let heading =
        ["recording", "attempts", "recall", "sources", "sources detected", "median attempts to detection", "FPR"];
    let Some(main) = table(&heading, rows.collect()) else { return Vec::new() };
    let mut details = Vec::new();
    for (name, overlay) in all() {
        let mut detail = |what: String, part: &Value| {
            details.push(vec![name.clone(), what, render::text(&part["attempts"]), percent(&part["recall"])]);
        };
        detail("names that are accounts here".into(), &overlay["mapped_names"]);
        detail("other names".into(), &overlay["other_names"]);
        for (size, part) in entries(&overlay["sources_by_attempts"]) {
            detail(format!("sources of attempts: {size}"), part);
        }
    }
    let text = "Attacks of a real recording, laid over the test in a run of its own. What one side does not record is \
                dropped from both, so these models know less than the one above.";
    let details = table(&["recording", "part", "attempts", "recall"], details);
    [Block::Text(text.into()), main].into_iter().chain(details).collect()
}

fn trainings(report: &Value) -> Vec<Block> {
    let rows = report["periods"].as_array().into_iter().flatten().map(|period| {
        vec![
            render::text(&period["at"]),
            period["refused"].as_str().map_or_else(|| "promoted".into(), |reason| format!("refused: {reason}")),
            if period["threshold"].is_null() { "watch only".into() } else { render::text(&period["threshold"]) },
            render::text(&period["attempts"]),
            percent(&period["recall"]),
            percent(&period["realised_fpr"]),
        ]
    });
    let heading = ["training", "outcome", "threshold after it", "attempts until the next", "recall", "FPR"];
    plots::periods(report).into_iter().chain(table(&heading, rows.collect())).collect()
}
