//! Challengers that must not pass, challengers that must, and data that say too little.

use super::super::drift::{FeatureShift, Shift};
use super::*;
use crate::numeric::Rng;

const GROUPS: u64 = 150;

/// Everything of a [`Challenge`], owned. The default is a fair fight that the challenger passes.
struct Case {
    hold_out: Vec<HeldOut>,
    training: Evaluation,
    feedback: Vec<HeldOutFeedback>,
    canaries: Vec<CanaryResult>,
    live: Option<Flips>,
    challenger: OperatingPoint,
    calibrated: bool,
    champion: Option<OperatingPoint>,
    drift: Option<Drift>,
    options: GateOptions,
}

impl Default for Case {
    fn default() -> Self {
        let point = OperatingPoint { thresholds: Thresholds { block: Some(0.9), watch: Some(0.6) }, budget: 0.01 };
        Self {
            hold_out: hold_out(3000, |row, _| row),
            training: known_sides(),
            feedback: Vec::new(),
            canaries: Vec::new(),
            live: None,
            challenger: point,
            calibrated: false,
            champion: Some(point),
            drift: None,
            options: GateOptions::default(),
        }
    }
}

impl Case {
    fn judge(&self) -> Judgement {
        judge(&Challenge {
            hold_out: &self.hold_out,
            training: &self.training,
            feedback: &self.feedback,
            canaries: &self.canaries,
            live: self.live,
            challenger: self.challenger,
            calibrated: self.calibrated,
            champion: self.champion,
            drift: self.drift.as_ref(),
            options: self.options,
            seed: 1,
        })
    }

    /// Without a champion, as a first model is judged.
    fn first(mut self) -> Self {
        self.champion = None;
        self.hold_out.iter_mut().for_each(|row| row.champion = None);
        self
    }
}

fn known_sides() -> Evaluation {
    Evaluation { mean_score_attack: Some(0.8), mean_score_legit: Some(0.1), ..Evaluation::default() }
}

/// Rows in which both models give the same honest logits, a third of them attacks; `change` makes the challenger
/// different. One group is of one class, as campaigns and people are.
fn hold_out(rows: u64, change: impl Fn(HeldOut, &mut Rng) -> HeldOut) -> Vec<HeldOut> {
    let mut rng = Rng::new(11, "gate test");
    let mut changes = Rng::new(11, "gate test changes");
    (0..rows)
        .map(|number| {
            let group = number % GROUPS;
            let attack = group.is_multiple_of(3);
            // Normal scores at ±2 with variance 4: the logit is the log odds (up to the prior).
            let logit = if attack { 2.0 } else { -2.0 } + 2.0 * rng.normal() + numeric::ln(0.5);
            change(
                HeldOut { attack, weight: 1.0, represents: 1.0, group, challenger: logit, champion: Some(logit) },
                &mut changes,
            )
        })
        .collect()
}

#[track_caller]
fn refused_by(judgement: &Judgement, name: &str) {
    let criterion = judgement.criterion(name).unwrap_or_else(|| panic!("no criterion {name}"));
    assert_eq!(criterion.status, Status::Failed, "{judgement:#?}");
    assert_eq!(judgement.verdict, Verdict::Refuse);
}

#[track_caller]
fn status(judgement: &Judgement, name: &str) -> Status {
    judgement.criterion(name).unwrap_or_else(|| panic!("no criterion {name}")).status
}

fn canary(name: &str, attack: bool, attempts: u64, challenger: u64, champion: Option<u64>) -> CanaryResult {
    CanaryResult { name: name.to_owned(), attack, attempts, challenger, champion, at_champions: None }
}

#[test]
fn an_equal_challenger_is_promoted_and_every_criterion_speaks_once() {
    let judgement = Case::default().judge();

    assert_eq!(judgement.verdict, Verdict::Promote, "{judgement:#?}");
    assert_eq!(judgement.reason(), "not worse than the current model");
    let mut names: Vec<_> = judgement.criteria.iter().map(|criterion| criterion.name).collect();
    assert!(judgement.criteria.iter().all(|criterion| !criterion.sentence.is_empty()));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), judgement.criteria.len());
}

#[test]
fn a_challenger_that_was_taught_wrong_is_refused() {
    // What wrong words do: one attack in eight, of every kind, looks harmless.
    let poisoned = |row: HeldOut, rng: &mut Rng| {
        let forgotten = row.attack && rng.uniform() < 0.125;
        HeldOut { challenger: if forgotten { row.challenger - 3.0 } else { row.challenger }, ..row }
    };
    let judgement = Case { hold_out: hold_out(6000, poisoned), ..Case::default() }.judge();

    refused_by(&judgement, "recall_paired");
    refused_by(&judgement, "pr_auc_paired");
    assert!(judgement.reason().contains("current model"), "{}", judgement.reason());
}

#[test]
fn the_luck_of_one_group_is_no_significance() {
    let lost = |groups: u64| {
        // Campaigns that the champion knows well.
        let change = move |row: HeldOut, _: &mut Rng| {
            if !row.attack || row.group >= 3 * groups {
                return row;
            }
            HeldOut { challenger: row.challenger - 4.0, champion: row.champion.map(|logit| logit + 4.0), ..row }
        };
        Case { hold_out: hold_out(6000, change), ..Case::default() }.judge()
    };

    let one = lost(1);
    let value = one.criterion("recall_paired").and_then(|criterion| criterion.value);
    assert!(value < Some(-0.01), "the difference is beyond its margin: {value:?}");
    assert_eq!(one.verdict, Verdict::Promote, "{one:#?}");
    refused_by(&lost(12), "recall_paired");
}

#[test]
fn a_clearly_worse_area_is_refused_even_in_one_group() {
    let rows = hold_out(3000, |row, rng| HeldOut { group: 7, challenger: row.challenger + 3.0 * rng.normal(), ..row });

    let judgement = Case { hold_out: rows, ..Case::default() }.judge();

    refused_by(&judgement, "roc_auc");
    assert_eq!(status(&judgement, "pr_auc_paired"), Status::Passed);
}

#[test]
fn false_positives_count_by_group() {
    let blocking = |change: fn(&HeldOut, u64) -> bool| {
        let mut case = Case::default();
        for (number, row) in case.hold_out.iter_mut().enumerate() {
            let blocked = !row.attack && change(row, number as u64);
            row.challenger = if blocked { 5.0 } else { row.challenger.min(2.0) };
        }
        case.judge()
    };

    // Two groups of twenty rows are 2 % of the legitimate rows; as many rows spread over forty groups are no luck.
    let two = blocking(|row, _| row.group == 1 || row.group == 2);
    let spread = blocking(|row, number| row.group < 60 && number < GROUPS);
    let rate = |judgement: &Judgement| judgement.criterion("false_positive_rate").and_then(|found| found.value);
    assert_eq!((rate(&two), rate(&spread)), (Some(0.02), Some(0.02)));
    assert_eq!(status(&two, "false_positive_rate"), Status::Passed);
    refused_by(&spread, "false_positive_rate");
}

#[test]
fn a_model_that_disagrees_with_people_is_refused() {
    let word =
        |attack, challenger, champion| HeldOutFeedback { attack, author: 0, challenger, champion: Some(champion) };
    let with = |feedback: Vec<HeldOutFeedback>| Case { feedback, ..Case::default() }.judge();
    // Sixteen good words keep the share above seven in ten.
    let good = || vec![word(true, 4.0, 4.0); 16];
    let by_turns =
        |word: HeldOutFeedback, count: usize| (0..count).map(move |n| HeldOutFeedback { author: n % 2, ..word });
    let worse_by = |count: usize| {
        let mut words = good();
        words.extend(by_turns(word(false, 4.0, -4.0), count));
        with(words)
    };

    assert_eq!(worse_by(4).verdict, Verdict::Promote, "four of four: p = 0.125");
    refused_by(&worse_by(6), "feedback_paired");
    let absolute: Vec<_> = by_turns(word(true, -4.0, -4.0), 2).chain(vec![good()[0]; 3]).collect();
    refused_by(&with(absolute), "feedback");
    assert_eq!(with(by_turns(word(true, -4.0, -4.0), 4).collect()).verdict, Verdict::Promote, "four words are too few");
    // An attack that is watched and a user who is not blocked are what people asked for.
    assert_eq!(with([word(true, 1.0, 1.0), word(false, 1.0, 1.0)].repeat(4)).verdict, Verdict::Promote);
}

#[test]
fn one_author_alone_holds_nothing_back_and_two_who_agree_do() {
    let said = |author, count: usize, logit| {
        vec![HeldOutFeedback { attack: false, author, challenger: logit, champion: Some(-4.0) }; count]
    };
    let with = |feedback: Vec<HeldOutFeedback>| Case { feedback, ..Case::default() }.judge();
    // A high logit of what somebody calls legitimate: the model disagrees.
    let alone = with(said(7, 30, 4.0));
    let against_the_others = with([said(7, 30, 4.0), said(8, 5, -4.0)].concat());
    let two = with([said(7, 4, 4.0), said(8, 3, 4.0)].concat());

    for judgement in [&alone, &against_the_others] {
        assert_eq!(judgement.verdict, Verdict::Promote, "{judgement:?}");
        assert_eq!(status(judgement, "feedback"), Status::Noted);
        assert_eq!(status(judgement, "feedback_paired"), Status::Passed);
    }
    assert_eq!(status(&two, "feedback"), Status::Failed);
    assert_eq!(status(&two, "feedback_paired"), Status::Failed, "three and three count");
}

#[test]
fn a_model_that_has_become_dishonest_is_refused_and_a_small_hold_out_is_no_proof() {
    let dishonest = |rows| {
        let rows = hold_out(rows, |row, _| HeldOut { challenger: row.challenger * 0.3, ..row });
        Case { hold_out: rows, ..Case::default() }
    };

    refused_by(&dishonest(3000).judge(), "calibration");
    let small = dishonest(15).judge();
    let error = small.criterion("calibration").and_then(|criterion| criterion.value);
    assert!(error > Some(ECE_LIMIT), "{error:?}");
    assert_eq!(status(&small, "calibration"), Status::Passed);
    let lenient = Case { options: GateOptions { ece_limit: 0.5, ..GateOptions::default() }, ..dishonest(3000) };
    assert_eq!(status(&lenient.judge(), "calibration"), Status::Passed);
}

#[test]
fn dishonesty_is_only_noted_where_no_model_is_clearly_more_honest() {
    let both = hold_out(3000, |row, _| HeldOut {
        challenger: row.challenger * 0.3,
        champion: row.champion.map(|logit| logit * 0.31),
        ..row
    });
    let even = Case { hold_out: both, ..Case::default() };

    assert_eq!(status(&even.judge(), "calibration"), Status::Noted);
    let far_worse = hold_out(3000, |row, _| HeldOut {
        challenger: row.challenger * 0.1,
        champion: row.champion.map(|logit| logit * 0.3),
        ..row
    });
    refused_by(&Case { hold_out: far_worse, ..Case::default() }.judge(), "calibration");
    let first = even.first().judge();
    assert_eq!((first.verdict, status(&first, "calibration")), (Verdict::Promote, Status::Noted));
}

#[test]
fn a_calibrated_model_has_no_excuse_for_dishonesty_not_even_as_the_first() {
    let rows = hold_out(3000, |row, _| HeldOut {
        challenger: row.challenger * 0.3,
        champion: row.champion.map(|logit| logit * 0.31),
        ..row
    });
    let calibrated = || Case { hold_out: rows.clone(), calibrated: true, ..Case::default() };

    refused_by(&calibrated().judge(), "calibration");
    refused_by(&calibrated().first().judge(), "calibration");
    let honest = Case { calibrated: true, ..Case::default() };
    assert_eq!(status(&honest.first().judge(), "calibration"), Status::Passed);
}

#[test]
fn honesty_is_asked_of_attempts_as_they_come_and_not_of_how_much_their_labels_are_believed() {
    let rows = hold_out(3000, |row, _| HeldOut { weight: if row.attack { 1.0 } else { 0.1 }, ..row });
    let case = Case { hold_out: rows, calibrated: true, ..Case::default() };

    assert_eq!(status(&case.judge(), "calibration"), Status::Passed);
}

#[test]
fn an_honest_first_model_of_a_small_site_is_hardly_ever_refused() {
    let refused = |site: u64| {
        let mut rng = Rng::new(site, "gate test small site");
        // A person or campaign is one piece of evidence: all its rows have one probability and one truth.
        let mut rows = Vec::new();
        for group in 0..25 {
            let logit = -1.5 + 2.5 * rng.normal();
            let attack = rng.uniform() < numeric::sigmoid(logit);
            let row = HeldOut { attack, weight: 1.0, represents: 1.0, group, challenger: logit, champion: None };
            rows.extend(vec![row; 1 + rng.below(20) as usize]);
        }
        let case = Case { hold_out: rows, calibrated: true, champion: None, ..Case::default() };
        let judgement = case.judge();
        let ece = judgement.criterion("calibration").and_then(|criterion| criterion.value);
        (status(&judgement, "calibration") == Status::Failed, ece > Some(ECE_LIMIT))
    };
    let sites: Vec<_> = (0..200).map(refused).collect();
    let count = |of: fn(&(bool, bool)) -> bool| sites.iter().filter(|site| of(site)).count();
    assert!(count(|site| site.1) > 150, "most are over the limit by chance");
    assert!(count(|site| site.0) <= 10, "{} of 200 refused", count(|site| site.0));
}

#[test]
fn the_legitimate_canaries_catch_what_only_hurts_stale_clients() {
    let with = |stale: u64, burst: u64| {
        let canaries = vec![
            canary("burst", true, 200, burst, Some(190)),
            canary("stale_client", false, 200, stale, Some(12)),
            canary("typo", false, 60, 1, Some(1)),
        ];
        Case { canaries, ..Case::default() }.judge()
    };

    let stale = with(40, 190);
    refused_by(&stale, "canary_legit");
    assert_eq!(status(&stale, "canary_attacks"), Status::Passed);
    assert!(stale.reason().contains("stale_client"), "{}", stale.reason());
    refused_by(&with(12, 100), "canary_attacks");
    assert_eq!(with(20, 170).verdict, Verdict::Promote);
}

#[test]
fn a_first_model_that_sees_little_is_noted_and_one_that_blocks_honest_mistakes_is_refused() {
    let with = |attacks: u64, legit: u64| {
        let canaries = vec![canary("burst", true, 100, attacks, None), canary("stale_client", false, 100, legit, None)];
        Case { canaries, ..Case::default() }.first().judge()
    };

    assert_eq!(with(60, 20).verdict, Verdict::Promote);
    let blind = with(2, 0);
    assert_eq!((blind.verdict, status(&blind, "canary_attacks")), (Verdict::Promote, Status::Noted));
    refused_by(&with(100, 90), "canary_legit");
}

#[test]
fn canaries_are_only_noted_where_neither_model_blocks_anybody() {
    let watches = OperatingPoint { thresholds: Thresholds { block: None, watch: Some(0.6) }, budget: 0.01 };
    let canaries = vec![canary("stale_client", false, 200, 90, Some(12))];
    let judged = |challenger, champion| {
        Case { canaries: canaries.clone(), challenger, champion: Some(champion), ..Case::default() }.judge()
    };
    let blocks = Case::default().challenger;

    let neither = judged(watches, watches);
    assert_eq!((neither.verdict, status(&neither, "canary_legit")), (Verdict::Promote, Status::Noted));
    refused_by(&judged(watches, blocks), "canary_legit");
    refused_by(&judged(blocks, watches), "canary_legit");
}

#[test]
fn canaries_are_counted_at_thresholds_that_both_models_have() {
    let both = Thresholds { block: Some(0.9), watch: Some(0.6) };
    let watch_only = Thresholds { block: None, watch: Some(0.7) };

    assert_eq!(Cuts::of(&both, Some(&both)), Cuts { challenger: 0.9, champion: 0.9 });
    assert_eq!(Cuts::of(&watch_only, Some(&both)), Cuts { challenger: 0.7, champion: 0.6 });
    assert_eq!(Cuts::of(&Thresholds::default(), Some(&both)), Cuts { challenger: 0.5, champion: 0.5 });
    let snapshots = vec![vec![0.8], vec![0.65], vec![0.1]];
    let canary = Canary { name: "burst".into(), attack: true, snapshots, ..Canary::default() };
    let score = |values: &[f32]| f64::from(values[0]);
    let result = CanaryResult::of(&canary, Cuts::of(&watch_only, Some(&both)), score, Some(score));
    assert_eq!((result.attempts, result.challenger, result.champion), (3, 1, Some(2)));
}

#[test]
fn what_a_canary_loses_by_the_threshold_alone_is_nothing_that_was_forgotten() {
    let both = |cut: f64| Thresholds { block: Some(cut), watch: None };
    let (strict, lax) = (both(0.95), both(0.7));
    let canary = |attack| Canary { attack, snapshots: vec![vec![0.8]; 50], ..Canary::default() };
    let as_ever = |values: &[f32]| f64::from(values[0]);
    let judged = |attack, ours: &Thresholds, theirs: &Thresholds, score: fn(&[f32]) -> f64| {
        let result = CanaryResult::of(&canary(attack), Cuts::of(ours, Some(theirs)), score, Some(as_ever));
        let flagged = (result.challenger, result.champion);
        let judgement = Case { canaries: vec![result], ..Case::default() }.judge();
        (flagged, status(&judgement, if attack { "canary_attacks" } else { "canary_legit" }))
    };

    assert_eq!(judged(true, &strict, &lax, as_ever), ((0, Some(50)), Status::Passed));
    assert_eq!(judged(false, &lax, &strict, as_ever), ((50, Some(0)), Status::Passed));
    assert_eq!(judged(true, &strict, &lax, |_| 0.6), ((0, Some(50)), Status::Failed), "forgotten at any threshold");
    assert_eq!(judged(false, &lax, &strict, |_| 0.96), ((50, Some(0)), Status::Failed), "hated at any threshold");
}

#[test]
fn an_unsupported_block_threshold_is_watch_only_and_no_refusal() {
    let mut case = Case { live: Some(Flips { decisions: 10_000, to_block: 0, others: 0 }), ..Case::default() };
    case.challenger.thresholds.block = None;

    let judgement = case.judge();

    assert_eq!((judgement.verdict, judgement.watch_only), (Verdict::Promote, true), "{judgement:#?}");
    assert!(judgement.reason().contains("watch only"), "{}", judgement.reason());
    for name in ["false_positive_rate", "live_flips"] {
        assert_eq!(status(&judgement, name), Status::NotMeasured);
    }
}

#[test]
fn more_than_two_percent_of_the_harmless_live_attempts_must_not_flip_to_block() {
    let with = |decisions, to_block| Case { live: Some(Flips { decisions, to_block, others: 0 }), ..Case::default() };

    assert_eq!(with(10_000, 200).judge().verdict, Verdict::Promote);
    refused_by(&with(10_000, 201).judge(), "live_flips");
    assert_eq!(status(&with(199, 199).judge(), "live_flips"), Status::NotMeasured);
    let strangers = Case { live: Some(Flips { decisions: 8000, to_block: 0, others: 2000 }), ..Case::default() };
    assert_eq!(strangers.judge().verdict, Verdict::Promote, "a new campaign is no reason");
    let mut from_watching = with(10_000, 1500);
    from_watching.champion.as_mut().expect("there is one").thresholds.block = None;
    assert_eq!(status(&from_watching.judge(), "live_flips"), Status::NotMeasured);
}

#[test]
fn a_jump_of_the_logits_is_noted_or_waits_for_a_person() {
    // Stretched: the ranking stays, and so does honesty if the champion was too timid by this factor.
    let rows = hold_out(3000, |row, _| HeldOut { champion: Some(row.challenger * 0.05), ..row });
    let mut case = Case { hold_out: rows, ..Case::default() };

    let automatic = case.judge();
    assert_eq!((automatic.verdict, status(&automatic, "logit_shift")), (Verdict::Promote, Status::Noted));
    assert!(automatic.reason().contains("note that the logits"), "{}", automatic.reason());
    case.options.automatic = false;
    let by_hand = case.judge();
    assert_eq!((by_hand.verdict, status(&by_hand, "logit_shift")), (Verdict::Hold, Status::NeedsApproval));
    assert!(by_hand.reason().contains("approve"), "{}", by_hand.reason());
}

#[test]
fn an_alarm_of_drift_stops_automatic_promotion_and_a_warning_does_not() {
    let shift = |psi| {
        let features = vec![FeatureShift { name: "a".into(), psi, telling: true, strong: false }];
        Some(Shift { rows: 1000, score: 0.01, features })
    };
    let with = |all, legit| Case { drift: Some(Drift { all: shift(all), legit: shift(legit) }), ..Case::default() };

    assert_eq!(with(0.05, 0.05).judge().reason(), "not worse than the current model");
    let warned = with(0.9, 0.2).judge();
    assert_eq!((warned.verdict, status(&warned, "drift")), (Verdict::Promote, Status::Noted));
    let alarmed = with(0.3, 0.3).judge();
    assert_eq!((alarmed.verdict, status(&alarmed, "drift")), (Verdict::Hold, Status::NeedsApproval));
    assert!(alarmed.reason().contains("a 0.300"), "{}", alarmed.reason());
}

#[test]
fn a_first_model_that_knows_its_sides_is_promoted_and_an_inverted_one_never() {
    let first = Case::default().first().judge();
    assert_eq!((first.verdict, first.reason().as_str()), (Verdict::Promote, "the first model"), "{first:#?}");

    let inverted = hold_out(3000, |row, _| HeldOut { challenger: -row.challenger, ..row });
    refused_by(&Case { hold_out: inverted.clone(), ..Case::default() }.first().judge(), "sides_hold_out");
    refused_by(&Case { hold_out: inverted, ..Case::default() }.judge(), "sides_hold_out");
    let backwards = Evaluation { mean_score_attack: Some(0.1), mean_score_legit: Some(0.8), ..known_sides() };
    refused_by(&Case { training: backwards.clone(), ..Case::default() }.first().judge(), "sides_training");
    // The hold-out says nothing: the training rows still do.
    for rows in [Vec::new(), hold_out(3000, |row, _| row).into_iter().filter(|row| row.attack).collect()] {
        let silent = Case { hold_out: rows, training: backwards.clone(), ..Case::default() };
        refused_by(&silent.first().judge(), "sides_training");
    }
}

#[test]
fn data_that_say_little_neither_panic_nor_keep_a_good_model_back() {
    let without = |attack: bool| hold_out(3000, |row, _| row).into_iter().filter(|row| row.attack != attack).collect();
    let weightless = hold_out(300, |row, _| HeldOut { weight: 0.0, represents: 0.0, ..row });
    for rows in [Vec::new(), without(true), without(false), weightless] {
        let judgement = Case { hold_out: rows, ..Case::default() }.judge();
        for name in ["roc_auc", "pr_auc_paired", "recall_paired"] {
            assert_eq!(status(&judgement, name), Status::NotMeasured, "{judgement:#?}");
        }
        assert_eq!(judgement.verdict, Verdict::Promote, "{judgement:#?}");
    }
}

#[test]
fn a_model_of_which_nothing_is_known_is_not_promoted() {
    let nothing = Case { hold_out: Vec::new(), training: Evaluation::default(), ..Case::default() };

    refused_by(&nothing.first().judge(), "sides_training");
}

#[test]
fn what_is_not_a_number_is_refused_and_a_broken_champion_is_no_yardstick() {
    let broken = hold_out(300, |row, _| HeldOut { challenger: f64::NAN, ..row });
    refused_by(&Case { hold_out: broken, ..Case::default() }.judge(), "sides_hold_out");
    let broken = Evaluation { mean_score_attack: Some(f64::NAN), ..known_sides() };
    refused_by(&Case { training: broken, ..Case::default() }.judge(), "sides_training");

    let champion = hold_out(3000, |row, _| HeldOut { champion: Some(f64::NAN), ..row });
    let judgement = Case { hold_out: champion, ..Case::default() }.judge();
    assert_eq!(status(&judgement, "pr_auc_paired"), Status::NotMeasured);
}

#[test]
fn the_same_challenge_gets_the_same_judgement() {
    let noisy = || hold_out(2000, |row, rng| HeldOut { challenger: row.challenger + rng.normal(), ..row });
    let judged = || Case { hold_out: noisy(), ..Case::default() }.judge();

    assert_eq!(judged(), judged());
    assert_eq!(serde_json::to_string(&judged()).ok(), serde_json::to_string(&judged()).ok());
}
