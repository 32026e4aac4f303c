//! The export of the access log's lines to a collector of OpenTelemetry: OTLP over HTTP, with JSON as its body
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).
//!
//! The lines come in batches from a bounded queue, on the thread of that queue, which alone waits for the collector.
//! A batch that the collector does not take in time is lost, and its lines are counted.

mod post;
mod records;

use std::io::{self, Write};

use prometheus::IntCounter;

use crate::config::OtlpConfig;
use post::Collector;

/// Sends each batch of lines that is written to it.
pub(super) struct OtlpWriter {
    collector: Collector,
    resource: records::Resource,
    /// Counts lines that the collector did not want.
    rejected: IntCounter,
    fails: bool,
}

impl OtlpWriter {
    /// A writer that connects when it has something to send.
    ///
    /// # Errors
    /// The runtime of the connection cannot be made.
    pub(super) fn new(config: &OtlpConfig, rejected: IntCounter) -> io::Result<Self> {
        Ok(Self {
            collector: Collector::new(config)?,
            resource: records::Resource::of_this_process(),
            rejected,
            fails: false,
        })
    }

    fn note(&mut self, failed: Option<&str>) {
        if self.fails == failed.is_some() {
            return;
        }
        self.fails = failed.is_some();
        let collector = self.collector.url();
        match failed {
            Some(reason) => tracing::warn!(
                collector,
                reason,
                "the collector does not take the access log's lines: they are lost and counted until it does"
            ),
            None => tracing::info!(
                collector,
                "the collector takes the access log's lines again"
            ),
        }
    }
}

impl Write for OtlpWriter {
    /// Takes all lines of a batch or none of them.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let Some(body) = records::request(&self.resource, lines) else {
            return Ok(lines.len());
        };
        let sent = self.collector.send(&body);
        self.note(sent.as_ref().err().map(String::as_str));
        self.rejected.inc_by(sent.map_err(io::Error::other)?);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
