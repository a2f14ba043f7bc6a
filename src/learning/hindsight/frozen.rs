//! The label that a sample keeps once hindsight has nothing more to say, because the index forgets and samples stay.
//!
//! Only the rule is stored: its class and weight follow from it, and can then not contradict it. That no rule speaks is
//! stored as well, so that nobody asks again. What a dataset asks in the daemon is [`FrozenLabels`].

use std::collections::BTreeMap;

use super::answer::{HindsightAnswer, HindsightRule, Reason};
use crate::detection::features::FeatureSchema;
use crate::learning::labels::{Label, LabelPolicy, Labelled};
use crate::learning::sample::Sample;

/// What hindsight has said about a sample for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrozenLabel {
    /// This rule labels it.
    Rule(HindsightRule),
    /// It has no label, for this reason.
    Nothing(Reason),
}

impl FrozenLabel {
    /// The label with its weight; `None` when it teaches nothing.
    pub const fn labelled(self) -> Option<Labelled> {
        match self {
            Self::Rule(rule) => Some(rule.labelled()),
            Self::Nothing(_) => None,
        }
    }
}

impl From<HindsightAnswer> for FrozenLabel {
    fn from(answer: HindsightAnswer) -> Self {
        match answer {
            HindsightAnswer::Label(_, rule) => Self::Rule(rule),
            HindsightAnswer::Unknown(reason) => Self::Nothing(reason),
        }
    }
}

/// The policy of the daemon: what the sample itself says. A sample that nobody has asked hindsight about is unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct FrozenLabels;

impl LabelPolicy for FrozenLabels {
    fn label(&self, sample: &Sample, _: &FeatureSchema) -> Option<Labelled> {
        sample.label.and_then(FrozenLabel::labelled)
    }
}

/// How many samples each rule labels, and how many have no label for which reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelCounts {
    rules: BTreeMap<HindsightRule, u64>,
    /// By reason: samples, and the failed attempts among them.
    unknown: BTreeMap<Reason, (u64, u64)>,
}

impl LabelCounts {
    /// Counts one sample; what says nothing about itself counts as unsettled.
    pub fn count(&mut self, sample: &Sample) {
        match sample.label.unwrap_or(FrozenLabel::Nothing(Reason::Unsettled)) {
            FrozenLabel::Rule(rule) => *self.rules.entry(rule).or_default() += 1,
            FrozenLabel::Nothing(reason) => {
                let counts = self.unknown.entry(reason).or_default();
                counts.0 += 1;
                counts.1 += u64::from(!sample.is_success());
            }
        }
    }

    /// Samples by the name of their rule or of the reason why they have no label; every name once.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let rules = HindsightRule::ALL.into_iter();
        let rules = rules.map(|rule| (rule.name(), self.rules.get(&rule).copied().unwrap_or(0)));
        let reasons = Reason::ALL.into_iter();
        rules.chain(reasons.map(|reason| (reason.name(), self.unknown.get(&reason).map_or(0, |counts| counts.0))))
    }

    /// What an operator should know whose training has not enough data: which attempts have no label, and why. `None` when
    /// each has one, and a failed one is among them.
    pub fn shortage(&self) -> Option<String> {
        let attack = |rule: &HindsightRule| rule.labelled().label == Label::Attack;
        let others = [HindsightRule::OneOfMany, HindsightRule::ImportedGuessing, HindsightRule::ImportedFailure];
        let failures = HindsightRule::FOR_FAILURES.iter().chain(&others);
        let labelled: u64 = failures.clone().filter_map(|rule| self.rules.get(rule)).sum();
        let attacks: u64 = failures.filter(|rule| attack(rule)).filter_map(|rule| self.rules.get(rule)).sum();
        let unlabelled: u64 = self.unknown.values().map(|counts| counts.1).sum();
        let mut parts = vec![match (labelled, unlabelled) {
            (0, 0) => "no failed attempt was recorded yet (attempts without a told outcome are no samples)".to_owned(),
            (0, _) => "no failed attempt has settled yet: labels need 24 hours of traffic before and after".to_owned(),
            _ => format!("{labelled} failed attempts have a label, {attacks} of them as attacks"),
        }];
        for (reason, what) in [
            (Reason::Unsettled, "wait for what the next hours bring, 24 at most"),
            (Reason::Gap, "lack seen traffic before or after them"),
            (Reason::NoRule, "fit no rule"),
            (Reason::Contradiction, "have signs of both"),
            (Reason::DoubtfulSuccess, "are successes in the middle of an attack"),
        ] {
            if let Some((samples, _)) = self.unknown.get(&reason) {
                parts.push(format!("attempts that {what}: {samples}"));
            }
        }
        (labelled == 0 || parts.len() > 1).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::sample::tests::sample;

    fn counts(labels: &[(bool, Option<FrozenLabel>)]) -> LabelCounts {
        let mut counts = LabelCounts::default();
        for (success, label) in labels {
            counts.count(&Sample { label: *label, ..sample(1, *success) });
        }
        counts
    }

    #[test]
    fn each_rule_and_reason_has_a_number_of_its_own_that_reads_back() {
        for (number, rule) in HindsightRule::ALL.into_iter().enumerate() {
            assert_eq!((usize::from(rule.code()), HindsightRule::from_code(rule.code())), (number, Some(rule)));
        }
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!((usize::from(reason.code()), Reason::from_code(reason.code())), (number, Some(reason)));
        }
        assert_eq!((HindsightRule::from_code(19), Reason::from_code(6)), (None, None));
    }

    #[test]
    fn a_sample_teaches_what_it_says_itself_and_nothing_without_that() {
        let schema = FeatureSchema::compat6();
        let label = |label| FrozenLabels.label(&Sample { label, ..sample(1, false) }, &schema);

        assert_eq!(label(Some(FrozenLabel::Rule(HindsightRule::Guessed))), Some(HindsightRule::Guessed.labelled()));
        assert_eq!(label(Some(FrozenLabel::Nothing(Reason::NoRule))), None);
        assert_eq!(label(None), None);
    }

    #[test]
    fn every_name_is_counted_also_those_that_no_sample_has() {
        let counts = counts(&[(true, Some(FrozenLabel::Rule(HindsightRule::Success))), (false, None)]);
        let by_name: BTreeMap<_, _> = counts.by_name().collect();

        assert_eq!(by_name.len(), HindsightRule::ALL.len() + Reason::ALL.len());
        assert_eq!((by_name["success"], by_name["unsettled"], by_name["guessed"]), (1, 1, 0));
    }

    #[test]
    fn the_shortage_names_what_the_failed_attempts_wait_for() {
        let success = (true, Some(FrozenLabel::Rule(HindsightRule::Success)));
        let gap = (false, Some(FrozenLabel::Nothing(Reason::Gap)));
        let legit = (false, Some(FrozenLabel::Rule(HindsightRule::SucceededSoon)));

        assert!(counts(&[success]).shortage().is_some_and(|text| text.contains("no failed attempt was recorded")));
        let young = counts(&[success, (false, None), gap]).shortage().expect("two failures have none");
        assert!(young.contains("no failed attempt has settled yet") && young.contains("24 at most: 1"), "{young}");
        assert!(young.contains("lack seen traffic before or after them: 1"), "{young}");
        let waiting = counts(&[(true, None), (true, None)]).shortage().expect("there is no failure");
        assert!(waiting.contains("no failed attempt was recorded") && waiting.contains("24 at most: 2"), "{waiting}");
        let legit_only = counts(&[legit, legit, gap]).shortage().expect("one failure has none");
        assert!(legit_only.contains("2 failed attempts have a label, 0 of them as attacks"), "{legit_only}");
        assert_eq!(counts(&[legit]).shortage(), None);
    }
}
