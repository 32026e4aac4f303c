//! The targets of a route's connections: one upstream, or several that share them by weight.

use std::sync::{Arc, OnceLock};

use crate::config::{RouteTimeouts, SourceGroupId, SourceGroups, TargetConfig, TargetConfigs};
use crate::metrics::{ConnectionSeries, Metrics, SeriesKey};
use crate::names::{ListenerName, RouteName, UpstreamName};
use crate::upstream::Upstream;

/// The upstreams that share a route's connections; at least one.
#[derive(Debug)]
pub struct Targets {
    first: Arc<Target>,
    rest: Box<[Arc<Target>]>,
    /// The sum of all weights, at least 1.
    weight: u64,
}

/// One of the upstreams that share a route's connections.
#[derive(Debug)]
pub struct Target {
    /// The upstream of its connections.
    pub upstream: Arc<Upstream>,
    /// The route's name, a metric label.
    pub route: RouteName,
    /// The upstream's name, a metric label.
    pub name: UpstreamName,
    /// The route's own times.
    pub timeouts: RouteTimeouts,
    /// The weight, at least 1.
    weight: u64,
    /// The counters of its connections, by source group, looked up on first use.
    series: Box<[OnceLock<Arc<ConnectionSeries>>]>,
}

impl Targets {
    /// # Errors
    /// The name of an upstream that does not exist.
    pub(super) fn build(
        route: &RouteName,
        configs: &TargetConfigs,
        timeouts: RouteTimeouts,
        sources: &SourceGroups,
        upstream: &impl Fn(&str) -> Option<Arc<Upstream>>,
    ) -> Result<Self, UpstreamName> {
        let target = |config: &TargetConfig| {
            let name = config.upstream.clone();
            Ok(Arc::new(Target {
                route: route.clone(),
                upstream: upstream(&name).ok_or_else(|| name.clone())?,
                name,
                timeouts,
                weight: config.weight.get().into(),
                series: sources.ids().map(|_| OnceLock::new()).collect(),
            }))
        };
        let rest = configs.rest.iter().map(target);
        let mut targets = Self {
            first: target(&configs.first)?,
            rest: rest.collect::<Result<_, UpstreamName>>()?,
            weight: 0,
        };
        targets.weight = targets.iter().map(|target| target.weight).sum();
        Ok(targets)
    }

    /// Every target, in the config's order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Target>> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Chooses the target of the next connection at random, by weight.
    pub fn choose(&self) -> &Arc<Target> {
        if self.rest.is_empty() {
            return &self.first;
        }
        self.at(fastrand::u64(..self.weight))
    }

    /// The target at `point`, which is below the sum of all weights.
    fn at(&self, point: u64) -> &Arc<Target> {
        let mut left = point;
        for target in &self.rest {
            if left < target.weight {
                return target;
            }
            left -= target.weight;
        }
        &self.first
    }
}

impl Target {
    /// The counters of connections to this target from the source group `source`.
    pub fn series(
        &self,
        metrics: &Metrics,
        listener: &ListenerName,
        sources: &SourceGroups,
        source: SourceGroupId,
    ) -> Arc<ConnectionSeries> {
        let resolve = || {
            metrics.connections(SeriesKey {
                listener: listener.clone(),
                route: self.route.clone(),
                upstream: self.name.clone(),
                source: sources.name(source).into(),
            })
        };
        match self.series.get(source.index()) {
            Some(slot) => slot.get_or_init(resolve).clone(),
            None => resolve(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::upstream;
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn every_target_owns_its_share_of_the_points() {
        let target = |name: &str, weight| TargetConfig {
            upstream: name.into(),
            weight: NonZeroU32::new(weight).unwrap(),
        };
        let configs = TargetConfigs {
            first: target("a", 3),
            rest: vec![target("b", 1), target("c", 1_000_000)],
        };
        let find = |_: &str| Some(upstream());
        let targets = Targets::build(
            &"r".into(),
            &configs,
            RouteTimeouts::default(),
            &SourceGroups::default(),
            &find,
        )
        .unwrap();
        assert_eq!(targets.weight, 1_000_004);
        let mut owned = std::collections::HashMap::new();
        for point in 0..targets.weight {
            *owned.entry(targets.at(point).name.clone()).or_insert(0) += 1;
        }
        let owned = |name: &str| owned[name];
        assert_eq!((owned("a"), owned("b"), owned("c")), (3, 1, 1_000_000));
    }
}
