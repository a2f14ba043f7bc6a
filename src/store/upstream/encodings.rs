//! The feature encodings that the original keeps beside a model.
//!
//! They are read to say what was there. Nothing is encoded with them: records keep their six features, and a model of ours
//! brings its own schema.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::training::FEATURES;
use super::{FormatError, parse, wrong};

/// Longest encodings: some ten thousand values.
pub const ENCODINGS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most features, and most values of all of them.
const FEATURES_MAX: usize = 1024;
const VALUES_MAX: usize = 200_000;
/// Width of an embedding where it is not said.
const EMBEDDING: usize = 8;
const EMBEDDING_MAX: usize = 256;

#[derive(Deserialize)]
struct Stored {
    one_hot_encodings: Option<BTreeMap<String, Option<BTreeMap<String, u32>>>>,
    one_hot_sizes: Option<BTreeMap<String, u32>>,
    feature_encoding_type: Option<BTreeMap<String, String>>,
    embedding_size: Option<usize>,
}

/// What the encodings say of the additional features.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encodings {
    /// Inputs by additional feature.
    pub inputs: BTreeMap<String, usize>,
    /// They tell of one feature only, because a request wrote over the rest.
    pub partial: bool,
    /// Places of a vector that two values share, because two nodes gave them out at once.
    pub shared_places: usize,
}

impl Encodings {
    /// Reads encodings, whole ones and those that a request has written over.
    ///
    /// # Errors
    /// For anything that the original does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let stored: Stored = parse(bytes, ENCODINGS_BYTES_MAX)?;
        let partial = stored.feature_encoding_type.is_none();
        let values = stored.one_hot_encodings.unwrap_or_default();
        let sizes = stored.one_hot_sizes.unwrap_or_default();
        let types = stored.feature_encoding_type.unwrap_or_default();
        if values.len().max(sizes.len()).max(types.len()) > FEATURES_MAX {
            return Err(wrong("one_hot_encodings", "have too many features"));
        }
        if values.values().flatten().map(BTreeMap::len).sum::<usize>() > VALUES_MAX {
            return Err(wrong("one_hot_encodings", "have too many values"));
        }
        let embedding = stored.embedding_size.unwrap_or(EMBEDDING);
        if !(1..=EMBEDDING_MAX).contains(&embedding) {
            return Err(wrong("embedding_size", "is out of range"));
        }
        let mut encodings = Self { partial, ..Self::default() };
        let names: BTreeSet<&String> = values.keys().chain(sizes.keys()).chain(types.keys()).collect();
        // After a reload the original takes its own six features for strings; here they are what they are.
        for name in names.into_iter().filter(|name| !FEATURES.contains(&name.as_str())) {
            let places = values.get(name).and_then(Option::as_ref);
            let known = places.map_or(0, BTreeMap::len);
            let size = sizes.get(name).map_or(known, |size| *size as usize);
            if size > VALUES_MAX || places.is_some_and(|places| places.values().any(|place| *place as usize >= size)) {
                return Err(wrong("one_hot_sizes", "contradict the encodings"));
            }
            let distinct: BTreeSet<u32> = places.into_iter().flat_map(BTreeMap::values).copied().collect();
            encodings.shared_places += known - distinct.len();
            let width = match types.get(name).map(String::as_str) {
                Some("embedding") => embedding,
                Some("one-hot") => size,
                _ if places.is_some() => size,
                _ => 1,
            };
            encodings.inputs.insert(name.clone(), width);
        }
        Ok(encodings)
    }

    /// The inputs of a model with these encodings: the six features and all additional ones.
    pub fn width(&self) -> usize {
        FEATURES.len() + self.inputs.values().sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = include_str!("../../../tests/fixtures/upstream/encodings.json");
    const REDUCED: &str = include_str!("../../../tests/fixtures/upstream/encodings-reduced.json");

    fn decode(text: &str) -> Encodings {
        Encodings::decode(text.as_bytes()).expect("encodings")
    }

    #[test]
    fn d10_the_six_features_are_never_taken_for_strings() {
        let encodings = decode(WHOLE);

        assert_eq!(encodings.inputs.keys().collect::<Vec<_>>(), ["country_code", "identifier"]);
        assert_eq!(encodings.width(), 6 + 8 + 2);
        // As a second save of a reloaded model has it.
        let grown = WHOLE
            .replace("{\"identifier\":2}", "{\"TimeOfDay\":2,\"identifier\":2}")
            .replace("\"one_hot_encodings\":{", "\"one_hot_encodings\":{\"TimeOfDay\":{\"0.5\":0,\"0.25\":1},");
        assert_eq!(decode(&grown), encodings);
    }

    #[test]
    fn d15_encodings_that_a_request_has_written_over_are_known_as_partial() {
        let reduced = decode(REDUCED);

        assert!(reduced.partial && !decode(WHOLE).partial);
        assert_eq!(reduced.inputs, BTreeMap::from([("identifier".to_owned(), 3)]));
    }

    #[test]
    fn d16_places_given_out_twice_are_counted() {
        let shared = REDUCED.replace("\"K-9\":2", "\"K-9\":1");
        assert_eq!((decode(&shared).shared_places, decode(REDUCED).shared_places), (1, 0));
    }

    #[test]
    fn contradictions_and_absurd_sizes_are_refused() {
        for (text, says) in [
            (REDUCED.replace("\"K-9\":2", "\"K-9\":3"), "contradict"),
            (REDUCED.replace("{\"identifier\":3}", "{\"identifier\":4000000000}"), "contradict"),
            (REDUCED.replace("\"K-9\":2", "\"K-9\":-1"), "not JSON"),
            (WHOLE.replace("\"embedding_size\":8", "\"embedding_size\":0"), "embedding_size"),
            ("[1]".to_owned(), "not JSON"),
        ] {
            let error = Encodings::decode(text.as_bytes()).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(decode("{}"), Encodings { partial: true, ..Encodings::default() });
        assert_eq!(decode("{\"one_hot_encodings\":null,\"one_hot_sizes\":null}").width(), 6);
    }
}
