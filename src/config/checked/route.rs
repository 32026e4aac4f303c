//! A route: what a listener does with a server name.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::limits::ConnectionLimits;
use super::origin::Origin;
use super::route_match::{AlpnPolicy, RouteMatch};
use crate::config::bounds;
use crate::names::{RouteName, UpstreamName};

/// A rule of a listener: server names and ALPN offers that match, and the upstreams for them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteConfig {
    /// Its name.
    pub name: RouteName,
    /// The server names that match.
    pub matches: RouteMatch,
    /// The ALPN offers that match.
    pub alpn: AlpnPolicy,
    /// The upstreams of its connections.
    pub targets: TargetConfigs,
    /// The limits on its connections. They bound no hellos, since the hello has ended when the route is
    /// known.
    pub limits: ConnectionLimits,
    /// The times that win over those of the listener and the upstream.
    pub timeouts: RouteTimeouts,
    /// The origin of the route.
    pub origin: Origin,
    /// The reason why the export policy would refuse its connections if it were not a dry run.
    pub dry_run: Option<Arc<str>>,
}

/// Times for a route's connections. `None`: that of the listener or the upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RouteTimeouts {
    /// The longest time without a byte in either direction, in place of the listener's.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "bounds::serialize_duration_or_off"
    )]
    pub idle: Option<Duration>,
    /// The time limit of an attempt to connect, in place of the upstream's.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "bounds::serialize_duration_or_off"
    )]
    pub connect: Option<Duration>,
}

/// The upstreams that share a route's connections; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfigs {
    /// The first target, usually the only one.
    pub first: TargetConfig,
    /// The other targets.
    pub rest: Vec<TargetConfig>,
}

impl TargetConfigs {
    /// A single upstream that gets every connection.
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
    /// A key of [`Config::upstreams`](super::Config::upstreams).
    pub upstream: UpstreamName,
    /// Its weight relative to the others.
    pub weight: NonZeroU32,
}
