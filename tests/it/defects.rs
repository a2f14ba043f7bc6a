//! The list of the original's defects in the manual: complete, and each with tests that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Defects that were found in the original.
const DEFECTS: usize = 52;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all test functions that begin with the number of a defect.
fn tests(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a text");
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split_once("()")).map(|(name, _)| name);
            found.extend(names.filter(|name| !numbers(name).is_empty()).map(str::to_owned));
        }
    }
}

/// The numbers of defects in the name of a test: words like `d12`.
fn numbers(name: &str) -> Vec<usize> {
    let words = name.split('_').filter_map(|word| word.strip_prefix('d'));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn each_defect_of_the_original_is_listed_with_tests_that_exist_and_each_such_test_is_listed() {
    let manual = std::fs::read_to_string(root().join("docs/nauthilus.md")).expect("the manual");
    let mut found = BTreeSet::new();
    for directory in ["src", "tests"] {
        tests(&root().join(directory), &mut found);
    }
    let rows: Vec<Vec<&str>> = manual
        .lines()
        .filter(|line| line.starts_with("| D"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();

    assert_eq!(rows.len(), DEFECTS);
    let mut listed = BTreeSet::new();
    for (at, row) in rows.iter().enumerate() {
        let number = at + 1;
        assert_eq!(row[1], format!("D{number}"));
        let proofs: Vec<&str> = row[3].split(", ").map(|name| name.trim_matches('`')).collect();
        for name in proofs {
            assert!(found.contains(name), "D{number}: there is no test {name}");
            assert!(numbers(name).contains(&number), "D{number}: {name} does not say that it is about it");
            listed.insert(name.to_owned());
        }
    }
    let forgotten: Vec<_> = found.difference(&listed).collect();
    assert!(forgotten.is_empty(), "not in the manual: {forgotten:?}");
}
