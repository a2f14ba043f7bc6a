//! `[training]`: when and how models are trained. Applies at once, to trainings that begin later.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lists::text_list;

/// Who lets a model that passed the gate serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// The gate alone.
    #[default]
    Automatic,
    /// A person, for every training that no person asked for.
    Manual,
}

/// The `[training]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Cron expression, or a list of them, of five fields or six (seconds first). Default: `"0 */12 * * *"`, twice a day.
    /// An empty list switches scheduled training off. In the environment `;` separates expressions.
    #[serde(deserialize_with = "schedules")]
    pub schedule: Vec<String>,
    /// Time zone of the schedules and of the feature `TimeOfDay`, as in the tz database. Default: `"UTC"`.
    pub timezone: String,
    /// Samples of a scheduled or manual training, 100 up to `ml.max_training_records`. Default: 50000; with 5000 the
    /// extended profile finds a tenth of the attacks less at the same false-positive rate (measured).
    pub samples: u64,
    /// Epochs of a scheduled or manual training, 1 to 10000. Default: 50.
    pub epochs: u32,
    /// Seed of initial weights and shuffling. Default: 1. The same seed and the same data give the same model.
    pub seed: u64,
    /// How long the right to train outlives its last renewal, 5 s to 10 min. Default: 30 s: long enough for a slow
    /// store, short enough that a crashed trainer does not hold up the fleet.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// New feedback items that start a training, 1 to 10000. Default: 10.
    pub feedback_threshold: u64,
    /// Epochs of a training started by feedback, 1 to 10000. Default: 100.
    pub feedback_epochs: u32,
    /// Least time between two trainings started by feedback. Default: 1 h, so that a busy operator does not keep the
    /// fleet training.
    #[serde(with = "humantime_serde")]
    pub feedback_min_interval: Duration,
    /// Who lets a model that passed the gate serve: `"automatic"` or `"manual"`. Default: `"automatic"`. With `"manual"` the
    /// model of a scheduled or feedback training waits until `approve` is called; one trained by hand is approved with it.
    pub approval: Approval,
    /// Whether a training that was fed by `feedback_threshold` items since learning mode was switched on, and whose model
    /// passed the gate and may block, ends learning mode for the fleet. Default: true.
    pub ends_learning_mode: bool,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            schedule: vec!["0 */12 * * *".to_owned()],
            timezone: "UTC".to_owned(),
            samples: 50_000,
            epochs: 50,
            seed: 1,
            lease: Duration::from_secs(30),
            feedback_threshold: 10,
            feedback_epochs: 100,
            feedback_min_interval: Duration::from_secs(3600),
            approval: Approval::default(),
            ends_learning_mode: true,
        }
    }
}

fn schedules<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    // Not ',': cron expressions contain it.
    text_list(deserializer, &[';'])
}
