//! How the detector learns: from samples and feedback to a judged, publishable model. Pure: no clock, no files, no store.
//!
//! Reading order: [`sample`] (what is kept), [`labels`] (what it teaches), [`hindsight`] (what later events say about it),
//! [`feedback`] (which words of people count), [`dataset`] (what is trained on and what is held out), `crossing` (what is trained on besides), [`scaling`], [`mlp`], [`optimizer`] and [`training`] (the network),
//! [`tuning`] (which options suit a site), [`forest`] and [`logistic`] (other voters), [`calibration`] (what a vote means), [`evaluation`], [`threshold`] and [`cost`] (what
//! a model is worth), [`drift`] (whether traffic is still what it was trained on), [`gate`] (whether it may serve),
//! [`artifact`] (what is published), [`explanation`] (why it said what it said), [`run`](mod@run) (all of it in order),
//! [`policy`] (when), [`breaker`] (when a model that serves has to stop).

pub mod artifact;
pub mod breaker;
pub mod calibration;
mod class_weight;
pub mod cost;
mod crossing;
pub mod dataset;
pub mod drift;
pub mod ensemble;
pub mod evaluation;
pub mod explanation;
pub mod feedback;
pub mod forest;
pub mod gate;
mod groups;
pub mod hindsight;
pub mod labels;
pub mod logistic;
pub mod mlp;
pub mod optimizer;
pub mod policy;
pub mod run;
pub mod sample;
pub mod scaling;
pub mod standardizer;
pub mod threshold;
pub mod training;
pub mod tuning;
