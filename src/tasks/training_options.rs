//! What a training is asked for: from the configuration, the request, and what an earlier search found for the fleet.
//!
//! A search leaves its result in the model that it led to. So every node finds it in the store, a rollback goes back to what
//! that model was trained with, and a reset forgets it. A key that the configuration names is neither searched for nor
//! replaced.

use super::trainer::{TrainRequest, training_options};
use crate::config::{Approval, Config, Optimizer, Profile, ThresholdSource};
use crate::learning::artifact::ModelArtifact;
use crate::learning::cost::{Costs, ThresholdFrom};
use crate::learning::gate::GateOptions;
use crate::learning::run::{RunOptions, Tuning, Voters};
use crate::learning::tuning::{Candidate, Fixed};
use crate::store::registry::TriggerKey;

/// The options of one training; `champion` is the current model of the fleet.
pub fn run_options(
    config: &Config,
    profile: &str,
    request: &TrainRequest,
    champion: Option<&ModelArtifact>,
) -> RunOptions {
    let mut training = training_options(config, request.epochs);
    let fixed = fixed(config);
    let same_way = |champion: &&ModelArtifact| {
        let optimizer = champion.training.options.optimizer;
        champion.training.tuned
            && champion.profile == profile
            && optimizer.with_learning_rate(training.optimizer.learning_rate()) == training.optimizer
    };
    let tuning = match champion.filter(same_way) {
        _ if request.tune => Tuning::Search(fixed),
        Some(champion) => {
            training = Candidate::of(&champion.training.options).unless(fixed, &training).apply(&training);
            Tuning::Kept
        }
        None => Tuning::None,
    };
    RunOptions {
        samples_max: request.samples,
        training,
        false_positive_budget: config.ml.false_positive_budget,
        threshold_from: threshold_from(config),
        profile: profile.to_owned(),
        gate: GateOptions {
            automatic: config.training.approval == Approval::Automatic,
            approved: matches!(request.trigger, TriggerKey::Command { .. }),
            ..GateOptions::default()
        },
        voters: Voters::default(),
        tuning,
    }
}

/// What the configuration names, and what the kind of training has not.
pub fn fixed(config: &Config) -> Fixed {
    let sgd = config.ml.optimizer == Optimizer::Sgd;
    Fixed {
        hidden: config.ml.hidden_neurons.is_some(),
        learning_rate: sgd && config.ml.learning_rate.is_some(),
        // The original knows none, and plain descent has none.
        l2: sgd || config.ml.profile == Profile::Compat6,
    }
}

/// What gives the thresholds.
pub fn threshold_from(config: &Config) -> ThresholdFrom {
    match config.ml.threshold_from {
        ThresholdSource::Budget => ThresholdFrom::Budget,
        ThresholdSource::Cost => ThresholdFrom::Cost(Costs {
            false_positive: config.ml.cost_false_positive,
            false_negative: config.ml.cost_false_negative,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::artifact::tests::artifact;

    fn request(tune: bool) -> TrainRequest {
        TrainRequest {
            trigger: TriggerKey::Command { id: "x".into() },
            samples: 5000,
            epochs: 20,
            tune,
            by_operator: true,
            by: "test".into(),
        }
    }

    /// A model that a search led to.
    fn champion() -> ModelArtifact {
        let mut champion = artifact(1);
        champion.profile = "ext-mlp16".into();
        champion.training.tuned = true;
        let found = Candidate { hidden: 8, learning_rate: 1e-3, l2: 1e-5 };
        champion.training.options = found.apply(&champion.training.options);
        champion
    }

    fn options(config: &Config, tune: bool, champion: Option<&ModelArtifact>) -> RunOptions {
        run_options(config, "ext-mlp16", &request(tune), champion)
    }

    #[test]
    fn what_a_search_found_is_kept_by_later_trainings_of_the_profile() {
        let config = Config::default();
        let (kept, champion) = (Candidate { hidden: 8, learning_rate: 1e-3, l2: 1e-5 }, champion());

        let later = options(&config, false, Some(&champion));
        assert_eq!((Candidate::of(&later.training), later.tuning), (kept, Tuning::Kept));

        let own = Candidate::of(&training_options(&config, 20));
        let untuned = ModelArtifact { training: artifact(1).training, ..champion.clone() };
        let other = run_options(&config, "compat-6", &request(false), Some(&champion));
        for options in [options(&config, false, None), options(&config, false, Some(&untuned)), other] {
            assert_eq!((Candidate::of(&options.training), options.tuning), (own, Tuning::None));
        }
    }

    #[test]
    fn what_the_configuration_names_wins_over_what_was_found() {
        let mut config = Config::default();
        config.ml.hidden_neurons = Some(24);

        let later = options(&config, false, Some(&champion()));
        assert_eq!(Candidate::of(&later.training), Candidate { hidden: 24, learning_rate: 1e-3, l2: 1e-5 });
        let search = Tuning::Search(Fixed { hidden: true, ..Fixed::default() });
        assert_eq!(options(&config, true, Some(&champion())).tuning, search);

        // Steps of another kind have another size.
        config.ml.optimizer = Optimizer::Sgd;
        assert_eq!(options(&config, false, Some(&champion())).tuning, Tuning::None);
        config.ml.learning_rate = Some(0.02);
        let fixed = Fixed { hidden: true, learning_rate: true, l2: true };
        assert_eq!(options(&config, true, None).tuning, Tuning::Search(fixed));
        assert_eq!(options(&config, true, None).training.optimizer.learning_rate(), 0.02);
    }

    #[test]
    fn costs_of_the_configuration_reach_the_training() {
        let mut config = Config::default();
        config.ml.threshold_from = ThresholdSource::Cost;
        let costs = Costs { false_positive: 100.0, false_negative: 1.0 };
        assert_eq!(options(&config, false, None).threshold_from, ThresholdFrom::Cost(costs));
    }
}
