//! The test programs: few, and no file beside them that none of them runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each links all of strait, which takes seconds.
const MAX_PROGRAMS: usize = 12;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Every Rust file in tests/.
fn files() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![tests()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The main files of the programs, by the manifest.
fn programs() -> Vec<PathBuf> {
    let manifest = fs::read_to_string(tests().join("../Cargo.toml")).unwrap();
    let paths = manifest.lines().filter_map(|line| {
        let path = line.strip_prefix("path = \"tests/")?;
        Some(tests().join(path.strip_suffix('"')?))
    });
    paths.collect()
}

/// The files that `file` has as modules, and their modules.
fn with_modules(file: &Path, into: &mut BTreeSet<PathBuf>) {
    let folder = file.parent().unwrap();
    let own = match file.file_stem().unwrap().to_str().unwrap() {
        "main" | "mod" => folder.to_owned(),
        name => folder.join(name),
    };
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    into.insert(file.canonicalize().unwrap());
    let mut named = None;
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            named = path.strip_suffix("\"]").map(|path| folder.join(path));
        }
        let module = line.trim_start_matches("pub ").strip_prefix("mod ");
        if let Some(name) = module.and_then(|rest| rest.strip_suffix(';')) {
            let beside = own.join(format!("{name}.rs"));
            let within = own.join(name).join("mod.rs");
            let usual = if beside.exists() { beside } else { within };
            with_modules(&named.take().unwrap_or(usual), into);
        }
    }
}

#[test]
fn there_are_few_test_programs() {
    let programs = programs();
    assert!(programs.len() > 1, "the manifest names its tests otherwise");
    assert!(programs.len() <= MAX_PROGRAMS, "{programs:?}");
}

/// A file that no program declares would never be compiled, and its tests never run.
#[test]
fn every_file_belongs_to_a_program() {
    let mut declared = BTreeSet::new();
    for program in programs() {
        with_modules(&program, &mut declared);
    }
    let stray = |path: &PathBuf| !declared.contains(&path.canonicalize().unwrap());
    let stray: Vec<_> = files().into_iter().filter(stray).collect();
    assert!(stray.is_empty(), "no program declares {stray:?}");
}

/// The command line is tested as a process. What is dead in every program would stay with a lint that is off.
#[test]
fn no_test_turns_off_the_lint_of_dead_code_or_imports_the_command_line() {
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        for banned in [concat!("allow(dead", "_code"), concat!("strait::", "cli::")] {
            let here = text.contains(banned) && !path.ends_with("repository/layering.rs");
            assert!(!here, "{}: {banned}", path.display());
        }
    }
}
