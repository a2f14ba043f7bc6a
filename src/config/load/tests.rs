//! Loading: file and environment, unknown keys and wrong types, and the sample file that must match the defaults.

use std::error::Error;
use std::time::Duration;

use super::*;
use crate::config::{Backend, LogFormat, LoopbackAccess, Optimizer, Role};

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("nauthilus-neural.toml");
    std::fs::write(&path, text).expect("a written file");
    Config::load(Some(&path), env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

fn problems(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let error = load(text, env).expect_err("a configuration with problems");
    error.problems().into_iter().map(|problem| problem.key).collect()
}

#[test]
fn nothing_at_all_gives_the_defaults() {
    assert_eq!(Config::load(None, []).expect("defaults"), Config::default());
    assert_eq!(load("", &[]).expect("an empty file"), Config::default());
}

#[test]
fn the_file_wins_over_defaults_and_the_environment_over_the_file() {
    let config = load(
        "[training]\nepochs = 7\nsamples = 300\nlease = \"1m\"\n[store]\nbackend = \"redis\"",
        &[("NAUTHILUS_NEURAL__TRAINING__EPOCHS", "9"), ("OTHER", "x"), ("NAUTHILUS_NEURAL_CONFIG", "/x")],
    )
    .expect("a valid configuration");

    assert_eq!((config.training.epochs, config.training.samples, config.training.feedback_epochs), (9, 300, 100));
    assert_eq!((config.training.lease, config.store.backend), (Duration::from_secs(60), Backend::Redis));
}

#[test]
fn every_kind_of_key_can_be_set_by_a_variable() {
    let config = load(
        "",
        &[
            ("NAUTHILUS_NEURAL__ML__DRY_RUN", "true"),
            ("NAUTHILUS_NEURAL__ML__THRESHOLD", "0.9"),
            ("NAUTHILUS_NEURAL__ML__OPTIMIZER", "sgd"),
            ("NAUTHILUS_NEURAL__HTTP__LISTEN", "[::1]:9"),
            ("NAUTHILUS_NEURAL__HTTP__LOOPBACK_ACCESS", "none"),
            ("NAUTHILUS_NEURAL__ATTEMPTS__OUTCOME_TIMEOUT", "2m"),
            ("NAUTHILUS_NEURAL__LISTS__TRUSTED_NETWORKS", "192.0.2.0/24, 2001:db8::1"),
            ("NAUTHILUS_NEURAL__TRAINING__SCHEDULE", "0 1,2 * * *; @weekly"),
            ("NAUTHILUS_NEURAL__LOG__FORMAT", "json"),
        ],
    )
    .expect("a valid configuration");

    assert!(config.ml.dry_run);
    assert_eq!((config.ml.threshold, config.ml.optimizer), (Some(0.9), Optimizer::Sgd));
    assert_eq!((config.http.listen.port(), config.http.loopback_access), (9, LoopbackAccess::None));
    assert_eq!(config.attempts.outcome_timeout, Duration::from_secs(120));
    assert_eq!(
        config.lists.trusted_networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.0/24", "2001:db8::1/128"]
    );
    assert_eq!(config.training.schedule, ["0 1,2 * * *", "@weekly"]);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn text_that_looks_like_a_number_stays_text() {
    let env = [
        ("NAUTHILUS_NEURAL__REDIS__USERNAME", "00123"),
        ("NAUTHILUS_NEURAL__NODE__NAME", "true"),
        ("NAUTHILUS_NEURAL__REDIS__PREFIX", "1e5"),
    ];

    let config = load("", &env).expect("a valid configuration");

    assert_eq!(config.redis.username.as_deref(), Some("00123"));
    assert_eq!((config.node.name.as_deref(), config.redis.prefix.as_str()), (Some("true"), "1e5"));
}

#[test]
fn problems_of_several_sections_and_layers_are_listed_together() {
    let found = problems(
        "colour = 1\n[node]\nnmae = \"x\"\n[ml]\nhidden_neurons = 0\nthreshold = \"high\"\ndry_run = \"yes\"\n\
         [training]\nepochs = 1.7\nlease = \"soon\"\n[Redis]\nurl = \"redis://h\"\n[lists]\ntrusted_networks = [\"10.0.0.0/33\", \"x\"]\n[log]\nlevel = 5",
        &[
            ("NAUTHILUS_NEURAL__TRAINING__SAMPLES", "many"),
            ("NAUTHILUS_NEURAL__TRAINING__SAMPELS", "100"),
            ("NAUTHILUS_NEURAL__TRIANING__SAMPLES", "100"),
            ("NAUTHILUS_NEURAL__TRAINING", "x"),
            ("NAUTHILUS_NEURAL__ML__A[0", "x"),
        ],
    );

    for key in [
        "colour",
        "node.nmae",
        "ml.hidden_neurons",
        "ml.threshold",
        "ml.dry_run",
        "training.epochs",
        "training.lease",
        "Redis",
        "lists.trusted_networks",
        "log.level",
        "NAUTHILUS_NEURAL__TRAINING__SAMPLES",
        "NAUTHILUS_NEURAL__TRAINING__SAMPELS",
        "NAUTHILUS_NEURAL__TRIANING",
        "NAUTHILUS_NEURAL__TRAINING",
        "NAUTHILUS_NEURAL__ML__A[0",
    ] {
        assert!(found.iter().any(|other| other == key), "{key} is missing in {found:?}");
    }
    assert_eq!(found.len(), 15, "{found:?}");
}

#[test]
fn all_wrong_networks_of_a_list_are_named() {
    let error = load("[lists]\nsuspicious_networks = [\"10.0.0.0/33\", \"192.0.2.0/24\", \"host\"]", &[])
        .expect_err("two wrong");

    let text = error.to_string();
    assert!(text.contains("10.0.0.0/33, host") && !text.contains("192.0.2.0/24"), "{text}");
}

#[test]
fn the_rules_for_signed_tokens_are_read_from_file_and_environment() {
    let config = load(
        "[jwt]\nalgorithm = \"ES256\"\nkey_file = \"/run/k\"\naudience = [\"a\"]\nroles = [{ value = \"x y\", role = \"admin\" }]",
        &[("NAUTHILUS_NEURAL__JWT__ISSUER", "https://id.example.org"), ("NAUTHILUS_NEURAL__JWT__LEEWAY", "1m")],
    );
    let jwt = config.expect("a valid configuration").jwt;

    assert_eq!(
        (jwt.algorithm.map(|it| it.name()), jwt.issuer.as_deref()),
        (Some("ES256"), Some("https://id.example.org"))
    );
    assert_eq!((jwt.leeway, jwt.audience.len()), (Duration::from_secs(60), 1));
    assert_eq!((jwt.roles[0].value.as_str(), jwt.roles[0].role), ("x y", Role::Admin));
    for wrong in [
        "algorithm = \"none\"",
        "algorithm = \"RS512\"",
        "roles = [{ value = \"x\", role = \"root\" }]",
        "issuers = []",
    ] {
        assert_eq!(problems(&format!("[jwt]\n{wrong}"), &[]).len(), 1, "{wrong}");
    }
}

#[test]
fn tokens_are_read_and_their_typos_refused() {
    let config = load(
        "[http]\ntokens = [{ role = \"score\", file = \"/run/t\" }, { role = \"admin\", file = \"admin-token\" }]",
        &[],
    );

    let roles: Vec<_> = config.expect("valid tokens").http.tokens.into_iter().map(|token| token.role).collect();
    assert_eq!(roles, [Role::Score, Role::Admin]);
    assert_eq!(problems("[http]\ntokens = [{ role = \"root\", file = \"/run/t\" }]", &[]), ["http.tokens"]);
    assert_eq!(problems("[http]\ntokens = [{ role = \"admin\", flie = \"/run/t\" }]", &[]), ["http.tokens"]);
    assert_eq!(problems("[[http.tokens]]\nrole = \"admin\"", &[]), ["http.tokens"]);
}

#[test]
fn a_syntax_error_names_the_line() {
    let error = load("[ml]\nenabled = ", &[]).expect_err("no value");

    assert!(matches!(error, ConfigError::Syntax { .. }));
    assert!(error.source().is_some_and(|source| source.to_string().contains("line 2")), "{:?}", error.source());
    assert!(load("[ml]\nenabled = true\nenabled = false", &[]).is_err(), "a duplicate key");
}

#[test]
fn a_file_that_is_missing_is_an_error() {
    let error = Config::load(Some(Path::new("/nonexistent/nauthilus-neural.toml")), []).expect_err("no file");

    assert!(matches!(error, ConfigError::Read { .. }));
    assert_eq!(error.problems().len(), 1);
}

#[test]
fn the_host_name_comes_from_the_unit_first() {
    assert_eq!(host_name([("HOSTNAME".to_owned(), "mx1".to_owned())]), "mx1");
    assert!(!host_name([]).is_empty());
}

/// The shipped file, with the optional keys that it shows as comments (`#key = …` without a space).
fn shipped() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/etc/nauthilus-neural.toml"))
        .expect("the shipped file")
}

#[test]
fn the_shipped_file_is_the_default_configuration() {
    assert_eq!(load(&shipped(), &[]).expect("the shipped file loads"), Config::default());
}

#[test]
fn the_shipped_file_shows_every_key_and_no_other() {
    let uncommented: String = shipped()
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
                .unwrap_or(line)
                .to_owned()
                + "\n"
        })
        .collect();
    let keys_of = |value: &serde_json::Value| -> Vec<String> {
        let sections = value.as_object().into_iter().flatten();
        let keys = sections.flat_map(|(section, keys)| {
            keys.as_object().into_iter().flatten().map(move |(key, _)| format!("{section}.{key}"))
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort();
        keys
    };
    let table = File::from_str(&uncommented, FileFormat::Toml).collect().expect("the optional keys are TOML, too");
    let shown: serde_json::Value =
        Value::new(None, ValueKind::Table(table)).try_deserialize().expect("any TOML is JSON");

    assert_eq!(keys_of(&shown), keys_of(&serde_json::to_value(Config::default()).expect("plain data")));
    load(&uncommented, &[]).expect("the examples of optional keys are valid");
}
