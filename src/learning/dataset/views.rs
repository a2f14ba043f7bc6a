//! What trainings and measures want of rows.

use std::collections::BTreeMap;

use super::split::{check_classes, reduce, sort};
use super::{Counts, Dataset, Prepared, Row, SAMPLES_MIN, Words};
use crate::detection::attempt::{RequestKey, Timestamp};
use crate::learning::calibration::Calibrates;
use crate::learning::evaluation::Scored;
use crate::learning::feedback::{self, Told};
use crate::learning::labels::Label;
use crate::learning::standardizer::Standardizer;
use crate::learning::threshold::Negative;
use crate::learning::training::TrainingRow;

/// One part in so many of the training rows, the last in time, says when to stop.
const VALIDATION_PART: usize = 7;

impl Row {
    /// Whether its label is a person's word.
    pub const fn from_feedback(&self) -> bool {
        self.word.is_some()
    }

    /// The values as they were recorded.
    pub fn snapshot(&self) -> Vec<f32> {
        // They came from f32: nothing is lost.
        self.values.iter().map(|value| *value as f32).collect()
    }
}

impl Prepared {
    /// The same without anything that people said; `None` where they said nothing, or one class would be missing then.
    pub fn without_words(&self) -> Option<Self> {
        if self.counts.feedback == 0 { None } else { self.with_words_of(|_| false) }
    }

    /// The same with the words of some authors only, which then weigh what they would if the others had said nothing.
    /// `None` where one class would be missing.
    pub fn with_words_of(&self, heard: impl Fn(&str) -> bool) -> Option<Self> {
        let Words { said, sample_weight, now } = &self.words;
        let said: BTreeMap<RequestKey, (String, Timestamp)> =
            said.iter().filter(|(_, (author, _))| heard(author)).map(|(key, word)| (*key, word.clone())).collect();
        let given: Vec<Timestamp> = said.values().map(|(_, given_at)| *given_at).collect();
        let weights: BTreeMap<RequestKey, f64> =
            said.keys().copied().zip(feedback::weights(&given, *sample_weight, *now)).collect();
        let mut rows_of: BTreeMap<RequestKey, f64> = BTreeMap::new();
        for word in self.train.rows.iter().chain(&self.hold_out.rows).filter_map(|row| row.word) {
            *rows_of.entry(word).or_default() += 1.0;
        }
        let part = |dataset: &Dataset| {
            let heard = |row: &Row| {
                let weight = match row.word {
                    Some(word) => weights.get(&word)? / rows_of.get(&word)?,
                    None => row.weight,
                };
                Some(Row { weight, ..row.clone() })
            };
            Dataset { rows: dataset.rows.iter().filter_map(heard).collect() }
        };
        let (train, hold_out) = (part(&self.train), part(&self.hold_out));
        if train.rows.len() < SAMPLES_MIN || check_classes(train.rows.iter()).is_err() {
            return None;
        }
        let counts = Counts {
            train: train.rows.len(),
            hold_out: hold_out.rows.len(),
            feedback: said.len(),
            skipped: self.counts.skipped,
        };
        let told = Told {
            counted: said.len(),
            set_aside: self.told.set_aside + self.counts.feedback - said.len(),
            ..self.told
        };
        let words = Words { said, ..self.words.clone() };
        Some(Self { train, hold_out, fresh: self.fresh.clone(), counts, told, words })
    }

    /// All rows but the feedback that is held out, in their order; at most `max` samples, drawn with `seed`, and all
    /// other feedback.
    pub fn everything(&self, max: usize, seed: u64) -> Dataset {
        let told = self.train.rows.iter().filter(|row| row.from_feedback()).cloned();
        let all = self.train.rows.iter().chain(&self.hold_out.rows).chain(&self.fresh.rows);
        let mut rows = reduce(all.filter(|row| !row.from_feedback()).cloned().collect(), max, seed);
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
        let (told, rows): (Vec<Row>, Vec<Row>) = self.rows.iter().cloned().partition(|row| row.from_feedback());
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

    /// The same rows with standardised values of which none is cut off, for a network that takes the scale in.
    pub fn centred(&self, standardizer: &Standardizer) -> Self {
        let mut centred = self.clone();
        for row in &mut centred.rows {
            for (value, (mean, sd)) in row.values.iter_mut().zip(standardizer.mean().iter().zip(standardizer.sd())) {
                *value = (*value - mean) / sd;
            }
        }
        centred
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
        let legit = self.rows.iter().filter(|row| row.label == Label::Legit && !row.from_feedback());
        legit.map(|row| Negative { score: probability(row), represents: row.represents, group: row.group }).collect()
    }

    /// What a model can be calibrated with on these rows.
    pub fn calibrates(&self) -> Calibrates {
        let rows: Vec<_> = self.rows.iter().map(|row| (row.label == Label::Attack, row.represents)).collect();
        Calibrates::by(&rows)
    }

    /// At most `max` of the rows that are no feedback, drawn with `seed` as for a training, in their order.
    pub fn drawn(&self, max: usize, seed: u64) -> Self {
        let rows = self.rows.iter().filter(|row| !row.from_feedback()).cloned().collect();
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
