//! The attachment of TLSRoutes: the listeners that each attaches to, and its names there.

use std::collections::HashMap;
use std::sync::Arc;

use super::file_routes;
use super::listeners::{CONFLICT, GatewayRefusal, OwnGateway, OwnListener};
use super::names::{self, Domains, Foreign};
use super::owners::{ListenerPlace, Owners};
use crate::config::{GatewayApiConfig, SniPattern};
use crate::server_name::NameError;
use crate::source::kubernetes::cluster::Cluster;
use crate::source::kubernetes::records::ObjectKey;
use crate::source::kubernetes::records::gateway::{
    GROUP, ParentRef, RouteNamespaces, TlsRouteRecord,
};

/// A TLSRoute that refers to one of our Gateways.
#[derive(Debug)]
pub(super) struct OwnRoute<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) record: &'a TlsRouteRecord,
    /// Its references to our Gateways, in its order.
    pub(super) parents: Vec<Attached<'a>>,
}

/// The result of one reference to a Gateway.
#[derive(Debug)]
pub(super) struct Attached<'a> {
    pub(super) parent: &'a ParentRef,
    /// The listeners and names that it is served at, at least one of each, or the reason why it is
    /// served nowhere.
    pub(super) outcome: Result<Vec<Attachment>, GatewayRefusal>,
    /// Hostnames that the route may not have, in the order found, each with its reason. They are kept
    /// whatever the outcome is.
    pub(super) refused_names: Vec<RefusedName>,
}

/// A hostname that a route may not have.
#[derive(Debug)]
pub(super) struct RefusedName {
    pub(super) hostname: Arc<str>,
    pub(super) why: String,
    /// True if the file, or a Gateway of a lower rank, has the hostname.
    pub(super) conflicts: bool,
}

/// A listener that a route has attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attachment {
    /// The listener's position: the Gateway's index, and the listener's index in it.
    pub(super) listener: ListenerPlace,
    /// The names that route and listener have in common. Empty when the listener is not served; it
    /// counts the route anyway.
    pub(super) names: Vec<SniPattern>,
}

/// The input that decides which names a route gets.
pub(super) struct Rules<'a, 'g> {
    pub(super) cluster: &'a Cluster,
    pub(super) config: &'g GatewayApiConfig,
    pub(super) domains: &'g Domains,
    pub(super) gateways: &'g [OwnGateway<'a>],
    pub(super) owners: &'g Owners,
}

impl<'a> Rules<'a, '_> {
    /// The routes that refer to our Gateways, the oldest first.
    pub(super) fn own_routes(&self) -> Vec<OwnRoute<'a>> {
        let gateways = self.gateways.iter().enumerate();
        let by_key: HashMap<&ObjectKey, usize> = gateways
            .map(|(index, gateway)| (gateway.key, index))
            .collect();
        let mut routes = Vec::new();
        for (key, record) in self.cluster.tls_routes.iter() {
            let mut hostnames = None;
            let mut parents = Vec::new();
            for parent in &record.spec.parent_refs {
                let Some(gateway) = gateway_key(parent, &key.namespace) else {
                    continue;
                };
                let Some(&index) = by_key.get(&gateway) else {
                    continue;
                };
                let hostnames = hostnames.get_or_insert_with(|| Hostnames::of(record));
                let route = Attaching {
                    rules: self,
                    key,
                    hostnames,
                };
                parents.push(route.attach(parent, index, &self.gateways[index]));
            }
            if !parents.is_empty() {
                routes.push(OwnRoute {
                    key,
                    record,
                    parents,
                });
            }
        }
        // The sort is stable: routes of the same age stay sorted by name.
        routes.sort_by_key(|route| route.record.revision.created);
        routes
    }
}

/// The key of the Gateway that `parent` of a route in `namespace` names; `None` if it names something
/// else.
pub(super) fn gateway_key(parent: &ParentRef, namespace: &Arc<str>) -> Option<ObjectKey> {
    let is_gateway = parent.group.as_deref().unwrap_or(GROUP) == GROUP
        && parent.kind.as_deref().unwrap_or("Gateway") == "Gateway";
    is_gateway.then(|| ObjectKey {
        namespace: parent.namespace.as_ref().unwrap_or(namespace).clone(),
        name: parent.name.clone(),
    })
}

/// The hostnames of a route, the valid and the refused ones.
#[derive(Debug)]
struct Hostnames {
    valid: Vec<(Arc<str>, SniPattern)>,
    invalid: Vec<(Arc<str>, NameError)>,
}

impl Hostnames {
    fn of(route: &TlsRouteRecord) -> Self {
        let mut hostnames = Self {
            valid: Vec::new(),
            invalid: Vec::new(),
        };
        for hostname in &route.spec.hostnames {
            match names::parse(hostname) {
                Ok(pattern) => hostnames.valid.push((hostname.clone(), pattern)),
                Err(error) => hostnames.invalid.push((hostname.clone(), error)),
            }
        }
        // Before `v1` a route without hostnames took those of the listener.
        if route.spec.hostnames.is_empty() {
            hostnames.valid.push(("*".into(), SniPattern::Any));
        }
        hostnames
    }
}

/// A route while its references are resolved.
struct Attaching<'r, 'a, 'g> {
    rules: &'r Rules<'a, 'g>,
    key: &'a ObjectKey,
    hostnames: &'r Hostnames,
}

impl<'a> Attaching<'_, 'a, '_> {
    fn attach(
        &self,
        parent: &'a ParentRef,
        index: usize,
        gateway: &OwnGateway<'_>,
    ) -> Attached<'a> {
        let invalid = self.hostnames.invalid.iter();
        let mut refused_names: Vec<RefusedName> = invalid
            .map(|(hostname, error)| RefusedName {
                hostname: hostname.clone(),
                why: error.to_string(),
                conflicts: false,
            })
            .collect();
        let outcome = self.listeners(parent, index, gateway, &mut refused_names);
        Attached {
            parent,
            outcome,
            refused_names,
        }
    }

    /// The listeners that remain after each filter. When a filter leaves none, the result is its
    /// reason.
    fn listeners(
        &self,
        parent: &ParentRef,
        index: usize,
        gateway: &OwnGateway<'_>,
        refused_names: &mut Vec<RefusedName>,
    ) -> Result<Vec<Attachment>, GatewayRefusal> {
        let section = parent
            .section_name
            .as_deref()
            .filter(|section| !section.is_empty());
        let named = |listener: &OwnListener<'_>| {
            section.is_none_or(|section| section == &*listener.spec.name)
                && parent.port.is_none_or(|port| port == listener.spec.port)
        };
        let mut left: Vec<(usize, &OwnListener<'_>)> =
            gateway.listeners.iter().enumerate().collect();
        left.retain(|(_, listener)| named(listener));
        if left.is_empty() {
            let message = "the Gateway has no listener of this sectionName and port";
            return Err(GatewayRefusal::new("NoMatchingParent", message));
        }
        left.retain(|(_, listener)| {
            let namespaces = &listener.spec.allowed_routes.namespaces;
            listener.takes_tls_routes && self.is_allowed(namespaces, &gateway.key.namespace)
        });
        if left.is_empty() {
            let message = "no listener takes TLSRoutes of this namespace: see its protocol, tls.mode and allowedRoutes";
            return Err(GatewayRefusal::new("NotAllowedByListeners", message));
        }
        left.retain(|(_, listener)| self.common(listener).next().is_some());
        if left.is_empty() {
            let message = "no hostname of this route is one that a listener takes";
            return Err(GatewayRefusal::new("NoMatchingListenerHostname", message));
        }
        if !left.iter().any(|(_, listener)| gateway.serves(listener)) {
            let refusal = left
                .iter()
                .find_map(|(_, listener)| listener.refused.as_ref());
            let why = gateway
                .refused
                .as_ref()
                .or(refusal)
                .map_or("", |refusal| &refusal.message);
            let message = format!("no listener that takes this route is accepted: {why}");
            return Err(GatewayRefusal::new("NotAllowedByListeners", message));
        }
        let attachments = left.into_iter().map(|(at, listener)| Attachment {
            listener: (index, at),
            names: if gateway.serves(listener) {
                self.permitted((index, at), listener, refused_names)
            } else {
                Vec::new()
            },
        });
        let attachments: Vec<Attachment> = attachments.collect();
        if attachments
            .iter()
            .all(|attachment| attachment.names.is_empty())
        {
            if refused_names.iter().all(|name| name.conflicts) {
                let message = "every hostname stays with a route of strait's config or with a Gateway that \
                               comes before";
                return Err(GatewayRefusal::new(CONFLICT, message));
            }
            let message = "every hostname belongs to another namespace, or takes in names that do";
            return Err(GatewayRefusal::new("HostnameNotPermitted", message));
        }
        Ok(attachments)
    }

    fn is_allowed(&self, namespaces: &RouteNamespaces, gateway: &Arc<str>) -> bool {
        match namespaces.from.as_deref().unwrap_or("Same") {
            "All" => true,
            "Same" => self.key.namespace == *gateway,
            "Selector" => {
                let key = ObjectKey {
                    namespace: "".into(),
                    name: self.key.namespace.clone(),
                };
                let namespace = self.rules.cluster.namespaces.get(&key);
                let selector = namespaces.selector.as_ref();
                // A namespace that is not known is not admitted.
                namespace
                    .zip(selector)
                    .is_some_and(|(namespace, selector)| selector.takes(&namespace.labels))
            }
            _ => false,
        }
    }

    /// The names that route and listener have in common, with the route's hostname.
    fn common<'b>(
        &'b self,
        listener: &'b OwnListener<'_>,
    ) -> impl Iterator<Item = (&'b Arc<str>, &'b SniPattern)> {
        let hostnames = self.hostnames.valid.iter();
        hostnames.filter_map(|(hostname, pattern)| {
            Some((hostname, names::intersection(pattern, &listener.hostname)?))
        })
    }

    /// The common names that the route may have.
    fn permitted(
        &self,
        place: ListenerPlace,
        listener: &OwnListener<'_>,
        refused: &mut Vec<RefusedName>,
    ) -> Vec<SniPattern> {
        let mut names = Vec::new();
        for (hostname, pattern) in self.common(listener) {
            let foreign = self.rules.domains.foreign(pattern, &self.key.namespace);
            let (why, conflicts) = match foreign {
                None => match self.conflict(place, listener, pattern) {
                    None => {
                        if !names.contains(pattern) {
                            names.push(pattern.clone());
                        }
                        continue;
                    }
                    Some(conflict) => (conflict, true),
                },
                Some(Foreign::Of(owner)) => (format!("belongs to namespace {owner}"), false),
                Some(Foreign::OfAll) => {
                    let why = "takes in names that belong to every namespace";
                    (why.to_owned(), false)
                }
            };
            if !refused.iter().any(|known| known.hostname == *hostname) {
                let hostname = hostname.clone();
                refused.push(RefusedName {
                    hostname,
                    why,
                    conflicts,
                });
            }
        }
        names
    }

    /// The owner of `pattern`, if it is the file or a Gateway of a lower rank.
    fn conflict(
        &self,
        place: ListenerPlace,
        listener: &OwnListener<'_>,
        pattern: &SniPattern,
    ) -> Option<String> {
        let port = listener.spec.port;
        if let Some((of, above)) = file_routes::file_route(self.rules.config, port, pattern) {
            return Some(format!(
                "stays with {above} of route {} of listener {} in strait's config",
                of.route, of.listener
            ));
        }
        let owner = self.rules.owners.owner(port, pattern)?;
        let gateways = self.rules.gateways;
        let (own, before) = (gateways.get(place.0)?, gateways.get(owner.0)?);
        (before.rank < own.rank).then(|| {
            let listener = before.listeners.get(owner.1);
            let name = listener.map_or("", |listener| &*listener.spec.name);
            format!("stays with listener {name} of Gateway {}", before.key)
        })
    }
}
