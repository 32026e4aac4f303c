//! The registry of upstreams by name, for routes, sources, admin and metrics.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::{EndpointState, Upstream};
use crate::config::{Config, UpstreamConfig, UpstreamSource};
use crate::metrics::exposition::{self, gauge};
use crate::names::UpstreamName;
use crate::shared_map::SharedMap;

/// The upstreams of one config, by name.
#[derive(Debug, Default)]
pub struct Upstreams {
    all: SharedMap<UpstreamName, Arc<Upstream>>,
    /// Those with active checks.
    checked: SharedMap<UpstreamName, Arc<Upstream>>,
}

/// The upstreams of a config that differs from the one before in some upstreams only.
#[derive(Debug, Default)]
pub struct ChangedUpstreams {
    /// All of them.
    pub upstreams: Upstreams,
    /// The names of those that are new or have another config.
    pub changed: Vec<UpstreamName>,
    /// Configs of those that are new, gone, or another [`Upstream`] than before.
    pub replaced: Vec<Arc<UpstreamConfig>>,
    /// Those whose name has gone.
    pub gone: Vec<Arc<Upstream>>,
}

impl Deref for Upstreams {
    type Target = SharedMap<UpstreamName, Arc<Upstream>>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Upstreams {
    /// The upstreams of `config`, to replace these. One whose source is unchanged is taken over with its
    /// endpoints; any other is created by [`Upstream::new`]. One that is taken over does not change
    /// before [`Upstreams::adopt`].
    pub fn prepare(&self, config: &Config) -> Self {
        let current = &self.all;
        // Usually no upstream has a new name.
        let renamed = LazyCell::new(|| renamed(current, config));
        let zone = &config.zone;
        let one = |(name, config): (&UpstreamName, &Arc<UpstreamConfig>)| {
            let before = current.get(name);
            let kept = before.filter(|before| before.has_source_of(config));
            let upstream = kept.cloned().unwrap_or_else(|| {
                let before = before.or_else(|| renamed.get(&question(config)?).copied());
                let before = before.map(|before| &**before);
                Arc::new(Upstream::new(config.clone(), zone.clone(), before))
            });
            (name.clone(), upstream)
        };
        let all: SharedMap<UpstreamName, Arc<Upstream>> =
            config.upstreams.iter().map(one).collect();
        let asks = |(name, _): &(&UpstreamName, _)| {
            let config = config.upstreams.get(*name);
            config.is_some_and(|config| config.check.is_some())
        };
        let checked = all.iter().filter(asks);
        let checked = checked.map(|(name, one)| (name.clone(), one.clone()));
        Self {
            checked: checked.collect(),
            all,
        }
    }

    /// As [`Upstreams::prepare`], of a config whose upstreams come from Kubernetes where they differ from those of
    /// `before`, the config of these upstreams. It costs what has changed.
    pub fn follow(&self, before: &Config, after: &Config) -> ChangedUpstreams {
        let mut change = ChangedUpstreams {
            upstreams: Self {
                all: self.all.clone(),
                checked: self.checked.clone(),
            },
            ..ChangedUpstreams::default()
        };
        let Self { all, checked } = &mut change.upstreams;
        for one in before.upstreams.diff(&after.upstreams, Arc::ptr_eq) {
            let name = one.key;
            let known = self.all.get(name);
            let Some(config) = one.after else {
                all.remove(name);
                checked.remove(name);
                change.gone.extend(known.cloned());
                change.replaced.extend(one.before.cloned());
                continue;
            };
            let kept = known.filter(|known| known.has_source_of(config));
            let upstream = kept.cloned().unwrap_or_else(|| {
                change.replaced.push(config.clone());
                let known = known.map(|known| &**known);
                Arc::new(Upstream::new(config.clone(), after.zone.clone(), known))
            });
            match config.check {
                Some(_) => drop(checked.insert(name.clone(), upstream.clone())),
                None => drop(checked.remove(name)),
            }
            all.insert(name.clone(), upstream);
            change.changed.push(name.clone());
        }
        change
    }

    /// Gives each upstream its policy of `config`, from which they were prepared.
    pub fn adopt(&self, config: &Config) {
        for (name, upstream) in self.all.iter() {
            if let Some(its_config) = config.upstreams.get(name) {
                upstream.adopt(its_config, config.zone.as_ref());
            }
        }
    }

    /// As [`Upstreams::adopt`], of the upstreams `names` only.
    pub fn adopt_changed(&self, names: &[UpstreamName], config: &Config) {
        for name in names {
            if let (Some(upstream), Some(its_config)) =
                (self.all.get(name), config.upstreams.get(name))
            {
                upstream.adopt(its_config, config.zone.as_ref());
            }
        }
    }

    /// The upstreams with active checks.
    pub fn checked(&self) -> &SharedMap<UpstreamName, Arc<Upstream>> {
        &self.checked
    }

    /// The upstreams whose names `after` does not have.
    pub fn gone<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = &'a Upstream> {
        let gone = |(name, _): &(&UpstreamName, _)| !after.all.contains_key(*name);
        self.all
            .iter()
            .filter(gone)
            .map(|(_, upstream)| &**upstream)
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
fn renamed<'a>(
    current: &'a SharedMap<UpstreamName, Arc<Upstream>>,
    config: &Config,
) -> HashMap<String, &'a Arc<Upstream>> {
    let gone = current.iter();
    let gone = gone.filter(|(name, _)| !config.upstreams.contains_key(*name));
    gone.filter_map(|(_, upstream)| Some((question(&upstream.config())?, upstream)))
        .collect()
}

const NAME: &str = "strait_upstream_endpoints";
const HELP: &str = "Endpoints of an upstream by state: ready, or ejected because their connections failed. While no pod of a \
    Service is ready, those that terminate and still serve are used: terminating. Those whose active checks fail are unhealthy, \
    and those that an operator has taken out are drained. These three states are left out if no endpoint has them.";

/// Counts endpoints by state when scraped, since an ejection ends by time.
pub struct EndpointCollector {
    upstreams: Box<dyn Fn() -> Arc<Upstreams> + Send + Sync>,
    described: Desc,
}

impl fmt::Debug for EndpointCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointCollector").finish_non_exhaustive()
    }
}

impl EndpointCollector {
    /// A collector of `strait_upstream_endpoints` that counts those of `upstreams`.
    ///
    /// # Errors
    /// Never in practice: the name and labels are fixed.
    pub fn new(
        upstreams: impl Fn() -> Arc<Upstreams> + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        Ok(Self {
            upstreams: Box::new(upstreams),
            described: exposition::described(NAME, HELP, &["state", "upstream"])?,
        })
    }
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
        for (name, upstream) in (self.upstreams)().iter() {
            let (mut ready, mut ejected, mut terminating) = (0u64, 0u64, 0u64);
            let (mut unhealthy, mut drained) = (0u64, 0u64);
            for endpoint in upstream.endpoints().iter() {
                match endpoint.stats.health.state(now) {
                    EndpointState::Ejected(_) => ejected += 1,
                    EndpointState::Unhealthy => unhealthy += 1,
                    EndpointState::Drained => drained += 1,
                    EndpointState::Ready if endpoint.spec.terminating => terminating += 1,
                    EndpointState::Ready => ready += 1,
                }
            }
            // By state, then by upstream: labels are sorted by name, and metrics by their labels.
            if drained > 0 {
                let labels = [("state", "drained"), ("upstream", name)];
                metrics.push(gauge(labels, drained));
            }
            metrics.push(gauge([("state", "ejected"), ("upstream", name)], ejected));
            metrics.push(gauge([("state", "ready"), ("upstream", name)], ready));
            for (state, count) in [("terminating", terminating), ("unhealthy", unhealthy)] {
                if count > 0 {
                    metrics.push(gauge([("state", state), ("upstream", name)], count));
                }
            }
        }
        let family = exposition::family(NAME, HELP, MetricType::GAUGE, metrics);
        family.into_iter().collect()
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
        let mut upstreams = Upstreams::default();
        let mut take = |config: &Config| {
            upstreams = upstreams.prepare(config);
            upstreams.adopt(config);
            upstreams.values().next().cloned().unwrap()
        };
        let before = take(&config("a", "db.example"));
        before.replace_endpoints([super::super::tests::spec(1, None, 1)]);
        let _held = before.pick_any(&[]);
        let renamed = take(&config("b", "db.example"));
        assert_eq!(renamed.endpoints().len(), 1);
        assert_eq!(renamed.endpoints().iter().next().unwrap().stats.active(), 1);
        assert!(renamed.is_stale() && !renamed.answered());
        let other = take(&config("c", "other.example"));
        assert_eq!(other.endpoints().len(), 0, "another name, another question");
    }
}
