//! The gateway's access log, read back by the demo.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

/// The longest wait for a record. The gateway records a connection as soon as it ends.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest number of unread lines: far more than the story has calls.
const QUEUE: usize = 1024;

/// One line of the access log in JSON: one connection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LogLine {
    /// The outcome's label, as in [`Outcome::label`](crate::outcome::Outcome::label). Empty if the connection is open.
    #[serde(default)]
    pub outcome: String,
    /// `open` or `interval`, if the connection is open.
    pub event: Option<String>,
    /// The share of such connections that have lines, if it is not all.
    pub sampled: Option<f64>,
    /// The connection's number.
    pub connection: u64,
    /// The listener's name.
    pub listener: String,
    /// The client's address.
    pub source: SocketAddr,
    /// The peer that announced the client in a PROXY header.
    pub proxy: Option<SocketAddr>,
    /// The client's source group.
    pub source_group: String,
    /// The server name in the hello.
    pub server_name: Option<String>,
    /// The ALPN protocols in the hello.
    pub alpn: Option<String>,
    /// The TLS versions in the hello.
    pub tls_versions: Option<String>,
    /// The post-quantum groups in the hello.
    pub pq_groups: Option<String>,
    /// The TLS version agreed on.
    pub tls_version: Option<String>,
    /// The cipher suite agreed on.
    pub tls_cipher: Option<String>,
    /// The group agreed on.
    pub tls_group: Option<String>,
    /// `yes` after a HelloRetryRequest.
    pub hello_retry: Option<String>,
    /// `yes`, `no` or `asked`: whether the session resumes an earlier one.
    pub resumes: Option<String>,
    /// The alert in the clear that ended the handshake.
    pub alert: Option<String>,
    /// The side that sent it.
    pub alert_by: Option<String>,
    /// The SPIFFE ID and the expiry in the certificate that the downstream showed in the clear.
    pub downstream_certificate_unauthenticated: Option<String>,
    /// The same of the upstream.
    pub upstream_certificate_unauthenticated: Option<String>,
    /// The hello's JA4, if the config asks for it.
    pub ja4: Option<String>,
    /// The route taken.
    pub route: Option<String>,
    /// The route's upstream.
    pub upstream: Option<String>,
    /// The last endpoint that strait tried.
    pub endpoint: Option<SocketAddr>,
    /// The endpoint's pod.
    pub pod: Option<String>,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The endpoint's zone.
    pub zone: Option<String>,
    /// The address from which strait has connected to the endpoint.
    pub upstream_local: Option<SocketAddr>,
    /// The time from which on the source of the route or of the endpoints may be behind.
    pub stale_since: Option<String>,
    /// Connect attempts.
    pub attempts: u32,
    /// Response flags as in Envoy's access log, `-` for none.
    #[serde(default)]
    pub flags: String,
    /// The reason for a refusal, with a hint.
    pub detail: Option<String>,
    /// `downstream`, `upstream` or `gateway`.
    pub ended_by: Option<String>,
    /// `inferred` when the outcome follows from lengths of encrypted records.
    pub confidence: Option<String>,
    /// Bytes carried to the pod.
    #[serde(rename = "to_upstream_bytes")]
    pub to_upstream: u64,
    /// Bytes carried back.
    #[serde(rename = "to_downstream_bytes")]
    pub to_downstream: u64,
    /// Milliseconds from accept to the end of the hello.
    pub hello_ms: Option<f64>,
    /// Milliseconds from the first connect attempt to the connection.
    pub connect_ms: Option<f64>,
    /// Milliseconds from accept to close.
    pub duration_ms: f64,
}

/// The writer that the gateway writes its lines to.
#[derive(Debug)]
pub struct RecordWriter {
    unfinished: Vec<u8>,
    lines: Sender<Vec<u8>>,
}

/// The lines that the gateway has recorded.
#[derive(Debug)]
pub struct LogLines {
    lines: Receiver<Vec<u8>>,
    by_source: HashMap<SocketAddr, LogLine>,
}

/// Creates a writer for the gateway, and the reader of its lines.
pub fn channel() -> (RecordWriter, LogLines) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let writer = RecordWriter {
        unfinished: Vec::new(),
        lines: sender,
    };
    let records = LogLines {
        lines: receiver,
        by_source: HashMap::new(),
    };
    (writer, records)
}

impl Write for RecordWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.unfinished);
                self.lines.try_send(line).map_err(io::Error::other)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogLines {
    /// The next record of any connection.
    ///
    /// # Errors
    /// No record came in time, or the line is not a record.
    pub async fn next(&mut self) -> io::Result<LogLine> {
        let line = timeout(DEADLINE, self.lines.recv()).await?;
        let line = line.ok_or(io::ErrorKind::BrokenPipe)?;
        serde_json::from_slice(&line).map_err(|error| {
            let line = String::from_utf8_lossy(&line);
            io::Error::other(format!("not an access-log record ({error}): {line}"))
        })
    }

    /// The record of the connection that came from `source`. Records of other connections are kept
    /// until somebody asks for them.
    ///
    /// # Errors
    /// No record came in time, or a line is not a record.
    pub async fn of(&mut self, source: SocketAddr) -> io::Result<LogLine> {
        loop {
            if let Some(record) = self.by_source.remove(&source) {
                return Ok(record);
            }
            let record = self.next().await?;
            self.by_source.insert(record.source, record);
        }
    }

    /// Drops all records that nobody has asked for.
    pub fn discard(&mut self) {
        self.by_source.clear();
        while self.lines.try_recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_become_records_however_they_are_cut() {
        let (mut writer, mut records) = channel();
        let line = |port: u16| {
            format!(
                "{{\"outcome\":\"ok\",\"connection\":1,\"listener\":\"l\",\"source\":\"127.0.0.1:{port}\",\
                 \"source_group\":\"other\",\"attempts\":1,\"flags\":\"-\",\
                 \"to_upstream_bytes\":7,\"to_downstream_bytes\":8,\"duration_ms\":0.500}}\n"
            )
        };
        let text = line(1) + &line(2);
        let (first, second) = text.as_bytes().split_at(30);
        writer.write_all(first).unwrap();
        writer.write_all(second).unwrap();
        let later = records.of("127.0.0.1:2".parse().unwrap()).await.unwrap();
        assert_eq!(later.source.port(), 2);
        let earlier = records.of("127.0.0.1:1".parse().unwrap()).await.unwrap();
        assert_eq!((earlier.source.port(), &*earlier.outcome), (1, "ok"));
    }
}
