//! The references in `docs/src/` are the code's own words. `STRAIT_BLESS=1 tests/run` rewrites them.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

use prometheus::core::Collector as _;
use strait::metrics::Metrics;
use strait::outcome::Outcome;
use strait::upstream::Upstreams;

#[test]
fn the_page_lists_every_outcome() {
    assert_section("docs/src/operate/outcomes.md", "outcomes", &outcomes());
}

#[test]
fn the_page_lists_every_metric() {
    assert_section("docs/src/reference/metrics.md", "metrics", &metrics());
}

#[test]
fn the_page_lists_every_config_key() {
    assert_section("docs/src/reference/config.md", "config", &config());
}

/// The file `page` must have `content` in its section `name`, or gets it if `STRAIT_BLESS` is set.
fn assert_section(page: &str, name: &str, content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let expected = with_section(&text, name, content).unwrap_or_else(|why| panic!("{page}: {why}"));
    if text == expected {
        return;
    }
    assert!(
        std::env::var_os("STRAIT_BLESS").is_some(),
        "{page} is behind the code: run `STRAIT_BLESS=1 tests/run`\n{}",
        first_difference(&text, &expected)
    );
    fs::write(&path, expected).unwrap();
}

/// The config reference without its title, which the page has.
fn config() -> String {
    let reference = strait::config::reference::markdown();
    let (_, body) = reference.split_once("\n\n").unwrap();
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
fn with_section(text: &str, name: &str, content: &str) -> Result<String, String> {
    let Range { start, end } = section(text, name)?;
    Ok([&text[..start], content, &text[end..]].concat())
}

fn section(text: &str, name: &str) -> Result<Range<usize>, String> {
    let place = |mark: &str| match &text.match_indices(mark).collect::<Vec<_>>()[..] {
        [(at, _)] => Ok(*at..*at + mark.len()),
        found => Err(format!("it has {} lines {mark:?}, not one", found.len())),
    };
    let start = place(&format!("<!-- {name} -->\n"))?.end;
    let end = place(&format!("<!-- /{name} -->\n"))?.start;
    if start > end {
        return Err(format!("its section {name} ends before it starts"));
    }
    Ok(start..end)
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
    let mended = with_section(text, "x", "new\n").unwrap();
    assert_eq!(mended, "a\n<!-- x -->\nnew\n<!-- /x -->\nb\n");
    assert_eq!(
        first_difference(text, &mended),
        "line 3 is\n  old\nand should be\n  new"
    );
    assert_eq!(with_section(&mended, "x", "new\n").unwrap(), mended);
}

#[test]
fn a_missing_section_is_an_error() {
    let error = section("nothing here", "x").unwrap_err();
    assert!(error.contains("has 0 lines"), "{error}");
}
