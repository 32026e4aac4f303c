//! The documents: references in `docs/src/` are the code's own words (`STRAIT_BLESS=1 tests/run` rewrites
//! them), links lead somewhere, and what comments cite is there.

use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use prometheus::core::Collector;
use strait::admin::ADMIN_PATHS;
use strait::config::{Config, ENVOY_OPERATORS, LINE_FIELDS};
use strait::limits::LimitCollector;
use strait::metrics::Metrics;
use strait::outcome::{EndedBy, LogRate, Outcome};
use strait::upstream::{
    ConnectTimesCollector, EndpointCollector, EndpointTotalsCollector, IstioCollector,
};

#[test]
fn the_page_lists_every_outcome() {
    assert_section("docs/src/operate/outcomes.md", "outcomes", &outcomes());
}

#[test]
fn the_page_lists_every_field_of_a_line_beside_envoys_operator() {
    let rows = LINE_FIELDS.iter().map(|field| {
        let envoy = match field.envoy {
            "" => String::new(),
            operator => code(operator),
        };
        [code(field.key), cell(field.meaning), envoy]
    });
    let fields = table(["key", "meaning", "Envoy's operator"], rows);
    assert_section("docs/src/operate/outcomes.md", "fields", &fields);
}

#[test]
fn the_page_lists_every_operator_of_a_format() {
    let keys = |gives: &str| match LINE_FIELDS.iter().any(|field| field.key == gives) {
        true => code(gives),
        false => cell(gives),
    };
    let rows = ENVOY_OPERATORS
        .iter()
        .map(|operator| [code(&format!("%{}%", operator.name)), keys(operator.gives)]);
    let operators = table(["operator", "gives"], rows);
    assert_section("docs/src/operate/outcomes.md", "operators", &operators);
}

#[test]
fn the_page_lists_every_metric() {
    assert_section("docs/src/reference/metrics.md", "metrics", &metrics());
}

#[test]
fn the_page_lists_every_config_key() {
    assert_section("docs/src/reference/config.md", "config", &config());
}

#[test]
fn the_page_of_the_admin_api_has_every_path_with_its_method() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/operate/admin.md"));
    let page = page.unwrap();
    for path in ADMIN_PATHS {
        let row = format!("| `{} {}` |", path.method, path.path);
        assert!(page.contains(&row), "docs/src/operate/admin.md lacks {row}");
    }
    let rows =
        ["GET", "POST", "DELETE"].map(|method| page.matches(&format!("\n| `{method} /")).count());
    assert_eq!(
        rows.iter().sum::<usize>(),
        ADMIN_PATHS.len(),
        "a row of a path that is not there"
    );
}

/// The file `page` must have `content` in its section `name`, or gets it if `STRAIT_BLESS` is set.
pub fn assert_section(page: &str, name: &str, content: &str) {
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
        let ended_by = outcome.ended_by().map_or("a side", EndedBy::label);
        let logged = match outcome.log_rate() {
            LogRate::Never => "never",
            LogRate::Refusal => "as a refusal",
            LogRate::Always => "always",
        };
        [
            code(outcome.label()),
            flag,
            ended_by.to_owned(),
            logged.to_owned(),
            outcome.certainty().words().to_owned(),
            cell(outcome.meaning()),
            cell(outcome.look_at()),
        ]
    });
    let columns = [
        "Outcome",
        "Envoy's flag",
        "Ended by",
        "Logged",
        "Known",
        "Meaning",
        "Look at",
    ];
    table(columns, rows)
}

/// The metrics that strait registers itself. Add further ones here that are registered with
/// [`Metrics::register`].
fn metrics() -> String {
    let metrics = Metrics::new().unwrap();
    let described = metrics.descriptions().iter().map(|metric| {
        let labels = metric.labels.iter().map(|label| code(label));
        [metric.name, &join(labels), metric.help].map(str::to_owned)
    });
    let states: Box<dyn Collector> = Box::new(EndpointCollector::new(Default::default).unwrap());
    let totals = EndpointTotalsCollector::new(Default::default).unwrap();
    let limits = LimitCollector::new(Default::default).unwrap();
    let istio = IstioCollector::new(Default::default).unwrap();
    let connects = ConnectTimesCollector::new(Default::default).unwrap();
    let collectors = [
        states,
        Box::new(totals),
        Box::new(limits),
        Box::new(istio),
        Box::new(connects),
    ];
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

pub fn code(text: &str) -> String {
    format!("`{text}`")
}

pub fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}

pub fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
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

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let faults: Vec<_> = pages().iter().flat_map(Page::dead_links).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// mdBook leaves out what the summary does not list.
#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let summary = Page::read("docs/src/SUMMARY.md");
    let mut listed: Vec<_> = summary.links().map(|link| summary.resolve(link)).collect();
    let in_book =
        |path: &String| path.starts_with(BOOK) && path.ends_with(".md") && *path != summary.path;
    let mut written: Vec<_> = files().into_iter().filter(in_book).collect();
    listed.sort_unstable();
    written.sort_unstable();
    assert_eq!(listed, written);
}

/// A reader decides on the first screen whether to try it.
#[test]
fn the_readme_is_short_and_begins_with_the_ways_to_install() {
    let readme = Page::read("README.md").text;
    let lines = readme.lines().count();
    assert!(lines <= 180, "README.md has {lines} lines");
    let (first, _) = readme.split_once("## Where it fits").unwrap();
    for said in [
        "cargo demo",
        "cargo install",
        "docker run",
        "nothing is published",
    ] {
        assert!(first.contains(said), "{said}");
    }
    let rust = format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"));
    assert!(first.contains(&rust), "{rust}");
}

/// The words of the lexicon are few, so that a reader can know all of them.
#[test]
fn the_lexicon_defines_each_word_once_and_at_most_30_of_them() {
    let page = fs::read_to_string(root().join("docs/src/internals/lexicon.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let mut words: Vec<&str> = rows
        .filter_map(|row| row.split(" | ").next())
        .skip(1) // the heading
        .collect();
    let defined = words.len();
    assert!((10..=30).contains(&defined), "{defined} words");
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), defined, "a word is defined twice");
}

/// Comments, scripts and pages cite only documents that every reader has.
#[test]
fn every_document_that_a_file_cites_is_in_the_repository() {
    let files = files();
    let mut faults = Vec::new();
    // The examples below cite what is not there.
    for path in files.iter().filter(|path| *path != file!()) {
        let Ok(text) = fs::read_to_string(root().join(path)) else {
            continue; // Not text.
        };
        for (line, number) in text.lines().zip(1..) {
            let cited = cited_documents(line);
            let unknown = cited.filter(|cited| !is_known(cited, path, &files));
            faults.extend(unknown.map(|cited| format!("{path}:{number}: {cited}")));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Every config that a page shows is a whole one that loads, or a part of another kind of file.
#[test]
fn every_config_of_a_page_loads() {
    let mut configs = 0;
    for page in pages() {
        for block in page.text.split("```yaml\n").skip(1) {
            let (block, _) = block.split_once("```").unwrap();
            if block.starts_with("listeners:") {
                configs += 1;
                if let Err(problems) = Config::parse(block, &page.path) {
                    panic!("{}: {problems}\n{block}", page.path);
                }
            }
        }
    }
    assert!(configs >= 2, "only {configs} configs found");
}

/// The pages of the book.
const BOOK: &str = "docs/src/";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The repository's files, relative to its top, without what a build or an editor leaves there.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let name = path.to_str().expect("names are UTF-8").to_owned();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() && !is_ignored(&name) => folders.push(path),
                kind if kind.is_file() => found.push(name),
                _ => {}
            }
        }
    }
    found.sort_unstable();
    found
}

fn is_ignored(folder: &str) -> bool {
    [
        ".git",
        "target",
        "fuzz/target",
        "fuzz/corpus",
        "fuzz/artifacts",
    ]
    .contains(&folder)
}

fn pages() -> Vec<Page> {
    let paths = files();
    let pages = paths.iter().filter(|path| path.ends_with(".md"));
    pages.map(|path| Page::read(path)).collect()
}

/// A Markdown file.
struct Page {
    /// Relative to the repository's top.
    path: String,
    text: String,
    /// The text without code, in which brackets are no links.
    prose: String,
}

impl Page {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).unwrap();
        Self {
            path: path.to_owned(),
            prose: without_code(&text),
            text,
        }
    }

    /// The targets of its links that lead to other files, or to other places of itself.
    fn links(&self) -> impl Iterator<Item = &str> {
        let links = self.prose.split("](").skip(1);
        let links = links.filter_map(|rest| Some(rest.split_once(')')?.0));
        links.filter(|link| !link.contains("://"))
    }

    /// The file that `link` leads to, relative to the repository's top.
    fn resolve(&self, link: &str) -> String {
        let (path, _) = link.split_once('#').unwrap_or((link, ""));
        if path.is_empty() {
            return self.path.clone();
        }
        let mut parts: Vec<_> = self.path.split('/').collect();
        parts.pop();
        for part in path.split('/').filter(|part| *part != ".") {
            match part {
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts.join("/")
    }

    fn dead_links(&self) -> Vec<String> {
        let fault = |link: &str| {
            let target = self.resolve(link);
            let why = if !root().join(&target).exists() {
                "there is no such file"
            } else if self.path.starts_with(BOOK) && !target.starts_with(BOOK) {
                "the book has no such page"
            } else if link
                .split_once('#')
                .is_some_and(|(_, anchor)| !Self::read(&target).has(anchor))
            {
                "the page has no such heading"
            } else {
                return None;
            };
            Some(format!("{}: ({link}): {why}", self.path))
        };
        self.links().filter_map(fault).collect()
    }

    fn has(&self, anchor: &str) -> bool {
        headings(&self.text).any(|heading| slug(heading) == anchor)
    }
}

/// The lines outside of fenced blocks.
fn outside_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

fn without_code(text: &str) -> String {
    let lines = outside_fences(text).flat_map(|line| line.split('`').step_by(2).chain(["\n"]));
    lines.collect()
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    outside_fences(text).filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.trim())
    })
}

/// The anchor of a heading, as mdBook and GitHub make it.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter
            .is_alphanumeric()
            .then(|| letter.to_ascii_lowercase()),
    });
    kept.collect()
}

/// Texts that look like the path of a Markdown file, with its anchor if it has one.
fn cited_documents(line: &str) -> impl Iterator<Item = &str> {
    let words =
        line.split(|letter: char| !letter.is_ascii_alphanumeric() && !"._-/#".contains(letter));
    let words = words.map(|word| word.trim_end_matches('.'));
    let words = words.filter(|word| !word.starts_with("//")); // Of an address.
    words.filter(|word| {
        let (path, _) = word.split_once('#').unwrap_or((word, ""));
        path.len() > ".md".len() && path.ends_with(".md")
    })
}

/// Whether the file at `path` may cite `cited`: by the end of its path, or by the path from the file's own
/// folder.
fn is_known(cited: &str, path: &str, files: &[String]) -> bool {
    let (document, anchor) = cited.split_once('#').unwrap_or((cited, ""));
    let citing = Page {
        path: path.to_owned(),
        text: String::new(),
        prose: String::new(),
    };
    let from_here = citing.resolve(document);
    let end = format!("/{document}");
    let place = files
        .iter()
        .find(|file| **file == from_here || *file == document || file.ends_with(&end));
    let Some(place) = place else {
        return false;
    };
    anchor.is_empty() || Page::read(place).has(anchor)
}

#[test]
fn each_dead_link_is_seen() {
    let page = |path: &str, text: &str| Page {
        path: path.to_owned(),
        prose: without_code(text),
        text: text.to_owned(),
    };
    for (path, text, fault) in [
        (
            "docs/src/a.md",
            "[x](reference/config.md#top-level) [y](https://e.org/z)",
            "",
        ),
        (
            "docs/src/a.md",
            "`[x](nowhere.md)`\n```\n[x](nowhere.md)\n```\n",
            "",
        ),
        ("docs/src/a.md", "[x](nowhere.md)", "there is no such file"),
        (
            "docs/src/a.md",
            "[x](reference/config.md#bottom)",
            "the page has no such heading",
        ),
        (
            "docs/src/a.md",
            "[x](../../README.md)",
            "the book has no such page",
        ),
        ("README.md", "[x](docs/src/istio.md) [y](SECURITY.md)", ""),
    ] {
        let faults = page(path, text).dead_links().join("\n");
        assert!(
            faults.ends_with(fault) && faults.is_empty() == fault.is_empty(),
            "{text}: {faults}"
        );
    }
    assert_eq!(
        slug("`listeners[].tcp` & more, x_y"),
        "listenerstcp--more-x_y"
    );
}

#[test]
fn each_citation_of_what_is_not_there_is_seen() {
    let files = [
        "README.md",
        "config/kubernetes/README.md",
        "docs/src/istio.md",
    ]
    .map(str::to_owned);
    let known =
        |line: &str, path: &str| cited_documents(line).all(|cited| is_known(cited, path, &files));
    assert!(known(
        "see ../README.md, or README.md.",
        "config/kubernetes/base/strait.yaml"
    ));
    assert!(known("(`docs/src/istio.md`)", "src/lib.rs"));
    assert!(!known("(`notes.md` 3)", "src/lib.rs"));
    assert!(!known("(`../shared/notes.md`)", "src/lib.rs"));
    assert!(!known("(`docs/src/istio.md#no-such-rule`)", "src/lib.rs"));
}
