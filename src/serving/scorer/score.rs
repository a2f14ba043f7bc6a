//! One score: a snapshot, what the model says of it, and what the caller is told.

use std::sync::Arc;

use super::{ScoreAnswer, ScoreError, Scorer};
use crate::config::Config;
use crate::detection::attacks::Stance;
use crate::detection::attempt::{Attempt, Timestamp};
use crate::detection::event::{Decision, Snapshot};
use crate::detection::features::FeatureSchema;
use crate::detection::overrides::Ordered;
use crate::detection::record::AttemptRecord;
use crate::detection::tracker::Begin;
use crate::detection::verdict::{self, Verdict, VerdictInput, WeightedRule};
use crate::learning::artifact::ModelArtifact;
use crate::serving::attacks;
use crate::serving::explain;
use crate::serving::mode;
use crate::serving::prior::Current;

/// What is known of an attempt before a model is asked.
struct Said {
    trusted: bool,
    known_good: bool,
    ordered: Option<Ordered>,
}

impl Scorer {
    /// Scores one attempt that happens `now`; `monotonic_ms` starts its wait for an outcome.
    ///
    /// # Errors
    /// A field out of bounds, or a request id that belongs to another attempt. Nothing is counted then.
    pub fn score(&self, record: AttemptRecord, now: Timestamp, monotonic_ms: u64) -> Result<ScoreAnswer, ScoreError> {
        let site = self.site.load();
        let wants_explanation = record.explain == Some(true);
        let mut checked = self.check_live(record, now)?;
        let schema = self.schema.load();
        self.take_in(&schema, &mut checked);
        let attempt = checked.attempt;
        let trusted = site.trusts(&attempt);
        let context = self.context(&site, &attempt, Some(monotonic_ms));
        let config = self.config.load();
        let model = self.slot.load();
        let prior = if model.is_none() { self.prior_by(&config) } else { None };
        let current = model.as_deref().map(Current::from).or(prior.as_deref().map(Current::prior));

        let mut state = self.lock();
        if !attempt.no_auth
            && let Some(known) = state.tracker.lookup(attempt.request)
            && !known.attempt.same_content(&attempt)
        {
            return Err(ScoreError::Conflict);
        }
        let snapshot = match state.tracker.lookup(attempt.request).and_then(|known| known.snapshot.clone()) {
            // Asked again: the features are those of the first time.
            Some(earlier) => earlier,
            None => {
                let activity = state.tracker.activity();
                Arc::new(schema.snapshot_with(activity, &attempt, &context, &checked.given))
            }
        };
        let known_good = state.tracker.activity().known_good(attempt.user, attempt.client_ip, attempt.ts);
        let at_home = !trusted && state.tracker.activity().at_home(attempt.user, attempt.client_ip, attempt.ts);
        let ordered = self.overrides.find(&attempt);
        let scored = current.and_then(|model| Some((model, probability(&schema, &snapshot, model.artifact)?)));
        let stance = if trusted { Stance::default() } else { self.attacks.stance(&attempt, known_good) };
        let said = Said { trusted, known_good, ordered };
        let (answer, model_says) = self.answer(&config, scored, &attempt, &said, &stance);
        let mut counted = false;
        if !attempt.no_auth {
            let decision = Decision { probability: answer.probability.map(|p| p as f32), verdict: answer.verdict };
            let request = attempt.request;
            match state.tracker.begin(&attempt, Some(Arc::clone(&snapshot)), Some(decision)) {
                Begin::New => {
                    self.metrics.attempts_ingested(1);
                    counted = true;
                    state.pending.insert(request, monotonic_ms);
                    // What an operator has decided says nothing about what the model does to users at home.
                    if at_home && answer.model.is_some() && ordered.is_none() {
                        state.blocks.note(&attempt, model_says == Verdict::Block);
                    }
                }
                Begin::Same(_) => {}
                Begin::Conflict => return Err(ScoreError::Conflict),
            }
        }
        state.last = Some(Arc::clone(&snapshot));
        drop(state);
        if counted && !trusted {
            self.attacks.note(&attempt, true, None);
            self.passing.note(&attempt, true, None);
        }
        let explained = current.filter(|_| wants_explanation);
        let explanation = explained.and_then(|model| explain::explain(&config, &schema, model, &snapshot).ok());
        Ok(ScoreAnswer { request_id: checked.request_id, explanation, ..answer })
    }

    /// The answer, and what the model alone would have said.
    fn answer(
        &self,
        config: &Config,
        scored: Option<(Current<'_>, f64)>,
        attempt: &Attempt,
        said: &Said,
        stance: &Stance,
    ) -> (ScoreAnswer, Verdict) {
        let (usable, probability) = scored.unzip();
        let thresholds = usable.map(|model| model.artifact.thresholds).unwrap_or_default();
        let block_threshold = usable.and_then(|model| model.block_threshold(config));
        let id = usable.and_then(|model| model.id);
        let switched_on = self.mode.switched_on();
        let decided = verdict::decide(&VerdictInput {
            ordered: said.ordered.map(|ordered| ordered.kind),
            trusted: said.trusted,
            enabled: config.ml.enabled,
            trained: id.is_some(),
            prior: usable.is_some() && id.is_none(),
            learning_mode: switched_on,
            dry_run: config.ml.dry_run,
            static_rule_triggered: attempt.static_rule_triggered,
            probability,
            block_threshold,
            watch_threshold: thresholds.watch,
            known_good: said.known_good,
            protection: attacks::measure(stance),
            threshold_cap: stance.threshold_cap,
            override_rules: config.ml.may_override_rules.then(|| WeightedRule {
                static_weight: config.ml.static_weight,
                ml_weight: config.ml.ml_weight,
                // Upstream's fixed threshold for the weighted sum, unless the operator set one.
                threshold: config.ml.threshold.unwrap_or(0.7),
            }),
        });
        if let Some(kind) = decided.by_order {
            self.metrics.overridden(kind);
        }
        let heeded = decided.heeds_protection && decided.verdict > Verdict::Watch;
        let cap = stance.threshold_cap.filter(|_| decided.heeds_protection);
        let answer = ScoreAnswer {
            request_id: String::new(),
            verdict: decided.verdict,
            would_be: decided.would_be,
            probability,
            threshold: verdict::lowered(block_threshold, cap),
            learning_mode: mode::effective(switched_on, id.is_some(), config.ml.dry_run),
            reason: decided.reason.into(),
            override_id: said.ordered.map(|ordered| ordered.id),
            retry_after_s: stance.retry_after_s.filter(|_| heeded).map(u64::from),
            model: id,
            explanation: None,
        };
        (answer, decided.model)
    }
}

/// What a model says about a snapshot; `None` when ours cannot read the schema of either.
fn probability(schema: &FeatureSchema, snapshot: &Snapshot, model: &ModelArtifact) -> Option<f64> {
    let wanted = (model.schema.fingerprint, model.model.inputs());
    let values = schema.align_to(snapshot.fingerprint, &snapshot.values, wanted)?;
    Some(model.probability(&values))
}
