//! What ten items of feedback do: right ones about an honest habit that the model has never seen, and wrong ones.
//!
//! The honest failures of three habits are taken out of what is trained on. People complain in the first two fifths of
//! the time after; the rest of it is measured. Nothing but the feedback is new to the training that follows, so that nothing
//! else can have helped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::super::evaluate::{self, Labels, weak_labels};
use super::super::failure::Failure;
use super::super::offline::Player;
use super::super::render;
use super::{Setting, Traffic};
use crate::daemon::chain;
use crate::detection::attempt::Outcome;
use crate::detection::event::Snapshot;
use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::artifact::ModelArtifact;
use crate::learning::evaluation::{self, Scored};
use crate::learning::gate::Canary;
use crate::learning::labels::LabelPolicy;
use crate::learning::run::{self, Material, RunOutcome};
use crate::learning::sample::{Feedback, Sample};
use crate::numeric::Rng;
use crate::traffic::{self, Habit};

/// Habits whose failures are taken out: what looks most like guessing.
const HOLE: [Habit; 3] = [Habit::StaleClient, Habit::DeadDevice, Habit::Forgotten];
/// Items of feedback in each case.
const ITEMS: usize = 10;
/// Share of the time after in which people complain.
const COMPLAINTS: f64 = 0.4;
/// What a wrong case may cost in recall or false positives before it has to be refused.
const COST_MAX: f64 = 0.02;

/// One attempt after the training, with what was known before its outcome.
struct Attempt<'a> {
    record: &'a CheckedRecord,
    snapshot: Snapshot,
}

impl Attempt<'_> {
    fn is_attack(&self) -> bool {
        self.record.truth.label == Some(TrueLabel::Attack)
    }

    fn is_honest_failure(&self) -> bool {
        is_honest_failure(self.record)
    }

    fn has_habit(&self, habit: Habit) -> bool {
        self.is_honest_failure() && self.record.truth.scenario.as_deref() == Some(habit.name())
    }
}

fn is_honest_failure(record: &CheckedRecord) -> bool {
    record.truth.label == Some(TrueLabel::Legit) && record.outcome == Some(Outcome::Failure)
}

/// Who says it.
#[derive(Clone, Copy)]
enum Authors {
    One,
    Ten,
}

/// What is tried.
struct Case<'a> {
    name: String,
    items: Vec<&'a Attempt<'a>>,
    says_attack: bool,
    authors: Authors,
    /// The habit that it is about.
    habit: Option<Habit>,
    /// On the model that has never seen the habits; otherwise on one that has seen everything.
    hole: bool,
    /// Whether what is said is wrong.
    wrong: bool,
}

/// Runs all cases on one site.
pub fn run(setting: &Setting<'_>, traffic: &Traffic, seed: u64) -> Result<Value, Failure> {
    let mut player = Player::new(setting.config, setting.schema.clone());
    let played: Vec<(&CheckedRecord, Option<(f64, Sample)>)> =
        traffic.before.iter().map(|record| (record, evaluate::sample(record, player.play(record)))).collect();
    let after: Vec<Attempt<'_>> =
        traffic.after.iter().map(|record| Attempt { record, snapshot: player.play(record) }).collect();
    let (complaints, later) = after.split_at((after.len() as f64 * COMPLAINTS) as usize);
    let in_hole = |record: &CheckedRecord| {
        let habit = record.truth.scenario.as_deref();
        is_honest_failure(record) && HOLE.iter().any(|hole| habit == Some(hole.name()))
    };
    let with_hole: Vec<(f64, Sample)> =
        played.iter().filter(|(record, _)| !in_hole(record)).filter_map(|(_, sample)| sample.clone()).collect();
    let whole: Vec<(f64, Sample)> = played.into_iter().filter_map(|(_, sample)| sample).collect();
    let index = weak_labels::index(&traffic.before);
    let hindsight = weak_labels::labels(&index);
    let truth = evaluate::known_labels(&traffic.before);
    let policy: &dyn LabelPolicy = match setting.args.labels {
        Labels::Hindsight => &hindsight,
        Labels::Oracle => &truth,
        Labels::Outcome => &crate::learning::labels::OutcomeLabels,
    };
    let canaries = traffic::canaries(setting.schema);
    let with_hole = Base::train(setting, with_hole, policy, &canaries)?;
    let whole = Base::train(setting, whole, policy, &canaries)?;
    let cases = cases(complaints, &with_hole.model, &whole.model, seed);
    let mut results = Vec::with_capacity(cases.len());
    for case in &cases {
        let base = if case.hole { &with_hole } else { &whole };
        results.push(base.retrain(setting, case, policy, &canaries, later)?);
    }
    Ok(json!({ "experiment": "feedback", "cases": results }))
}

fn cases<'a>(complaints: &'a [Attempt<'a>], hole: &ModelArtifact, whole: &ModelArtifact, seed: u64) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    let right = |name: String, items, authors, habit| Case {
        name,
        items,
        says_attack: false,
        authors,
        habit: Some(habit),
        hole: true,
        wrong: false,
    };
    for habit in HOLE {
        let worst = worst(complaints, habit, hole);
        cases.push(right(format!("right, {}", habit.name()), one_each(&worst), Authors::Ten, habit));
        cases.push(right(format!("right, {}, one author", habit.name()), one_each(&worst), Authors::One, habit));
        cases.push(right(format!("right, {}, one account", habit.name()), one_account(&worst), Authors::One, habit));
    }
    let mut drawn = |name: &str, authors, says_attack, of: &dyn Fn(&Attempt<'_>) -> bool| {
        let mut found: Vec<&Attempt<'_>> = complaints.iter().filter(|attempt| of(attempt)).collect();
        Rng::new(seed, name).shuffle(&mut found);
        let wrong = name.starts_with("wrong");
        let items = one_each(&found);
        cases.push(Case { name: name.to_owned(), items, says_attack, authors, habit: None, hole: false, wrong });
    };
    let blocked =
        |attempt: &Attempt<'_>| whole.probability(&attempt.snapshot.values) > whole.thresholds.block.unwrap_or(0.5);
    let success = |attempt: &Attempt<'_>| !attempt.is_attack() && attempt.record.outcome == Some(Outcome::Success);
    let campaign = complaints.iter().find(|attempt| attempt.is_attack() && blocked(attempt));
    let campaign = campaign.and_then(|attempt| attempt.record.truth.campaign.clone());
    drawn("nothing", Authors::Ten, false, &|_| false);
    drawn("right, what it knows", Authors::Ten, false, &success);
    drawn("wrong, attacks excused", Authors::Ten, false, &|attempt| attempt.is_attack() && blocked(attempt));
    drawn("wrong, attacks excused, one author", Authors::One, false, &|attempt| {
        attempt.is_attack() && blocked(attempt)
    });
    drawn("wrong, one campaign excused, one author", Authors::One, false, &|attempt| {
        attempt.is_attack() && attempt.record.truth.campaign == campaign
    });
    drawn("wrong, users accused", Authors::Ten, true, &success);
    drawn("wrong, honest failures accused, one author", Authors::One, true, &|attempt| attempt.is_honest_failure());
    cases
}

/// Attempts of a habit, those that the model takes most for an attack first: whoever is stopped complains.
fn worst<'a>(attempts: &'a [Attempt<'a>], habit: Habit, model: &ModelArtifact) -> Vec<&'a Attempt<'a>> {
    let mut found: Vec<(f64, &Attempt<'_>)> = attempts
        .iter()
        .filter(|attempt| attempt.has_habit(habit))
        .map(|attempt| (model.logit(&attempt.snapshot.values), attempt))
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, attempt)| attempt).collect()
}

/// The first of each account, then the second of each, until there are enough.
fn one_each<'a>(attempts: &[&'a Attempt<'a>]) -> Vec<&'a Attempt<'a>> {
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, &Attempt<'_>)> = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let nth = seen.entry(attempt.record.attempt.user.0).or_insert(0);
        ranked.push((*nth, attempt));
        *nth += 1;
    }
    ranked.sort_by_key(|(nth, _)| *nth);
    ranked.into_iter().take(ITEMS).map(|(_, attempt)| attempt).collect()
}

/// All of the account of the first.
fn one_account<'a>(attempts: &[&'a Attempt<'a>]) -> Vec<&'a Attempt<'a>> {
    let Some(first) = attempts.first() else { return Vec::new() };
    let user = first.record.attempt.user;
    attempts.iter().filter(|attempt| attempt.record.attempt.user == user).take(ITEMS).copied().collect()
}

/// A model, and what it was trained on.
struct Base {
    samples: Vec<(f64, Sample)>,
    model: ModelArtifact,
}

impl Base {
    fn train(
        setting: &Setting<'_>,
        samples: Vec<(f64, Sample)>,
        policy: &dyn LabelPolicy,
        canaries: &[Canary],
    ) -> Result<Self, Failure> {
        let material = Material { samples: samples.clone(), feedback: Vec::new(), canaries: canaries.to_vec() };
        let options = setting.options(setting.config.training.epochs);
        let never = AtomicBool::new(false);
        match run::run(material, policy, setting.schema, &options, None, &never, &mut |_| {}) {
            Ok(RunOutcome::Promoted(trained)) => Ok(Self { samples, model: trained.artifact }),
            Ok(RunOutcome::Refused { reason, .. } | RunOutcome::NotEnoughData { reason }) => {
                Err(Failure::data(format!("there is no first model: {reason}")))
            }
            Err(error) => Err(Failure::data(chain(&error))),
        }
    }

    /// The training that follows the feedback, judged against this model and measured beside it.
    fn retrain(
        &self,
        setting: &Setting<'_>,
        case: &Case<'_>,
        policy: &dyn LabelPolicy,
        canaries: &[Canary],
        later: &[Attempt<'_>],
    ) -> Result<Value, Failure> {
        let feedback = case.items.iter().enumerate().map(|(number, attempt)| case.said(number, attempt)).collect();
        let material = Material { samples: self.samples.clone(), feedback, canaries: canaries.to_vec() };
        let options = setting.options(setting.config.training.feedback_epochs);
        let never = AtomicBool::new(false);
        let outcome = run::run(material, policy, setting.schema, &options, Some(&self.model), &never, &mut |_| {});
        let (challenger, judgement, refused) = match outcome {
            Ok(RunOutcome::Promoted(trained)) => (trained.artifact, trained.judgement, None),
            Ok(RunOutcome::Refused { reason, challenger, judgement, .. }) => (*challenger, *judgement, Some(reason)),
            Ok(RunOutcome::NotEnoughData { reason }) => return Err(Failure::data(reason)),
            Err(error) => return Err(Failure::data(chain(&error))),
        };
        let told: BTreeSet<_> = case.items.iter().map(|attempt| attempt.record.attempt.user.0).collect();
        let rates = |model: &ModelArtifact| Rates::of(model, later, case.habit, &told);
        let (before, after) = (rates(&self.model), rates(&challenger));
        let cost = (before.recall - after.recall).max(after.fpr - before.fpr);
        Ok(json!({
            "case": case.name,
            "items": case.items.len(),
            "counted": challenger.training.counts.feedback,
            "promoted": refused.is_none(),
            "refused": refused,
            "before": before.to_json(),
            "after": after.to_json(),
            "harmful": case.wrong.then_some(cost > COST_MAX),
            "gate": judgement,
        }))
    }
}

impl Case<'_> {
    fn said(&self, number: usize, attempt: &Attempt<'_>) -> Feedback {
        let told = &attempt.record.attempt;
        let author = match self.authors {
            Authors::One => "author".to_owned(),
            Authors::Ten => format!("author {number}"),
        };
        Feedback {
            id: format!("item {number}"),
            request: told.request,
            client_ip: told.client_ip,
            name: told.name,
            user: told.user,
            is_attack: self.says_attack,
            author,
            given_at: told.ts.plus_millis(3_600_000),
            ts: told.ts,
            outcome: attempt.record.outcome,
            fingerprint: attempt.snapshot.fingerprint,
            values: attempt.snapshot.values.clone(),
        }
    }
}

/// Shares of the later attempts that one model flags, at its own thresholds.
struct Rates {
    /// Attacks blocked.
    recall: f64,
    /// Attacks at least watched.
    recall_watch: f64,
    /// Attacks blocked at a threshold that would block one legitimate attempt in a thousand: without the luck of thresholds.
    recall_at_fpr: Option<f64>,
    /// Legitimate attempts blocked.
    fpr: f64,
    /// Failures of the habit by accounts that nobody gave feedback on: blocked, and at least watched.
    habit_others: [Option<f64>; 2],
    /// The same by all accounts.
    habit_all: [Option<f64>; 2],
}

impl Rates {
    fn of(model: &ModelArtifact, attempts: &[Attempt<'_>], habit: Option<Habit>, told: &BTreeSet<[u8; 16]>) -> Self {
        let cuts = [model.thresholds.block, model.thresholds.watch].map(|cut| cut.unwrap_or(f64::INFINITY));
        let scored: Vec<(&Attempt<'_>, f64)> =
            attempts.iter().map(|attempt| (attempt, model.probability(&attempt.snapshot.values))).collect();
        let ranked: Vec<Scored> = scored
            .iter()
            .map(|(attempt, score)| Scored { score: *score, attack: attempt.is_attack(), weight: 1.0 })
            .collect();
        let share = |cut: f64, of: &dyn Fn(&Attempt<'_>) -> bool| {
            let (mut above, mut all) = (0u32, 0u32);
            for (_, score) in scored.iter().filter(|(attempt, _)| of(attempt)) {
                all += 1;
                above += u32::from(*score > cut);
            }
            (all > 0).then(|| f64::from(above) / f64::from(all))
        };
        let of_habit = |attempt: &Attempt<'_>| habit.is_some_and(|habit| attempt.has_habit(habit));
        let others = |attempt: &Attempt<'_>| of_habit(attempt) && !told.contains(&attempt.record.attempt.user.0);
        Self {
            recall: share(cuts[0], &|attempt| attempt.is_attack()).unwrap_or(0.0),
            recall_watch: share(cuts[1], &|attempt| attempt.is_attack()).unwrap_or(0.0),
            recall_at_fpr: evaluation::tpr_at_fpr(&ranked, 0.001),
            fpr: share(cuts[0], &|attempt| !attempt.is_attack()).unwrap_or(0.0),
            habit_others: cuts.map(|cut| share(cut, &others)),
            habit_all: cuts.map(|cut| share(cut, &of_habit)),
        }
    }

    fn to_json(&self) -> Value {
        let [others_blocked, others_watched] = self.habit_others;
        let [blocked, watched] = self.habit_all;
        json!({
            "recall": self.recall, "recall_watch": self.recall_watch, "realised_fpr": self.fpr,
            "recall_at_fpr": { "0.001": self.recall_at_fpr },
            "habit": { "blocked": blocked, "watched": watched },
            "habit_of_others": { "blocked": others_blocked, "watched": others_watched },
        })
    }
}

/// Prints all cases.
pub fn show(report: &Value) {
    let heading = [
        "case",
        "items that count",
        "gate",
        "habit blocked",
        "of others",
        "habit watched",
        "recall",
        "FPR",
        "recall at 0.1 %",
    ];
    let mut table = render::table(&heading);
    for case in report["cases"].as_array().into_iter().flatten() {
        let change = |of: fn(&Value) -> &Value| {
            format!("{} → {}", render::text(of(&case["before"])), render::text(of(&case["after"])))
        };
        let gate = if case["promoted"] == true { "promoted".to_owned() } else { render::text(&case["refused"]) };
        table.add_row(vec![
            render::text(&case["case"]),
            format!("{} of {}", render::text(&case["counted"]), render::text(&case["items"])),
            gate,
            change(|rates| &rates["habit"]["blocked"]),
            change(|rates| &rates["habit_of_others"]["blocked"]),
            change(|rates| &rates["habit"]["watched"]),
            change(|rates| &rates["recall"]),
            change(|rates| &rates["realised_fpr"]),
            change(|rates| &rates["recall_at_fpr"]["0.001"]),
        ]);
    }
    out!("{table}");
}

#[cfg(test)]
mod tests {
    use super::super::super::evaluate::overlay::tests::record;
    use super::*;

    fn attempts(records: &[CheckedRecord]) -> Vec<Attempt<'_>> {
        let attempt = |record| Attempt { record, snapshot: Snapshot { fingerprint: 0, values: Vec::new() } };
        records.iter().map(attempt).collect()
    }

    #[test]
    fn items_come_from_as_many_accounts_as_there_are() {
        let record = |number: usize| {
            record(
                &json!({ "username": format!("user{}", number / 6), "success": false,
            "request_id": number.to_string() })
                .to_string(),
            )
        };
        let records: Vec<CheckedRecord> = (0..18).map(record).collect();
        let attempts = attempts(&records);
        let attempts: Vec<&Attempt<'_>> = attempts.iter().collect();

        let accounts = |items: &[&Attempt<'_>]| -> Vec<usize> {
            let users: BTreeSet<[u8; 16]> = items.iter().map(|item| item.record.attempt.user.0).collect();
            users.iter().map(|user| items.iter().filter(|item| item.record.attempt.user.0 == *user).count()).collect()
        };
        let mut spread = accounts(&one_each(&attempts));
        spread.sort_unstable();
        assert_eq!(spread, [3, 3, 4]);
        assert_eq!(accounts(&one_account(&attempts)), [6]);
    }
}
