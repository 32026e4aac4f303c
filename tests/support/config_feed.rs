//! Properties of the bytes of any config file. The tests and the fuzzer assert them.

use std::num::NonZeroUsize;
use std::path::Path;

use strait::config::{Config, ConfigError, ConfigSource, Loaded, Machine, SniPattern};
use strait::limits::Scopes;
use strait::route::RouteTable;
use strait::upstream::Upstreams;

/// Asserts it, and says whether the file was accepted.
pub fn check(bytes: &[u8]) -> bool {
    let parsed = parse(bytes);
    assert_eq!(parse(bytes).is_ok(), parsed.is_ok(), "not the same twice");
    let accepted = parsed.is_ok();
    match parsed {
        Ok(loaded) => {
            check_comment(bytes, &loaded);
            check_config(&loaded.config);
            check_written(bytes, &loaded);
        }
        Err(error) => check_problems(bytes, &error),
    }
    accepted
}

fn parse(bytes: &[u8]) -> Result<Loaded, ConfigError> {
    let machine = Machine {
        cpus: NonZeroUsize::MIN,
        zone: None,
        node: None,
        interfaces: Vec::new(),
    };
    Loaded::parse(bytes, "FILE", &machine)
}

/// A comment in front moves every line by one and changes nothing else.
fn check_comment(bytes: &[u8], loaded: &Loaded) {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    if bytes.starts_with(BYTE_ORDER_MARK) {
        return;
    }
    let commented = parse(&[b"# a comment\n", bytes].concat()).unwrap();
    assert_eq!(commented.config, loaded.config);
    assert_eq!(commented.warnings.len(), loaded.warnings.len());
}

/// The file in its own language, as `/config` writes it, means the same.
fn check_written(bytes: &[u8], loaded: &Loaded) {
    let source = ConfigSource::new(Path::new("FILE"), bytes);
    for defaults in [true, false] {
        let written = source.to_yaml(defaults).unwrap();
        let again = parse(written.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(again.config, loaded.config, "{written}");
        assert_eq!(again.warnings.len(), loaded.warnings.len(), "{written}");
    }
}

/// The program can run on what was accepted, and show it.
fn check_config(config: &Config) {
    serde_json::to_vec(config).unwrap();
    let upstreams = Upstreams::default().prepare(config);
    for listener in &config.listeners {
        let find = |name: &str| upstreams.get(name).cloned();
        let table = RouteTable::build(listener, &config.sources, &Scopes::default(), find);
        assert!(table.left_out().is_empty() && table.conflicts().is_empty());
        assert_eq!(table.routes().count(), listener.routes.len());
        for (pattern, route) in table.patterns() {
            if let SniPattern::Exact(name) = pattern {
                assert_eq!(table.find(&name).unwrap().name, route.name);
            }
        }
    }
}

/// Every problem has a text of one line, and a place within the file if it has a place.
fn check_problems(bytes: &[u8], error: &ConfigError) {
    assert!(!error.problems.is_empty());
    let lines = 1 + bytes
        .iter()
        .filter(|byte| matches!(byte, b'\n' | b'\r'))
        .count();
    for problem in &error.problems {
        let text = problem.display("FILE").to_string();
        assert!(text.starts_with("FILE:"), "{text}");
        assert!(!problem.message.is_empty(), "{text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(problem.line <= lines as u64 + 1, "{text} of {lines} lines");
    }
}
