//! What a caller is told about an attempt, and the one table that decides it.
//!
//! The table is a pure function: it knows neither the model nor the rules, only what they said. A model only adds
//! suspicion; it lifts a rule's verdict only where the operator allowed that.

use serde::{Deserialize, Serialize};

use super::overrides::OverrideKind;

/// The answer, from the mildest to the strongest. It is meant for one client network and one account, never for a whole
/// account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Verdict {
    /// Nothing speaks against it.
    #[default]
    Allow = 0,
    /// Let it through and keep an eye on it.
    Watch = 1,
    /// Ask for more than a password, or slow it down.
    StepUp = 2,
    /// Refuse it.
    Block = 3,
}

impl Verdict {
    /// The byte of the stored form.
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// From the byte of the stored form; `None` for a byte that is never written.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Allow,
            1 => Self::Watch,
            2 => Self::StepUp,
            3 => Self::Block,
            _ => return None,
        })
    }

    /// The word that the outside sees.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Watch => "watch",
            Self::StepUp => "step_up",
            Self::Block => "block",
        }
    }
}

/// Weights with which the model may also lift a rule's verdict (`ml.may_override_rules`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightedRule {
    /// Weight of the static rule (1 if it hit, else 0).
    pub static_weight: f64,
    /// Weight of the model's probability.
    pub ml_weight: f64,
    /// The weighted sum from which an attempt is blocked.
    pub threshold: f64,
}

/// What attack protection asks for one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// The least that it asks for.
    pub verdict: Verdict,
    /// Why, in a few words for people.
    pub reason: &'static str,
}

/// Everything that the verdict depends on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VerdictInput {
    /// What an operator has ordered for this account and network; `None` without an order.
    pub ordered: Option<OverrideKind>,
    /// The client network or the account is on a list of trusted ones.
    pub trusted: bool,
    /// `ml.enabled`.
    pub enabled: bool,
    /// The serving model has been trained on this site.
    pub trained: bool,
    /// The probability comes from the model that is shipped: it has no say.
    pub prior: bool,
    /// The fleet only learns.
    pub learning_mode: bool,
    /// This node only watches.
    pub dry_run: bool,
    /// A rule of the caller has decided that this is brute force.
    pub static_rule_triggered: bool,
    /// Probability of attack, 0–1; `None` when no model serves.
    pub probability: Option<f64>,
    /// The probability above which the model says `block`; `None` makes the model watch only.
    pub block_threshold: Option<f64>,
    /// The probability above which the model says `watch`.
    pub watch_threshold: Option<f64>,
    /// The user is known from this network, and nobody has been guessing there since.
    pub known_good: bool,
    /// What attack protection asks for; `None` where it asks for nothing.
    pub protection: Option<Measure>,
    /// Attack protection lowers the threshold for blocking to this, also that of the weighted sum. It never raises one, and
    /// a model that may only watch still does.
    pub threshold_cap: Option<f64>,
    /// Set when the operator lets the model override rules.
    pub override_rules: Option<WeightedRule>,
}

/// The answer to one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerdictAnswer {
    /// What the caller should do.
    pub verdict: Verdict,
    /// The stronger of what the model and attack protection would have said, whether or not they have a say;
    /// [`Verdict::Allow`] when there is neither. Protection has nothing to say about what is trusted. Where an operator has
    /// ordered something, it is that.
    pub would_be: Verdict,
    /// What the model alone would have said with its own threshold; [`Verdict::Allow`] when there is none.
    pub model: Verdict,
    /// Attack protection had its say: not where static rules alone decide, nor for what is trusted or ordered.
    pub heeds_protection: bool,
    /// The order of an operator that decided; `None` in dry run, and where a static rule stands against a release.
    pub by_order: Option<OverrideKind>,
    /// Why, in a few words for people.
    pub reason: &'static str,
}

/// Decides. The first row that fits wins; see the tests for every one of them.
pub fn decide(input: &VerdictInput) -> VerdictAnswer {
    let model = model_verdict(input, input.block_threshold);
    let capped = model_verdict(input, lowered(input.block_threshold, input.threshold_cap));
    let (verdict, reason, by_order) = obeyed(input, capped);
    let asked = input.protection.filter(|_| !input.trusted).map_or(Verdict::Allow, |measure| measure.verdict);
    let would_be = match input.ordered {
        Some(OverrideKind::Block) => Verdict::Block,
        Some(OverrideKind::Release) => Verdict::Allow,
        None if input.trusted => model,
        None => capped.max(asked),
    };
    let heeds_protection = input.ordered.is_none() && !input.trusted && only_rules_decide(input).is_none();
    VerdictAnswer { verdict, would_be, model, heeds_protection, by_order, reason }
}

/// An operator's order stands above everything but a dry run. A release silences model and protection and lifts no rule.
fn obeyed(input: &VerdictInput, model: Verdict) -> (Verdict, &'static str, Option<OverrideKind>) {
    let Some(kind) = input.ordered.filter(|_| !input.dry_run) else {
        let (verdict, reason) = choose(input, model);
        return (verdict, reason, None);
    };
    match kind {
        OverrideKind::Block => (Verdict::Block, "an operator has blocked this account from this network", Some(kind)),
        OverrideKind::Release if !input.trusted && rule_stands(input) => {
            (Verdict::Block, "a static rule hit, and an operator's release lifts no rule", None)
        }
        OverrideKind::Release => {
            (Verdict::Allow, "an operator has released this account from this network", Some(kind))
        }
    }
}

/// Whether the rule of the caller blocks even if the model has nothing to say against the attempt.
fn rule_stands(input: &VerdictInput) -> bool {
    match (input.override_rules, input.probability) {
        (Some(rule), Some(_)) if only_rules_decide(input).is_none() => {
            weighted(&VerdictInput { threshold_cap: None, ..*input }, rule, 0.0).0 == Verdict::Block
        }
        _ => input.static_rule_triggered,
    }
}

/// A threshold under the cap of attack protection. None stays none: data that support no threshold support no cap either.
pub fn lowered(threshold: Option<f64>, cap: Option<f64>) -> Option<f64> {
    threshold.map(|threshold| cap.map_or(threshold, |cap| threshold.min(cap)))
}

fn choose(input: &VerdictInput, model: Verdict) -> (Verdict, &'static str) {
    if input.trusted {
        return (Verdict::Allow, "trusted network or account");
    }
    if let Some(reason) = only_rules_decide(input) {
        return (static_verdict(input), reason);
    }
    let (verdict, reason) = suspicion(input, model);
    if input.known_good && !input.static_rule_triggered && verdict > Verdict::StepUp {
        return (Verdict::StepUp, "suspicious, but the user is known from this network");
    }
    (verdict, reason)
}

/// Why the model has no say, if so.
fn only_rules_decide(input: &VerdictInput) -> Option<&'static str> {
    if !input.enabled {
        Some("machine learning is disabled: static rules decide")
    } else if input.dry_run && !input.trained && input.prior {
        Some("dry run: static rules decide, the shipped prior model only watches")
    } else if input.dry_run {
        Some("dry run: static rules decide")
    } else if !input.trained && input.prior {
        Some("no trained model: static rules decide, the shipped prior model only watches")
    } else if !input.trained {
        Some("no trained model: static rules decide")
    } else if input.learning_mode {
        Some("learning mode: static rules decide")
    } else {
        None
    }
}

/// The strongest of rule, model and attack protection, or the weighted sum in the place of the first two.
fn suspicion(input: &VerdictInput, model: Verdict) -> (Verdict, &'static str) {
    let (verdict, reason) = match (input.override_rules, input.probability) {
        // Without a probability there is nothing that could outweigh a rule: it stands.
        (Some(rule), Some(probability)) => weighted(input, rule, probability),
        _ if input.static_rule_triggered => (Verdict::Block, "a static rule hit"),
        _ => (model, model_reason(model, input.probability, input.block_threshold.or(input.watch_threshold).is_some())),
    };
    match input.protection {
        Some(measure) if measure.verdict > verdict => (measure.verdict, measure.reason),
        _ => (verdict, reason),
    }
}

fn weighted(input: &VerdictInput, rule: WeightedRule, probability: f64) -> (Verdict, &'static str) {
    let hit = if input.static_rule_triggered { 1.0 } else { 0.0 };
    let threshold = input.threshold_cap.map_or(rule.threshold, |cap| rule.threshold.min(cap));
    if rule.static_weight * hit + rule.ml_weight * probability >= threshold {
        (Verdict::Block, "the weighted sum of rule and model reaches the threshold")
    } else {
        (Verdict::Allow, "the weighted sum of rule and model stays below the threshold")
    }
}

fn static_verdict(input: &VerdictInput) -> Verdict {
    if input.static_rule_triggered { Verdict::Block } else { Verdict::Allow }
}

/// The model's own verdict. A probability that is not a number exceeds nothing.
fn model_verdict(input: &VerdictInput, block_threshold: Option<f64>) -> Verdict {
    let exceeds = |threshold: Option<f64>| match (input.probability, threshold) {
        (Some(probability), Some(threshold)) => probability > threshold,
        _ => false,
    };
    if exceeds(block_threshold) {
        Verdict::Block
    } else if exceeds(input.watch_threshold) {
        Verdict::Watch
    } else {
        Verdict::Allow
    }
}

fn model_reason(model: Verdict, probability: Option<f64>, has_threshold: bool) -> &'static str {
    match (model, probability) {
        (Verdict::Allow, None) => "no model serves and no rule hit",
        (Verdict::Allow, Some(_)) if !has_threshold => "the model has no threshold yet: its data support none",
        (Verdict::Allow, Some(_)) => "the probability of attack is low",
        (Verdict::Watch | Verdict::StepUp, _) => "the probability of attack exceeds the watch threshold",
        (Verdict::Block, _) => "the probability of attack exceeds the block threshold",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trained model in charge, with thresholds at .5 and .9.
    fn serving(probability: f64) -> VerdictInput {
        VerdictInput {
            enabled: true,
            trained: true,
            probability: Some(probability),
            block_threshold: Some(0.9),
            watch_threshold: Some(0.5),
            ..VerdictInput::default()
        }
    }

    const fn asks(verdict: Verdict) -> Option<Measure> {
        Some(Measure { verdict, reason: "an attack" })
    }

    fn verdict(input: VerdictInput) -> Verdict {
        decide(&input).verdict
    }

    const fn ordered(kind: OverrideKind, input: VerdictInput) -> VerdictInput {
        VerdictInput { ordered: Some(kind), ..input }
    }

    #[test]
    fn a_block_by_an_operator_stands_above_everything_but_a_dry_run() {
        for row in [
            serving(0.0),
            VerdictInput { learning_mode: true, ..serving(0.0) },
            VerdictInput { enabled: false, ..serving(0.0) },
            VerdictInput { trained: false, probability: None, ..serving(0.0) },
            VerdictInput { known_good: true, ..serving(0.0) },
            VerdictInput { trusted: true, ..serving(0.0) },
        ] {
            let answer = decide(&ordered(OverrideKind::Block, row));
            assert_eq!((answer.verdict, answer.would_be), (Verdict::Block, Verdict::Block), "{row:?}");
            assert_eq!((answer.by_order, answer.model), (Some(OverrideKind::Block), Verdict::Allow), "{row:?}");
            assert!(answer.reason.contains("operator has blocked") && !answer.heeds_protection, "{}", answer.reason);
        }
        let dry = decide(&ordered(OverrideKind::Block, VerdictInput { dry_run: true, ..serving(0.0) }));
        assert_eq!((dry.verdict, dry.would_be, dry.by_order), (Verdict::Allow, Verdict::Block, None));
    }

    #[test]
    fn a_dry_run_names_the_prior_that_gave_the_probability() {
        let dry = VerdictInput { dry_run: true, ..serving(0.6) };
        let reason = |input| decide(&input).reason;

        assert_eq!(reason(dry), "dry run: static rules decide");
        let prior = reason(VerdictInput { trained: false, prior: true, ..dry });
        assert_eq!(prior, "dry run: static rules decide, the shipped prior model only watches");
    }

    #[test]
    fn a_release_silences_model_and_protection_and_lifts_no_rule() {
        let protection = asks(Verdict::Block);
        for row in [
            serving(1.0),
            VerdictInput { protection, ..serving(0.0) },
            VerdictInput { protection: asks(Verdict::StepUp), ..serving(0.0) },
            VerdictInput { threshold_cap: Some(0.1), ..serving(0.6) },
            VerdictInput { protection, learning_mode: true, ..serving(1.0) },
        ] {
            let released = decide(&ordered(OverrideKind::Release, row));
            assert_eq!((released.verdict, released.would_be), (Verdict::Allow, Verdict::Allow), "{row:?}");
            assert_eq!((released.by_order, released.heeds_protection), (Some(OverrideKind::Release), false), "{row:?}");

            let hit = decide(&ordered(OverrideKind::Release, VerdictInput { static_rule_triggered: true, ..row }));
            assert_eq!((hit.verdict, hit.by_order), (Verdict::Block, None), "{row:?}");
            assert!(hit.reason.contains("lifts no rule"), "{}", hit.reason);
        }
        assert_eq!(
            decide(&ordered(OverrideKind::Release, serving(1.0))).model,
            Verdict::Block,
            "its own word is known"
        );
    }

    #[test]
    fn a_release_is_never_worse_than_no_release() {
        let weak = WeightedRule { static_weight: 0.4, ml_weight: 0.6, threshold: 0.7 };
        let strong = WeightedRule { static_weight: 0.8, ..weak };
        for (rule, p, without, with) in [
            (weak, 0.1, Verdict::Allow, Verdict::Allow),
            (weak, 0.9, Verdict::Block, Verdict::Allow),
            (strong, 0.0, Verdict::Block, Verdict::Block),
        ] {
            let input = VerdictInput { override_rules: Some(rule), static_rule_triggered: true, ..serving(p) };
            let released = decide(&ordered(OverrideKind::Release, input));
            assert_eq!((verdict(input), released.verdict), (without, with), "{rule:?} {p}");
        }
        let trusted = VerdictInput { trusted: true, static_rule_triggered: true, ..serving(1.0) };
        assert_eq!(verdict(ordered(OverrideKind::Release, trusted)), Verdict::Allow);
    }

    #[test]
    fn trusted_is_allowed_whatever_else_is_said() {
        let input = VerdictInput {
            trusted: true,
            static_rule_triggered: true,
            protection: asks(Verdict::Block),
            ..serving(1.0)
        };

        let answer = decide(&input);

        assert_eq!((answer.verdict, answer.would_be), (Verdict::Allow, Verdict::Block));
    }

    #[test]
    fn where_the_model_has_no_say_the_static_rule_decides_and_would_be_is_still_answered() {
        let rows = [
            VerdictInput { enabled: false, ..serving(1.0) },
            VerdictInput { trained: false, ..serving(1.0) },
            VerdictInput { trained: false, prior: true, ..serving(1.0) },
            VerdictInput { learning_mode: true, ..serving(1.0) },
            VerdictInput { dry_run: true, ..serving(1.0) },
        ];
        for row in rows {
            let row = VerdictInput { protection: asks(Verdict::Block), ..row };
            let quiet = decide(&row);
            let hit = decide(&VerdictInput { static_rule_triggered: true, known_good: true, ..row });

            assert_eq!((quiet.verdict, quiet.would_be), (Verdict::Allow, Verdict::Block), "{row:?}");
            assert_eq!((hit.verdict, hit.would_be), (Verdict::Block, Verdict::Block), "{row:?}");
        }
    }

    #[test]
    fn protection_shows_in_would_be_where_it_has_no_say_and_never_for_trusted() {
        for row in [
            VerdictInput { enabled: false, ..serving(0.0) },
            VerdictInput { trained: false, probability: None, ..serving(0.0) },
            VerdictInput { learning_mode: true, ..serving(0.0) },
            VerdictInput { dry_run: true, ..serving(0.0) },
        ] {
            let answer = decide(&VerdictInput { protection: asks(Verdict::StepUp), ..row });
            assert_eq!((answer.verdict, answer.would_be), (Verdict::Allow, Verdict::StepUp), "{row:?}");
            assert!(!answer.heeds_protection && !answer.reason.contains("attack"), "{answer:?}");
        }
        let trusted = VerdictInput { trusted: true, protection: asks(Verdict::Block), ..serving(0.0) };
        let answer = decide(&trusted);
        assert_eq!((answer.verdict, answer.would_be, answer.heeds_protection), (Verdict::Allow, Verdict::Allow, false));
    }

    #[test]
    fn what_protection_asks_for_is_answered_with_its_reason() {
        let asked = VerdictInput { protection: asks(Verdict::StepUp), ..serving(0.0) };
        let answer = decide(&asked);
        assert_eq!((answer.verdict, answer.reason, answer.heeds_protection), (Verdict::StepUp, "an attack", true));

        let ruled = decide(&VerdictInput { static_rule_triggered: true, ..asked });
        assert_eq!((ruled.verdict, ruled.reason), (Verdict::Block, "a static rule hit"), "the stronger one");
    }

    #[test]
    fn a_cap_lowers_the_threshold_never_raises_one_and_makes_none() {
        let capped = |cap, input| decide(&VerdictInput { threshold_cap: Some(cap), ..input });
        assert_eq!(capped(0.5, serving(0.6)).verdict, Verdict::Block);
        assert_eq!(capped(0.5, serving(0.5)).verdict, Verdict::Allow, "it must be exceeded, too");
        assert_eq!(capped(0.95, serving(0.91)).verdict, Verdict::Block, "above the own threshold");
        let watching = VerdictInput { block_threshold: None, ..serving(1.0) };
        assert_eq!(capped(0.5, watching).verdict, Verdict::Watch, "a model without a threshold only watches");
        let rule = WeightedRule { static_weight: 0.4, ml_weight: 0.6, threshold: 0.7 };
        let weighted = VerdictInput { static_rule_triggered: true, override_rules: Some(rule), ..serving(0.2) };
        assert_eq!([capped(0.5, weighted).verdict, verdict(weighted)], [Verdict::Block, Verdict::Allow]);

        let answer = capped(0.5, serving(0.6));
        assert_eq!(
            (answer.model, answer.would_be),
            (Verdict::Watch, Verdict::Block),
            "the model's own word stays known"
        );
    }

    #[test]
    fn without_a_model_would_be_is_allow() {
        let answer = decide(&VerdictInput { trained: false, probability: None, ..serving(1.0) });

        assert_eq!((answer.verdict, answer.would_be), (Verdict::Allow, Verdict::Allow));
    }

    #[test]
    fn a_probability_must_exceed_the_threshold_not_only_reach_it() {
        assert_eq!(verdict(serving(0.5)), Verdict::Allow);
        assert_eq!(verdict(serving(0.51)), Verdict::Watch);
        assert_eq!(verdict(serving(0.9)), Verdict::Watch);
        assert_eq!(verdict(serving(0.91)), Verdict::Block);
        assert_eq!(verdict(serving(f64::NAN)), Verdict::Allow);
    }

    #[test]
    fn a_threshold_that_the_data_cannot_support_makes_the_model_watch_only() {
        assert_eq!(verdict(VerdictInput { block_threshold: None, ..serving(1.0) }), Verdict::Watch);
    }

    #[test]
    fn d2_the_strongest_of_rule_model_and_protection_wins() {
        assert_eq!(verdict(VerdictInput { static_rule_triggered: true, ..serving(0.0) }), Verdict::Block);
        assert_eq!(verdict(VerdictInput { protection: asks(Verdict::StepUp), ..serving(0.6) }), Verdict::StepUp);
        assert_eq!(verdict(VerdictInput { protection: asks(Verdict::StepUp), ..serving(0.95) }), Verdict::Block);
        assert_eq!(verdict(VerdictInput { protection: asks(Verdict::Allow), ..serving(0.6) }), Verdict::Watch);
    }

    #[test]
    fn a_known_good_user_and_network_is_stepped_up_at_most() {
        assert_eq!(verdict(VerdictInput { known_good: true, ..serving(1.0) }), Verdict::StepUp);
        assert_eq!(verdict(VerdictInput { known_good: true, ..serving(0.6) }), Verdict::Watch);
        let protected = VerdictInput { known_good: true, protection: asks(Verdict::Block), ..serving(0.0) };
        assert_eq!(verdict(protected), Verdict::StepUp);
    }

    #[test]
    fn a_static_rule_blocks_known_good_too() {
        let input = VerdictInput { known_good: true, static_rule_triggered: true, ..serving(0.0) };

        assert_eq!(verdict(input), Verdict::Block);
    }

    #[test]
    fn overriding_follows_the_weighted_sum() {
        let rule = WeightedRule { static_weight: 0.4, ml_weight: 0.6, threshold: 0.7 };
        let weighted = |static_rule_triggered, probability| {
            let input = VerdictInput { static_rule_triggered, override_rules: Some(rule), ..serving(probability) };
            verdict(input)
        };

        assert_eq!(weighted(true, 0.1), Verdict::Allow);
        assert_eq!(weighted(true, 0.6), Verdict::Block);
        assert_eq!(weighted(false, 1.0), Verdict::Allow);
        assert_eq!(weighted(false, 0.0), Verdict::Allow);
    }

    #[test]
    fn the_weighted_sum_blocks_when_it_exactly_reaches_the_threshold() {
        let rule = WeightedRule { static_weight: 0.5, ml_weight: 0.5, threshold: 0.75 };
        let input = VerdictInput { static_rule_triggered: true, override_rules: Some(rule), ..serving(0.5) };

        assert_eq!(verdict(input), Verdict::Block);
    }

    #[test]
    fn without_a_probability_nothing_overrides_a_rule() {
        let rule = WeightedRule { static_weight: 0.4, ml_weight: 0.6, threshold: 0.7 };
        let input =
            VerdictInput { static_rule_triggered: true, override_rules: Some(rule), probability: None, ..serving(0.0) };

        assert_eq!(verdict(input), Verdict::Block);
    }

    #[test]
    fn the_stored_byte_and_the_word_lead_back_to_the_verdict() {
        for verdict in [Verdict::Allow, Verdict::Watch, Verdict::StepUp, Verdict::Block] {
            let word = serde_json::to_string(&verdict).unwrap();

            assert_eq!(Verdict::from_byte(verdict.to_byte()), Some(verdict));
            assert_eq!(word, format!("\"{}\"", verdict.as_str()));
            assert_eq!(serde_json::from_str::<Verdict>(&word).unwrap(), verdict);
        }
        assert_eq!(Verdict::from_byte(4), None);
    }
}
