//! The writer of one line: one key at a time, in JSON or as `key=value`; or of the values alone, for a line of
//! another form.
//!
//! A line is printable ASCII whatever a client sent: everything else leaves as a JSON escape, so no
//! byte of a name can end a line, start a key, reorder the text or reach a terminal as a command.

use std::fmt::{Display, Write};
use std::time::Duration;

/// The longest text value in bytes. A longer one is cut and ends with `...`. A valid server name has at
/// most 253.
pub(super) const MAX_TEXT: usize = 512;

/// The form of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueForm {
    Json,
    Text,
    /// Each value is one word, without a key.
    Words,
}

/// The places of values: the key of each, and where it begins.
pub(super) type ValuePlaces = Vec<(&'static str, usize)>;

/// Appends one line to a string.
pub(super) struct LineWriter<'a> {
    line: &'a mut String,
    form: ValueForm,
    first: bool,
    /// The places of the values, if somebody wants to know.
    places: Option<&'a mut ValuePlaces>,
}

impl<'a> LineWriter<'a> {
    pub(super) fn start(line: &'a mut String, form: ValueForm) -> Self {
        if form == ValueForm::Json {
            line.push('{');
        }
        Self {
            line,
            form,
            first: true,
            places: None,
        }
    }

    /// Writes values alone, and notes their places.
    pub(super) fn words(values: &'a mut String, places: &'a mut ValuePlaces) -> Self {
        Self {
            line: values,
            form: ValueForm::Words,
            first: true,
            places: Some(places),
        }
    }

    pub(super) fn end(self) {
        if self.form == ValueForm::Json {
            self.line.push('}');
        }
        self.line.push('\n');
    }

    /// Writes a key. It must be a bare word, which all of strait's keys are.
    fn key(&mut self, key: &'static str) {
        let (separator, quote, assign) = match self.form {
            ValueForm::Json => (',', "\"", ':'),
            ValueForm::Text => (' ', "", '='),
            ValueForm::Words => {
                if let Some(places) = &mut self.places {
                    places.push((key, self.line.len()));
                }
                return;
            }
        };
        if !std::mem::take(&mut self.first) {
            self.line.push(separator);
        }
        for part in [quote, key, quote] {
            self.line.push_str(part);
        }
        self.line.push(assign);
    }

    /// Writes a number with a fraction.
    pub(super) fn decimal(&mut self, key: &'static str, value: impl Display) {
        self.key(key);
        self.append(value);
    }

    pub(super) fn number(&mut self, key: &'static str, value: impl Into<u64>) {
        self.key(key);
        self.append(value.into());
    }

    /// Writes milliseconds with three decimals.
    pub(super) fn milliseconds(&mut self, key: &'static str, value: Duration) {
        self.key(key);
        let micros = value.as_micros();
        self.append(format_args!("{}.{:03}", micros / 1000, micros % 1000));
    }

    /// Writes a value whose text never needs an escape, such as an address.
    pub(super) fn plain(&mut self, key: &'static str, value: impl Display) {
        self.key(key);
        let quoted = self.form == ValueForm::Json;
        if quoted {
            self.line.push('"');
        }
        self.append(value);
        if quoted {
            self.line.push('"');
        }
    }

    /// Writes any text, trusted or not.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        let kept = value
            .get(..value.floor_char_boundary(MAX_TEXT))
            .unwrap_or_default();
        if self.form == ValueForm::Words {
            return self.word(kept, kept.len() < value.len());
        }
        let bare = self.form == ValueForm::Text
            && kept.len() == value.len()
            && !kept.is_empty()
            && kept.bytes().all(is_bare);
        if bare {
            self.line.push_str(kept);
            return;
        }
        self.line.push('"');
        kept.chars().for_each(|c| self.escaped(c));
        if kept.len() < value.len() {
            self.line.push_str("...");
        }
        self.line.push('"');
    }

    /// Writes any text as one word: a blank is an underscore, as in Envoy's lines.
    fn word(&mut self, text: &str, is_cut: bool) {
        let chars = text.chars();
        let chars = chars.map(|c| if c == ' ' { '_' } else { c });
        chars.for_each(|c| self.escaped(c));
        if is_cut {
            self.line.push_str("...");
        }
    }

    fn escaped(&mut self, c: char) {
        match c {
            '"' => self.line.push_str("\\\""),
            '\\' => self.line.push_str("\\\\"),
            ' '..='~' => self.line.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.append(format_args!("\\u{unit:04x}"));
                }
            }
        }
    }

    fn append(&mut self, value: impl Display) {
        // Writing into a String fails only when a Display fails. The text written so far stays.
        let _ = write!(self.line, "{value}");
    }
}

/// Whether a value of nothing but such bytes can stand in a text line without quotes.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:/[]*@+,".contains(&byte)
}
