//! The metrics of the other clusters of a mesh. Their label `cluster` is a name of the config.

use std::sync::Arc;
use std::time::SystemTime;

use prometheus::{IntCounterVec, IntGaugeVec};

use super::gauge_value;
use super::kind_metrics::KindMetrics;
use super::labels::{Kind, WatchError};
use super::registrar::Registrar;
use super::staleness::Staleness;

/// The largest number of other clusters.
pub const MAX_CLUSTERS: usize = 16;

/// Metrics of the other clusters.
#[derive(Debug)]
pub struct ClusterMetrics {
    up: IntGaugeVec,
    stale: IntGaugeVec,
    from_file: IntGaugeVec,
    objects: IntGaugeVec,
    events: IntCounterVec,
    errors: IntCounterVec,
    /// By the position of the cluster in the config.
    staleness: [Arc<Staleness>; MAX_CLUSTERS],
}

const CLUSTER_AND_KIND: &[&str] = &["cluster", "kind"];

impl ClusterMetrics {
    pub(super) fn new(r: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            up: r.gauges(
                "strait_kubernetes_cluster_watch_up",
                CLUSTER_AND_KIND,
                "1 while a kind of object of another cluster is watched.",
            )?,
            stale: r.gauges(
                "strait_kubernetes_cluster_stale",
                CLUSTER_AND_KIND,
                "1 while strait knows the objects of a kind of another cluster only as they were before the watch \
                 failed.",
            )?,
            from_file: r.gauges(
                "strait_kubernetes_cluster_saved_state_in_force",
                CLUSTER_AND_KIND,
                "1 while strait knows a kind of object of another cluster only from before its start, or before a reload.",
            )?,
            objects: r.gauges(
                "strait_kubernetes_cluster_objects",
                CLUSTER_AND_KIND,
                "Objects of another cluster that strait knows.",
            )?,
            events: r.counters(
                "strait_kubernetes_cluster_events_total",
                CLUSTER_AND_KIND,
                "Changes of objects of another cluster that watches reported. Lists are not included.",
            )?,
            errors: r.counters(
                "strait_kubernetes_cluster_errors_total",
                &["cluster", "kind", "reason"],
                "Failures to list, watch or read objects of another cluster.",
            )?,
            staleness: std::array::from_fn(|_| Arc::default()),
        })
    }

    /// The metrics of a kind of the cluster at a position of the config; `None` beyond the largest number of
    /// clusters.
    pub fn kind(&self, position: usize, cluster: &Arc<str>, kind: Kind) -> Option<KindMetrics> {
        let label = &[&**cluster, kind.label()];
        let gauges =
            [&self.up, &self.stale, &self.from_file].map(|gauges| gauges.with_label_values(label));
        let of_cluster = KindMetrics::of_cluster(
            (cluster.clone(), kind),
            gauges,
            self.events.with_label_values(label),
            self.errors.clone(),
            self.staleness.get(position)?.clone(),
        );
        of_cluster.ok()
    }

    /// Sets the number of known objects of a kind of a cluster.
    pub fn objects(&self, cluster: &str, kind: Kind, count: usize) {
        let objects = self.objects.with_label_values(&[cluster, kind.label()]);
        objects.set(gauge_value(count));
    }

    /// Forgets what the cluster that was at a position of the config before has told.
    pub fn forget_place(&self, position: usize) {
        if let Some(staleness) = self.staleness.get(position) {
            Kind::ALL.iter().for_each(|kind| staleness.forget(*kind));
        }
    }

    /// Removes the series of a cluster.
    pub fn retire_cluster(&self, cluster: &str) {
        for kind in Kind::ALL {
            let label = &[cluster, kind.label()];
            for gauges in [&self.up, &self.stale, &self.from_file, &self.objects] {
                let _ = gauges.remove_label_values(label);
            }
            let _ = self.events.remove_label_values(label);
            for reason in WatchError::ALL {
                let label = &[cluster, kind.label(), reason.label()];
                let _ = self.errors.remove_label_values(label);
            }
        }
    }

    /// Removes the series of every cluster: another config has others.
    pub fn retire(&self) {
        for gauges in [&self.up, &self.stale, &self.from_file, &self.objects] {
            gauges.reset();
        }
        self.events.reset();
        self.errors.reset();
        for staleness in &self.staleness {
            Kind::ALL.iter().for_each(|kind| staleness.forget(*kind));
        }
    }

    /// The time from which on changes of the cluster at a position of the config may be unknown.
    pub fn stale_since_of(&self, position: usize) -> Option<SystemTime> {
        self.staleness.get(position)?.since()
    }

    /// The reason why changes of the cluster at a position of the config may be unknown.
    pub fn stale_because_of(&self, position: usize) -> Option<Arc<Box<str>>> {
        self.staleness.get(position)?.why()
    }

    /// The time from which on changes of any cluster may be unknown.
    pub(super) fn stale_since(&self) -> Option<SystemTime> {
        self.staleness.iter().filter_map(|one| one.since()).min()
    }
}
