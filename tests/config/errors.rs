//! Broken files that are bytes, large or random, not text that a case of `errors/` could hold.

use std::num::NonZeroUsize;
use std::time::Duration;

use proptest::prelude::*;
use strait::config::{ConfigError, Loaded, MAX_FILE, Machine};

/// Loads a config as a machine of one CPU would, without zone, node or interfaces.
pub fn load(bytes: &[u8]) -> Result<Loaded, ConfigError> {
    let machine = Machine {
        cpus: NonZeroUsize::MIN,
        zone: None,
        node: None,
        interfaces: Vec::new(),
    };
    Loaded::parse(bytes, "strait.yaml", &machine)
}

#[test]
fn bytes_that_are_no_text_and_too_many_bytes() {
    let error = load(b"workers: 1\nzone: \xff\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "strait.yaml:2:7: the file is not UTF-8 text; save it as UTF-8"
    );
    let error = load(b"\xff\xfew\0o\0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "strait.yaml:1:1: the file is UTF-16 text; save it as UTF-8"
    );
    let error = load(&vec![b'#'; MAX_FILE + 1]).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    assert_eq!(
        (error.problems[0].line, error.problems[0].key.as_str()),
        (0, "")
    );
    assert!(
        error.problems[0].message.contains("larger than 16 MiB"),
        "{error}"
    );
    assert!(
        load(&vec![b'#'; MAX_FILE])
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
}

#[test]
fn files_that_cannot_be_read() {
    let missing = std::path::Path::new("/nowhere/strait.yaml");
    let error = Loaded::load(missing).unwrap_err().to_string();
    assert!(
        error.starts_with("/nowhere/strait.yaml: cannot read this file: "),
        "{error}"
    );
    assert!(
        error.contains("; check the path; a command without FILE reads /etc/strait/strait.yaml"),
        "{error}"
    );
    let directory = Loaded::load(std::path::Path::new("/"))
        .unwrap_err()
        .to_string();
    assert!(
        directory.starts_with("/: cannot read this file: "),
        "{directory}"
    );
}

/// Time that this thread has run, whatever else keeps the machine busy.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = stat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds)
}

#[test]
fn a_file_that_is_wrong_everywhere_is_refused_fast() {
    let routes: String = (0..20_000)
        .map(|n| format!("  - {{ sni: n{n}, alpn: any, upstream: wrong{n} }}\n"))
        .collect();
    let upstreams: String = (0..2_000)
        .map(|n| format!("  right{n}: {{ dns: \"a:1\" }}\n"))
        .collect();
    let yaml = format!(
        "listeners:\n- name: a\n  bind: \"[::]:1\"\n  routes:\n{routes}upstreams:\n{upstreams}"
    );
    let start = cpu_time();
    let error = load(yaml.as_bytes()).unwrap_err();
    let took = cpu_time() - start;
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(error.problems.len(), 101);
    assert_eq!(
        error.problems[100].message,
        "19900 more problems are not shown"
    );
}

/// The example, cut, doubled and mistyped at random: near enough to a config to reach every check.
fn mutated_example() -> impl Strategy<Value = Vec<u8>> {
    let example = include_bytes!("../../config/strait.yaml");
    let edit = (
        0..example.len(),
        0..40usize,
        "[a-z0-9:{}\\[\\],*&<\" -]{0,6}",
    );
    proptest::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut text = example.to_vec();
        for (at, length, replacement) in edits {
            let start = at.min(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, replacement.into_bytes());
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        if let Err(error) = load(&bytes) {
            prop_assert!(!error.problems.is_empty());
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[ \\n\\t\\[\\]{}:,*&!|>'\"#%@a-c0-9<~?-]{0,200}") {
        if let Err(error) = load(text.as_bytes()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_broken_example_names_its_lines(text in mutated_example()) {
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64 + 2;
        if let Err(error) = load(&text) {
            for problem in error.problems {
                prop_assert!(problem.line <= lines, "{:?}", problem);
            }
        }
    }
}
