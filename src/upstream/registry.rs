//! The registry of upstreams by name, for routes, sources, admin and metrics.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::{EndpointState, Upstream};
use crate::config::{Config, UpstreamConfig, UpstreamSource};

/// Upstreams by name.
pub type UpstreamMap = BTreeMap<Arc<str>, Arc<Upstream>>;

/// The upstreams of a config. Cloning is cheap, and every clone sees later changes.
#[derive(Debug, Clone, Default)]
pub struct Upstreams(Arc<ArcSwap<UpstreamMap>>);

impl Upstreams {
    /// The upstreams of `config`. One whose source is unchanged is taken over with its endpoints; any
    /// other is created by [`Upstream::new`]. Nothing changes before [`Upstreams::replace`].
    pub fn prepare(&self, config: &Config) -> UpstreamMap {
        let current = self.0.load();
        // Usually no upstream has a new name.
        let renamed = LazyCell::new(|| renamed(&current, config));
        let zone = &config.zone;
        let one = |(name, config): (&Arc<str>, &Arc<UpstreamConfig>)| {
            let before = current.get(name);
            let kept = before.filter(|before| before.has_source_of(config));
            let upstream = kept.cloned().unwrap_or_else(|| {
                let before = before.or_else(|| renamed.get(&question(config)?).copied());
                let before = before.map(|before| &**before);
                Arc::new(Upstream::new(config.clone(), zone.clone(), before))
            });
            (name.clone(), upstream)
        };
        config.upstreams.iter().map(one).collect()
    }

    /// Puts `upstreams`, prepared from `config`, in place of the present ones. Returns the names that
    /// were removed.
    pub fn replace(&self, upstreams: UpstreamMap, config: &Config) -> Vec<Arc<str>> {
        for (name, upstream) in &upstreams {
            if let Some(its_config) = config.upstreams.get(name) {
                upstream.adopt(its_config, config.zone.as_ref());
            }
        }
        let upstreams = Arc::new(upstreams);
        let before = self.0.swap(upstreams.clone());
        let gone = |name: &&Arc<str>| !upstreams.contains_key(*name);
        before.keys().filter(gone).cloned().collect()
    }

    /// All upstreams at this moment.
    pub fn all(&self) -> Arc<UpstreamMap> {
        self.0.load_full()
    }

    /// A collector of `strait_upstream_endpoints`. It reads the states when scraped, since an ejection
    /// ends by time.
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

/// The question that an upstream asks DNS, if it asks one.
fn question(config: &UpstreamConfig) -> Option<String> {
    match &config.source {
        UpstreamSource::Dns(dns) => Some(dns.query.to_string()),
        UpstreamSource::Static(_) | UpstreamSource::Kubernetes(_) => None,
    }
}

/// The upstreams of `current` whose name `config` no longer has, by their question to DNS. An upstream
/// with the same question and another name replaces them.
fn renamed<'a>(current: &'a UpstreamMap, config: &Config) -> HashMap<String, &'a Arc<Upstream>> {
    let gone = current.iter();
    let gone = gone.filter(|(name, _)| !config.upstreams.contains_key(*name));
    gone.filter_map(|(_, upstream)| Some((question(&upstream.config())?, upstream)))
        .collect()
}

const NAME: &str = "strait_upstream_endpoints";
const HELP: &str =
    "Endpoints of an upstream by state: ready, or ejected because connecting to them failed.";

/// A gauge as it is written; `labels` are sorted by name.
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
        // Builds the output directly: with a gauge vector, which hashes and locks for each of them,
        // 10,000 upstreams took a quarter of a second.
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
            // By state, then by upstream: labels are sorted by name, and metrics by their labels.
            metrics.push(gauge([("state", "ejected"), ("upstream", name)], ejected));
            metrics.push(gauge([("state", "ready"), ("upstream", name)], ready));
        }
        // A family without a metric is not valid in the exposition.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, host: &str) -> Config {
        let text = format!(
            "
listeners:
  - name: l
    bind: '127.0.0.1:0'
    routes: [{{ sni: a.example, alpn: any, upstream: {name} }}]
upstreams: {{ {name}: {{ dns: '{host}:443' }} }}
"
        );
        Config::parse(&text, "test").unwrap()
    }

    #[test]
    fn an_upstream_with_another_name_and_the_same_question_keeps_the_endpoints() {
        let upstreams = Upstreams::default();
        let take = |config: &Config| {
            upstreams.replace(upstreams.prepare(config), config);
            upstreams.all().values().next().cloned().unwrap()
        };
        let before = take(&config("a", "db.example"));
        before.replace_endpoints([super::super::tests::spec(1, None, 1)]);
        let _held = before.pick(&[]);
        let renamed = take(&config("b", "db.example"));
        assert_eq!(renamed.endpoints().len(), 1);
        assert_eq!(renamed.endpoints().iter().next().unwrap().stats.active(), 1);
        assert!(renamed.is_stale() && !renamed.answered());
        let other = take(&config("c", "other.example"));
        assert_eq!(other.endpoints().len(), 0, "another name, another question");
    }
}
