//! A rule of the source tree: a type name stands for one thing. A name may stand twice only if each of its
//! types is private to its file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::layering::collect;

/// The names that more than one file has, each of them private. The list may only become shorter.
const DOUBLES: [&str; 4] = ["Holder", "Inner", "Seen", "Selector"];

/// Files whose types are not counted: tests, and the stubs of a build without Kubernetes.
const NOT_COUNTED: [&str; 3] = ["tests.rs", "fixture.rs", "absent.rs"];

/// The declaration of a type at the top level of a file.
#[derive(Debug, PartialEq)]
struct Declared<'a> {
    name: &'a str,
    private: bool,
}

/// The types that a file declares. Types in functions, `impl` blocks and modules in the file are indented,
/// so they do not count.
fn declared(text: &str) -> impl Iterator<Item = Declared<'_>> {
    text.lines().filter_map(|line| {
        let private = !line.starts_with("pub");
        let mut words = line.split(' ').skip_while(|word| {
            word.starts_with("pub") || ["in", "unsafe"].contains(word) || word.ends_with(')')
        });
        let declares = |word| ["struct", "enum", "union", "trait", "type"].contains(&word);
        words.next().filter(|word| declares(word))?;
        let rest = words.next()?;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        Some(Declared { name, private })
    })
}

fn is_counted(path: &Path) -> bool {
    let is_test = path.components().any(|part| part.as_os_str() == "tests");
    !is_test && !NOT_COUNTED.iter().any(|name| path.ends_with(name))
}

#[test]
fn a_type_name_stands_for_one_thing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    let read = |path: PathBuf| (fs::read_to_string(&path).unwrap(), path);
    let files: Vec<_> = paths
        .into_iter()
        .filter(|path| is_counted(path))
        .map(read)
        .collect();

    let mut types: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (text, path) in &files {
        for Declared { name, private } in declared(text) {
            let path = path.strip_prefix(&root).unwrap();
            types.entry(name).or_default().push((path, private));
        }
    }
    assert!(types.len() > 400, "only {} types found", types.len());

    let doubles = types.iter().filter(|(_, files)| files.len() > 1);
    let (private, public): (Vec<_>, Vec<_>) =
        doubles.partition(|(_, files)| files.iter().all(|(_, private)| *private));
    assert!(
        public.is_empty(),
        "public types with a name that is taken: {public:#?}"
    );
    let private: Vec<_> = private.into_iter().map(|(name, _)| *name).collect();
    assert_eq!(
        private, DOUBLES,
        "private types with the same name, and the list of them"
    );
}

#[test]
fn every_form_of_a_declaration_is_found() {
    for (line, name, private) in [
        ("struct Inner;", "Inner", true),
        ("struct Group(Box<[u8]>);", "Group", true),
        ("enum Seen {", "Seen", true),
        ("pub struct Entry<'a> {", "Entry", false),
        ("pub(super) trait Object: Sized {", "Object", false),
        ("pub(in crate::proxy) struct Cache(u8);", "Cache", false),
        ("pub(crate) type Written = Option<u8>;", "Written", false),
        ("pub unsafe trait Plain {", "Plain", false),
    ] {
        let found: Vec<_> = declared(line).collect();
        assert_eq!(found, [Declared { name, private }], "{line}");
    }
    for line in [
        "    type Target = str;",
        "pub use registry::Upstreams;",
        "impl Drop for Inner {",
    ] {
        assert_eq!(declared(line).next(), None, "{line}");
    }
}
