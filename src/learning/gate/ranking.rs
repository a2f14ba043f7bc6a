//! Does the challenger rank attacks above legitimate attempts as well as the champion, on the same held-out rows?
//!
//! Small differences count only where they cannot be luck; large ones count at once, because with few groups nothing
//! would ever be significant. No threshold of either model matters here.

use super::super::evaluation::{self, Scored};
use super::bootstrap::{Figures, Interval, Paired};
use super::{Challenge, Criterion, HeldOut, Status, failed_if};

/// Beyond these the challenger is worse even if it may be luck. Seeds of one training mostly differ by less.
const ROC_AUC_TOLERANCE: f64 = 0.02;
const PR_AUC_TOLERANCE: f64 = 0.02;
/// Beyond these it is worse if it is not luck. From the measured poisonings: ten wrong words with weight 10 cost 3.5
/// points of recall, with weight 1 one point, which is what seeds differ by.
const PR_AUC_MARGIN: f64 = 0.005;
const RECALL_MARGIN: f64 = 0.01;

/// The four criteria: both areas by their tolerance, PR AUC and recall by the paired bootstrap.
pub(super) fn judge(challenge: &Challenge<'_>) -> [Criterion; 4] {
    const NAMES: [&str; 4] = ["roc_auc", "pr_auc", "pr_auc_paired", "recall_paired"];
    let missing = |why: &str| NAMES.map(|name| Criterion::not_measured(name, why));
    let Some(champion) = challenge.champion else { return missing("there is no current model to compare with") };
    let Some(paired) = Paired::new(challenge.hold_out) else {
        return missing("the current model cannot score the held-out rows");
    };
    let Some((ours, theirs)) = paired.figures(champion.budget) else {
        return missing("the held-out rows do not have both classes");
    };
    let [pr_auc_paired, recall_paired] = by_bootstrap(challenge, champion.budget, &paired, ours, theirs);
    [
        roc_auc(challenge.hold_out),
        by_tolerance("pr_auc", "PR AUC", ours.pr_auc, theirs.pr_auc, PR_AUC_TOLERANCE),
        pr_auc_paired,
        recall_paired,
    ]
}

fn roc_auc(rows: &[HeldOut]) -> Criterion {
    let scored = |logit: fn(&HeldOut) -> f64| -> Option<f64> {
        let rows: Vec<Scored> =
            rows.iter().map(|row| Scored { score: logit(row), attack: row.attack, weight: row.weight }).collect();
        evaluation::roc_auc(&rows)
    };
    match (scored(|row| row.challenger), scored(|row| row.champion.unwrap_or(f64::NAN))) {
        (Some(ours), Some(theirs)) => by_tolerance("roc_auc", "ROC AUC", ours, theirs, ROC_AUC_TOLERANCE),
        _ => Criterion::not_measured("roc_auc", "the held-out rows do not have both classes"),
    }
}

fn by_tolerance(name: &'static str, title: &str, ours: f64, theirs: f64, tolerance: f64) -> Criterion {
    let sentence = format!("{title} on the held-out rows is {ours:.4}, the current model has {theirs:.4}");
    Criterion::measured(name, failed_if(ours < theirs - tolerance), ours - theirs, -tolerance, sentence)
}

fn by_bootstrap(
    challenge: &Challenge<'_>,
    budget: f64,
    paired: &Paired,
    ours: Figures,
    theirs: Figures,
) -> [Criterion; 2] {
    let negatives = challenge.hold_out.iter().filter(|row| !row.attack).count();
    // A rate that not even one false positive would reach cannot be measured.
    let recall_is_measurable = negatives as f64 * budget >= 1.0;
    let beyond = ours.pr_auc < theirs.pr_auc - PR_AUC_MARGIN
        || (recall_is_measurable && ours.recall < theirs.recall - RECALL_MARGIN);
    // Where nothing is beyond its margin, no interval can change the answer.
    let intervals = if beyond { paired.intervals(budget, challenge.seed) } else { None };
    let groups = paired.groups();
    let pr_auc = Compared { name: "pr_auc_paired", title: "PR AUC".to_owned(), margin: PR_AUC_MARGIN, groups };
    let title = format!("recall at {} % false positives", budget * 100.0);
    let recall = Compared { name: "recall_paired", title, margin: RECALL_MARGIN, groups };
    [
        pr_auc.judge(ours.pr_auc, theirs.pr_auc, intervals.map(|both| both.pr_auc)),
        if recall_is_measurable {
            recall.judge(ours.recall, theirs.recall, intervals.map(|both| both.recall))
        } else {
            let why = format!("{negatives} legitimate held-out rows are too few for a rate of {budget}");
            Criterion::not_measured("recall_paired", why)
        },
    ]
}

/// One figure of both models.
struct Compared {
    name: &'static str,
    title: String,
    margin: f64,
    groups: usize,
}

impl Compared {
    fn judge(&self, ours: f64, theirs: f64, interval: Option<Interval>) -> Criterion {
        let Self { name, title, margin, groups } = self;
        let difference = ours - theirs;
        let compared = format!("{title} on the held-out rows is {ours:.4}, the current model has {theirs:.4}");
        let (status, sentence) = if difference >= -margin {
            (Status::Passed, compared)
        } else if let Some(Interval { low, high }) = interval {
            let luck = if high < 0.0 { "" } else { ", which may be luck" };
            let interval = format!("95 % interval of the difference {low:.4} to {high:.4} by {groups} groups");
            (failed_if(high < 0.0), format!("{compared} ({interval}){luck}"))
        } else {
            (Status::Passed, format!("{compared}; {groups} groups are too few to tell that from luck"))
        };
        Criterion::measured(name, status, difference, -margin, sentence)
    }
}
