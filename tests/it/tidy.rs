//! Holds the repository to its own rules: layers, pure modules, codecs in one file, and documents that keep up.
//!
//! Reads the sources as text, as a reader does. It knows no rule that is not written down in `docs/` or `CONTRIBUTING.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules without a clock, files, network and runtime.
const PURE: [&str; 5] = ["numeric", "detection", "learning", "traffic", "config"];
/// The two files of `config` whose work is to read files.
const READ_FILES: [&str; 2] = ["src/config/load.rs", "src/config/secrets.rs"];
/// What a pure module must not name.
const IMPURE: [&str; 10] = [
    "tokio",
    "redis::",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::thread",
    "SystemTime",
    "Instant",
    "Utc::now",
    "Local::now",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

/// All files below a directory of the repository, with paths from its root, sorted.
fn files(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a readable directory") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            // In a linked checkout `.git` is a file that names a directory of this machine.
            if matches!(name.as_str(), "target" | ".git") {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

fn sources(directory: &str) -> Vec<String> {
    files(directory).into_iter().filter(|path| path.ends_with(".rs")).collect()
}

/// One source file: its code without comments, tests and everything else behind `#[cfg(test)]`.
struct Source {
    path: String,
    code: String,
}

impl Source {
    /// The top module that it belongs to.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
    }
}

/// The production code of `src/`, without `lib.rs` and `main.rs`.
fn production() -> Vec<Source> {
    let mut test_files = BTreeSet::new();
    let mut all = Vec::new();
    for path in sources("src") {
        let (code, test_modules) = strip(&read(&path));
        let directory = if path.ends_with("/mod.rs") {
            PathBuf::from(&path).parent().expect("a directory").to_owned()
        } else {
            PathBuf::from(path.trim_end_matches(".rs"))
        };
        test_files.extend(test_modules.iter().map(|name| directory.join(format!("{name}.rs")).display().to_string()));
        all.push(Source { path, code });
    }
    all.retain(|source| {
        !test_files.contains(&source.path) && !matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs")
    });
    all
}

/// Code without comments and without items behind `#[cfg(test)]`; the names of test modules that are files of their own.
fn strip(text: &str) -> (String, Vec<String>) {
    let mut code = String::new();
    let mut test_modules = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("//") {
            continue;
        }
        if line.trim() != "#[cfg(test)]" {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        // rustfmt puts the end of an item into the column of its beginning.
        for line in lines.by_ref() {
            let named = line.trim().trim_end_matches(';').rsplit(' ').next().unwrap_or_default();
            if line.ends_with(';') && line.len() - line.trim_start().len() == indent {
                if line.contains("mod ") {
                    test_modules.push(named.to_owned());
                }
                break;
            }
            if line.len() == indent + 1 && line.ends_with('}') {
                break;
            }
        }
    }
    (code, test_modules)
}

/// The top modules that code names as `crate::name` or `crate::{name, …}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        if rest.starts_with('{') {
            let mut depth = 0;
            let mut word = String::new();
            let mut takes = true;
            for character in rest.chars() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ if character.is_alphanumeric() || character == '_' => {
                        if takes && depth == 1 {
                            word.push(character);
                        }
                        continue;
                    }
                    _ => {}
                }
                if !word.is_empty() {
                    used.insert(std::mem::take(&mut word));
                }
                // Only the first word of each entry is a top module.
                takes = match character {
                    '{' | ',' => true,
                    ' ' | '\n' => takes,
                    _ => false,
                };
                if depth == 0 {
                    break;
                }
            }
        } else {
            used.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    used
}

/// The layers: the modules of `lib.rs` in their order, lowest first.
fn layers() -> Vec<String> {
    let declared =
        |line: &str| line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')).map(str::to_owned);
    read("src/lib.rs").lines().filter_map(declared).collect()
}

/// Fails with every complaint at once.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaint(s):\n{}", complaints.len(), complaints.join("\n"));
}

/// The text between two marks, as often as they come.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close).map(|(inside, _)| inside)).collect()
}

#[test]
fn the_stripper_and_the_import_reader_see_what_they_should() {
    let text = "use crate::{daemon, store::{Store, Signal}, exit};\n// use crate::cli;\n#[cfg(test)]\nmod tests;\nfn a() \
                {\n    crate::clock::now();\n}\n#[cfg(test)]\nmod inline {\n    use crate::api;\n}\nuse crate::node::Node;\n";

    let (code, test_modules) = strip(text);

    assert_eq!(test_modules, ["tests"]);
    let used: Vec<_> = used_modules(&code).into_iter().collect();
    assert_eq!(used, ["clock", "daemon", "exit", "node", "store"]);
}

#[test]
fn arrows_between_layers_point_down() {
    let layers = layers();
    let place: BTreeMap<&str, usize> = layers.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut complaints = Vec::new();
    for source in production() {
        let Some(own) = place.get(source.module()) else {
            complaints.push(format!("{} belongs to no module of src/lib.rs", source.path));
            continue;
        };
        for used in used_modules(&source.code) {
            match place.get(used.as_str()) {
                Some(at) if at > own => complaints.push(format!("{} uses {used}, which lies above it", source.path)),
                _ => {}
            }
        }
    }
    none(&complaints);
    assert!(place.len() > 10, "src/lib.rs lists the layers");
}

#[test]
fn pure_modules_know_no_runtime_no_files_and_no_clock() {
    let mut complaints = Vec::new();
    for source in production() {
        if !PURE.contains(&source.module()) || READ_FILES.contains(&source.path.as_str()) {
            continue;
        }
        for (number, line) in source.code.lines().enumerate() {
            // `config` has a section of its own that is called like the server.
            let own_section = source.path == "src/config/sections/mod.rs" && line.contains("redis::RedisConfig");
            for word in IMPURE {
                if line.contains(word) && !own_section {
                    complaints.push(format!("{} names {word} in line {} of its code", source.path, number + 1));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn each_codec_and_learner_from_outside_is_named_only_where_it_belongs() {
    /// What lifts its fits into our own form.
    const LEARNERS: &[&str] =
        &["src/learning/logistic.rs", "src/learning/forest/fit.rs", "src/learning/forest/fit/tests.rs"];

    let mut complaints = Vec::new();
    for (name, only) in [
        ("bincode::", &["src/learning/artifact.rs"][..]),
        ("smartcore::", LEARNERS),
        ("maxminddb::", &["src/serving/geo.rs"]),
        ("use ring::", &["src/api/jwt.rs", "tests/it/support/jwt.rs"]),
    ] {
        for path in sources("src").into_iter().chain(sources("tests")) {
            // This file names them too.
            if !only.contains(&path.as_str()) && path != "tests/it/tidy.rs" && read(&path).contains(name) {
                complaints.push(format!("{path} names {name}, which belongs into {} alone", only.join(" and ")));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_source_file_begins_by_saying_what_it_is_for() {
    let silent = sources("src").into_iter().chain(sources("tests")).filter(|path| !read(path).starts_with("//!"));
    none(&silent.map(|path| format!("{path} does not begin with //!")).collect::<Vec<_>>());
}

#[test]
fn every_configuration_key_is_explained() {
    let sample = read("etc/nauthilus-neural.toml");
    let operations = read("docs/operations.md");
    let mut complaints = Vec::new();
    let mut section = String::new();
    let mut explained = false;
    let mut keys = 0;
    for line in sample.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            explained = false;
            continue;
        }
        // "# text" explains, "#key = value" is a key that is unset by default.
        let key_line = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '-'])).unwrap_or(line);
        match key_line.split_once(" = ") {
            Some((key, _)) if !key.contains([' ', '#']) => {
                keys += 1;
                if !explained {
                    complaints.push(format!("{section}.{key} has no comment in the sample configuration"));
                }
                if !operations.contains(&format!("`{section}.{key}`")) {
                    complaints
                        .push(format!("docs/operations.md does not say when a change of {section}.{key} applies"));
                }
            }
            _ if line.starts_with("# ") => explained = true,
            // A comment speaks for the keys below it, up to the next empty line.
            _ if line.is_empty() => explained = false,
            _ => {}
        }
    }
    none(&complaints);
    assert!(keys > 30, "only {keys} keys were found");
}

#[test]
fn every_route_is_documented() {
    let protocol = read("docs/protocol.md");
    let source = read("src/api/mod.rs");
    let routes = between(&source, ".route(\"", "\"");
    let missing = routes.iter().filter(|route| !protocol.contains(**route));
    none(&missing.map(|route| format!("docs/protocol.md does not mention {route}")).collect::<Vec<_>>());
    assert!(routes.len() >= 10, "only {} routes were found", routes.len());
}

#[test]
fn every_metric_is_documented() {
    let operations = read("docs/operations.md");
    let mut names = BTreeSet::new();
    for path in sources("src/telemetry") {
        let prefix = match &path {
            path if path.contains("/original") => "nauthilus_ml",
            path if path.contains("attack_metrics") => "nauthilus_dbf",
            _ => "nauthilus_neural",
        };
        let source = read(&path);
        let declared = source.split("registry.register(").skip(1).filter_map(|rest| rest.split('"').nth(1));
        names.extend(declared.map(|name| format!("{prefix}_{name}")));
    }
    let missing = names.iter().filter(|name| !operations.contains(&format!("`{name}")));
    none(&missing.map(|name| format!("docs/operations.md does not mention {name}")).collect::<Vec<_>>());
    assert!(names.len() > 20, "only {} metrics were found", names.len());
}

#[test]
fn every_key_in_redis_is_documented() {
    let protocol = read("docs/protocol.md");
    let (code, _) = strip(&read("src/store/keys.rs"));
    let names_of_keys = code.split_once("impl Keys").map(|(_, rest)| rest).expect("the names of keys");
    let literals = names_of_keys.split('"').skip(1).step_by(2);
    // `{}…` puts names together; `claims:{id}` is documented up to its variable part.
    let names: BTreeSet<_> =
        literals.filter(|text| !text.starts_with("{}")).map(|text| text.split('{').next().unwrap_or(text)).collect();
    let missing = names.iter().filter(|name| !protocol.contains(&format!("{{neural}}:{name}")));
    none(&missing.map(|name| format!("docs/protocol.md does not mention the key {name}")).collect::<Vec<_>>());
    assert!(names.len() > 12, "only {} keys were found", names.len());
}

#[test]
fn the_two_commands_of_the_readme_exist() {
    let readme = read("README.md");
    assert!(readme.contains("cargo run --release -- demo") && readme.contains("make test"));
    assert!(read("Makefile").lines().any(|line| line.starts_with("test:")), "the Makefile has no target test");
    let (commands, _) = strip(&read("src/cli/mod.rs"));
    assert!(commands.contains("Demo(demo::DemoArgs)"), "the command line has no command demo");
}

#[test]
fn the_examples_of_the_readme_can_be_read() {
    let readme = read("README.md");
    for body in between(&readme, "-d '", "'") {
        serde_json::from_str::<serde_json::Value>(body).unwrap_or_else(|error| panic!("{body}: {error}"));
    }
    let attempts: Vec<_> =
        between(&readme, "-d '", "'").into_iter().filter(|body| !body.contains("is_brute")).collect();
    for body in &attempts {
        nauthilus_neural::detection::record::AttemptRecord::parse(body.as_bytes()).expect("an attempt record");
    }
    let commands = between(&readme, "commands' '", "'");
    for command in &commands {
        nauthilus_neural::control::message::Message::parse(command.as_bytes()).expect("a command");
    }
    assert!(attempts.len() >= 2 && commands.len() >= 2, "the examples were not found");
}

#[test]
fn documents_name_functions_and_files_that_exist() {
    let all: String = sources("src").iter().map(|path| read(path)).collect();
    let mut complaints = Vec::new();
    for page in files("docs").into_iter().chain(["README.md".to_owned()]).filter(|page| page.ends_with(".md")) {
        let text = read(&page);
        for (at, quoted) in text.split('`').enumerate() {
            if at % 2 == 0 || quoted.contains(char::is_whitespace) {
                continue;
            }
            let last = quoted.rsplit("::").next().unwrap_or(quoted);
            let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if quoted.contains("::") && is_name(last) {
                let exists = if last.starts_with(|c: char| c.is_ascii_lowercase()) {
                    // A function, or a module in a log filter.
                    all.contains(&format!("fn {last}")) || all.contains(&format!("mod {last};"))
                } else {
                    all.contains(last)
                };
                if !exists {
                    complaints.push(format!("{page} names {quoted}, which does not exist"));
                }
            }
            if quoted.ends_with(".rs")
                && ![format!("src/{quoted}"), quoted.to_owned()].iter().any(|path| root().join(path).is_file())
            {
                complaints.push(format!("{page} names {quoted}, which does not exist"));
            }
        }
        for link in between(&text, "](", ")") {
            let target = link.split('#').next().unwrap_or_default();
            let directory = Path::new(&page).parent().unwrap_or(Path::new(""));
            if !target.is_empty() && !target.contains("://") && !root().join(directory).join(target).exists() {
                complaints.push(format!("{page} links to {target}, which does not exist"));
            }
        }
    }
    none(&complaints);
}

#[test]
fn no_file_speaks_of_a_place_that_only_one_machine_has() {
    // Put together here, or this file would be the first to complain about.
    let words = [["/wo", "rk/"].concat(), ["sha", "red/"].concat()];
    let mut complaints = Vec::new();
    for path in files(".") {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for word in &words {
            if text.contains(word.as_str()) {
                complaints.push(format!("{path} mentions {word}"));
            }
        }
    }
    none(&complaints);
}
