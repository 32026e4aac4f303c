//! The page of failures: each row names tests that exist, or says that it has none.

use std::fs;
use std::path::Path;

const PAGE: &str = "docs/src/operate/failures.md";

/// The rows of the page's tables, without their heads.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    let rows = page.lines().filter(|line| line.starts_with("| "));
    rows.filter(|line| !line.starts_with("| failure |"))
}

/// The fault of a row, if it has one.
fn fault(row: &str, exists: impl Fn(&str, &str) -> bool) -> Option<String> {
    let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
    let [failure, conduct, tests] = cells[..] else {
        return Some(format!("{row}: {} cells", cells.len()));
    };
    let mut named = tests.split('`').skip(1).step_by(2).peekable();
    if named.peek().is_none() && !conduct.contains("not tested") {
        return Some(format!("{failure}: no test"));
    }
    named.find_map(|test| match test.split_once("::") {
        Some((path, name)) if exists(path, name) => None,
        _ => Some(format!("{failure}: there is no {test}")),
    })
}

/// Whether the file has a function of this name.
fn exists(path: &str, name: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs::read_to_string(path).unwrap_or_default();
    text.contains(&format!("fn {name}("))
}

#[test]
fn every_test_that_the_page_names_exists() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = fs::read_to_string(page).unwrap();
    let faults: Vec<String> = rows(&page).filter_map(|row| fault(row, exists)).collect();
    assert!(faults.is_empty(), "{PAGE}: {faults:#?}");
    assert!(rows(&page).count() > 40);
}

#[test]
fn a_row_without_its_test_is_found() {
    let exists = |path: &str, name: &str| (path, name) == ("tests/a.rs", "b");
    for (row, good) in [
        ("| F | does | `tests/a.rs::b` |", true),
        ("| F | does | `tests/a.rs::b`, `tests/a.rs::c` |", false),
        ("| F | does | `tests/a.rs` |", false),
        ("| F | does | |", false),
        ("| F | does: not tested | |", true),
        ("| F | does |", false),
    ] {
        assert_eq!(fault(row, exists).is_none(), good, "{row}");
    }
}
