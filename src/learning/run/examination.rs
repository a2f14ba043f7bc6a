//! From two artifacts and the rows that neither was trained on to the gate's question: everything is scored here, once.
//!
//! Held-out rows are scored with the models that have not seen them: the challenger's measured one, and the champion's trial.
//! What would happen to people, in canaries and live, is asked of the models that would serve.
//! Nothing is judged here, and rows of another width than the model's are left out.

use std::collections::BTreeSet;

use super::super::artifact::ModelArtifact;
use super::super::calibration::Calibrates;
use super::super::dataset::{Prepared, Row};
use super::super::drift::{Drift, Reference, Seen};
use super::super::evaluation::Evaluation;
use super::super::gate::{
    self, Canary, CanaryResult, Challenge, Cuts, Flips, GateOptions, HeldOut, HeldOutFeedback, Judgement, LIVE_MAX,
    OperatingPoint,
};
use super::super::labels::Label;
use super::Fitted;

/// What is looked at besides the rows of the training.
pub(super) struct Evidence<'a> {
    pub(super) canaries: &'a [Canary],
    /// Latest attempts, oldest first.
    pub(super) live: &'a [Latest],
}

/// One of the latest attempts.
pub(super) struct Latest {
    pub(super) values: Vec<f32>,
    /// Whether blocking it would harm somebody, as far as is known by now.
    pub(super) harmless: bool,
}

/// Scores everything with both models and lets the gate judge. `training`: the challenger's measures on its own rows;
/// `champion` takes the same schema.
pub(super) fn examine(
    challenger: &Fitted,
    champion: Option<&ModelArtifact>,
    prepared: &Prepared,
    training: &Evaluation,
    evidence: &Evidence<'_>,
    options: GateOptions,
) -> Judgement {
    let rows = &prepared.hold_out.rows;
    let Fitted { measured, serving } = challenger;
    // What people said is asked by criteria of its own; among the rows that happened it would be counted as traffic.
    let happened = rows.iter().filter(|row| !row.from_feedback());
    let hold_out: Vec<HeldOut> = happened.map(|row| held_out(row, measured, champion)).collect();
    let said = &prepared.words.said;
    let authors: BTreeSet<&str> = said.values().map(|(author, _)| author.as_str()).collect();
    let author = |row: &Row| {
        let author = said.get(&row.request).map(|(author, _)| author.as_str());
        authors.iter().position(|known| Some(*known) == author).unwrap_or(authors.len())
    };
    let feedback: Vec<HeldOutFeedback> = rows
        .iter()
        .filter(|row| row.from_feedback())
        .map(|row| (author(row), held_out(row, measured, champion)))
        .map(|(author, scored)| HeldOutFeedback {
            attack: scored.attack,
            author,
            challenger: scored.challenger,
            champion: scored.champion,
        })
        .collect();
    let canaries = canaries(evidence.canaries, serving.model.inputs(), serving, champion);
    let first = evidence.live.len().saturating_sub(LIVE_MAX);
    let live = &evidence.live[first..];
    let drift = champion.and_then(|champion| Some(drift(champion.reference.as_ref()?, champion, live)));
    gate::judge(&Challenge {
        hold_out: &hold_out,
        training,
        feedback: &feedback,
        canaries: &canaries,
        live: (!live.is_empty()).then(|| flips(live, serving, champion)),
        challenger: operating_point(measured),
        calibrated: measured.standardizer.is_some() && prepared.hold_out.calibrates() > Calibrates::Nothing,
        champion: champion.map(operating_point),
        drift: drift.as_ref(),
        options,
        seed: measured.training.options.seed,
    })
}

fn operating_point(model: &ModelArtifact) -> OperatingPoint {
    OperatingPoint { thresholds: model.thresholds, budget: model.training.false_positive_budget }
}

fn held_out(row: &Row, challenger: &ModelArtifact, champion: Option<&ModelArtifact>) -> HeldOut {
    let snapshot = row.snapshot();
    HeldOut {
        attack: row.label == Label::Attack,
        weight: row.weight,
        represents: row.represents,
        group: row.group,
        challenger: challenger.logit(&snapshot),
        champion: champion.map(|champion| champion.trial_logit(&snapshot)),
    }
}

fn canaries(
    canaries: &[Canary],
    width: usize,
    challenger: &ModelArtifact,
    champion: Option<&ModelArtifact>,
) -> Vec<CanaryResult> {
    let cuts = Cuts::of(&challenger.thresholds, champion.map(|champion| &champion.thresholds));
    canaries
        .iter()
        .filter(|canary| canary.snapshots.iter().all(|values| values.len() >= width))
        .map(|canary| {
            let by_champion = champion.map(|champion| |values: &[f32]| champion.probability(values));
            CanaryResult::of(canary, cuts, |values| challenger.probability(values), by_champion)
        })
        .collect()
}

/// A model without a block threshold blocks nothing.
fn flips(live: &[Latest], challenger: &ModelArtifact, champion: Option<&ModelArtifact>) -> Flips {
    let blocks = |model: &ModelArtifact, latest: &Latest| {
        model.thresholds.block.is_some_and(|threshold| model.probability(&latest.values) > threshold)
    };
    let mut flips = Flips::default();
    for latest in live {
        let flipped = blocks(challenger, latest) && !champion.is_some_and(|champion| blocks(champion, latest));
        if latest.harmless {
            flips.decisions += 1;
            flips.to_block += u64::from(flipped);
        } else {
            flips.others += u64::from(flipped);
        }
    }
    flips
}

fn drift(reference: &Reference, champion: &ModelArtifact, live: &[Latest]) -> Drift {
    let seen: Vec<Seen<'_>> = live
        .iter()
        .map(|latest| Seen {
            values: &latest.values[..champion.model.inputs().min(latest.values.len())],
            weight: 1.0,
            harmless: latest.harmless,
        })
        .collect();
    reference.compare(&seen, |values| champion.probability(values))
}
