//! The tree of YAML values, each with its place in the text.
//!
//! Only this file uses the YAML crate. It does not check keys: duplicates stay in the tree, so that
//! [`super::decode`] reports them together with all other problems.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, MessageFormatter as _, Spanned, UserMessageFormatter};

use super::problems::{Complaint, KeyPlace, Problem, quoted};

/// The largest number of values in a file, after its aliases are expanded. It is enough for 100,000
/// routes with their upstreams, and bounds the memory for refusing a file of nothing but brackets to
/// some 100 MB.
const MAX_VALUES: usize = 2_000_000;
/// The largest number of values that aliases may add.
const MAX_REPLAYED: usize = 250_000;
/// The largest depth. A valid file is six deep.
const MAX_DEPTH: usize = 32;

/// A value and its place. For an alias it is the place of the value's text.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) value: Value,
}

/// A YAML value, not checked yet.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// A float, or an integer beyond `i64`.
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// The entries in the file's order, with duplicates.
    Map(Vec<(Node, Node)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

/// The value in words, for "expected ..., found ...".
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("nothing"),
            Self::Bool(truth) => write!(f, "the truth value {truth}"),
            Self::Int(number) => write!(f, "the number {number}"),
            Self::Float(number) => write!(f, "the number {number}"),
            Self::Text(text) => write!(f, "the text {}", quoted(text)),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a section of keys and values"),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: saturating(defined.line()),
            column: saturating(defined.column()),
            value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    #[expect(clippy::cast_precision_loss, reason = "only shown, as out of bounds")]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_VALUES,
            max_events: 2 * MAX_VALUES,
            // One anchor for the `tcp` of a thousand upstreams is good style, not an attack. The amount
            // that aliases add matters, and `alias_limits` bounds that.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
            max_replay_stack_depth: MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // In YAML 1.2 `off` and `no` are words.
        strict_booleans: true,
        // A name such as `0755` or `1_000` keeps its spelling.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// Parses one YAML document.
///
/// # Errors
/// The first place where the text is not YAML or exceeds the limits of this file.
pub(crate) fn parse(yaml: &str) -> Result<Node, Problem> {
    serde_saphyr::from_str_with_options(yaml, options()).map_err(|error| explain(yaml, &error))
}

/// The crate's error in the words of this file, with remedies for frequent mistakes.
fn explain(yaml: &str, error: &Error) -> Problem {
    let (line, column) = error
        .location()
        .map_or((1, 1), |location| (location.line(), location.column()));
    let (line, column) = (saturating(line), saturating(column));
    if let Some(tabbed) = tab_indented(yaml, line) {
        let complaint = Complaint::new("a tab indents this line").remedy("indent with spaces");
        return Problem::new(&KeyPlace::start().at(tabbed, 1), complaint);
    }
    let complaint = match innermost(error) {
        Error::MultipleDocuments { .. } => {
            Complaint::new("the file holds more than one YAML document")
                .remedy("remove everything from the second `---` on")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => Complaint::new(format!(
            "the file is too large or too deep: {}",
            message(error)
        ))
        .remedy(format!(
            "the limits are {MAX_VALUES} values, {MAX_REPLAYED} of them through aliases, nested \
             at most {MAX_DEPTH} deep"
        )),
        error => syntax_complaint(line_of(yaml, line), column, error),
    };
    Problem::new(&KeyPlace::start().at(line, column), complaint)
}

fn syntax_complaint(line: &str, column: u32, error: &Error) -> Complaint {
    let complaint = Complaint::new(format!("not valid YAML: {}", message(error)));
    let here = column.saturating_sub(1) as usize;
    if line.chars().nth(here) == Some('*') {
        complaint.remedy(r#"put a wildcard in quotes, since a bare * starts a YAML alias: "*.x""#)
    } else if line.contains("[:") && !line.contains(['"', '\'']) {
        complaint.remedy(r#"put an address that starts with [ in quotes: "[::]:15443""#)
    } else if message(error).contains("did not find expected") {
        complaint.remedy(
            "check the indentation: the keys of one section, and the items of one list, start in the same column",
        )
    } else {
        complaint
    }
}

/// The crate's text. It may quote the file, whose control characters must not reach a terminal.
fn message(error: &Error) -> String {
    let text = UserMessageFormatter.format_message(innermost(error));
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn innermost(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => error,
        error => error,
    }
}

/// The line at `line` or the next one, if a tab indents it: the scanner may stop at the end of the
/// previous line.
fn tab_indented(yaml: &str, line: u32) -> Option<u32> {
    [line, line.saturating_add(1)].into_iter().find(|line| {
        let text = line_of(yaml, *line);
        text.trim_start_matches(' ').starts_with('\t')
    })
}

fn line_of(yaml: &str, line: u32) -> &str {
    let index = line.saturating_sub(1) as usize;
    yaml.lines().nth(index).unwrap_or_default()
}

fn saturating(number: u64) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::clock::cpu_time;

    #[test]
    fn values_know_where_they_stand() {
        let root = parse("a: 1\nb:\n  - &x [off, 0755, 1_000]\n  - *x\n").unwrap();
        let Value::Map(entries) = root.value else {
            panic!("{}", root.value)
        };
        let (key, value) = &entries[1];
        assert_eq!((key.line, key.column), (2, 1));
        let Value::List(items) = &value.value else {
            panic!("{}", value.value)
        };
        for item in items {
            assert_eq!((item.line, item.column), (3, 8));
            let Value::List(words) = &item.value else {
                panic!("{}", item.value)
            };
            let words: Vec<String> = words.iter().map(|node| node.value.to_string()).collect();
            let expected = [
                r#"the text "off""#,
                r#"the text "0755""#,
                r#"the text "1_000""#,
            ];
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn what_people_trip_over_has_a_remedy() {
        for (yaml, line, remedy) in [
            ("a:\n\t- b\n", 2, "indent with spaces"),
            ("a:\n  b: 1\n\tc: 2\n", 3, "indent with spaces"),
            ("a: 1\nsni: *.x\n", 2, "put a wildcard in quotes"),
            ("a: 1\nsni: *\n", 2, "put a wildcard in quotes"),
            ("bind: [::]:15443\n", 1, "put an address"),
            ("a: {bind: [::]:15443}\n", 1, "put an address"),
            ("---\na: 1\n---\nb: 2\n", 4, "remove everything"),
        ] {
            let problem = parse(yaml).unwrap_err();
            assert_eq!(problem.line, line, "{yaml}: {problem:?}");
            assert!(problem.remedy.unwrap().contains(remedy), "{yaml}");
        }
    }

    #[test]
    fn a_message_keeps_its_quotes_and_loses_its_control_characters() {
        let error: Error = serde::de::Error::custom("unknown '\u{1b}[31mé' in \"a\"\n");
        let shown = message(&error);
        assert!(
            shown.contains(r#"unknown '\u{1b}[31mé' in "a"\n"#),
            "{shown}"
        );
    }

    #[test]
    fn bombs_are_refused_fast() {
        let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(laughs, "a{level}: &a{level} [{aliases}]").unwrap();
        }
        let deep_flow = "[".repeat(1_000_000);
        let deep_dashes = "- ".repeat(1_000_000);
        let deep_block = (0..2_000).fold(String::new(), |text, depth| {
            text + &" ".repeat(depth) + "a:\n"
        });
        for bomb in [laughs, deep_flow, deep_block, deep_dashes] {
            let start = cpu_time();
            let problem = parse(&bomb).unwrap_err();
            let took = cpu_time() - start;
            assert!(took < Duration::from_secs(20), "{took:?}: {bomb:.40}");
            assert!(problem.line > 0, "{problem:?}");
        }
    }
}
