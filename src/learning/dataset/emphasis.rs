//! How loud a word is said: the louder, the less a model does what it says that has heard none.
//!
//! Whoever speaks of ten attempts often speaks of eight that would be told right anyway, while the other two are not heard for
//! the rest of what happened. Here weight goes from those to these. All words together never weigh more than `feedback`
//! allows, and how many of an author or about an account count has been decided there.

use super::{Dataset, Prepared, Row, words_measurable};

/// What a word is worth that a model follows anyway, where one that it surely goes against is worth 1 more. Not nothing: it follows
/// this one by chance, perhaps, and what it is about goes on to grow.
const FOLLOWED: f64 = 0.2;
/// An item weighs at most so many times what it would if all were said alike.
const LOUDER_MAX: f64 = 4.0;

impl Prepared {
    /// The same with the words weighed by `need`, which tells of a row from feedback how far a model without words is from
    /// following it: from 0 (it does so surely) over 0.5 (in doubt) to 1 (it does the opposite). Nothing changes where too few
    /// attacks are held out to tell what words cost.
    #[must_use]
    pub fn emphasised(mut self, need: impl Fn(&Row) -> f64) -> Self {
        if !words_measurable(&self.hold_out.rows) {
            return self;
        }
        let spoken =
            |dataset: &Dataset| dataset.rows.iter().filter(|row| row.from_feedback()).map(|row| row.weight).sum();
        // What is held out is not trained on, and leaves its share to the others.
        let allowed: f64 = [&self.train, &self.hold_out].map(spoken).iter().sum();
        let rows = || self.train.rows.iter().filter(|row| row.from_feedback());
        let worth: Vec<f64> = rows().map(|row| FOLLOWED + need(row)).collect();
        let wanted: f64 = rows().zip(&worth).map(|(row, worth)| row.weight * worth).sum();
        for (row, worth) in self.train.rows.iter_mut().filter(|row| row.from_feedback()).zip(worth) {
            row.weight *= (worth * allowed / wanted).min(LOUDER_MAX);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::groups::Groups;
    use super::super::super::sample::tests::feedback;
    use super::super::label::feedback_row;
    use super::super::{Counts, WORDS_MEASURABLE, Words};
    use super::*;
    use crate::learning::feedback::Told;
    use crate::learning::labels::Label;

    fn prepared(train: u64, hold_out: u64) -> Prepared {
        let row = |number| feedback_row(&feedback(number, false, "a"), 10.0, &Groups::default());
        let unspoken = Row { word: None, ..row(1000) };
        let now = feedback(0, false, "a").ts;
        let attack = Row { label: Label::Attack, ..unspoken.clone() };
        let attacks = std::iter::repeat_n(attack, WORDS_MEASURABLE);
        Prepared {
            train: Dataset { rows: (0..train).map(row).chain([unspoken]).collect() },
            hold_out: Dataset { rows: (train..train + hold_out).map(row).chain(attacks).collect() },
            fresh: Dataset::default(),
            counts: Counts::default(),
            told: Told::default(),
            words: Words { said: Default::default(), sample_weight: 1e6, now },
        }
    }

    /// Asserts what the trained rows weigh where the first needs `first` and all others `rest`.
    fn assert_weights(prepared: Prepared, (first, rest): (f64, f64), expected: &[f64]) {
        let said = prepared.train.rows[0].request;
        let emphasised = prepared.emphasised(|row| if row.request == said { first } else { rest });
        let found: Vec<f64> = emphasised.train.rows.iter().map(|row| row.weight).collect();
        let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9);
        assert!(close && found.len() >= expected.len(), "{found:?} instead of {expected:?}");
    }

    #[test]
    fn what_a_model_does_not_do_by_itself_is_said_louder() {
        assert_weights(prepared(5, 0), (1.0, 0.0), &[30.0, 5.0, 5.0, 5.0, 5.0, 10.0]);
        assert_weights(prepared(2, 0), (0.8, 0.3), &[40.0 / 3.0, 20.0 / 3.0, 10.0]);
        // One of many is not said as if all of them were about it.
        assert_weights(prepared(20, 0), (1.0, 0.0), &[40.0, 8.0]);
    }

    #[test]
    fn all_words_together_weigh_no_more_and_those_held_out_leave_their_share() {
        assert_weights(prepared(2, 0), (1.0, 1.0), &[10.0, 10.0, 10.0]);
        assert_weights(prepared(2, 2), (1.0, 1.0), &[20.0, 20.0, 10.0]);
        assert_weights(prepared(0, 2), (1.0, 1.0), &[10.0]);
    }

    #[test]
    fn where_their_cost_cannot_be_told_all_words_are_said_alike() {
        let mut prepared = prepared(2, 0);
        prepared.hold_out.rows.pop();
        assert_weights(prepared, (1.0, 0.0), &[10.0, 10.0, 10.0]);
    }
}
