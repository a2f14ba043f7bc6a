//! What a snapshot says in counts, seconds and shares instead of scaled values.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::detection::additional::Kind;
use crate::detection::features::{FeatureSchema, Group, Part};

/// Raw values by the name of their feature, in the order of the schema. In JSON an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    facts: Vec<Fact>,
}

#[derive(Debug, Clone, PartialEq)]
struct Fact {
    name: String,
    value: f64,
    group: Group,
    /// It says something: not what stands in the place of a missing value, nor the buckets that a text does not fall into.
    telling: bool,
    additional: Option<Additional>,
}

/// The additional feature that a fact is about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Additional {
    /// As requests give it.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) part: Part,
    /// The request gave no value of it.
    pub(super) missing: bool,
}

impl Evidence {
    /// Everything that a snapshot of `schema` says; see [`FeatureSchema::raw`]. Removed features say nothing.
    pub fn of(schema: &FeatureSchema, values: &[f32]) -> Self {
        let described = schema.names().iter().zip(schema.groups()).zip(values).enumerate();
        let facts = described.filter_map(|(place, ((name, group), value))| {
            let (raw, group) = (schema.raw(place, *value), *group);
            let Some(told) = schema.additional_at(place) else {
                return Some(Fact { name: name.clone(), value: raw, group, telling: true, additional: None });
            };
            let missing = values.get(told.missing_at).is_none_or(|flag| *flag >= 0.5);
            let telling = match told.part {
                Part::Missing => true,
                Part::Bucket(_) => !missing && raw != 0.0,
                // Of a text that is new nobody knows how often it fails.
                Part::FailureShare => !missing && values.get(place + 1).is_some_and(|novel| *novel < 0.5),
                Part::Value | Part::Novel => !missing,
            };
            let (slot, part) = (told.slot, told.part);
            let additional = Some(Additional { name: slot.name.clone(), kind: slot.kind, part, missing });
            (!slot.removed).then(|| Fact { name: name.clone(), value: raw, group, telling, additional })
        });
        Self { facts: facts.collect() }
    }

    /// The part of it that is about `group`.
    pub fn about(&self, group: Group) -> Self {
        Self { facts: self.facts.iter().filter(|fact| fact.group == group).cloned().collect() }
    }

    /// The raw value of a feature.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value)
    }

    /// Whether the flag `name` is set; `false` where there is no such feature.
    pub fn is(&self, name: &str) -> bool {
        self.get(name) == Some(1.0)
    }

    /// The additional feature that the value `name` is about; `None` for one of a standard feature.
    pub(super) fn additional(&self, name: &str) -> Option<&Additional> {
        self.facts.iter().find(|fact| fact.name == name)?.additional.as_ref()
    }

    /// What the additional feature `name` tells: the parts that say something, with their values.
    pub(super) fn told<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (Part, f64)> + 'a {
        let telling = self.facts.iter().filter(|fact| fact.telling);
        telling.filter_map(move |fact| {
            let of = fact.additional.as_ref().filter(|of| of.name == name)?;
            Some((of.part, fact.value))
        })
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for Fact { name, value, .. } in self.facts.iter().filter(|fact| fact.telling) {
            // Counts and flags as the whole numbers that they are; no raw value comes near the end of i64.
            if value.fract() == 0.0 {
                map.serialize_entry(name, &(*value as i64))?;
            } else {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_an_object_of_raw_values_of_one_group() {
        let schema = FeatureSchema::compat6();
        let all = Evidence::of(&schema, &[1.0, 0.41, 0.25, 0.0, 0.5, 1.0]);

        let source = serde_json::to_string(&all.about(Group::Source)).expect("plain data");

        assert_eq!(source, r#"{"TimeBetweenAttempts":3600,"FailedAttemptsLastHour":41,"DifferentUsernames":5}"#);
        assert!(all.is("SuspiciousNetwork") && !all.is("DifferentPasswords") && !all.is("unheard of"));
    }

    #[test]
    fn a_share_keeps_its_digits() {
        let schema = FeatureSchema::ext();
        let mut values = vec![0.0; schema.len()];
        values[schema.index_of("asn_failure_share_24h").expect("a feature")] = 0.35;

        let geo = Evidence::of(&schema, &values).about(Group::Geo);

        assert_eq!(
            serde_json::to_string(&geo).expect("plain data"),
            r#"{"asn_failure_share_24h":0.35,"asn_new":0,"asn_missing":0,"country_new":0,"country_missing":0}"#
        );
    }
}
