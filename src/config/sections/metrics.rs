//! `[metrics]`: what `/metrics` shows beyond the ordinary. Applies at once.

use serde::{Deserialize, Serialize};

/// The `[metrics]` section.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Most series of `nauthilus_ml_neuron_activations` and `nauthilus_ml_weight_values` together, 0 to 1000. Default: 0,
    /// none: a network of the default size has over 800, and few people read weights.
    pub weight_series_max: usize,
}
