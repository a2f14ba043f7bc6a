//! Files that come, change, turn to rubbish and go, as the scorer sees them.

use super::*;
use crate::tasks::blocklist::tests::scorer;

struct Site {
    lists: NetworkLists,
    directory: tempfile::TempDir,
}

impl Site {
    fn new(names: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.lists.suspicious_files = names.iter().map(|name| directory.path().join(name)).collect();
        let config = Arc::new(ArcSwap::from_pointee(config));
        let metrics = Arc::new(Metrics::new("0"));
        let lists = NetworkLists {
            scorer: Arc::new(scorer(&config, &metrics)),
            config,
            metrics,
            reloaded: Arc::default(),
            status: crate::supervisor::Statuses::default().task("network_lists"),
            held: Arc::default(),
        };
        Self { lists, directory }
    }

    fn write(&self, name: &str, content: &str) {
        // As a whole, like a careful updater: each is another file.
        let new = self.directory.path().join("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.directory.path().join(name)).unwrap();
    }

    fn suspects(&self, ip: &str) -> bool {
        self.lists.scorer.suspects().in_files(ip.parse().unwrap())
    }

    fn metric(&self, name: &str) -> Option<i64> {
        let text = self.lists.metrics.render(None);
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("nauthilus_neural_{name} ")));
        value.map(|value| value.parse().unwrap())
    }
}

#[test]
fn a_changed_file_is_read_again_and_the_last_good_list_survives_rubbish_and_removal() {
    let site = Site::new(&["a", "b"]);
    site.write("a", "192.0.2.0/24\n");
    site.lists.reconcile(true);
    assert!(site.suspects("192.0.2.1") && !site.suspects("198.51.100.1"));
    assert_eq!(site.metric("suspicious_files_errors_total{reason=\"unreadable\"}"), Some(1), "there is no b");
    assert!(site.metric("suspicious_files_loaded_timestamp_seconds").is_some_and(|at| at > 1_700_000_000));

    site.write("a", "198.51.100.0/24\nnonsense\n203.0.113.7\n");
    site.write("b", "2001:db8::/32\n");
    site.lists.reconcile(false);
    assert!(!site.suspects("192.0.2.1") && site.suspects("198.51.100.1") && site.suspects("2001:db8::1"));
    assert_eq!(site.metric("suspicious_networks"), Some(3));
    assert_eq!(site.metric("suspicious_files_errors_total{reason=\"line\"}"), Some(1));

    site.write("a", "<html>\n<p>gateway timeout\n");
    fs::remove_file(site.directory.path().join("b")).unwrap();
    site.lists.reconcile(false);
    assert!(site.suspects("198.51.100.1") && site.suspects("2001:db8::1"), "the last good ones are kept");
    assert_eq!(site.metric("suspicious_files_errors_total{reason=\"rubbish\"}"), Some(1));

    let mut config = Config::clone(&site.lists.config.load());
    config.lists.suspicious_files.truncate(1);
    site.lists.config.store(Arc::new(config));
    site.lists.reconcile(false);
    assert!(site.suspects("198.51.100.1") && !site.suspects("2001:db8::1"), "what is not configured does not count");
}

#[test]
fn an_unchanged_file_is_read_again_at_a_reload_only() {
    let site = Site::new(&["a"]);
    site.write("a", "192.0.2.0/24\nnonsense\n");
    let skipped = || site.metric("suspicious_files_errors_total{reason=\"line\"}");

    site.lists.reconcile(true);
    site.lists.reconcile(false);
    assert_eq!(skipped(), Some(1));
    site.lists.reconcile(true);
    assert_eq!(skipped(), Some(2));
}
