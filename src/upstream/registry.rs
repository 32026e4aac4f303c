//! Every upstream by name, for routes, sources, admin and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

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
            described: endpoints()?,
        })
    }
}

fn endpoints() -> prometheus::Result<IntGaugeVec> {
    let options = Opts::new(
        "strait_upstream_endpoints",
        "Endpoints of an upstream by state: ready, or ejected because connecting to them failed.",
    );
    IntGaugeVec::new(options, &["upstream", "state"])
}

/// Counts endpoints by state when scraped.
#[derive(Debug)]
pub struct EndpointCollector {
    upstreams: Upstreams,
    /// Never filled: each scrape has a gauge of its own, so that two at once do not mix.
    described: IntGaugeVec,
}

impl Collector for EndpointCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.described.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(endpoints) = endpoints() else {
            return Vec::new();
        };
        let now = Instant::now();
        for (name, upstream) in self.upstreams.all().iter() {
            let (mut ready, mut ejected) = (0, 0);
            for endpoint in upstream.endpoints().iter() {
                match endpoint.stats.health.state(now) {
                    EndpointState::Ready => ready += 1,
                    EndpointState::Ejected(_) => ejected += 1,
                }
            }
            for (state, count) in [("ready", ready), ("ejected", ejected)] {
                endpoints.with_label_values(&[name, state]).set(count);
            }
        }
        endpoints.collect()
    }
}
