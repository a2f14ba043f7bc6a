//! Reads an old Redis: every value is measured by the server before it is sent, every reading ends.
//!
//! Nothing is written and nothing is kept open. What is read is parsed elsewhere; a value that is too long or of another
//! type is an error of its key, never a long wait.

use std::collections::BTreeSet;

use redis::{Script, Value};

use super::encodings::{ENCODINGS_BYTES_MAX, Encodings, FEATURE_NAME_MAX, FEATURES_MAX, decode_feature_names};
use super::flags::{Flags, VALUE_MAX, decode_time};
use super::layout::Layout;
use super::model::{MODEL_BYTES_MAX, UpstreamModel};
use super::source::{ReadError, Source, unavailable};
use super::training::{RECORD_MAX, RECORDS_MAX};
use super::{FormatError, wrong};

/// All training records together: 250 MB are ten times the largest list of ordinary records.
const ALL_RECORDS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Records of one round trip.
const PAGE: usize = 500;
/// Keys looked at in the search for instances, and most instances.
const SCAN_ROUNDS_MAX: usize = 5000;
const SCAN_COUNT: usize = 1000;
const INSTANCES_MAX: usize = 64;

/// A page of a list; what is too long comes as its length.
const PAGE_SCRIPT: &str = "
local page = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
for i = 1, #page do
  if #page[i] > tonumber(ARGV[3]) then page[i] = #page[i] end
end
return page";
/// Two fields of a hash; likewise.
const FLAGS_SCRIPT: &str = "
local found = redis.call('HMGET', KEYS[1], 'trained', 'dry_run')
for i = 1, 2 do
  if found[i] and #found[i] > tonumber(ARGV[1]) then found[i] = #found[i] end
end
return found";

/// All members of a set, or one number when they are too many or one is too long.
const NAMES_SCRIPT: &str = "
if redis.call('SCARD', KEYS[1]) > tonumber(ARGV[1]) then return {0} end
local found = redis.call('SMEMBERS', KEYS[1])
for i = 1, #found do
  if #found[i] > tonumber(ARGV[2]) then return {0} end
end
return found";

/// What was found under one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<T> {
    /// There is no such key.
    Missing,
    /// It can be read.
    Found(T),
    /// It is not what the original writes.
    Unusable(FormatError),
}

impl<T> From<Result<T, FormatError>> for Item<T> {
    fn from(read: Result<T, FormatError>) -> Self {
        match read {
            Ok(value) => Self::Found(value),
            Err(error) => Self::Unusable(error),
        }
    }
}

/// One element of the list of training records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredRecord {
    /// Its bytes, at most [`RECORD_MAX`].
    Whole(Vec<u8>),
    /// It has so many bytes, more than any that the original writes, and was not sent.
    TooLong(i64),
}

impl StoredRecord {
    /// The bytes; `None` for one that is too long.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::TooLong(_) => None,
        }
    }
}

/// What one layout holds beside the training data.
#[derive(Debug, Clone, PartialEq)]
pub struct LayoutFound {
    /// Which.
    pub layout: Layout,
    /// Its model.
    pub model: Item<UpstreamModel>,
    /// The encodings beside it.
    pub encodings: Item<Encodings>,
    /// Names of additional features of which nothing else is said; only the branch of 1.7.20 kept such a list.
    pub feature_names: Item<BTreeSet<String>>,
    /// Its flags.
    pub flags: Item<Flags>,
    /// Seconds since the epoch.
    pub last_training: Item<i64>,
}

impl LayoutFound {
    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.model == Item::Missing
            && self.encodings == Item::Missing
            && self.feature_names == Item::Missing
            && self.flags == Item::Missing
            && self.last_training == Item::Missing
    }
}

impl Source {
    /// The instances of which the layout of the releases has keys, sorted; at most 64.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn instances(&self) -> Result<Vec<String>, ReadError> {
        let mut found = BTreeSet::new();
        let mut cursor = 0u64;
        for _ in 0..SCAN_ROUNDS_MAX {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(self.names.of_any_instance()).arg("COUNT").arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<Vec<u8>>) =
                scan.query_async(&mut self.connection.clone()).await.map_err(unavailable("search"))?;
            let keys = keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
            found.extend(keys.filter_map(|key| self.names.instance_of(key)));
            cursor = next;
            if next == 0 || found.len() >= INSTANCES_MAX {
                break;
            }
        }
        Ok(found.into_iter().take(INSTANCES_MAX).collect())
    }

    /// The newest training records as they are stored, newest first; at most `max`, and never more than the original keeps.
    ///
    /// # Errors
    /// When the server does not answer, and for lists that the original did not write.
    pub async fn training_records(&self, max: usize) -> Result<Vec<Vec<u8>>, ReadError> {
        let stored = self.records_until(max, |_| false).await?;
        let whole = stored.into_iter().enumerate().map(|(index, record)| match record {
            StoredRecord::Whole(bytes) => Ok(bytes),
            StoredRecord::TooLong(bytes) => Err(ReadError::LongRecord { number: index + 1, bytes }),
        });
        whole.collect()
    }

    /// As [`training_records`](Self::training_records), but only those newer than the first that is `known`, and with those
    /// that are too long.
    ///
    /// # Errors
    /// When the server does not answer, what lies there is no list, or there is too much of it.
    pub async fn records_until(
        &self,
        max: usize,
        known: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<StoredRecord>, ReadError> {
        let key = self.names.training_data();
        match self.kind(&key).await?.as_str() {
            "none" => return Ok(Vec::new()),
            "list" => {}
            kind => return Err(ReadError::NoList { key, kind: kind.chars().take(32).collect() }),
        }
        let (script, max) = (Script::new(PAGE_SCRIPT), max.min(RECORDS_MAX));
        let (mut records, mut bytes): (Vec<StoredRecord>, usize) = (Vec::new(), 0);
        while records.len() < max {
            let count = PAGE.min(max - records.len());
            let mut page = script.key(&key);
            page.arg(records.len()).arg(records.len() + count - 1).arg(RECORD_MAX);
            let page: Vec<Value> =
                page.invoke_async(&mut self.connection.clone()).await.map_err(unavailable("read training data of"))?;
            let complete = page.len() == count;
            for value in page {
                match value {
                    Value::BulkString(record) if known(&record) => return Ok(records),
                    Value::BulkString(record) => {
                        bytes += record.len();
                        records.push(StoredRecord::Whole(record));
                    }
                    Value::Int(bytes) => records.push(StoredRecord::TooLong(bytes)),
                    _ => return Err(ReadError::Unexpected),
                }
            }
            if bytes > ALL_RECORDS_BYTES_MAX {
                return Err(ReadError::TooMuch);
            }
            if !complete {
                break;
            }
        }
        Ok(records)
    }

    /// Everything of one layout but the training data, which all share.
    ///
    /// # Errors
    /// When the server does not answer. What is not of the original is an [`Item::Unusable`].
    pub async fn layout(&self, layout: &Layout) -> Result<LayoutFound, ReadError> {
        let model = self.text(&self.names.model(layout), MODEL_BYTES_MAX, UpstreamModel::decode).await?;
        let encodings = self.text(&self.names.encodings(layout), ENCODINGS_BYTES_MAX, Encodings::decode).await?;
        let feature_names = match layout {
            Layout::Global => self.feature_names().await?,
            Layout::Released { .. } | Layout::Common => Item::Missing,
        };
        let flags = self.flags_of(layout).await?;
        let last_training = self.text(&self.names.last_training_time(layout), VALUE_MAX, decode_time).await?;
        Ok(LayoutFound { layout: layout.clone(), model, encodings, feature_names, flags, last_training })
    }

    /// The flags of one layout.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn flags_of(&self, layout: &Layout) -> Result<Item<Flags>, ReadError> {
        self.flags(&self.names.flags(layout)).await
    }

    /// The set of names of the branch of 1.7.20.
    async fn feature_names(&self) -> Result<Item<BTreeSet<String>>, ReadError> {
        let key = self.names.feature_names();
        match self.kind(&key).await?.as_str() {
            "none" => return Ok(Item::Missing),
            "set" => {}
            _ => return Ok(Item::Unusable(wrong("type", "is not a set"))),
        }
        let script = Script::new(NAMES_SCRIPT);
        let mut call = script.key(&key);
        call.arg(FEATURES_MAX).arg(FEATURE_NAME_MAX);
        let found: Vec<Value> =
            call.invoke_async(&mut self.connection.clone()).await.map_err(unavailable("read the features of"))?;
        let mut names = Vec::with_capacity(found.len());
        for value in found {
            match value {
                Value::BulkString(name) => names.push(name),
                Value::Int(_) => return Ok(Item::Unusable(wrong("names", "are too many, or too long"))),
                _ => return Err(ReadError::Unexpected),
            }
        }
        Ok(decode_feature_names(names).into())
    }

    async fn flags(&self, key: &str) -> Result<Item<Flags>, ReadError> {
        match self.kind(key).await?.as_str() {
            "none" => return Ok(Item::Missing),
            "hash" => {}
            _ => return Ok(Item::Unusable(wrong("type", "is not a hash"))),
        }
        let script = Script::new(FLAGS_SCRIPT);
        let mut call = script.key(key);
        call.arg(VALUE_MAX);
        let found: Vec<Value> =
            call.invoke_async(&mut self.connection.clone()).await.map_err(unavailable("read the flags of"))?;
        let mut fields = Vec::with_capacity(2);
        for value in found {
            match value {
                Value::BulkString(bytes) => fields.push(Some(bytes)),
                Value::Nil => fields.push(None),
                Value::Int(bytes) => {
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    return Ok(Item::Unusable(FormatError::TooLarge { bytes, max: VALUE_MAX }));
                }
                _ => return Err(ReadError::Unexpected),
            }
        }
        let [trained, dry_run] = fields.as_slice() else { return Err(ReadError::Unexpected) };
        Ok(Flags::decode(trained.as_deref(), dry_run.as_deref()).into())
    }

    /// A string of at most `max` bytes; of a longer one no more than that is sent.
    async fn text<T>(
        &self,
        key: &str,
        max: usize,
        decode: impl Fn(&[u8]) -> Result<T, FormatError>,
    ) -> Result<Item<T>, ReadError> {
        match self.kind(key).await?.as_str() {
            "none" => return Ok(Item::Missing),
            "string" => {}
            _ => return Ok(Item::Unusable(wrong("type", "is not a string"))),
        }
        let mut connection = self.connection.clone();
        let bytes: usize = redis::cmd("STRLEN")
            .arg(key)
            .query_async(&mut connection)
            .await
            .map_err(unavailable("measure a key of"))?;
        if bytes > max {
            return Ok(Item::Unusable(FormatError::TooLarge { bytes, max }));
        }
        // Bounded again: somebody may have written since.
        let mut range = redis::cmd("GETRANGE");
        range.arg(key).arg(0).arg(max);
        let bytes: Vec<u8> = range.query_async(&mut connection).await.map_err(unavailable("read a key of"))?;
        Ok(if bytes.is_empty() { Item::Missing } else { decode(&bytes).into() })
    }
}
