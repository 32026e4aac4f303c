//! The text form of the flights of a connection, which `tests/flights/README.md` describes.

use super::judge::{End, EndVerdict, judge};
use super::lengths::answers_are_long;
use super::records::HEADER;
use super::server_hello::{Agreed, written};
use super::side::Side;
use super::watch::FlightWatch;

/// One line: what a side sent in one go.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub side: Side,
    pub bytes: Vec<u8>,
    pub fin: bool,
    /// The side reset; the number is what its host had not acknowledged.
    pub reset: Option<u32>,
}

/// The flights of one connection.
#[derive(Debug, Default)]
pub(super) struct FlightTable {
    pub expected: String,
    pub alpn: Option<String>,
    pub lines: Vec<Line>,
}

impl FlightTable {
    /// The only table of a text.
    pub(super) fn parse(text: &str) -> Self {
        let mut tables = Self::parse_all(text);
        assert_eq!(tables.len(), 1, "{text}");
        tables.remove(0)
    }

    /// The tables of a text, each of which begins with `expect:`.
    pub(super) fn parse_all(text: &str) -> Vec<Self> {
        let mut tables: Vec<Self> = Vec::new();
        let text = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        for line in text.filter(|line| !line.is_empty()) {
            if let Some(expected) = line.strip_prefix("expect:") {
                tables.push(Self {
                    expected: expected.trim().to_owned(),
                    ..Self::default()
                });
                continue;
            }
            let table = tables.last_mut().expect("a table begins with `expect:`");
            if let Some(alpn) = line.strip_prefix("alpn:") {
                table.alpn = Some(alpn.trim().to_owned());
            } else {
                table.lines.push(parse_line(line));
            }
        }
        tables
    }

    /// The verdict on what the lines say, and its text in the form of `expect:`.
    pub(super) fn judged(&self) -> (EndVerdict, String) {
        self.judged_in_pieces(usize::MAX)
    }

    /// The same, if each word comes in pieces of `most` bytes.
    pub(super) fn judged_in_pieces(&self, most: usize) -> (EndVerdict, String) {
        let verdict = played(&self.lines, self.alpn.as_deref(), most);
        let said = format!(
            "{} {} {}",
            verdict.outcome.label(),
            verdict.by,
            verdict.confidence.label()
        );
        (verdict, said)
    }
}

/// The verdict on a connection in which `lines` passed.
pub(super) fn played(lines: &[Line], alpn: Option<&str>, most: usize) -> EndVerdict {
    let mut watch = FlightWatch::new();
    let long = alpn.is_some_and(answers_are_long);
    for line in lines {
        for piece in line.bytes.chunks(most) {
            watch.passed(line.side, piece);
        }
        if line.fin {
            watch.closed(line.side);
        }
        if let Some(unacknowledged) = line.reset {
            let by = line.side;
            return judge(&watch.flights(long), End::Reset { by, unacknowledged });
        }
        if watch.is_over() {
            break;
        }
    }
    judge(&watch.flights(long), End::Closed)
}

fn parse_line(line: &str) -> Line {
    let (side, words) = line.split_at(1);
    let side = match side {
        ">" => Side::Downstream,
        "<" => Side::Upstream,
        _ => panic!("a line begins with > or <: {line}"),
    };
    let mut parsed = Line {
        side,
        bytes: Vec::new(),
        fin: false,
        reset: None,
    };
    for word in words.split_whitespace() {
        match word.split_once(':').unwrap_or((word, "")) {
            ("fin", _) => parsed.fin = true,
            ("rst", "") => parsed.reset = Some(0),
            ("rst", unacknowledged) => parsed.reset = Some(unacknowledged.parse().unwrap()),
            ("raw", text) => parsed.bytes.extend(text.as_bytes()),
            (kind, rest) => parsed.bytes.extend(record(kind.parse().unwrap(), rest)),
        }
    }
    parsed
}

/// A record of type `kind`: its length, and what of its content counts.
fn record(kind: u8, text: &str) -> Vec<u8> {
    let (length, content) = text.split_once('=').unwrap_or((text, ""));
    if let Some((length, came)) = length.split_once('/') {
        let mut bytes = record(kind, length);
        bytes.truncate(HEADER + came.parse::<usize>().unwrap());
        return bytes;
    }
    let length: usize = length.parse().unwrap_or_else(|_| panic!("{text}"));
    let numbers: Vec<&str> = content.split(',').filter(|part| !part.is_empty()).collect();
    let payload = match (kind, numbers.as_slice()) {
        (22, [version, cipher, rest @ ..]) => {
            let hex = |text: &str| u16::from_str_radix(text, 16).unwrap();
            let group = rest.iter().find(|word| word.len() == 4);
            let agreed = Agreed {
                version: hex(version),
                cipher: hex(cipher),
                group: group.map_or(0, |group| hex(group)),
                retry: rest.contains(&"hrr"),
                pre_shared_key: rest.contains(&"psk"),
            };
            let body = written(agreed, length - 4);
            let mut message = vec![2];
            message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
            message.extend(body);
            message.resize(length.max(message.len()), 0);
            message
        }
        (21, [level, code]) => vec![level.parse().unwrap(), code.parse().unwrap()],
        (_, []) => vec![0; length],
        _ => panic!("{text}"),
    };
    sealed(kind, &payload)
}

/// A record with this content.
pub(super) fn sealed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3], &length[..], payload].concat()
}
