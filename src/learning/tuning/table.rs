//! What came of a search: measures of every candidate, and who wins.

use std::collections::BTreeMap;

use serde::Serialize;

use super::folds::{Fold, Said};
use super::grid::Candidate;
use crate::learning::evaluation::{self, Scored};

/// A measure over the folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measure {
    /// Mean of the folds.
    pub mean: f64,
    /// Standard deviation between the folds.
    pub spread: f64,
}

/// One candidate with what was measured in the last round that it reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// What was tried.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// That round, from 1 on. Only candidates of the same round can be compared.
    pub round: usize,
    /// Epochs of that round.
    pub epochs: u32,
    /// Log-loss on the validation rows; missing if the fit met a number out of range.
    pub log_loss: Option<Measure>,
    /// PR AUC.
    pub pr_auc: Option<Measure>,
    /// Highest recall with no more false positives than the budget.
    pub recall: Option<Measure>,
}

/// The outcome of a search.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What is trained with now.
    pub winner: Candidate,
    /// Every candidate: those of the last round first, then by log-loss.
    pub tried: Vec<Tried>,
    /// Rows that were drawn for the search.
    pub rows: usize,
    /// Folds by time.
    pub folds: usize,
}

impl Table {
    pub(super) fn new(mut tried: Vec<Tried>, winner: Candidate, rows: usize, folds: usize) -> Self {
        let loss = |tried: &Tried| tried.log_loss.map_or(f64::INFINITY, |measure| measure.mean);
        tried.sort_by(|a, b| b.round.cmp(&a.round).then(loss(a).total_cmp(&loss(b))));
        Self { winner, tried, rows, folds }
    }
}

/// Measures what a candidate said.
pub(super) fn measured(
    candidate: Candidate,
    round: usize,
    epochs: u32,
    folds: &[Fold],
    said: &[Said],
    budget: f64,
) -> Tried {
    let scored: Option<Vec<Vec<Scored>>> = folds.iter().zip(said).map(|(fold, said)| said.scored(fold)).collect();
    let over_folds = |measure: &dyn Fn(&[Scored]) -> Option<f64>| {
        let values: Option<Vec<f64>> = scored.as_ref()?.iter().map(|scored| measure(scored)).collect();
        Some(Measure::of(&values?))
    };
    Tried {
        candidate,
        round,
        epochs,
        log_loss: over_folds(&evaluation::log_loss),
        pr_auc: over_folds(&evaluation::average_precision),
        recall: over_folds(&|scored| evaluation::tpr_at_fpr(scored, budget)),
    }
}

impl Measure {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Self { mean, spread: if values.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 } }
    }
}

/// The narrowest candidate whose log-loss is within one standard error of the best one's (L. Breiman et al.,
/// "Classification and regression trees", 1984), among equally narrow ones the best. `None` if nobody could be fitted.
///
/// The error is that of the difference: all candidates are measured on the same rows, and how hard a fold is does not
/// tell them apart. Rows of one group are one piece of evidence. Folds count equally.
pub(super) fn winner(folds: &[Fold], finalists: &[(Candidate, Vec<Said>)]) -> Option<Candidate> {
    let mut losses: Vec<(Candidate, Vec<Row>, f64)> = finalists
        .iter()
        .filter_map(|(candidate, said)| {
            let rows = rows(folds, said)?;
            let mean = rows.iter().map(|row| row.share * row.loss).sum::<f64>();
            mean.is_finite().then_some((*candidate, rows, mean))
        })
        .collect();
    losses.sort_by(|a, b| a.2.total_cmp(&b.2));
    let (best, best_rows, least) = losses.first()?;
    let near = losses.iter().filter(|(_, rows, mean)| mean - least <= standard_error(rows, best_rows));
    // The first of equal width is the best of them.
    near.min_by_key(|(candidate, ..)| candidate.hidden).map_or(Some(*best), |(candidate, ..)| Some(*candidate))
}

/// One validation row.
struct Row {
    loss: f64,
    /// Of the mean over all folds.
    share: f64,
    group: u64,
}

fn rows(folds: &[Fold], said: &[Said]) -> Option<Vec<Row>> {
    let mut all = Vec::new();
    for (fold, said) in folds.iter().zip(said) {
        let scored = said.scored(fold)?;
        let total: f64 = scored.iter().map(|row| row.weight).sum::<f64>() * folds.len() as f64;
        for (scored, row) in scored.iter().zip(&fold.validation.rows) {
            let loss = evaluation::log_loss(&[Scored { weight: 1.0, ..*scored }])?;
            all.push(Row { loss, share: scored.weight / total, group: row.group });
        }
    }
    Some(all)
}

/// Of the mean difference between two candidates, by groups.
fn standard_error(ours: &[Row], theirs: &[Row]) -> f64 {
    let difference = |(ours, theirs): (&Row, &Row)| ours.loss - theirs.loss;
    let mean: f64 = ours.iter().zip(theirs).map(|pair| pair.0.share * difference(pair)).sum();
    let mut by_group: BTreeMap<u64, f64> = BTreeMap::new();
    for pair in ours.iter().zip(theirs) {
        *by_group.entry(pair.0.group).or_default() += pair.0.share * (difference(pair) - mean);
    }
    let count = by_group.len() as f64;
    let squares: f64 = by_group.values().map(|sum| sum * sum).sum();
    if count > 1.0 { (squares * count / (count - 1.0)).sqrt() } else { 0.0 }
}
