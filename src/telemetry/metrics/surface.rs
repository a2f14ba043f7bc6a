//! What is around the model: requests as such, tasks, the configuration. No path, name or address becomes a label.

use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{By1, ByRoute, Metrics, begin};

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Surface {
    http_requests: ByRoute,
    requests_refused: By1,
    task_restarts: By1,
    config_reloads: By1,
}

impl Surface {
    pub(super) fn new() -> Self {
        Self {
            http_requests: Family::default(),
            requests_refused: Family::default(),
            task_restarts: Family::default(),
            config_reloads: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        begin(&self.requests_refused, "reason", &["host", "no_token", "unknown_token", "role", "jwt_unknown_key"]);
        begin(&self.config_reloads, "outcome", &["applied", "refused"]);
        registry.register("http_requests", "HTTP requests by route and class of status", self.http_requests.clone());
        registry.register(
            "requests_refused",
            "Requests and connections refused before they were looked at, by reason",
            self.requests_refused.clone(),
        );
        registry.register("task_restarts", "Restarts of tasks by name", self.task_restarts.clone());
        registry.register("config_reloads", "Reloads of the configuration by outcome", self.config_reloads.clone());
    }
}

impl Metrics {
    /// An HTTP request was answered. `route` is the template that matched (`/v1/explain/{request_id}`), never the path as
    /// sent; requests that match nothing are counted as `unmatched` by the caller.
    pub fn http_request(&self, route: &str, status: u16) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.surface.http_requests.get_or_create(&[("route", route.to_owned()), ("status", class.to_owned())]).inc();
    }

    /// A request was refused for what it is, not for what it asks: `host`, `cross_site`, `scheme`, `no_token`,
    /// `unknown_token`, `role`, `jwt_…`, `header_timeout`, `body_timeout`.
    pub fn request_refused(&self, reason: &'static str) {
        self.surface.requests_refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// There is a task of this name; it has not been started again so far.
    pub fn task_known(&self, task: &'static str) {
        drop(self.surface.task_restarts.get_or_create(&[("task", task)]));
    }

    /// A task was started again.
    pub fn task_restarted(&self, task: &'static str) {
        self.surface.task_restarts.get_or_create(&[("task", task)]).inc();
    }

    /// A reload of the configuration ended (`applied`, `refused`).
    pub fn config_reloaded(&self, outcome: &'static str) {
        self.surface.config_reloads.get_or_create(&[("outcome", outcome)]).inc();
    }
}
