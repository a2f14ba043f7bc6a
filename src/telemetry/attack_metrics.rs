//! What is shown of distributed attacks, under the names that dashboards of Nauthilus know: `nauthilus_dbf_…`.
//!
//! Gauges that are set as a whole by whoever watches; nothing is counted here. Labels are four windows, three periods and at
//! most 24 hours. Names and addresses appear in none.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::detection::activity::HOUR_MS;
use crate::detection::attacks::{HourMetrics, Metrics, Period, Report};
use crate::detection::attempt::Timestamp;

/// Hours that are shown: a day.
pub const HOURS_SHOWN: usize = 24;
/// The windows that are shown, with their names.
pub const WINDOWS_SHOWN: [(u32, &str); 4] = [(60, "1m"), (300, "5m"), (900, "15m"), (3600, "1h")];

type Float = Gauge<f64, AtomicU64>;
type By = Family<[(&'static str, String); 1], Float>;

/// One gauge for each number of a window or an hour.
#[derive(Debug, Default)]
struct Numbers {
    attempts: By,
    unique_ips: By,
    unique_users: By,
    attempts_per_ip: By,
    attempts_per_user: By,
    ips_per_user: By,
}

impl Numbers {
    fn each(&self) -> [&By; 6] {
        [
            &self.attempts,
            &self.unique_ips,
            &self.unique_users,
            &self.attempts_per_ip,
            &self.attempts_per_user,
            &self.ips_per_user,
        ]
    }

    fn set(&self, label: &[(&'static str, String); 1], metrics: &Metrics) {
        let values = [
            metrics.attempts as f64,
            metrics.unique_ips as f64,
            metrics.unique_users as f64,
            metrics.attempts_per_ip,
            metrics.attempts_per_user,
            metrics.ips_per_user,
        ];
        for (family, value) in self.each().into_iter().zip(values) {
            family.get_or_create(label).set(value);
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct AttackMetrics {
    registry: Registry,
    windows: Numbers,
    hours: Numbers,
    hours_shown: Mutex<BTreeSet<String>>,
    reports: Gauge,
    of_period: [By; 6],
}

impl AttackMetrics {
    /// All of them unset.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("nauthilus_dbf"),
            windows: Numbers::default(),
            hours: Numbers::default(),
            hours_shown: Mutex::default(),
            reports: Gauge::default(),
            of_period: Default::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let [attempts, ips, users, per_ip, per_user, ips_per_user] = self.windows.each().map(Clone::clone);
        registry.register("auth_attempts", "Attempts within a window", attempts);
        registry.register("unique_ips", "Client addresses within a window", ips);
        registry.register("unique_users", "Users within a window", users);
        registry.register("attempts_per_ip", "Attempts per address within a window", per_ip);
        registry.register("attempts_per_user", "Attempts per user within a window", per_user);
        registry.register("ips_per_user", "Addresses per user within a window", ips_per_user);
        let [attempts, ips, users, per_ip, per_user, ips_per_user] = self.hours.each().map(Clone::clone);
        registry.register("historical_attempts", "Attempts of an hour of the last day", attempts);
        registry.register("historical_unique_ips", "Client addresses of an hour", ips);
        registry.register("historical_unique_users", "Users of an hour", users);
        registry.register("historical_attempts_per_ip", "Attempts per address of an hour", per_ip);
        registry.register("historical_attempts_per_user", "Attempts per user of an hour", per_user);
        registry.register("historical_ips_per_user", "Addresses per user of an hour", ips_per_user);
        // A counter by nature; as a gauge it keeps the name that dashboards ask for.
        registry.register("report_generations", "Reports that were asked for", self.reports.clone());
        let [max, avg, events, severe, high, moderate] = self.of_period.each_ref().map(Clone::clone);
        registry.register("max_threat_level", "Highest threat of a period, 0 to 1", max);
        registry.register("avg_threat_level", "Mean threat of a period, 0 to 1", avg);
        registry.register("event_count", "Rises of the threat within a period", events);
        registry.register("severe_events", "Rises to severe within a period", severe);
        registry.register("high_events", "Rises to high within a period", high);
        registry.register("moderate_events", "Rises to moderate within a period", moderate);
        self
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What one of [`WINDOWS_SHOWN`] looks like now.
    pub fn window(&self, name: &'static str, metrics: &Metrics) {
        self.windows.set(&[("window", name.to_owned())], metrics);
    }

    /// What the last hours were like: the newest [`HOURS_SHOWN`] are shown, earlier ones disappear.
    pub fn hours(&self, hours: &[HourMetrics]) {
        let newest = &hours[hours.len().saturating_sub(HOURS_SHOWN)..];
        let mut shown = self.hours_shown.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = BTreeSet::new();
        for hour in newest {
            let label = label(hour.hour);
            self.hours.set(&[("hour", label.clone())], &hour.metrics);
            next.insert(label);
        }
        for gone in shown.difference(&next) {
            for family in self.hours.each() {
                family.remove(&[("hour", gone.clone())]);
            }
        }
        *shown = next;
    }

    /// The summary of a period as it is now.
    pub fn period(&self, report: &Report) {
        let period = match report.period {
            Period::Daily => "daily",
            Period::Weekly => "weekly",
            Period::Monthly => "monthly",
        };
        let counts = [report.event_count, report.severe_events, report.high_events, report.moderate_events];
        let values = [report.max_threat_level, report.avg_threat_level].into_iter().chain(counts.map(f64::from));
        for (family, value) in self.of_period.iter().zip(values) {
            family.get_or_create(&[("period", period.to_owned())]).set(value);
        }
    }

    /// Somebody asked for a report.
    pub fn report_generated(&self) {
        self.reports.inc();
    }
}

impl Default for AttackMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// `YYYY-MM-DD HH:MM` (UTC) of an hour since the epoch.
fn label(hour: i64) -> String {
    let begin = Timestamp::from_millis(hour.saturating_mul(HOUR_MS));
    begin.to_utc().format("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn rendered(metrics: &AttackMetrics) -> String {
        let mut text = String::new();
        encode(&mut text, metrics.registry()).expect("writing to a string cannot fail");
        text
    }

    fn hour(hour: i64, attempts: u64) -> HourMetrics {
        HourMetrics { hour, metrics: Metrics { attempts, ..Metrics::default() } }
    }

    #[test]
    fn the_names_and_labels_are_those_that_dashboards_know() {
        let metrics = AttackMetrics::new();
        metrics.window("5m", &Metrics { attempts: 7, ips_per_user: 3.5, ..Metrics::default() });
        metrics.hours(&[hour(472_222, 5)]);
        metrics.report_generated();

        let text = rendered(&metrics);

        for line in [
            "nauthilus_dbf_auth_attempts{window=\"5m\"} 7.0",
            "nauthilus_dbf_ips_per_user{window=\"5m\"} 3.5",
            "nauthilus_dbf_historical_attempts{hour=\"2023-11-14 22:00\"} 5.0",
            "nauthilus_dbf_report_generations 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn d47_an_hour_is_shown_as_it_grows_and_d51_there_are_never_more_than_24() {
        let metrics = AttackMetrics::new();
        for now in 100..200 {
            let hours: Vec<_> = (50..=now).map(|number| hour(number, 1)).collect();
            metrics.hours(&hours);
            let shown = rendered(&metrics).matches("historical_attempts{hour").count();
            assert_eq!(shown, HOURS_SHOWN.min((now - 49) as usize));
        }
        metrics.hours(&[hour(199, 41)]);

        let text = rendered(&metrics);
        assert!(text.contains(&format!("historical_attempts{{hour=\"{}\"}} 41.0", label(199))), "{text}");
        assert_eq!(text.matches("historical_ips_per_user{hour").count(), 1);
    }
}
