//! What the value of an additional feature means in plain words.
//!
//! The name of a feature is the operator's own word and is said. Its texts are not known here: of them only the bucket that
//! they fall into, or how often logins with them failed.

use super::evidence::{Additional, Evidence};
use super::phrase::{Phrase, percent};
use crate::detection::additional::Kind;
use crate::detection::features::Part;

/// What `value` of a part of the feature `of` says. `None` where the snapshot holds nothing of the kind.
pub(super) fn phrase<'a>(of: &'a Additional, value: f64, all: &'a Evidence) -> Option<Phrase<'a>> {
    let name = of.name.as_str();
    let text = match (of.kind, of.part) {
        _ if of.missing => format!("the caller sends no {name}"),
        (_, Part::Missing) => format!("the caller sends {name}"),
        (Kind::Bool, _) => format!("{name} is {}", value == 1.0),
        (Kind::Number, _) => format!("{name} is {value}"),
        (Kind::OneHot, _) => bucket(name, all)?,
        (Kind::Embedding, _) => failures(name, all)?,
    };
    Some(Phrase { topic: name, text })
}

/// Whichever bucket it is that moves the score, the one that the text falls into is the fact.
fn bucket(name: &str, all: &Evidence) -> Option<String> {
    let (bucket, sign) = all.told(name).find_map(|(part, value)| match part {
        Part::Bucket(bucket) => Some((bucket, if value < 0.0 { '−' } else { '+' })),
        _ => None,
    })?;
    Some(format!("the value of {name} is one of those in bucket {bucket} ({sign})"))
}

fn failures(name: &str, all: &Evidence) -> Option<String> {
    let share = all.told(name).find_map(|(part, value)| (part == Part::FailureShare).then_some(value));
    if let Some(share) = share {
        return Some(format!(
            "about {} of the logins with this value of {name} failed in the last week",
            percent(share)
        ));
    }
    let new = all.told(name).any(|told| told == (Part::Novel, 1.0));
    new.then(|| format!("this value of {name} was not seen in the last week"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::additional::{FeatureList, Proposal};
    use crate::detection::features::FeatureSchema;

    /// risk (number), flag (bool), device (one-hot), ua (embedding), gone (removed), each missing but for what is given.
    fn evidence(given: &[(&str, f32)]) -> (FeatureSchema, Evidence) {
        let kinds = [
            ("risk", Kind::Number),
            ("flag", Kind::Bool),
            ("device", Kind::OneHot),
            ("ua", Kind::Embedding),
            ("gone", Kind::Number),
        ];
        let proposals = kinds.map(|(name, kind)| Proposal { name: name.into(), kind });
        let list = FeatureList::default().with(&proposals, 16, 0).without(&["gone".into()], 1).0;
        let schema = FeatureSchema::compat6().with_additional(&list);
        let mut values = vec![0.0; schema.len()];
        for name in kinds.map(|(name, _)| name) {
            values[schema.index_of(&format!("{name}.missing")).expect("a feature")] = 1.0;
        }
        for (name, value) in given {
            values[schema.index_of(name).expect("a feature")] = *value;
        }
        let evidence = Evidence::of(&schema, &values);
        (schema, evidence)
    }

    fn said(all: &Evidence, name: &str) -> Option<String> {
        phrase(all.additional(name)?, all.get(name)?, all).map(|phrase| phrase.text)
    }

    #[test]
    fn what_was_sent_is_said_and_listed_as_it_was_sent() {
        let scaled = (crate::numeric::ln_1p(900.0) / crate::numeric::ln_1p(1e9)) as f32;
        let given = [
            ("risk", scaled),
            ("risk.missing", 0.0),
            ("flag", 1.0),
            ("flag.missing", 0.0),
            ("device.6", -1.0),
            ("device.missing", 0.0),
            ("ua.failure_share", 0.42),
            ("ua.missing", 0.0),
        ];
        let (_, all) = evidence(&given);

        assert_eq!(said(&all, "risk").as_deref(), Some("risk is 900"));
        assert_eq!(said(&all, "flag").as_deref(), Some("flag is true"));
        for bucket in ["device.6", "device.3"] {
            let text = said(&all, bucket);
            assert_eq!(text.as_deref(), Some("the value of device is one of those in bucket 6 (−)"), "{bucket}");
        }
        for part in ["ua.failure_share", "ua.novel"] {
            let text = said(&all, part);
            assert_eq!(text.as_deref(), Some("about 42 % of the logins with this value of ua failed in the last week"));
        }
        let listed = serde_json::to_value(all.about(crate::detection::features::Group::Protocol)).expect("plain data");
        let expected = serde_json::json!({
            "risk": 900, "risk.missing": 0, "flag": 1, "flag.missing": 0, "device.6": -1, "device.missing": 0,
            "ua.failure_share": 0.42, "ua.novel": 0, "ua.missing": 0,
        });
        assert_eq!(listed, expected);
    }

    #[test]
    fn what_was_not_sent_is_missing_and_what_was_removed_is_not_there() {
        let (_, all) = evidence(&[]);

        for name in ["risk", "risk.missing", "device.3", "ua.failure_share"] {
            let feature = name.split('.').next().expect("never empty");
            assert_eq!(said(&all, name), Some(format!("the caller sends no {feature}")));
        }
        assert_eq!((said(&all, "gone"), all.get("gone"), all.get("gone.missing")), (None, None, None));
        let listed = serde_json::to_value(all.about(crate::detection::features::Group::Protocol)).expect("plain data");
        let expected =
            serde_json::json!({ "risk.missing": 1, "flag.missing": 1, "device.missing": 1, "ua.missing": 1 });
        assert_eq!(listed, expected);
    }

    #[test]
    fn of_a_new_text_nothing_is_said_of_failures() {
        let (_, all) = evidence(&[("ua.failure_share", 0.125), ("ua.novel", 1.0), ("ua.missing", 0.0)]);

        let text = "this value of ua was not seen in the last week";
        assert_eq!(said(&all, "ua.failure_share").as_deref(), Some(text));
        assert_eq!(said(&all, "ua.novel").as_deref(), Some(text));
    }
}
