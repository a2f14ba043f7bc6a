//! The model that comes with the program: it scores while a site has none of its own, and only watches.
//!
//! `experiment prior` makes the file, from made-up logins; nothing here trains. It is in no registry, no champion, and
//! nothing that it says becomes a verdict.

use tracing::warn;

use super::slot::ServedModel;
use crate::config::{Config, Profile};
use crate::detection::features::FeatureSchema;
use crate::learning::artifact::{ArtifactError, Expectation, ModelArtifact};
use crate::store::registry::ModelId;

/// The artifact as it is stored.
pub const SHIPPED: &[u8] = include_bytes!("prior/ext-mlp16.model");

/// What scores at a moment: the site's own model, or the prior.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// What is asked for a probability.
    pub artifact: &'a ModelArtifact,
    /// As the registry names it; `None`: it is the prior.
    pub id: Option<ModelId>,
}

impl<'a> From<&'a ServedModel> for Current<'a> {
    fn from(model: &'a ServedModel) -> Self {
        Self { artifact: &model.artifact, id: Some(model.id) }
    }
}

impl<'a> Current<'a> {
    /// The prior, if that is what scores.
    pub const fn prior(artifact: &'a ModelArtifact) -> Self {
        Self { artifact, id: None }
    }

    /// Probability above which it says `block`; never one for the prior, also where the configuration names one.
    pub fn block_threshold(&self, config: &Config) -> Option<f64> {
        self.id.and_then(|_| config.ml.threshold.or(self.artifact.thresholds.block))
    }
}

/// The threshold in force as people see it: that of `model`, at most `cap`. 1 where the model may block nothing, because
/// nothing exceeds it.
pub fn threshold_shown(model: Option<&ServedModel>, config: &Config, cap: Option<f64>) -> f64 {
    let own = model.and_then(|model| Current::from(model).block_threshold(config));
    match (own, cap) {
        (Some(own), Some(cap)) => own.min(cap),
        (own, cap) => own.or(cap).unwrap_or(1.0),
    }
}

/// The shipped artifact.
///
/// # Errors
/// When the file in the program is not a sound model of the features of today.
pub fn shipped() -> Result<ModelArtifact, ArtifactError> {
    let expectation = Expectation { fingerprint: Some(FeatureSchema::ext().fingerprint()), sha256: None };
    ModelArtifact::decode(SHIPPED, &expectation).map(|(_, artifact)| artifact)
}

/// The prior for the profile of `config`; `None` where there is none.
pub fn of(config: &Config) -> Option<ModelArtifact> {
    if config.ml.profile != Profile::ExtMlp16 {
        return None;
    }
    shipped().inspect_err(|error| warn!("the shipped prior model cannot be used: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_model_is_sound_small_and_has_no_say() {
        let prior = shipped().expect("`experiment prior` has to be run again after a change of features or format");

        assert!(SHIPPED.len() < 64 << 10, "{} bytes", SHIPPED.len());
        assert_eq!((prior.profile.as_str(), prior.thresholds.block), ("ext-mlp16", None));
        assert!(prior.thresholds.watch.is_some(), "it may watch");
        assert!(prior.trial.is_none() && prior.reference.is_none(), "nothing is compared with it");
        assert!(prior.background.len() >= 2, "its scores can be explained");
    }

    #[test]
    fn no_configuration_makes_it_block() {
        let prior = shipped().expect("a model");
        let mut config = Config::default();
        config.ml.threshold = Some(0.1);

        assert_eq!(Current::prior(&prior).block_threshold(&config), None);
    }

    #[test]
    fn only_its_own_profile_has_one() {
        let mut config = Config::default();
        assert!(of(&config).is_some());
        config.ml.profile = Profile::Compat6;
        assert!(of(&config).is_none());
    }
}
