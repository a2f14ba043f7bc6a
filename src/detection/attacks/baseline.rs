//! Whether the last hour is unusual for this site: what the same hour of other days was like decides, not a constant.
//!
//! Counted are networks from which strangers failed: one device in a loop is one network, and a single scanner is no
//! distributed attack. Probabilities are Chernoff bounds, so that a surprise is never overstated.
//!
//! Nobody may teach this file to look away. What an attack brought counts as usual for no more than what was expected when
//! it came. A site that grows shows by those who log in, which strangers cannot make at will: the more users do, the more
//! slips there may be. What is seen at the same hour on five days in a row is usual, whoever does it, until the first
//! day without it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::AttackOptions;
use super::windows::{Windows, hour_of};
use crate::detection::activity::HOUR_MS;
use crate::detection::attempt::Timestamp;
use crate::numeric::ln;

/// Days that the same hour is looked up in.
const DAYS: i64 = 7;
/// Same hours from which their median is the baseline.
const DAYS_ENOUGH: usize = 3;
/// Days in a row at whose same hour something must have been there to be usual, attack or not.
const DAYS_LASTING: i64 = 5;
/// Users who log in by which a site may be off its usual without being called larger.
const USERS_SLACK: f64 = 10.0;
/// Hours of which notes are kept.
const NOTES_KEPT: i64 = (DAYS + 1) * 24;

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

/// What was thought of an hour while it lasted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    /// Networks that were expected in it, once there was a baseline.
    expected: Option<f64>,
    /// An attack was seen.
    attacked: bool,
}

/// What of the past may be called usual. Belongs to the hours of `Windows` and is kept with them over a restart.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Baseline(BTreeMap<i64, Note>);

impl Baseline {
    /// Compares; `None` while the site has no baseline.
    pub fn spike(&self, windows: &Windows, now: Timestamp, options: &AttackOptions) -> Option<Spike> {
        let first = old_enough(windows, now, options)?;
        let (hour, last_hour) = (hour_of(now), windows.window(now, 3600));
        let into = now.millis().rem_euclid(HOUR_MS) as f64 / HOUR_MS as f64;
        let usual = |hour| self.usual(windows, first, hour, last_hour.users_logged_in);
        let expected = (into * usual(hour) + (1.0 - into) * usual(hour - 1)).max(1.0);
        let observed = last_hour.strange_networks;
        let surprise = surprise(observed, expected, options.spike_dispersion);
        Some(Spike { observed, expected, surprise, growth: (observed as f64 / expected - 1.0).max(0.0) })
    }

    /// Notes what is expected of the hour of `now`, and whether an attack was seen in the last hour.
    pub fn note(&mut self, windows: &Windows, now: Timestamp, attacked: bool, options: &AttackOptions) {
        let hour = hour_of(now);
        let users = windows.window(now, 3600).users_logged_in;
        let expected = old_enough(windows, now, options).map(|first| self.usual(windows, first, hour, users).max(1.0));
        let note = self.0.entry(hour).or_default();
        // Who logs in shows only as the hour goes on.
        note.expected = note.expected.into_iter().chain(expected).reduce(f64::max);
        if attacked {
            // The last hour began in the one before.
            [hour - 1, hour].into_iter().for_each(|hour| self.0.entry(hour).or_default().attacked = true);
        }
        self.0.retain(|&noted, _| noted > hour - NOTES_KEPT && noted <= hour);
    }

    /// Takes over what was noted before a restart; what is no number or of another time is left out.
    pub fn restore(&mut self, kept: &Self, now: Timestamp) {
        let last = hour_of(now);
        for (&hour, note) in kept.0.range(last - NOTES_KEPT + 1..=last) {
            let expected = note.expected.filter(|expected| expected.is_finite() && *expected >= 1.0);
            self.0.insert(hour, Note { expected, ..*note });
        }
    }

    /// Networks that are usual in an hour by the hours before it, where `users` log in in an hour by now.
    fn usual(&self, windows: &Windows, first: i64, hour: i64, users: u64) -> f64 {
        let seen = |hour| windows.strange_networks(hour) as f64;
        let note = |hour: i64| self.0.get(&hour).copied().unwrap_or_default();
        let before = |day: i64| Some(hour - 24 * day).filter(|&hour| hour >= first);
        let lasting = (1..=DAYS_LASTING).map(|day| before(day).map_or(0.0, seen)).fold(f64::INFINITY, f64::min);
        // What an hour says: no more than was expected where that counts, and for as many users as there are by now.
        let says = |hour: i64, bounded: bool| {
            let most = note(hour).expected.filter(|_| bounded).unwrap_or(f64::INFINITY);
            let growth = (users as f64 + USERS_SLACK) / (windows.users_logged_in(hour) as f64 + USERS_SLACK);
            seen(hour).min(most) * growth.max(1.0)
        };
        let speaks = |hour: &i64| !note(*hour).attacked || note(*hour).expected.is_some();
        let mut same: Vec<f64> =
            (1..=DAYS).filter_map(before).filter(speaks).map(|hour| says(hour, note(hour).attacked)).collect();
        if same.len() >= DAYS_ENOUGH {
            same.sort_unstable_by(f64::total_cmp);
            return same[same.len() / 2].max(lasting);
        }
        // A young site: the busiest hour of its day. Once anything is expected, none counts for more than that, or each
        // would be a step for the next. An hour with an attack before that says nothing, unless there is no other.
        let day = || (hour - 24).max(first)..hour;
        let busiest = day().filter(speaks).map(|hour| says(hour, true)).reduce(f64::max);
        let quietest = || day().map(seen).reduce(f64::min).unwrap_or(0.0);
        busiest.unwrap_or_else(quietest).max(lasting)
    }
}

/// The first hour that is known, if that is long enough ago for a baseline.
fn old_enough(windows: &Windows, now: Timestamp, options: &AttackOptions) -> Option<i64> {
    windows.first_hour().filter(|first| hour_of(now) - first >= options.baseline_hours_min as i64)
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
        assert!(!Baseline::default().spike(&windows, at(end), &options).unwrap().evident(&options));

        more(&mut windows, end, 45);
        let found = Baseline::default().spike(&windows, at(end), &options).unwrap();
        assert!(found.evident(&options) && found.growth > 1.0, "{found:?}");
    }

    #[test]
    fn the_morning_is_no_spike_but_the_same_number_at_night_is() {
        let options = AttackOptions::default();
        let (morning, night) = (6 * 86_400 + 9 * 3600 + 1800, 6 * 86_400 + 3 * 3600 + 1800);
        let mut windows = site(6, 4, 100);
        more(&mut windows, night, 110);
        more(&mut windows, morning, 15);

        let night = Baseline::default().spike(&windows, at(night), &options).unwrap();
        let morning = Baseline::default().spike(&windows, at(morning), &options).unwrap();

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

        assert!(Baseline::default().spike(&windows, at(hour(6)), &options).unwrap().evident(&options));
    }

    /// Plays `hours` of a site from `start` on: of each, how many log in, how many strange networks fail, whether an attack
    /// is seen. Returns what was expected at the end of each hour.
    fn play(
        (windows, baseline): (&mut Windows, &mut Baseline),
        start: i64,
        hours: impl Iterator<Item = (u64, u64, bool)>,
    ) -> Vec<f64> {
        let options = AttackOptions::default();
        let mut rng = Rng::new(start as u64, "test/baseline/play");
        let mut expected = Vec::new();
        for (nth, (users, networks, attacked)) in hours.enumerate() {
            let begin = (start + nth as i64) * 3600;
            windows.attempt(at(begin), 1, 1);
            for _ in 0..users {
                windows.success(at(begin + rng.below(3590) as i64), rng.next_u64());
            }
            for _ in 0..networks {
                windows.failure(at(begin + rng.below(3590) as i64), Some((rng.next_u64(), rng.next_u64())));
            }
            for second in [0, 1800, 3599] {
                let now = at(begin + second);
                let evident = baseline.spike(windows, now, &options).is_some_and(|spike| spike.evident(&options));
                baseline.note(windows, now, attacked || evident, &options);
            }
            let spike = baseline.spike(windows, at(begin + 3599), &options);
            expected.push(spike.map_or(f64::NAN, |spike| spike.expected));
        }
        expected
    }

    #[test]
    fn an_attack_never_makes_the_next_one_harder_to_see_however_old_the_site_is() {
        for days in [0, 1, 2, 3, 6, 9] {
            for (length, strength) in [(1, 500), (3, 60), (30, 2000)] {
                let of = |attack: bool| {
                    let (mut windows, mut baseline) = (Windows::default(), Baseline::default());
                    let noise = |hour: i64| 3 + (hour as u64 * 7) % 5;
                    let (begin, end) = (days * 24 + 2, days * 24 + 2 + length);
                    play((&mut windows, &mut baseline), 0, (0..begin).map(|hour| (40, noise(hour), false)));
                    let brought =
                        |hour| if attack { (40, noise(hour) + strength, true) } else { (40, noise(hour), false) };
                    play((&mut windows, &mut baseline), begin, (begin..end).map(brought));
                    play((&mut windows, &mut baseline), end, (end..end + 8 * 24).map(|hour| (40, noise(hour), false)))
                };
                let (calm, after) = (of(false), of(true));
                for (hour, (calm, after)) in calm.into_iter().zip(after).enumerate() {
                    // 7 networks an hour is what there ever was; users of an hour are counted to a few in a hundred.
                    assert!(
                        after.is_nan() || after <= calm.max(7.0) * 1.3,
                        "{days} days, {strength} networks for {length} hours, {hour} hours later: {after} after {calm}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_site_that_nobody_saw_attacked_does_not_learn_an_attack_by_steps() {
        let (mut windows, mut baseline) = (Windows::default(), Baseline::default());
        play((&mut windows, &mut baseline), 0, (0..26).map(|_| (40, 4, false)));
        // Each hour half as much again as the one before.
        let steps = (0..12).map(|hour| (40, 6 * 3_u64.pow(hour) / 2_u64.pow(hour), false));
        let expected = play((&mut windows, &mut baseline), 26, steps);

        assert!(expected.iter().all(|expected| *expected < 8.0), "{expected:?}");
    }

    #[test]
    fn a_site_with_ten_times_the_users_may_have_ten_times_the_slips_at_once() {
        for days in [1, 2, 3, 8] {
            let (mut windows, mut baseline) = (Windows::default(), Baseline::default());
            play((&mut windows, &mut baseline), 0, (0..days * 24 + 2).map(|_| (40, 6, false)));
            let expected = play((&mut windows, &mut baseline), days * 24 + 2, (0..9 * 24).map(|_| (600, 90, false)));

            let alarms = expected.iter().filter(|expected| surprise(90, **expected, 0.25) >= 6.0).count();
            assert_eq!(alarms, 0, "{days} days: {expected:?}");
        }
    }

    #[test]
    fn what_is_there_at_the_same_hour_on_five_days_is_usual_and_what_pauses_a_day_is_not() {
        let options = AttackOptions::default();
        let of = |there: fn(i64) -> bool| {
            let (mut windows, mut baseline) = (Windows::default(), Baseline::default());
            play((&mut windows, &mut baseline), 0, (0..9 * 24).map(|_| (40, 6, false)));
            let hours = (0..8 * 24).map(|hour| (40, if hour % 24 < 10 && there(hour / 24) { 300 } else { 6 }, false));
            let expected = play((&mut windows, &mut baseline), 9 * 24, hours);
            // By day: whether the fifth hour of it was called unusual.
            let evident = |day: usize| surprise(300, expected[day * 24 + 5], options.spike_dispersion) >= 6.0;
            (0..8).map(evident).collect::<Vec<_>>()
        };

        assert_eq!(of(|_| true), [true, true, true, true, true, false, false, false], "lasting");
        assert_eq!(of(|day| day % 4 != 3), [true; 8], "it comes and goes");
    }

    #[test]
    fn what_was_thought_of_an_hour_outlives_a_restart_and_nonsense_does_not() {
        let (mut windows, mut baseline) = (Windows::default(), Baseline::default());
        play((&mut windows, &mut baseline), 0, (0..30).map(|hour| (40, if hour == 28 { 500 } else { 5 }, false)));
        let now = at(30 * 3600);
        let mut text = serde_json::to_value(&baseline).unwrap();
        let mut restored = Baseline::default();
        restored.restore(&serde_json::from_value(text.clone()).unwrap(), now);
        assert_eq!(restored, baseline);
        assert!(baseline.0.values().any(|note| note.attacked));

        text[hour_of(now).to_string()] = serde_json::json!({ "expected": -1e300 });
        text["999999999"] = serde_json::json!({ "expected": 1e9, "attacked": true });
        let mut restored = Baseline::default();
        restored.restore(&serde_json::from_value(text).unwrap(), now);
        let foreign = restored.0.remove(&hour_of(now)).unwrap();
        assert_eq!((foreign, restored), (Note::default(), baseline));
    }

    #[test]
    fn a_site_without_a_day_of_history_has_no_baseline() {
        let mut windows = site(1, 0, 0);
        more(&mut windows, 20 * 3600, 500);

        assert_eq!(Baseline::default().spike(&windows, at(20 * 3600), &AttackOptions::default()), None);
    }
}
