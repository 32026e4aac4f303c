//! The text of a table of flights, which `tests/flights/README.md` describes, and its shape.

use std::fmt::Write;

use strait::tools::records::LogLine;
use tls_parser::{TlsMessage, TlsMessageHandshake, parse_tls_message_handshake};

use super::packets::Event;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const HEADER: usize = 5;

/// The lengths of encrypted records in TLS 1.3 by which the judge knows an alert, an empty Certificate and a
/// Finished, each with and without Java's padding.
const TELLING: [usize; 10] = [19, 35, 25, 41, 53, 69, 85, 61, 77, 93];

/// The extensions of a ServerHello that count.
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;

/// The SHA-256 that is the random of a HelloRetryRequest begins so.
const RETRY: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];

/// A table: its words are those of the text, and of the shape.
#[derive(Debug)]
pub struct Table {
    about: String,
    expected: String,
    alpn: Option<String>,
    lines: Vec<Line>,
}

/// The acts of one side until the other did something.
#[derive(Debug)]
struct Line {
    by_client: bool,
    words: Vec<String>,
}

/// The records of one side, of which the last may be in parts.
#[derive(Debug, Default)]
struct Records {
    rest: Vec<u8>,
    begun: bool,
    not_tls: bool,
}

impl Table {
    /// The table of a connection, with what strait's line says of it.
    pub fn of(events: Vec<Event>, about: &str, line: &LogLine) -> Self {
        let by = line.ended_by.as_deref().unwrap_or("-");
        let confidence = line.confidence.as_deref().unwrap_or("seen");
        let mut table = Self {
            about: about.to_owned(),
            expected: format!("{} {by} {confidence}", line.outcome),
            alpn: line.alpn.clone(),
            lines: Vec::new(),
        };
        let (mut client, mut server) = (Records::default(), Records::default());
        let mut closed = [false; 2];
        for event in events {
            let records = if event.by_client {
                &mut client
            } else {
                &mut server
            };
            let mut words = records.take(&event.bytes);
            if event.fin {
                words.extend(records.unfinished());
                words.push("fin".to_owned());
                closed[usize::from(event.by_client)] = true;
            }
            if let Some(unacknowledged) = event.reset {
                words.extend(records.unfinished());
                words.push(format!("rst:{unacknowledged}"));
            }
            match table.lines.last_mut() {
                Some(last) if last.by_client == event.by_client => last.words.extend(words),
                _ if words.is_empty() => {}
                _ => table.lines.push(Line {
                    by_client: event.by_client,
                    words,
                }),
            }
            // The gateway does not see the later ones.
            if event.reset.is_some() || closed == [true; 2] {
                break;
            }
        }
        table
    }

    /// The text.
    pub fn text(&self) -> String {
        let mut text = format!("# {}.\nexpect: {}\n", self.about, self.expected);
        if let Some(alpn) = &self.alpn {
            let _ = writeln!(text, "alpn: {alpn}");
        }
        for Line { by_client, words } in &self.lines {
            let side = if *by_client { '>' } else { '<' };
            let _ = writeln!(text, "{side} {}", words.join(" "));
        }
        text
    }

    /// The shape.
    pub fn shape(&self) -> String {
        shapes_in(&self.text()).pop().unwrap_or_default()
    }
}

/// The shapes of the tables of a file: the lengths that the judge looks at are in them, and of the others nothing.
pub fn shapes_in(text: &str) -> Vec<String> {
    let mut shapes: Vec<String> = Vec::new();
    let said = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    for line in said {
        if line.starts_with("expect:") {
            shapes.push(String::new());
        }
        let Some(shape) = shapes.last_mut() else {
            continue;
        };
        let mut before = String::new();
        // One offer of HTTP is as another.
        let words = line.split(' ').take(if line.starts_with("alpn:") {
            1
        } else {
            usize::MAX
        });
        for word in words {
            let flight = line.starts_with(['<', '>']);
            let word = if flight {
                coarse(word)
            } else {
                word.to_owned()
            };
            if word != before || !word.ends_with('+') {
                let _ = write!(shape, "{word} ");
            }
            before = word;
        }
        shape.push('\n');
    }
    shapes
}

/// A word without what does not count.
fn coarse(word: &str) -> String {
    let (kind, length) = word.split_once(':').unwrap_or((word, ""));
    let number = length.parse().unwrap_or(0);
    match (kind, length.split_once('=')) {
        ("22", Some((_, agreed))) => {
            let words = agreed.split(',').enumerate();
            let counts = words.filter(|(place, word)| *place == 0 || word.len() == 3);
            let words: Vec<_> = counts.map(|(_, word)| word).collect();
            format!("hello={}", words.join(","))
        }
        ("22", None) => "22+".to_owned(),
        ("23", None) if !TELLING.contains(&number) => "23+".to_owned(),
        ("raw", _) => "raw".to_owned(),
        ("rst", _) => format!(
            "rst{}",
            [256, 2920].iter().filter(|most| number > **most).count()
        ),
        _ => word.to_owned(),
    }
}

impl Records {
    /// The words of the records that are whole with these bytes.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend(bytes);
        let mut words = Vec::new();
        while !self.not_tls {
            let [kind, major, _, high, low, ..] = self.rest[..] else {
                break;
            };
            if !self.begun && (major != 3 || !(ALERT..=APPLICATION_DATA).contains(&kind)) {
                self.not_tls = true;
                words.push(format!("raw:{}", plain(&self.rest)));
                break;
            }
            let length = usize::from(u16::from_be_bytes([high, low]));
            if self.rest.len() < HEADER + length {
                break;
            }
            let rest = self.rest.split_off(HEADER + length);
            words.push(word(kind, &self.rest[HEADER..], !self.begun));
            (self.begun, self.rest) = (true, rest);
        }
        words
    }

    /// The word of a record that did not become whole.
    fn unfinished(&mut self) -> Option<String> {
        let [kind, _, _, high, low, ref came @ ..] = self.rest[..] else {
            return None;
        };
        let length = u16::from_be_bytes([high, low]);
        (!self.not_tls).then(|| format!("{kind}:{length}/{}", came.len()))
    }
}

/// The word of a record.
fn word(kind: u8, payload: &[u8], is_first: bool) -> String {
    let length = payload.len();
    match (kind, payload) {
        (ALERT, [level, code]) => format!("{kind}:{length}={level},{code}"),
        (HANDSHAKE, [2, ..]) if is_first => format!("{kind}:{length}={}", agreed(payload)),
        _ => format!("{kind}:{length}"),
    }
}

/// The version and the cipher of a ServerHello, in words.
fn agreed(payload: &[u8]) -> String {
    let Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ServerHello(hello)))) =
        parse_tls_message_handshake(payload)
    else {
        panic!("a ServerHello that nobody reads: {payload:02x?}");
    };
    let (mut version, mut group, mut resumes) = (hello.version.0, None, false);
    let mut rest = hello.ext.unwrap_or_default();
    while let [kind, kind_low, high, low, content @ ..] = rest {
        let kind = u16::from_be_bytes([*kind, *kind_low]);
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (content, after) = content.split_at(length.min(content.len()));
        match (kind, content) {
            (SUPPORTED_VERSIONS, [high, low]) => version = u16::from_be_bytes([*high, *low]),
            (KEY_SHARE, [high, low, ..]) => group = Some(u16::from_be_bytes([*high, *low])),
            (PRE_SHARED_KEY, _) => resumes = true,
            _ => {}
        }
        rest = after;
    }
    let mut text = format!("{version:04x},{:04x}", hello.cipher.0);
    if let Some(group) = group {
        let _ = write!(text, ",{group:04x}");
    }
    if hello.random.starts_with(&RETRY) {
        text += ",hrr";
    }
    if resumes {
        text += ",psk";
    }
    text
}

/// The first bytes of what is no TLS, as one word.
fn plain(bytes: &[u8]) -> String {
    let letter = |byte: &u8| {
        if byte.is_ascii_alphanumeric() || b"/.".contains(byte) {
            char::from(*byte)
        } else {
            '-'
        }
    };
    bytes.iter().take(16).map(letter).collect()
}

/// A record of the test's.
#[cfg(test)]
fn record(kind: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
    bytes.resize(HEADER + length, 1);
    bytes
}

#[test]
fn a_captured_connection_is_written_as_its_table() {
    let said = |by_client, bytes: Vec<u8>| Event {
        by_client,
        bytes,
        ..Event::default()
    };
    let whole = record(23, 300);
    let events = vec![
        said(true, record(22, 512)),
        said(false, [record(22, 90), whole[..100].to_vec()].concat()),
        said(false, whole[100..].to_vec()),
        said(true, [record(20, 1), record(23, 53)].concat()),
        Event {
            fin: true,
            ..said(false, record(23, 900)[..45].to_vec())
        },
        Event {
            reset: Some(24),
            ..said(true, Vec::new())
        },
        said(false, record(23, 19)),
    ];
    let line = serde_json::json!({
        "outcome": "upstream_reset", "connection": 1, "listener": "a", "source": "127.0.0.1:1", "source_group": "other", "attempts": 1,
        "flags": "-", "ended_by": "upstream", "alpn": "h2", "to_upstream_bytes": 0, "to_downstream_bytes": 0,
        "duration_ms": 1.0,
    });
    let table = Table::of(events, "A calls B", &serde_json::from_value(line).unwrap());
    let text = "# A calls B.\nexpect: upstream_reset upstream seen\nalpn: h2\n> 22:512\n< 22:90 23:300\n> 20:1 23:53\n\
                < 23:900/40 fin\n> rst:24\n";
    assert_eq!(table.text(), text);
    let shape = "expect: upstream_reset upstream seen \nalpn: \n> 22+ \n< 22+ 23+ \n> 20:1 23:53 \n< 23+ fin \n\
                 > rst0 \n";
    assert_eq!(table.shape(), shape);
}
