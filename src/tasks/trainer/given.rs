//! A network that came from elsewhere: examined under the lease like a training, and kept for a person where the gate has
//! nothing against it. It never becomes the current model by itself.
//!
//! The same network twice leaves one candidate, and one entry in the history.

use serde_json::Value;

use super::conclusion::Ended;
use super::{Gathered, Seen, TrainError, TrainReport, TrainRequest, Trainer, run_options};
use crate::detection::features::FeatureSchema;
use crate::learning::artifact::ModelArtifact;
use crate::learning::gate::Verdict;
use crate::learning::hindsight::FrozenLabels;
use crate::learning::mlp::Mlp;
use crate::learning::run::{self, Examined};
use crate::store::StoreError;
use crate::store::registry::Registry;
use crate::tasks::candidate::{self, CandidateNote};
use crate::tasks::publisher::{HistoryNote, PublishError};

/// What the history calls it; a training has the kind of its trigger here.
pub(crate) const IMPORT: &str = "import";
/// Entries of the history in which an equal one is looked for.
const HISTORY_LOOKED_AT: usize = 50;

impl Trainer {
    /// Examines a network of the six features; the report is a candidate or a refusal, unless there was no lease.
    ///
    /// # Errors
    /// As [`Trainer::run_once`].
    pub(crate) async fn examine(&self, network: Mlp, request: TrainRequest) -> Result<TrainReport, TrainError> {
        self.run(request, Some(network)).await
    }

    pub(super) async fn examined(
        &self,
        network: Mlp,
        request: &TrainRequest,
        registry: &Registry,
    ) -> Result<(Examined, Seen), TrainError> {
        let Gathered { material, seen, champion, .. } = self.gather(registry).await?;
        let schema = self.schema.load();
        let options = run_options(&self.config.load(), schema.profile(), request, champion.as_ref());
        let examined = tokio::task::spawn_blocking(move || {
            let schemas = (&FeatureSchema::compat6(), schema.as_ref());
            run::examine_given(network, material, &FrozenLabels, schemas, &options, champion.as_ref())
        });
        Ok((examined.await.map_err(|_| TrainError::Panicked)?, seen))
    }

    /// Keeps it for a person, or records why not.
    pub(super) async fn conclude_examined(
        &self,
        ended: Ended<'_>,
        examined: Examined,
    ) -> Result<TrainReport, TrainError> {
        let Examined { artifact, judgement, reason } = examined;
        let mut note = HistoryNote { trigger: IMPORT.to_owned(), ..self.note(ended.request) };
        let refused = judgement.as_ref().is_some_and(|judgement| judgement.verdict == Verdict::Refuse);
        match &judgement {
            Some(judgement) => {
                note.describe(0, &artifact.evaluation, judgement, &reason);
                self.metrics.judged(0, judgement);
            }
            None => note.reason.clone_from(&reason),
        }
        if !refused {
            return self.keep_candidate(ended, artifact, note).await;
        }
        if !self.is_told(&note).await? {
            self.refuse(ended, &note, "refused", None).await?;
        }
        let evaluation = Some(Box::new(artifact.evaluation));
        Ok(TrainReport::Refused { reason, samples: 0, epochs: 0, evaluation, tuning: None })
    }

    async fn keep_candidate(
        &self,
        ended: Ended<'_>,
        artifact: ModelArtifact,
        note: HistoryNote,
    ) -> Result<TrainReport, TrainError> {
        let encoded = self.encoded(&artifact, ended.registry, &note).map_err(PublishError::from)?;
        let id = CandidateNote::id_of(&encoded.sha256);
        let waiting = candidate::waiting(self.store.as_ref()).await?;
        if waiting.is_some_and(|(_, waiting)| waiting.id == id && waiting.is_current(ended.registry)) {
            let (reason, evaluation) = (note.reason, Box::new(artifact.evaluation));
            return Ok(TrainReport::Candidate { id, reason, samples: 0, epochs: 0, evaluation, tuning: None });
        }
        self.set_aside(ended, artifact, note).await
    }

    /// Whether the history has the same refusal already.
    async fn is_told(&self, note: &HistoryNote) -> Result<bool, StoreError> {
        let told = |entry: Vec<u8>| serde_json::from_slice::<Value>(&entry).ok();
        let new = told(note.to_json(None, "refused")).unwrap_or_default();
        let same = |entry: &Value| {
            ["trigger", "outcome", "reason", "evaluation", "gate"].iter().all(|key| entry[*key] == new[*key])
        };
        Ok(self.store.history(HISTORY_LOOKED_AT).await?.into_iter().filter_map(told).any(|entry| same(&entry)))
    }
}

/// What a run under the lease came to.
pub(super) enum Outcome {
    /// A training.
    Trained(run::RunOutcome),
    /// An examination.
    Examined(Box<Examined>),
}
