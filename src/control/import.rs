//! Taking over what Nauthilus 1.7 left beside its training records: additional features, learning mode, and its model.
//!
//! Everything is decided before anything changes, and doing it again changes nothing. Where the caller insists, a part that
//! cannot be taken over refuses the whole; else it is left, and the answer says why. A model is converted so that it means
//! attack, goes through the gate, and then waits for a person: it never serves by itself.

use serde_json::{Value, json};

use super::command::invalid;
use super::modes::IN_DRY_RUN;
use super::{Caller, ControlError, ControlHandle, of_training};
use crate::config::Profile;
use crate::detection::additional::{FeatureList, Proposal, SKIPPED, is_name};
use crate::detection::features::FeatureSchema;
use crate::learning::artifact::{Expectation, ModelArtifact};
use crate::learning::ensemble::Ensemble;
use crate::learning::mlp::Mlp;
use crate::random;
use crate::store::StoreError;
use crate::store::mode::ModeStamp;
use crate::store::registry::TriggerKey;
use crate::store::upstream::convert::convert;
use crate::store::upstream::encodings::FEATURES_MAX;
use crate::store::upstream::export::export;
use crate::store::upstream::model::UpstreamModel;
use crate::tasks::trainer::{TrainReport, TrainRequest};

/// What stands in the mode for people.
const REASON: &str = "taken over from Nauthilus 1.7";

/// What is to be taken over; each part may be missing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImportState {
    /// Only say what would be done.
    pub check: bool,
    /// The caller asked for these parts: what cannot be taken over is an error, and a learning mode that was set here gives way.
    pub insist: bool,
    /// The model as the original stores it.
    pub model: Option<UpstreamModel>,
    /// Additional features of which the kind is known.
    pub features: Option<Vec<Proposal>>,
    /// Learning mode, as the original's `dry_run` says it.
    pub learning_mode: Option<bool>,
}

/// What becomes of one part.
enum Plan<T> {
    /// It is to be done.
    Do(T),
    /// There is nothing to do, for this reason; the word is the outcome.
    Leave(&'static str, String),
}

struct ModePlan {
    on: bool,
    expected: Option<ModeStamp>,
}

impl ImportState {
    pub(super) fn check(&self) -> Result<(), ControlError> {
        if self.features.as_ref().is_some_and(|features| features.len() > FEATURES_MAX) {
            return Err(invalid("features", format!("must be at most {FEATURES_MAX}")));
        }
        Ok(())
    }
}

impl ControlHandle {
    pub(super) async fn import_state(&self, state: ImportState, caller: &Caller) -> Result<Value, ControlError> {
        let ImportState { check, insist, model, features, learning_mode } = state;
        let features = features.map(|features| self.plan_features(features, insist)).transpose()?;
        let mode = match learning_mode {
            Some(on) => Some(self.plan_mode(on, insist).await?),
            None => None,
        };
        let model = match model {
            Some(model) => Some(self.plan_model(&model, insist).await?),
            None => None,
        };
        if check {
            return Ok(json!({
                "features": features.map(|(_, told)| told),
                "learning_mode": mode.map(|plan| shown(&plan, |mode| json!({ "outcome": "set", "learning_mode": mode.on }))),
                "model": model.map(|plan| shown(&plan, |_| json!({ "outcome": "examine" }))),
            }));
        }
        let mut answer = json!({ "features": null, "learning_mode": null, "model": null });
        // The model first: a training that runs now is the one thing that may still stand in the way.
        if let Some(plan) = model {
            answer["model"] = match plan {
                Plan::Do(network) => self.examine(network, insist, caller).await?,
                Plan::Leave(..) => shown(&plan, |_| Value::Null),
            };
        }
        if let Some((wanted, mut told)) = features {
            if !wanted.is_empty() {
                let list = self.features.take_in(&wanted).await?;
                told = feature_answer(&wanted, &list, told);
            }
            answer["features"] = told;
        }
        if let Some(plan) = mode {
            if let Plan::Do(ModePlan { on, expected }) = &plan {
                self.set_learning_mode(*on, caller, REASON, expected.clone()).await?;
            }
            answer["learning_mode"] = shown(&plan, |mode| json!({ "outcome": "set", "learning_mode": mode.on }));
        }
        Ok(answer)
    }

    /// Which of the names are new here, and what is to be told of the others.
    fn plan_features(&self, given: Vec<Proposal>, insist: bool) -> Result<(Vec<Proposal>, Value), ControlError> {
        let config = self.config.load();
        if config.upstream.export && !insist {
            let reason = "upstream.export can say the six features only; insist if the models may have more";
            return Ok((Vec::new(), json!({ "outcome": "left", "reason": reason })));
        }
        let schema = self.scorer.schema();
        let list = schema.additional();
        let (mut wanted, mut known, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for proposal in given {
            let name = proposal.name.as_str();
            if !is_name(name) || SKIPPED.contains(&name) || FeatureSchema::is_standard(name) {
                left.push(json!({ "name": cut(name), "reason": "no additional feature may be called so" }));
            } else if list.live().any(|slot| slot.name == name) {
                known.push(proposal.name);
            } else {
                wanted.push(proposal);
            }
        }
        let next = list.with(&wanted, config.ml.additional_features_max, 0);
        let told = json!({ "outcome": "taken", "taken": [], "known": known, "left": left });
        Ok((wanted.clone(), feature_answer(&wanted, &next, told)))
    }

    async fn plan_mode(&self, on: bool, insist: bool) -> Result<Plan<ModePlan>, ControlError> {
        if self.config.load().ml.dry_run {
            return leave(insist, IN_DRY_RUN);
        }
        let set = self.store.learning_mode().await?;
        match &set {
            None => Ok(Plan::Do(ModePlan { on, expected: Some(ModeStamp::of(None)) })),
            Some(mode) if mode.on == on => Ok(Plan::Leave("unchanged", "this fleet has the same".to_owned())),
            Some(_) if insist => Ok(Plan::Do(ModePlan { on, expected: None })),
            Some(mode) => {
                let own = if mode.on { "on" } else { "off" };
                Ok(Plan::Leave("left", format!("somebody has set it in this fleet already: {own}")))
            }
        }
    }

    async fn plan_model(&self, model: &UpstreamModel, insist: bool) -> Result<Plan<Mlp>, ControlError> {
        if self.scorer.schema().profile() != Profile::Compat6.name() {
            return leave(insist, "a model of Nauthilus 1.7 needs ml.profile = \"compat-6\"");
        }
        let network = match convert(model) {
            Ok(network) => network,
            Err(error) => return leave(insist, &format!("the model cannot be converted: {error}")),
        };
        let ensemble = Ensemble::from(network.clone());
        if let Some(serving) = self.slot.load() {
            if serving.artifact.model == ensemble {
                return Ok(Plan::Leave("unchanged", "it is the model that serves".to_owned()));
            }
            if export(&serving.artifact).is_ok_and(|exported| exported == *model) {
                return Ok(Plan::Leave(
                    "unchanged",
                    "it is this fleet's own model, which was exported there".to_owned(),
                ));
            }
        }
        if let Some(waiting) = self.waiting_candidate().await
            && self.candidate_network().await? != Some(ensemble)
        {
            return leave(insist, &format!("candidate {waiting} waits for a person; approve or discard it first"));
        }
        Ok(Plan::Do(network))
    }

    async fn candidate_network(&self) -> Result<Option<Ensemble>, StoreError> {
        let bytes = self.store.candidate_model().await?.unwrap_or_default();
        Ok(ModelArtifact::decode(&bytes, &Expectation::default()).ok().map(|(_, artifact)| artifact.model))
    }

    async fn examine(&self, network: Mlp, insist: bool, caller: &Caller) -> Result<Value, ControlError> {
        let request = TrainRequest {
            trigger: TriggerKey::Command { id: random::id() },
            samples: usize::try_from(self.config.load().training.samples).unwrap_or(usize::MAX),
            epochs: 0,
            tune: false,
            by_operator: true,
            by: caller.who.clone(),
        };
        let report = self.trainer.examine(network, request).await.map_err(of_training)?;
        let outcome = report.outcome();
        Ok(match report {
            TrainReport::Candidate { id, reason, evaluation, .. } => json!({
                "outcome": outcome, "candidate": id, "reason": reason, "evaluation": evaluation,
            }),
            TrainReport::Held { .. } | TrainReport::Busy | TrainReport::AlreadyDone if insist => {
                return Err(ControlError::Conflict(format!("{}; import again", report.reason())));
            }
            TrainReport::Held { .. } | TrainReport::Busy | TrainReport::AlreadyDone => {
                json!({ "outcome": "left", "reason": format!("{}; import again", report.reason()) })
            }
            other => json!({ "outcome": outcome, "reason": other.reason() }),
        })
    }
}

fn leave<T>(insist: bool, reason: &str) -> Result<Plan<T>, ControlError> {
    if insist { Err(ControlError::Conflict(reason.to_owned())) } else { Ok(Plan::Leave("left", reason.to_owned())) }
}

fn shown<T>(plan: &Plan<T>, done: impl Fn(&T) -> Value) -> Value {
    match plan {
        Plan::Do(what) => done(what),
        Plan::Leave(outcome, reason) => json!({ "outcome": outcome, "reason": reason }),
    }
}

/// What is told of the features, when `list` has come of them.
fn feature_answer(wanted: &[Proposal], list: &FeatureList, mut told: Value) -> Value {
    let (mut taken, mut full) = (Vec::new(), Vec::new());
    for Proposal { name, .. } in wanted {
        if list.live().any(|slot| slot.name == *name) {
            taken.push(name.clone());
        } else {
            full.push(json!({ "name": name, "reason": "the list is full (ml.additional_features_max)" }));
        }
    }
    told["taken"] = json!(taken);
    if let Some(left) = told["left"].as_array_mut() {
        left.retain(|one| !full.contains(one));
        left.extend(full);
    }
    told
}

fn cut(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}
