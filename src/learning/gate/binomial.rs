//! Exact tail probabilities of the binomial distribution, for the few counts that the gate and the breaker have to judge.
//!
//! Sums of terms in a fixed order, so that every machine comes to the same answer. No approximation by a normal
//! distribution: the counts are small exactly where it matters.

use crate::numeric;

/// Probability that at least `hits` of `trials` independent trials hit, each with probability `p`.
///
/// 1 for no hits, 0 for more hits than trials; `p` is clamped to 0 … 1. Exact to about one part in 10¹⁰.
pub(in crate::learning) fn at_least(hits: u64, trials: u64, p: f64) -> f64 {
    let p = p.clamp(0.0, 1.0);
    if hits == 0 {
        return 1.0;
    }
    if hits > trials || p == 0.0 {
        return 0.0;
    }
    if p == 1.0 {
        return 1.0;
    }
    // The sum below begins at its largest term only above the mean; below it, the other tail is summed.
    if (hits as f64) <= trials as f64 * p {
        return 1.0 - at_least_above_mean(trials - hits + 1, trials, 1.0 - p);
    }
    at_least_above_mean(hits, trials, p)
}

/// As [`at_least`] for `hits` ≥ `trials`·`p`, where the terms fall from the first on.
fn at_least_above_mean(hits: u64, trials: u64, p: f64) -> f64 {
    let (n, k) = (trials as f64, hits as f64);
    // ln of C(n, k): the product of (n − k + j)/j over j = 1 … k.
    let choose: f64 = (1..=hits).map(|j| numeric::ln((n - k + j as f64) / j as f64)).sum();
    let mut term = numeric::exp(choose + k * numeric::ln(p) + (n - k) * numeric::ln(1.0 - p));
    let odds = p / (1.0 - p);
    let mut sum = 0.0;
    for hit in hits..=trials {
        sum += term;
        let hit = hit as f64;
        term *= (n - hit) / (hit + 1.0) * odds;
    }
    sum.min(1.0)
}

/// McNemar's exact test: how probable it is that `b` and `c` differ at least this much if both are equally likely; two
/// sided (Q. McNemar 1947; exact form: the binomial test of b among b + c at one half). 1 without any.
pub(super) fn mcnemar(b: u64, c: u64) -> f64 {
    (2.0 * at_least(b.max(c), b + c, 0.5)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(ours: f64, theirs: f64) {
        assert!((ours - theirs).abs() <= 1e-10 * theirs.max(1e-6), "{ours} instead of {theirs}");
    }

    #[test]
    fn small_cases_are_counted_by_hand() {
        close(at_least(1, 2, 0.5), 0.75);
        close(at_least(2, 3, 0.25), 10.0 / 64.0);
        close(at_least(3, 3, 0.1), 0.001);
        assert_eq!((at_least(0, 5, 0.1), at_least(6, 5, 0.9), at_least(1, 0, 0.5)), (1.0, 0.0, 0.0));
        assert_eq!((at_least(1, 5, 0.0), at_least(5, 5, 1.0)), (0.0, 1.0));
    }

    #[test]
    fn both_tails_make_one_also_where_single_terms_vanish() {
        for (hits, trials, p) in [(10, 20_000, 0.01), (300, 20_000, 0.01), (9_000, 20_000, 0.5), (40, 100, 0.4)] {
            let upper = at_least(hits, trials, p);
            let lower = at_least(trials - hits + 1, trials, 1.0 - p);
            close(upper + lower, 1.0);
            assert!((0.0..=1.0).contains(&upper), "{hits} of {trials}: {upper}");
        }
    }

    #[test]
    fn mcnemar_is_exact() {
        for (b, c, p) in [
            (0, 0, 1.0),
            (3, 3, 1.0),
            (5, 0, 2.0 / 32.0),
            (6, 0, 2.0 / 64.0),
            (8, 1, 20.0 / 512.0),
            (10, 2, 158.0 / 4096.0),
            (1, 8, 20.0 / 512.0),
        ] {
            close(mcnemar(b, c), p);
        }
    }
}
