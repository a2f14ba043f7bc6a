//! What a configuration may not be: every problem with its key, all at once.

use super::*;
use crate::config::{JwtAlgorithm, Role, TokenConfig};

fn keys(config: &Config) -> Vec<String> {
    config.check().into_iter().map(|problem| problem.key).collect()
}

#[test]
fn the_defaults_have_no_problem_and_no_warning() {
    assert_eq!(Config::default().check(), []);
    assert_eq!(Config::default().warnings(), []);
}

#[test]
fn every_problem_is_listed_at_once() {
    let mut config = Config::default();
    config.node.name = Some(String::new());
    config.node.state_dir = "state".into();
    config.store.path = Some("store.redb".into());
    config.redis.url = "http://localhost".to_owned();
    config.redis.prefix = "nt {x}".to_owned();
    config.http.body_max = 1;
    config.http.allowed_hosts = vec!["http://node:80".to_owned()];
    config.http.connections_max = 0;
    config.http.header_timeout = Duration::ZERO;
    config.http.body_timeout = Duration::from_secs(3600);
    config.http.train_wait_max = Duration::ZERO;
    config.http.tokens = vec![TokenConfig { role: Role::Admin, file: "../token".into() }];
    config.jwt.algorithm = Some(JwtAlgorithm::HS256);
    config.jwt.audience = vec![String::new()];
    config.jwt.leeway = Duration::from_secs(3600);
    config.ml.threshold = Some(f64::NAN);
    config.ml.false_positive_budget = 0.0;
    config.ml.static_weight = -0.1;
    config.ml.hidden_neurons = Some(0);
    config.ml.cost_false_negative = 0.0;
    config.ml.learning_rate = Some(1.5);
    config.training.timezone = "Berlin".to_owned();
    config.training.schedule = vec!["0 0 31 2 *".to_owned(), "@never".to_owned()];
    config.training.epochs = 0;
    config.training.lease = Duration::from_millis(10);
    config.attempts.outcome_timeout = Duration::ZERO;
    config.limits.models_kept = 0;
    config.attacks.account_networks_hour = 0;
    config.attacks.measure = Duration::ZERO;
    config.attacks.threshold_severe = f64::NAN;
    config.metrics.weight_series_max = 1001;
    config.lists.trusted_networks = vec!["192.0.2.7/24".parse().expect("a network")];
    config.log.level = "info=loud".to_owned();

    let expected = [
        "node.name",
        "node.state_dir",
        "store.path",
        "redis.url",
        "redis.prefix",
        "http.body_max",
        "http.allowed_hosts",
        "http.connections_max",
        "http.header_timeout",
        "http.body_timeout",
        "http.train_wait_max",
        "http.tokens[0].file",
        "jwt.algorithm",
        "jwt.key_file",
        "jwt.audience",
        "jwt.leeway",
        "ml.threshold",
        "ml.false_positive_budget",
        "ml.cost_false_negative",
        "ml.static_weight",
        "ml.hidden_neurons",
        "ml.learning_rate",
        "training.timezone",
        "training.schedule",
        "training.schedule",
        "training.epochs",
        "training.lease",
        "attempts.outcome_timeout",
        "limits.models_kept",
        "metrics.weight_series_max",
        "attacks.account_networks_hour",
        "attacks.measure",
        "attacks.threshold_severe",
        "lists.trusted_networks",
        "log.level",
    ];
    assert_eq!(keys(&config), expected);
}

#[test]
fn costs_need_calibrated_probabilities() {
    let mut config = Config::default();
    config.ml.threshold_from = ThresholdSource::Cost;
    assert!(keys(&config).is_empty());
    config.ml.profile = Profile::Compat6;
    assert_eq!(keys(&config), ["ml.threshold_from"]);
}

#[test]
fn edges_of_a_range_are_in_it() {
    for (neurons, fine) in [(0, false), (1, true), (256, true), (257, false)] {
        let mut config = Config::default();
        config.ml.hidden_neurons = Some(neurons);
        assert_eq!(config.check().is_empty(), fine, "{neurons} neurons");
    }
    for (threshold, fine) in [(0.0, false), (0.001, true), (0.999, true), (1.0, false)] {
        let mut config = Config::default();
        config.ml.threshold = Some(threshold);
        assert_eq!(config.check().is_empty(), fine, "threshold {threshold}");
    }
}

#[test]
fn a_password_in_the_redis_url_is_refused_without_being_shown() {
    for url in ["redis://:hunter2@localhost:6379", "rediss://user:hunter2@[::1]/1", "unix:///run/r.sock?pass=hunter2"] {
        let mut config = Config::default();
        config.redis.url = url.to_owned();

        let problems = config.check();

        assert_eq!(problems.len(), 1, "{url}");
        assert!(!problems[0].to_string().contains("hunter2"));
    }
}

#[test]
fn a_blocklist_is_asked_by_plain_http_only_and_its_url_holds_no_password() {
    for (url, problem) in [
        ("http://127.0.0.1:8080/check", None),
        ("http://[::1]/?list=all", None),
        ("https://list.example.org/", Some("TLS is not spoken here")),
        ("list.example.org", Some("does not begin with http://")),
        ("http://user:hunter2@list.example.org/", Some("user name or a password")),
        ("http:///path", Some("not a URL")),
        ("http://list example/", Some("not a URL")),
        ("http://h/#x", Some("not a URL")),
    ] {
        let mut config = Config::default();
        config.lists.blocklist_url = Some(url.to_owned());

        let problems: Vec<_> = config.check().iter().map(ToString::to_string).collect();

        assert_eq!(problems.len(), usize::from(problem.is_some()), "{url}: {problems:?}");
        assert!(problem.is_none_or(|problem| problems[0].contains(problem)), "{url}: {problems:?}");
        assert!(!problems.concat().contains("hunter2"));
    }
    let warned = |url: &str| {
        let mut config = Config::default();
        config.lists.blocklist_url = Some(url.to_owned());
        config.warnings().iter().any(|warning| warning.key == "lists.blocklist_url")
    };
    assert!(warned("http://list.example.org/") && !warned("http://localhost:1/") && !warned("http://[::1]:1/"));
    assert!(warned("http://127.example.org/") && !warned("http://127.0.0.1:8080/check"));
}

#[test]
fn list_files_are_few_absolute_and_different() {
    let problems = |paths: &[&str]| {
        let mut config = Config::default();
        config.lists.suspicious_files = paths.iter().map(Into::into).collect();
        config.check().len()
    };
    assert_eq!(problems(&["/a", "/b"]), 0);
    assert_eq!(problems(&["/a", "b", "/a"]), 2);
    let many: Vec<String> = (0..17).map(|number| format!("/{number}")).collect();
    assert_eq!(problems(&many.iter().map(String::as_str).collect::<Vec<_>>()), 1);
}

#[test]
fn redis_urls_in_all_their_forms_are_fine() {
    for url in [
        "redis://[::1]:6379/0",
        "rediss://redis.example.org",
        "unix:///run/redis/redis.sock",
        "redis://h/?protocol=resp3",
    ] {
        let mut config = Config::default();
        config.redis.url = url.to_owned();
        assert_eq!(config.check(), [], "{url}");
    }
}

#[test]
fn keys_that_contradict_each_other_are_named() {
    let mut config = Config::default();
    config.ml.max_training_records = 1000;
    config.limits.feedback_max = 100;
    config.training.feedback_threshold = 200;

    assert_eq!(keys(&config), ["training.samples", "training.feedback_threshold"]);
}

#[test]
fn doubtful_settings_warn_but_do_not_forbid_to_run() {
    let mut config = Config::default();
    config.ml.may_override_rules = true;
    config.http.listen = "[::]:9180".parse().expect("an address");
    config.http.loopback_access = LoopbackAccess::Admin;
    config.lists.trusted_networks = vec!["0.0.0.0/0".parse().expect("a network")];

    let warned: Vec<_> = config.warnings().into_iter().map(|problem| problem.key).collect();

    assert_eq!(warned, ["ml.may_override_rules", "http.listen", "http.loopback_access", "lists.trusted_networks"]);
    assert_eq!(config.check(), []);
}

#[test]
fn what_joins_nodes_of_1_7_is_checked_like_what_joins_ones_own() {
    let mut config = Config::default();
    config.upstream.url = "redis://:hunter2@localhost".to_owned();
    config.upstream.prefix = String::new();
    config.upstream.mirror_root = "ntc:*".to_owned();
    config.upstream.instance = String::new();
    config.upstream.username = Some(String::new());
    config.upstream.password_file = Some("../x".into());
    let expected = [
        "upstream.url",
        "upstream.prefix",
        "upstream.mirror_root",
        "upstream.instance",
        "upstream.username",
        "upstream.password_file",
    ];
    assert_eq!(keys(&config), expected);
    let said: String = config.check().iter().map(ToString::to_string).collect();
    assert!(said.contains("upstream.username") && !said.contains("hunter2"), "{said}");
}

#[test]
fn nodes_of_1_7_know_six_features_and_a_sigmoid() {
    let mut config = Config::default();
    (config.upstream.bridge, config.upstream.export) = (true, true);
    assert_eq!(keys(&config), ["upstream.bridge", "upstream.export"]);
    config.ml.profile = Profile::Compat6;
    assert!(keys(&config).is_empty());
    config.ml.activation_function = Some(ActivationFunction::LeakyRelu);
    assert_eq!(keys(&config), ["upstream.export"]);
}
