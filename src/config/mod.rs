//! The configuration: what an operator may set, what it is when nobody sets it, and what is wrong with it.
//!
//! [`Config`] is plain data. [`load`] merges built-in defaults, one file and the environment; [`check`] lists everything
//! that is wrong at once; [`schedule`] turns cron expressions into instants. Only [`load`] and [`secrets`] touch files,
//! and nothing here knows a runtime, a store or a task.

pub mod check;
pub mod keys;
pub mod load;
pub mod schedule;
pub mod secrets;
pub mod sections;

mod reload;

use serde::{Deserialize, Serialize};

pub use check::Problem;
pub use load::{ConfigError, ENV_PREFIX, host_name};
pub use sections::{
    ActivationFunction, Approval, AttacksConfig, AttemptsConfig, Backend, GeoConfig, HttpConfig, JwtAlgorithm,
    JwtConfig, JwtRole, LimitsConfig, ListsConfig, LogConfig, LogFormat, LoopbackAccess, MetricsConfig, MlConfig,
    NodeConfig, Optimizer, Profile, RedisConfig, Role, StoreConfig, ThresholdSource, TokenConfig, TrainingConfig,
    UpstreamConfig, UpstreamLayout,
};

/// The whole configuration; every section may be left out of the file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[node]`: who this node is and where it keeps its state.
    pub node: NodeConfig,
    /// `[store]`: where the fleet's shared state lies.
    pub store: StoreConfig,
    /// `[redis]`: how to reach Redis, when it is the store.
    pub redis: RedisConfig,
    /// `[http]`: the interface that Nauthilus and operators call.
    pub http: HttpConfig,
    /// `[jwt]`: signed tokens of an identity provider.
    pub jwt: JwtConfig,
    /// `[ml]`: the model and what its opinion is worth.
    pub ml: MlConfig,
    /// `[training]`: when and how models are trained.
    pub training: TrainingConfig,
    /// `[attempts]`: how attempts are paired, remembered and queued.
    pub attempts: AttemptsConfig,
    /// `[attacks]`: from when on an attack is a distributed one, and how long measures hold.
    pub attacks: AttacksConfig,
    /// `[lists]`: networks and accounts that are known beforehand.
    pub lists: ListsConfig,
    /// `[geo]`: where country and provider of an address are looked up.
    pub geo: GeoConfig,
    /// `[limits]`: how much may be kept, and how long.
    pub limits: LimitsConfig,
    /// `[upstream]`: nodes of Nauthilus 1.7 that still run.
    pub upstream: UpstreamConfig,
    /// `[metrics]`: what `/metrics` shows beyond the ordinary.
    pub metrics: MetricsConfig,
    /// `[log]`: what is logged, and in which form.
    pub log: LogConfig,
}
