//! The counters of single endpoints as metrics.

use std::fmt;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::{EndpointTotals, Upstreams};
use crate::metrics::exposition;

/// A metric: its name, the label beside `upstream` and `endpoint`, if it has one, and its help.
const FAMILIES: [(&str, Option<&str>, &str); 4] = [
    (
        "strait_endpoint_bytes_total",
        Some("direction"),
        "Bytes relayed to and from an endpoint. direction is to_upstream or to_downstream. Endpoints that strait has used, as many as metrics.endpoints says.",
    ),
    (
        "strait_endpoint_connections_total",
        None,
        "Connections made to an endpoint. Endpoints that strait has used, as many as metrics.endpoints says.",
    ),
    (
        "strait_endpoint_ejections_total",
        None,
        "Ejections of an endpoint. Endpoints that strait has used, as many as metrics.endpoints says.",
    ),
    (
        "strait_endpoint_failures_total",
        Some("reason"),
        "Failures of an endpoint. reason is connect (no connection was made), before_reply (no byte of TLS came from it) or handshake (one side refused the other). Endpoints that strait has used, as many as metrics.endpoints says.",
    ),
];

/// The labels that all of them have.
const OF_ENDPOINT: [&str; 2] = ["endpoint", "upstream"];

/// The values of each of [`FAMILIES`], with the value of its label.
fn values(totals: &EndpointTotals) -> [Vec<(&'static str, u64)>; 4] {
    [
        vec![
            ("to_downstream", totals.to_downstream_bytes),
            ("to_upstream", totals.to_upstream_bytes),
        ],
        vec![("", totals.connections)],
        vec![("", totals.ejections)],
        vec![
            ("before_reply", totals.failed_before_reply),
            ("connect", totals.failed_connects),
            ("handshake", totals.refused_handshakes),
        ],
    ]
}

/// Reads the counts of endpoints when scraped.
pub struct EndpointTotalsCollector {
    upstreams: Box<dyn Fn() -> (Arc<Upstreams>, usize) + Send + Sync>,
    described: Vec<Desc>,
}

impl fmt::Debug for EndpointTotalsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointTotalsCollector")
            .finish_non_exhaustive()
    }
}

impl EndpointTotalsCollector {
    /// A collector of the `strait_endpoint_*` metrics. `upstreams` gives the upstreams, and the number of endpoints
    /// that have series.
    ///
    /// # Errors
    /// Never in practice: names and labels are fixed.
    pub fn new(
        upstreams: impl Fn() -> (Arc<Upstreams>, usize) + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        let described = FAMILIES.iter().map(|(name, label, help)| {
            let mut labels: Vec<&str> = label.iter().copied().chain(OF_ENDPOINT).collect();
            labels.sort_unstable();
            exposition::described(name, help, &labels)
        });
        Ok(Self {
            upstreams: Box::new(upstreams),
            described: described.collect::<prometheus::Result<_>>()?,
        })
    }
}

impl Collector for EndpointTotalsCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.described.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (upstreams, most) = (self.upstreams)();
        let mut metrics = FAMILIES.map(|_| Vec::new());
        let endpoints = upstreams.iter().flat_map(|(name, upstream)| {
            let set = upstream.endpoints();
            let used = set.iter().filter_map(|one| {
                let totals = one.stats.totals()?;
                Some((name.clone(), one.spec.address, totals))
            });
            used.collect::<Vec<_>>()
        });
        for (upstream, address, totals) in endpoints.take(most) {
            let address = address.to_string();
            let families = FAMILIES.iter().zip(&mut metrics);
            for ((family, metrics), values) in families.zip(values(&totals)) {
                for (value, count) in values {
                    let own = family.1.map(|name| (name, value));
                    let common = OF_ENDPOINT.into_iter().zip([&*address, &*upstream]);
                    let mut labels: Vec<_> = own.into_iter().chain(common).collect();
                    labels.sort_unstable();
                    metrics.push(exposition::counter(labels, count));
                }
            }
        }
        let family = |((name, _, help), metrics): (&(&str, _, &str), _)| {
            exposition::family(name, help, MetricType::COUNTER, metrics)
        };
        let families = FAMILIES.iter().zip(metrics).filter_map(family);
        families.collect()
    }
}
