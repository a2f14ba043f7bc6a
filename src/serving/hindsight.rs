//! What this node remembers for labels: an index of the live events and one of the historical ones, each with a clock of
//! its own, and what came in since the last look.
//!
//! The request path only puts [`News`] aside. Counting, forgetting and asking happen elsewhere, because each may walk
//! over everything that is remembered. Which events come here, and that each comes once, is the scorer's business.

use crate::detection::activity::HOUR_MS;
use crate::detection::attempt::{Attempt, Outcome, Timestamp};
use crate::detection::codec::{Reader, put_count};
use crate::learning::hindsight::{
    Case, FrozenLabel, HindsightAnswer, HindsightIndex, HindsightLimits, HindsightRule, HindsightStats, Reason,
};
use crate::learning::sample::Sample;

/// How long single hours of live events are known: a sample has settled after 24 hours and needs the 24 hours before it, or 27 before that;
/// another 24 hours are for whoever labels it. Password tags stay as long.
pub const KEEP_LIVE_MS: i64 = 72 * HOUR_MS;
/// What happened within this time before the last event may still be on its way: outcomes come late, appends wait.
pub const LAG_MS: i64 = 2 * 60 * 1000;
/// A node that was away for longer than this has missed logins on its own host. Shorter stops (an upgrade, a reload of
/// the machine) are taken as nothing: a gap costs the labels of a day to either side.
pub const AWAY_MS: i64 = 10 * 60 * 1000;
/// Silence in a recording that is longer than this is the space between two recordings.
const RECORDING_PAUSE_MS: i64 = 24 * HOUR_MS;
/// Most news that wait; at 10 000 attempts a second they would have to wait for 20 seconds.
const NEWS_MAX: usize = 200_000;

/// Version of the stored form; its first byte.
const VERSION: u8 = 1;

/// Something that has become known.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// An attempt came to its outcome.
    Happened {
        /// As it was counted.
        attempt: Attempt,
        /// Definite.
        outcome: Outcome,
        /// Which of the two indexes it belongs to.
        historical: bool,
    },
    /// Live events of this time were missed.
    Missed {
        /// Included.
        from: Timestamp,
        /// Included.
        to: Timestamp,
    },
}

/// News in the order in which they came, bounded: what does not fit becomes a gap.
#[derive(Debug, Default)]
pub struct Inbox {
    news: Vec<News>,
    /// Live and historical times that did not fit.
    lost: [Option<(Timestamp, Timestamp)>; 2],
}

impl Inbox {
    /// Puts news aside; never walks over anything.
    pub fn put(&mut self, news: News) {
        if self.news.len() < NEWS_MAX {
            self.news.push(news);
            return;
        }
        let (from, to, historical) = match news {
            News::Happened { attempt, historical, .. } => (attempt.ts, attempt.ts, historical),
            News::Missed { from, to } => (from, to, false),
        };
        let lost = &mut self.lost[usize::from(historical)];
        *lost = Some(lost.map_or((from, to), |lost| (lost.0.min(from), lost.1.max(to))));
    }

    /// How many news wait.
    pub fn waiting(&self) -> usize {
        self.news.len()
    }

    /// Everything that waits; nothing waits afterwards.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// The two indexes.
#[derive(Debug)]
pub struct Memory {
    live: HindsightIndex,
    history: HindsightIndex,
    /// How often something was noted as missed, since the start.
    gaps: u64,
}

/// How full the memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// Of the index of live events.
    pub live: HindsightStats,
    /// Of the index of historical events.
    pub history: HindsightStats,
    /// How often something was noted as missed.
    pub gaps: u64,
}

impl Memory {
    /// A memory of nothing that may take `bytes_max` bytes, half of them for historical events.
    pub fn new(bytes_max: u64) -> Self {
        let (live, history) = limits(bytes_max);
        Self { live: HindsightIndex::new(live), history: HindsightIndex::new(history), gaps: 0 }
    }

    /// Changes the limit; what is over it is forgotten at once.
    pub fn set_bytes_max(&mut self, bytes_max: u64) {
        let (live, history) = limits(bytes_max);
        self.live.set_limits(live);
        self.history.set_limits(history);
    }

    /// Takes news in.
    pub fn take_in(&mut self, inbox: Inbox) {
        for news in inbox.news {
            match news {
                News::Happened { attempt, outcome, historical: false } => self.live_event(&attempt, outcome),
                News::Happened { attempt, outcome, historical: true } => self.historical_event(&attempt, outcome),
                News::Missed { from, to } => self.missed(from, to),
            }
        }
        let [live, historical] = inbox.lost;
        if let Some((from, to)) = live {
            self.missed(from, to);
        }
        if let Some((from, to)) = historical {
            self.gaps += 1;
            self.history.missed(from, to);
        }
    }

    /// Live events of this time were missed.
    pub fn missed(&mut self, from: Timestamp, to: Timestamp) {
        self.gaps += 1;
        self.live.missed(from, to);
    }

    /// Forgets live events that are too old. The history forgets for want of room only.
    pub fn prune(&mut self, now: Timestamp) {
        self.live.prune(now);
    }

    /// What hindsight says about a sample now, and whether it will never say more. `heard`: up to when the events of all
    /// nodes have been read.
    pub fn ask(&self, sample: &Sample, heard: Option<Timestamp>) -> (FrozenLabel, bool) {
        let index = if sample.historical { &self.history } else { &self.live };
        // Time alone settles nothing: as long as no event has come that is later, none may have been told.
        let newest = index.newest().and_then(|newest| {
            let known = if sample.historical { Some(newest) } else { heard.map(|heard| heard.min(newest)) };
            known.map(|known| known.plus_millis(-LAG_MS))
        });
        let Some(now) = newest else { return (FrozenLabel::Nothing(Reason::Unsettled), false) };
        let answer = index.label(&Case::from(sample), now);
        let settled = match answer {
            HindsightAnswer::Unknown(Reason::Unsettled) => false,
            // Another node may know what this one missed, until it forgets; a recording may still be completed.
            HindsightAnswer::Unknown(Reason::Gap) => !sample.historical && sample.ts.plus_millis(KEEP_LIVE_MS) < now,
            HindsightAnswer::Label(_, HindsightRule::OneOfMany) => false,
            // The day before may still be posted.
            _ if index.leans_on_the_day_after(&Case::from(sample), now) => false,
            _ => HindsightIndex::settled(sample.ts, now),
        };
        (answer.into(), settled)
    }

    /// How full it is.
    pub fn stats(&self) -> MemoryStats {
        MemoryStats { live: self.live.stats(), history: self.history.stats(), gaps: self.gaps }
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for index in [&self.live, &self.history] {
            let part = index.encode();
            put_count(&mut out, part.len());
            out.extend_from_slice(&part);
        }
        out
    }

    /// Reads the stored form; `None` for anything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8], bytes_max: u64) -> Option<Self> {
        let (live, history) = limits(bytes_max);
        let mut reader = Reader::new(bytes);
        if reader.u8().ok()? != VERSION {
            return None;
        }
        let mut part = |limits| {
            let length = reader.count(1).ok()?;
            HindsightIndex::decode(reader.bytes(length).ok()?, limits).ok()
        };
        let (live, history) = (part(live)?, part(history)?);
        reader.end().ok()?;
        Some(Self { live, history, gaps: 0 })
    }

    fn live_event(&mut self, attempt: &Attempt, outcome: Outcome) {
        if self.live.newest().is_none() {
            // Somebody may tell of earlier attempts later, but not of all of them.
            self.live.missed(Timestamp::from_millis(i64::MIN), attempt.ts.plus_millis(-1));
        }
        self.live.record(attempt, outcome);
    }

    fn historical_event(&mut self, attempt: &Attempt, outcome: Outcome) {
        if let Some(newest) = self.history.newest()
            && attempt.ts > newest.plus_millis(RECORDING_PAUSE_MS)
        {
            self.gaps += 1;
            self.history.missed(newest.plus_millis(1), attempt.ts.plus_millis(-1));
        }
        self.history.record(attempt, outcome);
    }
}

fn limits(bytes_max: u64) -> (HindsightLimits, HindsightLimits) {
    let bytes_max = usize::try_from(bytes_max / 2).unwrap_or(usize::MAX);
    (HindsightLimits { keep_ms: KEEP_LIVE_MS, bytes_max }, HindsightLimits { bytes_max, ..HindsightLimits::RECORDING })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const HOUR: i64 = 60;
    const DAY: i64 = 24 * HOUR;
    const BYTES: u64 = 64 << 20;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis((20_000 * DAY + minutes) * 60_000)
    }

    fn attempt(minutes: i64, user: u8) -> Attempt {
        crate::detection::attempt::testing::plain(
            at(minutes),
            &format!("{minutes} {user}"),
            IpAddr::from([192, 0, 2, user]),
            user,
        )
    }

    fn sample(minutes: i64, user: u8, historical: bool) -> Sample {
        let attempt = attempt(minutes, user);
        Sample {
            ts: attempt.ts,
            request: attempt.request,
            client_ip: attempt.client_ip,
            user: attempt.user,
            outcome: Outcome::Failure,
            ingested_day: 20_000.0,
            historical,
            label: None,
            fingerprint: 1,
            values: Vec::new(),
        }
    }

    /// A memory that heard of these (minutes, user, success), in this order.
    fn memory(historical: bool, events: &[(i64, u8, bool)]) -> Memory {
        let mut memory = Memory::new(BYTES);
        let mut inbox = Inbox::default();
        for (minutes, user, success) in events {
            let outcome = if *success { Outcome::Success } else { Outcome::Failure };
            inbox.put(News::Happened { attempt: attempt(*minutes, *user), outcome, historical });
        }
        memory.take_in(inbox);
        memory
    }

    const GAP: FrozenLabel = FrozenLabel::Nothing(Reason::Gap);
    const UNSETTLED: FrozenLabel = FrozenLabel::Nothing(Reason::Unsettled);
    const NEVER: FrozenLabel = FrozenLabel::Rule(HindsightRule::NeverSucceeded);

    #[test]
    fn live_events_and_history_know_nothing_of_each_other() {
        let events = [(-2 * DAY, 9, true), (0, 1, false), (30, 1, true), (2 * DAY, 9, true)];
        for historical in [false, true] {
            let memory = memory(historical, &events);
            let heard = Some(at(3 * DAY));

            let own = memory.ask(&sample(0, 1, historical), heard);
            let other = memory.ask(&sample(0, 1, !historical), heard);

            assert_eq!(own, (FrozenLabel::Rule(HindsightRule::SucceededSoon), true));
            assert_eq!(other, (UNSETTLED, false), "nothing was heard there");
        }
    }

    #[test]
    fn nothing_settles_before_the_events_of_all_nodes_were_read_and_a_later_one_came() {
        let early = memory(false, &[(-2 * DAY, 9, true), (0, 1, false), (20 * HOUR, 9, true)]);
        let late = memory(false, &[(-2 * DAY, 9, true), (0, 1, false), (DAY + 5, 9, true)]);
        let failure = sample(0, 1, false);

        assert_eq!(early.ask(&failure, Some(at(30 * DAY))), (UNSETTLED, false), "no later event has come");
        assert_eq!(late.ask(&failure, Some(at(DAY))), (UNSETTLED, false), "others may still tell");
        assert_eq!(late.ask(&failure, None), (UNSETTLED, false), "never read to the end");
        assert_eq!(late.ask(&failure, Some(at(30 * DAY))), (NEVER, true));
    }

    #[test]
    fn a_label_may_be_used_before_it_is_final_but_is_not_kept() {
        let memory = memory(false, &[(-2 * DAY, 9, true), (0, 1, false), (30, 1, true), (3 * HOUR, 9, true)]);

        let (label, settled) = memory.ask(&sample(0, 1, false), Some(at(3 * HOUR)));

        assert_eq!((label, settled), (FrozenLabel::Rule(HindsightRule::SucceededSoon), false));
    }

    #[test]
    fn what_is_told_of_the_time_before_the_first_live_event_is_not_taken_for_all_of_it() {
        let events = [(0, 9, true), (-23 * HOUR, 9, true), (HOUR, 1, false), (26 * HOUR, 9, true)];
        let memory = memory(false, &events);

        assert_eq!(memory.ask(&sample(HOUR, 1, false), Some(at(26 * HOUR))), (GAP, false));
    }

    #[test]
    fn a_gap_is_given_up_only_when_no_node_can_know_better() {
        let live = memory(false, &[(0, 1, false), (71 * HOUR, 9, true)]);
        let later = memory(false, &[(0, 1, false), (73 * HOUR, 9, true)]);
        let recording = memory(true, &[(0, 1, false), (HOUR, 9, true), (73 * HOUR, 9, true)]);

        assert_eq!(live.ask(&sample(0, 1, false), Some(at(9 * DAY))), (GAP, false));
        assert_eq!(later.ask(&sample(0, 1, false), Some(at(9 * DAY))), (GAP, true));
        assert_eq!(recording.ask(&sample(0, 1, true), None), (GAP, false), "the day before may still be posted");
        let told_by_the_day_after =
            memory(true, &[(-2 * HOUR, 9, true), (0, 1, false), (DAY, 9, true), (26 * HOUR, 9, true)]);
        assert_eq!(told_by_the_day_after.ask(&sample(0, 1, true), None), (NEVER, false), "so may it here");
        let second_day =
            [(-25 * HOUR, 9, true), (-2 * HOUR, 9, true), (0, 1, false), (DAY, 9, true), (26 * HOUR, 9, true)];
        let second_day = memory(true, &second_day);
        assert_eq!(second_day.ask(&sample(0, 1, true), None), (NEVER, true));
    }

    #[test]
    fn a_day_of_silence_between_two_recordings_is_a_gap_and_a_night_is_not() {
        let night =
            memory(true, &[(-2 * DAY, 9, true), (-DAY, 9, true), (0, 1, false), (DAY, 9, true), (DAY + 5, 9, true)]);
        let pause = memory(true, &[(-2 * DAY, 9, true), (-DAY, 9, true), (0, 1, false), (3 * DAY, 9, true)]);

        assert_eq!(night.ask(&sample(0, 1, true), None).0, NEVER);
        assert_eq!(pause.ask(&sample(0, 1, true), None).0, GAP);
        assert_eq!((night.stats().gaps, pause.stats().gaps), (0, 1));
    }

    #[test]
    fn what_does_not_fit_into_the_inbox_becomes_a_gap() {
        let mut inbox = Inbox::default();
        let put = |inbox: &mut Inbox, minutes, historical| {
            let outcome = Outcome::Success;
            inbox.put(News::Happened { attempt: attempt(minutes, 9), outcome, historical });
        };
        put(&mut inbox, -2 * DAY, false);
        (1..NEWS_MAX).for_each(|_| put(&mut inbox, -DAY, false));
        put(&mut inbox, 20, false);
        put(&mut inbox, 10, false);
        assert_eq!((inbox.waiting(), inbox.lost), (NEWS_MAX, [Some((at(10), at(20))), None]));
        let mut memory = Memory::new(BYTES);
        memory.take_in(inbox.take());
        put(&mut inbox, 0, false);
        inbox.put(News::Happened { attempt: attempt(0, 1), outcome: Outcome::Failure, historical: false });
        put(&mut inbox, 2 * DAY, false);
        memory.take_in(inbox.take());

        assert_eq!(memory.ask(&sample(0, 1, false), Some(at(9 * DAY))).0, GAP);
        assert_eq!(memory.stats().gaps, 1);
    }

    #[test]
    fn a_memory_comes_back_and_a_damaged_one_does_not() {
        let sound = memory(false, &[(-2 * DAY, 9, true), (0, 1, false), (DAY + 5, 9, true)]);
        let bytes = sound.encode();

        let back = Memory::decode(&bytes, BYTES).expect("just encoded");

        assert_eq!(back.encode(), bytes);
        assert_eq!(back.ask(&sample(0, 1, false), Some(at(9 * DAY))), (NEVER, true));
        assert!((0..bytes.len()).all(|end| Memory::decode(&bytes[..end], BYTES).is_none()));
        assert!(Memory::decode(&[&bytes[..], &[0]].concat(), BYTES).is_none());
    }
}
