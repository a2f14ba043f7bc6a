//! Canaries: does the challenger still see attacks that are always the same, and leave honest mistakes alone?
//!
//! A hold-out only has what happened lately. A model that has forgotten a kind of attack, or has learnt to hate stale
//! devices, shows it here. The measured case: ten empty feedback items raised the share of blocked stale clients from
//! 6 to 20 %, while recall on the hold-out fell by a single point. Where canaries come from is not known here.

use super::super::threshold::Thresholds;
use super::{Challenge, Criterion, OperatingPoint, Status, failed_if};

/// An attack scenario may lose this much of its flagged share against the champion, and a legitimate one may gain this
/// much. Measured between seeds of the same training: up to 0.23 lost, and mostly up to 0.10 gained. The measured
/// poisoning gained 0.14.
const LOSS_MAX: f64 = 0.3;
const RISE_MAX: f64 = 0.12;
/// A change of fewer attempts than this is none: canaries are small.
const CHANGED_MIN: f64 = 3.0;
/// Without a champion: mean flagged share of the attack scenarios below which it is noted that the model sees little (a
/// young site cannot have met them all, and six features cannot tell them), and that the legitimate ones may have. Measured for first models: 0.2 to 0.9 of the attacks; nothing to 0.55 of the mistakes, the latter with labels
/// from outcomes alone, which take every failure for an attack.
const DETECTION_FLOOR: f64 = 0.05;
const ALARM_CEILING: f64 = 0.75;
/// Stands in for a missing threshold: more likely an attack than not.
const EVEN: f64 = 0.5;

/// One scenario to play to a model: the same snapshots every time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Canary {
    /// The scenario, for people.
    pub name: String,
    /// Whether its attempts are attacks.
    pub attack: bool,
    /// What is scored, in the schema that the models take.
    pub snapshots: Vec<Vec<f32>>,
    /// The same attempts at a site that tells no passwords.
    pub without_passwords: Vec<Vec<f32>>,
}

/// What both models say about one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryResult {
    /// The scenario, for people.
    pub name: String,
    /// Whether its attempts are attacks.
    pub attack: bool,
    /// How many attempts there are.
    pub attempts: u64,
    /// How many of them the challenger flags.
    pub challenger: u64,
    /// How many of them the champion flags; `None` without a champion, or with one of another schema.
    pub champion: Option<u64>,
    /// How many of them the challenger would flag at the champion's threshold.
    pub at_champions: Option<u64>,
}

/// The probabilities above which an attempt of a canary counts as flagged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::learning) struct Cuts {
    pub(in crate::learning) challenger: f64,
    pub(in crate::learning) champion: f64,
}

impl Cuts {
    /// The strictest kind of threshold that all models have, so that a model without a block threshold is compared fairly
    /// with one that has it.
    pub(in crate::learning) fn of(challenger: &Thresholds, champion: Option<&Thresholds>) -> Self {
        let champion = champion.unwrap_or(challenger);
        for kind in [|thresholds: &Thresholds| thresholds.block, |thresholds: &Thresholds| thresholds.watch] {
            if let (Some(challenger), Some(champion)) = (kind(challenger), kind(champion)) {
                return Self { challenger, champion };
            }
        }
        Self { challenger: EVEN, champion: EVEN }
    }
}

impl CanaryResult {
    /// Scores a canary with both models; the functions give probabilities.
    pub(in crate::learning) fn of(
        canary: &Canary,
        cuts: Cuts,
        challenger: impl Fn(&[f32]) -> f64,
        champion: Option<impl Fn(&[f32]) -> f64>,
    ) -> Self {
        let flagged = |probability: &dyn Fn(&[f32]) -> f64, cut: f64| {
            canary.snapshots.iter().filter(|values| probability(values) > cut).count() as u64
        };
        Self {
            name: canary.name.clone(),
            attack: canary.attack,
            attempts: canary.snapshots.len() as u64,
            challenger: flagged(&challenger, cuts.challenger),
            at_champions: champion.is_some().then(|| flagged(&challenger, cuts.champion)),
            champion: champion.map(|champion| flagged(&champion, cuts.champion)),
        }
    }

    fn share(&self) -> f64 {
        self.challenger as f64 / self.attempts as f64
    }

    /// How much worse the challenger is in the direction that matters, as a share of the attempts; negative if better.
    ///
    /// Each at its own threshold or both at the champion's, whichever is less. Thresholds of two good models differ by as
    /// much as .7 and .95, for each is what its own held-out rows allow; what is lost by that alone is the price of the
    /// budget, and nothing that the challenger has forgotten.
    fn worsening(&self) -> Option<f64> {
        let champion = self.champion?;
        let worse = |challenger: u64| {
            let change = challenger as f64 - champion as f64;
            if self.attack { -change } else { change }
        };
        let least = worse(self.challenger).min(worse(self.at_champions.unwrap_or(self.challenger)));
        Some(least / self.attempts as f64)
    }
}

/// The attack half and the legitimate half.
pub(super) fn judge(challenge: &Challenge<'_>) -> [Criterion; 2] {
    [("canary_attacks", true, LOSS_MAX), ("canary_legit", false, RISE_MAX)]
        .map(|(name, attack, tolerance)| {
            let half: Vec<&CanaryResult> =
                challenge.canaries.iter().filter(|result| result.attack == attack && result.attempts > 0).collect();
            if half.is_empty() {
                return Criterion::not_measured(name, "no canaries were played");
            }
            match challenge.champion {
                Some(_) if half.iter().all(|result| result.champion.is_some()) => {
                    against_champion(name, &half, tolerance)
                }
                _ => alone(name, attack, &half),
            }
        })
        .map(|criterion| match criterion.status {
            // Two models that only watch stop nobody, and those of young sites differ widely from one to the next.
            Status::Failed if nobody_is_blocked(challenge) => Criterion { status: Status::Noted, ..criterion },
            _ => criterion,
        })
}

fn nobody_is_blocked(challenge: &Challenge<'_>) -> bool {
    let blocks = |point: &OperatingPoint| point.thresholds.block.is_some();
    !blocks(&challenge.challenger) && challenge.champion.as_ref().is_some_and(|champion| !blocks(champion))
}

/// Every scenario for itself; the one that got worst is told.
fn against_champion(name: &'static str, half: &[&CanaryResult], tolerance: f64) -> Criterion {
    let worst = half.iter().filter_map(|result| Some((result, result.worsening()?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((result, worsening)) = worst else { return Criterion::not_measured(name, "no canaries were played") };
    let failed: Vec<&str> = half
        .iter()
        .filter(|result| {
            let worsening = result.worsening().unwrap_or(0.0);
            worsening > tolerance && worsening * result.attempts as f64 >= CHANGED_MIN
        })
        .map(|result| result.name.as_str())
        .collect();
    let what = if result.attack { "attack" } else { "legitimate" };
    let (ours, theirs) = (result.challenger, result.champion.unwrap_or(0));
    let mut sentence = format!(
        "of {} attempts of the {what} canary {} it flags {ours}, the current model {theirs}",
        result.attempts, result.name
    );
    if failed.len() > 1 {
        sentence.push_str(&format!("; beyond the tolerance: {}", failed.join(", ")));
    }
    Criterion::measured(name, failed_if(!failed.is_empty()), worsening, tolerance, sentence)
}

/// Without a champion only the half as a whole is judged: which scenarios a first model knows depends on the site.
fn alone(name: &'static str, attack: bool, half: &[&CanaryResult]) -> Criterion {
    let mean = half.iter().map(|result| result.share()).sum::<f64>() / half.len() as f64;
    let what = if attack { "attack" } else { "legitimate" };
    let sentence = format!("it flags {mean:.3} of the attempts of the {what} canaries on average");
    if attack {
        let status = if mean < DETECTION_FLOOR { Status::Noted } else { Status::Passed };
        Criterion::measured(name, status, mean, DETECTION_FLOOR, sentence)
    } else {
        Criterion::measured(name, failed_if(mean > ALARM_CEILING), mean, ALARM_CEILING, sentence)
    }
}
