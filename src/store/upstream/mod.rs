//! The formats that Nauthilus 1.7 keeps in Redis: what is read from them, and what is written for its nodes.
//!
//! Parsing is pure and lies in files of its own: `training` (records), `model`, `encodings`, `flags` (with the times and
//! messages); `sample` turns a record into a sample of ours, `convert` a model into a network of ours and `export` one of ours
//! into theirs. `layout` has the names of keys; `source`, `read`, `write`, `mirror` and `mirror_members` talk to Redis.
//! Everything is foreign: sizes, counts, depths and numbers are bounded before anything is kept. Nothing of a record's user
//! or client leaves this module, because nothing of it is read.

pub mod convert;
pub mod encodings;
pub mod export;
pub mod flags;
pub mod layout;
pub mod mirror;
pub mod mirror_members;
pub mod model;
pub mod read;
pub mod sample;
pub mod source;
pub mod training;
pub mod write;

#[cfg(test)]
mod tests;

/// Levels of lists and objects in one value: a record has three, nested tables of a script a few more.
pub const DEPTH_MAX: usize = 16;

/// Why bytes are not what the original writes. The bytes themselves are never repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Longer than anything of its kind.
    #[error("it has {bytes} bytes, at most {max} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit for its kind.
        max: usize,
    },
    /// More than [`DEPTH_MAX`] levels.
    #[error("it is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// Not JSON, or a number that is not finite.
    #[error("it is not JSON as the original writes it (column {column})")]
    NotJson {
        /// Where it stops being that, counted from 1; 0 where that cannot be told.
        column: usize,
    },
    /// A field is missing, or has a type or value that is never written.
    #[error("its {field} {what}")]
    Field {
        /// The field in the original's spelling.
        field: &'static str,
        /// What is wrong, as a predicate.
        what: &'static str,
    },
}

/// Whether bytes may be parsed at all.
pub(crate) fn bounded(bytes: &[u8], max: usize) -> Result<(), FormatError> {
    if bytes.len() > max {
        return Err(FormatError::TooLarge { bytes: bytes.len(), max });
    }
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(FormatError::TooDeep);
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Parses bounded JSON.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, FormatError> {
    bounded(bytes, max)?;
    serde_json::from_slice(bytes).map_err(|error| FormatError::NotJson { column: error.column() })
}

/// A field that is wrong.
pub(crate) fn wrong(field: &'static str, what: &'static str) -> FormatError {
    FormatError::Field { field, what }
}
