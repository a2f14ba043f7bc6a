//! From files and variables to a [`Config`]: built-in defaults, then one TOML file, then the environment.
//!
//! Every key is read on its own, so that one pass finds every unknown key and every value of the wrong type, wherever they
//! are. Values from the environment stay text until their key's type reads them: nothing is guessed to be a number, so
//! `00123` stays `00123` where text is meant. Ranges are judged afterwards, by [`Config::check`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat, Source, Value, ValueKind};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Config, Problem};

/// Begin of the variables that set keys: `NAUTHILUS_NEURAL__SECTION__KEY`.
pub const ENV_PREFIX: &str = "NAUTHILUS_NEURAL__";
/// Longest configuration file; a complete one with many networks has tens of kilobytes.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("cannot parse configuration file {}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, with line and column.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Keys that do not exist, values of the wrong type, values out of range: all of them.
    #[error("the configuration has {} problem(s):\n{}", .0.len(), .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

impl ConfigError {
    /// The problems, as [`Config::check`] lists them; for an unreadable file that one.
    pub fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Problems(problems) => problems.clone(),
            Self::Read { path, source } => {
                vec![Problem::new(
                    path.display().to_string(),
                    format!("it cannot be read: {source}"),
                    "check path and permissions",
                )]
            }
            Self::Syntax { path, source } => {
                vec![Problem::new(
                    path.display().to_string(),
                    format!("it is not TOML: {source}"),
                    "correct the syntax",
                )]
            }
        }
    }
}

impl Config {
    /// Loads and checks: defaults, then `file`, then those variables of `env` that begin with [`ENV_PREFIX`].
    ///
    /// A configuration that is returned has passed [`check`](Self::check).
    pub fn load(file: Option<&Path>, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let text = file.map(|path| read(path).map(|text| (path, text))).transpose()?;
        let mut problems = Vec::new();
        let config = match text {
            Some((path, text)) => {
                let table = File::from_str(&text, FileFormat::Toml)
                    .collect()
                    .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: innermost(source) })?;
                merge(table.into_iter().collect(), env, &mut problems)
            }
            None => merge(BTreeMap::new(), env, &mut problems),
        };
        // Keys with a problem kept their default, which is fine: nothing is reported twice.
        problems.extend(config.check());
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
    }
}

/// The host's name for people, without asking the network: `HOSTNAME` of `env`, the kernel, `/etc/hostname`.
///
/// The variable comes first because a hardened unit hides the kernel's name; the unit sets it from `%H`.
pub fn host_name(env: impl IntoIterator<Item = (String, String)>) -> String {
    let from_env = env.into_iter().find(|(key, _)| key == "HOSTNAME").map(|(_, value)| value);
    let from_file = |path: &str| std::fs::read_to_string(path).ok();
    from_env
        .filter(|name| !name.trim().is_empty())
        .or_else(|| from_file("/proc/sys/kernel/hostname"))
        .or_else(|| from_file("/etc/hostname"))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let fail = |source| ConfigError::Read { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(fail)?.len();
    if length > FILE_MAX {
        return Err(fail(std::io::Error::other(format!("it has {length} bytes, more than {FILE_MAX}"))));
    }
    std::fs::read_to_string(path).map_err(fail)
}

/// The parser's own error, which knows line and column; what wraps it knows only that there was one.
fn innermost(error: config::ConfigError) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        config::ConfigError::FileParse { cause, .. } => cause,
        other => Box::new(other),
    }
}

fn merge(
    file: BTreeMap<String, Value>,
    env: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Config {
    let mut layers = Layers { file, env: variables(env, problems), problems };
    let config = Config {
        node: layers.section("node"),
        store: layers.section("store"),
        redis: layers.section("redis"),
        http: layers.section("http"),
        jwt: layers.section("jwt"),
        ml: layers.section("ml"),
        training: layers.section("training"),
        attempts: layers.section("attempts"),
        attacks: layers.section("attacks"),
        lists: layers.section("lists"),
        geo: layers.section("geo"),
        limits: layers.section("limits"),
        upstream: layers.section("upstream"),
        metrics: layers.section("metrics"),
        log: layers.section("log"),
    };
    layers.report_leftovers();
    config
}

/// The environment's values by section and key. Names that cannot be keys are problems.
fn variables(
    env: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, BTreeMap<String, Value>> {
    let mut named = config::Map::new();
    for (name, value) in env {
        let Some(path) = name.strip_prefix(ENV_PREFIX) else { continue };
        let path = path.to_ascii_lowercase();
        let is_word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        let is_key =
            path.split_once("__").is_some_and(|(section, key)| is_word(section) && is_word(key) && !key.contains("__"));
        if !is_key {
            problems.push(Problem::new(
                name,
                "it names no key",
                format!("write {ENV_PREFIX}SECTION__KEY, or unset it"),
            ));
        } else if named.insert(path, value).is_some() {
            problems.push(Problem::new(name, "it is set twice, in different case", "keep the one in capitals"));
        }
    }
    // No `try_parsing`: it would turn a text of digits into a number and back, without its leading zeros.
    let source = Environment::default().separator("__").source(Some(named));
    let mut sections: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for (path, value) in source.collect().unwrap_or_default() {
        if let Some((section, key)) = path.split_once('.') {
            sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value);
        }
    }
    sections
}

/// What is still to be read, and what was found wrong so far.
struct Layers<'a> {
    file: BTreeMap<String, Value>,
    env: BTreeMap<String, BTreeMap<String, Value>>,
    problems: &'a mut Vec<Problem>,
}

impl Layers<'_> {
    /// Takes one section out of the layers. Keys with a problem keep their default.
    fn section<S: Default + Serialize + DeserializeOwned>(&mut self, section: &str) -> S {
        // What serde makes of the defaults says which keys exist and of what kind they are.
        let defaults = serde_json::to_value(S::default()).unwrap_or_default();
        let mut good = config::Map::new();
        let from_file = match self.file.remove(section).map(|value| value.kind) {
            None => config::Map::new(),
            Some(ValueKind::Table(table)) => table,
            Some(_) => {
                self.problems.push(Problem::new(
                    section,
                    "it is not a section",
                    format!("write [{section}] and its keys below it"),
                ));
                config::Map::new()
            }
        };
        let mut from_file: Vec<_> = from_file.into_iter().collect();
        from_file.sort_by(|(left, _), (right, _)| left.cmp(right));
        for (key, value) in from_file {
            let path = format!("{section}.{key}");
            let Some(default) = self.known(&defaults, &path, &key) else { continue };
            if let Some(problem) = wrong_kind(&path, default, &value.kind) {
                self.problems.push(problem);
            } else if self.reads_as::<S>(&path, &key, &value) {
                good.insert(key, value);
            }
        }
        for (key, value) in self.env.remove(section).unwrap_or_default() {
            let path = format!("{ENV_PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase());
            if self.known(&defaults, &path, &key).is_some() && self.reads_as::<S>(&path, &key, &value) {
                good.insert(key, value);
            }
        }
        // Each key was read alone before, so all of them together cannot fail.
        Value::new(None, ValueKind::Table(good)).try_deserialize().unwrap_or_default()
    }

    fn known<'d>(&mut self, defaults: &'d serde_json::Value, path: &str, key: &str) -> Option<&'d serde_json::Value> {
        let default = defaults.get(key);
        if default.is_none() {
            let keys: Vec<_> = defaults.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
            let remedy = format!("remove it, or use one of {}", keys.join(", "));
            self.problems.push(Problem::new(path, "there is no such key", remedy));
        }
        default
    }

    fn reads_as<S: DeserializeOwned>(&mut self, path: &str, key: &str, value: &Value) -> bool {
        let alone = config::Map::from_iter([(key.to_owned(), value.clone())]);
        match Value::new(None, ValueKind::Table(alone)).try_deserialize::<S>() {
            Ok(_) => true,
            Err(error) => {
                self.problems.push(Problem::new(path, reason(&error), "see etc/nauthilus-neural.toml for its form"));
                false
            }
        }
    }

    fn report_leftovers(&mut self) {
        let env = self.env.keys().map(|section| format!("{ENV_PREFIX}{}", section.to_uppercase()));
        for section in self.file.keys().cloned().chain(env) {
            let remedy = "remove it, or use one of node, store, redis, http, jwt, ml, training, attempts, lists, geo, \
                          limits, metrics, log";
            self.problems.push(Problem::new(section, "there is no such section", remedy));
        }
    }
}

/// Refuses in a file what the reader below would convert in silence: 1.7 for a count, 5 or true for a text.
fn wrong_kind(path: &str, default: &serde_json::Value, given: &ValueKind) -> Option<Problem> {
    let is_text = matches!(given, ValueKind::String(_));
    let is_float = matches!(given, ValueKind::Float(_));
    let is_integer = matches!(given, ValueKind::I64(_) | ValueKind::U64(_) | ValueKind::I128(_) | ValueKind::U128(_));
    let (fits, wanted) = match default {
        serde_json::Value::Bool(_) => (matches!(given, ValueKind::Boolean(_)), "true or false"),
        serde_json::Value::Number(number) if number.is_f64() => (is_float || is_integer, "a number"),
        serde_json::Value::Number(_) => (is_integer, "a whole number"),
        serde_json::Value::String(_) => (is_text, "a text in quotes"),
        serde_json::Value::Array(_) => (is_text || matches!(given, ValueKind::Array(_)), "a list"),
        // An optional key: its default says nothing about its kind.
        _ => (!matches!(given, ValueKind::Boolean(_)), "a value"),
    };
    (!fits).then(|| Problem::new(path, format!("it is not {wanted}"), format!("write {wanted}")))
}

/// The reader's sentence without the key, which the problem names already.
fn reason(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::At { error, .. } => reason(error),
        config::ConfigError::Type { expected, unexpected, .. } => format!("it is {unexpected}, not {expected}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
