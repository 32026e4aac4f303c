//! A reader of plain YAML: block and flow collections, scalars on one line, comments.
//!
//! It reads files of 100,000 routes in a tenth of the time that the YAML crate takes. Whatever it does not know, such as
//! an anchor, a tag, an escape, a scalar of several lines or a mistake, makes it give up, and the crate reads the file.
//! So it accepts less than YAML and means the same: a test compares both, with the place of each value.

use super::problems::Problem;
use super::tree::{self, Node, Value};

/// The largest number of values. The crate's own limit is not smaller.
const MAX_VALUES: usize = 2_000_000;
/// The largest depth. The crate's own limit is not smaller.
const MAX_DEPTH: usize = 24;
/// The longest key.
const MAX_KEY: usize = 255;
/// Words that YAML may take for something else than text.
const NO_TEXT: [&str; 9] = ["null", "true", "false", "yes", "no", "y", "n", "inf", "nan"];

/// Parses one YAML document, as [`tree::parse`] does.
///
/// # Errors
/// As [`tree::parse`].
pub(crate) fn parse(yaml: &str) -> Result<Node, Problem> {
    parse_plain(yaml).map_or_else(|| tree::parse(yaml), Ok)
}

/// Parses a document whose root is a map; `None` if it has anything that this file does not know.
fn parse_plain(yaml: &str) -> Option<Node> {
    let is_plain = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
    if !yaml.bytes().all(is_plain) {
        return None;
    }
    let mut reader = PlainReader {
        rest: yaml,
        line: 0,
        text: "",
        at: 0,
        over: false,
        values: 0,
    };
    reader.next_line();
    if reader.over || reader.at > 0 || reader.is_item() {
        return None;
    }
    let root = reader.map(0)?;
    reader.over.then_some(root)
}

/// A place in the document: at the next content that is not read.
struct PlainReader<'y> {
    /// The lines after this one.
    rest: &'y str,
    /// Its number, from 1.
    line: u32,
    text: &'y str,
    at: usize,
    /// True after the last line.
    over: bool,
    values: usize,
}

impl<'y> PlainReader<'y> {
    /// Goes to the next line with content.
    fn next_line(&mut self) {
        while !self.rest.is_empty() {
            let (text, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            (self.text, self.rest) = (text, rest);
            self.line += 1;
            let content = text.trim_start_matches(' ');
            if !(content.is_empty() || content.starts_with('#')) {
                self.at = text.len() - content.len();
                return;
            }
        }
        self.over = true;
    }

    fn left(&self) -> &'y str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn starts_with(&self, text: &str) -> bool {
        self.left().starts_with(text)
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.left().trim_start_matches(' ').len();
    }

    /// Takes `mark`, if it is next.
    fn take(&mut self, mark: char) -> bool {
        let is_next = self.left().starts_with(mark);
        self.at += usize::from(is_next);
        is_next
    }

    /// Goes to the next line, if nothing but a comment is left on this one.
    fn end_line(&mut self) -> Option<()> {
        let left = self.left();
        let content = left.trim_start_matches(' ');
        if !(content.is_empty() || (content.starts_with('#') && content.len() < left.len())) {
            return None;
        }
        self.next_line();
        Some(())
    }

    /// Whether an item of a list begins here.
    fn is_item(&self) -> bool {
        self.starts_with("- ")
    }

    /// A value that begins at `at` in this line.
    fn node(&mut self, (line, at): (u32, usize), value: Value) -> Option<Node> {
        self.values += 1;
        (self.values <= MAX_VALUES).then_some(Node {
            line,
            column: u32::try_from(at + 1).ok()?,
            value,
        })
    }

    /// The lines of a map whose keys begin in one column, here.
    fn map(&mut self, depth: usize) -> Option<Node> {
        let (start, column) = ((self.line, self.at), self.at);
        let mut entries = Vec::new();
        loop {
            let key = self.key()?;
            let left = self.left().trim_start_matches(' ');
            let value = if left.is_empty() || left.starts_with('#') {
                self.end_line()?;
                let deeper =
                    !self.over && (self.at > column || (self.at == column && self.is_item()));
                match deeper && depth < MAX_DEPTH {
                    true if self.is_item() => self.list(depth + 1, self.at > column)?,
                    true => self.map(depth + 1)?,
                    false => return None,
                }
            } else {
                self.skip_spaces();
                let value = self.value(depth, false)?;
                self.end_line()?;
                value
            };
            entries.push((key, value));
            if self.over || self.at < column {
                break;
            }
            if self.at > column {
                return None;
            }
            if self.is_item() {
                break;
            }
        }
        self.node(start, Value::Map(entries))
    }

    /// The lines of a list whose items begin in one column, here. The crate gives a list that is not `indented` the place
    /// of its first item.
    fn list(&mut self, depth: usize, indented: bool) -> Option<Node> {
        let (mut start, column) = ((self.line, self.at), self.at);
        let mut items = Vec::new();
        while !self.over && self.at == column && self.is_item() {
            self.at += 1;
            self.skip_spaces();
            if items.is_empty() && !indented {
                start.1 = self.at;
            }
            let item = if self.is_key() {
                (depth < MAX_DEPTH).then(|| self.map(depth + 1))??
            } else {
                let value = self.value(depth, false)?;
                self.end_line()?;
                value
            };
            items.push(item);
        }
        if !self.over && self.at > column {
            return None;
        }
        self.node(start, Value::List(items))
    }

    /// Whether a key of a map is next.
    fn is_key(&self) -> bool {
        let left = self.left();
        let end = match left.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let rest = left.get(1..).unwrap_or_default();
                rest.find(quote).map(|end| end + 2)
            }
            Some('{' | '[') | None => None,
            Some(_) => left.find([':', ' ']),
        };
        let rest = end.and_then(|end| left.get(end..));
        rest.is_some_and(|rest| rest == ":" || rest.starts_with(": "))
    }

    /// A key with its colon.
    fn key(&mut self) -> Option<Node> {
        let start = (self.line, self.at);
        let name = match self.quoted()? {
            Some(name) => name,
            None => {
                let left = self.left();
                let end = left.find(|c: char| !is_in_key(c))?;
                self.at += end;
                let name = left.get(..end)?;
                is_text(name).then_some(name)?
            }
        };
        let ends = self.starts_with(": ") || self.left() == ":";
        if !ends || name.len() > MAX_KEY {
            return None;
        }
        self.at += 1;
        self.node(start, Value::Text(name.to_owned()))
    }

    /// A value that ends on this line. `flow`: it stands in a flow collection.
    fn value(&mut self, depth: usize, flow: bool) -> Option<Node> {
        let start = (self.line, self.at);
        let value = match self.left().chars().next()? {
            '{' | '[' if depth >= MAX_DEPTH => return None,
            '{' => self.flow_map(depth + 1)?,
            '[' => self.flow_list(depth + 1)?,
            _ => match self.quoted()? {
                Some(text) => Value::Text(text.to_owned()),
                None => self.plain(flow)?,
            },
        };
        self.node(start, value)
    }

    fn flow_map(&mut self, depth: usize) -> Option<Value> {
        let mut entries = Vec::new();
        self.at += 1;
        self.skip_spaces();
        if self.take('}') {
            return Some(Value::Map(entries));
        }
        loop {
            let key = self.key()?;
            self.skip_spaces();
            let value = self.value(depth, true)?;
            entries.push((key, value));
            self.skip_spaces();
            if self.take('}') {
                return Some(Value::Map(entries));
            }
            self.take(',').then_some(())?;
            self.skip_spaces();
        }
    }

    fn flow_list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_spaces();
        if self.take(']') {
            return Some(Value::List(items));
        }
        loop {
            if self.is_key() {
                return None;
            }
            items.push(self.value(depth, true)?);
            self.skip_spaces();
            if self.take(']') {
                return Some(Value::List(items));
            }
            self.take(',').then_some(())?;
            self.skip_spaces();
        }
    }

    /// The text in quotes that begins here; `Some(None)` if no quote does.
    fn quoted(&mut self) -> Option<Option<&'y str>> {
        let left = self.left();
        let quote @ ('"' | '\'') = left.chars().next()? else {
            return Some(None);
        };
        let rest = left.get(1..)?;
        let text = rest.get(..rest.find(quote)?)?;
        self.at += text.len() + 2;
        // A backslash escapes, and so does a quote that is doubled.
        let escapes = (quote == '"' && text.contains('\\')) || self.left().starts_with(quote);
        (!escapes).then_some(Some(text))
    }

    /// A scalar without quotes.
    fn plain(&mut self, flow: bool) -> Option<Value> {
        let left = self.left();
        let end = left.find(|c: char| !is_in_plain(c)).unwrap_or(left.len());
        let text = left.get(..end)?;
        let rest = left.get(end..)?;
        let stops = match rest.chars().next() {
            None => true,
            Some(' ') => {
                let rest = rest.trim_start_matches(' ');
                rest.is_empty()
                    || rest.starts_with('#')
                    || (flow && rest.starts_with([',', ']', '}']))
            }
            Some(',' | ']' | '}') => flow,
            Some(_) => false,
        };
        if !stops || text.ends_with(':') {
            return None;
        }
        self.at += end;
        scalar(text)
    }
}

fn is_in_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}

fn is_in_plain(c: char) -> bool {
    is_in_key(c) || matches!(c, ':' | '*' | '@' | '+')
}

/// Whether a scalar is text beyond doubt.
fn is_text(text: &str) -> bool {
    let first = text.chars().next();
    first.is_some_and(|first| first.is_ascii_alphabetic() || first == '/')
        && !NO_TEXT.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// The value of a scalar without quotes.
fn scalar(text: &str) -> Option<Value> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "yes" | "no" => Some(text.into()),
        "" => None,
        _ if is_text(text) => Some(text.into()),
        "0" => Some(0.into()),
        _ if is_number && text.len() < 19 && !text.starts_with('0') => {
            Some(Value::Int(text.parse().ok()?))
        }
        _ if is_measure(text) || is_address(text) => Some(text.into()),
        _ => None,
    }
}

/// Whether it is a number with a unit, such as `250ms` and `64KiB`.
fn is_measure(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let letters = unit.bytes().all(|byte| byte.is_ascii_alphabetic());
    unit.len() < text.len() && letters && unit.starts_with(['s', 'm', 'h', 'K', 'M', 'G'])
}

/// Whether it is an IPv4 address, perhaps with a port or a prefix.
fn is_address(text: &str) -> bool {
    let parts = text.split(['.', ':', '/']);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.matches('.').count() == 3
        && matches!(parts.clone().count(), 4 | 5)
        && parts.clone().all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Parts of documents: most of what YAML gives a meaning to.
    const PARTS: &[&str] = &[
        "a",
        "b: ",
        ": ",
        ":",
        "- ",
        "-",
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        " ",
        "{ ",
        "}",
        "[",
        "]",
        ", ",
        ",",
        "'x'",
        "\"y\"",
        "'",
        "\"",
        "#",
        " # c",
        "1",
        "0",
        "10",
        "5s",
        "0x1",
        "1e3",
        "1.5",
        "true",
        "null",
        "no",
        "off",
        "~",
        "a: 1",
        "a: b\n",
        "key:\n  ",
        "10.0.0.1:80",
        "10.0.0.0/8",
        "*",
        "&",
        "!",
        "|",
        ">",
        "%",
        "@",
        "`",
        "? ",
        "\\",
        "--- ",
        "...",
        "Yes",
        ".inf",
        "nan",
        "1_0",
        "007",
        "+1",
        "-1",
        "a.b-c_d/e",
        "\t",
        "\u{e9}",
        "x: {a: b, c: d}\n",
        "y: [a, b]\n",
        "z:\n- a\n- b\n",
        "w:\n  - k: v\n    l: m\n",
        "1d",
        "64KiB",
        "1m",
        "y",
        "<<: ",
        "=",
        "12:30",
        "190:20:30",
        "2001-01-01",
        "1.2.3.4",
        "  - a: b # c\n",
        "  - [a, {b: 'c'}]\n",
    ];

    /// Asserts that a document that is plain means what the crate takes it for. Returns whether it is plain.
    fn check(yaml: &str) -> bool {
        let Some(plain) = parse_plain(yaml) else {
            return false;
        };
        assert_eq!(plain, tree::parse(yaml).unwrap(), "{yaml}");
        true
    }

    proptest! {
        #[test]
        fn what_is_plain_means_what_the_crate_takes_it_for(
            parts in prop::collection::vec(0..PARTS.len(), 0..12),
            nested in any::<bool>(),
        ) {
            let start = if nested { "k:\n  " } else { "a: b\n" };
            let parts: String = parts.iter().filter_map(|part| PARTS.get(*part).copied()).collect();
            check(&format!("{start}{parts}"));
        }
    }

    #[test]
    fn what_files_usually_have_is_plain() {
        for yaml in [
            "a: b\n",
            "# c\n\na: 'b' # c\n\n# c\nd:   \"e: f\"",
            "a:\n  b: 1\n  c: [d, 'e', {f: 5s}, [], {}]\ng: true\n",
            "a:\n- b: 10.0.0.0/8\n  c: 10.0.0.1:80\n- d\ne:\n  - - f\n",
            "a:\n  - b: c\n    d:\n      - e: f\n        g: off\n  -   h: 64KiB\n",
            "a: { sni: x.example, alpn: any, upstream: u-1 }\n",
        ] {
            let is_nested_list = yaml.contains("- - ");
            assert_eq!(check(yaml), !is_nested_list, "{yaml}");
        }
    }

    #[test]
    fn what_the_crate_must_read_is_not_plain() {
        for yaml in [
            "",
            "- a\n",
            "a",
            "a:\n",
            "a: \n  b\n",
            "a: b\n c: d\n",
            "a: b c\n",
            "a: &x b\n",
            "a: *x\n",
            "a: !t b\n",
            "a: |\n  b\n",
            "a: 'it''s'\n",
            "a: \"\\n\"\n",
            "a: [b,\n c]\n",
            "a: {b}\n",
            "a: {b: c,}\n",
            "a: 1.5\n",
            "a: 0755\n",
            "a: ~\n",
            "a: Null\n",
            "1: a\n",
            "true: a\n",
            "? a\n",
            "--- \na: b\n",
            "a: b\n---\nc: d\n",
            "a: b\t\n",
            "a: \u{e9}\n",
            "a: b\r\n",
            "  a: b\n",
            "a: b#c\n",
            "a: -1\n",
            "a: b:\n",
            "a: [b: c]\n",
        ] {
            assert!(parse_plain(yaml).is_none(), "{yaml}");
        }
        let deep = format!(
            "a: {}{}",
            "[".repeat(MAX_DEPTH + 1),
            "]".repeat(MAX_DEPTH + 1)
        );
        assert!(parse_plain(&deep).is_none());
    }
}
