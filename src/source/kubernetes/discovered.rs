//! What crosses the wall to `app`: everything that the source knows, as one immutable value.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::{EndpointSpec, RouteConfig, UpstreamConfig};
use crate::server_name::ServerName;

/// Everything that the source has found. The newest one replaces all before it.
#[derive(Debug, Clone, Default)]
pub struct Discovered {
    /// What route tables are made of. The same `Arc` as before when none of it has changed.
    pub routing: Arc<Routing>,
    /// The endpoints of each upstream of `routing`: the ready ones. The same inner `Arc` as before
    /// when they have not changed.
    pub endpoints: HashMap<Arc<str>, Arc<[EndpointSpec]>>,
    /// Why an upstream has no endpoints, for those that have none.
    pub empty: HashMap<Arc<str>, Arc<str>>,
}

/// What route tables are made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routing {
    /// Routes of exported services, for each listener that the export policy names.
    pub exports: Vec<RouteConfig>,
    /// Routes of TLSRoutes by the port of the Gateway's listener. A port without routes is listened
    /// on too, and refuses.
    pub gateways: BTreeMap<u16, Vec<RouteConfig>>,
    /// The upstreams that the routes name.
    pub upstreams: BTreeMap<Arc<str>, Arc<UpstreamConfig>>,
    /// Hosts of services that are not exported, with the reason. Reasons are shared: thousands of
    /// services have a few.
    pub unrouted: Arc<HashMap<ServerName, Arc<str>>>,
    /// What of exported services gets no route because of a limit.
    pub skipped: Skipped,
}

/// What gets no route because of a limit or of a name that no client can ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many names.
    pub count: usize,
    /// The first of them, at most [`Skipped::MAX`]: what, and why.
    pub examples: Vec<Arc<str>>,
}

impl Skipped {
    /// How many examples are kept.
    pub const MAX: usize = 32;

    /// Notes `count` more, with one text for them all.
    pub(super) fn add(&mut self, text: Arc<str>, count: usize) {
        self.count = self.count.saturating_add(count);
        if self.examples.len() < Self::MAX && !self.examples.contains(&text) {
            self.examples.push(text);
        }
    }

    /// Notes all that `other` holds.
    pub(super) fn extend(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        let room = Self::MAX.saturating_sub(self.examples.len());
        self.examples
            .extend(other.examples.iter().take(room).cloned());
    }
}
