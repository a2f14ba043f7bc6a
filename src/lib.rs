//! `nauthilus-neural`: a daemon beside every node of the Nauthilus authentication server that learns from a site's own
//! logins and its operators' feedback which attempts are brute force, and says so before the password is checked.
//!
//! The modules below stand in layers, lowest first; each uses only those above it in this list (a test holds them to
//! that). Read [`node`] for how a node comes to life and `docs/architecture.md` for the walk through one feedback item.

// Pure: values in, values out. No clock, no files, no network, no runtime.
pub mod numeric;

pub mod detection;

pub mod learning;
pub mod traffic;

// What an operator may set.
pub mod config;

// Mechanisms that know no domain.
pub mod clock;
pub mod exit;
pub mod notify;
pub mod random;
pub mod supervisor;
pub mod telemetry;

// What nodes share, and what a node keeps.
pub mod store;

pub mod state;

// The request path.
pub mod serving;

// What a node does on its own, and the one way to ask it for something.
pub mod tasks;

pub mod control;

pub mod api;

// Putting it together.
pub mod node;

pub mod daemon;

pub mod records;

pub mod cli;
