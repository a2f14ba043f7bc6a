//! What becomes of a trained model: published, set aside for a person, or refused; each with its entry in the history.

use tracing::{info, warn};

use super::{Seen, TrainError, TrainReport, TrainRequest, Trainer, trigger_name};
use crate::clock;
use crate::config::Approval;
use crate::learning::artifact::{ArtifactHeader, Encoded, ModelArtifact};
use crate::learning::evaluation::Evaluation;
use crate::learning::gate::{Judgement, Verdict};
use crate::learning::run::{Notes, RunOutcome, Trained};
use crate::store::StoreError;
use crate::store::candidate::Candidate;
use crate::store::mode::{EndOfLearning, ModeCause, ModeOrigin, ModeStamp};
use crate::store::registry::{Lease, PublishReply, RefusalReply, RefusalRequest, Registry};
use crate::tasks::candidate::CandidateNote;
use crate::tasks::publisher::{HistoryNote, PublishError, PublishJob};

/// Names of authors in one entry of the history, at most; more than that are told by their number.
const UNHEEDED_MAX: usize = 32;

/// What every end of a training needs to know of it.
#[derive(Clone, Copy)]
pub(super) struct Ended<'a> {
    pub(super) request: &'a TrainRequest,
    pub(super) lease: Lease,
    /// As it was when the lease was given.
    pub(super) registry: &'a Registry,
    pub(super) seen: &'a Seen,
}

impl Trainer {
    /// Publishes the outcome, sets it aside, or records why not.
    pub(super) async fn conclude(&self, ended: Ended<'_>, outcome: RunOutcome) -> Result<TrainReport, TrainError> {
        let mut note = self.note(ended.request);
        match outcome {
            RunOutcome::Promoted(trained) => {
                let Trained { artifact, samples, reason, judgement, notes } = *trained;
                note.describe(samples, &artifact.evaluation, &judgement, &reason);
                self.metrics.judged(samples, &judgement);
                self.note_down(&mut note, notes);
                let by_hand = self.config.load().training.approval == Approval::Manual && !ended.request.by_operator;
                if by_hand {
                    self.set_aside(ended, artifact, note).await
                } else {
                    self.promote(ended, artifact, note).await
                }
            }
            RunOutcome::Refused { reason, samples, evaluation, judgement, challenger, notes } => {
                note.describe(samples, &evaluation, &judgement, &reason);
                self.metrics.judged(samples, &judgement);
                self.note_down(&mut note, notes);
                if judgement.verdict == Verdict::Hold {
                    return self.set_aside(ended, *challenger, note).await;
                }
                match self.encoded(&challenger, ended.registry, &note) {
                    // So that an operator can look at what it would have done (`replay --against-current`).
                    Ok(encoded) => self.state_dir.save_challenger(&encoded.bytes),
                    Err(error) => warn!("the refused challenger is not kept: {error}"),
                }
                self.refuse(ended, &note, "refused", None).await?;
                let epochs = ended.request.epochs;
                let tuning = note.tuning.map(Box::new);
                Ok(TrainReport::Refused { reason, samples, epochs, evaluation: Some(evaluation), tuning })
            }
            RunOutcome::NotEnoughData { reason } => {
                note.reason.clone_from(&reason);
                self.refuse(ended, &note, "not_enough_data", None).await?;
                Ok(TrainReport::NotEnoughData { reason })
            }
        }
    }

    async fn promote(
        &self,
        ended: Ended<'_>,
        artifact: ModelArtifact,
        mut note: HistoryNote,
    ) -> Result<TrainReport, TrainError> {
        let evaluation = Box::new(artifact.evaluation.clone());
        let job = PublishJob {
            ends_learning: self.end_of_learning(ended.seen, &artifact),
            artifact,
            registry: ended.registry.clone(),
            lease: ended.lease,
            trigger: ended.request.trigger.clone(),
            watermark: ended.seen.watermark,
            by_operator: ended.request.by_operator,
            history: note.clone(),
        };
        let (reply, model) = self.publisher.publish(job).await?;
        let (samples, epochs, tuning) = (note.samples, note.epochs, note.tuning.clone().map(Box::new));
        match reply {
            PublishReply::Published | PublishReply::AlreadyPublished => {
                Ok(TrainReport::Promoted { model, reason: note.reason, samples, epochs, evaluation, tuning })
            }
            refused => {
                note.reason = refused.reason().into();
                self.refuse(ended, &note, "refused", None).await?;
                let evaluation = Some(evaluation);
                Ok(TrainReport::Refused { reason: note.reason, samples, epochs, evaluation, tuning })
            }
        }
    }

    /// Keeps a model in the store until a person approves or discards it.
    pub(super) async fn set_aside(
        &self,
        ended: Ended<'_>,
        artifact: ModelArtifact,
        mut note: HistoryNote,
    ) -> Result<TrainReport, TrainError> {
        let encoded = self.encoded(&artifact, ended.registry, &note).map_err(PublishError::from)?;
        // Here too, an operator may want to see what it would do.
        self.state_dir.save_challenger(&encoded.bytes);
        let id = CandidateNote::id_of(&encoded.sha256);
        let description = CandidateNote {
            id: id.clone(),
            sha256: hex::encode(encoded.sha256),
            trained_at_ms: note.trained_at.millis(),
            trigger: note.trigger.clone(),
            node: note.node.clone(),
            samples: note.samples,
            epochs: note.epochs,
            reason: note.reason.clone(),
            evaluation: serde_json::to_value(&artifact.evaluation).unwrap_or_default(),
            gate: note.gate.clone().unwrap_or_default(),
            watermark: ended.seen.watermark,
            parent_generation: ended.registry.generation,
            parent_sha256: ended.registry.sha256.map(hex::encode),
            ends_learning: self.end_of_learning(ended.seen, &artifact),
        };
        note.candidate = Some(id.clone());
        let description = serde_json::to_vec(&description).expect("plain data always serialises");
        let candidate = Candidate { note: description, artifact: encoded.bytes };
        let recorded = self.refuse(ended, &note, "candidate", Some(candidate)).await?;
        let (reason, samples, epochs, tuning) = (note.reason, note.samples, note.epochs, note.tuning.map(Box::new));
        let evaluation = Box::new(artifact.evaluation);
        Ok(match recorded {
            RefusalReply::Recorded => TrainReport::Candidate { id, reason, samples, epochs, evaluation, tuning },
            RefusalReply::StaleFence => {
                let reason = PublishReply::StaleFence.reason().to_owned();
                TrainReport::Refused { reason, samples, epochs, evaluation: Some(evaluation), tuning }
            }
        })
    }

    /// Whether a model that passed the gate ends learning mode: it was fed by enough feedback that arrived since the mode was
    /// switched on, and it may block. A node in dry run does not switch the fleet's mode.
    fn end_of_learning(&self, seen: &Seen, artifact: &ModelArtifact) -> Option<EndOfLearning> {
        let config = self.config.load();
        let mode = seen.mode.as_ref().filter(|mode| mode.on && mode.set.is_some())?;
        let enough = seen.fresh >= config.training.feedback_threshold;
        let allowed = config.training.ends_learning_mode && !config.ml.dry_run;
        let heeded = artifact.training.counts.feedback > 0;
        if !(allowed && enough && heeded && artifact.thresholds.block.is_some()) {
            return None;
        }
        let reason = format!(
            "a model that may block passed the gate, fed by feedback on {} requests since learning mode was switched on",
            seen.fresh
        );
        let origin = ModeOrigin::new(ModeCause::Feedback, &self.identity.name, &reason);
        Some(EndOfLearning { expected: ModeStamp::of(Some(mode)), origin })
    }

    /// A model that has no generation.
    pub(super) fn encoded(
        &self,
        artifact: &ModelArtifact,
        registry: &Registry,
        note: &HistoryNote,
    ) -> Result<Encoded, crate::learning::artifact::ArtifactError> {
        artifact.encode(&ArtifactHeader {
            lineage: registry.lineage.unwrap_or_default(),
            generation: 0,
            trained_at_ms: note.trained_at.millis(),
            node: note.node.clone(),
        })
    }

    pub(super) async fn refuse(
        &self,
        ended: Ended<'_>,
        note: &HistoryNote,
        outcome: &str,
        candidate: Option<Candidate>,
    ) -> Result<RefusalReply, StoreError> {
        let refusal = RefusalRequest {
            lease: ended.lease,
            trigger: ended.request.trigger.clone(),
            considered: ended.seen.watermark,
            history: note.to_json(None, outcome),
            candidate,
        };
        let reply = self.store.record_refusal(&refusal).await?;
        match reply {
            RefusalReply::Recorded => self.metrics.status().registry_written(),
            RefusalReply::StaleFence => warn!("a later training has ended meanwhile; this refusal was not recorded"),
        }
        Ok(reply)
    }

    /// What the history says besides the model. Words that contradict each other are for people to sort out.
    fn note_down(&self, note: &mut HistoryNote, notes: Notes) {
        let Notes { tuning, feedback, mut unheeded } = notes;
        self.metrics.training_feedback(&feedback);
        if feedback.contradicted > 0 {
            let requests = feedback.contradicted;
            warn!(requests, "two people contradict each other about {requests} requests; neither counts for those");
        }
        if feedback.set_aside > 0 {
            let items = feedback.set_aside;
            let authors = unheeded.len();
            warn!(
                items,
                authors,
                "{items} feedback items of {authors} authors cost more attacks than they may, or had the model refused, and \
                 were left out of this training; `nauthilus-neural feedback list` shows which"
            );
        }
        if feedback.overruled > 0 {
            let items = feedback.overruled;
            info!(
                items,
                "{items} feedback items say something else than the labels of their requests; those that count win"
            );
        }
        if let Some(table) = &tuning {
            let (winner, of) = (table.winner, table.tried.len());
            let (hidden, rate, l2) = (winner.hidden, winner.learning_rate, winner.l2);
            info!(
                hidden,
                rate, l2, "tuned: {hidden} neurons, learning rate {rate}, weight decay {l2} of {of} candidates"
            );
        }
        note.tuning = tuning;
        note.feedback = Some(feedback);
        unheeded.truncate(UNHEEDED_MAX);
        note.unheeded = unheeded;
    }

    pub(super) fn note(&self, request: &TrainRequest) -> HistoryNote {
        HistoryNote {
            trained_at: clock::now(),
            trigger: trigger_name(&request.trigger).to_owned(),
            by: request.by.clone(),
            node: self.identity.name.clone(),
            samples: 0,
            epochs: request.epochs,
            evaluation: None,
            gate: None,
            candidate: None,
            tuning: None,
            feedback: None,
            unheeded: Vec::new(),
            reason: String::new(),
        }
    }
}

impl HistoryNote {
    /// Takes over what a training found.
    pub(super) fn describe(&mut self, samples: usize, evaluation: &Evaluation, judgement: &Judgement, reason: &str) {
        self.samples = samples;
        self.evaluation = Some(evaluation.clone());
        self.gate = serde_json::to_value(judgement).ok();
        self.reason = reason.to_owned();
    }
}
