//! The result for one Service, and the draft in which it is made.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::config::{EndpointSpec, RouteConfig, ServicePort, UpstreamConfig};
use crate::names::UpstreamName;
use crate::server_name::ServerName;
use crate::source::kubernetes::discovered::Skipped;

/// The result for a Service.
#[derive(Debug, Default)]
pub(super) struct Translation {
    pub(super) routing: Routes,
    /// The endpoints of every upstream, sorted by its name.
    pub(super) endpoints: Box<[(UpstreamName, Endpoints)]>,
}

impl Translation {
    /// The endpoints of an upstream.
    pub(super) fn endpoints_of(&self, upstream: &str) -> Option<&Endpoints> {
        let found = self
            .endpoints
            .binary_search_by(|(name, _)| (**name).cmp(upstream));
        self.endpoints.get(found.ok()?).map(|(_, it)| it)
    }
}

/// The parts that go into route tables.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Routes {
    pub(super) exports: Box<[Arc<RouteConfig>]>,
    /// The upstreams of the exports, and those that a TLSRoute asks for.
    pub(super) upstreams: Box<[Arc<UpstreamConfig>]>,
    /// The Service's host and the reason why it has no route.
    pub(super) unrouted: Option<(ServerName, Arc<str>)>,
    pub(super) skipped: Skipped,
}

impl Routes {
    /// Keeps the Service's version that the routes had `before` when nothing else in them has changed.
    /// So other writes to a Service make no new route table.
    pub(super) fn keep_versions(&mut self, before: &Self) {
        let same = |(now, before): (&Arc<RouteConfig>, &Arc<RouteConfig>)| {
            let origin = before.origin.clone();
            let now = RouteConfig::clone(now);
            RouteConfig { origin, ..now } == **before
        };
        if self.exports.len() == before.exports.len()
            && self.exports.iter().zip(&before.exports).all(same)
        {
            self.exports.clone_from(&before.exports);
        }
        if self.upstreams == before.upstreams {
            self.upstreams.clone_from(&before.upstreams);
        }
    }
}

/// The port of a Service that a TLSRoute wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) port: ServicePort,
    /// The reason why its connections are refused whatever pods exist.
    pub(super) refused: Option<Arc<str>>,
}

/// The endpoints of an upstream.
#[derive(Debug, PartialEq)]
pub(super) struct Endpoints {
    pub(super) list: Arc<[EndpointSpec]>,
    /// The reason why there are no endpoints, if so.
    pub(super) empty: Option<Arc<str>>,
}

impl Endpoints {
    pub(super) fn new(list: Vec<EndpointSpec>, empty: Option<Arc<str>>) -> Self {
        let list = list.into();
        Self { list, empty }
    }
}

/// A translation while it is made.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) exports: Vec<RouteConfig>,
    pub(super) unrouted: Option<(ServerName, Arc<str>)>,
    pub(super) skipped: Skipped,
    upstreams: Vec<Arc<UpstreamConfig>>,
    endpoints: BTreeMap<UpstreamName, Endpoints>,
}

impl Draft {
    /// Adds an upstream. Adding the same one again changes nothing.
    pub(super) fn add(&mut self, upstream: Arc<UpstreamConfig>, endpoints: Endpoints) {
        if let Entry::Vacant(slot) = self.endpoints.entry(upstream.name.clone()) {
            slot.insert(endpoints);
            self.upstreams.push(upstream);
        }
    }

    pub(super) fn finish(self) -> Translation {
        Translation {
            routing: Routes {
                exports: self.exports.into_iter().map(Arc::new).collect(),
                upstreams: self.upstreams.into(),
                unrouted: self.unrouted,
                skipped: self.skipped,
            },
            endpoints: self.endpoints.into_iter().collect(),
        }
    }
}
