//! From what a caller tells to an attempt: bounds, look-ups, additional features, and what the site says of it.

use super::Scorer;
use crate::clock;
use crate::detection::additional::{Given, GivenValue, Kind};
use crate::detection::attempt::{Attempt, Timestamp};
use crate::detection::features::{FeatureContext, FeatureSchema};
use crate::detection::networks::is_public;
use crate::detection::record::{AttemptRecord, CheckedRecord, RecordError};
use crate::random;
use crate::serving::site::Site;

impl Scorer {
    /// Checks a record that may lie in the past.
    ///
    /// # Errors
    /// The first field that is missing or out of bounds, or contradicts another one.
    pub fn check(&self, record: AttemptRecord, now: Timestamp) -> Result<CheckedRecord, RecordError> {
        record.contradiction()?;
        self.checked(record, None, now)
    }

    fn checked(
        &self,
        record: AttemptRecord,
        fallback_ts: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<CheckedRecord, RecordError> {
        let wanted = self.attacks.wants_names() || self.overrides.wants_names() || self.passing.wants_names();
        let names = wanted.then(|| {
            let account = record.account.as_ref().filter(|account| !account.trim().is_empty());
            let typed = record.username.clone().unwrap_or_default();
            (account.unwrap_or(&typed).clone(), typed)
        });
        let mut checked = record.check(fallback_ts, now, &self.pseudonyms.load(), random::id)?;
        self.site.load().resolve(&mut checked);
        if let Some((account, typed)) = names {
            self.attacks.learn_name(checked.attempt.user.into(), &account);
            self.passing.learn_name(checked.attempt.user.into(), &account);
            self.passing.learn_name(checked.attempt.name.into(), &typed);
            self.overrides.learn_name(checked.attempt.user, &account);
            self.overrides.learn_name(checked.attempt.name, &typed);
        }
        self.geo.load().complete(checked.attempt.client_ip, &mut checked.attempt.client);
        Ok(checked)
    }

    pub(super) fn check_live(&self, mut record: AttemptRecord, now: Timestamp) -> Result<CheckedRecord, RecordError> {
        // The node's clock is the event time of what happens now; a caller's clock may be anything.
        record.ts = None;
        self.checked(record, Some(now), now)
    }

    /// Finds the additional features of a request in the fleet's list: notes the texts that are counted, lets new names wait,
    /// and counts what is not looked at.
    pub(super) fn take_in(&self, schema: &FeatureSchema, checked: &mut CheckedRecord) {
        if checked.given == Given::default() {
            return;
        }
        self.metrics.additional_features_skipped("bounds", checked.given.skipped);
        let list = schema.additional();
        let live_max = self.config.load().ml.additional_features_max;
        for feature in &checked.given.features {
            match list.live().find(|slot| slot.name == feature.name) {
                Some(slot) if !feature.fits(slot.kind) => self.metrics.additional_features_skipped("kind", 1),
                Some(slot) => {
                    if let (Kind::Embedding, GivenValue::Text(hash)) = (slot.kind, feature.value) {
                        checked.attempt.categories.push(hash);
                    }
                }
                None if FeatureSchema::is_standard(&feature.name) => {
                    self.metrics.additional_features_skipped("standard", 1);
                }
                None if list.refuses(&feature.name, clock::now().millis()) => {
                    self.metrics.additional_features_skipped("removed", 1);
                }
                None if list.has_room(live_max) && self.schema.propose(feature) => {}
                None => self.metrics.additional_features_skipped("full", 1),
            }
        }
    }

    /// What the site says of an attempt that happens now. Addresses that the blocklist service does not know yet are left to
    /// be asked about if a score `asks` (`Some` with the monotonic time): public ones only, and none that is trusted or under
    /// suspicion anyway.
    pub(super) fn context(&self, site: &Site, attempt: &Attempt, asks: Option<u64>) -> FeatureContext {
        let ip = attempt.client_ip;
        let mut context = Self::context_of_the_past(site, attempt);
        context.suspicious = context.suspicious || self.suspects.in_files(ip);
        if !context.suspicious {
            let may_ask = asks.is_some() && is_public(ip) && !site.trusts(attempt);
            let look = self.suspects.blocklist.look(ip, asks.unwrap_or_else(clock::monotonic_ms), may_ask);
            if look.dropped {
                self.metrics.lists().blocklist_lookup("dropped");
            }
            context.suspicious = look.listed;
        }
        context
    }

    /// What the site says of a recorded attempt. Lists that change by themselves are not asked: today's know yesterday's
    /// attackers, and a model would learn to trust them more than they deserve at the time of an attack.
    pub(super) fn context_of_the_past(site: &Site, attempt: &Attempt) -> FeatureContext {
        FeatureContext {
            suspicious: attempt.suspicious_network.unwrap_or(false) || site.suspects(attempt.client_ip),
            hour: site.hour(attempt.ts),
        }
    }
}
