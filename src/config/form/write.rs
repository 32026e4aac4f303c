//! From a tree back to YAML, with the defaults of the keys that it leaves out as comments.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::shape::SectionInfo;
use super::tree::{Node, Value};

/// The size of the comments with defaults, in bytes, after which no more are written.
const MAX_DEFAULTS: usize = 4 << 20;
/// The length up to which a list of scalars stands on one line.
const LINE: usize = 100;
/// Words that YAML, or a tool with YAML 1.1, does not take for text.
const NOT_TEXT: &[&str] = &["true", "false", "null", "yes", "no", "on", "y", "n"];
/// The ends of a number that is text: units of time and of size.
const UNITS: &[&str] = &["us", "ms", "s", "m", "h", "d", "B", "KiB", "MiB", "GiB"];

/// Writes a tree whose sections are as `info` says. Comments and anchors of the file that it was read from are
/// gone. With `defaults`, each key that a section leaves out follows as a comment, `# key: value`, until 4 MiB
/// of such comments are written.
pub(crate) fn yaml(root: &Node, info: &'static SectionInfo, defaults: bool) -> String {
    let mut writer = Writer {
        text: String::new(),
        defaults_left: if defaults { MAX_DEFAULTS } else { 0 },
        fields: HashMap::new(),
    };
    writer.value(&root.value, Inside::Section(info), 0, Start::OwnLine);
    if defaults && writer.defaults_left == 0 {
        let _ = writeln!(writer.text, "# Further defaults are left out.");
    }
    writer.text
}

/// The place of the sections inside a value.
#[derive(Clone, Copy)]
enum Inside {
    /// There are none.
    Nothing,
    /// The value is one.
    Section(&'static SectionInfo),
    /// Each item or each entry of the value is one.
    Each(&'static SectionInfo),
}

impl Inside {
    fn of_each(self) -> Self {
        match self {
            Self::Each(info) => Self::Section(info),
            _ => Self::Nothing,
        }
    }
}

/// One key of a section, with what its declaration says.
struct KnownKey {
    key: &'static str,
    default: Option<Value>,
    inside: Inside,
}

/// The place where a value begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// On a line of its own.
    OwnLine,
    /// Behind `key:`.
    Key,
    /// Behind `- `.
    Dash,
}

struct Writer {
    text: String,
    /// Bytes of comments with defaults that may still be written.
    defaults_left: usize,
    fields: HashMap<&'static str, std::rc::Rc<[KnownKey]>>,
}

impl Writer {
    fn known(&mut self, info: &'static SectionInfo) -> std::rc::Rc<[KnownKey]> {
        let known = self.fields.entry(info.name).or_insert_with(|| {
            let fields = info.fields.iter().map(|field| KnownKey {
                key: field.key,
                default: (field.default)(),
                inside: match (field.shape)().section {
                    None => Inside::Nothing,
                    Some(("", info)) => Inside::Section(info),
                    Some((_, info)) => Inside::Each(info),
                },
            });
            fields.collect()
        });
        known.clone()
    }

    /// Writes a value and the end of its line.
    fn value(&mut self, value: &Value, inside: Inside, indent: usize, start: Start) {
        match value {
            Value::Map(entries) if !entries.is_empty() => {
                self.map(entries, inside, indent, start);
            }
            Value::List(items) if !items.is_empty() => match on_one_line(items) {
                Some(line) => self.scalar(&line, start),
                None => {
                    if start != Start::OwnLine {
                        self.text.push('\n');
                    }
                    for item in items {
                        self.indent(indent);
                        self.text.push('-');
                        self.value(&item.value, inside.of_each(), indent + 2, Start::Dash);
                    }
                }
            },
            scalar => {
                self.scalar(&in_yaml(scalar), start);
                if let (Value::Map(_), Inside::Section(info)) = (scalar, inside) {
                    self.defaults(info, &[], indent);
                }
            }
        }
    }

    fn scalar(&mut self, text: &str, start: Start) {
        if start != Start::OwnLine {
            self.text.push(' ');
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Writes the entries of a map, those of a section in the order of its declaration.
    fn map(&mut self, entries: &[(Node, Node)], inside: Inside, indent: usize, start: Start) {
        let mut ordered: Vec<(&Node, &Node, Inside)> = entries
            .iter()
            .map(|(key, value)| (key, value, inside.of_each()))
            .collect();
        if let Inside::Section(info) = inside {
            let known = self.known(info);
            let position = |key: &Node| known.iter().position(|one| is(key, one.key));
            ordered.sort_by_key(|(key, ..)| position(key));
            for (key, _, inside) in &mut ordered {
                let field = position(key).and_then(|at| known.get(at));
                *inside = field.map_or(Inside::Nothing, |field| field.inside);
            }
        }
        let mut first = true;
        for (key, value, inside) in ordered {
            match (start, first) {
                (Start::Key, true) => {
                    self.text.push('\n');
                    self.indent(indent);
                }
                (Start::Dash, true) => self.text.push(' '),
                _ => self.indent(indent),
            }
            first = false;
            self.text.push_str(&in_yaml(&key.value));
            self.text.push(':');
            // A list is indented as deep as its key would be inside.
            self.value(&value.value, inside, indent + 2, Start::Key);
        }
        if let Inside::Section(info) = inside {
            self.defaults(info, entries, indent);
        }
    }

    /// Writes the keys that the section leaves out, as comments.
    fn defaults(&mut self, info: &'static SectionInfo, given: &[(Node, Node)], indent: usize) {
        let lines = match self.defaults_left {
            0 => return,
            _ => self.default_lines(info, given),
        };
        for line in lines {
            let before = self.text.len();
            self.indent(indent);
            self.text.push_str("# ");
            self.text.push_str(&line);
            self.text.push('\n');
            let size = self.text.len() - before;
            self.defaults_left = self.defaults_left.saturating_sub(size);
        }
    }

    fn default_lines(&mut self, info: &'static SectionInfo, given: &[(Node, Node)]) -> Vec<String> {
        let mut lines = Vec::new();
        for field in &*self.known(info) {
            let is_given = given.iter().any(|(key, _)| is(key, field.key));
            let default = field.default.as_ref().filter(|_| !is_given);
            let Some(default) = default else {
                continue;
            };
            match (default, field.inside) {
                (Value::Map(_), Inside::Section(inner)) => {
                    lines.push(format!("{}:", field.key));
                    let inner = self.default_lines(inner, &[]).into_iter();
                    lines.extend(inner.map(|line| format!("  {line}")));
                }
                _ => lines.push(format!("{}: {}", field.key, in_yaml(default))),
            }
        }
        lines
    }

    fn indent(&mut self, indent: usize) {
        self.text.extend(std::iter::repeat_n(' ', indent));
    }
}

fn is(node: &Node, key: &str) -> bool {
    matches!(&node.value, Value::Text(text) if text == key)
}

/// The list in brackets, if it has scalars only and is short.
fn on_one_line(items: &[Node]) -> Option<String> {
    let is_scalar = |node: &Node| !matches!(node.value, Value::List(_) | Value::Map(_));
    if items.len() > LINE || !items.iter().all(is_scalar) {
        return None;
    }
    let items: Vec<_> = items.iter().map(|node| in_yaml(&node.value)).collect();
    let line = format!("[{}]", items.join(", "));
    (line.len() <= LINE).then_some(line)
}

/// A scalar, or an empty list or map.
fn in_yaml(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) if is_plain(text) => text.clone(),
        Value::Text(text) => in_quotes(text),
        Value::List(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
    }
}

/// The text in double quotes. Whatever is neither ASCII nor a letter is escaped.
fn in_quotes(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        let code = u32::from(c);
        // Writing to a String does not fail.
        let _ = match c {
            '"' | '\\' => write!(quoted, "\\{c}"),
            '\n' => write!(quoted, "\\n"),
            ' '..='~' => write!(quoted, "{c}"),
            _ if c.is_alphanumeric() => write!(quoted, "{c}"),
            _ if code <= 0xffff => write!(quoted, "\\u{code:04x}"),
            _ => write!(quoted, "\\U{code:08x}"),
        };
    }
    quoted.push('"');
    quoted
}

/// Whether the text needs no quotes. Some that need none get them anyway.
fn is_plain(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    if !text.chars().all(letter) {
        return false;
    }
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    match text.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => {
            !NOT_TEXT.contains(&&*text.to_ascii_lowercase())
        }
        Some('/') => true,
        Some(first) if first.is_ascii_digit() => UNITS.contains(&digits),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse;
    use super::*;

    #[test]
    fn a_text_has_quotes_unless_it_is_surely_one() {
        for (text, written) in [
            ("off", "off"),
            ("auto", "auto"),
            ("svcb.apps", "svcb.apps"),
            ("/etc/a-b_c", "/etc/a-b_c"),
            ("90s", "90s"),
            ("64KiB", "64KiB"),
            ("1e3", "\"1e3\""),
            ("0x1f", "\"0x1f\""),
            ("12", "\"12\""),
            ("10.0.0.0/8", "\"10.0.0.0/8\""),
            ("No", "\"No\""),
            ("null", "\"null\""),
            ("", "\"\""),
            ("-a", "\"-a\""),
            (".inf", "\".inf\""),
            ("*.x", "\"*.x\""),
            ("a b", "\"a b\""),
            ("a\n\\\"#\u{7f}\u{e4}", "\"a\\n\\\\\\\"#\\u007f\u{e4}\""),
        ] {
            assert_eq!(in_yaml(&text.into()), written, "{text:?}");
            let back = parse(written).unwrap();
            assert!(
                matches!(back.value, Value::Text(back) if back == text),
                "{text:?}"
            );
        }
    }
}
