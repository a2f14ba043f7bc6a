//! What the gate says: a verdict, and every criterion with its numbers, for history, status and people.
//!
//! Nothing is decided here; the verdict follows from the criteria by one rule.

use std::fmt::Write;

use serde::Serialize;

use super::super::threshold::Support;

/// What is to happen with the challenger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may serve.
    Promote,
    /// Nothing speaks against it for certain, but it must not serve before a person has approved it.
    Hold,
    /// The champion stays.
    Refuse,
}

/// How one criterion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Within its limit, or over it by what may be chance.
    Passed,
    /// Over a limit that alone keeps nobody back: for people to know.
    Noted,
    /// Over a limit that a person has to decide about.
    NeedsApproval,
    /// Over its limit: the challenger is refused.
    Failed,
    /// The data could not tell. Never held against a challenger.
    NotMeasured,
}

/// One question to the challenger, and the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Criterion {
    /// Its name in the history; one word, never two of a kind in one judgement.
    pub name: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was measured; missing if nothing was.
    pub value: Option<f64>,
    /// What the value was held against.
    pub limit: Option<f64>,
    /// The same for people, with the numbers.
    pub sentence: String,
}

impl Criterion {
    /// A criterion with a measured value; `status` says how it ended.
    pub(super) fn measured(name: &'static str, status: Status, value: f64, limit: f64, sentence: String) -> Self {
        Self { name, status, value: Some(value), limit: Some(limit), sentence }
    }

    /// A criterion about which the data say nothing.
    pub(super) fn not_measured(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, status: Status::NotMeasured, value: None, limit: None, sentence: why.into() }
    }
}

/// Everything that the gate has to say about one challenger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// Refused if any criterion failed, else held if any needs approval, else promoted.
    pub verdict: Verdict,
    /// It has no block threshold: it serves, but never says `block`.
    pub watch_only: bool,
    /// What the held-out rows are to the budget; `None` where that does not decide on a block threshold.
    #[serde(skip)]
    pub support: Option<Support>,
    /// There was a champion to compare with.
    pub compared: bool,
    /// Every criterion, always the same ones in the same order.
    pub criteria: Vec<Criterion>,
}

impl Judgement {
    /// The judgement that follows from these criteria.
    pub(super) fn of(criteria: Vec<Criterion>, watch_only: bool, compared: bool) -> Self {
        let any = |status| criteria.iter().any(|criterion| criterion.status == status);
        let verdict = if any(Status::Failed) {
            Verdict::Refuse
        } else if any(Status::NeedsApproval) {
            Verdict::Hold
        } else {
            Verdict::Promote
        };
        Self { verdict, watch_only, support: None, compared, criteria }
    }

    /// The criterion of this name.
    pub fn criterion(&self, name: &str) -> Option<&Criterion> {
        self.criteria.iter().find(|criterion| criterion.name == name)
    }

    /// In one line: why it is promoted, or the first thing that speaks against it and how many others do.
    pub fn reason(&self) -> String {
        match self.verdict {
            Verdict::Promote => {
                let mut reason =
                    if self.compared { "not worse than the current model" } else { "the first model" }.to_owned();
                if self.watch_only {
                    reason.push_str("; watch only, because the held-out data cannot support a block threshold");
                    if let Some(support) = &self.support {
                        let _ = write!(reason, ": {support}");
                    }
                }
                for noted in self.having(Status::Noted) {
                    reason.push_str("; note that ");
                    reason.push_str(&noted.sentence);
                }
                reason
            }
            Verdict::Hold => format!("an operator has to approve it: {}", self.first_of(Status::NeedsApproval)),
            Verdict::Refuse => self.first_of(Status::Failed),
        }
    }

    fn having(&self, status: Status) -> impl Iterator<Item = &Criterion> {
        self.criteria.iter().filter(move |criterion| criterion.status == status)
    }

    fn first_of(&self, status: Status) -> String {
        let mut found = self.having(status);
        let first = found.next().map(|criterion| criterion.sentence.clone()).unwrap_or_default();
        match found.count() {
            0 => first,
            1 => format!("{first} (and one more criterion)"),
            more => format!("{first} (and {more} more criteria)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn criterion(name: &'static str, status: Status) -> Criterion {
        Criterion::measured(name, status, 0.5, 0.25, format!("{name} is 0.5"))
    }

    #[test]
    fn a_failure_outweighs_an_approval_and_an_approval_outweighs_a_note() {
        let verdict = |statuses: &[Status]| {
            Judgement::of(statuses.iter().map(|status| criterion("a", *status)).collect(), false, true).verdict
        };

        assert_eq!(verdict(&[]), Verdict::Promote);
        assert_eq!(verdict(&[Status::Passed, Status::Noted, Status::NotMeasured]), Verdict::Promote);
        assert_eq!(verdict(&[Status::NeedsApproval, Status::Noted]), Verdict::Hold);
        assert_eq!(verdict(&[Status::NeedsApproval, Status::Failed]), Verdict::Refuse);
    }

    #[test]
    fn the_reason_names_the_first_that_failed_and_counts_the_others() {
        let failed = ["a", "b", "c"].map(|name| criterion(name, Status::Failed)).to_vec();

        assert_eq!(Judgement::of(failed, false, true).reason(), "a is 0.5 (and 2 more criteria)");
        let noted = vec![criterion("a", Status::Noted)];
        let mut judgement = Judgement::of(noted, true, false);
        let reason = judgement.reason();
        assert!(
            reason.starts_with("the first model; watch only") && reason.ends_with("note that a is 0.5"),
            "{reason}"
        );
        judgement.support = Some(Support { held_out: 1200, needed: 3000, budget: 0.001 });
        let reason = judgement.reason();
        let numbers =
            "threshold: 1200 held-out legitimate attempts, 3000 are needed for a false-positive budget of 0.001; note";
        assert!(reason.contains(numbers), "{reason}");
    }

    #[test]
    fn the_history_gets_words_and_numbers() {
        let judgement = Judgement::of(vec![criterion("recall", Status::Failed)], false, true);

        let json = serde_json::to_value(&judgement).expect("plain data");

        assert_eq!(json["verdict"], "refuse");
        assert_eq!(json["criteria"][0]["status"], "failed");
        assert_eq!(json["criteria"][0]["value"], 0.5);
    }
}
