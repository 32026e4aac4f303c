//! The access log: one line for each connection, on stdout.
//!
//! Traffic never waits for it. A line goes into a bounded queue that one thread writes. Lines that find
//! the queue full, cannot be written, or exceed the rate for refused connections are counted in
//! `strait_log_lines_dropped_total{log="access"}` instead.
//!
//! A line is printable ASCII, in JSON or as `key=value` with JSON strings where a value needs quotes.
//! Keys come in a fixed order; a key without a value is left out. `flags` holds Envoy's response flags,
//! `-` for none.

mod budgets;
mod line;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;

use crate::client_hello::Offers;
use crate::clock;
use crate::config::{AccessLogConfig, Fingerprint, LogFormat};
use crate::limits;
use crate::log::queue::{Dropped, LineQueue, QueueGuard, share_of};
use crate::metrics::{DroppedLine, LogName, Metrics};
use crate::outcome::{EndedBy, LogRate, Outcome};
use crate::verdict::{Confidence, Flights, Resumption, Side, alert_name, cipher_name, group_name};
use budgets::{Budgets, LeftOutEntries};
use line::LineWriter;

/// The value of the label `log` of `strait_log_lines_dropped_total`.
const NAME: LogName = LogName::Access;
/// The size of the buffer that a thread keeps for its next line, in bytes.
const KEPT_BUFFER: usize = 4096;

/// Writes the access log. Cloning is cheap; all clones share queue and rate.
#[derive(Debug, Clone)]
pub struct AccessLog(Option<Arc<SharedLog>>);

/// The end of the access log. Dropping it writes the queued lines, for at most a second.
#[derive(Debug)]
#[must_use = "lines still queued are lost when the process ends before this is dropped"]
pub struct AccessLogGuard {
    _queue: QueueGuard,
}

#[derive(Debug)]
struct SharedLog {
    policy: Arc<Policy>,
    ja4: AtomicBool,
    rate_limited: IntCounter,
    queue: LineQueue,
    /// The number of places in the queue for one outcome of one source group.
    share: usize,
}

/// The part that the writing thread needs too.
#[derive(Debug)]
struct Policy {
    /// See [`format_code`].
    format: AtomicU8,
    refused_per_second: AtomicU32,
    budgets: Budgets,
}

/// The content of one line: a connection that has ended.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The time when it ended.
    pub ended: SystemTime,
    /// Its number, unique in the process.
    pub connection: u64,
    /// The listener's name.
    pub listener: &'a str,
    /// The client's address: the peer's, or the one that its PROXY header announced.
    pub source: SocketAddr,
    /// The peer that announced the client's address.
    pub proxy: Option<SocketAddr>,
    /// The name of the source group.
    pub source_group: &'a str,
    /// The server name that the client sent, valid or not. It is escaped, and cut after 512 bytes.
    pub server_name: Option<&'a str>,
    /// The ALPN offers of the client, valid or not. They are escaped, and cut after 512 bytes.
    pub alpn: Option<&'a str>,
    /// The versions and post-quantum groups that the client offered.
    pub offers: Offers,
    /// The flights of the TLS handshake, if the connection relayed.
    pub flights: Option<Flights>,
    /// The client's JA4, if the config asks for it.
    pub ja4: Option<&'a str>,
    /// The route that took it.
    pub route: Option<&'a str>,
    /// The upstream of that route.
    pub upstream: Option<&'a str>,
    /// The endpoint that it went to, or the last one that was tried.
    pub endpoint: Option<SocketAddr>,
    /// The address from which strait has connected to the endpoint, if the connection relayed: the endpoint's own log
    /// has it as the peer.
    pub upstream_local: Option<SocketAddr>,
    /// The time from which on the source of the route or of the endpoints may be behind, if it is.
    pub stale_since: Option<SystemTime>,
    /// The number of endpoints tried.
    pub attempts: u32,
    /// The reason why it ended.
    pub outcome: Outcome,
    /// Details of the reason, for people.
    pub detail: Option<&'a str>,
    /// The party that ended it.
    pub ended_by: EndedBy,
    /// The certainty of the outcome. Written only if it is inferred.
    pub confidence: Confidence,
    /// Bytes that went from downstream to upstream.
    pub to_upstream: u64,
    /// Bytes that went from upstream to downstream.
    pub to_downstream: u64,
    /// The time from accept to the end of the hello.
    pub hello: Option<Duration>,
    /// The time from the first connect attempt to the connection, or to giving up.
    pub connect: Option<Duration>,
    /// The time from accept to close.
    pub duration: Duration,
}

/// The part of `text` that a line needs. A longer text keeps one more character than a line shows, so
/// that the line can mark the cut.
pub fn shown(text: &str) -> &str {
    let end = text.ceil_char_boundary(line::MAX_TEXT + 1);
    text.get(..end).unwrap_or(text)
}

impl AccessLog {
    /// Starts the access log on stdout. The guard must live until the process ends.
    pub fn start(config: &AccessLogConfig, metrics: &Metrics) -> (Self, AccessLogGuard) {
        // A descriptor of its own: std's stdout flushes line by line, and a thread stuck in a write
        // would hold its lock against every other that prints.
        match io::stdout().as_fd().try_clone_to_owned() {
            Ok(stdout) => Self::to_writer(config, metrics, File::from(stdout)),
            Err(_) => Self::to_writer(config, metrics, io::stdout()),
        }
    }

    /// Starts the access log on `writer`, which may block or fail.
    pub fn to_writer(
        config: &AccessLogConfig,
        metrics: &Metrics,
        writer: impl Write + Send + 'static,
    ) -> (Self, AccessLogGuard) {
        let dropped = Dropped::of(metrics, NAME);
        let policy = Arc::new(Policy {
            format: AtomicU8::new(format_code(config.format)),
            refused_per_second: AtomicU32::new(config.refused_per_second),
            budgets: Budgets::default(),
        });
        let remarks = {
            let policy = policy.clone();
            move |lines: &mut Vec<u8>| policy.sum_up(lines)
        };
        let (queue, guard) = LineQueue::start("access-log", config.queue, dropped, writer, remarks);
        let shared = SharedLog {
            policy,
            ja4: AtomicBool::new(wants_ja4(config)),
            share: share_of(config.queue),
            rate_limited: metrics.log_lines_dropped(NAME, DroppedLine::RateLimit),
            queue,
        };
        (
            Self(Some(Arc::new(shared))),
            AccessLogGuard { _queue: guard },
        )
    }

    /// An access log that never writes, whatever a later config says.
    pub fn off() -> Self {
        Self(None)
    }

    /// Takes format and rate from `config`. The queue keeps its size.
    pub fn reconfigure(&self, config: &AccessLogConfig) {
        if let Some(shared) = &self.0 {
            let policy = &shared.policy;
            policy
                .format
                .store(format_code(config.format), Ordering::Relaxed);
            policy
                .refused_per_second
                .store(config.refused_per_second, Ordering::Relaxed);
            shared.ja4.store(wants_ja4(config), Ordering::Relaxed);
        }
    }

    /// Whether lines are written at all.
    pub fn is_on(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| shared.policy.format.load(Ordering::Relaxed) != 0)
    }

    /// Whether lines must contain the client's JA4, which takes time to compute.
    pub fn wants_ja4(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| shared.ja4.load(Ordering::Relaxed))
    }

    /// Queues the line of a connection, unless it was a probe or the budget of its outcome and source
    /// group is used up. Never waits.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(shared) = &self.0 else { return };
        let policy = &shared.policy;
        let Some(format) = format_of(policy.format.load(Ordering::Relaxed)) else {
            return;
        };
        let rate = entry.outcome.log_rate();
        if rate == LogRate::Never {
            return;
        }
        let Some(budget) = policy.budgets.of(entry.source_group, entry.outcome) else {
            return;
        };
        if rate == LogRate::Refusal {
            let per_second = policy.refused_per_second.load(Ordering::Relaxed);
            if !budget.admits(per_second, limits::now()) {
                shared.rate_limited.inc();
                budget.leave_out(|| entry.source);
                return;
            }
        }
        let Some(place) = budget.place(shared.share) else {
            shared.queue.refuse();
            budget.leave_out(|| entry.source);
            return;
        };
        thread_local! {
            static LINE: RefCell<String> = RefCell::default();
        }
        // A record can be written while its thread ends, when thread locals are gone.
        let mut line = LINE.try_with(RefCell::take).unwrap_or_default();
        entry.format(format, &mut line);
        if !shared.queue.push(line.as_bytes(), Some(Box::new(place))) {
            budget.leave_out(|| entry.source);
        }
        line.clear();
        line.shrink_to(KEPT_BUFFER);
        let _ = LINE.try_with(|kept| kept.replace(line));
    }
}

impl Policy {
    /// Appends a line for each outcome and source group whose lines were left out.
    fn sum_up(&self, lines: &mut Vec<u8>) {
        let Some(format) = format_of(self.format.load(Ordering::Relaxed)) else {
            return;
        };
        let now = SystemTime::now();
        let mut line = String::new();
        for left_out in self.budgets.left_out() {
            left_out.format(format, now, &mut line);
            lines.extend_from_slice(line.as_bytes());
            line.clear();
        }
    }
}

/// A time in RFC 3339, UTC.
fn timestamp(line: &mut LineWriter<'_>, key: &'static str, time: SystemTime) {
    let time = clock::writable(time);
    line.plain(key, humantime::format_rfc3339_millis(time));
}

/// Writes the TLS parameters that the two sides have agreed on.
fn session(line: &mut LineWriter<'_>, flights: &Flights, asks_to_resume: bool) {
    if let Some(version) = flights.version() {
        line.plain("tls_version", version.label());
    }
    for (key, number, name) in [
        (
            "tls_cipher",
            flights.cipher(),
            cipher_name as fn(u16) -> Option<&'static str>,
        ),
        ("tls_group", flights.group(), group_name),
    ] {
        if let Some(number) = number {
            named(line, key, number, name(number));
        }
    }
    if flights.retried() {
        line.text("hello_retry", "yes");
    }
    let resumes = match flights.resumption() {
        Some(Resumption::Accepted) => Some("yes"),
        Some(Resumption::Declined) if asks_to_resume => Some("no"),
        None if asks_to_resume => Some("asked"),
        _ => None,
    };
    if let Some(resumes) = resumes {
        line.text("resumes", resumes);
    }
    if let Some((by, code)) = flights.plain_alert() {
        named(line, "alert", code.into(), alert_name(code));
        line.plain("alert_by", by);
    }
    certificates(line, flights);
}

/// Writes what the certificates say that came in the clear. Nobody has verified it, and the keys say so.
fn certificates(line: &mut LineWriter<'_>, flights: &Flights) {
    for (side, key) in [
        (Side::Downstream, "downstream_certificate_unauthenticated"),
        (Side::Upstream, "upstream_certificate_unauthenticated"),
    ] {
        let certificate = flights.certificate(side);
        if certificate.is_known() {
            line.text(key, &certificate.to_string());
        }
    }
}

/// A number of TLS by its name, or in hex.
fn named(line: &mut LineWriter<'_>, key: &'static str, number: u16, name: Option<&'static str>) {
    match name {
        Some(name) => line.text(key, name),
        None => line.plain(key, format_args!("{number:#06x}")),
    }
}

impl LeftOutEntries {
    fn format(&self, format: LogFormat, now: SystemTime, line: &mut String) {
        let mut line = LineWriter::start(line, format);
        timestamp(&mut line, "time", now);
        line.text("source_group", &self.group);
        line.plain("outcome", self.outcome.label());
        line.number("suppressed", self.count);
        if let Some(sample) = self.sample {
            line.plain("sample", sample);
        }
        line.end();
    }
}

impl Entry<'_> {
    fn format(&self, format: LogFormat, line: &mut String) {
        let mut line = LineWriter::start(line, format);
        timestamp(&mut line, "time", self.ended);
        let start = self.ended.checked_sub(self.duration);
        timestamp(&mut line, "start", start.unwrap_or(self.ended));
        line.number("connection", self.connection);
        line.text("listener", self.listener);
        line.plain("source", self.source);
        if let Some(proxy) = self.proxy {
            line.plain("proxy", proxy);
        }
        line.text("source_group", self.source_group);
        for (key, value) in [("server_name", self.server_name), ("alpn", self.alpn)] {
            if let Some(value) = value {
                line.text(key, value);
            }
        }
        if let Some(versions) = self.offers.versions() {
            line.plain("tls_versions", versions);
        }
        if let Some(groups) = self.offers.groups() {
            line.plain("pq_groups", groups);
        }
        if let Some(flights) = &self.flights {
            session(&mut line, flights, self.offers.resumes());
        }
        for (key, value) in [
            ("ja4", self.ja4),
            ("route", self.route),
            ("upstream", self.upstream),
        ] {
            if let Some(value) = value {
                line.text(key, value);
            }
        }
        if let Some(endpoint) = self.endpoint {
            line.plain("endpoint", endpoint);
        }
        if let Some(local) = self.upstream_local {
            line.plain("upstream_local", local);
        }
        if let Some(since) = self.stale_since {
            timestamp(&mut line, "stale_since", since);
        }
        line.number("attempts", self.attempts);
        line.plain("outcome", self.outcome.label());
        line.plain("flags", self.outcome.envoy_flag());
        if let Some(detail) = self.detail {
            line.text("detail", detail);
        }
        line.text("ended_by", self.ended_by.label());
        if self.confidence == Confidence::Inferred {
            line.text("confidence", self.confidence.label());
        }
        line.number("to_upstream_bytes", self.to_upstream);
        line.number("to_downstream_bytes", self.to_downstream);
        for (key, value) in [
            ("hello_ms", self.hello),
            ("connect_ms", self.connect),
            ("duration_ms", Some(self.duration)),
        ] {
            if let Some(value) = value {
                line.milliseconds(key, value);
            }
        }
        line.end();
    }
}

fn wants_ja4(config: &AccessLogConfig) -> bool {
    config.format.is_some() && config.fingerprint == Some(Fingerprint::Ja4)
}

/// The code of a format. An atomic cannot hold an `Option<LogFormat>`.
fn format_code(format: Option<LogFormat>) -> u8 {
    match format {
        None => 0,
        Some(LogFormat::Json) => 1,
        Some(LogFormat::Text) => 2,
    }
}

fn format_of(code: u8) -> Option<LogFormat> {
    match code {
        1 => Some(LogFormat::Json),
        2 => Some(LogFormat::Text),
        _ => None,
    }
}
