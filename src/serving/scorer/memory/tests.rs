//! What reaches the memory, from whom, and what of it outlives a restart.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::*;
use crate::config::Config;
use crate::detection::event::{AttemptEvent, BootId};
use crate::detection::features::FeatureSchema;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::AttemptRecord;
use crate::learning::hindsight::{FrozenLabel, HindsightRule, Reason};
use crate::serving::attempt_log::AttemptLog;
use crate::serving::mode::LearningMode;
use crate::serving::scorer::ScorerParts;
use crate::serving::slot::ModelSlot;
use crate::telemetry::metrics::Metrics;

const HOUR: i64 = 60;
const DAY: i64 = 24 * HOUR;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis((20_000 * DAY + minutes) * 60_000)
}

fn scorer(boot: u8) -> Scorer {
    let metrics = Arc::new(Metrics::new("0"));
    Scorer::new(ScorerParts {
        config: Arc::new(ArcSwap::from_pointee(Config::default())),
        schema: Arc::new(crate::serving::schema::SchemaSlot::new(FeatureSchema::compat6())),
        geo: crate::serving::geo::GeoDatabases::default(),
        slot: Arc::new(ModelSlot::new()),
        mode: Arc::new(LearningMode::default()),
        pseudonymizer: Pseudonymizer::new([7; 32]),
        log: Arc::new(AttemptLog::new(BootId([boot; 16]), 1000, metrics.status().clone())),
        metrics,
    })
}

fn record(request: &str, user: &str, success: Option<bool>) -> AttemptRecord {
    AttemptRecord {
        request_id: Some(request.to_owned()),
        client_ip: Some("192.0.2.1".to_owned()),
        username: Some(user.to_owned()),
        success,
        ..AttemptRecord::default()
    }
}

/// Tells a whole attempt that happens now.
fn login(scorer: &Scorer, minutes: i64, user: &str, success: bool) {
    let told = record(&format!("{user} at {minutes}"), user, Some(success));
    scorer.outcome(told, at(minutes)).expect("a sound attempt");
}

/// The events that wait for the store.
fn told(scorer: &Scorer) -> Vec<AttemptEvent> {
    let (_, entries) = scorer.log.oldest(1000).expect("something waits");
    entries.iter().map(|entry| AttemptEvent::decode(&entry.event).expect("just encoded")).collect()
}

fn samples(scorer: &Scorer) -> Vec<Sample> {
    let (_, entries) = scorer.log.oldest(1000).expect("something waits");
    let samples = entries.iter().filter_map(|entry| entry.sample.as_ref());
    samples.map(|sample| Sample::decode(&sample.bytes).expect("just encoded")).collect()
}

/// Everything up to now was read.
fn heard(scorer: &Scorer, minutes: i64) {
    scorer.reading(at(minutes));
    scorer.read_to_the_end();
}

/// What the scorer says now about the failures among its own samples.
fn failures(scorer: &Scorer, samples: Vec<Sample>) -> Vec<Option<FrozenLabel>> {
    let mut failures: Vec<_> = samples.into_iter().filter(|sample| !sample.is_success()).collect();
    scorer.label(&mut failures);
    failures.into_iter().map(|sample| sample.label).collect()
}

const SOON: Option<FrozenLabel> = Some(FrozenLabel::Rule(HindsightRule::SucceededSoon));

#[test]
fn a_failure_that_its_owner_makes_good_is_legitimate_also_on_a_node_that_only_heard_of_it() {
    let (own, peer) = (scorer(1), scorer(2));
    login(&own, -2 * DAY, "other", true);
    login(&own, 0, "alice", false);
    login(&own, 5, "alice", true);
    login(&own, 2 * DAY, "other", true);
    for event in told(&own) {
        assert!(peer.apply_remote(&event, BootId([2; 16])).outcome);
        assert!(!peer.apply_remote(&event, BootId([2; 16])).outcome, "told twice");
    }

    for scorer in [&own, &peer] {
        heard(scorer, 2 * DAY);
        assert_eq!(failures(scorer, samples(&own)), [SOON]);
    }
}

#[test]
fn a_late_outcome_amends_what_was_unknown() {
    let scorer = scorer(1);
    login(&scorer, -2 * DAY, "other", true);
    login(&scorer, 0, "alice", false);
    scorer.score(record("late", "alice", None), at(5), 0).expect("sound");
    scorer.sweep(at(6), 60_000, 30_000);
    login(&scorer, 2 * DAY, "other", true);
    heard(&scorer, 2 * DAY);
    let before = failures(&scorer, samples(&scorer));
    assert_ne!(before, [SOON], "nobody told what became of the second attempt");

    scorer.outcome(record("late", "alice", Some(true)), at(2 * DAY)).expect("still known");

    assert_eq!(failures(&scorer, samples(&scorer)), [SOON]);
}

#[test]
fn the_attempts_of_before_a_restart_label_the_samples_after_it() {
    let before = scorer(1);
    login(&before, -2 * DAY, "other", true);
    login(&before, 0, "alice", false);
    login(&before, 5, "alice", true);
    heard(&before, 5);
    let (checkpoint, sampled) = (before.checkpoint(at(6)), samples(&before));

    let after = scorer(2);
    let restored = after.restore(&checkpoint, at(8));

    assert_eq!(restored, Restored { counters: true, memory: true });
    login(&after, 2 * DAY, "other", true);
    heard(&after, 2 * DAY);
    assert_eq!(failures(&after, sampled), [SOON]);
}

#[test]
fn a_node_that_was_away_for_long_does_not_know_what_happened_meanwhile() {
    for (back, known) in [(14, true), (26, false)] {
        let before = scorer(1);
        login(&before, -2 * DAY, "other", true);
        login(&before, 0, "alice", false);
        heard(&before, 5);
        let after = scorer(2);
        after.restore(&before.checkpoint(at(5)), at(back));
        login(&after, 2 * DAY, "other", true);
        heard(&after, 2 * DAY);

        let gap = failures(&after, samples(&before)) == [Some(FrozenLabel::Nothing(Reason::Gap))];

        assert_eq!(gap, !known, "back after {back} minutes");
    }
}

#[test]
fn without_a_usable_memory_the_counters_come_back_and_what_was_before_is_unknown() {
    let before = scorer(1);
    login(&before, -2 * DAY, "other", true);
    login(&before, 0, "alice", false);
    let whole = before.checkpoint(at(6));
    let counters = before.lock().tracker.encode();
    let damaged = &whole[..whole.len() - 1];
    for checkpoint in [&counters[..], damaged] {
        let after = scorer(2);
        assert_eq!(after.restore(checkpoint, at(7)), Restored { counters: true, memory: false });
        login(&after, 5, "alice", true);
        login(&after, 2 * DAY, "other", true);
        heard(&after, 2 * DAY);
        assert_eq!(failures(&after, samples(&before)), [Some(FrozenLabel::Nothing(Reason::Gap))]);
    }
    let nothing = Restored { counters: false, memory: false };
    assert_eq!(scorer(2).restore(&whole[..20], at(7)), nothing);
}

#[test]
fn events_that_never_came_make_their_time_unknown() {
    for missing in [false, true] {
        let (own, peer) = (scorer(1), scorer(2));
        login(&own, -2 * DAY, "other", true);
        login(&own, 0, "alice", false);
        login(&own, 5, "alice", true);
        login(&own, 30, "other", true);
        login(&own, 2 * DAY, "other", true);
        for (number, event) in told(&own).into_iter().enumerate() {
            heard(&peer, event.attempt.ts.millis().saturating_sub(at(0).millis()) / 60_000);
            if !missing || number != 2 {
                peer.apply_remote(&event, BootId([2; 16]));
            }
        }
        heard(&peer, 2 * DAY);

        let expected = if missing { Some(FrozenLabel::Nothing(Reason::Gap)) } else { SOON };
        assert_eq!(failures(&peer, samples(&own)), [expected], "missing: {missing}");
    }
}

#[test]
fn what_a_full_queue_dropped_is_missing_for_the_others_but_not_here() {
    let (own, peer) = (scorer(1), scorer(2));
    login(&own, -2 * DAY, "other", true);
    login(&own, 0, "alice", false);
    own.log.set_queue_max(2);
    login(&own, 5, "alice", true);
    own.log.set_queue_max(1000);
    login(&own, 2 * DAY, "other", true);
    heard(&peer, -2 * DAY);
    for event in told(&own) {
        peer.apply_remote(&event, BootId([2; 16]));
    }
    heard(&peer, 2 * DAY);
    heard(&own, 2 * DAY);

    assert_eq!(failures(&own, samples(&own)), [SOON]);
    assert_eq!(failures(&peer, samples(&own)), [Some(FrozenLabel::Nothing(Reason::Gap))]);
}

#[test]
fn history_is_remembered_apart() {
    let scorer = scorer(1);
    let record = |minutes: i64, user: &str, success: bool| AttemptRecord {
        ts: Some(at(minutes).to_string()),
        ..record(&format!("{user} at {minutes}"), user, Some(success))
    };
    let later = at(30 * DAY);
    let events = [(-2 * DAY, "other", true), (-DAY, "other", true), (0, "alice", false), (5, "alice", true)];
    for (minutes, user, success) in events.into_iter().chain([(DAY, "other", true), (DAY + 9, "other", true)]) {
        let checked = scorer.check(record(minutes, user, success), later).expect("sound");
        scorer.ingest(checked, later).expect("new");
    }

    assert!(samples(&scorer).iter().all(|sample| sample.historical));
    assert_eq!(failures(&scorer, samples(&scorer)), [SOON]);
    let stats = scorer.digested().stats();
    assert_eq!((stats.live.bytes, stats.gaps), (0, 0));
}
