//! What is wrong with a configuration: every problem at once, each with its key and what to do about it.
//!
//! Only values and their relations are judged here. Whether a file exists, is readable or too readable is the business of
//! [`secrets`](crate::config::secrets); whether Redis answers is nobody's business before the daemon runs.

use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path};
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::schedule::Schedule;
use super::{ActivationFunction, Config, JwtConfig, LoopbackAccess, Profile, ThresholdSource};

/// One thing that is wrong, or for [`Config::warnings`] doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `section.key`; a file or a variable when there is no key.
    pub key: String,
    /// What is wrong, without secrets.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.problem, self.remedy)
    }
}

/// Longest name, prefix or account: longer than any in earnest, short enough for a table and a key.
const TEXT_MAX: usize = 128;
/// Longest key prefix: it is repeated in every key, and a deployment's name is short.
pub const PREFIX_MAX: usize = 64;
/// Longest host name (RFC 1035).
const HOST_MAX: usize = 253;
/// Longest URL of a service.
const URL_MAX: usize = 1024;
/// Most files in `geo.database`: countries and autonomous systems for IPv4 and IPv6.
const GEO_FILES_MAX: usize = 4;
/// Most files in `lists.suspicious_files`: each is one more look-up for a score.
const LIST_FILES_MAX: usize = 16;
/// Highest price: a million of the other is a probability that no hold-out can confirm.
const COST_MAX: f64 = 1e6;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Config {
    /// Everything that forbids to run with this configuration; empty when it is fine.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Found(Vec::new());
        self.check_node(&mut found);
        self.check_redis(&mut found);
        self.check_upstream(&mut found);
        self.check_http(&mut found);
        self.check_jwt(&mut found);
        self.check_ml(&mut found);
        self.check_training(&mut found);
        self.check_attempts_and_limits(&mut found);
        self.check_attacks(&mut found);
        self.check_lists(&mut found);
        self.check_geo(&mut found);
        if self.log.level.trim().is_empty() || EnvFilter::builder().parse(&self.log.level).is_err() {
            found.add(
                "log.level",
                "it is not a log filter",
                "write a level like \"info\" or \"info,nauthilus_neural=debug\"",
            );
        }
        found.0
    }

    /// What is allowed, but should be said once at start: never a reason not to run.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = Found(Vec::new());
        if self.ml.may_override_rules {
            found.add(
                "ml.may_override_rules",
                "a confident model can let through what a static rule would block",
                "set it to false unless your rules block too much",
            );
        }
        if !self.http.listen.ip().is_loopback() {
            found.add(
                "http.listen",
                "tokens and user names travel unencrypted beyond this host",
                "listen on loopback, or let only a trusted network reach the port",
            );
        }
        if self.lists.blocklist_url.as_ref().is_some_and(|url| !is_local(url)) {
            found.add(
                "lists.blocklist_url",
                "addresses of clients travel unencrypted beyond this host",
                "ask a service or a proxy on 127.0.0.1, or let only a trusted network lie between",
            );
        }
        if self.http.loopback_access == LoopbackAccess::Admin {
            found.add(
                "http.loopback_access",
                "every local user can train, reset and roll back",
                "set it to \"score\" on hosts with other users",
            );
        }
        if self.jwt.is_used() && self.jwt.audience.is_empty() {
            found.add(
                "jwt.audience",
                "a token that the issuer made for another service counts here as well",
                "name this service as the issuer does in \"aud\"",
            );
        }
        for network in &self.lists.trusted_networks {
            if network.prefix_len() == 0 {
                found.add("lists.trusted_networks", "the whole Internet is trusted", "name the networks that you run");
            }
        }
        found.0
    }

    fn check_node(&self, found: &mut Found) {
        if let Some(name) = &self.node.name {
            found.text("node.name", name);
        }
        found.absolute("node.state_dir", &self.node.state_dir);
        if let Some(path) = &self.node.pseudonym_key_file {
            found.secret_file("node.pseudonym_key_file", path);
        }
        if let Some(path) = &self.store.path {
            found.absolute("store.path", path);
        }
    }

    fn check_redis(&self, found: &mut Found) {
        found.redis_url("redis", &self.redis.url);
        found.redis_prefix("redis.prefix", &self.redis.prefix);
        if let Some(name) = &self.redis.username {
            found.text("redis.username", name);
        }
        if let Some(path) = &self.redis.password_file {
            found.secret_file("redis.password_file", path);
        }
    }

    fn check_upstream(&self, found: &mut Found) {
        let upstream = &self.upstream;
        found.redis_url("upstream", &upstream.url);
        found.redis_prefix("upstream.prefix", &upstream.prefix);
        found.redis_prefix("upstream.mirror_root", &upstream.mirror_root);
        found.text("upstream.instance", &upstream.instance);
        if let Some(name) = &upstream.username {
            found.text("upstream.username", name);
        }
        if let Some(path) = &upstream.password_file {
            found.secret_file("upstream.password_file", path);
        }
        for (key, wanted) in [("upstream.bridge", upstream.bridge), ("upstream.export", upstream.export)] {
            if wanted && self.ml.profile != Profile::Compat6 {
                found.add(
                    key,
                    "Nauthilus 1.7 knows the six features of compat-6 only",
                    "set ml.profile = \"compat-6\", or leave it off",
                );
            }
        }
        let ramp =
            matches!(self.ml.activation_function, Some(ActivationFunction::Relu | ActivationFunction::LeakyRelu));
        if upstream.export && ramp {
            found.add(
                "upstream.export",
                "Nauthilus 1.7 has one curve for hidden neurons and output, and the output must be a sigmoid",
                "set ml.activation_function to \"sigmoid\" or \"tanh\", or leave it out",
            );
        }
    }

    fn check_http(&self, found: &mut Found) {
        found.range("http.body_max", self.http.body_max as u64, 4096, super::HttpConfig::BODY_MAX as u64);
        for host in &self.http.allowed_hosts {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
            // A colon is of an IPv6 address; a port does not belong here.
            let is_name = !host.contains(':') || host.parse::<std::net::Ipv6Addr>().is_ok();
            if host.is_empty() || host.len() > HOST_MAX || !host.chars().all(plain) || !is_name {
                found.add(
                    "http.allowed_hosts",
                    format!("{host:?} is not the name of a host"),
                    "write names like \"neural.example.org\", without scheme, port and wildcard",
                );
            }
        }
        found.range("http.connections_max", self.http.connections_max as u64, 8, 65_536);
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(300));
        found.duration("http.header_timeout", self.http.header_timeout, shortest, longest);
        found.duration("http.body_timeout", self.http.body_timeout, shortest, longest);
        let longest = Duration::from_secs(86_400);
        found.duration("http.train_wait_max", self.http.train_wait_max, shortest, longest);
        for (index, token) in self.http.tokens.iter().enumerate() {
            let key = format!("http.tokens[{index}].file");
            found.secret_file(&key, &token.file);
            if self.http.tokens[..index].iter().any(|earlier| earlier.file == token.file) {
                found.add(&key, "the same file is listed twice", "give each role its own token");
            }
        }
    }

    fn check_jwt(&self, found: &mut Found) {
        let jwt = &self.jwt;
        for (key, file) in [("jwt.key_file", &jwt.key_file), ("jwt.jwks_file", &jwt.jwks_file)] {
            if let Some(path) = file {
                found.secret_file(key, path);
            }
        }
        if jwt.key_file.is_some() != jwt.algorithm.is_some() {
            found.add(
                "jwt.algorithm",
                if jwt.algorithm.is_some() { "it says nothing without jwt.key_file" } else { "jwt.key_file needs it" },
                "set both: the algorithm is fixed here and never taken from a token",
            );
        }
        if !jwt.is_used() && *jwt != (JwtConfig { algorithm: jwt.algorithm, ..JwtConfig::default() }) {
            found.add("jwt.key_file", "without a key no JWT is accepted", "set it or jwt.jwks_file, or remove [jwt]");
        }
        if let Some(issuer) = &jwt.issuer {
            found.text("jwt.issuer", issuer);
        }
        for audience in &jwt.audience {
            found.text("jwt.audience", audience);
        }
        found.text("jwt.role_claim", &jwt.role_claim);
        for (index, mapped) in jwt.roles.iter().enumerate() {
            let key = format!("jwt.roles[{index}].value");
            found.text(&key, &mapped.value);
            if jwt.roles[..index].contains(mapped) {
                found.add(&key, "the same value and role are listed twice", "remove one of them");
            }
        }
        found.duration("jwt.leeway", jwt.leeway, Duration::ZERO, Duration::from_secs(300));
    }

    fn check_ml(&self, found: &mut Found) {
        let ml = &self.ml;
        if let Some(threshold) = ml.threshold
            && !(threshold > 0.0 && threshold < 1.0)
        {
            found.add(
                "ml.threshold",
                "it is not a probability between 0 and 1",
                "choose one like 0.9, or leave it out",
            );
        }
        if !(ml.false_positive_budget > 0.0 && ml.false_positive_budget <= 0.5) {
            found.add("ml.false_positive_budget", "it is not above 0 and at most 0.5", "choose a share like 0.001");
        }
        for (key, cost) in
            [("ml.cost_false_positive", ml.cost_false_positive), ("ml.cost_false_negative", ml.cost_false_negative)]
        {
            if !(cost > 0.0 && cost <= COST_MAX) {
                found.add(key, "it is not above 0 and at most 1000000", "choose a price like 100, in any unit");
            }
        }
        if ml.threshold_from == ThresholdSource::Cost && ml.profile == Profile::Compat6 {
            found.add(
                "ml.threshold_from",
                "\"cost\" needs calibrated probabilities, which \"compat-6\" has not",
                "choose \"budget\", or ml.profile = \"ext-mlp16\"",
            );
        }
        for (key, weight) in [("ml.static_weight", ml.static_weight), ("ml.ml_weight", ml.ml_weight)] {
            if !(0.0..=1.0).contains(&weight) {
                found.add(key, "it is not between 0 and 1", "choose two weights that make 1 together");
            }
        }
        if ml.may_override_rules && ml.static_weight + ml.ml_weight <= 0.0 {
            found.add("ml.may_override_rules", "both weights are 0", "set ml.static_weight and ml.ml_weight");
        }
        if let Some(neurons) = ml.hidden_neurons {
            found.range("ml.hidden_neurons", neurons as u64, 1, 256);
        }
        if let Some(rate) = ml.learning_rate
            && !(rate > 0.0 && rate <= 1.0)
        {
            found.add("ml.learning_rate", "it is not above 0 and at most 1", "choose one like 0.01");
        }
        found.range("ml.additional_features_max", ml.additional_features_max as u64, 0, 32);
        // 1000000: what one node can hold in memory and fit within minutes.
        found.range("ml.max_training_records", ml.max_training_records, 100, 1_000_000);
    }

    fn check_training(&self, found: &mut Found) {
        let training = &self.training;
        let zone_is_known = training.timezone.parse::<chrono_tz::Tz>().is_ok();
        if !zone_is_known {
            found.add(
                "training.timezone",
                format!("{:?} is not in the tz database", training.timezone),
                "write a name like \"UTC\" or \"Europe/Berlin\"",
            );
        }
        // A wrong zone is reported above, once; the expressions are judged all the same.
        let zone = if zone_is_known { training.timezone.as_str() } else { "UTC" };
        for (index, expression) in training.schedule.iter().enumerate() {
            if let Err(error) = Schedule::parse(expression, expression, zone) {
                found.add("training.schedule", error.to_string(), "write five cron fields, like \"0 */12 * * *\"");
            }
            if training.schedule[..index].contains(expression) {
                found.add("training.schedule", format!("{expression:?} is listed twice"), "remove one of them");
            }
        }
        found.range("training.samples", training.samples, 100, 1_000_000);
        if training.samples > self.ml.max_training_records {
            found.add("training.samples", "it is more than ml.max_training_records", "lower it, or keep more records");
        }
        found.range("training.epochs", training.epochs.into(), 1, 10_000);
        found.range("training.feedback_epochs", training.feedback_epochs.into(), 1, 10_000);
        found.range("training.feedback_threshold", training.feedback_threshold, 1, 10_000);
        if training.feedback_threshold > self.limits.feedback_max {
            found.add(
                "training.feedback_threshold",
                "it is more than limits.feedback_max, so it can never be reached",
                "lower it, or keep more feedback",
            );
        }
        found.duration("training.lease", training.lease, Duration::from_secs(5), Duration::from_secs(600));
        found.duration("training.feedback_min_interval", training.feedback_min_interval, Duration::ZERO, 30 * DAY);
    }

    fn check_attempts_and_limits(&self, found: &mut Found) {
        let attempts = &self.attempts;
        found.duration("attempts.outcome_timeout", attempts.outcome_timeout, Duration::from_secs(1), HOUR);
        found.range("attempts.snapshots_max", attempts.snapshots_max as u64, 1000, 10_000_000);
        found.range("attempts.stream_max", attempts.stream_max, 1000, 100_000_000);
        found.range("attempts.queue_max", attempts.queue_max as u64, 1000, 10_000_000);
        let limits = &self.limits;
        found.range("limits.activity_bytes_max", limits.activity_bytes_max, 1 << 20, 1 << 40);
        found.range("limits.hindsight_bytes_max", limits.hindsight_bytes_max, 1 << 20, 1 << 40);
        found.duration("limits.attempts_age", limits.attempts_age, HOUR, 30 * DAY);
        found.range("limits.feedback_max", limits.feedback_max, 100, 1_000_000);
        found.duration("limits.feedback_age", limits.feedback_age, DAY, 730 * DAY);
        found.range("limits.history_max", limits.history_max, 10, 10_000);
        found.range("limits.models_kept", limits.models_kept, 1, 50);
        found.range("metrics.weight_series_max", self.metrics.weight_series_max as u64, 0, 1000);
    }

    fn check_attacks(&self, found: &mut Found) {
        let attacks = &self.attacks;
        // Of each account and password 64 others are remembered: a threshold beyond that would never be reached.
        found.range("attacks.account_networks_hour", attacks.account_networks_hour.into(), 3, 60);
        found.range("attacks.account_networks_day", attacks.account_networks_day.into(), 3, 60);
        found.range("attacks.account_passwords_min", attacks.account_passwords_min.into(), 1, 8);
        found.range("attacks.tag_accounts_hour", attacks.tag_accounts_hour.into(), 3, 60);
        found.range("attacks.tag_accounts_day", attacks.tag_accounts_day.into(), 3, 60);
        found.range("attacks.network_accounts", attacks.network_accounts.into(), 3, 60);
        found.range("attacks.shared_network_accounts", attacks.shared_network_accounts as u64, 1, 60);
        found.duration("attacks.measure", attacks.measure, Duration::from_secs(60), DAY);
        found.duration("attacks.retry_after", attacks.retry_after, Duration::from_secs(1), HOUR);
        if !(attacks.threshold_severe > 0.0 && attacks.threshold_severe < 1.0) {
            found.add(
                "attacks.threshold_severe",
                "it is not a probability between 0 and 1",
                "choose one like 0.5, or leave it out",
            );
        }
    }

    fn check_geo(&self, found: &mut Found) {
        let files = &self.geo.database;
        if files.len() > GEO_FILES_MAX {
            found.add("geo.database", format!("it names more than {GEO_FILES_MAX} files"), "keep one of each sort");
        }
        for (index, path) in files.iter().enumerate() {
            found.absolute("geo.database", path);
            if files[..index].contains(path) {
                found.add("geo.database", format!("{} is listed twice", path.display()), "remove one of them");
            }
        }
    }

    fn check_lists(&self, found: &mut Found) {
        found.networks("lists.trusted_networks", &self.lists.trusted_networks);
        found.networks("lists.suspicious_networks", &self.lists.suspicious_networks);
        let files = &self.lists.suspicious_files;
        if files.len() > LIST_FILES_MAX {
            found.add(
                "lists.suspicious_files",
                format!("it names more than {LIST_FILES_MAX} files"),
                "join some of them",
            );
        }
        for (index, path) in files.iter().enumerate() {
            found.absolute("lists.suspicious_files", path);
            if files[..index].contains(path) {
                found.add(
                    "lists.suspicious_files",
                    format!("{} is listed twice", path.display()),
                    "remove one of them",
                );
            }
        }
        if let Some(url) = &self.lists.blocklist_url {
            found.service("lists.blocklist_url", url);
        }
        for account in &self.lists.trusted_accounts {
            found.text("lists.trusted_accounts", account);
        }
    }
}

/// Whether a service is one of this host.
fn is_local(url: &str) -> bool {
    let url = url.parse::<hyper::Uri>();
    let is_loopback = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.is_ok_and(|url| url.host().is_some_and(|host| host == "localhost" || is_loopback(host)))
}

/// The problems so far, and the questions that are asked of several keys.
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Problem::new(key, problem, remedy));
    }

    fn range(&mut self, key: &str, value: u64, low: u64, high: u64) {
        if !(low..=high).contains(&value) {
            self.add(key, format!("{value} is out of range"), format!("choose a number from {low} to {high}"));
        }
    }

    fn duration(&mut self, key: &str, value: Duration, low: Duration, high: Duration) {
        if !(low..=high).contains(&value) {
            let [value, low, high] = [value, low, high].map(humantime::format_duration);
            self.add(key, format!("{value} is out of range"), format!("choose a duration from {low} to {high}"));
        }
    }

    /// The URL of a section. It is never repeated in a message: it may hold a password, that is one of the problems looked for.
    fn redis_url(&mut self, section: &str, url: &str) {
        let key = format!("{section}.url");
        match url.split_once("://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                let (user, host) = match authority.rsplit_once('@') {
                    Some((user, host)) => (Some(user), host),
                    None => (None, authority),
                };
                if let Some(user) = user {
                    let problem = if user.contains(':') { "it contains a password" } else { "it contains a user name" };
                    let remedy = format!(
                        "put the user into {section}.username and the password into the file {section}.password_file"
                    );
                    self.add(&key, problem, remedy);
                }
                if host.is_empty() || host.starts_with(':') {
                    self.add(&key, "it names no host", format!("write {scheme}://host:6379/0"));
                }
            }
            Some(("unix" | "redis+unix", path)) => {
                if path.contains("pass=") {
                    self.add(&key, "it contains a password", format!("put it into the file {section}.password_file"));
                }
                if !path.starts_with('/') {
                    self.add(&key, "the socket's path is not absolute", "write unix:///run/redis/redis.sock");
                }
            }
            _ => self.add(
                &key,
                "it does not begin with redis://, rediss:// or unix://",
                "write redis://host:6379/0, rediss://host:6380/0 or unix:///run/redis/redis.sock",
            ),
        }
    }

    fn redis_prefix(&mut self, key: &str, prefix: &str) {
        // No braces: the hash tag that holds all keys together is ours. No globs: ACL rules are written with the prefix.
        let plain = |c: char| c.is_ascii_graphic() && !"{}*?[]\\\"'".contains(c);
        if prefix.is_empty() || prefix.len() > PREFIX_MAX || !prefix.chars().all(plain) {
            self.add(
                key,
                "it is empty, too long, or has spaces, braces, quotes or glob characters",
                "use up to 64 letters, digits and \":._-\", like \"nt:\"",
            );
        }
    }

    fn text(&mut self, key: &str, text: &str) {
        if text.trim().is_empty() || text.len() > TEXT_MAX || text.chars().any(char::is_control) {
            let remedy = format!("use 1 to {TEXT_MAX} printable characters, or leave it out");
            self.add(key, "it is empty, too long, or has control characters", remedy);
        }
    }

    fn absolute(&mut self, key: &str, path: &Path) {
        if !path.is_absolute() {
            self.add(key, format!("{} is not an absolute path", path.display()), "begin it with \"/\"");
        }
    }

    /// The address of a service that is called by plain HTTP. It is never repeated in a message: it may hold a password.
    fn service(&mut self, key: &str, url: &str) {
        let Some(rest) = url.strip_prefix("http://") else {
            let problem =
                if url.starts_with("https://") { "TLS is not spoken here" } else { "it does not begin with http://" };
            return self.add(key, problem, "write http://host:port/path, of a service or a proxy on this host");
        };
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            self.add(key, "it contains a user name or a password", "let the service trust this host by its address");
        }
        let is_url = url.parse::<hyper::Uri>().is_ok_and(|url| url.host().is_some_and(|host| !host.is_empty()));
        if !is_url || url.len() > URL_MAX || url.contains('#') {
            self.add(key, "it is not a URL of a service", "write http://host:port/path");
        }
    }

    fn secret_file(&mut self, key: &str, path: &Path) {
        let mut parts = path.components();
        let is_a_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        if !path.is_absolute() && !is_a_name {
            self.add(
                key,
                format!("{:?} is neither an absolute path nor the name of a credential", path.display().to_string()),
                "begin it with \"/\", or name a LoadCredential= of the unit",
            );
        }
    }

    fn networks(&mut self, key: &str, networks: &[IpNet]) {
        for network in networks {
            let meant = network.trunc();
            if meant != *network {
                self.add(
                    key,
                    format!("{network} has bits set behind its prefix"),
                    format!("write {meant}, if that is meant"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
