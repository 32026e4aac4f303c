//! The access log: one line for each connection, on stdout.
//!
//! Traffic never waits for it. A line goes into a bounded queue that one thread writes. Lines that find
//! the queue full, cannot be written, or exceed the rate for refused connections are counted in
//! `strait_log_lines_dropped_total{log="access"}` instead.
//!
//! A line is printable ASCII: JSON, or `key=value` with JSON strings where a value needs quotes, or a format of
//! the operator's own (`access_log::pattern`). Keys come in a fixed order; a key without a value is left out.
//! `flags` holds Envoy's response flags, `-` for none.
//!
//! A connection has a line when it ends. If the config says so, it also has one when its relay begins, and one
//! in each interval while it is open.

mod budgets;
mod entry;
mod line;
#[cfg(feature = "otlp")]
mod otlp;
mod pattern;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use prometheus::IntCounter;

use crate::clock;
use crate::config::{AccessLogConfig, Fingerprint, LineFormat, LinePattern, SampleShare};
use crate::limits;
use crate::log::queue::{Dropped, LineQueue, QueueGuard, share_of};
use crate::metrics::{DroppedLine, LogName, Metrics};
use crate::outcome::LogRate;
use budgets::{Budgets, LeftOutEntries, LineKind};
pub use entry::{Entry, LineEnd, LineEvent};
use line::{LineWriter, ValueForm};
use pattern::LineValues;

/// The value of the label `log` of `strait_log_lines_dropped_total`.
const NAME: LogName = LogName::Access;
/// The size of the buffer that a thread keeps for its next line, in bytes.
const KEPT_BUFFER: usize = 4096;

/// Writes the access log. Cloning is cheap; all clones share queue and rate.
#[derive(Debug, Clone)]
pub struct AccessLog(Option<Arc<SharedLog>>);

/// The end of the access log. Dropping it writes the queued lines, for at most a second, and then those for a collector,
/// for at most another.
#[derive(Debug)]
#[must_use = "lines still queued are lost when the process ends before this is dropped"]
pub struct AccessLogGuard {
    _queue: QueueGuard,
    _otlp: Option<QueueGuard>,
}

#[derive(Debug)]
struct SharedLog {
    policy: Arc<Policy>,
    ja4: AtomicBool,
    /// True if the lines have the address that the client has connected to.
    downstream_local: AtomicBool,
    /// True if connections have lines when they begin to relay.
    open: AtomicBool,
    /// The time between two lines of an open connection in milliseconds; 0 for no such lines.
    interval: AtomicU64,
    rate_limited: IntCounter,
    queue: LineQueue,
    /// The number of places in the queue for one outcome of one source group.
    share: usize,
    /// The queue of the lines for a collector.
    otlp: Option<LineQueue>,
}

/// The part that the writing thread needs too.
#[derive(Debug)]
struct Policy {
    /// See [`format_code`].
    format: AtomicU8,
    /// The operator's own format, if that is the one.
    pattern: ArcSwapOption<LinePattern>,
    refused_per_second: AtomicU32,
    /// In millionths.
    sample_ok: AtomicU32,
    budgets: Budgets,
}

/// Space for one line, kept by a thread.
#[derive(Debug, Default)]
struct LineDraft {
    line: String,
    fields: LineValues,
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
            format: AtomicU8::new(OFF),
            pattern: ArcSwapOption::empty(),
            refused_per_second: AtomicU32::new(0),
            sample_ok: AtomicU32::new(0),
            budgets: Budgets::default(),
        });
        let (otlp, otlp_guard) = exporter(config, metrics).unzip();
        let remarks = {
            let (policy, otlp) = (policy.clone(), otlp.clone());
            move |lines: &mut Vec<u8>| policy.sum_up(lines, otlp.as_ref())
        };
        let (queue, guard) = LineQueue::start("access-log", config.queue, dropped, writer, remarks);
        let shared = SharedLog {
            policy,
            ja4: AtomicBool::new(false),
            downstream_local: AtomicBool::new(false),
            open: AtomicBool::new(false),
            interval: AtomicU64::new(0),
            share: share_of(config.queue),
            rate_limited: metrics.log_lines_dropped(NAME, DroppedLine::RateLimit),
            queue,
            otlp,
        };
        let log = Self(Some(Arc::new(shared)));
        log.reconfigure(config);
        let guard = AccessLogGuard {
            _queue: guard,
            _otlp: otlp_guard,
        };
        (log, guard)
    }

    /// An access log that never writes, whatever a later config says.
    pub fn off() -> Self {
        Self(None)
    }

    /// Takes all but the size of the queue and the collector from `config`.
    pub fn reconfigure(&self, config: &AccessLogConfig) {
        let Some(shared) = &self.0 else { return };
        let policy = &shared.policy;
        let pattern = match &config.format {
            Some(LineFormat::Pattern(pattern)) => Some(pattern),
            _ => None,
        };
        policy.pattern.store(pattern.cloned().map(Arc::new));
        let code = format_code(config.format.as_ref());
        policy.format.store(code, Ordering::Relaxed);
        policy
            .refused_per_second
            .store(config.refused_per_second, Ordering::Relaxed);
        policy
            .sample_ok
            .store(config.sample_ok.get(), Ordering::Relaxed);
        let writes = code != OFF || shared.otlp.is_some();
        let interval = config.interval.filter(|_| writes);
        let interval = interval.map(clock::millis).unwrap_or_default();
        shared.interval.store(interval, Ordering::Relaxed);
        let local = pattern.is_some_and(LinePattern::has_downstream_local);
        shared.downstream_local.store(local, Ordering::Relaxed);
        shared.open.store(config.open && writes, Ordering::Relaxed);
        let ja4 = writes && config.fingerprint == Some(Fingerprint::Ja4);
        shared.ja4.store(ja4, Ordering::Relaxed);
    }

    /// Whether lines are written at all.
    pub fn is_on(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| {
            shared.otlp.is_some() || shared.policy.format.load(Ordering::Relaxed) != OFF
        })
    }

    /// Whether lines must contain the client's JA4, which takes time to compute.
    pub fn wants_ja4(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| shared.ja4.load(Ordering::Relaxed))
    }

    /// Whether a connection has a line when its relay begins.
    pub fn writes_open(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| shared.open.load(Ordering::Relaxed))
    }

    /// The time between two lines of a connection that is open, if it has such lines.
    pub fn interval(&self) -> Option<Duration> {
        let millis = self.0.as_ref()?.interval.load(Ordering::Relaxed);
        (millis != 0).then(|| Duration::from_millis(millis))
    }

    /// Whether the line of a connection that relays has the address that the client has connected to.
    pub fn wants_downstream_local(&self) -> bool {
        let shared = self.0.as_ref();
        shared.is_some_and(|shared| shared.downstream_local.load(Ordering::Relaxed))
    }

    /// Queues the line of a connection, unless it was a probe, it is not in the sample, or the budget of its outcome and source
    /// group is used up. Never waits.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(shared) = &self.0 else { return };
        let policy = &shared.policy;
        let format = policy.format.load(Ordering::Relaxed);
        if format == OFF && shared.otlp.is_none() {
            return;
        }
        let rate = match entry.event {
            LineEvent::Open | LineEvent::Interval => LogRate::Always,
            LineEvent::End(end) => end.outcome.log_rate(),
        };
        if rate == LogRate::Never {
            return;
        }
        let sampled = match policy.sample(entry) {
            Sample::All => None,
            Sample::In(share) => Some(share),
            Sample::Out => return,
        };
        let kind = LineKind::of(entry.event);
        let Some(budget) = policy.budgets.of(entry.source_group, kind) else {
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
        thread_local! {
            static DRAFT: RefCell<LineDraft> = RefCell::default();
        }
        // A record can be written while its thread ends, when thread locals are gone.
        let mut draft = DRAFT.try_with(RefCell::take).unwrap_or_default();
        if format != OFF {
            let place = budget.place(shared.share);
            let is_queued = match place {
                Some(place) => {
                    policy.write(format, entry, sampled, &mut draft);
                    let line = draft.line.as_bytes();
                    shared.queue.push(line, Some(Box::new(place)))
                }
                None => {
                    shared.queue.refuse();
                    false
                }
            };
            if !is_queued {
                budget.leave_out(|| entry.source);
            }
        }
        shared.export(format, entry, sampled, &mut draft);
        let line = &mut draft.line;
        line.clear();
        line.shrink_to(KEPT_BUFFER);
        let _ = DRAFT.try_with(|kept| kept.replace(draft));
    }
}

impl SharedLog {
    /// Queues the line for the collector, if there is one. `draft` may have the line in `format`.
    fn export(
        &self,
        format: u8,
        entry: &Entry<'_>,
        sampled: Option<SampleShare>,
        draft: &mut LineDraft,
    ) {
        let Some(otlp) = &self.otlp else { return };
        if format != JSON || draft.line.is_empty() {
            draft.line.clear();
            self.policy.write(JSON, entry, sampled, draft);
        }
        otlp.push(draft.line.as_bytes(), None);
    }
}

/// The queue of the lines for a collector, and its end.
#[cfg(feature = "otlp")]
fn exporter(config: &AccessLogConfig, metrics: &Metrics) -> Option<(LineQueue, QueueGuard)> {
    /// A batch of lines costs a request. Those of this time are one batch.
    const GATHER: Duration = Duration::from_millis(200);
    let config = config.otlp.as_ref()?;
    let dropped = Dropped::of(metrics, LogName::Otlp);
    match otlp::OtlpWriter::new(config, dropped.write_failed.clone()) {
        Ok(writer) => Some(LineQueue::start_gathering(
            "otlp",
            config.queue,
            Some(GATHER),
            dropped,
            writer,
            |_| {},
        )),
        Err(error) => {
            tracing::error!(%error, "the access log is not exported: access_log.otlp cannot start");
            None
        }
    }
}

/// Nothing: the config is refused if it asks for a collector.
#[cfg(not(feature = "otlp"))]
fn exporter(_: &AccessLogConfig, _: &Metrics) -> Option<(LineQueue, QueueGuard)> {
    None
}

/// The place of a connection in the sample of those that have lines.
enum Sample {
    /// All such connections have lines.
    All,
    /// It is among this share of them.
    In(SampleShare),
    /// It has no line.
    Out,
}

impl Policy {
    fn sample(&self, entry: &Entry<'_>) -> Sample {
        let share = SampleShare::millionths(self.sample_ok.load(Ordering::Relaxed));
        match share {
            Some(share) if share < SampleShare::ALL && entry.event.is_well() => {
                match share.takes(entry.connection) {
                    true => Sample::In(share),
                    false => Sample::Out,
                }
            }
            _ => Sample::All,
        }
    }

    /// Appends the line of `entry`.
    fn write(
        &self,
        format: u8,
        entry: &Entry<'_>,
        sampled: Option<SampleShare>,
        draft: &mut LineDraft,
    ) {
        let LineDraft { line, fields } = draft;
        let pattern = match format {
            PATTERN => self.pattern.load_full(),
            _ => None,
        };
        match pattern {
            Some(pattern) => fields.write(&pattern, entry, sampled, line),
            None => {
                let form = match format {
                    JSON => ValueForm::Json,
                    _ => ValueForm::Text,
                };
                let mut line = LineWriter::start(line, form);
                entry.write(&mut line, sampled);
                line.end();
            }
        }
    }

    /// Appends a line for each outcome and source group whose lines were left out.
    fn sum_up(&self, lines: &mut Vec<u8>, otlp: Option<&LineQueue>) {
        let form = match self.format.load(Ordering::Relaxed) {
            OFF => None,
            JSON => Some(ValueForm::Json),
            _ => Some(ValueForm::Text),
        };
        if form.is_none() && otlp.is_none() {
            return;
        }
        let now = SystemTime::now();
        let mut line = String::new();
        for left_out in self.budgets.left_out() {
            if let Some(form) = form {
                left_out.format(form, now, &mut line);
                lines.extend_from_slice(line.as_bytes());
                line.clear();
            }
            if let Some(otlp) = otlp {
                left_out.format(ValueForm::Json, now, &mut line);
                otlp.push(line.as_bytes(), None);
                line.clear();
            }
        }
    }
}

impl LeftOutEntries {
    fn format(&self, form: ValueForm, now: SystemTime, line: &mut String) {
        let mut line = LineWriter::start(line, form);
        entry::timestamp(&mut line, "time", now);
        line.text("source_group", &self.group);
        match self.kind {
            LineKind::Open => line.text("event", "open"),
            LineKind::Interval => line.text("event", "interval"),
            LineKind::End(outcome) => line.plain("outcome", outcome.label()),
        }
        line.number("suppressed", self.count);
        if let Some(sample) = self.sample {
            line.plain("sample", sample);
        }
        line.end();
    }
}

const OFF: u8 = 0;
const JSON: u8 = 1;
const TEXT: u8 = 2;
const PATTERN: u8 = 3;

/// The code of a format, for an atomic.
fn format_code(format: Option<&LineFormat>) -> u8 {
    match format {
        None => OFF,
        Some(LineFormat::Json) => JSON,
        Some(LineFormat::Text) => TEXT,
        Some(LineFormat::Pattern(_)) => PATTERN,
    }
}
