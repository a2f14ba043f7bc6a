//! What a snapshot says in counts, seconds and shares instead of scaled values.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::detection::features::{FeatureSchema, Group};

/// Raw values by the name of their feature, in the order of the schema. In JSON an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    facts: Vec<(String, f64)>,
}

impl Evidence {
    /// Everything that a snapshot of `schema` says; see [`FeatureSchema::raw`].
    pub fn of(schema: &FeatureSchema, values: &[f32]) -> Self {
        let raw = |(place, (name, value)): (usize, (&String, &f32))| (name.clone(), schema.raw(place, *value));
        Self { facts: schema.names().iter().zip(values).enumerate().map(raw).collect() }
    }

    /// The part of it that is about `group`.
    pub fn about(&self, schema: &FeatureSchema, group: Group) -> Self {
        let facts = self.facts.iter().zip(schema.groups());
        Self { facts: facts.filter(|(_, of)| **of == group).map(|(fact, _)| fact.clone()).collect() }
    }

    /// The raw value of a feature.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.facts.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Whether the flag `name` is set; `false` where there is no such feature.
    pub fn is(&self, name: &str) -> bool {
        self.get(name) == Some(1.0)
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.facts.len()))?;
        for (name, value) in &self.facts {
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

        let source = serde_json::to_string(&all.about(&schema, Group::Source)).expect("plain data");

        assert_eq!(source, r#"{"TimeBetweenAttempts":3600,"FailedAttemptsLastHour":41,"DifferentUsernames":5}"#);
        assert!(all.is("SuspiciousNetwork") && !all.is("DifferentPasswords") && !all.is("unheard of"));
    }

    #[test]
    fn a_share_keeps_its_digits() {
        let schema = FeatureSchema::ext();
        let mut values = vec![0.0; schema.len()];
        values[schema.index_of("site_failure_share_10m").expect("a feature")] = 0.35;

        let site = Evidence::of(&schema, &values).about(&schema, Group::Global);

        assert_eq!(
            serde_json::to_string(&site).expect("plain data"),
            r#"{"site_failure_share_10m":0.35,"site_failure_excess":0,"site_failing_addresses_1h":0,"site_failing_addresses_excess":0}"#
        );
    }
}
