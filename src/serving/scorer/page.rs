//! The page of metrics: what was counted, and what scores now. Scoring waits for none of it.

use super::Scorer;
use crate::telemetry::metrics::original::Serving;

impl Scorer {
    /// All metrics of this node in the OpenMetrics text format.
    pub fn metrics_page(&self) -> String {
        let config = self.config.load();
        let schema = self.schema.load();
        let model = self.slot.load();
        let prior = if model.is_none() { self.prior_by(&config) } else { None };
        let last = self.lock().last.clone();
        self.metrics.render(Some(&Serving {
            schema: &schema,
            model: model.as_deref().map(|served| &served.artifact).or(prior.as_deref()),
            last: last.as_deref(),
            series_max: config.metrics.weight_series_max,
        }))
    }
}
