//! A stage on which an attack is played, to see whether it would be detected.
//!
//! The stage is a scorer of its own: attempts go through the same checks, counters and judgement as real ones, with the
//! same configuration. It shares nothing else with the node: no counters, no log of attempts, no metrics, no model.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::attacks::{Detection, Simulation};
use crate::config::{Config, Profile};
use crate::detection::attempt::Timestamp;
use crate::detection::event::BootId;
use crate::detection::features::FeatureSchema;
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::AttemptRecord;
use crate::random;
use crate::serving::attempt_log::AttemptLog;
use crate::serving::geo::GeoDatabases;
use crate::serving::schema::SchemaSlot;
use crate::serving::scorer::{ScoreError, Scorer, ScorerParts};
use crate::serving::slot::ModelSlot;
use crate::telemetry::metrics::Metrics;

/// Networks that attempts are played from: 198.18.0.0/15, which no user comes from (RFC 2544), has 512 of 256 addresses.
const NETWORKS: usize = 512;
/// Time between two attempts that are played.
const STEP_MS: i64 = 1000;

/// The stage, once something has been played; see the module documentation.
#[derive(Default)]
pub(crate) struct Rehearsal(Mutex<Option<Stage>>);

struct Stage {
    scorer: Scorer,
    /// Networks used so far: repeated ones would be too loud to be a distributed attack.
    networks: usize,
}

/// What all attempts of a simulation have in common.
fn wrong_password(simulation: &Simulation) -> AttemptRecord {
    let place = simulation.country_code.clone();
    let (region, country) =
        if place.as_ref().is_some_and(|code| code.contains('-')) { (place, None) } else { (None, place) };
    AttemptRecord {
        username: Some(simulation.username.clone()),
        success: Some(false),
        country,
        region,
        source: Some("simulated".to_owned()),
        ..AttemptRecord::default()
    }
}

impl Rehearsal {
    /// Plays an attack, on an empty stage if `fresh`.
    pub(super) fn play(
        &self,
        simulation: &Simulation,
        fresh: bool,
        config: &Config,
        pseudonymizer: &Pseudonymizer,
        now: Timestamp,
    ) -> Result<(), ScoreError> {
        let mut stage = self.lock();
        if fresh {
            *stage = None;
        }
        stage.get_or_insert_with(|| Stage::new(config, pseudonymizer)).play(simulation, now)
    }

    /// What is detected on the stage; `None` while nothing has been played.
    pub(super) fn detection(&self, username: &str, now: Timestamp) -> Option<Detection> {
        let stage = self.lock();
        let scorer = &stage.as_ref()?.scorer;
        Some(Detection::of(scorer.attacks(), scorer.pseudonymizer().name(username).into(), now))
    }

    /// Clears the stage.
    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Stage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    fn new(config: &Config, pseudonymizer: &Pseudonymizer) -> Self {
        let mut config = config.clone();
        // No score is asked for, so the small schema will do, which has no prior.
        config.ml.profile = Profile::Compat6;
        let metrics = Arc::new(Metrics::new(""));
        let scorer = Scorer::new(ScorerParts {
            config: Arc::new(ArcSwap::from_pointee(config)),
            schema: Arc::new(SchemaSlot::new(FeatureSchema::compat6())),
            geo: GeoDatabases::default(),
            slot: Arc::new(ModelSlot::new()),
            mode: Arc::default(),
            pseudonymizer: pseudonymizer.clone(),
            // A log without room: nothing of this leaves the stage.
            log: Arc::new(AttemptLog::new(BootId([0; 16]), 0, metrics.status().clone())),
            metrics,
        });
        Self { scorer, networks: 0 }
    }

    fn play(&mut self, simulation: &Simulation, now: Timestamp) -> Result<(), ScoreError> {
        let run = random::id();
        for number in 0..simulation.num_ips {
            let network = (self.networks + number) % NETWORKS;
            let [low, high] = [network % 256, network / 256].map(|part| u8::try_from(part).unwrap_or(u8::MAX));
            let ago = i64::try_from(simulation.num_ips - number).unwrap_or(0) * STEP_MS;
            let record = AttemptRecord {
                ts: Some(now.plus_millis(-ago).to_string()),
                client_ip: Some(IpAddr::from([198, 18 + high, low, 1]).to_string()),
                request_id: Some(format!("simulated-{run}-{number}")),
                password_hash: Some(format!("simulated-{number}")),
                ..wrong_password(simulation)
            };
            let checked = self.scorer.check(record, now)?;
            self.scorer.ingest(checked, now)?;
        }
        self.networks = (self.networks + simulation.num_ips) % NETWORKS;
        self.scorer.attacks().assess(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_comes_from_the_country_or_the_part_of_it_that_was_named() {
        let now = Timestamp::from_millis(1_767_571_200_000);
        for (code, country, part) in [(Some("DE"), "DE", ""), (Some("DE-BY"), "DE", "BY"), (None, "", "")] {
            let simulation = Simulation { username: "bob".into(), num_ips: 1, country_code: code.map(str::to_owned) };
            let record = AttemptRecord { client_ip: Some("198.18.0.1".into()), ..wrong_password(&simulation) };

            let attempt =
                record.check(Some(now), now, &Pseudonymizer::new([7; 32]), String::new).expect("sound").attempt;

            let told = attempt.client.country.map(|country| country.to_string()).unwrap_or_default();
            let told_part = attempt.client.subdivision.map(|part| part.to_string()).unwrap_or_default();
            assert_eq!((told.as_str(), told_part.as_str()), (country, part), "{code:?}");
        }
    }
}
