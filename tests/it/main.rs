//! Integration tests: one binary, one module per story.

#![allow(clippy::unwrap_used)] // A test that cannot go on should say where.

mod access;
mod attacks;
mod audit;
mod cli;
mod commands;
mod connections;
mod dashboards;
mod defects;
mod explain;
mod failures;
mod features;
mod feedback;
mod fleet;
mod hooks;
mod http;
mod labels;
mod lua;
mod mirror;
mod modes;
mod overrides;
mod prior;
mod privacy;
mod protection;
mod restart;
mod schedule;
mod service;
mod store_contract;
mod store_differential;
mod support;
mod suspicious;
mod thresholds;
mod tidy;
mod tuning;
mod unanswered;
mod upstream;
