//! The page of `strait doctor`: each mistake of its table has a test that exists, and an answer that the page explains.

use std::fs;
use std::path::Path;

const PAGE: &str = "docs/src/operate/doctor.md";
const MISTAKES: usize = 32;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(path).unwrap_or_default()
}

/// The words between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// What is wrong with a row.
fn fault(row: &str, number: usize, page: &str) -> Option<String> {
    let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
    let [mistake, answer, tests] = cells[..] else {
        return Some(format!("{row}: {} cells", cells.len()));
    };
    if !mistake.trim().starts_with(&format!("{number}. ")) {
        return Some(format!("{mistake}: not number {number}"));
    }
    let missing = quoted(tests).find(|test| match test.split_once("::") {
        Some((path, name)) => !read(path).contains(&format!("fn {name}(")),
        None => true,
    });
    if missing.is_some() || quoted(tests).next().is_none() {
        return Some(format!(
            "{mistake}: no test, or one that is not there: {missing:?}"
        ));
    }
    if answer.contains("cannot be told") {
        return None;
    }
    let explained = |word: &str| {
        page.contains(&format!("\n### {word}\n")) || page.matches(&format!("`{word}`")).count() > 1
    };
    let unknown = quoted(answer).find(|word| !explained(word));
    unknown.map(|word| format!("{mistake}: the page does not explain {word}"))
}

#[test]
fn each_mistake_has_a_test_and_an_answer_that_the_page_explains() {
    let page = read(PAGE);
    let (_, table) = page.split_once("| mistake |").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("| "))
        .collect();
    assert_eq!(rows.len(), MISTAKES);
    let faults: Vec<String> = (1..)
        .zip(&rows)
        .filter_map(|(number, row)| fault(row, number, &page))
        .collect();
    assert!(faults.is_empty(), "{PAGE}: {faults:#?}");
}

#[test]
fn a_row_without_its_test_is_found() {
    let test = "`tests/repository/mistakes.rs::a_row_without_its_test_is_found`";
    let page = "\n### clock\n`skew` and `skew`";
    for (row, good) in [
        (format!("| 1. One | `clock`: `skew` | {test} |"), true),
        (format!("| 1. One | `clock`: `other` | {test} |"), false),
        (format!("| 1. One | cannot be told | {test} |"), true),
        (format!("| 2. Two | cannot be told | {test} |"), false),
        (
            "| 1. One | `clock`: `skew` | `tests/none.rs::a` |".to_owned(),
            false,
        ),
        ("| 1. One | `clock`: `skew` | none |".to_owned(), false),
    ] {
        assert_eq!(fault(&row, 1, page).is_none(), good, "{row}");
    }
}
