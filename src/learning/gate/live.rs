//! What would change for people tomorrow: blocked logins among the last live ones, jumps of the score, drifted traffic.
//!
//! A jump or a drift is not an error in itself. It asks for a person, and only where the operator wants to be asked;
//! an alarm of drift always does.

use super::super::drift::{Drift, Level};
use super::{Challenge, Criterion, Status, failed_if};

/// Most live decisions that are looked at: the last ones.
pub const LIVE_MAX: usize = 10_000;
/// Share of harmless live decisions that may become `block`. A block rate that rises by two points at once is an outage for
/// somebody, or a challenger that has learnt something false.
const FLIPS_MAX: f64 = 0.02;
/// Fewer live decisions say nothing: one of fifty would already be the limit.
const LIVE_MIN: u64 = 200;
/// Mean distance between the logits of both models beyond which they are not versions of one another: a factor of seven
/// in the odds of every attempt.
const LOGIT_SHIFT_MAX: f64 = 2.0;

/// What the challenger would do with the last live attempts, which are at most [`LIVE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flips {
    /// How many of them are harmless, as far as is known: to block one of these harms somebody.
    pub decisions: u64,
    /// How many of these the challenger would block and the champion would not.
    pub to_block: u64,
    /// How many of the others, known attacks included. They are told and never held against a challenger.
    pub others: u64,
}

/// The share of harmless live decisions that would become `block`. Measured only against a champion that blocks itself: from a
/// model that cannot block, every attack that is going on is a flip.
pub(super) fn flips(challenge: &Challenge<'_>) -> Criterion {
    const NAME: &str = "live_flips";
    let blocks = challenge.champion.is_some_and(|champion| champion.thresholds.block.is_some());
    let Some(Flips { decisions, to_block, others }) = challenge.live.filter(|flips| flips.decisions >= LIVE_MIN) else {
        return Criterion::not_measured(NAME, format!("fewer than {LIVE_MIN} harmless live attempts can be scored"));
    };
    if !blocks || challenge.challenger.thresholds.block.is_none() {
        return Criterion::not_measured(NAME, "only one of the models, or none, has a block threshold");
    }
    let share = to_block as f64 / decisions as f64;
    let sentence = format!(
        "of the last {decisions} harmless live attempts {to_block} would be blocked that are not now, and {others} attacks and \
         failures of strangers"
    );
    Criterion::measured(NAME, failed_if(share > FLIPS_MAX), share, FLIPS_MAX, sentence)
}

/// The mean distance between both logits on the held-out rows, by weight.
pub(super) fn logit_shift(challenge: &Challenge<'_>) -> Criterion {
    const NAME: &str = "logit_shift";
    let (mut sum, mut total) = (0.0, 0.0);
    for row in challenge.hold_out {
        if let Some(champion) = row.champion {
            sum += row.weight * (row.challenger - champion).abs();
            total += row.weight;
        }
    }
    if total <= 0.0 {
        return Criterion::not_measured(NAME, "there is no current model to compare with");
    }
    let shift = sum / total;
    let sentence = format!("the logits of the held-out rows move by {shift:.2} on average");
    let status = if shift <= LOGIT_SHIFT_MAX { Status::Passed } else { wants_a_person(challenge) };
    Criterion::measured(NAME, status, shift, LOGIT_SHIFT_MAX, sentence)
}

/// How far today's traffic is from what the champion was trained on: a warning is noted, an alarm wants a person even
/// where promotion is automatic, because what is learnt in such a time may be what an attacker wants to be learnt.
pub(super) fn drift(challenge: &Challenge<'_>) -> Criterion {
    const NAME: &str = "drift";
    let Some((drift, measured)) = challenge.drift.and_then(|drift| Some((drift, drift.largest()?))) else {
        return Criterion::not_measured(NAME, "there is not enough traffic to compare with that of the last training");
    };
    let (status, limit) = match drift.level() {
        Level::Stable => (Status::Passed, Drift::WARNING),
        Level::Warning => (Status::Noted, Drift::WARNING),
        Level::Alarm if challenge.options.approved => (Status::Noted, Drift::ALARM),
        Level::Alarm => (Status::NeedsApproval, Drift::ALARM),
    };
    let alarm = if drift.level() == Level::Alarm { "an alarm: " } else { "" };
    Criterion::measured(NAME, status, measured.psi, limit, format!("{alarm}{}", drift.sentence()))
}

fn wants_a_person(challenge: &Challenge<'_>) -> Status {
    if challenge.options.automatic || challenge.options.approved { Status::Noted } else { Status::NeedsApproval }
}
