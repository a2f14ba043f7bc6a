//! Where attacks are very rare, they are given more weight while a model is fitted, and the logit is put right afterwards.
//!
//! A batch of 256 rows of which one in a thousand is an attack mostly teaches that nothing ever happens. Multiplying the
//! weight of one class by w multiplies the odds that a logit learns by w, so ln w is taken away again (G. King and L. Zeng,
//! "Logistic regression in rare events data", 2001). What comes out speaks of the traffic as it is. Forests need neither:
//! their leaves count.

use super::logistic::Logistic;
use super::mlp::Mlp;
use super::training::TrainingRow;
use crate::numeric;

/// Below this share of the weight attacks are raised to it, and no further.
const SHARE_MIN: f64 = 0.01;
/// An attack never counts for more than so many: a handful of wrong labels must not rule the fit.
const FACTOR_MAX: f64 = 10.0;

/// What the weight of attacks is multiplied with, from 1 to 10.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassWeight(f64);

impl ClassWeight {
    /// For these rows: 1 where attacks have a hundredth of the weight, or either class has none.
    pub fn of(rows: &[TrainingRow<'_>]) -> Self {
        let weight = |attack| rows.iter().filter(|row| row.attack == attack).map(|row| row.weight).sum::<f64>();
        let (attacks, legit) = (weight(true), weight(false));
        let wanted = SHARE_MIN / (1.0 - SHARE_MIN) * legit / attacks;
        // Without attacks, or with a weight that is no number, it is not finite.
        Self(if wanted.is_finite() { wanted.clamp(1.0, FACTOR_MAX) } else { 1.0 })
    }

    /// Multiplies the weight of the attacks among `rows`.
    pub fn apply(self, rows: &mut [TrainingRow<'_>]) {
        rows.iter_mut().filter(|row| row.attack).for_each(|row| row.weight *= self.0);
    }

    /// Takes it out of the logit of a network that was fitted with it.
    pub fn correct_network(self, network: &mut Mlp) {
        network.b2 -= numeric::ln(self.0);
    }

    /// The same of a logistic regression.
    pub fn correct_logistic(self, logistic: &mut Logistic) {
        logistic.bias -= numeric::ln(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::optimizer::Optimizer;
    use super::super::training::{self, TrainingOptions};
    use super::*;
    use crate::numeric::Rng;

    /// Attacks are three in a thousand, and likelier the higher the first value is.
    fn points(n: usize) -> Vec<(Vec<f64>, bool)> {
        let mut rng = Rng::new(3, "class weight test");
        let point = |rng: &mut Rng| {
            let attack = rng.uniform() < 0.003;
            (vec![rng.normal() + if attack { 2.0 } else { 0.0 }, rng.normal()], attack)
        };
        (0..n).map(|_| point(&mut rng)).collect()
    }

    fn rows(points: &[(Vec<f64>, bool)]) -> Vec<TrainingRow<'_>> {
        points.iter().map(|(values, attack)| TrainingRow { values, attack: *attack, weight: 1.0 }).collect()
    }

    fn factor(attacks: usize, legit: usize) -> f64 {
        let row = |attack| TrainingRow { values: &[0.0], attack, weight: 2.0 };
        let rows: Vec<_> = (0..attacks + legit).map(|place| row(place < attacks)).collect();
        ClassWeight::of(&rows).0
    }

    #[test]
    fn attacks_come_to_a_hundredth_and_count_for_ten_at_most() {
        assert!((factor(10, 990) - 1.0).abs() < 1e-12);
        assert_eq!(factor(500, 500), 1.0);
        assert_eq!(factor(1, 9_999), 10.0);
        assert_eq!((factor(0, 100), factor(100, 0)), (1.0, 1.0));
        let middle = factor(3, 997);
        assert!((3.0 * middle / (3.0 * middle + 997.0) - 0.01).abs() < 1e-12, "{middle}");
    }

    #[test]
    fn what_was_fitted_with_it_speaks_of_the_traffic_as_it_is() {
        let (seen, unseen) = (points(30_000), points(60_000).split_off(30_000));
        let mut rows = rows(&seen);
        let weight = ClassWeight::of(&rows);
        assert!((2.0..6.0).contains(&weight.0), "{weight:?}");
        weight.apply(&mut rows);
        let options = TrainingOptions {
            epochs: 20,
            optimizer: Optimizer::Adam { learning_rate: 0.01 },
            ..TrainingOptions::default()
        };
        let mut network = training::fit(&rows, &options, &AtomicBool::new(false), &mut |_| {}).unwrap();
        let mut logistic = Logistic::fit(&rows, 1e-4).unwrap();
        weight.correct_network(&mut network);
        weight.correct_logistic(&mut logistic);

        let truth = unseen.iter().filter(|(_, attack)| *attack).count() as f64 / unseen.len() as f64;
        let mean = |probability: &dyn Fn(&[f64]) -> f64| {
            unseen.iter().map(|(values, _)| probability(values)).sum::<f64>() / unseen.len() as f64
        };
        for mean in [mean(&|row| network.probability(row)), mean(&|row| logistic.probability(row))] {
            assert!((mean / truth - 1.0).abs() < 0.5, "said {mean}, was {truth}");
        }
    }
}
