//! The files of `etc/nauthilus` as a whole: plain Lua 5.1, named in the snippets and the manual, harmless when incomplete.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::login::login;
use super::nauthilus::{Nauthilus, Version};
use super::shipped;

fn files(directory: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/nauthilus.md");
    fs::read_to_string(path).expect("the page for administrators")
}

#[test]
fn every_script_is_lua_5_1_and_says_what_it_is_for() {
    let lua = mlua::Lua::new();
    let scripts = files(&shipped(""), "lua");
    for path in &scripts {
        let text = fs::read_to_string(path).expect("readable");
        assert!(text.starts_with("-- "), "{}", path.display());
        lua.load(&text).into_function().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    assert_eq!(scripts.len(), 11, "{scripts:?}");
    // The interpreter is as strict as the one of Nauthilus.
    for newer in ["return 7 // 2", "return 5 & 3", "return 1 << 2", "goto done ::done::", "return 'a\\x41' == 'aA'"] {
        assert!(lua.load(newer).eval::<bool>().ok() != Some(true), "{newer}");
    }
}

#[test]
fn the_snippets_name_every_script_where_the_manual_puts_it() {
    for version in ["nauthilus-1.8-2.x.yml", "nauthilus-3.x.yml"] {
        let text = fs::read_to_string(shipped(version)).expect("a snippet");
        let mut named = Vec::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            if let Some((_, path)) = line.split_once("/etc/nauthilus/") {
                let path = path.trim_end_matches('"');
                assert!(shipped(path).is_file(), "{version} names {path}");
                named.push(path.to_owned());
            }
            assert!(!line.contains('\t'), "{version}: YAML has no tabs");
        }
        for path in files(&shipped("lua-plugins.d"), "lua") {
            let name = path.strip_prefix(shipped("")).expect("below").display().to_string();
            assert!(named.contains(&name) || name.contains("/policy/"), "{version} does not name {name}");
        }
        assert_eq!(named.iter().filter(|path| path.ends_with("/neural.lua")).count(), 2, "before and after, {version}");
        assert!(page().contains(version), "docs/nauthilus.md does not mention {version}");
    }
}

#[test]
fn the_manual_names_every_file_and_every_setting() {
    let page = page();
    for path in files(&shipped(""), "lua") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(page.contains(name), "docs/nauthilus.md does not mention {name}");
        let text = fs::read_to_string(&path).expect("readable");
        for rest in text.split("setting(\"").skip(1) {
            let setting = format!("`NAUTHILUS_NEURAL_{}", rest.split('"').next().unwrap_or_default());
            assert!(page.contains(&setting), "docs/nauthilus.md does not mention {setting}`");
        }
    }
}

#[test]
fn a_login_goes_on_when_modules_were_forgotten() {
    let nauthilus = Nauthilus::new(Version::V3, &[]);
    nauthilus.eval("package.path = ''").expect("a text");
    nauthilus.load("lua-plugins.d/neural.lua");

    assert!(!nauthilus.before(&login("s-1")));
    nauthilus.after(&login("s-1"));

    assert!(nauthilus.log()["neural_error"].contains("not on the package path"), "{:?}", nauthilus.log());
}

#[test]
fn a_login_goes_on_in_a_nauthilus_without_the_modules_that_are_needed() {
    for name in ["glua_http", "json", "nauthilus_context", "nauthilus_password"] {
        let nauthilus = Nauthilus::new(Version::V3, &[("NAUTHILUS_NEURAL_URL", "http://127.0.0.1:1")]);
        nauthilus.eval(&format!("package.loaded['{name}'] = nil package.preload['{name}'] = nil")).expect("forgotten");
        nauthilus.load("lua-plugins.d/neural.lua");

        assert!(!nauthilus.before(&login("s-1")), "{name}");
        nauthilus.after(&login("s-1"));

        assert!(nauthilus.log().contains_key("neural_error"), "{name}: {:?}", nauthilus.log());
    }
}

#[test]
fn an_error_that_nobody_thought_of_stays_inside_the_script() {
    for version in Version::ALL {
        let nauthilus = Nauthilus::new(version, &[]);
        nauthilus
            .eval("package.loaded.nauthilus_context = { context_get = function() error('out of memory') end }")
            .expect("replaced");
        nauthilus.load("lua-plugins.d/neural.lua");

        assert!(!nauthilus.before(&login("s-1")), "{version:?}");
        nauthilus.after(&login("s-1"));

        assert!(nauthilus.log()["neural_error"].starts_with("neural.lua failed: "), "{:?}", nauthilus.log());
    }
}

#[test]
fn the_loader_of_later_versions_which_logs_each_call_is_called_for_new_modules_only() {
    let nauthilus = Nauthilus::new(Version::V1_11, &[("NAUTHILUS_NEURAL_URL", &super::broken::nobody())]);
    nauthilus.eval("calls = 0 dynamic_loader = function() calls = calls + 1 end").expect("replaced");

    for number in 0..5 {
        nauthilus.next_request();
        nauthilus.load("lua-plugins.d/neural.lua");
        nauthilus.before(&login(&format!("s-{number}")));
        nauthilus.after(&login(&format!("s-{number}")));
    }

    // Password, HTTP and JSON; the context is there already.
    assert_eq!(nauthilus.eval("return calls"), Ok(vec![json!(3)]));
}

#[test]
fn the_registry_script_registers_what_the_login_script_tells() {
    let nauthilus = Nauthilus::new(Version::V3, &[]);
    nauthilus
        .eval(
            "registered = {} package.loaded.nauthilus_policy = {
             register_attribute = function(attribute) registered[attribute.id] = attribute end }",
        )
        .expect("replaced");

    nauthilus.load("lua-plugins.d/policy/neural-registry.lua");

    let got: Vec<Value> = nauthilus.eval("return registered").expect("a table");
    for (id, kind) in [("lua.plugin.neural.verdict", "string"), ("lua.plugin.neural.probability", "number")] {
        assert_eq!((&got[0][id]["type"], &got[0][id]["stage"]), (&json!(kind), &json!("pre_auth")), "{id}");
    }
}
