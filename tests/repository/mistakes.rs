//! The page of `strait doctor`: each mistake of its table has a test that exists and that asks for the answer of the
//! table, and the page explains that answer.

use std::fs;
use std::path::Path;

const PAGE: &str = "docs/src/operate/doctor.md";
const TABLE: &str = "| mistake |";
const MISTAKES: usize = 32;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(path).unwrap_or_default()
}

/// The words between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The section of the page that explains a check, without the table.
fn section<'a>(page: &'a str, check: &str) -> Option<&'a str> {
    let (page, _) = page.split_once(TABLE).unwrap_or((page, ""));
    let (_, section) = page.split_once(&format!("\n### {check}\n"))?;
    section.split("\n#").next()
}

/// The checks of an answer, each with its causes: `check`: `cause`, `cause`.
fn expected<'a>(page: &str, answer: &'a str) -> Vec<(&'a str, &'a str)> {
    let parts: Vec<&str> = answer.split('`').collect();
    let mut found = Vec::new();
    let mut check = None;
    for pair in parts.chunks(2) {
        let [between, word] = pair[..] else { break };
        if section(page, word).is_some() {
            check = Some(word);
        } else if ![": ", ", "].contains(&between) {
            check = None;
        }
        found.extend(
            check
                .filter(|check| *check != word)
                .map(|check| (check, word)),
        );
    }
    found
}

/// The body of a test in a source of Rust.
fn body(path: &str, name: &str, read: impl Fn(&str) -> String) -> Option<String> {
    let is_source = Path::new(path).extension().is_some_and(|end| end == "rs");
    let source = is_source.then(|| read(path))?;
    let (_, body) = source.split_once(&format!("#[test]\nfn {name}()"))?;
    body.split("\n}\n").next().map(str::to_owned)
}

/// The fault of a row.
fn fault(row: &str, number: usize, page: &str, read: impl Fn(&str) -> String) -> Option<String> {
    let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
    let [mistake, answer, tests] = cells[..] else {
        return Some(format!("{row}: {} cells", cells.len()));
    };
    if !mistake.trim().starts_with(&format!("{number}. ")) {
        return Some(format!("{mistake}: not number {number}"));
    }
    let mut made = String::new();
    for test in quoted(tests) {
        let found = test.split_once("::");
        let found = found.and_then(|(path, name)| body(path, name, &read));
        let Some(body) = found else {
            return Some(format!("{mistake}: the test {test} is not there"));
        };
        made += &body;
    }
    if made.is_empty() {
        return Some(format!("{mistake}: no test"));
    }
    // As the tests write them: `trust? stale`, `cluster-mesh failed aliases`.
    for mark in ["?", " failed", " warned"] {
        made = made.replace(mark, "");
    }
    let expected = expected(page, answer);
    if expected.is_empty() && !answer.contains("cannot be told") {
        return Some(format!("{mistake}: no check with a cause"));
    }
    let wrong = expected.into_iter().find_map(|(check, cause)| {
        let explains = section(page, check).is_some_and(|it| it.contains(&format!("`{cause}`")));
        match made.contains(&format!("{check} {cause}")) {
            _ if !explains => Some(format!("the page does not explain {cause} of {check}")),
            false => Some(format!("no test of it wants {check} {cause}")),
            true => None,
        }
    });
    wrong.map(|wrong| format!("{mistake}: {wrong}"))
}

#[test]
fn each_mistake_has_a_test_and_an_answer_that_the_page_explains() {
    let page = read(PAGE);
    let (_, table) = page.split_once(TABLE).unwrap();
    let rows: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("| "))
        .collect();
    assert_eq!(rows.len(), MISTAKES);
    let faults: Vec<String> = (1..)
        .zip(&rows)
        .filter_map(|(number, row)| fault(row, number, &page, read))
        .collect();
    assert!(faults.is_empty(), "{PAGE}: {faults:#?}");
}

#[test]
fn a_row_without_its_test_is_found() {
    let source = |path: &str| match path {
        "tests/a.rs" => "#[test]\nfn a() {\n    finds(\"clock? skew\");\n}\n\nfn b() {}\n",
        // The page itself, or a text that has the words of a test.
        _ => "#[test]\nfn a() {\n    \"clock skew\"\n}\n",
    };
    let test = "`tests/a.rs::a`";
    let page = format!(
        "\n### clock\n`skew` and `late`\n### other\n`else`\n{TABLE}\n### no\n`in_table` `in_table`\n"
    );
    for (row, good) in [
        (format!("| 1. One | `clock`: `skew` | {test} |"), true),
        (
            format!("| 1. One | `clock`: `skew`, with `--x` | {test} |"),
            true,
        ),
        (format!("| 1. One | cannot be told | {test} |"), true),
        (format!("| 2. Two | cannot be told | {test} |"), false),
        (format!("| 1. One | `clock` | {test} |"), false),
        // The page explains it elsewhere, or in the table alone.
        (format!("| 1. One | `clock`: `other` | {test} |"), false),
        (format!("| 1. One | `clock`: `else` | {test} |"), false),
        (format!("| 1. One | `clock`: `in_table` | {test} |"), false),
        (format!("| 1. One | `no`: `in_table` | {test} |"), false),
        // No test wants it.
        (format!("| 1. One | `clock`: `late` | {test} |"), false),
        (
            format!("| 1. One | `clock`: `skew`, `late` | {test} |"),
            false,
        ),
        // No test, or none in a source.
        ("| 1. One | `clock`: `skew` | none |".to_owned(), false),
        (
            "| 1. One | `clock`: `skew` | `tests/a.rs` |".to_owned(),
            false,
        ),
        (
            "| 1. One | `clock`: `skew` | `tests/a.rs::b` |".to_owned(),
            false,
        ),
        (
            "| 1. One | `clock`: `skew` | `tests/a.txt::a` |".to_owned(),
            false,
        ),
    ] {
        let found = fault(&row, 1, &page, |path| source(path).to_owned());
        assert_eq!(found.is_none(), good, "{row}: {found:?}");
    }
}
