//! The metrics of the Kubernetes source.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};

use super::clusters::ClusterMetrics;
use super::gauge_value;
use super::kind_metrics::KindMetrics;
use super::labels::{Kind, LeftOutReason, NameState, WatchError};
use super::registrar::Registrar;
use super::staleness::Staleness;
use crate::clock;
use crate::names::ListenerName;

/// The buckets in seconds; 0.1 is the largest time that an event should take until traffic is routed by
/// it.
const BUCKETS: [f64; 10] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0,
];

/// Metrics of the Kubernetes source.
#[derive(Debug)]
pub struct KubernetesMetrics {
    up: IntGaugeVec,
    not_installed: IntGaugeVec,
    stale: IntGaugeVec,
    objects: IntGaugeVec,
    unreadable: IntGaugeVec,
    events: IntCounterVec,
    errors: IntCounterVec,
    last_event: GaugeVec,
    publications: IntCounter,
    last_publication: Gauge,
    /// Seconds from a watch event to the routes or endpoints that follow from it.
    pub event_to_route: Histogram,
    /// Names that a discovered route claims and an earlier route has.
    pub conflicts: IntGauge,
    /// Names that get no route because of a limit.
    pub skipped: IntGauge,
    /// Hosts that are known and not routed.
    pub unrouted: IntGauge,
    dry_run: IntCounterVec,
    left_out: IntGaugeVec,
    names: IntGaugeVec,
    from_file: IntGaugeVec,
    /// The time when the API last confirmed the saved state that is in force, 0 without one.
    pub saved_confirmed: Gauge,
    /// The size of the saved state that was written last, in bytes.
    pub saved_bytes: IntGauge,
    saved_writes: IntCounterVec,
    staleness: Arc<Staleness>,
    /// Of the other clusters of the mesh.
    pub clusters: ClusterMetrics,
}

const KIND: &[&str] = &["kind"];

impl KubernetesMetrics {
    #[expect(clippy::too_many_lines, reason = "one list, not a procedure")]
    pub(super) fn new(r: &mut Registrar) -> prometheus::Result<Self> {
        Ok(Self {
            up: r.gauges(
                "strait_kubernetes_watch_up",
                KIND,
                "1 while a kind of object of the Kubernetes API is watched.",
            )?,
            not_installed: r.gauges(
                "strait_kubernetes_not_installed",
                KIND,
                "1 while the Kubernetes API says that it does not have a kind of object: strait works without it.",
            )?,
            stale: r.gauges(
                "strait_kubernetes_stale",
                KIND,
                "1 while strait knows the objects of a kind only as they were before the watch failed.",
            )?,
            objects: r.gauges(
                "strait_kubernetes_objects",
                KIND,
                "Objects of the Kubernetes API that strait knows.",
            )?,
            unreadable: r.gauges(
                "strait_kubernetes_unreadable_objects",
                KIND,
                "Objects of the Kubernetes API that strait cannot read. It serves nothing for them and refuses \
                 what they may forbid; the log names each once.",
            )?,
            events: r.counters(
                "strait_kubernetes_events_total",
                KIND,
                "Changes of objects that watches reported. Lists are not included.",
            )?,
            errors: r.counters(
                "strait_kubernetes_errors_total",
                &["kind", "reason"],
                "Failures to list, watch or read objects of the Kubernetes API.",
            )?,
            last_event: r.add(
                "strait_kubernetes_last_event_timestamp_seconds",
                "Time when a watch last reported a change, in seconds since the epoch.",
                KIND,
                GaugeVec::new,
            )?,
            publications: r.add(
                "strait_kubernetes_publications_total",
                "Times that discovery changed routes or endpoints. Many changes of objects may count as one.",
                &[],
                |opts, _| IntCounter::with_opts(opts),
            )?,
            last_publication: r.add(
                "strait_kubernetes_last_publication_timestamp_seconds",
                "Time when discovery last changed routes or endpoints, in seconds since the epoch.",
                &[],
                |opts, _| Gauge::with_opts(opts),
            )?,
            event_to_route: r.add(
                "strait_kubernetes_event_to_route_seconds",
                "Time from a change that a watch reported to the routes or endpoints that follow from it, in seconds.",
                &[],
                |opts, _| {
                    Histogram::with_opts(HistogramOpts::from(opts).buckets(BUCKETS.to_vec()))
                },
            )?,
            conflicts: r.gauge(
                "strait_kubernetes_route_conflicts",
                "Names that a discovered route claims but does not get, because an earlier route has them.",
            )?,
            skipped: r.gauge(
                "strait_kubernetes_skipped_names",
                "Names that get no route because of a limit, or because no client can ask for them.",
            )?,
            unrouted: r.gauge(
                "strait_kubernetes_unrouted_hosts",
                "Hosts of services that are known and not exported.",
            )?,
            dry_run: r.counters(
                "strait_export_dry_run_total",
                &["listener"],
                "Connections that the export policy would refuse if kubernetes.export.dry_run were off.",
            )?,
            left_out: r.gauges(
                "strait_kubernetes_listeners_left_out",
                &["reason"],
                "Valid listeners of Gateways of the class that strait does not serve. reason is namespace (it may \
                 not have Gateways), port (no Gateway may have it) or conflict (the file or another Gateway has \
                 the names).",
            )?,
            names: r.gauges(
                "strait_kubernetes_dns_names",
                &["state"],
                "DNS names that exported ServiceEntries and WorkloadEntries have for addresses. state is asked, or \
                 left_out for those beyond the 256 that are asked for.",
            )?,
            from_file: r.gauges(
                "strait_kubernetes_saved_state_in_force",
                KIND,
                "1 while strait knows the objects of a kind only from the file kubernetes.saved_state.",
            )?,
            saved_confirmed: r.add(
                "strait_kubernetes_saved_state_confirmed_timestamp_seconds",
                "Time when the API last confirmed the saved state that is in force, in seconds since the epoch. 0 \
                 while none is in force.",
                &[],
                |opts, _| Gauge::with_opts(opts),
            )?,
            saved_bytes: r.gauge(
                "strait_kubernetes_saved_state_bytes",
                "Size of the file kubernetes.saved_state as last written, in bytes.",
            )?,
            saved_writes: r.counters(
                "strait_kubernetes_saved_state_writes_total",
                &["result"],
                "Writes of the file kubernetes.saved_state. result is written or failed.",
            )?,
            staleness: Arc::default(),
            clusters: ClusterMetrics::new(r)?,
        })
    }

    /// The metrics of a kind.
    pub fn kind(&self, kind: Kind) -> KindMetrics {
        let label = &[kind.label()];
        KindMetrics {
            kind,
            cluster: None,
            up: self.up.with_label_values(label),
            not_installed: Some(self.not_installed.with_label_values(label)),
            stale: self.stale.with_label_values(label),
            from_file: self.from_file.with_label_values(label),
            events: self.events.with_label_values(label),
            errors: self.errors.clone(),
            last_event: self.last_event.with_label_values(label),
            staleness: self.staleness.clone(),
        }
    }

    /// The time from which on changes of this cluster, or of another one, may be unknown. `None` while each API tells
    /// all that is watched.
    pub fn stale_since(&self) -> Option<SystemTime> {
        let others = self.clusters.stale_since();
        self.own_stale_since().into_iter().chain(others).min()
    }

    /// The time from which on changes of this cluster may be unknown.
    pub fn own_stale_since(&self) -> Option<SystemTime> {
        let confirmed = Duration::try_from_secs_f64(self.saved_confirmed.get()).ok();
        let confirmed = confirmed.filter(|confirmed| !confirmed.is_zero());
        let confirmed = confirmed.and_then(|at| SystemTime::UNIX_EPOCH.checked_add(at));
        let own = self.staleness.since();
        own.into_iter().chain(confirmed).min()
    }

    /// The reason why changes of this cluster may be unknown.
    pub fn own_stale_because(&self) -> Option<Arc<Box<str>>> {
        self.staleness.why()
    }

    /// Sets the number of known objects of a kind.
    pub fn objects(&self, kind: Kind, count: usize) {
        let count = gauge_value(count);
        self.objects.with_label_values(&[kind.label()]).set(count);
    }

    /// Sets the number of listeners of Gateways that are left out for a reason.
    pub fn left_out(&self, reason: LeftOutReason, count: usize) {
        let count = gauge_value(count);
        self.left_out
            .with_label_values(&[reason.label()])
            .set(count);
    }

    /// The number of DNS names in a state.
    pub fn names(&self, state: NameState) -> IntGauge {
        self.names.with_label_values(&[state.label()])
    }

    /// Sets the number of objects of a kind that cannot be read.
    pub fn unreadable(&self, kind: Kind, count: usize) {
        let count = gauge_value(count);
        self.unreadable
            .with_label_values(&[kind.label()])
            .set(count);
    }

    /// Removes the series of a kind that is no longer watched.
    pub fn retire_kind(&self, kind: Kind) {
        self.staleness.forget(kind);
        let kind = kind.label();
        for gauges in [
            &self.up,
            &self.not_installed,
            &self.stale,
            &self.objects,
            &self.unreadable,
            &self.from_file,
        ] {
            let _ = gauges.remove_label_values(&[kind]);
        }
        let _ = self.events.remove_label_values(&[kind]);
        let _ = self.last_event.remove_label_values(&[kind]);
        for reason in WatchError::ALL {
            let _ = self.errors.remove_label_values(&[kind, reason.label()]);
        }
    }

    /// Counts a publication that changed routes or endpoints.
    pub fn published(&self) {
        self.publications.inc();
        self.last_publication.set(clock::seconds());
    }

    /// Counts a write of the saved state. `bytes` is its size, or `None` if the write has failed.
    pub fn saved(&self, bytes: Option<usize>) {
        let result = if bytes.is_some() { "written" } else { "failed" };
        self.saved_writes.with_label_values(&[result]).inc();
        if let Some(bytes) = bytes {
            self.saved_bytes.set(gauge_value(bytes));
        }
    }

    /// Connections of a listener that the export policy would refuse without the dry run.
    pub fn dry_run(&self, listener: &ListenerName) -> IntCounter {
        self.dry_run.with_label_values(&[listener])
    }

    pub(super) fn retire_listener(&self, listener: &ListenerName) {
        let _ = self.dry_run.remove_label_values(&[listener]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn another_cluster_that_is_away_is_no_outage_of_this_one() {
        let metrics = Metrics::new().unwrap().kubernetes;
        let (other, kind) = ("east".into(), Kind::Service);
        let of_other = metrics.clusters.kind(1, &other, kind).unwrap();
        of_other.up();
        of_other.down(WatchError::Connection, true, "refused");
        assert!(metrics.stale_since().is_some());
        assert_eq!(metrics.own_stale_since(), None);
        assert_eq!(metrics.clusters.stale_since_of(0), None);
        let since = metrics.clusters.stale_since_of(1);
        assert_eq!(since, metrics.stale_since());
        metrics
            .kind(kind)
            .down(WatchError::Connection, true, "refused");
        assert!(metrics.own_stale_since().is_some());
    }
}
