//! The settings of the process as a whole: its limits, its end and its logs.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::line_pattern::LinePattern;
use super::log_filter::LogFilter;
use crate::config::bounds::{self, SampleShare};
use crate::names::WorkloadName;

/// Limits of the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// The number of open connections; `None` derives it from the limits of open files and of memory.
    pub connections: Option<usize>,
    /// The percentage of the memory limit above which new connections are refused; `None` for never.
    pub memory_percent: Option<u32>,
    /// The lag from which a worker refuses new connections; `None` for never.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub worker_lag: Option<Duration>,
    /// The next step against overload.
    pub end_quiet: EndQuiet,
    /// The bytes that all hellos in progress may use together.
    pub hello_memory: usize,
    /// The bytes that all short writes may leave waiting together.
    pub carry_memory: usize,
}

/// The step against overload in which quiet connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EndQuiet {
    /// The percentage of the memory limit above which it is in force; `None` for never.
    pub memory_percent: Option<u32>,
    /// The lag from which it is in force at a worker; `None` for never.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub worker_lag: Option<Duration>,
}

/// The metrics with Istio's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IstioMetrics {
    /// The number of services with series.
    pub services: usize,
    /// The workload as which the gateway reports.
    pub workload: WorkloadName,
    /// Its namespace.
    pub namespace: WorkloadName,
}

/// The end of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DrainConfig {
    /// The time during which the gateway is not ready but still accepts.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub readiness_delay: Duration,
    /// The time from closing the listeners to cutting open connections.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub window: Duration,
}

/// The access log: one line for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessLogConfig {
    /// The format; `None` for no access log.
    pub format: Option<LineFormat>,
    /// Whether a connection has a line when its relay begins.
    pub open: bool,
    /// The time between two lines of a connection that is open; `None` for none.
    #[serde(serialize_with = "bounds::serialize_duration_or_off")]
    pub interval: Option<Duration>,
    /// The share of connections without a failure that have lines.
    pub sample_ok: SampleShare,
    /// Lines a second for connections that reached no upstream, for each outcome of each source group.
    /// One line a second gives the number of further ones.
    pub refused_per_second: u32,
    /// The number of lines that may wait for stdout. Further ones are counted, not written.
    pub queue: usize,
    /// The fingerprint of clients; `None` for none.
    pub fingerprint: Option<Fingerprint>,
    /// The export of the lines by OTLP; `None` for none.
    pub otlp: Option<OtlpConfig>,
}

/// The export of the access log's lines by OTLP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtlpConfig {
    /// The collector.
    pub endpoint: OtlpEndpoint,
    /// The time in which a batch must be taken.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub timeout: Duration,
    /// The number of lines that may wait.
    pub queue: usize,
}

/// The URL of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint {
    /// The name or the address of its host.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// The path of requests.
    pub path: Box<str>,
}

impl OtlpEndpoint {
    /// The port of OTLP over HTTP.
    pub const PORT: u16 = 4318;
    /// The path for logs.
    pub const PATH: &'static str = "/v1/logs";

    /// Host and port as a URL has them.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl Serialize for OtlpEndpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// strait's own log, on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogConfig {
    /// The filter of the log.
    pub level: LogFilter,
    /// The format of its lines.
    pub format: LogFormat,
}

/// The hellos of refused connections that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeptHellosConfig {
    /// The number of each outcome.
    pub keep: usize,
    /// The bytes of all of them.
    pub memory: usize,
}

/// The kinds of fingerprint of a client's software.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fingerprint {
    /// FoxIO's JA4.
    Ja4,
}

/// The formats of the access log's lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineFormat {
    /// One JSON object in each line.
    Json,
    /// key=value pairs.
    Text,
    /// A line of the operator's own.
    #[serde(untagged)]
    Pattern(LinePattern),
}

/// The formats of the lines of strait's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object in each line.
    Json,
    /// key=value pairs.
    Text,
}
