//! The metrics of threads and tasks.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::labels::TaskName;
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
                "Connections that a worker thread carries now.",
            )?,
            worker_rounds: r.counters(
                "strait_worker_rounds_total",
                &["worker"],
                "Rounds of a worker thread: it checks its connections' timeouts up to four times a second. /healthz/live fails when the count stands still for 30 seconds.",
            )?,
            task_restarts: r.counters(
                "strait_task_restarts_total",
                &["task"],
                "Times that a task of strait failed and was started again. Any value but 0 is a defect of strait: please report it with the log line.",
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

    /// The rounds of a worker.
    pub fn worker_rounds(&self, worker: usize) -> IntCounter {
        self.tasks
            .worker_rounds
            .with_label_values(&[worker.to_string().as_str()])
    }

    /// The number of times that `task` was started again.
    pub fn task_restarts(&self, task: TaskName) -> IntCounter {
        self.tasks.task_restarts.with_label_values(&[task.label()])
    }
}
