//! The distributions that people and attackers are drawn from, on top of the project's own random stream.
//!
//! Everything is built from `+ - * /`, `sqrt` and [`crate::numeric`], so the same seed gives the same traffic on every
//! machine. Nothing here knows what is being drawn.

use crate::numeric::{Rng, exp, ln};

/// Largest mean that [`poisson`] draws in one go: e⁻³⁰ is still far from underflow.
const POISSON_STEP: f64 = 30.0;

/// True with probability `p`.
pub(super) fn chance(rng: &mut Rng, p: f64) -> bool {
    rng.uniform() < p
}

/// Uniform in `[low, high)`.
pub(super) fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.uniform()
}

/// Log-uniform in `[low, high)`, both positive: every factor of two is equally likely.
pub(super) fn log_between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    exp(between(rng, ln(low), ln(high)))
}

/// A whole number from `low` to `high`, both included.
pub(super) fn whole(rng: &mut Rng, low: u64, high: u64) -> u64 {
    low + rng.below(high - low + 1)
}

/// An index below `len`, which must not be zero.
pub(super) fn index(rng: &mut Rng, len: usize) -> usize {
    rng.below(len as u64) as usize
}

/// One of `items`, which must not be empty.
pub(super) fn pick<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[index(rng, items.len())]
}

/// An index drawn in proportion to `weights` (not negative, not all zero).
pub(super) fn weighted(rng: &mut Rng, weights: &[f64]) -> usize {
    let mut left = rng.uniform() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    weights.len() - 1
}

/// Exponential with the given mean.
pub(super) fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * ln(1.0 - rng.uniform())
}

/// Poisson with the given mean (Knuth's product of uniforms, in steps so that large means do not underflow).
pub(super) fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    let mut count = 0;
    let mut left = mean;
    while left > 0.0 {
        let step = left.min(POISSON_STEP);
        left -= step;
        let floor = exp(-step);
        let mut product = rng.uniform();
        while product > floor {
            count += 1;
            product *= rng.uniform();
        }
    }
    count
}

/// Log-normal with mean 1 and the given spread (standard deviation of the logarithm).
pub(super) fn lognormal(rng: &mut Rng, sigma: f64) -> f64 {
    exp(sigma * rng.normal() - 0.5 * sigma * sigma)
}

/// Gamma with the given shape and scale 1 (Marsaglia and Tsang 2000; shapes below one by their boost).
fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = exp(ln(1.0 - rng.uniform()) / shape);
        return gamma(rng, shape + 1.0) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = rng.normal();
        let root = 1.0 + c * x;
        if root <= 0.0 {
            continue;
        }
        let v = root * root * root;
        if ln(1.0 - rng.uniform()) < 0.5 * x * x + d - d * v + d * ln(v) {
            return d * v;
        }
    }
}

/// Beta: one draw per person makes that person's failures beta-binomial.
pub(super) fn beta(rng: &mut Rng, a: f64, b: f64) -> f64 {
    let x = gamma(rng, a);
    let y = gamma(rng, b);
    if x + y > 0.0 { x / (x + y) } else { 0.0 }
}

/// Ranks with probability proportional to rank^(−exponent).
pub(super) struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over the ranks `0..ranks` (0 is the most popular).
    pub(super) fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=ranks)
            .map(|rank| {
                sum += exp(-exponent * ln(rank as f64));
                sum
            })
            .collect();
        Self { cumulative }
    }

    /// Draws a rank.
    pub(super) fn draw(&self, rng: &mut Rng) -> u64 {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let x = rng.uniform() * total;
        self.cumulative.partition_point(|&sum| sum <= x).min(self.cumulative.len().saturating_sub(1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(mut draw: impl FnMut() -> f64) -> f64 {
        (0..4000).map(|_| draw()).sum::<f64>() / 4000.0
    }

    #[test]
    fn means_are_those_of_the_distributions() {
        let mut rng = Rng::new(1, "test/sampling");

        assert!((mean(|| poisson(&mut rng, 3.0) as f64) - 3.0).abs() < 0.15);
        assert!((mean(|| poisson(&mut rng, 75.0) as f64) - 75.0).abs() < 0.8);
        assert!((mean(|| exponential(&mut rng, 10.0)) - 10.0).abs() < 0.9);
        assert!((mean(|| beta(&mut rng, 0.8, 9.2)) - 0.08).abs() < 0.01);
        assert!((mean(|| lognormal(&mut rng, 0.5)) - 1.0).abs() < 0.06);
    }

    #[test]
    fn zipf_prefers_low_ranks_and_stays_in_range() {
        let mut rng = Rng::new(2, "test/zipf");
        let zipf = Zipf::new(100, 1.2);

        let draws: Vec<u64> = (0..4000).map(|_| zipf.draw(&mut rng)).collect();

        assert!(draws.iter().all(|&rank| rank < 100));
        let first = draws.iter().filter(|&&rank| rank == 0).count();
        let tenth = draws.iter().filter(|&&rank| rank == 9).count();
        assert!(first > 8 * tenth, "{first} against {tenth}");
    }

    #[test]
    fn weights_decide_and_zero_weight_is_never_drawn() {
        let mut rng = Rng::new(3, "test/weighted");

        assert!((0..1000).all(|_| weighted(&mut rng, &[0.0, 1.0, 0.0]) == 1));
    }
}
