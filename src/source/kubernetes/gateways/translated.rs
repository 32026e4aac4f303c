//! The result of translating Gateways and TLSRoutes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{RouteConfig, ServicePort};
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::status::Statuses;

/// The content of the Gateway API's objects: routes, backends and statuses.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    /// Routes by the port of the Gateway's listener. strait listens on a port without routes too.
    pub(crate) routes: BTreeMap<u16, Vec<Arc<RouteConfig>>>,
    /// The service ports behind the routes' upstreams. An upstream's name is the display form of its
    /// `ServicePort`. An upstream without pods, or without a Service, refuses.
    pub(crate) backends: BTreeSet<ServicePort>,
    /// The reasons of those backends whose pods are [`PodChoice::Refused`](crate::config::PodChoice).
    pub(crate) refused: BTreeMap<ServicePort, Arc<str>>,
    /// Every Service that a route or a status depends on, existing or not.
    pub(crate) services: BTreeSet<ObjectKey>,
    /// The Service in front of the gateway, and the ports of its pods, which statuses depend on.
    pub(crate) front: Option<(ObjectKey, BTreeSet<u16>)>,
    /// The status of every object, to be written back.
    pub(crate) statuses: Arc<Statuses>,
}
