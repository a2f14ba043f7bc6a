//! From samples and feedback to what is trained on and what is held out.
//!
//! The split is by time: the last fifth is never trained on. A fifth of the feedback is held out too, chosen by its
//! request, so that the same item is always on the same side. Rows are sorted by (time, request): no hash order anywhere.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::calibration::Calibrates;
use super::evaluation::Scored;
use super::feedback::{self, Told};
use super::groups::Groups;
use super::hindsight::LOOK_AHEAD_MS;
use super::labels::{Label, LabelPolicy};
use super::sample::{Feedback, Sample};
use super::standardizer::Standardizer;
use super::threshold::Negative;
use super::training::TrainingRow;
use crate::detection::attempt::{Outcome, RequestKey, Timestamp};
use crate::detection::features::FeatureSchema;
use crate::numeric::Rng;

/// Fewer labelled samples than this teach nothing that would generalise (the original's own limit).
pub const SAMPLES_MIN: usize = 100;
/// Share of the time span that is held out.
const HOLD_OUT: f64 = 0.2;
/// One part in so many of the training rows, the last in time, says when to stop.
const VALIDATION_PART: usize = 7;
/// Days of settled samples from which on unsettled ones are kept out of all measures: what is labelled within hours is
/// the easy part, and a threshold from it lets too much through.
const SETTLED_DAYS_MIN: i64 = 2;
/// One feedback item in so many is held out.
const FEEDBACK_HOLD_OUT: u8 = 5;

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
    /// The label is a person's word.
    pub from_feedback: bool,
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
}

/// What became of everything that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Rows trained on, feedback included.
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
    let mut rows = labelled(samples, policy, schema, &groups);
    let skipped = offered - rows.len();
    let sample_weight: f64 = rows.iter().map(|row| row.weight).sum();
    let moments = rows.iter().map(|row| row.ts).chain(feedback.iter().map(|item| item.given_at));
    let now = moments.max().unwrap_or(Timestamp::from_millis(0));
    let (counted, mut told) = feedback::effective(feedback, sample_weight, now);
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
    for row in &spoken {
        if row.request.0[0] % FEEDBACK_HOLD_OUT == 0 && spoken.len() >= usize::from(FEEDBACK_HOLD_OUT) {
            hold_out.push(row.clone());
        } else {
            train.push(row.clone());
        }
    }
    sort(&mut train);
    sort(&mut hold_out);
    check_classes(train.iter())?;
    let counts = Counts { train: train.len(), hold_out: hold_out.len(), feedback: spoken.len(), skipped };
    Ok(Prepared {
        train: Dataset { rows: train },
        hold_out: Dataset { rows: hold_out },
        fresh: Dataset { rows: fresh },
        counts,
        told,
    })
}

/// Takes out what has not settled at the time of the newest row, if enough is left before.
fn split_fresh(rows: &mut Vec<Row>) -> Vec<Row> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Vec::new() };
    let settled = last.ts.plus_millis(-LOOK_AHEAD_MS);
    if first.ts > settled.plus_millis(-SETTLED_DAYS_MIN * LOOK_AHEAD_MS) {
        return Vec::new();
    }
    let at = rows.partition_point(|row| row.ts <= settled);
    rows.split_off(at)
}

impl Row {
    /// The values as they were recorded.
    pub fn snapshot(&self) -> Vec<f32> {
        // They came from f32: nothing is lost.
        self.values.iter().map(|value| *value as f32).collect()
    }
}

impl Prepared {
    /// The same without anything that people said; `None` where they said nothing, or one class would be missing then.
    pub fn without_words(&self) -> Option<Self> {
        if self.counts.feedback == 0 {
            return None;
        }
        let silent = |dataset: &Dataset| Dataset {
            rows: dataset.rows.iter().filter(|row| !row.from_feedback).cloned().collect(),
        };
        let (train, hold_out) = (silent(&self.train), silent(&self.hold_out));
        if train.rows.len() < SAMPLES_MIN || check_classes(train.rows.iter()).is_err() {
            return None;
        }
        let counts = Counts {
            train: train.rows.len(),
            hold_out: hold_out.rows.len(),
            feedback: 0,
            skipped: self.counts.skipped,
        };
        Some(Self { train, hold_out, fresh: self.fresh.clone(), counts, told: self.told })
    }

    /// All rows but the feedback that is held out, in their order; at most `max` samples, drawn with `seed`, and all
    /// other feedback.
    pub fn everything(&self, max: usize, seed: u64) -> Dataset {
        let told = self.train.rows.iter().filter(|row| row.from_feedback).cloned();
        let all = self.train.rows.iter().chain(&self.hold_out.rows).chain(&self.fresh.rows);
        let mut rows = reduce(all.filter(|row| !row.from_feedback).cloned().collect(), max, seed);
        rows.extend(told);
        sort(&mut rows);
        Dataset { rows }
    }
}

impl Dataset {
    /// The earlier part with all feedback, and the last seventh of the other rows to watch a training by. Both empty where
    /// either would lack a class.
    ///
    /// Feedback is mostly about what happened last. Were it only watched by, the model that the gate judges would not have
    /// learnt from it, and the one that serves would: nobody would see what a wrong word costs.
    pub fn split_last(&self) -> (Self, Self) {
        let (told, rows): (Vec<Row>, Vec<Row>) = self.rows.iter().cloned().partition(|row| row.from_feedback);
        let (core, validation) = rows.split_at(rows.len() - rows.len() / VALIDATION_PART);
        let both = |rows: &[Row]| check_classes(rows.iter()).is_ok();
        if !both(core) || !both(validation) {
            return Default::default();
        }
        let mut core = [core, &told].concat();
        sort(&mut core);
        (Self { rows: core }, Self { rows: validation.to_vec() })
    }

    /// Mean and deviation of every feature, by the rows' weights.
    pub fn standardizer(&self, width: usize) -> Standardizer {
        let snapshots: Vec<_> = self.rows.iter().map(|row| (row.snapshot(), row.weight)).collect();
        Standardizer::fit(width, snapshots.iter().map(|(snapshot, weight)| (snapshot.as_slice(), *weight)))
    }

    /// The same rows with standardised values.
    pub fn standardised(&self, standardizer: &Standardizer) -> Self {
        let mut standardised = self.clone();
        for row in &mut standardised.rows {
            standardizer.apply(&row.snapshot(), &mut row.values);
        }
        standardised
    }

    /// The rows as the trainer takes them.
    pub fn training_rows(&self) -> Vec<TrainingRow<'_>> {
        self.rows
            .iter()
            .map(|row| TrainingRow { values: &row.values, attack: row.label == Label::Attack, weight: row.weight })
            .collect()
    }

    /// The legitimate rows as a threshold wants them. Without feedback: people speak of what was stopped, which says nothing
    /// about how often that happens, and with a handful of excused attacks a threshold would rise above them.
    pub fn negatives(&self, probability: impl Fn(&Row) -> f64) -> Vec<Negative> {
        let legit = self.rows.iter().filter(|row| row.label == Label::Legit && !row.from_feedback);
        legit.map(|row| Negative { score: probability(row), represents: row.represents, group: row.group }).collect()
    }

    /// What a model can be calibrated with on these rows.
    pub fn calibrates(&self) -> Calibrates {
        let rows: Vec<_> = self.rows.iter().map(|row| (row.label == Label::Attack, row.represents)).collect();
        Calibrates::by(&rows)
    }

    /// At most `max` of the rows that are no feedback, drawn with `seed` as for a training, in their order.
    pub fn drawn(&self, max: usize, seed: u64) -> Self {
        let rows = self.rows.iter().filter(|row| !row.from_feedback).cloned().collect();
        let mut rows = reduce(rows, max, seed);
        sort(&mut rows);
        Self { rows }
    }

    /// The rows as `probability` scores them.
    pub fn scored(&self, probability: impl Fn(&Row) -> f64) -> Vec<Scored> {
        self.rows
            .iter()
            .map(|row| Scored { score: probability(row), attack: row.label == Label::Attack, weight: row.weight })
            .collect()
    }
}

fn labelled(
    samples: Vec<(f64, Sample)>,
    policy: &dyn LabelPolicy,
    schema: &FeatureSchema,
    groups: &Groups,
) -> Vec<Row> {
    let mut rows: Vec<Row> = samples
        .into_iter()
        .filter_map(|(inclusion_weight, mut sample)| {
            // One of an older list of additional features says "missing" where the newer ones stand.
            sample.values = schema.align(sample.fingerprint, &sample.values, schema.len())?;
            let labelled = policy.label(&sample, schema)?;
            Some(Row {
                ts: sample.ts,
                request: sample.request,
                values: sample.values.iter().map(|value| f64::from(*value)).collect(),
                label: labelled.label,
                weight: labelled.weight * inclusion_weight,
                represents: inclusion_weight,
                from_feedback: false,
                failed: sample.outcome == Outcome::Failure,
                group: groups.of(sample.client_ip, sample.user),
            })
        })
        .collect();
    sort(&mut rows);
    // The same request may have been recorded by two nodes; the sort has put the two side by side.
    let mut seen = HashSet::with_capacity(rows.len());
    rows.retain(|row| seen.insert(row.request));
    rows
}

fn feedback_row(item: &Feedback, weight: f64, groups: &Groups) -> Row {
    Row {
        ts: item.ts,
        request: item.request,
        values: item.values.iter().map(|value| f64::from(*value)).collect(),
        label: if item.is_attack { Label::Attack } else { Label::Legit },
        weight,
        represents: 1.0,
        from_feedback: true,
        failed: false,
        group: groups.of(item.client_ip, item.user),
    }
}

fn check_classes<'a>(rows: impl Iterator<Item = &'a Row>) -> Result<(), NotEnoughData> {
    let (mut attacks, mut have) = (0, 0);
    for row in rows {
        have += 1;
        attacks += usize::from(row.label == Label::Attack);
    }
    match attacks {
        _ if have == 0 => Err(NotEnoughData::TooFew { have }),
        0 => Err(NotEnoughData::OneClass { have, which: "legitimate" }),
        attacks if attacks == have => Err(NotEnoughData::OneClass { have, which: "attacks" }),
        _ => Ok(()),
    }
}

/// The last fifth of the rows (by time) is held out, but never so much that training has too little or only one class.
fn split_by_time(rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let mut at = rows.len() - (rows.len() as f64 * HOLD_OUT) as usize;
    // Rows of one instant stay together.
    while at > 0 && at < rows.len() && rows[at - 1].ts == rows[at].ts {
        at += 1;
    }
    let both = |rows: &[Row]| {
        rows.iter().any(|row| row.label == Label::Attack) && rows.iter().any(|row| row.label == Label::Legit)
    };
    let mut train = rows;
    let hold_out = train.split_off(at);
    if both(&train) {
        return (train, hold_out);
    }
    // A class that appears only in the last fifth: every fifth row is held out instead, which leaks campaigns into the
    // measure but is the only way to learn both classes at all.
    train.extend(hold_out);
    let (mut kept, mut held) = (Vec::new(), Vec::new());
    for (index, row) in train.into_iter().enumerate() {
        if index % 5 == 4 { held.push(row) } else { kept.push(row) }
    }
    if both(&kept) {
        return (kept, held);
    }
    kept.extend(held);
    sort(&mut kept);
    (kept, Vec::new())
}

/// At most `max` rows, half of them for each class as far as they go, drawn at random; weights make up for the draw.
fn reduce(rows: Vec<Row>, max: usize, seed: u64) -> Vec<Row> {
    if rows.len() <= max {
        return rows;
    }
    let (mut attacks, legit): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.label == Label::Attack);
    // Honest failures are few, and what a model has to tell from attacks; successes are many and all alike.
    let (mut failures, mut successes): (Vec<_>, Vec<_>) = legit.into_iter().partition(|row| row.failed);
    let half = max / 2;
    draw(&mut attacks, half.max(max.saturating_sub(failures.len() + successes.len())), seed, "dataset attacks");
    let legit_max = max - attacks.len().min(max);
    draw(&mut failures, (legit_max / 2).max(legit_max.saturating_sub(successes.len())), seed, "dataset failures");
    draw(&mut successes, legit_max - failures.len().min(legit_max), seed, "dataset successes");
    attacks.extend(failures);
    attacks.extend(successes);
    attacks
}

fn draw(rows: &mut Vec<Row>, max: usize, seed: u64, purpose: &str) {
    if rows.len() <= max {
        return;
    }
    let factor = rows.len() as f64 / max.max(1) as f64;
    Rng::new(seed, purpose).shuffle(rows);
    rows.truncate(max.max(1));
    for row in rows {
        row.weight *= factor;
        row.represents *= factor;
    }
}

fn sort(rows: &mut [Row]) {
    rows.sort_by_key(|row| (row.ts, row.request));
}

#[cfg(test)]
mod tests {
    use super::super::labels::OutcomeLabels;
    use super::super::sample::tests::{feedback, sample};
    use super::*;
    use crate::detection::additional::{FeatureList, Kind, Proposal};

    fn samples(count: u64, every_nth_fails: u64) -> Vec<(f64, Sample)> {
        let fingerprint = FeatureSchema::compat6().fingerprint();
        (0..count)
            .map(|number| {
                let mut sample = sample(number, number % every_nth_fails != 0);
                sample.fingerprint = fingerprint;
                (1.0, sample)
            })
            .collect()
    }

    fn prepared(samples: Vec<(f64, Sample)>, feedback: Vec<Feedback>, max: usize) -> Result<Prepared, NotEnoughData> {
        build(samples, feedback, &OutcomeLabels, &FeatureSchema::compat6(), max, 1)
    }

    #[test]
    fn the_hold_out_is_later_than_everything_that_is_trained_on() {
        let prepared = prepared(samples(500, 3), Vec::new(), 10_000).expect("enough");

        let last = prepared.train.rows.last().expect("rows").ts;
        assert!(prepared.hold_out.rows.iter().all(|row| row.ts > last));
        assert_eq!(prepared.hold_out.rows.len(), 100);
    }

    #[test]
    fn too_few_and_one_class_are_named() {
        assert_eq!(prepared(samples(99, 3), Vec::new(), 1000), Err(NotEnoughData::TooFew { have: 99 }));
        assert!(prepared(samples(100, 3), Vec::new(), 1000).is_ok());
        let asked = prepared(samples(200, 3), Vec::new(), 50);
        assert_eq!(asked, Err(NotEnoughData::AskedForTooFew { asked: 50 }));
        assert_eq!(
            prepared(samples(200, 1_000_000).split_off(1), Vec::new(), 1000),
            Err(NotEnoughData::OneClass { have: 199, which: "legitimate" })
        );
    }

    #[test]
    fn a_persons_word_replaces_the_outcome_of_the_same_request() {
        let mut word = feedback(3, false, "helpdesk");
        word.fingerprint = FeatureSchema::compat6().fingerprint();

        let prepared = prepared(samples(500, 3), vec![word.clone()], 10_000).expect("enough");

        let rows: Vec<_> = prepared
            .train
            .rows
            .iter()
            .chain(&prepared.hold_out.rows)
            .filter(|row| row.request == word.request)
            .collect();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].label, rows[0].from_feedback), (Label::Legit, true));
    }

    #[test]
    fn a_word_against_the_label_wins_and_is_told_and_one_that_agrees_is_not() {
        let of_schema = |number, is_attack| Feedback {
            fingerprint: FeatureSchema::compat6().fingerprint(),
            ..feedback(number, is_attack, "helpdesk")
        };
        // Every third sample is a failure, which the policy calls an attack: 3 is one, 4 is not.
        let words = vec![of_schema(3, false), of_schema(6, true), of_schema(4, true)];

        let prepared = prepared(samples(500, 3), words, 10_000).expect("enough");

        assert_eq!((prepared.told.counted, prepared.told.overruled), (3, 2));
    }

    #[test]
    fn the_age_of_a_word_is_counted_from_the_newest_moment_of_the_data() {
        let newest = samples(500, 3).last().map(|(_, sample)| sample.ts).expect("samples");
        let word = |number, given_at| Feedback {
            fingerprint: FeatureSchema::compat6().fingerprint(),
            given_at,
            ..feedback(number, false, "helpdesk")
        };
        let words = vec![word(3, newest.plus_millis(-90 * 86_400_000)), word(300, newest)];

        let prepared = prepared(samples(500, 3), words.clone(), 10_000).expect("enough");

        let rows = || prepared.train.rows.iter().chain(&prepared.hold_out.rows);
        let [old, fresh] = [0, 1]
            .map(|place: usize| rows().find(|row| row.request == words[place].request).map_or(0.0, |row| row.weight));
        assert!(fresh > 0.0 && (old / fresh - 0.5).abs() < 1e-9, "{old} {fresh}");
    }

    #[test]
    fn a_sample_told_by_two_nodes_counts_once() {
        let mut twice = samples(300, 3);
        twice.extend(samples(300, 3));

        let prepared = prepared(twice, Vec::new(), 10_000).expect("enough");

        assert_eq!(prepared.counts.train + prepared.counts.hold_out, 300);
        assert_eq!(prepared.counts.skipped, 300);
    }

    #[test]
    fn a_reduced_set_keeps_its_total_weight_per_class() {
        let weight = |rows: &[Row], label| rows.iter().filter(|row| row.label == label).map(|row| row.weight).sum();
        let all = prepared(samples(2000, 4), Vec::new(), 10_000).expect("enough");
        let reduced = prepared(samples(2000, 4), Vec::new(), 200).expect("enough");

        assert_eq!(reduced.train.rows.len(), 200);
        for label in [Label::Attack, Label::Legit] {
            let (all, reduced): (f64, f64) = (weight(&all.train.rows, label), weight(&reduced.train.rows, label));
            assert!((all - reduced).abs() < 0.2 * all, "{label:?}: {all} became {reduced}");
        }
    }

    #[test]
    fn samples_and_feedback_of_a_shorter_list_are_filled_up_with_missing() {
        let proposals = ["risk", "score"].map(|name| Proposal { name: name.into(), kind: Kind::Number });
        let schema = FeatureSchema::compat6().with_additional(&FeatureList::default().with(&proposals, 16, 0));
        let mut word = feedback(1_000_000, true, "a");
        word.fingerprint = FeatureSchema::compat6().fingerprint();
        let mut mixed = samples(300, 3);
        mixed[7].1.fingerprint = schema.fingerprint();
        mixed[7].1.values.extend([0.5, 0.0, 0.25, 0.0]);
        let request = mixed[7].1.request;

        let prepared = build(mixed, vec![word], &OutcomeLabels, &schema, 10_000, 1).expect("enough");

        let rows: Vec<_> = prepared.train.rows.iter().chain(&prepared.hold_out.rows).collect();
        assert_eq!((prepared.counts.skipped, prepared.counts.feedback, rows.len()), (0, 1, 301));
        for row in rows {
            let told = row.request == request;
            let block: [f64; 4] = if told { [0.5, 0.0, 0.25, 0.0] } else { [0.0, 1.0, 0.0, 1.0] };
            assert_eq!((row.values.len(), &row.values[6..]), (10, &block[..]));
        }
    }

    #[test]
    fn feedback_is_learnt_from_before_anything_is_judged_however_late_it_is() {
        let words = (490..496).map(|number| {
            let mut word = feedback(number, number % 2 == 0, "helpdesk");
            word.fingerprint = FeatureSchema::compat6().fingerprint();
            word
        });
        let prepared = prepared(samples(500, 3), words.collect(), 10_000).expect("enough");

        let (core, validation) = prepared.train.split_last();

        let told = |rows: &Dataset| rows.rows.iter().filter(|row| row.from_feedback).count();
        assert!(told(&core) >= 4, "the others are held out: {}", told(&core));
        assert_eq!((told(&validation), core.rows.len() + validation.rows.len()), (0, prepared.train.rows.len()));
        let earlier = core.rows.iter().filter(|row| !row.from_feedback).all(|row| row.ts < validation.rows[0].ts);
        assert!(earlier && core.rows.is_sorted_by_key(|row| row.ts));
    }

    #[test]
    fn a_threshold_rests_on_what_happened_and_not_on_what_people_said() {
        let row = |number, from_feedback| {
            let mut word = feedback(number, false, "helpdesk");
            word.fingerprint = FeatureSchema::compat6().fingerprint();
            let group = Groups::default();
            Row { from_feedback, ..feedback_row(&word, 1.0, &group) }
        };
        let rows = Dataset { rows: vec![row(1, false), row(2, true), row(3, false)] };

        assert_eq!(rows.negatives(|_| 0.5).len(), 2);
    }

    #[test]
    fn rows_of_one_network_share_a_group_on_both_sides_of_the_split() {
        // The samples of one /24 go by their network, because their accounts have fewer rows.
        let prepared = prepared(samples(500, 3), Vec::new(), 10_000).expect("enough");

        let mut groups: Vec<u64> =
            prepared.train.rows.iter().chain(&prepared.hold_out.rows).map(|row| row.group).collect();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), 2, "10.0.0.0/24 and 10.0.1.0/24");
    }

    #[test]
    fn samples_of_another_schema_are_skipped_and_counted() {
        let mut mixed = samples(300, 3);
        mixed[5].1.fingerprint ^= 1;

        let prepared = prepared(mixed, Vec::new(), 10_000).expect("enough");

        assert_eq!(prepared.counts.skipped, 1);
    }
}
