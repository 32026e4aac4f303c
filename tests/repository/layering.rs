//! Rules of the source tree that the compiler does not hold: imports point down only, one file holds
//! `unsafe`, and no file grows without bound.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The folders of src/ that have an order, each with its modules from the bottom up. A module may import
/// from the groups above its own in the list of its folder: not from its own group, not from a group below
/// it, and not from the file that declares the folder's modules.
///
/// A module that is a file and a folder stands once, in the list of the folder around it. A module `tests`
/// counts as a part of the file that declares it.
const LAYERS: &[(&str, &[&[&str]])] = &[
    (
        "",
        &[
            &[
                "clock",
                "drain",
                "file",
                "names",
                "outcome",
                "place",
                "server_name",
                "shared_map",
                "socket",
                "terminal",
                "tls_version",
                "version",
            ],
            &["metrics"],
            &[
                "client_hello",
                "config",
                "proxy_header",
                "supervise",
                "verdict",
            ],
            &["limits"],
            &["log"],
            &["access_log"],
            &["upstream"],
            &["route"],
            &["kept_hellos", "source_book"],
            &["open_connections", "recent_connections", "traces"],
            &["admin", "proxy", "source"],
            &["app"],
            &["doctor", "tools"],
            &["cli"],
            &["main"],
        ],
    ),
    (
        "doctor",
        &[
            &["certificate", "checks", "text"],
            &["file"],
            &["bundle", "identity", "objects"],
            &["manifests", "seen", "workload_api"],
            &["probe"],
            &["call", "judge", "view"],
            &["gather"],
        ],
    ),
    (
        "doctor/judge",
        &[
            &["answers"],
            &[
                "caller", "endpoint", "gateway", "objects", "service", "view",
            ],
            &["trust"],
        ],
    ),
    (
        "config",
        &[
            &["bounds"],
            &["form"],
            &["checked"],
            &["changes", "file", "restart", "samples"],
            &["reference", "removed", "renamed", "resolve"],
            &["load"],
            &["cases", "source_file"],
        ],
    ),
    (
        "config/checked",
        &[
            &[
                "dns",
                "limits",
                "line_fields",
                "log_filter",
                "origin",
                "route_match",
                "tcp",
            ],
            &[
                "gateway_policy",
                "line_pattern",
                "route",
                "sources",
                "upstream",
            ],
            &["process", "route_list"],
            &["listener"],
            &["kubernetes"],
        ],
    ),
    (
        "config/file",
        &[
            &["hosts", "words"],
            &["addresses", "alpn"],
            &["common"],
            &["kubernetes"],
        ],
    ),
    ("config/file/kubernetes", &[&["words"]]),
    (
        "config/form",
        &[
            &["problems"],
            &["tree"],
            &["shape"],
            &["decode"],
            &["section", "units", "write"],
            &["containers"],
        ],
    ),
    (
        "config/resolve",
        &[
            &["claims", "findings", "limits", "machine"],
            &["binds", "sources"],
            &["upstreams"],
            &["listeners"],
            &["kubernetes"],
        ],
    ),
    (
        "limits",
        &[
            &["budget", "collector", "hysteresis", "rate"],
            &["limiter", "memory", "overload", "pruned"],
            &["sources"],
            &["scopes"],
        ],
    ),
    (
        "proxy",
        &[
            &[
                "age",
                "conduct",
                "counts",
                "hellos",
                "listener",
                "pauses",
                "refusal",
                "sockets",
                "survey",
                "time_limit",
            ],
            &[
                "ending", "in_force", "liveness", "opening", "replay", "starttls",
            ],
            &["shared"],
            &["dial", "seat"],
            &["seats"],
            &["worker"],
            &["preread", "proxy_protocol", "refuse", "ticket"],
            &["record_parts"],
            &["record"],
            &["states"],
            &["review", "source_wait"],
            &["connect", "relay"],
            &["corridor"],
            &["task"],
            &["footprint", "threads"],
        ],
    ),
    (
        "proxy/relay",
        &[
            &["delivery", "pace"],
            &["peer"],
            &["held"],
            &["copy"],
            &["splice"],
            &["flow"],
        ],
    ),
    ("proxy/threads", &[&["placing", "surveys"], &["accept"]]),
    (
        "verdict",
        &[
            &["certificate", "names", "records", "server_hello", "side"],
            &["evidence", "flights"],
            &["judge", "lengths"],
            &["watch"],
            &["table"],
        ],
    ),
    ("proxy/worker", &[&["alpn_offers", "bulk_queue", "pipes"]]),
    ("source", &[&["address_kind"], &["dns"], &["kubernetes"]]),
    (
        "source/dns",
        &[
            &["address_policy", "schedule"],
            &["answer"],
            &["resolver"],
            &["round"],
            &["service"],
            &["lookup"],
            &["name", "task"],
        ],
    ),
    (
        "source/kubernetes",
        &[
            &["discovered", "ports", "records"],
            &["mailbox"],
            &["absent", "cluster"],
            &["api_names"],
            &["saved", "status"],
            &["gateways"],
            &["translate"],
            &["watch"],
        ],
    ),
    (
        "source/kubernetes/cluster",
        &[
            &["entry_hosts", "index", "kinds", "strings", "table"],
            &["nameless"],
            &["unreadable"],
            &["record"],
            &["store"],
            &["concern"],
        ],
    ),
    (
        "source/kubernetes/gateways",
        &[
            &["names", "references", "translated"],
            &["file_routes"],
            &["listeners"],
            &["backends", "certificates", "owners", "reach"],
            &["attach"],
            &["tables"],
            &["left_out"],
            &["report"],
        ],
    ),
    (
        "source/kubernetes/records",
        &[&["labels"], &["entry", "gateway", "wishes"], &["mesh"]],
    ),
    (
        "source/kubernetes/saved",
        &[
            &["age", "metadata", "schedule", "store"],
            &["connections"],
            &["entries", "istio_kinds", "kubernetes_kinds"],
            &["object"],
            &["format"],
        ],
    ),
    (
        "source/kubernetes/status",
        &[
            &["condition", "lease", "left_out"],
            &["notice"],
            &["statuses"],
            &["complaints", "merge", "queue"],
            &["object"],
            &["events", "pod_event"],
            &["write"],
        ],
    ),
    (
        "source/kubernetes/translate",
        &[
            &["dns_names", "host", "mesh", "topology", "wishes"],
            &["translation"],
            &["export", "gateway_parts", "rules"],
            &["mtls"],
            &["why"],
            &["choice"],
            &["pods", "workloads"],
            &["others"],
            &["context"],
            &["hosts", "members"],
            &["service"],
            &["objects"],
        ],
    ),
    (
        "source/kubernetes/watch",
        &[
            &["copies", "error", "needs", "outage"],
            &["client"],
            &["look", "timing"],
            &["served"],
            &["object"],
            &["connections", "entry"],
            &["istio", "mesh"],
            &["read"],
            &["ask"],
            &["item"],
            &["reread"],
            &["input", "other_kinds", "pace", "restore"],
            &["dns_tasks", "own_kinds"],
            &["counts"],
            &["save"],
            &["other_states"],
            &["driver"],
            &["follow"],
            &["other_clusters"],
        ],
    ),
];

/// The modules of src/ in which each folder must have its list in [`LAYERS`].
const ORDERED: &[&str] = &["config", "limits", "proxy", "source"];

/// Imports that break the order, each as two modules. The list may only become shorter.
const TOLERATED: &[(&str, &str)] = &[];

/// The files that may hold `unsafe`, if they are there: the system calls, and the name of the symbol by which the
/// allocator finds its settings.
const UNSAFE_FILES: [&str; 2] = ["socket/sys.rs", "main.rs"];

/// Lines of code, comments, blank lines and tests not counted.
const MAX_LINES: usize = 450;

/// Files that may be larger, and why.
const LARGER: &[(&str, usize)] = &[];

#[test]
fn imports_point_down_only() {
    let breaches = Tree::read().breaches();
    let is_tolerated = |breach: &&Breach| TOLERATED.iter().any(|edge| breach.is(edge));
    let (tolerated, breaches): (Vec<_>, Vec<_>) = breaches.iter().partition(is_tolerated);
    assert!(breaches.is_empty(), "\n{}", lines(&breaches));
    for edge in TOLERATED {
        let needed = tolerated.iter().any(|breach| breach.is(edge));
        assert!(needed, "{edge:?} need not be in TOLERATED");
    }
}

#[test]
fn every_module_has_a_layer() {
    let tree = Tree::read();
    for (folder, layers) in LAYERS {
        let listed: BTreeSet<_> = layers.concat().into_iter().map(str::to_owned).collect();
        let found = tree.modules_in(folder);
        assert_eq!(found, listed, "the modules of src/{folder} and its list");
    }
    let missing: Vec<_> = tree
        .modules
        .iter()
        .filter(|path| path.first().is_some_and(|top| ORDERED.contains(&&**top)))
        .map(|path| path.join("/"))
        .filter(|folder| !tree.modules_in(folder).is_empty() && layers(folder).is_none())
        .collect();
    assert!(missing.is_empty(), "folders without a list: {missing:?}");
}

#[test]
fn unsafe_stays_in_its_file() {
    let tree = Tree::read();
    let breaches: Vec<_> = tree
        .sources
        .iter()
        .filter(|source| {
            !UNSAFE_FILES
                .iter()
                .any(|file| source.path == Path::new(file))
        })
        .flat_map(Source::unsafe_uses)
        .collect();
    assert!(breaches.is_empty(), "\n{}", lines(&breaches));
}

#[test]
fn no_file_is_too_large() {
    let tree = Tree::read();
    let mut sizes: Vec<_> = tree
        .sources
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

/// The groups of a folder of src/, if it has a list.
fn layers(folder: &str) -> Option<&'static [&'static [&'static str]]> {
    let found = LAYERS.iter().find(|(name, _)| *name == folder);
    found.map(|(_, layers)| *layers)
}

fn lines(items: &[impl fmt::Display]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

/// The names on the way from the root of the crate to a module: `["upstream", "health"]` for
/// src/upstream/health.rs.
type ModulePath = Vec<String>;

/// All files below src/.
struct Tree {
    sources: Vec<Source>,
    /// The modules that are files.
    modules: BTreeSet<ModulePath>,
}

impl Tree {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut paths = Vec::new();
        collect(&root, &mut paths);
        paths.sort_unstable();
        assert!(paths.len() > 1, "no sources below {}", root.display());
        let read = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap();
            Source::new(path.strip_prefix(&root).unwrap(), &text)
        };
        Self::new(paths.iter().map(read).collect())
    }

    fn new(sources: Vec<Source>) -> Self {
        let modules = sources.iter().map(Source::module).collect();
        Self { sources, modules }
    }

    /// The names of the modules that a folder holds.
    fn modules_in(&self, folder: &str) -> BTreeSet<String> {
        let folder: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
        let is_inside = |path: &&ModulePath| {
            path.len() > folder.len() && path.iter().zip(&folder).all(|(a, b)| a == b)
        };
        let inside = self.modules.iter().filter(is_inside);
        inside.map(|path| path[folder.len()].clone()).collect()
    }

    fn breaches(&self) -> Vec<Breach> {
        let of_source = |source: &Source| {
            let imports = source.imports(&self.modules);
            let breach = |import: &Import| self.breach(source, import);
            let mut breaches: Vec<_> = imports.iter().filter_map(breach).collect();
            breaches.dedup();
            breaches
        };
        self.sources.iter().flat_map(of_source).collect()
    }

    /// The rule that an import breaks, if it breaks one.
    fn breach(&self, source: &Source, import: &Import) -> Option<Breach> {
        let from = source.module();
        let to = self.module_of(&import.path);
        let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        let own = from.get(common)?;
        let folder = from[..common].join("/");
        let layers = layers(&folder)?;
        let rank = |module: &str| layers.iter().position(|group| group.contains(&module));
        let what = match to.get(common) {
            None => format!("{own} imports the module that declares it"),
            Some(other) => match (rank(own), rank(other)) {
                (Some(from), Some(to)) if to < from => return None,
                (Some(_), Some(_)) => format!("{own} imports {other}, which is not below it"),
                (None, _) => format!("{own} has no layer"),
                (_, None) => format!("{own} imports {other}, which has no layer"),
            },
        };
        Some(Breach {
            edge: (from.join("/"), to.join("/")),
            ..source.breach(import.line, what)
        })
    }

    /// The module that holds what `path` names.
    fn module_of<'a>(&self, path: &'a [String]) -> &'a [String] {
        let starts = (0..=path.len()).rev().map(|end| &path[..end]);
        let mut known = starts.filter(|start| self.modules.contains(*start));
        known.next().unwrap_or_default()
    }
}

/// Adds the Rust files below `dir` to `into`.
pub(super) fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
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
    /// The module that imports, and the one that it imports.
    edge: (String, String),
}

impl Breach {
    fn is(&self, (from, to): &(&str, &str)) -> bool {
        self.edge.0 == *from && self.edge.1 == *to
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path, line, what, ..
        } = self;
        write!(f, "src/{}:{line}: {what}", path.display())
    }
}

/// A path in the code that leads into this crate.
#[derive(Debug, PartialEq)]
struct Import {
    line: usize,
    /// The names from the root of the crate on.
    path: Vec<String>,
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

    /// The module that this file is, without `tests` and what lies below it; empty for src/lib.rs.
    fn module(&self) -> ModulePath {
        let path = self.file_module();
        path.into_iter()
            .take_while(|part| part != "tests")
            .collect()
    }

    fn file_module(&self) -> ModulePath {
        let path = self.path.with_extension("");
        let parts = path.iter().map(|part| part.to_string_lossy().into_owned());
        parts.filter(|part| part != "lib").collect()
    }

    fn breach(&self, line: usize, what: String) -> Breach {
        Breach {
            path: self.path.clone(),
            line,
            what,
            edge: Default::default(),
        }
    }

    fn imports(&self, modules: &BTreeSet<ModulePath>) -> Vec<Import> {
        let module = self.file_module();
        // The binary sees the library from outside, under its name.
        let root = match &module[..] {
            [own] if own == "main" => "strait",
            _ => "crate",
        };
        let mut finder = Finder {
            root,
            modules,
            imports: Vec::new(),
        };
        finder.find(&self.tokens, &module);
        finder.imports
    }

    fn unsafe_uses(&self) -> Vec<Breach> {
        let mut breaches = Vec::new();
        each_token(&self.tokens, &mut |token| {
            if is_ident(token, "unsafe") {
                let line = token.span().start().line;
                breaches.push(self.breach(line, "`unsafe` outside its file".to_owned()));
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

/// The tokens after a `::` at the start of `tokens`.
fn after_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [one, two, rest @ ..] if is_punct(one, ':') && is_punct(two, ':') => Some(rest),
        _ => None,
    }
}

/// Finds the paths that lead into this crate: those that start with its name, with `self` or `super`, or
/// with a module of the module around them.
struct Finder<'a> {
    root: &'a str,
    modules: &'a BTreeSet<ModulePath>,
    imports: Vec<Import>,
}

impl Finder<'_> {
    /// Finds the paths in the code of `module`.
    fn find(&mut self, tokens: &TokenStream, module: &[String]) {
        let tokens: Vec<_> = tokens.clone().into_iter().collect();
        let mut at = 0;
        while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
            at += self.step(rest, module);
            // The rest of a path is no start of another.
            while let Some([TokenTree::Ident(_), ..]) = tokens.get(at..).and_then(after_colons) {
                at += 3;
            }
        }
    }

    /// Looks at the start of `tokens`. Returns how many of them that was.
    fn step(&mut self, tokens: &[TokenTree], module: &[String]) -> usize {
        match tokens {
            [root, word, ..] if is_ident(root, self.root) && is_ident(word, "as") => {
                self.push(root, Vec::new());
            }
            [keyword, TokenTree::Ident(name), TokenTree::Group(body), ..]
                if is_ident(keyword, "mod") && body.delimiter() == Delimiter::Brace =>
            {
                self.find(&body.stream(), &child(module, &name.to_string()));
                return 3;
            }
            // A visibility, as `pub(in crate::proxy)`, takes nothing from the module that it names.
            [public, TokenTree::Group(_), ..] if is_ident(public, "pub") => return 2,
            [TokenTree::Group(group), ..] => self.find(&group.stream(), module),
            [start @ TokenTree::Ident(name), rest @ ..] => {
                if let Some(rest) = after_colons(rest) {
                    let name = name.to_string();
                    let base = match &*name {
                        name if name == self.root => Some(Vec::new()),
                        "self" => Some(module.to_vec()),
                        "super" => Some(parent(module)),
                        name => Some(child(module, name)).filter(|it| self.modules.contains(it)),
                    };
                    if let Some(base) = base {
                        self.leaves(start, rest, &base);
                    }
                }
            }
            _ => {}
        }
        1
    }

    /// Notes the paths that go on from `base` with `tokens`: more names, or a `{…}` of paths.
    fn leaves(&mut self, start: &TokenTree, tokens: &[TokenTree], base: &[String]) {
        match tokens {
            [TokenTree::Group(group), ..] => {
                let items: Vec<_> = group.stream().into_iter().collect();
                for item in items.split(|token| is_punct(token, ',')) {
                    if let [first, ..] = item {
                        self.leaves(first, item, base);
                    }
                }
            }
            [TokenTree::Ident(name), rest @ ..] => {
                let path = match &*name.to_string() {
                    "super" => parent(base),
                    "self" => base.to_vec(),
                    name => child(base, name),
                };
                match after_colons(rest) {
                    Some(rest) => self.leaves(start, rest, &path),
                    None => self.push(start, path),
                }
            }
            _ => self.push(start, base.to_vec()),
        }
    }

    fn push(&mut self, start: &TokenTree, path: Vec<String>) {
        let line = start.span().start().line;
        self.imports.push(Import { line, path });
    }
}

fn child(module: &[String], name: &str) -> ModulePath {
    [module, &[name.to_owned()]].concat()
}

fn parent(module: &[String]) -> ModulePath {
    let above = module.split_last();
    above.map(|(_, above)| above.to_vec()).unwrap_or_default()
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

/// Number of tokens at the start that are a doc comment or a test module.
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

    /// The modules that the examples import.
    const OTHERS: &[&str] = &[
        "lib.rs",
        "app.rs",
        "cli.rs",
        "config.rs",
        "config/form.rs",
        "route.rs",
        "upstream.rs",
        "source.rs",
        "outcome.rs",
        "server_name.rs",
        "proxy.rs",
        "proxy/corridor.rs",
        "proxy/record.rs",
        "proxy/relay.rs",
        "proxy/relay/copy.rs",
        "proxy/relay/flow.rs",
        "proxy/worker.rs",
    ];

    fn source(path: &str, text: &str) -> Source {
        Source::new(Path::new(path), text)
    }

    fn breaches(path: &str, text: &str) -> Vec<(usize, String)> {
        let others = OTHERS.iter().filter(|other| **other != path);
        let mut sources: Vec<_> = others.map(|other| source(other, "")).collect();
        sources.push(source(path, text));
        let breaches = Tree::new(sources).breaches();
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
                "use super::form::super_x; use super::super::route;",
            ),
            ("config.rs", "mod tests { use super::super::route; }"),
            (
                "config.rs",
                "#[cfg(test)] mod tests { use crate::route::x; }",
            ),
            ("config/tests.rs", "use super::super::route::x;"),
        ] {
            assert_eq!(breaches(path, text), expected, "{path}: {text}");
        }
    }

    #[test]
    fn an_import_upwards_between_files_of_a_module_is_a_breach_in_every_spelling() {
        let expected = [(
            1,
            "worker imports corridor, which is not below it".to_owned(),
        )];
        for text in [
            "use super::corridor::serve;",
            "use super::{corridor::{self, x}, Listener as _};",
            "use crate::proxy::corridor;",
            "use self::super::corridor;",
            "fn f() { super::corridor::serve() }",
            "mod tests { use super::super::corridor::x; }",
        ] {
            let found = breaches("proxy/worker.rs", text);
            let found: Vec<_> = found
                .into_iter()
                .filter(|(_, what)| !what.ends_with("declares it"))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
        let found = breaches("proxy/worker/pipes.rs", "use super::super::relay::Relay;");
        let upwards = "worker imports relay, which is not below it";
        assert_eq!(found, [(1, upwards.to_owned())]);
        let found = breaches("proxy/relay/copy.rs", "use super::flow::Flow;");
        let upwards = "copy imports flow, which is not below it";
        assert_eq!(found, [(1, upwards.to_owned())]);
    }

    #[test]
    fn a_module_that_imports_its_parent_makes_a_circle() {
        let parent = [(1, "relay imports the module that declares it".to_owned())];
        for text in [
            "use super::Shared;",
            "use crate::proxy::start;",
            "fn f() { super::f() }",
        ] {
            assert_eq!(breaches("proxy/relay.rs", text), parent, "{text}");
        }
        let child = "use self::copy::x; use copy::{y, z}; fn f() { flow::poll(); a.flow() }";
        assert_eq!(breaches("proxy/relay.rs", child), []);
    }

    #[test]
    fn neighbours_and_strangers_are_breaches_too() {
        let neighbour = "proxy imports source, which is not below it";
        let found = breaches("proxy/relay.rs", "\n\nuse crate::source::dns;");
        assert_eq!(found, [(3, neighbour.to_owned())]);
        let root = "proxy imports the module that declares it";
        for text in [
            "use crate::*;",
            "use crate as all;",
            "use crate::{self};",
            "use crate::util::x;",
        ] {
            assert_eq!(breaches("proxy.rs", text), [(1, root.to_owned())], "{text}");
        }
        let found = breaches("util.rs", "use crate::config::x;");
        assert_eq!(found, [(1, "util has no layer".to_owned())]);
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
            (
                "proxy/corridor.rs",
                "use super::{record::R, worker}; use crate::proxy::relay::copy::C;",
            ),
            (
                "proxy/relay/flow.rs",
                "use super::copy; use super::super::worker::W;",
            ),
            ("proxy/relay/tests.rs", "use super::*; use super::copy::C;"),
            (
                "proxy/worker/pipes.rs",
                "pub(in crate::proxy) struct A { pub(super) b: B }",
            ),
            (
                "proxy/corridor.rs",
                "use tokio::source::route; mod tests { use super::*; }",
            ),
        ] {
            assert_eq!(breaches(path, text), [], "{path}: {text}");
        }
    }

    #[test]
    fn the_binary_is_seen_to_import() {
        let main = source("main.rs", "fn main() { strait::cli::run() }");
        let [Import { path, .. }] = &main.imports(&BTreeSet::new())[..] else {
            panic!("no import, or more than one");
        };
        assert_eq!(path[..], ["cli", "run"]);
    }

    #[test]
    fn unsafe_is_found_in_code_only() {
        let text = "// unsafe\n#![deny(unsafe_code)]\nfn f() { \"unsafe\"; unsafe { g() } }";
        let found = source("proxy.rs", text).unsafe_uses();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
        assert_eq!(
            found[0].to_string(),
            "src/proxy.rs:3: `unsafe` outside its file"
        );
    }

    #[test]
    fn lines_of_code_are_counted_as_a_reader_would() {
        let text = r#"//! The file.

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
