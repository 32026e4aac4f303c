//! The ports and subsets under which the hosts of services are routed, for hints.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::name_map::NameMap;
use crate::config::{Exporter, RouteConfig, RouteMatch};
use crate::server_name::ServerName;

/// A port under which a service's host is routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServedPort {
    pub(super) port: u16,
    pub(super) subsets: Vec<Arc<str>>,
}

/// The ports of a host that some routes give it: those of the file (`None`), or those of a Service.
#[derive(Debug, Clone)]
pub(super) struct ServedPart {
    of: Option<Exporter>,
    pub(super) ports: Vec<ServedPort>,
}

/// The ports of each host. A copy shares what the other does not change.
#[derive(Debug, Clone, Default)]
pub(super) struct ServedPorts(NameMap<Arc<Vec<ServedPart>>>);

/// The ports of some hosts.
pub(super) type ServedHosts = BTreeMap<ServerName, Vec<ServedPort>>;

/// The host of a route that has a service's.
pub(super) fn host_of(route: &RouteConfig) -> Option<&ServerName> {
    match &route.matches {
        RouteMatch::Service { host, .. } | RouteMatch::Subset { host, .. } => Some(host),
        // The Service's own route has its ports.
        RouteMatch::Pods { .. } => None,
        RouteMatch::Sni(_) | RouteMatch::AnyOf(_) | RouteMatch::NoSni => None,
    }
}

/// The hosts of these routes with their ports, in the order of the routes.
pub(super) fn hosts_of<'r>(routes: impl Iterator<Item = &'r RouteConfig>) -> ServedHosts {
    let mut hosts = ServedHosts::new();
    for route in routes {
        let (host, port, subsets) = match &route.matches {
            RouteMatch::Service {
                host,
                port,
                subsets,
                ..
            } => (host, *port, subsets.clone()),
            RouteMatch::Subset { host, port, subset } => (host, *port, vec![subset.clone()]),
            RouteMatch::Pods { .. }
            | RouteMatch::Sni(_)
            | RouteMatch::AnyOf(_)
            | RouteMatch::NoSni => continue,
        };
        let served = hosts.entry(host.clone()).or_default();
        match served.iter_mut().find(|served| served.port == port) {
            Some(served) => served.subsets.extend(subsets),
            None => served.push(ServedPort { port, subsets }),
        }
    }
    hosts
}

impl ServedPorts {
    /// The ports of `host`, by the routes that it has them from.
    pub(super) fn of(&self, host: &str) -> Option<&[ServedPart]> {
        self.0.get(host).map(|parts| parts.as_slice())
    }

    /// Replaces the hosts `before` by `after`, of the routes of `of`.
    pub(super) fn replace(
        &mut self,
        of: Option<&Exporter>,
        before: &ServedHosts,
        after: ServedHosts,
    ) {
        for host in before.keys().filter(|host| !after.contains_key(*host)) {
            self.set(host, of, Vec::new());
        }
        for (host, ports) in after {
            if before.get(&host) != Some(&ports) {
                self.set(&host, of, ports);
            }
        }
    }

    fn set(&mut self, host: &ServerName, of: Option<&Exporter>, ports: Vec<ServedPort>) {
        let mut parts = self.0.get(host.as_str()).cloned().unwrap_or_default();
        let all = Arc::make_mut(&mut parts);
        all.retain(|part| part.of.as_ref() != of);
        if !ports.is_empty() {
            let at = all.partition_point(|part| part.of.as_ref() < of);
            let of = of.cloned();
            all.insert(at, ServedPart { of, ports });
        }
        match parts.is_empty() {
            true => self.0.remove(host.as_str()),
            false => self.0.insert(host.clone(), parts),
        }
    }
}
