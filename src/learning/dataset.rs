//! From samples and feedback to what is trained on and what is held out.
//!
//! The split is by time: the last fifth is never trained on. A fifth of the feedback is held out too, chosen by its
//! request, so that the same item is always on the same side. Rows are sorted by (time, request): no hash order anywhere.

mod emphasis;
mod episode;
mod label;
mod split;
mod views;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use self::episode::Episodes;
use self::label::{feedback_row, labelled};
use self::split::{check_classes, reduce, sort, split_by_time, split_fresh};
use super::feedback::{self, Told};
use super::groups::Groups;
use super::labels::{Label, LabelPolicy};
use super::sample::{Feedback, Sample};
use crate::detection::attempt::{RequestKey, Timestamp};
use crate::detection::features::FeatureSchema;

/// Fewer labelled samples than this teach nothing that would generalise (the original's own limit).
pub const SAMPLES_MIN: usize = 100;
/// One feedback item in so many is held out.
const FEEDBACK_HOLD_OUT: u8 = 5;
/// From so many held-out attacks on it can be told to a point what words cost. Below, an item is about its own attempt only, and all
/// are said alike: on a site of 100 people with few attacks in its hold-out (`experiment feedback`, seed 61) ten wrong items
/// cost nothing that way, and 5 to 7 points of the attacks found with more influence.
const WORDS_MEASURABLE: usize = 1000;

/// One labelled row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Event time of the attempt: decides on which side of the split it falls.
    pub ts: Timestamp,
    /// The attempt; no two rows of a training share one.
    pub request: RequestKey,
    /// What was scored, one value per feature in schema order.
    pub values: Vec<f64>,
    /// From the policy, or from a person.
    pub label: Label,
    /// Importance, above 0; 1 is an ordinary sample.
    pub weight: f64,
    /// Attempts that it stands for: 1, or more where only some were kept or drawn.
    pub represents: f64,
    /// The label is a person's word on this request: the row's own, or that of another attempt of the same episode.
    pub word: Option<RequestKey>,
    /// The login failed.
    pub failed: bool,
    /// Rows of one group may depend on each other: a hash of the client network, or of the account if that has more rows.
    /// See `groups`.
    pub group: u64,
}

/// Rows in the order of (time, request).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dataset {
    /// Sorted, each request once.
    pub rows: Vec<Row>,
}

/// What a training gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Both classes, at least [`SAMPLES_MIN`] rows.
    pub train: Dataset,
    /// Not trained on until everything is measured: for calibration, thresholds and measures. May lack a class, and may
    /// be empty.
    pub hold_out: Dataset,
    /// Later than the hold-out and with labels that came early: easy ones, on which nothing can be measured. Only the
    /// last fit, after all measures, sees them. Empty where the samples do not reach back far enough.
    pub fresh: Dataset,
    /// How many rows went where.
    pub counts: Counts,
    /// What became of the words of people.
    pub told: Told,
    /// The words that count.
    pub words: Words,
}

/// Whose words are among the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// Author and time of each, by its request.
    pub said: BTreeMap<RequestKey, (String, Timestamp)>,
    /// What all samples together weigh, by which the words are weighed.
    pub sample_weight: f64,
    /// The newest moment that samples and words tell.
    pub now: Timestamp,
}

/// What became of everything that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Rows trained on, feedback included, with the other attempts that it is about.
    pub train: usize,
    /// Rows held out, feedback included.
    pub hold_out: usize,
    /// Feedback items among both.
    pub feedback: usize,
    /// Samples of another schema, without a label, or told twice.
    pub skipped: usize,
}

/// Why there is nothing to train on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEnoughData {
    /// Fewer than [`SAMPLES_MIN`] rows before the split.
    #[error("{have} labelled samples are there, {SAMPLES_MIN} are needed")]
    TooFew {
        /// Labelled rows counted, feedback included.
        have: usize,
    },
    /// The training was limited to fewer rows than [`SAMPLES_MIN`].
    #[error("at most {asked} samples were asked for, {SAMPLES_MIN} are needed")]
    AskedForTooFew {
        /// The limit.
        asked: usize,
    },
    /// Nothing to tell apart.
    #[error("all {have} labelled samples are {which}; both classes are needed")]
    OneClass {
        /// Labelled rows counted, feedback included.
        have: usize,
        /// The class that they all have, in the plural: `legitimate` or `attacks`.
        which: &'static str,
    },
}

/// Builds the rows of one training. `samples` come with their inclusion weight; at most `train_max` samples are trained
/// on (feedback comes on top), drawn by weight with `seed`.
///
/// # Errors
/// When there are too few labelled samples, or only one class.
pub fn build(
    samples: Vec<(f64, Sample)>,
    feedback: Vec<Feedback>,
    policy: &dyn LabelPolicy,
    schema: &FeatureSchema,
    train_max: usize,
    seed: u64,
) -> Result<Prepared, NotEnoughData> {
    let offered = samples.len();
    let aligned = |mut item: Feedback| {
        item.values = schema.align(item.fingerprint, &item.values, schema.len())?;
        Some(item)
    };
    let feedback: Vec<Feedback> = feedback.into_iter().filter_map(aligned).collect();
    let mut groups = Groups::default();
    samples.iter().for_each(|(_, sample)| groups.count(sample.client_ip, sample.user));
    feedback.iter().for_each(|item| groups.count(item.client_ip, item.user));
    let unlabelled = episode::unlabelled(&samples, &feedback, policy, schema);
    let mut rows = labelled(samples, policy, schema, &groups);
    let skipped = offered - rows.len();
    let sample_weight: f64 = rows.iter().map(|row| row.weight).sum();
    let moments = rows.iter().map(|row| row.ts).chain(feedback.iter().map(|item| item.given_at));
    let now = moments.max().unwrap_or(Timestamp::from_millis(0));
    let (counted, mut told) = feedback::effective(feedback, sample_weight, now);
    let said = counted.iter().map(|(item, _)| (item.request, (item.author.clone(), item.given_at))).collect();
    let words = Words { said, sample_weight, now };
    let episodes = Episodes::of(&counted, unlabelled);
    let spoken: Vec<Row> = counted.into_iter().map(|(item, weight)| feedback_row(&item, weight, &groups)).collect();
    // A person's word replaces what the policy made of the same request.
    let spoken_of: HashMap<RequestKey, Label> = spoken.iter().map(|row| (row.request, row.label)).collect();
    rows.retain(|row| {
        let word = spoken_of.get(&row.request);
        told.overruled += usize::from(word.is_some_and(|word| *word != row.label));
        word.is_none()
    });
    check_classes(rows.iter().chain(&spoken))?;
    let have = rows.len() + spoken.len();
    if have < SAMPLES_MIN {
        return Err(NotEnoughData::TooFew { have });
    }
    if train_max < SAMPLES_MIN {
        return Err(NotEnoughData::AskedForTooFew { asked: train_max });
    }

    let fresh = split_fresh(&mut rows);
    let (train, mut hold_out) = split_by_time(rows);
    let mut train = reduce(train, train_max, seed);
    let feedback = spoken.len();
    let measurable = words_measurable(&hold_out);
    for row in spoken {
        if row.request.0[0] % FEEDBACK_HOLD_OUT == 0 && feedback >= usize::from(FEEDBACK_HOLD_OUT) {
            // It is asked only about what it says itself.
            hold_out.push(row);
        } else if measurable {
            train.extend(episodes.share(row));
        } else {
            train.push(row);
        }
    }
    sort(&mut train);
    sort(&mut hold_out);
    check_classes(train.iter())?;
    let counts = Counts { train: train.len(), hold_out: hold_out.len(), feedback, skipped };
    Ok(Prepared {
        train: Dataset { rows: train },
        hold_out: Dataset { rows: hold_out },
        fresh: Dataset { rows: fresh },
        counts,
        told,
        words,
    })
}

/// Whether `hold_out` has enough attacks to tell what words cost; those that are somebody's word do not count.
fn words_measurable(hold_out: &[Row]) -> bool {
    let attacks = hold_out.iter().filter(|row| row.label == Label::Attack && !row.from_feedback());
    attacks.count() >= WORDS_MEASURABLE
}

#[cfg(test)]
mod tests;
