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
        let Some((body, count)) = records::request(&self.resource, lines) else {
            return Ok(lines.len());
        };
        let sent = self.collector.send(&body);
        self.note(sent.as_ref().err().map(String::as_str));
        // A collector may name any number.
        let rejected = sent.map_err(io::Error::other)?.min(count);
        self.rejected.inc_by(rejected);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{SocketAddr, TcpListener};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::config::OtlpEndpoint;

    /// A collector that answers one request.
    fn collector(body: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 8192]);
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes())
        });
        address
    }

    #[test]
    fn a_collector_cannot_reject_more_records_than_it_got() {
        let address =
            collector("{\"partialSuccess\":{\"rejectedLogRecords\":\"18446744073709551615\"}}");
        let config = OtlpConfig {
            endpoint: OtlpEndpoint {
                host: address.ip().to_string().into(),
                port: address.port(),
                path: OtlpEndpoint::PATH.into(),
            },
            timeout: Duration::from_secs(10),
            queue: 1,
        };
        let rejected = IntCounter::new("rejected", "Not registered.").unwrap();
        let mut writer = OtlpWriter::new(&config, rejected.clone()).unwrap();
        let lines = b"{\"outcome\":\"ok\"}\n{\"outcome\":\"ok\"}\n";
        assert_eq!(writer.write(lines).unwrap(), lines.len());
        assert_eq!(rejected.get(), 2);
    }
}
