//! The calls on what operators have ordered for single pairs.

use super::connection::{BLOB_TIMEOUT, RESPONSE_TIMEOUT};
use super::{RedisStore, unexpected, with_keys};
use crate::detection::overrides::{OVERRIDES_MAX, Override};
use crate::store::StoreError;
use crate::store::overrides::{self, OverridesChange, OverridesReply, StoredOverrides};

impl RedisStore {
    pub(super) async fn read_overrides(&self, known: Option<&str>) -> Result<Option<StoredOverrides>, StoreError> {
        const OPERATION: &str = "read the overrides";
        let mut invocation = with_keys(&self.scripts.read_overrides, [self.keys.overrides()]);
        invocation.arg(known.unwrap_or_default()).arg(OVERRIDES_MAX);
        let answer: Vec<Vec<u8>> = self.script(OPERATION, BLOB_TIMEOUT, &invocation).await?;
        let mut pairs = answer.chunks_exact(2);
        let Some([_, revision]) = pairs.next() else { return Ok(None) };
        let orders = pairs.filter_map(|pair| read(&pair[1])).collect();
        Ok(Some(StoredOverrides { revision: overrides::revision(revision), orders }))
    }

    pub(super) async fn write_overrides(&self, change: &OverridesChange) -> Result<OverridesReply, StoreError> {
        const OPERATION: &str = "change the overrides";
        change.check(OPERATION)?;
        let step = match change {
            OverridesChange::Put(_) => "put",
            OverridesChange::Remove(_) => "remove",
            OverridesChange::Prune => "prune",
            OverridesChange::Restore(_) => "restore",
        };
        let mut invocation = with_keys(&self.scripts.overrides, [self.keys.overrides(), self.keys.meta()]);
        invocation.arg(step).arg(overrides::new_revision()).arg(&self.origin);
        invocation.arg(self.keys.announcements()).arg(OVERRIDES_MAX);
        match change {
            OverridesChange::Put(order) => {
                invocation.arg(order.id().to_string()).arg(written(order));
            }
            OverridesChange::Remove(id) => {
                invocation.arg(id.to_string());
            }
            OverridesChange::Prune => {}
            OverridesChange::Restore(orders) => {
                for order in orders {
                    invocation.arg(order.id().to_string()).arg(written(order));
                }
            }
        }
        let limit = if matches!(change, OverridesChange::Restore(_)) { BLOB_TIMEOUT } else { RESPONSE_TIMEOUT };
        let changed: i64 = self.deed(OPERATION, limit, invocation).await?;
        match u64::try_from(changed) {
            Ok(changed) => Ok(OverridesReply::Done(changed)),
            Err(_) if changed == -1 => Ok(OverridesReply::Full),
            Err(_) => Err(unexpected(OPERATION)),
        }
    }
}

/// The end of an order, for the scripts, before what a node reads.
fn written(order: &Override) -> Vec<u8> {
    let mut document = format!("{} ", order.until.millis().max(0)).into_bytes();
    document.extend_from_slice(&order.encode());
    document
}

fn read(document: &[u8]) -> Option<Override> {
    let space = document.iter().position(|byte| *byte == b' ')?;
    Override::decode(&document[space + 1..])
}
