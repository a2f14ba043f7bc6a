//! Puts training records of Nauthilus 1.7 into the store, as samples with their labels.
//!
//! It decides nothing: what a record teaches, and whether it does, was found when it was read. Taking in the same record
//! again changes nothing, so whoever was interrupted begins anew.

use crate::learning::labels::Label;
use crate::store::entry::BATCH_MAX;
use crate::store::upstream::training::TrainingRecord;
use crate::store::{Store, StoreError};

/// What was handed to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Records of successes.
    pub legitimate: usize,
    /// Records of failures.
    pub attacks: usize,
}

/// Offers the records to the reservoir, which may prefer others.
///
/// # Errors
/// When the store cannot be written; whole batches of what came before are there then.
pub async fn take_in(store: &dyn Store, records: &[TrainingRecord]) -> Result<Taken, StoreError> {
    let mut taken = Taken::default();
    for chunk in records.chunks(BATCH_MAX) {
        let entries: Vec<_> = chunk.iter().map(TrainingRecord::entry).collect();
        store.add_samples(&entries).await?;
        let attacks = chunk.iter().filter(|record| record.rule().labelled().label == Label::Attack).count();
        taken.attacks += attacks;
        taken.legitimate += chunk.len() - attacks;
    }
    Ok(taken)
}
