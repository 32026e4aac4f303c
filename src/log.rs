//! strait's own log: what it says of itself, on stderr, through `tracing`.
//!
//! Whoever logs never waits: lines go through a bounded queue, and those lost on the way are counted
//! in `strait_log_lines_dropped_total{log="own"}`. The filter can be changed while the process runs.
//! One event is one line, whatever is in it.

mod filter;
pub(crate) mod queue;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{LogConfig, LogFormat};
use crate::metrics::Metrics;
use queue::{Dropped, LineQueue, QueueGuard};

/// What the label `log` of `strait_log_lines_dropped_total` says.
const NAME: &str = "own";
/// Lines that may wait for stderr.
const QUEUE: usize = 4096;

/// Why the log is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("not a log filter: {0}")]
    Filter(String),
    /// Another subscriber is there already.
    #[error("the log was set up before")]
    AlreadySet,
    /// The log that this controls has ended.
    #[error("the log is gone")]
    Gone,
    /// A counter could not be made; a defect.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// Changes what is logged. Cloning is cheap; all clones control the same log.
#[derive(Clone)]
pub struct LogControl(Arc<Mutex<Controlled>>);

struct Controlled {
    /// As it was asked for: a parsed filter does not print as it was written.
    filter: String,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// Writes what is queued when dropped, for at most a second.
#[derive(Debug)]
#[must_use = "lines still queued are lost when the process ends before this is dropped"]
pub struct LogGuard {
    _queue: QueueGuard,
}

/// Makes the log on stderr the process's one. Colours only on a terminal.
///
/// # Errors
/// [`LogError::Filter`] for a level that is not one, [`LogError::AlreadySet`] the second time.
pub fn init(
    config: &LogConfig,
    metrics: Option<&Metrics>,
) -> Result<(LogControl, LogGuard), LogError> {
    let stderr = io::stderr();
    let ansi = stderr.is_terminal();
    // A descriptor of its own: a thread stuck in a write must not hold the lock of std's stderr,
    // which a panic message needs.
    let writer: Box<dyn Write + Send> = match stderr.as_fd().try_clone_to_owned() {
        Ok(stderr) => Box::new(File::from(stderr)),
        Err(_) => Box::new(stderr),
    };
    let (subscriber, control, guard) = build(config, metrics, writer, ansi)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
    Ok((control, guard))
}

/// A log on `writer` that is not the process's one: for `tracing::subscriber::with_default`.
///
/// # Errors
/// [`LogError::Filter`] for a level that is not one.
pub fn to_writer<W: Write + Send + 'static>(
    config: &LogConfig,
    metrics: Option<&Metrics>,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogControl, LogGuard), LogError> {
    build(config, metrics, writer, false)
}

fn build<W: Write + Send + 'static>(
    config: &LogConfig,
    metrics: Option<&Metrics>,
    writer: W,
    ansi: bool,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogControl, LogGuard), LogError> {
    let (filter, handle) = reload::Layer::new(filter::parse(&config.level)?);
    let dropped = match metrics {
        Some(metrics) => Dropped::of(metrics, NAME),
        None => Dropped::uncounted()?,
    };
    let (queue, guard) = LineQueue::start("log", QUEUE, dropped, writer);
    // Errors of its own would go to stderr by `eprintln!`, which panics when stderr is closed.
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(OneLine { queue, ansi });
    let layer = match config.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text => layer.with_ansi(ansi).boxed(),
    };
    let controlled = Controlled {
        filter: config.level.to_string(),
        handle,
    };
    let control = LogControl(Arc::new(Mutex::new(controlled)));
    let subscriber = Registry::default().with(filter).with(layer);
    Ok((subscriber, control, LogGuard { _queue: guard }))
}

impl LogControl {
    /// Logs by `filter` from now on: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or
    /// levels by part of the program such as `info,strait::proxy=debug`.
    ///
    /// # Errors
    /// [`LogError::Filter`] for what is not a filter; the one before stays.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = filter::parse(filter)?;
        let mut controlled = self.lock();
        controlled
            .handle
            .reload(parsed)
            .map_err(|_| LogError::Gone)?;
        filter.clone_into(&mut controlled.filter);
        Ok(())
    }

    /// The filter in force, as it was asked for.
    pub fn current(&self) -> String {
        self.lock().filter.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Controlled> {
        // Both fields are whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogControl").field(&self.current()).finish()
    }
}

/// Queues each event, which arrives in one piece, as one line without control characters: `tracing`
/// writes a `Display` value as it is, line breaks and commands for a terminal included.
#[derive(Debug, Clone)]
struct OneLine {
    queue: LineQueue,
    /// Escape characters are the colours of a terminal, and stay.
    ansi: bool,
}

impl<'a> MakeWriter<'a> for OneLine {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for OneLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        let mut line = String::with_capacity(event.len() + 1);
        for c in String::from_utf8_lossy(text).chars() {
            if c.is_control() && !(self.ansi && c == '\x1b') {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        line.push('\n');
        self.queue.push(line.as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
