//! How far the traffic of today is from the traffic that a model was trained on, feature by feature, and in its score.
//!
//! The measure is the population stability index over ten quantile bins of the training rows. An attack shifts features
//! all by itself, so everything is measured twice: on all rows, and on those that the model takes for legitimate. Only
//! the second raises an alarm. What follows from an alarm is not decided here.
//!
//! Some features tell of the hour, the site or a whole provider: thousands of rows share one value, so that a few hours
//! differ from weeks of training whatever happens. Others tell what is done to an account, and its user logs in with the
//! traces of an attacker. Neither kind raises an alarm, neither itself nor through the score, which is that of the same
//! attempt on an ordinary day: with those features at their medians of the training.

use serde::{Deserialize, Serialize};

use crate::detection::features::{FeatureSchema, Group};
use crate::numeric;

/// Bins; each holds about a tenth of the training rows.
const BINS: usize = 10;
/// Shares are kept above this, so that an empty bin counts much and not infinitely.
const SHARE_MIN: f64 = 1e-4;
/// Rows that either side needs: with fewer, ten bins reach the limits by chance.
const ROWS_MIN: u64 = 1000;

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen<'a> {
    /// The snapshot, in the order of the schema.
    pub values: &'a [f32],
    /// Importance, above 0; 1 for a live attempt.
    pub weight: f64,
    /// Whether it is legitimate, as far as is known. What is not says nothing of legitimate traffic, however it looks to a
    /// model that has not learnt it yet.
    pub harmless: bool,
}

/// How the training rows were distributed. Belongs to the model that was trained on them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Names of the features.
    names: Vec<String>,
    /// Which of them can raise an alarm.
    telling: Vec<bool>,
    /// Harmless rows with a probability up to this are taken for legitimate.
    cut: f64,
    all: Part,
    legit: Part,
}

/// One set of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    rows: u64,
    features: Vec<Bins>,
    score: Bins,
}

/// Where the bins of one value end, and what lay in each: one more share than edges. A value at an edge lies below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Bins {
    edges: Vec<f64>,
    shares: Vec<f64>,
}

/// A row with its probability of an attack on an ordinary day.
#[derive(Clone, Copy)]
struct Scored<'a> {
    values: &'a [f32],
    probability: f64,
    weight: f64,
    harmless: bool,
}

/// Indices of one set of rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shift {
    /// Rows of today that were compared.
    pub rows: u64,
    /// Of the model's probability on an ordinary day.
    pub score: f64,
    /// Of every feature, in schema order.
    pub features: Vec<FeatureShift>,
}

/// Index of one feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureShift {
    /// Its name in the schema.
    pub name: String,
    /// The index, from 0.
    pub psi: f64,
    /// Whether it counts. What tells the hour, the state of the site or of a whole provider, or what is done to an account
    /// is reported only.
    pub telling: bool,
    /// Whether it has moved so far, and the model leans on it so much, that it raises an alarm alone.
    pub strong: bool,
}

/// Today against the training.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// On all rows; `None` if either side has fewer than a thousand.
    pub all: Option<Shift>,
    /// On rows that the model takes for legitimate; `None` as above.
    pub legit: Option<Shift>,
}

/// What a drift amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing that matters.
    Stable,
    /// Worth a look.
    Warning,
    /// The rows that look legitimate are not what they were.
    Alarm,
}

/// The index that counts most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Largest<'a> {
    /// Name of the feature; `None`: the score.
    pub feature: Option<&'a str>,
    /// The index, from 0.
    pub psi: f64,
    /// Whether it is of rows that the model takes for legitimate.
    pub legit: bool,
}

/// Population stability index of two distributions over the same bins: Σ (q − p)·ln(q/p), with shares of at least 10⁻⁴
/// (a symmetrised Kullback–Leibler divergence; the limits 0.1 and 0.25 are the custom of credit scoring).
pub fn psi(reference: &[f64], current: &[f64]) -> f64 {
    reference
        .iter()
        .zip(current)
        .map(|(p, q)| (p.max(SHARE_MIN), q.max(SHARE_MIN)))
        .map(|(p, q)| (q - p) * numeric::ln(q / p))
        .sum()
}

/// One in so many features must have moved for an alarm.
const MOVED_PART: usize = 4;
/// A model leans on a feature where its usual value instead of today's would move the logit of an attempt by so much on
/// average: a fifth of the odds. What the model does not look at may be what it likes.
const LEANS_MIN: f64 = 0.2;
/// Rows on which that is measured.
const LEANING_ROWS: usize = 500;
/// Probabilities are kept so far from 0 and 1 that each has a logit.
const PROBABILITY_MIN: f64 = 1e-9;

/// Features outside the groups that say nothing of who logs in which say nothing of it either: the state of a provider is
/// that of all its customers, the age of an address grows for as long as the counters have been running, and guesses at an
/// account are those of everybody.
const NOT_TELLING: [&str; 3] = ["asn_failure_share_24h", "source_age_s", "user_guesses_24h"];

/// Whether a feature that moves says anything about who logs in.
fn tells(name: &str, group: Group) -> bool {
    !matches!(group, Group::Time | Group::Global | Group::AccountUnderAttack) && !NOT_TELLING.contains(&name)
}

impl Reference {
    /// Learns the distributions of training rows, each as wide as `schema`. `probability` is the model's; up to `cut` a
    /// harmless row is taken for legitimate.
    pub fn new(schema: &FeatureSchema, rows: &[Seen<'_>], cut: f64, probability: impl Fn(&[f32]) -> f64) -> Self {
        let telling: Vec<bool> =
            schema.names().iter().zip(schema.groups()).map(|(name, group)| tells(name, *group)).collect();
        let features: Vec<Bins> =
            (0..schema.len()).map(|at| Bins::new(rows, |row| value(row.values, at), |row| row.weight)).collect();
        let scored = scored(rows, &telling, &features, probability);
        let legit: Vec<Scored<'_>> =
            scored.iter().filter(|row| row.harmless && row.probability <= cut).copied().collect();
        let legit_features =
            (0..schema.len()).map(|at| Bins::new(&legit, |row| value(row.values, at), |row| row.weight)).collect();
        Self {
            names: schema.names().to_vec(),
            telling,
            cut,
            all: Part::new(&scored, features),
            legit: Part::new(&legit, legit_features),
        }
    }

    /// Compares rows of today with the training; `probability` is that of the same model. Values that a row lacks count
    /// as 0.
    pub fn compare(&self, rows: &[Seen<'_>], probability: impl Fn(&[f32]) -> f64) -> Drift {
        let scored = scored(rows, &self.telling, &self.all.features, &probability);
        let legit: Vec<Scored<'_>> =
            scored.iter().filter(|row| row.harmless && row.probability <= self.cut).copied().collect();
        let mut of_legit = self.shift(&self.legit, &legit);
        let features = of_legit.iter_mut().flat_map(|shift| &mut shift.features).enumerate();
        for (at, feature) in features.filter(|(_, feature)| feature.telling && feature.psi > Drift::STRONG) {
            let usual = self.legit.features[at].median();
            feature.strong = usual.is_some_and(|usual| leaning(&legit, at, usual, &probability) > LEANS_MIN);
        }
        Drift { all: self.shift(&self.all, &scored), legit: of_legit }
    }

    fn shift(&self, part: &Part, rows: &[Scored<'_>]) -> Option<Shift> {
        let count = rows.len() as u64;
        if part.rows < ROWS_MIN || count < ROWS_MIN {
            return None;
        }
        let features = self.names.iter().zip(&self.telling).zip(&part.features).enumerate();
        Some(Shift {
            rows: count,
            score: part.score.psi(rows, |row| row.probability),
            features: features
                .map(|(at, ((name, telling), bins))| FeatureShift {
                    name: name.clone(),
                    psi: bins.psi(rows, |row| value(row.values, at)),
                    telling: *telling,
                    strong: false,
                })
                .collect(),
        })
    }
}

/// The rows with what the model says of each when features that do not tell have the median of `features`.
fn scored<'a>(
    rows: &[Seen<'a>],
    telling: &[bool],
    features: &[Bins],
    probability: impl Fn(&[f32]) -> f64,
) -> Vec<Scored<'a>> {
    let ordinary: Vec<(usize, f32)> = telling
        .iter()
        .zip(features)
        .enumerate()
        .filter(|(_, (telling, _))| !**telling)
        .filter_map(|(at, (_, bins))| Some((at, bins.median()?)))
        .collect();
    let scored = |row: &Seen<'a>| {
        let mut values = row.values.to_vec();
        for (at, median) in &ordinary {
            if let Some(value) = values.get_mut(*at) {
                *value = *median;
            }
        }
        Scored { values: row.values, probability: probability(&values), weight: row.weight, harmless: row.harmless }
    };
    rows.iter().map(scored).collect()
}

/// How far the logit of these rows moves on average where the feature `at` has its `usual` value: on some of them, evenly
/// spread, which says as much as all.
fn leaning(rows: &[Scored<'_>], at: usize, usual: f32, probability: impl Fn(&[f32]) -> f64) -> f64 {
    let logit = |values: &[f32]| {
        let probability = probability(values).clamp(PROBABILITY_MIN, 1.0 - PROBABILITY_MIN);
        numeric::ln(probability / (1.0 - probability))
    };
    let (mut moved, mut looked_at) = (0.0, 0.0);
    for row in rows.iter().step_by(rows.len().div_ceil(LEANING_ROWS).max(1)) {
        let mut ordinary = row.values.to_vec();
        if let Some(value) = ordinary.get_mut(at) {
            *value = usual;
        }
        moved += (logit(row.values) - logit(&ordinary)).abs();
        looked_at += 1.0;
    }
    if looked_at > 0.0 { moved / looked_at } else { 0.0 }
}

fn value(values: &[f32], at: usize) -> f64 {
    values.get(at).map_or(0.0, |value| f64::from(*value))
}

impl Part {
    fn new(rows: &[Scored<'_>], features: Vec<Bins>) -> Self {
        let score = Bins::new(rows, |row| row.probability, |row| row.weight);
        Self { rows: rows.len() as u64, features, score }
    }
}

impl Bins {
    /// Ten bins of about equal weight. Where many rows share one value, there are fewer, and that value has its own.
    fn new<R>(rows: &[R], value: impl Fn(&R) -> f64, weight: impl Fn(&R) -> f64) -> Self {
        let mut sorted: Vec<(f64, f64)> = rows.iter().map(|row| (value(row), weight(row))).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = sorted.iter().map(|(_, weight)| weight).sum();
        let mut edges: Vec<f64> = Vec::with_capacity(BINS);
        let mut below = 0.0;
        for (value, weight) in &sorted {
            below += weight;
            while edges.len() < BINS - 1 && below >= (edges.len() + 1) as f64 / BINS as f64 * total {
                edges.push(*value);
            }
        }
        edges.dedup();
        // A value that most rows share at the top would otherwise be in one bin with everything below it.
        if let Some((top, _)) = sorted.last()
            && edges.last().is_some_and(|edge| edge >= top)
        {
            edges.pop();
            match sorted.iter().rev().find(|(value, _)| value < top) {
                Some((next, _)) => edges.push(*next),
                // All rows alike: below, at, above.
                None => edges.extend([top.next_down(), *top]),
            }
            edges.dedup();
        }
        let mut bins = Self { edges, shares: Vec::new() };
        bins.shares = bins.shares_of(rows, value, weight);
        bins
    }

    /// About half of the rows lie below; `None` without rows.
    fn median(&self) -> Option<f32> {
        self.edges.get(self.edges.len() / 2).map(|edge| *edge as f32)
    }

    fn psi(&self, rows: &[Scored<'_>], value: impl Fn(&Scored<'_>) -> f64) -> f64 {
        psi(&self.shares, &self.shares_of(rows, value, |row| row.weight))
    }

    fn shares_of<R>(&self, rows: &[R], value: impl Fn(&R) -> f64, weight: impl Fn(&R) -> f64) -> Vec<f64> {
        let mut weights = vec![0.0; self.edges.len() + 1];
        let mut total = 0.0;
        for row in rows {
            let value = value(row);
            let weight = weight(row);
            weights[self.edges.partition_point(|edge| *edge < value)] += weight;
            total += weight;
        }
        if total > 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= total);
        }
        weights
    }
}

impl Shift {
    fn is_alarming(&self) -> bool {
        let telling = self.features.iter().filter(|feature| feature.telling);
        let moved = telling.clone().filter(|feature| feature.psi > Drift::ALARM).count();
        let strong = self.features.iter().any(|feature| feature.strong);
        strong || self.score > Drift::ALARM || moved >= telling.count().div_ceil(MOVED_PART).max(1)
    }

    fn largest(&self, legit: bool) -> Largest<'_> {
        let score = Largest { feature: None, psi: self.score, legit };
        let features = self.features.iter().filter(|feature| feature.telling);
        features
            .map(|feature| Largest { feature: Some(feature.name.as_str()), psi: feature.psi, legit })
            .fold(score, |largest, next| if next.psi > largest.psi { next } else { largest })
    }
}

impl Drift {
    /// Above this a distribution has moved.
    pub const WARNING: f64 = 0.1;
    /// Above this it is another one.
    pub const ALARM: f64 = 0.25;
    /// Above this a single feature is enough for an alarm, if the model leans on it.
    pub const STRONG: f64 = 1.0;

    /// An alarm needs rows that the model takes for legitimate; all rows together can only warn, because an attack is
    /// enough to shift them. And it needs the score, a quarter of the features, or one that the model leans on and that
    /// is nothing like what it was: of forty features one or two always move a little from one day to the next (on
    /// simulated traffic three of five days), since one forgotten device or one account under attack is enough for that.
    pub fn level(&self) -> Level {
        if self.legit.as_ref().is_some_and(Shift::is_alarming) {
            return Level::Alarm;
        }
        match self.largest() {
            Some(largest) if largest.psi > Self::WARNING => Level::Warning,
            _ => Level::Stable,
        }
    }

    /// The index on which the level rests; `None` if nothing could be compared.
    pub fn largest(&self) -> Option<Largest<'_>> {
        let legit = self.of_legit();
        if legit.is_some_and(|legit| legit.psi > Self::ALARM) {
            return legit;
        }
        let all = self.all.as_ref().map(|shift| shift.largest(false));
        legit.into_iter().chain(all).max_by(|a, b| a.psi.total_cmp(&b.psi))
    }

    fn of_legit(&self) -> Option<Largest<'_>> {
        self.legit.as_ref().map(|shift| shift.largest(true))
    }

    /// For people: what has moved most, on both sets of rows.
    pub fn sentence(&self) -> String {
        let told = |largest: Option<Largest<'_>>| match largest {
            None => "too few rows".to_owned(),
            Some(Largest { feature, psi, .. }) => format!("{} {psi:.3}", feature.unwrap_or("the score")),
        };
        let all = told(self.all.as_ref().map(|shift| shift.largest(false)));
        let legit = told(self.of_legit());
        format!("since the last training moved most (PSI): {legit} where it looks legitimate, {all} in all rows")
    }
}

#[cfg(test)]
mod tests;
