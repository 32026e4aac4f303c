//! The house rules that the compiler does not hold: imports point down only, `unsafe` has one room,
//! and no room grows into a hall.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The modules of the library from the bottom up. One may import from the groups above it in this
/// list, never from its own group nor from one below.
const LAYERS: &[&[&str]] = &[
    &[
        "clock",
        "drain",
        "file",
        "outcome",
        "server_name",
        "socket",
        "tls_version",
    ],
    &["metrics"],
    &["client_hello", "config", "proxy_header", "supervise"],
    &["limits"],
    &["log"],
    &["access_log"],
    &["upstream"],
    &["route"],
    &["admin", "proxy", "source"],
    &["app"],
    &["tools"],
    &["cli"],
    &["main"],
];

/// The one file that may hold `unsafe`, if it is there.
const UNSAFE_FILE: &str = "socket/sys.rs";

/// Lines of code, comments, blank lines and tests not counted.
const MAX_LINES: usize = 450;

/// Files that may be larger, and why.
const LARGER: &[(&str, usize)] = &[];

#[test]
fn imports_point_down_only() {
    let breaches: Vec<_> = sources().iter().flat_map(Source::breaches).collect();
    assert!(breaches.is_empty(), "\n{}", lines(&breaches));
}

#[test]
fn every_module_has_a_layer() {
    let sources = sources();
    let modules: BTreeSet<_> = sources.iter().filter_map(Source::module).collect();
    let listed: BTreeSet<_> = LAYERS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(modules, listed, "the modules of src/ and those of LAYERS");
}

#[test]
fn unsafe_stays_in_its_room() {
    let breaches: Vec<_> = sources()
        .iter()
        .filter(|source| source.path != Path::new(UNSAFE_FILE))
        .flat_map(Source::unsafe_uses)
        .collect();
    assert!(breaches.is_empty(), "\n{}", lines(&breaches));
}

#[test]
fn no_file_is_a_hall() {
    let mut sizes: Vec<_> = sources()
        .iter()
        .map(|source| (source.code_lines(), source.path.display().to_string()))
        .collect();
    sizes.sort_unstable();
    for (count, path) in sizes.iter().rev() {
        println!("{count:4} src/{path}");
    }
    let large = |(count, path): &&(usize, String)| *count > max_lines(path);
    let large: Vec<_> = sizes.iter().filter(large).collect();
    assert!(large.is_empty(), "too many lines of code: {large:?}");

    for (path, _) in LARGER {
        let needed = |(count, of): &(usize, String)| of == path && *count > MAX_LINES;
        assert!(sizes.iter().any(needed), "{path} need not be in LARGER");
    }
}

fn max_lines(path: &str) -> usize {
    let larger = LARGER.iter().find(|(larger, _)| *larger == path);
    larger.map_or(MAX_LINES, |(_, lines)| *lines)
}

/// The position of a module's group in [`LAYERS`].
fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|group| group.contains(&module))
}

fn lines(items: &[impl fmt::Display]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

/// Every file below src/, in a fixed order.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort_unstable();
    assert!(paths.len() > 1, "no sources below {}", root.display());
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        Source::new(path.strip_prefix(&root).unwrap(), &text)
    };
    paths.iter().map(read).collect()
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

/// A source file as tokens: neither comments nor strings look like code.
struct Source {
    /// Relative to src/.
    path: PathBuf,
    tokens: TokenStream,
}

/// A place that breaks a rule.
#[derive(Debug, PartialEq)]
struct Breach {
    path: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        write!(f, "src/{}:{line}: {what}", path.display())
    }
}

/// A path that starts at the root of the crate.
#[derive(Debug, PartialEq)]
struct Import {
    line: usize,
    /// The name after `crate::`; `*` when that imports the root itself.
    module: String,
}

impl Source {
    fn new(path: &Path, text: &str) -> Self {
        let tokens = text.parse().unwrap_or_else(|error| {
            panic!("src/{}: {error}", path.display());
        });
        Self {
            path: path.to_owned(),
            tokens,
        }
    }

    /// `["upstream", "health"]` for src/upstream/health.rs; nothing for the root, src/lib.rs.
    fn module_path(&self) -> Vec<String> {
        let path = self.path.with_extension("");
        let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        parts.filter(|part| part != "lib").collect()
    }

    /// The module below the root that this file belongs to.
    fn module(&self) -> Option<String> {
        self.module_path().into_iter().next()
    }

    fn breach(&self, line: usize, what: String) -> Breach {
        let path = self.path.clone();
        Breach { path, line, what }
    }

    /// Imports from the same layer or a higher one. The root may name every module.
    fn breaches(&self) -> Vec<Breach> {
        let Some(own) = self.module() else {
            return Vec::new();
        };
        let mut breaches = Vec::new();
        for Import { line, module } in self.imports() {
            let what = match (rank(&own), rank(&module)) {
                _ if module == own => continue,
                (Some(from), Some(to)) if to < from => continue,
                (Some(_), Some(_)) => format!("{own} imports {module}, which is not below it"),
                (None, _) => format!("{own} has no layer"),
                (_, None) => format!("{own} imports {module}, which has no layer"),
            };
            breaches.push(self.breach(line, what));
        }
        breaches
    }

    fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        // The binary sees the library from outside, under its name.
        let (depth, root) = match &self.module_path()[..] {
            [own] if own == "main" => (0, "strait"),
            path => (path.len(), "crate"),
        };
        find_imports(&self.tokens, depth, root, &mut imports);
        imports
    }

    fn unsafe_uses(&self) -> Vec<Breach> {
        let mut breaches = Vec::new();
        each_token(&self.tokens, &mut |token| {
            if is_ident(token, "unsafe") {
                let line = token.span().start().line;
                breaches.push(self.breach(line, "`unsafe` outside its room".to_owned()));
            }
        });
        breaches
    }

    /// Lines that hold code; those of test modules and comments do not count.
    fn code_lines(&self) -> usize {
        let mut lines = BTreeSet::new();
        count_lines(&self.tokens, &mut lines);
        lines.len()
    }
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if *ident == name)
}

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

fn each_token(tokens: &TokenStream, visit: &mut impl FnMut(&TokenTree)) {
    for token in tokens.clone() {
        visit(&token);
        if let TokenTree::Group(group) = &token {
            each_token(&group.stream(), visit);
        }
    }
}

/// What follows `NAME ::` at the start of `tokens`.
fn after_path_start<'a>(tokens: &'a [TokenTree], name: &str) -> Option<&'a [TokenTree]> {
    match tokens {
        [start, one, two, rest @ ..] if is_ident(start, name) => {
            (is_punct(one, ':') && is_punct(two, ':')).then_some(rest)
        }
        _ => None,
    }
}

/// Finds the paths that start at the crate's root, as `root::…` or through `super`s, in code that
/// lies `depth` modules below it.
fn find_imports(tokens: &TokenStream, depth: usize, root: &str, into: &mut Vec<Import>) {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    let mut at = 0;
    while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
        at += 1;
        match rest {
            [root_name, word, ..] if is_ident(root_name, root) && is_ident(word, "as") => {
                let line = root_name.span().start().line;
                let module = "*".to_owned();
                into.push(Import { line, module });
            }
            [keyword, TokenTree::Ident(_), TokenTree::Group(body), ..]
                if is_ident(keyword, "mod") && body.delimiter() == Delimiter::Brace =>
            {
                find_imports(&body.stream(), depth + 1, root, into);
                at += 2;
            }
            [TokenTree::Group(group), ..] => {
                find_imports(&group.stream(), depth, root, into);
            }
            _ => {
                let (mut left, mut path) = (depth, rest);
                while let Some(rest) = after_path_start(path, "super") {
                    (left, path) = (left.wrapping_sub(1), rest);
                    // Each `super` is looked at once, as the start of its chain.
                    at += 3;
                }
                let climbed = left != depth;
                if climbed && left == 0 {
                    push_names(path, into);
                } else if let Some(path) = after_path_start(rest, root) {
                    push_names(path, into);
                }
            }
        }
    }
}

/// The first names of a path or of a `{…}` of paths.
fn push_names(path: &[TokenTree], into: &mut Vec<Import>) {
    match path {
        [TokenTree::Group(group), ..] => {
            let items: Vec<_> = group.stream().into_iter().collect();
            for item in items.split(|token| is_punct(token, ',')) {
                push_names(item, into);
            }
        }
        [TokenTree::Ident(name), ..] if name != "self" => into.push(Import {
            line: name.span().start().line,
            module: name.to_string(),
        }),
        [token, ..] => into.push(Import {
            line: token.span().start().line,
            module: "*".to_owned(),
        }),
        [] => {}
    }
}

fn count_lines(tokens: &TokenStream, lines: &mut BTreeSet<usize>) {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    let mut at = 0;
    while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
        at += skipped_tokens(rest).unwrap_or_else(|| {
            let [token, ..] = rest else { return 1 };
            let span = token.span();
            if let TokenTree::Group(group) = token {
                lines.extend([span.start().line, span.end().line]);
                count_lines(&group.stream(), lines);
            } else {
                lines.extend(span.start().line..=span.end().line);
            }
            1
        });
    }
}

/// How many tokens at the start are a doc comment or a test module.
fn skipped_tokens(tokens: &[TokenTree]) -> Option<usize> {
    match tokens {
        [hash, bang, TokenTree::Group(group), ..] if is_punct(hash, '#') && is_punct(bang, '!') => {
            group.stream().to_string().starts_with("doc").then_some(3)
        }
        [hash, TokenTree::Group(group), rest @ ..] if is_punct(hash, '#') => {
            match (group.stream().to_string().replace(' ', ""), rest) {
                (attribute, _) if attribute.starts_with("doc=") => Some(2),
                (attribute, [keyword, _, TokenTree::Group(_), ..])
                    if attribute == "cfg(test)" && is_ident(keyword, "mod") =>
                {
                    Some(5)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

mod can_fail {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::new(Path::new(path), text)
    }

    fn breaches(path: &str, text: &str) -> Vec<(usize, String)> {
        let breaches = source(path, text).breaches();
        breaches.into_iter().map(|b| (b.line, b.what)).collect()
    }

    #[test]
    fn an_import_upwards_is_a_breach_in_every_spelling() {
        let expected = [(1, "config imports route, which is not below it".to_owned())];
        for (path, text) in [
            ("config.rs", "use crate::route::RouteTable;"),
            ("config.rs", "use crate::{outcome, route::{self, Hint}};"),
            (
                "config.rs",
                "use crate::{route as r, server_name::ServerName};",
            ),
            ("config.rs", "fn f() { crate::route::find(|| {}) }"),
            ("config.rs", "m! { a => $crate::route::b }"),
            ("config.rs", "use super::route;"),
            ("config/file.rs", "use super::super::route::RouteTable;"),
            (
                "config/file.rs",
                "use super::{File, super_x}; use super::super::route;",
            ),
            ("config.rs", "mod tests { use super::super::route; }"),
            (
                "config.rs",
                "#[cfg(test)] mod tests { use crate::route::x; }",
            ),
        ] {
            assert_eq!(breaches(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn neighbours_and_strangers_are_breaches_too() {
        let neighbour = "proxy imports source, which is not below it";
        let found = breaches("proxy/relay.rs", "\n\nuse crate::source::dns;");
        assert_eq!(found, [(3, neighbour.to_owned())]);
        let stranger = "proxy imports util, which has no layer";
        let found = breaches("proxy.rs", "use crate::util::x;");
        assert_eq!(found, [(1, stranger.to_owned())]);
        let root = "proxy imports *, which has no layer";
        for text in ["use crate::*;", "use crate as all;", "use crate::{self};"] {
            assert_eq!(breaches("proxy.rs", text), [(1, root.to_owned())], "{text}");
        }
        let found = breaches("util.rs", "use crate::config::x;");
        assert_eq!(found, [(1, "util has no layer".to_owned())]);
        assert_eq!(rank("util"), None);
    }

    #[test]
    fn the_way_down_is_free() {
        for (path, text) in [
            (
                "route.rs",
                "use crate::upstream::Upstream; use crate::server_name as n;",
            ),
            (
                "route/hint.rs",
                "use super::{Route, RouteTable}; use crate::route::Route;",
            ),
            ("config.rs", "mod tests { use super::*; }"),
            (
                "config.rs",
                "pub(crate) fn f() { /* crate::app */ } /// [`crate::app`]\nstruct A;",
            ),
            ("config.rs", "const A: &str = \"use crate::app;\";"),
            ("main.rs", "fn main() { strait::cli::run() }"),
            ("lib.rs", "pub mod app; pub mod config;"),
        ] {
            assert_eq!(breaches(path, text), [], "{path}: {text}");
        }
    }

    #[test]
    fn the_binary_is_seen_to_import() {
        let main = source("main.rs", "fn main() { strait::cli::run() }");
        let [Import { module, .. }] = &main.imports()[..] else {
            panic!("{:?}", main.imports());
        };
        assert_eq!(module, "cli");
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        let text = "// unsafe\n#![deny(unsafe_code)]\nfn f() { \"unsafe\"; unsafe { g() } }";
        let found = source("proxy.rs", text).unsafe_uses();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
        assert_eq!(
            found[0].to_string(),
            "src/proxy.rs:3: `unsafe` outside its room"
        );
    }

    #[test]
    fn lines_of_code_are_counted_as_a_reader_would() {
        let text = r#"//! The room.

use a::b; // three

/// Doc.
fn f(
    a: A,
) -> B {
    // Comment.
    "two
    lines"
}

#[cfg(test)]
mod tests {
    fn not_counted() {}
}
"#;
        assert_eq!(source("a.rs", text).code_lines(), 7);
    }
}
