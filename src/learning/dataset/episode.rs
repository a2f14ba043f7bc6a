//! What a word is about besides its own attempt: whoever excuses one of ten failures excuses the other nine as well.
//!
//! An episode is what the same account did from the same client network in the hours around, with the same outcome: a device
//! that somebody excuses goes on, and its counts grow. Only attempts that nothing else gives a label become part of it: what
//! hindsight knows of an attempt cannot be talked away by speaking of another one. Nor does a word gain weight by it: its
//! rows share what it has. Who accuses somebody accuses of one attempt: in an office the owner fails beside the guesser.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Row;
use crate::detection::attempt::{Outcome, Pseudonym, RequestKey, Timestamp, client_network};
use crate::detection::features::FeatureSchema;
use crate::learning::labels::LabelPolicy;
use crate::learning::sample::{Feedback, Sample};

/// So far to either side of an attempt reaches what is said about it: a person's day.
const AROUND_MS: i64 = 12 * 3_600_000;
/// Attempts that a word is about besides its own, at most; of more, as many are picked evenly. Otherwise a word on a device that
/// tries every minute would be all about that device, and hardly about how it looked when somebody complained.
const ATTEMPTS_MAX: usize = 20;

/// Whose attempt it was, and from where.
type Subject = (Pseudonym, IpAddr);

/// The attempts that nothing gives a label, of accounts and networks that somebody spoke of.
pub(super) fn unlabelled(
    samples: &[(f64, Sample)],
    feedback: &[Feedback],
    policy: &dyn LabelPolicy,
    schema: &FeatureSchema,
) -> Vec<Sample> {
    let spoken_of: BTreeSet<Subject> =
        feedback.iter().map(|item| (item.user, client_network(item.client_ip))).collect();
    let samples = samples.iter().map(|(_, sample)| sample);
    let near = samples.filter(|sample| spoken_of.contains(&(sample.user, client_network(sample.client_ip))));
    near.filter_map(|sample| {
        let values = schema.align(sample.fingerprint, &sample.values, schema.len())?;
        let aligned = Sample { values, ..sample.clone() };
        policy.label(&aligned, schema).is_none().then_some(aligned)
    })
    .collect()
}

/// The attempts that words are about besides their own; none for those that accuse.
pub(super) struct Episodes {
    /// By the request of the word, in the order of time.
    attempts: BTreeMap<RequestKey, Vec<Sample>>,
}

impl Episodes {
    /// Gives each of `unlabelled` to the word on it that is nearest in time.
    pub(super) fn of(words: &[(Feedback, f64)], unlabelled: Vec<Sample>) -> Self {
        let mut by_subject: BTreeMap<Subject, Vec<&Feedback>> = BTreeMap::new();
        for (word, _) in words {
            by_subject.entry((word.user, client_network(word.client_ip))).or_default().push(word);
        }
        let spoken_of: BTreeSet<RequestKey> = words.iter().map(|(word, _)| word.request).collect();
        let mut attempts: BTreeMap<RequestKey, BTreeMap<(Timestamp, RequestKey), Sample>> = BTreeMap::new();
        for sample in unlabelled.into_iter().filter(|sample| !spoken_of.contains(&sample.request)) {
            let words = by_subject.get(&(sample.user, client_network(sample.client_ip))).into_iter().flatten();
            let nearest = words.filter(|word| is_about(word, &sample)).min_by_key(|word| distance_ms(word, &sample));
            if let Some(word) = nearest.filter(|word| !word.is_attack) {
                // The same request may have been recorded by two nodes.
                attempts.entry(word.request).or_default().insert((sample.ts, sample.request), sample);
            }
        }
        let picked =
            |(word, attempts): (RequestKey, BTreeMap<_, Sample>)| (word, evenly(attempts.into_values().collect()));
        Self { attempts: attempts.into_iter().map(picked).collect() }
    }

    /// `row`, which is that of a word, and one like it for each other attempt that the word is about; all together weigh what
    /// `row` did.
    pub(super) fn share(&self, mut row: Row) -> Vec<Row> {
        let others = self.attempts.get(&row.request).map_or(&[][..], Vec::as_slice);
        row.weight /= (1 + others.len()) as f64;
        let like_it = |sample: &Sample| Row {
            ts: sample.ts,
            request: sample.request,
            values: sample.values.iter().map(|value| f64::from(*value)).collect(),
            ..row.clone()
        };
        let mut rows: Vec<Row> = others.iter().map(like_it).collect();
        rows.push(row);
        rows
    }
}

/// Whether a word on an attempt of the same account and network is about this one as well. What was stopped, or is not known yet,
/// goes with the failures.
fn is_about(word: &Feedback, sample: &Sample) -> bool {
    let succeeded = word.outcome == Some(Outcome::Success);
    succeeded == sample.is_success() && distance_ms(word, sample) <= AROUND_MS.unsigned_abs()
}

fn distance_ms(word: &Feedback, sample: &Sample) -> u64 {
    word.ts.millis().abs_diff(sample.ts.millis())
}

/// At most as many as a word may be about, from the whole length of the episode.
fn evenly(attempts: Vec<Sample>) -> Vec<Sample> {
    let count = attempts.len();
    let is_picked = |place: usize| place * ATTEMPTS_MAX / count != (place + 1) * ATTEMPTS_MAX / count;
    attempts
        .into_iter()
        .enumerate()
        .filter(|(place, _)| count <= ATTEMPTS_MAX || is_picked(*place))
        .map(|(_, it)| it)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::groups::Groups;
    use super::super::super::labels::{KnownLabels, Label};
    use super::super::super::sample::tests::{feedback, sample};
    use super::super::label::feedback_row;
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn schema() -> FeatureSchema {
        FeatureSchema::compat6()
    }

    /// A failure of the account and network that `word` is about, so many minutes later.
    fn beside(word: &Feedback, number: u64, minutes: i64) -> Sample {
        let ts = word.ts.plus_millis(minutes * MINUTE_MS);
        let fingerprint = schema().fingerprint();
        Sample { ts, user: word.user, client_ip: word.client_ip, fingerprint, ..sample(number, false) }
    }

    fn word(outcome: Option<Outcome>) -> Feedback {
        let word = feedback(1, false, "helpdesk");
        Feedback { outcome, given_at: word.ts.plus_millis(60 * MINUTE_MS), ..word }
    }

    /// The requests of the rows that the first of `words` is about, and what they weigh together.
    fn about_the_first(words: &[Feedback], samples: &[Sample], labelled: &[RequestKey]) -> (Vec<RequestKey>, f64) {
        let policy = KnownLabels(labelled.iter().map(|request| (*request, Label::Attack)).collect());
        let samples: Vec<_> = samples.iter().map(|sample| (1.0, sample.clone())).collect();
        let unlabelled = unlabelled(&samples, words, &policy, &schema());
        let weighed: Vec<_> = words.iter().map(|word| (word.clone(), 6.0)).collect();
        let rows = Episodes::of(&weighed, unlabelled).share(feedback_row(&words[0], 6.0, &Groups::default()));
        assert!(rows.iter().all(|row| row.word == Some(words[0].request) && row.label == Label::Legit));
        (rows.iter().map(|row| row.request).collect(), rows.iter().map(|row| row.weight).sum())
    }

    #[test]
    fn a_word_is_about_the_failures_around_it_that_nothing_else_labels_and_weighs_no_more() {
        let word = word(Some(Outcome::Failure));
        let near = [beside(&word, 10, -720), beside(&word, 11, 720)];
        let elsewhere = Sample { client_ip: IpAddr::from([10, 0, 1, 1]), ..beside(&word, 12, 1) };
        let other_account = Sample { user: Pseudonym([9; 16]), ..beside(&word, 13, 1) };
        let success = Sample { outcome: Outcome::Success, ..beside(&word, 14, 1) };
        let too_early = beside(&word, 15, -721);
        let too_late = beside(&word, 16, 721);
        let labelled = beside(&word, 17, 1);
        let other_schema = Sample { fingerprint: 1, ..beside(&word, 18, 1) };
        let mut samples = near.to_vec();
        samples.extend([elsewhere, other_account, success, too_early, too_late, labelled.clone(), other_schema]);
        // Two nodes have told it.
        samples.push(near[1].clone());
        samples.push(Sample { request: word.request, ..near[1].clone() });

        let (about, weight) = about_the_first(std::slice::from_ref(&word), &samples, &[labelled.request]);

        assert_eq!(about, [near[0].request, near[1].request, word.request]);
        assert!((weight - 6.0).abs() < 1e-12, "{weight}");
    }

    #[test]
    fn a_word_on_what_was_stopped_is_about_failures_and_one_on_a_login_about_logins() {
        let failure = word(None);
        let login = Sample { outcome: Outcome::Success, ..beside(&failure, 11, 2) };
        let samples = [beside(&failure, 10, 1), login];
        for (outcome, expected) in [(None, 0), (Some(Outcome::Blocked), 0), (Some(Outcome::Success), 1)] {
            let (about, _) = about_the_first(&[word(outcome)], &samples, &[]);
            assert_eq!(about, [samples[expected].request, failure.request], "{outcome:?}");
        }
    }

    #[test]
    fn an_attempt_between_two_words_belongs_to_the_nearer_one() {
        let first = word(Some(Outcome::Failure));
        let later = Feedback {
            request: RequestKey::of("later"),
            ts: first.ts.plus_millis(10 * MINUTE_MS),
            is_attack: true,
            ..first.clone()
        };
        let samples = [beside(&first, 10, 4), beside(&first, 11, 6)];

        let (about, _) = about_the_first(&[first.clone(), later], &samples, &[]);

        assert_eq!(about, [samples[0].request, first.request]);
    }

    #[test]
    fn of_a_long_episode_attempts_of_its_whole_length_are_picked() {
        let word = word(Some(Outcome::Failure));
        let samples: Vec<Sample> = (0..50).map(|number| beside(&word, 100 + number, -50 + number as i64)).collect();

        let (about, weight) = about_the_first(&[word], &samples, &[]);

        assert_eq!(about.len(), 1 + ATTEMPTS_MAX);
        let place = |request| samples.iter().position(|sample| sample.request == request);
        let picked: Vec<usize> = about.iter().filter_map(|request| place(*request)).collect();
        assert!(picked.windows(2).all(|two| (1..=3).contains(&(two[1] - two[0]))), "{picked:?}");
        assert!(picked[0] <= 2 && picked[19] == 49 && (weight - 6.0).abs() < 1e-9, "{picked:?} {weight}");
    }
}
