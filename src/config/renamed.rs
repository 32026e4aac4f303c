//! Keys that have a new name. A file with the old name is read as if it had the new one, with a warning.

use super::form::problems::{Complaint, KeyPlace, Problems};
use super::form::tree::{Node, Value};

/// The keys of a section with their values.
type SectionEntries = [(Node, Node)];

/// A key that has a new name, in the sections that it belongs to.
#[derive(Debug)]
pub(super) struct Renamed {
    /// The path of its section. `*` stands for each item of a list, and for each name of a map.
    section: &'static [&'static str],
    old: &'static str,
    new: &'static str,
    /// The version that refuses the old name.
    until: &'static str,
}

/// Every key that has a new name. `docs/src/operate/versions.md` says how long an old name is accepted.
pub(super) const RENAMED: &[Renamed] = &[];

/// Gives keys with an old name their new one, and notes a warning for each. If a section has both names, the
/// old one stays, and is refused as an unknown key.
pub(super) fn rename(root: &mut Node, renamed: &[Renamed], warnings: &mut Problems) {
    for one in renamed {
        in_sections(
            root,
            &KeyPlace::start(),
            one.section,
            &mut |entries, place| {
                one.apply(entries, place, warnings);
            },
        );
    }
}

impl Renamed {
    fn apply(&self, entries: &mut SectionEntries, section: &KeyPlace, warnings: &mut Problems) {
        let is = |key: &Node, name: &str| matches!(&key.value, Value::Text(text) if text == name);
        if entries.iter().any(|(key, _)| is(key, self.new)) {
            return;
        }
        for (key, _) in entries.iter_mut().filter(|(key, _)| is(key, self.old)) {
            let complaint = Complaint::new("this name of the key is deprecated").remedy(format!(
                "write `{}`, since strait {} refuses the old name",
                self.new, self.until
            ));
            let place = section.key(self.old).at(key.line, key.column);
            warnings.note(&place, complaint);
            key.value = Value::Text(self.new.to_owned());
        }
    }
}

/// Calls `act` with the entries of every section at `path` below `node`, and with its place.
fn in_sections(
    node: &mut Node,
    place: &KeyPlace,
    path: &[&str],
    act: &mut dyn FnMut(&mut SectionEntries, &KeyPlace),
) {
    match (path.split_first(), &mut node.value) {
        (None, Value::Map(entries)) => act(entries, place),
        (Some((&"*", rest)), Value::List(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                in_sections(item, &place.item(index), rest, act);
            }
        }
        (Some((step, rest)), Value::Map(entries)) => {
            for (key, value) in entries {
                let Value::Text(name) = &key.value else {
                    continue;
                };
                if *step == "*" || name == step {
                    let place = place.key(name.clone()).at(key.line, key.column);
                    in_sections(value, &place, rest, act);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::tree;
    use super::*;

    const BOTH: &[Renamed] = &[
        Renamed {
            section: &["listeners", "*", "tcp"],
            old: "probes_after",
            new: "keepalive_time",
            until: "0.3.0",
        },
        Renamed {
            section: &[],
            old: "threads",
            new: "workers",
            until: "0.2.0",
        },
    ];

    /// The file as it is read, and its warnings.
    fn renamed(yaml: &str) -> (String, Vec<String>) {
        let mut root = tree::parse(yaml).unwrap();
        let mut warnings = Problems::default();
        rename(&mut root, BOTH, &mut warnings);
        let warnings = warnings.into_sorted();
        let warnings = warnings.iter().map(|one| one.display("f").to_string());
        (format!("{root:?}"), warnings.collect())
    }

    /// The tree of a file, in which lines and columns are those of the same places.
    fn tree_of(yaml: &str) -> String {
        format!("{:?}", tree::parse(yaml).unwrap())
    }

    #[test]
    fn an_old_name_is_read_as_the_new_one_with_a_warning_that_names_it() {
        let (read, warnings) = renamed("threads: 2\n");
        assert_eq!(read, tree_of("workers: 2\n"));
        let expected = "f:1:1: threads: this name of the key is deprecated; write `workers`, since strait 0.2.0 refuses the old name";
        assert_eq!(warnings, [expected]);
    }

    #[test]
    fn every_section_at_the_path_is_found_and_no_other() {
        let old = "listeners:\n- tcp:\n    probes_after: 9s\n- tcp:\n    probes_after: 8s\ntcp:\n  probes_after: 7s\n";
        let (read, warnings) = renamed(old);
        assert_eq!(read.matches("keepalive_time").count(), 2);
        assert_eq!(read.matches("probes_after").count(), 1);
        let places = [
            "f:3:5: listeners[0].tcp.probes_after:",
            "f:5:5: listeners[1].tcp.probes_after:",
        ];
        assert_eq!(warnings.len(), places.len());
        for (warning, place) in warnings.iter().zip(places) {
            assert!(warning.starts_with(place), "{warning}");
        }
    }

    #[test]
    fn a_section_with_both_names_is_left_as_it_is() {
        let both = "threads: 2\nworkers: 3\n";
        assert_eq!(renamed(both), (tree_of(both), Vec::new()));
    }
}
