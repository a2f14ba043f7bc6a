//! A person's word on the candidate that waits: publish it, under a lease like any training, or take it away.
//!
//! The comparison of the gate must still hold: a candidate that was compared with another model than the current one is not
//! published, whoever asks.

use std::sync::atomic::Ordering;

use tracing::info;

use super::{LowerOnDrop, TrainError, Trainer};
use crate::detection::attempt::Timestamp;
use crate::learning::artifact::{Expectation, ModelArtifact};
use crate::random;
use crate::store::StoreError;
use crate::store::registry::{Lease, LeaseReply, ModelId, PublishReply, Registry, TriggerKey};
use crate::tasks::candidate::{self, CandidateNote};
use crate::tasks::publisher::{HistoryNote, PublishJob};

/// What became of an approval or a discard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Approved {
    /// It is the current model now.
    Published { id: String, model: ModelId, reason: String },
    /// It is gone.
    Discarded { id: String },
    /// Nothing waits.
    Nothing,
    /// Another one waits than the one that was named.
    Other { waiting: String },
    /// Nothing was changed; `reason` says what stands in the way.
    Impossible { reason: String },
}

fn impossible(reason: impl Into<String>) -> Approved {
    Approved::Impossible { reason: reason.into() }
}

impl Trainer {
    /// Publishes the candidate that waits, if it is the one with this id (`None`: whichever waits).
    ///
    /// # Errors
    /// When the store fails, or holds something foreign.
    pub(crate) async fn approve(&self, id: Option<&str>, by: &str) -> Result<Approved, TrainError> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return Ok(impossible("a training is running already on this node; try again when it has ended"));
        }
        let _busy = LowerOnDrop(&self.busy);
        let note = match self.named(id).await? {
            Ok((_, note)) => note,
            Err(answer) => return Ok(answer),
        };
        let trigger = TriggerKey::Command { id: random::id() };
        let (ttl, high_water) = (self.config.load().training.lease, self.high_water.get());
        let (lease, registry) = match self.store.acquire_lease(&trigger, self.identity.boot, ttl, high_water).await? {
            LeaseReply::Acquired { lease, registry } => (lease, *registry),
            LeaseReply::Held { remaining } => {
                let seconds = remaining.as_secs() + 1;
                let reason = format!("another node is training; its lease lasts {seconds} s at most");
                return Ok(impossible(reason));
            }
            LeaseReply::AlreadyDone => return Ok(impossible("this command was carried out before")),
        };
        self.high_water.observe_fence(lease.fence);
        *self.held() = Some(lease);
        let approved = self.publish_candidate(note, trigger, lease, &registry, by).await;
        self.give_back().await;
        approved
    }

    /// Takes the candidate that waits away, if it is the one with this id (`None`: whichever waits).
    ///
    /// # Errors
    /// When the store fails, or holds something foreign.
    pub(crate) async fn discard(&self, id: Option<&str>, by: &str) -> Result<Approved, TrainError> {
        let (stored, note) = match self.named(id).await? {
            Ok(found) => found,
            Err(answer) => return Ok(answer),
        };
        if !self.store.discard_candidate(&stored, by).await? {
            return Ok(impossible("another candidate came in between; look again"));
        }
        self.metrics.status().registry_written();
        Ok(Approved::Discarded { id: note.id })
    }

    async fn named(&self, id: Option<&str>) -> Result<Result<(Vec<u8>, CandidateNote), Approved>, StoreError> {
        Ok(match candidate::waiting(self.store.as_ref()).await? {
            None => Err(Approved::Nothing),
            Some((_, note)) if id.is_some_and(|id| id != note.id) => Err(Approved::Other { waiting: note.id }),
            Some(found) => Ok(found),
        })
    }

    async fn publish_candidate(
        &self,
        note: CandidateNote,
        trigger: TriggerKey,
        lease: Lease,
        registry: &Registry,
        by: &str,
    ) -> Result<Approved, TrainError> {
        if !note.is_current(registry) {
            let reason =
                "the current model is another one than the candidate was compared with; discard it and train anew";
            return Ok(impossible(reason));
        }
        let artifact = match self.candidate_artifact(&note).await? {
            Ok(artifact) => artifact,
            Err(reason) => return Ok(impossible(reason)),
        };
        let reason = format!("approved by a person; {}", note.reason);
        let history = HistoryNote {
            trained_at: Timestamp::from_millis(note.trained_at_ms),
            trigger: note.trigger,
            by: by.to_owned(),
            node: note.node,
            samples: note.samples,
            epochs: note.epochs,
            evaluation: Some(artifact.evaluation.clone()),
            gate: Some(note.gate),
            candidate: Some(note.id.clone()),
            tuning: None,
            feedback: None,
            unheeded: Vec::new(),
            reason: reason.clone(),
        };
        let job = PublishJob {
            artifact,
            registry: registry.clone(),
            lease,
            trigger,
            watermark: note.watermark,
            by_operator: true,
            history,
            ends_learning: note.ends_learning,
        };
        let (reply, model) = self.publisher.publish(job).await?;
        Ok(match reply {
            PublishReply::Published | PublishReply::AlreadyPublished => {
                info!(generation = model.generation, "a candidate was approved: {reason}");
                Approved::Published { id: note.id, model, reason }
            }
            refused => impossible(refused.reason()),
        })
    }

    /// The artifact behind a description; the inner error says why it cannot serve.
    async fn candidate_artifact(&self, note: &CandidateNote) -> Result<Result<ModelArtifact, String>, StoreError> {
        let bytes = self.store.candidate_model().await?.unwrap_or_default();
        let expectation = Expectation { fingerprint: None, sha256: note.content() };
        let decoded = ModelArtifact::decode(&bytes, &expectation);
        let accepted = decoded.and_then(|(_, artifact)| artifact.accepted_by(&self.schema.load()));
        Ok(accepted.map_err(|error| format!("the candidate cannot serve: {error}; discard it and train anew")))
    }
}
