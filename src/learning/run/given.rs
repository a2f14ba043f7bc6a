//! A network that was trained elsewhere, before the same gate as one of ours: measured, never fitted, never calibrated.
//!
//! What decides is what this fleet has seen itself: records that came with the network may be those that it learnt from, and
//! do not count. Where there is too little of that, the network gets no thresholds and nobody's judgement. It decides about
//! nothing; what becomes of it is somebody else's work.

use super::super::artifact::{ModelArtifact, TrainingSummary};
use super::super::dataset::{self, Counts, Row};
use super::super::evaluation::Evaluation;
use super::super::explanation::background;
use super::super::gate::Judgement;
use super::super::labels::LabelPolicy;
use super::super::mlp::Mlp;
use super::super::sample::Sample;
use super::super::threshold::Thresholds;
use super::super::training::TrainingOptions;
use super::examination::{Evidence, examine};
use super::operating::set_thresholds;
use super::{Fitted, Material, RunOptions, latest, measure};
use crate::detection::features::FeatureSchema;
use crate::learning::hindsight::FrozenLabel;

/// A network with what the gate says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Examined {
    /// The network as an artifact of the profile's own features, with what was measured.
    pub artifact: ModelArtifact,
    /// The gate's; `None` where this fleet has seen too little to ask it.
    pub judgement: Option<Judgement>,
    /// The same in one line, for people.
    pub reason: String,
}

/// Examines `network`, which takes the features of `base`; `schema` is the one in force and begins with them.
pub fn examine_given(
    network: Mlp,
    material: Material,
    policy: &dyn LabelPolicy,
    (base, schema): (&FeatureSchema, &FeatureSchema),
    options: &RunOptions,
    champion: Option<&ModelArtifact>,
) -> Examined {
    let Material { samples, feedback, canaries } = material;
    let own: Vec<(f64, Sample)> = samples.into_iter().filter(|(_, sample)| !came_with_it(sample)).collect();
    let live = latest(&own, policy, schema);
    let mut artifact = artifact(network, base, options);
    let built = dataset::build(own, feedback, policy, schema, options.samples_max, options.training.seed);
    let prepared = match built {
        Ok(prepared) => prepared,
        Err(error) => {
            let reason = format!("it could not be measured: {error}, and imported records do not count");
            return Examined { artifact, judgement: None, reason };
        }
    };
    artifact.training.counts = Counts { train: 0, feedback: 0, ..prepared.counts };
    artifact.background = background::choose(&narrowed(&prepared.train.rows, base.len()), base.len());
    set_thresholds(&mut artifact, &prepared, options);
    let training = measure(&artifact, &prepared.train);
    let champion = champion.filter(|champion| schema.accepts(champion.schema.fingerprint, champion.model.inputs()));
    let evidence = Evidence { canaries: &canaries, live: &live };
    let fitted = Fitted { measured: artifact.clone(), serving: artifact };
    let judgement = examine(&fitted, champion, &prepared, &training, &evidence, options.gate);
    Examined { artifact: fitted.serving, reason: judgement.reason(), judgement: Some(judgement) }
}

fn came_with_it(sample: &Sample) -> bool {
    matches!(sample.label, Some(FrozenLabel::Rule(rule)) if rule.is_imported())
}

fn artifact(network: Mlp, base: &FeatureSchema, options: &RunOptions) -> ModelArtifact {
    let training = TrainingSummary {
        counts: Counts::default(),
        options: TrainingOptions {
            hidden: network.hidden,
            activation: network.activation,
            epochs: 0,
            ..options.training.clone()
        },
        false_positive_budget: options.false_positive_budget,
        tuned: false,
    };
    let (thresholds, evaluation) = (Thresholds::default(), Evaluation::default());
    ModelArtifact::new(&options.profile, base, network.into(), thresholds, evaluation, training)
}

/// The rows with the first `width` values of each.
fn narrowed(rows: &[Row], width: usize) -> Vec<Row> {
    rows.iter().map(|row| Row { values: row.values.iter().take(width).copied().collect(), ..row.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::gate::Verdict;
    use super::super::super::hindsight::{FrozenLabels, HindsightRule};
    use super::super::tests::{options, samples};
    use super::*;
    use crate::detection::additional::{FeatureList, Kind, Proposal};
    use crate::learning::artifact::ArtifactHeader;
    use crate::learning::labels::OutcomeLabels;
    use crate::learning::mlp::Activation;

    /// Attacks have high values in the second and third column; `sign` −1 says the opposite.
    fn network(sign: f64) -> Mlp {
        let mut network = Mlp {
            inputs: 6,
            hidden: 2,
            activation: Activation::Sigmoid,
            w1: vec![0.0; 12],
            b1: vec![-4.0, -4.0],
            w2: vec![sign * 6.0, sign * 6.0],
            b2: sign * -3.0,
        };
        (network.w1[1], network.w1[8]) = (20.0, 20.0);
        network
    }

    fn examined(network: Mlp, samples: Vec<(f64, Sample)>) -> Examined {
        let schema = FeatureSchema::compat6();
        let material = Material { samples, ..Material::default() };
        examine_given(network, material, &OutcomeLabels, (&schema, &schema), &options(), None)
    }

    #[test]
    fn a_network_that_knows_attacks_passes_the_gate_and_keeps_its_numbers() {
        let examined = examined(network(1.0), samples(2000));

        let judgement = examined.judgement.as_ref().expect("enough");
        assert_eq!(judgement.verdict, Verdict::Promote, "{}", examined.reason);
        assert!(examined.artifact.thresholds.block.is_some(), "{examined:?}");
        let row = [0.1f32, 0.3, 0.4, 0.1, 0.5, 0.0];
        let wide: Vec<f64> = row.iter().map(|value| f64::from(*value)).collect();
        assert_eq!(examined.artifact.logit(&row), network(1.0).logit(&wide), "nothing is fitted or calibrated");
        assert_eq!((examined.artifact.training.counts.train, examined.artifact.training.counts.feedback), (0, 0));
        assert!(
            examined
                .artifact
                .encode(&ArtifactHeader { lineage: [0; 16], generation: 0, trained_at_ms: 0, node: String::new() })
                .is_ok()
        );
    }

    #[test]
    fn d1_a_network_that_means_the_opposite_is_refused() {
        let examined = examined(network(-1.0), samples(2000));

        assert_eq!(examined.judgement.map(|judgement| judgement.verdict), Some(Verdict::Refuse), "{}", examined.reason);
    }

    #[test]
    fn too_little_of_our_own_gives_no_thresholds_and_the_reason() {
        let few = examined(network(1.0), samples(50));
        assert_eq!((few.judgement, few.artifact.thresholds), (None, Thresholds::default()));
        assert!(few.reason.contains("50 labelled samples are there, 100 are needed"), "{}", few.reason);

        // Records that came with it are no evidence for it.
        let mut imported = samples(2000);
        for (number, (_, sample)) in imported.iter_mut().enumerate() {
            let rule = if number % 4 == 0 { HindsightRule::ImportedGuessing } else { HindsightRule::ImportedSuccess };
            sample.label = Some(FrozenLabel::Rule(rule));
        }
        let schema = FeatureSchema::compat6();
        let material = Material { samples: imported, ..Material::default() };
        let alone = examine_given(network(1.0), material, &FrozenLabels, (&schema, &schema), &options(), None);
        assert!(
            alone.judgement.is_none() && alone.reason.contains("imported records do not count"),
            "{}",
            alone.reason
        );
    }

    #[test]
    fn additional_features_of_the_site_are_no_inputs_of_it() {
        let base = FeatureSchema::compat6();
        let list = FeatureList::default().with(&[Proposal { name: "a".into(), kind: Kind::Bool }], 16, 0);
        let schema = base.with_additional(&list);
        let material = Material { samples: samples(2000), ..Material::default() };

        let examined = examine_given(network(1.0), material, &OutcomeLabels, (&base, &schema), &options(), None);

        assert_eq!(examined.artifact.model.inputs(), 6);
        assert!(
            examined.artifact.background.iter().all(|row| row.len() == 6) && !examined.artifact.background.is_empty()
        );
        assert!(examined.artifact.accepted_by(&schema).is_ok());
    }
}
