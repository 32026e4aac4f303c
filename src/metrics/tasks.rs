//! What is counted of threads and tasks.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::registrar::Registrar;

/// Metrics of threads and tasks.
#[derive(Debug)]
pub(super) struct TaskSeries {
    worker_connections: IntGaugeVec,
    worker_rounds: IntCounterVec,
    task_restarts: IntCounterVec,
}

impl TaskSeries {
    pub(super) fn new(r: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            worker_connections: r.gauges(
                "strait_worker_connections",
                &["worker"],
                "Connections that a worker thread serves.",
            )?,
            worker_rounds: r.counters(
                "strait_worker_rounds_total",
                &["worker"],
                "Times that a worker thread has looked after its connections' timeouts, up to four a second. A count that stands still for 30 seconds makes /healthz/live fail.",
            )?,
            task_restarts: r.counters(
                "strait_task_restarts_total",
                &["task"],
                "Times that a task of the gateway failed and was started again. Anything but 0 is a defect of strait: please report it with the log line.",
            )?,
        })
    }
}

impl Metrics {
    /// Connections that a worker serves.
    pub fn worker_connections(&self, worker: usize) -> IntGauge {
        self.tasks
            .worker_connections
            .with_label_values(&[worker.to_string().as_str()])
    }

    /// Rounds of a worker.
    pub fn worker_rounds(&self, worker: usize) -> IntCounter {
        self.tasks
            .worker_rounds
            .with_label_values(&[worker.to_string().as_str()])
    }

    /// Times that `task`, a word out of a closed set, was started again.
    pub fn task_restarts(&self, task: &str) -> IntCounter {
        self.tasks.task_restarts.with_label_values(&[task])
    }
}
