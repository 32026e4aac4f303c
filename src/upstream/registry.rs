//! Every upstream by name, for routes, sources, admin and metrics.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{EndpointState, Upstream};
use crate::config::{Config, UpstreamConfig};

/// Upstreams by name.
pub type UpstreamMap = BTreeMap<Arc<str>, Arc<Upstream>>;

/// The upstreams that a config names. Cloning is cheap and sees every later change.
#[derive(Debug, Clone, Default)]
pub struct Upstreams(Arc<ArcSwap<UpstreamMap>>);

impl Upstreams {
    /// The upstreams of `config`. One whose source stays the same is taken over with its endpoints;
    /// another starts anew, keeping the counts of endpoints that both have. Nothing changes before
    /// [`Upstreams::replace`].
    pub fn prepare(&self, config: &Config) -> UpstreamMap {
        let current = self.0.load();
        let zone = &config.zone;
        let one = |(name, config): (&Arc<str>, &Arc<UpstreamConfig>)| {
            let before = current.get(name);
            let kept = before.filter(|before| before.has_source_of(config, zone.as_deref()));
            let upstream = kept.cloned().unwrap_or_else(|| {
                let before = before.map(|before| &**before);
                Arc::new(Upstream::new(config.clone(), zone.clone(), before))
            });
            (name.clone(), upstream)
        };
        config.upstreams.iter().map(one).collect()
    }

    /// Makes `upstreams`, prepared from `config`, the ones there are. Returns the names that went.
    pub fn replace(&self, upstreams: UpstreamMap, config: &Config) -> Vec<Arc<str>> {
        for (name, upstream) in &upstreams {
            if let Some(config) = config.upstreams.get(name) {
                upstream.adopt(config);
            }
        }
        let upstreams = Arc::new(upstreams);
        let before = self.0.swap(upstreams.clone());
        let gone = |name: &&Arc<str>| !upstreams.contains_key(*name);
        before.keys().filter(gone).cloned().collect()
    }

    /// All of them now.
    pub fn all(&self) -> Arc<UpstreamMap> {
        self.0.load_full()
    }

    /// A collector of `strait_upstream_endpoints`, read when scraped since an ejection ends by time.
    ///
    /// # Errors
    /// Never in practice: the name and labels are fixed.
    pub fn collector(&self) -> prometheus::Result<EndpointCollector> {
        Ok(EndpointCollector {
            upstreams: self.clone(),
            described: Desc::new(
                NAME.into(),
                HELP.into(),
                vec!["state".into(), "upstream".into()],
                HashMap::new(),
            )?,
        })
    }
}

const NAME: &str = "strait_upstream_endpoints";
const HELP: &str =
    "Endpoints of an upstream by state: ready, or ejected because connecting to them failed.";

/// A gauge as it is printed; `labels` are sorted by name.
fn gauge(labels: [(&str, &str); 2], value: u32) -> Metric {
    let label = |(name, value): (&str, &str)| {
        let mut label = LabelPair::default();
        label.set_name(name.into());
        label.set_value(value.into());
        label
    };
    let mut gauge = Gauge::default();
    gauge.set_value(value.into());
    let mut metric = Metric::from_label(labels.map(label).into());
    metric.set_gauge(gauge);
    metric
}

/// Counts endpoints by state when scraped.
#[derive(Debug)]
pub struct EndpointCollector {
    upstreams: Upstreams,
    described: Desc,
}

impl Collector for EndpointCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.described]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Straight into what is printed: through a gauge vector, which hashes and locks for each of
        // them, 10,000 upstreams took a quarter of a second.
        let now = Instant::now();
        let mut metrics = Vec::new();
        for (name, upstream) in self.upstreams.all().iter() {
            let (mut ready, mut ejected) = (0u32, 0u32);
            for endpoint in upstream.endpoints().iter() {
                match endpoint.stats.health.state(now) {
                    EndpointState::Ready => ready += 1,
                    EndpointState::Ejected(_) => ejected += 1,
                }
            }
            // By state, then by upstream: labels are sorted by name, metrics as their labels are.
            metrics.push(gauge([("state", "ejected"), ("upstream", name)], ejected));
            metrics.push(gauge([("state", "ready"), ("upstream", name)], ready));
        }
        // A family without a metric is no valid exposition.
        if metrics.is_empty() {
            return Vec::new();
        }
        let mut family = MetricFamily::default();
        family.set_name(NAME.into());
        family.set_help(HELP.into());
        family.set_field_type(MetricType::GAUGE);
        family.set_metric(metrics);
        vec![family]
    }
}
