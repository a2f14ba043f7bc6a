//! One plain sentence for each group: the facts that moved the score most, and by how much they move the odds.

use super::evidence::Evidence;
use super::phrase::{Phrase, phrase};
use crate::detection::features::Group;
use crate::numeric;

/// A second fact is said if it counts at least this much of the first.
const SECOND: f64 = 0.25;
/// Odds that change by less than 5 % are called unchanged.
const UNCHANGED: f64 = 0.05;
/// Above this a number of odds says nothing more.
const ODDS_MAX: f64 = 1e6;

/// A feature of a group, and how much the logit changes by its value alone.
pub(super) struct Effect<'a> {
    pub(super) name: &'a str,
    pub(super) logit: f64,
}

/// The sentence for a group whose part of the logit is `logit`: the one or two facts that pull the same way most.
pub(super) fn sentence(group: Group, logit: f64, mut effects: Vec<Effect<'_>>, all: &Evidence) -> String {
    let way = logit.signum();
    effects.retain(|effect| effect.logit * way > 0.0);
    // Stable: of equal ones the first of the schema.
    effects.sort_by(|a, b| (b.logit * way).total_cmp(&(a.logit * way)));
    let mut facts: Vec<(Phrase<'_>, f64)> = Vec::new();
    for effect in &effects {
        let strength = effect.logit * way;
        let said = all.get(effect.name).and_then(|value| phrase(effect.name, value, all));
        let Some(said) = said else { continue };
        match facts.first() {
            None => facts.push((said, strength)),
            Some((first, strongest)) if first.topic != said.topic && strength >= SECOND * strongest => {
                facts.push((said, strength));
                break;
            }
            Some(_) => {}
        }
    }
    let odds = odds(logit);
    match facts.as_slice() {
        // No fact pulls that way alone.
        [] => format!("{} as a whole: odds of attack {odds}", subject(group)),
        [(only, _)] => format!("{}: odds of attack {odds}", only.text),
        [(first, _), (second, _), ..] => format!("{} and {}: odds of attack {odds}", first.text, second.text),
    }
}

/// What would be without the strongest group, as one more sentence. Both are probabilities of attack.
pub(super) fn counterfactual(group: Group, probability: f64, without: f64, block_threshold: f64) -> String {
    let what = subject(group);
    match (probability > block_threshold, without > block_threshold) {
        (true, false) => format!("With {what} as in ordinary logins the attempt would stay below the block threshold"),
        (true, true) => format!("With {what} as in ordinary logins it would still exceed the block threshold"),
        (false, true) => format!("With {what} as in ordinary logins the attempt would exceed the block threshold"),
        (false, false) => format!("With {what} as in ordinary logins it would stay below the block threshold as well"),
    }
}

/// `×18`, `÷2.5`, `unchanged`.
fn odds(logit: f64) -> String {
    let factor = numeric::exp(logit.abs());
    let sign = if logit < 0.0 { '÷' } else { '×' };
    match factor {
        small if small < 1.0 + UNCHANGED => "unchanged".to_owned(),
        small if small < 9.95 => {
            let text = format!("{small:.1}");
            format!("{sign}{}", text.trim_end_matches(".0"))
        }
        large if large < ODDS_MAX => format!("{sign}{large:.0}"),
        _ => format!("{sign} more than a million"),
    }
}

/// What a group is about, for people.
fn subject(group: Group) -> &'static str {
    match group {
        Group::Source => "the address",
        Group::Network => "the network",
        Group::Geo => "the provider and country",
        Group::Familiarity => "what is known of the user",
        Group::AccountUnderAttack => "the failures on the account",
        Group::Password => "the password",
        Group::Global => "the state of the site",
        Group::Protocol => "the client program",
        Group::Time => "the time of day",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::features::FeatureSchema;
    use crate::numeric::ln_1p;

    fn evidence() -> Evidence {
        let schema = FeatureSchema::ext();
        let mut values = vec![0.0; schema.len()];
        for (name, count) in [("source_failures_1h", 12.0), ("source_failures_24h", 40.0), ("source_names_1h", 7.0)] {
            values[schema.index_of(name).expect("a feature")] = ln_1p(count) as f32;
        }
        Evidence::of(&schema, &values)
    }

    fn effects(of: &[(&'static str, f64)]) -> Vec<Effect<'static>> {
        of.iter().map(|(name, logit)| Effect { name, logit: *logit }).collect()
    }

    #[test]
    fn the_two_strongest_facts_on_different_topics_are_said() {
        let of =
            [("source_failures_1h", 2.0), ("source_failures_24h", 1.9), ("source_names_1h", 0.6), ("source_new", 0.4)];

        let text = sentence(Group::Source, 2.89, effects(&of), &evidence());

        assert_eq!(
            text,
            "12 failures from this address in the last hour and 7 different user names tried from this address in the \
             last hour: odds of attack ×18"
        );
    }

    #[test]
    fn facts_that_pull_the_other_way_or_hardly_count_are_not_said() {
        let of = [("source_failures_1h", -2.0), ("source_names_1h", 0.1), ("source_new", 0.6)];

        let for_attack = sentence(Group::Source, 0.5, effects(&of), &evidence());
        let for_user = sentence(Group::Source, -1.1, effects(&of), &evidence());

        assert_eq!(for_attack, "this address was seen before: odds of attack ×1.6");
        assert_eq!(for_user, "12 failures from this address in the last hour: odds of attack ÷3");
    }

    #[test]
    fn a_group_without_a_fact_of_its_own_is_named_as_a_whole() {
        assert_eq!(
            sentence(Group::Time, 0.0, Vec::new(), &evidence()),
            "the time of day as a whole: odds of attack unchanged"
        );
    }

    #[test]
    fn odds_are_said_with_two_digits() {
        for (logit, text) in [
            (0.04, "unchanged"),
            (-0.04, "unchanged"),
            (0.06, "×1.1"),
            (-1.1, "÷3"),
            (2.89, "×18"),
            (-50.0, "÷ more than a million"),
        ] {
            assert_eq!(odds(logit), text);
        }
    }

    #[test]
    fn the_counterfactual_says_on_which_side_of_the_threshold_it_would_be() {
        assert!(
            counterfactual(Group::Network, 0.95, 0.2, 0.9)
                .contains("the network as in ordinary logins the attempt would stay below")
        );
        assert!(counterfactual(Group::Network, 0.95, 0.92, 0.9).contains("still exceed"));
        assert!(counterfactual(Group::Network, 0.5, 0.92, 0.9).contains("would exceed"));
        assert!(counterfactual(Group::Network, 0.5, 0.9, 0.9).contains("below the block threshold as well"));
    }
}
