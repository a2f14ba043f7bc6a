//! What the tracker promises: nothing is counted twice, whatever is repeated and reordered.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::detection::activity::Counts;
use crate::detection::attempt::{PasswordTag, Protocol, Pseudonym};

const OWN: BootId = BootId([1; 16]);
const PEER: BootId = BootId([2; 16]);

fn ip() -> IpAddr {
    IpAddr::from([192, 0, 2, 1])
}

fn key(number: u32) -> RequestKey {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&number.to_le_bytes());
    RequestKey(key)
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        ts: Timestamp::from_millis(1_700_000_000_000 + i64::from(number) * 1000),
        request: key(number),
        client_ip: ip(),
        name: Pseudonym([number as u8; 16]),
        user: Pseudonym([number as u8; 16]),
        password: Some(PasswordTag(number.into())),
        protocol: Protocol::Imap,
        client: crate::detection::client::ClientDetails::default(),
        categories: Vec::new(),
        user_found: None,
        suspicious_network: None,
        no_auth: false,
        static_rule_triggered: false,
    }
}

fn event(seq: u64, number: u32, outcome: Option<Outcome>) -> AttemptEvent {
    AttemptEvent {
        origin: PEER,
        seq,
        attempt: attempt(number),
        outcome,
        snapshot: None,
        decision: None,
        historical: false,
    }
}

fn small(snapshots_max: usize) -> Tracker {
    Tracker::new(TrackerLimits { snapshots_max, ..TrackerLimits::default() })
}

fn counts(activity: &Activity) -> Counts {
    activity.source_counts(ip(), Timestamp::from_millis(1_700_000_600_000), HOUR_MS)
}

fn decided(verdict: Verdict) -> Option<Decision> {
    Some(Decision { probability: Some(0.5), verdict })
}

#[test]
fn d5_score_and_outcome_are_one_attempt_and_one_failure() {
    let mut tracker = Tracker::new(TrackerLimits::default());
    let snapshot = Arc::new(Snapshot { fingerprint: 1, values: vec![0.5] });

    assert_eq!(tracker.begin(&attempt(1), Some(snapshot.clone()), decided(Verdict::Allow)), Begin::New);
    assert!(matches!(tracker.begin(&attempt(1), None, None), Begin::Same(known) if known.decision.is_some()));
    assert_eq!(tracker.complete(key(1), Some(&attempt(1)), Outcome::Failure), Complete::Recorded);
    assert_eq!(tracker.complete(key(1), None, Outcome::Failure), Complete::AlreadyKnown);

    assert_eq!(counts(tracker.activity()), Counts { attempts: 1, failures: 1, successes: 0 });
    assert_eq!(tracker.lookup(key(1)).unwrap().snapshot, Some(snapshot));
}

#[test]
fn other_content_or_another_outcome_is_a_conflict_and_changes_nothing() {
    let mut tracker = Tracker::new(TrackerLimits::default());
    tracker.begin(&attempt(1), None, None);
    let other = Attempt { request: key(1), ..attempt(2) };

    assert_eq!(tracker.begin(&other, None, None), Begin::Conflict);
    assert_eq!(tracker.complete(key(1), Some(&other), Outcome::Failure), Complete::Conflict);
    assert_eq!(tracker.complete(key(1), None, Outcome::Success), Complete::Recorded);
    assert_eq!(tracker.complete(key(1), None, Outcome::Failure), Complete::Conflict);
    assert_eq!(tracker.complete(key(9), None, Outcome::Failure), Complete::NeverScored);

    assert_eq!(counts(tracker.activity()), Counts { attempts: 1, failures: 0, successes: 0 });
}

#[test]
fn an_unknown_outcome_counts_nothing_and_is_amended_by_a_late_one() {
    let mut tracker = Tracker::new(TrackerLimits::default());
    tracker.begin(&attempt(1), None, None);

    assert_eq!(tracker.complete(key(1), None, Outcome::Unknown), Complete::Recorded);
    assert_eq!(counts(tracker.activity()), Counts { attempts: 1, failures: 0, successes: 0 });
    assert_eq!(tracker.complete(key(1), None, Outcome::Failure), Complete::Recorded);
    assert_eq!(tracker.complete(key(1), None, Outcome::Unknown), Complete::AlreadyKnown);
    assert_eq!(counts(tracker.activity()), Counts { attempts: 1, failures: 1, successes: 0 });
}

#[test]
fn the_tail_skips_own_events_and_what_was_applied() {
    let mut tracker = Tracker::new(TrackerLimits::default());

    assert_eq!(tracker.apply_remote(&event(1, 1, None), PEER), Applied::default(), "own");
    assert!(tracker.apply_remote(&event(2, 1, None), OWN).attempt);
    assert_eq!(tracker.apply_remote(&event(2, 2, None), OWN), Applied::default(), "seq not above the last");
    assert_eq!(tracker.apply_remote(&event(1, 3, None), OWN), Applied::default(), "seq below the last");
    let outcome = tracker.apply_remote(&event(3, 1, Some(Outcome::Failure)), OWN);
    assert_eq!(outcome, Applied { attempt: false, outcome: true });

    assert_eq!((tracker.last_applied(PEER), tracker.last_applied(OWN)), (Some(3), None));
    assert_eq!(counts(tracker.activity()), Counts { attempts: 1, failures: 1, successes: 0 });
}

#[test]
fn an_outcome_that_overtakes_its_score_counts_once_and_takes_the_scored_snapshot_later() {
    let mut tracker = Tracker::new(TrackerLimits::default());
    let mut scored = event(1, 1, None);
    scored.snapshot = Some(Snapshot { fingerprint: 1, values: vec![0.25] });
    scored.decision = decided(Verdict::Block);

    let first = tracker.apply(&event(1, 1, Some(Outcome::Failure)));
    let second = tracker.apply(&scored);

    assert_eq!((first, second), (Applied { attempt: true, outcome: true }, Applied::default()));
    let known = tracker.lookup(key(1)).unwrap();
    assert_eq!(known.snapshot.as_deref(), scored.snapshot.as_ref());
    assert_eq!((known.decision, known.outcome), (scored.decision, Some(Outcome::Failure)));
}

#[test]
fn historical_events_never_touch_the_live_counters_but_can_be_looked_up() {
    let mut tracker = Tracker::new(TrackerLimits::default());
    let historical = AttemptEvent { historical: true, ..event(1, 1, Some(Outcome::Failure)) };

    tracker.apply(&historical);

    assert_eq!(counts(tracker.activity()), Counts::default());
    assert_eq!(counts(tracker.history()), Counts { attempts: 1, failures: 1, successes: 0 });
    assert!(tracker.lookup(key(1)).unwrap().historical);
}

#[test]
fn the_history_is_pruned_by_its_own_clock() {
    let mut tracker = Tracker::new(TrackerLimits::default());
    for number in 0..3u32 {
        let mut old = AttemptEvent { historical: true, ..event(1, number, None) };
        old.attempt.client_ip = IpAddr::from([192, 0, 2, number as u8]);
        old.attempt.ts = Timestamp::from_millis(i64::from(number) * 30 * HOUR_MS);
        tracker.apply(&old);
    }

    // The last one was counted before its time pruned the others.
    assert_eq!(tracker.history().stats().sources.entries, 1);
}

#[test]
fn ordinary_requests_leave_the_index_first_then_the_oldest_precious_one() {
    let mut tracker = small(4);
    tracker.begin(&attempt(1), None, decided(Verdict::Block));
    tracker.begin(&attempt(2), None, decided(Verdict::Allow));
    tracker.complete(key(2), None, Outcome::Failure);
    tracker.begin(&attempt(3), None, decided(Verdict::Allow));
    tracker.complete(key(3), None, Outcome::Success);
    tracker.begin(&attempt(4), None, None);
    let held = |tracker: &Tracker| (1..=9).filter(|&number| tracker.lookup(key(number)).is_some()).collect::<Vec<_>>();

    tracker.begin(&attempt(5), None, decided(Verdict::Watch));
    assert_eq!(held(&tracker), [1, 2, 4, 5]);
    tracker.begin(&attempt(6), None, decided(Verdict::Watch));
    assert_eq!(held(&tracker), [1, 2, 5, 6]);
    tracker.begin(&attempt(7), None, None);
    assert_eq!(held(&tracker), [2, 5, 6, 7]);
    assert_eq!(tracker.stats().evicted, 3);
}

#[test]
fn queues_of_a_full_index_stay_short() {
    let mut tracker = small(10);
    for number in 0..1000 {
        tracker.begin(&attempt(number), None, None);
        tracker.complete(key(number), None, Outcome::Failure);
    }

    assert_eq!(tracker.stats().indexed, 10);
    assert!(tracker.ordinary.len() <= 20 && tracker.precious.len() <= 20);
}

#[test]
fn the_origin_heard_of_longest_ago_is_forgotten_first() {
    let mut tracker = Tracker::new(TrackerLimits::default());
    let boot = |number: usize| BootId((number as u128).to_le_bytes());
    for number in 0..ORIGINS_MAX {
        tracker.own_applied(boot(number), 1);
    }
    tracker.own_applied(boot(0), 2);

    tracker.own_applied(boot(ORIGINS_MAX), 1);

    assert_eq!(tracker.stats().origins, ORIGINS_MAX);
    assert_eq!((tracker.last_applied(boot(0)), tracker.last_applied(boot(1))), (Some(2), None));
}

#[test]
fn after_a_restart_nothing_is_counted_twice() {
    let mut before = Tracker::new(TrackerLimits::default());
    before.begin(&attempt(1), None, decided(Verdict::Allow));
    before.own_applied(OWN, 1);
    before.begin(&attempt(2), None, None);
    before.complete(key(2), None, Outcome::Failure);
    before.own_applied(OWN, 3);
    before.apply_remote(&event(7, 3, Some(Outcome::Failure)), OWN);

    let bytes = before.encode();
    let mut after = Tracker::decode(&bytes, TrackerLimits::default()).unwrap();
    let own_event = |seq, number, outcome| AttemptEvent { origin: OWN, ..event(seq, number, outcome) };

    // The stream tells the old events again, to a node that has become another origin, and then an outcome.
    let newer = BootId([9; 16]);
    after.apply_remote(&own_event(1, 1, None), newer);
    after.apply_remote(&own_event(3, 2, Some(Outcome::Failure)), newer);
    after.apply_remote(&event(7, 3, Some(Outcome::Failure)), newer);
    assert_eq!(after.activity(), before.activity());
    assert_eq!(after.encode(), bytes);

    let late = after.apply_remote(&own_event(4, 1, Some(Outcome::Failure)), newer);
    assert_eq!(late, Applied { attempt: false, outcome: true });
    assert_eq!(counts(after.activity()), Counts { attempts: 3, failures: 3, successes: 0 });
}

#[test]
fn remembering_fills_the_index_and_counts_nothing() {
    let mut tracker = Tracker::new(TrackerLimits::default());

    tracker.remember(&event(1, 1, Some(Outcome::Failure)));

    assert_eq!(tracker.lookup(key(1)).unwrap().outcome, Some(Outcome::Failure));
    assert_eq!(counts(tracker.activity()), Counts::default());
    assert_eq!(tracker.apply(&event(1, 1, Some(Outcome::Failure))), Applied::default());
}

#[test]
fn an_event_counted_before_the_checkpoint_but_read_after_it_comes_back_into_the_index() {
    let mut before = small(100);
    before.apply_remote(&event(1, 1, Some(Outcome::Failure)), OWN);
    let mut tracker = Tracker::decode(&before.encode(), TrackerLimits::default()).expect("just written");
    assert!(tracker.lookup(key(1)).is_none(), "settled requests are not in a checkpoint");

    let applied = tracker.apply_remote(&event(1, 1, Some(Outcome::Failure)), OWN);

    assert_eq!(applied, Applied::default());
    assert_eq!(tracker.lookup(key(1)).and_then(|known| known.outcome), Some(Outcome::Failure));
    assert_eq!(counts(tracker.activity()), counts(before.activity()));
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let mut tracker = Tracker::new(TrackerLimits::default());
    tracker.begin(&attempt(1), None, None);
    tracker.own_applied(OWN, 1);
    let bytes = tracker.encode();
    let decode = |bytes: &[u8]| Tracker::decode(bytes, TrackerLimits::default()).map(|_| ());

    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
    assert_eq!(decode(&[2]), Err(TrackerError::Version(2)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn repeated_and_reordered_events_give_the_same_counters(
        (told, retold) in proptest::collection::vec((0u32..12, 0u8..4), 1..60)
            .prop_flat_map(|told| (Just(told.clone()), Just([told.clone(), told].concat()).prop_shuffle())),
    ) {
        // One definite outcome per request; some events are still open, some say unknown.
        let events = |told: Vec<(u32, u8)>| told.into_iter().map(|(number, how)| {
            let definite = if number % 2 == 0 { Outcome::Failure } else { Outcome::Success };
            event(1, number, [None, Some(Outcome::Unknown), Some(definite), Some(definite)][usize::from(how)])
        });
        let (mut one, mut other) = (small(100), small(100));
        for event in events(told) { one.apply(&event); }
        for event in events(retold) { other.apply(&event); }

        prop_assert_eq!(one.activity(), other.activity());
        for number in 0..12 {
            let outcome = |tracker: &Tracker| tracker.lookup(key(number)).map(|known| known.outcome);
            prop_assert_eq!(outcome(&one), outcome(&other));
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
        bytes[0] = 1;
        let _ = Tracker::decode(&bytes, TrackerLimits::default()).map(|_| ());
    }
}
