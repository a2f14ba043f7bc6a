//! A site with three kinds of rows at places of their own: plain ones, rare honest ones that look strange, and attacks that
//! a few honest ones look like.

use super::super::super::artifact::ModelArtifact;
use super::super::super::dataset::{self, SAMPLES_MIN};
use super::super::super::labels::{Label, LabelPolicy, Labelled};
use super::super::super::sample::tests::{feedback, sample};
use super::super::super::sample::{Feedback, Sample};
use super::super::super::standardizer::Standardizer;
use super::*;
use crate::detection::attempt::RequestKey;
use crate::learning::training::TrainingOptions;

const ROWS: u64 = 6000;
const STRANGE: f32 = 1.0;

fn schema() -> FeatureSchema {
    FeatureSchema::compat6()
}

/// Kinds by number: of 200 rows 50 are plain attacks, 2 attacks and one honest row look alike, 3 honest rows are strange.
fn row(number: u64) -> (Vec<f32>, bool) {
    let spread = (number % 7) as f32 / 70.0;
    match number % 200 {
        0..50 => (vec![0.05 + spread, 0.9, 0.9, 0.1, 0.0, 0.0], true),
        50..52 => (vec![0.5 + spread, 0.0, 0.5, 0.9, 1.0, 0.0], true),
        52 => (vec![0.5 + spread, 0.0, 0.5, 0.9, 1.0, 0.0], false),
        53..56 => (vec![0.2 + spread, 0.0, 0.0, 0.0, 0.0, STRANGE], false),
        _ => (vec![0.9 - spread, 0.0, 0.05, 0.05, 0.0, 0.0], false),
    }
}

/// What a row is, told by its values and number.
struct Truth;

impl LabelPolicy for Truth {
    fn label(&self, sample: &Sample, _: &FeatureSchema) -> Option<Labelled> {
        let label =
            if sample.outcome == crate::detection::attempt::Outcome::Success { Label::Legit } else { Label::Attack };
        Some(Labelled { label, weight: 1.0 })
    }
}

fn samples() -> Vec<(f64, Sample)> {
    (0..ROWS)
        .map(|number| {
            let (values, attack) = row(number);
            let mut sample = sample(number, !attack);
            sample.fingerprint = schema().fingerprint();
            sample.values = values;
            (1.0, sample)
        })
        .collect()
}

fn options() -> RunOptions {
    let training = TrainingOptions { hidden: 8, epochs: 60, ..TrainingOptions::default() };
    RunOptions { samples_max: 10_000, training, ..super::super::tests::options() }
}

/// What many people say about rows of one kind that the samples do not hold.
fn words(about: u64, attack: bool) -> Vec<Feedback> {
    (0..100)
        .map(|number| {
            let mut item = feedback(ROWS + number, attack, &format!("author {number}"));
            item.fingerprint = schema().fingerprint();
            item.values = row(about + 200 * number).0;
            item
        })
        .collect()
}

fn heeded(words: Vec<Feedback>) -> Heeded {
    let prepared = dataset::build(samples(), words, &Truth, &schema(), 10_000, 1).expect("enough rows");
    assert!(prepared.counts.train > SAMPLES_MIN);
    let never = AtomicBool::new(false);
    fit_heeding(prepared, &schema(), &options(), &[], &never, &mut |_| {}).expect("fits")
}

#[test]
fn right_words_are_heeded() {
    let heeded = heeded(words(53, false));

    assert_eq!(heeded.set_aside, None);
    assert!(heeded.prepared.counts.feedback > 20, "{:?}", heeded.prepared.counts);
}

#[test]
fn words_that_a_model_without_them_goes_against_are_said_louder() {
    let (honest, guessing) = (100, 0);
    let said = [(honest, false), (guessing, true), (honest, true), (guessing, false)];
    let words = said.iter().zip(0..).map(|((about, attack), nth)| words_of("a", *about, *attack, 10 * nth, 1));
    let prepared = dataset::build(samples(), words.flatten().collect(), &Truth, &schema(), 10_000, 1).expect("enough");
    let control = prepared.without_words().expect("words");
    let control = fit(&control, &schema(), &options(), &AtomicBool::new(false), &mut |_| {}).expect("fits");

    let mut prepared = prepared;
    let attack =
        prepared.hold_out.rows.iter().find(|row| row.label == Label::Attack).cloned().expect("some are held out");
    prepared.hold_out.rows.extend(std::iter::repeat_n(attack, 1000));
    let emphasised = emphasised(prepared, &control);

    let weight = |nth: u64| {
        let request = feedback(ROWS + 10 * nth, false, "a").request;
        let row = emphasised.train.rows.iter().find(|row| row.request == request).expect("four are all trained on");
        row.weight
    };
    assert!(weight(2) > 1.2 * weight(0), "an honest row: {} and {}", weight(2), weight(0));
    assert!(weight(3) > 3.0 * weight(1), "a guessing one: {} and {}", weight(3), weight(1));
}

#[test]
fn words_that_cost_attacks_are_set_aside_and_told() {
    let heeded = heeded(words(53, true));

    let told = heeded.prepared.told;
    assert!(heeded.set_aside.is_some_and(|told| told.contains("points less")), "{told:?}");
    assert_eq!((told.counted, heeded.prepared.counts.feedback), (0, 0));
    assert!(told.set_aside > 20, "{told:?}");
    assert_eq!(heeded.fitted.measured.training.counts.feedback, 0);
}

/// What one author says about rows of one kind; as many as count.
fn words_of(author: &str, about: u64, attack: bool, first: u64, count: u64) -> Vec<Feedback> {
    let said = |(number, word): (u64, Feedback)| {
        let spoken = feedback(ROWS + first + number, attack, author);
        Feedback { values: word.values, fingerprint: word.fingerprint, ..spoken }
    };
    (0..).zip(words(about, attack)).take(count as usize).map(said).collect()
}

#[test]
fn wrong_words_of_one_author_are_set_aside_and_those_of_the_others_count() {
    let wrong = words_of("mallory", 53, true, 0, 30);
    // What the others say is right, and about something else.
    let right = words_of("c", 100, false, 100, 6);
    let few = words_of("d", 100, false, 200, 2);

    let heeded = heeded([wrong, right, few].concat());

    assert_eq!(heeded.unheeded, ["mallory"], "{:?}", heeded.set_aside);
    let told = heeded.prepared.told;
    assert_eq!((told.counted, told.set_aside), (8, 30), "{told:?}");
    let spoken = |rows: &Dataset| rows.rows.iter().filter(|row| row.from_feedback()).count();
    assert_eq!(spoken(&heeded.prepared.train) + spoken(&heeded.prepared.hold_out), 8, "in the held-out words as well");
    let rows = heeded.prepared.train.rows.iter().chain(&heeded.prepared.hold_out.rows);
    let weight: f64 = rows.filter(|row| row.from_feedback()).map(|row| row.weight).sum();
    assert!((weight / 6000.0 - 0.005).abs() < 1e-6, "as if mallory had not spoken: {weight}");
}

#[test]
fn many_authors_of_a_word_each_are_judged_together() {
    let parties = |words: Vec<Feedback>| {
        let prepared = dataset::build(samples(), words, &Truth, &schema(), 10_000, 1).expect("enough rows");
        let parties: Vec<usize> = parties(&prepared).iter().map(BTreeSet::len).collect();
        parties
    };
    let many: Vec<Feedback> = (0..7).flat_map(|n| words_of(&format!("m{n}"), 53, true, 20 * n, 6 + n)).collect();

    assert_eq!(parties(words(53, true)), [100]);
    assert_eq!(parties(many), [1, 1, 1, 1, 1, 2], "five fits, and one for the rest");
}

#[test]
fn what_cannot_be_measured_is_not_asked() {
    let prepared = dataset::build(samples(), Vec::new(), &Truth, &schema(), 10_000, 1).expect("enough rows");
    let fitted = fit(&prepared, &schema(), &options(), &AtomicBool::new(false), &mut |_| {}).expect("fits");
    let on = |rows: &Dataset, budget: f64| {
        Found::on(&fitted.measured, &Prepared { hold_out: rows.clone(), ..prepared.clone() }, budget, &[])
    };
    let of = |attack: bool| {
        let rows = prepared.hold_out.rows.iter().filter(|row| (row.label == Label::Attack) == attack);
        Dataset { rows: rows.cloned().collect() }
    };

    let legit = of(false).rows.len() as f64;
    assert!(on(&prepared.hold_out, 10.5 / legit).is_some_and(|found| found.recall.is_some()));
    assert!(on(&prepared.hold_out, 9.5 / legit).is_some_and(|found| found.recall.is_none()));
    assert!(on(&of(false), 0.1).is_none() && on(&of(true), 0.1).is_none(), "one class");
}

#[test]
fn rows_that_somebody_spoke_of_are_not_asked() {
    let Prepared { mut train, hold_out, .. } = prepared_heeded(Vec::new()).prepared;
    let Heeded { prepared, fitted, .. } = prepared_heeded(Vec::new());
    let attacks = train.rows.iter().filter(|row| row.label == Label::Attack).count() as f64;
    for row in train.rows.iter_mut().filter(|row| row.label == Label::Attack).take(7) {
        row.word = Some(row.request);
    }

    let found = Found::on(&fitted.measured, &Prepared { train, hold_out, ..prepared }, 0.1, &[]).expect("both classes");

    assert_eq!(found.fitted_attacks, attacks - 7.0);
}

#[test]
fn attacks_that_are_always_the_same_are_asked_where_probabilities_are_odds() {
    let Heeded { prepared, fitted, .. } = prepared_heeded(Vec::new());
    let mut model = fitted.measured;
    let plain = [row(0).0, row(1).0];
    let canary =
        |attack: bool, snapshots: &[Vec<f32>]| Canary { attack, snapshots: snapshots.to_vec(), ..Canary::default() };
    let canaries = [canary(true, &plain), canary(false, &plain[..1]), canary(true, &[]), canary(true, &plain[..1])];
    let asked = |model: &ModelArtifact| Found::on(model, &prepared, 0.1, &canaries).expect("both classes").canaries;

    assert_eq!(asked(&model), Vec::<f64>::new());
    model.standardizer = Some(Standardizer::identity(schema().len()));
    let [first, second] = [0, 1].map(|number| model.logit(&plain[number]));
    assert_eq!(asked(&model), [(first + second) / 2.0, first]);
}

#[test]
fn a_price_that_may_be_the_seed_is_asked_of_more_seeds() {
    let Heeded { prepared, fitted, .. } = prepared_heeded(words(53, false));
    let silent = prepared.without_words().expect("there are words");
    let with = Found::on(&fitted.measured, &prepared, options().false_positive_budget, &[]).expect("both classes");
    let never = AtomicBool::new(false);
    // Against a control of the first seed that was so much surer, in parts of what words may cost.
    let asked = |surer: f64| {
        let mut pricing = Pricing {
            prepared: &prepared,
            silent: &silent,
            schema: &schema(),
            options: &options(),
            canaries: &[],
            cancel: &never,
            without: vec![Found { loss: with.loss / (1.0 + 0.3 * surer), ..with.clone() }],
        };
        let price = pricing.of(&prepared, &fitted, &mut |_| {}).expect("fits").expect("measured").price();
        (pricing.without.len(), price)
    };

    assert!(matches!(asked(0.9), (1, price) if (price - 0.9).abs() < 1e-9), "{:?}", asked(0.9));
    assert!(matches!(asked(3.1), (1, price) if (price - 3.1).abs() < 1e-9), "{:?}", asked(3.1));
    assert!(
        matches!(asked(1.5), (5, price) if price < 1.0),
        "right words cost nothing with the others: {:?}",
        asked(1.5)
    );
}

fn prepared_heeded(words: Vec<Feedback>) -> Heeded {
    let prepared = dataset::build(samples(), words, &Truth, &schema(), 10_000, 1).expect("enough rows");
    let fitted = fit(&prepared, &schema(), &options(), &AtomicBool::new(false), &mut |_| {}).expect("fits");
    Heeded { prepared, fitted, set_aside: None, unheeded: Vec::new() }
}

fn unrefused(words: Vec<Feedback>, refused: &'static [&'static str]) -> (Heeded, Judgement) {
    unrefused_of(prepared_heeded(words), refused)
}

/// What becomes of models that are refused where words of these authors were learnt from.
fn unrefused_of(heeded: Heeded, refused: &'static [&'static str]) -> (Heeded, Judgement) {
    let never = AtomicBool::new(false);
    let said = &heeded.prepared.words.said;
    let authors: BTreeMap<RequestKey, String> =
        said.iter().map(|(request, (author, _))| (*request, author.clone())).collect();
    let judge = |_: &Fitted, rows: &Dataset, asked: &Prepared| {
        assert_eq!(asked.words.said.len(), authors.len(), "held-out words are asked, whatever was learnt");
        let mut said = rows.rows.iter().filter(|row| row.from_feedback()).map(|row| authors[&row.request].as_str());
        let verdict = if said.any(|author| refused.contains(&author)) || refused.contains(&"everybody") {
            Verdict::Refuse
        } else {
            Verdict::Promote
        };
        Judgement { verdict, watch_only: false, compared: true, criteria: Vec::new(), support: None }
    };
    fit_unrefused(heeded, &schema(), &options(), &never, &mut |_| {}, &judge).expect("fits")
}

#[test]
fn words_that_the_gate_refuses_a_model_for_are_set_aside_and_the_others_count() {
    let said = || [words_of("mallory", 53, true, 0, 12), words_of("c", 100, false, 100, 6)].concat();

    let (heeded, judgement) = unrefused(said(), &["mallory"]);
    assert_eq!((judgement.verdict, heeded.unheeded.as_slice()), (Verdict::Promote, ["mallory".to_owned()].as_slice()));
    assert_eq!((heeded.prepared.told.counted, heeded.prepared.told.set_aside), (6, 12));
    assert!(heeded.set_aside.is_some_and(|told| told.starts_with("12 feedback items of one author are set aside: ")));

    let (heeded, judgement) = unrefused(said(), &["mallory", "c"]);
    assert_eq!((judgement.verdict, heeded.prepared.told.counted), (Verdict::Promote, 0));
}

#[test]
fn what_was_set_aside_before_a_refusal_is_told_first_and_counted_once() {
    let words = [words_of("mallory", 53, true, 0, 12), words_of("c", 100, false, 100, 6)].concat();
    let mut heeded = prepared_heeded(words);
    heeded.prepared.told.set_aside = 5;
    heeded.set_aside = Some("5 earlier ones".to_owned());
    heeded.unheeded = vec!["trudy".to_owned()];

    let (heeded, _) = unrefused_of(heeded, &["mallory"]);

    let told = heeded.set_aside.expect("told");
    assert!(told.starts_with("5 earlier ones; 12 feedback items of one author are set aside: "), "{told}");
    assert_eq!((heeded.prepared.told.set_aside, heeded.unheeded), (17, vec!["mallory".to_owned(), "trudy".to_owned()]));
}

#[test]
fn a_model_that_is_refused_for_something_else_keeps_its_words() {
    let (heeded, judgement) = unrefused(words_of("c", 100, false, 100, 6), &["everybody"]);

    assert_eq!((judgement.verdict, heeded.set_aside), (Verdict::Refuse, None));
    assert_eq!(heeded.prepared.told.counted, 6);
}

#[test]
fn without_words_nothing_is_fitted_twice() {
    let heeded = heeded(Vec::new());

    assert_eq!((heeded.set_aside, heeded.prepared.told.set_aside), (None, 0));
}
