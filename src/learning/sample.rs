//! What is kept to learn from: samples (what happened) and feedback (what people said), with their stored forms.
//!
//! A sample holds the snapshot of one attempt with a definite outcome; it never holds a password tag. Which samples stay
//! in a bounded store is decided by [`reservoir_key`], so that every node and every store keeps the same ones.

use std::net::IpAddr;

use crate::detection::activity::DAY_MS;
use crate::detection::attempt::{Outcome, Pseudonym, RequestKey, Timestamp};
use crate::detection::codec::{Fault, Reader, put_count, put_tagged_ip};
use crate::detection::event::AttemptEvent;
use crate::learning::hindsight::{FrozenLabel, HindsightRule, Reason};
use crate::numeric;

/// 2: whether it is historical, and its frozen label.
const SAMPLE_VERSION: u8 = 2;
/// Still read: without a label; whether it is historical follows from its times.
const SAMPLE_VERSION_WITHOUT_LABEL: u8 = 1;
const FEEDBACK_VERSION: u8 = 1;
/// Wider than every schema of this version.
const VALUES_MAX: usize = 4096;
/// Longest id or author of a feedback item.
const TEXT_MAX: usize = 256;

/// After this many days a sample's chance to stay has halved against a new one: a site changes over months.
const HALF_LIFE_DAYS: f64 = 30.0;
const DECAY_PER_DAY: f64 = std::f64::consts::LN_2 / HALF_LIFE_DAYS;
/// No sample counts for more than this many: an old survivor must not outweigh a day of traffic.
const INCLUSION_MIN: f64 = 1e-3;

/// Attempts older than the longest live window when they arrive are history: they train and touch no live counter.
pub const HISTORY_AFTER_MS: i64 = DAY_MS;

/// Bits of a sample's flag byte.
mod flag {
    pub const HISTORICAL: u8 = 1;
    /// The next byte is the number of a rule.
    pub const RULE: u8 = 1 << 1;
    /// The next byte is the number of a reason for having no label.
    pub const NOTHING: u8 = 1 << 2;
}

/// Why stored bytes are not a sample or feedback item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// Its first byte is a version above the one that this program writes.
    #[error("it was written by a newer version")]
    NewerVersion,
    /// The bytes end before the item does.
    #[error("it ends too early")]
    Short,
    /// Impossible in this version: an unknown tag, a text or list over its bound, bytes after the end.
    #[error("it holds a value that is never written")]
    Malformed,
}

impl From<Fault> for SampleError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Short => Self::Short,
            Fault::Value => Self::Malformed,
        }
    }
}

/// One attempt with a definite outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Event time of the attempt.
    pub ts: Timestamp,
    /// The attempt; the random part of its [`reservoir_key`].
    pub request: RequestKey,
    /// Canonical source address.
    pub client_ip: IpAddr,
    /// Pseudonym of the account behind the name.
    pub user: Pseudonym,
    /// `Success` or `Failure`.
    pub outcome: Outcome,
    /// Days since the epoch when it was ingested.
    pub ingested_day: f64,
    /// Came in as history: the index of historical events knows what happened around it.
    pub historical: bool,
    /// What hindsight said about it for good; `None` while that may still change.
    pub label: Option<FrozenLabel>,
    /// Schema of the values.
    pub fingerprint: u64,
    /// What was scored, one value per feature in schema order.
    pub values: Vec<f32>,
}

impl Sample {
    /// The sample of an event; `None` where it teaches nothing: no snapshot, no definite outcome, or a look-up.
    pub fn from_event(event: &AttemptEvent, ingested_day: f64) -> Option<Self> {
        let attempt = &event.attempt;
        let outcome = event.outcome.filter(|outcome| matches!(outcome, Outcome::Success | Outcome::Failure))?;
        let snapshot = event.snapshot.as_ref().filter(|_| !attempt.no_auth)?;
        Some(Self {
            ts: attempt.ts,
            request: attempt.request,
            client_ip: attempt.client_ip,
            user: attempt.user,
            outcome,
            ingested_day,
            historical: event.historical,
            label: None,
            fingerprint: snapshot.fingerprint,
            values: snapshot.values.clone(),
        })
    }

    /// Whether the login succeeded.
    pub fn is_success(&self) -> bool {
        self.outcome == Outcome::Success
    }

    /// The chance that this sample had to stay, under its `key`, in a reservoir whose largest kept key is `threshold`; 1 for
    /// one that is not full (`None`). Its inverse is the sample's weight (Horvitz–Thompson).
    pub fn inclusion_probability(&self, key: f64, threshold: Option<f64>) -> f64 {
        let Some(threshold) = threshold else { return 1.0 };
        // What the key has beyond that of its like says how many it stands for.
        let thinned = (key - reservoir_key(self.request, self.ingested_day)).max(0.0);
        // key ≤ τ  ⇔  −ln u ≤ e^(τ + λ·day − thinned), and −ln u is exponentially distributed.
        let rate = numeric::exp(threshold + DECAY_PER_DAY * self.ingested_day - thinned);
        (1.0 - numeric::exp(-rate)).clamp(INCLUSION_MIN, 1.0)
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(80 + 4 * self.values.len());
        out.push(SAMPLE_VERSION);
        out.push(self.outcome as u8);
        out.extend_from_slice(&self.ts.millis().to_le_bytes());
        out.extend_from_slice(&self.request.0);
        put_tagged_ip(&mut out, self.client_ip);
        out.extend_from_slice(&self.user.0);
        out.extend_from_slice(&self.ingested_day.to_le_bytes());
        let (kind, code) = match self.label {
            None => (0, 0),
            Some(FrozenLabel::Rule(rule)) => (flag::RULE, rule.code()),
            Some(FrozenLabel::Nothing(reason)) => (flag::NOTHING, reason.code()),
        };
        out.push(kind | if self.historical { flag::HISTORICAL } else { 0 });
        out.push(code);
        put_values(&mut out, self.fingerprint, &self.values);
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// For anything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, SampleError> {
        let labelled = bytes.first() != Some(&SAMPLE_VERSION_WITHOUT_LABEL);
        let mut reader = versioned(bytes, if labelled { SAMPLE_VERSION } else { SAMPLE_VERSION_WITHOUT_LABEL })?;
        let outcome = Outcome::from_byte(reader.u8()?).ok_or(SampleError::Malformed)?;
        if !matches!(outcome, Outcome::Success | Outcome::Failure) {
            return Err(SampleError::Malformed);
        }
        let ts = Timestamp::from_millis(reader.i64()?);
        let request = RequestKey(reader.array()?);
        let client_ip = reader.tagged_ip()?;
        let user = Pseudonym(reader.array()?);
        let ingested_day = f64::from_le_bytes(reader.array()?);
        let (historical, label) = if labelled {
            read_label(&mut reader)?
        } else {
            (ingested_day * DAY_MS as f64 - ts.millis() as f64 > HISTORY_AFTER_MS as f64, None)
        };
        let (fingerprint, values) = read_values(&mut reader)?;
        reader.end()?;
        if !ingested_day.is_finite() {
            return Err(SampleError::Malformed);
        }
        Ok(Self { ts, request, client_ip, user, outcome, ingested_day, historical, label, fingerprint, values })
    }
}

/// The key under which a sample competes for its place: the smallest keys stay.
///
/// Weighted reservoir sampling (Efraimidis & Spirakis 2006) in log space, with weights that grow by e^(λ·day): a uniform
/// sample that forgets with a half-life of 30 days. The random number comes from the request, so that each store that
/// sees the sample gives it the same key.
pub fn reservoir_key(request: RequestKey, ingested_day: f64) -> f64 {
    let word = u64::from_le_bytes(request.0[8..].try_into().expect("eight of sixteen bytes"));
    let uniform = ((word >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    numeric::ln(-numeric::ln(uniform)) - DECAY_PER_DAY * ingested_day
}

/// The key of the `count`th failure of a client network within a day, of which `free` compete like all others: each later
/// one has `free / count` of their chance. However much a network fails, about so many of its failures of a day as `free`
/// says take places from others, and their weights make up for the rest.
pub fn thinned_key(key: f64, count: u64, free: u64) -> f64 {
    key + numeric::ln(count.max(1) as f64 / free.max(1) as f64).max(0.0)
}

/// A person's word on one attempt, with the snapshot that was scored then.
#[derive(Debug, Clone, PartialEq)]
pub struct Feedback {
    /// Idempotency id, as the store knows it; at most 256 bytes are stored.
    pub id: String,
    /// The attempt that it is about.
    pub request: RequestKey,
    /// Canonical source address of the attempt.
    pub client_ip: IpAddr,
    /// Pseudonym of the name as typed.
    pub name: Pseudonym,
    /// Pseudonym of the account behind it.
    pub user: Pseudonym,
    /// The word itself: attack, or legitimate.
    pub is_attack: bool,
    /// Whose word it is; at most 256 bytes are stored.
    pub author: String,
    /// Clock of the node that took it.
    pub given_at: Timestamp,
    /// Event time of the attempt.
    pub ts: Timestamp,
    /// What was known of the attempt when the word was given; `None`: nothing yet.
    pub outcome: Option<Outcome>,
    /// Schema of the values.
    pub fingerprint: u64,
    /// What was scored, one value per feature in schema order.
    pub values: Vec<f32>,
}

impl Feedback {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160 + 4 * self.values.len());
        out.push(FEEDBACK_VERSION);
        out.push(u8::from(self.is_attack));
        out.push(self.outcome.map_or(u8::MAX, |outcome| outcome as u8));
        out.extend_from_slice(&self.given_at.millis().to_le_bytes());
        out.extend_from_slice(&self.ts.millis().to_le_bytes());
        out.extend_from_slice(&self.request.0);
        put_tagged_ip(&mut out, self.client_ip);
        out.extend_from_slice(&self.name.0);
        out.extend_from_slice(&self.user.0);
        put_text(&mut out, &self.id);
        put_text(&mut out, &self.author);
        put_values(&mut out, self.fingerprint, &self.values);
        out
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// For anything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, SampleError> {
        let mut reader = versioned(bytes, FEEDBACK_VERSION)?;
        let is_attack = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(SampleError::Malformed),
        };
        let outcome = match reader.u8()? {
            u8::MAX => None,
            byte => Some(Outcome::from_byte(byte).ok_or(SampleError::Malformed)?),
        };
        let given_at = Timestamp::from_millis(reader.i64()?);
        let ts = Timestamp::from_millis(reader.i64()?);
        let request = RequestKey(reader.array()?);
        let client_ip = reader.tagged_ip()?;
        let name = Pseudonym(reader.array()?);
        let user = Pseudonym(reader.array()?);
        let id = read_text(&mut reader)?;
        let author = read_text(&mut reader)?;
        let (fingerprint, values) = read_values(&mut reader)?;
        reader.end()?;
        Ok(Self { id, request, client_ip, name, user, is_attack, author, given_at, ts, outcome, fingerprint, values })
    }
}

fn versioned(bytes: &[u8], version: u8) -> Result<Reader<'_>, SampleError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        found if found == version => Ok(reader),
        found if found > version => Err(SampleError::NewerVersion),
        _ => Err(SampleError::Malformed),
    }
}

/// Whether a sample is historical, and its label.
fn read_label(reader: &mut Reader<'_>) -> Result<(bool, Option<FrozenLabel>), SampleError> {
    let (flags, code) = (reader.u8()?, reader.u8()?);
    let label = match flags & !flag::HISTORICAL {
        0 if code == 0 => None,
        flag::RULE => Some(FrozenLabel::Rule(HindsightRule::from_code(code).ok_or(SampleError::Malformed)?)),
        flag::NOTHING => Some(FrozenLabel::Nothing(Reason::from_code(code).ok_or(SampleError::Malformed)?)),
        _ => return Err(SampleError::Malformed),
    };
    Ok((flags & flag::HISTORICAL != 0, label))
}

fn put_values(out: &mut Vec<u8>, fingerprint: u64, values: &[f32]) {
    out.extend_from_slice(&fingerprint.to_le_bytes());
    put_count(out, values.len());
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn read_values(reader: &mut Reader<'_>) -> Result<(u64, Vec<f32>), SampleError> {
    let fingerprint = reader.u64()?;
    let count = reader.count(4)?;
    if count > VALUES_MAX {
        return Err(SampleError::Malformed);
    }
    let values = (0..count).map(|_| reader.f32()).collect::<Result<_, _>>()?;
    Ok((fingerprint, values))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_count(out, end);
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, SampleError> {
    let count = reader.count(1)?;
    if count > TEXT_MAX {
        return Err(SampleError::Malformed);
    }
    let bytes = reader.bytes(count)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| SampleError::Malformed)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn sample(number: u64, success: bool) -> Sample {
        Sample {
            ts: Timestamp::from_millis(1_700_000_000_000 + i64::try_from(number).expect("small") * 1000),
            request: RequestKey::of(&format!("request-{number}")),
            client_ip: IpAddr::from([10, 0, (number >> 8) as u8, number as u8]),
            user: Pseudonym([number as u8; 16]),
            outcome: if success { Outcome::Success } else { Outcome::Failure },
            ingested_day: 20_000.0,
            historical: false,
            label: None,
            fingerprint: 7,
            values: vec![0.25, 0.5, 0.0, 0.0, 1.0, 0.0],
        }
    }

    pub(crate) fn feedback(number: u64, is_attack: bool, author: &str) -> Feedback {
        let sample = sample(number, false);
        Feedback {
            id: format!("id-{number}-{author}"),
            request: sample.request,
            client_ip: sample.client_ip,
            name: sample.user,
            user: sample.user,
            is_attack,
            author: author.to_owned(),
            given_at: sample.ts.plus_millis(60_000),
            ts: sample.ts,
            outcome: Some(Outcome::Failure),
            fingerprint: sample.fingerprint,
            values: sample.values,
        }
    }

    #[test]
    fn what_is_stored_comes_back() {
        assert_eq!(Sample::decode(&sample(3, true).encode()), Ok(sample(3, true)));
        assert_eq!(Feedback::decode(&feedback(3, true, "helpdesk").encode()), Ok(feedback(3, true, "helpdesk")));
    }

    #[test]
    fn the_label_comes_back_whatever_it_is() {
        let rules = HindsightRule::ALL.into_iter().map(FrozenLabel::Rule);
        for label in rules.chain(Reason::ALL.into_iter().map(FrozenLabel::Nothing)).map(Some).chain([None]) {
            for historical in [false, true] {
                let labelled = Sample { label, historical, ..sample(3, false) };
                assert_eq!(Sample::decode(&labelled.encode()), Ok(labelled));
            }
        }
        let mut bytes = sample(3, false).encode();
        // Version, outcome, time, request, address, user, day.
        let flags = 1 + 1 + 8 + 16 + 5 + 16 + 8;
        for (flag, code) in [(flag::RULE, 19), (flag::NOTHING, 6), (flag::RULE | flag::NOTHING, 0), (8, 0), (0, 1)] {
            (bytes[flags], bytes[flags + 1]) = (flag, code);
            assert_eq!(Sample::decode(&bytes), Err(SampleError::Malformed), "{flag} {code}");
        }
    }

    #[test]
    fn a_sample_of_the_version_before_labels_is_read_and_its_history_told_by_its_age() {
        let without_label = |sample: &Sample| {
            let mut bytes = sample.encode();
            bytes[0] = SAMPLE_VERSION_WITHOUT_LABEL;
            bytes.drain(55..57);
            bytes
        };
        let day = |sample: &Sample, hours: f64| sample.ts.millis() as f64 / DAY_MS as f64 + hours / 24.0;
        for (hours, historical) in [(0.0, false), (23.9, false), (24.1, true)] {
            let mut sample = sample(3, false);
            (sample.ingested_day, sample.historical) = (day(&sample, hours), historical);
            assert_eq!(Sample::decode(&without_label(&sample)), Ok(sample));
        }
    }

    #[test]
    fn a_sample_of_six_features_takes_about_a_hundred_bytes() {
        assert!(sample(1, true).encode().len() <= 100);
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = feedback(3, true, "helpdesk").encode();
        for end in 0..bytes.len() {
            assert!(Feedback::decode(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn d36_newer_samples_have_the_better_chance_and_the_weights_make_up_for_it() {
        // 4000 samples of two days a half-life apart compete for 1000 places.
        let mut kept: Vec<(f64, Sample)> = (0..4000)
            .map(|number| {
                let mut sample = sample(number, true);
                sample.ingested_day = if number % 2 == 0 { 20_000.0 } else { 20_030.0 };
                (reservoir_key(sample.request, sample.ingested_day), sample)
            })
            .collect();
        kept.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.truncate(1000);
        let threshold = kept.last().map(|(key, _)| *key);
        let old = |sample: &Sample| sample.ingested_day < 20_010.0;
        let (olds, news): (Vec<_>, Vec<_>) = kept.iter().map(|(_, sample)| sample).partition(|sample| old(sample));
        let of = |sample: &Sample| {
            sample.inclusion_probability(reservoir_key(sample.request, sample.ingested_day), threshold)
        };
        let estimate: f64 = olds.iter().map(|sample| 1.0 / of(sample)).sum();

        assert!(news.len() > olds.len() * 3 / 2, "{} new, {} old", news.len(), olds.len());
        assert!((estimate - 2000.0).abs() < 300.0, "the 2000 old ones are estimated as {estimate}");
    }

    #[test]
    fn a_flood_from_one_network_leaves_the_places_to_others_and_its_weights_tell_how_large_it_was() {
        // 20 000 failures of one network in a day, and 2000 of others, compete for 1000 places.
        let free = 50;
        let mut kept: Vec<(f64, Sample)> = (0..22_000)
            .map(|number| {
                let failure = sample(number, false);
                let key = reservoir_key(failure.request, failure.ingested_day);
                (if number < 20_000 { thinned_key(key, number + 1, free) } else { key }, failure)
            })
            .collect();
        kept.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.truncate(1000);
        let threshold = kept.last().map(|(key, _)| *key);
        let flood = |sample: &Sample| sample.ts < super::tests::sample(20_000, false).ts;
        let (of_flood, others): (Vec<_>, Vec<_>) = kept.iter().partition(|(_, sample)| flood(sample));
        let estimate = |kept: &[&(f64, Sample)]| -> f64 {
            kept.iter().map(|(key, sample)| 1.0 / sample.inclusion_probability(*key, threshold)).sum()
        };

        assert!(of_flood.len() < 200, "{} of the flood stay", of_flood.len());
        assert!((estimate(&others) - 2000.0).abs() < 200.0, "{}", estimate(&others));
        let told = estimate(&of_flood);
        assert!((14_000.0..28_000.0).contains(&told), "the 20 000 are estimated as {told}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sample::decode(&bytes);
            let _ = Feedback::decode(&bytes);
        }
    }
}
