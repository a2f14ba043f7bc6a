//! Why a model gave the probability that it gave: what each group of features adds to the logit, compared with ordinary
//! logins, with the raw values and a sentence for people.
//!
//! The parts are exact Shapley values of the logit ([`shapley`]): base and parts add up to the logit. Nothing here finds
//! attempts or models, and nothing is approximated. It is meant for one attempt at a time, on demand.

pub mod background;
pub mod evidence;
mod phrase;
mod sentence;
pub mod shapley;
mod site_words;

use serde::Serialize;

use super::artifact::ModelArtifact;
use crate::detection::event::Snapshot;
use crate::detection::features::FeatureSchema;
use crate::numeric;
use evidence::Evidence;
use sentence::Effect;
use shapley::AttributionError;

/// An explained score. `base_logit` and the `logit` of all contributions add up to `logit`, within 1e-9.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Of an attack, 0–1.
    pub probability: f64,
    /// The same before the sigmoid.
    pub logit: f64,
    /// Mean logit of the ordinary logins that it is compared with.
    pub base_logit: f64,
    /// One for each group of features, the largest first, whatever its sign.
    pub contributions: Vec<Contribution>,
}

/// What one group of features adds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Contribution {
    /// Name of the group, see [`Group::name`](crate::detection::features::Group::name).
    pub group: &'static str,
    /// Its part of the logit; negative where it speaks for the user.
    pub logit: f64,
    /// By what it multiplies the odds of an attack: e to the power of `logit`.
    pub odds_factor: f64,
    /// Raw values of its features. Of additional features only what the request gave, and whether it gave anything.
    pub evidence: Evidence,
    /// The facts that count most and what they do to the odds; for the largest contribution also what would be without it.
    pub text: String,
}

/// Why a score has no explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExplanationError {
    /// The snapshot has other features than the model.
    #[error(
        "the request was recorded with other features than the model in use takes; only requests since the change of \
         profile can be explained"
    )]
    Schema,
    /// The model was made without rows to compare with.
    #[error("the model in use has no ordinary logins to compare with; train a new one")]
    NoBackground,
    /// The schema has more groups than can be told apart.
    #[error("the features cannot be explained in groups")]
    Groups(#[source] AttributionError),
}

/// Explains what `artifact` says of `snapshot`. `schema` names, groups and scales the features; `block_threshold` is the
/// probability above which the model says `block`, if it may.
///
/// # Errors
/// When snapshot, schema and artifact are not of one kind, or the artifact has no background.
pub fn explain(
    artifact: &ModelArtifact,
    schema: &FeatureSchema,
    snapshot: &Snapshot,
    block_threshold: Option<f64>,
) -> Result<Explanation, ExplanationError> {
    let width = artifact.model.inputs();
    // The list of additional features may have changed since the model was trained, or since the request was recorded.
    let fingerprint = artifact.schema.fingerprint;
    let aligned = schema.align_to(snapshot.fingerprint, &snapshot.values, (fingerprint, width));
    let (Some(row), Some(schema)) = (aligned, schema.read_as(fingerprint, width)) else {
        return Err(ExplanationError::Schema);
    };
    let (row, groups) = (row.as_slice(), schema.groups());
    let background = artifact.background.as_slice();
    let logit = |row: &[f32]| artifact.logit(row);
    let attribution = shapley::attribute(row, background, groups, logit).map_err(|error| match error {
        AttributionError::NoBackground => ExplanationError::NoBackground,
        AttributionError::Width => ExplanationError::Schema,
        other => ExplanationError::Groups(other),
    })?;
    let all = Evidence::of(&schema, row);
    let mut parts: Vec<_> = attribution.parts.into_iter().zip(shapley::members(groups)).collect();
    // Stable: of equal ones the first of the schema.
    parts.sort_by(|((_, a), _), ((_, b), _)| b.abs().total_cmp(&a.abs()));
    let probability = numeric::sigmoid(attribution.score);
    let mut contributions = Vec::with_capacity(parts.len());
    for ((group, part), (_, features)) in parts {
        let effect = |&feature: &usize| Effect {
            name: &schema.names()[feature],
            logit: attribution.score - shapley::mean_without(row, background, &[feature], logit),
        };
        let mut text = sentence::sentence(group, part, features.iter().map(effect).collect(), &all);
        if let Some(threshold) = block_threshold.filter(|_| contributions.is_empty()) {
            let without = numeric::sigmoid(shapley::mean_without(row, background, &features, logit));
            text = format!("{text}. {}.", sentence::counterfactual(group, probability, without, threshold));
        }
        contributions.push(Contribution {
            group: group.name(),
            logit: part,
            odds_factor: numeric::exp(part),
            evidence: all.about(group),
            text,
        });
    }
    Ok(Explanation { probability, logit: attribution.score, base_logit: attribution.base, contributions })
}

#[cfg(test)]
mod tests;
