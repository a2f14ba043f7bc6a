//! Metrics of list files and of the blocklist service.
//!
//! No label and no value tells of a single address.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type By1 = Family<[(&'static str, &'static str); 1], Counter>;

/// See the module documentation.
#[derive(Debug, Default)]
pub struct ListMetrics {
    networks: Gauge,
    loaded: Gauge,
    errors: By1,
    lookups: By1,
}

impl ListMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "suspicious_networks",
            "Networks in force that were read from files of lists.suspicious_files",
            self.networks.clone(),
        );
        registry.register(
            "suspicious_files_loaded_timestamp_seconds",
            "When a file of lists.suspicious_files was last read with success, 0 for never",
            self.loaded.clone(),
        );
        registry.register(
            "suspicious_files_errors",
            "Lines skipped and files refused of lists.suspicious_files, by reason",
            self.errors.clone(),
        );
        registry.register(
            "blocklist_lookups",
            "Addresses that the service of lists.blocklist_url was to be asked about, by answer",
            self.lookups.clone(),
        );
    }

    /// So many networks are in force.
    pub fn networks(&self, count: usize) {
        self.networks.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A file was read at this time (Unix, in seconds).
    pub fn file_loaded(&self, at_s: i64) {
        self.loaded.set(at_s);
    }

    /// So many lines were skipped (`line`), or a file was refused for another reason.
    pub fn file_errors(&self, reason: &'static str, count: u64) {
        self.errors.get_or_create(&[("reason", reason)]).inc_by(count);
    }

    /// What came of asking about an address: `listed`, `clear`, `failed`, or `dropped` when too many were waiting.
    pub fn blocklist_lookup(&self, answer: &'static str) {
        self.lookups.get_or_create(&[("answer", answer)]).inc();
    }
}
