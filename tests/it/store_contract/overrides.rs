//! What operators have ordered for single pairs: shared, bounded, announced, and gone when it has ended.

use nauthilus_neural::clock;
use nauthilus_neural::detection::attempt::{Pseudonym, Timestamp};
use nauthilus_neural::detection::overrides::{OVERRIDES_MAX, Override, OverrideKind, REASON_MAX, parse_network};
use nauthilus_neural::store::overrides::{OverridesChange, OverridesReply, StoredOverrides};

use super::*;

/// An order for the nth account that ends so many milliseconds from now.
pub(super) fn order(number: usize, lasts_ms: i64) -> Override {
    let mut account = [0; 16];
    account[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Override {
        account: Pseudonym(account),
        network: parse_network("198.51.100.7").expect("an address"),
        kind: OverrideKind::Block,
        since: Timestamp::from_millis(1_700_000_000_000),
        until: clock::now().plus_millis(lasts_ms),
        by: "alice".to_owned(),
        reason: "ticket 4711".to_owned(),
    }
}

const HOUR: i64 = 3_600_000;

async fn done(store: &Shared, change: OverridesChange) -> u64 {
    match store.change_overrides(&change).await.unwrap() {
        OverridesReply::Done(changed) => changed,
        OverridesReply::Full => panic!("there is room"),
    }
}

/// Everything that is stored, by account.
async fn all(store: &Shared) -> StoredOverrides {
    let mut stored = store.overrides(Some("another")).await.unwrap().expect("another revision");
    stored.orders.sort_by_key(|order| order.account);
    stored
}

pub(super) async fn an_order_is_put_replaced_taken_back_and_announced(store: Shared) {
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);
    assert_eq!(store.overrides(None).await.unwrap(), None, "nobody ever ordered anything");
    assert_eq!(all(&store).await, StoredOverrides::default());

    let (first, second) = (order(1, HOUR), order(2, HOUR));
    assert_eq!(done(&store, OverridesChange::Put(first.clone())).await, 1);
    assert_eq!(next_announcement(&mut signals).await.kind, AnnouncementKind::Overrides);
    let one = store.overrides(None).await.unwrap().expect("news");
    assert_eq!(one.orders, std::slice::from_ref(&first));
    assert_eq!(store.overrides(one.revision.as_deref()).await.unwrap(), None, "no news");

    let replaced = Override { kind: OverrideKind::Release, ..first.clone() };
    done(&store, OverridesChange::Put(second.clone())).await;
    done(&store, OverridesChange::Put(replaced.clone())).await;
    let two = all(&store).await;
    assert_eq!(two.orders, [replaced, second.clone()]);
    assert_ne!(two.revision, one.revision);

    assert_eq!(done(&store, OverridesChange::Remove(first.id())).await, 1);
    let three = all(&store).await;
    assert_eq!(three.orders, std::slice::from_ref(&second));
    assert_ne!(three.revision, two.revision, "whoever asks by revision hears that one is gone");
    for _ in 0..3 {
        assert_eq!(next_announcement(&mut signals).await.kind, AnnouncementKind::Overrides);
    }
    let before = all(&store).await;
    assert_eq!(done(&store, OverridesChange::Remove(first.id())).await, 0);
    assert_eq!(all(&store).await, before);
    nothing_else(&store, &mut signals).await;
    assert_eq!(store.registry().await.unwrap().generation, 0, "the registry is not touched");
    done(&store, OverridesChange::Remove(second.id())).await;
    assert!(all(&store).await.revision.is_some(), "an empty list is not a lost one");
}

pub(super) async fn what_has_ended_is_swept_out_quietly(store: Shared) {
    for (number, lasts) in [(1, -1), (2, HOUR), (3, -HOUR)] {
        done(&store, OverridesChange::Put(order(number, lasts))).await;
    }
    let before = all(&store).await;
    let mut signals = store.subscribe();
    assert_eq!(next_signal(&mut signals).await, Signal::Subscribed);

    assert_eq!(done(&store, OverridesChange::Prune).await, 2);

    let after = all(&store).await;
    assert_eq!(after.orders.iter().map(|order| order.account).collect::<Vec<_>>(), [before.orders[1].account]);
    assert_ne!(after.revision, before.revision);
    assert_eq!(done(&store, OverridesChange::Prune).await, 0);
    assert_eq!(all(&store).await, after);
    nothing_else(&store, &mut signals).await;
}

pub(super) async fn orders_are_put_back_only_into_a_store_that_knows_of_none(store: Shared) {
    let lost = vec![order(1, HOUR), order(2, HOUR)];
    assert_eq!(done(&store, OverridesChange::Restore(lost.clone())).await, 2);
    assert_eq!(all(&store).await.orders.len(), 2);

    for order in &lost {
        done(&store, OverridesChange::Remove(order.id())).await;
    }
    assert_eq!(done(&store, OverridesChange::Restore(lost)).await, 0, "they were taken back, not lost");
    assert!(all(&store).await.orders.is_empty());
}

pub(super) async fn orders_are_bounded_and_ended_ones_make_room(store: Shared) {
    let ended = order(0, -1);
    let many: Vec<_> = (1..OVERRIDES_MAX).map(|number| order(number, HOUR)).chain([ended.clone()]).collect();
    assert_eq!(done(&store, OverridesChange::Restore(many)).await, OVERRIDES_MAX as u64);

    let next = order(OVERRIDES_MAX, HOUR);
    assert_eq!(done(&store, OverridesChange::Put(next.clone())).await, 1, "in the place of the ended one");
    assert!(all(&store).await.orders.iter().all(|order| order.account != ended.account));
    let before = all(&store).await.revision;
    let one_more = OverridesChange::Put(order(OVERRIDES_MAX + 1, HOUR));
    assert_eq!(store.change_overrides(&one_more).await.unwrap(), OverridesReply::Full);
    assert_eq!(all(&store).await.revision, before);
    assert_eq!(done(&store, OverridesChange::Put(Override { by: "bob".into(), ..next })).await, 1, "the same pair");
    assert_eq!(all(&store).await.orders.len(), OVERRIDES_MAX);

    let long = Override { reason: "\u{10ffff}".repeat(3 * REASON_MAX), ..order(1, HOUR) };
    let refused = store.change_overrides(&OverridesChange::Put(long)).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
}
