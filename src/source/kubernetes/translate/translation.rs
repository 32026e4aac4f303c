//! The result for one Service, and the draft in which it is made.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    /// The DNS names that its endpoints have, sorted, if it is exported.
    pub(super) names: Box<[Arc<str>]>,
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
    pub(super) exports: Arc<[Arc<RouteConfig>]>,
    /// The upstreams of the exports, and those that a TLSRoute asks for.
    pub(super) upstreams: Box<[Arc<UpstreamConfig>]>,
    /// The Service's host and the reason why it has no route.
    pub(super) unrouted: Option<(ServerName, Arc<str>)>,
    pub(super) skipped: Skipped,
}

impl Routes {
    /// Keeps each route and upstream of `before` that is still the same, whatever the Service's version. So
    /// other writes to a Service change no route table, and a change leaves the other routes as they are.
    pub(super) fn keep_versions(&mut self, before: &Self) {
        let known = before.exports.iter();
        let known: HashMap<&str, &Arc<RouteConfig>> =
            known.map(|route| (&*route.name, route)).collect();
        let kept = |now: &Arc<RouteConfig>| {
            let before = known.get(&*now.name).copied().filter(|before| {
                if Arc::ptr_eq(before, now) {
                    return true;
                }
                let origin = before.origin.clone();
                let as_before = || RouteConfig {
                    origin,
                    ..RouteConfig::clone(now)
                };
                now.origin.is_same_object(&before.origin) && as_before() == ***before
            });
            Arc::clone(before.unwrap_or(now))
        };
        self.exports = keep(self.exports.iter().map(kept).collect(), &before.exports);
        let known = before.upstreams.iter();
        let known: HashMap<&str, &Arc<UpstreamConfig>> =
            known.map(|upstream| (&*upstream.name, upstream)).collect();
        for upstream in &mut self.upstreams {
            if let Some(before) = known.get(&*upstream.name)
                && (Arc::ptr_eq(before, upstream) || **before == *upstream)
            {
                *upstream = Arc::clone(before);
            }
        }
    }
}

/// The list `before`, if `now` has the very same items.
fn keep<T>(now: Arc<[Arc<T>]>, before: &Arc<[Arc<T>]>) -> Arc<[Arc<T>]> {
    let mut pairs = now.iter().zip(before.iter());
    if now.len() == before.len() && pairs.all(|(now, before)| Arc::ptr_eq(now, before)) {
        return before.clone();
    }
    now
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
    pub(super) exports: Vec<Arc<RouteConfig>>,
    pub(super) unrouted: Option<(ServerName, Arc<str>)>,
    pub(super) skipped: Skipped,
    /// The DNS names that its endpoints have.
    pub(super) names: BTreeSet<Arc<str>>,
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
        let is_exported = !self.exports.is_empty();
        let names = self.names.into_iter().filter(|_| is_exported);
        Translation {
            names: names.collect(),
            routing: Routes {
                exports: self.exports.into(),
                upstreams: self.upstreams.into(),
                unrouted: self.unrouted,
                skipped: self.skipped,
            },
            endpoints: self.endpoints.into_iter().collect(),
        }
    }
}
