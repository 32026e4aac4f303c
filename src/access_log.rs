//! The access log: one line a connection, JSON or text.
//!
//! Written from worker threads: a line is formatted into a reused buffer and queued, and whoever
//! finds the queue full counts instead of waiting. Text that a client chose is escaped in both
//! formats, so that it can neither break a line nor forge a field.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use prometheus::IntCounter;

use crate::config::{AccessLogConfig, LogFormat};
use crate::line_writer::{LineWriter, LineWriterGuard, Lost};
use crate::metrics::Metrics;
use crate::outcome::Outcome;

/// What one line tells.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When the connection ended.
    pub ended: SystemTime,
    /// Its number in this process.
    pub connection: u64,
    /// The listener that accepted it.
    pub listener: &'a str,
    /// Where it came from.
    pub source: SocketAddr,
    /// The name of the group that the source belongs to.
    pub source_group: &'a str,
    /// The server name of its hello.
    pub server_name: Option<&'a str>,
    /// The ALPN protocols of its hello, joined by commas. Chosen by the client.
    pub alpn: Option<&'a str>,
    /// The route that took it.
    pub route: Option<&'a str>,
    /// That route's upstream.
    pub upstream: Option<&'a str>,
    /// The endpoint tried last.
    pub endpoint: Option<SocketAddr>,
    /// Connect attempts.
    pub attempts: u32,
    /// Why it ended.
    pub outcome: Outcome,
    /// What is known beyond the outcome. May hold text that the client chose.
    pub detail: Option<&'a str>,
    /// `downstream`, `upstream` or `gateway`.
    pub ended_by: Option<&'static str>,
    /// Bytes sent to the upstream.
    pub to_upstream: u64,
    /// Bytes sent to the downstream.
    pub to_downstream: u64,
    /// From accept to the end of the hello.
    pub hello: Option<Duration>,
    /// From the first connect attempt to the connection, or to giving up.
    pub connect: Option<Duration>,
    /// From accept to close.
    pub duration: Duration,
}

/// Writes entries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lines: LineWriter,
    config: ArcSwap<AccessLogConfig>,
    refused: PerSecond,
    rate_limited: IntCounter,
}

impl AccessLog {
    /// Starts the log with lines to `writer`. The guard writes what is queued when it is dropped.
    ///
    /// # Errors
    /// The thread that writes cannot be made.
    pub fn start(
        config: &AccessLogConfig,
        metrics: &Metrics,
        writer: impl Write + Send + 'static,
    ) -> io::Result<(Self, LineWriterGuard)> {
        let lost = Lost {
            queue_full: metrics.log_lines_dropped("access", "queue_full"),
            write_failed: metrics.log_lines_dropped("access", "write_failed"),
        };
        let (lines, guard) = LineWriter::start("access-log", writer, config.queue, lost)?;
        let inner = Inner {
            lines,
            config: ArcSwap::from_pointee(*config),
            refused: PerSecond::new(),
            rate_limited: metrics.log_lines_dropped("access", "rate_limit"),
        };
        Ok((Self(Arc::new(inner)), guard))
    }

    /// Takes over a new format and rate; the queue stays as long as it is.
    pub fn reconfigure(&self, config: &AccessLogConfig) {
        self.0.config.store(Arc::new(*config));
    }

    /// Writes one line, unless the log is off, the connection was a load balancer's probe, or more
    /// refused connections than the limit have been written this second.
    pub fn write(&self, entry: &Entry<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let config = self.0.config.load();
        let Some(format) = config.format else { return };
        if entry.outcome == Outcome::Probe {
            return;
        }
        if entry.outcome.is_refusal() && !self.0.refused.admit(config.refused_per_second) {
            self.0.rate_limited.inc();
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            // Writing to memory does not fail.
            let _ = entry.format(format, line);
            self.0.lines.write(line);
        });
    }
}

/// Counts events of the current second, without a lock.
#[derive(Debug)]
struct PerSecond {
    epoch: Instant,
    /// The second since `epoch` in the upper half, the events in it in the lower.
    state: AtomicU64,
}

impl PerSecond {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            state: AtomicU64::new(0),
        }
    }

    /// Whether one more fits under `limit` a second.
    fn admit(&self, limit: u32) -> bool {
        let second = self.epoch.elapsed().as_secs() << 32;
        let next = |state: u64| {
            let events = if state >> 32 == second >> 32 {
                state & 0xffff_ffff
            } else {
                0
            };
            (events < u64::from(limit)).then(|| second | (events + 1))
        };
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }
}

/// A value of one field.
enum Value<'a> {
    Text(&'a str),
    Shown(&'a dyn Display),
    Count(u64),
    Millis(Duration),
}

impl Entry<'_> {
    fn format(&self, format: LogFormat, line: &mut Vec<u8>) -> io::Result<()> {
        let mut first = true;
        if format == LogFormat::Json {
            line.push(b'{');
        }
        self.each(&mut |key, value| {
            if !std::mem::take(&mut first) {
                line.push(if format == LogFormat::Json {
                    b','
                } else {
                    b' '
                });
            }
            match format {
                LogFormat::Json => write_json(line, key, &value),
                LogFormat::Text => write_text(line, key, &value),
            }
        })?;
        if format == LogFormat::Json {
            line.push(b'}');
        }
        line.push(b'\n');
        Ok(())
    }

    /// Every field that is known, in the order of the line.
    fn each(&self, field: &mut dyn FnMut(&str, Value<'_>) -> io::Result<()>) -> io::Result<()> {
        use Value::{Count, Millis, Shown, Text};
        let text = |key, value: Option<&str>, field: &mut dyn FnMut(&str, Value<'_>) -> _| {
            value.map_or(Ok(()), |value| field(key, Text(value)))
        };
        field("time", Shown(&humantime::format_rfc3339_millis(self.ended)))?;
        field("connection", Count(self.connection))?;
        field("outcome", Text(self.outcome.label()))?;
        field("flags", Text(self.outcome.envoy_flag()))?;
        text("detail", self.detail, field)?;
        text("ended_by", self.ended_by, field)?;
        field("listener", Text(self.listener))?;
        field("source", Shown(&self.source))?;
        field("source_group", Text(self.source_group))?;
        text("server_name", self.server_name, field)?;
        text("alpn", self.alpn, field)?;
        text("route", self.route, field)?;
        text("upstream", self.upstream, field)?;
        if let Some(endpoint) = self.endpoint {
            field("endpoint", Shown(&endpoint))?;
        }
        field("attempts", Count(self.attempts.into()))?;
        field("to_upstream", Count(self.to_upstream))?;
        field("to_downstream", Count(self.to_downstream))?;
        if let Some(hello) = self.hello {
            field("hello_ms", Millis(hello))?;
        }
        if let Some(connect) = self.connect {
            field("connect_ms", Millis(connect))?;
        }
        field("duration_ms", Millis(self.duration))
    }
}

fn millis(duration: &Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn write_json(line: &mut Vec<u8>, key: &str, value: &Value<'_>) -> io::Result<()> {
    write!(line, "\"{key}\":")?;
    match value {
        // JSON escapes quotes and control characters; the rest of Unicode may stand as it is, but
        // for what a terminal or a log viewer would act on.
        Value::Text(text) if text.chars().any(is_unsafe) => {
            let escaped: String = text.chars().flat_map(escape_unsafe).collect();
            Ok(serde_json::to_writer(line, &escaped)?)
        }
        Value::Text(text) => Ok(serde_json::to_writer(line, text)?),
        // Addresses and times: nothing in them needs escaping.
        Value::Shown(shown) => write!(line, "\"{shown}\""),
        Value::Count(count) => write!(line, "{count}"),
        Value::Millis(duration) => write!(line, "{:.3}", millis(duration)),
    }
}

fn write_text(line: &mut Vec<u8>, key: &str, value: &Value<'_>) -> io::Result<()> {
    write!(line, "{key}=")?;
    match value {
        Value::Text(text) if is_bare(text) => write!(line, "{text}"),
        Value::Text(text) => write!(line, "\"{}\"", text.escape_default()),
        Value::Shown(shown) => write!(line, "{shown}"),
        Value::Count(count) => write!(line, "{count}"),
        Value::Millis(duration) => write!(line, "{:.3}", millis(duration)),
    }
}

/// Whether a text value needs no quotes.
fn is_bare(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    !text.is_empty() && text.bytes().all(plain)
}

/// Outside ASCII, anything may be a control, a line separator or a change of direction.
fn is_unsafe(character: char) -> bool {
    character.is_control() || !character.is_ascii()
}

fn escape_unsafe(character: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if is_unsafe(character) {
        (None, Some(character.escape_default()))
    } else {
        (Some(character), None)
    };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

#[cfg(test)]
mod tests;
