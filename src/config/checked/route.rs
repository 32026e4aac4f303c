//! A route: what a listener does with a server name.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde::Serialize;

use super::limits::ConnectionLimits;
use super::origin::Origin;
use super::route_match::{AlpnPolicy, RouteMatch};
use crate::names::{RouteName, UpstreamName};

/// What a listener does with a server name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteConfig {
    /// Its name.
    pub name: RouteName,
    /// Which server names.
    pub matches: RouteMatch,
    /// Which ALPN offers.
    pub alpn: AlpnPolicy,
    /// Where its connections go.
    pub targets: TargetConfigs,
    /// On its connections. It limits no hellos: those have ended when the route is known.
    pub limits: ConnectionLimits,
    /// Where it comes from.
    pub origin: Origin,
    /// Why the export policy would refuse its connections, were it no dry run.
    pub dry_run: Option<Arc<str>>,
}

/// The upstreams that share a route's connections; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfigs {
    /// The only one, usually.
    pub first: TargetConfig,
    /// The others.
    pub rest: Vec<TargetConfig>,
}

impl TargetConfigs {
    /// One upstream that gets every connection.
    pub fn only(upstream: UpstreamName) -> Self {
        let weight = NonZeroU32::MIN;
        Self {
            first: TargetConfig { upstream, weight },
            rest: Vec::new(),
        }
    }

    /// Every target.
    pub fn iter(&self) -> impl Iterator<Item = &TargetConfig> {
        std::iter::once(&self.first).chain(&self.rest)
    }
}

impl Serialize for TargetConfigs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// One of the upstreams that share a route's connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetConfig {
    /// A key of [`Config::upstreams`].
    pub upstream: UpstreamName,
    /// Its share against the others'.
    pub weight: NonZeroU32,
}
