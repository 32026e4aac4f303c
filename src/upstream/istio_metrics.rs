//! The metrics `istio_tcp_*`, with the labels that Istio's proxies give them, so that Kiali and dashboards for Istio see
//! the gateway.
//!
//! An Istio gateway reports as the source of its connections. So does strait: source labels are its own workload, and
//! destination labels the service behind it. It decrypts nothing, so it knows neither workloads nor principals of the
//! two sides; those are `unknown`, as Istio's proxies say.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::Upstreams;
use crate::config::{DnsQuery, IstioMetrics, UpstreamSource};
use crate::metrics::{UpstreamCounts, exposition};
use crate::names::UpstreamName;
use crate::outcome::Outcome;

/// The metrics, sorted by name, each with its help.
const FAMILIES: [(&str, &str); 4] = [
    (
        "istio_tcp_connections_closed_total",
        "Connections to a service that have ended, with Istio's labels. response_flags are Envoy's. Only with metrics.istio.",
    ),
    (
        "istio_tcp_connections_opened_total",
        "Connections that were routed to a service, with Istio's labels. Only with metrics.istio.",
    ),
    (
        "istio_tcp_received_bytes_total",
        "Bytes to a service, with Istio's labels. Only with metrics.istio.",
    ),
    (
        "istio_tcp_sent_bytes_total",
        "Bytes from a service, with Istio's labels. Only with metrics.istio.",
    ),
];

/// The labels, sorted by name.
const LABELS: [&str; 23] = [
    "connection_security_policy",
    "destination_app",
    "destination_canonical_revision",
    "destination_canonical_service",
    "destination_cluster",
    "destination_principal",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_version",
    "destination_workload",
    "destination_workload_namespace",
    "reporter",
    "request_protocol",
    "response_flags",
    "source_app",
    "source_canonical_revision",
    "source_canonical_service",
    "source_cluster",
    "source_principal",
    "source_version",
    "source_workload",
    "source_workload_namespace",
];

/// The value of a label that is not known, in Istio's words.
const UNKNOWN: &str = "unknown";
/// The same of a revision.
const LATEST: &str = "latest";
/// No flag.
const NO_FLAG: &str = "-";

/// The labels of a service: its host, its name and its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct IstioService {
    host: String,
    name: String,
    namespace: String,
}

impl IstioService {
    fn of(upstream: &str, source: &UpstreamSource, cluster_domain: &str) -> Self {
        match source {
            // The host of a ServiceEntry.
            UpstreamSource::Kubernetes(port) if port.service.contains('.') => Self {
                host: port.service.to_string(),
                name: port.service.to_string(),
                namespace: port.namespace.to_string(),
            },
            UpstreamSource::Kubernetes(port) => Self {
                host: format!("{}.{}.svc.{cluster_domain}", port.service, port.namespace),
                name: port.service.to_string(),
                namespace: port.namespace.to_string(),
            },
            UpstreamSource::Dns(dns) => match &dns.query {
                DnsQuery::Address { name, .. } | DnsQuery::Service { name } => {
                    Self::of_host(&name.to_string())
                }
            },
            UpstreamSource::Static(_) => Self::of_host(upstream),
        }
    }

    /// Of a host such as `svcb.apps.svc.cluster.local`, or of another, which then is the name as well.
    fn of_host(host: &str) -> Self {
        let mut labels = host.splitn(4, '.');
        let (name, namespace) = match (labels.next(), labels.next(), labels.next()) {
            (Some(name), Some(namespace), Some("svc")) => (name, namespace),
            _ => (host, UNKNOWN),
        };
        Self {
            host: host.to_owned(),
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        }
    }
}

/// The facts that a scrape reads.
#[derive(Debug, Default)]
pub struct IstioFacts {
    /// The settings; `None` for no series.
    pub settings: Option<IstioMetrics>,
    /// The domain of the cluster.
    pub cluster_domain: String,
    /// The upstreams in force.
    pub upstreams: Arc<Upstreams>,
    /// The counts of their connections.
    pub counts: HashMap<UpstreamName, UpstreamCounts>,
}

/// Reads the counts of connections when scraped.
pub struct IstioCollector {
    facts: Box<dyn Fn() -> IstioFacts + Send + Sync>,
    described: Vec<Desc>,
}

impl fmt::Debug for IstioCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IstioCollector").finish_non_exhaustive()
    }
}

impl IstioCollector {
    /// A collector of the `istio_tcp_*` metrics.
    ///
    /// # Errors
    /// Never in practice: names and labels are fixed.
    pub fn new(facts: impl Fn() -> IstioFacts + Send + Sync + 'static) -> prometheus::Result<Self> {
        let described = FAMILIES.iter();
        let described = described.map(|(name, help)| exposition::described(name, help, &LABELS));
        Ok(Self {
            facts: Box::new(facts),
            described: described.collect::<prometheus::Result<_>>()?,
        })
    }
}

impl Collector for IstioCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let facts = (self.facts)();
        let Some(settings) = &facts.settings else {
            return Vec::new();
        };
        let services = services(&facts, settings.services);
        let [mut closed, mut opened, mut received, mut sent] = FAMILIES.map(|_| Vec::new());
        for (service, counts) in &services {
            let series = |flags, count| labelled(settings, service, flags, count);
            for (flags, count) in by_flags(counts) {
                closed.push(series(flags, count));
            }
            opened.push(series(NO_FLAG, counts.opened));
            received.push(series(NO_FLAG, counts.to_upstream));
            sent.push(series(NO_FLAG, counts.to_downstream));
        }
        let families = FAMILIES.iter().zip([closed, opened, received, sent]);
        let families = families.filter_map(|((name, help), metrics)| {
            exposition::family(name, help, MetricType::COUNTER, metrics)
        });
        families.collect()
    }
}

/// The counts of at most so many services, by name. Upstreams with the same service are one.
fn services(facts: &IstioFacts, most: usize) -> BTreeMap<IstioService, UpstreamCounts> {
    let mut services: BTreeMap<IstioService, UpstreamCounts> = BTreeMap::new();
    for (name, upstream) in facts.upstreams.iter() {
        let Some(counts) = facts.counts.get(name) else {
            continue;
        };
        let source = &upstream.config().source;
        let service = IstioService::of(name, source, &facts.cluster_domain);
        if services.len() < most || services.contains_key(&service) {
            services.entry(service).or_default().add(counts);
        }
    }
    services
}

/// The connections that have ended, by Envoy's flags; those without a flag even if there are none.
fn by_flags(counts: &UpstreamCounts) -> BTreeMap<&'static str, u64> {
    let mut flags = BTreeMap::from([(NO_FLAG, 0)]);
    for (outcome, count) in Outcome::ALL.iter().zip(counts.closed) {
        if count > 0 {
            *flags.entry(outcome.envoy_flag()).or_default() += count;
        }
    }
    flags
}

fn labelled(settings: &IstioMetrics, service: &IstioService, flags: &str, count: u64) -> Metric {
    let value = |label: &str| match label {
        "destination_canonical_revision" | "source_canonical_revision" => LATEST,
        "destination_service" => &service.host,
        "destination_service_name" => &service.name,
        "destination_service_namespace" => &service.namespace,
        "reporter" => "source",
        "request_protocol" => "tcp",
        "response_flags" => flags,
        "source_app" | "source_canonical_service" | "source_workload" => &settings.workload,
        "source_workload_namespace" => &settings.namespace,
        _ => UNKNOWN,
    };
    let labels: Vec<(&str, &str)> = LABELS.iter().map(|label| (*label, value(label))).collect();
    exposition::counter(labels, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PodChoice, ServicePort};

    fn kubernetes(service: &str) -> UpstreamSource {
        UpstreamSource::Kubernetes(ServicePort {
            namespace: "shop".into(),
            service: service.into(),
            port: 80,
            subset: None,
            by_pod: false,
            pods: PodChoice::AsExported,
        })
    }

    #[test]
    fn a_service_has_the_labels_that_istio_gives_it() {
        let none = UpstreamSource::Static(Vec::new());
        for (upstream, source, host, name, namespace) in [
            (
                "u",
                kubernetes("checkout"),
                "checkout.shop.svc.mesh.example",
                "checkout",
                "shop",
            ),
            (
                "u",
                kubernetes("db.example.com"),
                "db.example.com",
                "db.example.com",
                "shop",
            ),
            (
                "svcb.apps.svc.cluster.local",
                none.clone(),
                "svcb.apps.svc.cluster.local",
                "svcb",
                "apps",
            ),
            ("svcb", none, "svcb", "svcb", "unknown"),
        ] {
            let found = IstioService::of(upstream, &source, "mesh.example");
            let found = (&*found.host, &*found.name, &*found.namespace);
            assert_eq!(found, (host, name, namespace));
        }
    }

    #[test]
    fn connections_count_by_the_flags_of_their_outcomes() {
        let mut counts = UpstreamCounts::default();
        for (outcome, count) in [
            (Outcome::Ok, 5),
            (Outcome::IdleTimeout, 1),
            (Outcome::ConnectRefused, 2),
            (Outcome::ConnectTimeout, 3),
            (Outcome::NoEndpoint, 4),
        ] {
            counts.closed[outcome.index()] = count;
        }
        let flags: Vec<_> = by_flags(&counts).into_iter().collect();
        assert_eq!(flags, [("-", 6), ("UF,URX", 5), ("UH", 4)]);
        assert_eq!(
            by_flags(&UpstreamCounts::default()),
            BTreeMap::from([("-", 0)])
        );
    }

    #[test]
    fn labels_are_sorted_and_are_those_of_istio() {
        assert!(LABELS.is_sorted());
        let settings = IstioMetrics {
            services: 1,
            workload: "edge".into(),
            namespace: "strait".into(),
        };
        let service = IstioService::of_host("svcb.apps.svc.cluster.local");
        let metric = labelled(&settings, &service, "UH", 7);
        let labels: HashMap<_, _> = metric
            .get_label()
            .iter()
            .map(|pair| (pair.name(), pair.value()))
            .collect();
        assert_eq!(labels.len(), LABELS.len());
        for (label, value) in [
            ("reporter", "source"),
            ("source_workload", "edge"),
            ("source_workload_namespace", "strait"),
            ("destination_service", "svcb.apps.svc.cluster.local"),
            ("destination_service_name", "svcb"),
            ("destination_service_namespace", "apps"),
            ("destination_workload", "unknown"),
            ("destination_canonical_revision", "latest"),
            ("connection_security_policy", "unknown"),
            ("request_protocol", "tcp"),
            ("response_flags", "UH"),
        ] {
            assert_eq!(labels[label], value, "{label}");
        }
    }
}
