//! The metrics: the name, help and labels of each, in one place.
//!
//! Label values are closed sets (outcomes, directions) or come from the config (listener, route,
//! upstream, source group): never text that a client chose. Traffic holds resolved handles
//! ([`ConnectionSeries`], [`ListenerSeries`]), so that counting is one atomic add.
//!
//! A route's series appear with its first connection, or before it with [`Metrics::begin_at_zero`]. [`Metrics::retire_routes`] marks the series of a
//! route that the config no longer has; they are removed once no connection counts into them.

mod by_upstream;
mod clusters;
mod ends;
pub mod exposition;
mod from_zero;
mod hellos;
mod kind_metrics;
mod kubernetes;
mod labels;
mod limits;
mod overload;
mod registrar;
mod series;
mod staleness;
mod statuses;
mod tasks;

use std::sync::Mutex;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry, TextEncoder,
};

use crate::names::{ListenerName, SourceGroupName, UpstreamName};
use crate::version;
pub use by_upstream::UpstreamCounts;
pub use clusters::{ClusterMetrics, MAX_CLUSTERS};
pub use ends::{DisallowedBy, EndMetrics};
pub use from_zero::FromZero;
pub use hellos::HelloSeries;
pub use kind_metrics::KindMetrics;
pub use kubernetes::KubernetesMetrics;
pub use labels::{
    AcceptPause, ConnectResult, DroppedLine, Kind, LeftOutReason, LogName, NameState,
    RefusedAddress, SourceResult, TaskName, WatchError,
};
pub use limits::{LimitKind, LimitScope};
pub use overload::{OverloadAction, OverloadCause, OverloadMetrics};
pub use registrar::Description;
use registrar::Registrar;
use series::SeriesMap;
pub use series::{ConnectionSeries, KnownSeries, SeriesKey, SeriesRoute};
pub use statuses::{StatusSeries, StatusWrite, WrittenObject};
use tasks::TaskSeries;

/// The number of routes with series of their own. Connections of further routes count as [`OTHER`].
pub const MAX_ROUTES: usize = 10_000;
/// The route and upstream label of connections that no route took.
pub const NONE: &str = "none";
/// The route and upstream label of routes beyond [`MAX_ROUTES`].
pub const OTHER: &str = "other";

/// The buckets, in seconds, for hellos and connects. On a healthy network they take well under 10 ms.
const SHORT_BUCKETS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 3.0, 10.0,
];
/// The buckets, in seconds, for whole connections: from a probe to a pooled connection that lives for
/// hours.
const LONG_BUCKETS: [f64; 9] = [0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0];

const CONNECTION_LABELS: &[&str] = &["listener", "route", "upstream", "source"];

/// The process's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    described: Vec<Description>,
    accepted: IntCounterVec,
    opened: IntCounterVec,
    active: IntGaugeVec,
    closed: IntCounterVec,
    bytes: IntCounterVec,
    hellos: IntCounterVec,
    doctor_hellos: IntCounterVec,
    hello_duration: HistogramVec,
    connect_duration: HistogramVec,
    connection_duration: HistogramVec,
    config_loads: IntCounterVec,
    connect_attempts: IntCounterVec,
    source_answers: IntCounterVec,
    source_stale: IntGaugeVec,
    source_last_answer: GaugeVec,
    source_refused_addresses: IntCounterVec,
    accept_paused: IntCounterVec,
    limit_refusals: IntCounterVec,
    tasks: TaskSeries,
    /// Open connections that strait ends of its own accord.
    pub ends: EndMetrics,
    /// The steps against overload.
    pub overload: OverloadMetrics,
    /// The time when the config in force was loaded, in seconds since the epoch.
    pub config_last_success: Gauge,
    /// 1 when the newest config file is in force.
    pub config_current: IntGauge,
    /// The number of keys of the config in force whose change needs a restart.
    pub config_restart_pending: IntGauge,
    /// The number of problems of the newest config file, if it was refused.
    pub config_refused_problems: IntGauge,
    /// The number of connections that may be open at once.
    pub connections_limit: IntGauge,
    /// 1 while `/healthz/ready` says yes.
    pub ready: IntGauge,
    /// 1 from the moment when draining was asked for.
    pub draining: IntGauge,
    /// Log lines that were not written.
    lines_dropped: IntCounterVec,
    /// The memory limit of the process in bytes.
    pub memory_limit: IntGauge,
    /// The part of it in use, in bytes.
    pub memory_used: IntGauge,
    /// 1 while new connections are refused because of memory.
    pub memory_full: IntGauge,
    /// The bytes of hellos that came in pieces.
    pub hello_memory: IntGauge,
    /// The largest number of those bytes at one moment.
    pub hello_memory_peak: IntGauge,
    /// The bytes that short writes left waiting.
    pub carry_memory: IntGauge,
    /// The most that was taken of `carry_memory`, reserves included.
    pub carry_memory_peak: IntGauge,
    /// The number of open pipes.
    pub pipes: IntGauge,
    /// The number of pipes with bytes that wait for their destination.
    pub held_pipes: IntGauge,
    /// The metrics of the Kubernetes source.
    pub kubernetes: KubernetesMetrics,
    /// The metrics of statuses written to the Kubernetes API.
    pub statuses: StatusSeries,
    series: Mutex<SeriesMap>,
}

/// The metrics that are kept for each listener only.
#[derive(Debug, Clone)]
pub struct ListenerSeries {
    /// The counters of hellos with a server name.
    pub hellos: HelloSeries,
    /// Seconds from accept to the end of the hello.
    pub hello_duration: Histogram,
    /// Seconds from the first connect attempt to the connection, or to giving up.
    pub connect_duration: Histogram,
    /// Seconds from accept to close.
    pub connection_duration: Histogram,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// A name is registered twice or is malformed: a defect that any test of this function shows.
    #[expect(clippy::too_many_lines, reason = "one list, not a procedure")]
    pub fn new() -> prometheus::Result<Self> {
        let mut r = Registrar {
            registry: Registry::new(),
            described: Vec::new(),
        };
        let build_info = r.gauges(
            "strait_build_info",
            &["version", "commit"],
            "Always 1. The labels are strait's version and the commit that it was built from.",
        )?;
        build_info
            .with_label_values(&[version::VERSION, version::COMMIT])
            .set(1);
        let process = prometheus::process_collector::ProcessCollector::for_self();
        r.registry.register(Box::new(process))?;
        Ok(Self {
            accepted: r.counters(
                "strait_connections_accepted_total",
                &["listener", "source"],
                "Connections accepted from the listening sockets.",
            )?,
            opened: r.counters(
                "strait_connections_opened_total",
                CONNECTION_LABELS,
                "Connections whose route was decided. route=\"none\": they were refused before that.",
            )?,
            active: r.gauges(
                "strait_connections_active",
                CONNECTION_LABELS,
                "Connections open now. route=\"none\": the route is not decided yet.",
            )?,
            closed: r.counters(
                "strait_connections_closed_total",
                &["listener", "route", "upstream", "source", "outcome"],
                "Connections that have ended, by outcome: the one reason they ended with.",
            )?,
            bytes: r.counters(
                "strait_bytes_total",
                &["listener", "route", "upstream", "source", "direction"],
                "Bytes relayed, including the hello. direction is to_upstream or to_downstream.",
            )?,
            hellos: r.counters(
                "strait_hellos_total",
                hellos::LABELS,
                "Valid ClientHellos, by the newest TLS version that they offer. post_quantum=\"yes\": they offer a post-quantum group.",
            )?,
            doctor_hellos: r.counters(
                "strait_doctor_hellos_total",
                &["listener"],
                "Valid ClientHellos with the label of strait doctor in their ALPN protocols, which any client can write. They count in the other metrics too.",
            )?,
            hello_duration: r.histograms(
                "strait_hello_duration_seconds",
                &SHORT_BUCKETS,
                "Time from accept to the end of the ClientHello, in seconds.",
            )?,
            connect_duration: r.histograms(
                "strait_connect_duration_seconds",
                &SHORT_BUCKETS,
                "Time from the first connect attempt to the connection or to giving up, in seconds. With `starttls` it ends when the endpoint has granted TLS.",
            )?,
            connection_duration: r.histograms(
                "strait_connection_duration_seconds",
                &LONG_BUCKETS,
                "Time from accept to close, in seconds.",
            )?,
            config_loads: r.counters(
                "strait_config_loads_total",
                &["result"],
                "Attempts to load the config. result=\"failure\": the new file was refused and the old config stays in force.",
            )?,
            connect_attempts: r.counters(
                "strait_connect_attempts_total",
                &["upstream", "result"],
                "Attempts to connect to an endpoint. result is connected, or the outcome that the failure leads to.",
            )?,
            source_answers: r.counters(
                "strait_source_answers_total",
                &["upstream", "result"],
                "Answers that discovery got for an upstream. result is success, empty or failure; after empty and failure the upstream keeps its endpoints.",
            )?,
            source_stale: r.gauges(
                "strait_source_stale",
                &["upstream"],
                "1 while an upstream serves endpoints from an earlier answer because the newest question failed.",
            )?,
            source_last_answer: r.add(
                "strait_source_last_answer_timestamp_seconds",
                "Time when discovery last got an answer for an upstream, in seconds since the epoch.",
                &["upstream"],
                GaugeVec::new,
            )?,
            source_refused_addresses: r.counters(
                "strait_source_refused_addresses_total",
                &["upstream", "reason"],
                "Addresses in answers of discovery that strait does not use. reason is the kind of address that is not allowed, or too_many.",
            )?,
            limit_refusals: r.counters(
                "strait_limit_refusals_total",
                &["listener", "scope", "limit"],
                "Connections refused because of a limit of the config. scope says whose limit, limit which of its limits.",
            )?,
            accept_paused: r.counters(
                "strait_accept_paused_total",
                &["reason"],
                "Times that strait paused accepting because the process or the host lacked a resource (files, memory), or did not let it accept (other). reason names it.",
            )?,
            tasks: TaskSeries::new(&mut r)?,
            ends: EndMetrics::new(&mut r)?,
            overload: OverloadMetrics::new(&mut r)?,
            config_last_success: r.add(
                "strait_config_last_success_timestamp_seconds",
                "Time when the config in force was loaded, in seconds since the epoch.",
                &[],
                |opts, _| Gauge::with_opts(opts),
            )?,
            config_current: r.gauge(
                "strait_config_current",
                "1 when the newest config file is in force, 0 when it was refused and an older config is in force.",
            )?,
            config_restart_pending: r.gauge(
                "strait_config_restart_pending",
                "Keys of the newest config whose values in force are older, since their change needs a restart. The log names them.",
            )?,
            config_refused_problems: r.gauge(
                "strait_config_refused_problems",
                "Problems of the newest config file, 0 unless it was refused. The log and /config_dump name them.",
            )?,
            connections_limit: r.gauge(
                "strait_connections_limit",
                "Largest number of connections that may be open at once.",
            )?,
            ready: r.gauge("strait_ready", "1 while /healthz/ready answers 200.")?,
            draining: r.gauge("strait_draining", "1 from the moment when draining was asked for.")?,
            lines_dropped: r.counters(
                "strait_log_lines_dropped_total",
                &["log", "reason"],
                "Log lines that strait did not write. reason is queue_full, write_failed or rate_limit (too many lines about refused connections).",
            )?,
            memory_limit: r.gauge(
                "strait_memory_limit_bytes",
                "Memory limit of the process: the tightest limit of its cgroup and those above it, otherwise the host's memory. 0 when it is not known.",
            )?,
            memory_used: r.gauge(
                "strait_memory_used_bytes",
                "Memory in use in the cgroup that is nearest to its limit, without the page cache that the kernel drops first. 0 when no cgroup has a limit.",
            )?,
            memory_full: r.gauge(
                "strait_memory_full",
                "1 while new connections are refused as overloaded because memory use is above limits.memory_percent.",
            )?,
            hello_memory: r.gauge(
                "strait_hello_memory_bytes",
                "Bytes allocated for ClientHellos that came in pieces, until they are sent to an endpoint. At most limits.hello_memory.",
            )?,
            hello_memory_peak: r.gauge(
                "strait_hello_memory_peak_bytes",
                "Largest value of strait_hello_memory_bytes since the start.",
            )?,
            carry_memory: r.gauge(
                "strait_carry_memory_bytes",
                "Bytes that strait has read and the other side has not accepted yet, of all connections together. At most limits.carry_memory.",
            )?,
            carry_memory_peak: r.gauge(
                "strait_carry_memory_peak_bytes",
                "Largest part of limits.carry_memory that was taken since the start, with the part that each worker reserves for its next read.",
            )?,
            pipes: r.gauge("strait_pipes", "Pipes open for splicing.")?,
            held_pipes: r.gauge(
                "strait_pipes_held",
                "Pipes with bytes that a slow peer has not accepted yet.",
            )?,
            kubernetes: KubernetesMetrics::new(&mut r)?,
            statuses: StatusSeries::new(&mut r)?,
            series: Mutex::default(),
            described: r.described,
            registry: r.registry,
        })
    }

    /// The descriptions of all metrics, except those of the process and of registered collectors.
    pub fn descriptions(&self) -> &[Description] {
        &self.described
    }

    /// Adds a collector that reads its values when scraped.
    ///
    /// # Errors
    /// Its metrics are registered already.
    pub fn register(&self, collector: Box<dyn Collector>) -> prometheus::Result<()> {
        self.registry.register(collector)
    }

    /// The number of connects of each time so far, of all listeners: for each bucket its upper bound in seconds and the
    /// count up to it, and the count of all.
    pub fn connect_times(&self) -> (Vec<(f64, u64)>, u64) {
        let mut counts: Vec<(f64, u64)> = SHORT_BUCKETS.map(|bound| (bound, 0)).into();
        let mut all = 0;
        for family in self.connect_duration.collect() {
            for metric in family.get_metric() {
                let histogram = metric.get_histogram();
                all += histogram.get_sample_count();
                for (sum, bucket) in counts.iter_mut().zip(histogram.get_bucket()) {
                    sum.1 += bucket.cumulative_count();
                }
            }
        }
        (counts, all)
    }

    /// Appends the text exposition of all metrics to `into`.
    ///
    /// # Errors
    /// A metric cannot be written, which is a defect.
    pub fn encode(&self, into: &mut Vec<u8>) -> prometheus::Result<()> {
        self.sweep();
        TextEncoder::new().encode(&self.registry.gather(), into)
    }

    /// The counters of connections that were accepted on a listener from a source group.
    pub fn accepted(&self, listener: &ListenerName, source: &SourceGroupName) -> IntCounter {
        let labels: [&str; 2] = [listener, source];
        self.accepted.with_label_values(&labels)
    }

    /// The metrics that are kept for each listener only.
    pub fn listener(&self, name: &ListenerName) -> ListenerSeries {
        ListenerSeries {
            hellos: HelloSeries::of(&self.hellos, &self.doctor_hellos, name),
            hello_duration: self.hello_duration.with_label_values(&[name]),
            connect_duration: self.connect_duration.with_label_values(&[name]),
            connection_duration: self.connection_duration.with_label_values(&[name]),
        }
    }

    /// Removes the metrics that are kept for a listener only.
    pub fn retire_listener(&self, name: &ListenerName) {
        HelloSeries::retire(&self.hellos, &self.doctor_hellos, name);
        self.kubernetes.retire_listener(name);
        for histograms in [
            &self.hello_duration,
            &self.connect_duration,
            &self.connection_duration,
        ] {
            let _ = histograms.remove_label_values(&[name]);
        }
        for scope in LimitScope::ALL {
            for limit in LimitKind::ALL {
                let labels = [name, scope.label(), limit.label()];
                let _ = self.limit_refusals.remove_label_values(&labels);
            }
        }
    }

    /// Connections refused at a limit of the config.
    pub fn limit_refusals(
        &self,
        listener: &ListenerName,
        scope: LimitScope,
        limit: LimitKind,
    ) -> IntCounter {
        let labels = [listener, scope.label(), limit.label()];
        self.limit_refusals.with_label_values(&labels)
    }

    /// Removes the metrics that are kept for an upstream only.
    pub fn retire_upstream(&self, name: &UpstreamName) {
        let _ = self.source_stale.remove_label_values(&[name]);
        let _ = self.source_last_answer.remove_label_values(&[name]);
        for result in SourceResult::ALL {
            let labels = [name, result.label()];
            let _ = self.source_answers.remove_label_values(&labels);
        }
        for result in ConnectResult::all() {
            let labels = [name, result.label()];
            let _ = self.connect_attempts.remove_label_values(&labels);
        }
        for reason in RefusedAddress::ALL {
            let labels = [name, reason.label()];
            let _ = self.source_refused_addresses.remove_label_values(&labels);
        }
    }

    /// Counts attempts to load the config.
    pub fn config_loaded(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.config_loads.with_label_values(&[result]).inc();
    }

    /// Attempts to connect to an endpoint of `upstream` with `result`.
    pub fn connect_attempts(&self, upstream: &UpstreamName, result: ConnectResult) -> IntCounter {
        let labels = [upstream, result.label()];
        self.connect_attempts.with_label_values(&labels)
    }

    /// Answers of an upstream's source.
    pub fn source_answers(&self, upstream: &UpstreamName, result: SourceResult) -> IntCounter {
        let labels = [upstream, result.label()];
        self.source_answers.with_label_values(&labels)
    }

    /// The gauge that is 1 while an upstream serves an old answer.
    pub fn source_stale(&self, upstream: &UpstreamName) -> IntGauge {
        self.source_stale.with_label_values(&[upstream])
    }

    /// The gauge of the time when discovery last got an answer for an upstream.
    pub fn source_last_answer(&self, upstream: &UpstreamName) -> Gauge {
        self.source_last_answer.with_label_values(&[upstream])
    }

    /// Addresses not used for `reason`.
    pub fn source_refused_addresses(
        &self,
        upstream: &UpstreamName,
        reason: RefusedAddress,
    ) -> IntCounter {
        let labels = [upstream, reason.label()];
        self.source_refused_addresses.with_label_values(&labels)
    }

    /// Pauses of accepting for `reason`.
    pub fn accept_paused(&self, reason: AcceptPause) -> IntCounter {
        self.accept_paused.with_label_values(&[reason.label()])
    }

    /// Lines of `log` not written for `reason`.
    pub fn log_lines_dropped(&self, log: LogName, reason: DroppedLine) -> IntCounter {
        let labels = [log.label(), reason.label()];
        self.lines_dropped.with_label_values(&labels)
    }
}

/// A count as gauges hold it.
pub fn gauge_value(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
