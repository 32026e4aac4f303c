//! A line in the operator's own format: the text of the format, with the values of one connection.
//!
//! The values are written first, each as one word, and then put into their places. A field without a value is
//! `-`, as in Envoy's lines.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::entry::{Entry, LineEvent};
use super::line::{LineWriter, ValuePlaces};
use crate::clock;
use crate::config::{
    AddressPart, LineAddress, LinePattern, LineTime, LineValue, PatternPart, SampleShare, TimePart,
};
use crate::tls_version::TlsVersion;
use crate::verdict::Flights;

/// The size of the buffer that is kept for the next line, in bytes.
const KEPT: usize = 4096;

/// The values of a line, one behind the other.
#[derive(Debug, Default)]
pub(super) struct LineValues {
    values: String,
    places: ValuePlaces,
}

impl LineValues {
    /// Appends the line of `entry` to `line`.
    pub(super) fn write(
        &mut self,
        pattern: &LinePattern,
        entry: &Entry<'_>,
        sampled: Option<SampleShare>,
        line: &mut String,
    ) {
        let mut writer = LineWriter::words(&mut self.values, &mut self.places);
        entry.write(&mut writer, sampled);
        for part in pattern.parts() {
            match part {
                PatternPart::Text(text) => line.push_str(text),
                PatternPart::Value(value, longest) => {
                    let from = line.len();
                    self.value(value, entry, line);
                    if line.len() == from {
                        line.push('-');
                    }
                    if let Some(longest) = longest {
                        cut(line, from, *longest);
                    }
                }
            }
        }
        line.push('\n');
        self.places.clear();
        self.values.clear();
        self.values.shrink_to(KEPT);
    }

    /// Appends a value, or nothing.
    fn value(&self, value: &LineValue, entry: &Entry<'_>, line: &mut String) {
        match value {
            LineValue::Field("flags") => line.push_str(flags(entry.event)),
            LineValue::Field(key) => line.push_str(self.of(key)),
            LineValue::Address(of, part) => address(entry, *of, *part, line),
            LineValue::Time(of, parts) => time(entry, *of, parts.as_deref(), line),
            LineValue::Duration => append(line, clock::millis(entry.duration)),
            LineValue::Event => line.push_str(match entry.event {
                LineEvent::Open => "TcpUpstreamConnected",
                LineEvent::Interval => "TcpPeriodic",
                LineEvent::End(_) => "TcpConnectionEnd",
            }),
            LineValue::TlsVersion => {
                line.push_str(match entry.flights.as_ref().and_then(Flights::version) {
                    Some(TlsVersion::Tls13) => "TLSv1.3",
                    Some(TlsVersion::Tls12) => "TLSv1.2",
                    Some(TlsVersion::Tls11) => "TLSv1.1",
                    Some(TlsVersion::Tls10) => "TLSv1",
                    Some(TlsVersion::Other) | None => "",
                });
            }
        }
    }

    /// The value of the field with that key, empty if it has none.
    fn of(&self, key: &str) -> &str {
        let mut places = self.places.iter();
        let Some((_, from)) = places.find(|(known, _)| *known == key) else {
            return "";
        };
        let to = places.next().map_or(self.values.len(), |(_, next)| *next);
        self.values.get(*from..to).unwrap_or_default()
    }
}

fn append(line: &mut String, value: impl Display) {
    use std::fmt::Write;
    // Writing into a String fails only when a Display fails. The text written so far stays.
    let _ = write!(line, "{value}");
}

/// Envoy's flags for an event.
const fn flags(event: LineEvent) -> &'static str {
    match event {
        LineEvent::Open | LineEvent::Interval => "-",
        LineEvent::End(end) => end.outcome.envoy_flag(),
    }
}

fn address(entry: &Entry<'_>, of: LineAddress, part: AddressPart, line: &mut String) {
    let address: Option<SocketAddr> = match of {
        LineAddress::Downstream => Some(entry.source),
        LineAddress::DownstreamDirect => Some(entry.proxy.unwrap_or(entry.source)),
        LineAddress::DownstreamLocal => entry.downstream_local,
        LineAddress::Upstream => entry.endpoint,
        LineAddress::UpstreamLocal => entry.upstream_local,
    };
    let Some(address) = address else { return };
    match part {
        AddressPart::Whole => append(line, address),
        AddressPart::Ip => append(line, address.ip()),
        AddressPart::Port => append(line, address.port()),
    }
}

fn time(entry: &Entry<'_>, of: LineTime, parts: Option<&[TimePart]>, line: &mut String) {
    let at: SystemTime = clock::writable(match of {
        LineTime::Start => entry.start(),
        LineTime::Emit => entry.at,
    });
    let Some(parts) = parts else {
        return append(line, humantime::format_rfc3339_millis(at));
    };
    let written = humantime::format_rfc3339_nanos(at).to_string();
    for part in parts {
        match part {
            TimePart::Text(c) => line.push(*c),
            TimePart::Digits(from, to) => {
                line.push_str(written.get(*from..*to).unwrap_or_default());
            }
            TimePart::Seconds => {
                let since = at.duration_since(SystemTime::UNIX_EPOCH);
                append(line, since.unwrap_or_default().as_secs());
            }
        }
    }
}

/// Cuts what stands in `line` behind `from` to `longest` characters. An escape is cut as a whole: half of one could
/// escape the text behind it.
fn cut(line: &mut String, from: usize, longest: usize) {
    let value = line.get(from..).unwrap_or_default();
    let mut end = 0;
    while let Some(rest) = value.get(end..).filter(|rest| !rest.is_empty()) {
        let length = match rest.as_bytes() {
            // The first half of a pair of UTF-16.
            [b'\\', b'u', b'd', b'8'..=b'b', ..] => 12,
            [b'\\', b'u', ..] => 6,
            [b'\\', ..] => 2,
            _ => 1,
        };
        if end + length > longest {
            break;
        }
        end += length;
    }
    line.truncate(from + end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_leaves_no_half_of_an_escape() {
        for (text, longest, left) in [
            ("abc", 0, ""),
            ("abc", 2, "ab"),
            ("abc", 9, "abc"),
            (r"a\u001bc", 6, "a"),
            (r"a\u001bc", 7, r"a\u001b"),
            (r"a\ud83e\udd80", 12, "a"),
            (r"a\ud83e\udd80", 13, r"a\ud83e\udd80"),
            (r#"a\""#, 2, "a"),
            (r"a\\", 3, r"a\\"),
        ] {
            let mut line = format!("x{text}");
            cut(&mut line, 1, longest);
            assert_eq!(line, format!("x{left}"), "{text} {longest}");
        }
    }
}
