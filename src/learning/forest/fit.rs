//! Fits a forest: smartcore grows the trees, and they are copied into our own form right away.
//!
//! smartcore's regressor on 0 and 1 is used because its classifier takes no weights and gives no shares. It is asked for one
//! tree at a time, so that the fit can be cancelled between two trees and tell how far it is. It draws its random numbers
//! itself: the same rows and seed give the same forest on the same kind of machine, but that is not promised across
//! machines. Scoring a finished forest is exact everywhere.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

use super::{DEPTH_MAX, Forest, INPUTS_MAX, Node, TREES_MAX, Tree};
use crate::learning::training::{Progress, Stage, TrainingRow};
use crate::numeric::Rng;

/// Everything that shapes a forest besides the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForestOptions {
    /// Number of trees, 1 to 256.
    pub trees: usize,
    /// Most questions between root and leaf, 1 to 16.
    pub depth: u16,
    /// Fewest draws in a leaf. A row of weight 10 is drawn ten times as often as an ordinary one, so that few heavy rows
    /// can make a leaf of their own.
    pub leaf_min: usize,
    /// Most rows to fit to. Where there are more, half of them are drawn from each class as far as it goes, by weight.
    pub rows_max: usize,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for ForestOptions {
    fn default() -> Self {
        Self { trees: 32, depth: 10, leaf_min: 5, rows_max: 50_000, seed: 1 }
    }
}

/// Why there is no forest.
#[derive(Debug, thiserror::Error)]
pub enum ForestError {
    /// All rows with a weight above zero have the same label, or there are none.
    #[error("cannot fit a forest without both attacks and legitimate attempts")]
    OneClass,
    /// Rows of different length, without values or with more than 4096.
    #[error("cannot fit a forest to rows of different length, without values or with more than {INPUTS_MAX}")]
    Shape,
    /// A value or weight is infinite or NaN, or a weight is negative.
    #[error("cannot fit a forest: a value or weight is out of range")]
    NonFinite,
    /// Options out of range.
    #[error(
        "cannot fit a forest: 1 to {TREES_MAX} trees, depths from 1 to {DEPTH_MAX} and at least 2 rows can be asked for"
    )]
    Options,
    /// The cancel flag was set.
    #[error("the fit of a forest was cancelled")]
    Cancelled,
    /// smartcore gave up.
    #[error("cannot fit a forest")]
    Grow(#[source] smartcore::error::Failed),
    /// smartcore's trees do not have the form they had when this was written.
    #[error("cannot read the fitted forest")]
    Lift(#[source] serde_json::Error),
    /// Not a forest that can be scored safely; see [`Forest::check`].
    #[error("cannot use forest: a node, a number or the size is out of range")]
    Unsound,
}

impl Forest {
    /// Grows a forest on `rows` by their weights.
    ///
    /// Each tree sees as many draws as there are rows, with replacement and by weight, and each of its questions is the
    /// best among a third of the features, chosen at random (L. Breiman, "Random forests", 2001, on regression).
    ///
    /// # Errors
    /// See [`ForestError`].
    pub fn fit(rows: &[TrainingRow<'_>], options: &ForestOptions) -> Result<Self, ForestError> {
        Self::fit_watched(rows, options, &AtomicBool::new(false), &mut |_| {})
    }

    /// As [`fit`](Self::fit). `cancel` is looked at before every tree: some tenths of a second at the largest number of rows.
    ///
    /// # Errors
    /// See [`ForestError`]; no part of a forest is given out.
    pub fn fit_watched(
        rows: &[TrainingRow<'_>],
        options: &ForestOptions,
        cancel: &AtomicBool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ForestError> {
        let inputs = check(rows, options)?;
        let (chosen, weights) = choose(rows, options);

        // Columns, because a tree sorts and walks along one feature at a time.
        let columns = (0..inputs).flat_map(|feature| chosen.iter().map(move |row| row.values[feature])).collect();
        let matrix = DenseMatrix::new(chosen.len(), inputs, columns, true).map_err(ForestError::Grow)?;
        let labels: Vec<f64> = chosen.iter().map(|row| f64::from(u8::from(row.attack))).collect();
        let mut seeds = Rng::new(options.seed, "forest");
        let mut forest = Self { inputs, trees: Vec::with_capacity(options.trees) };
        let of = u32::try_from(options.trees).unwrap_or(u32::MAX);
        for done in 1..=of {
            if cancel.load(Ordering::Relaxed) {
                return Err(ForestError::Cancelled);
            }
            let fitted = RandomForestRegressor::fit_with_weights(
                &matrix,
                &labels,
                &weights,
                parameters(options, inputs, seeds.next_u64()),
            )
            .map_err(ForestError::Grow)?;
            forest.trees.extend(lift(serde_json::to_value(&fitted).map_err(ForestError::Lift)?)?);
            progress(Progress { stage: Stage::Forest, done, of, loss: None });
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(ForestError::Cancelled);
        }
        if forest.check(inputs) { Ok(forest) } else { Err(ForestError::Unsound) }
    }
}

/// Those of one tree.
fn parameters(options: &ForestOptions, inputs: usize, seed: u64) -> RandomForestRegressorParameters {
    RandomForestRegressorParameters::default()
        .with_n_trees(1)
        // smartcore counts levels of nodes, of which the last has leaves only.
        .with_max_depth(options.depth + 1)
        .with_min_samples_leaf(options.leaf_min)
        .with_min_samples_split(2 * options.leaf_min.max(1))
        // The usual choice for regression. √inputs, smartcore's own, measured worse on made-up rows with interactions.
        .with_m(inputs.div_ceil(3))
        .with_seed(seed)
}

fn check(rows: &[TrainingRow<'_>], options: &ForestOptions) -> Result<usize, ForestError> {
    let asked = (1..=TREES_MAX).contains(&options.trees) && (1..=DEPTH_MAX).contains(&options.depth);
    if !asked || options.rows_max < 2 {
        return Err(ForestError::Options);
    }
    let counts = |attack| rows.iter().any(|row| row.attack == attack && row.weight > 0.0);
    if !(counts(true) && counts(false)) {
        return Err(ForestError::OneClass);
    }
    let inputs = rows[0].values.len();
    if !(1..=INPUTS_MAX).contains(&inputs) || rows.iter().any(|row| row.values.len() != inputs) {
        return Err(ForestError::Shape);
    }
    let usable = |row: &TrainingRow<'_>| {
        row.weight.is_finite() && row.weight >= 0.0 && row.values.iter().all(|value| value.is_finite())
    };
    if rows.iter().all(usable) { Ok(inputs) } else { Err(ForestError::NonFinite) }
}

/// At most `rows_max` rows with a weight above zero, and the weights that make up for the draw.
fn choose<'a>(rows: &[TrainingRow<'a>], options: &ForestOptions) -> (Vec<TrainingRow<'a>>, Vec<f64>) {
    let of_class = |attack| rows.iter().filter(move |row| row.attack == attack && row.weight > 0.0).copied();
    let (attacks, legit) = (of_class(true).collect::<Vec<_>>(), of_class(false).collect::<Vec<_>>());
    let half = options.rows_max / 2;
    let attacks_max = half.max(options.rows_max.saturating_sub(legit.len()));
    let legit_max = options.rows_max - attacks.len().min(attacks_max);
    let mut chosen = draw(&attacks, attacks_max, &mut Rng::new(options.seed, "forest: attacks"));
    chosen.extend(draw(&legit, legit_max, &mut Rng::new(options.seed, "forest: legit")));
    let weights = chosen.iter().map(|row| row.weight).collect();
    (chosen, weights)
}

/// All rows, or `max` draws by weight: one from each of `max` equal slices of the summed-up weights (stratified
/// resampling: G. Kitagawa, 1996). A row that is drawn several times comes once with the weight of all its draws.
fn draw<'a>(rows: &[TrainingRow<'a>], max: usize, rng: &mut Rng) -> Vec<TrainingRow<'a>> {
    if rows.len() <= max {
        return rows.to_vec();
    }
    let slice = rows.iter().map(|row| row.weight).sum::<f64>() / max as f64;
    let mut drawn = Vec::with_capacity(max);
    let (mut slices, mut mark, mut summed) = (0_usize, slice * rng.uniform(), 0.0);
    for row in rows {
        summed += row.weight;
        let mut draws = 0.0;
        while slices < max && mark < summed {
            draws += 1.0;
            slices += 1;
            mark = slice * (slices as f64 + rng.uniform());
        }
        if draws > 0.0 {
            drawn.push(TrainingRow { weight: draws * slice, ..*row });
        }
    }
    drawn
}

/// What we read of smartcore's trees. Their fields are private, but they can be written as JSON.
#[derive(Deserialize)]
struct TheirModel {
    forest_regressor: TheirForest,
}

#[derive(Deserialize)]
struct TheirForest {
    trees: Vec<TheirTree>,
}

#[derive(Deserialize)]
struct TheirTree {
    nodes: Vec<TheirNode>,
}

#[derive(Deserialize)]
struct TheirNode {
    output: f64,
    split_feature: u16,
    split_value: Option<f64>,
    true_child: Option<usize>,
    false_child: Option<usize>,
}

fn lift(fitted: serde_json::Value) -> Result<Vec<Tree>, ForestError> {
    let model: TheirModel = serde_json::from_value(fitted).map_err(ForestError::Lift)?;
    let trees: Option<_> = model.forest_regressor.trees.iter().map(|tree| lift_tree(&tree.nodes)).collect();
    trees.ok_or(ForestError::Unsound)
}

/// The same answers with fewer nodes: smartcore goes on asking where all attempts are of one class already.
fn lift_tree(theirs: &[TheirNode]) -> Option<Tree> {
    // Children come after their parents, so from the end they are known first.
    let mut same_everywhere: Vec<Option<f64>> = vec![None; theirs.len()];
    for (index, node) in theirs.iter().enumerate().rev() {
        same_everywhere[index] = match (node.true_child, node.false_child) {
            (None, None) => Some(node.output),
            (Some(left), Some(right)) if left > index && right > index => {
                let (left, right) = (same_everywhere.get(left)?, same_everywhere.get(right)?);
                left.filter(|_| left == right)
            }
            _ => return None,
        };
    }
    // Level by level, so that siblings lie side by side.
    let mut order = vec![0];
    let mut nodes = Vec::new();
    while let Some(&index) = order.get(nodes.len()) {
        let node = theirs.get(index)?;
        nodes.push(match same_everywhere[index] {
            Some(share) => Node::Leaf(share),
            None => {
                let left = u32::try_from(order.len()).ok()?;
                order.extend([node.true_child?, node.false_child?]);
                Node::Split { feature: node.split_feature, threshold: node.split_value?, left }
            }
        });
    }
    Some(Tree { nodes })
}

#[cfg(test)]
mod tests;
