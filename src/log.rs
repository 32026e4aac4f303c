//! strait's own log: what it says of itself, on stderr, through `tracing`.
//!
//! Whoever logs never waits: lines go through a bounded queue, and those lost on the way are counted
//! in `strait_log_lines_dropped_total{log="own"}`. The filter can be changed while the process runs.
//! One event is one line, whatever is in it. One statement of the program writes no more than so many
//! lines a second, and a summary line says how many more there were.

pub(crate) mod budget;
mod callsites;
mod filter;
pub(crate) mod queue;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::clock;
use crate::config::{LogConfig, LogFilter, LogFilterError, LogFormat};
use crate::metrics::{LogName, Metrics};
use budget::{LineBudget, Placed};
use callsites::{Callsites, LeftOut};
use queue::{Dropped, LineQueue, QueueGuard, share_of};

/// What the label `log` of `strait_log_lines_dropped_total` says.
const NAME: LogName = LogName::Own;
/// Lines that may wait for stderr.
const QUEUE: usize = 4096;

/// Why the log is not as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("not a log filter: {0}")]
    Filter(#[from] LogFilterError),
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
    let (filter, handle) = reload::Layer::new(filter::for_tracing(&config.level)?);
    let dropped = match metrics {
        Some(metrics) => Dropped::of(metrics, NAME),
        None => Dropped::uncounted()?,
    };
    let callsites = Callsites::default();
    let remarks = {
        let (callsites, format) = (callsites.clone(), config.format);
        move |lines: &mut Vec<u8>| sum_up(&callsites, format, lines)
    };
    let (queue, guard) = LineQueue::start("log", QUEUE, dropped, writer, remarks);
    // Errors of its own would go to stderr by `eprintln!`, which panics when stderr is closed.
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(OneLine {
            queue,
            ansi,
            verbose: Arc::default(),
            place: None,
        });
    let layer = match config.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text => layer.with_ansi(ansi).boxed(),
    };
    let controlled = Controlled {
        filter: config.level.to_string(),
        handle,
    };
    let control = LogControl(Arc::new(Mutex::new(controlled)));
    let subscriber = Registry::default().with(filter).with(callsites).with(layer);
    Ok((subscriber, control, LogGuard { _queue: guard }))
}

impl LogControl {
    /// Logs by `filter` from now on: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or
    /// levels by part of the program such as `info,strait::proxy=debug`.
    ///
    /// # Errors
    /// [`LogError::Filter`] for what is not a filter; the one before stays.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let parsed = filter::for_tracing(&LogFilter::parse(filter)?)?;
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
struct OneLine {
    queue: LineQueue,
    /// Escape characters are the colours of a terminal, and stay.
    ansi: bool,
    /// What `debug` and `trace` together may take of the queue.
    verbose: Arc<LineBudget<()>>,
    /// The place of the line that is being written, if it needs one.
    place: Option<Result<Box<dyn Placed>, NoPlace>>,
}

/// There is none left.
struct NoPlace;

impl<'a> MakeWriter<'a> for OneLine {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self {
            queue: self.queue.clone(),
            ansi: self.ansi,
            verbose: self.verbose.clone(),
            place: None,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self {
        let mut writer = self.make_writer();
        if *metadata.level() > Level::INFO {
            let place = self.verbose.place(share_of(QUEUE));
            writer.place = Some(match place {
                Some(place) => Ok(Box::new(place)),
                None => Err(NoPlace),
            });
        }
        writer
    }
}

impl Write for OneLine {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let place = match self.place.take() {
            None => None,
            Some(Ok(place)) => Some(place),
            Some(Err(NoPlace)) => {
                self.queue.refuse();
                return Ok(event.len());
            }
        };
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        let mut line = String::with_capacity(event.len() + 1);
        one_line(&String::from_utf8_lossy(text), self.ansi, &mut line);
        line.push('\n');
        self.queue.push(line.as_bytes(), place);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends `text` without control characters; escape characters stay if `ansi`.
fn one_line(text: &str, ansi: bool, line: &mut String) {
    for c in text.chars() {
        if c.is_control() && !(ansi && c == '\x1b') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

/// Appends a line for each place of the program of which lines were left out.
fn sum_up(callsites: &Callsites, format: LogFormat, lines: &mut Vec<u8>) {
    let now = clock::now();
    for left_out in callsites.left_out() {
        let line = summary(&left_out, format, now);
        lines.extend_from_slice(line.as_bytes());
    }
}

fn summary(left_out: &LeftOut, format: LogFormat, now: SystemTime) -> String {
    const MESSAGE: &str = "more lines like this one were left out";
    let LeftOut {
        metadata,
        count,
        sample,
    } = left_out;
    let time = humantime::format_rfc3339_micros(now);
    let (level, target) = (metadata.level(), metadata.target());
    let mut line = match format {
        LogFormat::Json => serde_json::json!({
            "timestamp": time.to_string(),
            "level": level.as_str(),
            "message": MESSAGE,
            "suppressed": count,
            "sample": sample,
            "target": target,
        })
        .to_string(),
        LogFormat::Text => {
            let mut line = String::new();
            let text = format!(
                "{time} {level:>5} {target}: {MESSAGE} suppressed={count} sample={sample:?}"
            );
            one_line(&text, false, &mut line);
            line
        }
    };
    line.push('\n');
    line
}
