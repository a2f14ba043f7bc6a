//! For which times the index has seen everything. What it has not seen, it must not take for "did not happen".

use super::tally::Window;
use crate::detection::attempt::Timestamp;

/// Gaps remembered one by one. Beyond it the two nearest become one: more is called unknown than has to be, never less.
pub(super) const GAPS_MAX: usize = 64;

/// The times that were seen: from the first event on, without what was forgotten and without gaps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    pub(super) first: Option<Timestamp>,
    /// Everything before was forgotten.
    pub(super) forgotten: Option<Timestamp>,
    /// Ascending, disjoint.
    pub(super) gaps: Vec<Window>,
}

impl Coverage {
    /// Something was seen at `ts`.
    pub fn saw(&mut self, ts: Timestamp) {
        self.first = Some(self.first.map_or(ts, |first| first.min(ts)));
    }

    /// Everything before `ts` is no longer known.
    pub fn forget_before(&mut self, ts: Timestamp) {
        self.forgotten = self.forgotten.max(Some(ts));
        self.gaps.retain(|gap| gap.to >= ts);
    }

    /// Something in this window was missed.
    pub fn miss(&mut self, gap: Window) {
        if gap.from > gap.to || self.forgotten.is_some_and(|forgotten| gap.to < forgotten) {
            return;
        }
        let mut merged = gap;
        self.gaps.retain(|known| {
            let apart = known.to < merged.from || merged.to < known.from;
            if !apart {
                merged = Window { from: merged.from.min(known.from), to: merged.to.max(known.to) };
            }
            apart
        });
        let place = self.gaps.partition_point(|known| known.from < merged.from);
        self.gaps.insert(place, merged);
        if self.gaps.len() > GAPS_MAX {
            let distance = |pair: &[Window]| pair[1].from.millis().saturating_sub(pair[0].to.millis());
            let nearest = self.gaps.windows(2).enumerate().min_by_key(|(_, pair)| distance(pair));
            if let Some((place, _)) = nearest {
                self.gaps[place].to = self.gaps[place + 1].to;
                self.gaps.remove(place + 1);
            }
        }
    }

    /// Before when nothing is known any more.
    pub fn forgotten(&self) -> Option<Timestamp> {
        self.forgotten
    }

    /// The first event, if nothing was forgotten since.
    pub fn began(&self) -> Option<Timestamp> {
        self.first.filter(|first| self.forgotten.is_none_or(|forgotten| forgotten <= *first))
    }

    /// Whether something had been seen by `ts`, be it forgotten or not.
    pub fn begun_by(&self, ts: Timestamp) -> bool {
        self.first.is_some_and(|first| first <= ts)
    }

    /// Since when anything is known; `None` before the first event.
    pub fn since(&self) -> Option<Timestamp> {
        self.first.map(|first| self.forgotten.map_or(first, |forgotten| forgotten.max(first)))
    }

    /// Whether everything in a window was seen, as far as it lies in the past.
    pub fn covers(&self, window: Window) -> bool {
        self.since().is_some_and(|since| since <= window.from)
            && !self.gaps.iter().any(|gap| gap.from <= window.to && window.from <= gap.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: i64, to: i64) -> Window {
        Window { from: Timestamp::from_millis(from), to: Timestamp::from_millis(to) }
    }

    #[test]
    fn nothing_is_covered_before_the_first_event_nor_what_was_forgotten() {
        let mut coverage = Coverage::default();
        assert!(!coverage.covers(window(0, 1)));

        coverage.saw(Timestamp::from_millis(100));
        assert!(coverage.covers(window(100, 200)) && !coverage.covers(window(99, 200)));
        coverage.forget_before(Timestamp::from_millis(150));
        assert!(coverage.covers(window(150, 200)) && !coverage.covers(window(149, 200)));
    }

    #[test]
    fn gaps_that_touch_become_one_and_too_many_are_widened() {
        let mut coverage = Coverage::default();
        coverage.saw(Timestamp::from_millis(0));
        coverage.miss(window(10, 20));
        coverage.miss(window(15, 30));
        coverage.miss(window(50, 60));
        assert!(!coverage.covers(window(25, 26)) && coverage.covers(window(31, 49)) && !coverage.covers(window(0, 99)));

        for gap in 10..200 {
            coverage.miss(window(gap * 100, gap * 100 + 1));
        }
        assert_eq!(coverage.gaps.len(), GAPS_MAX);
        assert!((10..200).all(|gap| !coverage.covers(window(gap * 100, gap * 100 + 1))));
    }
}
