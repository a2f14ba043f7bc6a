//! Plays recorded attempts through the detector without a daemon: an event clock of its own, nothing live is touched.

use super::input;
use crate::config::Config;
use crate::detection::activity::{Activity, ActivityLimits, DAY_MS};
use crate::detection::attempt::{Attempt, Outcome, Timestamp};
use crate::detection::event::Snapshot;
use crate::detection::features::{FeatureContext, FeatureSchema};
use crate::detection::pseudonym::Pseudonymizer;
use crate::detection::record::CheckedRecord;
use crate::serving::site::Site;

/// How often the counters forget, in event time.
const PRUNE_MS: i64 = DAY_MS / 24;

/// The detector's counters on the clock of the records.
pub struct Player {
    schema: FeatureSchema,
    site: Site,
    activity: Activity,
    pruned: Timestamp,
}

impl Player {
    /// A detector that has seen nothing.
    pub fn new(config: &Config, schema: FeatureSchema) -> Self {
        Self::keyed(config, schema, &input::pseudonymizer())
    }

    /// As [`new`](Self::new), for records that were read with this key.
    pub fn keyed(config: &Config, schema: FeatureSchema, pseudonymizer: &Pseudonymizer) -> Self {
        Self {
            schema,
            site: Site::new(config, pseudonymizer),
            activity: Activity::new(ActivityLimits::default()),
            pruned: Timestamp::from_millis(i64::MIN),
        }
    }

    /// The snapshot of one attempt, computed before the attempt and its outcome are counted.
    pub fn play(&mut self, record: &CheckedRecord) -> Snapshot {
        let categories = record.given.categories(self.schema.additional());
        let counted = (!categories.is_empty()).then(|| Attempt { categories, ..record.attempt.clone() });
        let attempt = counted.as_ref().unwrap_or(&record.attempt);
        if attempt.ts.millis() - self.pruned.millis().max(i64::MIN / 2) > PRUNE_MS {
            self.activity.prune(attempt.ts);
            self.pruned = attempt.ts;
        }
        let context =
            FeatureContext { suspicious: self.site.suspects(attempt.client_ip), hour: self.site.hour(attempt.ts) };
        let snapshot = self.schema.snapshot_with(&self.activity, attempt, &context, &record.given);
        if !attempt.no_auth {
            self.activity.apply_attempt(attempt);
            self.activity.apply_outcome(attempt, record.outcome.unwrap_or(Outcome::Unknown));
        }
        snapshot
    }

    /// Whether the pair of user and network was good before this attempt.
    pub fn known_good(&self, record: &CheckedRecord) -> bool {
        self.activity.known_good(record.attempt.user, record.attempt.client_ip, record.attempt.ts)
    }
}
