//! Whether the last hour is unusual for this site: what the same hour of other days was like decides, not a constant.
//!
//! Counted are networks from which strangers failed: one device in a loop is one network, and a single scanner is no
//! distributed attack. Probabilities are Chernoff bounds, so that a surprise is never overstated.

use super::AttackOptions;
use super::windows::{Windows, hour_of};
use crate::detection::activity::HOUR_MS;
use crate::detection::attempt::Timestamp;
use crate::numeric::ln;

/// Days that the same hour is looked up in.
const DAYS: i64 = 7;
/// Same hours from which their median is the baseline.
const DAYS_ENOUGH: usize = 3;
/// Weight of the newest hour in the running mean of the last hours.
const NEWEST_WEIGHT: f64 = 0.3;
/// What a running mean adds to the same hours: a lasting change of level becomes usual within a day, not a night's rest.
const RUNNING_SHARE: f64 = 0.5;

/// −log₁₀ of an upper bound for the probability of at least `observed` under a negative binomial distribution of the
/// given mean and variance mean + `dispersion`·mean² (0: Poisson). 0 when `observed` does not exceed the mean.
///
/// Chernoff: P(X ≥ x) ≤ exp(−(x·ln(x/μ) − (x+r)·ln((x+r)/(μ+r)))) with r = 1/dispersion; for Poisson the second part is
/// x − μ.
pub fn surprise(observed: u64, mean: f64, dispersion: f64) -> f64 {
    let x = observed as f64;
    if mean.is_nan() || mean <= 0.0 || x <= mean {
        return 0.0;
    }
    let rest = if dispersion > 0.0 {
        let r = 1.0 / dispersion;
        (x + r) * ln((x + r) / (mean + r))
    } else {
        x - mean
    };
    ((x * ln(x / mean) - rest) / std::f64::consts::LN_10).max(0.0)
}

/// −log₁₀ of an upper bound for the probability of at least `observed` of `all` where each is one with probability
/// `share`: exp(−n·KL(x/n ‖ p)). 0 when `observed` does not exceed the mean.
pub fn share_surprise(observed: u64, all: u64, share: f64) -> f64 {
    let (x, n) = (observed.min(all) as f64, all as f64);
    if all == 0 || share.is_nan() || share <= 0.0 || x / n <= share {
        return 0.0;
    }
    let part = |q: f64, p: f64| if q <= 0.0 { 0.0 } else { q * ln(q / p) };
    let q = x / n;
    n * (part(q, share) + part(1.0 - q, 1.0 - share)) / std::f64::consts::LN_10
}

/// The last hour against what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spike {
    /// Networks with strange failures in the last hour.
    pub observed: u64,
    /// What is usual at this time of the day, at least 1.
    pub expected: f64,
    /// −log₁₀ of the probability by chance.
    pub surprise: f64,
    /// `observed` over `expected`, minus 1; never below 0.
    pub growth: f64,
}

impl Spike {
    /// Whether there is enough evidence to speak of a spike.
    pub fn evident(&self, options: &AttackOptions) -> bool {
        self.observed >= options.spike_networks_min && self.surprise >= options.surprise_min
    }
}

/// Compares; `None` while the site has no baseline.
pub fn spike(windows: &Windows, now: Timestamp, options: &AttackOptions) -> Option<Spike> {
    let hour = hour_of(now);
    let first = windows.first_hour()?;
    if hour - first < options.baseline_hours_min as i64 {
        return None;
    }
    let into = now.millis().rem_euclid(HOUR_MS) as f64 / HOUR_MS as f64;
    let mean = into * usual(windows, first, hour) + (1.0 - into) * usual(windows, first, hour - 1);
    let expected = mean.max(1.0);
    let observed = windows.window(now, 3600).strange_networks;
    let surprise = surprise(observed, expected, options.spike_dispersion);
    Some(Spike { observed, expected, surprise, growth: (observed as f64 / expected - 1.0).max(0.0) })
}

/// What an hour is expected to be like by the hours before it.
fn usual(windows: &Windows, first: i64, hour: i64) -> f64 {
    let value = |hour| windows.strange_networks(hour) as f64;
    let mut same: Vec<f64> = (1..=DAYS).map(|day| hour - 24 * day).filter(|&hour| hour >= first).map(value).collect();
    same.sort_unstable_by(f64::total_cmp);
    let day = (hour - 24).max(first)..hour;
    let mut running = day.clone().next().map_or(0.0, value);
    day.clone().skip(1).for_each(|hour| running += NEWEST_WEIGHT * (value(hour) - running));
    if same.len() >= DAYS_ENOUGH {
        same[same.len() / 2].max(RUNNING_SHARE * running)
    } else {
        // A young site: the busiest hour of its day.
        day.map(value).fold(same.last().copied().unwrap_or(0.0), f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::Rng;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_767_571_200_000 + seconds * 1000)
    }

    /// `days` of a site with `night` networks in an hour of the night and `day` in one of the day.
    fn site(days: i64, night: u64, day: u64) -> Windows {
        let mut windows = Windows::default();
        let mut rng = Rng::new(1, "test/baseline");
        for hour in 0..days * 24 {
            let usual = if (8..20).contains(&(hour % 24)) { day } else { night };
            for _ in 0..usual {
                windows.failure(at(hour * 3600 + rng.below(3600) as i64), Some((rng.next_u64(), rng.next_u64())));
            }
            windows.attempt(at(hour * 3600), 1, 1);
        }
        windows
    }

    fn more(windows: &mut Windows, end: i64, networks: u64) {
        let mut rng = Rng::new(2, "test/baseline");
        for nth in 0..networks {
            windows.failure(at(end - (nth as i64 * 3000) / networks as i64), Some((rng.next_u64(), 1)));
        }
    }

    #[test]
    fn the_bounds_hold_and_are_not_far_from_the_truth() {
        // P(X ≥ 10) for Poisson(2) is 4.65e-5, P(X ≥ 3) for Poisson(0.1) is 1.55e-4.
        let poisson = surprise(10, 2.0, 0.0);
        assert!((3.2..4.34).contains(&poisson), "{poisson}");
        assert!(surprise(3, 0.1, 0.0) < 3.82);
        // P(X ≥ 9 of 10) for p = 0.5 is 11/1024.
        let binomial = share_surprise(9, 10, 0.5);
        assert!((1.4..1.97).contains(&binomial), "{binomial}");
        assert!(surprise(60, 5.0, 0.25) < surprise(60, 5.0, 0.0), "more spread, less surprise");
        assert_eq!((surprise(2, 2.0, 0.1), share_surprise(5, 10, 0.5), share_surprise(0, 0, 0.1)), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_quiet_site_does_not_alarm_on_three_and_does_on_many() {
        let options = AttackOptions::default();
        let end = 3 * 86_400 + 1800;
        let mut windows = site(3, 0, 0);
        more(&mut windows, end, 3);
        assert!(!spike(&windows, at(end), &options).unwrap().evident(&options));

        more(&mut windows, end, 45);
        let found = spike(&windows, at(end), &options).unwrap();
        assert!(found.evident(&options) && found.growth > 1.0, "{found:?}");
    }

    #[test]
    fn the_morning_is_no_spike_but_the_same_number_at_night_is() {
        let options = AttackOptions::default();
        let (morning, night) = (6 * 86_400 + 9 * 3600 + 1800, 6 * 86_400 + 3 * 3600 + 1800);
        let mut windows = site(6, 4, 100);
        more(&mut windows, night, 110);
        more(&mut windows, morning, 15);

        let night = spike(&windows, at(night), &options).unwrap();
        let morning = spike(&windows, at(morning), &options).unwrap();

        assert!(night.evident(&options), "{night:?}");
        assert!(!morning.evident(&options), "{morning:?}");
    }

    #[test]
    fn one_bad_day_does_not_become_the_baseline() {
        let options = AttackOptions::default();
        let mut windows = site(6, 4, 20);
        let hour = |day: i64| day * 86_400 + 9 * 3600 + 1800;
        more(&mut windows, hour(4), 2000);
        more(&mut windows, hour(6), 150);

        assert!(spike(&windows, at(hour(6)), &options).unwrap().evident(&options));
    }

    #[test]
    fn a_site_without_a_day_of_history_has_no_baseline() {
        let mut windows = site(1, 0, 0);
        more(&mut windows, 20 * 3600, 500);

        assert_eq!(spike(&windows, at(20 * 3600), &AttackOptions::default()), None);
    }
}
