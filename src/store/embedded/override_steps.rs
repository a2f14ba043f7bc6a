//! The steps on what operators have ordered for single pairs, inside a transaction.

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::file::{META, OVERRIDES, OVERRIDES_REVISION};
use super::registry_steps::{announce, state};
use super::writer::Answered;
use crate::detection::overrides::{OVERRIDES_MAX, Override};
use crate::store::entry::AnnouncementKind;
use crate::store::overrides::{self, OverridesChange, OverridesReply, StoredOverrides};

/// All orders, unless their revision is `known`.
pub(super) fn read(transaction: &ReadTransaction, known: Option<&str>) -> Result<Option<StoredOverrides>, redb::Error> {
    let stored = transaction.open_table(META)?.get(OVERRIDES_REVISION)?.map(|revision| revision.value().to_vec());
    let revision = stored.as_deref().and_then(overrides::revision);
    if revision.as_deref() == known {
        return Ok(None);
    }
    let table = transaction.open_table(OVERRIDES)?;
    let mut orders = Vec::new();
    for entry in table.iter()? {
        orders.extend(Override::decode(entry?.1.value().1));
    }
    Ok(Some(StoredOverrides { revision, orders }))
}

/// Carries out a change.
pub(super) fn change(
    operation: &'static str,
    transaction: &WriteTransaction,
    change: &OverridesChange,
    origin: &str,
    now_ms: i64,
) -> Result<Answered<OverridesReply>, redb::Error> {
    let changed = match change {
        OverridesChange::Put(order) => match put(transaction, order, now_ms)? {
            Some(changed) => changed,
            None => return Ok(OverridesReply::Full.into()),
        },
        OverridesChange::Remove(id) => {
            let mut table = transaction.open_table(OVERRIDES)?;
            u64::from(table.remove(id.to_string().as_str())?.is_some())
        }
        OverridesChange::Prune => forget_ended(transaction, now_ms)?,
        OverridesChange::Restore(orders) => restore(transaction, orders)?,
    };
    if changed == 0 {
        return Ok(OverridesReply::Done(0).into());
    }
    let mut meta = transaction.open_table(META)?;
    meta.insert(OVERRIDES_REVISION, overrides::new_revision().as_bytes())?;
    let announcement = match (change, state(operation, &meta)?) {
        (OverridesChange::Prune, _) => None,
        (_, Ok(state)) => Some(announce(AnnouncementKind::Overrides, &state.registry, origin)),
        (_, Err(error)) => return Ok(Answered { answer: Err(error), announcement: None }),
    };
    Ok(Answered { answer: Ok(OverridesReply::Done(changed)), announcement })
}

/// `None`: there is no room.
fn put(transaction: &WriteTransaction, order: &Override, now_ms: i64) -> Result<Option<u64>, redb::Error> {
    let id = order.id().to_string();
    let full = |max: usize| -> Result<bool, redb::Error> {
        let table = transaction.open_table(OVERRIDES)?;
        Ok(table.get(id.as_str())?.is_none() && table.len()? >= max as u64)
    };
    if full(OVERRIDES_MAX)? {
        forget_ended(transaction, now_ms)?;
        if full(OVERRIDES_MAX)? {
            return Ok(None);
        }
    }
    insert(transaction, order)?;
    Ok(Some(1))
}

fn restore(transaction: &WriteTransaction, orders: &[Override]) -> Result<u64, redb::Error> {
    let stands = transaction.open_table(META)?.get(OVERRIDES_REVISION)?.is_some();
    if stands {
        return Ok(0);
    }
    orders.iter().try_for_each(|order| insert(transaction, order))?;
    Ok(orders.len() as u64)
}

fn insert(transaction: &WriteTransaction, order: &Override) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(OVERRIDES)?;
    let document = order.encode();
    table.insert(order.id().to_string().as_str(), (order.until.millis(), document.as_slice()))?;
    Ok(())
}

fn forget_ended(transaction: &WriteTransaction, now_ms: i64) -> Result<u64, redb::Error> {
    let mut table = transaction.open_table(OVERRIDES)?;
    let before = table.len()?;
    table.retain(|_, (until_ms, _)| until_ms > now_ms)?;
    Ok(before - table.len()?)
}
