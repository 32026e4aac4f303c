//! The registrar: it creates metrics and keeps a description of each.

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The description of a metric, for the reference in `docs/src/`.
#[derive(Debug, Clone)]
pub struct Description {
    /// Full name.
    pub name: &'static str,
    /// Label names in order.
    pub labels: &'static [&'static str],
    /// The help text.
    pub help: &'static str,
}

/// Registers metrics and keeps their descriptions.
pub(super) struct Registrar {
    pub(super) registry: Registry,
    pub(super) described: Vec<Description>,
}

impl Registrar {
    pub(super) fn add<C: Collector + Clone + 'static>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        build: impl FnOnce(Opts, &[&str]) -> prometheus::Result<C>,
    ) -> prometheus::Result<C> {
        let collector = build(Opts::new(name, help), labels)?;
        self.registry.register(Box::new(collector.clone()))?;
        self.described.push(Description { name, labels, help });
        Ok(collector)
    }

    pub(super) fn counters(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> prometheus::Result<IntCounterVec> {
        self.add(name, help, labels, IntCounterVec::new)
    }

    pub(super) fn gauges(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> prometheus::Result<IntGaugeVec> {
        self.add(name, help, labels, IntGaugeVec::new)
    }

    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
    ) -> prometheus::Result<IntGauge> {
        self.add(name, help, &[], |opts, _| IntGauge::with_opts(opts))
    }

    pub(super) fn histograms(
        &mut self,
        name: &'static str,
        buckets: &[f64],
        help: &'static str,
    ) -> prometheus::Result<HistogramVec> {
        let buckets = buckets.to_vec();
        self.add(name, help, &["listener"], |opts, labels| {
            HistogramVec::new(HistogramOpts::from(opts).buckets(buckets), labels)
        })
    }
}
