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
}
