//! What the program knows about login attempts: records, pseudonyms, counters, features, verdicts.
//!
//! Everything below is a pure function of values and of the times that the caller passes in: no runtime, no store, no
//! files, no clock. What happened is counted in integers that commute, so that nodes which saw the same attempts in any
//! order agree.
//!
//! In reading order: an [`record::AttemptRecord`] from outside becomes an [`attempt::Attempt`] ([`pseudonym`] hides the
//! names); [`features`] computes its snapshot from [`activity`]; [`verdict`] turns a probability into an answer;
//! [`tracker`] holds what one node has seen and applies the [`event`]s of the others; [`pending`] remembers whose outcome
//! is still open; [`attacks`] finds what is spread over many addresses or accounts;
//! [`networks`] holds large lists of networks, [`overrides`] what operators have ordered for single pairs.

pub mod activity;
pub mod additional;
pub mod attacks;
pub mod attempt;
pub mod client;
pub(crate) mod codec;
pub mod event;
pub mod features;
pub mod networks;
pub mod overrides;
pub mod pending;
pub mod pseudonym;
pub mod record;
pub mod tracker;
pub mod verdict;
