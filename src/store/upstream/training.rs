//! One training record of the original: what it says, and why some say nothing.
//!
//! Its `Success` is taken as what it is, the outcome of a login; what that teaches is decided in `sample`. The original
//! trained "1 = succeeded" and then read a high output as an attack; here nothing is called an output.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{FormatError, bounded, wrong};
use crate::detection::attempt::{RequestKey, Timestamp};

/// Longest record: an ordinary one has 300 bytes, one with many additional features a few KiB.
pub const RECORD_MAX: usize = 64 * 1024;
/// Most records in one batch: the most that the original keeps.
pub const RECORDS_MAX: usize = 100_000;
/// Clocks of two hosts may differ by this.
const FUTURE_MS: i64 = 60_000;
/// 2000-01-01: before it nothing was recorded; Go's zero time lies there.
const EARLIEST: Timestamp = Timestamp::from_millis(946_684_800_000);

/// The six features in the original's order.
pub const FEATURES: [&str; 6] = [
    "TimeBetweenAttempts",
    "FailedAttemptsLastHour",
    "DifferentUsernames",
    "DifferentPasswords",
    "TimeOfDay",
    "SuspiciousNetwork",
];
const ADDITIONAL: &str = "AdditionalFeatures";

/// One login as the original recorded it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingRecord {
    /// Whether the login succeeded.
    pub success: bool,
    /// When it was recorded.
    pub time: Timestamp,
    /// The six features in the original's order and units, finite: seconds, failures, names, passwords, hour / 24, 0 or 1.
    pub features: [f64; 6],
    /// The time as it was written: with its nanoseconds it tells records of one millisecond apart. At most 64 bytes.
    pub written_time: String,
}

/// Why a sound record teaches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// Somebody's feedback, or a vector without any behaviour as feedback leaves it: the original kept neither what was
    /// scored nor which request it was, so there is nothing to learn from.
    Feedback,
    /// Not exactly the six features beside the additional ones.
    OtherWidth,
    /// From the future, or from before 2000.
    OutOfTime,
    /// The same record again.
    Repeated,
}

impl Skipped {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Feedback, Self::OtherWidth, Self::OutOfTime, Self::Repeated];

    /// The name in answers and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Feedback => "feedback",
            Self::OtherWidth => "other_width",
            Self::OutOfTime => "out_of_time",
            Self::Repeated => "repeated",
        }
    }
}

impl TrainingRecord {
    /// Reads one record; `now` bounds its time. The inner error is a record that is sound and teaches nothing.
    ///
    /// # Errors
    /// For anything that the original does not write.
    pub fn decode(bytes: &[u8], now: Timestamp) -> Result<Result<Self, Skipped>, FormatError> {
        bounded(bytes, RECORD_MAX)?;
        let fields: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| FormatError::NotJson { column: error.column() })?;
        let flag = |name: &'static str| match fields.get(name) {
            Some(Value::Bool(value)) => Ok(Some(*value)),
            None => Ok(None),
            Some(_) => Err(wrong(name, "is not true or false")),
        };
        let success = flag("Success")?.ok_or_else(|| wrong("Success", "is missing"))?;
        let feedback = flag("Feedback")?.unwrap_or(false);
        let written = fields.get("Time").and_then(Value::as_str).filter(|text| text.len() <= 64);
        let time = written.and_then(Timestamp::parse).ok_or_else(|| wrong("Time", "is not an RFC 3339 time"))?;
        let features = match fields.get("Features") {
            Some(Value::Object(features)) => read_features(features)?,
            Some(Value::Null) | None => Err(Skipped::OtherWidth),
            Some(_) => return Err(wrong("Features", "is not an object")),
        };
        if feedback {
            return Ok(Err(Skipped::Feedback));
        }
        let features = match features {
            // Every login counts its own user name at least.
            Ok(features) if features[..4].iter().all(|value| *value == 0.0) && features[5] == 0.0 => {
                return Ok(Err(Skipped::Feedback));
            }
            Ok(features) => features,
            Err(skipped) => return Ok(Err(skipped)),
        };
        if time < EARLIEST || time > now.plus_millis(FUTURE_MS) {
            return Ok(Err(Skipped::OutOfTime));
        }
        let written_time = written.unwrap_or_default().to_owned();
        Ok(Ok(Self { success, time, features, written_time }))
    }

    /// The record in the original's form, without additional features: they may name a client's program or country.
    pub fn encode(&self) -> Vec<u8> {
        let features: Map<String, Value> = FEATURES
            .iter()
            .zip(self.features)
            .map(|(name, value)| ((*name).to_owned(), value.into()))
            .chain([(ADDITIONAL.to_owned(), Value::Null)])
            .collect();
        let record = serde_json::json!({
            "Success": self.success, "Features": features, "Time": self.written_time, "Feedback": false,
        });
        record.to_string().into_bytes()
    }
}

fn read_features(fields: &Map<String, Value>) -> Result<Result<[f64; 6], Skipped>, FormatError> {
    if fields.keys().any(|name| name != ADDITIONAL && !FEATURES.contains(&name.as_str())) {
        return Ok(Err(Skipped::OtherWidth));
    }
    let mut features = [0.0; 6];
    for (slot, name) in features.iter_mut().zip(FEATURES) {
        *slot = match fields.get(name) {
            Some(Value::Number(number)) => {
                number.as_f64().filter(|value| value.is_finite()).ok_or_else(|| wrong(name, "is not finite"))?
            }
            None => return Ok(Err(Skipped::OtherWidth)),
            Some(_) => return Err(wrong(name, "is not a number")),
        };
    }
    Ok(Ok(features))
}

/// Many records: those that teach, and how many do not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// In the order in which they were given, each once.
    pub records: Vec<TrainingRecord>,
    /// How many were skipped for which reason.
    pub skipped: BTreeMap<Skipped, usize>,
}

/// Why a batch is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// More than [`RECORDS_MAX`].
    #[error("there are more than {RECORDS_MAX} training records")]
    TooMany,
    /// A record that the original did not write: whoever wrote it may have written the others too.
    #[error("training record {number} is not one of the original: {error}")]
    Record {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        error: FormatError,
    },
}

impl Batch {
    /// Reads records; `now` bounds their times.
    ///
    /// # Errors
    /// For the first record that is none. Nothing of the batch may be used then.
    pub fn decode<'a>(records: impl IntoIterator<Item = &'a [u8]>, now: Timestamp) -> Result<Self, BatchError> {
        let mut batch = Self::default();
        let mut seen = BTreeSet::new();
        for (index, bytes) in records.into_iter().enumerate() {
            if index >= RECORDS_MAX {
                return Err(BatchError::TooMany);
            }
            let read = TrainingRecord::decode(bytes, now);
            let read = read.map_err(|error| BatchError::Record { number: index + 1, error })?;
            batch.take(read, &mut seen);
        }
        Ok(batch)
    }

    /// Reads the records that can be read, and counts the others: for whoever follows a list that is written all the time.
    /// What lies behind the first [`RECORDS_MAX`] is not looked at.
    pub fn decode_readable<'a>(records: impl IntoIterator<Item = &'a [u8]>, now: Timestamp) -> (Self, usize) {
        let (mut batch, mut seen, mut unreadable) = (Self::default(), BTreeSet::new(), 0);
        for bytes in records.into_iter().take(RECORDS_MAX) {
            match TrainingRecord::decode(bytes, now) {
                Ok(read) => batch.take(read, &mut seen),
                Err(_) => unreadable += 1,
            }
        }
        (batch, unreadable)
    }

    /// Reads records of which each stands on a line of its own; empty lines do not count.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_lines(bytes: &[u8], now: Timestamp) -> Result<Self, BatchError> {
        Self::decode(bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()), now)
    }

    /// Counts by the name of the reason, every reason once.
    pub fn skipped_by_name(&self) -> Map<String, Value> {
        let count = |reason: Skipped| self.skipped.get(&reason).copied().unwrap_or(0);
        Skipped::ALL.into_iter().map(|reason| (reason.name().to_owned(), count(reason).into())).collect()
    }

    fn take(&mut self, read: Result<TrainingRecord, Skipped>, seen: &mut BTreeSet<RequestKey>) {
        match read {
            Ok(record) if seen.insert(record.request()) => self.records.push(record),
            Ok(_) => self.skip(Skipped::Repeated),
            Err(reason) => self.skip(reason),
        }
    }

    fn skip(&mut self, reason: Skipped) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);
    const LOGIN: &str = include_str!("../../../tests/fixtures/upstream/login.json");
    const FEEDBACK: &str = include_str!("../../../tests/fixtures/upstream/feedback.json");

    fn decode(text: &str) -> Result<Result<TrainingRecord, Skipped>, FormatError> {
        TrainingRecord::decode(text.as_bytes(), NOW)
    }

    fn login() -> TrainingRecord {
        decode(LOGIN).expect("a record").expect("it teaches")
    }

    #[test]
    fn a_login_is_read_with_its_six_features_and_survives_its_own_form() {
        let login = login();

        assert!(login.success);
        assert_eq!(login.time.to_string(), "2025-07-18T12:03:27.418Z");
        assert_eq!(login.features, [0.418_273_915, 0.0, 1.0, 0.0, 0.583_333_333_333_333_4, 0.0]);
        let again = TrainingRecord::decode(&login.encode(), NOW);
        assert_eq!(again, Ok(Ok(login.clone())));
        let text = String::from_utf8(login.encode()).expect("UTF-8");
        assert!(!text.contains("Thunderbird") && !text.contains("DE"), "nothing of the client goes on: {text}");
    }

    #[test]
    fn d31_feedback_records_are_never_taken_as_features() {
        assert_eq!(decode(FEEDBACK), Ok(Err(Skipped::Feedback)));
        // The same vector without its mark, as a tool that copies records may leave it.
        let unmarked = FEEDBACK.replace("\"Feedback\":true", "\"Feedback\":false");
        assert_eq!(decode(&unmarked), Ok(Err(Skipped::Feedback)));
        // And a mark on a vector that looks like a login.
        let marked = LOGIN.replace("\"Feedback\":false", "\"Feedback\":true");
        assert_eq!(decode(&marked), Ok(Err(Skipped::Feedback)));
    }

    #[test]
    fn d33_what_a_feedback_record_says_is_no_word_of_a_person_either() {
        // A missing answer was stored as "legitimate": neither direction of such a record can be believed.
        for success in ["true", "false"] {
            let record = FEEDBACK.replace("\"Success\":false", &format!("\"Success\":{success}"));
            let batch = Batch::decode([record.as_bytes()], NOW).expect("sound");
            assert_eq!((batch.records.len(), batch.skipped[&Skipped::Feedback]), (0, 1));
        }
    }

    #[test]
    fn d11_additional_features_never_change_the_width_and_other_widths_are_counted() {
        let more = LOGIN.replace("\"AdditionalFeatures\":{", "\"AdditionalFeatures\":{\"x\":{\"y\":[1,2]},");
        assert_eq!(decode(&more), Ok(Ok(login())));
        let seven = LOGIN.replace("\"TimeOfDay\"", "\"Seventh\":1,\"TimeOfDay\"");
        let five = LOGIN.replace("\"SuspiciousNetwork\":0,", "");
        let none = r#"{"Success":true,"Features":null,"Time":"2025-07-18T22:41:09Z","Feedback":false}"#;
        let batch = Batch::decode([seven.as_bytes(), five.as_bytes(), none.as_bytes(), LOGIN.as_bytes()], NOW);
        let batch = batch.expect("sound");
        assert_eq!((batch.records.len(), batch.skipped[&Skipped::OtherWidth]), (1, 3));
    }

    #[test]
    fn a_record_that_was_never_written_by_the_original_refuses_the_whole_batch() {
        let deep = LOGIN.replace("\"country_code\":\"DE\"", &format!("\"x\":{}{}", "[".repeat(20), "]".repeat(20)));
        let large = LOGIN.replace("\"DE\"", &format!("\"{}\"", "x".repeat(RECORD_MAX)));
        for (bad, says) in [
            (LOGIN.replace("0.418273915", "NaN"), "not JSON"),
            (LOGIN.replace("0.418273915", "1e999"), "not JSON"),
            (LOGIN.replace("0.418273915", "\"0.4\""), "TimeBetweenAttempts is not a number"),
            (LOGIN.replace("\"Success\":true,", ""), "Success is missing"),
            (LOGIN.replace("\"Success\":true", "\"Success\":1"), "Success is not true or false"),
            (LOGIN.replace("2025-07-18T", "yesterday"), "Time is not"),
            (
                LOGIN.replace("\"Features\":{", "\"Features\":[{").replace("},\"Time\"", "}],\"Time\""),
                "Features is not",
            ),
            ("[]".to_owned(), "not JSON"),
            (deep, "levels deep"),
            (large, "at most 65536"),
        ] {
            let error = Batch::decode([LOGIN.as_bytes(), bad.as_bytes()], NOW).expect_err(says).to_string();
            assert!(error.starts_with("training record 2 ") && error.contains(says), "{says}: {error}");
        }
    }

    #[test]
    fn one_bad_record_does_not_keep_the_readable_ones_out() {
        let bad = r#"{"Success":"yes"}"#;
        let large = LOGIN.replace("\"DE\"", &format!("\"{}\"", "x".repeat(RECORD_MAX)));
        let records = [bad, LOGIN, &large, FEEDBACK, LOGIN];

        let (batch, unreadable) = Batch::decode_readable(records.map(str::as_bytes), NOW);

        assert_eq!((batch.records, unreadable), (vec![login()], 2));
        assert_eq!((batch.skipped[&Skipped::Feedback], batch.skipped[&Skipped::Repeated]), (1, 1));
    }

    #[test]
    fn times_that_cannot_be_and_repeated_records_are_counted() {
        let zero = LOGIN.replace("2025-07-18T14:03:27.418273915+02:00", "0001-01-01T00:00:00Z");
        let future = LOGIN.replace("2025-07-18", "2035-07-18");
        let lines = [LOGIN.trim(), zero.trim(), "", future.trim(), LOGIN.trim()].join("\n");

        let batch = Batch::decode_lines(lines.as_bytes(), NOW).expect("sound");

        assert_eq!(batch.records, [login()]);
        assert_eq!((batch.skipped[&Skipped::OutOfTime], batch.skipped[&Skipped::Repeated]), (2, 1));
        assert_eq!(batch.skipped_by_name().len(), Skipped::ALL.len());
    }

    #[test]
    fn a_batch_is_bounded() {
        let records = std::iter::repeat_n(LOGIN.as_bytes(), RECORDS_MAX + 1);
        assert_eq!(Batch::decode(records, NOW), Err(BatchError::TooMany));
    }
}
