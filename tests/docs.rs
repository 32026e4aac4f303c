//! The README's references are the code's own words. `STRAIT_BLESS=1 tests/run` rewrites them.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

use prometheus::core::Collector as _;
use strait::metrics::Metrics;
use strait::outcome::Outcome;
use strait::upstream::Upstreams;

#[test]
fn readme_lists_every_outcome_metric_and_config_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let expected = with_section(&readme, "outcomes", &outcomes());
    let expected = with_section(&expected, "metrics", &metrics());
    let expected = with_section(&expected, "config", &config());
    if readme == expected {
        return;
    }
    assert!(
        std::env::var_os("STRAIT_BLESS").is_some(),
        "README.md is behind the code: run `STRAIT_BLESS=1 tests/run`\n{}",
        first_difference(&readme, &expected)
    );
    fs::write(&path, expected).unwrap();
}

/// The config reference without its title, one level further down.
fn config() -> String {
    let reference = strait::config::reference::markdown();
    let (_, body) = reference.split_once("\n\n").unwrap();
    let body = body.replace("\n## ", "\n### ");
    format!("\n{}\n", body.trim())
}

fn outcomes() -> String {
    let rows = Outcome::ALL.iter().map(|outcome| {
        let flag = match outcome.envoy_flag() {
            "-" => String::new(),
            flag => code(flag),
        };
        [code(outcome.label()), flag, cell(outcome.meaning())]
    });
    table(["Outcome", "Envoy's flag", "Meaning"], rows)
}

/// What strait registers itself. Add here what else is registered with [`Metrics::register`].
fn metrics() -> String {
    let metrics = Metrics::new().unwrap();
    let described = metrics.descriptions().iter().map(|metric| {
        let labels = metric.labels.iter().map(|label| code(label));
        [metric.name, &join(labels), metric.help].map(str::to_owned)
    });
    let collectors = [Upstreams::default().collector().unwrap()];
    let collected = collectors.iter().flat_map(|collector| {
        collector.desc().into_iter().map(|desc| {
            let labels = desc.variable_labels.iter().map(|label| code(label));
            [desc.fq_name.clone(), join(labels), desc.help.clone()]
        })
    });
    let mut rows: Vec<_> = described.chain(collected).collect();
    rows.sort_unstable();
    let rows = rows
        .iter()
        .map(|[name, labels, help]| [code(name), labels.clone(), cell(help)]);
    table(["Metric", "Labels", "Meaning"], rows)
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

fn table(head: [&str; 3], rows: impl Iterator<Item = [String; 3]>) -> String {
    let mut text = format!("| {} |\n|---|---|---|\n", head.join(" | "));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).unwrap();
    }
    text
}

/// `text` with `content` between the lines `<!-- name -->` and `<!-- /name -->`.
fn with_section(text: &str, name: &str, content: &str) -> String {
    let Range { start, end } = section(text, name);
    [&text[..start], content, &text[end..]].concat()
}

fn section(text: &str, name: &str) -> Range<usize> {
    let place = |mark: &str| match &text.match_indices(mark).collect::<Vec<_>>()[..] {
        [(at, _)] => *at..*at + mark.len(),
        found => panic!("README.md has {} lines {mark:?}, not one", found.len()),
    };
    let range =
        place(&format!("<!-- {name} -->\n")).end..place(&format!("<!-- /{name} -->\n")).start;
    assert!(
        range.start <= range.end,
        "README.md: {name} ends before it starts"
    );
    range
}

fn first_difference(is: &str, should_be: &str) -> String {
    let mut pairs = is.lines().zip(should_be.lines()).zip(1..);
    pairs
        .find(|((is, should_be), _)| is != should_be)
        .map_or_else(
            || "one has more lines than the other".to_owned(),
            |((is, should_be), line)| {
                format!("line {line} is\n  {is}\nand should be\n  {should_be}")
            },
        )
}

#[test]
fn a_stale_section_is_seen_and_mended() {
    let text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
    let mended = with_section(text, "x", "new\n");
    assert_eq!(mended, "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n");
    assert_eq!(
        first_difference(text, &mended),
        "line 3 is\n  old\nand should be\n  new"
    );
    assert_eq!(with_section(&mended, "x", "new\n"), mended);
}

#[test]
#[should_panic(expected = "has 0 lines")]
fn a_missing_section_is_an_error() {
    section("nothing here", "x");
}
