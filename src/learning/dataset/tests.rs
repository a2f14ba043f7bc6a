//! Facts about how rows are built and split.

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
fn after_quiet_days_the_last_attacks_are_held_out_as_well() {
    // A campaign in the first half, and nothing but logins after it.
    let mut quiet = samples(500, 1_000_000);
    for (_, sample) in &mut quiet[100..150] {
        sample.outcome = crate::detection::attempt::Outcome::Failure;
    }
    let last_of_campaign = quiet[149].1.ts;
    let prepared = prepared(quiet, Vec::new(), 10_000).expect("enough");

    let attacks = |rows: &Dataset| -> Vec<Timestamp> {
        rows.rows.iter().filter(|row| row.label == Label::Attack).map(|row| row.ts).collect()
    };
    let (learnt, held_out) = (attacks(&prepared.train), attacks(&prepared.hold_out));
    assert_eq!((learnt.len(), held_out.len()), (41, 10), "the first sample fails, too");
    assert!(learnt.iter().all(|ts| ts < &held_out[0]) && held_out.last() == Some(&last_of_campaign));
    assert_eq!(prepared.hold_out.rows.len(), 110);
    assert!(prepared.hold_out.rows.is_sorted_by_key(|row| row.ts));
}

#[test]
fn d38_too_few_and_one_class_are_named() {
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

    let rows: Vec<_> =
        prepared.train.rows.iter().chain(&prepared.hold_out.rows).filter(|row| row.request == word.request).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].label, rows[0].from_feedback()), (Label::Legit, true));
}

/// Samples of which a fifth has enough attacks to measure what words cost, where every third is one.
const ENOUGH: u64 = 15_500;

#[test]
fn the_attempts_around_those_that_people_spoke_of_are_heard_with_their_words_or_not_at_all() {
    // Three accounts that fail six times each, of which nobody but the help desk and a colleague says anything.
    let fingerprint = FeatureSchema::compat6().fingerprint();
    let mut samples = samples(ENOUGH, 3);
    let mut policy = super::super::labels::KnownLabels::default();
    for (_, sample) in &samples {
        let label = if sample.is_success() { Label::Legit } else { Label::Attack };
        policy.0.insert(sample.request, label);
    }
    let word = |number, author: &str| {
        let word = feedback(number, false, author);
        Feedback { fingerprint, given_at: word.ts.plus_millis(3_600_000), ..word }
    };
    let words: Vec<Feedback> = [(20_000, "helpdesk"), (20_001, "helpdesk"), (20_002, "colleague")]
        .map(|(number, author)| word(number, author))
        .into();
    for (number, word) in words.iter().enumerate() {
        samples.extend((0..6).map(|nth| {
            let around = sample(30_000 + 10 * number as u64 + nth, false);
            let ts = word.ts.plus_millis(nth as i64 * 1000);
            (1.0, Sample { ts, user: word.user, client_ip: word.client_ip, fingerprint, ..around })
        }));
    }

    let prepared = build(samples, words.clone(), &policy, &FeatureSchema::compat6(), 20_000, 1).expect("enough");

    let weight = |prepared: &Prepared, of: &[Feedback]| -> (usize, f64) {
        let said = |row: &&Row| of.iter().any(|word| row.word == Some(word.request));
        let rows: Vec<&Row> = prepared.train.rows.iter().filter(said).collect();
        (rows.len(), rows.iter().map(|row| row.weight).sum())
    };
    let (rows, all) = weight(&prepared, &words);
    assert_eq!((rows, prepared.counts.feedback), (21, 3));
    let one = weight(&prepared, &words[2..]).1;
    assert!(one > 0.0 && (all / one - 3.0).abs() < 1e-5, "each word weighs the same: {one} of {all}");
    let colleague = prepared.with_words_of(|author| author == "colleague").expect("both classes");
    assert_eq!((weight(&colleague, &words[..2]).0, weight(&colleague, &words[2..]).0), (0, 7));
    let alone = weight(&colleague, &words[2..]).1;
    assert!(
        (alone - feedback::weights(&[words[2].given_at], prepared.words.sample_weight, prepared.words.now)[0]).abs()
            < 1e-9
    );
    assert_eq!(prepared.without_words().map(|silent| weight(&silent, &words).0), Some(0));
}

#[test]
fn held_out_words_are_asked_about_nothing_but_their_own_attempts() {
    let fingerprint = FeatureSchema::compat6().fingerprint();
    let held_out = |number: &u64| feedback(*number, false, "a").request.0[0].is_multiple_of(FEEDBACK_HOLD_OUT);
    let number = (20_000..).find(held_out).expect("one in five");
    let words: Vec<Feedback> = [number, 21_000, 21_001, 21_002, 21_003]
        .map(|number| Feedback { fingerprint, ..feedback(number, false, "helpdesk") })
        .into();
    let mut samples = samples(ENOUGH, 3);
    let policy = super::super::labels::KnownLabels(
        samples
            .iter()
            .map(|(_, sample)| (sample.request, if sample.is_success() { Label::Legit } else { Label::Attack }))
            .collect(),
    );
    let around = Sample { request: RequestKey::of("around"), fingerprint, ..sample(number, false) };
    samples.push((1.0, around.clone()));

    let prepared = build(samples, words, &policy, &FeatureSchema::compat6(), 20_000, 1).expect("enough");

    let mut rows = prepared.train.rows.iter().chain(&prepared.hold_out.rows);
    assert!(prepared.hold_out.rows.iter().any(|row| row.word == Some(row.request)));
    assert!(!rows.any(|row| row.request == around.request));
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
    let [old, fresh] =
        [0, 1].map(|place: usize| rows().find(|row| row.request == words[place].request).map_or(0.0, |row| row.weight));
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
fn d35_a_reduced_set_keeps_its_total_weight_per_class() {
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

    let told = |rows: &Dataset| rows.rows.iter().filter(|row| row.from_feedback()).count();
    assert!(told(&core) >= 4, "the others are held out: {}", told(&core));
    assert_eq!((told(&validation), core.rows.len() + validation.rows.len()), (0, prepared.train.rows.len()));
    let earlier = core.rows.iter().filter(|row| !row.from_feedback()).all(|row| row.ts < validation.rows[0].ts);
    assert!(earlier && core.rows.is_sorted_by_key(|row| row.ts));
}

#[test]
fn a_threshold_rests_on_what_happened_and_not_on_what_people_said() {
    let row = |number, from_feedback| {
        let mut word = feedback(number, false, "helpdesk");
        word.fingerprint = FeatureSchema::compat6().fingerprint();
        let group = Groups::default();
        let row = feedback_row(&word, 1.0, &group);
        Row { word: row.word.filter(|_| from_feedback), ..row }
    };
    let rows = Dataset { rows: vec![row(1, false), row(2, true), row(3, false)] };

    assert_eq!(rows.negatives(|_| 0.5).len(), 2);
}

#[test]
fn rows_of_one_network_share_a_group_on_both_sides_of_the_split() {
    // The samples of one /24 go by their network, because their accounts have fewer rows.
    let prepared = prepared(samples(500, 3), Vec::new(), 10_000).expect("enough");

    let mut groups: Vec<u64> = prepared.train.rows.iter().chain(&prepared.hold_out.rows).map(|row| row.group).collect();
    groups.sort_unstable();
    groups.dedup();
    assert_eq!(groups.len(), 2, "10.0.0.0/24 and 10.0.1.0/24");
}

#[test]
fn d11_samples_of_another_schema_are_skipped_and_counted() {
    let mut mixed = samples(300, 3);
    mixed[5].1.fingerprint ^= 1;

    let prepared = prepared(mixed, Vec::new(), 10_000).expect("enough");

    assert_eq!(prepared.counts.skipped, 1);
}

#[test]
fn where_their_cost_cannot_be_told_words_are_about_their_own_attempts_only() {
    let fingerprint = FeatureSchema::compat6().fingerprint();
    let word = Feedback { fingerprint, ..feedback(20_000, false, "helpdesk") };
    let around = Sample { request: RequestKey::of("around"), fingerprint, ..sample(20_000, false) };
    let rows_about = |count: u64| {
        let mut samples = samples(count, 3);
        let label = |sample: &Sample| if sample.is_success() { Label::Legit } else { Label::Attack };
        let known = samples.iter().map(|(_, sample)| (sample.request, label(sample))).collect();
        samples.push((1.0, around.clone()));
        let policy = super::super::labels::KnownLabels(known);
        let prepared =
            build(samples, vec![word.clone()], &policy, &FeatureSchema::compat6(), 20_000, 1).expect("enough");
        prepared.train.rows.iter().filter(|row| row.from_feedback()).count()
    };

    assert_eq!((rows_about(500), rows_about(ENOUGH)), (1, 2));
}
