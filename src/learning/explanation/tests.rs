//! Whole explanations, of hand-made models of both profiles.

use super::super::artifact::tests::artifact;
use super::*;
use crate::detection::additional::{FeatureList, Kind, Proposal};
use crate::detection::features::Group;
use crate::learning::mlp::{Activation, Mlp};
use crate::learning::standardizer::Standardizer;
use crate::numeric::{Rng, ln_1p};

fn compat6() -> (ModelArtifact, FeatureSchema) {
    let mut artifact = artifact(1);
    let mut rng = Rng::new(2, "explanation test");
    artifact.background = (0..16).map(|_| (0..6).map(|_| rng.uniform() as f32).collect()).collect();
    (artifact, FeatureSchema::compat6())
}

/// A model of the extended profile that looks at a few features alone, with one row to compare with.
fn ext(weights: &[(&str, f64)]) -> (ModelArtifact, FeatureSchema) {
    let schema = FeatureSchema::ext();
    let mut w1 = vec![0.0; schema.len()];
    for (name, weight) in weights {
        w1[schema.index_of(name).expect("a feature")] = *weight;
    }
    let network = Mlp {
        inputs: schema.len(),
        hidden: 1,
        activation: Activation::LeakyRelu,
        w1,
        b1: vec![100.0],
        w2: vec![1.0],
        b2: -102.0,
    };
    let mut artifact = artifact(1);
    artifact.schema = (&schema).into();
    artifact.standardizer = Some(Standardizer::identity(schema.len()));
    artifact.model = network.into();
    artifact.background = vec![vec![0.0; schema.len()]];
    (artifact, schema)
}

fn snapshot(schema: &FeatureSchema, values: &[(&str, f64)]) -> Snapshot {
    let mut snapshot = Snapshot { fingerprint: schema.fingerprint(), values: vec![0.0; schema.len()] };
    for (name, value) in values {
        snapshot.values[schema.index_of(name).expect("a feature")] = *value as f32;
    }
    snapshot
}

#[test]
fn an_explanation_adds_up_and_begins_with_what_counts_most() {
    let (artifact, schema) = compat6();
    let attempt = Snapshot { fingerprint: schema.fingerprint(), values: vec![0.01, 0.9, 1.0, 0.4, 0.125, 1.0] };

    let explained = explain(&artifact, &schema, &attempt, None).expect("one kind");

    let parts: f64 = explained.contributions.iter().map(|part| part.logit).sum();
    assert!((explained.base_logit + parts - explained.logit).abs() <= 1e-9, "{explained:?}");
    assert_eq!(explained.logit.to_bits(), artifact.logit(&attempt.values).to_bits());
    assert_eq!(explained.probability.to_bits(), artifact.probability(&attempt.values).to_bits());
    let sizes: Vec<f64> = explained.contributions.iter().map(|part| part.logit.abs()).collect();
    assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{sizes:?}");
    let mut groups: Vec<_> = explained.contributions.iter().map(|part| part.group).collect();
    groups.sort_unstable();
    assert_eq!(groups, ["network", "password", "source", "time"]);
}

#[test]
fn a_sentence_names_the_number_that_did_it_and_the_odds() {
    let (artifact, schema) = ext(&[("network_failed_users_24h", 0.7733), ("user_address_succeeded_7d", -1.0)]);
    let attempt = snapshot(&schema, &[("network_failed_users_24h", ln_1p(41.0)), ("user_address_succeeded_7d", 1.0)]);

    let explained = explain(&artifact, &schema, &attempt, Some(0.4)).expect("one kind");

    let texts: Vec<&str> = explained.contributions.iter().map(|part| part.text.as_str()).collect();
    assert_eq!(
        texts[0],
        "41 different accounts tried without success from this network in the last day: odds of attack ×18. With the \
         network as in ordinary logins the attempt would stay below the block threshold."
    );
    assert_eq!(texts[1], "the user logged in from this address in the last week: odds of attack ÷2.7");
    assert_eq!(texts[2], "the address as a whole: odds of attack unchanged");
    assert_eq!(explained.contributions[0].evidence.get("network_failed_users_24h"), Some(41.0));
    assert!((explained.contributions[0].odds_factor - 18.0).abs() < 0.1);
}

#[test]
fn only_the_strongest_group_tells_what_would_be_without_it() {
    let (artifact, schema) = ext(&[("source_failures_1h", 2.0), ("password_missing", 1.0)]);
    let attempt = snapshot(&schema, &[("source_failures_1h", ln_1p(60.0)), ("password_missing", 1.0)]);

    let explained = explain(&artifact, &schema, &attempt, Some(0.9)).expect("one kind");
    let watched = explain(&artifact, &schema, &attempt, None).expect("one kind");

    assert!(explained.probability > 0.9, "{explained:?}");
    assert_eq!(
        explained.contributions[0].text,
        "60 failures from this address in the last hour: odds of attack ×3721. With the address as in ordinary logins \
         the attempt would stay below the block threshold."
    );
    assert_eq!(explained.contributions[1].text, "the caller sends no password tag: odds of attack ×2.7");
    assert!(!watched.contributions[0].text.contains("threshold"), "a model that may not block has none");
}

#[test]
fn what_is_not_of_one_kind_is_refused() {
    let (artifact, schema) = compat6();
    let attempt = Snapshot { fingerprint: schema.fingerprint(), values: vec![0.5; 6] };
    let of_ext = snapshot(&FeatureSchema::ext(), &[]);
    let short = Snapshot { fingerprint: schema.fingerprint(), values: vec![0.5; 5] };
    let bare = ModelArtifact { background: Vec::new(), ..artifact.clone() };

    assert_eq!(explain(&artifact, &schema, &of_ext, None), Err(ExplanationError::Schema));
    assert_eq!(explain(&artifact, &FeatureSchema::ext(), &of_ext, None), Err(ExplanationError::Schema));
    assert_eq!(explain(&artifact, &schema, &short, None), Err(ExplanationError::Schema));
    assert_eq!(explain(&bare, &schema, &attempt, None), Err(ExplanationError::NoBackground));
}

#[test]
fn every_group_has_few_enough_companions() {
    for schema in [FeatureSchema::compat6(), FeatureSchema::ext()] {
        let groups: Vec<Group> = shapley::members(schema.groups()).into_iter().map(|(group, _)| group).collect();
        assert!(groups.len() <= shapley::GROUPS_MAX, "{groups:?}");
    }
}

#[test]
fn models_and_snapshots_of_before_the_list_grew_are_explained() {
    let (artifact, short) = compat6();
    let proposal = Proposal { name: "risk".into(), kind: Kind::Number };
    let long = short.with_additional(&FeatureList::default().with(&[proposal], 16, 0));
    let values = vec![0.01, 0.9, 1.0, 0.4, 0.125, 1.0];
    let known = Snapshot { fingerprint: short.fingerprint(), values: values.clone() };
    let grown = Snapshot { fingerprint: long.fingerprint(), values: [values, vec![0.5, 0.0]].concat() };

    let expected = explain(&artifact, &short, &known, None).expect("one kind");

    assert_eq!(explain(&artifact, &long, &grown, None).expect("a beginning of it"), expected);
    assert_eq!(explain(&artifact, &long, &known, None).expect("recorded before"), expected);
}
