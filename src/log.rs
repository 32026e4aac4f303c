//! What strait says of itself: tracing events as lines on standard error.
//!
//! Lines go through a [`LineWriter`], so that a blocked pipe delays no connection.

use std::io::{self, Write};
use std::sync::Arc;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{LogConfig, LogFormat};
use crate::line_writer::{LineWriter, LineWriterGuard, Lost, StandardStream};
use crate::metrics::Metrics;

/// Lines that may wait for standard error.
const QUEUE: usize = 4096;

/// Why the log cannot be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A filter that does not parse.
    #[error("not a log filter: {0} (an example: info,strait::proxy=debug)")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The thread that writes cannot be made.
    #[error("cannot start the log thread: {0}")]
    Thread(#[from] io::Error),
    /// The process has a log already, or had one.
    #[error("the log is set up already, or gone")]
    SetUp,
}

/// Changes the log level of the running process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogControl(Arc<reload::Handle<EnvFilter, Registry>>);

impl LogControl {
    /// Logs what passes `filter` from now on: `debug`, or `info,strait::proxy=debug`.
    ///
    /// # Errors
    /// A filter that does not parse.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let filter = parse(filter)?;
        self.0.reload(filter).map_err(|_| LogError::SetUp)
    }

    /// The filter in force.
    pub fn current(&self) -> String {
        let text = self.0.with_current(ToString::to_string);
        text.unwrap_or_else(|_| "unknown".into())
    }
}

/// Parses a filter as [`LogControl::set`] takes it.
///
/// # Errors
/// It does not parse.
pub fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    Ok(EnvFilter::builder().parse(filter)?)
}

/// Sets up the log of this process, and logs panics. Lines that are lost count in `metrics`.
///
/// # Errors
/// The filter does not parse, or the process has a log already.
pub fn init(
    config: &LogConfig,
    metrics: &Metrics,
) -> Result<(LogControl, LineWriterGuard), LogError> {
    let lost = Lost {
        queue_full: metrics.log_lines_dropped("own", "queue_full"),
        write_failed: metrics.log_lines_dropped("own", "write_failed"),
    };
    let (lines, guard) = LineWriter::start("log", StandardStream::Error, QUEUE, lost)?;
    let (filter, handle) = reload::Layer::new(parse(&config.level)?);
    let writer = EventWriter(lines);
    let format = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    let format = match config.format {
        LogFormat::Json => format.json().flatten_event(true).boxed(),
        LogFormat::Text => format.boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(format)
        .try_init()
        .map_err(|_| LogError::SetUp)?;
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok((LogControl(Arc::new(handle)), guard))
}

#[derive(Debug, Clone)]
struct EventWriter(LineWriter);

/// Collects one event; it goes out whole.
struct Event<'a> {
    lines: &'a LineWriter,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for EventWriter {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event {
            lines: &self.0,
            text: Vec::new(),
        }
    }
}

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.lines.write(&self.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_filter_is_checked_before_it_is_used() {
        assert_eq!(
            parse("info,strait::proxy=debug").unwrap().to_string(),
            "strait::proxy=debug,info"
        );
        let error = parse("info,strait=loud").unwrap_err().to_string();
        assert!(error.contains("not a log filter"), "{error}");
    }
}
