//! One or several learners that vote with their calibrated logits: what an artifact holds and scoring asks.
//!
//! The mean of logits is again no honest logit, so the mixture has a calibration of its own. Fitting is elsewhere
//! (`run/recipe.rs`), and so is the scaling of features: rows given here are the finished ones.

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::forest::Forest;
use super::logistic::Logistic;
use super::mlp::Mlp;

/// More voters than this are never written.
const VOTERS_MAX: usize = 8;
/// Largest shapes and parameters; far beyond every profile.
const INPUTS_MAX: usize = 4096;
const HIDDEN_MAX: usize = 1024;
const PARAMETER_MAX: f64 = 1e6;

/// One way to learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Learner {
    /// A network with one hidden layer.
    Network(Mlp),
    /// A weighted sum.
    Logistic(Logistic),
    /// Decision trees.
    Forest(Forest),
}

impl Learner {
    /// The name in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Network(_) => "network",
            Self::Logistic(_) => "logistic",
            Self::Forest(_) => "forest",
        }
    }

    /// The logit of an attack; the caller vouches for the length of the row.
    pub fn logit(&self, row: &[f64]) -> f64 {
        match self {
            Self::Network(network) => network.logit(row),
            Self::Logistic(logistic) => logistic.logit(row),
            Self::Forest(forest) => forest.logit(row),
        }
    }

    fn check(&self, inputs: usize) -> Result<(), &'static str> {
        match self {
            Self::Network(network) => check_network(network, inputs),
            Self::Logistic(logistic) if !logistic.check(inputs) => Err("the weighted sum is not finite or not as wide"),
            Self::Forest(forest) if !forest.check(inputs) => Err("the forest is unsound or not as wide"),
            Self::Logistic(_) | Self::Forest(_) => Ok(()),
        }
    }
}

fn check_network(network: &Mlp, inputs: usize) -> Result<(), &'static str> {
    if network.inputs != inputs || network.hidden == 0 || network.hidden > HIDDEN_MAX {
        return Err("the shape is out of bounds");
    }
    if !network.check_shape() {
        return Err("the shape contradicts itself");
    }
    let parameters = network.w1.iter().chain(&network.b1).chain(&network.w2).chain([&network.b2]);
    if parameters.into_iter().any(|value| !value.is_finite() || value.abs() > PARAMETER_MAX) {
        return Err("a parameter is not finite or far too large");
    }
    Ok(())
}

/// A learner with a vote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Voter {
    /// Who votes.
    pub learner: Learner,
    /// Makes its logit comparable with those of the others.
    pub calibration: Calibration,
}

/// The vote: the mean of the calibrated logits, calibrated once more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    /// At least one; of the same width.
    pub voters: Vec<Voter>,
    /// Of the mean.
    pub calibration: Calibration,
    inputs: usize,
}

impl From<Mlp> for Ensemble {
    fn from(network: Mlp) -> Self {
        let inputs = network.inputs;
        Self::new(inputs, vec![Voter { learner: Learner::Network(network), calibration: Calibration::default() }])
    }
}

impl Ensemble {
    /// A vote on rows of `inputs` values, not calibrated as a whole yet.
    pub fn new(inputs: usize, voters: Vec<Voter>) -> Self {
        Self { voters, calibration: Calibration::default(), inputs }
    }

    /// Values of a row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The logit of an attack; the caller vouches for the length of the row.
    pub fn logit(&self, row: &[f64]) -> f64 {
        self.calibration.apply(self.mean(row))
    }

    /// The same before the calibration of the whole.
    pub fn mean(&self, row: &[f64]) -> f64 {
        let sum: f64 = self.voters.iter().map(|voter| voter.calibration.apply(voter.learner.logit(row))).sum();
        sum / self.voters.len() as f64
    }

    /// Whether this may score: to be asked of whatever was decoded. The first objection, for people.
    ///
    /// # Errors
    /// For shapes or numbers that no training writes.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.inputs == 0 || self.inputs > INPUTS_MAX {
            return Err("the shape is out of bounds");
        }
        if self.voters.is_empty() || self.voters.len() > VOTERS_MAX {
            return Err("there is no voter, or there are too many");
        }
        if !self.calibration.check() || self.voters.iter().any(|voter| !voter.calibration.check()) {
            return Err("a calibration is not a rising line");
        }
        self.voters.iter().try_for_each(|voter| voter.learner.check(self.inputs))
    }
}

#[cfg(test)]
mod tests {
    use super::super::mlp::Activation;
    use super::*;
    use crate::numeric::Rng;

    fn network(seed: u64) -> Mlp {
        Mlp::init(3, 4, Activation::Relu, 0.2, &mut Rng::new(seed, "ensemble test"))
    }

    fn sum() -> Logistic {
        Logistic { weights: vec![1.0, -2.0, 0.5], bias: 0.25 }
    }

    #[test]
    fn the_vote_is_the_calibrated_mean_of_calibrated_logits() {
        let row = [0.3, -0.7, 1.5];
        let line = |slope, offset| Calibration { slope, offset };
        let voters = vec![
            Voter { learner: Learner::Network(network(1)), calibration: line(2.0, 1.0) },
            Voter { learner: Learner::Logistic(sum()), calibration: line(0.5, -1.0) },
        ];
        let ensemble = Ensemble { calibration: line(3.0, 0.5), ..Ensemble::new(3, voters) };

        let mean = (2.0 * network(1).logit(&row) + 1.0 + 0.5 * sum().logit(&row) - 1.0) / 2.0;

        assert!((ensemble.logit(&row) - (3.0 * mean + 0.5)).abs() < 1e-12);
        assert_eq!(Ensemble::from(network(1)).logit(&row), network(1).logit(&row));
    }

    #[test]
    fn what_no_training_writes_is_refused() {
        let sound = Ensemble::from(network(1));
        assert_eq!(sound.check(), Ok(()));
        assert!(Ensemble::new(3, Vec::new()).check().is_err());
        assert!(Ensemble { inputs: 4, ..sound.clone() }.check().is_err());
        let falling = Calibration { slope: -1.0, offset: 0.0 };
        assert!(Ensemble { calibration: falling, ..sound }.check().is_err());
        let short = Voter {
            learner: Learner::Logistic(Logistic { weights: vec![1.0], bias: 0.0 }),
            calibration: Calibration::default(),
        };
        assert!(Ensemble::new(3, vec![short]).check().is_err());
    }
}
