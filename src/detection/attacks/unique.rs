//! How many different things were seen, in bounded memory whatever is sent.
//!
//! Up to `EXACT` hashes are kept as they are; beyond that a sketch of registers takes their place (HyperLogLog; Flajolet
//! and others, 2007) with the estimator of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017,
//! which needs no correction tables. What is held depends on the set of hashes only: adding and merging commute.
//!
//! Hashes must be keyed (see `hash`). Nothing is ever taken out; windows keep one of these per bucket.

/// Hashes that are kept exactly before the sketch takes over.
pub const EXACT: usize = 64;
/// log₂ of the number of registers: 2048 of one byte each. The standard error is 1.04/√2048 = 2.3 %.
const PRECISION: u32 = 11;
const REGISTERS: usize = 1 << PRECISION;
/// Highest value of a register.
const RANK_MAX: usize = 64 - PRECISION as usize + 1;

/// A set that can be counted. Exact up to [`EXACT`] members, then within 2.3 % (standard error; 7 % in all but three of a
/// thousand cases).
#[derive(Debug, Clone, PartialEq)]
pub enum Unique {
    /// The hashes, ascending.
    Exact(Vec<u64>),
    /// The registers.
    Sketch(Box<[u8; REGISTERS]>),
}

impl Default for Unique {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Unique {
    /// Adds a keyed hash.
    pub fn add(&mut self, hash: u64) {
        match self {
            Self::Exact(hashes) => {
                let Err(place) = hashes.binary_search(&hash) else { return };
                if hashes.len() < EXACT {
                    hashes.insert(place, hash);
                    return;
                }
                let mut registers = Box::new([0; REGISTERS]);
                hashes.iter().for_each(|&known| see(&mut registers, known));
                see(&mut registers, hash);
                *self = Self::Sketch(registers);
            }
            Self::Sketch(registers) => see(registers, hash),
        }
    }

    /// Adds everything that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        match other {
            Self::Exact(hashes) => hashes.iter().for_each(|&hash| self.add(hash)),
            Self::Sketch(theirs) => {
                if let Self::Exact(hashes) = self {
                    let mut registers = theirs.clone();
                    hashes.iter().for_each(|&hash| see(&mut registers, hash));
                    *self = Self::Sketch(registers);
                } else if let Self::Sketch(ours) = self {
                    ours.iter_mut().zip(theirs.iter()).for_each(|(our, their)| *our = (*our).max(*their));
                }
            }
        }
    }

    /// How many different hashes were added, rounded.
    pub fn count(&self) -> u64 {
        match self {
            Self::Exact(hashes) => hashes.len() as u64,
            Self::Sketch(registers) => (estimate(registers) + 0.5) as u64,
        }
    }

    /// Estimated heap bytes.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Exact(hashes) => hashes.capacity() * size_of::<u64>(),
            Self::Sketch(_) => REGISTERS,
        }
    }
}

fn see(registers: &mut [u8; REGISTERS], hash: u64) {
    let register = (hash >> (64 - PRECISION)) as usize;
    // The marker bit bounds the rank where the rest of the hash is zero.
    let rank = ((hash << PRECISION) | 1 << (PRECISION - 1)).leading_zeros() + 1;
    registers[register] = registers[register].max(rank as u8);
}

/// Ertl's improved raw estimator (algorithm 6 of the paper).
fn estimate(registers: &[u8; REGISTERS]) -> f64 {
    let mut histogram = [0u32; RANK_MAX + 1];
    registers.iter().for_each(|&rank| histogram[usize::from(rank).min(RANK_MAX)] += 1);
    let m = REGISTERS as f64;
    let mut z = m * tau(1.0 - f64::from(histogram[RANK_MAX]) / m);
    for &count in histogram[1..RANK_MAX].iter().rev() {
        z = 0.5 * (z + f64::from(count));
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    m * m / (2.0 * std::f64::consts::LN_2 * z)
}

/// x + Σ x^(2^k)·2^(k−1).
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))²·2^−k) / 3.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;

    fn of(hashes: impl IntoIterator<Item = u64>) -> Unique {
        let mut unique = Unique::default();
        hashes.into_iter().for_each(|hash| unique.add(hash));
        unique
    }

    #[test]
    fn up_to_its_limit_it_is_exact_and_beyond_it_within_seven_percent() {
        let mut rng = Rng::new(1, "test/unique");
        for n in [0, 1, 10, 64, 65, 100, 1000, 5000, 20_000, 100_000] {
            for _ in 0..5 {
                let unique = of((0..n).map(|_| rng.next_u64()));
                let error = (unique.count() as f64 - n as f64).abs();
                let allowed = if n <= EXACT as u64 { 0.0 } else { 0.07 * n as f64 };
                assert!(error <= allowed, "{n}: {}", unique.count());
            }
        }
    }

    #[test]
    fn repetition_adds_nothing_and_memory_stays_bounded() {
        let mut rng = Rng::new(2, "test/unique");
        let hashes: Vec<u64> = (0..3000).map(|_| rng.next_u64()).collect();

        let twice = of(hashes.iter().chain(&hashes).copied());

        assert_eq!(twice, of(hashes));
        assert!(twice.heap_bytes() <= REGISTERS);
        assert_eq!(of([7, 7, 7]).count(), 1);
    }

    #[test]
    fn neither_the_order_of_adding_nor_of_merging_matters() {
        let mut rng = Rng::new(3, "test/unique");
        for (left, right) in [(10, 10), (50, 50), (500, 10), (10, 500), (500, 500)] {
            let a: Vec<u64> = (0..left).map(|_| rng.next_u64()).collect();
            let b: Vec<u64> = (0..right).map(|_| rng.next_u64()).collect();
            let (mut ab, mut ba) = (of(a.iter().copied()), of(b.iter().rev().copied()));
            ab.merge(&of(b.iter().copied()));
            ba.merge(&of(a.iter().rev().copied()));

            assert_eq!(ab, ba);
            assert_eq!(ab, of(b.into_iter().chain(a)));
        }
    }
}
