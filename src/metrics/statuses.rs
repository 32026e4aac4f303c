//! The metrics of statuses written to the Kubernetes API.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::labels::Kind;
use super::registrar::Registrar;

/// The metrics of statuses written to the Kubernetes API.
#[derive(Debug)]
pub struct StatusSeries {
    /// 1 while this replica is the one that writes.
    pub leader: IntGauge,
    writes: IntCounterVec,
}

/// The result of writing a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusWrite {
    /// The status is written.
    Written,
    /// Somebody else changed the object at the same time. strait tries again.
    Conflict,
    /// RBAC does not allow it.
    Denied,
    /// The API refuses the status of this object, by its validation or an admission policy.
    Refused,
    /// The API did not answer, or answered with an error. strait tries again.
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

/// The objects that are written to the Kubernetes API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenObject {
    /// An object that gets a status.
    Status(Kind),
    /// An Event about a conflict.
    Event,
}

impl WrittenObject {
    /// The value of the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Status(kind) => kind.label(),
            Self::Event => "event",
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
                "Attempts to write the status of a Gateway API object. result is written, conflict (somebody else \
                 wrote first), denied (by RBAC), refused (by the API's validation or an admission policy, for \
                 this object only) or failed (no answer, or an error of the API). kind=\"event\": Events about \
                 conflicts.",
            )?,
        })
    }

    /// Writes of one kind of object with this result.
    pub fn writes(&self, written: WrittenObject, result: StatusWrite) -> IntCounter {
        self.writes
            .with_label_values(&[written.label(), result.label()])
    }
}
