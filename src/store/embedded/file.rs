//! The file: its tables, how it is opened, and what happens to one that cannot be read.
//!
//! A damaged file is put aside under another name, never deleted and never repaired by guessing.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, ReadableTable, StorageError, TableDefinition};

use crate::store::Position;
use crate::store::StoreError;
use crate::store::registry::State;

/// A position as a key: redb orders tuples like [`Position`].
pub(super) type PositionKey = (u64, u64);
/// A sample's place: its reservoir key in an order-preserving form, and the first bytes of its content's hash.
pub(super) type SampleKey = (u64, u128);

pub(super) const ATTEMPTS: TableDefinition<PositionKey, &[u8]> = TableDefinition::new("attempts");
pub(super) const SAMPLES_SUCCESS: TableDefinition<SampleKey, &[u8]> = TableDefinition::new("samples_success");
pub(super) const SAMPLES_FAILURE: TableDefinition<SampleKey, &[u8]> = TableDefinition::new("samples_failure");
/// Position to (idempotency id, bytes).
pub(super) const FEEDBACK: TableDefinition<PositionKey, (&str, &[u8])> = TableDefinition::new("feedback");
pub(super) const FEEDBACK_IDS: TableDefinition<&str, PositionKey> = TableDefinition::new("feedback_ids");
/// Single values: [`STATE`], [`MODE`], the last positions, the format.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub(super) const MODELS: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("models");
pub(super) const HISTORY: TableDefinition<u64, &[u8]> = TableDefinition::new("history");
/// Command id to (since, until) of its claim.
pub(super) const CLAIMS: TableDefinition<&str, (i64, i64)> = TableDefinition::new("claims");
/// Command id to (end of its keeping, result).
pub(super) const RESULTS: TableDefinition<&str, (i64, &[u8])> = TableDefinition::new("results");
pub(super) const AUDIT: TableDefinition<u64, (i64, &[u8])> = TableDefinition::new("audit");
/// Id of a pair to (end of the order in ms, the order).
pub(super) const OVERRIDES: TableDefinition<&str, (i64, &[u8])> = TableDefinition::new("overrides");

/// JSON of the registry's [`State`].
pub(super) const STATE: &str = "state";
/// Learning mode: the line of `store::mode`, or one byte as it was written before.
pub(super) const MODE: &str = "mode";
/// The candidate that waits for an approval: its description, and its artifact.
pub(super) const CANDIDATE: &str = "candidate";
pub(super) const CANDIDATE_MODEL: &str = "candidate_model";
/// Entry of [`META`]: the list of additional features.
pub(super) const FEATURES: &str = "features";
/// Entry of [`META`]: the measures against attacks, after the time until which they are kept (8 bytes, little-endian).
pub(super) const PROTECTION: &str = "protection";
/// Entry of [`META`]: the revision of [`OVERRIDES`].
pub(super) const OVERRIDES_REVISION: &str = "overrides_revision";
/// Entry of [`META`]: the fleet's pseudonym key.
pub(super) const PSEUDONYM_KEY: &str = "pseudonym_key";
/// The last positions handed out, kept so that they never come again after everything was trimmed.
pub(super) const ATTEMPTS_LAST: &str = "attempts_last";
pub(super) const FEEDBACK_LAST: &str = "feedback_last";
/// Format of this file.
const FORMAT_KEY: &str = "format";
const FORMAT: u8 = 1;

const OPERATION: &str = "open the embedded store";
/// Pages kept in memory. The library's own default is 1 GiB, as much as the unit lets the daemon have; reads are rare
/// (a start, a training), and writes go out with each commit.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Why a file did not open.
pub(super) enum OpenError {
    /// Trying again later may help (and did not, at start).
    Later(redb::Error),
    /// A person must act.
    Refused(StoreError),
    /// The content is not ours or not whole.
    Damaged(String),
}

/// Opens the file or creates it; a damaged one is renamed first, and its new name is answered too.
pub(super) fn open_or_replace(path: &Path, now_ms: i64) -> Result<(Database, Option<PathBuf>), OpenError> {
    match open(path) {
        Err(OpenError::Damaged(reason)) => {
            let aside = put_aside(path, now_ms).map_err(|error| OpenError::Later(redb::Error::Io(error)))?;
            tracing::error!("the embedded store was damaged ({reason}), it is kept as {}", aside.display());
            open(path).map(|database| (database, Some(aside)))
        }
        other => other.map(|database| (database, None)),
    }
}

fn open(path: &Path) -> Result<Database, OpenError> {
    create_private(path).map_err(|error| OpenError::Later(redb::Error::Io(error)))?;
    // redb checks with assertions too; a damaged page must not take the daemon down.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| sort(path, error))?;
        prepare(&database)?;
        Ok(database)
    }));
    opened.unwrap_or_else(|_| Err(OpenError::Damaged("its pages contradict each other".to_owned())))
}

/// Creates the file for its owner only, if it is not there: it holds pseudonyms and addresses.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn sort(path: &Path, error: DatabaseError) -> OpenError {
    let refused = |remedy: String, error: DatabaseError| {
        OpenError::Refused(StoreError::Refused { operation: OPERATION, remedy, source: Some(Box::new(error)) })
    };
    match error {
        DatabaseError::DatabaseAlreadyOpen => {
            refused(format!("another process has {} open; stop it, or talk to it by HTTP", path.display()), error)
        }
        DatabaseError::UpgradeRequired(_) => {
            refused(format!("{} was written by another version; move it away", path.display()), error)
        }
        DatabaseError::RepairAborted => OpenError::Damaged("it could not be repaired".to_owned()),
        DatabaseError::Storage(storage) => sort_storage(storage),
        other => OpenError::Later(other.into()),
    }
}

fn sort_storage(error: StorageError) -> OpenError {
    match error {
        StorageError::Corrupted(reason) => OpenError::Damaged(reason),
        StorageError::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
            OpenError::Damaged(error.to_string())
        }
        other => OpenError::Later(other.into()),
    }
}

/// Creates what is missing and reads what must be readable.
fn prepare(database: &Database) -> Result<(), OpenError> {
    let written = || -> Result<Option<u8>, redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(ATTEMPTS)?;
        transaction.open_table(SAMPLES_SUCCESS)?;
        transaction.open_table(SAMPLES_FAILURE)?;
        transaction.open_table(FEEDBACK)?;
        transaction.open_table(FEEDBACK_IDS)?;
        transaction.open_table(MODELS)?;
        transaction.open_table(HISTORY)?;
        transaction.open_table(CLAIMS)?;
        transaction.open_table(RESULTS)?;
        transaction.open_table(AUDIT)?;
        transaction.open_table(OVERRIDES)?;
        let format = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(FORMAT_KEY)?.and_then(|value| value.value().first().copied());
            if found.is_none() {
                meta.insert(FORMAT_KEY, &[FORMAT][..])?;
            }
            if let Some(state) = meta.get(STATE)? {
                serde_json::from_slice::<State>(state.value())
                    .map_err(|error| redb::Error::Corrupted(format!("the registry does not read: {error}")))?;
            }
            found
        };
        transaction.commit()?;
        Ok(format)
    };
    match written() {
        Ok(Some(format)) if format > FORMAT => {
            let remedy = format!("the file has format {format}, this version writes {FORMAT}; upgrade this node");
            Err(OpenError::Refused(StoreError::Refused { operation: OPERATION, remedy, source: None }))
        }
        Ok(_) => Ok(()),
        Err(redb::Error::Corrupted(reason)) => Err(OpenError::Damaged(reason)),
        Err(error @ (redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. })) => {
            Err(OpenError::Damaged(error.to_string()))
        }
        Err(error) => Err(OpenError::Later(error)),
    }
}

/// Renames the file to `<name>.bad-<unix time>`.
fn put_aside(path: &Path, now_ms: i64) -> std::io::Result<PathBuf> {
    let mut second = now_ms.div_euclid(1000);
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".bad-{second}"));
        let aside = PathBuf::from(name);
        if !aside.exists() {
            std::fs::rename(path, &aside)?;
            return Ok(aside);
        }
        second += 1;
    }
}

/// The position after `last`: store time, or one further in the same millisecond, as in a Redis stream.
pub(super) fn next_position(last: Position, now_ms: i64) -> Position {
    let now = u64::try_from(now_ms).unwrap_or(0);
    if now > last.major { Position { major: now, minor: 0 } } else { Position { minor: last.minor + 1, ..last } }
}

/// An order-preserving form of a finite reservoir key.
pub(super) fn ordered(key: f64) -> u64 {
    // Adding zero turns -0.0 into 0.0, which are equal keys.
    let bits = (key + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The reservoir key of its ordered form.
pub(super) fn unordered(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservoir_keys_keep_their_order_and_value() {
        let keys = [f64::MIN, -1.5, -f64::MIN_POSITIVE, 0.0, 5e-324, 0.25, 1.0, f64::MAX];

        assert!(keys.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
        assert!(keys.iter().all(|key| unordered(ordered(*key)) == *key));
        assert_eq!(ordered(-0.0), ordered(0.0));
    }

    #[test]
    fn positions_grow_when_the_clock_does_not() {
        let at = |major, minor| Position { major, minor };
        for (last, now, expected) in [
            (Position::START, 7, at(7, 0)),
            (at(7, 0), 7, at(7, 1)),
            (at(7, 1), 6, at(7, 2)),
            (at(7, 1), -1, at(7, 2)),
            (at(7, 1), 8, at(8, 0)),
            (Position::START, 0, at(0, 1)),
        ] {
            assert_eq!(next_position(last, now), expected);
        }
    }
}
