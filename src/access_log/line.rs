//! The writer of one line: one key at a time, in JSON or as `key=value`; or of the values alone, for a line of
//! another form.
//!
//! A line is printable ASCII whatever a client sent: everything else leaves as a JSON escape, so no
//! byte of a name can end a line, start a key, reorder the text or reach a terminal as a command.

use std::fmt::{Display, Write};
use std::net::SocketAddr;
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
        self.digits(value.into(), 1);
    }

    /// Writes milliseconds with three decimals.
    pub(super) fn milliseconds(&mut self, key: &'static str, value: Duration) {
        self.key(key);
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.digits(micros / 1000, 1);
        self.line.push('.');
        self.digits(micros % 1000, 3);
    }

    /// Writes a word that never needs an escape.
    pub(super) fn label(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.quote();
        self.line.push_str(value);
        self.quote();
    }

    /// Writes an address. Most are of IPv4, whose `Display` takes several times the instructions.
    pub(super) fn address(&mut self, key: &'static str, value: SocketAddr) {
        let SocketAddr::V4(address) = value else {
            return self.plain(key, value);
        };
        self.key(key);
        self.quote();
        let [first, others @ ..] = address.ip().octets();
        self.digits(first.into(), 1);
        for octet in others {
            self.line.push('.');
            self.digits(octet.into(), 1);
        }
        self.line.push(':');
        self.digits(address.port().into(), 1);
        self.quote();
    }

    /// Appends the quote around a value that is no number, if the form has it.
    fn quote(&mut self) {
        if self.form == ValueForm::Json {
            self.line.push('"');
        }
    }

    /// Appends a number with at least `least` digits, of which there are no more than 20.
    fn digits(&mut self, value: u64, least: usize) {
        let mut text = [b'0'; 20];
        let (mut rest, mut length) = (value, 0);
        for place in text.iter_mut().rev() {
            if rest == 0 && length >= least {
                break;
            }
            *place += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            length += 1;
        }
        let digits = text.get(text.len() - length..).unwrap_or_default();
        self.line
            .push_str(str::from_utf8(digits).unwrap_or_default());
    }

    /// Writes a value whose text never needs an escape, such as an address.
    pub(super) fn plain(&mut self, key: &'static str, value: impl Display) {
        self.key(key);
        self.quote();
        self.append(value);
        self.quote();
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
        self.escape(kept);
        if kept.len() < value.len() {
            self.line.push_str("...");
        }
        self.line.push('"');
    }

    /// Appends text, escaped: what needs no escape is appended at once.
    fn escape(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
            let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, ""));
            self.line.push_str(plain);
            let mut chars = special.chars();
            if let Some(c) = chars.next() {
                self.escaped(c);
            }
            rest = chars.as_str();
        }
        self.line.push_str(rest);
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

/// Whether a byte stands for itself within quotes.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Whether a value of nothing but such bytes can stand in a text line without quotes.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:/[]*@+,".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_written_as_their_display_writes_them() {
        let mut line = String::new();
        let mut writer = LineWriter::start(&mut line, ValueForm::Text);
        for number in [0, 7, 10, 999, 1_000_000_007, u64::MAX] {
            writer.number("n", number);
        }
        for micros in [0, 1, 42, 999, 1000, 61_000_007] {
            writer.milliseconds("ms", Duration::from_micros(micros));
        }
        for address in ["0.0.0.0:0", "10.200.3.255:65535", "[fd00::7]:80"] {
            writer.address("a", address.parse().unwrap());
        }
        writer.end();
        let expected = "n=0 n=7 n=10 n=999 n=1000000007 n=18446744073709551615 ms=0.000 ms=0.001 ms=0.042 \
                        ms=0.999 ms=1.000 ms=61000.007 a=0.0.0.0:0 a=10.200.3.255:65535 a=[fd00::7]:80\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn what_needs_an_escape_has_one_wherever_it_stands() {
        let mut line = String::new();
        let mut writer = LineWriter::start(&mut line, ValueForm::Json);
        for text in ["", "plain", "\"a\\", "a\nb", "\u{e4}\u{1f600}z", "~ \u{7f}"] {
            writer.text("t", text);
        }
        writer.end();
        let expected = r#"{"t":"","t":"plain","t":"\"a\\","t":"a\u000ab","t":"\u00e4\ud83d\ude00z","t":"~ \u007f"}"#;
        assert_eq!(line.trim_end(), expected);
    }
}
