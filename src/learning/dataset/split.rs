//! Which rows are trained on and which are held out, and how a draw is weighed.

use super::{NotEnoughData, Row};
use crate::learning::hindsight::LOOK_AHEAD_MS;
use crate::learning::labels::Label;
use crate::numeric::Rng;

/// Share of the time span that is held out.
const HOLD_OUT: f64 = 0.2;
/// Days of settled samples from which on unsettled ones are kept out of all measures: what is labelled within hours is
/// the easy part, and a threshold from it lets too much through.
const SETTLED_DAYS_MIN: i64 = 2;

/// Takes out what has not settled at the time of the newest row, if enough is left before.
pub(super) fn split_fresh(rows: &mut Vec<Row>) -> Vec<Row> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Vec::new() };
    let settled = last.ts.plus_millis(-LOOK_AHEAD_MS);
    if first.ts > settled.plus_millis(-SETTLED_DAYS_MIN * LOOK_AHEAD_MS) {
        return Vec::new();
    }
    let at = rows.partition_point(|row| row.ts <= settled);
    rows.split_off(at)
}

pub(super) fn check_classes<'a>(rows: impl Iterator<Item = &'a Row>) -> Result<(), NotEnoughData> {
    let (mut attacks, mut have) = (0, 0);
    for row in rows {
        have += 1;
        attacks += usize::from(row.label == Label::Attack);
    }
    match attacks {
        _ if have == 0 => Err(NotEnoughData::TooFew { have }),
        0 => Err(NotEnoughData::OneClass { have, which: "legitimate" }),
        attacks if attacks == have => Err(NotEnoughData::OneClass { have, which: "attacks" }),
        _ => Ok(()),
    }
}

/// The last fifth of the rows (by time) is held out, but never so much that training has too little or only one class. Where
/// no attack was seen in that time, the last fifth of the attacks as well.
pub(super) fn split_by_time(rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let mut at = rows.len() - (rows.len() as f64 * HOLD_OUT) as usize;
    // Rows of one instant stay together.
    while at > 0 && at < rows.len() && rows[at - 1].ts == rows[at].ts {
        at += 1;
    }
    let both = |rows: &[Row]| {
        rows.iter().any(|row| row.label == Label::Attack) && rows.iter().any(|row| row.label == Label::Legit)
    };
    let mut train = rows;
    let mut hold_out = train.split_off(at);
    if both(&train) {
        if !hold_out.is_empty() && hold_out.iter().all(|row| row.label == Label::Legit) {
            hold_out.extend(take_last_attacks(&mut train));
            sort(&mut hold_out);
        }
        return (train, hold_out);
    }
    // A class that appears only in the last fifth: every fifth row is held out instead, which leaks campaigns into the
    // measure but is the only way to learn both classes at all.
    train.extend(hold_out);
    let (mut kept, mut held) = (Vec::new(), Vec::new());
    for (index, row) in train.into_iter().enumerate() {
        if index % 5 == 4 { held.push(row) } else { kept.push(row) }
    }
    if both(&kept) {
        return (kept, held);
    }
    kept.extend(held);
    sort(&mut kept);
    (kept, Vec::new())
}

/// Takes the last fifth of the attacks out of rows in the order of time. After quiet days nothing could be measured
/// otherwise: neither how many attacks a model finds nor what the words of people cost.
fn take_last_attacks(rows: &mut Vec<Row>) -> Vec<Row> {
    let attacks = rows.iter().filter(|row| row.label == Label::Attack).count();
    let kept = attacks - (attacks as f64 * HOLD_OUT) as usize;
    let mut seen = 0;
    let is_late = |row: &mut Row| {
        seen += usize::from(row.label == Label::Attack);
        row.label == Label::Attack && seen > kept
    };
    rows.extract_if(.., is_late).collect()
}

/// At most `max` rows, half of them for each class as far as they go, drawn at random; weights make up for the draw.
pub(super) fn reduce(rows: Vec<Row>, max: usize, seed: u64) -> Vec<Row> {
    if rows.len() <= max {
        return rows;
    }
    let (mut attacks, legit): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.label == Label::Attack);
    // Honest failures are few, and what a model has to tell from attacks; successes are many and all alike.
    let (mut failures, mut successes): (Vec<_>, Vec<_>) = legit.into_iter().partition(|row| row.failed);
    let half = max / 2;
    draw(&mut attacks, half.max(max.saturating_sub(failures.len() + successes.len())), seed, "dataset attacks");
    let legit_max = max - attacks.len().min(max);
    draw(&mut failures, (legit_max / 2).max(legit_max.saturating_sub(successes.len())), seed, "dataset failures");
    draw(&mut successes, legit_max - failures.len().min(legit_max), seed, "dataset successes");
    attacks.extend(failures);
    attacks.extend(successes);
    attacks
}

fn draw(rows: &mut Vec<Row>, max: usize, seed: u64, purpose: &str) {
    if rows.len() <= max {
        return;
    }
    let factor = rows.len() as f64 / max.max(1) as f64;
    Rng::new(seed, purpose).shuffle(rows);
    rows.truncate(max.max(1));
    for row in rows {
        row.weight *= factor;
        row.represents *= factor;
    }
}

pub(super) fn sort(rows: &mut [Row]) {
    rows.sort_by_key(|row| (row.ts, row.request));
}
