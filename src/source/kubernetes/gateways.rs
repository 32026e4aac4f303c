//! Gateways and TLSRoutes: records -> routes by port, and the status that each object gets.
//!
//! ```text
//!  listeners   which Gateways are ours, and what of their listeners can be served
//!  owners      who a name of a port belongs to
//!  attach      which listeners a TLSRoute attaches to, and with which names
//!  backends    where its connections go, and which ALPN offers they must make
//!  tables      the routes of each port
//!  report      the status of each object
//! ```
//!
//! All Gateways of the class are served by this one gateway, at the same addresses: listeners of one
//! port stand beside each other whichever Gateway they are of. A name belongs to the file's routes, if
//! they have it or a name above it; then to the namespace that comes first in the operator's list, and
//! of one namespace's listeners, or of those of one rank, to the most specific one.

mod attach;
mod backends;
mod file_routes;
mod left_out;
mod listeners;
mod names;
mod owners;
mod report;
mod tables;
mod translated;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::Cluster;
use super::records::ObjectKey;
use super::status::Notices;
use crate::config::{
    GatewayAddresses, GatewayApiConfig, KubernetesConfig, Origin, RouteConfig, ServicePort,
};
pub(super) use translated::Translated;

/// Reads the Gateway API's objects. `in_mesh` says whether a service port has a pod that speaks Istio's
/// mutual TLS.
pub(super) fn translate(
    cluster: &Cluster,
    policy: &KubernetesConfig,
    config: &GatewayApiConfig,
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
    let findings = report::Findings {
        cluster,
        config,
        gateways: &gateways,
        routes: &routes,
        backends: &backends,
        lost: &lost,
    };
    translated.statuses = Arc::new(findings.statuses(notices));
    if let GatewayAddresses::Service { namespace, name } = &config.addresses {
        let (namespace, name) = (namespace.clone(), name.clone());
        translated.services.insert(ObjectKey { namespace, name });
    }
    let mentioned = backends.into_iter().flat_map(|backends| backends.services);
    translated.services.extend(mentioned);
    translated
}

/// Gives routes that are as they were `before` the version of the object that they had: writing a status
/// changes the object's version, and must not change a route table.
pub(super) fn keep_versions(
    before: &BTreeMap<u16, Vec<RouteConfig>>,
    now: &mut BTreeMap<u16, Vec<RouteConfig>>,
) {
    for (port, routes) in now {
        let Some(before) = before.get(port) else {
            continue;
        };
        let by_name: BTreeMap<&Arc<str>, &RouteConfig> =
            before.iter().map(|route| (&route.name, route)).collect();
        for route in routes {
            let Some(old) = by_name.get(&route.name) else {
                continue;
            };
            let new = std::mem::replace(&mut route.origin, old.origin.clone());
            let same_object = match (&old.origin, &new) {
                (Origin::TlsRoute(old), Origin::TlsRoute(new))
                | (Origin::Gateway(old), Origin::Gateway(new)) => {
                    (&old.namespace, &old.name) == (&new.namespace, &new.name)
                }
                _ => false,
            };
            if !same_object || route != *old {
                route.origin = new;
            }
        }
    }
}

#[cfg(test)]
mod tests;
