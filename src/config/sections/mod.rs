//! One file per section of the configuration: its keys, their defaults and the reason for each default.
//!
//! The structs accept anything of the right type; ranges and relations between keys are judged in
//! [`check`](crate::config::check), so that all problems can be listed at once.

mod attacks;
mod attempts;
mod geo;
mod http;
mod jwt;
mod limits;
mod lists;
mod log;
mod metrics;
mod ml;
mod node;
mod redis;
mod store;
mod training;
mod upstream;

pub use attacks::AttacksConfig;
pub use attempts::AttemptsConfig;
pub use geo::GeoConfig;
pub use http::{HttpConfig, LoopbackAccess, Role, TokenConfig};
pub use jwt::{JwtAlgorithm, JwtConfig, JwtRole};
pub use limits::LimitsConfig;
pub use lists::ListsConfig;
pub use log::{LogConfig, LogFormat};
pub use metrics::MetricsConfig;
pub use ml::{ActivationFunction, MlConfig, Optimizer, Profile, ThresholdSource};
pub use node::NodeConfig;
pub use redis::RedisConfig;
pub use store::{Backend, StoreConfig};
pub use training::{Approval, TrainingConfig};
pub use upstream::{UpstreamConfig, UpstreamLayout};
