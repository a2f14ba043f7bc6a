//! What the rules are worth on generated traffic whose truth is known. Rules and generator know of each other; real
//! sites will do worse.

use std::collections::BTreeMap;

use super::*;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::{CheckedRecord, TrueLabel};
use crate::learning::labels::Label;
use crate::numeric::Rng;
use crate::traffic::{self, TrafficOptions};

/// Four days of 300 people, hard; the two in the middle have a day to either side.
fn records(seed: u64) -> Vec<CheckedRecord> {
    let options = TrafficOptions { seed, users: 300, days: 4.0, ..TrafficOptions::default() };
    let pseudonymizer = Pseudonymizer::new([7; 32]);
    let later = options.start.plus_millis(30 * DAY_MS);
    let records = traffic::generate(&options).into_iter();
    records.map(|record| record.check(None, later, &pseudonymizer, String::new).expect("a valid record")).collect()
}

fn case(record: &CheckedRecord) -> Case {
    let Attempt { ts, request, client_ip, user, .. } = record.attempt;
    Case { ts, request, client_ip, user, outcome: record.outcome.expect("generated with an outcome") }
}

fn record(index: &mut HindsightIndex, record: &CheckedRecord) {
    index.record(&record.attempt, case(record).outcome);
}

fn whole(records: &[CheckedRecord]) -> HindsightIndex {
    let mut index = HindsightIndex::new(HindsightLimits::RECORDING);
    records.iter().for_each(|each| record(&mut index, each));
    index
}

/// Labels of the failures of the middle days: right and all labels by class, and all failures.
#[derive(Debug, Default)]
struct Worth {
    failures: usize,
    attack: (usize, usize),
    legit: (usize, usize),
    by_scenario: BTreeMap<(String, &'static str), usize>,
}

impl Worth {
    fn of(records: &[CheckedRecord]) -> Self {
        let index = whole(records);
        let last = index.newest().expect("records");
        let middle = index.since().expect("records").plus_millis(DAY_MS)..last.plus_millis(-DAY_MS);
        let mut worth = Self::default();
        let failed = |record: &&CheckedRecord| record.outcome == Some(Outcome::Failure);
        for record in records.iter().filter(failed).filter(|record| middle.contains(&record.attempt.ts)) {
            worth.failures += 1;
            let attack = record.truth.label == Some(TrueLabel::Attack);
            let name = match HindsightLabels::new(&index, last).answer(&case(record)) {
                HindsightAnswer::Label(given, rule) => {
                    let is_attack = given.label == Label::Attack;
                    let counts = if is_attack { &mut worth.attack } else { &mut worth.legit };
                    counts.0 += usize::from(is_attack == attack);
                    counts.1 += 1;
                    rule.name()
                }
                HindsightAnswer::Unknown(reason) => reason.name(),
            };
            *worth.by_scenario.entry((record.truth.scenario.clone().unwrap_or_default(), name)).or_default() += 1;
        }
        worth
    }

    fn coverage(&self) -> f64 {
        (self.attack.1 + self.legit.1) as f64 / self.failures as f64
    }

    fn attack_precision(&self) -> f64 {
        self.attack.0 as f64 / self.attack.1 as f64
    }

    fn legit_precision(&self) -> f64 {
        self.legit.0 as f64 / self.legit.1 as f64
    }

    fn mistyped(&self, rule: HindsightRule) -> usize {
        self.by_scenario.get(&("mistyped_name".to_owned(), rule.name())).copied().unwrap_or(0)
    }
}

/// All of some seeds together.
fn sum(seeds: impl Iterator<Item = u64>, tagged: bool, each: impl Fn(u64, &Worth)) -> Worth {
    let mut sum = Worth::default();
    for seed in seeds {
        let mut records = records(seed);
        if !tagged {
            records.iter_mut().for_each(|record| record.attempt.password = None);
        }
        let worth = Worth::of(&records);
        each(seed, &worth);
        sum.failures += worth.failures;
        sum.attack = (sum.attack.0 + worth.attack.0, sum.attack.1 + worth.attack.1);
        sum.legit = (sum.legit.0 + worth.legit.0, sum.legit.1 + worth.legit.1);
        for (key, count) in worth.by_scenario {
            *sum.by_scenario.entry(key).or_default() += count;
        }
    }
    sum
}

/// Measured on seeds 1 to 8: coverage .90 to .97, attack labels right .987 to 1, legitimate labels right .968 to .995; on
/// eight others that no constant was looked at with: .93 to .99, .982 to 1, .953 to .998.
#[test]
fn on_hard_traffic_the_labels_are_right_and_few_failures_go_without() {
    let sum = sum(1..9, true, |seed, worth| {
        assert!(worth.coverage() >= 0.88, "seed {seed}: {worth:?}");
        assert!(worth.attack_precision() >= 0.98, "seed {seed}: {worth:?}");
        // The worst seed is one in which somebody behind an office's address guesses at colleagues who log in there.
        assert!(worth.legit_precision() >= 0.96, "seed {seed}: {worth:?}");
    });

    assert!(sum.coverage() >= 0.92, "{sum:?}");
    assert!(sum.attack_precision() >= 0.99, "{sum:?}");
    assert!(sum.legit_precision() >= 0.98, "{sum:?}");
    let mistyped = sum.mistyped(HindsightRule::PasswordOfNeighbour);
    assert!(mistyped > 50 * sum.mistyped(HindsightRule::NeverSucceeded), "{sum:?}");
}

/// What is lost: sprays are no longer seen as such.
#[test]
fn without_password_tags_fewer_failures_get_a_label_and_more_of_them_a_wrong_one() {
    let sum = sum(1..9, false, |seed, worth| {
        assert!(worth.attack_precision() >= 0.8, "seed {seed}: {worth:?}");
        assert!(worth.legit_precision() >= 0.9, "seed {seed}: {worth:?}");
    });

    assert!(sum.coverage() >= 0.7, "{sum:?}");
    let of_rule = |(key, count): (&(String, &str), &usize)| {
        (key.1 == HindsightRule::NeighbourSucceeded.name()).then_some((key.0 == "mistyped_name", *count))
    };
    let found: Vec<_> = sum.by_scenario.iter().filter_map(of_rule).collect();
    assert!(matches!(found[..], [(true, 10..)]), "only mistyped names are taken for mistyped names: {found:?}");
}

#[test]
fn a_shuffled_recording_makes_the_same_index() {
    let mut records = records(1);
    let sorted = whole(&records);

    Rng::new(1, "test/hindsight/shuffle").shuffle(&mut records);

    assert_eq!(whole(&records), sorted);
}

#[test]
fn an_index_of_two_days_answers_like_one_of_everything() {
    let records = records(2);
    let everything = whole(&records);
    let last = everything.newest().expect("records");
    let mut index = HindsightIndex::new(HindsightLimits::default());
    let (mut pruned, mut asked, mut answered) = (records[0].attempt.ts, 0, 0);
    for each in &records {
        let now = each.attempt.ts;
        record(&mut index, each);
        if now >= pruned.plus_millis(HOUR_MS) {
            index.prune(now);
            pruned = now;
            while HindsightIndex::settled(records[asked].attempt.ts, now) {
                let case = case(&records[asked]);
                // Whatever the large index has seen meanwhile lies beyond the look-ahead. Only a recording has a first day.
                if !everything.leans_on_the_day_after(&case, last) {
                    assert_eq!(index.label(&case, now), everything.label(&case, last), "{case:?}");
                }
                answered += usize::from(matches!(index.label(&case, now), HindsightAnswer::Label(..)));
                asked += 1;
            }
        }
    }
    assert!(answered > 5000, "{answered}");
    assert_eq!(index.stats().evictions, 0);
}
