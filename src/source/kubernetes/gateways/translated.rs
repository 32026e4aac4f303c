//! What Gateways and TLSRoutes come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{RouteConfig, ServicePort};
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::status::Statuses;

/// What the Gateway API's objects ask for.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// Routes by the port of the Gateway's listener; a port without routes is listened on too.
    pub(crate) routes: BTreeMap<u16, Vec<RouteConfig>>,
    /// What the routes' upstreams stand for: each is called as its `ServicePort` is displayed. One that
    /// has no pods, or no Service, refuses.
    pub(crate) backends: BTreeSet<ServicePort>,
    /// Why those of them refuse whose pods are [`PodChoice::Refused`](crate::config::PodChoice).
    pub(crate) refused: BTreeMap<ServicePort, Arc<str>>,
    /// Every Service that a route or a status depends on, whether it is there or not.
    pub(crate) services: BTreeSet<ObjectKey>,
    /// The status of every object, to be written back.
    pub(crate) statuses: Arc<Statuses>,
}
