//! The standard library serves as the yardstick here, and only here.
#![allow(clippy::disallowed_methods)]

use super::*;

const TOLERANCE: f64 = 1e-15;

/// Compares over `from..=to` in 20 001 steps; relative, absolute below the smallest normal number.
#[track_caller]
fn agrees(name: &str, ours: impl Fn(f64) -> f64, theirs: impl Fn(f64) -> f64, from: f64, to: f64) {
    let mut worst = (0.0, from);
    for step in 0..=20_000 {
        let x = from + (to - from) * f64::from(step) / 20_000.0;
        let (a, b) = (ours(x), theirs(x));
        let error = (a - b).abs() / b.abs().max(f64::MIN_POSITIVE);
        if error > worst.0 || error.is_nan() {
            worst = (error, x);
        }
    }
    assert!(worst.0 <= TOLERANCE, "{name}({:e}) is off by {:e}", worst.1, worst.0);
}

#[test]
fn exp_agrees_with_the_standard_library() {
    agrees("exp", exp, f64::exp, -708.0, 709.7);
    agrees("exp", exp, f64::exp, -2.0, 2.0);
    agrees("exp", exp, f64::exp, -1e-8, 1e-8);
    agrees("exp_m1", exp_m1, f64::exp_m1, -45.0, 45.0);
    agrees("exp_m1", exp_m1, f64::exp_m1, -1.1, 1.1);
    agrees("exp_m1", exp_m1, f64::exp_m1, -1e-9, 1e-9);
    // Subnormal results are exact to one unit of their grid.
    for x in [-709.0, -720.5, -740.0, -744.9, -745.1] {
        let units = exp(x).to_bits().abs_diff(x.exp().to_bits());
        assert!(units <= 1, "exp({x}) is off by {units} units");
    }
}

#[test]
fn logarithms_agree_with_the_standard_library() {
    agrees("ln", ln, f64::ln, 1e-9, 3.0);
    agrees("ln", ln, f64::ln, 0.999, 1.001);
    agrees("ln", ln, f64::ln, 1.0, 1e300);
    agrees("ln", ln, f64::ln, 5e-324, 1e-307);
    agrees("ln_1p", ln_1p, f64::ln_1p, -0.999, 3.0);
    agrees("ln_1p", ln_1p, f64::ln_1p, -1e-9, 1e-9);
    agrees("ln_1p", ln_1p, f64::ln_1p, -1e-15, 1e-15);
    agrees("ln_1p", ln_1p, f64::ln_1p, 1.0, 1e18);
}

#[test]
fn the_curves_of_the_network_agree_with_the_standard_library() {
    agrees("tanh", tanh, f64::tanh, -25.0, 25.0);
    agrees("tanh", tanh, f64::tanh, -0.6, 0.6);
    agrees("tanh", tanh, f64::tanh, -1e-9, 1e-9);
    agrees("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -700.0, 800.0);
    agrees("softplus", softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), -700.0, 800.0);
    agrees("softplus", softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), -3.0, 3.0);
}

#[test]
fn cos_pi_agrees_with_the_standard_library() {
    for step in 0..=20_000 {
        let x = f64::from(step) / 20_000.0;
        let error = (cos_pi(x) - (x * std::f64::consts::PI).cos()).abs();
        // Absolute: the yardstick itself rounds πx, which shows near the zero at 1/2.
        assert!(error <= 5e-16, "cos_pi({x}) is off by {error:e}");
    }
    assert_eq!(cos_pi(0.0), 1.0);
    assert_eq!(cos_pi(0.5), 0.0);
    assert_eq!(cos_pi(1.0), -1.0);
    assert_eq!(cos_pi(-3.0), 1.0);
    assert_eq!(cos_pi(7.0), -1.0);
    assert!(cos_pi(f64::NAN).is_nan());
}

#[test]
fn the_edges_are_defined() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);

    assert_eq!([exp(inf), exp(-inf), exp(800.0), exp(-800.0), exp(0.0)], [inf, 0.0, inf, 0.0, 1.0]);
    assert_eq!(exp(709.782_712_893_384).to_bits(), 709.782_712_893_384_f64.exp().to_bits());
    assert_eq!([ln(0.0), ln(-0.0), ln(inf), ln(1.0)], [-inf, -inf, inf, 0.0]);
    assert!(ln(-1.0).is_nan() && ln(-inf).is_nan());
    assert_eq!([ln_1p(-1.0), ln_1p(inf), ln_1p(0.0)], [-inf, inf, 0.0]);
    assert!(ln_1p(-1.5).is_nan() && ln_1p(-inf).is_nan());
    assert_eq!([tanh(inf), tanh(-inf), tanh(800.0), tanh(-800.0)], [1.0, -1.0, 1.0, -1.0]);
    assert_eq!([sigmoid(inf), sigmoid(-inf), sigmoid(800.0), sigmoid(-800.0)], [1.0, 0.0, 1.0, 0.0]);
    assert_eq!([softplus(inf), softplus(-inf), softplus(800.0), softplus(-800.0)], [inf, 0.0, 800.0, 0.0]);
    for f in [exp, ln, ln_1p, tanh, sigmoid, softplus] {
        assert!(f(nan).is_nan());
    }
}

#[test]
fn results_are_pinned_to_the_bit() {
    // A change of any of these changes every trained model.
    let bits = [exp(1.5), ln(3.7), ln_1p(0.3), tanh(0.4), sigmoid(-1.3), softplus(0.9), cos_pi(0.3)].map(f64::to_bits);
    assert_eq!(bits, PINNED, "{bits:#x?}");
}

const PINNED: [u64; 7] = [
    0x4011_ed3f_e64f_c541,
    0x3ff4_eeee_650a_e550,
    0x3fd0_ca93_7be1_b9db,
    0x3fd8_5115_73c2_42d6,
    0x3fcb_69c2_5fe3_c688,
    0x3ff3_dbc4_2a54_72ae,
    0x3fe2_cf23_0475_5a5e,
];

#[test]
fn a_stream_depends_on_seed_and_purpose() {
    let draw = |seed, purpose| {
        let mut rng = Rng::new(seed, purpose);
        [rng.next_u64(), rng.next_u64(), rng.next_u64()]
    };

    assert_eq!(draw(7, "init"), draw(7, "init"));
    assert_ne!(draw(7, "init"), draw(7, "shuffle"));
    assert_ne!(draw(7, "init"), draw(8, "init"));
}

#[test]
fn below_is_fair_and_in_range() {
    let mut rng = Rng::new(1, "below");
    let mut seen = [0u32; 6];
    for _ in 0..60_000 {
        seen[rng.below(6) as usize] += 1;
    }
    // Five standard deviations of a binomial count are 456.
    assert!(seen.iter().all(|&count| count.abs_diff(10_000) < 456), "{seen:?}");
    assert_eq!([rng.below(0), rng.below(1)], [0, 0]);
    assert!((0..100).all(|_| rng.below(u64::MAX) < u64::MAX));
}

#[test]
fn uniform_and_normal_have_their_moments() {
    let mut rng = Rng::new(2, "moments");
    let n = 50_000;
    let uniform: Vec<f64> = (0..n).map(|_| rng.uniform()).collect();
    let normal: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / f64::from(n);
    let spread = |values: &[f64]| mean(&values.iter().map(|v| v * v).collect::<Vec<_>>()) - mean(values) * mean(values);

    assert!(uniform.iter().all(|&u| (0.0..1.0).contains(&u)));
    assert!((mean(&uniform) - 0.5).abs() < 0.007 && (spread(&uniform) - 1.0 / 12.0).abs() < 0.002);
    assert!(mean(&normal).abs() < 0.023 && (spread(&normal) - 1.0).abs() < 0.04);
    let beyond_two = normal.iter().filter(|v| v.abs() > 2.0).count() as f64 / f64::from(n);
    assert!((beyond_two - 0.0455).abs() < 0.005);
}

#[test]
fn shuffling_keeps_every_item_and_changes_the_order() {
    let mut items: Vec<u32> = (0..100).collect();
    Rng::new(3, "shuffle").shuffle(&mut items);
    let mut again: Vec<u32> = (0..100).collect();
    Rng::new(3, "shuffle").shuffle(&mut again);

    assert_eq!(items, again);
    assert_ne!(items, (0..100).collect::<Vec<_>>());
    items.sort_unstable();
    assert_eq!(items, (0..100).collect::<Vec<_>>());
    Rng::new(3, "shuffle").shuffle::<u8>(&mut []);
}
