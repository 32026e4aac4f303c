//! The value that the source hands to `app`: everything that it knows, immutable.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{EndpointSpec, Exports, RouteConfig, UpstreamConfig};
use crate::names::UpstreamName;
use crate::server_name::ServerName;
use crate::shared_map::SharedMap;

/// Everything that the source has found. A newer value replaces all before it, and shares with it what has not
/// changed.
#[derive(Debug, Clone, Default)]
pub struct Discovered {
    /// The content of route tables. It is the same `Arc` as before when nothing in it has changed.
    pub routing: Arc<Routing>,
    /// The ready endpoints of each upstream of `routing`. The inner `Arc` is the same as before when
    /// they have not changed.
    pub endpoints: SharedMap<UpstreamName, Arc<[EndpointSpec]>>,
    /// The reasons of the upstreams that have no endpoints.
    pub empty: SharedMap<UpstreamName, Arc<str>>,
    /// Hosts of services that are not exported, with the reason. The reasons are shared, since
    /// thousands of services have only a few. No route follows from them.
    pub unrouted: SharedMap<ServerName, Arc<str>>,
}

/// The content of route tables.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    /// Routes of exported services, for each listener that the export policy names.
    pub exports: Exports,
    /// Routes of TLSRoutes by the port of the Gateway's listener. strait also listens on a port without
    /// routes, and refuses every connection there.
    pub gateways: BTreeMap<u16, Arc<Vec<Arc<RouteConfig>>>>,
    /// The upstreams that the routes name.
    pub upstreams: SharedMap<UpstreamName, Arc<UpstreamConfig>>,
    /// Names of exported services that get no route because of a limit.
    pub skipped: Skipped,
}

impl Routing {
    /// The routing with at most `most` routes of exported services.
    pub(super) fn within(mut self, most: usize) -> Self {
        let over = self.exports.len().saturating_sub(most);
        if over > 0 {
            self.exports = self.exports.first(most);
            let text = format!("more than {most} routes of exported Services");
            self.skipped.add(text.into(), over);
        }
        self
    }
}

/// Names that get no route because of a limit, or because no client can ask for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// The number of names.
    pub count: usize,
    /// The first of them with their reasons, at most [`Skipped::MAX`].
    pub examples: Vec<Arc<str>>,
}

impl Skipped {
    /// The number of examples kept.
    pub const MAX: usize = 32;

    /// Adds `count` names with one text for them all.
    pub(super) fn add(&mut self, text: Arc<str>, count: usize) {
        self.count = self.count.saturating_add(count);
        if self.examples.len() < Self::MAX && !self.examples.contains(&text) {
            self.examples.push(text);
        }
    }

    /// Adds the content of `other`.
    pub(super) fn extend(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        let free = Self::MAX.saturating_sub(self.examples.len());
        self.examples
            .extend(other.examples.iter().take(free).cloned());
    }
}
