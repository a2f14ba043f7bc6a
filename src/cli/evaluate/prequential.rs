//! `--prequential`: replays the test as a daemon would live it. Each attempt is scored with the model of its moment; on
//! schedule what has happened so far is labelled, a challenger is trained, and the gate decides.
//!
//! Nothing later than an attempt bears on its score: not the labels, not the threshold, not the counters.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::offline::Player;
use super::measure::{Lived, TestRow, share};
use crate::daemon::chain;
use crate::detection::attempt::{Outcome, Timestamp};
use crate::detection::features::FeatureSchema;
use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::artifact::ModelArtifact;
use crate::learning::gate::Canary;
use crate::learning::hindsight::{HindsightIndex, HindsightLabels, HindsightLimits, LOOK_AHEAD_MS};
use crate::learning::labels::{KnownLabels, LabelPolicy, OutcomeLabels};
use crate::learning::run::{self, Material, RunOptions, RunOutcome};
use crate::learning::sample::Sample;
use crate::learning::threshold::Support;

/// The least time between two trainings: nothing settles in less, and without any the life would never end.
const PERIOD_MIN: Duration = Duration::from_secs(60);
/// The most; a longer test than that is not known.
const PERIOD_MAX: Duration = Duration::from_secs(366 * 86_400);

/// The time between two trainings, as typed.
///
/// # Errors
/// When it is no duration, or one that no schedule of a daemon has.
pub fn period(text: &str) -> Result<Duration, String> {
    let period = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (PERIOD_MIN..=PERIOD_MAX).contains(&period) {
        Ok(period)
    } else {
        Err("a training needs a period from 1m to 366d; a daemon has 12h by default".to_owned())
    }
}

/// What a life is made of.
pub struct Setting<'a> {
    /// Features of the model.
    pub schema: &'a FeatureSchema,
    /// How each training is done.
    pub options: &'a RunOptions,
    /// Time between two scheduled trainings.
    pub period_ms: i64,
    /// Where labels come from.
    pub labels: super::Labels,
    /// Scenarios for the gate.
    pub canaries: &'a [Canary],
    /// The true labels, for `--labels oracle`.
    pub truth: &'a KnownLabels,
}

/// What became of it.
pub struct Life {
    /// The test rows with their scores, in the order of the test.
    pub rows: Vec<TestRow>,
    /// Score and flag of each row.
    pub lived: Vec<Lived>,
    /// Trainings that promoted a model.
    pub promoted: usize,
    /// Trainings that the gate refused, each as its time and the reason.
    pub refused: Vec<String>,
    /// Every training in the order of time.
    pub trainings: Vec<Training>,
}

/// One scheduled training and what served after it.
pub struct Training {
    /// When it was, in event time.
    pub at: Timestamp,
    /// `None` if it promoted a model, else why not.
    pub refused: Option<String>,
    /// The block threshold in force from then on; `None` = the model may only watch.
    pub threshold: Option<f64>,
    /// What was held out when the model in force was trained, and what a block threshold needs; `None` where costs decide.
    pub support: Option<Support>,
}

/// Lives through `train` without scoring and through `test` scoring.
///
/// # Errors
/// When the training records do not suffice for a first model.
pub fn live(
    mut player: Player,
    train: &[CheckedRecord],
    test: &[CheckedRecord],
    setting: &Setting<'_>,
) -> Result<Life, Failure> {
    let mut past = Past {
        samples: Vec::with_capacity(train.len() + test.len()),
        index: HindsightIndex::new(HindsightLimits::RECORDING),
    };
    for record in train {
        let snapshot = player.play(record);
        past.happened(record, super::sample(record, snapshot));
    }
    let mut life =
        Life { rows: Vec::new(), lived: Vec::new(), promoted: 0, refused: Vec::new(), trainings: Vec::new() };
    let mut serving: Option<ModelArtifact> = None;
    let mut next = test.first().map_or(Timestamp::from_millis(0), |first| first.attempt.ts);
    for record in test {
        while record.attempt.ts >= next {
            past.train(setting, next, &mut serving, &mut life)?;
            next = next.plus_millis(setting.period_ms);
        }
        let snapshot = player.play(record);
        let model = serving.as_ref();
        let score = model.map(|model| model.probability(&snapshot.values));
        let flagged = score.zip(model.and_then(|model| model.thresholds.block)).map(|(score, block)| score > block);
        life.lived.push(Lived { score: score.unwrap_or(0.0), flagged });
        life.rows.push(TestRow::new(record, snapshot.values.clone()));
        past.happened(record, super::sample(record, snapshot));
    }
    Ok(life)
}

/// The time between each training and the next, with what was flagged in it, under the names of `evaluate --json`.
pub fn periods(life: &Life, test: &[CheckedRecord]) -> Value {
    let from = |training: &Training| test.partition_point(|record| record.attempt.ts < training.at);
    let ends = life.trainings.iter().skip(1).map(from).chain([test.len()]);
    let periods = life.trainings.iter().zip(ends).map(|(training, end)| {
        let begin = from(training);
        let of = |label: TrueLabel| {
            let rows = test[begin..end].iter().zip(&life.lived[begin..end]);
            rows.filter(move |(record, _)| record.truth.label == Some(label)).map(|(_, lived)| lived.flagged)
        };
        json!({
            "at": training.at.to_string(),
            "refused": training.refused,
            "threshold": training.threshold,
            "attempts": end - begin,
            "attacks": of(TrueLabel::Attack).count(),
            "recall": share(of(TrueLabel::Attack)),
            "realised_fpr": share(of(TrueLabel::Legit)),
        })
    });
    Value::Array(periods.collect())
}

/// Everything that has happened up to a moment.
struct Past {
    samples: Vec<(f64, Sample)>,
    index: HindsightIndex,
}

impl Past {
    fn happened(&mut self, record: &CheckedRecord, sample: Option<(f64, Sample)>) {
        self.index.record(&record.attempt, record.outcome.unwrap_or(Outcome::Unknown));
        self.samples.extend(sample);
    }

    fn train(
        &self,
        setting: &Setting<'_>,
        now: Timestamp,
        serving: &mut Option<ModelArtifact>,
        life: &mut Life,
    ) -> Result<(), Failure> {
        let material =
            Material { samples: self.samples.clone(), feedback: Vec::new(), canaries: setting.canaries.to_vec() };
        let settled;
        let policy: &dyn LabelPolicy = match setting.labels {
            super::Labels::Hindsight => &HindsightLabels::new(&self.index, now),
            super::Labels::Oracle => {
                settled = Settled { truth: setting.truth, now };
                &settled
            }
            super::Labels::Outcome => &OutcomeLabels,
        };
        let outcome = run::run(
            material,
            policy,
            setting.schema,
            setting.options,
            serving.as_ref(),
            &AtomicBool::new(false),
            &mut |_| {},
        )
        .map_err(|error| Failure::data(chain(&error)))?;
        let mut support = life.trainings.last().and_then(|training| training.support);
        let refused = match outcome {
            RunOutcome::Promoted(trained) => {
                life.promoted += 1;
                support = trained.judgement.support;
                *serving = Some(trained.artifact);
                None
            }
            RunOutcome::Refused { reason, .. } => Some(reason),
            RunOutcome::NotEnoughData { reason } if serving.is_none() => {
                return Err(Failure::data(format!("cannot train: {reason}")));
            }
            RunOutcome::NotEnoughData { reason } => Some(reason),
        };
        life.refused.extend(refused.iter().map(|reason| format!("{now}: {reason}")));
        let threshold = serving.as_ref().and_then(|model| model.thresholds.block);
        life.trainings.push(Training { at: now, refused, threshold, support });
        Ok(())
    }
}

/// True labels of attempts whose look-ahead is over: what no label policy could know yet, this one does not tell either.
struct Settled<'a> {
    truth: &'a KnownLabels,
    now: Timestamp,
}

impl LabelPolicy for Settled<'_> {
    fn label(&self, sample: &Sample, schema: &FeatureSchema) -> Option<crate::learning::labels::Labelled> {
        let settled = sample.ts.plus_millis(LOOK_AHEAD_MS) <= self.now;
        settled.then(|| self.truth.label(sample, schema)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_in_which_time_stands_still_is_refused() {
        for text in ["0s", "59s", "999ms", "367d", "300000000y", "soon"] {
            assert!(period(text).is_err(), "{text}");
        }
        assert_eq!(period("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(period("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(period("366d"), Ok(PERIOD_MAX));
    }
}
