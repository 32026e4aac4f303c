//! Statuses that are written back to the Kubernetes API.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::registrar::Registrar;

/// What is counted of the statuses that are written back to the Kubernetes API.
#[derive(Debug)]
pub struct StatusSeries {
    /// 1 while this replica is the one that writes.
    pub leader: IntGauge,
    writes: IntCounterVec,
}

/// How writing a status ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusWrite {
    /// It is written.
    Written,
    /// Somebody else changed the object at the same time; it is tried again.
    Conflict,
    /// The API does not allow it: RBAC.
    Denied,
    /// The API does not take this object's status: validation, or an admission policy.
    Refused,
    /// The API did not answer, or not well; it is tried again.
    Failed,
}

impl StatusWrite {
    /// The value of the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl StatusSeries {
    pub(super) fn new(r: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            leader: r.gauge(
                "strait_kubernetes_status_leader",
                "1 while this replica writes the status of Gateways and TLSRoutes.",
            )?,
            writes: r.counters(
                "strait_kubernetes_status_writes_total",
                &["kind", "result"],
                "Statuses of the Gateway API's objects that were to be written: written, conflict (somebody \
                 else was faster), denied (by RBAC), refused (by the API's validation or an admission \
                 policy; of this object only), failed (no answer, or an error of the API). Of kind event: Events about conflicts.",
            )?,
        })
    }

    /// Writes of one kind of object that ended so.
    pub fn writes(&self, kind: &str, result: StatusWrite) -> IntCounter {
        self.writes.with_label_values(&[kind, result.label()])
    }
}
