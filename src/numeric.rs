//! Elementary functions and random numbers that give the same bits on every machine.
//!
//! The functions of the standard library call whatever mathematics library the platform ships, and these differ in the
//! last bit. A training run that must be repeatable byte by byte on another node cannot use them. Everything here is
//! built from additions, multiplications, divisions and square roots, which IEEE 754 defines exactly, in a fixed order
//! and without fused operations. Results agree with the true value to about one part in 10¹⁵.
//!
//! Not here: anything that is not needed by learning or traffic, vectorised variants, and cryptographic randomness.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};
use sha2::{Digest, Sha256};

/// ln 2 cut after 32 bits, so that a product with any exponent of an `f64` is exact.
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
/// What [`LN2_HIGH`] lacks.
const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
/// Above this eˣ exceeds the largest `f64`.
const EXP_OVERFLOW: f64 = 709.782_712_893_384;
/// Below this eˣ rounds to zero even as a subnormal number.
const EXP_UNDERFLOW: f64 = -745.133_219_101_941_2;

/// eˣ. Infinity above 709.78, zero below −745.13, NaN for NaN.
pub fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > EXP_OVERFLOW {
        return f64::INFINITY;
    }
    if x < EXP_UNDERFLOW {
        return 0.0;
    }
    let (k, p) = reduced_exp_m1(x);
    scale(1.0 + p, k)
}

/// eˣ − 1 without cancellation near zero.
fn exp_m1(x: f64) -> f64 {
    if x.is_nan() || x == 0.0 {
        return x;
    }
    if x.abs() > 40.0 {
        // Subtracting one no longer changes a digit, or is all that is left.
        return exp(x) - 1.0;
    }
    let (k, p) = reduced_exp_m1(x);
    if k == 0 {
        return p;
    }
    scale(p, k) + (scale(1.0, k) - 1.0)
}

/// Splits x = k·ln 2 + r with |r| ≤ ln 2 / 2 and gives (k, eʳ − 1).
///
/// The Taylor series of eʳ − 1 up to r¹⁴ leaves 0.3466¹⁵/15! ≈ 10⁻¹⁹. Even and odd powers are summed in two chains,
/// which the processor can run side by side.
fn reduced_exp_m1(x: f64) -> (i32, f64) {
    let k = (x * std::f64::consts::LOG2_E + 0.5).floor();
    let high = x - k * LN2_HIGH;
    let low = k * LN2_LOW;
    let r = high - low;
    let lost = (high - r) - low;

    let q = r * r;
    let (even, odd) = (horner(q, &EVEN), horner(q, &ODD));
    // |x| ≤ 746 bounds k by 1077.
    (k as i32, r + (lost + q * (even + r * odd)))
}

/// 1/2!, 1/4!, … and 1/3!, 1/5!, …: the even and the odd part of the exponential series.
const EVEN: [f64; 7] = [
    1.0 / 2.0,
    1.0 / 24.0,
    1.0 / 720.0,
    1.0 / 40_320.0,
    1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    1.0 / 87_178_291_200.0,
];
const ODD: [f64; 6] =
    [1.0 / 6.0, 1.0 / 120.0, 1.0 / 5_040.0, 1.0 / 362_880.0, 1.0 / 39_916_800.0, 1.0 / 6_227_020_800.0];
/// 2/3, 2/5, …: the series of 2·artanh without its leading term.
const ARTANH: [f64; 11] = [
    2.0 / 3.0,
    2.0 / 5.0,
    2.0 / 7.0,
    2.0 / 9.0,
    2.0 / 11.0,
    2.0 / 13.0,
    2.0 / 15.0,
    2.0 / 17.0,
    2.0 / 19.0,
    2.0 / 21.0,
    2.0 / 23.0,
];

/// c₀ + x·(c₁ + x·(c₂ + …)), innermost first. (Written out as nested brackets it takes rustfmt minutes.)
fn horner<const N: usize>(x: f64, coefficients: &[f64; N]) -> f64 {
    let (last, others) = coefficients.split_last().expect("there is a coefficient");
    others.iter().rev().fold(*last, |sum, coefficient| coefficient + x * sum)
}

/// v·2ᵏ with one rounding, for |k| ≤ 1100 and v near one.
fn scale(v: f64, k: i32) -> f64 {
    if k > 1023 {
        v * power_of_two(k - 1) * 2.0
    } else if k < -1021 {
        v * power_of_two(k + 200) * power_of_two(-200)
    } else {
        v * power_of_two(k)
    }
}

/// 2ᵏ for −1022 ≤ k ≤ 1023.
fn power_of_two(k: i32) -> f64 {
    f64::from_bits(((k + 1023) as u64) << 52)
}

/// Natural logarithm. −∞ for zero, NaN for negative numbers and NaN, ∞ for ∞.
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let (x, offset) = if x < f64::MIN_POSITIVE { (x * power_of_two(54), -54) } else { (x, 0) };
    let bits = x.to_bits();
    let mut k = (bits >> 52) as i32 - 1023 + offset;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        k += 1;
    }

    // ln(1+f) = 2·artanh(s) with s = f/(2+f). The leading term 2s is written as f − f²/2 + s·f²/2, because f is exact
    // and s is not. |s| ≤ 0.172, so the series to s²² leaves less than 10⁻¹⁹.
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let q = s * s;
    let tail = q * horner(q, &ARTANH);
    let half_square = 0.5 * f * f;
    let k = f64::from(k);
    k * LN2_HIGH - ((half_square - (s * (half_square + tail) + k * LN2_LOW)) - f)
}

/// ln(1 + x), exact also where 1 + x loses the digits of x. −∞ for −1, NaN below.
pub fn ln_1p(x: f64) -> f64 {
    if x.abs() < 1e-17 || x == f64::INFINITY {
        return x;
    }
    let sum = 1.0 + x;
    if sum <= 0.0 || sum.is_nan() {
        return ln(sum);
    }
    // What the rounding of 1 + x dropped comes back to first order; the second order is below 10⁻³².
    let lost = if x > 1.0 { 1.0 - (sum - x) } else { x - (sum - 1.0) };
    ln(sum) + lost / sum
}

/// Hyperbolic tangent; ±1 from |x| = 22 on.
pub fn tanh(x: f64) -> f64 {
    if x.is_nan() || x == 0.0 {
        return x;
    }
    let magnitude = x.abs();
    if magnitude >= 22.0 {
        return 1.0f64.copysign(x);
    }
    let t = exp_m1(2.0 * magnitude);
    (t / (t + 2.0)).copysign(x)
}

/// 1 / (1 + e⁻ˣ). Both tails keep their relative accuracy and neither overflows.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + exp(-x))
    } else {
        let e = exp(x);
        e / (1.0 + e)
    }
}

/// ln(1 + eˣ). Approaches eˣ on the left and x on the right, without overflow.
pub fn softplus(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    x.max(0.0) + ln_1p(exp(-x.abs()))
}

/// cos(πx) for x between 0 and 1; other values are clamped into that range, NaN stays NaN.
pub fn cos_pi(x: f64) -> f64 {
    use std::f64::consts::PI;

    let x = x.clamp(0.0, 1.0);
    if x <= 0.25 {
        cos_taylor(x * PI)
    } else if x < 0.75 {
        -sin_taylor((x - 0.5) * PI)
    } else {
        -cos_taylor((1.0 - x) * PI)
    }
}

/// cos t for |t| ≤ π/4; the series to t¹⁸ leaves less than 10⁻²⁰.
fn cos_taylor(t: f64) -> f64 {
    let q = t * t;
    let tail = 1.0 / 24.0
        - q * (1.0 / 720.0
            - q * (1.0 / 40_320.0
                - q * (1.0 / 3_628_800.0
                    - q * (1.0 / 479_001_600.0
                        - q * (1.0 / 87_178_291_200.0
                            - q * (1.0 / 20_922_789_888_000.0 - q * (1.0 / 6_402_373_705_728_000.0)))))));
    1.0 - (0.5 * q - q * q * tail)
}

/// sin t for |t| ≤ π/4; the series to t¹⁷ leaves less than 10⁻¹⁹.
fn sin_taylor(t: f64) -> f64 {
    let q = t * t;
    let tail = 1.0 / 6.0
        - q * (1.0 / 120.0
            - q * (1.0 / 5_040.0
                - q * (1.0 / 362_880.0
                    - q * (1.0 / 39_916_800.0
                        - q * (1.0 / 6_227_020_800.0
                            - q * (1.0 / 1_307_674_368_000.0 - q * (1.0 / 355_687_428_096_000.0)))))));
    t - t * q * tail
}

/// Random numbers that depend on a seed and a purpose only.
///
/// Each purpose has a stream of its own, so that one more draw for shuffling does not change the initial weights. Good
/// enough for statistics; not for keys.
#[derive(Clone, Debug)]
pub struct Rng {
    stream: ChaCha8Rng,
    /// The polar method makes two normal numbers at a time; the second waits here.
    spare: Option<f64>,
}

impl Rng {
    /// The stream of `purpose` under `seed`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"nauthilus-neural random stream 1\0");
        hash.update(seed.to_le_bytes());
        hash.update(purpose.as_bytes());
        Self { stream: ChaCha8Rng::from_seed(hash.finalize().into()), spare: None }
    }

    /// 64 uniformly distributed bits.
    pub fn next_u64(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A number from [0, 1), on a grid of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * power_of_two(-53)
    }

    /// A whole number from 0 to n − 1, each equally likely; 0 if n is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        // The upper half of a 128-bit product is the answer; the lower half tells the draws that would favour small
        // numbers (D. Lemire, "Fast random integer generation in an interval", 2019).
        let unfair = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= unfair {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number with mean 0 and standard deviation 1 (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let u = 2.0 * self.uniform() - 1.0;
            let v = 2.0 * self.uniform() - 1.0;
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * ln(square) / square).sqrt();
                self.spare = Some(v * factor);
                return u * factor;
            }
        }
    }

    /// Puts the items into a random order, each order equally likely (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests;
