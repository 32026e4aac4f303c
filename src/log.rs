//! strait's own log: its messages on stderr, written through `tracing`.
//!
//! A thread that logs never waits: lines go through a bounded queue, and
//! `strait_log_lines_dropped_total{log="own"}` counts those lost on the way. The filter can be changed
//! while the process runs. One event is one line, whatever it contains. Each statement of the program
//! writes a limited number of lines a second; a summary line gives the number of the others.

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
use crate::terminal;
use budget::{LineBudget, Placed};
pub use callsites::TRACE_TARGET;
use callsites::{Callsites, LeftOutEvents};
use queue::{Dropped, LineQueue, QueueGuard, share_of};

/// The value of the label `log` of `strait_log_lines_dropped_total`.
const NAME: LogName = LogName::Own;
/// The number of lines that may wait for stderr.
const QUEUE: usize = 4096;

/// The reason why the log could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The text is not a log filter.
    #[error("not a log filter: {0}")]
    Filter(#[from] LogFilterError),
    /// The process has another `tracing` subscriber already.
    #[error("the log was set up before")]
    AlreadySet,
    /// The log that this controls has ended.
    #[error("the log is gone")]
    Gone,
    /// A counter could not be created, which is a defect.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// Changes the filter of the log. Cloning is cheap, and all clones control the same log.
#[derive(Clone)]
pub struct LogControl(Arc<Mutex<Controlled>>);

struct Controlled {
    /// The filter as it was written: a parsed filter prints differently.
    filter: String,
    handle: reload::Handle<EnvFilter, Registry>,
}

/// The end of the log. Dropping it writes the queued lines, for at most a second.
#[derive(Debug)]
#[must_use = "lines still queued are lost when the process ends before this is dropped"]
pub struct LogGuard {
    _queue: QueueGuard,
}

/// Makes the log on stderr the log of the process. It uses colours as [`terminal::has_colours`] says.
///
/// # Errors
/// [`LogError::Filter`] for a level that is not one, [`LogError::AlreadySet`] the second time.
pub fn init(
    config: &LogConfig,
    metrics: Option<&Metrics>,
) -> Result<(LogControl, LogGuard), LogError> {
    let stderr = io::stderr();
    let ansi = terminal::has_colours(&stderr);
    let form = EventForm::of(config.format, stderr.is_terminal());
    // A descriptor of its own: a thread that is stuck in a write must not hold the lock of std's
    // stderr, which a panic message needs.
    let writer: Box<dyn Write + Send> = match stderr.as_fd().try_clone_to_owned() {
        Ok(stderr) => Box::new(File::from(stderr)),
        Err(_) => Box::new(stderr),
    };
    let (subscriber, control, guard) = build(config, metrics, writer, (form, ansi))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
    Ok((control, guard))
}

/// Creates a log on `writer` that is not the log of the process: for
/// `tracing::subscriber::with_default`.
///
/// # Errors
/// [`LogError::Filter`] for a level that is not one.
pub fn to_writer<W: Write + Send + 'static>(
    config: &LogConfig,
    metrics: Option<&Metrics>,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogControl, LogGuard), LogError> {
    let form = EventForm::of(config.format, false);
    build(config, metrics, writer, (form, false))
}

/// The form of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventForm {
    Json,
    Text,
}

impl EventForm {
    const fn of(format: LogFormat, is_terminal: bool) -> Self {
        match (format, is_terminal) {
            (LogFormat::Text, _) | (LogFormat::Auto, true) => Self::Text,
            (LogFormat::Json, _) | (LogFormat::Auto, false) => Self::Json,
        }
    }
}

fn build<W: Write + Send + 'static>(
    config: &LogConfig,
    metrics: Option<&Metrics>,
    writer: W,
    (form, ansi): (EventForm, bool),
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogControl, LogGuard), LogError> {
    let (filter, handle) = reload::Layer::new(filter::for_tracing(&config.level)?);
    let dropped = match metrics {
        Some(metrics) => Dropped::of(metrics, NAME),
        None => Dropped::uncounted()?,
    };
    let callsites = Callsites::default();
    let remarks = {
        let callsites = callsites.clone();
        move |lines: &mut Vec<u8>| sum_up(&callsites, form, lines)
    };
    let (queue, guard) = LineQueue::start("log", QUEUE, dropped, writer, remarks);
    // `tracing` would report its own errors by `eprintln!`, which panics when stderr is closed.
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(OneLine {
            queue,
            ansi,
            verbose: Arc::default(),
            place: None,
        });
    let layer = match form {
        EventForm::Json => layer.json().flatten_event(true).boxed(),
        EventForm::Text => layer.with_ansi(ansi).boxed(),
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
    /// Sets the filter: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or levels for parts
    /// of the program such as `info,strait::proxy=debug`.
    ///
    /// # Errors
    /// [`LogError::Filter`] if the text is not a filter. The previous filter stays.
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

    /// The filter in force, as it was written.
    pub fn current(&self) -> String {
        self.lock().filter.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Controlled> {
        // Both fields are valid after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogControl").field(&self.current()).finish()
    }
}

/// Queues each event as one line without control characters. `tracing` writes an event in one piece,
/// but a `Display` value as it is, including line breaks and terminal commands.
struct OneLine {
    queue: LineQueue,
    /// True to keep escape characters, which are the colours of a terminal.
    ansi: bool,
    /// The budget that `debug` and `trace` together have of the queue.
    verbose: Arc<LineBudget<()>>,
    /// The place in the queue for the line that is being written, if it needs one.
    place: Option<Result<Box<dyn Placed>, NoPlace>>,
}

/// The error that no place is left.
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

/// Appends `text` without control characters. Escape characters stay if `ansi` is true.
fn one_line(text: &str, ansi: bool, line: &mut String) {
    for c in text.chars() {
        if c.is_control() && !(ansi && c == '\x1b') {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

/// Appends a line for each statement of the program whose lines were left out.
fn sum_up(callsites: &Callsites, form: EventForm, lines: &mut Vec<u8>) {
    let now = clock::now();
    for left_out in callsites.left_out() {
        let line = summary(&left_out, form, now);
        lines.extend_from_slice(line.as_bytes());
    }
}

fn summary(left_out: &LeftOutEvents, form: EventForm, now: SystemTime) -> String {
    const MESSAGE: &str = "more lines like this one were left out";
    let LeftOutEvents {
        metadata,
        count,
        sample,
    } = left_out;
    let time = humantime::format_rfc3339_micros(now);
    let (level, target) = (metadata.level(), metadata.target());
    let mut line = match form {
        EventForm::Json => serde_json::json!({
            "timestamp": time.to_string(),
            "level": level.as_str(),
            "message": MESSAGE,
            "suppressed": count,
            "sample": sample,
            "target": target,
        })
        .to_string(),
        EventForm::Text => {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_text_on_a_terminal_only() {
        for (format, on_terminal, elsewhere) in [
            (LogFormat::Auto, EventForm::Text, EventForm::Json),
            (LogFormat::Text, EventForm::Text, EventForm::Text),
            (LogFormat::Json, EventForm::Json, EventForm::Json),
        ] {
            let forms = [true, false].map(|terminal| EventForm::of(format, terminal));
            assert_eq!(forms, [on_terminal, elsewhere], "{format:?}");
        }
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// All traces write by one statement. Each says how many lines it has written, and has a bound of its own.
    #[test]
    fn lines_of_traces_are_not_left_out() {
        const LINES: usize = 3 * callsites::PER_SECOND as usize;
        let written = Written::default();
        let config = LogConfig {
            level: LogFilter::parse("info").unwrap(),
            format: LogFormat::Json,
        };
        let (subscriber, _control, guard) = to_writer(&config, None, written.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            for line in 0..LINES {
                tracing::info!(target: TRACE_TARGET, line, "a step");
            }
        });
        drop(guard);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("a step").count(), LINES);
    }
}
