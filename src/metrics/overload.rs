//! Metrics of the steps against overload.

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::labels::labels;
use super::registrar::Registrar;

labels! {
    /// The causes of overload.
    OverloadCause {
        /// The memory of the cgroup.
        Memory "memory",
        /// A worker thread that is behind its work.
        WorkerLag "worker_lag",
    }
}

labels! {
    /// The action on a connection because of overload.
    OverloadAction {
        /// It is refused.
        Refused "refused",
        /// It is ended, since it was quiet longest.
        Ended "ended",
    }
}

/// Metrics of the steps against overload.
#[derive(Debug)]
pub struct OverloadMetrics {
    step: IntGaugeVec,
    connections: IntCounterVec,
    lag: GaugeVec,
}

impl OverloadMetrics {
    pub(super) fn new(r: &mut Registrar) -> prometheus::Result<Self> {
        let step = r.gauges(
            "strait_overload_step",
            &["cause"],
            "The step in force against overload: 0 for none, 1 if new connections are refused, 2 if those that are quiet longest are ended too.",
        )?;
        let connections = r.counters(
            "strait_overload_connections_total",
            &["cause", "action"],
            "Connections refused or ended because of overload.",
        )?;
        for cause in OverloadCause::ALL {
            step.with_label_values(&[cause.label()]).set(0);
            for action in OverloadAction::ALL {
                connections.with_label_values(&[cause.label(), action.label()]);
            }
        }
        Ok(Self {
            step,
            connections,
            lag: r.add(
                "strait_worker_lag_seconds",
                "The time by which the rounds of a worker thread come late, at least, in the last four of them.",
                &["worker"],
                GaugeVec::new,
            )?,
        })
    }

    /// The step in force for `cause`.
    pub fn step(&self, cause: OverloadCause) -> IntGauge {
        self.step.with_label_values(&[cause.label()])
    }

    /// Connections to which `action` has happened because of `cause`.
    pub fn connections(&self, cause: OverloadCause, action: OverloadAction) -> IntCounter {
        let labels = [cause.label(), action.label()];
        self.connections.with_label_values(&labels)
    }

    /// The lag of a worker.
    pub fn lag(&self, worker: usize) -> Gauge {
        self.lag.with_label_values(&[worker.to_string().as_str()])
    }
}
