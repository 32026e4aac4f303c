//! The settings of the process as a whole: its limits, its end and its logs.

use std::time::Duration;

use serde::Serialize;

use super::log_filter::LogFilter;
use crate::config::bounds;

/// Limits of the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// `None`: from the limits of open files and of memory.
    pub connections: Option<usize>,
    /// Percent of the memory limit from which on new connections are refused; `None`: never.
    pub memory_percent: Option<u32>,
    /// Bytes that all hellos in progress may hold together.
    pub hello_memory: usize,
    /// Bytes that all short writes may leave waiting together.
    pub carry_memory: usize,
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DrainConfig {
    /// Not ready, but still accepting.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub readiness_delay: Duration,
    /// From closing the listeners to cutting what still runs.
    #[serde(serialize_with = "bounds::serialize_duration")]
    pub window: Duration,
}

/// One line a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AccessLogConfig {
    /// `None`: no access log.
    pub format: Option<LogFormat>,
    /// Lines a second for connections that reached no upstream, for each outcome of each source group;
    /// of more, one line a second says how many there were.
    pub refused_per_second: u32,
    /// Lines that may wait for stdout; more are counted, not written.
    pub queue: usize,
    /// How clients are fingerprinted; `None`: not at all.
    pub fingerprint: Option<Fingerprint>,
}

/// What strait says of itself, on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogConfig {
    /// What is logged.
    pub level: LogFilter,
    /// How it is written.
    pub format: LogFormat,
}

/// How the software of a client is told from its hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fingerprint {
    /// FoxIO's JA4.
    Ja4,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// key=value pairs.
    Text,
}
