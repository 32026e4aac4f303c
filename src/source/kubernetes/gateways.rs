//! The translation of Gateways and TLSRoutes: from records to routes by port, and to the status of each
//! object.
//!
//! ```text
//!  listeners   finds our Gateways, and which of their listeners can be served
//!  owners      says which listener or file route a name of a port belongs to
//!  attach      finds the listeners that a TLSRoute attaches to, and its names there
//!  backends    finds the upstreams of its connections, and the ALPN offers that they must make
//!  tables      makes the routes of each port
//!  references  say whether an object may refer to one of another namespace
//!  certificates  say what a listener's references to certificates resolve to: nothing
//!  reach       says whether a port is open, and whether clients come to it
//!  report      makes the status of each object
//! ```
//!
//! This one gateway serves all Gateways of the class at the same addresses, so the listeners of one
//! port share it whatever Gateway they belong to. A name belongs to the file's routes if they have it
//! or a name above it; otherwise to the namespace that comes first in the operator's list; and among
//! listeners of one namespace, or of one rank, to the most specific one.

mod attach;
mod backends;
mod certificates;
mod file_routes;
mod left_out;
mod listeners;
mod names;
mod owners;
mod reach;
mod references;
mod report;
mod tables;
mod translated;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::Cluster;
use super::ports::Ports;
use super::status::Notices;
use crate::config::{GatewayApiConfig, KubernetesConfig, RouteConfig, ServicePort};
pub(super) use reach::pod_ports;
pub(super) use translated::Translated;

/// Translates the Gateway API's objects. `ports` are those that are open. `in_mesh` says whether a service port has a pod that speaks
/// Istio's mutual TLS.
pub(super) fn translate(
    cluster: &Cluster,
    policy: &KubernetesConfig,
    config: &GatewayApiConfig,
    ports: &Ports,
    in_mesh: &dyn Fn(&ServicePort) -> bool,
) -> Translated {
    let mut notices = Notices::default();
    let gateways = listeners::own_gateways(cluster, config, &mut notices);
    let owners = owners::Owners::of(&gateways);
    let rules = attach::Rules {
        cluster,
        config,
        domains: &names::Domains::new(&policy.cluster_domain),
        gateways: &gateways,
        owners: &owners,
    };
    let routes = rules.own_routes();
    let backends: Vec<backends::Backends> = routes
        .iter()
        .map(|route| backends::read(cluster, route.key, route.record, in_mesh))
        .collect();
    let mut translated = Translated::default();
    let lost = tables::build(&gateways, &owners, &routes, &backends, &mut translated);
    left_out::notify(&routes, &lost, &mut notices);
    let findings = report::GatewayFindings {
        cluster,
        config,
        reach: reach::Reach::of(cluster, config, ports),
        gateways: &gateways,
        routes: &routes,
        backends: &backends,
        lost: &lost,
    };
    translated.statuses = Arc::new(findings.statuses(notices));
    translated.front = reach::front(config).map(|key| {
        let ports = pod_ports(cluster, &key);
        (key, ports)
    });
    let front = translated.front.iter().map(|(key, _)| key.clone());
    translated.services.extend(front);
    let mentioned = backends.into_iter().flat_map(|backends| backends.services);
    translated.services.extend(mentioned);
    translated
}

/// Gives unchanged routes the object version that they had `before`. Writing a status changes the
/// object's version; that must not make a new route table.
pub(super) fn keep_versions(
    before: &BTreeMap<u16, Vec<Arc<RouteConfig>>>,
    now: &mut BTreeMap<u16, Vec<Arc<RouteConfig>>>,
) {
    for (port, routes) in now {
        let Some(before) = before.get(port) else {
            continue;
        };
        let by_name: BTreeMap<&str, &Arc<RouteConfig>> =
            before.iter().map(|route| (&*route.name, route)).collect();
        for route in routes {
            let Some(old) = by_name.get(&*route.name) else {
                continue;
            };
            let as_before = || RouteConfig {
                origin: old.origin.clone(),
                ..(**route).clone()
            };
            if old.origin.is_same_object(&route.origin) && as_before() == ***old {
                *route = Arc::clone(old);
            }
        }
    }
}

#[cfg(test)]
mod tests;
