//! Gives samples the label that hindsight has for them, and writes it into the store once it is final: the memory behind
//! it forgets after days, samples stay for months.
//!
//! Each training begins with this; in between one node of the fleet does it every hour. Two nodes that do it at once do
//! no harm: the first word on a sample stays.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::jittered;
use crate::config::Config;
use crate::learning::hindsight::LabelCounts;
use crate::learning::sample::Sample;
use crate::serving::scorer::Scorer;
use crate::state::identity::Identity;
use crate::store::entry::BATCH_MAX;
use crate::store::{Limits, NodeReport, Relabel, SampleClass, Store, StoreError};
use crate::supervisor::{TaskError, TaskStatus};
use crate::telemetry::metrics::Metrics;

/// A label is asked for within a day of settling; an hour leaves many attempts for that.
const PERIOD: Duration = Duration::from_secs(3600);
/// Samples asked about in one go: some milliseconds, one walk over all failing addresses included, in which nothing can be
/// remembered.
const ASKED_AT_ONCE: usize = 2000;

/// See the module documentation.
pub struct Labeller {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) fleet: Arc<ArcSwap<Vec<NodeReport>>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The samples of the store with what hindsight says about them now.
pub(crate) struct LabelledSamples {
    /// With their inclusion weight.
    pub(crate) samples: Vec<(f64, Sample)>,
    /// Which rule or reason how many of them have.
    pub(crate) counts: LabelCounts,
    /// Labels that became final.
    changes: Vec<Relabel>,
}

impl Labeller {
    /// Labels every hour until `stop`, if no other node is to do it.
    ///
    /// # Errors
    /// None: an absent store is waited for.
    pub async fn run(self: Arc<Self>, status: TaskStatus, stop: CancellationToken) -> Result<(), TaskError> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(jittered(PERIOD)) => {}
            }
            if !self.is_mine() {
                status.finished("left to another node", "");
                continue;
            }
            match self.reconcile_once().await {
                Ok(labelled) => status.finished("labelled", format!("{labelled} samples have their label for good")),
                Err(error) => status.waiting(error.to_string()),
            }
        }
    }

    /// Labels what has settled. Returns how many samples got their label for good.
    ///
    /// # Errors
    /// When the store cannot be used; what was written before that stays.
    pub async fn reconcile_once(&self) -> Result<u64, StoreError> {
        let labelled = self.read().await?;
        self.write(&labelled.changes).await
    }

    /// All samples, labelled as far as that is possible now. Final labels are written; that they cannot be is no reason
    /// not to use them.
    ///
    /// # Errors
    /// When the samples cannot be read.
    pub(crate) async fn samples(&self) -> Result<LabelledSamples, StoreError> {
        let labelled = self.read().await?;
        if let Err(error) = self.write(&labelled.changes).await {
            self.metrics.store_error("relabel_samples");
            warn!("labels were not written into the store; the next training tries again: {error}");
        }
        Ok(labelled)
    }

    /// Whether it is this node's turn: one node reads all samples, not each.
    fn is_mine(&self) -> bool {
        let own = self.identity.boot_hex();
        self.fleet.load().iter().all(|node| node.boot_id >= own)
    }

    async fn read(&self) -> Result<LabelledSamples, StoreError> {
        let full_at = Limits::from(&**self.config.load()).samples_per_class;
        let mut stored = Vec::new();
        for class in [SampleClass::Success, SampleClass::Failure] {
            stored.push((class, self.store.read_samples(class).await?));
        }
        let scorer = Arc::clone(&self.scorer);
        let labelled = tokio::task::spawn_blocking(move || label(&scorer, stored, full_at)).await;
        let labelled = labelled.map_err(|_| StoreError::Unavailable { operation: "label samples", source: None })?;
        self.metrics.labels(labelled.counts.by_name());
        Ok(labelled)
    }

    async fn write(&self, changes: &[Relabel]) -> Result<u64, StoreError> {
        let mut replaced = 0;
        for chunk in changes.chunks(BATCH_MAX) {
            replaced += self.store.relabel_samples(chunk).await?;
        }
        Ok(replaced)
    }
}

/// The samples as they were read, by class: key and bytes.
type Stored = Vec<(SampleClass, Vec<(f64, Vec<u8>)>)>;

fn label(scorer: &Scorer, stored: Stored, full_at: u64) -> LabelledSamples {
    let mut done = LabelledSamples { samples: Vec::new(), counts: LabelCounts::default(), changes: Vec::new() };
    for (class, entries) in stored {
        let full = entries.len() as u64 >= full_at;
        let threshold = if full { entries.last().map(|(key, _)| *key) } else { None };
        // What cannot be read is another version's.
        let (places, mut samples): (Vec<_>, Vec<_>) =
            entries.into_iter().filter_map(|entry| Sample::decode(&entry.1).ok().map(|sample| (entry, sample))).unzip();
        for (places, samples) in places.chunks(ASKED_AT_ONCE).zip(samples.chunks_mut(ASKED_AT_ONCE)) {
            for settled in scorer.label(samples) {
                let (key, old) = places[settled].clone();
                done.changes.push(Relabel { class, key, old, new: samples[settled].encode() });
            }
        }
        for (sample, (key, _)) in samples.into_iter().zip(places) {
            done.counts.count(&sample);
            done.samples.push((1.0 / sample.inclusion_probability(key, threshold), sample));
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::detection::attempt::{Outcome, Timestamp};
    use crate::detection::event::{AttemptEvent, BootId, Snapshot};
    use crate::detection::features::FeatureSchema;
    use crate::detection::pseudonym::Pseudonymizer;
    use crate::learning::hindsight::{FrozenLabel, HindsightRule};
    use crate::learning::sample::reservoir_key;
    use crate::serving::attempt_log::AttemptLog;
    use crate::serving::mode::LearningMode;
    use crate::serving::scorer::ScorerParts;
    use crate::serving::slot::ModelSlot;
    use crate::state::state_dir::StateDir;
    use crate::store::embedded::EmbeddedStore;
    use crate::store::registry::ModelId;
    use crate::store::{AttemptEntry, SampleEntry};

    const HOUR: i64 = 60;
    const DAY: i64 = 24 * HOUR;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis((20_000 * DAY + minutes) * 60_000)
    }

    /// A node's labeller on a store of its own.
    fn labeller(directory: &std::path::Path) -> Labeller {
        let config = Arc::new(ArcSwap::from_pointee(Config::default()));
        let metrics = Arc::new(Metrics::new("0"));
        let state = StateDir::open(&directory.join("state")).expect("writable");
        let store = EmbeddedStore::open(directory.join("store.redb"), Limits::default(), "a").expect("a new store");
        let scorer = Scorer::new(ScorerParts {
            config: Arc::clone(&config),
            schema: Arc::new(crate::serving::schema::SchemaSlot::new(FeatureSchema::compat6())),
            geo: crate::serving::geo::GeoDatabases::default(),
            slot: Arc::new(ModelSlot::new()),
            mode: Arc::new(LearningMode::default()),
            pseudonymizer: Pseudonymizer::new([7; 32]),
            log: Arc::new(AttemptLog::new(BootId([1; 16]), 1000, metrics.status().clone())),
            metrics: Arc::clone(&metrics),
        });
        Labeller {
            config,
            store: Arc::new(store),
            scorer: Arc::new(scorer),
            identity: Arc::new(Identity::open(&state, "a").expect("writable")),
            fleet: Arc::default(),
            metrics,
        }
    }

    /// Another node's login, which this node reads from the stream, with its sample.
    async fn login(labeller: &Labeller, seq: u64, minutes: i64, user: u8, success: bool) {
        let attempt = crate::detection::attempt::testing::plain(
            at(minutes),
            &seq.to_string(),
            IpAddr::from([192, 0, 2, user]),
            user,
        );
        let event = AttemptEvent {
            origin: BootId([2; 16]),
            seq,
            attempt,
            outcome: Some(if success { Outcome::Success } else { Outcome::Failure }),
            snapshot: Some(Snapshot { fingerprint: 1, values: vec![0.5] }),
            decision: None,
            historical: false,
        };
        let sample = Sample::from_event(&event, 20_000.0).expect("it has an outcome");
        let class = if success { SampleClass::Success } else { SampleClass::Failure };
        let key = reservoir_key(sample.request, sample.ingested_day);
        let sample = SampleEntry { class, key, bytes: sample.encode() };
        let entry = AttemptEntry { event: event.encode(), sample: Some(sample) };
        labeller.store.append_attempts(&[entry]).await.expect("stored");
        labeller.scorer.reading(at(minutes));
        labeller.scorer.apply_remote(&event, BootId([1; 16]));
        labeller.scorer.read_to_the_end();
    }

    async fn failures(labeller: &Labeller) -> Vec<Option<FrozenLabel>> {
        let stored = labeller.store.read_samples(SampleClass::Failure).await.expect("readable");
        stored.iter().map(|(_, bytes)| Sample::decode(bytes).expect("a sample").label).collect()
    }

    #[tokio::test]
    async fn a_label_is_kept_once_it_is_final_and_outlives_the_memory_behind_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let labeller = labeller(directory.path());
        login(&labeller, 1, -2 * DAY, 9, true).await;
        login(&labeller, 2, 0, 1, false).await;
        login(&labeller, 3, 5, 1, true).await;
        login(&labeller, 4, 20 * HOUR, 9, true).await;

        let early = labeller.samples().await.expect("readable");
        let soon = FrozenLabel::Rule(HindsightRule::SucceededSoon);
        let failure = early.samples.iter().find(|(_, sample)| !sample.is_success()).expect("one failed");
        assert_eq!(failure.1.label, Some(soon), "it serves a training at once");
        assert_eq!(failures(&labeller).await, [None], "but is not kept before the day is over");

        login(&labeller, 5, DAY + 5, 9, true).await;
        assert_eq!(labeller.reconcile_once().await.expect("written"), 2, "the failure, and the success after it");
        assert_eq!(failures(&labeller).await, [Some(soon)]);
        assert_eq!(labeller.reconcile_once().await.expect("read"), 0, "once");

        labeller.scorer.prune_memory(at(90 * DAY));
        login(&labeller, 6, 90 * DAY, 9, true).await;
        let late = labeller.samples().await.expect("readable");
        let failure = late.samples.iter().find(|(_, sample)| !sample.is_success()).expect("one failed");
        assert_eq!(failure.1.label, Some(soon));
        let text = labeller.metrics.render(None);
        assert!(text.contains("nauthilus_neural_labels{rule=\"succeeded_soon\"} 1\n"), "{text}");
    }

    #[tokio::test]
    async fn of_a_fleet_the_node_with_the_smallest_boot_id_labels() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let labeller = labeller(directory.path());
        let node = |boot_id: String| NodeReport {
            name: "b".to_owned(),
            node_id: String::new(),
            boot_id,
            version: "0".to_owned(),
            model: None::<ModelId>,
            seen_at_ms: 0,
        };
        assert!(labeller.is_mine(), "alone");
        labeller.fleet.store(Arc::new(vec![node("ff".repeat(17)), node(labeller.identity.boot_hex())]));
        assert!(labeller.is_mine());
        labeller.fleet.store(Arc::new(vec![node("0".repeat(31)), node(labeller.identity.boot_hex())]));
        assert!(!labeller.is_mine());
    }
}
