//! What ten items of feedback do: right ones about an honest habit that the model has never seen, and wrong ones.
//!
//! The honest failures of three habits are taken out of what is trained on. People complain in the first two fifths of
//! the time after; the rest of it is measured. Nothing but right words, and the attempts that they are about, is new to the
//! training that follows them, so that nothing else can have helped. With all other cases, and with the same words once more,
//! the training has, as a daemon's has, the attempts of the days in which people spoke: what they say meets what hindsight
//! knows of the same days.

mod cases;
mod rates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use self::cases::{Case, HOLE, cases};
use self::rates::Rates;
use super::super::evaluate::{self, Labels, weak_labels};
use super::super::failure::Failure;
use super::super::offline::Player;
use super::super::render;
use super::{Setting, Traffic};
use crate::daemon::chain;
use crate::detection::attempt::Outcome;
use crate::detection::event::Snapshot;
use crate::detection::features::FeatureSchema;
use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::artifact::ModelArtifact;
use crate::learning::gate::{Canary, Judgement};
use crate::learning::hindsight::{HindsightIndex, HindsightLabels};
use crate::learning::labels::{KnownLabels, LabelPolicy, OutcomeLabels};
use crate::learning::run::{self, Material, RunOutcome};
use crate::learning::sample::Sample;
use crate::traffic::{self, Habit};

/// Share of the time after in which people complain.
const COMPLAINTS: f64 = 0.4;
/// What wrong words that count may cost in recall or false positives, compared with the same training without them.
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
    let before = Policies::of(&index, &traffic.before);
    let policy = before.chosen(setting.args.labels);
    let canaries = traffic::canaries(setting.schema);
    let with_hole = Base::train(setting, with_hole, policy, &canaries)?;
    let mut whole = Base::train(setting, whole, policy, &canaries)?;
    let spoken_in = complaints.iter().filter_map(|attempt| evaluate::sample(attempt.record, attempt.snapshot.clone()));
    let spoken_in: Vec<(f64, Sample)> = spoken_in.collect();
    let mut hole_lived = with_hole.clone();
    hole_lived.samples.extend(spoken_in.iter().cloned());
    whole.samples.extend(spoken_in);
    let lived: Vec<CheckedRecord> = traffic.before.iter().chain(&traffic.after[..complaints.len()]).cloned().collect();
    let lived_index = weak_labels::index(&lived);
    let lived = Policies::of(&lived_index, &lived);
    let cases = cases(complaints, &with_hole.model, &whole.model, seed);
    let mut results = Vec::with_capacity(cases.len());
    // What the same training makes of the same attempts if nobody says anything.
    let mut silent: Option<Rates> = None;
    // Trainings in which nobody says anything: of one base, the same for every habit.
    let mut unspoken: BTreeMap<(bool, bool), Successor> = BTreeMap::new();
    for case in &cases {
        let policy = if case.lived { lived.chosen(setting.args.labels) } else { policy };
        let base = match (case.hole, case.lived) {
            (true, false) => &with_hole,
            (true, true) => &hole_lived,
            (false, _) => &whole,
        };
        let known = unspoken.get(&(case.hole, case.lived)).filter(|_| case.items.is_empty());
        let successor = match known {
            Some(known) => known.clone(),
            None if case.lived => base.retrain(setting, case, policy, &canaries)?,
            None => {
                let told = untold(case.of_told(complaints), policy, setting.schema);
                base.with(told).retrain(setting, case, policy, &canaries)?
            }
        };
        let (rates, mut result) = base.measure(&successor, case, later, silent.as_ref());
        if case.hole {
            // What words can come to: nine days of labels say no more.
            result["knowing"] = Rates::of(&whole.model, later, case.habit, &BTreeSet::new()).to_json();
        }
        if case.items.is_empty() {
            silent = silent.or_else(|| (!case.hole).then_some(rates));
            unspoken.insert((case.hole, case.lived), successor);
        }
        results.push(result);
    }
    Ok(json!({ "experiment": "feedback", "cases": results }))
}

/// Those of which nothing but words can say what they were.
fn untold<'a>(
    attempts: impl Iterator<Item = &'a Attempt<'a>>,
    policy: &dyn LabelPolicy,
    schema: &FeatureSchema,
) -> Vec<(f64, Sample)> {
    let samples = attempts.filter_map(|attempt| evaluate::sample(attempt.record, attempt.snapshot.clone()));
    samples.filter(|(_, sample)| policy.label(sample, schema).is_none()).collect()
}

/// What is known of some attempts at the time of the last of them.
struct Policies<'a> {
    hindsight: HindsightLabels<'a>,
    truth: KnownLabels,
}

impl<'a> Policies<'a> {
    fn of(index: &'a HindsightIndex, records: &[CheckedRecord]) -> Self {
        Self { hindsight: weak_labels::labels(index), truth: evaluate::known_labels(records) }
    }

    fn chosen(&self, labels: Labels) -> &dyn LabelPolicy {
        match labels {
            Labels::Hindsight => &self.hindsight,
            Labels::Oracle => &self.truth,
            Labels::Outcome => &OutcomeLabels,
        }
    }
}

/// What a training made of a base, whether the gate lets it pass or not.
#[derive(Clone)]
struct Successor {
    model: ModelArtifact,
    judgement: Judgement,
    refused: Option<String>,
}

/// A model, and what it was trained on, or what the next one will be.
#[derive(Clone)]
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

    /// The same with more samples.
    fn with(&self, more: Vec<(f64, Sample)>) -> Self {
        Self { samples: [self.samples.clone(), more].concat(), model: self.model.clone() }
    }

    /// The training that follows the feedback, judged against this model.
    fn retrain(
        &self,
        setting: &Setting<'_>,
        case: &Case<'_>,
        policy: &dyn LabelPolicy,
        canaries: &[Canary],
    ) -> Result<Successor, Failure> {
        let feedback = case.items.iter().enumerate().map(|(number, attempt)| case.said(number, attempt)).collect();
        let material = Material { samples: self.samples.clone(), feedback, canaries: canaries.to_vec() };
        let options = setting.options(setting.config.training.feedback_epochs);
        let never = AtomicBool::new(false);
        let outcome = run::run(material, policy, setting.schema, &options, Some(&self.model), &never, &mut |_| {});
        match outcome {
            Ok(RunOutcome::Promoted(trained)) => {
                Ok(Successor { model: trained.artifact, judgement: trained.judgement, refused: None })
            }
            Ok(RunOutcome::Refused { reason, challenger, judgement, .. }) => {
                Ok(Successor { model: *challenger, judgement: *judgement, refused: Some(reason) })
            }
            Ok(RunOutcome::NotEnoughData { reason }) => Err(Failure::data(reason)),
            Err(error) => Err(Failure::data(chain(&error))),
        }
    }

    /// What became of it, beside this model, and beside the same training without words if that is known.
    fn measure(
        &self,
        successor: &Successor,
        case: &Case<'_>,
        later: &[Attempt<'_>],
        silent: Option<&Rates>,
    ) -> (Rates, Value) {
        let Successor { model: challenger, judgement, refused } = successor;
        let told: BTreeSet<_> = case.items.iter().map(|attempt| attempt.record.attempt.user.0).collect();
        let rates = |model: &ModelArtifact| Rates::of(model, later, case.habit, &told);
        let (before, after) = (rates(&self.model), rates(challenger));
        let counted = challenger.training.counts.feedback;
        let cost = silent.and_then(|silent| silent.cost(&after)).filter(|_| case.wrong);
        let harmful = cost.map(|cost| counted > 0 && cost > COST_MAX);
        let result = json!({
            "case": case.name,
            "items": case.items.len(),
            "counted": counted,
            "promoted": refused.is_none(),
            "refused": refused,
            "before": before.to_json(),
            "after": after.to_json(),
            "cost": cost,
            "harmful": harmful,
            "gate": judgement,
        });
        (after, result)
    }
}

/// Prints all cases.
pub fn show(report: &Value) {
    let heading = [
        "case",
        "items that count",
        "gate",
        "habit blocked",
        "attempts",
        "accounts",
        "by a model that knows it",
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
        let blocked = |rates: &Value| {
            if rates["watch_only"] == true { "watch only".into() } else { render::text(&rates["recall"]) }
        };
        let gate = if case["promoted"] == true { "promoted".to_owned() } else { render::text(&case["refused"]) };
        table.add_row(vec![
            render::text(&case["case"]),
            format!("{} of {}", render::text(&case["counted"]), render::text(&case["items"])),
            gate,
            change(|rates| &rates["habit"]["blocked"]),
            change(|rates| &rates["habit"]["blocked_attempts"]),
            change(|rates| &rates["habit"]["blocked_accounts"]),
            render::text(&case["knowing"]["habit"]["blocked"]),
            change(|rates| &rates["habit_of_others"]["blocked"]),
            change(|rates| &rates["habit"]["watched"]),
            format!("{} → {}", blocked(&case["before"]), blocked(&case["after"])),
            change(|rates| &rates["realised_fpr"]),
            change(|rates| &rates["recall_at_fpr"]["0.001"]),
        ]);
    }
    out!("{table}");
}

#[cfg(test)]
mod tests;
