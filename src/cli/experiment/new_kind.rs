//! How soon a kind of attack is found that nobody has seen: it begins while the daemon lives, which trains on schedule.
//!
//! For each kind the traffic before is without it. Afterwards it is there with all others, in several campaigns from the
//! first day to the last, and what counts is which share of it is blocked before and after the first training that had a
//! label for it.

use serde_json::{Value, json};

use super::super::evaluate::measure::share;
use super::super::evaluate::{self, Labels, prequential};
use super::super::failure::Failure;
use super::super::offline::Player;
use super::super::render;
use super::{Setting, Traffic, generated};
use crate::detection::attempt::{Outcome, Timestamp};
use crate::detection::event::Snapshot;
use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::hindsight::{HindsightIndex, HindsightLabels, HindsightLimits, LOOK_AHEAD_MS};
use crate::learning::labels::{KnownLabels, Label, LabelPolicy, OutcomeLabels};
use crate::learning::sample::Sample;
use crate::traffic::{self, Scenario, TrafficOptions};

/// Share of the new kind in the traffic, as far as its campaigns are long enough: several of them in five days.
const SHARE: f64 = 0.05;

/// Runs every kind that was asked for on one site.
pub fn run(setting: &Setting<'_>, traffic: &Traffic, seed: u64) -> Result<Value, Failure> {
    let canaries = traffic::canaries(setting.schema);
    let options = setting.options(setting.config.training.epochs);
    let kinds = if setting.args.scenario.is_empty() { Scenario::ALL.to_vec() } else { setting.args.scenario.clone() };
    let mut results = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let before: Vec<CheckedRecord> = traffic.before.iter().filter(|record| !is_of(record, kind)).cloned().collect();
        let after = with_campaigns(setting, traffic, kind, seed)?;
        let truth = evaluate::known_labels(&[before.as_slice(), &after].concat());
        let living = prequential::Setting {
            schema: setting.schema,
            options: &options,
            period_ms: setting.args.period.as_millis() as i64,
            labels: setting.args.labels,
            canaries: &canaries,
            truth: &truth,
        };
        let player = Player::new(setting.config, setting.schema.clone());
        let life = prequential::live(player, &before, &after, &living)?;
        let known = known_at(setting, &before, &after, &life, kind, &truth);
        results.push(measure(&after, &life, &known, kind));
    }
    Ok(json!({ "experiment": "new_kind", "kinds": results }))
}

/// The traffic after, with campaigns of `kind` against the same people all along instead of its own one or two.
fn with_campaigns(
    setting: &Setting<'_>,
    traffic: &Traffic,
    kind: Scenario,
    seed: u64,
) -> Result<Vec<CheckedRecord>, Failure> {
    let options = TrafficOptions {
        seed,
        users: setting.args.users,
        days: setting.args.days,
        scenarios: vec![kind],
        attack_share: SHARE,
        ..TrafficOptions::default()
    };
    let campaigns = generated(&options)?;
    let campaigns = campaigns.into_iter().filter(|record| is_of(record, kind) && record.attempt.ts >= traffic.begin());
    let others = traffic.after.iter().filter(|record| !is_of(record, kind)).cloned();
    let mut after: Vec<CheckedRecord> = others.chain(campaigns).collect();
    after.sort_by_key(|record| (record.attempt.ts, record.attempt.request));
    Ok(after)
}

fn is_of(record: &CheckedRecord, kind: Scenario) -> bool {
    record.truth.label == Some(TrueLabel::Attack) && record.truth.scenario.as_deref() == Some(kind.name())
}

/// For each training how many attempts of the kind it could train on as attacks.
fn known_at(
    setting: &Setting<'_>,
    before: &[CheckedRecord],
    after: &[CheckedRecord],
    life: &prequential::Life,
    kind: Scenario,
    truth: &KnownLabels,
) -> Vec<usize> {
    let mut index = HindsightIndex::new(HindsightLimits::RECORDING);
    let add = |record: &CheckedRecord, index: &mut HindsightIndex| {
        index.record(&record.attempt, record.outcome.unwrap_or(Outcome::Unknown));
    };
    before.iter().for_each(|record| add(record, &mut index));
    // The policies ask for no values.
    let samples: Vec<Sample> = after
        .iter()
        .filter(|record| is_of(record, kind))
        .filter_map(|record| evaluate::sample(record, Snapshot { fingerprint: 0, values: Vec::new() }))
        .map(|(_, sample)| sample)
        .collect();
    let mut told = 0;
    let mut known = Vec::with_capacity(life.trainings.len());
    for training in &life.trainings {
        let until = after.partition_point(|record| record.attempt.ts < training.at);
        after[told..until].iter().for_each(|record| add(record, &mut index));
        told = until;
        let hindsight = HindsightLabels::new(&index, training.at);
        let label = |sample: &&Sample| {
            let labelled = match setting.args.labels {
                Labels::Hindsight => hindsight.label(sample, setting.schema),
                Labels::Oracle => truth.label(sample, setting.schema).filter(|_| settled(sample, training.at)),
                Labels::Outcome => OutcomeLabels.label(sample, setting.schema),
            };
            labelled.is_some_and(|labelled| labelled.label == Label::Attack)
        };
        known.push(samples.iter().filter(|sample| sample.ts < training.at).filter(label).count());
    }
    known
}

fn settled(sample: &Sample, now: Timestamp) -> bool {
    sample.ts.plus_millis(LOOK_AHEAD_MS) <= now
}

/// The recall on some attempts. What came while the model could only watch has none, and is counted beside it.
fn part(flagged: &[Option<bool>]) -> Value {
    let watched = flagged.iter().filter(|flagged| flagged.is_none()).count();
    let recall = share(flagged.iter().copied().filter(Option::is_some));
    json!({ "attempts": flagged.len(), "watch_only": watched, "recall": recall })
}

/// The same for a table.
fn told(part: &Value) -> String {
    let [attempts, watched] = ["attempts", "watch_only"].map(|key| part[key].as_u64().unwrap_or(0));
    match watched {
        0 => format!("{} of {attempts}", render::text(&part["recall"])),
        all if all == attempts => format!("watch only, {attempts}"),
        some => format!("{} of {}; watch only, {some}", render::text(&part["recall"]), attempts - some),
    }
}

fn measure(after: &[CheckedRecord], life: &prequential::Life, known: &[usize], kind: Scenario) -> Value {
    let recall = |from: Option<Timestamp>, to: Option<Timestamp>| {
        let inside = |ts: Timestamp| from.is_none_or(|from| ts >= from) && to.is_none_or(|to| ts < to);
        let rows = after.iter().zip(&life.lived);
        let flagged: Vec<Option<bool>> = rows
            .filter(|(record, _)| is_of(record, kind) && inside(record.attempt.ts))
            .map(|(_, lived)| lived.flagged)
            .collect();
        part(&flagged)
    };
    let first = known.iter().position(|count| *count > 0);
    let at = |place: usize| life.trainings.get(place).map(|training| training.at);
    let learnt = first.and_then(at);
    let nothing = || part(&[]);
    json!({
        "kind": kind.name(),
        "begin": after[0].attempt.ts.to_string(),
        "first_training_with_examples": learnt.map(|at| at.to_string()),
        "examples": first.map(|place| known[place]),
        "refused": first.and_then(|place| life.trainings[place].refused.clone()),
        "before": recall(None, learnt),
        "until_the_next_training": learnt.map_or_else(nothing, |_| recall(learnt, first.and_then(|place| at(place + 1)))),
        "after": learnt.map_or_else(nothing, |_| recall(learnt, None)),
        "trainings": { "promoted": life.promoted, "refused": life.refused.len() },
    })
}

/// Prints all kinds.
pub fn show(report: &Value) {
    let heading = [
        "new kind",
        "first training that knows it",
        "examples",
        "recall before",
        "until the next",
        "from then on",
        "gate",
    ];
    let mut table = render::table(&heading);
    for kind in report["kinds"].as_array().into_iter().flatten() {
        let part = |name: &str| told(&kind[name]);
        table.add_row(vec![
            render::text(&kind["kind"]),
            render::text(&kind["first_training_with_examples"]),
            render::text(&kind["examples"]),
            part("before"),
            part("until_the_next_training"),
            part("after"),
            kind["refused"].as_str().map_or_else(|| "promoted".to_owned(), str::to_owned),
        ]);
    }
    out!("{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_watch_only_model_saw_has_no_recall() {
        assert_eq!(told(&part(&[None; 138])), "watch only, 138");
        assert_eq!(told(&part(&[None, Some(true), Some(false)])), "0.5000 of 2; watch only, 1");
        assert_eq!(told(&part(&[Some(false)])), "0.0000 of 1");
        assert_eq!(part(&[None])["recall"], Value::Null);
    }
}
