//! The metrics of one kind of object of the Kubernetes API.

use std::sync::Arc;

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge};

use super::labels::{Kind, WatchError};
use super::staleness::Staleness;
use crate::clock;

/// Metrics of one kind of object, in this cluster or in another one.
#[derive(Debug, Clone)]
pub struct KindMetrics {
    pub(super) kind: Kind,
    /// The name of the other cluster.
    pub(super) cluster: Option<Arc<str>>,
    pub(super) up: IntGauge,
    /// Of a kind of this cluster.
    pub(super) not_installed: Option<IntGauge>,
    pub(super) stale: IntGauge,
    pub(super) from_file: IntGauge,
    pub(super) events: IntCounter,
    pub(super) errors: IntCounterVec,
    pub(super) last_event: Gauge,
    pub(super) staleness: Arc<Staleness>,
}

impl KindMetrics {
    /// The metrics of a kind of another cluster: it has no time of its last event.
    pub(super) fn of_cluster(
        (cluster, kind): (Arc<str>, Kind),
        [up, stale, from_file]: [IntGauge; 3],
        events: IntCounter,
        errors: IntCounterVec,
        staleness: Arc<Staleness>,
    ) -> prometheus::Result<Self> {
        let unseen = "Not shown.";
        Ok(Self {
            kind,
            cluster: Some(cluster),
            up,
            not_installed: None,
            stale,
            from_file,
            events,
            errors,
            last_event: Gauge::new("last_event", unseen)?,
            staleness,
        })
    }

    /// Notes that the kind is watched and up to date.
    pub fn up(&self) {
        self.up.set(1);
        self.set_installed(true);
        self.stale.set(0);
        self.staleness.heard(self.kind);
    }

    /// Notes that the kind is not watched. `known` says whether it was before, `why` the reason for a person.
    pub fn down(&self, reason: WatchError, known: bool, why: &str) {
        self.failed(reason);
        self.up.set(0);
        let stale = known || self.from_file.get() == 1;
        self.stale.set(stale.into());
        // A starting API server does not have all kinds at once.
        self.set_installed(stale || reason != WatchError::NotFound);
        if stale {
            let silent = reason == WatchError::Timeout;
            self.staleness.lost(self.kind, silent, why);
        } else {
            self.staleness.forget(self.kind);
        }
    }

    fn set_installed(&self, installed: bool) {
        if let Some(gauge) = &self.not_installed {
            gauge.set((!installed).into());
        }
    }

    /// Notes that the kind is known from the saved state only. Such a kind is stale.
    pub fn restored(&self) {
        self.from_file.set(1);
        self.stale.set(1);
    }

    /// Notes that the API has listed a kind that was known from the saved state only.
    pub fn replaced(&self) {
        self.from_file.set(0);
    }

    /// Notes that nothing is known any more of a kind that was known from the saved state only.
    pub fn forgotten(&self) {
        self.from_file.set(0);
        self.stale.set(0);
        self.staleness.forget(self.kind);
    }

    /// Counts a failure after which the kind is still watched.
    pub fn failed(&self, reason: WatchError) {
        let (kind, reason) = (self.kind.label(), reason.label());
        let errors = match &self.cluster {
            None => self.errors.with_label_values(&[kind, reason]),
            Some(cluster) => self.errors.with_label_values(&[&**cluster, kind, reason]),
        };
        errors.inc();
    }

    /// Whether the objects of the kind were listed before: it is watched, or stale.
    pub fn is_known(&self) -> bool {
        self.up.get() == 1 || self.stale.get() == 1
    }

    /// Counts a change that a watch reported.
    pub fn event(&self) {
        self.events.inc();
        self.last_event.set(clock::seconds());
    }
}
