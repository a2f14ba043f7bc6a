//! The rules as tables: a state, a request, the answer.

use std::time::Duration;

use super::*;

const TTL: Duration = Duration::from_secs(30);
const LINEAGE: [u8; 16] = [7; 16];
const ME: BootId = BootId([1; 16]);
const OTHER: BootId = BootId([2; 16]);
const KEEP: u64 = 2;

fn at(major: u64) -> Position {
    Position { major, minor: 0 }
}

fn schedule(slot_ms: i64) -> TriggerKey {
    TriggerKey::Schedule { name: "nightly".to_owned(), slot_ms }
}

fn command(id: &str) -> TriggerKey {
    TriggerKey::Command { id: id.to_owned() }
}

fn request(fence: u64, parent: Parent, generation: u64, content: u8) -> PublishRequest {
    PublishRequest {
        lease: Lease { holder: ME, fence },
        trigger: schedule(100),
        parent,
        model: ModelId { lineage: LINEAGE, generation, sha256: [content; 32] },
        format: 1,
        watermark: at(5),
        by_operator: false,
        history: b"{}".to_vec(),
        origin: "a".to_owned(),
        ends_learning: None,
    }
}

/// A registry on generation 3 with content 3, trained under fence 3; 1 and 2 are kept.
fn third() -> State {
    let mut state = State::default();
    for generation in 1..=3 {
        let parent = Parent { generation: generation - 1, sha256: state.registry.sha256 };
        let content = u8::try_from(generation).unwrap();
        let decided = decide_publish(&state, &request(generation, parent, generation, content), KEEP, 50);
        assert_eq!(decided.reply, PublishReply::Published);
        state = decided.next.unwrap();
    }
    state
}

fn parent(state: &State) -> Parent {
    Parent { generation: state.registry.generation, sha256: state.registry.sha256 }
}

#[test]
fn a_trigger_is_served_once() {
    let mut state = third();
    state.registry.watermark = at(5);
    state.registry.considered = at(9);
    state.commands = vec![CommandKey::of("c1")];

    for (trigger, served) in [
        (schedule(99), true),
        (schedule(100), true),
        (schedule(101), false),
        (TriggerKey::Schedule { name: "other".to_owned(), slot_ms: 1 }, false),
        (TriggerKey::Feedback { upto: at(5) }, true),
        (TriggerKey::Feedback { upto: at(9) }, true),
        (TriggerKey::Feedback { upto: Position { major: 9, minor: 1 } }, false),
        (command("c1"), true),
        (command("c2"), false),
    ] {
        let reply = decide_lease(&state, &trigger, ME, TTL, HighWater::default(), 1000).reply;
        assert_eq!(reply == LeaseReply::AlreadyDone, served, "{trigger:?}");
    }
}

#[test]
fn a_lease_is_exclusive_until_it_lapses_and_fences_only_grow() {
    let first = decide_lease(&State::default(), &command("a"), ME, TTL, HighWater::default(), 1000);
    let state = first.next.unwrap();
    assert_eq!(state.registry.fence, 1);

    let held = decide_lease(&state, &command("b"), OTHER, TTL, HighWater::default(), 30_999);
    assert_eq!(held.reply, LeaseReply::Held { remaining: Duration::from_millis(1) });
    assert_eq!(held.next, None);

    let lapsed = decide_lease(&state, &command("b"), OTHER, TTL, HighWater { fence: 41, generation: 0 }, 31_000);
    let LeaseReply::Acquired { lease, registry } = lapsed.reply else { panic!("the lease lapsed") };
    assert_eq!((lease.fence, registry.fence), (42, 42));

    let set_back = decide_lease(&state, &command("b"), OTHER, TTL, HighWater::default(), 999);
    assert!(matches!(set_back.reply, LeaseReply::Acquired { .. }), "a clock set back must not block trainings");
}

#[test]
fn d23_only_the_holder_renews_and_releases() {
    let acquired = decide_lease(&State::default(), &command("a"), ME, TTL, HighWater::default(), 1000);
    let state = acquired.next.unwrap();
    let mine = Lease { holder: ME, fence: 1 };

    for (lease, now_ms, renewed) in [
        (mine, 2000, true),
        (Lease { holder: OTHER, fence: 1 }, 2000, false),
        (Lease { holder: ME, fence: 2 }, 2000, false),
        (mine, 31_000, false),
    ] {
        assert_eq!(decide_renewal(&state, lease, TTL, now_ms).reply, renewed, "{lease:?} at {now_ms}");
    }
    assert_eq!(decide_release(&state, Lease { holder: OTHER, fence: 1 }).next, None);
    assert_eq!(decide_release(&state, mine).next.unwrap().lease, None);
}

#[test]
fn a_publish_moves_everything_in_one_step() {
    let state = third();
    let mut next_request = request(4, parent(&state), 4, 4);
    next_request.watermark = at(8);
    next_request.trigger = TriggerKey::Feedback { upto: at(8) };

    let next = decide_publish(&state, &next_request, KEEP, 77).next.unwrap();

    let registry = &next.registry;
    assert_eq!((registry.generation, registry.sha256), (4, Some([4; 32])));
    assert_eq!((registry.published_fence, registry.fence), (4, 4));
    assert_eq!((registry.watermark, registry.considered), (at(8), Position::START));
    assert_eq!((registry.trained_at_ms, registry.feedback_trained_at_ms), (Some(77), Some(77)));
    assert_eq!(registry.slots.get("nightly"), Some(&100));
}

#[test]
fn marks_never_run_backwards() {
    let state = third();
    let mut older = request(4, parent(&state), 4, 4);
    older.watermark = at(1);
    older.trigger = schedule(1);

    let next = decide_publish(&state, &older, KEEP, 77).next.unwrap();

    assert_eq!(next.registry.watermark, at(5));
    assert_eq!(next.registry.slots.get("nightly"), Some(&100));
}

#[test]
fn each_objection_to_a_publish_has_its_answer() {
    let state = third();
    let good = request(4, parent(&state), 4, 4);
    let pinned = State { registry: Registry { pinned: true, ..state.registry.clone() }, ..state.clone() };
    let stale_parent = Parent { generation: 2, sha256: Some([2; 32]) };
    let foreign = ModelId { lineage: [8; 16], ..good.model };

    let cases: [(&str, &State, PublishRequest, PublishReply); 12] = [
        ("good", &state, good.clone(), PublishReply::Published),
        (
            "jump",
            &state,
            PublishRequest { model: ModelId { generation: 9, ..good.model }, ..good.clone() },
            PublishReply::Published,
        ),
        ("fence", &state, request(2, parent(&state), 4, 4), PublishReply::StaleFence),
        ("repeat", &state, request(3, stale_parent, 3, 3), PublishReply::AlreadyPublished),
        ("repeat with a later fence", &state, request(4, stale_parent, 3, 3), PublishReply::ParentChanged),
        ("parent", &state, request(4, stale_parent, 4, 4), PublishReply::ParentChanged),
        (
            "parent's content",
            &state,
            request(4, Parent { generation: 3, sha256: None }, 4, 4),
            PublishReply::ParentChanged,
        ),
        ("lineage", &state, PublishRequest { model: foreign, ..good.clone() }, PublishReply::WrongIdentity),
        ("generation", &state, request(4, parent(&state), 3, 4), PublishReply::WrongIdentity),
        ("too large", &state, request(4, parent(&state), NUMBER_MAX + 1, 4), PublishReply::WrongIdentity),
        ("pinned", &pinned, good.clone(), PublishReply::Pinned),
        ("format", &state, PublishRequest { format: 0, ..good.clone() }, PublishReply::OldFormat),
    ];
    for (name, state, request, expected) in cases {
        let decided = decide_publish(state, &request, KEEP, 77);
        assert_eq!(decided.reply, expected, "{name}");
        assert_eq!(decided.next.is_some(), expected == PublishReply::Published, "{name}");
    }

    let by_operator = decide_publish(&pinned, &PublishRequest { by_operator: true, ..good }, KEEP, 77);
    assert!(!by_operator.next.unwrap().registry.pinned, "an operator's training unpins");
}

#[test]
fn a_refusal_moves_considered_and_is_idempotent() {
    let state = third();
    let refusal = |fence| RefusalRequest {
        lease: Lease { holder: ME, fence },
        trigger: command("c"),
        considered: at(9),
        history: Vec::new(),
        candidate: None,
    };

    assert_eq!(decide_refusal(&state, &refusal(2), 77).reply, RefusalReply::StaleFence);
    let next = decide_refusal(&state, &refusal(4), 77).next.unwrap();
    assert_eq!((next.registry.considered, next.registry.watermark), (at(9), at(5)));
    assert_eq!((next.registry.published_fence, next.registry.generation), (4, 3));
    assert!(next.served(&command("c")));
    let again = decide_refusal(&next, &refusal(4), 99);
    assert_eq!((again.reply, again.next), (RefusalReply::Recorded, None));
}

#[test]
fn a_training_is_stale_once_a_later_one_ended() {
    let state = third();
    let refusal = RefusalRequest {
        lease: Lease { holder: OTHER, fence: 9 },
        trigger: command("c"),
        considered: at(1),
        history: Vec::new(),
        candidate: None,
    };
    let next = decide_refusal(&state, &refusal, 77).next.unwrap();

    let late = decide_publish(&next, &request(8, parent(&next), 4, 4), KEEP, 78);

    assert_eq!(late.reply, PublishReply::StaleFence);
}

#[test]
fn a_reset_leaves_the_marks_and_takes_the_pin() {
    let mut state = third();
    state.registry.pinned = true;

    let decided = decide_reset(&state, [9; 16]);

    assert_eq!(decided.reply, ResetReply { lineage: LINEAGE, generation: 4 });
    let registry = decided.next.unwrap().registry;
    assert_eq!((registry.sha256, registry.pinned, registry.watermark), (None, false, at(5)));
    assert_eq!(decide_reset(&State::default(), [9; 16]).reply, ResetReply { lineage: [9; 16], generation: 1 });
}

#[test]
fn rolling_back_twice_goes_back_twice_and_never_lowers_the_generation() {
    let state = third();
    let rolled = |state: &State, generation| decide_rollback(state, generation, KEEP, |_| true);
    let id = |generation, content| {
        RollbackReply::RolledBack(ModelId { lineage: LINEAGE, generation, sha256: [content; 32] })
    };

    let once = rolled(&state, None);
    assert_eq!(once.reply, id(4, 2));
    let once = once.next.unwrap();
    assert!(once.registry.pinned);
    assert_eq!(once.registry.watermark, at(5));
    let twice = rolled(&once, None);
    assert_eq!(twice.reply, id(5, 1));
    let twice = twice.next.unwrap();
    assert_eq!(rolled(&twice, None).reply, RollbackReply::NotFound);
    assert_eq!(rolled(&twice, Some(3)).reply, id(6, 3));
    assert_eq!(rolled(&twice, Some(7)).reply, RollbackReply::NotFound);
    assert_eq!(decide_rollback(&state, Some(2), KEEP, |_| false).reply, RollbackReply::NotFound);
}

#[test]
fn after_a_reset_the_last_model_can_come_back() {
    let reset = decide_reset(&third(), LINEAGE).next.unwrap();

    let reply = decide_rollback(&reset, None, KEEP, |_| true).reply;

    let expected = ModelId { lineage: LINEAGE, generation: 5, sha256: [3; 32] };
    assert_eq!(reply, RollbackReply::RolledBack(expected));
}

#[test]
fn the_oldest_content_falls_off_and_the_current_never_does() {
    let state = third();
    let fourth = decide_publish(&state, &request(4, parent(&state), 4, 4), KEEP, 77);
    assert_eq!(fourth.dropped, [[1; 32]]);

    let state = fourth.next.unwrap();
    let alone = decide_publish(&state, &request(5, parent(&state), 5, 5), 0, 77);
    assert_eq!(alone.dropped, [[4; 32], [3; 32], [2; 32]]);
    assert_eq!(alone.next.unwrap().kept, [Kept { generation: 5, sha256: [5; 32] }]);
}

#[test]
fn the_list_of_kept_generations_is_bounded() {
    let mut state = third();
    for _ in 0..2 * KEPT_MAX {
        let generation = if state.registry.sha256 == Some([3; 32]) { 2 } else { 3 };
        let target = state.kept.iter().find(|entry| entry.sha256 == [generation; 32]).unwrap().generation;
        state = decide_rollback(&state, Some(target), KEEP, |_| true).next.unwrap();
        assert!(state.kept.len() <= KEPT_MAX);
    }
}

#[test]
fn a_restore_only_fills_what_is_missing() {
    let model = ModelId { lineage: LINEAGE, generation: 3, sha256: [3; 32] };
    let state = third();
    let other = ModelId { generation: 2, sha256: [2; 32], ..model };

    for (name, state, model, present, restored) in [
        ("empty", &State::default(), model, false, true),
        ("whole", &state, model, true, false),
        ("blob missing", &state, model, false, true),
        ("not current", &state, other, false, false),
        ("after a reset", &decide_reset(&state, LINEAGE).next.unwrap(), model, true, false),
    ] {
        assert_eq!(decide_restore(state, model, present, KEEP).reply, restored, "{name}");
    }
    let next = decide_restore(&State::default(), model, false, KEEP).next.unwrap();
    assert_eq!((next.registry.generation, next.registry.sha256), (3, Some([3; 32])));
    assert_eq!(decide_rollback(&next, Some(3), KEEP, |_| true).next.map(|next| next.registry.generation), Some(4));
}

#[test]
fn command_triggers_are_remembered_up_to_a_bound() {
    let mut state = third();
    for number in 0..COMMANDS_MAX as u64 + 1 {
        let refusal = RefusalRequest {
            lease: Lease { holder: ME, fence: 4 + number },
            trigger: command(&number.to_string()),
            considered: Position::START,
            history: Vec::new(),
            candidate: None,
        };
        state = decide_refusal(&state, &refusal, 77).next.unwrap();
    }

    assert_eq!(state.commands.len(), COMMANDS_MAX);
    assert!(!state.served(&command("0")));
    assert!(state.served(&command("1")));
}

#[test]
fn the_state_reads_back_from_its_stored_form() {
    let mut state = third();
    state.commands = vec![CommandKey::of("a")];
    state.lease = Some(HeldLease { holder: [1; 16], fence: 3, since_ms: 1, until_ms: 2 });

    let bytes = serde_json::to_vec(&state).unwrap();

    assert_eq!(serde_json::from_slice::<State>(&bytes).unwrap(), state);
}
