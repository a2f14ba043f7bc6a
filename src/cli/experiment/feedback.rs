//! What ten items of feedback do: right ones about an honest habit that the model has never seen, and wrong ones.
//!
//! The honest failures of three habits are taken out of what is trained on. People complain in the first two fifths of
//! the time after; the rest of it is measured. Nothing but the feedback is new to the training that follows, so that nothing
//! else can have helped.

mod cases;
mod rates;

use std::collections::BTreeSet;
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
use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::artifact::ModelArtifact;
use crate::learning::gate::Canary;
use crate::learning::labels::LabelPolicy;
use crate::learning::run::{self, Material, RunOutcome};
use crate::learning::sample::Sample;
use crate::traffic::{self, Habit};

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
        let harmful = before.cost(&after).map(|cost| cost > COST_MAX).filter(|_| case.wrong);
        Ok(json!({
            "case": case.name,
            "items": case.items.len(),
            "counted": challenger.training.counts.feedback,
            "promoted": refused.is_none(),
            "refused": refused,
            "before": before.to_json(),
            "after": after.to_json(),
            "harmful": harmful,
            "gate": judgement,
        }))
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
