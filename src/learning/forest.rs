//! A forest of decision trees: a second voter, which sees corners where the network draws smooth lines.
//!
//! The trees are plain numbers of our own. Where they come from is in `forest/fit.rs`; calibrating the vote and mixing it
//! with others' is elsewhere. Features may have any scale, but it must be the one that was fitted.

mod fit;

use serde::{Deserialize, Serialize};

use crate::numeric;

pub use fit::{ForestError, ForestOptions};

/// Bounds of what is accepted from elsewhere: scoring walks once down every tree.
const TREES_MAX: usize = 256;
const DEPTH_MAX: u16 = 16;
const NODES_MAX: usize = 1 << (DEPTH_MAX + 1);
const INPUTS_MAX: usize = 4096;

/// How many attempts a tree's answer is taken to rest on when it becomes a logit.
const ATTEMPTS_PER_TREE: f64 = 5.0;

/// Decision trees that vote with equal weight.
///
/// One that was decoded is always sound: see [`Forest::check`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Forest {
    inputs: usize,
    trees: Vec<Tree>,
}

/// Nodes of a tree, its root first, children behind their parents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Node {
    /// Where the walk ends: share of attacks among the attempts that ended here in the fit.
    Leaf(f64),
    /// A question on the way.
    Split {
        feature: u16,
        /// A value up to this goes left, a higher one right.
        threshold: f64,
        /// Index of the left child; the right one is next to it.
        left: u32,
    },
}

/// The stored form.
#[derive(Deserialize)]
struct Stored {
    inputs: usize,
    trees: Vec<Tree>,
}

impl TryFrom<Stored> for Forest {
    type Error = ForestError;

    fn try_from(stored: Stored) -> Result<Self, ForestError> {
        let forest = Self { inputs: stored.inputs, trees: stored.trees };
        if forest.check(forest.inputs) { Ok(forest) } else { Err(ForestError::Unsound) }
    }
}

impl Forest {
    /// Number of features.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees.len()
    }

    /// Number of questions and leaves of all trees.
    pub fn nodes(&self) -> usize {
        self.trees.iter().map(|tree| tree.nodes.len()).sum()
    }

    /// Whether this is a usable forest for rows of `inputs` values: 1 to 256 trees of at most 131 072 nodes whose questions
    /// ask for features that exist, whose numbers are finite and whose walks end, since children come after their parents.
    pub fn check(&self, inputs: usize) -> bool {
        self.inputs == inputs
            && (1..=INPUTS_MAX).contains(&inputs)
            && (1..=TREES_MAX).contains(&self.trees.len())
            && self.trees.iter().all(|tree| tree.check(inputs))
    }

    /// Probability of an attack: the mean of what the trees say, and so one of finitely many values from 0 to 1.
    ///
    /// The caller vouches for the length of the row; another length panics in debug builds.
    pub fn probability(&self, row: &[f64]) -> f64 {
        debug_assert_eq!(row.len(), self.inputs, "row of the wrong length");
        self.trees.iter().map(|tree| tree.answer(row)).sum::<f64>() / self.trees.len() as f64
    }

    /// The logit of an attack, ln((p·n + ½) / ((1 − p)·n + ½)), where p is the probability and n is five attempts for each
    /// tree.
    ///
    /// All trees may agree on 0 or 1, for which the plain logit is infinite. The half attempt added to either side
    /// (J. Haldane and F. Anscombe, 1956) keeps it within ±ln(2n + 1): ±5.8 for 32 trees. It is a bound and no measure of
    /// how sure the forest is; for that it must be calibrated.
    pub fn logit(&self, row: &[f64]) -> f64 {
        let attempts = ATTEMPTS_PER_TREE * self.trees.len() as f64;
        let probability = self.probability(row);
        numeric::ln((probability * attempts + 0.5) / ((1.0 - probability) * attempts + 0.5))
    }
}

impl Tree {
    fn check(&self, inputs: usize) -> bool {
        let sound = |(index, node): (usize, &Node)| match *node {
            Node::Leaf(share) => (0.0..=1.0).contains(&share),
            Node::Split { feature, threshold, left } => {
                let left = left as usize;
                usize::from(feature) < inputs
                    && threshold.is_finite()
                    && left > index
                    && left < self.nodes.len().saturating_sub(1)
            }
        };
        (1..=NODES_MAX).contains(&self.nodes.len()) && self.nodes.iter().enumerate().all(sound)
    }

    fn answer(&self, row: &[f64]) -> f64 {
        let mut index = 0;
        loop {
            match self.nodes[index] {
                Node::Leaf(share) => return share,
                Node::Split { feature, threshold, left } => {
                    // Written so that what cannot be compared goes right.
                    let goes_left = row[usize::from(feature)] <= threshold;
                    index = left as usize + usize::from(!goes_left);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x₀ ≤ 1 → 0.25; else x₁ ≤ −2 → 0, else 1.
    fn tree() -> Vec<Node> {
        vec![
            Node::Split { feature: 0, threshold: 1.0, left: 1 },
            Node::Leaf(0.25),
            Node::Split { feature: 1, threshold: -2.0, left: 3 },
            Node::Leaf(0.0),
            Node::Leaf(1.0),
        ]
    }

    fn forest(trees: Vec<Vec<Node>>) -> Forest {
        Forest { inputs: 2, trees: trees.into_iter().map(|nodes| Tree { nodes }).collect() }
    }

    #[test]
    fn a_row_goes_left_up_to_the_threshold_and_right_above_it() {
        let forest = forest(vec![tree()]);
        for (row, share) in
            [([1.0, 9.0], 0.25), ([1.5, -2.0], 0.0), ([1.5, -1.9], 1.0), ([f64::NAN, 0.0], 1.0), ([-1e300, 0.0], 0.25)]
        {
            assert_eq!(forest.probability(&row), share, "{row:?}");
        }
    }

    #[test]
    fn all_trees_have_the_same_say() {
        let forest = forest(vec![tree(), vec![Node::Leaf(1.0)], vec![Node::Leaf(0.5)], vec![Node::Leaf(0.25)]]);
        assert_eq!(forest.probability(&[0.0, 0.0]), 0.5);
        assert_eq!(forest.logit(&[0.0, 0.0]), 0.0);
    }

    #[test]
    fn the_logit_rises_with_the_probability_and_stays_bounded() {
        let logit = |share| forest(vec![vec![Node::Leaf(share)]; 32]).logit(&[0.0, 0.0]);
        let logits: Vec<_> = (0..=1000).map(|i| logit(f64::from(i) / 1000.0)).collect();
        let bound = numeric::ln(321.0);
        assert!(logits.is_sorted_by(|a, b| a < b));
        assert!((logits[1000] - bound).abs() < 1e-12 && (logits[0] + bound).abs() < 1e-12);
        assert!((logit(0.9) - numeric::ln(9.0)).abs() < 0.05);
    }

    #[test]
    fn a_forest_survives_being_stored() {
        let forest = forest(vec![tree(), vec![Node::Leaf(0.1 + 0.2)]]);
        let stored = serde_json::to_string(&forest).unwrap();
        assert_eq!(serde_json::from_str::<Forest>(&stored).unwrap(), forest);
    }

    #[test]
    fn a_forest_that_could_loop_panic_or_answer_nonsense_is_neither_accepted_nor_decoded() {
        let refused = |forest: Forest| {
            let stored = serde_json::to_string(&forest).unwrap();
            !forest.check(2) && serde_json::from_str::<Forest>(&stored).is_err()
        };
        let changed = |at: usize, node: Node| {
            let mut nodes = tree();
            nodes[at] = node;
            refused(forest(vec![tree(), nodes]))
        };
        assert!(forest(vec![tree()]).check(2));
        assert!(!forest(vec![tree()]).check(3));

        // Back to the root, onto itself, behind the end by one and by many.
        for left in [0, 2, 4, u32::MAX] {
            assert!(changed(2, Node::Split { feature: 0, threshold: 0.0, left }), "{left}");
        }
        assert!(changed(0, Node::Split { feature: 2, threshold: 0.0, left: 1 }));
        for number in [f64::NAN, f64::INFINITY, -0.1, 1.1] {
            assert!(changed(1, Node::Leaf(number)), "{number}");
        }
        assert!(changed(0, Node::Split { feature: 0, threshold: f64::NEG_INFINITY, left: 1 }));
        assert!(refused(forest(vec![])) && refused(forest(vec![vec![]])));
        assert!(refused(forest(vec![vec![Node::Leaf(0.5)]; TREES_MAX + 1])));
        assert!(refused(forest(vec![vec![Node::Leaf(0.5); NODES_MAX + 1]])));
        assert!(refused(Forest { inputs: 0, ..forest(vec![vec![Node::Leaf(0.5)]]) }));
    }
}
