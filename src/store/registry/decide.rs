//! What each request does to the registry: pure functions from the state before to the answer and the state after.
//!
//! A decision never reads a clock and never does half of something: either it leaves the state alone
//! ([`Decided::next`] is `None`) or the whole next state is written in one step.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    HighWater, Lease, LeaseReply, ModelId, PublishReply, PublishRequest, RefusalReply, RefusalRequest, Registry,
    ResetReply, RollbackReply, TriggerKey,
};
use crate::detection::event::BootId;

/// Largest fence or generation: Lua counts in doubles, which are exact up to here.
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Command triggers remembered. A command id can only come back while its claim or result lives (an hour), and
/// trainings by command are minutes apart.
pub const COMMANDS_MAX: usize = 64;

/// Entries of the list of models that a rollback can reach, several generations of one content included.
pub const KEPT_MAX: usize = 64;

/// A command id reduced to fixed width, whatever its sender chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CommandKey(pub [u8; 16]);

impl CommandKey {
    /// The first 16 bytes of the id's SHA-256.
    pub fn of(id: &str) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
        Self(key)
    }
}

/// A lease as the store remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldLease {
    /// The holder's [`BootId`].
    pub holder: [u8; 16],
    /// Its fencing token.
    pub fence: u64,
    /// Store time (ms) from which it holds. A clock set back before it ends the lease: one that lapses too early costs
    /// a second training, one that never lapses costs all of them.
    pub since_ms: i64,
    /// Store time (ms) at which it lapses.
    pub until_ms: i64,
}

impl HeldLease {
    fn remaining(&self, now_ms: i64) -> Option<Duration> {
        let live = self.since_ms <= now_ms && now_ms < self.until_ms;
        live.then(|| Duration::from_millis(self.until_ms.abs_diff(now_ms)))
    }

    fn is(&self, lease: Lease) -> bool {
        self.holder == lease.holder.0 && self.fence == lease.fence
    }
}

/// A generation whose content is still kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its number when it was current.
    pub generation: u64,
    /// Its content, by which the blob is found.
    pub sha256: [u8; 32],
}

/// The registry with the parts that only its own rules look at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// What everybody sees.
    pub registry: Registry,
    /// The running training's right; may have lapsed.
    pub lease: Option<HeldLease>,
    /// Served command triggers, newest first, at most [`COMMANDS_MAX`].
    pub commands: Vec<CommandKey>,
    /// Generations that a rollback can reach, newest first, at most [`KEPT_MAX`].
    pub kept: Vec<Kept>,
}

/// An answer and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<R> {
    /// What the caller is told.
    pub reply: R,
    /// The state to write; `None` when nothing changes.
    pub next: Option<State>,
    /// Content hashes that no kept generation uses any longer: their blobs can go.
    pub dropped: Vec<[u8; 32]>,
}

impl<R> Decided<R> {
    fn unchanged(reply: R) -> Self {
        Self { reply, next: None, dropped: Vec::new() }
    }

    fn changed(reply: R, next: State) -> Self {
        Self { reply, next: Some(next), dropped: Vec::new() }
    }
}

impl State {
    /// Whether a training for this trigger has ended already.
    pub fn served(&self, trigger: &TriggerKey) -> bool {
        let registry = &self.registry;
        match trigger {
            TriggerKey::Schedule { name, slot_ms } => registry.slots.get(name).is_some_and(|last| slot_ms <= last),
            TriggerKey::Feedback { upto } => *upto <= registry.watermark.max(registry.considered),
            TriggerKey::Command { id } => self.commands.contains(&CommandKey::of(id)),
        }
    }

    /// Notes the end of a training: its time, its trigger and its fence.
    fn end_training(&mut self, trigger: &TriggerKey, fence: u64, now_ms: i64) {
        let registry = &mut self.registry;
        registry.published_fence = fence;
        registry.fence = registry.fence.max(fence);
        registry.trained_at_ms = Some(now_ms);
        match trigger {
            TriggerKey::Schedule { name, slot_ms } => {
                let last = registry.slots.entry(name.clone()).or_insert(*slot_ms);
                *last = (*last).max(*slot_ms);
            }
            TriggerKey::Feedback { .. } => registry.feedback_trained_at_ms = Some(now_ms),
            TriggerKey::Command { id } => {
                let key = CommandKey::of(id);
                self.commands.retain(|known| *known != key);
                self.commands.insert(0, key);
                self.commands.truncate(COMMANDS_MAX);
            }
        }
    }

    /// Puts a generation in front of the kept ones; returns the content hashes that fell off.
    fn keep(&mut self, generation: u64, sha256: [u8; 32], models_kept: u64) -> Vec<[u8; 32]> {
        let mut before = Vec::with_capacity(self.kept.len() + 1);
        before.push(Kept { generation, sha256 });
        before.append(&mut self.kept);

        let distinct_max = usize::try_from(models_kept).unwrap_or(KEPT_MAX).saturating_add(1);
        let mut distinct: Vec<[u8; 32]> = Vec::new();
        let mut dropped: Vec<[u8; 32]> = Vec::new();
        for (place, entry) in before.into_iter().enumerate() {
            let known = distinct.contains(&entry.sha256);
            if place < KEPT_MAX && (known || distinct.len() < distinct_max) {
                if !known {
                    distinct.push(entry.sha256);
                }
                self.kept.push(entry);
            } else if !known && !dropped.contains(&entry.sha256) {
                dropped.push(entry.sha256);
            }
        }
        dropped
    }

    /// The kept generation that a rollback means. Without a number it is the one published before the content that is
    /// current now was first published, so that rolling back twice goes back twice.
    fn rollback_target(&self, generation: Option<u64>) -> Option<Kept> {
        match generation {
            Some(wanted) => self.kept.iter().find(|entry| entry.generation == wanted).copied(),
            None => {
                let first_of_current = self
                    .kept
                    .iter()
                    .filter(|entry| Some(entry.sha256) == self.registry.sha256)
                    .map(|entry| entry.generation)
                    .min()
                    .unwrap_or(u64::MAX);
                self.kept.iter().find(|entry| entry.generation < first_of_current).copied()
            }
        }
    }
}

/// May the caller train for `trigger`? A served trigger is answered before a held lease: there is nothing to wait for.
pub fn decide_lease(
    state: &State,
    trigger: &TriggerKey,
    holder: BootId,
    ttl: Duration,
    high_water: HighWater,
    now_ms: i64,
) -> Decided<LeaseReply> {
    if state.served(trigger) {
        return Decided::unchanged(LeaseReply::AlreadyDone);
    }
    if let Some(remaining) = state.lease.and_then(|held| held.remaining(now_ms)) {
        return Decided::unchanged(LeaseReply::Held { remaining });
    }

    let mut next = state.clone();
    let fence = state.registry.fence.max(high_water.fence).min(NUMBER_MAX - 1) + 1;
    next.registry.fence = fence;
    next.registry.now_ms = now_ms;
    next.lease =
        Some(HeldLease { holder: holder.0, fence, since_ms: now_ms, until_ms: now_ms.saturating_add(millis(ttl)) });
    let reply = LeaseReply::Acquired { lease: Lease { holder, fence }, registry: Box::new(next.registry.clone()) };
    Decided::changed(reply, next)
}

/// Extends a live lease of the caller; `false` when it lapsed or is somebody else's.
pub fn decide_renewal(state: &State, lease: Lease, ttl: Duration, now_ms: i64) -> Decided<bool> {
    match state.lease {
        Some(held) if held.is(lease) && held.remaining(now_ms).is_some() => {
            let mut next = state.clone();
            next.lease = Some(HeldLease { since_ms: now_ms, until_ms: now_ms.saturating_add(millis(ttl)), ..held });
            Decided::changed(true, next)
        }
        _ => Decided::unchanged(false),
    }
}

/// Gives the caller's lease back; anybody else's stays.
pub fn decide_release(state: &State, lease: Lease) -> Decided<()> {
    match state.lease {
        Some(held) if held.is(lease) => Decided::changed((), State { lease: None, ..state.clone() }),
        _ => Decided::unchanged(()),
    }
}

/// May this model become the current one? The order of the checks is the order of the answers in [`PublishReply`].
pub fn decide_publish(state: &State, request: &PublishRequest, models_kept: u64, now_ms: i64) -> Decided<PublishReply> {
    if let Some(reply) = publish_objection(&state.registry, request) {
        return Decided::unchanged(reply);
    }

    let mut next = state.clone();
    next.end_training(&request.trigger, request.lease.fence, now_ms);
    let registry = &mut next.registry;
    registry.lineage = Some(request.model.lineage);
    registry.generation = request.model.generation;
    registry.sha256 = Some(request.model.sha256);
    registry.watermark = registry.watermark.max(request.watermark);
    registry.format = request.format;
    if request.by_operator {
        registry.pinned = false;
    }
    let dropped = next.keep(request.model.generation, request.model.sha256, models_kept);
    Decided { reply: PublishReply::Published, next: Some(next), dropped }
}

fn publish_objection(registry: &Registry, request: &PublishRequest) -> Option<PublishReply> {
    let fence = request.lease.fence;
    let model = &request.model;
    let same_lineage = registry.lineage.is_none_or(|lineage| lineage == model.lineage);
    if fence < registry.published_fence {
        return Some(PublishReply::StaleFence);
    }
    if fence == registry.published_fence
        && registry.lineage == Some(model.lineage)
        && registry.generation == model.generation
        && registry.sha256 == Some(model.sha256)
    {
        return Some(PublishReply::AlreadyPublished);
    }
    if request.parent.generation != registry.generation || request.parent.sha256 != registry.sha256 {
        return Some(PublishReply::ParentChanged);
    }
    // Not "exactly the next one": a node that remembers higher numbers than a store that lost data jumps past them.
    if !same_lineage || model.generation <= registry.generation || model.generation > NUMBER_MAX {
        return Some(PublishReply::WrongIdentity);
    }
    if registry.pinned && !request.by_operator {
        return Some(PublishReply::Pinned);
    }
    (request.format < registry.format).then_some(PublishReply::OldFormat)
}

/// Records that a training published nothing. Repeating it under the same fence changes nothing.
pub fn decide_refusal(state: &State, request: &RefusalRequest, now_ms: i64) -> Decided<RefusalReply> {
    let fence = request.lease.fence;
    if fence < state.registry.published_fence {
        return Decided::unchanged(RefusalReply::StaleFence);
    }
    if fence == state.registry.published_fence {
        return Decided::unchanged(RefusalReply::Recorded);
    }

    let mut next = state.clone();
    next.end_training(&request.trigger, fence, now_ms);
    next.registry.considered = next.registry.considered.max(request.considered);
    Decided::changed(RefusalReply::Recorded, next)
}

/// Leaves the fleet without a model. Feedback marks stay, a pin goes: there is nothing left to pin.
pub fn decide_reset(state: &State, lineage_if_new: [u8; 16]) -> Decided<ResetReply> {
    let mut next = state.clone();
    let registry = &mut next.registry;
    let lineage = *registry.lineage.get_or_insert(lineage_if_new);
    registry.generation += 1;
    registry.sha256 = None;
    registry.pinned = false;
    let reply = ResetReply { lineage, generation: registry.generation };
    Decided::changed(reply, next)
}

/// Makes kept content current under a new generation and pins it. `blob_present` tells whether content still exists.
pub fn decide_rollback(
    state: &State,
    generation: Option<u64>,
    models_kept: u64,
    blob_present: impl FnOnce([u8; 32]) -> bool,
) -> Decided<RollbackReply> {
    let (Some(target), Some(lineage)) = (state.rollback_target(generation), state.registry.lineage) else {
        return Decided::unchanged(RollbackReply::NotFound);
    };
    if !blob_present(target.sha256) {
        return Decided::unchanged(RollbackReply::NotFound);
    }

    let mut next = state.clone();
    next.registry.generation += 1;
    next.registry.sha256 = Some(target.sha256);
    next.registry.pinned = true;
    let generation = next.registry.generation;
    let dropped = next.keep(generation, target.sha256, models_kept);
    let reply = RollbackReply::RolledBack(ModelId { lineage, generation, sha256: target.sha256 });
    Decided { reply, next: Some(next), dropped }
}

/// Puts a lost model back: into an empty registry as it was, into any other only as the blob of its current model.
pub fn decide_restore(state: &State, model: ModelId, blob_present: bool, models_kept: u64) -> Decided<bool> {
    let registry = &state.registry;
    let empty = registry.lineage.is_none() && model.generation > 0 && model.generation <= NUMBER_MAX;
    let current = registry.lineage == Some(model.lineage)
        && registry.generation == model.generation
        && registry.sha256 == Some(model.sha256);
    if !(empty || (current && !blob_present)) {
        return Decided::unchanged(false);
    }

    let mut next = state.clone();
    next.registry.lineage = Some(model.lineage);
    next.registry.generation = model.generation;
    next.registry.sha256 = Some(model.sha256);
    let known = next.kept.iter().any(|entry| entry.sha256 == model.sha256);
    let dropped = if known { Vec::new() } else { next.keep(model.generation, model.sha256, models_kept) };
    Decided { reply: true, next: Some(next), dropped }
}

/// Milliseconds of a duration, at least one: a lease of zero would be no lease.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1)
}
