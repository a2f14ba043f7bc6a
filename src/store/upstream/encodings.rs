//! The feature encodings that the original keeps beside a model.
//!
//! What is taken from them is which additional features were texts, and how each was encoded. Nothing is encoded with them:
//! records keep their six features, and a model of ours brings its own schema.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::training::FEATURES;
use super::{FormatError, parse, wrong};
use crate::detection::additional::Kind;

/// Longest encodings: some ten thousand values.
pub const ENCODINGS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest name of a feature in bytes, in the list of names.
pub const FEATURE_NAME_MAX: usize = 256;
/// Most features, and most values of all of them.
pub const FEATURES_MAX: usize = 1024;
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
    /// How each text is encoded; what is missing here was a number, or true or false, and nobody noted which.
    pub texts: BTreeMap<String, Kind>,
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
            let kind = types.get(name).map(String::as_str);
            if let Some(text) = text_kind(kind, places) {
                encodings.texts.insert(name.clone(), text);
            }
            let width = match kind {
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

/// How a text was encoded; `None` where it was none. After a reload the original takes its numbers for texts too: then all
/// values that it has seen read as numbers.
fn text_kind(kind: Option<&str>, places: Option<&BTreeMap<String, u32>>) -> Option<Kind> {
    let no_text = |value: &String| value.parse::<f64>().is_ok() || matches!(value.as_str(), "true" | "false");
    let values = places.filter(|places| !places.is_empty());
    match kind {
        Some("embedding") => Some(Kind::Embedding),
        _ if values.is_some_and(|values| values.keys().all(no_text)) => None,
        Some("one-hot") => Some(Kind::OneHot),
        _ => values.map(|_| Kind::OneHot),
    }
}

/// Reads the names of the list.
///
/// # Errors
/// For names that are no UTF-8, empty, too long, or too many.
pub fn decode_feature_names(names: Vec<Vec<u8>>) -> Result<BTreeSet<String>, FormatError> {
    if names.len() > FEATURES_MAX {
        return Err(wrong("names", "are too many"));
    }
    let sound = |name: &String| (1..=FEATURE_NAME_MAX).contains(&name.len());
    let name =
        |bytes| String::from_utf8(bytes).ok().filter(sound).ok_or(wrong("names", "are empty, too long or no text"));
    names.into_iter().map(name).collect()
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
    fn texts_are_known_with_their_encoding_and_numbers_are_not_taken_for_texts() {
        let texts = |text: &str| decode(text).texts;

        let expected =
            BTreeMap::from([("country_code".to_owned(), Kind::Embedding), ("identifier".to_owned(), Kind::OneHot)]);
        assert_eq!(texts(WHOLE), expected);
        assert_eq!(texts(REDUCED), BTreeMap::from([("identifier".to_owned(), Kind::OneHot)]));
        // As a request after a reload leaves a number.
        let number = r#"{"one_hot_encodings":{"risk":{"0.02":0,"412.318":1}},"one_hot_sizes":{"risk":2},
            "feature_encoding_type":{"risk":"","rate":"","flag":"one-hot"}}"#;
        assert_eq!(texts(number), BTreeMap::from([("flag".to_owned(), Kind::OneHot)]));
    }

    #[test]
    fn names_are_read_within_their_bounds() {
        let names = |names: &[&[u8]]| decode_feature_names(names.iter().map(|name| name.to_vec()).collect());

        assert_eq!(names(&[b"b", b"a", b"b"]), Ok(BTreeSet::from(["a".to_owned(), "b".to_owned()])));
        for bad in [&b""[..], b"\xff", &[b'x'; FEATURE_NAME_MAX + 1]] {
            assert!(names(&[b"a", bad]).is_err());
        }
        assert!(decode_feature_names(vec![b"a".to_vec(); FEATURES_MAX + 1]).is_err());
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
